//! F1, F2: `kill -9` at a random moment of the life of 50 jobs of each class, once and in a loop.

use super::percentile;
use crate::{
    Plan,
    checker::Findings,
    database::{self, Lease},
    ledger,
    scene::{CLASSES, LEASE, LIMIT, QUICK, Scene, make_all},
    table::Row,
};
use futures_util::future::join_all;
use std::{
    process::Stdio,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Jobs of each class in flight at a kill.
const IN_FLIGHT: usize = 50;
const SWEEP: Duration = Duration::from_millis(LEASE.as_millis() as u64 / 3);
/// A burst has ended after about this time.
const LIFE: Duration = Duration::from_millis(1_500);

pub async fn rows(plan: &Plan) -> Vec<Row> {
    let mut rows = Vec::new();
    if plan.wants("F1") {
        rows.extend(once(plan).await);
    }
    if plan.wants("F2") {
        rows.push(in_a_loop(plan).await);
    }
    rows
}

/// What one lane of rounds found: by class, of the whole, and how soon orphans had a new worker.
struct Lane {
    classes: Vec<Findings>,
    whole: Findings,
    pickups: Vec<Pickup>,
    rounds: u64,
}

/// How soon an orphan had a new worker.
#[derive(Clone)]
struct Pickup {
    after_kill: Duration,
    /// After its lease had ended and the new process listened.
    after_due: Duration,
}

async fn once(plan: &Plan) -> Vec<Row> {
    let lanes = plan.lanes.min(plan.rounds);
    let rounds = plan.rounds.div_ceil(lanes);
    let lanes = join_all((0..lanes).map(|n| lane(format!("F1-{n}"), plan.seed + n, rounds, 1))).await;
    let mut rows = Vec::new();
    for (n, class) in CLASSES.iter().enumerate() {
        let mut row = Row::new(
            &format!("F1 class {}", class.to_uppercase()),
            &format!("`kill -9` at a random moment, {IN_FLIGHT} jobs of each class in flight, restart"),
        );
        let mut findings = Findings::default();
        for lane in &lanes {
            row.n += lane.rounds;
            let found = &lane.classes[n];
            findings.add(Findings { wrong: found.wrong.clone(), ..*found });
        }
        row.seen = findings.seen();
        row.wrong = findings.wrong;
        rows.push(row);
    }
    rows.push(pickups(lanes.iter().flat_map(|lane| lane.pickups.clone()).collect()));
    let mut row = Row::new("F1 whole", "the same kills: quotas, orphaned objects, spool, jobs made up");
    for lane in lanes {
        row.n += lane.rounds;
        row.wrong.extend(lane.whole.wrong);
    }
    row.seen = "used and reserved as the ledger says, no object without an owner".into();
    rows.push(row);
    rows
}

/// Orphans are looked for with every sweep, from when their lease has ended and somebody is there.
fn pickups(all: Vec<Pickup>) -> Row {
    let what = "the same kills: when an orphan has a new worker, after the kill, and after both its lease's end and the new start";
    let mut row = Row::new("F1 pickup", what);
    row.n = all.len() as u64;
    let mut killed: Vec<Duration> = all.iter().map(|p| p.after_kill).collect();
    let mut due: Vec<Duration> = all.iter().map(|p| p.after_due).collect();
    let words = |times: &mut [Duration]| {
        let (half, most) = (percentile(times, 0.5), percentile(times, 0.99));
        format!("p50 {half} ms, p99 {most} ms, max {} ms", times.last().map_or(0, Duration::as_millis))
    };
    let (killed, due_words) = (words(&mut killed), words(&mut due));
    let (lease, sweep) = (LEASE.as_millis(), SWEEP.as_millis());
    row.seen = format!("after the kill {killed}; when due {due_words}; lease {lease} ms, sweep {sweep} ms");
    // A sweep, and the transactions that a hundred orphans take in a debug build on a machine with other work.
    let slowest = due.last().copied().unwrap_or_default();
    row.wants(slowest <= SWEEP + Duration::from_secs(3), || {
        format!("an orphan waited {} ms", slowest.as_millis())
    });
    row
}

async fn in_a_loop(plan: &Plan) -> Row {
    let mut row = Row::new("F2", "killed again 0-500 ms after each restart, five times in a row");
    let loops = plan.rounds.div_ceil(4);
    let lanes = plan.lanes.min(loops);
    let each = loops.div_ceil(lanes);
    let lanes = join_all((0..lanes).map(|n| lane(format!("F2-{n}"), plan.seed + 100 + n, each, 5))).await;
    let mut findings = Findings::default();
    for lane in lanes {
        row.n += lane.rounds;
        lane.classes.into_iter().for_each(|found| findings.add(found));
        findings.wrong.extend(lane.whole.wrong);
    }
    row.seen = findings.seen() + ", one attempt each";
    row.wrong = findings.wrong;
    row
}

/// Rounds on one home: a burst, `kills` kills, a restart, and the end of every job.
async fn lane(name: String, seed: u64, rounds: u64, kills: u32) -> Lane {
    let mut scene = Scene::new(&name, seed, QUICK, |c| c).await;
    let mut pickups = Vec::new();
    for _ in 0..rounds {
        let gateway = scene.start().await;
        let client = gateway.client();
        let mut calls = scene.calls(IN_FLIGHT, &CLASSES);
        let kill_at = scene.moment(LIFE);
        let making = make_all(&client, &mut calls);
        // A call that hears nothing any more ends with the process.
        tokio::select! {
            () = async { making.await; std::future::pending().await } => {}
            () = tokio::time::sleep(kill_at) => {}
        }
        gateway.kill().await;
        let killed = Instant::now();
        let orphans = database::leases(&mut database::open(scene.home.data_dir()).await).await;
        for _ in 1..kills {
            let after = scene.moment(Duration::from_millis(500));
            crash(&scene, after).await;
        }
        let gateway = scene.start().await;
        if kills == 1 {
            pickups.extend(picked_up(&scene, orphans, killed).await);
        }
        let client = gateway.client();
        ledger::settle(&client, &mut calls, LIMIT).await;
        scene.calls.extend(calls);
        gateway.stop().await;
    }
    let mut classes = Vec::new();
    for class in CLASSES {
        classes.push(scene.checked_class(class).await);
    }
    let mut whole = scene.checked_whole().await;
    whole.wrong.extend(burnt(&scene).await);
    Lane { classes, whole, pickups, rounds }
}

/// Starts the gateway and kills it so soon after, listening or not.
async fn crash(scene: &Scene, after: Duration) {
    let mut command = scene.home.command(&["serve", "--listen", "127.0.0.1:0"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    tokio::time::sleep(after).await;
    child.kill().await.unwrap();
}

/// Waits until each orphan is held by a new worker.
async fn picked_up(scene: &Scene, mut orphans: Vec<Lease>, killed: Instant) -> Vec<Pickup> {
    let ready = Instant::now();
    let now_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
    let mut db = database::open(scene.home.data_dir()).await;
    let mut pickups = Vec::new();
    while !orphans.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let held = database::leases(&mut db).await;
        let given_up = killed.elapsed() > LIMIT;
        orphans.retain(|orphan| {
            let waits = held.iter().any(|lease| (&lease.job, lease.epoch) == (&orphan.job, orphan.epoch));
            if !waits || given_up {
                let left = Duration::from_micros(u64::try_from(orphan.until - now_us).unwrap_or(0));
                pickups.push(Pickup {
                    after_kill: killed.elapsed(),
                    after_due: ready.elapsed().saturating_sub(left),
                });
            }
            waits && !given_up
        });
    }
    pickups
}

/// Jobs for which a crash cost an attempt.
async fn burnt(scene: &Scene) -> Vec<String> {
    let found = database::read(scene.home.data_dir()).await;
    let burnt = found.jobs.into_iter().filter(|j| j.attempts_made > 1);
    burnt.map(|j| format!("`{}` took {} attempts", j.prompt, j.attempts_made)).collect()
}
