//! Several servers over one database: one submitter per job, whatever stands still.

use crate::support::{Client, Gateway, Home, config, eventually, vendor::Vendor};
use serde_json::{Value, json};

struct Scene {
    vendor: Vendor,
    one: Gateway,
    two: Gateway,
}

async fn scene() -> Scene {
    let vendor = Vendor::start().await;
    let one = Gateway::start(config().vendor(&vendor.upstream)).await;
    let two = Gateway::start_at(one.home().clone()).await;
    Scene { vendor, one, two }
}

async fn start_job(client: &Client, model: &str) -> String {
    client.generate_with(json!({"prompt": "a fox", "model": model})).await
}

async fn attempts(client: &Client, job: &str) -> usize {
    client.status(job).await["attempts"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_ticket_is_taken_over_from_a_server_that_stands_still() {
    let Scene { vendor, one, two } = scene().await;
    let job = start_job(&one.client(), "j").await;
    eventually("there is a ticket", async || vendor.was_asked_for_a_ticket().then_some(())).await;
    one.pause();
    vendor.finish_all();
    let client = two.client();
    assert_eq!(client.wait(&job).await.ok().str("status"), "completed", "the other takes over the lease");
    one.go_on();
    // The first wakes up, and finds its lease gone.
    let seen = one.client().wait(&job).await.ok();
    assert_eq!(seen.json["images"].as_array().unwrap().len(), 1);
    assert_eq!((vendor.bought("a fox").len(), attempts(&client, &job).await), (1, 1));
    let gallery = client.tool("list_generations", json!({})).await.ok().json;
    assert_eq!(gallery["total_count"], 1, "one image, not one of each");
}

#[tokio::test]
async fn the_paid_image_of_a_server_that_stood_still_comes_home() {
    let Scene { vendor, one, two } = scene().await;
    let job = start_job(&one.client(), "s").await;
    vendor.upstream.wait_for_requests(1).await;
    one.pause();
    let client = two.client();
    client.wait(&job).await.failed("outcome_unknown");
    vendor.finish_all();
    assert_eq!(client.status(&job).await["status"], "failed", "nothing changes that");
    one.go_on();
    // But the answer that was paid for: it is kept, and the doubt is over.
    let status = client.until_status(&job, "completed").await;
    assert_eq!(
        (&status["error"], &status["code"]),
        (&Value::Null, &Value::Null),
        "a stale error never survives success"
    );
    assert_eq!((status["images"].as_array().unwrap().len(), vendor.bought("a fox").len()), (1, 1));
}

#[tokio::test]
async fn a_ticket_that_comes_too_late_still_brings_its_image_home() {
    let Scene { vendor, one, two } = scene().await;
    vendor.upstream.hold();
    let job = start_job(&one.client(), "j").await;
    vendor.upstream.wait_for_requests(1).await;
    one.pause();
    let client = two.client();
    client.wait(&job).await.failed("outcome_unknown");
    vendor.finish_all();
    one.go_on();
    client.until_status(&job, "completed").await;
    assert_eq!(vendor.bought("a fox").len(), 1, "it was polled for, not bought again");
}

#[tokio::test]
async fn a_keyed_call_of_a_server_that_stands_still_is_repeated_under_its_key() {
    let Scene { vendor, one, two } = scene().await;
    let job = start_job(&one.client(), "k").await;
    vendor.upstream.wait_for_requests(1).await;
    one.pause();
    vendor.finish_all();
    let client = two.client();
    client.wait(&job).await.ok();
    one.go_on();
    one.client().wait(&job).await.ok();
    let keys = vendor.bought("a fox");
    assert!(keys.iter().all(|key| *key == keys[0]), "billed once: {keys:?}");
    let gallery = client.tool("list_generations", json!({})).await.ok().json;
    assert_eq!(gallery["total_count"], 1);
}

#[tokio::test]
async fn a_wait_at_one_server_sees_what_another_finishes() {
    let Scene { vendor, one, two } = scene().await;
    let job = start_job(&one.client(), "s").await;
    vendor.upstream.wait_for_requests(1).await;
    let client = two.client();
    let waiter = tokio::spawn(async move { client.wait(&job).await });
    vendor.finish_all();
    waiter.await.unwrap().ok();
}

#[tokio::test]
async fn servers_that_start_at_once_in_an_empty_folder_agree_on_key_and_secret() {
    for _ in 0..3 {
        let home = Home::new(config());
        let start = || Gateway::start_at(home.clone());
        let (one, two, three) = tokio::join!(start(), start(), start());
        let made = one
            .client()
            .tool("generate_image_and_wait", json!({"prompt": "a fox", "size": "64x64"}))
            .await
            .ok();
        for other in [&two, &three] {
            other.client().tool("list_jobs", json!({})).await.ok();
            let answer = other.client().get(&other.at(&made.str("image_url"))).await;
            assert!(answer.status().is_success(), "a link of one opens at the other: {}", answer.status());
        }
        let listed = home.run(&["keys", "list"]).await;
        assert_eq!(listed.matches("default").count(), 1, "one first key: {listed}");
    }
}
