//! Thousands of streams that wait: what each costs, what they cost together while nothing happens, and how soon all of
//! them hear that the job they wait for has ended.

use crate::{
    bench::{Bench, ask, good, rpc},
    http::{Connection, Reply, request},
    server::{Role, Server},
};
use anyhow::{Result, ensure};
use serde_json::json;
use std::{net::SocketAddr, time::Instant};
use tokio::{task::JoinSet, time::sleep};

const KIB: f64 = 1024.0;
/// Streams that are opened at the same time.
const AT_ONCE: usize = 50;

/// # Errors
/// A program does not start, or refuses a stream.
pub async fn idle(bench: &mut Bench) -> Result<()> {
    if !bench.wanted("idle streams") {
        return Ok(());
    }
    for streams in bench.size.idle {
        let streams = *streams;
        eprintln!("{streams} idle streams");
        listening(bench, streams).await?;
        waiting(bench, streams).await?;
        held(bench, streams).await?;
    }
    Ok(())
}

/// `subscriptions/listen` of 2026-07-28.
async fn listening(bench: &mut Bench, streams: usize) -> Result<()> {
    let home = bench.home(&format!("listening-{streams}"))?;
    let (gateway, _) = home.start(Role::Api, &bench.vendor).await?;
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({"notifications": {"toolsListChanged": true}, "_meta": meta});
    let body = rpc("subscriptions/listen", &params);
    let request = format!(
        "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\nmcp-protocol-version: 2026-07-28\r\n\
         mcp-method: subscriptions/listen\r\ncontent-length: {}\r\n\r\n{body}",
        home.key()?,
        body.len()
    );
    let name = format!("RSS per idle stream, {streams} x `subscriptions/listen`");
    let open = measured(bench, &gateway, &name, streams, request.as_bytes()).await?;
    drop(open);
    gateway.kill().await;
    Ok(())
}

/// Calls of `wait_for_completion` for one job, which then ends.
async fn waiting(bench: &mut Bench, streams: usize) -> Result<()> {
    let home = bench.home(&format!("idle-{streams}"))?;
    let (gateway, _) = home.start(Role::All, &bench.vendor).await?;
    let key = home.key()?;
    bench.vendor.hold();
    let job = ask(&gateway, &key, "generate_image", &json!({"prompt": "a red fox", "model": "held"})).await?;
    let params = json!({
        "name": "wait_for_completion",
        "arguments": {"job_id": job["job_id"], "return": "link"},
        "_meta": {"progressToken": "p"},
    });
    let request = request("POST", "/mcp", Some(&key), &rpc("tools/call", &params));
    let name = format!("RSS per idle stream, {streams} x `wait_for_completion`");
    let open = measured(bench, &gateway, &name, streams, &request).await?;

    let mut ends = JoinSet::new();
    for mut connection in open {
        ends.spawn(async move {
            let answer = connection.rest_of_stream().await?;
            ensure!(
                good(Reply { status: 200, body: answer }) && contains(answer, b"image_url"),
                "an answer without the image: {}",
                String::from_utf8_lossy(answer)
            );
            anyhow::Ok(Instant::now())
        });
    }
    sleep(bench.size.warm).await; // all of them read by now
    let cpu = gateway.cpu()?;
    let released = Instant::now();
    bench.vendor.release();
    let mut times = Vec::with_capacity(streams);
    while let Some(end) = ends.join_next().await {
        times.push((end?? - released).as_secs_f64());
    }
    let cpu = (gateway.cpu()? - cpu).as_secs_f64();
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let note = format!("one job; p50 {:.2} s, the last {:.2} s; {cpu:.2} s of CPU", at(0.5), at(1.0));
    bench.figure(&format!("completion to {streams} waiting clients, p99"), at(0.99), "s", Some(2.0), note);
    gateway.kill().await;
    Ok(())
}

/// The same number of streams that the bare server holds in the usual way.
async fn held(bench: &mut Bench, streams: usize) -> Result<()> {
    let floor = bench.new_floor().await?;
    let request = request("GET", "/stream", None, "");
    let before = floor.memory()?.now;
    let open = open_all(floor.address, &request, streams).await?;
    let each = floor.memory()?.now.saturating_sub(before) as f64 / streams as f64 / KIB;
    drop(open);
    let name = format!("RSS per idle stream, {streams} x the bare server");
    bench.figure(&name, each, "KiB", None, "held by the HTTP library as it comes".into());
    floor.kill().await;
    Ok(())
}

/// Opens streams and lets them wait for a while.
async fn measured(
    bench: &mut Bench,
    gateway: &Server,
    name: &str,
    streams: usize,
    request: &[u8],
) -> Result<Vec<Connection>> {
    sleep(bench.size.warm).await;
    let before = gateway.memory()?.now;
    let open = open_all(gateway.address, request, streams).await?;
    sleep(bench.size.warm).await;
    let cpu = gateway.cpu()?;
    sleep(bench.size.idle_for).await;
    let busy = (gateway.cpu()? - cpu).as_secs_f64() / bench.size.idle_for.as_secs_f64() * 100.0;
    let memory = gateway.memory()?;
    let each = memory.now.saturating_sub(before) as f64 / streams as f64 / KIB;
    let note = format!("{:.0} MiB in all", memory.now as f64 / KIB / KIB);
    bench.figure(name, each, "KiB", Some(8.0), note);
    let idle = name.replace("RSS per idle stream", "CPU of idle streams");
    let note = format!("of a core, with signs of life every 15 s, over {} s", bench.size.idle_for.as_secs());
    bench.figure(&idle, busy, "%", Some(5.0), note);
    Ok(open)
}

async fn open_all(address: SocketAddr, request: &[u8], streams: usize) -> Result<Vec<Connection>> {
    let mut open = Vec::with_capacity(streams);
    while open.len() < streams {
        let mut some = JoinSet::new();
        for _ in 0..AT_ONCE.min(streams - open.len()) {
            let request = request.to_vec();
            some.spawn(async move {
                let mut connection = Connection::open(address).await?;
                connection.open_stream(&request).await?;
                anyhow::Ok(connection)
            });
        }
        while let Some(one) = some.join_next().await {
            open.push(one??);
        }
    }
    Ok(open)
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|part| part == text)
}
