use super::*;

fn load_none(variables: &[&str]) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let options = LoadOptions {
        environment: environment(variables),
        working_dir: folder.path().to_owned(),
        ..LoadOptions::default()
    };
    load(&options, PLUGINS).unwrap()
}

#[test]
fn an_empty_file_and_no_file_mean_the_same() {
    let none = load_none(&[]);
    assert_eq!(none.file, None);
    for text in ["", "\n", "# only a comment\n", "---\n", "{}", "server:\nproviders:\nmodels:\n"] {
        let loaded = load_text(text).unwrap();
        assert!(loaded.file.is_some());
        assert_eq!(json(&loaded.config), json(&none.config), "{text:?}");
    }
}

#[test]
fn a_gateway_that_runs_takes_no_empty_file_for_the_built_in_settings() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    let options = LoadOptions {
        file: Some(file.clone()),
        working_dir: folder.path().to_owned(),
        again: true,
        ..LoadOptions::default()
    };
    let again = || load(&options, PLUGINS).map(drop).map_err(|errors| errors.to_string());
    assert!(again().unwrap_err().contains("cannot be read: entity not found"));
    std::fs::write(&file, " \n").unwrap();
    assert!(again().unwrap_err().contains("the file is empty"));
    std::fs::write(&file, "# nothing set\n").unwrap();
    assert_eq!(again(), Ok(()));
    let pipe = LoadOptions { file: Some("/dev/null".into()), ..options.clone() };
    let text = load(&pipe, PLUGINS).unwrap_err().to_string();
    assert!(text.contains("no regular file"), "{text}");
}

#[test]
fn every_file_with_a_say_is_named_also_beside_an_error() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("here"), "x").unwrap();
    let yaml = "server: {secret_file: gone}\nredis: {url_file: here}\n";
    std::fs::write(folder.path().join("config.yaml"), yaml).unwrap();
    let options = LoadOptions { working_dir: folder.path().to_owned(), ..LoadOptions::default() };
    let mut files = Vec::new();
    assert!(load_noting(&options, PLUGINS, &mut files).is_err());
    assert_eq!(files, ["config.yaml", ".env", "gone", "here"].map(|name| folder.path().join(name)));
}

#[test]
fn nothing_set_is_the_defaults_with_the_built_in_entries() {
    let Loaded { config, warnings, later, .. } = load_none(&[]);
    let names: Vec<&str> = config.providers.keys().map(String::as_str).collect();
    assert_eq!(names, ["openai", "workers-ai", "hunyuan", "doubao", "qwen", "gemini", "placeholder"]);
    assert_eq!(config.models.len(), 8);
    assert_eq!(config.models["photo"].targets[1].to(), "doubao/doubao-seedream-5-0-pro-260628");
    assert_eq!(config.teams.keys().collect::<Vec<_>>(), ["default"]);
    assert_eq!((warnings, later), (vec![], vec![]));

    let mut bare = config;
    (bare.providers, bare.models, bare.teams) = Default::default();
    assert_eq!(json(&bare), json(&Config::default()));
}

#[test]
fn built_in_entries_take_the_environment() {
    let loaded = load_none(&[
        "OPENAI_API_KEY=sk-1",
        "OPENAI_BASE_URL=http://127.0.0.1:9/v1",
        "PUBLIC_URL=https://images.example.com/",
        "DATABASE_URL=sqlite://other.db",
    ]);
    let openai = &loaded.config.providers["openai"];
    assert_eq!(openai.plugin["api_key"], "sk-1");
    assert_eq!(openai.plugin["base_url"], "http://127.0.0.1:9/v1");
    assert_eq!(openai.default_model.as_deref(), Some("gpt-image-2.5-flare"));
    assert_eq!(loaded.config.server.public_url.as_deref(), Some("https://images.example.com"));
    assert_eq!(loaded.config.database.url, "sqlite://other.db");
}

#[test]
fn a_bad_variable_of_a_built_in_entry_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let text = load_in(folder.path(), "", &["PUBLIC_URL=nonsense"], &[]).unwrap_err().to_string();
    let wanted = "built-in entries: server.public_url: not a URL such as https://images.example.com (the value of `${PUBLIC_URL:-}`)";
    assert_eq!(text, wanted);
}

#[test]
fn a_given_section_replaces_the_built_in_one_as_a_whole() {
    let loaded = load_text("providers:\n  mine: {kind: openai, api_key: x}\n").unwrap();
    assert_eq!(loaded.config.providers.keys().collect::<Vec<_>>(), ["mine"]);
    // Its models stay: they are off, as their instances are not there.
    assert_eq!(loaded.config.models.len(), 8);
    assert!(config("providers: {}\n").providers.is_empty());
    // A file that sets one field of a section keeps what is built in beside it.
    let folder = tempfile::tempdir().unwrap();
    let text = "database: {max_connections: 2}\n";
    let loaded = load_in(folder.path(), text, &["DATABASE_URL=sqlite://env.db"], &[]).unwrap();
    assert_eq!(
        (loaded.config.database.max_connections, loaded.config.database.url.as_str()),
        (2, "sqlite://env.db")
    );
}

#[test]
fn the_example_loads_and_says_what_comes_later() {
    let loaded = load_text(include_str!("../testdata/example.yaml")).unwrap_or_else(|e| panic!("{e}"));
    let config = &loaded.config;
    assert_eq!(config.routes.len(), 2);
    assert_eq!(config.teams["design"].weight, 3);
    assert_eq!(config.teams["design"].limits.spend.as_slice().len(), 2);
    assert_eq!(config.auth.issuers[0].scope_map["image.write"].as_str(), "images:write");
    assert_eq!(config.mcp.clients[1].inline_max, Some(plugin_api::value::ByteSize::kib(900)));
    let sections: Vec<&str> =
        loaded.later.iter().filter_map(|l| l.split_once(": ")).map(|(s, _)| s).collect();
    assert_eq!(sections, ["server.admin_listen", "teams", "teams"]);
    // It shows both, and `keys` is the default.
    let unused = "auth.issuers: they have no say in this `auth.mode`; use `any` or `jwt`";
    assert_eq!(loaded.warnings, [unused]);
}

/// Key paths at which two values differ.
fn differences(a: &serde_json::Value, b: &serde_json::Value, path: &str, out: &mut Vec<String>) {
    match (a, b) {
        (serde_json::Value::Object(a), serde_json::Value::Object(b)) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let null = serde_json::Value::Null;
                let (a, b) = (a.get(key).unwrap_or(&null), b.get(key).unwrap_or(&null));
                differences(a, b, &format!("{path}.{key}"), out);
            }
        }
        (a, b) if a != b => out.push(path.to_owned()),
        _ => {}
    }
}

#[test]
fn the_example_differs_from_the_defaults_only_in_its_examples() {
    let example = load_text(include_str!("../testdata/example.yaml")).unwrap();
    let mut found = Vec::new();
    differences(&json(&example.config), &json(&load_none(&[]).config), "", &mut found);
    let wanted = [
        ".auth.issuers",
        ".auth.keys",
        ".auth.oauth.sign_in",
        ".mcp.clients",
        ".routes",
        ".server.admin_listen",
        ".server.public_url",
        ".teams.design",
        ".teams.marketing",
        ".teams.platform",
    ];
    assert_eq!(found, wanted);
}

#[test]
fn the_documented_file_says_what_the_code_does() {
    let documented = load_text(include_str!("../../../config.yaml")).unwrap_or_else(|e| panic!("{e}"));
    let none = load_none(&[]);
    assert_eq!(json(&documented.config), json(&none.config));
    assert_eq!(documented.later, none.later);
    assert_eq!(documented.warnings, none.warnings);
    // Every section stands in it, so that none is forgotten.
    let text = include_str!("../../../config.yaml");
    for section in json(&Config::default()).as_object().unwrap().keys() {
        let commented = format!("# {section}:");
        assert!(
            text.lines().any(|l| l.starts_with(&format!("{section}:")) || l.starts_with(&commented)),
            "{section}"
        );
    }
}

#[test]
fn the_file_of_variables_feeds_the_configuration_and_the_environment_wins() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".env"), "ONE=file\nTWO=file\n").unwrap();
    let yaml = "providers: {a: {kind: openai, api_key: '${ONE}', organization: \"${TWO}\"}}\n";
    let loaded = load_in(folder.path(), yaml, &["TWO=real"], &[]).unwrap();
    let plugin = &loaded.config.providers["a"].plugin;
    assert_eq!((&plugin["api_key"], &plugin["organization"]), (&"file".into(), &"real".into()));

    std::fs::write(folder.path().join("other.env"), "ONE=other\nTWO=other\n").unwrap();
    let options = LoadOptions {
        env_file: Some("other.env".into()),
        working_dir: folder.path().to_owned(),
        ..LoadOptions::default()
    };
    assert_eq!(load(&options, PLUGINS).unwrap().config.providers["a"].plugin["api_key"], "other");
}

#[test]
fn a_named_file_that_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for (file, env_file) in [(Some("no.yaml"), None), (None, Some("no.env"))] {
        let options = LoadOptions {
            file: file.map(Into::into),
            env_file: env_file.map(Into::into),
            working_dir: folder.path().to_owned(),
            ..LoadOptions::default()
        };
        let text = load(&options, PLUGINS).unwrap_err().to_string();
        assert!(text.contains("cannot be read: entity not found"), "{text}");
    }
}

#[test]
fn a_secret_comes_from_its_file_and_the_file_wins() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), "  from-file\n").unwrap();
    std::fs::write(folder.path().join("long"), "s".repeat(40)).unwrap();
    let yaml = "
server: {secret_file: long}
redis: {url: inline, url_file: key}
auth: {keys: [{id: a, key: inline, key_file: key}]}
providers:
  a: {kind: openai, api_key: inline, api_key_file: key}
  c: {kind: openai, api_keys: [{id: x, value_file: key}]}
  b: {kind: workers-ai, api_token_file: key}
";
    let config = load_in(folder.path(), yaml, &[], &[]).unwrap_or_else(|e| panic!("{e}")).config;
    assert_eq!(config.server.secret.expose(), "s".repeat(40));
    assert_eq!(config.server.secret_file.as_deref(), Some("long"));
    assert_eq!(config.redis.url.expose(), "from-file");
    assert_eq!(config.auth.keys[0].key.expose(), "from-file");
    assert_eq!(config.providers["a"].plugin["api_key"], "from-file");
    assert_eq!(config.providers["a"].plugin.get("api_key_file"), None);
    assert_eq!(config.providers["c"].api_keys[0].value.expose(), "from-file");
    assert_eq!(config.providers["b"].plugin["api_token"], "from-file");
}
