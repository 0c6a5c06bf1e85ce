//! Numbers, shares, currencies, and what models set for themselves.

use super::{super::problem::nearest, Checks};
use crate::{config::Config, limits::calendar, providers::Unpriced};
use plugin_api::{
    ImageRequest,
    value::{Limits, Money, OneOrMany},
};
use serde_json::json;

/// What `defaults` of a model may hold: the arguments of a request that are not the call's own.
const ARGUMENTS: [&str; 14] = [
    "negative_prompt",
    "size",
    "quality",
    "style",
    "seed",
    "steps",
    "guidance",
    "background",
    "output_format",
    "output_compression",
    "watermark",
    "moderation",
    "prompt_rewrite",
    "vendor",
];

impl Checks<'_> {
    pub fn numbers(&mut self, config: &Config) {
        let nought = |n: u32| n == 0;
        let mut zero: Vec<String> = config
            .providers
            .iter()
            .filter(|(_, instance)| instance.concurrency.is_some_and(nought))
            .map(|(name, _)| format!("providers.{name}.concurrency"))
            .collect();
        for (name, instance) in &config.providers {
            let keys = instance.api_keys.iter().enumerate().filter(|(_, key)| key.weight == Some(0));
            zero.extend(keys.map(|(n, _)| format!("providers.{name}.api_keys[{n}].weight")));
        }
        let weightless = config.teams.iter().filter(|(_, team)| team.weight == 0);
        zero.extend(weightless.map(|(name, _)| format!("teams.{name}.weight")));
        for (path, is_zero) in [
            ("jobs.workers", nought(config.jobs.workers)),
            ("jobs.queue_limit", config.jobs.queue_limit == 0),
            ("jobs.lease", config.jobs.lease.is_zero()),
            ("jobs.deadline", config.jobs.deadline.is_zero()),
            ("routing.retries.attempts", nought(config.routing.retries.attempts)),
            ("database.statement_timeout", config.database.statement_timeout.is_zero()),
            ("database.max_connections", nought(config.database.max_connections)),
            ("server.limits.connections", nought(config.server.limits.connections)),
            ("mcp.heartbeat", config.mcp.heartbeat.is_zero()),
            ("mcp.result.preview_edge", nought(config.mcp.result.preview_edge)),
            ("storage.thumbnail.edge", nought(config.storage.thumbnail.edge)),
        ] {
            zero.extend(is_zero.then(|| path.to_owned()));
        }
        for path in zero {
            self.wrong(&path, "must be more than zero".into());
        }
        let shares = |all: &[f64]| all.iter().position(|share| !(*share > 0.0 && *share <= 1.0));
        for (path, limits) in all_limits(config) {
            if let Some(n) = shares(limits.warn_at.as_deref().unwrap_or_default()) {
                self.wrong(&format!("{path}.warn_at[{n}]"), "a share is above 0 and at most 1".into());
            }
        }
        for (path, limits) in all_limits(config) {
            let images = limits.images.as_slice().iter().map(|window| window.unit);
            let spend = limits.spend.as_slice().iter().map(|window| window.unit);
            for (field, units) in [("images", images.collect::<Vec<_>>()), ("spend", spend.collect())] {
                let twice = units.iter().enumerate().find(|(n, unit)| units[..*n].contains(unit));
                if let Some((n, unit)) = twice {
                    let message = format!("there is a limit per {unit} already; one of them is enough");
                    self.wrong(&format!("{path}.{field}[{n}]"), message);
                }
            }
        }
        if !(0.0..=1.0).contains(&config.telemetry.otlp.sample) {
            self.wrong("telemetry.otlp.sample", "a share is from 0 to 1".into());
        }
    }

    pub fn calendars(&mut self, config: &Config) {
        for (name, team) in &config.teams {
            if calendar::zone(&team.time_zone).is_none() {
                let zones = calendar::zones();
                let hint = nearest(&team.time_zone, zones.iter().map(String::as_str));
                // There are hundreds: none is better than all.
                let hint = if hint.contains("did you mean") { &hint } else { "" };
                let message =
                    format!("`{}` is no time zone: write it like Europe/Berlin or UTC{hint}", team.time_zone);
                self.wrong(&format!("teams.{name}.time_zone"), message);
            }
        }
    }

    /// An amount that cannot be converted could neither be compared nor reserved.
    pub fn currencies(&mut self, config: &Config) {
        let routing = &config.routing;
        let code = |text: &str| text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase());
        let form = "a currency is three capital letters, such as USD";
        if !code(&routing.currency) {
            self.wrong("routing.currency", form.into());
        }
        for (currency, rate) in &routing.exchange_rates {
            let path = format!("routing.exchange_rates.{currency}");
            if !code(currency) {
                self.unknown(&path, form.into());
            } else if *rate <= 0.0 {
                self.wrong(&path, "must be more than zero".into());
            }
        }
        for (path, money) in amounts(config) {
            let currency = money.currency();
            if currency != routing.currency && !routing.exchange_rates.contains_key(currency) {
                let message = format!("there is no rate for `{currency}` in `routing.exchange_rates`");
                self.wrong(&path, message);
            }
        }
    }

    /// A model without a target could never be served, and a default that no call can carry would be left out
    /// without a word.
    pub fn models(&mut self, config: &Config) {
        for (n, _) in config.routes.iter().enumerate().filter(|(_, route)| route.to.is_empty()) {
            self.wrong(&format!("routes[{n}]"), "`to` is missing: a route needs a target".into());
        }
        for (name, model) in &config.models {
            if model.targets.is_empty() {
                let message = "`targets` is missing: a model needs one, such as placeholder/card".into();
                self.wrong(&format!("models.{name}"), message);
            }
            for (argument, value) in &model.defaults {
                let path = format!("models.{name}.defaults.{argument}");
                if !ARGUMENTS.contains(&argument.as_str()) {
                    self.unknown(&path, format!("unknown argument{}", nearest(argument, ARGUMENTS)));
                } else if let Err(error) = serde_json::from_value::<ImageRequest>(json!({ argument: value }))
                {
                    self.wrong(&path, error.to_string());
                }
            }
        }
    }

    /// An instance has fields of its own for what `limits` of callers say of calls and jobs.
    pub fn provider_limits(&mut self, config: &Config) {
        for (name, instance) in &config.providers {
            let path = format!("providers.{name}.limits");
            let limits = &instance.limits;
            for (field, set, remedy) in [
                ("requests", limits.requests.is_some(), "use `rate` of the provider"),
                ("burst", limits.burst.is_some(), "use `rate` of the provider"),
                ("concurrent_jobs", limits.concurrent_jobs.is_some(), "use `concurrency` of the provider"),
                ("queued_jobs", limits.queued_jobs.is_some(), "limits.per_team and jobs.queue_limit have it"),
            ] {
                if set {
                    let message = format!("a provider's `limits` are `images` and `spend`; {remedy}");
                    self.unknown(&format!("{path}.{field}"), message);
                }
            }
        }
    }
}

fn all_limits(config: &Config) -> Vec<(String, &Limits)> {
    let mut all = vec![
        ("limits.per_key".to_owned(), &config.limits.per_key),
        ("limits.per_team".to_owned(), &config.limits.per_team),
        ("limits.overall".to_owned(), &config.limits.overall),
    ];
    all.extend(config.teams.iter().map(|(name, team)| (format!("teams.{name}.limits"), &team.limits)));
    let keys = config.auth.keys.iter().enumerate();
    all.extend(keys.map(|(n, key)| (format!("auth.keys[{n}].limits"), &key.limits)));
    all.extend(config.providers.iter().map(|(name, i)| (format!("providers.{name}.limits"), &i.limits)));
    all
}

/// Every amount of money with its key path.
fn amounts(config: &Config) -> Vec<(String, Money)> {
    let mut all = Vec::new();
    for (path, limits) in all_limits(config) {
        let single = matches!(limits.spend, OneOrMany::One(_));
        for (n, spend) in limits.spend.as_slice().iter().enumerate() {
            let path = if single { format!("{path}.spend") } else { format!("{path}.spend[{n}]") };
            all.push((path, spend.money));
        }
    }
    for (name, team) in &config.teams {
        all.extend(team.approve_above.map(|money| (format!("teams.{name}.approve_above"), money)));
    }
    for (name, model) in &config.models {
        let rules = model.price.iter().enumerate();
        all.extend(rules.map(|(n, rule)| (format!("models.{name}.price[{n}].image"), rule.image)));
    }
    if let Unpriced::Ceiling(money) = config.routing.unpriced {
        all.push(("routing.unpriced".into(), money));
    }
    all
}
