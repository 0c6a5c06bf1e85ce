//! F25: broken reloads of the configuration, and one that takes the provider of running jobs away.

use crate::{
    Plan,
    ledger::{self, try_tool},
    scene::{CLASSES, LIMIT, QUICK, Scene, make_all},
    support::{Client, Home},
    table::Row,
};
use serde_json::json;
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// A broken file: what it is, how it comes about, and what the error must say.
type Form = (&'static str, fn(&Home), &'static str);

const FORMS: [Form; 9] = [
    ("broken YAML", |home| home.swap_config("jobs:\n  workers: 1\n lease: 5s\n"), "gateway.yaml:3:2: "),
    ("an unknown field", |home| home.swap_config("jobs:\n  leese: 5s\n"), "gateway.yaml:2:3: jobs.leese"),
    ("a key twice", |home| home.swap_config("jobs: {}\nreload: {}\njobs: {}\n"), "gateway.yaml:3:1: jobs"),
    ("an alias bomb", |home| home.swap_config(&bomb()), "gateway.yaml:"),
    (
        "a target of nothing",
        |home| home.swap_config("models:\n  m: {targets: [gone/x]}\n"),
        "gateway.yaml:2:",
    ),
    (
        "100 MiB",
        |home| fs::File::create(home.config_file()).unwrap().set_len(100 << 20).unwrap(),
        "larger than 1 MiB",
    ),
    ("an empty file", |home| fs::write(home.config_file(), "").unwrap(), "the file is empty"),
    ("no file", |home| fs::remove_file(home.config_file()).unwrap(), "cannot be read"),
    ("a folder", |home| fs::create_dir(home.config_file()).unwrap(), "cannot be read"),
];
/// Longest time a reload may take.
const SOON: Duration = Duration::from_secs(1);

fn bomb() -> String {
    (1..10).fold("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |all, n| {
        let before = format!("*a{}, ", n - 1).repeat(10);
        format!("{all}a{n}: &a{n} [{before}]\n")
    })
}

pub async fn rows(plan: &Plan) -> Vec<Row> {
    if !plan.wants("F25") {
        return Vec::new();
    }
    let mut row = Row::new(
        "F25",
        "reloads of a broken configuration in nine forms, then one without the provider of the running jobs, under steady calls",
    );
    let mut scene = Scene::new("F25", plan.seed + 2_500, QUICK, |c| c).await;
    let good = fs::read_to_string(scene.home.config_file()).unwrap();
    let without = without_vendor(&good);
    let gateway = scene.start().await;
    let client = gateway.client();
    let traffic = Traffic::start(&client);
    let mut times = Vec::new();
    for _ in 0..plan.trials() {
        let mut calls = scene.calls(5, &CLASSES);
        make_all(&client, &mut calls).await;
        for (name, breaks, wanted) in FORMS {
            row.n += 1;
            breaks(&scene.home);
            let (error, took) = reload(&client).await;
            times.push(took);
            row.expect(error.contains(wanted), || format!("{name}: `{error}` does not say {wanted}"));
            if scene.home.config_file().is_dir() {
                fs::remove_dir(scene.home.config_file()).unwrap();
            }
        }
        row.n += 1;
        scene.home.swap_config(&without);
        let (error, took) = reload(&client).await;
        times.push(took);
        row.expect(error.is_empty(), || format!("without the provider: {error}"));
        ledger::settle(&client, &mut calls, LIMIT).await;
        for call in &calls {
            row.expect(call.told.as_deref() == Some("completed"), || format!("{call:?}"));
        }
        scene.calls.extend(calls);
        scene.home.swap_config(&good);
        let (error, _) = reload(&client).await;
        row.expect(error.is_empty(), || format!("back to the good one: {error}"));
    }
    let (made, dropped) = traffic.end().await;
    row.expect(dropped == 0, || format!("{dropped} of {made} calls were dropped"));
    times.sort_unstable();
    let half = times.get(times.len() / 2).copied().unwrap_or_default();
    // On a machine that is busy with the other rows too, the slowest says more about them.
    row.wants(half <= SOON, || format!("half of the reloads took {} ms or more", half.as_millis()));
    let stopped = gateway.stop().await.1;
    row.expect(stopped.status.success(), || format!("it ended with {}", stopped.status));
    let findings = scene.checked().await;
    row.seen = format!(
        "{}; {made} calls beside, {dropped} dropped; a reload {} ms, slowest {} ms",
        findings.seen(),
        half.as_millis(),
        times.last().map_or(0, Duration::as_millis)
    );
    row.wrong.extend(findings.wrong);
    vec![row]
}

/// The error that the reload ended with; empty: it was taken.
async fn reload(client: &Client) -> (String, Duration) {
    let begun = Instant::now();
    let answer = try_tool(client, "reload_config", json!({})).await;
    let error = match answer {
        Some(answer) if answer.is_error => answer.json["error"]["message"].as_str().unwrap_or("?").to_owned(),
        Some(_) => String::new(),
        None => "the gateway did not answer".to_owned(),
    };
    (error, begun.elapsed())
}

/// The same configuration with another provider and model in place of the vendor's.
fn without_vendor(good: &str) -> String {
    let mut config: serde_json::Value = serde_json::from_str(good).unwrap();
    config["providers"] = json!({"cards": {"kind": "placeholder"}});
    config["models"] = json!({"card": {"targets": ["cards/card"]}});
    config["routing"]["default_model"] = json!(["card"]);
    config.to_string()
}

/// A caller without a pause.
struct Traffic {
    stop: Arc<AtomicBool>,
    calls: tokio::task::JoinHandle<(u64, u64)>,
}

impl Traffic {
    fn start(client: &Client) -> Traffic {
        let (client, stop) = (client.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let calls = tokio::spawn(async move {
            let (mut made, mut dropped) = (0, 0);
            while !stopped.load(Ordering::Relaxed) {
                let answer = try_tool(&client, "list_jobs", json!({})).await;
                made += 1;
                dropped += u64::from(answer.is_none_or(|answer| answer.is_error));
            }
            (made, dropped)
        });
        Traffic { stop, calls }
    }

    /// Calls made, and how many of them failed.
    async fn end(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        self.calls.await.unwrap()
    }
}
