//! Pausing a provider: what runs goes on, nothing new starts, what waits goes elsewhere or waits on.

use crate::support::{Client, Config, Gateway, config, eventually, vendor};
use serde_json::{Value, json};
use testkit::FakeUpstream;

fn two_vendors(first: &FakeUpstream, second: &FakeUpstream) -> Config {
    config()
        .openai_at("first", &first.url())
        .openai_at("second", &second.url())
        .set("providers.first.concurrency", 1)
        .model("draw", &["first/gpt-image-2.5-flare", "second/gpt-image-2.5-flare"])
        .model("only-first", &["first/gpt-image-2.5-flare"])
        .set("routing.default_model", json!(["draw"]))
}

async fn model(client: &Client, name: &str) -> Value {
    let models = client.tool("list_models", json!({"explain": true})).await.ok().json;
    models["models"].as_array().unwrap().iter().find(|model| model["name"] == name).cloned().unwrap()
}

async fn until_on(client: &Client, name: &str, on: bool) -> Value {
    eventually("the server follows the pause", async || {
        let model = model(client, name).await;
        (model["on"] == on).then_some(model)
    })
    .await
}

#[tokio::test]
async fn what_runs_goes_on_and_what_waits_goes_elsewhere_or_waits() {
    let (first, second) = (FakeUpstream::start().await, FakeUpstream::start().await);
    first.default(vendor::openai_picture()).hold();
    second.default(vendor::openai_picture());
    let gateway = Gateway::start(two_vendors(&first, &second)).await;
    let client = gateway.client();
    let running = client.generate("a running fox").await;
    first.wait_for_requests(1).await;
    let moves = client.generate("a fox that waits").await;
    let stays = client.generate_with(json!({"prompt": "a fox that stays", "model": "only-first"})).await;

    let said = gateway.home().run(&["providers", "pause", "first"]).await;
    assert!(said.contains("is paused"), "{said}");
    let done = client.wait(&moves).await.ok();
    assert_eq!(second.submissions(), 1, "{}", done.json);
    let paused = until_on(&client, "only-first", false).await;
    assert!(paused["reason"].as_str().unwrap().contains("paused the provider `first`"), "{paused}");
    assert!(model(&client, "draw").await["on"] == true, "its second target is open");

    first.release();
    client.wait(&running).await.ok();
    assert_eq!(first.submissions(), 1, "what ran was finished, and nothing new was started");
    assert_eq!(client.status(&stays).await["status"], "pending");
    let refused = client.tool("generate_image", json!({"prompt": "a fox", "model": "only-first"})).await;
    let refused = refused.failed("provider_unavailable");
    assert!(refused.str("error").contains("paused the provider `first`"), "{}", refused.json);
    let refused = client.tool("generate_image", json!({"prompt": "a fox", "provider": "first"})).await;
    let refused = refused.failed("provider_unavailable");
    assert!(refused.str("error").contains("Providers that are on: second"), "{}", refused.json);

    gateway.home().run(&["providers", "resume", "first"]).await;
    client.wait(&stays).await.ok();
    assert_eq!(first.submissions(), 2);
    until_on(&client, "only-first", true).await;
}

#[tokio::test]
async fn a_pause_outlives_the_server() {
    let (first, second) = (FakeUpstream::start().await, FakeUpstream::start().await);
    first.default(vendor::openai_picture());
    second.default(vendor::openai_picture());
    let gateway = Gateway::start(two_vendors(&first, &second)).await;
    gateway.home().run(&["providers", "pause", "first"]).await;
    let gateway = gateway.kill_and_restart().await;
    let client = gateway.client();
    client.wait(&client.generate("a fox").await).await.ok();
    assert_eq!((first.submissions(), second.submissions()), (0, 1));
    let list: Value =
        serde_json::from_str(&gateway.home().run(&["providers", "list", "--json"]).await).unwrap();
    assert_eq!((&list[0]["name"], &list[0]["state"]), (&json!("first"), &json!("paused")), "{list}");
    assert!(list[0]["paused_since"].is_i64() && list[1]["state"] == "on", "{list}");
    let models = gateway.home().run(&["models", "list"]).await;
    assert!(models.contains("paused, as first is"), "{models}");
}

#[tokio::test]
async fn one_provider_is_tried_without_buying() {
    let upstream = FakeUpstream::start().await;
    upstream.on("/v1/models", testkit::Reply::json(200, r#"{"data":[]}"#));
    let gateway = Gateway::start(config().openai(&upstream)).await;
    let home = gateway.home();
    assert!(home.run(&["providers", "test", "openai"]).await.contains("takes its credentials"));
    let tried: Value =
        serde_json::from_str(&home.run(&["providers", "test", "openai", "--json"]).await).unwrap();
    assert_eq!(tried["verdict"], "ok");
    upstream.on("/v1/models", testkit::Reply::json(401, r#"{"error":{"message":"bad key"}}"#));
    let output = home.command(&["providers", "test", "openai"]).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        !output.status.success() && said.contains("-> Check the key") && !said.contains("sk-test"),
        "{said}"
    );
    assert_eq!(upstream.submissions(), 0);
    let unknown = home.command(&["providers", "pause", "opneai"]).output().await.unwrap();
    assert!(!unknown.status.success() && String::from_utf8_lossy(&unknown.stderr).contains("openai"));
}

#[tokio::test]
async fn a_broken_provider_is_seen_in_the_list() {
    let upstream = FakeUpstream::start().await;
    upstream.default(testkit::Reply::json(503, r#"{"error":{"message":"down"}}"#));
    let gateway = Gateway::start(config().openai(&upstream).set("routing.breaker.failures", 1)).await;
    let client = gateway.client();
    client.generate("a fox").await;
    eventually("the breaker is written down", async || {
        let said = gateway.home().run(&["providers", "list"]).await;
        said.contains("failing, next try in").then_some(())
    })
    .await;
}
