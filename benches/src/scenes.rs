//! What is measured, scene by scene; each has gateways of its own.

use crate::{
    bench::{Asked, Bench, ask, call, good, rpc},
    http::{Connection, Reply, request},
    load::{self, Plan},
    machine,
    report::Goal,
    server::{Role, Server},
};
use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::sleep;

const MIB: f64 = (1 << 20) as f64;
const KIB: f64 = 1024.0;
/// Jobs of one call, where many are queued.
const BATCH: usize = 20;
/// Finished jobs that are asked about in turn: more than connections, so that seldom two ask for one job at once.
const DONE: usize = 64;
/// Images that are under way at the same time, where their memory is measured.
const IN_FLIGHT: usize = 64;
/// Rounds of them; the first ones fill pools and caches.
const ROUNDS: usize = 3;

fn unauthorized(reply: Reply<'_>) -> bool {
    reply.status == 401
}

fn ok(reply: Reply<'_>) -> bool {
    reply.status == 200
}

/// The schemas in the list name the fields of failures, too.
fn listed(reply: Reply<'_>) -> bool {
    reply.status == 200 && reply.body.starts_with(br#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"#)
}

fn at_mcp(bodies: impl IntoIterator<Item = String>) -> Vec<(String, String)> {
    bodies.into_iter().map(|body| ("/mcp".to_owned(), body)).collect()
}

/// Requests that run no job: `jobs.role: api`. Ends with a restart over the queue that they left.
///
/// # Errors
/// A gateway does not start, or cannot be asked.
pub async fn accepting(bench: &mut Bench) -> Result<()> {
    let home = bench.home("api")?;
    let (gateway, _) = home.start(Role::Api, &bench.vendor).await?;
    let key = home.key()?;
    let post = |name, bodies: Vec<String>, connections, goals| Asked {
        connections,
        goals,
        ..Asked::calls(name, &key, at_mcp(bodies))
    };
    let list = rpc("tools/list", &json!({}));
    let tools = post("`tools/list`", vec![list.clone()], 16, &[Goal::Floors(2.0)]);
    bench.row(&gateway, Asked { good: listed, ..tools }).await?;
    let bad = post("a bad key, refused", vec![list], 16, &[Goal::PerSecond(20_000.0)]);
    bench.row(&gateway, Asked { key: Some("igw_nobody"), good: unauthorized, ..bad }).await?;

    let generate = json!({"prompt": "a red fox in the snow", "model": "never"});
    if bench.wanted("`get_job_status`, waiting") {
        let mut waiting = Vec::new();
        for _ in 0..10 {
            let job = ask(&gateway, &key, "generate_image", &generate).await?;
            waiting.push(call("get_job_status", &json!({"job_id": job["job_id"]})));
        }
        bench.row(&gateway, post("`get_job_status`, waiting", waiting, 16, &[])).await?;
    }
    let accept = "`generate_image`, accepted";
    for connections in [1, 16, 64] {
        let goals: &[Goal] = match connections {
            16 => &[Goal::Floors(20.0), Goal::PerSecond(2500.0), Goal::P50(5.0), Goal::P99(25.0)],
            _ => &[],
        };
        let asked = post(accept, vec![call("generate_image", &generate)], connections, goals);
        bench.row(&gateway, Asked { rate: (connections == 16).then_some(2500.0), ..asked }).await?;
    }
    start_with_a_queue(bench, &home, gateway, &key).await
}

/// Fills the queue, then starts the gateway that runs it.
async fn start_with_a_queue(
    bench: &mut Bench,
    home: &crate::server::Home,
    gateway: Server,
    key: &str,
) -> Result<()> {
    let name = "start with queued jobs";
    if !bench.wanted(name) {
        return Ok(());
    }
    eprintln!("{name}");
    let queued = bench.size.queued;
    let many = json!({"prompt": "a red fox in the snow", "model": "never", "count": BATCH});
    let body = call("generate_image", &many);
    let fill = Plan {
        address: gateway.address,
        requests: Arc::new(vec![request("POST", "/mcp", Some(key), &body)]),
        good,
        connections: 8,
    };
    let mut calls = 0;
    while calls * BATCH < queued {
        let sample = load::closed(&fill, Duration::from_millis(200)).await?;
        ensure!(sample.errors == 0, "the queue does not fill: {:?}", sample.first_error);
        calls += sample.done();
    }
    gateway.kill().await;
    bench.vendor.forget();
    let (gateway, ready) = home.start(Role::All, &bench.vendor).await?;
    let patience = Instant::now() + Duration::from_secs(60);
    let asked = loop {
        match bench.vendor.first_asked() {
            Some(at) => break at,
            None => ensure!(Instant::now() < patience, "no job was claimed"),
        }
        sleep(Duration::from_millis(1)).await;
    };
    let note = format!("after SIGKILL, at least {queued} jobs queued");
    bench.figure("start to ready, with a queue", ready.as_secs_f64(), "s", Some(2.0), note);
    let claimed = asked.saturating_duration_since(gateway.started).as_secs_f64();
    bench.figure(
        "start to the first claimed job's call, with a queue",
        claimed,
        "s",
        Some(3.0),
        String::new(),
    );
    gateway.kill().await;
    Ok(())
}

/// Whole generations.
///
/// # Errors
/// A gateway does not start, or cannot be asked.
pub async fn generating(bench: &mut Bench) -> Result<()> {
    let home = bench.home("all")?;
    let (gateway, _) = home.start(Role::All, &bench.vendor).await?;
    let key = home.key()?;
    let base = |name, requests, goals| Asked { goals, ..Asked::calls(name, &key, requests) };
    let fox = |model: &str, hand_over: &str| json!({"prompt": "a red fox in the snow", "model": model, "return": hand_over});
    let wait =
        |model: &str, hand_over: &str| at_mcp([call("generate_image_and_wait", &fox(model, hand_over))]);
    let mut done = Vec::new();
    let mut links = Vec::new();
    for model in ["small", "large"].into_iter().cycle().take(DONE) {
        let made = ask(&gateway, &key, "generate_image_and_wait", &fox(model, "link")).await?;
        done.push(call("get_job_status", &json!({"job_id": made["job_id"]})));
        let url = made["image_url"].as_str().context("no image_url")?;
        links.push(format!("/{}", url.splitn(4, '/').nth(3).unwrap_or_default()));
    }
    bench.row(&gateway, base("`get_job_status`, completed", at_mcp(done), &[Goal::Floors(8.0)])).await?;
    for (name, link) in ["image GET, 12 kB", "image GET, 1.3 MB"].into_iter().zip(links) {
        let get = base(name, vec![(link, String::new())], &[]);
        bench.row(&gateway, Asked { method: "GET", key: None, good: ok, ..get }).await?;
    }
    let rows: [(&str, &str, &str, &[Goal]); 4] = [
        ("`generate_image_and_wait`, 12 kB, link", "small", "link", &[Goal::CpuUs(800.0)]),
        ("`generate_image_and_wait`, 1.3 MB, link", "large", "link", &[Goal::CpuUs(6000.0)]),
        ("`generate_image_and_wait`, 12 kB, preview", "small", "preview", &[]),
        ("`generate_image_and_wait`, 1.3 MB, preview", "large", "preview", &[]),
    ];
    for (name, model, hand_over, goals) in rows {
        bench.row(&gateway, base(name, wait(model, hand_over), goals)).await?;
    }
    gateway.kill().await;
    Ok(())
}

/// Starts, idle memory, and memory per image under way.
///
/// # Errors
/// A gateway does not start, or cannot be asked.
pub async fn resting(bench: &mut Bench) -> Result<()> {
    if !bench.wanted("memory and start") {
        return Ok(());
    }
    eprintln!("memory and start");
    for (name, again) in [("start to ready, new data directory", false), ("start to ready, again", true)] {
        let mut times = Vec::new();
        for n in 0..bench.size.starts {
            let home = bench.home(&format!("start-{}", if again { 0 } else { n }))?;
            let (gateway, ready) = home.start(Role::All, &bench.vendor).await?;
            times.push(ready);
            gateway.kill().await;
        }
        times.sort_unstable();
        let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
        let note = format!("median of {}, the longest {:.2} s", times.len(), worst.as_secs_f64());
        bench.figure(name, median.as_secs_f64(), "s", Some(0.5), note);
    }

    let home = bench.home("memory")?;
    let (gateway, _) = home.start(Role::All, &bench.vendor).await?;
    sleep(Duration::from_secs(3)).await;
    let idle = gateway.memory()?;
    let note = format!("{:.1} MiB of it not backed by the program's file", idle.anonymous as f64 / MIB);
    bench.figure("idle RSS", idle.now as f64 / MIB, "MiB", Some(30.0), note);

    let key = home.key()?;
    let body =
        call("generate_image_and_wait", &json!({"prompt": "a fox", "model": "slow", "return": "link"}));
    let request = Arc::new(request("POST", "/mcp", Some(&key), &body));
    machine::forget_peak(gateway.pid);
    for _ in 0..ROUNDS {
        let calls: Vec<_> = (0..IN_FLIGHT)
            .map(|_| {
                let (request, address) = (request.clone(), gateway.address);
                tokio::spawn(async move {
                    let mut connection = Connection::open(address).await?;
                    let reply = connection.call(&request).await?;
                    ensure!(good(reply), "{} {}", reply.status, String::from_utf8_lossy(reply.body));
                    Ok(())
                })
            })
            .collect();
        for call in calls {
            call.await??;
        }
    }
    let peak = gateway.memory()?.peak;
    let each = peak.saturating_sub(idle.now) as f64 / IN_FLIGHT as f64 / KIB;
    let note = format!(
        "1.3 MB each, {IN_FLIGHT} at once in {ROUNDS} rounds; peak {:.1} MiB less the idle RSS",
        peak as f64 / MIB
    );
    bench.figure("RSS per image in flight", each, "KiB", Some(256.0), note);
    gateway.kill().await;
    Ok(())
}

/// Clients that wait for jobs of their own on open streams.
///
/// # Errors
/// A gateway does not start, or refuses a stream.
pub async fn waiting(bench: &mut Bench) -> Result<()> {
    if !bench.wanted("waiting clients") {
        return Ok(());
    }
    for clients in bench.size.waiting {
        eprintln!("{clients} waiting clients");
        let home = bench.home(&format!("waiting-{clients}"))?;
        let (gateway, _) = home.start(Role::All, &bench.vendor).await?;
        let key = home.key()?;
        let params = json!({
            "name": "generate_image_and_wait",
            "arguments": {"prompt": "a red fox in the snow", "model": "never"},
            "_meta": {"progressToken": "p"},
        });
        let request = Arc::new(request("POST", "/mcp", Some(&key), &rpc("tools/call", &params)));
        sleep(Duration::from_secs(1)).await;
        let before = gateway.memory()?.now;
        let mut open = Vec::with_capacity(*clients);
        for part in 0..clients.div_ceil(50) {
            let some: Vec<_> = (0..50.min(clients - part * 50))
                .map(|_| {
                    let (request, address) = (request.clone(), gateway.address);
                    tokio::spawn(async move {
                        let mut connection = Connection::open(address).await?;
                        connection.open_stream(&request).await?;
                        anyhow::Ok(connection)
                    })
                })
                .collect();
            for one in some {
                open.push(one.await??);
            }
        }
        sleep(bench.size.warm).await;
        let cpu = gateway.cpu()?;
        sleep(bench.size.closed).await;
        let busy = (gateway.cpu()? - cpu).as_secs_f64() / bench.size.closed.as_secs_f64();
        let memory = gateway.memory()?;
        let each = memory.now.saturating_sub(before) as f64 / *clients as f64 / KIB;
        let note = format!(
            "each on an SSE stream for a job of its own; {:.0} MiB in all; {:.1} % of a core meanwhile",
            memory.now as f64 / MIB,
            busy * 100.0
        );
        bench.figure(&format!("RSS per waiting client, {clients}"), each, "KiB", Some(45.0), note);
        drop(open);
        gateway.kill().await;
    }
    Ok(())
}
