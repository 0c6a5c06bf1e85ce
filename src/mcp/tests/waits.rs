//! How long calls wait, what is told meanwhile, and what becomes of jobs whose caller leaves.

use super::*;
use crate::{jobs::Moment, mcp::ClientRule, store::State};
use plugin_api::value::Span;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a wait for such jobs lasts when nothing happens, in seconds.
async fn ceiling(scene: &Scene, request: Request<Bytes>) -> (u64, Value) {
    let start = Instant::now();
    let answer = match scene.reply(request).await {
        Reply::Whole(response) => body(&response),
        Reply::Stream(_, mut stream) => {
            let mut last = stream.next().await.unwrap();
            while let Some(next) = stream.next().await {
                assert!(
                    last.starts_with(b": "),
                    "without a token there are comments before the answer: {last:?}"
                );
                last = next;
            }
            event(&last)
        }
        Reply::Listen(..) => panic!("a call has no such stream"),
    };
    (start.elapsed().as_secs(), answer["result"].clone())
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_in_time_and_says_so_without_failing() {
    let scene = scene();
    let job = scene.fake.job(State::Running);
    let wait = |peer: Peer, arguments: Value| peer.call("wait_for_completion", arguments);
    for (peer, arguments, seconds) in [
        (Peer::Bare, json!({"job_id": job}), 63),
        (Peer::Old, json!({"job_id": job}), 45),
        (Peer::Modern, json!({"job_id": job}), 45),
        (Peer::Legacy, json!({"job_id": job, "max_wait_seconds": 5}), 5),
        (Peer::Legacy, json!({"job_id": job, "max_wait_seconds": "0"}), 0),
        (Peer::Legacy, json!({"job_id": job, "max_wait_seconds": 300}), 45),
    ] {
        let (elapsed, result) = ceiling(&scene, wait(peer, arguments.clone())).await;
        assert_eq!(elapsed, seconds, "{peer:?} {arguments}");
        assert!(result.get("isError").is_none(), "a host must not see a failure");
        let answer = object(&result);
        assert_eq!((&answer["success"], &answer["status"]), (&json!(true), &json!("processing")));
        assert!(answer["image_url"].is_null() && answer["retry_after_ms"].is_u64());
        let message = answer["message"].as_str().unwrap();
        let begins =
            format!("Still running. Do not generate again: call wait_for_completion with job_id {job}");
        assert!(message.starts_with(&begins), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_plain_post_waits_three_seconds_more_for_each_job() {
    let scene = scene();
    let request = Peer::Bare.call("generate_image_and_wait", json!({"prompt": "a", "count": 20}));
    let (elapsed, result) = ceiling(&scene, request).await;
    assert_eq!(elapsed, 120);
    let answer = object(&result);
    assert_eq!((answer["count"].as_u64(), answer["pending"].as_array().unwrap().len()), (Some(20), 20));
    assert_eq!(answer["results"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_clients_own_ceiling_counts() {
    let rule = ClientRule {
        matches: "slow".into(),
        result: None,
        inline_max: None,
        wait_ceiling: Some(Span::secs(7)),
    };
    let scene = Scene::with(Settings { clients: vec![rule], ..Settings::default() }, ServerInfo::default());
    let job = scene.fake.job(State::Running);
    assert_eq!(ceiling(&scene, of_client("slow", job)).await.0, 7);
}

/// A wait of a client that gives itself a name.
fn of_client(name: &str, job: uuid::Uuid) -> Request<Bytes> {
    let meta = json!({"io.modelcontextprotocol/clientInfo": {"name": name}});
    let params = json!({"name": "wait_for_completion", "arguments": {"job_id": job}, "_meta": meta});
    Peer::Modern.request("tools/call", params)
}

#[tokio::test(start_paused = true)]
async fn clients_that_give_up_early_are_known_and_an_entry_of_ones_own_comes_first() {
    let rule = |matches: &str, ceiling: Option<u64>| ClientRule {
        matches: matches.into(),
        result: None,
        inline_max: None,
        wait_ceiling: ceiling.map(Span::secs),
    };
    let java = "Java SDK MCP Client";
    for (clients, ceiling_of_all, seconds) in [
        (vec![], 45, 15),
        (vec![], 10, 10),
        (vec![rule("java*", Some(300))], 45, 300),
        (vec![rule("java*", None)], 45, 15),
    ] {
        let wait_ceiling = Span::secs(ceiling_of_all);
        let settings = Settings { clients: clients.clone(), wait_ceiling, ..Settings::default() };
        let scene = Scene::with(settings, ServerInfo::default());
        let job = scene.fake.job(State::Running);
        let held = ceiling(&scene, of_client(java, job)).await.0;
        assert_eq!(held, seconds, "{clients:?} {ceiling_of_all}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_library_that_asked_for_no_progress_hears_that_its_call_lives() {
    let scene = scene();
    let job = scene.fake.job(State::Running);
    let arguments = json!({"job_id": job, "max_wait_seconds": 40});
    let start = Instant::now();
    let reply = scene.reply(Peer::Legacy.call("wait_for_completion", arguments.clone())).await;
    let Reply::Stream(head, mut stream) = reply else { panic!("a stream, once it takes long") };
    assert_eq!(head.headers()["content-type"], "text/event-stream");
    for seconds in [15, 30] {
        assert_eq!(&stream.next().await.unwrap()[..], b": still here\n\n");
        assert_eq!(start.elapsed().as_secs(), seconds);
    }
    assert_eq!(event(&stream.next().await.unwrap())["result"]["structuredContent"]["success"], true);
    assert!(stream.next().await.is_none());
    assert!(scene.fake.moments.lock().is_none(), "nobody asked for progress");

    // Plain programs, and whoever takes no stream, get one JSON answer, however long it takes.
    scene.whole(Peer::Bare.call("wait_for_completion", arguments.clone())).await;
    let mut request = Peer::Legacy.call("wait_for_completion", arguments);
    request.headers_mut().insert("accept", "application/json".parse().unwrap());
    scene.whole(request).await;
    let generate = Peer::Legacy.call("generate_image", json!({"prompt": "a", "max_wait_seconds": 40}));
    assert!(matches!(scene.reply_of(Profile::Blocking, generate).await, Reply::Whole(_)));
}

#[tokio::test(start_paused = true)]
async fn a_job_is_reported_the_moment_it_is_done() {
    let scene = scene();
    let job = scene.fake.job(State::Running);
    let fake = Arc::clone(&scene.fake);
    tokio::spawn(async move {
        sleep(Duration::from_millis(80)).await;
        fake.end(job, State::Completed);
    });
    let start = Instant::now();
    let answer = scene.object("wait_for_completion", json!({"job_id": job})).await;
    assert_eq!(answer["status"], "completed");
    assert_eq!(start.elapsed().as_millis() / 10, 8, "not at the next poll");
}

#[tokio::test(start_paused = true)]
async fn several_jobs_are_awaited_to_the_last_one() {
    let scene = scene();
    let [failed, running] = [State::Failed, State::Running].map(|state| scene.fake.job(state));
    let wait = scene.object("wait_for_completion", json!({"job_ids": [running, failed, running]}));
    let end = async {
        scene.fake.waiting.notified().await;
        scene.fake.end(running, State::Completed);
    };
    let (answer, ()) = tokio::join!(wait, end);
    assert_eq!(answer["completed"].as_array().unwrap().len(), 1, "an id listed twice counts once");
    assert_eq!(answer["failed"].as_array().unwrap().len(), 1);
}

fn with_token(peer: Peer, tool: &str, arguments: Value) -> Request<Bytes> {
    peer.request("tools/call", json!({"name": tool, "arguments": arguments, "_meta": {"progressToken": "p"}}))
}

fn event(frame: &Bytes) -> Value {
    let text = std::str::from_utf8(frame).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    serde_json::from_str(line).unwrap()
}

impl Scene {
    /// A stream that has begun, because its job has told something.
    async fn stream(&self, request: Request<Bytes>) -> EventStream {
        let tell = async {
            self.fake.waiting.notified().await;
            let moments = self.fake.moments.lock().clone().expect("a token asks for moments");
            let moment =
                Moment { finished: 0, total: 1, message: "workers-ai is drawing".into(), share: 0.2 };
            moments.send_replace(Some(moment));
        };
        match tokio::join!(self.reply(request), tell).0 {
            Reply::Stream(head, stream) => {
                assert_eq!(head.headers()["content-type"], "text/event-stream");
                assert_eq!(head.headers()["x-accel-buffering"], "no");
                stream
            }
            Reply::Whole(response) => panic!("{:?}", response.body()),
            Reply::Listen(..) => panic!("a call has no such stream"),
        }
    }
}

use crate::mcp::EventStream;

#[tokio::test(start_paused = true)]
async fn progress_is_streamed_until_the_answer() {
    let scene = scene();
    let job = scene.fake.job(State::Running);
    for peer in [Peer::Legacy, Peer::Modern] {
        let mut stream = scene
            .stream(with_token(peer, "wait_for_completion", json!({"job_id": job, "max_wait_seconds": 20})))
            .await;
        let first = event(&stream.next().await.unwrap());
        assert_eq!(first["method"], "notifications/progress");
        assert_eq!(first["params"]["progressToken"], "p");
        assert_eq!(
            (&first["params"]["progress"], &first["params"]["message"]),
            (&json!(20.0), &json!("workers-ai is drawing"))
        );
        let beat = stream.next().await.unwrap();
        assert!(beat.starts_with(b":"), "a sign of life after 15 s");
        assert!(event(&beat)["params"]["progress"].as_f64() > Some(20.0));
        let last = event(&stream.next().await.unwrap());
        assert_eq!((&last["id"], &last["result"]["structuredContent"]["success"]), (&json!(7), &json!(true)));
        assert!(stream.next().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_token_or_without_sse_the_answer_is_plain() {
    let scene = scene();
    let job = scene.fake.job(State::Running);
    let arguments = json!({"job_id": job, "max_wait_seconds": 1});
    scene.whole(Peer::Legacy.call("wait_for_completion", arguments.clone())).await;
    assert!(scene.fake.moments.lock().is_none(), "nobody listens");
    let mut request = with_token(Peer::Legacy, "wait_for_completion", arguments);
    request.headers_mut().insert("accept", "application/json".parse().unwrap());
    scene.whole(request).await;
    assert!(scene.fake.moments.lock().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_missing_scope_is_refused_before_anything_is_streamed() {
    let mut scene = scene();
    scene.principal = principal(&[Scope::ImagesRead]);
    let response =
        scene.whole(with_token(Peer::Modern, "generate_image_and_wait", json!({"prompt": "a"}))).await;
    assert_eq!(response.status(), 403);
}

/// Lets everything run that can run now.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_modern_client_that_leaves_its_wait_takes_its_job_back_and_an_older_one_does_not() {
    for (peer, expected) in [(Peer::Modern, 2), (Peer::Legacy, 0), (Peer::Bare, 0)] {
        let scene = scene();
        let call = scene.whole(peer.call("generate_image_and_wait", json!({"prompt": "a", "count": 2})));
        tokio::select! {
            _ = call => panic!("still waiting"),
            () = scene.fake.waiting.notified() => {}
        }
        settle().await;
        assert_eq!(scene.fake.made().len(), 2);
        assert_eq!(scene.fake.cancelled.lock().len(), expected, "{peer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_dropped_means_the_same() {
    for (peer, expected) in [(Peer::Modern, 1), (Peer::Legacy, 0)] {
        let scene = scene();
        let stream = scene.stream(with_token(peer, "generate_image_and_wait", json!({"prompt": "a"}))).await;
        drop(stream);
        settle().await;
        assert_eq!(scene.fake.cancelled.lock().len(), expected, "{peer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_while_jobs_are_being_committed_leaves_none_behind() {
    for (peer, expected) in [(Peer::Modern, 1), (Peer::Legacy, 0)] {
        let scene = scene();
        *scene.fake.submit.lock() = Duration::from_secs(1);
        let call = scene.whole(peer.call("generate_image", json!({"prompt": "a"})));
        tokio::select! {
            _ = call => panic!("still submitting"),
            () = scene.fake.submitting.notified() => {}
        }
        sleep(Duration::from_secs(2)).await;
        assert_eq!(scene.fake.made().len(), 1, "the submit is not torn apart");
        assert_eq!(scene.fake.cancelled.lock().len(), expected, "{peer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn leaving_takes_back_only_what_this_very_request_made() {
    let scene = scene();
    let job = scene.fake.job(State::Running);
    *scene.fake.repeated.lock() = true;
    for request in [
        Peer::Modern.call("wait_for_completion", json!({"job_id": job})),
        Peer::Modern.call("generate_image_and_wait", json!({"prompt": "a", "idempotency_key": "k"})),
    ] {
        tokio::select! {
            _ = scene.whole(request) => panic!("still waiting"),
            () = scene.fake.waiting.notified() => {}
        }
        settle().await;
    }
    assert!(scene.fake.cancelled.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_ended_by_itself_keeps_its_job() {
    let scene = scene();
    scene.tool(Peer::Modern, "generate_image_and_wait", json!({"prompt": "a", "max_wait_seconds": 1})).await;
    scene.tool(Peer::Modern, "generate_image", json!({"prompt": "a"})).await;
    settle().await;
    assert!(scene.fake.cancelled.lock().is_empty());
}
