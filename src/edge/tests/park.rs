//! Streams that wait without a session: what their connections could do before, they can do still.

use super::{stop::open_stream, *};

/// One connection at a time: whoever is served has it.
async fn narrow() -> Rig {
    Setup::caps(|caps| caps.connections = 1).start().await
}

fn stream_request(headers: &str) -> String {
    post("/mcp", &format!("x-do: stream\r\nAccept: text/event-stream\r\n{headers}"), "{}")
}

async fn sender(rig: &Rig) -> mpsc::Sender<Bytes> {
    soon(async {
        loop {
            if let Some(sender) = rig.mcp.stream.lock().take() {
                return sender;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test]
async fn a_connection_carries_streams_and_answers_in_turn() {
    let rig = start().await;
    let mut wire = rig.wire().await;
    for round in 0..3 {
        wire.send(stream_request("")).await;
        assert_eq!(wire.head().await.status, 200);
        let sender = sender(&rig).await;
        sender.send(format!("data: {round}\n\n").into()).await.unwrap();
        assert_eq!(wire.chunk().await, format!("data: {round}\n\n"));
        drop(sender);
        assert_eq!(wire.chunk().await, "");
        let reply = {
            wire.send(post("/mcp", "", "{\"a\":1}")).await;
            wire.reply().await
        };
        assert_eq!((reply.status, &*reply.body), (200, "POST Jobs default/ci 7 bytes"), "round {round}");
    }
}

#[tokio::test]
async fn a_request_that_came_before_the_end_of_a_stream_is_answered_after_it() {
    let rig = start().await;
    let next = post("/mcp", "", "{}");
    let (begin, rest) = next.split_at(30);
    for (with_it, during, after) in [(&*next, "", ""), ("", &*next, ""), ("", begin, rest), (begin, rest, "")]
    {
        let mut wire = rig.wire().await;
        wire.send(format!("{}{with_it}", stream_request(""))).await;
        wire.head().await;
        let sender = sender(&rig).await;
        wire.send(during).await;
        sender.send("data: 1\n\n".into()).await.unwrap();
        assert_eq!(wire.chunk().await, "data: 1\n\n");
        sender.send("data: 2\n\n".into()).await.unwrap();
        assert_eq!(wire.chunk().await, "data: 2\n\n", "the stream goes on");
        drop(sender);
        assert_eq!(wire.chunk().await, "");
        wire.send(after).await;
        let reply = wire.reply().await;
        assert_eq!((reply.status, &*reply.body), (200, "POST Jobs default/ci 2 bytes"));
    }
}

#[tokio::test]
async fn more_than_is_kept_of_a_next_request_stays_with_the_client() {
    let rig = start().await;
    let (mut wire, sender) = open_stream(&rig).await;
    let body = "x".repeat(300_000);
    let (mut reading, request) = (wire.split_writer(), post("/mcp", "", &body));
    let sending = tokio::spawn(async move {
        reading.send(request).await;
        reading
    });
    sender.send("data: 1\n\n".into()).await.unwrap();
    assert_eq!(wire.chunk().await, "data: 1\n\n");
    drop(sender);
    assert_eq!(wire.chunk().await, "");
    assert_eq!(wire.reply().await.body, "POST Jobs default/ci 300000 bytes");
    soon(sending).await.unwrap();
}

#[tokio::test]
async fn a_client_that_wants_no_second_request_gets_none() {
    let rig = start().await;
    let mut wire = rig.wire().await;
    wire.send(stream_request("Connection: close\r\n")).await;
    assert_eq!(wire.head().await.header("connection"), Some("close"));
    let sender = sender(&rig).await;
    sender.send("data: 1\n\n".into()).await.unwrap();
    assert_eq!(wire.chunk().await, "data: 1\n\n");
    drop(sender);
    assert_eq!(wire.chunk().await, "");
    wire.closed().await;
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_a_body_that_ends_with_its_connection() {
    let rig = start().await;
    let mut wire = rig.wire().await;
    wire.send(stream_request("").replace("HTTP/1.1", "HTTP/1.0")).await;
    let head = wire.head().await;
    assert_eq!((head.status, head.header("transfer-encoding")), (200, None));
    let sender = sender(&rig).await;
    for text in ["data: 1\n\n", "data: 2\n\n"] {
        sender.send(text.into()).await.unwrap();
    }
    drop(sender);
    assert_eq!(wire.rest().await, "data: 1\n\ndata: 2\n\n");
}

#[tokio::test]
async fn a_client_that_asks_before_it_sends_its_body_gets_its_stream() {
    let rig = start().await;
    let mut wire = rig.wire().await;
    let request = stream_request("Expect: 100-continue\r\n");
    let (head, body) = request.split_at(request.len() - 2);
    wire.send(head).await;
    assert_eq!(wire.head().await.status, 100);
    wire.send(body).await;
    assert_eq!(wire.head().await.status, 200);
    let sender = sender(&rig).await;
    sender.send("data: 1\n\n".into()).await.unwrap();
    assert_eq!(wire.chunk().await, "data: 1\n\n");
}

#[tokio::test]
async fn a_client_that_closes_its_half_has_left() {
    let rig = start().await;
    let (mut wire, sender) = open_stream(&rig).await;
    wire.close_half().await;
    soon(sender.closed()).await;
    wire.closed().await;
    assert_eq!(rig.ask(&get("/livez")).await.status, 200);
}

#[tokio::test]
async fn a_stream_that_waits_is_one_of_the_connections() {
    let rig = narrow().await;
    let (wire, sender) = open_stream(&rig).await;
    rig.wire().await.closed().await;
    drop(wire);
    soon(sender.closed()).await;
    // Its place is free a moment after its parts are gone.
    let reply = soon(async {
        loop {
            let mut wire = rig.wire().await;
            wire.send(get("/livez")).await;
            if let Some(reply) = wire.try_reply().await {
                return reply;
            }
        }
    })
    .await;
    assert_eq!(reply.body, "live\n");
}

#[tokio::test]
async fn a_long_event_arrives_whole() {
    let rig = start().await;
    let (mut wire, sender) = open_stream(&rig).await;
    let long: String = (0..40_000).map(|n| format!("{n:06}")).collect();
    sender.send(long.clone().into()).await.unwrap();
    drop(sender);
    let mut got = String::new();
    loop {
        match wire.chunk().await {
            end if end.is_empty() => break,
            part => got += &part,
        }
    }
    assert!(got == long, "{} of {} bytes", got.len(), long.len());
}

/// Over any connection that reqwest makes: parts as they come, the next request, and a client that leaves.
async fn all_that_a_stream_does(rig: &Rig, client: &reqwest::Client, url: &str) {
    let ask = || client.post(url).bearer_auth(KEY).header("accept", "text/event-stream").body("{}");
    for _ in 0..2 {
        let mut answer = soon(ask().header("x-do", "stream").send()).await.unwrap();
        assert_eq!(answer.status(), 200);
        let sender = sender(rig).await;
        for text in ["data: 1\n\n", "data: 2\n\n"] {
            sender.send(text.into()).await.unwrap();
            assert_eq!(soon(answer.chunk()).await.unwrap().unwrap(), text);
        }
        drop(sender);
        while let Some(end) = soon(answer.chunk()).await.unwrap() {
            assert_eq!(end, "", "HTTP/2 may end with an empty part");
        }
        assert_eq!(soon(ask().send()).await.unwrap().status(), 200, "the only connection there may be");
    }
    let answer = soon(ask().header("x-do", "stream").send()).await.unwrap();
    let sender = sender(rig).await;
    drop(answer);
    soon(sender.closed()).await;
}

#[tokio::test]
async fn streams_of_http_2_are_held_as_well() {
    let rig = narrow().await;
    all_that_a_stream_does(&rig, &http2_client(), &rig.url("/mcp")).await;
}

#[tokio::test]
async fn streams_wait_over_tls_too() {
    let (rig, dir, root) = tls::rig(|caps| caps.connections = 1).await;
    let url = format!("https://localhost:{}/mcp", rig.address.port());
    for http1 in [true, false] {
        let builder = reqwest::Client::builder().tls_certs_only([root.clone()]).no_proxy();
        let client = if http1 { builder.http1_only() } else { builder }.build().unwrap();
        if !http1 {
            // The place of the connection before is free in a moment.
            soon(async { while client.get(&url).send().await.is_err() {} }).await;
        }
        all_that_a_stream_does(&rig, &client, &url).await;
    }
    rig.stop.send_replace(true);
    assert!(soon(rig.served).await.unwrap().unwrap());
    drop(dir);
}
