//! One process over pipes.

use super::*;
use crate::store::State;
use std::time::Duration;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf},
    time::{Instant, sleep},
};

pub(super) struct Process {
    input: WriteHalf<DuplexStream>,
    output: BufReader<ReadHalf<DuplexStream>>,
    done: tokio::task::JoinHandle<std::io::Result<()>>,
    pub scene: Scene,
}

pub(super) fn process() -> Process {
    let scene = Scene::with(Settings::default(), ServerInfo { local: true, ..ServerInfo::default() });
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let (mcp, principal) = (scene.mcp.clone(), Arc::clone(&scene.principal));
    let done = tokio::spawn(async move {
        let (read, write) = tokio::io::split(theirs);
        mcp.stdio(Profile::Job, principal, read, write).await
    });
    let (read, input) = tokio::io::split(ours);
    Process { input, output: BufReader::new(read), done, scene }
}

impl Process {
    pub async fn write(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }
    pub async fn send(&mut self, id: u64, method: &str, params: Value) {
        self.write(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string())
            .await;
    }
    pub async fn read(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap_or(Value::Null)
    }
    pub async fn end(&mut self) {
        self.input.shutdown().await.unwrap();
    }
    async fn initialize(&mut self) {
        self.send(0, "initialize", json!({"protocolVersion": "2025-11-25", "clientInfo": {"name": "c"}}))
            .await;
        assert_eq!(self.read().await["result"]["protocolVersion"], "2025-11-25");
        self.write(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
    }
}

pub(super) fn modern(mut params: Value) -> Value {
    params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    params
}

#[tokio::test(start_paused = true)]
async fn results_name_the_file_on_this_machine() {
    let mut process = process();
    process.initialize().await;
    let done = process.scene.fake.job(State::Completed);
    process
        .send(1, "tools/call", json!({"name": "wait_for_completion", "arguments": {"job_id": done}}))
        .await;
    let answer = object(&process.read().await["result"]);
    assert!(answer["images"][0]["local_path"].as_str().unwrap().starts_with("/data/images/"));
}

#[tokio::test(start_paused = true)]
async fn bad_lines_are_answered_and_the_next_one_is_served() {
    let mut process = process();
    for (line, code) in [("nonsense", -32700), ("[]", -32600), ("{}", -32600)] {
        process.write(line).await;
        assert_eq!(process.read().await["error"]["code"], code, "{line}");
    }
    process.send(1, "ping", json!({})).await;
    assert_eq!(process.read().await["result"], json!({}));
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_for_processes_of_one_version() {
    let mut process = process();
    let batch = json!([{"jsonrpc": "2.0", "id": 1, "method": "ping"}, {"jsonrpc": "2.0", "id": 2, "method": "nonsense"}]);
    process.write(&batch.to_string()).await;
    assert_eq!(process.read().await["error"]["code"], -32600);
    process.send(0, "initialize", json!({"protocolVersion": "2025-03-26"})).await;
    process.read().await;
    process.write(&batch.to_string()).await;
    let answers = process.read().await;
    assert_eq!((&answers[0]["result"], &answers[1]["error"]["code"]), (&json!({}), &json!(-32601)));
}

#[tokio::test]
async fn subscriptions_leave_room_for_requests() {
    let mut process = process();
    let listen = |n: u64| (n, modern(json!({"notifications": {"toolsListChanged": true}})));
    for (id, params) in (1..=100).map(listen) {
        process.send(id, "subscriptions/listen", params).await;
    }
    let (mut open, mut refused) = (0, 0);
    for _ in 0..100 {
        let told = process.read().await;
        match &told["error"]["code"] {
            Value::Null => open += 1,
            code => {
                assert_eq!(*code, 429, "{told}");
                refused += 1;
            }
        }
    }
    assert_eq!((open, refused), (16, 84));
    process.send(500, "server/discover", modern(json!({}))).await;
    assert_eq!(process.read().await["id"], 500);
}

#[tokio::test(start_paused = true)]
async fn requests_run_beside_each_other() {
    let mut process = process();
    process.initialize().await;
    let job = process.scene.fake.job(State::Running);
    process.send(1, "tools/call", json!({"name": "wait_for_completion", "arguments": {"job_id": job}})).await;
    process.send(2, "ping", json!({})).await;
    assert_eq!(process.read().await["id"], 2, "not behind the wait");
    process.scene.fake.end(job, State::Completed);
    assert_eq!(process.read().await["id"], 1);
}

#[tokio::test(start_paused = true)]
async fn both_eras_are_spoken_until_a_handshake_settles_it() {
    let mut process = process();
    process.send(1, "server/discover", modern(json!({}))).await;
    assert_eq!(process.read().await["result"]["resultType"], "complete");
    process.send(2, "tools/list", modern(json!({}))).await;
    assert_eq!(process.read().await["result"]["cacheScope"], "private");
    process.send(3, "server/discover", json!({})).await;
    assert_eq!(process.read().await["error"]["code"], -32602, "without _meta");
    process.initialize().await;
    process.send(4, "tools/list", json!({})).await;
    assert!(process.read().await["result"].get("resultType").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_request_is_never_answered_and_a_modern_one_takes_its_job_back() {
    for (is_modern, expected) in [(true, 1), (false, 0)] {
        let mut process = process();
        let call = json!({"name": "generate_image_and_wait", "arguments": {"prompt": "a"}});
        let call = if is_modern { modern(call) } else { call };
        process.send(1, "tools/call", call).await;
        process.scene.fake.waiting.notified().await;
        let cancel =
            json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
        process.write(&cancel.to_string()).await;
        let ping = if is_modern { "server/discover" } else { "ping" };
        process.send(2, ping, modern(json!({}))).await;
        assert_eq!(process.read().await["id"], 2);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(process.scene.fake.cancelled.lock().len(), expected, "modern: {is_modern}");
        process.end().await;
        assert_eq!(process.read().await, Value::Null, "nothing more is said");
    }
}

#[tokio::test(start_paused = true)]
async fn progress_comes_before_the_answer() {
    let mut process = process();
    process.initialize().await;
    let job = process.scene.fake.job(State::Running);
    let params =
        json!({"name": "wait_for_completion", "arguments": {"job_id": job}, "_meta": {"progressToken": 3}});
    process.send(1, "tools/call", params).await;
    let told = process.read().await;
    assert_eq!(
        (&told["method"], &told["params"]["progressToken"]),
        (&json!("notifications/progress"), &json!(3))
    );
    process.scene.fake.end(job, State::Completed);
    assert_eq!(process.read().await["id"], 1);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_input_ends_waits_with_an_answer() {
    let mut process = process();
    process.initialize().await;
    let job = process.scene.fake.job(State::Running);
    process.send(1, "tools/call", json!({"name": "wait_for_completion", "arguments": {"job_id": job}})).await;
    process.scene.fake.waiting.notified().await;
    let start = Instant::now();
    process.end().await;
    let answer = process.read().await;
    assert!(object(&answer["result"])["message"].as_str().unwrap().starts_with("Still running."));
    process.done.await.unwrap().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "a client that is gone is not waited for");
}
