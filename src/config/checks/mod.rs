//! What no schema can say: values that do not go together, and values that would not do what they promise.

mod amounts;
mod issuers;
mod network;
mod routes;

pub(super) use routes::prove;

use super::{
    Config,
    problem::{Problems, nearest},
    walk::Spot,
};
use crate::{auth, images::Flaw};
use plugin_api::value::Secret;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};
use url::Url;

pub(super) type Place<'a> = &'a dyn Fn(&str) -> Spot;

/// Reports errors, puts URLs and paths into their usual form, and returns warnings. Files are relative to `folder`;
/// `files` gets those that were read.
pub(super) fn check(
    config: &mut Config,
    folder: &Path,
    files: &mut Vec<PathBuf>,
    place: Place<'_>,
    problems: &mut Problems,
) -> Vec<String> {
    let mut checks = Checks { place, problems };
    if config.version.0 != 1 {
        checks.wrong("version", "this build reads version 1".into());
    }
    let open = checks.listeners(config);
    checks.secrets(config);
    checks.keys(config);
    checks.numbers(config);
    checks.calendars(config);
    checks.currencies(config);
    checks.provider_limits(config);
    checks.issuers(config);
    let unused = checks.key_files(config, folder, files);
    checks.urls(config);
    checks.browsers_and_proxies(config);
    checks.paths(config);
    checks.models(config);
    checks.storage(config);
    checks.log(config);
    open.into_iter().filter_map(|address| dead_links(config, address)).chain(unused).collect()
}

/// Links that would open on this machine only.
fn dead_links(config: &Config, open: SocketAddr) -> Option<String> {
    let remedy =
        "links will not open on other machines; set server.public_url to the address that clients use";
    match config.server.public_url.as_deref() {
        // The bound address is what links say, and nobody can call 0.0.0.0.
        None if open.ip().is_unspecified() => {
            Some(format!("server.listen is {open} and server.public_url is not set: {remedy}"))
        }
        None => None,
        Some(url) => network::is_loopback(&Url::parse(url).ok()?)
            .then(|| format!("server.listen is {open} and server.public_url is {url}: {remedy}")),
    }
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
        for name in
            config.teams.keys().filter(|name| name.is_empty() || name.chars().count() > auth::LONGEST_TEAM)
        {
            let message = format!("a team's name has 1 to {} characters", auth::LONGEST_TEAM);
            self.unknown(&format!("teams.{name}"), message);
        }
        let ids = config.auth.keys.iter().map(|key| key.id.as_str());
        self.unique(ids, "auth.keys");
        self.unique(config.webhooks.iter().map(|hook| hook.id.as_str()), "webhooks");
        for (name, instance) in &config.providers {
            let path = format!("providers.{name}.api_keys");
            self.unique(instance.api_keys.iter().map(|key| key.id.as_str()), &path);
        }
        for (n, key) in config.auth.keys.iter().enumerate() {
            if auth::is_subject(&key.id) {
                let message = "a name with an issuer after `@` is a token's subject; choose another".into();
                self.wrong(&format!("auth.keys[{n}].id"), message);
            }
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

    fn log(&mut self, config: &Config) {
        let level = config.telemetry.log.level.as_str();
        let levels = ["off", "error", "warn", "info", "debug", "trace"];
        let filter = level.contains([',', '=']);
        if !filter && !levels.iter().any(|l| l.eq_ignore_ascii_case(level)) {
            self.wrong("telemetry.log.level", format!("`{level}` is not a level{}", nearest(level, levels)));
        } else if filter && tracing_subscriber::EnvFilter::try_new(level).is_err() {
            self.wrong("telemetry.log.level", format!("`{level}` is not a filter such as info,sqlx=warn"));
        }
    }

    fn storage(&mut self, config: &mut Config) {
        if config.storage.kind == "fs" {
            config.storage.options.root.get_or_insert_with(|| "images".into());
        }
        for Flaw { path, message, instead } in config.storage.flaws() {
            let hint = |name: &str| {
                if instead.is_empty() { String::new() } else { nearest(name, instead.iter().copied()) }
            };
            match path.strip_prefix("storage.options.") {
                Some(option) if !instead.is_empty() => self.unknown(&path, message + &hint(option)),
                _ => self.wrong(&path, message + &hint(&config.storage.kind)),
            }
        }
    }
}
