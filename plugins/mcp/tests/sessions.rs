//! The handshake, sessions that end, streams that break off, and results that are somewhere else.

#![allow(clippy::unwrap_used)]

mod support;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use plugin_api::{ErrorClass, ImageRequest, Progress, Provider, Source, Spend, Submission, Ticket};
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use support::{HAT, build, example, settings, welcome, welcoming};
use testkit::{Behaviour, Bench, CANARY, FakeUpstream, Recorded, Reply};

fn fox(provider: &dyn Provider) -> ImageRequest {
    ImageRequest::new(provider.models()[0].clone(), "a red fox")
}

fn message(result: Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "result": result}).to_string()
}

fn picture() -> String {
    let data = BASE64_STANDARD.encode(HAT);
    message(json!({"content": [{"type": "image", "data": data, "mimeType": "image/png"}]}))
}

fn method(request: &Recorded) -> String {
    request.json()["method"].as_str().unwrap_or(request.method.as_str()).to_owned()
}

fn methods(upstream: &FakeUpstream) -> Vec<String> {
    upstream.requests().iter().map(method).collect()
}

/// A server that gives every session a new name and knows only the last.
fn forgetful(upstream: &FakeUpstream, over: fn() -> Reply) -> Arc<AtomicUsize> {
    let sessions = Arc::new(AtomicUsize::new(0));
    let made = sessions.clone();
    upstream.handle(move |request| match method(request).as_str() {
        "initialize" => welcome(&format!("s{}", made.fetch_add(1, Ordering::SeqCst) + 1)).into(),
        "notifications/initialized" => Reply::new(202, "text/plain", "").into(),
        _ => {
            let last = format!("s{}", made.load(Ordering::SeqCst));
            let known = request.header("mcp-session-id") == Some(last.as_str());
            if known { Behaviour::json(200, picture()) } else { over().into() }
        }
    });
    sessions
}

#[tokio::test]
async fn a_session_is_agreed_on_once_and_its_name_and_version_are_kept() {
    let upstream = FakeUpstream::start().await;
    forgetful(&upstream, || Reply::json(404, "{}"));
    let studio = example("studio", &upstream.url());
    for _ in 0..2 {
        assert!(matches!(
            studio.submit(&Bench::new().context(), &fox(&*studio)).await,
            Ok(Submission::Done(_))
        ));
    }
    assert_eq!(methods(&upstream), ["initialize", "notifications/initialized", "tools/call", "tools/call"]);
    let sent = upstream.requests();
    let bearer = format!("Bearer {CANARY}");
    assert!(sent.iter().all(|r| r.header("authorization") == Some(bearer.as_str())));
    assert!(sent.iter().all(|r| r.header("accept") == Some("application/json, text/event-stream")));
    assert_eq!((sent[0].header("mcp-session-id"), sent[0].header("mcp-protocol-version")), (None, None));
    for later in &sent[1..] {
        assert_eq!(later.header("mcp-session-id"), Some("s1"));
        assert_eq!(later.header("mcp-protocol-version"), Some("2025-11-25"));
    }
    assert_eq!(sent[0].json()["params"]["capabilities"], json!({}), "nothing is offered to the server");
}

#[tokio::test]
async fn a_session_that_is_over_is_followed_by_a_new_one_and_the_call_is_made_once() {
    let says = || Reply::json(400, r#"{"error":{"code":-32000,"message":"No valid session ID provided"}}"#);
    for over in [(|| Reply::json(404, "{}")) as fn() -> Reply, says] {
        let upstream = FakeUpstream::start().await;
        let sessions = forgetful(&upstream, over);
        let studio = example("studio", &upstream.url());
        studio.submit(&Bench::new().context(), &fox(&*studio)).await.unwrap();
        sessions.store(7, Ordering::SeqCst); // it was restarted
        let bench = Bench::new();
        let cx = bench.context();
        let made = studio.submit(&cx, &fox(&*studio)).await;
        assert!(matches!(made, Ok(Submission::Done(_))), "{made:?}");
        let last: Vec<String> = methods(&upstream).split_off(3);
        assert_eq!(last, ["tools/call", "initialize", "notifications/initialized", "tools/call"]);
        assert!(bench.adopted(&cx).unwrap().status.is_success(), "what is kept is the second answer");
    }
}

#[tokio::test]
async fn a_server_that_forgets_every_session_is_asked_twice_and_not_for_ever() {
    let upstream = FakeUpstream::start().await;
    welcoming(&upstream);
    let studio = example("studio", &upstream.url());
    let error = studio.submit(&Bench::new().context(), &fox(&*studio)).await.unwrap_err();
    assert_eq!((error.class, error.spend), (ErrorClass::NotFound, Spend::None));
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn a_handshake_that_fails_costs_nothing_and_is_tried_again_with_the_next_call() {
    let result = |version: &str| message(json!({"protocolVersion": version, "capabilities": {}}));
    for (reply, class, told) in [
        (Reply::json(200, result("1999-01-01")), ErrorClass::NotFound, "1999-01-01"),
        (
            Reply::json(200, r#"{"id":0,"error":{"code":-32022,"message":"too old"}}"#),
            ErrorClass::NotFound,
            "too old",
        ),
        (Reply::html(200), ErrorClass::Unavailable, "is it an MCP server?"),
        (Reply::json(401, r#"{"error":"invalid_token"}"#), ErrorClass::Authentication, "invalid_token"),
        (Reply::html(503), ErrorClass::Unavailable, "503"),
    ] {
        let upstream = FakeUpstream::start().await;
        upstream.push(reply);
        let studio = example("studio", &upstream.url());
        let bench = Bench::new();
        let cx = bench.context();
        let error = studio.submit(&cx, &fox(&*studio)).await.unwrap_err();
        assert_eq!((error.class, error.spend), (class, Spend::None), "{error}");
        assert!(error.message.contains(told), "{error}");
        assert!(!bench.answer_path(&cx).exists(), "nothing was bought");
        welcoming(&upstream);
        upstream.default(Behaviour::json(200, picture()));
        studio.submit(&cx, &fox(&*studio)).await.unwrap();
    }
    let upstream = FakeUpstream::start().await;
    upstream.push(Reply::json(200, result("2025-06-18"))).push(Reply::new(202, "text/plain", ""));
    upstream.default(Behaviour::json(200, picture()));
    let studio = example("studio", &upstream.url());
    studio.submit(&Bench::new().context(), &fox(&*studio)).await.unwrap();
    let sent = upstream.requests();
    let last = sent.last().unwrap();
    assert_eq!(last.header("mcp-protocol-version"), Some("2025-06-18"), "an older version is fine");
    assert_eq!(last.header("mcp-session-id"), None, "and so is a server without sessions");
}

#[tokio::test]
async fn an_answer_counts_although_the_server_keeps_its_stream_open() {
    let upstream = FakeUpstream::start().await;
    welcoming(&upstream);
    let body = format!("data: {}\n\n: still here\n\n", picture());
    upstream.default(Behaviour::Endless(Reply::new(200, "text/event-stream", body)));
    let studio = example("studio", &upstream.url());
    let made = studio.submit(&Bench::new().context(), &fox(&*studio)).await;
    assert!(matches!(made, Ok(Submission::Done(_))), "{made:?}");
}

#[tokio::test]
async fn a_stream_that_broke_off_is_taken_up_after_its_last_event() {
    let upstream = FakeUpstream::start().await;
    welcoming(&upstream);
    let stream = |body: &str| Reply::new(200, "text/event-stream", body.to_owned());
    let studio = example("studio", &upstream.url());
    let request = fox(&*studio);
    upstream.push(stream("id: e1\nretry: 100\ndata:\n\n").header("mcp-session-id", "session-1"));
    let Ok(Submission::Pending(ticket, pause)) = studio.submit(&Bench::new().context(), &request).await
    else {
        panic!("the answer is still to come")
    };
    assert_eq!((ticket.0["resume"]["event"].as_str(), pause.as_millis()), (Some("e1"), 100));

    // Another process, after a crash: it has a session of its own, and takes up the old one.
    let studio = example("studio", &upstream.url());
    let cx = Bench::new().context();
    upstream.push(Behaviour::html(503));
    let error = studio.poll(&cx, &request, &ticket).await.unwrap_err();
    assert_eq!((error.class, error.spend), (ErrorClass::Unavailable, Spend::None), "asked again");
    upstream.push(stream("id: e2\ndata:\n\n"));
    assert!(matches!(studio.poll(&cx, &request, &ticket).await, Ok(Progress::Pending { .. })));
    upstream.push(stream(&format!("id: e3\ndata: {}\n\n", picture())));
    assert!(matches!(studio.poll(&cx, &request, &ticket).await, Ok(Progress::Done(_))));
    let sent = upstream.requests();
    let last = sent.last().unwrap();
    assert_eq!((last.method.as_str(), last.header("last-event-id")), ("GET", Some("e1")));
    assert_eq!(last.header("mcp-session-id"), Some("session-1"));
    assert_eq!(upstream.submissions(), 1, "bought once");

    upstream.push(Behaviour::json(404, "{}"));
    let error = studio.poll(&cx, &request, &ticket).await.unwrap_err();
    assert_eq!((error.class, error.spend), (ErrorClass::JobExpired, Spend::Certain));
}

#[tokio::test]
async fn linked_resources_are_read_at_the_server() {
    let upstream = FakeUpstream::start().await;
    welcoming(&upstream);
    let link = json!({"type": "resource_link", "uri": "studio://1", "name": "1"});
    let preview = json!({"type": "image", "data": BASE64_STANDARD.encode(HAT), "mimeType": "image/png"});
    let both = message(json!({"content": [preview, link]}));
    let mut settings = settings("studio", &upstream.url());
    settings["links_first"] = true.into();
    let studio = build(settings);
    let request = fox(&*studio);
    upstream.push(Behaviour::json(200, both));
    let Ok(Submission::Pending(ticket, _)) = studio.submit(&Bench::new().context(), &request).await else {
        panic!("the image is behind the link")
    };
    let blob = json!({"contents": [{"uri": "studio://1", "mimeType": "image/png", "blob": BASE64_STANDARD.encode(HAT)}]});
    upstream.push(Behaviour::html(502)).push(Behaviour::json(200, message(blob)));
    let cx = Bench::new().context();
    let error = studio.poll(&cx, &request, &ticket).await.unwrap_err();
    assert_eq!((error.class, error.spend), (ErrorClass::Unavailable, Spend::None), "asked again");
    let Ok(Progress::Done(artifact)) = studio.poll(&cx, &request, &ticket).await else {
        panic!("it is there")
    };
    let Source::Blob(blob) = &artifact.pictures[0].source else { panic!("bytes") };
    assert_eq!(blob.read().unwrap(), HAT);
    assert_eq!(upstream.requests()[2].json()["params"], json!({"uri": "studio://1"}));

    for code in [-32602, -32002] {
        let gone = json!({"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": "no such resource"}});
        upstream.push(Behaviour::json(200, gone.to_string()));
        let error = studio.poll(&cx, &request, &ticket).await.unwrap_err();
        assert_eq!(
            (error.class, error.spend),
            (ErrorClass::JobExpired, Spend::Certain),
            "not asked for ever"
        );
    }
}

#[tokio::test]
async fn a_finished_job_is_fetched_by_its_own_tool_and_its_failure_told_in_the_servers_words() {
    let upstream = FakeUpstream::start().await;
    welcoming(&upstream);
    let mut settings = settings("lab", &upstream.url());
    settings["poll"]["result"] = json!({"tool": "get_result", "arguments": {"id": "{ticket}"}});
    settings["images"] = Value::Null;
    settings.as_object_mut().unwrap().remove("images");
    let lab = build(settings);
    let (request, ticket) = (fox(&*lab), Ticket(json!({"job": "j1"})));
    let status = |value: Value| message(json!({"content": [], "structuredContent": value}));
    upstream
        .push(Behaviour::json(200, status(json!({"status": "processing", "progress": 0.25}))))
        .push(Behaviour::json(200, status(json!({"status": "completed"}))))
        .push(Behaviour::json(200, picture()));
    let cx = Bench::new().context();
    let Ok(Progress::Pending { percent, .. }) = lab.poll(&cx, &request, &ticket).await else {
        panic!("not yet")
    };
    assert_eq!(percent, Some(25.0));
    assert!(matches!(lab.poll(&cx, &request, &ticket).await, Ok(Progress::Done(_))));
    let asked = &upstream.requests()[2].json()["params"];
    assert_eq!(asked, &json!({"name": "get_result", "arguments": {"id": "j1"}}));

    upstream
        .push(Behaviour::json(200, status(json!({"status": "failed", "error": "it broke", "code": "x"}))));
    let Ok(Progress::Failed(error)) = lab.poll(&cx, &request, &ticket).await else { panic!("it failed") };
    assert_eq!(
        (error.class, error.spend, error.message.as_str()),
        (ErrorClass::Unavailable, Spend::None, "it broke")
    );
}

#[tokio::test]
async fn a_server_that_charges_for_failures_is_believed() {
    let upstream = FakeUpstream::start().await;
    welcoming(&upstream);
    let failed =
        message(json!({"content": [{"type": "text", "text": "The queue is full"}], "isError": true}));
    upstream.default(Behaviour::json(200, failed));
    let mut settings = settings("studio", &upstream.url());
    for (costs, spend) in [(false, Spend::None), (true, Spend::Certain)] {
        settings["failed_costs"] = costs.into();
        let studio = build(settings.clone());
        let error = studio.submit(&Bench::new().context(), &fox(&*studio)).await.unwrap_err();
        assert_eq!((error.class, error.spend), (ErrorClass::Overloaded, spend));
    }
}
