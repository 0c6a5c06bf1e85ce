//! Quotas of images and money per calendar window: what a job has to reserve. The store reserves and settles.

use super::Settings;
use crate::store::Reservation;
use jiff::{Timestamp, ToSpan, Unit, Zoned, tz::TimeZone};
use plugin_api::value::{Limits, Money, WindowUnit};

/// Who pays, with the limits that are theirs.
#[derive(Debug, Clone, Copy)]
pub struct Payer<'a> {
    pub team: &'a str,
    pub key: &'a str,
    pub of_team: &'a Limits,
    pub of_key: &'a Limits,
}

/// A spend limit applies and nobody knows the price, or it cannot be converted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a spend limit applies, and this model has no price in {currency}")]
pub struct Unpriced {
    pub currency: String,
}

/// The lines one job reserves. `highest`: its highest price; `convert` brings an amount to another's currency.
///
/// # Errors
/// [`Unpriced`].
pub fn lines(
    settings: &Settings,
    payer: Payer<'_>,
    highest: Option<Money>,
    convert: impl Fn(Money) -> Option<Money>,
    now_us: i64,
) -> Result<Vec<Reservation>, Unpriced> {
    let owners = [
        (format!("team:{}", payer.team), either(payer.of_team, &settings.per_team)),
        (format!("key:{}:{}", payer.team, payer.key), either(payer.of_key, &settings.per_key)),
        ("all".to_owned(), settings.overall.clone()),
    ];
    let mut lines = Vec::new();
    for (owner, limits) in owners {
        for window in limits.images.as_slice() {
            let (start, ends_us) = bounds(window.unit, now_us);
            let window_id = format!("{owner}|images|{}|{start}", window.unit);
            lines.push(Reservation { window: window_id, amount: 1, cap: window.count, ends_us });
        }
        for window in limits.spend.as_slice() {
            let currency = window.money.currency().to_owned();
            // Both sides in the currency that prices have.
            let cap = convert(window.money);
            let (Some(amount), Some(cap)) = (highest, cap) else { return Err(Unpriced { currency }) };
            let (start, ends_us) = bounds(window.unit, now_us);
            let window_id = format!("{owner}|spend|{}|{start}", window.unit);
            lines.push(Reservation {
                window: window_id,
                amount: amount.amount_micros,
                cap: cap.amount_micros,
                ends_us,
            });
        }
    }
    Ok(lines)
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

/// The start of the window that `now_us` lies in, as a date and hour, and its end.
fn bounds(unit: WindowUnit, now_us: i64) -> (String, i64) {
    let now = Timestamp::from_microsecond(now_us).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::UTC);
    let day = now.start_of_day().unwrap_or(now.clone());
    let days = |n: i64| day.checked_sub(n.days()).unwrap_or(day.clone());
    let (start, span) = match unit {
        WindowUnit::Hour => (
            now.round(jiff::ZonedRound::new().smallest(Unit::Hour).mode(jiff::RoundMode::Trunc))
                .unwrap_or(now.clone()),
            1.hour(),
        ),
        WindowUnit::Day => (day.clone(), 1.day()),
        WindowUnit::Week => (days(i64::from(day.weekday().to_monday_zero_offset())), 1.week()),
        WindowUnit::Month => (day.first_of_month().unwrap_or(day.clone()), 1.month()),
    };
    let end = start.checked_add(span).map_or(now_us, |end: Zoned| end.timestamp().as_microsecond());
    (start.strftime("%Y-%m-%dT%H").to_string(), end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21T13:45:00Z, a Saturday.
    const NOW: i64 = 1_795_268_700_000_000;

    fn payer<'a>(of_team: &'a Limits, of_key: &'a Limits) -> Payer<'a> {
        Payer { team: "design", key: "k", of_team, of_key }
    }

    #[test]
    fn every_window_of_team_key_and_gateway_is_a_line() {
        let team: Limits =
            serde_json::from_str(r#"{"images":["300/day","5000/month"],"spend":"20 USD/week"}"#).unwrap();
        let key: Limits = serde_json::from_str(r#"{"images":"10/hour"}"#).unwrap();
        let price = Some(Money::micros(40_000, "USD"));
        let lines = lines(&Settings::default(), payer(&team, &key), price, Some, NOW).unwrap();
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
    }

    #[test]
    fn without_limits_nothing_is_reserved_and_without_a_price_no_budget_is_passed() {
        let none = Limits::default();
        assert!(lines(&Settings::default(), payer(&none, &none), None, Some, NOW).unwrap().is_empty());
        let team: Limits = serde_json::from_str(r#"{"spend":"20 USD/day"}"#).unwrap();
        assert!(lines(&Settings::default(), payer(&team, &none), None, Some, NOW).is_err());
    }
}
