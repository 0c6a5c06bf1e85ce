//! F27: no descriptor is left, no thread can be made.

use crate::{
    Plan, ROLE,
    database::{self, COMPLETED},
    ledger::{self, Call},
    machine::{figures, skip},
    scene::{CLASSES, LIMIT, Scene, make_all},
    support::{Config, Gateway},
    table::Row,
    vendor::Pace,
};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::net::TcpStream;

const DESCRIPTORS: u64 = 256;
/// More than there are descriptors.
const CONNECTIONS: usize = 400;
const EXHAUSTED: Duration = Duration::from_secs(5);
/// From the end of the shortage to a new job that completed.
const WELL: Duration = Duration::from_secs(5);
/// Processor time of the process while it cannot accept, as a share of one core.
const IDLE: f64 = 0.5;

pub async fn rows(plan: &Plan) -> Vec<Row> {
    let mut rows = Vec::new();
    if plan.wants("F27 fd") {
        rows.push(no_descriptors(plan).await);
    }
    if plan.wants("F27 threads") && !plan.short {
        rows.push(no_threads(plan).await);
    }
    rows
}

async fn scene(name: &str, seed: u64, more: impl FnOnce(Config) -> Config) -> Scene {
    let pace = Pace { from: Duration::from_millis(1_000), to: Duration::from_millis(3_000) };
    Scene::new(name, seed, pace, more).await
}

/// A program that starts this one with few descriptors.
fn limited(folder: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join("gateway");
    let program = std::env::current_exe().unwrap();
    let script = format!("#!/bin/sh\nulimit -n {DESCRIPTORS}\nexec '{}' \"$@\"\n", program.display());
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

async fn no_descriptors(plan: &Plan) -> Row {
    let what = format!(
        "{CONNECTIONS} idle connections to a process with {DESCRIPTORS} descriptors, 30 jobs running"
    );
    let mut row = Row::new("F27 fd", &what);
    let folder = tempfile::tempdir().unwrap();
    let limited = limited(folder.path());
    let mut scene = scene("F27 fd", plan.seed + 960, |c| c.program(limited, ROLE, "gateway")).await;
    let (mut busiest, mut slowest, mut most) = (0.0_f64, Duration::ZERO, 0);
    let trials = if plan.short { 1 } else { plan.trials() };
    for n in 0..trials {
        let gateway = scene.start().await;
        let client = gateway.client();
        let mut calls = scene.calls(10, &CLASSES);
        make_all(&client, &mut calls).await;
        let address = gateway.url().trim_start_matches("http://").to_owned();
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS {
            // The kernel takes them, whether the process can accept them or not.
            if let Ok(Ok(one)) =
                tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(&address)).await
            {
                idle.push(one);
            }
        }
        let (before, began) = (figures(gateway.pid()), Instant::now());
        let mut wrong = Vec::new();
        while began.elapsed() < EXHAUSTED {
            tokio::time::sleep(Duration::from_millis(100)).await;
            most = most.max(figures(gateway.pid()).descriptors);
        }
        let busy =
            (figures(gateway.pid()).ticks - before.ticks) as f64 / 100.0 / began.elapsed().as_secs_f64();
        busiest = busiest.max(busy);
        if busy > IDLE {
            wrong.push(format!("{:.0} % of a core while nothing can be accepted", busy * 100.0));
        }
        // What was under way went on meanwhile.
        let open = database::read(scene.home.data_dir()).await;
        let open = open.jobs.iter().filter(|j| j.state < COMPLETED).count();
        if open > 0 {
            wrong.push(format!("{open} jobs stand still"));
        }
        drop(idle);
        slowest = slowest.max(well_again(&gateway, &mut scene, &format!("F27 fd {n}"), &mut wrong).await);
        ledger::settle(&client, &mut calls, LIMIT).await;
        row.trial(ended(gateway, &mut scene, calls, wrong).await);
    }
    let findings = scene.checked().await;
    row.seen = format!(
        "{}; at most {most} descriptors, {:.0} % of a core, well again after {} ms",
        findings.seen(),
        busiest * 100.0,
        slowest.as_millis()
    );
    row.wrong.extend(findings.wrong);
    row
}

/// The end of a trial: all calls have completed, nothing panicked, and the gateway stops.
async fn ended(gateway: Gateway, scene: &mut Scene, calls: Vec<Call>, mut wrong: Vec<String>) -> Vec<String> {
    if calls.iter().any(|c| c.told.as_deref() != Some("completed")) {
        wrong.push(format!("{:?}", calls.iter().map(|c| (c.model, c.told.clone())).collect::<Vec<_>>()));
    }
    wrong.extend(super::panics(&gateway.log()));
    scene.calls.extend(calls);
    gateway.stop().await;
    wrong
}

/// A new job completes in time.
async fn well_again(gateway: &Gateway, scene: &mut Scene, name: &str, wrong: &mut Vec<String>) -> Duration {
    let began = Instant::now();
    let mut call = [Call::new("k", &format!("{name} afterwards"))];
    ledger::settle(&gateway.client(), &mut call, LIMIT).await;
    let took = began.elapsed();
    let [call] = call;
    if call.told.as_deref() != Some("completed") || took > WELL + Duration::from_secs(3) {
        wrong.push(format!("afterwards {:?} in {took:?}", call.told));
    }
    scene.calls.push(call);
    took
}

/// A control group in which no more threads can be made; removed with the value.
struct Pids(PathBuf);

impl Pids {
    fn new(name: &str) -> Result<Pids, String> {
        let roots = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].map(Path::new);
        let root = roots.into_iter().find(|r| r.join("cgroup.procs").exists());
        let path = root.ok_or("there are no control groups")?.join(name);
        std::fs::create_dir(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let pids = Pids(path);
        match pids.0.join("pids.max").exists() {
            true => Ok(pids),
            false => Err("the control group does not count processes".into()),
        }
    }
    fn set(&self, file: &str, value: &str) {
        std::fs::write(self.0.join(file), value).unwrap();
    }
}

impl Drop for Pids {
    fn drop(&mut self) {
        std::fs::remove_dir(&self.0).ok();
    }
}

async fn no_threads(plan: &Plan) -> Row {
    let mut row = Row::new(
        "F27 threads",
        "one thread more can be made by a process that has just started and has 30 jobs to run",
    );
    let mut scene = scene("F27 threads", plan.seed + 970, |c| c).await;
    let trials = if plan.short { 1 } else { plan.trials() };
    let mut slowest = Duration::ZERO;
    for n in 0..trials {
        let group = match Pids::new(&format!("faults-{}-{n}", std::process::id())) {
            Ok(group) => group,
            Err(why) => {
                skip(&mut row, &why, false);
                return row;
            }
        };
        let gateway = scene.start().await;
        group.set("cgroup.procs", &gateway.pid().to_string());
        group.set("pids.max", &(figures(gateway.pid()).threads + 1).to_string());
        let client = gateway.client();
        let mut calls = scene.calls(10, &CLASSES);
        make_all(&client, &mut calls).await;
        ledger::settle(&client, &mut calls, LIMIT).await;
        group.set("pids.max", "max");
        let mut wrong = Vec::new();
        slowest =
            slowest.max(well_again(&gateway, &mut scene, &format!("F27 threads {n}"), &mut wrong).await);
        row.trial(ended(gateway, &mut scene, calls, wrong).await);
    }
    let findings = scene.checked().await;
    row.seen = format!("{}; a new job afterwards in {} ms", findings.seen(), slowest.as_millis());
    row.wrong.extend(findings.wrong);
    row
}
