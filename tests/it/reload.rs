//! The configuration changes while the gateway runs: what is right is taken at once, what is wrong changes nothing.

use crate::support::{
    Client, Config, Gateway, Home, ToolResult, config, eventually,
    vendor::{self, Vendor},
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use testkit::{Behaviour, FakeUpstream};

const OPS: &str = "igw_ops_0123456789abcdef0123456789abcdef";
const ALICE: &str = "igw_alice_0123456789abcdef0123456789abcd";

/// A gateway whose keys are in its file: `OPS` may do all.
fn scene() -> Config {
    config().placeholder(json!({})).key("ops", OPS)
}

async fn reload(client: &Client) -> ToolResult {
    client.tool("reload_config", json!({})).await
}

async fn status(client: &Client) -> StatusCode {
    client.post(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})).await.status()
}

async fn tools(client: &Client) -> Vec<Value> {
    client.rpc("tools/list", json!({})).await["result"]["tools"].as_array().unwrap().clone()
}

/// The models that the schema of `generate_image` names, sorted.
async fn models(client: &Client) -> Vec<String> {
    let tools = tools(client).await;
    let generate = tools.iter().find(|tool| tool["name"] == "generate_image").unwrap();
    sorted(&generate["inputSchema"]["properties"]["model"]["enum"])
}

fn sorted(names: &Value) -> Vec<String> {
    let mut names: Vec<String> = serde_json::from_value(names.clone()).unwrap();
    names.sort_unstable();
    names
}

/// Calls without a pause until it is told to end; a call that fails is a dropped one.
struct Traffic {
    stop: Arc<AtomicBool>,
    calls: Vec<tokio::task::JoinHandle<u64>>,
    made: Arc<AtomicU64>,
}

impl Traffic {
    fn start(client: &Client) -> Traffic {
        let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let calls: Vec<_> = (0..4)
            .map(|n: u32| {
                let (client, stop, made) = (client.clone(), stop.clone(), made.clone());
                tokio::spawn(async move {
                    let mut calls = 0;
                    while !stop.load(Ordering::Relaxed) {
                        match n {
                            0 => {
                                client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.ok()
                            }
                            _ => client.tool("list_jobs", json!({})).await.ok(),
                        };
                        calls += 1;
                        made.fetch_add(1, Ordering::Relaxed);
                    }
                    calls
                })
            })
            .collect();
        Traffic { stop, calls, made }
    }

    /// Waits for calls that began after now.
    async fn goes_on(&self) {
        let before = self.made.load(Ordering::Relaxed);
        eventually("calls go on", async || (self.made.load(Ordering::Relaxed) > before + 8).then_some(()))
            .await;
    }

    /// # Panics
    /// When a call failed.
    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for calls in self.calls {
            assert!(calls.await.expect("no call is dropped") > 0);
        }
    }
}

#[tokio::test]
async fn a_broken_file_changes_nothing_and_its_place_is_named() {
    let gateway = Gateway::start(scene().set("limits.per_key", json!({"burst": 1_000_000}))).await;
    let (home, client) = (gateway.home().clone(), gateway.client_with(OPS));
    let (file, good) = (home.config_file(), fs::read_to_string(home.config_file()).unwrap());
    let traffic = Traffic::start(&client);
    traffic.goes_on().await;

    let bomb = (1..10).fold("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |all, n| {
        let line = format!("a{n}: &a{n} [{}]\n", format!("*a{}, ", n - 1).repeat(10));
        all + &line
    });
    let cases: [(&str, &dyn Fn(), &str); 10] = [
        (
            "broken YAML",
            &|| home.swap_config("jobs:\n  workers: 1\n lease: 5s\n"),
            "gateway.yaml:3:2: not YAML",
        ),
        (
            "an unknown field",
            &|| home.swap_config("jobs:\n  leese: 5s\n"),
            "gateway.yaml:2:3: jobs.leese: unknown field; did you mean `lease`?",
        ),
        (
            "a key twice",
            &|| home.swap_config("jobs: {}\nreload: {}\njobs: {}\n"),
            "gateway.yaml:3:1: jobs: stands twice, first on line 1",
        ),
        ("an alias bomb", &|| home.swap_config(&bomb), "gateway.yaml:5:"),
        ("a name of nothing", &|| home.swap_config("models:\n  m: {targets: [gone/x]}\n"), "gateway.yaml:2:"),
        (
            "a provider that its plugin refuses",
            &|| home.swap_config("providers:\n  p: {kind: openai, api_key: x, base_url: nonsense}\n"),
            "gateway.yaml:2:",
        ),
        (
            "100 MiB",
            &|| fs::File::create(&file).unwrap().set_len(100 << 20).unwrap(),
            "it is larger than 1 MiB",
        ),
        ("an empty file", &|| fs::write(&file, "").unwrap(), "the file is empty"),
        ("no file", &|| fs::remove_file(&file).unwrap(), "cannot be read: entity not found"),
        ("a folder", &|| fs::create_dir(&file).unwrap(), "cannot be read: is a directory"),
    ];
    let mut took = Vec::new();
    for (name, breaks, wanted) in cases {
        breaks();
        let begun = Instant::now();
        let log = gateway.hang_up().await;
        took.push(begun.elapsed());
        assert!(log.contains("was not reloaded") && log.contains("ERROR"), "{name}: {log}");
        assert!(log.contains(wanted), "{name}: `{wanted}` is not in {log}");
        let refused = reload(&client).await;
        assert!(refused.is_error && refused.json["ok"] == false, "{name}: {}", refused.json);
        assert_eq!(refused.json["error"]["code"], "invalid_config", "{name}");
        assert!(
            refused.json["error"]["message"].as_str().unwrap().contains(wanted),
            "{name}: {}",
            refused.json
        );
        assert_eq!(models(&client).await, ["placeholder"], "{name}: the old configuration is in force");
    }
    fs::remove_dir(&file).unwrap();
    if !rustix::process::geteuid().is_root() {
        use std::os::unix::fs::PermissionsExt as _;
        home.swap_config(&good);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
        assert!(gateway.hang_up().await.contains("cannot be read: permission denied"));
    }
    home.swap_config(&good);
    assert!(gateway.hang_up().await.contains("the configuration was reloaded"));
    traffic.goes_on().await;
    traffic.end().await;
    took.sort_unstable();
    assert!(took[took.len() / 2] < Duration::from_secs(1), "also on a busy machine: {took:?}");
    let (_, stopped) = gateway.stop().await;
    assert!(stopped.status.success(), "{:?}", stopped.status);
}

#[tokio::test]
async fn a_file_that_is_written_while_it_is_read_is_taken_whole_or_not_at_all() {
    let side = |name: &str| {
        let config = scene().set("limits.per_key", json!({"burst": 1_000_000}));
        // Long enough for a read to be overtaken.
        let config = config.set("providers.placeholder.result_hosts", json!(vec!["h.example"; 20_000]));
        config
            .model(&format!("{name}-1"), &["placeholder/card"])
            .model(&format!("{name}-2"), &["placeholder/card"])
    };
    let gateway = Gateway::start(side("a")).await;
    let (home, client) = (gateway.home().clone(), gateway.client_with(OPS));
    let both = [side("a"), side("b")].map(|config| {
        home.configure(&config);
        fs::read_to_string(home.config_file()).unwrap()
    });
    let done = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (home, done, both) = (home.clone(), done.clone(), both.clone());
        move || {
            for n in (0..).take_while(|_| !done.load(Ordering::Relaxed)) {
                let text = &both[n % 2];
                if n % 3 == 0 {
                    home.swap_config(text);
                } else {
                    // In place: first empty, then half of it.
                    let (half, rest) = text.split_at(text.len() / 2);
                    let mut file = fs::File::create(home.config_file()).unwrap();
                    std::io::Write::write_all(&mut file, half.as_bytes()).unwrap();
                    std::thread::sleep(Duration::from_millis(5));
                    std::io::Write::write_all(&mut file, rest.as_bytes()).unwrap();
                }
                std::thread::sleep(Duration::from_millis(15));
            }
        }
    });
    let mut taken = 0;
    for _ in 0..30 {
        taken += u32::from(!reload(&client).await.is_error);
        let models = models(&client).await;
        let whole =
            |side: &str| models == [format!("{side}-1"), format!("{side}-2"), "placeholder".to_owned()];
        assert!(whole("a") || whole("b"), "no mixture: {models:?}");
    }
    done.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    assert!(taken > 0, "whole files were taken");
    home.swap_config(&both[1]);
    reload(&client).await.ok();
    assert!(models(&client).await.contains(&"b-1".to_owned()));
}

#[tokio::test]
async fn jobs_of_a_removed_provider_finish_on_what_they_started_with() {
    let vendor = Vendor::start().await;
    let with = scene().vendor(&vendor.upstream);
    let gateway = Gateway::start(with.clone()).await;
    let client = gateway.client_with(OPS);
    let start = async |model: &str| client.generate_with(json!({"prompt": model, "model": model})).await;
    let (j, s) = (start("j").await, start("s").await);
    eventually("both are out, and one has a ticket", async || {
        (!vendor.bought("s").is_empty() && vendor.was_asked_for_a_ticket()).then_some(())
    })
    .await;

    gateway.home().configure(&scene());
    let result = reload(&client).await.ok().json["result"].clone();
    assert_eq!(result["changes"]["providers"]["removed"], json!(["vendor"]));
    assert_eq!(sorted(&result["changes"]["models"]["removed"]), ["j", "k", "s"]);
    assert_eq!(result["providers"], json!(["placeholder"]));
    client.tool("generate_image", json!({"prompt": "x", "model": "s"})).await.failed("invalid_request");
    assert_eq!(models(&client).await, ["placeholder"]);

    vendor.finish_all();
    for job in [&j, &s] {
        assert_eq!(client.wait(job).await.ok().str("status"), "completed");
    }
    assert_eq!(vendor.bought("j").len() + vendor.bought("s").len(), 2, "bought once each");
}

#[tokio::test]
async fn a_removed_key_is_refused_and_a_new_one_let_in_at_once() {
    let gateway = Gateway::start(scene().key("alice", ALICE).key("bob", "igw_bob_0123456789abcdef")).await;
    let (ops, alice) = (gateway.client_with(OPS), gateway.client_with(ALICE));
    let (bob, carol) =
        (gateway.client_with("igw_bob_0123456789abcdef"), gateway.client_with("igw_carol_01234567"));
    assert_eq!((status(&alice).await, status(&bob).await), (StatusCode::OK, StatusCode::OK));

    gateway.home().configure(&scene().key("alice", "igw_alice_turned").key("carol", carol.key()));
    let result = reload(&ops).await.ok();
    assert_eq!(
        result.json["result"]["changes"]["keys"],
        json!({"added": ["carol"], "removed": ["bob"], "changed": ["alice"]})
    );
    assert_eq!(status(&bob).await, StatusCode::UNAUTHORIZED, "removed");
    assert_eq!(status(&alice).await, StatusCode::UNAUTHORIZED, "the old value of a turned key");
    assert_eq!(status(&gateway.client_with("igw_alice_turned")).await, StatusCode::OK);
    assert_eq!(status(&carol).await, StatusCode::OK);
    let all = format!("{}{}", gateway.log(), result.result);
    assert!(!all.contains("igw_") && all.contains("auth.keys.alice"), "names, never values: {all}");
}

#[tokio::test]
async fn only_an_operator_may_reload() {
    let keys = json!([{"id": "plain", "key": ALICE}, {"id": "ops", "key": OPS, "scopes": ["admin"]}]);
    let gateway = Gateway::start(scene().set("auth.keys", keys)).await;
    let plain = gateway.client_with(ALICE);
    let names = |tools: Vec<Value>| tools.iter().any(|tool| tool["name"] == "reload_config");
    assert!(!names(tools(&plain).await) && names(tools(&gateway.client_with(OPS)).await));
    let call =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "reload_config"}});
    let refused = plain.post(&call).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert!(refused.headers()["www-authenticate"].to_str().unwrap().contains("admin"));
}

#[tokio::test]
async fn models_tools_and_limits_are_new_from_the_next_call_on() {
    let gateway = Gateway::start(scene()).await;
    let (client, home) = (gateway.client_with(OPS), gateway.home().clone());
    let all = tools(&client).await.len();
    home.configure(
        &scene().model("card", &["placeholder/card"]).set("mcp.tools", json!(["*image*", "reload_config"])),
    );
    let log = gateway.hang_up().await;
    assert!(log.contains("the configuration was reloaded"), "{log}");
    assert!(log.contains("mcp.tools") && log.contains("models.card"), "the log names what changed: {log}");
    assert!(tools(&client).await.len() < all);
    assert_eq!(models(&client).await, ["card", "placeholder"]);
    let image = json!({"prompt": "a fox", "model": "card"});
    client.tool("generate_image_and_wait", image.clone()).await.ok();

    home.configure(
        &scene().model("card", &["placeholder/card"]).set("limits.per_team", json!({"images": "1/day"})),
    );
    reload(&client).await.ok();
    client.tool("generate_image", image.clone()).await.ok();
    client.tool("generate_image", image.clone()).await.failed("quota_exceeded");

    home.configure(
        &scene().model("card", &["placeholder/card"]).set("teams.default.models", json!(["placeholder"])),
    );
    reload(&client).await.ok();
    client.tool("generate_image", image).await.failed("permission");
    assert_eq!(models(&client).await, ["placeholder"]);

    home.configure(&scene().set("limits.per_key", json!({"requests": "1/min", "burst": 1})));
    reload(&client).await.ok();
    assert_eq!(status(&client).await, StatusCode::OK);
    assert_eq!(status(&client).await, StatusCode::TOO_MANY_REQUESTS);
    assert!(gateway.hang_up().await.contains("the configuration was reloaded"));
    assert_eq!(status(&client).await, StatusCode::TOO_MANY_REQUESTS, "a reload fills no bucket");
}

#[tokio::test]
async fn variables_and_files_of_secrets_are_read_again() {
    let upstream = FakeUpstream::start().await;
    upstream.default(vendor::openai_picture());
    let config = config().openai(&upstream).set("providers.openai.api_key", "${LAB_KEY:-}").set(
        "auth.keys",
        json!([{"id": "ops", "key_file": "ops.key", "scopes": ["admin", "images:read", "images:write"]}]),
    );
    let home = Home::new(config);
    let write = |name: &str, text: &str| fs::write(home.folder().join(name), text).unwrap();
    write(".env", "LAB_KEY=sk-first\n");
    write("ops.key", OPS);
    let gateway = Gateway::start_at(home.clone()).await;
    let client = gateway.client_with(OPS);
    let sent = async |client: &Client| {
        client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.ok();
        upstream.requests().last().unwrap().header("authorization").map(str::to_owned)
    };
    assert_eq!(sent(&client).await.as_deref(), Some("Bearer sk-first"));

    write(".env", "LAB_KEY=sk-second\n");
    let changed = reload(&client).await.ok().json["result"]["changed_fields"].clone();
    assert_eq!(changed, json!(["providers.openai"]));
    assert_eq!(sent(&client).await.as_deref(), Some("Bearer sk-second"));

    fs::remove_file(home.folder().join(".env")).unwrap();
    write("ops.key", ALICE);
    let result = reload(&client).await.ok().json["result"].clone();
    assert_eq!(result["changed_fields"], json!(["providers.openai", "auth.keys.ops"]));
    assert_eq!(status(&client).await, StatusCode::UNAUTHORIZED, "the old secret");
    let client = gateway.client_with(ALICE);
    assert_eq!(sent_without(&client, &upstream).await, None, "a variable that is gone is not kept");
}

/// The credential of a call, if one is made at all.
async fn sent_without(client: &Client, upstream: &FakeUpstream) -> Option<String> {
    let before = upstream.submissions();
    client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await;
    let requests = upstream.requests();
    let made = requests.iter().filter(|r| r.method == "POST").nth(before)?;
    made.header("authorization").map(str::to_owned)
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_holds_back_the_rest_unless_it_may_not() {
    let listening = scene().set("server.listen", "127.0.0.1:0");
    let new = listening
        .clone()
        .set("server.listen", "127.0.0.1:1")
        .set("storage.options.root", "elsewhere")
        .set("database.max_connections", 3)
        .model("card", &["placeholder/card"]);
    let fixed = json!(["server.listen", "database", "storage.options"]);

    let strict = Gateway::start_with(Home::new(listening.clone()), &["serve"], &[]).await;
    let client = strict.client_with(OPS);
    strict.home().configure(&new);
    let error = reload(&client).await.json["error"].clone();
    assert_eq!(error["code"], "restart_required");
    assert_eq!(error["details"]["restart_required_fields"], fixed);
    assert!(
        error["message"].as_str().unwrap().contains("server.listen, database, storage.options"),
        "{error}"
    );
    let log = strict.hang_up().await;
    assert!(
        log.contains("server.listen database storage.options") && log.contains("--allow-partial"),
        "{log}"
    );
    assert_eq!(models(&client).await, ["placeholder"], "nothing was applied");

    let lenient = Gateway::start_with(Home::new(listening), &["serve", "--allow-partial"], &[]).await;
    let client = lenient.client_with(OPS);
    lenient.home().configure(&new);
    let result = reload(&client).await.ok().json["result"].clone();
    assert_eq!(result["restart_required_fields"], fixed);
    assert_eq!(result["changes"]["models"]["added"], json!(["card"]));
    assert_eq!(models(&client).await, ["card", "placeholder"], "the rest is in force");
    let again = reload(&client).await.ok().json["result"].clone();
    assert_eq!(
        (&again["restart_required_fields"], &again["changed_fields"]),
        (&fixed, &json!([])),
        "still open"
    );
}

#[tokio::test]
async fn a_watched_file_is_taken_by_itself() {
    let watching = || scene().set("reload.watch", true);
    let gateway = Gateway::start(watching()).await;
    let (client, home) = (gateway.client_with(OPS), gateway.home().clone());
    let said = async |what: &str, times: usize| {
        eventually(what, async || (gateway.log().matches(what).count() == times).then_some(())).await;
    };
    home.configure(&watching().model("card", &["placeholder/card"]));
    said("the configuration was reloaded", 1).await;
    assert_eq!(models(&client).await, ["card", "placeholder"]);

    home.swap_config("jobs: {leese: 1s}\n");
    said("the configuration was not reloaded", 1).await;
    assert_eq!(models(&client).await, ["card", "placeholder"]);

    // A file of a secret that comes later than the line that names it.
    home.configure(&watching().set("auth.keys", json!([{"id": "ops", "key_file": "ops.key"}])));
    said("the configuration was not reloaded", 2).await;
    fs::write(home.folder().join("ops.key"), ALICE).unwrap();
    said("the configuration was reloaded", 2).await;
    assert_eq!(status(&gateway.client_with(ALICE)).await, StatusCode::OK);
    assert_eq!(gateway.log().matches("was not reloaded").count(), 2, "a broken file is tried once");
}

#[tokio::test]
async fn a_provider_that_did_not_change_keeps_its_open_breaker() {
    let upstream = FakeUpstream::start().await;
    upstream.default(vendor::openai_picture());
    upstream.push(Behaviour::from(vendor::openai_error(500, "server_error", "down")));
    let resting = || {
        let config = scene().openai(&upstream).set("routing.default_model", json!(["placeholder"]));
        config.set("routing.breaker", json!({"failures": 1, "open": "10m"}))
    };
    let gateway = Gateway::start(resting()).await;
    let (client, home) = (gateway.client_with(OPS), gateway.home().clone());
    let ask = json!({"prompt": "a fox", "model": "gpt-image"});
    let failed = client.generate_with(ask.clone()).await;
    client.tool("wait_for_completion", json!({"job_id": failed, "max_wait_seconds": 1})).await;
    assert_eq!(upstream.submissions(), 1, "its failure opens the breaker");
    let waits = client.generate_with(ask).await;

    home.configure(&resting().model("card", &["placeholder/card"]));
    reload(&client).await.ok();
    client.tool("generate_image_and_wait", json!({"prompt": "another vendor"})).await.ok();
    assert_eq!(client.status(&waits).await["status"], "pending");
    assert_eq!(upstream.submissions(), 1, "it still rests");

    home.configure(&resting().set("providers.openai.timeout", "100s"));
    reload(&client).await.ok();
    let fresh = client.generate_with(json!({"prompt": "a fox", "model": "gpt-image"})).await;
    assert_eq!(client.wait(&fresh).await.ok().str("status"), "completed", "a changed entry begins anew");
}
