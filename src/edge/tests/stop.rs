//! Clients that leave, streams, and the stop.

use super::*;

#[tokio::test]
async fn a_client_that_leaves_ends_its_call() {
    let rig = start().await;
    let mut wire = rig.wire().await;
    wire.send(post("/mcp", "x-do: wait\r\n", "{}")).await;
    soon(rig.mcp.started.notified()).await;
    drop(wire);
    soon(rig.mcp.dropped.notified()).await;
}

#[tokio::test]
async fn a_client_of_http2_that_leaves_ends_its_call() {
    let rig = start().await;
    let client = http2_client();
    let request = client.post(rig.url("/mcp")).bearer_auth(KEY).header("x-do", "wait").body("{}").send();
    let call = tokio::spawn(request);
    soon(rig.mcp.started.notified()).await;
    call.abort();
    soon(rig.mcp.dropped.notified()).await;
}

pub async fn open_stream(rig: &Rig) -> (Wire, mpsc::Sender<Bytes>) {
    let mut wire = rig.wire().await;
    wire.send(post("/mcp", "x-do: stream\r\nAccept: text/event-stream\r\n", "{}")).await;
    assert_eq!(wire.head().await.header("transfer-encoding"), Some("chunked"));
    let sender = rig.mcp.stream.lock().take().unwrap();
    (wire, sender)
}

#[tokio::test]
async fn a_stream_is_flushed_part_by_part_and_leaves_the_connection_usable() {
    let rig = start().await;
    let (mut wire, sender) = open_stream(&rig).await;
    for text in ["data: 1\n\n", "data: 2\n\n"] {
        sender.send(text.into()).await.unwrap();
        assert_eq!(wire.chunk().await, text);
    }
    drop(sender);
    assert_eq!(wire.chunk().await, "");
    wire.send(get("/livez")).await;
    assert_eq!(wire.reply().await.body, "live\n");
}

#[tokio::test]
async fn a_stream_ends_with_its_client() {
    let rig = start().await;
    let (wire, sender) = open_stream(&rig).await;
    drop(wire);
    soon(sender.closed()).await;
}

#[tokio::test]
async fn a_stream_ends_with_its_key() {
    let rig = start().await;
    let (mut wire, sender) = open_stream(&rig).await;
    sender.send("data: 1\n\n".into()).await.unwrap();
    assert_eq!(wire.chunk().await, "data: 1\n\n");
    let key = |id: &str, key: &str| FileKey { id: id.into(), key: Secret::new(key), ..FileKey::default() };
    rig.keys.reload(&[key("ci", KEY), key("other", "other")]).unwrap();
    rig.keys.database_away();
    rig.keys.replace(Vec::new());
    sender.send("data: 2\n\n".into()).await.unwrap();
    assert_eq!(wire.chunk().await, "data: 2\n\n", "its own key is still there");
    rig.keys.reload(&[key("other", "other")]).unwrap();
    assert_eq!(wire.chunk().await, "", "its key is gone, and nothing else has to happen");
    soon(sender.closed()).await;
}

#[tokio::test]
async fn streams_over_the_cap_become_whole_answers_or_a_refusal() {
    let rig = Setup::caps(|caps| caps.streams_per_principal = 1).start().await;
    let (wire, sender) = open_stream(&rig).await;
    let reply = rig.ask(&post("/mcp", "Accept: text/event-stream\r\n", "{}")).await;
    assert_eq!((reply.status, &reply.json()["error"]["data"]["policy"]), (429, &"streams".into()));
    let reply = rig.ask(&post("/mcp", "Accept: application/json, text/event-stream\r\n", "{}")).await;
    assert_eq!(reply.status, 200);
    assert_eq!(rig.mcp.calls.lock().last().unwrap().headers()["accept"], "application/json");
    drop(wire);
    soon(sender.closed()).await;
    assert_eq!(
        rig.ask(&post("/mcp", "Accept: text/event-stream\r\n", "{}")).await.status,
        200,
        "the place is free again"
    );
}

#[tokio::test]
async fn a_reader_that_stops_reading_is_dropped() {
    let rig = Setup::caps(|caps| caps.body_idle_timeout = Span::millis(300)).start().await;
    let (_wire, sender) = open_stream(&rig).await;
    let part = Bytes::from(vec![b'x'; 1 << 20]);
    soon(async { while sender.send(part.clone()).await.is_ok() {} }).await;
}

#[tokio::test]
async fn a_stop_finishes_what_runs_and_refuses_what_comes() {
    let rig = start().await;
    let mut running = rig.wire().await;
    running.send(post("/mcp", "x-do: wait\r\n", "{}")).await;
    soon(rig.mcp.started.notified()).await;
    let idle = rig.wire().await;
    let mut kept = rig.wire().await;
    kept.send(get("/readyz")).await;
    assert_eq!(kept.reply().await.status, 200);

    rig.stop.send_replace(true);
    kept.closed().await;
    idle.closed().await;
    assert_eq!(rig.ask(&get("/readyz")).await.status, 503);
    assert_eq!(rig.ask(&get("/livez")).await.status, 200);
    let refused = rig.ask(&post("/mcp", "", "{}")).await;
    assert_eq!((refused.status, refused.header("connection")), (503, Some("close")));
    assert!(refused.header("retry-after").is_some());

    rig.mcp.go_on.notify_one();
    let reply = running.reply().await;
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    assert!(soon(rig.served).await.unwrap().unwrap(), "everything was finished");
    assert!(tokio::net::TcpStream::connect(rig.address).await.is_err(), "and the door is shut");
}

#[tokio::test]
async fn a_stop_ends_streams_with_their_last_chunk() {
    let rig = Setup::with(|edge| edge.shutdown_grace = Span::millis(600)).start().await;
    let (mut wire, sender) = open_stream(&rig).await;
    rig.stop.send_replace(true);
    sender.send("data: last words\n\n".into()).await.unwrap();
    assert_eq!(wire.chunk().await, "data: last words\n\n");
    assert_eq!(wire.chunk().await, "", "the stream ended as it should");
    wire.closed().await;
    assert!(soon(rig.served).await.unwrap().unwrap());
}

#[tokio::test]
async fn a_stop_does_not_wait_longer_than_its_grace() {
    let rig = Setup::with(|edge| edge.shutdown_grace = Span::millis(200)).start().await;
    let mut wire = rig.wire().await;
    wire.send(post("/mcp", "x-do: wait\r\n", "{}")).await;
    soon(rig.mcp.started.notified()).await;
    rig.stop.send_replace(true);
    assert!(!soon(rig.served).await.unwrap().unwrap(), "it says that not all was finished");
}
