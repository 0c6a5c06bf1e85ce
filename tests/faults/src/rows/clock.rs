//! F20: the wall clock jumps, to and fro and every second, under two processes that share their jobs.

use crate::{
    Plan, database,
    ledger::{self, Call},
    machine::{may_install, skip},
    scene::{CLASSES, LIMIT, SERVE, Scene},
    support::Gateway,
    table::Row,
    vendor::Pace,
};
use futures_util::future::join_all;
use serde_json::json;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Where distributions keep libfaketime's variant for threads.
const LIBRARIES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];
const HOUR: i64 = 3_600;
/// Words in a log that tell of a lease somebody took for run out.
const WRONG_RESCUES: [&str; 3] =
    ["took over an orphaned job", "a stale end was not written", "the lease could not be trusted"];

pub async fn rows(plan: &Plan) -> Vec<Row> {
    let mut rows = Vec::new();
    let jumps: [(&str, &[i64]); 5] = [
        ("F20 +1 h", &[HOUR]),
        ("F20 -1 h", &[-HOUR]),
        ("F20 +30 s", &[30]),
        ("F20 -30 s", &[-30]),
        // One step each second, and never twice the same way.
        ("F20 steps", &[30, -30, HOUR, 0, -HOUR, 5, -5, 2 * HOUR, 0]),
    ];
    for (n, (name, offsets)) in jumps.into_iter().enumerate() {
        if plan.wants(name) && !(plan.short && n > 0) {
            rows.push(jump(plan, name, offsets, false).await);
        }
    }
    if plan.wants("F20 monotonic") && !plan.short {
        rows.push(jump(plan, "F20 monotonic", &[30, 30 + HOUR], true).await);
    }
    rows
}

/// The clock of the gateways, moved by a file that libfaketime reads.
struct Clock {
    library: &'static str,
    folder: tempfile::TempDir,
    /// Seconds that it is ahead.
    ahead: Mutex<i64>,
}

impl Clock {
    fn new() -> Option<Clock> {
        let library = LIBRARIES.into_iter().find(|path| Path::new(path).exists())?;
        let clock = Clock { library, folder: tempfile::tempdir().unwrap(), ahead: Mutex::new(0) };
        clock.set(0);
        Some(clock)
    }
    fn file(&self) -> PathBuf {
        self.folder.path().join("faketime")
    }
    fn set(&self, seconds: i64) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(new, self.file()).unwrap();
        *self.ahead.lock().unwrap() = seconds;
    }
    /// Microseconds since 1970, as the gateways read them.
    fn now(&self) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
        now + *self.ahead.lock().unwrap() * 1_000_000
    }
    async fn gateway(&self, scene: &Scene, monotonic: bool) -> Gateway {
        let file = self.file();
        let mut env = vec![
            ("LD_PRELOAD", self.library),
            ("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            // Files keep the time at which they were written.
            ("NO_FAKE_STAT", "1"),
        ];
        if !monotonic {
            env.push(("FAKETIME_DONT_FAKE_MONOTONIC", "1"));
        }
        Gateway::start_with(scene.home.clone(), &SERVE, &env).await
    }
}

/// When a call was made, by the gateways' clock.
struct Made {
    job: String,
    between: [i64; 2],
}

async fn jump(plan: &Plan, name: &str, offsets: &[i64], monotonic: bool) -> Row {
    let what = format!(
        "the clock of two processes with running and waiting jobs is set to {} (seconds ahead, one after the other){}",
        offsets.iter().map(|o| format!("{o:+}")).collect::<Vec<_>>().join(", "),
        if monotonic { ", the monotonic clock with it" } else { "" }
    );
    let mut row = Row::new(name, &what);
    let Some(clock) = Clock::new() else {
        skip(&mut row, "libfaketime is not installed (apt-get install faketime)", may_install());
        return row;
    };
    let trials = if plan.short { 1 } else { plan.trials() };
    let pace = Pace { from: Duration::from_millis(300), to: Duration::from_millis(1_500) };
    let team = json!({"images": ["1000000/hour", "1000000/month"], "concurrent_jobs": 10_000});
    let mut scene = Scene::new(name, plan.seed + 980, pace, |c| {
        c.set("providers.vendor.concurrency", 12).set("limits.per_team", team)
    })
    .await;
    let mut made = Vec::new();
    for _ in 0..trials {
        clock.set(0);
        let gateways = [clock.gateway(&scene, monotonic).await, clock.gateway(&scene, monotonic).await];
        let mut calls = scene.calls(8, &CLASSES);
        let mut later = scene.calls(8, &CLASSES);
        later.iter_mut().for_each(|call| call.prompt += " later");
        made.extend(make(&clock, &gateways, &mut calls).await);
        tokio::time::sleep(scene.moment(Duration::from_millis(700))).await;
        for (n, ahead) in offsets.iter().enumerate() {
            clock.set(*ahead);
            if n == 0 {
                made.extend(make(&clock, &gateways, &mut later).await);
            }
            if offsets.len() > 1 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        calls.extend(later);
        ledger::settle(&gateways[0].client(), &mut calls, LIMIT).await;
        let mut wrong = Vec::new();
        for gateway in gateways {
            let log = gateway.log();
            let seen = WRONG_RESCUES.iter().filter(|word| log.contains(**word));
            // When every clock says that an hour is over, leases are.
            wrong.extend(seen.filter(|_| !monotonic).map(|word| format!("the log says: {word}")));
            wrong.extend(super::panics(&log));
            gateway.stop().await;
        }
        let ended = calls.iter().filter(|c| c.told.as_deref() != Some("completed") && !monotonic);
        wrong.extend(ended.map(|c| format!("{}: {:?}", c.prompt, c.told)));
        row.trial(wrong);
        scene.calls.extend(calls);
    }
    row.wrong.extend(windows(&scene, &made).await);
    let mut findings = scene.checked().await;
    if monotonic {
        // The deadline of the call has passed, so nothing can be asked again.
        let late = ["failed with timeout", "can always ask again"];
        findings.wrong.retain(|what| !late.iter().any(|word| what.contains(word)));
    }
    row.seen = format!("{}; {} reservations in the right hour, no wrong rescue", findings.seen(), made.len());
    row.wrong.extend(findings.wrong);
    row
}

/// Makes all calls at once, half of them at each process.
async fn make(clock: &Clock, gateways: &[Gateway; 2], calls: &mut [Call]) -> Vec<Made> {
    let clients = [gateways[0].client(), gateways[1].client()];
    let one = async |n: usize, call: &mut Call| {
        let began = clock.now();
        call.make(&clients[n % 2]).await;
        let ended = clock.now();
        call.job.clone().map(|job| Made { job, between: [began, ended] })
    };
    join_all(calls.iter_mut().enumerate().map(|(n, call)| one(n, call))).await.into_iter().flatten().collect()
}

/// Reservations that stand in another hour than the one in which their job was accepted, give or take a second.
async fn windows(scene: &Scene, made: &[Made]) -> Vec<String> {
    let lines = database::read(scene.home.data_dir()).await.lines;
    let mut db = database::open(scene.home.data_dir()).await;
    let mut wrong = Vec::new();
    for Made { job, between: [began, ended] } in made {
        let mut hours = BTreeSet::new();
        for at in [began - 1_000_000, ended + 1_000_000] {
            let hour = sqlx::query_scalar::<_, String>("SELECT strftime('%Y-%m-%dT%H', ?, 'unixepoch')");
            hours.insert(hour.bind(at / 1_000_000).fetch_one(&mut db).await.unwrap());
        }
        let reserved: Vec<_> =
            lines.iter().filter(|l| l.job == *job && l.window.contains("|hour|")).collect();
        let right = |line: &database::Line| hours.iter().any(|hour| line.window.ends_with(hour.as_str()));
        if reserved.is_empty() || !reserved.iter().all(|line| right(line)) {
            wrong.push(format!("job {job}, accepted in {hours:?}, has {reserved:?}"));
        }
    }
    wrong
}
