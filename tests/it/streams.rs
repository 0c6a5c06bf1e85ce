//! Streams that wait: every kind of them beats, is noticed when its client leaves, and leaves nothing behind.

use crate::support::{Gateway, config, eventually, vendor};
use serde_json::{Value, json};
use std::time::Duration;
use testkit::FakeUpstream;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const BEAT: &str = ": still here\n\n";
/// Of each kind.
const STREAMS: usize = 25;

/// An open stream, read as it comes.
struct Stream {
    socket: TcpStream,
    read: String,
}

impl Stream {
    async fn open(gateway: &Gateway, target: &str, lines: &str, body: &str) -> Stream {
        let address = gateway.url().trim_start_matches("http://").to_owned();
        let mut socket = TcpStream::connect(&address).await.unwrap();
        let key = gateway.key();
        let text = format!(
            "{target} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n{lines}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(text.as_bytes()).await.unwrap();
        let mut stream = Stream { socket, read: String::new() };
        stream.until("\r\n\r\n").await;
        assert!(stream.read.starts_with("HTTP/1.1 200"), "{}", stream.read);
        assert!(stream.read.contains("text/event-stream"), "{}", stream.read);
        stream
    }

    async fn until(&mut self, what: &str) {
        while !self.read.contains(what) {
            let mut part = [0; 4096];
            let read = tokio::time::timeout(Duration::from_secs(20), self.socket.read(&mut part));
            let read = read.await.expect("it comes in time").unwrap();
            assert!(read > 0, "closed before {what:?}: {}", self.read);
            self.read.push_str(std::str::from_utf8(&part[..read]).unwrap());
        }
    }

    /// Waits until it has shown that it lives, once more than before.
    async fn beats(&mut self) {
        self.read.clear();
        self.until(BEAT).await;
    }
}

fn headers(lines: &[(&str, &str)]) -> String {
    lines.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
}

const TAKES: (&str, &str) = ("accept", "application/json, text/event-stream");
const SENDS: (&str, &str) = ("content-type", "application/json");

/// A request of 2026-07-28 whose answer streams.
async fn modern(gateway: &Gateway, method: &str, mut params: Value) -> Stream {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "progressToken": "p",
    });
    let mut lines = vec![TAKES, SENDS, ("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
    let name = params["name"].as_str().map(str::to_owned);
    lines.extend(name.as_deref().map(|name| ("mcp-name", name)));
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    Stream::open(gateway, "POST /mcp", &headers(&lines), &body.to_string()).await
}

fn listen() -> Value {
    json!({"notifications": {"toolsListChanged": true}})
}

async fn session(gateway: &Gateway) -> String {
    let client = gateway.client();
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25",
        "capabilities": {}, "clientInfo": {"name": "story", "version": "1"}}});
    let call = client.http().post(format!("{}/mcp", client.url())).bearer_auth(client.key());
    let call = call.header(TAKES.0, TAKES.1).header(SENDS.0, SENDS.1).body(hello.to_string());
    call.send().await.unwrap().headers()["mcp-session-id"].to_str().unwrap().to_owned()
}

/// The open ones of the gateway. The database's files are more or fewer as they are needed.
fn sockets(gateway: &Gateway) -> usize {
    let all = std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).unwrap();
    let target = |entry: std::io::Result<std::fs::DirEntry>| std::fs::read_link(entry.ok()?.path()).ok();
    all.filter_map(target).filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

async fn scene() -> (FakeUpstream, Gateway) {
    let upstream = FakeUpstream::start().await;
    upstream.default(vendor::openai_picture()).hold();
    let config = config().openai(&upstream).set("providers.openai.concurrency", 1);
    let config = config.set("mcp.heartbeat", "1s").set("server.limits.streams_per_principal", 1_000);
    let config = config.set("limits.per_key.requests", "100000/s").set("limits.per_key.burst", 100_000);
    (upstream, Gateway::start(config).await)
}

#[tokio::test]
async fn every_kind_of_stream_beats_while_it_waits_and_leaves_no_socket() {
    let (upstream, gateway) = scene().await;
    let client = gateway.client();
    let job = client.generate("a fox").await;
    upstream.wait_for_requests(1).await;
    client.status(&job).await; // its connection is open and stays
    let before = sockets(&gateway);

    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let id = session(&gateway).await;
        let takes = ("accept", "text/event-stream");
        let of_session = headers(&[takes, ("mcp-session-id", &id)]);
        streams.push(Stream::open(&gateway, "GET /mcp", &of_session, "").await);
        streams.push(Stream::open(&gateway, "GET /sse", &headers(&[takes]), "").await);
        streams.push(modern(&gateway, "subscriptions/listen", listen()).await);
        let wait = json!({"name": "wait_for_completion", "arguments": {"job_id": job}});
        streams.push(modern(&gateway, "tools/call", wait).await);
    }
    for _ in 0..2 {
        for stream in &mut streams {
            stream.beats().await;
        }
    }
    assert!(sockets(&gateway) >= before + streams.len(), "they are all open");

    // Half of the waiting ones stay and are answered; every other stream's client leaves.
    let mut stay: Vec<Stream> = streams.into_iter().skip(3).step_by(8).collect();
    eventually("a socket for each that stayed", async || {
        (sockets(&gateway) <= before + stay.len()).then_some(())
    })
    .await;
    upstream.release();
    for stream in &mut stay {
        stream.until("\r\n0\r\n\r\n").await;
        assert!(stream.read.contains("\"status\":\"completed\""), "{}", stream.read);
        stream.socket.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        stream.until("live\n").await;
    }
    drop(stay);
    // The call to the vendor is over as well.
    eventually("no socket is left", async || (sockets(&gateway) <= before).then_some(())).await;
}

#[tokio::test]
async fn a_modern_client_that_leaves_its_wait_takes_an_unsent_job_back() {
    let (upstream, gateway) = scene().await;
    let client = gateway.client();
    client.generate("a fox").await;
    upstream.wait_for_requests(1).await;
    let arguments = json!({"prompt": "a wolf"});
    let call = json!({"name": "generate_image_and_wait", "arguments": arguments});
    let mut stream = modern(&gateway, "tools/call", call).await;
    stream.beats().await;
    let jobs = async |status: &str| {
        client.tool("list_jobs", json!({"status": status})).await.ok().json["total_count"].clone()
    };
    assert_eq!(jobs("cancelled").await, 0);
    drop(stream);
    eventually("its job is cancelled", async || (jobs("cancelled").await == 1).then_some(())).await;
    upstream.release();
    assert_eq!(upstream.submissions(), 1, "and was never sent");
}

#[tokio::test]
async fn a_stop_ends_the_streams_that_wait_in_good_order() {
    let (upstream, gateway) = scene().await;
    let mut listening = modern(&gateway, "subscriptions/listen", listen()).await;
    let mut old = Stream::open(&gateway, "GET /sse", "accept: text/event-stream\r\n", "").await;
    old.until("event: endpoint").await;
    gateway.terminate();
    listening.until("\r\n0\r\n\r\n").await;
    assert!(listening.read.contains("\"resultType\":\"complete\""), "{}", listening.read);
    old.until("\r\n0\r\n\r\n").await;
    let (_, stopped) = gateway.stop().await;
    assert!(stopped.status.success(), "{}", stopped.status);
    drop(upstream);
}
