//! `check`: what the configuration says, what it switches on and off, and why.

use super::{Gateway, banner, options, output};
use crate::{
    auth::{Claim, FileKey, Issuer, KeepImages, Mode},
    config::{Config, Loaded},
    images::Delivery,
    providers::{ModelInfo, Registry, TargetInfo},
    store::Address,
};
use plugin_api::value::Limits;
use std::{fmt::Write as _, path::Path, process::ExitCode};

pub fn run(gateway: &Gateway) -> anyhow::Result<ExitCode> {
    let loaded = gateway.load()?;
    let data_dir = gateway.data_dir();
    let registry = options::registry(&loaded.config, gateway.plugins, &data_dir)?;
    // Built too, so that a bad expiry or level is found here and not at the start.
    crate::telemetry::logs::check(&loaded.config.telemetry.log)?;
    output::print(&report(&loaded, &registry, &data_dir));
    Ok(ExitCode::SUCCESS)
}

type Rows = Vec<Vec<String>>;

fn row(name: &str, value: impl Into<String>) -> Vec<String> {
    vec![name.into(), value.into()]
}

fn report(loaded: &Loaded, registry: &Registry, data_dir: &Path) -> String {
    let config = &loaded.config;
    let mut text = String::new();
    let mut section = |title: &str, body: String| {
        if !body.is_empty() {
            let _ = write!(text, "{title}\n{body}\n");
        }
    };
    section("Gateway", output::list(&gateway(loaded, data_dir)));
    section("Callers", output::list(&callers(config)));
    let providers: Rows = registry.instances().map(|i| banner::provider(i, registry)).collect();
    section("Providers", output::list(&providers));
    section("Models", models(registry));
    section("Limits", output::list(&limits(config)));
    section("Not served yet", bullets(&loaded.later));
    section("Warnings", bullets(&loaded.warnings));
    text += "The configuration is good.\n";
    text
}

fn bullets(lines: &[String]) -> String {
    lines.iter().map(|line| format!("  - {line}\n")).collect()
}

fn gateway(loaded: &Loaded, data_dir: &Path) -> Rows {
    let config = &loaded.config;
    let server = &config.server;
    let url = server.public_url.clone().unwrap_or_else(|| "http:// and the address that is bound".into());
    let secret = if server.secret.is_empty() {
        format!("made at the first start, in {}", data_dir.join("secret").display())
    } else {
        "from the configuration".into()
    };
    let paths = &config.mcp.paths;
    let mcp = paths.jobs.clone().unwrap_or_else(|| "off".into());
    let storage = &config.storage;
    let place = crate::images::place(storage, data_dir);
    let database = Address::parse(&config.database.url, data_dir);
    let database = database.map_or_else(|error| error.to_string(), |address| address.to_string());
    let delivery = serde_json::to_value(storage.delivery).unwrap_or_default();
    let delivery = delivery.as_str().unwrap_or_default();
    let links = match storage.delivery {
        Delivery::Public => format!("{delivery}, without an end"),
        _ if storage.base_url.is_some() => "below storage.base_url, without an end".into(),
        _ => format!("{delivery}, for {}", storage.signed_url_ttl),
    };
    vec![
        row("settings", banner::configuration(loaded)),
        row("listens on", server.listen.as_slice().join(", ")),
        row("public URL", url),
        row("MCP endpoint", mcp),
        row("secret", secret),
        row("data", data_dir.display().to_string()),
        row("database", database),
        row(
            "images",
            format!("{} in {place}, links {}; at most {} each", storage.kind, links, storage.max_image),
        ),
        row("jobs", format!("{} workers; rows are kept {}", config.jobs.workers, config.jobs.retention)),
    ]
}

fn callers(config: &Config) -> Rows {
    let how = match config.auth.mode {
        Mode::None => "nobody is asked for a key",
        Mode::Keys => "a key, as a bearer",
        Mode::Any => "a key or a token of an issuer, as a bearer",
        Mode::Jwt => "a token of an issuer, as a bearer",
    };
    let mut rows = vec![row("must show", how)];
    for key in &config.auth.keys {
        rows.push(row(&format!("key {}", key.id), file_key(key)));
    }
    for issuer in &config.auth.issuers {
        let used = matches!(config.auth.mode, Mode::Jwt | Mode::Any);
        let says = if used { self::issuer(issuer) } else { "off: `auth.mode` takes no tokens".into() };
        rows.push(row(&format!("issuer {}", issuer.issuer), says));
    }
    if matches!(config.auth.mode, Mode::Keys | Mode::Any) {
        rows.push(row("more keys", "`image-gateway keys list` shows those of the database"));
    }
    for (name, team) in &config.teams {
        let mut says = vec![format!("weight {}", team.weight)];
        if team.models != ["*"] {
            says.push(format!("models {}", team.models.join(", ")));
        }
        if let KeepImages::For(span) = team.retention.images {
            says.push(format!("images are kept {span}"));
        }
        let own = limit_words(&team.limits);
        if !own.is_empty() {
            says.push(own);
        }
        rows.push(row(&format!("team {name}"), says.join("; ")));
    }
    rows
}

/// What its tokens must be, and who they make of their bearers.
fn issuer(issuer: &Issuer) -> String {
    let claim = |claim: &Option<Claim>, default: &str| match claim {
        None => format!("claim {default}"),
        Some(Claim::Name(name)) => format!("claim {name}"),
        Some(Claim::Fixed { value }) => format!("always {value}"),
    };
    let from = issuer.jwks_url.as_ref().or(issuer.jwks_file.as_ref()).map_or("", String::as_str);
    format!(
        "{} for {}; team: {}, subject: {}, scopes: {}; keys from {from}",
        issuer.algorithms.join(", "),
        issuer.audience.as_slice().join(" or "),
        claim(&issuer.claims.team, "team"),
        claim(&issuer.claims.subject, "sub"),
        claim(&issuer.claims.scopes, "scope or scp"),
    )
}

/// A key of the file without a value: `key: "${CI_KEY:-}"` where the variable is not set.
pub fn is_off(key: &FileKey) -> bool {
    key.key.is_empty() && key.key_sha256.as_deref().unwrap_or_default().is_empty()
}

/// Its team and whether it is on; never the key.
fn file_key(key: &FileKey) -> String {
    let team = key.team.as_deref().unwrap_or("default");
    let state = if is_off(key) { "off: it has no value" } else { "on" };
    match &key.expires {
        Some(end) => format!("team {team}, until {end}, {state}"),
        None => format!("team {team}, {state}"),
    }
}

pub fn models(registry: &Registry) -> String {
    let mut rows = Vec::new();
    for model in registry.models() {
        for (n, target) in model.targets.iter().enumerate() {
            let name = if n == 0 { label(&model) } else { String::new() };
            let to = format!("{}/{}", target.instance, target.vendor_model);
            rows.push(vec![name, to, output::money(target.price), state(target, registry)]);
        }
    }
    let head = ["NAME", "TARGET", "ONE IMAGE", "STATE"];
    let default = match registry.default_model() {
        Some(name) => format!("A call that names no model gets {name}, marked with *.\n"),
        None => "A call must name a model: every entry of routing.default_model is off.\n".into(),
    };
    output::indent(&(output::table(&head, &rows) + &default), 2)
}

fn label(model: &ModelInfo) -> String {
    format!("{}{}", model.name, if model.default { " *" } else { "" })
}

/// The reason of an instance that is off stands under `Providers` already.
fn state(target: &TargetInfo, registry: &Registry) -> String {
    match &target.off {
        None => "on".into(),
        Some(_) if registry.paused_since(&target.instance).is_some() => {
            format!("paused, as {} is", target.instance)
        }
        Some(_) if registry.instance(&target.instance).is_some_and(|i| !i.is_on()) => {
            format!("off, as {} is", target.instance)
        }
        Some(why) => format!("off: {why}"),
    }
}

fn limits(config: &Config) -> Rows {
    let all = &config.limits;
    let rows = [("each key", &all.per_key), ("each team", &all.per_team), ("the gateway", &all.overall)];
    let words =
        |limits: &Limits| Some(limit_words(limits)).filter(|w| !w.is_empty()).unwrap_or("none".into());
    let mut rows: Rows = rows.map(|(who, limits)| row(who, words(limits))).to_vec();
    rows.push(row("wrong keys", format!("{} from one address", all.per_address.unauthenticated)));
    rows
}

fn limit_words(limits: &Limits) -> String {
    let mut words = Vec::new();
    if let Some(rate) = limits.requests {
        let burst = limits.burst.map_or(String::new(), |n| format!(" (bursts of {n})"));
        words.push(format!("requests {rate}{burst}"));
    }
    words.extend(limits.concurrent_jobs.map(|n| format!("{n} jobs at once")));
    words.extend(limits.queued_jobs.map(|n| format!("{n} jobs waiting")));
    words.extend(limits.images.as_slice().iter().map(|window| format!("images {window}")));
    words.extend(limits.spend.as_slice().iter().map(|window| format!("spend {window}")));
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{LoadOptions, load},
        providers::builtin::PLUGINS,
    };

    fn checked(yaml: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.yaml"), yaml).unwrap();
        let options = LoadOptions { working_dir: dir.path().into(), ..Default::default() };
        let loaded = load(&options, PLUGINS).unwrap();
        let data = dir.path().join("data");
        let registry = options::registry(&loaded.config, PLUGINS, &data).unwrap();
        let text = report(&loaded, &registry, &data);
        assert!(!data.exists(), "a check makes nothing");
        text
    }

    #[test]
    fn it_tells_what_is_off_and_what_would_switch_it_on() {
        let text = checked("");
        assert!(text.contains("OPENAI_API_KEY is not set"), "{text}");
        assert!(text.contains("placeholder *"), "the default model: {text}");
        assert!(text.contains("requests 600/min (bursts of 100), 32 jobs at once"), "{text}");
        assert!(text.ends_with("The configuration is good.\n") && !text.contains("Warnings"), "{text}");
    }

    #[test]
    fn keys_are_named_and_never_shown() {
        let text = checked(
            "auth: {keys: [{id: ci, key: igw_hush, expires: 2027-01-31}, {id: idle, team: default}]}\n\
             providers: {openai: {kind: openai, api_key: sk-hush}}\nmodels: {}\nrouting: {default_model: []}\n",
        );
        assert!(text.contains("until 2027-01-31, on") && text.contains("off: it has no value"), "{text}");
        assert!(text.contains("openai/MODEL") && text.contains("A call must name a model"), "{text}");
        assert!(!text.contains("hush"), "{text}");
    }

    #[test]
    fn issuers_are_told_with_what_their_tokens_must_say() {
        let issuers = "issuers: [{issuer: 'https://login.test/', audience: 'https://g.test/mcp', algorithms: [ES256, RS256], \
            jwks_url: 'https://login.test/keys', claims: {team: {value: default}, scopes: roles}}]";
        let text = checked(&format!("auth: {{mode: jwt, {issuers}}}\n"));
        let line = "issuer https://login.test/  ES256, RS256 for https://g.test/mcp; team: always default, subject: claim sub, \
            scopes: claim roles; keys from https://login.test/keys";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("a token of an issuer") && !text.contains("keys list"), "{text}");
        let off = checked(&format!("auth: {{{issuers}}}\n"));
        assert!(off.contains("off: `auth.mode`") && off.contains("Warnings\n  - auth.issuers"), "{off}");
    }

    #[test]
    fn what_comes_later_and_what_is_likely_wrong_have_sections_of_their_own() {
        let text = checked(
            "server: {listen: 0.0.0.0:8000, insecure: true, public_url: http://127.0.0.1:8000}\napis: {rest: false}\n",
        );
        assert!(text.contains("Not served yet\n  - apis"), "{text}");
        assert!(text.contains("Warnings\n  - server.listen"), "{text}");
    }
}
