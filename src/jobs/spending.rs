//! What is said of a quota: that it does not allow a call, or that not much of it is left.

use super::{Code, Live, Owner, Refused};
use crate::store::{Reservation, instance_of};
use plugin_api::Adjustment;

/// A window as callers know it.
struct Named<'a> {
    whose: String,
    /// The caller's own: what is used of it may be told.
    own: bool,
    provider: Option<&'a str>,
    /// `spend` or `images`.
    what: &'a str,
    /// `day`.
    unit: &'a str,
    resets: String,
}

impl Named<'_> {
    fn of(line: &Reservation, now: i64) -> Named<'_> {
        let mut parts = line.window.rsplitn(4, '|').skip(1);
        let mut next = || parts.next().unwrap_or_default();
        let (unit, what, owner) = (next(), next(), next());
        let provider = instance_of(&line.window);
        let (whose, own) = match (provider, owner.split(':').next()) {
            (Some(instance), _) => (format!("The provider `{instance}`'s"), false),
            (None, Some("team")) => ("Your team's".into(), true),
            (None, Some("key")) => ("Your key's".into(), true),
            _ => ("The gateway's".into(), false),
        };
        let minutes = (line.ends_us - now).max(0) / 60_000_000;
        let resets = if minutes >= 120 { format!("{} h", minutes / 60) } else { format!("{minutes} min") };
        Named { whose, own, provider, what, unit, resets }
    }
    fn is_money(&self) -> bool {
        self.what == "spend"
    }
    /// An amount of it.
    fn show(&self, amount: i64) -> String {
        if self.is_money() { format!("{:.2}", amount as f64 / 1e6) } else { amount.to_string() }
    }
}

pub(super) fn over_quota(line: &Reservation, used: i64, reserved: i64, now: i64) -> Refused {
    let named = Named::of(line, now);
    let Named { whose, unit, resets, .. } = &named;
    let (cap, used, reserved) = (named.show(line.cap), named.show(used), named.show(reserved));
    let end = format!("It starts anew in {resets}; asking again before that does not help.");
    let (code, text) = if named.is_money() {
        let text = format!(
            "{whose} budget of {cap} per {unit} does not allow it: {used} is spent, {reserved} is reserved. {end}"
        );
        (Code::BudgetExceeded, text)
    } else {
        let text = format!(
            "{whose} quota of {cap} images per {unit} does not allow it: {used} are made, {reserved} are under way. {end}"
        );
        (Code::QuotaExceeded, text)
    };
    let wait = u64::try_from((line.ends_us - now).max(0) / 1_000).unwrap_or(0);
    let provider = named.provider.map(str::to_owned);
    Refused { retry_after_ms: Some(wait), provider, ..Refused::new(code, text) }
}

/// A call was accepted: says which windows are used up to a share at which a warning is wanted (`warn_at`). The log
/// has it once, when the share is passed; the caller hears it with each call from there on, of windows that are its own.
///
/// `taken`: used and reserved of each line's window with this call, `jobs` of which it has.
pub(super) fn warn(
    live: &Live,
    owner: &Owner,
    lines: &[Reservation],
    taken: &[i64],
    jobs: usize,
    now: i64,
) -> Vec<Adjustment> {
    let mut notes = Vec::new();
    for (line, taken) in lines.iter().zip(taken) {
        let part = |taken: i64| taken as f64 / line.cap.max(1) as f64;
        let (before, after) = (part(taken - line.amount.saturating_mul(jobs as i64)), part(*taken));
        let Some(share) = shares(live, owner, &line.window).into_iter().rfind(|share| after >= *share) else {
            continue;
        };
        let named = Named::of(line, now);
        let (percent, most, taken) = ((after * 100.0).floor(), named.show(line.cap), named.show(*taken));
        if before < share {
            tracing::warn!(
                window = %line.window,
                team = %owner.team,
                "{percent} % of a quota is used or reserved: {taken} of {most}"
            );
        }
        if named.own {
            let Named { whose, unit, resets, .. } = &named;
            let (field, kind) = if named.is_money() { ("spend", "budget") } else { ("images", "quota") };
            let reason = format!(
                "{whose} {kind} per {unit} is used up to {percent} %; it starts anew in {resets}. get_quota has all limits."
            );
            let used = format!("{taken} of {most}");
            notes.push(Adjustment::new(&format!("limits.{field}"), most, used, &reason));
        }
    }
    notes
}

/// The shares of a window at which a warning is wanted, rising: its owner's, else the default of its kind.
fn shares(live: &Live, owner: &Owner, window: &str) -> Vec<f64> {
    let limits = &live.rules.limits;
    let set = match (instance_of(window), window.split(':').next()) {
        (Some(id), _) => live.registry.instance(id).and_then(|instance| instance.limits().warn_at.as_ref()),
        (None, Some("team")) => {
            live.rules.team(&owner.team).limits.warn_at.as_ref().or(limits.per_team.warn_at.as_ref())
        }
        (None, Some("key")) => {
            live.rules.key(&owner.key).warn_at.as_ref().or(limits.per_key.warn_at.as_ref())
        }
        _ => limits.overall.warn_at.as_ref(),
    };
    let mut shares = set.cloned().unwrap_or_else(|| vec![0.8]);
    shares.sort_by(f64::total_cmp);
    shares
}
