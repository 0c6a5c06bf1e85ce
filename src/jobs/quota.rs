//! What a caller may still have: every limit of its team and key, and what of it is used.

use super::{Inner, Owner, Rules};
use crate::{
    limits::quota::{self, Cap, Payer},
    store::StoreError,
};
use plugin_api::value::WindowUnit;

/// One limit that applies to a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// `team`, `key`, or `gateway`: all teams together.
    pub of: &'static str,
    /// `images`, `spend`, `concurrent_jobs` or `queued_jobs`.
    pub what: &'static str,
    /// Of `images` and `spend`: the calendar window, and when it ends.
    pub window: Option<(WindowUnit, i64)>,
    /// What `most` and `left` count micro-units of, for `spend`.
    pub currency: Option<String>,
    pub most: i64,
    /// `None`: what other teams use is in it, which is not told; or it cannot be counted.
    pub left: Option<Left>,
}

/// What of a limit is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    pub used: i64,
    /// Held for jobs that have not ended, or whose outcome nobody knows.
    pub reserved: i64,
    /// Never less than 0, also where a limit was made smaller than what is used.
    pub left: i64,
}

impl Left {
    fn of(most: i64, used: i64, reserved: i64) -> Left {
        Left { used, reserved, left: most.saturating_sub(used).saturating_sub(reserved).max(0) }
    }
}

impl Rules {
    /// Who pays for an owner's jobs.
    pub(super) fn payer<'a>(&'a self, owner: &'a Owner) -> Payer<'a> {
        let team = self.team(&owner.team);
        Payer {
            team: &owner.team,
            key: &owner.key,
            time_zone: &team.time_zone,
            of_team: &team.limits,
            of_key: self.key(&owner.key),
            raises: &self.raises,
        }
    }
}

impl Inner {
    pub(super) async fn quota(&self, owner: &Owner) -> Result<Vec<Limit>, StoreError> {
        let live = self.live.load_full();
        let (rules, registry) = (&live.rules, &live.registry);
        let payer = rules.payer(owner);
        let [of_team, of_key, of_all] = quota::all_windows(&rules.limits, payer, self.clock.now_us());
        let mine: Vec<&str> = of_team.iter().chain(&of_key).map(|window| window.id.as_str()).collect();
        let taken = match mine.is_empty() {
            true => Default::default(),
            false => self.store.windows(&mine).await?,
        };
        let mut limits = Vec::new();
        for (of, windows) in [("team", &of_team), ("key", &of_key), ("gateway", &of_all)] {
            for window in windows {
                let (what, most, currency, counted) = match window.cap {
                    Cap::Images(most) => ("images", most, None, true),
                    Cap::Spend(set) => {
                        // In the currency that prices have, which is what is counted.
                        let most = registry.convert(set);
                        let shown = most.unwrap_or(set);
                        let currency = Some(shown.currency().to_owned());
                        ("spend", shown.amount_micros, currency, most.is_some())
                    }
                };
                let (used, reserved) = taken.get(&window.id).copied().unwrap_or_default();
                let left = (of != "gateway" && counted).then(|| Left::of(most, used, reserved));
                limits.push(Limit {
                    of,
                    what,
                    window: Some((window.unit, window.ends_us)),
                    currency,
                    most,
                    left,
                });
            }
        }
        limits.extend(self.slots(owner).await?);
        Ok(limits)
    }

    /// Jobs running and waiting.
    async fn slots(&self, owner: &Owner) -> Result<Vec<Limit>, StoreError> {
        let live = self.live.load_full();
        let rules = &live.rules;
        let of_team = rules.team(&owner.team).limits.concurrent_jobs;
        let of_key = rules.key(&owner.key).concurrent_jobs;
        let caps = [
            ("team", "concurrent_jobs", of_team.or(rules.limits.per_team.concurrent_jobs).map(u64::from)),
            ("team", "queued_jobs", rules.queued_jobs(&owner.team)),
            ("key", "concurrent_jobs", of_key.or(rules.limits.per_key.concurrent_jobs).map(u64::from)),
        ];
        if caps.iter().all(|(.., cap)| cap.is_none()) {
            return Ok(Vec::new());
        }
        let under_way = self.store.under_way(&owner.team).await?;
        let limit = |(of, what, cap): (&'static str, &'static str, Option<u64>)| {
            let mine = under_way.iter().filter(|(key, ..)| of == "team" || *key == owner.key);
            let count = |(_, waiting, running): &(String, u64, u64)| match what {
                "queued_jobs" => *waiting,
                _ => *running,
            };
            let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            let (most, used) = (whole(cap?), whole(mine.map(count).sum()));
            let left = Some(Left::of(most, used, 0));
            Some(Limit { of, what, window: None, currency: None, most, left })
        };
        Ok(caps.into_iter().filter_map(limit).collect())
    }
}
