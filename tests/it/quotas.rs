//! How much a team may have: refused before anything is bought, or delayed.

use crate::support::{Client, Gateway, config, eventually, vendor};
use serde_json::{Value, json};
use testkit::{Behaviour, FakeUpstream};

async fn scene(limits: Value) -> (FakeUpstream, Gateway, Client) {
    let upstream = FakeUpstream::start().await;
    upstream.default(vendor::openai_picture());
    let gateway = Gateway::start(config().openai(&upstream).set("limits.per_team", limits)).await;
    let client = gateway.client();
    (upstream, gateway, client)
}

#[tokio::test]
async fn a_batch_that_does_not_fit_the_quota_is_refused_whole() {
    let (upstream, gateway, client) = scene(json!({"images": "3/day"})).await;
    client.tool("generate_image_and_wait", json!({"prompt": "a fox", "count": 2})).await.ok();
    let refused =
        client.tool("generate_image", json!({"prompt": "a fox", "count": 2})).await.failed("quota_exceeded");
    assert!(refused.str("error").contains('3'), "it says how much there is: {}", refused.json);
    let gateway = gateway.kill_and_restart().await;
    let client = gateway.client();
    client.tool("generate_image", json!({"prompt": "a fox", "count": 2})).await.failed("quota_exceeded");
    client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.ok();
    client.tool("generate_image", json!({"prompt": "a fox"})).await.failed("quota_exceeded");
    assert_eq!(upstream.submissions(), 3, "never one more");
}

#[tokio::test]
async fn a_quota_that_is_nearly_used_up_is_said_to_the_caller_and_once_in_the_log() {
    let (_upstream, gateway, client) = scene(json!({"images": "5/day"})).await;
    let quiet = client.tool("generate_image", json!({"prompt": "a fox", "count": 3})).await;
    assert!(quiet.json["adjustments"].as_array().is_none_or(Vec::is_empty), "{}", quiet.json);
    let warned = "80 % of a quota is used or reserved: 4 of 5";
    assert!(!gateway.log().contains("of a quota is used"));
    for (tool, used) in [("generate_image_and_wait", "4 of 5"), ("generate_image", "5 of 5")] {
        let told = client.tool(tool, json!({"prompt": "a fox"})).await;
        let note = &told.json["adjustments"][0];
        assert_eq!((&note["field"], &note["used"]), (&json!("limits.images"), &json!(used)), "{}", told.json);
        assert!(
            note["reason"].as_str().unwrap().starts_with("Your team's quota per day is used up to"),
            "{note}"
        );
    }
    assert_eq!(gateway.log().matches("of a quota is used").count(), 1, "{}", gateway.log());
    assert!(gateway.log().contains(warned), "{}", gateway.log());
}

#[tokio::test]
async fn a_raise_is_in_force_within_a_second_and_ends_when_it_is_ended() {
    let (upstream, gateway, client) = scene(json!({"images": "1/day"})).await;
    let home = gateway.home();
    let call = async || client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await;
    call().await.ok();
    call().await.failed("quota_exceeded");
    let said =
        home.run(&["budget", "raise", "default", "2 images", "--until", "1h", "--reason", "a launch"]).await;
    assert!(said.contains("`default` has 2 images more until"), "{said}");
    eventually("the server follows", async || (!call().await.is_error).then_some(())).await;
    call().await.ok();
    call().await.failed("quota_exceeded");
    let gateway = gateway.kill_and_restart().await;
    let client = gateway.client();
    let quota = client.tool("get_quota", json!({})).await.ok().json;
    let images = quota["limits"].as_array().unwrap().iter().find(|limit| limit["limit"] == "images").unwrap();
    assert_eq!((&images["most"], &images["used"]), (&json!(3), &json!(3)), "{quota}");
    let home = gateway.home();
    let list = home.run(&["budget", "list"]).await;
    assert!(list.contains("2 images") && list.contains("a launch"), "{list}");
    assert!(home.run(&["budget", "end", "default"]).await.contains("its own limits again"));
    eventually("it is over", async || {
        let quota = client.tool("get_quota", json!({})).await.ok().json;
        let images = quota["limits"].as_array().unwrap().iter().find(|limit| limit["limit"] == "images");
        (images.unwrap()["most"] == 1).then_some(())
    })
    .await;
    let wrong = home.command(&["budget", "raise", "default", "5 USD", "--until", "1h", "--reason", "x"]);
    let wrong = { wrong }.output().await.unwrap();
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("no budget applies"), "{wrong:?}");
    assert_eq!(upstream.submissions(), 3);
}

#[tokio::test]
async fn warnings_come_where_the_configuration_wants_them() {
    let (_upstream, gateway, client) = scene(json!({"images": "4/day", "warn_at": [1.0, 0.5]})).await;
    for _ in 0..4 {
        client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.ok();
    }
    let log = gateway.log();
    assert_eq!(log.matches("of a quota is used").count(), 2, "{log}");
    assert!(log.contains("50 % of a quota") && log.contains("100 % of a quota"), "{log}");
    let silent = scene(json!({"images": "1/day", "warn_at": []})).await;
    let told = silent.2.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await;
    assert!(told.json["adjustments"].as_array().is_none_or(Vec::is_empty), "{}", told.json);
}

#[tokio::test]
async fn twenty_callers_at_once_stay_within_the_quota() {
    let (upstream, _gateway, client) = scene(json!({"images": "5/day"})).await;
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(
                async move { client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await },
            )
        })
        .collect();
    let mut made = 0;
    for call in calls {
        let result = call.await.unwrap();
        match result.is_error {
            false => made += 1,
            true => assert_eq!(result.json["code"], "quota_exceeded", "{}", result.json),
        }
    }
    assert_eq!((made, upstream.submissions()), (5, 5));
}

#[tokio::test]
async fn a_failure_that_cost_nothing_gives_the_quota_back() {
    let (upstream, _gateway, client) = scene(json!({"images": "1/day"})).await;
    upstream.push(Behaviour::from(vendor::openai_error(
        400,
        "moderation_blocked",
        "refused by the safety system",
    )));
    client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.failed("content_blocked");
    client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.ok();
    upstream.push(Behaviour::Close);
    client.tool("generate_image", json!({"prompt": "a fox"})).await.failed("quota_exceeded");
}

#[tokio::test]
async fn what_may_have_been_paid_keeps_its_place_in_the_budget() {
    let (upstream, _gateway, client) = scene(json!({"images": "1/day"})).await;
    upstream.push(Behaviour::Close);
    client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.failed("outcome_unknown");
    client.tool("generate_image", json!({"prompt": "a fox"})).await.failed("quota_exceeded");
}

#[tokio::test]
async fn an_operator_settles_what_nobody_knew() {
    let upstream = FakeUpstream::start().await;
    upstream.default(vendor::openai_picture());
    let config = config()
        .openai(&upstream)
        .set("models.gpt-image.price", json!([{"image": "0.05 USD"}]))
        .set("limits.per_team", json!({"spend": "0.10 USD/day"}));
    let gateway = Gateway::start(config).await;
    let (client, home) = (gateway.client(), gateway.home());
    assert!(home.run(&["jobs", "reconcile"]).await.contains("Every outcome is known"));
    let mut lost = Vec::new();
    for _ in 0..2 {
        upstream.push(Behaviour::Close);
        let job = client.generate("a fox").await;
        assert_eq!(client.until_status(&job, "failed").await["code"], "outcome_unknown");
        lost.push(job);
    }
    client.tool("generate_image", json!({"prompt": "a fox"})).await.failed("budget_exceeded");
    let listed = home.run(&["jobs", "reconcile"]).await;
    assert!(lost.iter().all(|job| listed.contains(job)) && listed.contains("0.05 USD"), "{listed}");
    let refused = home.command(&["jobs", "reconcile", &lost[0]]).output().await.unwrap();
    assert!(!refused.status.success(), "it is asked what became of it");

    // One was charged less than was held, the other not at all: 0.08 USD are left.
    assert!(home.run(&["jobs", "reconcile", &lost[0], "--charged", "0.02 USD"]).await.contains("0.02 USD"));
    client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.failed("budget_exceeded");
    home.run(&["jobs", "reconcile", &lost[1], "--free"]).await;
    client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.ok();
    let again = home.command(&["jobs", "reconcile", &lost[1], "--charged"]).output().await.unwrap();
    assert!(!again.status.success(), "settled once");
    assert!(home.run(&["jobs", "reconcile"]).await.contains("Every outcome is known"));
    assert_eq!(client.status(&lost[0]).await["cost"]["amount_micros"], 20_000);
}

#[tokio::test]
async fn a_budget_in_money_is_never_passed() {
    // 0.04 USD reserved for each by the model's own price, 0.0421 USD settled by the vendor's usage.
    let upstream = FakeUpstream::start().await;
    upstream.default(vendor::openai_picture());
    let price = json!([{"image": "0.05 USD"}]);
    let gateway = Gateway::start(
        config()
            .openai(&upstream)
            .set("models.gpt-image.price", price)
            .set("limits.per_team", json!({"spend": "0.10 USD/day"})),
    )
    .await;
    let client = gateway.client();
    client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.ok();
    client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.ok();
    let refused = client.tool("generate_image", json!({"prompt": "a fox"})).await.failed("budget_exceeded");
    assert!(refused.str("error").contains("0.10"), "{}", refused.json);
    let priced = client.tool("estimate_price", json!({})).await.ok().json;
    assert_eq!(
        (&priced["outcome"], &priced["reasons"][0]["code"]),
        (&json!("refused"), &json!("budget_exceeded"))
    );
    assert_eq!(upstream.submissions(), 2);
}

#[tokio::test]
async fn a_full_queue_refuses_and_says_when_to_come_back() {
    let upstream = FakeUpstream::start().await;
    upstream.default(vendor::openai_picture()).hold();
    let gateway = Gateway::start(
        config()
            .openai(&upstream)
            .set("providers.openai.concurrency", 1)
            .set("limits.per_team", json!({"queued_jobs": 2})),
    )
    .await;
    let client = gateway.client();
    client.generate("runs").await;
    upstream.wait_for_requests(1).await;
    client.tool("generate_image", json!({"prompt": "waits", "count": 2})).await.ok();
    let refused =
        client.tool("generate_image", json!({"prompt": "one too many"})).await.failed("rate_limited");
    assert!(refused.json["retry_after_ms"].as_u64().is_some_and(|ms| ms > 0), "{}", refused.json);
    upstream.release();
}
