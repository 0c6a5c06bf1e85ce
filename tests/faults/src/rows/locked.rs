//! F5: another process holds the SQLite database for longer than anybody waits for it.

use crate::{
    Plan,
    ledger::{self, Call},
    machine::figures,
    scene::{CLASSES, LIMIT, Scene, make_all},
    support::Client,
    table::Row,
    vendor::Pace,
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use std::time::{Duration, Instant};

/// The gateway's busy timeout, once for the write that waits already and once for the call's own, and what the debug
/// build of a busy machine takes.
const FAST: Duration = Duration::from_secs(5 + 5 + 2);
/// Memory that may come and go meanwhile.
const FLAT: u64 = 16 << 20;

pub async fn rows(plan: &Plan) -> Vec<Row> {
    let mut rows = Vec::new();
    if plan.wants("F5") && !plan.short {
        rows.push(locked(plan, "F5 10 s", Duration::from_secs(10), plan.trials()).await);
        rows.push(locked(plan, "F5 60 s", Duration::from_secs(60), plan.trials().div_ceil(4)).await);
    }
    rows
}

/// How an answer to a call that makes a job came over.
pub struct Heard {
    pub status: StatusCode,
    pub retry_after: bool,
    pub body: Value,
    pub took: Duration,
}

impl Heard {
    /// Makes a call once and keeps its job, if it got one. `None`: nothing was heard.
    pub async fn of(client: &Client, call: &mut Call) -> Option<Heard> {
        let began = Instant::now();
        let params = json!({"name": "generate_image", "arguments": call.arguments()});
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params});
        let post = client.http().post(format!("{}/mcp", client.url())).bearer_auth(client.key());
        let answer =
            post.header("content-type", "application/json").body(body.to_string()).send().await.ok()?;
        let (status, retry_after) = (answer.status(), answer.headers().contains_key("retry-after"));
        let body: Value = answer.json().await.unwrap_or_default();
        let heard = Heard { status, retry_after, body, took: began.elapsed() };
        if heard.accepted() {
            call.job = heard.content()["job_id"].as_str().map(str::to_owned);
        }
        Some(heard)
    }
    fn content(&self) -> &Value {
        &self.body["result"]["structuredContent"]
    }
    pub fn accepted(&self) -> bool {
        self.status == StatusCode::OK && self.content()["success"] == true
    }
    /// Refused so that the caller comes again: 503 with `Retry-After`, or a result that says when.
    pub fn refused_for_now(&self) -> bool {
        (self.status == StatusCode::SERVICE_UNAVAILABLE && self.retry_after)
            || (self.content()["code"] == "storage_error" && self.content()["retry_after_ms"].is_u64())
    }
}

async fn locked(plan: &Plan, name: &str, held: Duration, trials: u64) -> Row {
    let what = format!(
        "another process holds `BEGIN EXCLUSIVE` for {} s, jobs running, calls coming",
        held.as_secs()
    );
    let mut row = Row::new(name, &what);
    // The vendor's answers come while the database is away.
    let pace = Pace { from: Duration::from_millis(1_000), to: Duration::from_millis(4_000) };
    let mut scene = Scene::new(name, plan.seed + 700, pace, |c| c).await;
    let (mut refused, mut slowest, mut rise, mut recovery) = (0, Duration::ZERO, 0, Duration::ZERO);
    for _ in 0..trials {
        row.n += 1;
        let gateway = scene.start().await;
        let client = gateway.client();
        let mut calls = scene.calls(10, &CLASSES);
        make_all(&client, &mut calls).await;
        let before = figures(gateway.pid()).rss;
        let mut lock = lock(&scene).await;
        let until = Instant::now() + held;
        // One call after the other comes, and none waits for another.
        let late = (0..held.as_millis() / 500).map(|n| {
            let model = CLASSES[n as usize % CLASSES.len()];
            let mut call = Call::new(model, &format!("{name} {} late {n}", row.n));
            let client = client.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(500) * n as u32).await;
                (Heard::of(&client, &mut call).await, call)
            })
        });
        let late: Vec<_> = late.collect();
        while Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(200)).await;
            rise = rise.max(figures(gateway.pid()).rss.saturating_sub(before));
        }
        sqlx::query("ROLLBACK").execute(&mut lock).await.unwrap();
        lock.close().await.unwrap();
        let freed = Instant::now();
        for task in late {
            let (answer, call) = task.await.unwrap();
            calls.push(call);
            let Some(answer) = answer else {
                row.wrong.push("a call was not answered".into());
                continue;
            };
            slowest = slowest.max(answer.took);
            refused += u64::from(answer.refused_for_now());
            row.expect(answer.accepted() || answer.refused_for_now(), || {
                format!("{}, Retry-After {}: {}", answer.status, answer.retry_after, answer.body)
            });
            row.wants(answer.took <= FAST, || format!("a call waited {} ms", answer.took.as_millis()));
        }
        ledger::settle(&client, &mut calls, LIMIT).await;
        recovery = recovery.max(freed.elapsed());
        scene.calls.extend(calls);
        gateway.stop().await;
    }
    row.wants(rise <= FLAT, || format!("the memory rose by {} KiB", rise >> 10));
    row.expect(refused > 0, || "no call met the lock: nothing was tried".into());
    let findings = scene.checked().await;
    row.expect(findings.completed == findings.jobs, || "a paid answer was not kept".into());
    row.seen = format!(
        "{}; {refused} calls refused for now, slowest {} ms; all done {} ms after the lock; memory +{} KiB",
        findings.seen(),
        slowest.as_millis(),
        recovery.as_millis(),
        rise >> 10
    );
    row.wrong.extend(findings.wrong);
    row
}

/// A connection that has the database for itself.
async fn lock(scene: &Scene) -> SqliteConnection {
    let options = SqliteConnectOptions::new()
        .filename(scene.home.data_dir().join("gateway.db"))
        .busy_timeout(Duration::from_secs(10));
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut connection).await.unwrap();
    connection
}
