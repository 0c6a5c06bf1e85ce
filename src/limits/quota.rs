//! Quotas of images and money per calendar window: what a job has to reserve. The store reserves and settles.

use super::{Settings, calendar};
use crate::store::{Raise, Reservation};
use jiff::tz::TimeZone;
use plugin_api::value::{CountWindow, Limits, Money, OneOrMany, SpendWindow, WindowUnit};
use ring::digest::{SHA256, digest};
use std::borrow::Cow;

/// Who pays, with the limits that are theirs.
#[derive(Debug, Clone, Copy)]
pub struct Payer<'a> {
    pub team: &'a str,
    pub key: &'a str,
    /// Whose calendar the windows of team and key follow, an IANA name.
    pub time_zone: &'a str,
    pub of_team: &'a Limits,
    pub of_key: &'a Limits,
    /// Of every team; those that are over have no effect.
    pub raises: &'a [Raise],
}

/// A spend limit applies and nobody knows the price, or it cannot be converted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a spend limit applies, and this model has no price in {currency}")]
pub struct Unpriced {
    pub currency: String,
}

/// The lines one job reserves. `images`: how many it makes at most; `highest`: its highest price; `convert` brings an amount to another's currency.
///
/// # Errors
/// [`Unpriced`].
pub fn lines(
    settings: &Settings,
    payer: Payer<'_>,
    images: u32,
    highest: Option<Money>,
    convert: impl Fn(Money) -> Option<Money>,
    now_us: i64,
) -> Result<Vec<Reservation>, Unpriced> {
    let windows = all_windows(settings, payer, now_us).into_iter().flatten();
    reserved(windows, images, highest, convert)
}

/// Whether a spend limit applies to this payer.
pub fn has_budget(settings: &Settings, payer: Payer<'_>) -> bool {
    owners(settings, payer, i64::MAX).iter().any(|(_, limits)| !limits.spend.as_slice().is_empty())
}

/// What the windows of an instance begin with.
pub fn provider(instance: &str) -> String {
    format!("provider:{instance}")
}

fn owners(settings: &Settings, payer: Payer<'_>, now_us: i64) -> [(String, Limits); 3] {
    let mut of_team = either(payer.of_team, &settings.per_team);
    let raises = payer.raises.iter().filter(|raise| raise.team == payer.team && raise.ends_us > now_us);
    raises.for_each(|raise| lift(&mut of_team, raise));
    [
        (format!("team:{}", payer.team), of_team),
        (format!("key:{}:{}", payer.team, brief(payer.key)), either(payer.of_key, &settings.per_key)),
        ("all".to_owned(), settings.overall.clone()),
    ]
}

/// The lines one job reserves of an instance's limits, whose days are those of UTC; the arguments are those of [`lines`].
///
/// # Errors
/// [`Unpriced`].
pub fn lines_of(
    owner: &str,
    limits: &Limits,
    images: u32,
    highest: Option<Money>,
    convert: impl Fn(Money) -> Option<Money>,
    now_us: i64,
) -> Result<Vec<Reservation>, Unpriced> {
    reserved(windows(owner, limits, &TimeZone::UTC, now_us), images, highest, convert)
}

fn reserved(
    windows: impl IntoIterator<Item = Window>,
    images: u32,
    highest: Option<Money>,
    convert: impl Fn(Money) -> Option<Money>,
) -> Result<Vec<Reservation>, Unpriced> {
    let mut lines = Vec::new();
    for Window { id, cap, ends_us, .. } in windows {
        let (amount, cap) = match cap {
            Cap::Images(cap) => (images.into(), cap),
            // Both sides in the currency that prices have.
            Cap::Spend(money) => match (highest, convert(money)) {
                (Some(amount), Some(cap)) => (amount.amount_micros, cap.amount_micros),
                _ => return Err(Unpriced { currency: money.currency().to_owned() }),
            },
        };
        lines.push(Reservation { window: id, amount, cap, ends_us });
    }
    Ok(lines)
}

/// A quota, and the window that it is counted in now.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// As in [`Reservation`].
    pub id: String,
    pub unit: WindowUnit,
    pub cap: Cap,
    /// When the window is over.
    pub ends_us: i64,
}

/// Most that a window takes, as it was set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cap {
    Images(i64),
    Spend(Money),
}

/// Every quota of a payer: the team's and the key's by the calendar of the team, the gateway's by UTC.
pub fn all_windows(settings: &Settings, payer: Payer<'_>, now_us: i64) -> [Vec<Window>; 3] {
    // A name that means nothing never passes the check of the configuration.
    let own = calendar::zone(payer.time_zone).unwrap_or(TimeZone::UTC);
    let [team, key, all] = owners(settings, payer, now_us);
    let of = |(owner, limits): (String, Limits), zone| windows(&owner, &limits, zone, now_us);
    [of(team, &own), of(key, &own), of(all, &TimeZone::UTC)]
}

fn windows(owner: &str, limits: &Limits, zone: &TimeZone, now_us: i64) -> Vec<Window> {
    let window = |what: &str, unit, cap| {
        let (start, ends_us) = calendar::bounds(unit, zone, now_us);
        Window { id: format!("{owner}|{what}|{unit}|{start}"), unit, cap, ends_us }
    };
    let images = limits.images.as_slice().iter().map(|w| window("images", w.unit, Cap::Images(w.count)));
    let spend = limits.spend.as_slice().iter().map(|w| window("spend", w.unit, Cap::Spend(w.money)));
    images.chain(spend).collect()
}

/// A name that leaves room in a window's id for all else. A token's subject may be long.
fn brief(name: &str) -> Cow<'_, str> {
    const MOST: usize = 120;
    if name.chars().count() <= MOST {
        return name.into();
    }
    let start: String = name.chars().take(MOST - 65).collect();
    format!("{start}#{}", hex::encode(digest(&SHA256, name.as_bytes()))).into()
}

/// Every window of one kind takes more.
fn lift(limits: &mut Limits, raise: &Raise) {
    match &raise.currency {
        None => {
            let lifted = |w: &CountWindow| CountWindow { count: w.count.saturating_add(raise.amount), ..*w };
            limits.images = OneOrMany::Many(limits.images.as_slice().iter().map(lifted).collect());
        }
        Some(currency) => {
            let lifted = |w: &SpendWindow| {
                let mut window = *w;
                if window.money.currency() == currency {
                    window.money.amount_micros = window.money.amount_micros.saturating_add(raise.amount);
                }
                window
            };
            limits.spend = OneOrMany::Many(limits.spend.as_slice().iter().map(lifted).collect());
        }
    }
}

/// A team's or key's own quotas, each kind replacing the default of its kind.
fn either(own: &Limits, default: &Limits) -> Limits {
    let mut limits = default.clone();
    if !own.images.as_slice().is_empty() {
        limits.images = own.images.clone();
    }
    if !own.spend.as_slice().is_empty() {
        limits.spend = own.spend.clone();
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21T13:45:00Z, a Saturday.
    const NOW: i64 = 1_795_268_700_000_000;

    fn payer<'a>(of_team: &'a Limits, of_key: &'a Limits) -> Payer<'a> {
        Payer { team: "design", key: "k", time_zone: "UTC", of_team, of_key, raises: &[] }
    }

    #[test]
    fn every_window_of_team_key_and_gateway_is_a_line() {
        let team: Limits =
            serde_json::from_str(r#"{"images":["300/day","5000/month"],"spend":"20 USD/week"}"#).unwrap();
        let key: Limits = serde_json::from_str(r#"{"images":"10/hour"}"#).unwrap();
        let price = Some(Money::micros(40_000, "USD"));
        let lines = lines(&Settings::default(), payer(&team, &key), 1, price, Some, NOW).unwrap();
        let ids: Vec<&str> = lines.iter().map(|l| l.window.as_str()).collect();
        assert_eq!(
            ids,
            [
                "team:design|images|day|2026-11-21T00",
                "team:design|images|month|2026-11-01T00",
                "team:design|spend|week|2026-11-16T00",
                "key:design:k|images|hour|2026-11-21T13"
            ]
        );
        assert_eq!((lines[2].amount, lines[2].cap), (40_000, 20_000_000));
        assert_eq!(lines[3].ends_us, 1_795_269_600_000_000, "the hour ends at 14:00");
        let group = super::lines(&Settings::default(), payer(&team, &key), 5, price, Some, NOW).unwrap();
        let amounts: Vec<i64> = group.iter().map(|l| l.amount).collect();
        assert_eq!(amounts, [5, 5, 40_000, 5], "a job of five images takes five; its price is given");
        let [of_team, of_key, of_all] = all_windows(&Settings::default(), payer(&team, &key), NOW);
        let shown: Vec<&str> = of_team.iter().chain(&of_key).map(|window| window.id.as_str()).collect();
        assert_eq!(shown, ids, "what is told is what is counted");
        assert_eq!((of_team[2].cap, of_all), (Cap::Spend(Money::micros(20_000_000, "USD")), vec![]));
    }

    #[test]
    fn team_and_key_follow_the_calendar_of_the_team_and_the_gateway_that_of_utc() {
        let limits: Limits = serde_json::from_str(r#"{"images":"300/day"}"#).unwrap();
        let settings = Settings { overall: limits.clone(), ..Settings::default() };
        let payer = Payer { time_zone: "Asia/Shanghai", ..payer(&limits, &limits) };
        // 2026-11-21T16:00:00Z: a new day has begun in Shanghai.
        let lines = lines(&settings, payer, 1, None, Some, 1_795_276_800_000_000).unwrap();
        let ids: Vec<&str> = lines.iter().map(|l| l.window.as_str()).collect();
        assert_eq!(
            ids,
            [
                "team:design|images|day|2026-11-22T00",
                "key:design:k|images|day|2026-11-22T00",
                "all|images|day|2026-11-21T00"
            ]
        );
    }

    #[test]
    fn a_raise_lifts_every_window_of_its_team_and_kind_until_it_is_over() {
        let own: Limits = serde_json::from_str(
            r#"{"images":"300/day","spend":["20 USD/day","200 USD/month","5 EUR/hour"]}"#,
        )
        .unwrap();
        let raise = |team: &str, currency: Option<&str>, amount, ends_us| Raise {
            team: team.into(),
            currency: currency.map(Into::into),
            amount,
            since_us: 0,
            ends_us,
            reason: String::new(),
        };
        let raises = [
            raise("design", Some("USD"), 1_000_000, NOW + 1),
            raise("design", None, 7, NOW + 1),
            raise("design", None, 1_000, NOW),
            raise("other", None, 1_000, NOW + 1),
        ];
        let caps = |raises: &[Raise]| {
            let payer = Payer { raises, ..payer(&own, &own) };
            let [team, key, _] = all_windows(&Settings::default(), payer, NOW);
            [team, key].map(|windows| windows.into_iter().map(|w| w.cap).collect::<Vec<_>>())
        };
        let money = |micros, currency| Cap::Spend(Money::micros(micros, currency));
        let set = vec![
            Cap::Images(300),
            money(20_000_000, "USD"),
            money(200_000_000, "USD"),
            money(5_000_000, "EUR"),
        ];
        let lifted = vec![
            Cap::Images(307),
            money(21_000_000, "USD"),
            money(201_000_000, "USD"),
            money(5_000_000, "EUR"),
        ];
        assert_eq!(caps(&[]), [set.clone(), set.clone()]);
        assert_eq!(caps(&raises), [lifted, set], "the key's own limits stay");
    }

    #[test]
    fn windows_of_long_names_fit_their_column_and_differ() {
        let limits: Limits = serde_json::from_str(r#"{"images":"300/month"}"#).unwrap();
        let id = |key: &str| {
            let team = "t".repeat(64);
            let payer = Payer { team: &team, key, ..payer(&limits, &limits) };
            all_windows(&Settings::default(), payer, NOW)[1][0].id.clone()
        };
        let long = "ä".repeat(190);
        let (one, two) = (id(&format!("{long}1")), id(&format!("{long}2")));
        assert!(one.chars().count() <= 255 && one != two, "{one}");
        assert!(id("k").ends_with(":k|images|month|2026-11-01T00"));
    }

    #[test]
    fn an_instance_has_windows_of_its_own() {
        let limits: Limits = serde_json::from_str(r#"{"images":"500/day","spend":"20 USD/month"}"#).unwrap();
        let price = Some(Money::micros(40_000, "USD"));
        let lines = lines_of(&provider("lab|2"), &limits, 3, price, Some, NOW).unwrap();
        assert_eq!(lines[0].window, "provider:lab|2|images|day|2026-11-21T00");
        assert_eq!((lines[0].amount, lines[1].amount), (3, 40_000));
        assert!(lines.iter().all(|line| crate::store::instance_of(&line.window) == Some("lab|2")));
        assert_eq!(crate::store::instance_of("team:provider:x|images|day|2026-11-21T00"), None);
    }

    #[test]
    fn without_limits_nothing_is_reserved_and_without_a_price_no_budget_is_passed() {
        let none = Limits::default();
        assert!(lines(&Settings::default(), payer(&none, &none), 1, None, Some, NOW).unwrap().is_empty());
        let team: Limits = serde_json::from_str(r#"{"spend":"20 USD/day"}"#).unwrap();
        assert!(lines(&Settings::default(), payer(&team, &none), 1, None, Some, NOW).is_err());
    }
}
