use super::*;
use plugin_api::value::{ByteSize, Span};

fn with_sets(yaml: &str, sets: &[&str]) -> Result<Loaded, ConfigErrors> {
    load_in(tempfile::tempdir().unwrap().path(), yaml, &[], sets)
}

#[test]
fn a_set_argument_changes_adds_and_counts_list_items() {
    let sets = [
        "server.listen=127.0.0.1:9",
        "jobs.workers=7",
        "mcp.paths.sse=null",
        "providers.openai.concurrency=3",
        "providers.extra={kind: placeholder, delay: 2s}",
        "routing.default_model=[placeholder]",
        "auth.keys.0.id=ci",
        "auth.keys.1={id: other}",
        "teams.new.weight=2",
    ];
    let config = with_sets("auth: {keys: [{id: old, key: k}]}\nproviders: {openai: {kind: openai}}\n", &sets)
        .unwrap_or_else(|e| panic!("{e}"))
        .config;
    assert_eq!(config.server.listen.as_slice(), ["127.0.0.1:9"]);
    assert_eq!(config.jobs.workers, 7);
    assert_eq!(config.mcp.paths.sse, None);
    assert_eq!(config.providers["openai"].concurrency, Some(3));
    assert_eq!(config.providers["extra"].plugin["delay"], "2s");
    assert_eq!(config.routing.default_model, ["placeholder"]);
    let ids: Vec<&str> = config.auth.keys.iter().map(|k| k.id.as_str()).collect();
    assert_eq!(ids, ["ci", "other"]);
    assert_eq!(config.auth.keys[0].key.expose(), "k");
    assert_eq!(config.teams["new"].weight, 2);
}

#[test]
fn a_set_argument_is_blamed_by_its_key() {
    for (set, wanted) in [
        ("jobs.workes=7", "--set jobs.workes: unknown field; did you mean `workers`?"),
        ("jobs.workers=many", "--set jobs.workers: expected a whole number, found text"),
        (
            "jobs.lease=\"${GONE}\"",
            "--set jobs.lease: the variable `GONE` is not set; set it, or write `${GONE:-}` if it may be empty",
        ),
        ("jobs", "--set jobs: not of the form key.path=value"),
        ("=1", "--set : not of the form key.path=value"),
        ("jobs.workers.x=1", "--set jobs.workers.x: there is a single value where `x` would go"),
        ("auth.keys.5.id=a", "--set auth.keys.5.id: the list has 1 items; there is no item 5"),
        ("auth.keys.x.id=a", "--set auth.keys.x.id: `x` is not the number of a list item"),
        ("jobs={workers: x}", "--set jobs: jobs.workers: expected a whole number, found text"),
        ("jobs={workers", "--set jobs: the value is not YAML; put text with special characters in quotes"),
    ] {
        let yaml = "jobs: {workers: 3}\nauth: {keys: [{id: a}]}\n";
        assert_eq!(with_sets(yaml, &[set]).unwrap_err().to_string(), wanted, "{set}");
    }
}

#[test]
fn values_from_variables_have_the_type_that_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = "
jobs: {workers: \"${N}\", lease: \"${N}s\"}
telemetry: {log: {prompts: \"${YES}\"}}
routing: {exchange_rates: {CNY: \"${RATE:-0.5}\"}}
providers: {a: {kind: workers-ai, account_id: \"${N}\", gateway: \"${NOTHING:-}\", concurrency: \"${NOTHING:-}\"}}
";
    let loaded = load_in(folder.path(), yaml, &["N=12", "YES=true"], &[]).unwrap_or_else(|e| panic!("{e}"));
    let config = loaded.config;
    assert_eq!((config.jobs.workers, config.jobs.lease), (12, Span::secs(12)));
    assert!(config.telemetry.log.prompts);
    assert_eq!(config.routing.exchange_rates["CNY"], 0.5);
    let a = &config.providers["a"];
    assert_eq!((&a.plugin["account_id"], a.concurrency), (&"12".into(), None));
    assert_eq!(a.plugin["gateway"], "");
}

#[test]
fn lists_aliases_and_merges_are_read() {
    let config = config(
        "
server: {listen: 127.0.0.1:1, limits: {body: 1MiB}}
teams:
  a: &a {weight: 2, limits: {images: 5/day}}
  b: {<<: *a, weight: 4}
  c: *a
  d:
",
    );
    assert_eq!(config.server.limits.body, ByteSize::mib(1));
    assert_eq!(config.server.limits.header_fields, 100);
    let weights: Vec<u32> = config.teams.values().map(|t| t.weight).collect();
    // `default` comes first when the file does not name it.
    assert_eq!(weights, [1, 2, 4, 2, 1]);
    assert_eq!(config.teams["b"].limits.images.as_slice().len(), 1);
}

#[test]
fn a_file_from_windows_is_read() {
    let config = config("\u{feff}jobs:\r\n  workers: 3\r\n  lease: 5s\r\n");
    assert_eq!((config.jobs.workers, config.jobs.lease), (3, Span::secs(5)));
}

#[test]
fn a_public_listener_with_a_local_link_address_is_warned_about() {
    let yaml = |url: &str| format!("server: {{listen: '0.0.0.0:80', insecure: true, public_url: '{url}'}}\n");
    for url in ["http://127.0.0.1:8000", "http://localhost", "http://[::1]:80"] {
        let warnings = load_text(&yaml(url)).unwrap().warnings;
        assert!(warnings.len() == 1 && warnings[0].contains("0.0.0.0:80"), "{warnings:?}");
    }
    assert!(load_text(&yaml("https://images.example.com")).unwrap().warnings.is_empty());
    let open = load_text("server: {listen: '0.0.0.0:80', insecure: true}").unwrap().warnings;
    assert!(open.len() == 1 && open[0].contains("not set"), "{open:?}");
    assert!(load_text("server: {public_url: 'http://localhost:1'}").unwrap().warnings.is_empty());
}

#[test]
fn what_comes_later_is_said_only_when_it_is_asked_for() {
    for (yaml, wanted) in [
        ("redis: {url: 'redis://h'}", "redis.url: "),
        ("webhooks: [{id: a, url: 'https://h'}]", "webhooks: "),
        ("auth: {oauth: {enabled: true}}", "auth.oauth: "),
        ("telemetry: {otlp: {endpoint: 'http://h'}}", "telemetry.otlp: "),
        ("teams: {a: {approve_above: 1 USD}}", "teams: "),
        ("apis: {rest: false}", "apis: "),
    ] {
        let later = load_text(yaml).unwrap_or_else(|e| panic!("{e}")).later;
        assert!(later.len() == 1 && later[0].starts_with(wanted), "{yaml}: {later:?}");
    }
}

#[test]
fn what_a_plugin_says_of_its_models_is_checked_field_by_field() {
    let good =
        "providers: {q: {kind: qwen, api_key: k, models: {wan2.7-image-pro: {references: 9, max_ratio: 8}}}}";
    let models = &config(good).providers["q"].plugin["models"];
    assert_eq!(models["wan2.7-image-pro"], serde_json::json!({"references": 9, "max_ratio": 8}));
    let bad = "providers: {g: {kind: gemini, models: {new: {referenses: 9, like: gemini-2.5-flash-image}}}}";
    let wanted =
        "config.yaml:1:46: providers.g.models.new.referenses: unknown field; did you mean `references`?";
    assert_eq!(errors(bad), wanted);
}
