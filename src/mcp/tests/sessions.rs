//! Sessions of Streamable HTTP before 2026-07-28: opened, listened to, watched from, ended.

use super::*;
use crate::{
    mcp::{Listening, Sessions},
    store::State,
};
use ::http::Method;

fn with_id(mut request: Request<Bytes>, id: &str) -> Request<Bytes> {
    request.headers_mut().insert("mcp-session-id", id.parse().unwrap());
    request
}

fn about(method: Method, id: Option<&str>) -> Request<Bytes> {
    let request = Request::builder().method(method).uri("/mcp").header("accept", "text/event-stream");
    let request = request.body(Bytes::new()).unwrap();
    match id {
        Some(id) => with_id(request, id),
        None => request,
    }
}

async fn open(scene: &Scene) -> String {
    let hello = json!({"protocolVersion": "2025-06-18", "clientInfo": {"name": "host", "version": "1"}});
    let response = scene.whole(Peer::Old.request("initialize", hello)).await;
    let capabilities = &body(&response)["result"]["capabilities"];
    assert_eq!(capabilities["resources"], json!({"subscribe": true, "listChanged": true}));
    response.headers()["mcp-session-id"].to_str().unwrap().to_owned()
}

async fn listen(scene: &Scene, id: &str) -> Listening {
    match scene.reply(about(Method::GET, Some(id))).await {
        Reply::Listen(head, mut stream) => {
            assert_eq!(head.headers()["content-type"], "text/event-stream");
            assert_eq!(stream.next().await.unwrap(), ": still here\n\n");
            stream
        }
        Reply::Whole(response) => panic!("a stream was expected: {}", body(&response)),
        Reply::Stream(..) => panic!("no call is running"),
    }
}

async fn message(stream: &mut Listening) -> Value {
    loop {
        let event = stream.next().await.expect("the stream goes on");
        let event = String::from_utf8(event.to_vec()).unwrap();
        if let Some(json) = event.strip_prefix("event: message\ndata: ") {
            return serde_json::from_str(json.split("\n\n").next().unwrap()).unwrap();
        }
    }
}

#[tokio::test]
async fn a_session_is_for_libraries_and_nothing_needs_one() {
    let scene = scene();
    let id = open(&scene).await;
    assert!(id.bytes().all(|b| (0x21..=0x7e).contains(&b)) && id.len() >= 43, "{id}");
    for request in [Peer::Old.request("ping", json!({})), Peer::Bare.request("ping", json!({}))] {
        assert_eq!(scene.whole(request).await.status(), 200, "without an id");
    }
    let bare = scene.whole(Peer::Bare.request("initialize", json!({}))).await;
    assert!(!bare.headers().contains_key("mcp-session-id"), "a plain program would not send it back");
    let pong = scene.whole(with_id(Peer::Legacy.request("ping", json!({})), &id)).await;
    assert_eq!(body(&pong)["result"], json!({}));
    let modern = scene.whole(with_id(Peer::Modern.request("tools/list", json!({})), "anything")).await;
    assert_eq!(modern.status(), 200, "the newest era has none and ignores them");
}

#[tokio::test]
async fn an_id_that_is_unknown_or_anothers_is_not_found() {
    let mut scene = scene();
    let id = open(&scene).await;
    for (principal, id) in [
        (principal(&Scope::ALL), "unknown"),
        (Arc::new(Principal::new("team", "other", &Scope::ALL)), &*id),
        (Arc::new(Principal::new("other", "key", &Scope::ALL)), &*id),
    ] {
        scene.principal = principal;
        for request in [
            with_id(Peer::Legacy.request("ping", json!({})), id),
            with_id(raw(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#), id),
            about(Method::GET, Some(id)),
            about(Method::DELETE, Some(id)),
        ] {
            let method = request.method().clone();
            assert_eq!(scene.whole(request).await.status(), 404, "{method} {id}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_tells_of_lists_and_of_what_is_watched_and_ends_with_its_session() {
    let scene = scene();
    let id = open(&scene).await;
    let job = scene.fake.job(State::Queued);
    let uri = format!("job://{job}");
    let none = scene.whole(Peer::Old.request("resources/subscribe", json!({"uri": uri}))).await;
    assert_eq!(body(&none)["error"]["code"], -32602, "there is nowhere to tell it");
    let subscribe = with_id(Peer::Old.request("resources/subscribe", json!({"uri": uri})), &id);
    assert_eq!(body(&scene.whole(subscribe).await)["result"], json!({}));

    let mut stream = listen(&scene, &id).await;
    scene.mcp.lists_changed();
    assert_eq!(message(&mut stream).await["method"], "notifications/tools/list_changed");
    let (told, ()) = tokio::join!(message(&mut stream), async {
        scene.fake.waiting.notified().await;
        scene.fake.end(job, State::Completed);
    });
    assert_eq!(
        (&told["method"], &told["params"]["uri"]),
        (&json!("notifications/resources/updated"), &json!(uri))
    );

    let mut newer = listen(&scene, &id).await;
    assert!(stream.next().await.is_none(), "each message goes to one stream: the newest");
    scene.mcp.lists_changed();
    assert_eq!(message(&mut newer).await["method"], "notifications/tools/list_changed");

    assert_eq!(scene.whole(about(Method::DELETE, Some(&id))).await.status(), 204);
    assert!(newer.next().await.is_none());
    assert_eq!(scene.whole(with_id(Peer::Legacy.request("ping", json!({})), &id)).await.status(), 404);
    assert_eq!(scene.whole(about(Method::DELETE, Some(&id))).await.status(), 404);
}

#[tokio::test(start_paused = true)]
async fn a_request_is_cancelled_in_its_own_session_only() {
    let scene = scene();
    let (mine, other) = (open(&scene).await, open(&scene).await);
    let job = scene.fake.job(State::Queued);
    let wait = || with_id(Peer::Legacy.call("wait_for_completion", json!({"job_id": job})), &mine);
    let cancel = |id: &str, request: Value| {
        let params = json!({"requestId": request, "reason": "enough"});
        with_id(
            raw(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}).to_string()),
            id,
        )
    };
    let (answer, ()) = tokio::join!(scene.whole(wait()), async {
        scene.fake.waiting.notified().await;
        for (id, request) in [(&other, json!(7)), (&mine, json!("7")), (&mine, json!(8))] {
            assert_eq!(scene.whole(cancel(id, request)).await.status(), 202);
        }
        // None of these: the wait goes on until its job ends.
        scene.fake.end(job, State::Completed);
    });
    assert_eq!(object(&body(&answer)["result"])["status"], "completed");

    let job = scene.fake.job(State::Queued);
    let wait = with_id(Peer::Legacy.call("wait_for_completion", json!({"job_id": job})), &mine);
    let (answer, ()) = tokio::join!(scene.whole(wait), async {
        scene.fake.waiting.notified().await;
        assert_eq!(scene.whole(cancel(&mine, json!(7))).await.status(), 202);
    });
    assert_eq!(body(&answer)["error"]["code"], 499);
    assert!(scene.fake.cancelled.lock().is_empty(), "the job goes on");
}

#[tokio::test]
async fn what_has_no_session_to_be_about_is_405() {
    let scene = scene();
    let id = open(&scene).await;
    for request in [about(Method::GET, None), about(Method::DELETE, None), about(Method::PUT, Some(&id))] {
        let response = scene.whole(request).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["allow"]),
            (405, &"POST".parse().unwrap())
        );
    }
    for method in [Method::GET, Method::DELETE] {
        let mut modern = about(method, Some(&id));
        modern.headers_mut().insert("mcp-protocol-version", "2026-07-28".parse().unwrap());
        assert_eq!(scene.whole(modern).await.status(), 405, "that era has no sessions");
    }
}

#[tokio::test]
async fn sessions_can_be_off_or_required() {
    let with = |sessions| Scene::with(Settings { sessions, ..Settings::default() }, ServerInfo::default());
    let off = with(Sessions::Off);
    let opened = off.whole(Peer::Old.request("initialize", json!({}))).await;
    assert!(!opened.headers().contains_key("mcp-session-id"));
    assert_eq!(body(&opened)["result"]["capabilities"]["tools"]["listChanged"], false);
    assert_eq!(off.whole(about(Method::GET, Some("x"))).await.status(), 405);
    assert_eq!(off.whole(with_id(Peer::Old.request("ping", json!({})), "x")).await.status(), 200);

    let required = with(Sessions::Required);
    assert_eq!(required.whole(Peer::Bare.request("ping", json!({}))).await.status(), 400);
    assert_eq!(required.whole(about(Method::GET, None)).await.status(), 400);
    let id = open(&required).await;
    assert_eq!(required.whole(with_id(Peer::Bare.request("ping", json!({})), &id)).await.status(), 200);
    assert_eq!(required.whole(Peer::Modern.request("tools/list", json!({}))).await.status(), 200);
}

#[tokio::test]
async fn an_answer_to_nothing_is_taken_in_a_session_and_refused_without() {
    let scene = scene();
    let id = open(&scene).await;
    let answer = r#"{"jsonrpc":"2.0","id":"x","result":{}}"#;
    assert_eq!(scene.whole(with_id(raw(answer), &id)).await.status(), 202);
    assert_eq!(scene.whole(raw(answer)).await.status(), 400);
    let mut modern = with_id(raw(answer), &id);
    modern.headers_mut().insert("mcp-protocol-version", "2026-07-28".parse().unwrap());
    assert_eq!(scene.whole(modern).await.status(), 400);
}

#[tokio::test(start_paused = true)]
async fn a_modern_client_watches_what_it_may() {
    let scene = scene();
    let job = scene.fake.job(State::Queued);
    let (mine, foreign) = (format!("job://{job}"), format!("job://{}", uuid::Uuid::new_v4()));
    let wanted = json!({"notifications": {"resourceSubscriptions": [mine, foreign, "models://list"]}});
    let Reply::Stream(_, mut stream) =
        scene.reply(Peer::Modern.request("subscriptions/listen", wanted)).await
    else {
        panic!("a stream was expected");
    };
    let first = String::from_utf8(stream.next().await.unwrap().to_vec()).unwrap();
    let first: Value =
        serde_json::from_str(first.strip_prefix("event: message\ndata: ").unwrap().trim()).unwrap();
    assert_eq!(first["params"]["notifications"], json!({"resourceSubscriptions": [mine, "models://list"]}));
    scene.mcp.lists_changed();
    let told = String::from_utf8(stream.next().await.unwrap().to_vec()).unwrap();
    assert!(told.contains("notifications/resources/updated") && told.contains("models://list"), "{told}");
    assert!(told.contains("subscriptionId"), "{told}");
}
