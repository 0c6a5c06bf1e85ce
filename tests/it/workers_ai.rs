//! Cloudflare Workers AI from the caller to a fake vendor and back.

use crate::support::{Client, Gateway, config, vendor};
use serde_json::json;
use testkit::{Behaviour, FakeUpstream, Reply};

async fn scene() -> (FakeUpstream, Gateway, Client) {
    let upstream = FakeUpstream::start().await;
    upstream.on("/flux-1-schnell", vendor::workers_picture());
    upstream.on("/stable-diffusion-xl-base-1.0", vendor::raw_picture());
    let gateway = Gateway::start(config().workers_ai(&upstream)).await;
    let client = gateway.client();
    (upstream, gateway, client)
}

#[tokio::test]
async fn base64_in_json_and_raw_bytes_both_become_the_picture() {
    let (upstream, _gateway, client) = scene().await;
    for (n, (model, path)) in [
        ("flux-schnell", "/accounts/acc1/ai/run/@cf/black-forest-labs/flux-1-schnell"),
        ("sdxl-base", "/accounts/acc1/ai/run/@cf/stabilityai/stable-diffusion-xl-base-1.0"),
    ]
    .into_iter()
    .enumerate()
    {
        let made =
            client.tool("generate_image_and_wait", json!({"prompt": "a fox", "model": model})).await.ok();
        assert_eq!(made.str("model"), model, "the public name");
        assert_eq!(client.get(&made.str("image_url")).await.bytes().await.unwrap(), vendor::png());
        let sent = upstream.requests();
        assert_eq!((sent[n].path.as_str(), sent[n].header("authorization")), (path, Some("Bearer cf-test")));
    }
}

#[tokio::test]
async fn twenty_images_are_twenty_calls_at_once() {
    let (upstream, _gateway, client) = scene().await;
    upstream.hold();
    let asked = client.tool("generate_image", json!({"prompt": "a fox", "count": 20})).await.ok();
    upstream.wait_for_requests(20).await;
    assert_eq!(upstream.in_flight(), 20, "so all take as long as one");
    upstream.release();
    let jobs = asked.json["job_ids"].clone();
    let done =
        client.tool("wait_for_completion", json!({"job_ids": jobs, "max_wait_seconds": 40})).await.ok();
    assert_eq!(done.json["count"], 20);
    let order: Vec<_> =
        done.json["results"].as_array().unwrap().iter().map(|r| r["job_id"].clone()).collect();
    assert_eq!(json!(order), jobs, "in the order asked");
    assert_eq!(upstream.submissions(), 20);
}

#[tokio::test]
async fn a_concurrency_limit_delays_and_never_refuses() {
    let upstream = FakeUpstream::start().await;
    upstream.default(vendor::workers_picture());
    let gateway =
        Gateway::start(config().workers_ai(&upstream).set("providers.workers-ai.concurrency", 3)).await;
    let client = gateway.client();
    upstream.hold();
    let asked = client.tool("generate_image", json!({"prompt": "a fox", "count": 10})).await.ok();
    upstream.wait_for_requests(3).await;
    let listed = client.tool("list_jobs", json!({"status": "pending"})).await.ok().json;
    assert_eq!(listed["total_count"], 7, "the others wait");
    upstream.release();
    let jobs = asked.json["job_ids"].clone();
    let done =
        client.tool("wait_for_completion", json!({"job_ids": jobs, "max_wait_seconds": 40})).await.ok();
    assert_eq!((&done.json["count"], upstream.submissions()), (&json!(10), 10));
    assert_eq!(upstream.most_in_flight(), 3, "never more than configured");
}

#[tokio::test]
async fn errors_by_number_are_told_apart() {
    let (upstream, _gateway, client) = scene().await;
    let said = |status: u16, code: u32, text: &str| {
        let body = json!({"success": false, "errors": [{"code": code, "message": text}], "result": null});
        Behaviour::from(Reply::json(status, body.to_string()))
    };
    for (behaviour, code) in [
        (said(400, 3030, "AiError: Input prompt contains NSFW content"), "content_blocked"),
        (said(429, 3036, "you have used up your daily free allocation"), "provider_unavailable"),
        (said(401, 10000, "Authentication error"), "provider_unavailable"),
        (Behaviour::json(200, r#"{"result":{},"success":true}"#), "provider_error"),
    ] {
        let before = upstream.submissions();
        upstream.push(behaviour);
        client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.failed(code);
        assert_eq!(upstream.submissions(), before + 1, "{code}: asked once");
    }
}
