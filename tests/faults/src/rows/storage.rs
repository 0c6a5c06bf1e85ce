//! F12: image storage is away while paid answers come in. They stay in the spool, nothing is bought again, and they
//! are stored when it is back.

use crate::{
    Plan, checker, ledger,
    scene::{CLASSES, LIMIT, QUICK, Scene, make_all},
    support::{Gateway, eventually},
    table::Row,
};
use std::{fs, path::Path};

/// Jobs of each class in a trial.
const EACH: usize = 3;

pub async fn rows(plan: &Plan) -> Vec<Row> {
    if plan.wants("F12") { vec![away(plan).await] } else { Vec::new() }
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    /// The folder of images is taken away.
    Gone,
    /// A file lies in its place.
    File,
    /// The same, and the process is killed before it is put right.
    FileAndKill,
    /// Half of each image is written, then the disk fails.
    Write,
}

async fn away(plan: &Plan) -> Row {
    let mut row = Row::new(
        "F12",
        "the folder of images taken away, a file in its place (also with a kill), writes that fail half-way, while \
         paid answers come in",
    );
    let mut scene = Scene::new("F12", plan.seed + 760, QUICK, |c| c).await;
    let mut most_in_spool = 0;
    for _ in 0..plan.trials() {
        for fault in [Fault::Gone, Fault::File, Fault::FileAndKill, Fault::Write] {
            row.n += 1;
            let in_spool = trial(&mut scene, fault, &mut row).await;
            most_in_spool = most_in_spool.max(in_spool);
        }
    }
    let (data, accepted) = (scene.home.data_dir(), scene.vendor.accepted());
    let mut findings = checker::Findings::default();
    for class in CLASSES {
        findings.add(checker::check(data, &scene.calls, &accepted, class).await);
    }
    findings.add(checker::whole(data, &scene.calls, &accepted).await);
    let completed = findings.completed == scene.calls.len() as u64;
    row.expect(completed, || "not every job completed".into());
    row.expect(findings.resent == 0, || format!("{} bought again", findings.resent));
    row.seen = format!("{}; up to {most_in_spool} answers waited in the spool", findings.seen());
    row.wrong.extend(findings.wrong);
    row
}

/// Returns how many answers lay in the spool while storage was away.
async fn trial(scene: &mut Scene, fault: Fault, row: &mut Row) -> usize {
    let data = scene.home.data_dir().to_owned();
    let (images, aside) = (data.join("images"), data.join("images.aside"));
    let all = EACH * CLASSES.len();
    // The first tries of all nine.
    let failing: Vec<String> = (1..=2 * all).map(|n| format!("image.half=error@{n}")).collect();
    let armed = if matches!(fault, Fault::Write) { failing.join(";") } else { String::new() };
    let gateway = scene.start_armed(&armed).await;
    let client = gateway.client();
    let mut calls = scene.calls(EACH, &CLASSES);
    scene.vendor.upstream.hold();
    make_all(&client, &mut calls).await;
    if !matches!(fault, Fault::Write) {
        fs::rename(&images, &aside).unwrap();
    }
    if matches!(fault, Fault::File | Fault::FileAndKill) {
        fs::write(&images, "in the way").unwrap();
    }
    scene.vendor.upstream.release();
    let mut waited = 0;
    let gateway = match fault {
        Fault::Gone | Fault::Write => gateway,
        Fault::File | Fault::FileAndKill => {
            eventually("all answers wait in the spool", async || {
                waited = answers(&data.join("spool"));
                (waited >= all).then_some(())
            })
            .await;
            let early = calls_completed(&data).await;
            row.expect(early == scene.calls.len(), || {
                format!("{fault:?}: {} jobs completed without storage", early - scene.calls.len())
            });
            let back = || {
                fs::remove_file(&images).unwrap();
                put_back(&aside, &images);
            };
            if matches!(fault, Fault::File) {
                back();
                gateway
            } else {
                let home = gateway.kill().await;
                back();
                Gateway::start_at(home).await
            }
        }
    };
    ledger::settle(&gateway.client(), &mut calls, LIMIT).await;
    gateway.stop().await;
    if matches!(fault, Fault::Gone) {
        put_back(&aside, &images);
    }
    scene.calls.extend(calls);
    waited
}

/// Whole answers of paid calls.
fn answers(spool: &Path) -> usize {
    let named = |path: &std::path::PathBuf| path.extension().is_none();
    checker::files(spool).iter().filter(|path| named(path)).count()
}

async fn calls_completed(data: &Path) -> usize {
    let found = crate::database::read(data).await;
    found.jobs.iter().filter(|job| job.state == crate::database::COMPLETED).count()
}

/// Moves everything back, beside what was stored meanwhile.
fn put_back(from: &Path, to: &Path) {
    if !to.exists() {
        return fs::rename(from, to).unwrap();
    }
    for file in checker::files(from) {
        let place = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::rename(&file, place).unwrap();
    }
    fs::remove_dir_all(from).unwrap();
}
