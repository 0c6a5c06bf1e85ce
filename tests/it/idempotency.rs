//! The same key twice is the same job.

use crate::support::{Client, Gateway, config, vendor};
use serde_json::{Value, json};
use std::collections::HashSet;
use testkit::FakeUpstream;

async fn scene() -> (FakeUpstream, Gateway, Client) {
    let upstream = FakeUpstream::start().await;
    upstream.default(vendor::openai_picture());
    let gateway = Gateway::start(config().openai(&upstream)).await;
    let client = gateway.client();
    (upstream, gateway, client)
}

#[tokio::test]
async fn a_repeated_call_gets_the_same_job_also_after_a_restart() {
    let (upstream, gateway, client) = scene().await;
    let ask = json!({"prompt": "a fox", "idempotency_key": "order-1"});
    let first = client.generate_with(ask.clone()).await;
    assert_eq!(client.generate_with(ask.clone()).await, first);
    // All generating tools share the keys, and how the result is wanted is no part of what is asked.
    let mut waiting = ask.clone();
    waiting["return"] = json!("link");
    assert_eq!(client.tool("generate_image_and_wait", waiting).await.ok().str("job_id"), first);
    let gateway = gateway.kill_and_restart().await;
    assert_eq!(gateway.client().generate_with(ask).await, first);
    assert_eq!(upstream.submissions(), 1);
}

#[tokio::test]
async fn other_arguments_under_the_same_key_are_refused() {
    let (upstream, gateway, client) = scene().await;
    client.generate_with(json!({"prompt": "a fox", "idempotency_key": "order-1"})).await;
    for other in [
        json!({"prompt": "a wolf", "idempotency_key": "order-1"}),
        json!({"prompt": "a fox", "count": 2, "idempotency_key": "order-1"}),
        json!({"prompt": "a fox", "quality": "low", "idempotency_key": "order-1"}),
    ] {
        let refused = client.tool("generate_image", other).await.failed("invalid_request");
        assert_eq!(refused.json["field"], "idempotency_key");
    }
    let other_key = gateway.home().new_key("default").await;
    let other = gateway.client_with(&other_key);
    crate::support::eventually("the new key works", async || {
        let answer = other.post(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})).await;
        answer.status().is_success().then_some(())
    })
    .await;
    other.generate_with(json!({"prompt": "a wolf", "idempotency_key": "order-1"})).await;
    upstream.wait_for_requests(2).await;
}

#[tokio::test]
async fn twenty_calls_at_once_make_one_job() {
    let (upstream, _gateway, client) = scene().await;
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                client.generate_with(json!({"prompt": "a fox", "idempotency_key": "order-1"})).await
            })
        })
        .collect();
    let mut jobs = HashSet::new();
    for call in calls {
        jobs.insert(call.await.unwrap());
    }
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    client.wait(jobs.iter().next().unwrap()).await.ok();
    assert_eq!(upstream.submissions(), 1);
}

#[tokio::test]
async fn the_key_may_come_by_meta_or_by_header() {
    let (upstream, gateway, client) = scene().await;
    let first = client.generate_with(json!({"prompt": "a fox", "idempotency_key": "order-1"})).await;
    let arguments = json!({"prompt": "a fox"});
    let by_meta = json!({"name": "generate_image", "arguments": arguments, "_meta": {"image-gateway/idempotency-key": "order-1"}});
    let by_meta = client.rpc("tools/call", by_meta).await;
    assert_eq!(by_meta["result"]["structuredContent"]["job_id"], first.as_str(), "{by_meta}");
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "generate_image", "arguments": arguments}});
    let call = client.http().post(format!("{}/mcp", gateway.url())).bearer_auth(client.key());
    let call = call
        .header("content-type", "application/json")
        .header("idempotency-key", "order-1")
        .body(body.to_string());
    let by_header: Value = call.send().await.unwrap().json().await.unwrap();
    assert_eq!(by_header["result"]["structuredContent"]["job_id"], first.as_str(), "{by_header}");
    client.wait(&first).await.ok();
    assert_eq!(upstream.submissions(), 1);
}

#[tokio::test]
async fn without_a_key_equal_calls_are_two_jobs() {
    let (_upstream, _gateway, client) = scene().await;
    assert_ne!(client.generate("a fox").await, client.generate("a fox").await);
}
