//! What no schema can say: values that do not go together, and values that would not do what they promise.

use super::{
    Config,
    problem::{Problems, nearest},
    walk::Spot,
};
use crate::auth::Mode;
use plugin_api::{
    ImageRequest,
    value::{OneOrMany, Secret, Span},
};
use serde_json::json;
use std::{collections::BTreeMap, net::SocketAddr};
use url::Url;

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

/// What `capabilities` of a model may override.
const CAPABILITIES: [&str; 19] = [
    "sizes",
    "max_n",
    "references",
    "mask",
    "transparent",
    "formats",
    "format_selectable",
    "compression",
    "prompt_max",
    "negative_prompt",
    "qualities",
    "seed",
    "steps",
    "guidance",
    "styles",
    "moderation",
    "watermark",
    "prompt_rewrite",
    "user",
];

type Place<'a> = &'a dyn Fn(&str) -> Spot;

/// Reports errors, puts URLs into their usual form, and returns warnings.
pub(super) fn check(config: &mut Config, place: Place<'_>, problems: &mut Problems) -> Vec<String> {
    let mut checks = Checks { place, problems };
    if config.version.0 != 1 {
        checks.wrong("version", "this build reads version 1".into());
    }
    let open = checks.listeners(config);
    checks.secrets(config);
    checks.keys(config);
    checks.numbers(config);
    checks.issuers(config);
    checks.urls(config);
    checks.models(config);
    checks.storage(config);
    let mut warnings = Vec::new();
    if let (Some(listen), Some(url)) =
        (open, config.server.public_url.as_deref().and_then(|u| Url::parse(u).ok()))
        && is_loopback(&url)
    {
        warnings.push(format!(
            "server.listen is {listen} and server.public_url is {url}: links will not open on other machines; set server.public_url to the address that clients use"
        ));
    }
    warnings
}

struct Checks<'a> {
    place: Place<'a>,
    problems: &'a mut Problems,
}

impl Checks<'_> {
    fn wrong(&mut self, path: &str, message: String) {
        let spot = (self.place)(path);
        self.problems.add_new(spot.at, path, spot.shown(message));
    }

    /// A name that means nothing: reported where the name stands.
    fn unknown(&mut self, path: &str, message: String) {
        let spot = (self.place)(path);
        self.problems.add_new(spot.key.unwrap_or(spot.at), path, message);
    }

    /// The first address that is open to other machines.
    fn listeners(&mut self, config: &Config) -> Option<SocketAddr> {
        let (server, mut open) = (&config.server, None);
        let single = matches!(server.listen, OneOrMany::One(_));
        let protected = server.tls.is_some() || server.insecure;
        for (n, text) in server.listen.as_slice().iter().enumerate() {
            let path = if single { "server.listen".to_owned() } else { format!("server.listen[{n}]") };
            match text.parse::<SocketAddr>() {
                Err(_) => self.wrong(&path, not_an_address(text)),
                Ok(address) if !address.ip().is_loopback() => {
                    open = open.or(Some(address));
                    if !protected {
                        let message = format!(
                            "{address} is open to other machines: it needs `tls`, or `insecure: true` behind a proxy that has it"
                        );
                        self.wrong(&path, message);
                    }
                }
                Ok(_) => {}
            }
        }
        if server.listen.as_slice().is_empty() {
            self.wrong("server.listen", "at least one address is needed".into());
        }
        if let Some(text) = &server.admin_listen
            && text.parse::<SocketAddr>().is_err()
        {
            self.wrong("server.admin_listen", not_an_address(text));
        }
        if let (Mode::None, Some(address)) = (config.auth.mode, open) {
            let message = format!("`none` asks nobody, and {address} is open to other machines: use `keys`");
            self.wrong("auth.mode", message);
        }
        open
    }

    fn secrets(&mut self, config: &Config) {
        let short = |secret: &Secret| !secret.is_empty() && secret.expose().len() < 32;
        let message = "a server secret has at least 32 bytes; `openssl rand -hex 32` makes one";
        if short(&config.server.secret) {
            let path =
                if config.server.secret_file.is_some() { "server.secret_file" } else { "server.secret" };
            self.wrong(path, message.into());
        }
        for (n, secret) in config.server.previous_secrets.iter().enumerate() {
            if short(secret) {
                self.wrong(&format!("server.previous_secrets[{n}]"), message.into());
            }
        }
    }

    fn keys(&mut self, config: &Config) {
        let ids = config.auth.keys.iter().map(|key| key.id.as_str());
        self.unique(ids, "auth.keys");
        self.unique(config.webhooks.iter().map(|hook| hook.id.as_str()), "webhooks");
        for (name, instance) in &config.providers {
            let path = format!("providers.{name}.api_keys");
            self.unique(instance.api_keys.iter().map(|key| key.id.as_str()), &path);
        }
        for (n, key) in config.auth.keys.iter().enumerate() {
            let hash = key.key_sha256.as_deref().unwrap_or_default();
            if !hash.is_empty() && (hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit())) {
                let message = "the SHA-256 of a key has 64 hexadecimal digits".into();
                self.wrong(&format!("auth.keys[{n}].key_sha256"), message);
            }
            if let Some(day) = key.expires.as_deref()
                && day.parse::<jiff::civil::Date>().is_err()
                && day.parse::<jiff::Timestamp>().is_err()
            {
                let message =
                    format!("`{day}` is neither a day (2027-01-31) nor a time (2027-01-31T12:00:00Z)");
                self.wrong(&format!("auth.keys[{n}].expires"), message);
            }
        }
    }

    fn unique<'s>(&mut self, ids: impl Iterator<Item = &'s str>, path: &str) {
        let mut seen = BTreeMap::new();
        for (n, id) in ids.enumerate() {
            if id.is_empty() {
                self.wrong(&format!("{path}[{n}]"), "`id` is missing".into());
            } else if let Some(first) = seen.insert(id, n) {
                self.wrong(&format!("{path}[{n}].id"), format!("`{id}` is also the id of {path}[{first}]"));
            }
        }
    }

    fn numbers(&mut self, config: &Config) {
        let nought = |n: u32| n == 0;
        let mut zero: Vec<String> = config
            .providers
            .iter()
            .filter(|(_, instance)| instance.concurrency.is_some_and(nought))
            .map(|(name, _)| format!("providers.{name}.concurrency"))
            .collect();
        let weightless = config.teams.iter().filter(|(_, team)| team.weight == 0);
        zero.extend(weightless.map(|(name, _)| format!("teams.{name}.weight")));
        for (path, is_zero) in [
            ("jobs.workers", nought(config.jobs.workers)),
            ("jobs.queue_limit", config.jobs.queue_limit == 0),
            ("jobs.lease", config.jobs.lease.is_zero()),
            ("jobs.deadline", config.jobs.deadline.is_zero()),
            ("routing.retries.attempts", nought(config.routing.retries.attempts)),
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
        let mut limits = vec![
            ("limits.per_key".to_owned(), &config.limits.per_key),
            ("limits.per_team".to_owned(), &config.limits.per_team),
            ("limits.overall".to_owned(), &config.limits.overall),
        ];
        limits.extend(config.teams.iter().map(|(name, team)| (format!("teams.{name}.limits"), &team.limits)));
        for (path, limits) in limits {
            if let Some(n) = shares(&limits.warn_at) {
                self.wrong(&format!("{path}.warn_at[{n}]"), "a share is above 0 and at most 1".into());
            }
        }
        if !(0.0..=1.0).contains(&config.telemetry.otlp.sample) {
            self.wrong("telemetry.otlp.sample", "a share is from 0 to 1".into());
        }
        for (currency, rate) in &config.routing.exchange_rates {
            if *rate <= 0.0 {
                self.wrong(&format!("routing.exchange_rates.{currency}"), "must be more than zero".into());
            }
        }
        let currency = &config.routing.currency;
        if currency.len() != 3 || !currency.bytes().all(|b| b.is_ascii_uppercase()) {
            self.wrong("routing.currency", "a currency is three capital letters, such as USD".into());
        }
    }

    fn issuers(&mut self, config: &Config) {
        for (n, issuer) in config.auth.issuers.iter().enumerate() {
            let path = format!("auth.issuers[{n}]");
            if issuer.leeway.is_some_and(|leeway| leeway > Span::secs(60)) {
                self.wrong(&format!("{path}.leeway"), "at most 60s".into());
            }
            if issuer.jwks_url.is_none() && issuer.jwks_file.is_none() {
                self.wrong(&path, "`jwks_url` or `jwks_file` is missing".into());
            }
            for (field, missing) in [
                ("issuer", issuer.issuer.is_empty()),
                ("audience", issuer.audience.is_empty()),
                ("algorithms", issuer.algorithms.is_empty()),
            ] {
                if missing {
                    self.wrong(&path, format!("`{field}` is missing"));
                }
            }
        }
    }

    /// A default that no call could carry would be left out without a word.
    fn models(&mut self, config: &Config) {
        for (name, model) in &config.models {
            for (argument, value) in &model.defaults {
                let path = format!("models.{name}.defaults.{argument}");
                if !ARGUMENTS.contains(&argument.as_str()) {
                    self.unknown(&path, format!("unknown argument{}", nearest(argument, ARGUMENTS)));
                } else if let Err(error) = serde_json::from_value::<ImageRequest>(json!({ argument: value }))
                {
                    self.wrong(&path, error.to_string());
                }
            }
            for field in model.capabilities.keys().filter(|f| !CAPABILITIES.contains(&f.as_str())) {
                let path = format!("models.{name}.capabilities.{field}");
                self.unknown(&path, format!("unknown capability{}", nearest(field, CAPABILITIES)));
            }
        }
    }

    fn storage(&mut self, config: &mut Config) {
        let storage = &mut config.storage;
        if storage.kind != "fs" {
            return;
        }
        let root = storage.options.entry("root").or_insert_with(|| "images".into()).clone();
        if root.as_str().is_none_or(str::is_empty) {
            self.wrong("storage.options.root", "expected a folder".into());
        }
        for option in storage.options.keys().filter(|option| *option != "root") {
            let path = format!("storage.options.{option}");
            self.unknown(&path, format!("unknown option of `fs`{}", nearest(option, ["root"])));
        }
    }

    fn urls(&mut self, config: &mut Config) {
        for (path, field) in [
            ("server.public_url", &mut config.server.public_url),
            ("storage.base_url", &mut config.storage.base_url),
        ] {
            match field.as_deref().map(base) {
                Some(Ok(url)) => *field = Some(url),
                Some(Err(message)) => self.wrong(path, message),
                None => {}
            }
        }
    }
}

fn not_an_address(text: &str) -> String {
    format!("`{text}` is not an address with a port, such as 127.0.0.1:8000 or [::1]:8000")
}

/// An absolute http(s) URL without its trailing slash.
fn base(text: &str) -> Result<String, String> {
    let bad = || "not a URL such as https://images.example.com".to_owned();
    let url = Url::parse(text).map_err(|_| bad())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(bad());
    }
    if url.query().is_some()
        || url.fragment().is_some()
        || !url.username().is_empty()
        || url.password().is_some()
    {
        return Err("a base URL has no user, query or fragment".into());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback() || ip.is_unspecified(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback() || ip.is_unspecified(),
        None => false,
    }
}
