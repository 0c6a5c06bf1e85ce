//! A server of one's own that speaks OpenAI's dialect, added as `docs/providers/self-hosted.md` says. The other servers
//! of that page are examples of `docs/providers/http.md`.

use crate::{
    http_vendor::with,
    support::{Gateway, Home, vendor},
};
use serde_json::{Value, json};
use testkit::{Behaviour, FakeUpstream};

const PAGE: &str = include_str!("../../docs/providers/self-hosted.md");

fn example(upstream: &FakeUpstream) -> Value {
    serde_saphyr::from_str(&testkit::example(PAGE, "vllm", &upstream.url(), "sk-test")).unwrap()
}

#[tokio::test]
async fn vllm_is_sent_its_own_fields_and_costs_nothing() {
    let upstream = FakeUpstream::start().await;
    upstream.on("/v1/models", Behaviour::json(200, json!({"data": [{"id": "Qwen/Qwen-Image"}]}).to_string()));
    upstream.on("/v1/images/generations", vendor::openai_picture());
    let home = Home::new(with(&[example(&upstream)]));
    let tried = home.run(&["doctor"]).await;
    assert_eq!(upstream.requests()[0].path, "/v1/models", "the free call: {tried}");

    let gateway = Gateway::start_at(home).await;
    let client = gateway.client();
    let asked = json!({"prompt": "a red fox", "size": "1024x1024", "negative_prompt": "blur", "steps": 20,
                       "guidance": 4.0, "seed": 7});
    let made = client.tool("generate_image_and_wait", asked).await.ok();
    assert_eq!(made.json["cost"], json!({"amount_micros": 0, "currency": "USD"}));
    let stored = client.get(&made.str("image_url")).await.bytes().await.unwrap();
    assert_eq!(stored, vendor::png(), "byte for byte");

    let sent = upstream.requests().pop().unwrap();
    assert_eq!(sent.header("authorization"), None, "there is no key");
    let wanted = json!({"model": "Qwen/Qwen-Image", "prompt": "a red fox", "n": 1, "size": "1024x1024",
                        "response_format": "b64_json", "negative_prompt": "blur", "num_inference_steps": 20,
                        "guidance_scale": 4.0, "seed": 7});
    assert_eq!(sent.json(), wanted, "each field by the server's own name, and no other");
}

#[tokio::test]
async fn vllm_says_what_is_wrong_in_its_own_form() {
    let upstream = FakeUpstream::start().await;
    let detail = json!({"detail": [{"type": "value_error", "loc": ["body", "size"], "msg": "Value error, invalid size"}]});
    upstream.default(Behaviour::json(422, detail.to_string()));
    let gateway = Gateway::start(with(&[example(&upstream)])).await;
    let client = gateway.client();
    let told = client
        .tool("generate_image_and_wait", json!({"prompt": "a red fox"}))
        .await
        .failed("provider_rejected");
    assert!(told.str("error").contains("invalid size"), "{}", told.json);
    assert_eq!(upstream.submissions(), 1, "nobody asks again");
}
