//! Gemini from the caller to a fake vendor and back, with what can go wrong there.

use crate::support::{Client, Config, Gateway, config, vendor};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use testkit::{Behaviour, FakeUpstream};

/// A picture among words, and its usage (0.033604 USD).
fn picture() -> Behaviour {
    let inline = json!({"inlineData": {"mimeType": "image/png", "data": STANDARD.encode(vendor::png())}});
    let parts = json!([{"text": "thinking", "thought": true}, {"text": "Here is the fox."}, inline]);
    let candidate = json!({"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0});
    let usage = json!({"promptTokenCount": 8, "candidatesTokenCount": 1120, "totalTokenCount": 1128,
                       "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}]});
    let body =
        json!({"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-nano-banana-2.1"});
    Behaviour::json(200, body.to_string())
}

fn error(status: u16, word: &str, details: Value) -> Behaviour {
    let body = json!({"error": {"code": status, "message": "refused AIza-test", "status": word, "details": details}});
    Behaviour::json(status, body.to_string())
}

fn instance(config: Config, id: &str, upstream: &FakeUpstream) -> Config {
    let entry =
        json!({"kind": "gemini", "api_key": "AIza-test", "base_url": format!("{}/v1beta", upstream.url())});
    config.set(&format!("providers.{id}"), entry)
}

fn set_up(upstream: &FakeUpstream) -> Config {
    upstream.default(picture());
    instance(config(), "gemini", upstream).model("banana", &["gemini/gemini-nano-banana-2.1"])
}

async fn scene() -> (FakeUpstream, Gateway, Client) {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::start(set_up(&upstream)).await;
    let client = gateway.client();
    (upstream, gateway, client)
}

#[tokio::test]
async fn a_generation_is_bought_once_stored_and_priced_by_its_tokens() {
    let (upstream, _gateway, client) = scene().await;
    let made =
        client.tool("generate_image_and_wait", json!({"prompt": "a fox", "size": "1024x1024"})).await.ok();
    assert_eq!(client.get(&made.str("image_url")).await.bytes().await.unwrap(), vendor::png());
    assert_eq!(made.json["cost"], json!({"amount_micros": 33_604, "currency": "USD"}));
    let sent = upstream.requests();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].path, "/v1beta/models/gemini-nano-banana-2.1:generateContent");
    assert_eq!(
        (sent[0].header("x-goog-api-key"), sent[0].header("authorization")),
        (Some("AIza-test"), None)
    );
    assert_eq!(
        sent[0].json(),
        json!({"contents": [{"role": "user", "parts": [{"text": "a fox"}]}],
               "generationConfig": {"responseModalities": ["TEXT", "IMAGE"],
                                    "imageConfig": {"aspectRatio": "1:1", "imageSize": "1K"}}})
    );
}

#[tokio::test]
async fn an_earlier_image_is_edited_by_its_id() {
    let (upstream, _gateway, client) = scene().await;
    let first = client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.ok().json;
    let ask = json!({"prompt": "put a hat on it", "references": [first["images"][0]["id"]]});
    client.tool("generate_image_and_wait", ask).await.ok();
    let sent = upstream.requests()[1].json();
    let parts = sent["contents"][0]["parts"].as_array().unwrap();
    assert_eq!((parts.len(), &parts[0]), (2, &json!({"text": "put a hat on it"})), "the text first");
    let inline = &parts[1]["inlineData"];
    assert_eq!(inline["mimeType"], "image/png");
    assert_eq!(inline["data"].as_str().unwrap(), STANDARD.encode(vendor::png()), "byte for byte");
    assert_eq!(sent["generationConfig"].get("imageConfig"), None, "the shape of the reference is kept");
}

#[tokio::test]
async fn a_size_that_cannot_be_asked_for_is_refused_or_mapped_and_told() {
    let (upstream, _gateway, client) = scene().await;
    let ask = json!({"prompt": "a fox", "size": "1536x1024"});
    let refused = client.tool("generate_image", ask.clone()).await;
    assert!(
        refused.is_error && refused.str("error").contains("the nearest is 2528x1696"),
        "{}",
        refused.json
    );
    assert!(upstream.requests().is_empty(), "before any money is spent");
    let gateway = Gateway::start(set_up(&upstream).set("routing.parameters", "nearest")).await;
    let made = gateway.client().tool("generate_image_and_wait", ask).await.ok();
    let config = &upstream.requests()[0].json()["generationConfig"]["imageConfig"];
    assert_eq!(*config, json!({"aspectRatio": "3:2", "imageSize": "2K"}));
    let told = made.json["adjustments"].as_array().unwrap();
    assert!(
        told.iter().any(|a| a["field"] == "size" && a["asked"] == "1536x1024" && a["used"] == "2528x1696"),
        "{told:?}"
    );
}

/// Two instances of one model, each at a fake of its own; the second one works.
async fn two() -> (FakeUpstream, FakeUpstream, Gateway) {
    let (first, second) = (FakeUpstream::start().await, FakeUpstream::start().await);
    second.default(picture());
    let config = instance(instance(config(), "one", &first), "two", &second);
    let targets = ["one/gemini-nano-banana-2.1", "two/gemini-nano-banana-2.1"];
    let gateway = Gateway::start(config.model("banana", &targets)).await;
    (first, second, gateway)
}

#[tokio::test]
async fn a_filter_is_no_reason_to_ask_another_account() {
    let (first, second, gateway) = two().await;
    let blocked_prompt = json!({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}});
    let held_back = json!({"candidates": [{"finishReason": "IMAGE_SAFETY", "index": 0}]});
    for (n, body) in [blocked_prompt, held_back].into_iter().enumerate() {
        first.push(Behaviour::json(200, body.to_string()));
        let blocked = gateway.client().tool("generate_image_and_wait", json!({"prompt": "a fox"})).await;
        blocked.failed("content_blocked");
        assert_eq!((first.submissions(), second.submissions()), (n + 1, 0));
    }
}

#[tokio::test]
async fn what_may_have_been_paid_is_never_bought_again() {
    let chat = json!({"candidates": [{"content": {"parts": [{"text": "a poem"}]}, "finishReason": "STOP"}]});
    for (behaviour, code) in [
        (Behaviour::Close, "outcome_unknown"),
        (error(500, "INTERNAL", json!([])), "outcome_unknown"),
        (error(504, "DEADLINE_EXCEEDED", json!([])), "outcome_unknown"),
        (Behaviour::json(200, chat.to_string()), "provider_error"),
    ] {
        let (first, second, gateway) = two().await;
        first.push(behaviour);
        let client = gateway.client();
        let job = client.generate("a fox").await;
        let failed = client.wait(&job).await.failed(code);
        assert!(!failed.json.to_string().contains("a poem"), "its words are withheld");
        let gateway = gateway.kill_and_restart().await;
        assert_eq!(gateway.client().status(&job).await["code"], code, "and stays that way");
        assert_eq!((first.submissions(), second.submissions()), (1, 0), "{code}");
    }
}

#[tokio::test]
async fn what_one_account_refuses_another_makes() {
    let bad_key = json!([{"reason": "API_KEY_INVALID"}]);
    let per_day = json!([{"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}]}]);
    for refusal in [
        error(400, "INVALID_ARGUMENT", bad_key),
        error(400, "FAILED_PRECONDITION", json!([])),
        error(404, "NOT_FOUND", json!([])),
        error(429, "RESOURCE_EXHAUSTED", per_day),
        error(429, "RESOURCE_EXHAUSTED", json!([{"retryDelay": "17s"}])),
        error(503, "UNAVAILABLE", json!([])),
    ] {
        let (first, second, gateway) = two().await;
        first.push(refusal);
        let made = gateway.client().tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.ok();
        assert_eq!((first.submissions(), second.submissions()), (1, 1));
        assert!(
            !made.json.to_string().contains("AIza-test") && !gateway.log().contains("AIza-test"),
            "the key is not shown"
        );
    }
}
