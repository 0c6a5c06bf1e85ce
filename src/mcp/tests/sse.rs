//! The old HTTP+SSE transport: a stream, and messages posted beside it.

use super::*;
use crate::{mcp::Listening, store::State};
use std::time::Duration;
use tokio::time::Instant;

/// An open stream and where to post.
struct Stream {
    events: Listening,
    endpoint: String,
}

fn get(path: &str) -> Request<Bytes> {
    Request::get(path).header("accept", "text/event-stream").body(Bytes::new()).unwrap()
}

async fn open(scene: &Scene) -> Stream {
    match scene.mcp.sse(get("/sse"), Arc::clone(&scene.principal)).await {
        Reply::Listen(head, mut events) => {
            assert_eq!(head.headers()["content-type"], "text/event-stream");
            let first = events.next().await.unwrap();
            let first = String::from_utf8(first.to_vec()).unwrap();
            let endpoint = first.strip_prefix("event: endpoint\ndata: ").expect("where to post comes first");
            let endpoint = endpoint.trim_end().to_owned();
            assert!(endpoint.starts_with("/messages?session_id="), "a path of the same origin: {endpoint}");
            Stream { events, endpoint }
        }
        _ => panic!("a stream was expected"),
    }
}

impl Stream {
    async fn post_as(&self, scene: &Scene, of: Principal, body: impl Into<Bytes>) -> Response<Bytes> {
        let request = Request::post(&self.endpoint).header("content-type", "application/json");
        match scene.mcp.messages(request.body(body.into()).unwrap(), Arc::new(of)).await {
            Reply::Whole(response) => response,
            _ => panic!("a message is accepted or refused"),
        }
    }

    async fn post(&self, scene: &Scene, body: &Value) -> u16 {
        let response = self.post_as(scene, (*scene.principal).clone(), body.to_string()).await;
        response.status().as_u16()
    }

    /// The next message, comments left out.
    async fn message(&mut self) -> Value {
        loop {
            let event = self.events.next().await.expect("the stream goes on");
            let event = String::from_utf8(event.to_vec()).unwrap();
            if let Some(json) = event.strip_prefix("event: message\ndata: ") {
                return serde_json::from_str(json.trim_end()).unwrap();
            }
        }
    }

    async fn asked(&mut self, scene: &Scene, id: Value, method: &str, params: Value) -> Value {
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        assert_eq!(self.post(scene, &message).await, 202);
        self.message().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_of_2024_shakes_hands_and_calls() {
    let scene = scene();
    let mut stream = open(&scene).await;
    let hello = json!({"protocolVersion": "2024-11-05", "clientInfo": {"name": "old", "version": "1"}});
    let agreed = stream.asked(&scene, json!("a"), "initialize", hello).await;
    assert_eq!((&agreed["id"], &agreed["result"]["protocolVersion"]), (&json!("a"), &json!("2024-11-05")));
    assert_eq!(
        agreed["result"]["capabilities"]["resources"],
        json!({"subscribe": true, "listChanged": true})
    );
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(stream.post(&scene, &ready).await, 202);

    let done = scene.fake.job(State::Completed);
    let call = json!({"name": "wait_for_completion", "arguments": {"job_id": done}});
    let answer = stream.asked(&scene, json!(1), "tools/call", call).await;
    assert_eq!(answer["id"], 1, "not \"1\"");
    assert_eq!(object(&answer["result"])["status"], "completed");

    scene.mcp.lists_changed();
    for list in ["tools", "prompts", "resources"] {
        assert_eq!(stream.message().await["method"], format!("notifications/{list}/list_changed"));
    }
}

#[tokio::test(start_paused = true)]
async fn any_older_version_is_agreed_on_and_the_newest_is_not_spoken() {
    let scene = scene();
    for (asked, agreed) in
        [("2025-11-25", "2025-11-25"), ("2025-03-26", "2025-03-26"), ("2026-07-28", "2025-11-25")]
    {
        let mut stream = open(&scene).await;
        let answer = stream.asked(&scene, json!(1), "initialize", json!({"protocolVersion": asked})).await;
        assert_eq!(answer["result"]["protocolVersion"], agreed);
        let batch = json!([{"jsonrpc": "2.0", "id": 2, "method": "ping"}]);
        assert_eq!(stream.post(&scene, &batch).await, 202);
        let answer = stream.message().await;
        match agreed {
            "2025-03-26" => assert_eq!(answer, json!([{"jsonrpc": "2.0", "id": 2, "result": {}}])),
            _ => assert_eq!(answer["error"]["code"], -32600, "{answer}"),
        }
    }
    let mut stream = open(&scene).await;
    let probe = stream.asked(&scene, json!(1), "server/discover", stdio::modern(json!({}))).await;
    assert_eq!(probe["error"]["code"], -32601, "so a client that probes falls back to the handshake");
}

#[tokio::test(start_paused = true)]
async fn progress_and_signs_of_life_come_on_the_stream() {
    let scene = scene();
    let mut stream = open(&scene).await;
    let started = Instant::now();
    assert_eq!(stream.events.next().await.unwrap(), ": still here\n\n");
    assert_eq!(started.elapsed(), Duration::from_secs(15));

    let job = scene.fake.job(State::Queued);
    let call =
        json!({"name": "wait_for_completion", "arguments": {"job_id": job}, "_meta": {"progressToken": "p"}});
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call});
    assert_eq!(stream.post(&scene, &message).await, 202);
    let told = stream.message().await;
    assert_eq!(
        (&told["method"], &told["params"]["progressToken"]),
        (&json!("notifications/progress"), &json!("p"))
    );
    scene.fake.end(job, State::Completed);
    loop {
        let told = stream.message().await;
        if told["id"] == 1 {
            assert_eq!(object(&told["result"])["status"], "completed");
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_watched_job_is_told_of_until_nobody_watches() {
    let scene = scene();
    let mut stream = open(&scene).await;
    stream.asked(&scene, json!(0), "initialize", json!({"protocolVersion": "2024-11-05"})).await;
    let job = scene.fake.job(State::Queued);
    let uri = format!("job://{job}");
    assert_eq!(
        stream.asked(&scene, json!(1), "resources/subscribe", json!({"uri": uri})).await["result"],
        json!({})
    );
    scene.fake.waiting.notified().await;
    scene.fake.end(job, State::Completed);
    let told = stream.message().await;
    assert_eq!(
        (&told["method"], &told["params"]["uri"]),
        (&json!("notifications/resources/updated"), &json!(uri))
    );

    let lists = json!({"uri": "models://list"});
    stream.asked(&scene, json!(2), "resources/subscribe", lists.clone()).await;
    scene.mcp.lists_changed();
    let mut methods = Vec::new();
    for _ in 0..4 {
        methods.push(stream.message().await["method"].as_str().unwrap().to_owned());
    }
    assert!(methods.contains(&"notifications/resources/updated".to_owned()), "{methods:?}");
    stream.asked(&scene, json!(3), "resources/unsubscribe", lists).await;
    scene.mcp.lists_changed();
    for _ in 0..3 {
        assert_ne!(stream.message().await["method"], "notifications/resources/updated");
    }
    for (uri, code) in [
        ("job://00000000-0000-4000-8000-000000000000".to_owned(), -32002),
        (format!("image://{}", uuid::Uuid::new_v4()), -32002),
        ("nonsense".to_owned(), -32002),
    ] {
        let refused = stream.asked(&scene, json!(4), "resources/subscribe", json!({"uri": uri})).await;
        assert_eq!(refused["error"]["code"], code, "{uri}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_a_message_is_refused_where_it_was_posted() {
    let scene = scene();
    let mut stream = open(&scene).await;
    let me = || (*scene.principal).clone();
    let broken = stream.post_as(&scene, me(), "{").await;
    assert_eq!((broken.status().as_u16(), &body(&broken)["error"]["code"]), (400, &json!(-32700)));
    let twice =
        stream.post_as(&scene, me(), r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"x"}"#).await;
    assert_eq!(twice.status(), 400);

    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    for other in [Principal::new("team", "other", &[]), Principal::new("other", "key", &[])] {
        let foreign = stream.post_as(&scene, other, ping.clone()).await;
        assert_eq!(foreign.status(), 404, "the id says nothing to another key");
    }
    let endpoint = std::mem::replace(&mut stream.endpoint, "/messages?session_id=nonsense".into());
    assert_eq!(stream.post_as(&scene, me(), ping.clone()).await.status(), 404);
    stream.endpoint = "/messages".into();
    assert_eq!(stream.post_as(&scene, me(), ping.clone()).await.status(), 400);
    stream.endpoint = endpoint;
    let plain = Request::post(&stream.endpoint).body(Bytes::from(ping.clone())).unwrap();
    match scene.mcp.messages(plain, Arc::clone(&scene.principal)).await {
        Reply::Whole(response) => assert_eq!(response.status(), 415),
        _ => panic!("a whole answer"),
    }
    // What was refused did not reach the stream.
    assert_eq!(stream.asked(&scene, json!(9), "ping", json!({})).await["id"], 9);

    let Stream { events, endpoint } = stream;
    drop(events);
    let gone = Request::post(&endpoint).header("content-type", "application/json").body(Bytes::from(ping));
    match scene.mcp.messages(gone.unwrap(), Arc::clone(&scene.principal)).await {
        Reply::Whole(response) => assert_eq!(response.status(), 404, "its stream is closed"),
        _ => panic!("a whole answer"),
    }
}

/// What a future gives without giving way to anything else.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("it waits"),
    }
}

#[tokio::test(start_paused = true)]
async fn messages_that_wait_are_bounded_by_count_and_by_size() {
    let scene = scene();
    let stream = open(&scene).await;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let mut taken = 0;
    // The connection has not run: nothing here gives way to it.
    while at_once(stream.post(&scene, &ping)) == 202 {
        taken += 1;
        assert!(taken <= 16, "more than may wait");
    }
    assert_eq!(taken, 16);

    let scene = self::scene();
    let mut stream = open(&scene).await;
    let prompt = "x".repeat(15 << 20);
    let large = json!({"jsonrpc": "2.0", "id": 1, "method": "nonsense", "params": {"a": prompt}});
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(at_once(stream.post(&scene, &large)));
    }
    assert_eq!(statuses, [202, 202, 202, 202, 503]);
    for _ in 0..4 {
        assert_eq!(stream.message().await["error"]["code"], -32601);
    }
    assert_eq!(stream.post(&scene, &large).await, 202, "there is room again");
}

#[tokio::test]
async fn a_message_may_do_what_the_credential_that_it_came_with_may() {
    let scene = scene();
    let mut stream = open(&scene).await;
    let call = |id: u8| {
        let params = json!({"name": "generate_image", "arguments": {"prompt": "a fox"}});
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string()
    };
    let weaker = Principal { scopes: vec![Scope::ImagesRead], ..(*scene.principal).clone() };
    assert_eq!(stream.post_as(&scene, weaker, call(1)).await.status(), 202);
    assert_eq!(stream.message().await["error"]["code"], 403);
    let full = (*scene.principal).clone();
    assert_eq!(stream.post_as(&scene, full, call(2)).await.status(), 202);
    assert_eq!(stream.message().await["result"]["structuredContent"]["success"], true);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_it_is_idle_and_when_the_server_stops() {
    let scene = scene();
    let mut stream = open(&scene).await;
    let started = Instant::now();
    while stream.events.next().await.is_some() {}
    assert_eq!(started.elapsed(), Duration::from_secs(3_600));

    let mut stream = open(&scene).await;
    let job = scene.fake.job(State::Queued);
    let call = json!({"name": "wait_for_completion", "arguments": {"job_id": job}});
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call});
    assert_eq!(stream.post(&scene, &message).await, 202);
    scene.fake.waiting.notified().await;
    scene.mcp.stop_listening();
    assert_eq!(stream.message().await["id"], 1, "what was asked is answered with what there is");
    assert!(stream.events.next().await.is_none());
}

#[tokio::test]
async fn without_a_path_to_post_to_there_is_no_stream() {
    let paths = crate::mcp::Paths { messages: None, ..Default::default() };
    let scene = Scene::with(Settings { paths, ..Settings::default() }, ServerInfo::default());
    let reply = scene.mcp.sse(get("/sse"), Arc::clone(&scene.principal)).await;
    assert!(matches!(reply, Reply::Whole(response) if response.status() == 405));
    // Posts are as on the other path.
    let reply = scene.mcp.sse(Peer::Bare.request("ping", json!({})), Arc::clone(&scene.principal)).await;
    assert!(matches!(reply, Reply::Whole(response) if body(&response)["result"] == json!({})));
}
