//! F26, F28: much at once, and a plugin that breaks every time.

use super::{memory, percentile};
use crate::{
    Plan, checker, database,
    ledger::{self, Call, try_tool},
    scene::{LIMIT, Scene},
    stage::Stage,
    support::{Client, Gateway},
    table::Row,
    vendor::Pace,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::future::join_all;
use serde_json::json;
use std::{
    io::Cursor,
    time::{Duration, Instant},
};
use testkit::{Behaviour, FakeUpstream};

/// For a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(900);
/// What the gateway is promised to fit into.
const MEMORY: u64 = 512 << 20;

pub async fn rows(plan: &Plan) -> Vec<Row> {
    let mut rows = Vec::new();
    if plan.wants("F26 answers") && !plan.short {
        rows.push(large_answers(plan).await);
    }
    if plan.wants("F26 references") && !plan.short {
        rows.push(large_references(plan).await);
    }
    if plan.wants("F28") {
        rows.push(poison(plan).await);
    }
    rows
}

/// A picture that no encoder makes smaller, of about so many bytes.
fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let edge = ((bytes / 3) as f64).sqrt() as u32;
    let mut random = fastrand::Rng::with_seed(seed);
    let picture = image::RgbImage::from_fn(edge, edge, |_, _| {
        image::Rgb([random.u8(..), random.u8(..), random.u8(..)])
    });
    let mut out = Cursor::new(Vec::new());
    picture.write_to(&mut out, image::ImageFormat::Png).unwrap();
    out.into_inner()
}

/// Peak and verdict of a gateway that has done its work.
fn weigh(row: &mut Row, gateway: &Gateway, words: &str) {
    let peak = memory::peak(gateway.pid());
    let most = MEMORY / 5 * 4;
    row.wants(peak <= most, || format!("peak RSS {} MiB, more than {} MiB", peak >> 20, most >> 20));
    row.seen = format!("{words}; peak RSS (VmHWM; no cgroup) {} MiB of {}", peak >> 20, MEMORY >> 20);
}

/// A hundred at once from `--rounds 100` on, ten at least.
fn much(plan: &Plan) -> usize {
    (plan.trials() as usize * 10).min(100)
}

async fn large_answers(plan: &Plan) -> Row {
    let jobs = much(plan);
    let mut row = Row::new("F26 answers", &format!("{jobs} answers of 20 MiB of base64 at once"));
    let upstream = FakeUpstream::start().await;
    let stage = Stage::new("F26", plan.seed + 790, |config, _| {
        config.openai(&upstream).set("jobs.deadline", "1200s")
    })
    .await;
    let mut stage = stage;
    let picture = STANDARD.encode(noise(15 << 20, plan.seed));
    let body = json!({"created": 1, "data": [{"b64_json": picture}]}).to_string();
    upstream.default(Behaviour::json(200, body)).hold();
    let mut calls = stage.scene.calls(jobs, &["gpt-image"]);
    let client = stage.gateway.client();
    crate::scene::make_all(&client, &mut calls).await;
    upstream.wait_for_submissions(jobs).await;
    let began = Instant::now();
    upstream.release();
    ledger::settle(&client, &mut calls, PATIENCE).await;
    let took = began.elapsed();
    row.n = jobs as u64;
    ended(&mut row, &calls);
    weigh(&mut row, &stage.gateway, &format!("completed {jobs} in {} s, OOM kills 0", took.as_secs()));
    row.expect(upstream.submissions() == jobs, || format!("{} submissions", upstream.submissions()));
    stage.scene.calls.extend(calls);
    row.wrong.extend(stage.end().await);
    row
}

async fn large_references(plan: &Plan) -> Row {
    let jobs = much(plan);
    let mut row = Row::new(
        "F26 references",
        &format!("{jobs} requests with a reference of 10 MiB (a data: URI) at once"),
    );
    let upstream = FakeUpstream::start().await;
    let stage = Stage::new("F26 in", plan.seed + 791, |config, _| config.openai(&upstream)).await;
    let mut stage = stage;
    let answer = STANDARD.encode(noise(20_000, plan.seed));
    upstream.default(Behaviour::json(200, json!({"created": 1, "data": [{"b64_json": answer}]}).to_string()));
    let reference = format!("data:image/png;base64,{}", STANDARD.encode(noise(10 << 20, plan.seed)));
    let client = stage.gateway.client();
    let mut calls = stage.scene.calls(jobs, &["gpt-image"]);
    let began = Instant::now();
    let refused: usize =
        join_all(calls.iter_mut().map(|call| ask_with(&client, call, &reference))).await.iter().sum();
    ledger::settle(&client, &mut calls, PATIENCE).await;
    let took = began.elapsed();
    row.n = jobs as u64;
    ended(&mut row, &calls);
    let words =
        format!("completed {jobs} in {} s, told to come back {refused} times, OOM kills 0", took.as_secs());
    weigh(&mut row, &stage.gateway, &words);
    stage.scene.calls.extend(calls);
    row.wrong.extend(stage.end().await);
    row
}

/// Makes the call until it is accepted; returns how often it was told to come back later.
async fn ask_with(client: &Client, call: &mut Call, reference: &str) -> usize {
    let arguments = json!({
        "prompt": call.prompt, "model": call.model, "idempotency_key": call.key, "references": [reference],
    });
    let end = Instant::now() + PATIENCE;
    let mut refused = 0;
    while Instant::now() < end {
        if let Some(result) = try_tool(client, "generate_image", arguments.clone()).await
            && !result.is_error
        {
            call.job = Some(result.str("job_id"));
            break;
        }
        refused += 1;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    refused
}

fn ended(row: &mut Row, calls: &[Call]) {
    let off: Vec<_> = calls.iter().filter(|c| c.told.as_deref() != Some("completed")).collect();
    row.expect(off.is_empty(), || format!("{} did not complete, the first: {:?}", off.len(), off[0]));
}

/// Jobs of each batch whose time is taken, and their neighbours.
const MEASURED: usize = 30;
const NEIGHBOURS: usize = 15;

async fn poison(plan: &Plan) -> Row {
    let mut row = Row::new(
        "F28",
        &format!(
            "a plugin that panics at submit, read or poll for {NEIGHBOURS} of {} jobs",
            MEASURED + NEIGHBOURS
        ),
    );
    let pace = Pace { from: Duration::from_millis(100), to: Duration::from_millis(100) };
    let mut scene =
        Scene::new("F28", plan.seed + 800, pace, |c| c.set("routing.breaker.failures", 1_000_000)).await;
    let gateway = scene.start().await;
    let client = gateway.client();
    let (mut healthy, mut poisoned) = (Vec::new(), Vec::new());
    let mut broken = Vec::new();
    // The first batch warms up; then one of each in turn, on a machine that others use too.
    batch(&mut scene, &client, false).await;
    for _ in 0..plan.trials() {
        let (times, _) = batch(&mut scene, &client, false).await;
        healthy.extend(times);
        let (times, calls) = batch(&mut scene, &client, true).await;
        poisoned.extend(times);
        broken.extend(calls);
    }
    row.n = broken.len() as u64;
    let found = database::read(scene.home.data_dir()).await;
    for call in &broken {
        let attempts = found.attempts.iter().filter(|a| Some(&a.job) == call.job.as_ref()).count();
        let visible = call.told.as_deref() == Some("provider_error");
        row.expect(visible && attempts == 1, || format!("{attempts} attempts: {call:?}"));
    }
    let panics = gateway.log().matches("panicked at").count();
    row.expect(panics >= broken.len(), || format!("only {panics} panics: it proves nothing"));
    gateway.stop().await;
    let (accepted, data) = (scene.vendor.accepted(), scene.home.data_dir());
    let (good, bad): (Vec<Call>, Vec<Call>) =
        scene.calls.iter().cloned().partition(|c| !c.prompt.contains("panic at"));
    for class in crate::scene::CLASSES {
        row.wrong.extend(checker::check(data, &good, &accepted, class).await.wrong);
    }
    for call in &bad {
        let bought = accepted.iter().filter(|a| a.prompt == call.prompt && a.billed).count();
        row.expect(bought <= 1, || format!("`{}` was bought {bought} times", call.prompt));
    }
    row.wrong.extend(checker::whole(data, &scene.calls, &accepted).await.wrong);
    let (before, after) = (percentile(&mut healthy, 0.99), percentile(&mut poisoned, 0.99));
    let change = (after as f64 - before as f64) / before.max(1) as f64 * 100.0;
    row.wants(change <= 50.0, || format!("the p99 of the others rose by {change:.0} %"));
    row.seen = format!(
        "{} failed visibly after one attempt, {panics} panics, crashes 0; p99 of the others {before} ms beside healthy \
         jobs, {after} ms beside these ({change:+.0} %)",
        broken.len()
    );
    row
}

/// Jobs whose time is taken, four at a time, beside others that are healthy or poison.
async fn batch(scene: &mut Scene, client: &Client, poison: bool) -> (Vec<Duration>, Vec<Call>) {
    let mut measured = scene.calls(MEASURED.max(NEIGHBOURS), &["s", "k", "j"]);
    let mut neighbours = measured.split_off(MEASURED);
    neighbours.truncate(NEIGHBOURS);
    let places = ["submit", "read", "poll"];
    for (n, call) in neighbours.iter_mut().enumerate().filter(|_| poison) {
        // Only class J is ever polled.
        let place = if call.model == "j" { places[n / 3 % 3] } else { places[n / 3 % 2] };
        call.prompt += &format!(" panic at {place}");
    }
    let time = async |calls: &mut [Call]| {
        let mut times = Vec::new();
        for call in calls {
            let began = Instant::now();
            call.make(client).await;
            ledger::settle(client, std::slice::from_mut(call), LIMIT).await;
            times.push(began.elapsed());
        }
        times
    };
    let lanes = join_all(measured.chunks_mut(MEASURED.div_ceil(4)).map(time));
    let beside = async {
        for chunk in neighbours.chunks_mut(3) {
            join_all(chunk.iter_mut().map(|call| call.make(client))).await;
        }
        ledger::settle(client, &mut neighbours, LIMIT).await;
    };
    let (times, ()) = tokio::join!(lanes, beside);
    scene.calls.extend(measured);
    scene.calls.extend(neighbours.clone());
    (times.concat(), neighbours)
}
