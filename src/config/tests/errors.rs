use super::*;

#[test]
fn every_problem_of_a_file_is_reported_in_one_go() {
    let yaml = "\
version: 2
server:
  listen: [nowhere, 127.0.0.1:1]
  shutdown_grace: 30
  limits: {headers: 16, bdy: 1MiB}
providers:
  openai: {kind: openai, api_key: k, concurency: 8, rate: 50/day}
  other: {kind: opnai}
models:
  a: {targets: [opena/x, openai], price: [{image: 4 cents}]}
jobs:
  workers: many
  role: al
  queue_limit: -1
telemetry: []
";
    let wanted = "\
config.yaml:1:10: version: this build reads version 1
config.yaml:3:12: server.listen[0]: `nowhere` is not an address with a port, such as 127.0.0.1:8000 or [::1]:8000
config.yaml:4:19: server.shutdown_grace: `30` is not a duration: write it like 250ms, 30s, 10m, 24h or 7d
config.yaml:5:21: server.limits.headers: `16` is not a size: write it like 512B, 16KiB, 20MiB or 2GiB
config.yaml:5:25: server.limits.bdy: unknown field; did you mean `body`?
config.yaml:7:38: providers.openai.concurency: unknown field; did you mean `concurrency`?
config.yaml:7:59: providers.openai.rate: `50/day` is not a rate: write it like 20/s, 60/min or 1000/h
config.yaml:8:17: providers.other.kind: `opnai` is none of `openai`, `workers-ai`, `hunyuan`, `doubao`, `qwen`, `gemini`, `http`, `mcp`, `placeholder`; did you mean `openai`?
config.yaml:10:17: models.a.targets[0]: there is no instance in `providers` called `opena`; did you mean `openai`?
config.yaml:10:26: models.a.targets[1]: `openai` is not a target: it is written `instance/vendor-model`; name a model after it, `openai/...`
config.yaml:10:51: models.a.price[0].image: `4 cents` is not an amount of money: write it like 0.04 USD or 20 EUR
config.yaml:12:12: jobs.workers: expected a whole number, found text
config.yaml:13:9: jobs.role: `al` is none of `all`, `api`, `worker`; did you mean `all`?
config.yaml:14:16: jobs.queue_limit: expected a whole number from 0 to 9223372036854775807
config.yaml:15:12: telemetry: expected a map, found a list";
    assert_eq!(errors(yaml), wanted);
}

/// One problem each: the text and what is said.
#[test]
fn each_kind_of_mistake_has_its_place_and_its_sentence() {
    let (long, mut wrong) = ("x".repeat(20), Vec::new());
    for (yaml, wanted) in [
        ("srever: {}", "1:1: srever: unknown field; did you mean `server`?"),
        ("server: {secret_fil: x}", "1:10: server.secret_fil: unknown field; did you mean `secret_file`?"),
        ("redis: {ulr_file: x}", "1:9: redis.ulr_file: unknown field; did you mean `url_file`?"),
        ("reload: {zzzzzz: x}", "1:10: reload.zzzzzz: unknown field; there are `watch`"),
        ("jobs: 5", "1:7: jobs: expected a map, found a number"),
        ("[]", "1:1: expected a map, found a list"),
        ("text", "1:1: expected a map, found text"),
        ("jobs: {workers: null}", "1:17: jobs.workers: expected a whole number, found nothing"),
        ("jobs: {workers: 99999999999}", "1:17: jobs.workers: expected a whole number from 0 to 4294967295"),
        ("jobs: {workers: '8'}", "1:17: jobs.workers: expected a whole number, found text"),
        ("jobs: {workers: 0}", "1:17: jobs.workers: must be more than zero"),
        ("jobs: {workers: 1, workers: 2}", "1:20: jobs.workers: stands twice, first on line 1"),
        ("reload: {watch: yes}", "1:17: reload.watch: expected true or false, found text"),
        ("mcp: {paths: {jobs: 5}}", "1:21: mcp.paths.jobs: expected text, found a number: put it in quotes"),
        ("mcp: {tools: '*'}", "1:14: mcp.tools: expected a list, found text"),
        ("mcp: {clients: [{result: link}]}", "1:17: mcp.clients[0]: `match` is missing"),
        ("mcp: {wait_ceiling: [1]}", "1:21: mcp.wait_ceiling: expected a duration, found a list"),
        (
            "limits: {per_key: {images: 5}}",
            "1:28: limits.per_key.images: `5` is not a window: write it like 500/day (hour, day, week, month)",
        ),
        (
            "limits: {per_key: {spend: [5 USD]}}",
            "1:28: limits.per_key.spend[0]: `5 USD` is not a budget: write it like 20 USD/day (hour, day, week, month)",
        ),
        (
            "limits: {per_key: {images: {a: 1}}}",
            "1:28: limits.per_key.images: expected a list or a window such as 500/day, found a map",
        ),
        (
            "limits: {per_team: {images: [300/day, 200/day]}}",
            "1:39: limits.per_team.images[1]: there is a limit per day already; one of them is enough",
        ),
        (
            "limits: {per_team: {warn_at: [2]}}",
            "1:31: limits.per_team.warn_at[0]: a share is above 0 and at most 1",
        ),
        (
            "teams: {a: {time_zone: Europe/Berlim}}",
            "1:24: teams.a.time_zone: `Europe/Berlim` is no time zone: write it like Europe/Berlin or UTC; did you mean `Europe/Berlin`?",
        ),
        (
            "teams: {a: {retention: {images: x}}}",
            "1:33: teams.a.retention.images: `x` is not a duration: write it like 250ms, 30s, 10m, 24h or 7d; or `forever`",
        ),
        (
            "routing: {unpriced: free}",
            "1:21: routing.unpriced: `free` is not an amount of money: write it like 0.04 USD or 20 EUR; or `refuse`",
        ),
        (
            "routing: {default_model: [photos]}",
            "1:27: routing.default_model[0]: there is no model in `models` called `photos`; did you mean `photo`?",
        ),
        (
            "routing: {default_provider: opnai}",
            "1:29: routing.default_provider: there is no instance in `providers` called `opnai`; did you mean `openai`?",
        ),
        (
            "routes: [{to: [{to: opnai/x}]}]",
            "1:21: routes[0].to[0].to: there is no instance in `providers` called `opnai`; did you mean `openai`?",
        ),
        (
            "routes: [{to: [openai/x], when: {team: x}}]",
            "1:40: routes[0].when.team: there is no team in `teams` called `x`; there are `default`",
        ),
        (
            "routes: [{to: [openai/x], when: {model: [phot]}}]",
            "1:42: routes[0].when.model[0]: there is no model in `models` called `phot`; did you mean `photo`?",
        ),
        (
            "auth: {keys: [{id: a, team: defualt}]}",
            "1:29: auth.keys[0].team: there is no team in `teams` called `defualt`; did you mean `default`?",
        ),
        ("auth: {keys: [{id: a}, {id: a}]}", "1:29: auth.keys[1].id: `a` is also the id of auth.keys[0]"),
        ("auth: {keys: [{key: k}]}", "1:15: auth.keys[0]: `id` is missing"),
        (
            "auth: {keys: [{id: a, scopes: [write]}]}",
            "1:32: auth.keys[0].scopes[0]: `write` is none of `images:read`, `images:write`, `usage:read`, `admin`",
        ),
        (
            "auth: {keys: [{id: a, expires: soon}]}",
            "1:32: auth.keys[0].expires: `soon` is neither a day (2027-01-31) nor a time (2027-01-31T12:00:00Z)",
        ),
        (
            "auth: {keys: [{id: a, key_sha256: '12'}]}",
            "1:35: auth.keys[0].key_sha256: the SHA-256 of a key has 64 hexadecimal digits",
        ),
        (
            "auth: {mode: jwt}",
            "1:14: auth.mode: `jwt` takes tokens alone, and `auth.issuers` names no issuer",
        ),
        (
            "auth: {issuers: [{issuer: 'https://i', audience: a, algorithms: [ES256], jwks_url: 'https://i/k', leeway: 61s}]}",
            "1:107: auth.issuers[0].leeway: at most 60s",
        ),
        (
            "auth: {issuers: [{issuer: 'https://i', audience: a, algorithms: [ES256], jwks_url: 'https://i/k', claims: {team: {value: default, valu: x}}}]}",
            "1:131: auth.issuers[0].claims.team.valu: unknown field; did you mean `value`?",
        ),
        (
            "auth: {issuers: [{issuer: 'https://i', audience: a, algorithms: [ES256], jwks_url: 'http://i/k'}]}",
            "1:84: auth.issuers[0].jwks_url: `http://i/k` is not protected on its way: use https (http is good for loopback only)",
        ),
        (
            "auth: {issuers: [{issuer: 'https://i', audience: a, algorithms: [ES256], jwks_file: no.json}]}",
            "1:85: auth.issuers[0].jwks_file: the file `no.json` cannot be read: entity not found",
        ),
        (
            "auth: {issuers: [{issuer: 'https://i', algorithms: [ES256], jwks_url: 'https://i/k'}]}",
            "1:18: auth.issuers[0]: `audience` is missing",
        ),
        (
            "auth: {issuers: [{issuer: 'https://i', audience: a, algorithms: [none], jwks_url: 'https://i/k'}]}",
            "1:66: auth.issuers[0].algorithms[0]: `none` is not an algorithm with a public key; there are ",
        ),
        (
            "auth: {issuers: [{issuer: 'https://i', audience: a, algorithms: [ES256], jwks_url: 'https://i/k', claims: {team: {value: nobody}}}]}",
            "1:122: auth.issuers[0].claims.team.value: there is no team in `teams` called `nobody`",
        ),
        (
            "auth: {issuers: [{issuer: 'https://i', audience: a, algorithms: [ES256], jwks_url: 'https://i/k', claims: {scopes: {value: 'images:read write'}}}]}",
            "1:124: auth.issuers[0].claims.scopes.value: `write` is no scope; there are ",
        ),
        (
            "auth: {issuers: [{issuer: 'https://i', audience: a, algorithms: [ES256], jwks_url: 'https://i/k'}, {issuer: 'https://i', audience: a, algorithms: [ES256], jwks_url: 'https://i/k'}]}",
            "1:109: auth.issuers[1].issuer: `https://i` is also that of auth.issuers[0]",
        ),
        (
            "auth: {keys: [{id: 'alice@https://i', key: k}]}",
            "1:20: auth.keys[0].id: a name with an issuer after `@` is a token's subject; choose another",
        ),
        (
            "server: {listen: '0.0.0.0:1'}",
            "1:18: server.listen: 0.0.0.0:1 is open to other machines: it needs `tls`, or `insecure: true` behind a proxy that has it",
        ),
        ("server: {listen: []}", "1:18: server.listen: at least one address is needed"),
        (
            "server: {public_url: /here}",
            "1:22: server.public_url: not a URL such as https://images.example.com",
        ),
        (
            "server: {public_url: 'https://h/?a=b'}",
            "1:22: server.public_url: a base URL has no user, query or fragment",
        ),
        (
            "database: {url: 'oracle://h/d'}",
            "1:17: database.url: use sqlite://gateway.db, postgres://user:password@host/database or mysql://user:password@host/database",
        ),
        (
            "storage: {kind: s4}",
            "1:17: storage.kind: `s4` is no kind of storage of this build; did you mean `s3`?",
        ),
        ("storage: {kind: s3, options: {region: eu-west-1}}", "1:30: storage.options: `bucket` is missing"),
        (
            "storage: {kind: s3, options: {bucket: b}}",
            "1:30: storage.options: `region` is missing, or `endpoint` for a service that is not Amazon's",
        ),
        (
            "storage: {kind: s3, options: {bucket: b, endpoint: 's3.example.com'}}",
            "1:52: storage.options.endpoint: not a URL such as https://s3.example.com",
        ),
        (
            "storage: {kind: s3, options: {bucket: b, region: x, access_key_id: k}}",
            "1:30: storage.options: `secret_access_key` is missing, or empty",
        ),
        (
            "storage: {kind: r2, options: {bucket: b, access_key_id: k, secret_access_key: s}}",
            "1:30: storage.options: `account_id` is missing",
        ),
        (
            "storage: {kind: r2, options: {bucket: b, account_id: a, regoin: x, access_key_id: k, secret_access_key: s}}",
            "1:57: storage.options.regoin: unknown option of `r2`; there are ",
        ),
        (
            "storage: {kind: s3, options: {bucket: b, region: x}, delivery: presigned, signed_url_ttl: 8d}",
            "1:91: storage.signed_url_ttl: links that a bucket signs end after 7d at the latest",
        ),
        (
            "storage: {delivery: presigned}",
            "1:21: storage.delivery: `fs` has no presigned links: use `signed`, `public` or `base_url`",
        ),
        ("storage: {delivery: base_url}", "1:21: storage.delivery: `base_url` needs `storage.base_url`"),
        ("providers: {a: {api_key: k}}", "1:16: providers.a: `kind` is missing"),
        (
            "providers: {a: {kind: openai, concurrency: 0}}",
            "1:44: providers.a.concurrency: must be more than zero",
        ),
        (
            "providers: {a: {kind: placeholder, delay: soon}}",
            "1:43: providers.a.delay: `soon` is not a duration: write it like 250ms, 30s, 10m, 24h or 7d",
        ),
        (
            "models: {a: {targets: [5]}}",
            "1:24: models.a.targets[0]: expected text, found a number: put it in quotes",
        ),
        (
            "providers: {a: {kind: openai, base_url: 'ftp://h'}}",
            "1:41: providers.a.base_url: `ftp://h` is not an http(s) URL",
        ),
        ("providers: {a: {kind: openai, max_n: 0}}", "1:38: providers.a.max_n: 0 is not within 1 to 100"),
        (
            "models: {a: {}}",
            "1:13: models.a: `targets` is missing: a model needs one, such as placeholder/card",
        ),
        ("routes: [{name: a}]", "1:10: routes[0]: `to` is missing: a route needs a target"),
        (
            "server: {allowed_origins: ['https://h/']}",
            "1:28: server.allowed_origins[0]: `https://h/` is not an origin such as https://app.example.com, nor `*`",
        ),
        (
            "server: {trusted_proxies: [10.0.0.0/33]}",
            "1:28: server.trusted_proxies[0]: `10.0.0.0/33` is neither an address nor a network such as 10.0.0.0/8",
        ),
        ("mcp: {paths: {jobs: mcp}}", "1:21: mcp.paths.jobs: `mcp` is not a path such as /mcp"),
        ("mcp: {paths: {sse: /mcp}}", "1:20: mcp.paths.sse: `/mcp` is also mcp.paths.jobs"),
        (
            "telemetry: {log: {level: inof}}",
            "1:26: telemetry.log.level: `inof` is not a level; did you mean `info`?",
        ),
        (
            "auth: {oauth: {sign_in: [kee]}}",
            "1:26: auth.oauth.sign_in[0]: there is no issuer in `auth.issuers` called `kee`",
        ),
        (
            "auth: {issuers: [{issuer: 'https://i', audience: a, algorithms: [HS256], jwks_url: 'https://i/k'}]}",
            "1:66: auth.issuers[0].algorithms[0]: `HS256` is not an algorithm with a public key; did you mean ",
        ),
        (
            "limits: {overall: {spend: 5 EUR/day}}",
            "1:27: limits.overall.spend: there is no rate for `EUR` in `routing.exchange_rates`",
        ),
        (
            "models: {a: {targets: [openai/x], price: [{image: 1 EUR}]}}",
            "1:51: models.a.price[0].image: there is no rate for `EUR` in `routing.exchange_rates`",
        ),
        (
            "routing: {exchange_rates: {eur: 1}}",
            "1:28: routing.exchange_rates.eur: a currency is three capital letters, such as USD",
        ),
        (
            "models: {a: {targets: [openai/x], defaults: {siez: 1x1}}}",
            "1:46: models.a.defaults.siez: unknown argument; did you mean `size`?",
        ),
        (
            "models: {a: {targets: [openai/x], defaults: {quality: hihg}}}",
            "1:55: models.a.defaults.quality: unknown variant `hihg`, expected one of `auto`, `low`, `medium`, `high`, `xhigh`, `max`",
        ),
        (
            "models: {a: {targets: [openai/x], capabilities: {refs: 1}}}",
            "1:50: models.a.capabilities.refs: unknown field; there are ",
        ),
        (
            "storage: {options: {rot: x}}",
            "1:21: storage.options.rot: unknown option of `fs`; did you mean `root`?",
        ),
        (
            "jobs: {lease: '${GONE}'}",
            "1:15: jobs.lease: the variable `GONE` is not set; set it, or write `${GONE:-}` if it may be empty",
        ),
        (
            "jobs: {lease: '${GONE:-x}'}",
            "1:15: jobs.lease: the value of `${GONE:-x}` is not a duration: write it like 250ms, 30s, 10m, 24h or 7d",
        ),
        (
            "jobs: {workers: ${N}}",
            "1:18: jobs: not YAML: while parsing a flow mapping, did not find expected ',' or '}'; put `${...}` in quotes",
        ),
        ("jobs:\n  workers: 1\n lease: 5s", "3:2: not YAML: "),
        ("a: 1\n---\nb: 2", "2:1: a second YAML document; a configuration is one"),
        ("jobs: *nothing", "1:7: jobs: not YAML: while parsing node, found unknown anchor"),
        ("jobs: &a {x: *a}", "1:14: jobs.x: "),
        ("jobs: !x {}", "1:10: jobs: YAML tags have no meaning here"),
        ("? [a]\n: b", "1:3: a key must be text"),
        (
            "server: {secret: short}",
            "1:18: server.secret: a server secret has at least 32 bytes; `openssl rand -hex 32` makes one",
        ),
        (
            &format!("server: {{secret: '{}', previous_secrets: [{long}]}}", "y".repeat(32)),
            "1:73: server.previous_secrets[0]: a server secret has at least 32 bytes; `openssl rand -hex 32` makes one",
        ),
        (
            "redis: {url_file: nowhere}",
            "1:19: redis.url_file: the file `nowhere` cannot be read: entity not found",
        ),
    ] {
        let errors = errors(yaml);
        if !errors.starts_with(&format!("config.yaml:{wanted}")) || errors.lines().count() != 1 {
            wrong.push(format!("{yaml}\n  is     {errors}\n  wanted {wanted}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn asking_nobody_is_refused_off_loopback() {
    let text = errors("server: {listen: '0.0.0.0:1', insecure: true}\nauth: {mode: none}\n");
    assert_eq!(
        text,
        "config.yaml:2:14: auth.mode: `none` asks nobody, and 0.0.0.0:1 is open to other machines: use `keys`"
    );
    assert!(load_text("auth: {mode: none}").is_ok());
}

#[test]
fn an_alias_bomb_and_a_deep_nest_are_refused_at_once() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..10 {
        let last = format!("*a{}, ", n - 1).repeat(10);
        bomb += &format!("a{n}: &a{n} [{last}]\n");
    }
    assert!(errors(&bomb).contains("more than 100000 values, aliases spread out"));
    assert!(
        errors(&format!("{}{}", "[".repeat(100), "]".repeat(100))).contains("nested deeper than 64 levels")
    );
    assert!(errors(&"# x\n".repeat(2 << 20)).contains("larger than 1 MiB"));
}

#[test]
fn a_secret_is_in_no_error() {
    for yaml in [
        "server: {secret: sk-canary, previous_secrets: sk-canary}",
        "server: {secret: [sk-canary]}\nauth: {keys: [{id: a, key: {a: sk-canary}}]}",
        "providers: {a: {kind: openai, api_kye: sk-canary, api_key: [sk-canary]}}",
        "providers: {a: {kind: opnai, api_key: sk-canary}}",
        "providers: {a: {kind: openai, api_key: sk-canary, timeout: '${CANARY}', rate: '${CANARY}'}}",
        "jobs: {role: '${CANARY}', workers: '${CANARY}'}",
        "server: {listen: '${CANARY}', public_url: '${CANARY}', admin_listen: '${CANARY}'}",
        "routes: [{to: ['${CANARY}/x', '${CANARY}']}]",
        "routing: {default_model: ['${CANARY}'], default_provider: '${CANARY}'}",
        "auth: {keys: [{id: a, expires: '${CANARY}', team: '${CANARY}'}, {id: '${CANARY}'}, {id: '${CANARY}'}]}",
        "models: {a: {targets: [openai/x], defaults: {size: '${CANARY}', quality: '${CANARY}', seed: '${CANARY}'}}}",
        "api_key: sk-canary\nsecret: sk-canary",
        "database: {url: 'postgres://u:sk-canary@h'}",
        "api_key: \"sk-canary\nx: [",
        "redis: {url: sk-canary, ulr: 1}",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let errors = load_in(folder.path(), yaml, &["CANARY=sk-canary"], &[]).expect_err(yaml);
        assert!(!errors.to_string().contains("canary"), "{yaml}\n{errors}");
        assert!(!format!("{errors:?}").contains("canary"), "{yaml}\n{errors}");
    }
    for set in ["server.secret=[sk-canary", "server.secret={a: sk-canary}", "api_key=sk-canary"] {
        let folder = tempfile::tempdir().unwrap();
        let errors = load_in(folder.path(), "", &[], &[set]).expect_err(set);
        assert!(!errors.to_string().contains("canary"), "{set}\n{errors}");
    }
}

#[test]
fn a_secret_is_in_no_dump_of_what_was_loaded() {
    let yaml = "
server: {secret: sk-canary-of-more-than-thirty-two-bytes, previous_secrets: [sk-canary-of-more-than-thirty-two-bytes]}
redis: {url: sk-canary}
auth: {keys: [{id: a, key: sk-canary}]}
providers: {a: {kind: openai, api_key: sk-canary}, b: {kind: openai, api_keys: [{id: a, value: sk-canary}]}}
";
    let loaded = load_text(yaml).unwrap();
    assert_eq!(loaded.config.providers["a"].plugin["api_key"], "sk-canary");
    assert!(!format!("{loaded:?}").contains("canary"), "{loaded:?}");
    let json = serde_json::to_string(&loaded.config).unwrap();
    assert!(!json.contains("canary"), "{json}");
}

mod any_text {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_panics(text in any::<String>()) {
            let _ = load_text(&text);
        }

        #[test]
        fn that_looks_like_yaml_never_panics(text in "[a-z&*!<:{}\\[\\],'\"$#|> \n-]{0,80}") {
            let _ = load_text(&text);
        }

        #[test]
        fn as_a_value_never_panics(value in "[ -~]{0,20}", section in "(server|jobs|providers|models|routes|auth|limits)") {
            let _ = load_text(&format!("{section}: {value}\n"));
            let folder = tempfile::tempdir().unwrap();
            let _ = load_in(folder.path(), "", &[], &[&format!("{section}.{value}={value}")]);
        }
    }
}
