//! Kills and stops, with jobs of every class out at a vendor.

use crate::support::{
    Client, Gateway, config, eventually,
    vendor::{self, Vendor},
};
use serde_json::{Value, json};
use std::time::Duration;
use testkit::{Behaviour, FakeUpstream};

pub async fn start_job(client: &Client, model: &str, prompt: &str) -> String {
    client.generate_with(json!({"prompt": prompt, "model": model})).await
}

#[tokio::test]
async fn a_kill_with_jobs_of_every_class_in_flight_loses_none() {
    let vendor = Vendor::start().await;
    let gateway = Gateway::start(config().vendor(&vendor.upstream).set("jobs.workers", 3)).await;
    let client = gateway.client();
    let k = start_job(&client, "k", "a fox of class K").await;
    let j = start_job(&client, "j", "a fox of class J").await;
    let s = start_job(&client, "s", "a fox of class S").await;
    let queued = start_job(&client, "s", "a fox that waits").await;
    eventually("all are out at the vendor, and one has a ticket", async || {
        let out =
            ["K", "J", "S"].iter().all(|class| vendor.bought(&format!("a fox of class {class}")).len() == 1);
        (out && vendor.was_asked_for_a_ticket()).then_some(())
    })
    .await;
    assert_eq!(client.status(&queued).await["status"], "pending", "three workers are busy");

    let home = gateway.kill().await;
    vendor.finish_all();
    let gateway = Gateway::start_at(home).await;
    let client = gateway.client();

    assert_eq!(client.wait(&k).await.ok().str("status"), "completed", "K: it was asked again");
    let keys = vendor.bought("a fox of class K");
    assert!(keys.len() == 2 && keys[0] == keys[1], "under the same key, so it is billed once: {keys:?}");

    assert_eq!(client.wait(&j).await.ok().str("status"), "completed", "J: its ticket is resumed");
    assert_eq!(vendor.bought("a fox of class J").len(), 1, "and not bought again");

    let lost = client.wait(&s).await.failed("outcome_unknown");
    assert_eq!(lost.str("job_id"), s);
    assert_eq!(vendor.bought("a fox of class S").len(), 1, "S: never bought again by itself");
    let status = client.status(&s).await;
    let attempt = &status["attempts"][0];
    assert!(
        attempt["ended_at"].is_i64() && attempt["outcome"] == "outcome_unknown",
        "the attempt is on record: {status}"
    );

    assert_eq!(client.wait(&queued).await.ok().str("status"), "completed", "what waited runs");
    assert_eq!(vendor.bought("a fox that waits").len(), 1);
    let all = client.tool("list_jobs", json!({})).await.ok().json;
    assert_eq!(all["total_count"], 4, "none is lost: {all}");
}

#[tokio::test]
async fn a_second_kill_right_after_the_first_changes_nothing() {
    let vendor = Vendor::start().await;
    let gateway = Gateway::start(config().vendor(&vendor.upstream)).await;
    let client = gateway.client();
    let j = start_job(&client, "j", "a fox of class J").await;
    eventually("there is a ticket", async || vendor.was_asked_for_a_ticket().then_some(())).await;
    let gateway = gateway.kill_and_restart().await;
    let gateway = gateway.kill_and_restart().await;
    vendor.finish_all();
    assert_eq!(gateway.client().wait(&j).await.ok().str("status"), "completed");
    assert_eq!(vendor.bought("a fox of class J").len(), 1);
    assert_eq!(
        gateway.client().status(&j).await["attempts"].as_array().unwrap().len(),
        1,
        "one attempt, resumed"
    );
}

#[tokio::test]
async fn a_poll_that_is_turned_away_is_asked_again_and_nothing_is_bought_anew() {
    let vendor = Vendor::start().await;
    let gateway = Gateway::start(config().vendor(&vendor.upstream)).await;
    let client = gateway.client();
    let j = start_job(&client, "j", "a fox of class J").await;
    eventually("there is a ticket", async || vendor.was_asked_for_a_ticket().then_some(())).await;
    vendor.upstream.push(Behaviour::rate_limited(None)).push(Behaviour::json(403, "{}"));
    vendor.finish_all();
    assert_eq!(client.wait(&j).await.ok().str("status"), "completed");
    assert_eq!(vendor.bought("a fox of class J").len(), 1, "the job went on at the vendor all the while");
}

#[tokio::test]
async fn a_paid_answer_that_was_not_stored_yet_is_found_on_disk() {
    let upstream = FakeUpstream::start().await;
    upstream.default(vendor::openai_picture());
    let gateway = Gateway::start(config().openai(&upstream)).await;
    let client = gateway.client();
    // Storage is away: a file stands where the folder of images should be.
    let images = gateway.home().data_dir().join("images");
    let aside = images.with_file_name("images-aside");
    if images.exists() {
        std::fs::rename(&images, &aside).unwrap();
    }
    std::fs::write(&images, "in the way").unwrap();
    let job = client.generate("a paid fox").await;
    let spool = gateway.home().data_dir().join("spool");
    eventually("the answer is in the spool", async || {
        let files = std::fs::read_dir(&spool).unwrap().flatten();
        let whole = files
            .filter(|f| f.file_name().len() == 36 && f.metadata().is_ok_and(|m| m.len() > 1_000))
            .count();
        (whole == 1).then_some(())
    })
    .await;
    client.until_status(&job, "processing").await;

    let home = gateway.kill().await;
    std::fs::remove_file(&images).unwrap();
    if aside.exists() {
        std::fs::rename(&aside, &images).unwrap();
    }
    let gateway = Gateway::start_at(home).await;
    let done = gateway.client().wait(&job).await.ok();
    let link = done.str("image_url");
    assert_eq!(
        gateway.client().get(&link).await.bytes().await.unwrap(),
        vendor::png(),
        "the paid image is not lost"
    );
    assert_eq!(upstream.submissions(), 1, "nor paid for twice");
    eventually("the spool is empty again", async || gateway.home().in_spool().is_empty().then_some(())).await;
}

#[tokio::test]
async fn storage_that_comes_back_gets_the_paid_image() {
    let upstream = FakeUpstream::start().await;
    upstream.default(vendor::openai_picture());
    let gateway = Gateway::start(config().openai(&upstream)).await;
    let client = gateway.client();
    let images = gateway.home().data_dir().join("images");
    std::fs::remove_dir_all(&images).ok();
    std::fs::write(&images, "in the way").unwrap();
    let job = client.generate("a paid fox").await;
    upstream.wait_for_requests(1).await;
    let still =
        client.tool("wait_for_completion", json!({"job_id": job, "max_wait_seconds": 0.7})).await.ok();
    assert_eq!(still.str("status"), "processing", "not failed: it is paid for");
    std::fs::remove_file(&images).unwrap();
    client.wait(&job).await.ok();
    assert_eq!(upstream.submissions(), 1);
}

#[tokio::test]
async fn a_stop_answers_who_waits_and_leaves_what_can_be_resumed() {
    let vendor = Vendor::start().await;
    let gateway = Gateway::start(config().vendor(&vendor.upstream).set("server.shutdown_grace", "2s")).await;
    let client = gateway.client();
    let j = start_job(&client, "j", "a fox of class J").await;
    let s = start_job(&client, "s", "a fox of class S").await;
    eventually("both are out", async || {
        (vendor.was_asked_for_a_ticket() && vendor.upstream.submissions() == 2).then_some(())
    })
    .await;
    let waiters: Vec<_> = [&j, &s, &j]
        .map(|job| {
            let (client, job) = (client.clone(), job.clone());
            tokio::spawn(async move { client.wait(&job).await })
        })
        .into();
    // So that they are in their wait when the signal comes.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (home, stopped) = gateway.stop().await;
    assert_eq!(stopped.status.code(), Some(0), "{stopped:?}");
    assert!(stopped.took < Duration::from_secs(7), "grace + 5 s: {:?}", stopped.took);
    for waiter in waiters {
        let told = waiter.await.expect("the connection was not cut").ok();
        assert_eq!(told.str("status"), "processing", "still running, with the job id: {}", told.json);
    }
    vendor.finish_all();
    let gateway = Gateway::start_at(home).await;
    assert_eq!(gateway.client().wait(&j).await.ok().str("status"), "completed", "J goes on");
    assert_eq!(vendor.bought("a fox of class J").len(), 1);
    gateway.client().wait(&s).await.failed("outcome_unknown");
}

#[tokio::test]
async fn a_stop_lets_running_work_end_and_takes_no_more() {
    let vendor = Vendor::start().await;
    let mut gateway = Gateway::start(config().vendor(&vendor.upstream)).await;
    let client = gateway.client();
    let s = start_job(&client, "s", "a fox of class S").await;
    vendor.upstream.wait_for_requests(1).await;
    let waiter = tokio::spawn({
        let (client, s) = (client.clone(), s.clone());
        async move { client.wait(&s).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    gateway.terminate();
    eventually("nothing new is taken", async || {
        let call = client.http().get(format!("{}/readyz", gateway.url())).send().await;
        call.map_or(Some(()), |answer| (answer.status() == 503).then_some(()))
    })
    .await;
    vendor.finish_all();
    assert_eq!(waiter.await.unwrap().ok().str("status"), "completed", "who waited gets the image");
    let stopped = gateway.ended().await;
    assert_eq!(stopped.status.code(), Some(0));
    assert!(
        stopped.took < Duration::from_secs(5),
        "it does not sit out its grace of 10 s: {:?}",
        stopped.took
    );
}

#[tokio::test]
async fn an_accepted_id_is_on_disk_before_anybody_sees_it() {
    let vendor = Vendor::start().await;
    let gateway = Gateway::start(config().vendor(&vendor.upstream)).await;
    let made = gateway
        .client()
        .tool("generate_image", json!({"prompt": "a fox", "model": "k", "count": 20}))
        .await
        .ok();
    let gateway = gateway.kill_and_restart().await;
    vendor.finish_all();
    let jobs = made.json["job_ids"].clone();
    let done =
        gateway.client().tool("wait_for_completion", json!({"job_ids": jobs, "max_wait_seconds": 40})).await;
    assert_eq!(done.ok().json["count"], 20, "all twenty");
    let keys: std::collections::HashSet<Value> =
        vendor.bought("a fox").into_iter().map(Value::from).collect();
    assert_eq!(keys.len(), 20, "and each billed once");
}

#[tokio::test]
async fn kills_at_any_moment_of_a_jobs_life_lose_none_and_buy_none_twice() {
    let vendor = Vendor::start().await;
    vendor.finish_all();
    let mut gateway = Gateway::start(config().vendor(&vendor.upstream)).await;
    let mut jobs = Vec::new();
    for round in 0..6_u64 {
        let client = gateway.client();
        for model in ["k", "j", "s"] {
            for n in 0..2 {
                let prompt = format!("{model} {round} {n}");
                jobs.push((model, start_job(&client, model, &prompt).await, prompt));
            }
        }
        // Not at random: a failure can be told again.
        tokio::time::sleep(Duration::from_millis(round * 17)).await;
        gateway = gateway.kill_and_restart().await;
    }
    none_lost_none_bought_twice(&gateway.client(), &vendor, &jobs).await;
}

/// After kills: each of these jobs (model, id, prompt) has ended, no call was billed twice, and there are no others.
pub async fn none_lost_none_bought_twice(
    client: &Client,
    vendor: &Vendor,
    jobs: &[(&'static str, String, String)],
) {
    for (model, job, prompt) in jobs {
        let result = client.wait(job).await;
        let keys = vendor.bought(prompt);
        match (*model, result.is_error) {
            (_, false) => assert_eq!(result.json["status"], "completed", "{prompt}: {}", result.json),
            // A kill before the vendor's answer was committed: seen by nobody, so nobody may buy again.
            ("s" | "j", true) => {
                assert_eq!(result.json["code"], "outcome_unknown", "{prompt}: {}", result.json)
            }
            _ => panic!("{prompt}: {}", result.json),
        }
        let billed: std::collections::HashSet<&String> = keys.iter().collect();
        assert!(
            billed.len() <= 1 && (*model == "k" || keys.len() <= 1),
            "{prompt} was bought twice: {keys:?}"
        );
    }
    let listed = client.tool("list_jobs", json!({"limit": 50})).await.ok().json;
    assert_eq!(listed["total_count"], jobs.len(), "none lost, none made up");
}

#[tokio::test]
async fn a_keyed_call_that_has_to_wait_for_its_rate_keeps_its_key() {
    let vendor = Vendor::start().await;
    let slow = config().vendor(&vendor.upstream).set("providers.vendor.rate", "4/min");
    let gateway = Gateway::start(slow).await;
    let job = start_job(&gateway.client(), "k", "a fox").await;
    vendor.upstream.wait_for_requests(1).await;
    let gateway = gateway.kill_and_restart().await;
    // Before the orphan is found, others use up what the rate allows.
    let client = gateway.client();
    client.tool("generate_image", json!({"prompt": "others", "model": "k", "count": 4})).await.ok();
    vendor.finish_all();
    assert_eq!(client.wait(&job).await.ok().str("status"), "completed");
    let keys = vendor.bought("a fox");
    assert!(keys.len() == 2 && keys[0] == keys[1], "billed once: {keys:?}");
}
