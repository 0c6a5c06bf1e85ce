//! Who may call, and how often.

use crate::support::{Client, Gateway, config, eventually, vendor};
use reqwest::{Response, StatusCode};
use serde_json::json;
use std::time::{Duration, Instant};
use testkit::FakeUpstream;

/// A second is promised; the rest is for a busy machine.
const SOON: Duration = Duration::from_millis(2_500);

async fn with_header(gateway: &Gateway, authorization: Option<&str>) -> Response {
    let client = Client::new(gateway.url(), "");
    let mut call =
        client.http().post(format!("{}/mcp", gateway.url())).header("content-type", "application/json");
    if let Some(value) = authorization {
        call = call.header("authorization", value);
    }
    call.body(json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string()).send().await.unwrap()
}

async fn status(client: &Client) -> StatusCode {
    client.post(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).await.status()
}

#[tokio::test]
async fn only_a_good_key_opens_and_the_scheme_may_be_in_any_case() {
    let gateway = Gateway::fresh().await;
    let key = gateway.key();
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let answer = with_header(&gateway, Some(&format!("{scheme} {key}"))).await;
        assert_eq!(answer.status(), StatusCode::OK, "{scheme}");
    }
    let none = with_header(&gateway, None).await;
    assert_eq!(none.status(), StatusCode::UNAUTHORIZED);
    assert!(none.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
    let mut cut = key.clone();
    cut.pop();
    for wrong in [
        "Bearer wrong".to_owned(),
        format!("Bearer {cut}"),
        format!("Bearer {key}x"),
        format!("Basic {key}"),
        "Bearer".into(),
    ] {
        let answer = with_header(&gateway, Some(&wrong)).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{wrong}");
        let said = answer.text().await.unwrap();
        assert!(!said.contains(&key[4..12]), "no key is repeated: {said}");
    }
    assert!(!gateway.log().contains(&key[4..]), "nor logged");
}

#[tokio::test]
async fn keys_are_made_and_revoked_while_the_server_runs() {
    let gateway = Gateway::fresh().await;
    let home = gateway.home();
    let key = home.run(&["keys", "create", "--team", "design", "--id", "designer"]).await.trim().to_owned();
    let client = gateway.client_with(&key);
    let made = Instant::now();
    eventually("the new key works", async || (status(&client).await == StatusCode::OK).then_some(())).await;
    assert!(made.elapsed() < SOON, "within a second: {:?}", made.elapsed());

    let list = home.run(&["keys", "list"]).await;
    assert!(list.contains("designer") && !list.contains(&key), "keys are shown once: {list}");
    home.run(&["keys", "revoke", "designer"]).await;
    let revoked = Instant::now();
    eventually("the revoked key is refused", async || {
        (status(&client).await == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    assert!(revoked.elapsed() < SOON, "within a second: {:?}", revoked.elapsed());
    assert_eq!(status(&gateway.client()).await, StatusCode::OK, "the other key is not touched");
}

#[tokio::test]
async fn a_revoked_key_buys_nothing_more() {
    let upstream = FakeUpstream::start().await;
    upstream.default(vendor::openai_picture());
    upstream.hold();
    let config = config().openai(&upstream).set("providers.openai.concurrency", 1);
    let gateway = Gateway::start(config).await;
    let home = gateway.home();
    let key = home.run(&["keys", "create", "--team", "default", "--id", "leaver"]).await.trim().to_owned();
    let leaver = gateway.client_with(&key);
    eventually("the new key works", async || (status(&leaver).await == StatusCode::OK).then_some(())).await;
    let mut jobs = Vec::new();
    for _ in 0..4 {
        jobs.push(leaver.generate("a fox").await);
    }
    eventually("one is out", async || (upstream.submissions() == 1).then_some(())).await;
    let colleague = gateway.client();
    let other = colleague.generate("a fox").await;
    let said = home.run(&["keys", "revoke", "leaver"]).await;
    assert!(said.contains("are cancelled: 3"), "{said}");
    upstream.release();
    let mut ends = Vec::new();
    for job in &jobs {
        let end = eventually("it has ended", async || {
            let status = colleague.status(job).await["status"].as_str().unwrap().to_owned();
            (!["pending", "processing"].contains(&&*status)).then_some(status)
        });
        ends.push(end.await);
    }
    ends.sort();
    assert_eq!(ends, ["cancelled", "cancelled", "cancelled", "completed"], "what was out is finished");
    assert_eq!(colleague.until_status(&other, "completed").await["status"], "completed");
    assert_eq!(upstream.submissions(), 2);
}

#[tokio::test]
async fn a_key_is_rotated_without_a_moment_in_which_none_is_good() {
    let one = Gateway::fresh().await;
    let home = one.home().clone();
    let two = Gateway::start_at(home.clone()).await;
    let old = home.run(&["keys", "create", "--team", "design", "--id", "designer"]).await.trim().to_owned();
    let everywhere = async |bearer: &str, wanted: StatusCode| {
        for gateway in [&one, &two] {
            let client = gateway.client_with(bearer);
            eventually("it is so in every process", async || (status(&client).await == wanted).then_some(()))
                .await;
        }
    };
    everywhere(&old, StatusCode::OK).await;
    let job = one.client_with(&old).generate("a fox").await;
    let new = home.run(&["keys", "rotate", "designer", "--grace", "1h"]).await.trim().to_owned();
    everywhere(&new, StatusCode::OK).await;
    assert_eq!(status(&one.client_with(&old)).await, StatusCode::OK, "both are good");
    assert_eq!(two.client_with(&new).status(&job).await["job_id"], json!(job), "and the same key");
    let list = home.run(&["keys", "list"]).await;
    assert!(list.contains("good; the old one until") && !list.contains(&new), "{list}");

    let newest = home.run(&["keys", "rotate", "designer", "--grace", "0s"]).await.trim().to_owned();
    let rotated = Instant::now();
    everywhere(&old, StatusCode::UNAUTHORIZED).await;
    everywhere(&new, StatusCode::UNAUTHORIZED).await;
    assert!(rotated.elapsed() < 2 * SOON, "within a second each: {:?}", rotated.elapsed());
    everywhere(&newest, StatusCode::OK).await;
    home.run(&["keys", "revoke", "designer"]).await;
    everywhere(&newest, StatusCode::UNAUTHORIZED).await;
    let output = home.command(&["keys", "rotate", "designer"]).output().await.unwrap();
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("revoked"));

    one.stop().await;
    let list = home.run(&["keys", "list"]).await;
    let line = list.lines().find(|line| line.starts_with("designer")).unwrap();
    let head = list.lines().next().unwrap();
    let used = &line[head.find("LAST USED").unwrap()..head.find("STATE").unwrap()];
    assert!(used.trim().ends_with("UTC"), "the last use is noted at the latest when a server stops: {list}");
}

#[tokio::test]
async fn a_key_without_the_scope_may_look_and_not_buy() {
    let keys = json!([{"id": "reader", "key": "igw_reader_0123456789abcdef0123456789abcdef", "scopes": ["images:read"]}]);
    let gateway = Gateway::start(config().set("auth.keys", keys)).await;
    let reader = gateway.client_with("igw_reader_0123456789abcdef0123456789abcdef");
    assert_eq!(reader.tool("list_jobs", json!({})).await.ok().json["total_count"], 0);
    let buy = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "generate_image", "arguments": {"prompt": "a fox"}}});
    let refused = reader.post(&buy).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let challenge = refused.headers()["www-authenticate"].to_str().unwrap().to_owned();
    assert!(challenge.contains("insufficient_scope") && challenge.contains("images:write"), "{challenge}");
}

#[tokio::test]
async fn a_key_that_asks_too_often_is_told_when_to_come_back() {
    let gateway =
        Gateway::start(config().set("limits.per_key", json!({"requests": "3/min", "burst": 3}))).await;
    let client = gateway.client();
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    for n in 1..=3 {
        let answer = client.post(&ping).await;
        assert_eq!(answer.status(), StatusCode::OK, "request {n} is within the burst");
        assert!(answer.headers().contains_key("ratelimit"), "it says what is left");
    }
    let refused = client.post(&ping).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let header = |name: &str| refused.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
    let wait: u64 = header("retry-after").expect("Retry-After").parse().expect("in seconds");
    assert!((1..=60).contains(&wait), "{wait}");
    assert!(header("ratelimit").is_some() && header("ratelimit-policy").is_some());
    let other = gateway.home().new_key("other").await;
    let other = gateway.client_with(&other);
    eventually("another key has its own rate", async || {
        (status(&other).await == StatusCode::OK).then_some(())
    })
    .await;
}
