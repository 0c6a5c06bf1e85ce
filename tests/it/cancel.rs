//! Cancelling: free while nothing was sent, and honest afterwards.

use crate::support::{Client, Gateway, config, vendor};
use serde_json::json;
use testkit::FakeUpstream;

async fn scene() -> (FakeUpstream, Gateway, Client) {
    let upstream = FakeUpstream::start().await;
    upstream.default(vendor::openai_picture()).hold();
    let gateway = Gateway::start(config().openai(&upstream).set("providers.openai.concurrency", 1)).await;
    let client = gateway.client();
    (upstream, gateway, client)
}

#[tokio::test]
async fn a_waiting_job_is_cancelled_and_never_sent() {
    let (upstream, _gateway, client) = scene().await;
    let running = client.generate("a fox").await;
    upstream.wait_for_requests(1).await;
    let waiting = client.generate("a wolf").await;
    let status = client.status(&waiting).await;
    assert_eq!((&status["status"], status["queue_position"].is_u64()), (&json!("pending"), true), "{status}");

    let cancelled = client.cancel(&waiting).await;
    assert_eq!(
        (&cancelled["cancelled"], &cancelled["status"], &cancelled["cost"], &cancelled["job_id"]),
        (&json!(true), &json!("cancelled"), &json!("none"), &json!(waiting))
    );
    let again = client.cancel(&waiting).await;
    assert_eq!(
        (&again["cancelled"], &again["status"]),
        (&json!(false), &json!("cancelled")),
        "once more is no error"
    );
    let wait = client.wait(&waiting).await.failed("cancelled");
    assert_eq!(wait.str("status"), "cancelled");

    upstream.release();
    client.wait(&running).await.ok();
    assert_eq!(upstream.submissions(), 1, "the cancelled one was never sent");
    let listed = client.tool("list_jobs", json!({"status": "cancelled"})).await.ok().json;
    assert_eq!(listed["total_count"], 1);
}

#[tokio::test]
async fn a_job_at_the_vendor_is_finished_and_kept() {
    let (upstream, _gateway, client) = scene().await;
    let running = client.generate("a fox").await;
    upstream.wait_for_requests(1).await;
    let answer = client.cancel(&running).await;
    assert_eq!((&answer["cancelled"], &answer["status"]), (&json!(false), &json!("processing")));
    assert_eq!(answer["cost"], "unknown", "{answer}");
    upstream.release();
    client.wait(&running).await.ok();
    let answer = client.cancel(&running).await;
    assert_eq!(
        (&answer["cancelled"], &answer["status"], &answer["cost"]),
        (&json!(false), &json!("completed"), &json!("spent"))
    );
}

#[tokio::test]
async fn who_waits_for_a_job_hears_that_it_was_cancelled() {
    let (upstream, _gateway, client) = scene().await;
    client.generate("a fox").await;
    upstream.wait_for_requests(1).await;
    let waiting = client.generate("a wolf").await;
    let waiter = tokio::spawn({
        let (client, job) = (client.clone(), waiting.clone());
        async move { client.wait(&job).await }
    });
    client.cancel(&waiting).await;
    waiter.await.unwrap().failed("cancelled");
    upstream.release();
}
