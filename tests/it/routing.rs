//! Where a call goes: order, health, keys, limits of providers, and what is said about the choice.

use crate::support::{Client, Config, Gateway, Home, config, eventually, vendor};
use serde_json::{Value, json};
use std::{
    process::Stdio,
    time::{Duration, Instant},
};
use testkit::{Behaviour, FakeUpstream, dead_url};

const MODEL: &str = "gpt-image-2.5-flare";

/// Two instances at upstreams of their own, `one` before `two` in the model `gpt-image`.
struct Pair {
    one: FakeUpstream,
    two: FakeUpstream,
}

impl Pair {
    async fn start() -> Pair {
        let (one, two) = (FakeUpstream::start().await, FakeUpstream::start().await);
        one.default(vendor::openai_picture());
        two.default(vendor::openai_picture());
        Pair { one, two }
    }

    fn config(&self) -> Config {
        config()
            .openai_at("one", &self.one.url())
            .openai_at("two", &self.two.url())
            .model("gpt-image", &[&format!("one/{MODEL}"), &format!("two/{MODEL}")])
    }

    fn bought(&self) -> (usize, usize) {
        (self.one.submissions(), self.two.submissions())
    }
}

async fn make(client: &Client) -> Value {
    client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.ok().json
}

/// The targets of a model as `list_models` explains them, by their instances.
async fn explained(client: &Client, model: &str) -> Vec<(String, bool, String)> {
    let models = client.tool("list_models", json!({"explain": true})).await.ok().json;
    let model = models["models"].as_array().unwrap().iter().find(|m| m["name"] == model).unwrap();
    let target = |target: &Value| {
        let to = target["to"].as_str().unwrap().split('/').next().unwrap().to_owned();
        let reason = target["reason"].as_str().unwrap_or_default().to_owned();
        (to, target["serves"] == true, reason)
    };
    model["targets"].as_array().unwrap().iter().map(target).collect()
}

#[tokio::test]
async fn an_instance_that_is_down_is_left_alone_and_tried_again_by_one_call() {
    let pair = Pair::start().await;
    let breaker = json!({"failures": 1, "window": "60s", "open": "2s"});
    let dead = dead_url().await;
    let config = pair.config().openai_at("one", &dead).set("routing.breaker", breaker);
    let gateway = Gateway::start(config).await;
    let client = gateway.client();
    make(&client).await;
    let targets = explained(&client, "gpt-image").await;
    assert_eq!((targets[0].0.as_str(), targets[0].1), ("two", true), "{targets:?}");
    assert!(targets[1].2.contains("circuit breaker"), "{targets:?}");
    make(&client).await;
    assert_eq!(pair.bought(), (0, 2), "nobody is home at the first");
    let targets = eventually("the pause is over", async || {
        let targets = explained(&client, "gpt-image").await;
        (targets[0].0 == "one").then_some(targets)
    })
    .await;
    assert!(targets[0].1 && targets[0].2.is_empty(), "one call may try: {targets:?}");
    make(&client).await;
    let targets = explained(&client, "gpt-image").await;
    assert_eq!(targets[0].0, "two", "it failed again, and is left alone again: {targets:?}");
}

#[tokio::test]
async fn an_outcome_that_nobody_knows_is_not_bought_at_the_other_instance() {
    let pair = Pair::start().await;
    let gateway = Gateway::start(pair.config()).await;
    let client = gateway.client();
    for (n, lost) in [Behaviour::Close, Behaviour::json(500, r#"{"error":{"message":"internal"}}"#)]
        .into_iter()
        .enumerate()
    {
        pair.one.push(lost);
        client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.failed("outcome_unknown");
        assert_eq!(pair.bought(), (n + 1, 0));
    }
}

#[tokio::test]
async fn a_slow_vendor_is_neither_bought_twice_nor_asked_first_by_the_fastest() {
    let pair = Pair::start().await;
    let config = pair
        .config()
        .set("providers.one.timeout", "1s")
        .set("models.gpt-image.strategy", "fastest")
        .set("models.slow.targets", json!([format!("one/{MODEL}"), format!("two/{MODEL}")]));
    let gateway = Gateway::start(config).await;
    let client = gateway.client();
    pair.one.push(vendor::openai_picture().delayed(Duration::from_secs(3)));
    let ask = json!({"prompt": "a fox", "model": "slow"});
    client.tool("generate_image_and_wait", ask.clone()).await.failed("outcome_unknown");
    assert_eq!(pair.bought(), (1, 0), "a call that may be paid for is not made again elsewhere");

    pair.one.push(vendor::openai_picture().delayed(Duration::from_millis(600)));
    client.tool("generate_image_and_wait", ask).await.ok();
    let two = json!({"prompt": "a fox", "model": "slow", "provider": "two"});
    client.tool("generate_image_and_wait", two).await.ok();
    make(&client).await;
    assert_eq!(pair.bought(), (2, 2), "as measured, the second is faster");
    let targets = explained(&client, "gpt-image").await;
    assert!(targets[0].0 == "two" && targets[1].2.contains("(measured)"), "{targets:?}");
}

/// Two keys of one account at an upstream that answers by key.
fn two_keys(upstream: &FakeUpstream) -> Config {
    let keys = json!([{"id": "a", "value": "sk-a"}, {"id": "b", "value": "sk-b"}]);
    config()
        .openai(upstream)
        .set("providers.openai.api_key", Value::Null)
        .set("providers.openai.api_keys", keys)
}

fn by_key(upstream: &FakeUpstream, key: &str) -> usize {
    let bearer = format!("Bearer {key}");
    let sent = upstream.requests();
    sent.iter().filter(|r| r.method == "POST" && r.header("authorization") == Some(&bearer)).count()
}

#[tokio::test]
async fn calls_are_spread_over_the_keys_of_an_account() {
    let upstream = FakeUpstream::start().await;
    upstream.default(vendor::openai_picture());
    let gateway = Gateway::start(two_keys(&upstream)).await;
    let client = gateway.client();
    client.tool("generate_image_and_wait", json!({"prompt": "a fox", "count": 20})).await.ok();
    let (a, b) = (by_key(&upstream, "sk-a"), by_key(&upstream, "sk-b"));
    assert!(a + b == 20 && a > 0 && b > 0, "{a} and {b}");
}

#[tokio::test]
async fn doctor_tries_every_key_of_an_account() {
    let upstream = FakeUpstream::start().await;
    upstream.handle(|request| match request.header("authorization") {
        Some("Bearer sk-b") => Behaviour::json(401, r#"{"error":{"message":"no such key"}}"#),
        _ => Behaviour::json(200, r#"{"data":[]}"#),
    });
    let home = Home::new(two_keys(&upstream));
    let said = home.command(&["providers", "test", "openai"]).output().await.unwrap();
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(!said.status.success() && text.contains("key b") && !text.contains("key a"), "{text}");
}

#[tokio::test]
async fn a_key_that_is_told_to_wait_rests_and_the_other_goes_on() {
    let upstream = FakeUpstream::start().await;
    upstream.handle(|request| match request.header("authorization") {
        Some("Bearer sk-a") => Behaviour::rate_limited(Some(60)),
        _ => vendor::openai_picture(),
    });
    let gateway = Gateway::start(two_keys(&upstream)).await;
    let client = gateway.client();
    let begun = Instant::now();
    for _ in 0..8 {
        make(&client).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "nobody waits for the first");
    assert!(by_key(&upstream, "sk-a") <= 1, "it is not asked again within its minute");
    assert_eq!(by_key(&upstream, "sk-b"), 8);
}

#[tokio::test]
async fn a_refused_key_is_left_out_and_that_is_said() {
    let upstream = FakeUpstream::start().await;
    let refused = || vendor::openai_error(401, "invalid_api_key", "Incorrect API key provided: sk-a.");
    upstream.handle(move |request| match request.header("authorization") {
        Some("Bearer sk-a") => refused().into(),
        _ => vendor::openai_picture(),
    });
    let gateway = Gateway::start(two_keys(&upstream)).await;
    let client = gateway.client();
    let mut calls = 0;
    while by_key(&upstream, "sk-a") == 0 && calls < 40 {
        make(&client).await;
        calls += 1;
    }
    for _ in 0..5 {
        make(&client).await;
    }
    assert_eq!(by_key(&upstream, "sk-a"), 1, "once, and never again");
    let targets = explained(&client, "gpt-image").await;
    assert!(targets[0].1 && targets[0].2.contains("refused its keys a"), "{targets:?}");
    let log = gateway.log();
    assert!(log.contains("refused this key") && !log.contains("sk-a"), "by its name: {log}");
}

#[tokio::test]
async fn a_ticket_is_asked_for_by_its_own_key_also_after_a_restart_and_a_new_order() {
    let upstream = FakeUpstream::start().await;
    let submitted = json!({"output": {"task_id": "t-1", "task_status": "PENDING"}, "request_id": "r-1"});
    let running = json!({"output": {"task_id": "t-1", "task_status": "RUNNING"}, "request_id": "r-2"});
    upstream.handle(move |request| match request.method.as_str() {
        "POST" => Behaviour::json(200, submitted.to_string()),
        _ => Behaviour::json(200, running.to_string()),
    });
    let with = |keys: Value| {
        let entry =
            json!({"kind": "qwen", "base_url": format!("{}/api/v1", upstream.url()), "api_keys": keys});
        config().set("providers.qwen", entry).model("wan", &["qwen/wan2.2-t2i-flash"])
    };
    let (a, b) = (json!({"id": "a", "value": "sk-a"}), json!({"id": "b", "value": "sk-b"}));
    let home = Home::new(with(json!([a, b])));
    let gateway = Gateway::start_at(home.clone()).await;
    gateway.client().generate("a fox").await;
    let polls = |from: usize| {
        let all = upstream.requests();
        let keys = all.iter().skip(from).filter(|r| r.method == "GET");
        keys.map(|r| r.header("authorization").unwrap().to_owned()).collect::<Vec<_>>()
    };
    eventually("the ticket is asked for", async || (!polls(0).is_empty()).then_some(())).await;
    let bought_by = upstream.requests()[0].header("authorization").unwrap().to_owned();
    gateway.kill().await;
    // Now a third key stands first, and the order is another one.
    let c = json!({"id": "c", "value": "sk-c", "weight": 100});
    home.configure(&with(json!([c, b, a])));
    let before = upstream.requests().len();
    let _gateway = Gateway::start_at(home).await;
    eventually("it is asked for again", async || (polls(before).len() > 1).then_some(())).await;
    assert!(polls(0).iter().all(|key| *key == bought_by), "{bought_by}: {:?}", polls(0));
    assert_eq!(upstream.submissions(), 1);
}

#[tokio::test]
async fn a_provider_that_has_used_up_its_own_limit_is_passed_by() {
    let pair = Pair::start().await;
    let config = pair
        .config()
        .set("providers.one.limits", json!({"images": "2/day"}))
        .set("providers.two.limits", json!({"images": "1/day"}))
        .set("models.only.targets", json!([format!("one/{MODEL}")]));
    let gateway = Gateway::start(config).await;
    let client = gateway.client();
    for bought in [(1, 0), (2, 0), (2, 1)] {
        make(&client).await;
        assert_eq!(pair.bought(), bought);
    }
    let full = client.tool("generate_image", json!({"prompt": "a fox"})).await.failed("quota_exceeded");
    assert!(
        full.str("error").contains("provider `") && full.json["retry_after_ms"].is_u64(),
        "{}",
        full.json
    );
    let only = client.tool("generate_image", json!({"prompt": "a fox", "model": "only"})).await;
    assert!(only.failed("quota_exceeded").str("provider") == "one");
    let targets = explained(&client, "gpt-image").await;
    assert!(targets.iter().all(|(_, serves, why)| !serves && why.contains("per day")), "{targets:?}");
    let gateway = gateway.kill_and_restart().await;
    gateway.client().tool("generate_image", json!({"prompt": "a fox"})).await.failed("quota_exceeded");
    assert_eq!(pair.bought(), (2, 1), "it is counted on disk");
}

#[tokio::test]
async fn callers_at_once_stay_within_a_providers_limit_and_the_rest_goes_on() {
    let pair = Pair::start().await;
    let config = pair.config().set("providers.one.limits", json!({"images": "3/day"}));
    let gateway = Gateway::start(config).await;
    let client = gateway.client();
    let calls: Vec<_> = (0..12)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { make(&client).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(pair.bought(), (3, 9));
}

#[tokio::test]
async fn what_failed_for_nothing_leaves_a_providers_limit_as_it_was() {
    let pair = Pair::start().await;
    let limit = json!({"images": "1/day"});
    let config = pair.config().set("providers.one.limits", limit.clone()).set("providers.two.limits", limit);
    let gateway = Gateway::start(config).await;
    let client = gateway.client();
    pair.one.push(Behaviour::rate_limited(None));
    make(&client).await;
    assert_eq!(pair.bought(), (1, 1), "it went on to the second");
    make(&client).await;
    assert_eq!(pair.bought(), (2, 1), "the first made nothing yet");
    client.tool("generate_image", json!({"prompt": "a fox"})).await.failed("quota_exceeded");
}

#[tokio::test]
async fn explain_tells_route_price_and_why_not_elsewhere_without_a_server() {
    let cheap = json!({"kind": "placeholder"});
    let routes = json!([
        {"name": "for admins", "when": {"claims": {"dept": "admin"}}, "to": ["cards/card"]},
        {"name": "marketing is cheap", "when": {"team": "marketing", "model": "photo"}, "to": ["cards/card", format!("one/{MODEL}")]}
    ]);
    let config = Pair::start()
        .await
        .config()
        .set("providers.cards", cheap)
        .set("models.photo.targets", json!([format!("one/{MODEL}"), format!("two/{MODEL}")]))
        .set("models.photo.price", json!([{"image": "0.04 USD"}]))
        .set("teams.marketing", json!({}))
        .set("teams.design", json!({"limits": {"images": "3/day"}}))
        .set("routes", routes);
    let home = Home::new(config);
    let explain = async |args: &[&str]| {
        let args = [&["explain", "--json"], args].concat();
        let output = home.command(&args).stdin(Stdio::null()).output().await.unwrap();
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON on stdout");
        (output.status.code().unwrap(), told)
    };
    let photo = r#"{"model": "photo"}"#;
    let (code, told) = explain(&["--team", "marketing", "--args", photo]).await;
    assert_eq!(
        (code, &told["route"], &told["target"]),
        (0, &json!("marketing is cheap"), &json!("cards/card"))
    );
    assert_eq!(told["passed"], json!([{"route": "for admins", "because": "claims"}]));
    assert!(told["targets"][1]["reason"].as_str().unwrap().contains("stands after cards/card"), "{told}");

    let (code, told) = explain(&["--args", r#"{"model": "photo", "count": 2, "provider": "two"}"#]).await;
    assert_eq!((code, &told["route"], &told["outcome"]), (0, &Value::Null, &json!("accepted")));
    assert_eq!(told["price"], json!("0.08 USD"), "of both images: {told}");
    assert!(told["targets"][1]["reason"].as_str().unwrap().contains("another provider"), "{told}");

    let (code, told) = explain(&["--team", "design", "--args", r#"{"model": "photo", "count": 4}"#]).await;
    assert_eq!((code, &told["reasons"][0]["code"]), (1, &json!("quota_exceeded")), "{told}");
    assert!(told["notes"][0].as_str().unwrap().contains("no database"), "{told}");

    let admin = ["--claims", r#"{"dept": ["staff", "admin"]}"#, "--args", photo];
    assert_eq!(explain(&admin).await.1["route"], "for admins");
    let (code, told) = explain(&["--args", r#"{"model": "photo", "size": "17x17"}"#]).await;
    assert_eq!((code, &told["reasons"][0]["code"]), (1, &json!("unsupported_parameter")), "{told}");
    assert!(told["targets"][0]["reason"].as_str().unwrap().contains("Accepted:"), "{told}");

    let text = home.run(&["explain", "--team", "marketing", "--args", photo]).await;
    for word in ["marketing is cheap", "cards/card", "serves", "next", "its `claims`"] {
        assert!(text.contains(word), "{word} in:\n{text}");
    }
    let price = home.run(&["estimate", "--args", photo]).await;
    assert!(price.contains("0.04 USD") && !price.contains("Targets"), "{price}");
    assert!(!home.data_dir().exists(), "a dry run makes nothing");
}

#[tokio::test]
async fn explain_counts_what_was_used_and_knows_keys() {
    let pair = Pair::start().await;
    let config = pair.config().key("ci", "igw_of_the_file").set("limits.per_key.images", "1/day");
    let gateway = Gateway::start(config).await;
    make(&gateway.client_with("igw_of_the_file")).await;
    let home = gateway.home();
    let explain = async |key: &str| {
        let output =
            home.command(&["explain", "--json", "--key", key]).stdin(Stdio::null()).output().await.unwrap();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, told) = explain("ci").await;
    assert!(code == 1 && told.contains("quota_exceeded"), "{told}");
    let mine = gateway.home().new_key("design").await;
    assert!(!mine.is_empty());
    let keys = home.run(&["keys", "list"]).await;
    let id = keys.split_whitespace().find(|word| word.starts_with("key_")).unwrap().to_owned();
    let (code, told) = explain(&id).await;
    assert_eq!(code, 0, "{told}");
    assert_eq!(explain("nobody").await.0, 1);
}
