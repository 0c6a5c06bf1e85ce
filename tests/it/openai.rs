//! OpenAI's dialect from the caller to a fake vendor and back, with what can go wrong there.

use crate::support::{Client, Gateway, config, eventually, vendor};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use testkit::{Behaviour, FakeUpstream, Reply, dead_url};

async fn scene() -> (FakeUpstream, Gateway, Client) {
    let upstream = FakeUpstream::start().await;
    upstream.default(vendor::openai_picture());
    let gateway = Gateway::start(config().openai(&upstream)).await;
    let client = gateway.client();
    (upstream, gateway, client)
}

async fn outcomes(client: &Client, job: &str) -> Vec<String> {
    let status = client.status(job).await;
    let attempts = status["attempts"].as_array().unwrap();
    attempts
        .iter()
        .map(|attempt| format!("{}: {}", attempt["provider"].as_str().unwrap(), attempt["outcome"]))
        .collect()
}

#[tokio::test]
async fn a_generation_is_bought_once_stored_and_priced() {
    let (upstream, _gateway, client) = scene().await;
    let made = client
        .tool(
            "generate_image_and_wait",
            json!({"prompt": "a red fox", "quality": "low", "size": "1024x1024"}),
        )
        .await
        .ok();
    assert_eq!(
        made.json["cost"],
        json!({"amount_micros": 42_100, "currency": "USD"}),
        "by the vendor's usage"
    );
    let stored = client.get(&made.str("image_url")).await.bytes().await.unwrap();
    assert_eq!(stored, vendor::png(), "byte for byte what was bought");

    let sent = upstream.requests();
    assert_eq!(sent.len(), 1);
    assert_eq!(
        (sent[0].path.as_str(), sent[0].header("authorization")),
        ("/v1/images/generations", Some("Bearer sk-test"))
    );
    let body = sent[0].json();
    assert_eq!(
        (&body["prompt"], &body["model"], &body["n"]),
        (&json!("a red fox"), &json!("gpt-image-2.5-flare"), &json!(1))
    );
}

#[tokio::test]
async fn images_on_the_way_are_told_as_progress() {
    let (upstream, _gateway, client) = scene().await;
    let picture = STANDARD.encode(vendor::png());
    let event = |kind: &str, index: u32| {
        let name = format!("image_generation.{kind}");
        let body = json!({"type": name, "b64_json": picture, "partial_image_index": index});
        format!("event: {name}\ndata: {body}\n\n")
    };
    let way = event("partial_image", 0) + &event("partial_image", 1);
    let half = way.len();
    let body = way + &event("completed", 0).replace(",\"partial_image_index\":0", "");
    let reply = Reply::new(200, "text/event-stream", body);
    upstream.push(Behaviour::Drip { reply, bytes: half, every: Duration::from_secs(2) });
    let ask = json!({"prompt": "a red fox", "vendor": {"stream": true, "partial_images": 2}});
    let job = client.tool("generate_image", ask).await.ok().str("job_id");
    eventually("two of three steps are told", async || {
        let percent = client.status(&job).await["progress"].as_f64()?;
        (percent > 66.0 && percent < 67.0).then_some(())
    })
    .await;
    client.until_status(&job, "completed").await;
    assert_eq!(upstream.submissions(), 1);
}

#[tokio::test]
async fn an_earlier_image_is_edited_by_its_id() {
    let (upstream, _gateway, client) = scene().await;
    let first = client.tool("generate_image_and_wait", json!({"prompt": "a red fox"})).await.ok().json;
    let image = first["images"][0]["id"].as_str().unwrap();
    for (n, handle) in [image.to_owned(), format!("image://{image}")].into_iter().enumerate() {
        let ask = json!({"prompt": "put a hat on it", "references": [handle]});
        client.tool("generate_image_and_wait", ask).await.ok();
        let sent = upstream.requests();
        let edit = &sent[n + 1];
        assert_eq!(edit.path, "/v1/images/edits");
        let parts = edit.parts();
        let picture =
            parts.iter().find(|part| part.name.starts_with("image")).expect("the reference is sent");
        assert_eq!(picture.bytes, vendor::png());
        assert!(parts.iter().any(|part| part.name == "prompt" && part.bytes == "put a hat on it"));
    }
    let stranger = json!({"prompt": "a hat", "references": ["00000000-0000-4000-8000-000000000000"]});
    let refused = client.tool("generate_image", stranger).await;
    assert!(refused.is_error && refused.str("error").contains("references"), "{}", refused.json);
    assert_eq!(upstream.submissions(), 3);
}

#[tokio::test]
async fn a_vendor_that_asks_to_wait_is_asked_again_after_that_and_not_before() {
    let (upstream, _gateway, client) = scene().await;
    upstream.push(Behaviour::rate_limited(Some(1)));
    let begun = Instant::now();
    let made = client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.ok();
    assert!(begun.elapsed() >= Duration::from_secs(1), "Retry-After is honoured: {:?}", begun.elapsed());
    assert_eq!(upstream.submissions(), 2);
    assert_eq!(outcomes(&client, &made.str("job_id")).await.len(), 2, "both attempts are on record");
}

#[tokio::test]
async fn a_500_is_an_unknown_outcome_and_is_never_bought_again() {
    let (upstream, gateway, client) = scene().await;
    upstream.default(Behaviour::json(500, r#"{"error":{"message":"internal"}}"#));
    let job = client.generate("a fox").await;
    let failed = client.wait(&job).await.failed("outcome_unknown");
    assert_eq!(failed.str("status"), "failed");
    assert!(!failed.str("error").is_empty() && failed.str("job_id") == job, "{}", failed.json);
    assert_eq!(upstream.submissions(), 1, "it may have been paid for");
    let gateway = gateway.kill_and_restart().await;
    assert_eq!(gateway.client().status(&job).await["code"], "outcome_unknown", "and stays that way");
    assert_eq!(upstream.submissions(), 1, "also after a restart");
}

#[tokio::test]
async fn answers_that_went_wrong_are_told_apart() {
    let blocked =
        vendor::openai_error(400, "moderation_blocked", "Your request was rejected by the safety system.");
    let bad_key = vendor::openai_error(401, "invalid_api_key", "Incorrect API key provided: sk-test.");
    let table: [(&str, Behaviour, &str); 8] = [
        ("broken JSON", Behaviour::json(200, r#"{"data":[{"b64_json":"#), "provider_error"),
        ("no image", Behaviour::json(200, r#"{"data":[]}"#), "provider_error"),
        ("a page", Behaviour::html(200), "provider_error"),
        (
            "no picture in the base64",
            Behaviour::json(200, r#"{"data":[{"b64_json":"aGVsbG8gd29ybGQ="}]}"#),
            "provider_error",
        ),
        ("a filter", blocked.into(), "content_blocked"),
        ("a refused key", bad_key.into(), "provider_unavailable"),
        ("a cut connection", Behaviour::Close, "outcome_unknown"),
        ("a reset", Behaviour::ResetAfterReading, "outcome_unknown"),
    ];
    let (upstream, gateway, client) = scene().await;
    for (n, (name, behaviour, code)) in table.into_iter().enumerate() {
        upstream.push(behaviour);
        let result = client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await;
        assert!(result.is_error && result.json["code"] == code, "{name}: {}", result.json);
        assert!(!result.json.to_string().contains("sk-test"), "{name}: the credential is never shown");
        assert_eq!(upstream.submissions(), n + 1, "{name}: bought once");
    }
    assert!(!gateway.log().contains("sk-test"), "nor logged");
}

#[tokio::test]
async fn a_wait_that_ends_early_says_so_and_the_image_comes_later() {
    let (upstream, _gateway, client) = scene().await;
    upstream.hold();
    let ask = json!({"prompt": "a slow fox", "max_wait_seconds": 1});
    let still = client.tool("generate_image_and_wait", ask).await.ok();
    let job = still.str("job_id");
    assert_eq!((still.str("status").as_str(), &still.json["image_url"]), ("processing", &Value::Null));
    assert!(still.str("message").starts_with("Still running. Do not generate again"), "{}", still.json);
    assert!(still.str("message").contains(&job) && still.json["retry_after_ms"].is_u64());
    assert_eq!(
        client
            .tool("wait_for_completion", json!({"job_id": job, "max_wait_seconds": 0}))
            .await
            .ok()
            .str("status"),
        "processing"
    );

    upstream.release();
    assert_eq!(client.wait(&job).await.ok().str("status"), "completed");
    assert_eq!(upstream.submissions(), 1);
}

#[tokio::test]
async fn a_finished_job_is_reported_at_once() {
    let (upstream, _gateway, client) = scene().await;
    let mut least_late = Duration::MAX;
    // The best of three: a machine that is busy for a moment proves nothing.
    for n in 1..=3 {
        upstream.hold();
        let job = client.generate("a fox").await;
        upstream.wait_for_requests(n).await;
        let waiting = tokio::spawn({
            let client = client.clone();
            async move { (client.wait(&job).await.ok(), Instant::now()) }
        });
        // Time enough for the wait to begin.
        tokio::time::sleep(Duration::from_millis(150)).await;
        let released = Instant::now();
        upstream.release();
        let (_, told) = waiting.await.unwrap();
        least_late = least_late.min(told.duration_since(released));
    }
    assert!(least_late < Duration::from_millis(300), "not at a next poll: {least_late:?}");
}

#[tokio::test]
async fn nobody_home_is_tried_again_and_then_told() {
    let gateway = Gateway::start(
        config().openai_at("openai", &dead_url().await).model("gpt-image", &["openai/gpt-image-2.5-flare"]),
    )
    .await;
    let client = gateway.client();
    let job = client.generate("a fox").await;
    client.wait(&job).await.failed("provider_unavailable");
    assert_eq!(outcomes(&client, &job).await.len(), 3, "routing.retries.attempts");
}

#[tokio::test]
async fn what_one_instance_refuses_another_makes() {
    let upstream = FakeUpstream::start().await;
    upstream.default(vendor::openai_picture());
    let targets = ["dead/gpt-image-2.5-flare", "limited/gpt-image-2.5-flare", "good/gpt-image-2.5-flare"];
    let limited = FakeUpstream::start().await;
    limited.default(Reply::json(429, r#"{"error":{"message":"slow down"}}"#).header("retry-after", 100));
    let gateway = Gateway::start(
        config()
            .openai_at("dead", &dead_url().await)
            .openai_at("limited", &limited.url())
            .openai_at("good", &upstream.url())
            .model("gpt-image", &targets),
    )
    .await;
    let client = gateway.client();
    let made = client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.ok();
    let attempts = outcomes(&client, &made.str("job_id")).await;
    let providers: Vec<&str> = attempts.iter().map(|a| a.split(':').next().unwrap()).collect();
    assert_eq!(providers, ["dead", "limited", "good"], "in the order of the targets: {attempts:?}");
    assert_eq!((limited.submissions(), upstream.submissions()), (1, 1));
}

#[tokio::test]
async fn a_filter_is_no_reason_to_ask_another_vendor() {
    let (first, second) = (FakeUpstream::start().await, FakeUpstream::start().await);
    first.default(vendor::openai_error(
        400,
        "moderation_blocked",
        "Your request was rejected by the safety system.",
    ));
    second.default(vendor::openai_picture());
    let gateway = Gateway::start(
        config()
            .openai_at("one", &first.url())
            .openai_at("two", &second.url())
            .model("gpt-image", &["one/gpt-image-2.5-flare", "two/gpt-image-2.5-flare"]),
    )
    .await;
    let client = gateway.client();
    client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.failed("content_blocked");
    assert_eq!((first.submissions(), second.submissions()), (1, 0));
}
