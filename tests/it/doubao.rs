//! Seedream from the caller to a fake Ark and back: its two answer forms, groups, the fallback model, and what must
//! never be bought twice.

use crate::support::{Client, Config, Gateway, ToolResult, config, vendor};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use testkit::{Behaviour, FakeUpstream, Recorded, Reply};

const FLASH: &str = "doubao-seedream-5-0-flash-260915";
const V45: &str = "doubao-seedream-4-5-251128";

/// The model `seedream`, made by a vendor model at the fake upstream.
fn ark(upstream: &FakeUpstream, vendor_model: &str) -> Config {
    let entry = json!({"kind": "doubao", "api_key": "ark-test", "base_url": upstream.url()});
    let target = format!("doubao/{vendor_model}");
    config().set("providers.doubao", entry).model("seedream", &[&target])
}

async fn scene(config: Config) -> (Gateway, Client) {
    let gateway = Gateway::start(config).await;
    let client = gateway.client();
    (gateway, client)
}

fn inline() -> Value {
    json!({"b64_json": STANDARD.encode(vendor::png()), "size": "2048x2048"})
}
fn blocked() -> Value {
    let message = "The output image may contain sensitive information. Request id: 0217";
    json!({"error": {"code": "OutputImageSensitiveContentDetected", "message": message}})
}
fn made(model: &str, items: &[Value]) -> Behaviour {
    let count = items.iter().filter(|item| item.get("error").is_none()).count();
    let body = json!({"model": model, "created": 1_795_200_000, "data": items, "usage": {"generated_images": count}});
    Behaviour::json(200, body.to_string())
}
fn refused(status: u16, code: &str) -> Behaviour {
    let message = "It is not possible. Request id: 0217";
    Behaviour::json(status, json!({"error": {"code": code, "message": message, "param": ""}}).to_string())
}
/// A group as a stream of events; the last one only where the stream has an end.
fn stream(items: &[Value], ended: bool) -> Behaviour {
    let mut text = String::new();
    let mut add = |kind: &str, mut data: Value| {
        data["type"] = format!("image_generation.{kind}").into();
        data["model"] = V45.into();
        text += &format!("event: image_generation.{kind}\ndata: {data}\n\n");
    };
    for (n, item) in items.iter().enumerate() {
        let mut data = item.clone();
        data["image_index"] = n.into();
        let kind = if item.get("error").is_some() { "partial_failed" } else { "partial_succeeded" };
        add(kind, data);
    }
    let count = items.iter().filter(|item| item.get("error").is_none()).count();
    if ended {
        add("completed", json!({"usage": {"generated_images": count}}));
        text += "data: [DONE]\n\n";
    }
    let reply = Reply::new(200, "text/event-stream", text);
    if ended { reply.into() } else { Behaviour::CutShort(reply, 100) }
}

fn group(size: u32) -> Value {
    let options = json!({"sequential_image_generation": "auto", "sequential_image_generation_options": {"max_images": size}});
    json!({"prompt": "a fox through the seasons", "size": "2K", "vendor": options})
}

async fn buy(client: &Client, arguments: Value) -> ToolResult {
    client.tool("generate_image_and_wait", arguments).await
}

/// In micro-units, to a thousandth: what is converted is rounded up.
#[track_caller]
fn costs(result: &ToolResult, micros: i64) {
    let amount = result.json["cost"]["amount_micros"].as_i64().unwrap_or_default();
    assert!((amount - micros).abs() <= micros / 1000, "{amount} instead of {micros}: {}", result.json);
}

#[tokio::test]
async fn an_image_in_the_answer_is_stored_and_priced() {
    let upstream = FakeUpstream::start().await;
    upstream.default(made(FLASH, &[inline()]));
    let (_gateway, client) = scene(ark(&upstream, FLASH)).await;
    let ask = json!({"prompt": "a red fox", "size": "16:9", "style": "watercolor", "output_format": "png"});
    let result = buy(&client, ask).await.ok();
    costs(&result, 18_000);
    let stored = client.get(&result.str("image_url")).await.bytes().await.unwrap();
    assert_eq!(stored, vendor::png(), "byte for byte what was bought");
    let told = result.json["adjustments"].to_string();
    assert!(told.contains("watercolor painting"), "{told}");

    let sent = &upstream.requests()[0];
    assert_eq!(
        (sent.path.as_str(), sent.header("authorization")),
        ("/api/v3/images/generations", Some("Bearer ark-test"))
    );
    let body = json!({
        "model": FLASH, "prompt": "a red fox, watercolor painting", "size": "2848x1600", "response_format": "b64_json",
        "output_format": "png", "watermark": false,
    });
    assert_eq!(sent.json(), body, "nothing else is sent: Ark refuses fields that it does not know");
}

#[tokio::test]
async fn several_images_are_several_calls() {
    let upstream = FakeUpstream::start().await;
    upstream.default(made(FLASH, &[inline()]));
    let (_gateway, client) = scene(ark(&upstream, FLASH)).await;
    buy(&client, json!({"prompt": "a fox", "count": 3})).await.ok();
    let sent: Vec<Value> = upstream.requests().iter().map(Recorded::json).collect();
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|body| body.get("n").is_none()), "{sent:?}");
}

#[tokio::test]
async fn a_link_is_fetched_from_a_listed_host_only() {
    let (upstream, cdn) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let link = json!({"url": format!("{}/0.png", cdn.url()), "size": "2048x2048"});
    upstream.default(made(FLASH, &[link]));
    cdn.default(vendor::raw_picture());
    let by_url = || ark(&upstream, FLASH).set("providers.doubao.response_format", "url");
    let (_gateway, client) = scene(by_url()).await;
    let refused = buy(&client, json!({"prompt": "a fox"})).await.failed("provider_error");
    assert!(refused.str("error").contains("127.0.0.1"), "the host is named: {}", refused.json);
    assert!(cdn.requests().is_empty());

    let listed = by_url().set("providers.doubao.result_hosts", json!([cdn.address().to_string()]));
    let (_gateway, client) = scene(listed).await;
    let result = buy(&client, json!({"prompt": "a fox"})).await.ok();
    assert_eq!(client.get(&result.str("image_url")).await.bytes().await.unwrap(), vendor::png());
    assert_eq!(cdn.requests()[0].header("authorization"), None, "the key does not travel to another host");
    assert_eq!(upstream.requests()[1].json()["response_format"], "url");
}

#[tokio::test]
async fn a_group_is_one_job_with_its_images_and_their_price() {
    let upstream = FakeUpstream::start().await;
    upstream.default(stream(&[inline(), inline(), inline()], true));
    let (_gateway, client) = scene(ark(&upstream, V45)).await;
    let result = buy(&client, group(3)).await.ok();
    assert_eq!(result.json["images"].as_array().map(Vec::len), Some(3), "{}", result.json);
    costs(&result, 3 * 35_000);
    let body = upstream.requests()[0].json();
    assert_eq!((&body["stream"], &body["sequential_image_generation"]), (&json!(true), &json!("auto")));
    assert_eq!(body["sequential_image_generation_options"], json!({"max_images": 3}));
    let none = buy(&client, group(16)).await;
    assert!(none.is_error && none.str("error").contains("1 to 15"), "{}", none.json);
    assert_eq!(upstream.submissions(), 1, "a bad option is refused before anything is bought");
}

#[tokio::test]
async fn what_of_a_group_is_missing_is_said_and_not_paid() {
    let (upstream, cdn) = (FakeUpstream::start().await, FakeUpstream::start().await);
    cdn.on("/1.png", vendor::raw_picture());
    let url = |n: u32| json!({"url": format!("{}/{n}.png", cdn.url())});
    let config = ark(&upstream, V45).set("providers.doubao.result_hosts", json!([cdn.address().to_string()]));
    let (_gateway, client) = scene(config).await;
    let refused = stream(&[inline(), blocked(), inline()], true);
    let plain = made(V45, &[inline(), blocked(), inline()]);
    let broken = stream(&[inline(), inline()], false);
    let lost_link = made(V45, &[url(0), url(1), inline()]);
    for (name, behaviour, paid, word) in [
        ("an image refused in a stream", refused, 2, "content_blocked"),
        ("an image refused in a plain answer", plain, 2, "content_blocked"),
        ("a stream that broke", broken, 2, "stream ended"),
        ("a link that leads nowhere", lost_link, 3, "could not be fetched"),
    ] {
        upstream.push(behaviour);
        let result = buy(&client, group(3)).await.ok();
        assert_eq!(result.json["images"].as_array().map(Vec::len), Some(2), "{name}: {}", result.json);
        let told = result.json["adjustments"].to_string();
        assert!(told.contains("missing") && told.contains(word), "{name}: {told}");
        costs(&result, paid * 35_000);
    }
    upstream.push(stream(&[blocked(), blocked()], true));
    buy(&client, group(2)).await.failed("content_blocked");
    assert_eq!(upstream.submissions(), 5);
}

#[tokio::test]
async fn a_group_counts_with_all_it_may_become() {
    let upstream = FakeUpstream::start().await;
    upstream.default(made(V45, &[inline(), inline()]));
    let limits = json!({"images": "5/day", "spend": "0.2 USD/day"});
    let (_gateway, client) = scene(ark(&upstream, V45).set("limits.per_team", limits)).await;
    buy(&client, group(6)).await.failed("quota_exceeded");
    let estimate = client.tool("estimate_price", group(4)).await.ok();
    assert!(estimate.json.to_string().contains("1400"), "four at 0.035 USD: {}", estimate.json);
    buy(&client, group(4)).await.ok();
    buy(&client, group(4)).await.failed("quota_exceeded");
    buy(&client, group(3)).await.ok();
    assert_eq!(upstream.submissions(), 2, "what was not made was given back");
}

#[tokio::test]
async fn the_fallback_model_serves_when_the_vendor_has_no_such_model() {
    let upstream = FakeUpstream::start().await;
    let other = "doubao-seedream-4-0-20260415";
    upstream.handle(move |request| match request.json()["model"].as_str() {
        Some(model) if model == other => made(model, &[inline()]),
        _ => refused(404, "InvalidEndpointOrModel.NotFound"),
    });
    let config = ark(&upstream, "doubao-seedream-4.5")
        .set("providers.doubao.default_model", "doubao-seedream-4.5")
        .set("providers.doubao.fallback_model", "doubao-seedream-4.0");
    let (_gateway, client) = scene(config).await;
    let result = buy(&client, json!({"prompt": "a fox"})).await.ok();
    let told = result.json["adjustments"].to_string();
    assert!(told.contains("doubao-seedream-4.5") && told.contains(other), "{told}");
    costs(&result, 28_000);
    let sent: Vec<Value> = upstream.requests().iter().map(|r| r.json()["model"].clone()).collect();
    assert_eq!(sent, [V45, other], "the old name was mapped to its id");
    let status = client.status(&result.str("job_id")).await;
    assert_eq!(status["attempts"].as_array().map(Vec::len), Some(1), "{status}");
}

#[tokio::test]
async fn an_ambiguous_loss_is_not_bought_again() {
    let upstream = FakeUpstream::start().await;
    upstream
        .push(Behaviour::ResetAfterReading)
        .push(refused(500, "InternalServiceError"))
        .push(refused(404, "InvalidEndpoint.NotFound"))
        .push(Behaviour::Close)
        .default(made(V45, &[inline()]));
    let config = ark(&upstream, V45).set("providers.doubao.fallback_model", "doubao-seedream-4.0");
    let (gateway, client) = scene(config).await;
    let mut jobs = Vec::new();
    for submissions in [1, 2, 4] {
        let lost = buy(&client, json!({"prompt": "a fox"})).await.failed("outcome_unknown");
        jobs.push(lost.str("job_id"));
        assert_eq!(upstream.submissions(), submissions, "the fallback's loss is as unknown as any");
    }
    let gateway = gateway.kill_and_restart().await;
    for job in jobs {
        assert_eq!(gateway.client().status(&job).await["code"], "outcome_unknown");
    }
    assert_eq!(upstream.submissions(), 4, "also after a restart");
}

#[tokio::test]
async fn a_filter_is_final_and_a_missing_model_is_not() {
    let (upstream, second) = (FakeUpstream::start().await, FakeUpstream::start().await);
    second.default(vendor::openai_picture());
    let target = format!("doubao/{FLASH}");
    let config = ark(&upstream, FLASH)
        .openai_at("openai", &second.url())
        .model("photo", &[&target, "openai/gpt-image-2.5-flare"]);
    let (_gateway, client) = scene(config).await;
    for code in ["InputTextSensitiveContentDetected", "OutputImageSensitiveContentDetected"] {
        upstream.push(refused(400, code));
        buy(&client, json!({"prompt": "a fox"})).await.failed("content_blocked");
    }
    assert_eq!((upstream.submissions(), second.submissions()), (2, 0), "nobody else is asked");
    for (status, code) in [(404, "ModelNotOpen"), (403, "AccountOverdueError"), (429, "SetLimitExceeded")] {
        upstream.push(refused(status, code));
        buy(&client, json!({"prompt": "a fox"})).await.ok();
    }
    assert_eq!((upstream.submissions(), second.submissions()), (5, 3));
}

#[tokio::test]
async fn an_image_is_edited_by_references() {
    let upstream = FakeUpstream::start().await;
    upstream.default(made(FLASH, &[inline()]));
    let (_gateway, client) = scene(ark(&upstream, FLASH)).await;
    let first = buy(&client, json!({"prompt": "a fox"})).await.ok().json;
    let image = first["images"][0]["id"].as_str().unwrap();
    let data = format!("data:image/png;base64,{}", STANDARD.encode(vendor::png()));
    let ask = |references: Vec<&str>| json!({"prompt": "put a hat on it", "references": references});
    buy(&client, ask(vec![image])).await.ok();
    buy(&client, ask(vec![image, image])).await.ok();
    let sent: Vec<Value> = upstream.requests().iter().map(|r| r.json()["image"].clone()).collect();
    assert_eq!(sent[1..], [json!(data), json!([data, data])]);
    let many = buy(&client, ask(vec![image; 11])).await;
    assert!(many.is_error && many.str("error").contains("0 to 10"), "{}", many.json);
    assert_eq!(upstream.submissions(), 3);
}
