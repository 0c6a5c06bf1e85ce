//! What differs between the configuration in force and a new one, and what of it can only change at a start.

use super::Config;
use crate::mcp::{Changes, Names};
use indexmap::IndexMap;

/// A field of a section: whether two configurations agree on it, and how one takes it over from the other.
struct Field {
    path: &'static str,
    same: fn(&Config, &Config) -> bool,
    take: fn(&mut Config, &Config),
}

macro_rules! fields {
    ($($section:ident $(. $field:ident)?),* $(,)?) => {
        [$(Field {
            path: concat!(stringify!($section) $(, ".", stringify!($field))?),
            same: |a, b| a.$section $(.$field)? == b.$section $(.$field)?,
            take: |to, from| to.$section $(.$field)? = from.$section $(.$field)?.clone(),
        }),*]
    };
}

/// Opened, bound or spread over the process at its start.
const FIXED: &[Field] = &fields![
    version,
    server.listen,
    server.public_url,
    server.admin_listen,
    server.secret,
    server.previous_secrets,
    server.tls,
    server.insecure,
    server.allowed_hosts,
    server.allowed_origins,
    server.trusted_proxies,
    server.shutdown_grace,
    server.limits,
    mcp.paths,
    auth.mode,
    routing.currency,
    jobs.workers,
    jobs.lease,
    jobs.role,
    jobs.reference_memory,
    database,
    storage.kind,
    storage.options,
    storage.delivery,
    storage.signed_url_ttl,
    storage.base_url,
    storage.max_image,
    storage.max_pixels,
    storage.thumbnail,
    storage.spool,
    telemetry.log,
];

/// Taken by a reload. What is not served yet is among them: it has no effect before nor after.
const LIVE: &[Field] = &fields![
    mcp.sessions,
    mcp.tools,
    mcp.wait_ceiling,
    mcp.heartbeat,
    mcp.result,
    mcp.full_max,
    mcp.clients,
    auth.issuers,
    auth.oauth,
    limits.per_key,
    limits.per_team,
    limits.overall,
    limits.per_address,
    routes,
    routing.default_model,
    routing.default_provider,
    routing.exchange_rates,
    routing.parameters,
    routing.fallback_on,
    routing.on_ambiguous,
    routing.unpriced,
    routing.watermark,
    routing.retries,
    routing.breaker,
    jobs.deadline,
    jobs.queue_limit,
    jobs.retention,
    jobs.idempotency_ttl,
    jobs.duplicate_window,
    redis,
    storage.reference_hosts,
    webhooks,
    console,
    apis,
    telemetry.otlp,
    reload,
];

fn differing<'a>(fields: &'a [Field], old: &'a Config, new: &'a Config) -> impl Iterator<Item = String> + 'a {
    fields.iter().filter(|field| !(field.same)(old, new)).map(|field| field.path.to_owned())
}

/// Paths of the fields that differ and can only change at a start.
pub fn fixed(old: &Config, new: &Config) -> Vec<String> {
    differing(FIXED, old, new).collect()
}

/// Gives a new configuration the running one's values of all fields that can only change at a start.
pub fn keep_fixed(new: &mut Config, old: &Config) {
    FIXED.iter().for_each(|field| (field.take)(new, old));
}

/// What a reload from `old` to `new` changes: key paths, and the names among them.
pub fn changes(old: &Config, new: &Config) -> (Vec<String>, Changes) {
    let keys = |config: &Config| -> IndexMap<String, _> {
        config.auth.keys.iter().map(|key| (key.id.clone(), key.clone())).collect()
    };
    let changes = Changes {
        providers: names(&old.providers, &new.providers),
        models: names(&old.models, &new.models),
        teams: names(&old.teams, &new.teams),
        keys: names(&keys(old), &keys(new)),
    };
    let sections = [
        ("providers", &changes.providers),
        ("models", &changes.models),
        ("teams", &changes.teams),
        ("auth.keys", &changes.keys),
    ];
    let mut fields: Vec<String> = differing(LIVE, old, new).collect();
    for (section, names) in sections {
        let all = names.added.iter().chain(&names.removed).chain(&names.changed);
        fields.extend(all.map(|name| format!("{section}.{name}")));
    }
    (fields, changes)
}

fn names<T: PartialEq>(old: &IndexMap<String, T>, new: &IndexMap<String, T>) -> Names {
    let missing = |from: &IndexMap<String, T>, of: &IndexMap<String, T>| -> Vec<String> {
        of.keys().filter(|name| !from.contains_key(*name)).cloned().collect()
    };
    let changed = new.iter().filter(|(name, entry)| old.get(*name).is_some_and(|old| old != *entry));
    Names {
        added: missing(old, new),
        removed: missing(new, old),
        changed: changed.map(|(name, _)| name.clone()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::value::{Secret, Span};
    use serde_json::{Value, json};

    #[test]
    fn every_field_is_either_taken_by_a_reload_or_kept() {
        let Value::Object(sections) = serde_json::to_value(Config::default()).unwrap() else { panic!() };
        let by_entry = ["providers", "models", "teams", "auth.keys"];
        let known: Vec<&str> = FIXED.iter().chain(LIVE).map(|f| f.path).chain(by_entry).collect();
        let mut left = Vec::new();
        for (section, value) in &sections {
            if known.contains(&section.as_str()) {
                continue;
            }
            for field in value.as_object().into_iter().flat_map(|fields| fields.keys()) {
                let path = format!("{section}.{field}");
                // The content of such a file is in its twin.
                if !known.contains(&path.as_str()) && !path.ends_with("_file") {
                    left.push(path);
                }
            }
        }
        assert_eq!(left, [""; 0], "name them in FIXED or in LIVE");
    }

    fn config(json: Value) -> Config {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn entries_that_come_go_and_change_are_named() {
        let old = config(json!({
            "providers": {"a": {"kind": "openai", "api_key": "1"}, "b": {"kind": "openai"}, "c": {"kind": "openai"}},
            "auth": {"keys": [{"id": "ci", "key": "old"}, {"id": "same", "key": "x"}]},
            "teams": {"default": {}}
        }));
        let new = config(json!({
            "providers": {"d": {"kind": "openai"}, "c": {"kind": "openai"}, "a": {"kind": "openai", "api_key": "2"}},
            "auth": {"keys": [{"id": "same", "key": "x"}, {"id": "ci", "key": "new"}]},
            "teams": {"default": {"weight": 2}},
            "jobs": {"deadline": "1m"}
        }));
        let (fields, changes) = changes(&old, &new);
        let wanted =
            ["jobs.deadline", "providers.d", "providers.b", "providers.a", "teams.default", "auth.keys.ci"];
        assert_eq!(fields, wanted);
        let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let Names { added, removed, changed } = changes.providers;
        assert_eq!((added, removed, changed), (names(&["d"]), names(&["b"]), names(&["a"])));
        assert_eq!(super::changes(&new, &new), Default::default());
    }

    #[test]
    fn what_only_a_start_can_change_is_named_and_kept() {
        let old = Config::default();
        let mut new = config(json!({"server": {"listen": "127.0.0.1:1"}, "jobs": {"deadline": "1m"}}));
        new.server.secret = Secret::new("s".repeat(32));
        assert_eq!(fixed(&old, &new), ["server.listen", "server.secret"]);
        keep_fixed(&mut new, &old);
        assert_eq!(fixed(&old, &new), [""; 0]);
        assert_eq!(new.jobs.deadline, Span::secs(60), "the rest is the new one's");
    }
}
