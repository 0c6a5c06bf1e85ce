//! The fake upstream over a real client.

use plugin_api::{Context, ErrorClass, ProviderError, Request, Spend};
use std::time::Duration;
use testkit::{Behaviour, Bench, FakeUpstream, Reply, dead_url};

async fn post(cx: &Context, url: &str) -> Result<plugin_api::Answer, ProviderError> {
    cx.http.send(Request::post(url).body("hello").paid().cap(1 << 20)).await
}

#[tokio::test]
async fn the_script_is_served_in_its_order_and_everything_is_recorded() {
    let (upstream, bench) = (FakeUpstream::start().await, Bench::new());
    upstream.default(Behaviour::json(404, "{}")).on("/models", Behaviour::json(200, "[]"));
    upstream.push(Behaviour::rate_limited(Some(7)));
    let asked = async |path: &str| {
        let cx = bench.context();
        post(&cx, &format!("{}{path}", upstream.url())).await.unwrap().status.as_u16()
    };
    assert_eq!(asked("/v1/models?a=b").await, 429, "what was pushed comes first");
    assert_eq!(asked("/v1/models?a=b").await, 200, "then what the path has");
    assert_eq!(asked("/other").await, 404, "then the default");
    upstream.handle(|request| Behaviour::json(200 + request.body.len() as u16, "{}"));
    assert_eq!(asked("/other").await, 205, "a closure goes before the default");
    assert_eq!(upstream.submissions(), 4);
    let first = &upstream.requests()[0];
    assert_eq!((first.path.as_str(), &first.body[..]), ("/v1/models?a=b", &b"hello"[..]));
}

#[tokio::test]
async fn held_answers_wait_for_their_release() {
    let (upstream, bench) = (FakeUpstream::start().await, Bench::new());
    upstream.default(Behaviour::json(200, "{}")).hold();
    let (url, a, b) = (upstream.url(), bench.context(), bench.context());
    let calls = async { tokio::join!(post(&a, &url), post(&b, &url)) };
    let control = async {
        upstream.wait_for_requests(2).await;
        assert_eq!(upstream.in_flight(), 2);
        upstream.release();
    };
    let ((first, second), ()) = tokio::join!(calls, control);
    assert!(first.unwrap().status.is_success() && second.unwrap().status.is_success());
    assert_eq!(upstream.most_in_flight(), 2);

    upstream.hold().push(Behaviour::json(200, "{}").held());
    upstream.release_one();
    post(&bench.context(), &url).await.expect("one may pass");
}

#[tokio::test]
async fn every_way_to_fail_looks_to_the_client_as_it_should() {
    let (upstream, bench) = (FakeUpstream::start().await, Bench::new());
    let unknown = (ErrorClass::OutcomeUnknown, Spend::Possible);
    let broken = (ErrorClass::BadResponse, Spend::Certain);
    let text = Reply::json(200, "[1,2]");
    for (behaviour, told) in [
        (Behaviour::ResetBeforeReading, unknown),
        (Behaviour::ResetAfterReading, unknown),
        (Behaviour::Close, unknown),
        (Behaviour::CutShort(text.clone(), 1 << 30), broken),
        (Behaviour::Endless(text.clone()), broken),
    ] {
        let name = format!("{behaviour:?}");
        upstream.push(behaviour);
        let error = post(&bench.context_for(Duration::from_secs(5)), &upstream.url()).await.unwrap_err();
        assert_eq!((error.class, error.spend), told, "{name}: {error}");
    }
    for behaviour in [Behaviour::CutShort(text.clone(), 3), Behaviour::ResetInAnswer(text.clone(), 3)] {
        upstream.push(behaviour);
        assert!(post(&bench.context(), &upstream.url()).await.unwrap().cut_short);
    }
    upstream.push(Behaviour::Drip { reply: text, bytes: 2, every: Duration::from_millis(1) });
    let answer = post(&bench.context(), &upstream.url()).await.unwrap();
    assert_eq!(&answer.text[..], b"[1,2]", "a slow answer is whole");
    let error = post(&bench.context(), &dead_url().await).await.unwrap_err();
    assert_eq!((error.class, error.spend), (ErrorClass::Unavailable, Spend::None));
}

#[tokio::test]
async fn a_call_may_have_less_time_than_its_attempt() {
    let (upstream, bench) = (FakeUpstream::start().await, Bench::new());
    upstream.push(Behaviour::Silence).push(Behaviour::Silence);
    let cx = bench.context();
    let short = || Request::post(upstream.url()).within(Duration::from_millis(100));
    let paid = cx.http.send(short().paid()).await.unwrap_err();
    assert_eq!((paid.class, paid.spend), (ErrorClass::OutcomeUnknown, Spend::Possible));
    let free = cx.http.send(short()).await.unwrap_err();
    assert_eq!((free.class, free.spend), (ErrorClass::Unavailable, Spend::None));
}

#[tokio::test]
async fn a_second_paid_call_forgets_the_first_answer_before_it_leaves() {
    let (upstream, bench) = (FakeUpstream::start().await, Bench::new());
    upstream.push(Behaviour::json(404, "{}")).push(Behaviour::Silence);
    let cx = bench.context_for(Duration::from_millis(300));
    assert_eq!(post(&cx, &upstream.url()).await.unwrap().status.as_u16(), 404);
    assert!(bench.adopted(&cx).is_some());
    let lost = post(&cx, &upstream.url()).await.unwrap_err();
    assert_eq!((lost.class, lost.spend), (ErrorClass::OutcomeUnknown, Spend::Possible));
    assert!(bench.adopted(&cx).is_none(), "a crash now would adopt the refusal and buy a third time");
}
