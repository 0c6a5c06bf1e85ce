//! `get_quota` and `get_usage`: what the caller's team may still have, and what it has used.

use super::{
    Answer, Cx,
    arguments::{Arguments, bad},
    results::Price,
};
use crate::{
    jobs::{Limit, Refused},
    mcp::errors::ToolError,
    store::{By, Filter, Used},
    telemetry::rfc3339,
};
use plugin_api::{Adjustment, value::Money};
use serde::Serialize;

/// What `get_usage` can be grouped by: a caller has one team.
pub const GROUPS: [&str; 4] = ["key", "model", "provider", "day"];

/// Most groups of one answer.
const MOST: usize = 100;

#[derive(Serialize)]
struct Quota {
    success: bool,
    message: String,
    limits: Vec<LimitRow>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    adjustments: Vec<Adjustment>,
}

/// Amounts are images, jobs, or micro-units of `currency`.
#[derive(Serialize)]
struct LimitRow {
    /// `team`, `key` or `gateway`.
    of: &'static str,
    limit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    per: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<String>,
    most: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reserved: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resets_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resets_in_seconds: Option<i64>,
}

pub async fn get_quota(cx: Cx<'_>, args: Arguments) -> Result<Answer, ToolError> {
    let limits = cx.inner.backend.quota(&cx.call.owner()).await?;
    let now_us = cx.inner.clock.now_us();
    Answer::of(&Quota {
        success: true,
        message: message(&limits),
        limits: limits.into_iter().map(|limit| row(limit, now_us)).collect(),
        adjustments: args.unknown(),
    })
}

fn row(limit: Limit, now_us: i64) -> LimitRow {
    let Limit { of, what, window, currency, most, left } = limit;
    LimitRow {
        of,
        limit: what,
        per: window.map(|(unit, _)| unit.to_string()),
        currency,
        most,
        used: left.map(|left| left.used),
        // A job that runs or waits is used, not reserved.
        reserved: left.filter(|_| window.is_some()).map(|left| left.reserved),
        left: left.map(|left| left.left),
        resets_at: window.map(|(_, ends_us)| rfc3339(ends_us)),
        // Up: at that second it has begun anew.
        resets_in_seconds: window.map(|(_, ends_us)| ((ends_us - now_us).max(0) + 999_999) / 1_000_000),
    }
}

/// What is used up, and when there is more.
fn message(limits: &[Limit]) -> String {
    if limits.is_empty() {
        return "No limit applies to your team or key.".into();
    }
    let used_up: Vec<String> = limits
        .iter()
        .filter(|limit| limit.left.is_some_and(|left| left.left == 0))
        .map(|limit| match limit.window {
            Some((unit, ends)) => {
                format!("{} per {unit} of your {}, until {}", limit.what, limit.of, rfc3339(ends))
            }
            // Further jobs wait, or are refused, until one has ended.
            None => format!("{} of your {}, until a job ends", limit.what, limit.of),
        })
        .collect();
    match used_up.as_slice() {
        [] => "Nothing is used up.".into(),
        all => format!("Used up: {}.", all.join("; ")),
    }
}

#[derive(Serialize)]
struct Usage {
    success: bool,
    by: &'static str,
    /// Over all groups, also those that are left out.
    #[serde(flatten)]
    total: Total,
    /// The newest days, or those with most images.
    groups: Vec<Group>,
    group_count: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    adjustments: Vec<Adjustment>,
}

#[derive(Serialize)]
struct Group {
    name: String,
    #[serde(flatten)]
    total: Total,
}

#[derive(Default, Serialize)]
struct Total {
    jobs: u64,
    images: u64,
    failed: u64,
    unknown: u64,
    /// One amount per currency.
    spend: Vec<Price>,
    held: Vec<Price>,
}

impl Total {
    fn add(&mut self, used: &Used) {
        self.jobs += used.jobs;
        self.images += used.images;
        self.failed += used.failed;
        self.unknown += used.unknown;
        let Some(currency) = &used.currency else { return };
        for (sums, amount) in [(&mut self.spend, used.spent), (&mut self.held, used.held)] {
            match sums.iter_mut().find(|sum| sum.currency == *currency) {
                Some(sum) => sum.amount_micros += amount,
                None if amount != 0 => sums.push(Price::from(Money::micros(amount, currency))),
                None => {}
            }
        }
    }
}

pub async fn get_usage(cx: Cx<'_>, mut args: Arguments) -> Result<Answer, ToolError> {
    let word = args.word("by", &GROUPS)?.unwrap_or("model");
    let by = By::ALL.into_iter().find(|by| by.as_str() == word).unwrap_or(By::Model);
    let (since_us, until_us) = period(cx, &mut args)?;
    let filter = Filter { since_us, until_us, ..Filter::of_team(cx.call.team()) };
    let rows = cx.inner.backend.usage(&filter, by).await?;
    let mut total = Total::default();
    let mut groups: Vec<Group> = Vec::new();
    for used in &rows {
        total.add(used);
        // Rows of a group follow each other.
        match groups.last_mut().filter(|group| group.name == used.group) {
            Some(group) => group.total.add(used),
            None => {
                let mut group = Group { name: used.group.clone(), total: Total::default() };
                group.total.add(used);
                groups.push(group);
            }
        }
    }
    let group_count = groups.len();
    if by != By::Day {
        groups.sort_by_key(|group| std::cmp::Reverse(group.total.images));
    }
    groups.truncate(MOST);
    let adjustments = args.unknown();
    Answer::of(&Usage { success: true, by: by.as_str(), total, groups, group_count, adjustments })
}

fn period(cx: Cx<'_>, args: &mut Arguments) -> Result<(Option<i64>, Option<i64>), Refused> {
    let now_us = cx.inner.clock.now_us();
    let (since, until) = (args.moment("since", now_us, false)?, args.moment("until", now_us, true)?);
    match (&since, &until) {
        (Some((since, _)), Some((until, said))) if since >= until => {
            Err(bad("until", format!("`until` is {said}, which is not after `since`.")))
        }
        _ => Ok((since.map(|(at, _)| at), until.map(|(at, _)| at))),
    }
}
