//! From the submit over the polls to the pictures, as the vendors of the examples answer.

#![allow(clippy::unwrap_used)]

mod support;

use plugin_api::{
    Class, ErrorClass, ImageRequest, Progress, Provider, ProviderError, Source, Spend, Submission, Ticket,
};
use serde_json::{Value, json};
use support::{NAMES, build, example, settings};
use testkit::{Behaviour, Bench, CANARY, FakeUpstream, Reply};

async fn submit(provider: &dyn Provider, n: u32) -> (ImageRequest, Ticket) {
    let request = ImageRequest { n, ..ImageRequest::new(provider.models()[0].clone(), "a red fox") };
    match provider.submit(&Bench::new().context(), &request).await {
        Ok(Submission::Pending(ticket, _)) => (request, ticket),
        other => panic!("a ticket is expected: {other:?}"),
    }
}

async fn poll(provider: &dyn Provider, request: &ImageRequest, ticket: &Ticket) -> Progress {
    provider.poll(&Bench::new().context(), request, ticket).await.expect("the vendor answers")
}

fn failed(progress: Progress) -> ProviderError {
    let Progress::Failed(error) = progress else { panic!("the job itself failed: {progress:?}") };
    error
}

fn urls(progress: Progress) -> Vec<String> {
    let Progress::Done(artifact) = progress else { panic!("it is done") };
    let url = |source| match source {
        Source::Url(url) => url,
        Source::Blob(_) => panic!("a URL is expected"),
    };
    artifact.pictures.into_iter().map(|picture| url(picture.source)).collect()
}

#[tokio::test]
async fn fal_is_asked_for_the_status_and_then_for_the_result() {
    let upstream = FakeUpstream::start().await;
    let at = format!("{}/fal-ai/flux/requests/1", upstream.url());
    upstream.on("/fal-ai/flux/schnell", Behaviour::json(200, json!({"response_url": at}).to_string()));
    upstream.on("/requests/1/status", Behaviour::json(202, r#"{"status":"IN_PROGRESS"}"#));
    let fal = example("fal", &upstream.url());
    let (request, ticket) = submit(&*fal, 2).await;
    assert!(matches!(poll(&*fal, &request, &ticket).await, Progress::Pending { .. }));

    upstream.on("/requests/1/status", Behaviour::json(200, r#"{"status":"COMPLETED"}"#));
    let images = json!([{"url": "https://v3.fal.media/a.png"}, {"url": "https://v3.fal.media/b.png"}]);
    let result = json!({"images": images, "seed": 99, "has_nsfw_concepts": [false, true]});
    upstream.on("/requests/1", Behaviour::json(200, result.to_string()));
    let Progress::Done(artifact) = poll(&*fal, &request, &ticket).await else { panic!("it is done") };
    assert_eq!((artifact.pictures.len(), artifact.pictures[0].seed), (1, Some(99)));
    let blocked = &artifact.failed[0];
    assert_eq!((blocked.index, blocked.error.class), (1, ErrorClass::ContentBlocked), "no black picture");

    let sent = upstream.requests();
    let paths: Vec<&str> = sent.iter().map(|r| r.path.as_str()).collect();
    let at = "/fal-ai/flux/requests/1";
    assert_eq!(paths, ["/fal-ai/flux/schnell", &format!("{at}/status"), &format!("{at}/status"), at]);
    let key = format!("Key {CANARY}");
    assert!(sent.iter().all(|r| r.header("authorization") == Some(key.as_str())));
}

#[tokio::test]
async fn a_result_that_is_late_after_done_is_asked_for_again() {
    let upstream = FakeUpstream::start().await;
    upstream.on("/r/1/status", Behaviour::json(200, r#"{"status":"COMPLETED"}"#));
    upstream.on("/r/1", Behaviour::html(502));
    let fal = example("fal", &upstream.url());
    let ticket = Ticket(format!("{}/r/1", upstream.url()).into());
    let request = ImageRequest::new(fal.models()[0].clone(), "a fox");
    let error = fal.poll(&Bench::new().context(), &request, &ticket).await.unwrap_err();
    assert_eq!((error.class, error.spend), (ErrorClass::Unavailable, Spend::None), "{error}");
    assert_eq!(error.status, Some(502), "it is about the asking, not about the job");
}

#[tokio::test]
async fn a_result_that_is_refused_ends_the_job_instead_of_being_asked_for_again() {
    let upstream = FakeUpstream::start().await;
    upstream.on("/r/1/status", Behaviour::json(200, r#"{"status":"COMPLETED"}"#));
    let fal = example("fal", &upstream.url());
    let ticket = Ticket(format!("{}/r/1", upstream.url()).into());
    let request = ImageRequest::new(fal.models()[0].clone(), "a fox");
    for (status, kind, class, spend) in [
        (422, "content_policy_violation", ErrorClass::ContentBlocked, Spend::None),
        (422, "value_error", ErrorClass::InvalidRequest, Spend::Certain),
        (404, "not_found", ErrorClass::JobExpired, Spend::Certain),
    ] {
        let body = json!({"detail": [{"type": kind, "msg": format!("no: {CANARY}")}]});
        upstream.on("/r/1", Behaviour::json(status, body.to_string()));
        let error = failed(poll(&*fal, &request, &ticket).await);
        assert_eq!((error.class, error.spend), (class, spend), "{kind}");
        assert!(!format!("{error:?}").contains(CANARY), "a failed job shows no key either: {error:?}");
    }
}

#[tokio::test]
async fn comfyui_shows_the_output_and_not_the_previews() {
    let upstream = FakeUpstream::start().await;
    let done = include_str!("../fixtures/comfyui/history_done.resp.json");
    upstream.on("/prompt", Behaviour::json(200, r#"{"prompt_id":"11111111-aaaa-bbbb-cccc-222222222222"}"#));
    upstream.on("/history/11111111-aaaa-bbbb-cccc-222222222222", Behaviour::json(200, done));
    let comfy = example("comfyui", &upstream.url());
    let (request, ticket) = submit(&*comfy, 1).await;
    let shown = urls(poll(&*comfy, &request, &ticket).await);
    let wanted = format!("{}/view?filename=gw_00001_.png&subfolder=&type=output", upstream.url());
    assert_eq!(shown, [wanted]);
    let seed = &upstream.requests()[0].json()["prompt"]["3"]["inputs"]["seed"];
    assert!(seed.is_u64(), "a node needs its seed: {seed}");
    let (again, _) = submit(&*comfy, 1).await;
    assert_eq!(again.seed, None);
    assert_ne!(
        &upstream.requests()[2].json()["prompt"]["3"]["inputs"]["seed"],
        seed,
        "another attempt, another seed"
    );
}

#[tokio::test]
async fn a_ticket_that_leads_elsewhere_gets_no_key_and_is_paid_for() {
    let (upstream, elsewhere) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let there = json!({"id": "1", "polling_url": format!("{}/v1/get_result?id=1", elsewhere.url())});
    upstream.default(Behaviour::json(200, there.to_string()));
    let bfl = example("bfl", &upstream.url());
    let (request, ticket) = submit(&*bfl, 1).await;
    let error = bfl.poll(&Bench::new().context(), &request, &ticket).await.unwrap_err();
    assert_eq!((error.class, error.spend), (ErrorClass::BadResponse, Spend::Certain));
    assert!(error.message.contains("127.0.0.1") && error.message.contains("api_hosts"), "{error}");
    assert!(elsewhere.requests().is_empty(), "the key stays here");
}

#[tokio::test]
async fn progress_is_told_in_percent() {
    let upstream = FakeUpstream::start().await;
    let bfl = example("bfl", &upstream.url());
    let request = ImageRequest::new("flux-pro-1.1", "a fox");
    for (said, told) in
        [("0.25", Some(25.0)), ("40", Some(40.0)), ("null", None), ("\"x\"", None), ("900", Some(100.0))]
    {
        upstream.push(Behaviour::json(200, format!(r#"{{"status":"Pending","progress":{said}}}"#)));
        let Progress::Pending { percent, .. } = poll(&*bfl, &request, &Ticket("1".into())).await else {
            panic!("it is not done")
        };
        assert_eq!(percent, told, "{said}");
    }
}

fn plain(url: &str) -> Value {
    json!({
        "base_url": url, "api_key": CANARY, "headers": {"authorization": "Bearer {api_key}"},
        "submit": {"url": "/make", "body": {"prompt": "{prompt}"}}, "models": [{"name": "m"}]
    })
}

const HAT: &[u8] = include_bytes!("../fixtures/hat.png");

#[tokio::test]
async fn an_answer_that_is_the_image_needs_no_place_in_it() {
    let upstream = FakeUpstream::start().await;
    upstream.default(Reply::new(200, "image/png", HAT));
    let provider = build(plain(&upstream.url()));
    let request = ImageRequest::new("m", "a fox");
    let Ok(Submission::Done(artifact)) = provider.submit(&Bench::new().context(), &request).await else {
        panic!("the image is there")
    };
    assert_eq!(artifact.pictures.len(), 1);
    upstream.default(Behaviour::json(200, r#"{"image":"nowhere"}"#));
    let error = provider.submit(&Bench::new().context(), &request).await.unwrap_err();
    assert_eq!((error.class, error.spend), (ErrorClass::BadResponse, Spend::Certain));
}

#[tokio::test]
async fn without_a_status_word_202_means_not_yet() {
    let upstream = FakeUpstream::start().await;
    let mut settings = plain(&upstream.url());
    settings["submit"]["ticket"] = "/id".into();
    settings["poll"] = json!({"url": "/results/{ticket}", "every": "100ms"});
    let provider = build(settings);
    upstream
        .push(Behaviour::json(202, r#"{"id":17}"#))
        .push(Behaviour::json(202, r#"{"status":"in-progress"}"#));
    upstream.push(Reply::new(200, "image/png", HAT));
    let (request, ticket) = submit(&*provider, 1).await;
    assert_eq!(ticket.0, "17", "numbers are tickets too");
    assert!(matches!(poll(&*provider, &request, &ticket).await, Progress::Pending { .. }));
    assert!(matches!(poll(&*provider, &request, &ticket).await, Progress::Done(_)));
    assert_eq!(upstream.requests()[2].path, "/results/17");
}

#[tokio::test]
async fn an_idempotency_header_carries_the_attempt_and_makes_class_k() {
    let upstream = FakeUpstream::start().await;
    let mut settings = plain(&upstream.url());
    assert_eq!(build(settings.clone()).capabilities("m").unwrap().class, Class::S);
    settings["submit"]["idempotency_header"] = "Idempotency-Key".into();
    let provider = build(settings.clone());
    assert_eq!(provider.capabilities("m").unwrap().class, Class::K);
    let (bench, request) = (Bench::new(), ImageRequest::new("m", "a fox"));
    let cx = bench.context();
    for _ in 0..2 {
        provider.submit(&cx, &request).await.unwrap_err();
    }
    let sent = upstream.requests();
    let key = cx.attempt.to_string();
    assert!(sent.iter().all(|r| r.header("idempotency-key") == Some(key.as_str())), "the same for a repeat");
    for name in NAMES {
        let class = if name == "a1111" { Class::S } else { Class::J };
        let provider = example(name, &upstream.url());
        assert_eq!(provider.capabilities(&provider.models()[0]).unwrap().class, class, "{name}");
    }
}

#[tokio::test]
async fn a_form_carries_fields_and_files() {
    let upstream = FakeUpstream::start().await;
    let mut settings = plain(&upstream.url());
    settings["submit"] = json!({"url": "/make", "form": {
        "prompt": "{prompt}", "seed": "{seed}", "n": "{n}", "image[]": "{references}", "mask": "{mask}", "tags": ["a", "b"]
    }});
    let provider = build(settings);
    let input = plugin_api::Input { mime: "image/png".into(), bytes: HAT.into(), ..Default::default() };
    let request = ImageRequest { references: vec![input.clone(), input], ..ImageRequest::new("m", "a fox") };
    provider.submit(&Bench::new().context(), &request).await.unwrap_err();
    let parts = upstream.requests()[0].parts();
    let names: Vec<&str> = parts.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["image[]", "image[]", "n", "prompt", "tags", "tags"], "what is absent is left out");
    assert_eq!((parts[0].file_name.as_deref(), &parts[0].bytes[..]), (Some("0.png"), HAT));
}

#[tokio::test]
async fn a_value_cannot_break_out_of_a_header() {
    let upstream = FakeUpstream::start().await;
    let mut settings = plain(&upstream.url());
    settings["submit"]["headers"] = json!({"x-prompt": "{prompt}", "x-user": "{user}"});
    let provider = build(settings);
    let request = ImageRequest::new("m", "a fox\r\nx-admin: yes");
    let error = provider.submit(&Bench::new().context(), &request).await.unwrap_err();
    assert_eq!((error.class, error.spend), (ErrorClass::InvalidRequest, Spend::None));
    assert!(upstream.requests().is_empty(), "nothing was sent");
    provider.submit(&Bench::new().context(), &ImageRequest::new("m", "a fox")).await.unwrap_err();
    let sent = &upstream.requests()[0];
    assert_eq!((sent.header("x-prompt"), sent.header("x-user")), (Some("a fox"), None));
}

#[tokio::test]
async fn a_header_that_is_written_out_is_not_shown_either() {
    let upstream = FakeUpstream::start().await;
    let mut settings = plain(&upstream.url());
    settings["headers"] = json!({"authorization": "Basic dXNlcjpjYW5hcnk="});
    let provider = build(settings);
    upstream.default(Behaviour::json(401, r#"{"message":"no: Basic dXNlcjpjYW5hcnk="}"#));
    let error = provider.submit(&Bench::new().context(), &ImageRequest::new("m", "x")).await.unwrap_err();
    assert_eq!((error.class, error.message.as_str()), (ErrorClass::Authentication, "no: Basic ***"));
}

#[tokio::test]
async fn a_failed_job_is_told_in_the_vendors_words() {
    let upstream = FakeUpstream::start().await;
    let bfl = example("bfl", &upstream.url());
    let request = ImageRequest::new("flux-pro-1.1", "a fox");
    for (body, told) in [
        (r#"{"status":"Error","error":"the model broke"}"#, "the model broke"),
        (r#"{"status":"Error","result":null}"#, "the vendor says of the job: Error"),
    ] {
        upstream.push(Behaviour::json(200, body));
        let error = failed(poll(&*bfl, &request, &Ticket("1".into())).await);
        assert_eq!(error.message, told);
    }
}

#[tokio::test]
async fn a_vendor_that_charges_for_failed_jobs_is_believed() {
    let upstream = FakeUpstream::start().await;
    upstream.default(Behaviour::json(200, r#"{"status":"failed","error":"it broke"}"#));
    let request = ImageRequest::new("black-forest-labs/flux-schnell", "a fox");
    let mut settings = settings("replicate", &upstream.url());
    for (costs, spend) in [(false, Spend::None), (true, Spend::Certain)] {
        settings["poll"]["failed_costs"] = costs.into();
        let error = failed(poll(&*build(settings.clone()), &request, &Ticket("1".into())).await);
        assert_eq!(
            (error.class, error.spend, error.message.as_str()),
            (ErrorClass::Unavailable, spend, "it broke")
        );
        assert_eq!(error.status, Some(200), "so that the gateway knows it is about the job");
    }
}
