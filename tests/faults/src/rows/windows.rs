//! W0-W12: the process ends, stalls or fails at each place between reserve, call, store and record. Random kills
//! rarely land there.

use crate::{
    Plan,
    checker::Findings,
    ledger::{self, Call},
    scene::{CLASSES, LIMIT, SERVE, Scene, make_all},
    table::Row,
    vendor::Pace,
};
use futures_util::{StreamExt as _, stream};
use std::{process::Stdio, time::Duration};

/// A place, and what must come of a job of each class that is killed there.
struct Window {
    name: &'static str,
    what: &'static str,
    /// A place of `plugin_api::failpoint`; none: the kill comes from outside, once the vendor has the call.
    place: Option<&'static str>,
    models: &'static [&'static str],
    /// Classes whose outcome nobody can know after it.
    unknown: &'static [&'static str],
}

const ALL: &[&str] = &CLASSES;

const WINDOWS: &[Window] = &[
    Window {
        name: "W0",
        what: "before the accept's transaction",
        place: Some("accept.begin"),
        models: ALL,
        unknown: &[],
    },
    Window {
        name: "W1",
        what: "between reservation and commit of the accept",
        place: Some("accept.reserved"),
        models: ALL,
        unknown: &[],
    },
    Window {
        name: "W1 reply",
        what: "accepted and committed, the client not told",
        place: Some("accept.committed"),
        models: ALL,
        unknown: &["j", "s"],
    },
    Window {
        name: "W2",
        what: "between claim and intent",
        place: Some("claim.taken"),
        models: ALL,
        unknown: &[],
    },
    Window {
        name: "W3",
        what: "intent on disk, no byte sent",
        place: Some("submit.send"),
        models: ALL,
        unknown: &["j", "s"],
    },
    Window {
        name: "W3 sent",
        what: "the vendor has the call, its answer is not here",
        place: None,
        models: ALL,
        unknown: &["j", "s"],
    },
    Window {
        name: "W4",
        what: "ticket known, not in the database",
        place: Some("ticket.known"),
        models: &["j"],
        unknown: &[],
    },
    Window { name: "W5", what: "while polling", place: Some("poll"), models: &["j"], unknown: &[] },
    Window {
        name: "W6",
        what: "answer received, not yet synced",
        place: Some("answer.received"),
        models: ALL,
        unknown: &["j", "s"],
    },
    Window {
        name: "W6 kept",
        what: "answer in the spool, not yet read",
        place: Some("answer.kept"),
        models: ALL,
        unknown: &[],
    },
    Window {
        name: "W7 half",
        what: "half an image written",
        place: Some("image.half"),
        models: ALL,
        unknown: &[],
    },
    Window {
        name: "W7",
        what: "image stored, nothing committed",
        place: Some("image.stored"),
        models: ALL,
        unknown: &[],
    },
    Window {
        name: "W8",
        what: "result written, quota not settled",
        place: Some("finish.settle"),
        models: ALL,
        unknown: &[],
    },
    Window {
        name: "W9",
        what: "committed, the client not told",
        place: Some("finish.committed"),
        models: ALL,
        unknown: &[],
    },
];

pub async fn rows(plan: &Plan) -> Vec<Row> {
    let wanted = WINDOWS.iter().filter(|w| plan.wants(w.name));
    let mut rows: Vec<Row> = stream::iter(wanted.enumerate())
        .map(|(n, window)| kills(plan, window, n as u64))
        .buffered(plan.lanes.max(1) as usize)
        .collect()
        .await;
    if plan.wants("W stall") {
        rows.push(
            milder(plan, "W stall", "stall:1000", "each of these places holds a thread up for 1 s").await,
        );
    }
    if plan.wants("W error") {
        rows.push(milder(plan, "W error", "error", "each of these places fails once").await);
    }
    if plan.wants("W12") {
        rows.push(first_start(plan).await);
    }
    rows
}

/// One worker, so that the second job of a trial is queued and claimed.
async fn scene(name: &str, seed: u64) -> Scene {
    let pace = Pace { from: Duration::from_millis(20), to: Duration::from_millis(60) };
    Scene::new(name, seed, pace, |c| c.set("jobs.workers", 1)).await
}

async fn kills(plan: &Plan, window: &Window, n: u64) -> Row {
    let mut row = Row::new(window.name, &format!("killed {}", window.what));
    let mut scene = scene(window.name, plan.seed + 200 + n).await;
    let mut findings = Findings::default();
    for model in window.models {
        for _ in 0..plan.trials() {
            row.n += 1;
            let mut calls = kill_at(&scene, window, model).await.unwrap_or_else(|what| {
                row.wrong.push(what);
                Vec::new()
            });
            let gateway = scene.start().await;
            ledger::settle(&gateway.client(), &mut calls, LIMIT).await;
            // The first job is the one that was hit; only its outcome may be unknown, and then it must be. A reply is
            // also lost of a job that was queued, not started, because a claim had the only slot at that moment.
            let hit = calls.iter().any(|c| c.told.as_deref() == Some("outcome_unknown"));
            let may = window.unknown.contains(model);
            let queued = window.name == "W1 reply";
            row.expect(if hit { may } else { !may || queued || calls.is_empty() }, || {
                format!("{model}: {:?}", calls.iter().map(|c| c.told.clone()).collect::<Vec<_>>())
            });
            gateway.stop().await;
            scene.calls.extend(calls);
        }
    }
    for model in window.models {
        findings.add(scene.checked_class(model).await);
    }
    findings.add(scene.checked_whole().await);
    row.seen = findings.seen();
    row.wrong.extend(findings.wrong);
    row
}

/// Two jobs, one after the other, on a gateway that dies in this window.
async fn kill_at(scene: &Scene, window: &Window, model: &'static str) -> Result<Vec<Call>, String> {
    let mut calls = scene.calls(2, &[model]);
    let Some(place) = window.place else {
        let before = scene.vendor.upstream.submissions();
        scene.vendor.upstream.hold();
        let gateway = scene.start().await;
        make_all(&gateway.client(), &mut calls).await;
        scene.vendor.upstream.wait_for_submissions(before + 1).await;
        gateway.kill().await;
        scene.vendor.upstream.release();
        return Ok(calls);
    };
    let armed = format!("{place}=kill");
    let mut gateway = scene.start_armed(&armed).await;
    let client = gateway.client();
    make_all(&client, &mut calls).await;
    match tokio::time::timeout(Duration::from_secs(20), gateway.ended()).await {
        Ok(stopped) if !stopped.status.success() => Ok(calls),
        other => Err(format!("{place} was not reached: {other:?}")),
    }
}

/// The same places with an action that the process survives: all jobs come to their end.
async fn milder(plan: &Plan, name: &str, action: &str, what: &str) -> Row {
    let mut row = Row::new(name, what);
    let scene = &mut scene(name, plan.seed + 300).await;
    let mut findings = Findings::default();
    for _ in 0..plan.trials().div_ceil(4) {
        for window in WINDOWS {
            let Some(place) = window.place else { continue };
            row.n += 1;
            let armed = format!("{place}={action}");
            let gateway = scene.start_armed(&armed).await;
            let mut calls = scene.calls(1, &CLASSES);
            let client = gateway.client();
            make_all(&client, &mut calls).await;
            ledger::settle(&client, &mut calls, LIMIT).await;
            // A commit that is reported as failed leaves an intent of which nobody knows that it was not followed.
            let may = |c: &ledger::Call| {
                window.name == "W1 reply"
                    && window.unknown.contains(&c.model)
                    && c.told.as_deref() == Some("outcome_unknown")
            };
            let ended = calls.iter().all(|c| c.told.as_deref() == Some("completed") || may(c));
            row.expect(ended, || {
                format!("{place}: {:?}", calls.iter().map(|c| (c.model, c.told.clone())).collect::<Vec<_>>())
            });
            gateway.stop().await;
            scene.calls.extend(calls);
        }
    }
    findings.add(scene.checked().await);
    row.seen = findings.seen();
    row.wrong.extend(findings.wrong);
    row
}

/// Killed while the schema, the secret and the first key are being made.
async fn first_start(plan: &Plan) -> Row {
    let mut row = Row::new(
        "W12",
        "killed at two random moments of the very first start (schema, secret, first key), then right after the key was kept, then started",
    );
    for n in 0..plan.trials() {
        let mut scene = scene("W12", plan.seed + 400 + n).await;
        for _ in 0..2 {
            let after = scene.moment(Duration::from_millis(120));
            let mut command = scene.home.command(&SERVE);
            let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            let mut child = child.unwrap();
            tokio::time::sleep(after).await;
            child.kill().await.unwrap();
        }
        // Between the file of the first key and its row, where that is still to come.
        let mut command = scene.home.command(&SERVE);
        command.env("FAILPOINT", "first_key.kept=kill");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        child.unwrap().wait().await.unwrap();
        let gateway = scene.start().await;
        let mut calls = scene.calls(1, &CLASSES);
        make_all(&gateway.client(), &mut calls).await;
        ledger::settle(&gateway.client(), &mut calls, LIMIT).await;
        let wrong = calls.iter().filter(|c| c.told.as_deref() != Some("completed"));
        row.trial(wrong.map(|c| format!("{c:?}")).collect());
    }
    row.seen = "it starts, and its first jobs complete".into();
    row
}
