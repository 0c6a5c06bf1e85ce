//! F21, F22: clients that leave in the middle of a stream, and clients that do not read.

use crate::{
    Plan,
    database::{self, CANCELLED, COMPLETED},
    ledger::{self, Call},
    machine::figures,
    scene::{CLASSES, LIMIT, Scene},
    support::{Client, Gateway, eventually},
    table::Row,
    vendor::Pace,
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    io::Cursor,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use testkit::{Behaviour, FakeUpstream, Reply};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

/// Callers at the same time.
const AT_ONCE: usize = 20;
/// Calls the vendor takes at once: the others wait, and can be taken back.
const PLACES: usize = 2;
/// From the client's leaving to its job's end.
const RELEASED: Duration = Duration::from_secs(1);
/// Until connections are closed.
const BACK: Duration = Duration::from_secs(5);
/// Most memory of a stream that nobody reads: the answer's 250 KB once, and half of it for what lies around them.
const BUFFER: u64 = 384 << 10;

pub async fn rows(plan: &Plan) -> Vec<Row> {
    let mut rows = Vec::new();
    if plan.wants("F21") {
        let (modern, older) =
            tokio::join!(leaving(plan, "F21 2026-07-28", true), leaving(plan, "F21 2025-11-25", false));
        rows.extend([modern, older]);
    }
    if plan.wants("F22") && !plan.short {
        rows.push(not_reading(plan).await);
    }
    rows
}

/// The headers and the body of a call that is answered as a stream of events.
fn streamed(arguments: &Value, modern: bool) -> (Vec<(&'static str, &'static str)>, String) {
    let mut params = json!({"name": "generate_image_and_wait", "arguments": arguments});
    params["_meta"] = json!({"progressToken": "p"});
    let mut headers =
        vec![("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
    if modern {
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
        headers.extend([("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call")]);
        headers.push(("mcp-name", "generate_image_and_wait"));
    } else {
        headers.push(("mcp-protocol-version", "2025-11-25"));
    }
    (headers, json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string())
}

/// A caller on a connection of its own. Returns when it left; `None`: it had its answer before.
async fn leave_after(client: &Client, call: &Call, modern: bool, after: Duration) -> Option<i64> {
    let (headers, body) = streamed(&call.arguments(), modern);
    let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
    let mut post = http.post(format!("{}/mcp", client.url())).bearer_auth(client.key()).body(body);
    for (name, value) in headers {
        post = post.header(name, value);
    }
    let hear = async {
        let Ok(mut answer) = post.send().await else { return };
        while let Ok(Some(_)) = answer.chunk().await {}
    };
    tokio::select! {
        () = hear => None,
        () = tokio::time::sleep(after) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            Some(now.as_micros() as i64)
        }
    }
}

async fn leaving(plan: &Plan, name: &str, modern: bool) -> Row {
    let what = format!(
        "clients leave at a random moment of `generate_image_and_wait`, {AT_ONCE} at once, {PLACES} served at a time"
    );
    let mut row = Row::new(name, &what);
    let pace = Pace { from: Duration::from_millis(100), to: Duration::from_millis(500) };
    let mut scene =
        Scene::new(name, plan.seed + 900, pace, |c| c.set("providers.vendor.concurrency", PLACES)).await;
    let gateway = scene.start().await;
    // As many that stay, so that every pool has grown.
    let mut warm = scene.calls(AT_ONCE / CLASSES.len(), &CLASSES);
    let client = gateway.client();
    join_all(warm.iter().map(|call| leave_after(&client, call, modern, LIMIT))).await;
    ledger::settle(&client, &mut warm, LIMIT).await;
    scene.calls.extend(warm);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let baseline = figures(gateway.pid()).sockets;

    let (mut slowest, mut back, mut unmade) = (Duration::ZERO, Duration::ZERO, 0);
    for round in 0..plan.trials() {
        let calls: Vec<Call> = (0..AT_ONCE)
            .map(|n| Call::new(CLASSES[n % CLASSES.len()], &format!("{name} {round} {n}")))
            .collect();
        let moments: Vec<Duration> =
            calls.iter().map(|_| scene.moment(Duration::from_millis(3_000))).collect();
        let client = gateway.client();
        let leave = |(call, after): (&Call, Duration)| {
            let (client, call) = (client.clone(), call.clone());
            async move { leave_after(&client, &call, modern, after).await }
        };
        let left = join_all(calls.iter().zip(moments).map(leave)).await;
        row.n += left.iter().flatten().count() as u64;
        let all = ended(&scene).await;
        let before = Instant::now();
        while figures(gateway.pid()).sockets > baseline && before.elapsed() < BACK {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        back = back.max(before.elapsed());
        let now = figures(gateway.pid()).sockets;
        row.expect(now <= baseline, || format!("{now} connections, {baseline} before"));
        for (mut call, left) in calls.into_iter().zip(left) {
            let Some(job) = all.jobs.iter().find(|j| j.prompt == call.prompt) else {
                // It left before its call was read: nothing exists, and nothing is bought.
                unmade += 1;
                let bought = scene.vendor.accepted().iter().any(|a| a.prompt == call.prompt);
                row.expect(!bought, || format!("`{}`: bought without a job", call.prompt));
                continue;
            };
            call.job = Some(job.id.clone());
            let first = all.attempts.iter().filter(|a| a.job == job.id).map(|a| a.started).min();
            match (left, job.state) {
                (Some(left), CANCELLED) if modern => {
                    let took = Duration::from_micros(
                        job.finished.unwrap_or(i64::MAX).saturating_sub(left).max(0) as u64,
                    );
                    slowest = slowest.max(took);
                    row.wants(took <= RELEASED, || {
                        format!("`{}`: cancelled {took:?} after it left", call.prompt)
                    });
                }
                (Some(left), COMPLETED) if modern => {
                    let bought_after = first.unwrap_or(i64::MAX).saturating_sub(left);
                    row.expect(bought_after <= RELEASED.as_micros() as i64, || {
                        format!("`{}`: bought {bought_after} us after its client left", call.prompt)
                    });
                }
                (_, COMPLETED) => {}
                (left, state) => {
                    row.wrong.push(format!("`{}`: state {state}, left {}", call.prompt, left.is_some()))
                }
            }
            scene.calls.push(call);
        }
        // The result is there for whoever asks.
        let from = scene.calls.len().saturating_sub(AT_ONCE);
        ledger::settle(&client, &mut scene.calls[from..], LIMIT).await;
    }
    // A request that still counted, or a connection nobody closed, would hold the stop up.
    let (_, stopped) = gateway.stop().await;
    row.expect(stopped.took < Duration::from_secs(4), || format!("the stop took {:?}", stopped.took));
    let findings = scene.checked().await;
    row.expect(!modern || findings.cancelled > 0, || {
        "nobody left before the submit: nothing was tried".into()
    });
    row.seen = format!(
        "{}, {unmade} left unread; cancelled within {} ms; connections back within {} ms",
        findings.seen(),
        slowest.as_millis(),
        back.as_millis()
    );
    row.wrong.extend(findings.wrong);
    row
}

/// The database once every job has ended.
async fn ended(scene: &Scene) -> database::Contents {
    let end = Instant::now() + LIMIT;
    loop {
        let all = database::read(scene.home.data_dir()).await;
        if all.jobs.iter().all(|j| j.state >= COMPLETED) || Instant::now() > end {
            return all;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Noise of about 180 KiB: the most that an answer takes whole.
fn large() -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(1);
    let picture = image::GrayImage::from_fn(425, 425, |_, _| image::Luma([random.u8(..)]));
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

async fn not_reading(plan: &Plan) -> Row {
    let (streams, stall) = (150, 30);
    let what =
        format!("{streams} streams whose clients read nothing of an answer of 250 KB; stall limit {stall} s");
    let mut row = Row::new("F22", &what);
    let upstream = FakeUpstream::start().await;
    let picture = large();
    // One after the other: what many answers need at once is another row's figure.
    let asked = AtomicU64::new(0);
    upstream.handle(move |_| {
        let nth = asked.fetch_add(1, Ordering::Relaxed) % streams as u64;
        let after = Duration::from_millis(1_500 + 20 * nth);
        Behaviour::from(Reply::new(200, "image/png", picture.clone())).delayed(after)
    });
    let pace = Pace { from: Duration::ZERO, to: Duration::ZERO };
    let scene = Scene::new("F22", plan.seed + 950, pace, |c| {
        c.set("providers.vendor.base_url", upstream.url())
            .set("server.limits.body_idle_timeout", format!("{stall}s"))
    })
    .await;
    let gateway = scene.start().await;
    // As many that read: pools and the allocator have grown.
    for _ in 0..2 {
        let readers = open_streams(&gateway, streams).await;
        join_all(readers.into_iter().map(|mut socket| async move {
            let mut all = Vec::new();
            while !all.ends_with(b"0\r\n\r\n") && socket.read_buf(&mut all).await.is_ok_and(|n| n > 0) {}
        }))
        .await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = figures(gateway.pid()).rss;
    let sockets = open_streams(&gateway, streams).await;
    let ports: HashSet<u16> = sockets.iter().map(|s| s.local_addr().unwrap().port()).collect();
    let began = Instant::now();
    let jobs = eventually("all jobs completed", async || {
        let all = database::read(scene.home.data_dir()).await.jobs;
        (all.len() == 3 * streams && all.iter().all(|j| j.state >= COMPLETED)).then_some(all)
    })
    .await;
    row.expect(jobs.iter().all(|j| j.state == COMPLETED), || "a job ended otherwise".into());
    let answered = Instant::now();
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let held = figures(gateway.pid()).rss;
    let stalled = open_at(&gateway, &ports);
    // A row or two of the kernel's table may be passed over while it changes.
    row.expect(stalled * 10 > streams * 9, || format!("{stalled} streams stall a second after the answer"));
    let limit = Duration::from_secs(stall + 10);
    let dropped = loop {
        if open_at(&gateway, &ports) == 0 {
            break Some(answered.elapsed());
        }
        if answered.elapsed() > limit {
            break None;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    row.n = streams as u64;
    let each = held.saturating_sub(before) / streams as u64;
    row.expect(dropped.is_some(), || format!("streams are open {limit:?} after their answer came"));
    row.wants(each <= BUFFER, || format!("{} KiB of memory for each stream", each >> 10));
    let client = gateway.client();
    let job = client.status(&jobs[jobs.len() - 1].id).await;
    row.expect(job["status"] == "completed", || format!("{job}"));
    row.seen = format!(
        "{streams} jobs completed, {} KiB for each stream, dropped {} ms after the answer ({} ms after the call)",
        each >> 10,
        dropped.unwrap_or_default().as_millis(),
        began.elapsed().as_millis()
    );
    drop(sockets);
    gateway.stop().await;
    row
}

/// How many connections from these ports of ours the gateway holds open. One that it closed may linger in the kernel with
/// what nobody reads; it belongs to no process then. Both ends are compared: the gateway's own calls to the vendor may leave
/// from the same ports.
fn open_at(gateway: &Gateway, ports: &HashSet<u16>) -> usize {
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next().unwrap_or_default(), 16).ok();
    let own = gateway.url().rsplit(':').next().and_then(|port| port.parse().ok());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let open = rows.filter(|row| row.get(9).is_some_and(|inode| *inode != "0")).filter_map(|row| {
        let end = |column: usize| row.get(column).and_then(|address| port(address));
        (end(1) == own).then(|| end(2)).flatten().filter(|port| ports.contains(port))
    });
    open.collect::<HashSet<u16>>().len()
}

/// Calls whose streams have begun, on sockets that take almost nothing.
async fn open_streams(gateway: &Gateway, n: usize) -> Vec<TcpStream> {
    join_all((0..n).map(|n| async move {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(2 << 10).unwrap();
        // The kernel sizes the gateway's buffer by the segments: on loopback it would take megabytes.
        socket2::SockRef::from(&socket).set_tcp_mss(536).unwrap();
        let address = gateway.url().trim_start_matches("http://").to_owned();
        let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
        let arguments = json!({"prompt": format!("canary F22 {n}"), "model": "s", "return": "full"});
        let (headers, body) = streamed(&arguments, true);
        let mut head =
            format!("POST /mcp HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\n", gateway.key());
        headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        head += &format!("content-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut start = [0; 15];
        stream.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200 OK");
        stream
    }))
    .await
}
