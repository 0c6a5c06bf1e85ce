//! The recorded cases of Ark, the faults every plugin must stand, and the one call that is made twice.

#![allow(clippy::unwrap_used)]

use plugin_api::{
    Artifact, Built, Cost, ErrorClass, ImageRequest, Input, OutputFormat, Provider, Size, Spend, Submission,
    Tier,
};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use testkit::{Behaviour, Bench, CANARY, FakeUpstream, Recorded, Subject, dead_url};

const PRO: &str = "doubao-seedream-5-0-pro-260628";
const V45: &str = "doubao-seedream-4-5-251128";
const V40: &str = "doubao-seedream-4-0-20260415";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn recorded(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).unwrap()
}

fn instance(settings: Value) -> Arc<dyn Provider> {
    match (plugin_doubao::PLUGIN.build)(settings) {
        Ok(Built::On(provider)) => provider,
        Ok(Built::Off(why)) | Err(why) => panic!("{why}"),
    }
}

struct Ark;

impl Subject for Ark {
    fn fixtures(&self) -> PathBuf {
        fixture("")
    }

    fn build(&self, case: &str, url: &str) -> Arc<dyn Provider> {
        let by_url = case.starts_with("group") || case == "generate_url_ok";
        let form = if by_url { "url" } else { "b64_json" };
        instance(json!({"api_key": CANARY, "base_url": url, "response_format": form}))
    }

    fn request(&self, case: &str) -> ImageRequest {
        let fox =
            |model: &str, size: Size| ImageRequest { size, ..ImageRequest::new(model, "雪地里的赤狐") };
        match case {
            "generate_url_ok" => fox(V45, Size::Tier(Tier::K2)),
            "edit_multi_ref" => ImageRequest {
                prompt: "把图一的帽子戴到图二的狐狸头上".into(),
                output_format: Some(OutputFormat::Png),
                references: recorded_inputs(),
                ..fox(PRO, Size::Tier(Tier::K2))
            },
            "group_ok" | "group_partial" | "group_stream" => {
                let mut options = json!({
                    "sequential_image_generation": "auto",
                    "sequential_image_generation_options": {"max_images": 3},
                });
                if case != "group_stream" {
                    options["stream"] = false.into();
                }
                ImageRequest {
                    prompt: "四季里的赤狐，一组3张".into(),
                    vendor: options.as_object().cloned().unwrap_or_default(),
                    ..fox(V45, Size::Tier(Tier::K2))
                }
            }
            _ => ImageRequest { output_format: Some(OutputFormat::Png), ..fox(PRO, Size::exact(2048, 2048)) },
        }
    }

    fn skip(&self, case: &str) -> Option<&'static str> {
        (case == "foreign_host")
            .then_some("the gateway refuses the download, and a story of its own shows it")
    }
}

/// The pictures of the recorded edit.
fn recorded_inputs() -> Vec<Input> {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    let body = Recorded::from_file(&fixture("edit_multi_ref.req.http")).json();
    let input = |url: &Value| {
        let (mime, data) = url.as_str()?.strip_prefix("data:")?.split_once(";base64,")?;
        Some(Input {
            mime: mime.into(),
            width: 64,
            height: 64,
            bytes: BASE64_STANDARD.decode(data).ok()?.into(),
            ..Input::default()
        })
    };
    body["image"].as_array().unwrap().iter().map(|url| input(url).expect("a data: URL")).collect()
}

#[tokio::test]
async fn every_recorded_case_is_sent_and_read_as_recorded() {
    testkit::conformance(&Ark).await;
}

#[tokio::test]
async fn faults_of_network_and_vendor_are_told_for_what_they_are() {
    testkit::faults(&Ark).await;
}

#[test]
fn every_recorded_request_was_fitted_as_the_gateway_would() {
    let provider = Ark.build("", "http://127.0.0.1:1");
    for case in ["generate_b64_ok", "generate_url_ok", "edit_multi_ref", "group_ok", "group_stream"] {
        let request = Ark.request(case);
        let fit =
            provider.capabilities(&request.model).unwrap().fit(&request, plugin_api::Parameters::Strict);
        assert_eq!(fit.unwrap().request, request, "{case}");
    }
}

/// An instance with 4.5 and, instead of it, 4.0; the vendor has no 4.5 any more.
async fn retired(next: Behaviour) -> (FakeUpstream, Arc<dyn Provider>, ImageRequest) {
    let upstream = FakeUpstream::start().await;
    upstream.push(Behaviour::json(404, recorded("error_no_model.resp.json"))).push(next);
    let settings = json!({"api_key": CANARY, "base_url": upstream.url(), "default_model": "doubao-seedream-4.5",
                          "fallback_model": "doubao-seedream-4.0"});
    let request =
        ImageRequest { size: Size::Tier(Tier::K2), ..ImageRequest::new("doubao-seedream-4.5", "a fox") };
    (upstream, instance(settings), request)
}

fn made_by(model: &str) -> Behaviour {
    let mut body: Value = serde_json::from_slice(&recorded("generate_url_ok.resp.json")).unwrap();
    body["model"] = model.into();
    Behaviour::json(200, body.to_string())
}

fn told(submission: Submission) -> (Vec<String>, Option<Cost>) {
    let Submission::Done(Artifact { adjustments, cost, .. }) = submission else { panic!("it is finished") };
    (adjustments.iter().map(|a| format!("{}: {} -> {}", a.field, a.asked, a.used)).collect(), cost)
}

#[tokio::test]
async fn a_model_that_is_gone_is_replaced_once_and_it_is_said() {
    let (upstream, provider, request) = retired(made_by(V40)).await;
    let bench = Bench::new();
    let cx = bench.context();
    let (adjustments, cost) = told(provider.submit(&cx, &request).await.expect("the other model makes it"));
    assert_eq!(adjustments, [format!("model: doubao-seedream-4.5 -> {V40}")]);
    let cost = cost.expect("another model has another price");
    assert_eq!((cost.money.amount_micros, cost.money.currency()), (200_000, "CNY"));
    let sent: Vec<Value> = upstream.requests().iter().map(Recorded::json).collect();
    assert_eq!((&sent[0]["model"], &sent[1]["model"]), (&json!(V45), &json!(V40)), "old names are mapped");
    assert_eq!(sent.len(), 2);
}

#[tokio::test]
async fn a_replaced_answer_says_the_same_after_a_crash() {
    let (_upstream, provider, request) = retired(made_by(V40)).await;
    let bench = Bench::new();
    let cx = bench.context();
    let first = told(provider.submit(&cx, &request).await.unwrap());
    let answer = bench.adopted(&cx).expect("the second answer is kept");
    assert_eq!(told(provider.read(&request, &answer).unwrap()), first);
}

#[tokio::test]
async fn a_lost_fallback_call_is_unknown_and_the_refusal_before_it_is_forgotten() {
    let (upstream, provider, request) = retired(Behaviour::ResetAfterReading).await;
    let bench = Bench::new();
    let cx = bench.context();
    let lost = provider.submit(&cx, &request).await.unwrap_err();
    assert_eq!((lost.class, lost.spend), (ErrorClass::OutcomeUnknown, Spend::Possible));
    assert!(
        bench.adopted(&cx).is_none(),
        "what is adopted after a crash must not say that nothing was spent"
    );
    assert_eq!(upstream.submissions(), 2);
}

#[tokio::test]
async fn nothing_but_a_missing_model_calls_the_fallback() {
    for (status, body) in [
        (404, "error_not_open.resp.json"),
        (400, "error_unsupported.resp.json"),
        (400, "error_input_text.resp.json"),
        (401, "error_auth.resp.json"),
        (429, "error_ipm.resp.json"),
        (500, "error_internal.resp.json"),
    ] {
        let upstream = FakeUpstream::start().await;
        upstream.default(Behaviour::json(status, recorded(body)));
        let settings = json!({"api_key": CANARY, "base_url": upstream.url(), "fallback_model": V40});
        let request = ImageRequest { size: Size::Tier(Tier::K2), ..ImageRequest::new(V45, "a fox") };
        instance(settings).submit(&Bench::new().context(), &request).await.unwrap_err();
        assert_eq!(upstream.submissions(), 1, "{body}");
    }
    // A page of a proxy is not the vendor's word, and a model is no fallback of its own.
    let (upstream, provider, request) = retired(made_by(V40)).await;
    upstream.default(Behaviour::html(404));
    let same = ImageRequest { model: V40.into(), ..request.clone() };
    provider.submit(&Bench::new().context(), &same).await.unwrap_err();
    assert_eq!(upstream.submissions(), 1);
}

#[tokio::test]
async fn a_fallback_that_cannot_do_what_was_asked_is_not_called() {
    let upstream = FakeUpstream::start().await;
    upstream.default(Behaviour::json(404, recorded("error_no_model.resp.json")));
    let settings = json!({"api_key": CANARY, "base_url": upstream.url(), "fallback_model": V45});
    let small = ImageRequest { size: Size::exact(1024, 1024), ..ImageRequest::new(PRO, "a fox") };
    let error = instance(settings).submit(&Bench::new().context(), &small).await.unwrap_err();
    assert_eq!((error.class, error.spend, upstream.submissions()), (ErrorClass::NotFound, Spend::None, 1));
    assert!(error.message.contains(V45) && error.message.contains("size"), "{error}");
}

#[tokio::test]
async fn the_check_asks_for_nothing_and_reads_the_refusal() {
    let bench = Bench::new();
    for (status, body, class) in [
        (400, "error_missing.resp.json", None),
        (401, "error_auth.resp.json", Some(ErrorClass::Authentication)),
        (403, "error_overdue.resp.json", Some(ErrorClass::QuotaExhausted)),
        (404, "error_no_model.resp.json", Some(ErrorClass::NotFound)),
        (404, "error_not_open.resp.json", Some(ErrorClass::Permission)),
        (429, "error_overloaded.resp.json", Some(ErrorClass::Overloaded)),
    ] {
        let upstream = FakeUpstream::start().await;
        upstream.push(Behaviour::json(status, recorded(body)));
        let provider = instance(json!({"api_key": CANARY, "base_url": upstream.url(), "default_model": V45}));
        let said = provider.check(&bench.context()).await.err().map(|error| (error.class, error.spend));
        assert_eq!(said, class.map(|class| (class, Spend::None)), "{body}");
        let sent = &upstream.requests()[0];
        assert_eq!(sent.path, "/api/v3/images/generations", "a base without a path gets the vendor's");
        assert_eq!(sent.json(), json!({"model": V45, "prompt": ""}));
    }
    let nobody = instance(json!({"api_key": CANARY, "base_url": dead_url().await}));
    let cx = bench.context_for(Duration::from_secs(5));
    assert_eq!(nobody.check(&cx).await.unwrap_err().class, ErrorClass::Unavailable);
}

#[test]
fn an_instance_names_what_is_wrong_with_its_settings() {
    let build = |settings: Value| match (plugin_doubao::PLUGIN.build)(settings) {
        Ok(Built::On(provider)) => Ok(provider),
        Ok(Built::Off(why)) => Err(format!("off: {why}")),
        Err(why) => Err(why),
    };
    let wrong = |settings: Value| build(settings).err().unwrap_or_default();
    assert!(wrong(json!({})).starts_with("off: api_key is empty"));
    for (field, value) in [
        ("default_model", "dall-e-2"),
        ("fallback_model", "seedream"),
        ("base_url", "ark.cn-beijing.volces.com"),
        ("response_format", "jpeg"),
        ("api_kye", "x"),
    ] {
        let told = wrong(json!({"api_key": "k", field: value}));
        assert!(told.contains(field) || told.contains(value), "{field}: {told}");
    }
    let endpoint = "ep-20260101000000-abcde";
    assert!(wrong(json!({"api_key": "k", "models": {endpoint: "dall-e-2"}})).contains(endpoint));
    let own = build(
        json!({"api_key": "k", "default_model": endpoint, "models": {endpoint: "doubao-seedream-4.5"}}),
    );
    let own = own.unwrap();
    assert_eq!(own.models()[0], endpoint, "the default comes first");
    let (ours, theirs) = (own.capabilities(endpoint).unwrap(), own.capabilities(V45).unwrap());
    assert_eq!(ours.sizes, theirs.sizes, "it follows the rules of its family");
    // The gateway looks here for what it hands over.
    let schema = (plugin_doubao::PLUGIN.schema)(&mut schemars::SchemaGenerator::default());
    for field in ["default_model", "fallback_model"] {
        assert!(schema.get("properties").is_some_and(|p| p.get(field).is_some()), "{field}");
    }
    let empty = build(json!({"api_key": "k", "default_model": "", "fallback_model": " "}));
    assert_eq!(
        empty.unwrap().models()[0],
        "doubao-seedream-5-0-flash-260915",
        "an empty variable names none"
    );
}
