//! F8: the power goes. What was not synced is lost, at any instant; the file system is checked and the gateway starts
//! on what is left.

use crate::{
    Plan,
    checker::Findings,
    ledger::{self, Call},
    machine::{Disk, may_mount, skip},
    scene::{CLASSES, LIMIT, QUICK, Scene},
    support::Client,
    table::Row,
};
use futures_util::{StreamExt as _, future::join_all, stream};
use std::time::Duration;

/// Calls of each class in a trial, one after the other, so that there is always one in every state.
const EACH: usize = 12;
const LIFE: Duration = Duration::from_millis(2_500);

pub async fn rows(plan: &Plan) -> Vec<Row> {
    if !plan.wants("F8") {
        return Vec::new();
    }
    let mut row = Row::new(
        "F8",
        "power cut at a random moment under load: the ext4 is cut off from its disk without a flush, the process killed, \
         then fsck, mount, start",
    );
    let trials = if plan.short { 1 } else { plan.rounds.div_ceil(4) };
    let lanes = stream::iter(0..trials).map(|n| power_cut(plan.seed + 800 + n));
    let done: Vec<_> = lanes.buffer_unordered(plan.lanes.max(1) as usize).collect().await;
    let (mut findings, mut acknowledged, mut told) = (Findings::default(), 0, 0);
    for cut in done {
        match cut {
            Ok(cut) => {
                row.n += 1;
                acknowledged += cut.acknowledged;
                told += cut.told;
                findings.add(cut.findings);
            }
            Err(why) if !may_mount() => {
                skip(&mut row, &why, false);
                return vec![row];
            }
            Err(why) => row.wrong.push(why),
        }
    }
    row.expect(acknowledged > 0 && told > 0, || "nothing was acknowledged before the cuts".into());
    row.seen = format!(
        "{}; {acknowledged} jobs acknowledged and {told} told completed before the cut, missing 0",
        findings.seen()
    );
    row.wrong.extend(findings.wrong);
    vec![row]
}

struct Cut {
    acknowledged: usize,
    told: usize,
    findings: Findings,
}

async fn power_cut(seed: u64) -> Result<Cut, String> {
    let disk = Disk::new(160)?;
    let name = format!("F8-{seed}");
    let mut scene = Scene::new(&name, seed, QUICK, |c| c.data_dir(&disk.data())).await;
    let gateway = scene.start().await;
    let client = gateway.client();
    let mut calls = scene.calls(EACH, &CLASSES);
    let moment = scene.moment(LIFE);
    tokio::select! {
        () = async { keep_calling(&client, &mut calls).await; std::future::pending().await } => {}
        () = tokio::time::sleep(moment) => {}
    }
    // Processor and disk end at the same moment. A process that lived on for some milliseconds could take the end of
    // a sync that was under way for a success, and act on it.
    gateway.pause();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let cut = disk.cut_off();
    gateway.kill().await;
    cut?;
    let acknowledged = calls.iter().filter(|c| c.job.is_some()).count();
    let told = calls.iter().filter(|c| c.told.is_some()).count();
    disk.recover()?;
    let gateway = scene.start().await;
    ledger::settle(&gateway.client(), &mut calls, LIMIT).await;
    let served = super::disk::served(&gateway.client(), &calls).await;
    gateway.stop().await;
    scene.calls.extend(calls);
    let mut findings = scene.checked().await;
    findings.wrong.extend(served);
    findings.wrong.iter_mut().for_each(|what| *what = format!("seed {seed}: {what}"));
    Ok(Cut { acknowledged, told, findings })
}

/// Makes the calls of each class one after the other and hears each to its end.
async fn keep_calling(client: &Client, calls: &mut [Call]) {
    let lanes = calls.chunks_mut(6).map(|lane| async {
        for call in lane {
            ledger::settle(client, std::slice::from_mut(call), LIMIT).await;
        }
    });
    join_all(lanes).await;
}
