//! F6, F7: the disk of the data directory is full, read-only, gone, or fails now and then; and a write torn in half.

use super::locked::Heard;
use crate::{
    Plan,
    checker::Findings,
    ledger::{self, Call},
    machine::{Disk, may_install, may_mount, skip, tool},
    scene::{CLASSES, LIMIT, QUICK, SERVE, Scene, make_all},
    support::{Client, Gateway},
    table::Row,
    vendor::{Pace, png},
};
use serde_json::json;
use std::{
    fs::File,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

/// The gateway keeps 64 MiB free for its database and paid answers, so a disk of 64 would never be in use.
const MIB: u64 = 160;
/// From free space to a job that completed.
const WELL: Duration = Duration::from_secs(10);

pub async fn rows(plan: &Plan) -> Vec<Row> {
    let mut rows = Vec::new();
    let filled = async {
        let what = format!("ext4 of {MIB} MiB filled to the last byte under load, then freed");
        on_a_disk(Row::new("F6", &what), plan, full).await
    };
    let read_only = async {
        let row = Row::new("F7 ro", "the file system turns read-only under load; check, mount, start");
        on_a_disk(row, plan, async |trial| broken(trial, Disk::make_read_only).await).await
    };
    match (plan.wants("F6"), plan.wants("F7 ro")) {
        (true, true) => rows.extend(<[Row; 2]>::from(tokio::join!(filled, read_only))),
        (true, false) => rows.push(filled.await),
        (false, true) => rows.push(read_only.await),
        (false, false) => {}
    }
    if plan.wants("F7 gone") {
        let row = Row::new("F7 gone", "every access fails with EIO under load; check, mount, start");
        rows.push(on_a_disk(row, plan, async |trial| broken(trial, Disk::fail).await).await);
    }
    if plan.wants("F7 bare") && !plan.short {
        rows.push(bare(plan));
    }
    if plan.wants("F7 EIO") && !plan.short {
        rows.push(now_and_then(plan).await);
    }
    if plan.wants("F7 torn") {
        rows.push(torn(plan).await);
    }
    rows
}

/// One trial: a gateway whose data lies on a small disk.
struct Trial<'a> {
    scene: &'a mut Scene,
    disk: &'a Disk,
    gateway: Gateway,
    seen: &'a mut Vec<Duration>,
    wrong: Vec<String>,
}

impl Trial<'_> {
    fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(what());
        }
    }
}

async fn on_a_disk(
    mut row: Row,
    plan: &Plan,
    fault: impl AsyncFn(Trial<'_>) -> Result<Vec<String>, String>,
) -> Row {
    let mut times = Vec::new();
    let mut findings = Findings::default();
    let trials = if plan.short { 1 } else { plan.trials() };
    for n in 0..trials {
        let disk = match Disk::new(MIB) {
            Ok(disk) => disk,
            Err(why) => {
                skip(&mut row, &why, may_mount());
                return row;
            }
        };
        let pace = Pace { from: Duration::from_millis(50), to: Duration::from_millis(1_500) };
        let name = format!("{} {n}", row.name);
        let mut scene = Scene::new(&name, plan.seed + 720 + n, pace, |c| c.data_dir(&disk.data())).await;
        let gateway = scene.start().await;
        let trial = Trial { scene: &mut scene, disk: &disk, gateway, seen: &mut times, wrong: Vec::new() };
        row.trial(fault(trial).await.unwrap_or_else(|why| vec![why]));
        findings.add(scene.checked().await);
    }
    let slowest = times.iter().max().copied().unwrap_or_default();
    row.seen = format!("{}; well again after {} ms at most", findings.seen(), slowest.as_millis());
    row.wrong.extend(findings.wrong);
    row
}

/// Full to the last byte: refused before anything is reserved or bought, and well again by itself.
async fn full(mut trial: Trial<'_>) -> Result<Vec<String>, String> {
    let client = trial.gateway.client();
    let mut calls = trial.scene.calls(5, &CLASSES);
    make_all(&client, &mut calls).await;
    let name = format!("full {}", trial.scene.calls.len());
    // Below its reserve the gateway finishes what is under way and begins nothing new. It counts once a second.
    let reserve = trial.disk.fill("reserve", 32);
    let mut late = Vec::new();
    let noticed = Instant::now();
    loop {
        let mut call = Call::new(CLASSES[late.len() % 3], &format!("{name} late {}", late.len()));
        let heard = Heard::of(&client, &mut call).await;
        late.push(call);
        let heard = heard.ok_or("not answered")?;
        if heard.refused_for_now() {
            break;
        }
        trial.expect(heard.accepted(), || format!("{}: {}", heard.status, heard.body));
        if noticed.elapsed() > Duration::from_secs(5) {
            return Err("a disk that is nearly full was not noticed in 5 s".into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let ballast = trial.disk.fill("ballast", 0);
    let bought = trial.scene.vendor.accepted().len();
    let full = Instant::now();
    while full.elapsed() < Duration::from_secs(3) {
        let mut call = Call::new(CLASSES[late.len() % 3], &format!("{name} late {}", late.len()));
        let heard = Heard::of(&client, &mut call).await.ok_or("not answered")?;
        late.push(call);
        trial.expect(heard.refused_for_now(), || format!("while full: {}: {}", heard.status, heard.body));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let live = client.get(&format!("{}/livez", client.url())).await.status();
    trial.expect(live.is_success(), || format!("livez while full: {live}"));
    let bought = trial.scene.vendor.accepted().len() - bought;
    trial.expect(bought == 0, || format!("{bought} calls to the vendor while full"));
    std::fs::remove_file(ballast).unwrap();
    std::fs::remove_file(reserve).unwrap();
    trial.well_again(&client, &name).await;
    calls.extend(late);
    ledger::settle(&client, &mut calls, LIMIT).await;
    trial.end(calls).await
}

/// The disk takes and gives nothing any more. Mended, checked and mounted, all is as it was told.
async fn broken(mut trial: Trial<'_>, how: fn(&Disk) -> Result<(), String>) -> Result<Vec<String>, String> {
    let client = trial.gateway.client();
    let mut calls = trial.scene.calls(10, &CLASSES);
    let moment = trial.scene.moment(Duration::from_millis(1_200));
    let name = format!("broken {}", trial.scene.calls.len());
    let settled = async {
        make_all(&client, &mut calls).await;
        ledger::settle(&client, &mut calls, LIMIT).await;
    };
    tokio::select! {
        () = async { settled.await; std::future::pending().await } => {}
        () = tokio::time::sleep(moment) => {}
    }
    how(trial.disk)?;
    let bought = trial.scene.vendor.accepted().len();
    let mut late = Vec::new();
    for n in 0..5 {
        let mut call = Call::new(CLASSES[n % 3], &format!("{name} late {n}"));
        match Heard::of(&client, &mut call).await {
            Some(heard) => {
                trial.expect(heard.refused_for_now(), || {
                    format!("while broken: {}: {}", heard.status, heard.body)
                });
            }
            None => trial.wrong.push("while broken: not answered".into()),
        }
        late.push(call);
    }
    let fresh = trial.scene.vendor.accepted().into_iter().skip(bought).filter(|a| a.prompt.contains("late"));
    let fresh = fresh.count();
    trial.expect(fresh == 0, || format!("{fresh} new jobs were bought on a broken disk"));
    let live = client.get(&format!("{}/livez", client.url())).await.status();
    trial.expect(live.is_success(), || format!("livez while broken: {live}"));
    trial.wrong.extend(super::panics(&trial.gateway.log()));
    trial.gateway.kill().await;
    trial.disk.recover()?;
    trial.gateway = trial.scene.start().await;
    let client = trial.gateway.client();
    trial.well_again(&client, &name).await;
    calls.extend(late);
    ledger::settle(&client, &mut calls, LIMIT).await;
    trial.end(calls).await
}

/// The emulation of F7 gone itself: does a disk that fails like this keep what it said was synced?
fn bare(plan: &Plan) -> Row {
    let mut row =
        Row::new("F7 bare", "no gateway: 8 threads append and sync until every access fails with EIO");
    let (mut synced, mut of_cut) = (0, (0, 0));
    for n in 0..plan.trials() {
        let moment = Duration::from_millis(100 + n * 37 % 300);
        let (failed, cut) = match (missing(moment, Disk::fail), missing(moment, Disk::cut_off)) {
            (Ok(failed), Ok(cut)) => (failed, cut),
            (Err(why), _) | (_, Err(why)) => {
                skip(&mut row, &why, may_mount());
                return row;
            }
        };
        synced += failed.0;
        of_cut = (of_cut.0 + cut.0, of_cut.1 + cut.1);
        let lost = (failed.1 > 0).then(|| format!("{} of {} synced records are missing", failed.1, failed.0));
        row.trial(lost.into_iter().collect());
    }
    let (cut, cut_lost) = of_cut;
    row.seen = format!(
        "{synced} records synced, missing 0; where it is cut off as in F8 under a running program: {cut} synced, missing {cut_lost}"
    );
    row
}

/// How many records a program was told were on the disk, and how many of them were not there afterwards.
fn missing(moment: Duration, how: fn(&Disk) -> Result<(), String>) -> Result<(u64, u64), String> {
    const RECORD: [u8; 4_096] = [7; 4_096];
    let disk = Disk::new(MIB)?;
    let paths: Vec<_> = (0..8).map(|n| disk.path().join(n.to_string())).collect();
    let append = |path: &Path| {
        let Ok(mut file) = File::create(path) else { return 0 };
        (0..).take_while(|_| file.write_all(&RECORD).and_then(|()| file.sync_all()).is_ok()).count()
    };
    let (done, told) = std::thread::scope(|scope| {
        let writers: Vec<_> = paths.iter().map(|path| scope.spawn(move || append(path))).collect();
        std::thread::sleep(moment);
        (how(&disk), writers.into_iter().map(|w| w.join().unwrap() as u64).collect::<Vec<_>>())
    });
    done?;
    disk.recover()?;
    let there = |path: &Path| path.metadata().map_or(0, |about| about.len() / RECORD.len() as u64);
    let lost = paths.iter().zip(&told).map(|(path, told)| told.saturating_sub(there(path))).sum();
    Ok((told.iter().sum(), lost))
}

impl Trial<'_> {
    /// A new job completes again, in time.
    async fn well_again(&mut self, client: &Client, name: &str) {
        let began = Instant::now();
        let mut call = [Call::new("k", &format!("{name} afterwards"))];
        ledger::settle(client, &mut call, LIMIT).await;
        let took = began.elapsed();
        self.seen.push(took);
        self.expect(took <= WELL && call[0].told.is_some(), || {
            format!("not well after {} ms", took.as_millis())
        });
        let [call] = call;
        self.scene.calls.push(call);
    }

    async fn end(mut self, calls: Vec<Call>) -> Result<Vec<String>, String> {
        let client = self.gateway.client();
        self.wrong.extend(served(&client, &calls).await);
        self.wrong.extend(super::panics(&self.gateway.log()));
        self.gateway.stop().await;
        self.scene.calls.extend(calls);
        Ok(self.wrong)
    }
}

/// Asks for every completed image by its link, and tells what is not whole.
pub async fn served(client: &Client, calls: &[Call]) -> Vec<String> {
    let mut wrong = Vec::new();
    for call in calls.iter().filter(|c| c.told.as_deref() == Some("completed")) {
        let asked = json!({"job_id": call.job});
        let status = ledger::try_tool(client, "get_job_status", asked).await;
        let link = status.as_ref().and_then(|s| s.json["image_url"].as_str());
        let Some(link) = link else {
            wrong.push(format!("`{}`: no link in {:?}", call.prompt, status.map(|s| s.json)));
            continue;
        };
        let path = link.splitn(4, '/').nth(3).unwrap_or_default();
        let answer = client.get(&format!("{}/{path}", client.url())).await;
        let (status, bytes) = (answer.status(), answer.bytes().await.unwrap_or_default());
        if bytes != png(&call.prompt) {
            wrong.push(format!("`{}`: {status} with {} bytes was served", call.prompt, bytes.len()));
        }
    }
    wrong
}

/// What fails now and then: file systems report a bad sector at a sync as well as at a write.
const POINTS: [&str; 4] =
    ["posix/io/sync/fsync", "posix/io/sync/fdatasync", "posix/io/rw/pwrite", "posix/io/dir/rename"];

/// One in four of these calls fails with EIO for a while: by libfiu in the gateway's process.
async fn now_and_then(plan: &Plan) -> Row {
    let what =
        "a quarter of all syncs, of the database's writes and of all renames fails with EIO for 3 s (libfiu)";
    let mut row = Row::new("F7 EIO", what);
    let preloads = ["/usr/lib/fiu/fiu_run_preload.so", "/usr/lib/fiu/fiu_posix_preload.so"];
    if preloads.iter().any(|path| !Path::new(path).exists()) {
        skip(&mut row, "libfiu is not installed (apt-get install fiu-utils)", may_install());
        return row;
    }
    let pace = Pace { from: Duration::from_millis(50), to: Duration::from_millis(1_500) };
    let mut scene = Scene::new("F7 EIO", plan.seed + 730, pace, |c| c).await;
    let fifo = tempfile::tempdir().unwrap();
    let fifo = fifo.path().join("fiu");
    let mut met = 0;
    for _ in 0..if plan.short { 1 } else { plan.trials() } {
        let env = [("LD_PRELOAD", preloads.join(" ")), ("FIU_CTRL_FIFO", fifo.display().to_string())];
        let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
        let gateway = Gateway::start_with(scene.home.clone(), &SERVE, &env).await;
        let client = gateway.client();
        let mut calls = scene.calls(10, &CLASSES);
        let control = |command: String| {
            let pid = gateway.pid().to_string();
            tool(
                "fiu-ctrl",
                &["-f".as_ref(), fifo.as_os_str(), "-c".as_ref(), command.as_ref(), pid.as_ref()],
            )
        };
        let mut wrong = Vec::new();
        for point in POINTS {
            let enabled = control(format!("enable_random name={point},probability=0.25,failinfo=5"));
            wrong.extend(enabled.err());
        }
        let settled = async {
            make_all(&client, &mut calls).await;
            ledger::settle(&client, &mut calls, LIMIT).await;
            std::future::pending().await
        };
        tokio::select! {
            () = settled => {}
            () = tokio::time::sleep(Duration::from_secs(3)) => {}
        }
        for point in POINTS {
            wrong.extend(control(format!("disable name={point}")).err());
        }
        ledger::settle(&client, &mut calls, LIMIT).await;
        wrong.extend(served(&client, &calls).await);
        let log = gateway.log();
        met += log.matches("os error 5").count() + log.matches("disk I/O error").count();
        wrong.extend(super::panics(&log));
        scene.calls.extend(calls);
        gateway.stop().await;
        row.trial(wrong);
    }
    row.expect(met > 0, || "no error was met: nothing was tried".into());
    let findings = scene.checked().await;
    row.seen = format!("{}; {met} errors met", findings.seen());
    row.wrong.extend(findings.wrong);
    row
}

/// Killed when half of an image is written: nothing of it is ever served.
async fn torn(plan: &Plan) -> Row {
    let mut row = Row::new("F7 torn", "killed with half an image written, started, every link asked for");
    let mut scene = Scene::new("F7 torn", plan.seed + 740, QUICK, |c| c).await;
    for n in 0..plan.trials() {
        let armed = format!("image.half=kill@{}", n % 3 + 1);
        let mut gateway = scene.start_armed(&armed).await;
        let mut calls = scene.calls(2, &CLASSES);
        make_all(&gateway.client(), &mut calls).await;
        let stopped = tokio::time::timeout(Duration::from_secs(20), gateway.ended()).await;
        let mut wrong = Vec::new();
        if stopped.is_err() {
            wrong.push("the place was not reached".to_owned());
        }
        drop(gateway);
        let gateway = scene.start().await;
        let client = gateway.client();
        ledger::settle(&client, &mut calls, LIMIT).await;
        wrong.extend(served(&client, &calls).await);
        row.trial(wrong);
        gateway.stop().await;
        scene.calls.extend(calls);
    }
    let findings = scene.checked().await;
    row.seen = format!("{}; truncated images served: 0", findings.seen());
    row.wrong.extend(findings.wrong);
    row
}
