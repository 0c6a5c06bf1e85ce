//! F3: SIGTERM with jobs running and clients waiting. W10: a worker that is stopped for longer than its lease.

use crate::{
    Plan,
    checker::Findings,
    database::{self, FAILED},
    ledger,
    scene::{CLASSES, LIMIT, QUICK, Scene, make_all},
    table::Row,
    vendor::Pace,
};
use futures_util::{StreamExt as _, future::join_all, stream};
use serde_json::json;
use std::time::{Duration, Instant};

const RUNNING: usize = 50;
const WAITERS: usize = 200;
/// `server.shutdown_grace` of the gateways here.
const GRACE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_secs(20);

pub async fn rows(plan: &Plan) -> Vec<Row> {
    let mut rows = Vec::new();
    if plan.wants("F3") {
        rows.push(terminated(plan).await);
    }
    if plan.wants("W10") && !plan.short {
        rows.push(paused(plan).await);
    }
    rows
}

async fn terminated(plan: &Plan) -> Row {
    let mut row =
        Row::new("F3", &format!("SIGTERM with {RUNNING} jobs running and {WAITERS} clients waiting"));
    let mut slowest = Duration::ZERO;
    let pace = Pace { from: Duration::from_millis(1_000), to: Duration::from_millis(3_000) };
    let mut scene = Scene::new("F3", plan.seed + 500, pace, |c| c).await;
    for _ in 0..plan.trials() {
        row.n += 1;
        let mut gateway = scene.start().await;
        let client = gateway.client();
        let mut calls = scene.calls(RUNNING.div_ceil(CLASSES.len()), &CLASSES);
        make_all(&client, &mut calls).await;
        let jobs: Vec<String> = calls.iter().filter_map(|c| c.job.clone()).collect();
        let waiters: Vec<_> = (0..WAITERS)
            .map(|n| {
                let (client, job) = (client.clone(), jobs[n % jobs.len()].clone());
                let asked = json!({"job_id": job, "max_wait_seconds": 40});
                tokio::spawn(async move { ledger::try_rpc(&client, "wait_for_completion", asked).await })
            })
            .collect();
        tokio::time::sleep(scene.moment(Duration::from_millis(900))).await;
        gateway.terminate();
        let stopped = gateway.ended().await;
        slowest = slowest.max(stopped.took);
        row.expect(stopped.status.code() == Some(0), || format!("it ended with {}", stopped.status));
        row.expect(stopped.took <= GRACE, || format!("it took {:?}", stopped.took));
        for answer in join_all(waiters).await {
            match answer.unwrap() {
                // Refused with 503 when it came after the signal: to be asked again.
                Some((status, body)) => {
                    row.expect(status == 200 || status == 503, || format!("{status}: {body}"))
                }
                None => row.wrong.push("a waiting client was cut off".into()),
            }
        }
        let gateway = scene.start().await;
        ledger::settle(&gateway.client(), &mut calls, LIMIT).await;
        gateway.stop().await;
        for call in &calls {
            row.expect(call.told.as_deref() == Some("completed"), || format!("{call:?}"));
        }
        scene.calls.extend(calls);
    }
    let findings = scene.checked().await;
    row.seen = format!("{}; exit 0, slowest {} ms", findings.seen(), slowest.as_millis());
    row.wrong.extend(findings.wrong);
    row
}

async fn paused(plan: &Plan) -> Row {
    let mut row = Row::new(
        "W10",
        &format!(
            "a worker stopped (SIGSTOP) for {} s while another process on the same data takes over",
            PAUSE.as_secs()
        ),
    );
    let lanes = stream::iter(0..plan.trials()).map(|n| pause_once(plan.seed + 600 + n));
    let mut findings = Findings::default();
    let mut late = 0;
    let done: Vec<(Findings, u64)> = lanes.buffer_unordered(plan.lanes.max(1) as usize * 2).collect().await;
    for (found, stale) in done {
        row.n += 1;
        findings.add(found);
        late += stale;
    }
    row.seen = format!("{}; {late} stale writes refused, none applied", findings.seen());
    row.wrong = findings.wrong;
    row
}

/// Waits until no job stands as unknown whose ticket the woken worker wrote down after all: it is asking for its image,
/// and clients are to be told what becomes of it. What does not come home is found by the check.
async fn late_tickets_are_home(scene: &Scene) {
    let end = Instant::now() + LIMIT;
    while Instant::now() < end {
        let all = database::read(scene.home.data_dir()).await;
        let out = |job: &str| all.attempts.iter().any(|a| a.job == job && a.has_ticket);
        if !all.jobs.iter().any(|job| job.state == FAILED && out(&job.id)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Returns what was found, and how many stale writes the woken worker tried.
async fn pause_once(seed: u64) -> (Findings, u64) {
    let mut scene = Scene::new(&format!("W10-{seed}"), seed, QUICK, |c| c).await;
    let sleeper = scene.start().await;
    let client = sleeper.client();
    let mut calls = scene.calls(10, &CLASSES);
    let at = scene.moment(Duration::from_millis(500));
    tokio::select! {
        () = async { make_all(&client, &mut calls).await; std::future::pending().await } => {}
        () = tokio::time::sleep(at) => {}
    }
    sleeper.pause();
    let other = scene.start().await;
    tokio::time::sleep(PAUSE).await;
    sleeper.go_on();
    // What it wakes with, it writes now.
    tokio::time::sleep(Duration::from_secs(3)).await;
    late_tickets_are_home(&scene).await;
    ledger::settle(&other.client(), &mut calls, LIMIT).await;
    let stale = sleeper.log().matches("a stale end was not written").count()
        + sleeper.log().matches("the lease could not be trusted").count();
    other.stop().await;
    sleeper.stop().await;
    scene.calls.extend(calls);
    (scene.checked().await, stale as u64)
}
