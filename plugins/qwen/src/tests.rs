use super::*;
use crate::models::{Surface, built_in};
use plugin_api::{Background, Input, Parameters, Quality, Size, Source};
use proptest::prelude::*;
use serde_json::{Value, json};
use testkit::{Bench, CANARY, FakeUpstream, Reply, answer, any_answer, could_succeed};

fn qwen(mut settings: Value) -> Qwen {
    settings["api_key"] = CANARY.into();
    Qwen::new(build_config(settings).unwrap()).unwrap()
}

/// A request with everything set, fitted to a model as the gateway does.
fn everything(qwen: &Qwen, model: &str) -> ImageRequest {
    let capabilities = qwen.capabilities(model).expect("the model is known");
    let hat = Input { mime: "image/png".into(), bytes: b"hat".as_slice().into(), ..Input::default() };
    let asked = ImageRequest {
        negative_prompt: Some("blur".into()),
        size: "1:1".parse().unwrap(),
        n: capabilities.max_n,
        quality: Some(Quality::High),
        style: capabilities.styles.last().map(|style| style.0.to_owned()),
        seed: Some(7),
        steps: Some(4),
        guidance: Some(7.5),
        background: Some(Background::Transparent),
        references: vec![hat; *capabilities.references.end() as usize],
        watermark: Some(true),
        prompt_rewrite: Some(true),
        user: Some("u".into()),
        ..ImageRequest::new(model, "a red fox")
    };
    capabilities.fit(&asked, Parameters::Nearest).expect("it can be fitted").request
}

/// What a model is sent: path, whether as a task, and the body.
async fn sent(qwen: &Qwen, upstream: &FakeUpstream, request: &ImageRequest) -> (String, bool, Value) {
    qwen.submit(&Bench::new().context(), request).await.expect_err("the fake knows nothing");
    let sent = upstream.requests().pop().expect("a request");
    (sent.path.clone(), sent.header("x-dashscope-async") == Some("enable"), sent.json())
}

#[tokio::test]
async fn every_model_is_called_as_the_vendor_wants_it() {
    let upstream = FakeUpstream::start().await;
    let qwen = qwen(json!({"base_url": upstream.url()}));
    for model in &qwen.models {
        let request = everything(&qwen, &model.name);
        let (path, task, body) = sent(&qwen, &upstream, &request).await;
        let prompt_form = model.surface == Surface::PromptTask;
        let end = match model.surface {
            Surface::Messages => "/multimodal-generation/generation",
            Surface::MessagesTask => "/image-generation/generation",
            Surface::PromptTask => "/text2image/image-synthesis",
        };
        let name = &model.name;
        assert!(path.ends_with(end) && task == (model.surface != Surface::Messages), "{name}: {path}");
        assert_eq!(model.capabilities.class == plugin_api::Class::J, task, "{name}: a task can be resumed");
        assert_eq!(body["model"], *name);
        let parameters = body["parameters"].as_object().unwrap();
        let mut names: Vec<&str> = parameters.keys().map(String::as_str).collect();
        names.sort_unstable();
        let mut wanted = vec!["n", "prompt_extend", "seed", "size", "watermark"];
        if !prompt_form {
            wanted.push("negative_prompt");
        }
        if name == "wanx-v1" {
            wanted.push("style");
            assert_eq!(parameters["style"], "<flat illustration>");
        }
        if name.starts_with("qwen-image-edit") {
            wanted.retain(|name| *name != "size"); // it keeps its input's
        }
        wanted.sort_unstable();
        assert_eq!(names, wanted, "{name}");
        assert_eq!((&parameters["watermark"], &parameters["prompt_extend"]), (&json!(true), &json!(true)));
        if let Some(size) = parameters.get("size") {
            let size = size.as_str().unwrap();
            assert!(size.contains('*') && !size.contains('x'), "{name}: {size}");
        }
        let input = &body["input"];
        if prompt_form {
            assert_eq!(*input, json!({"prompt": request.prompt, "negative_prompt": "blur"}), "{name}");
        } else {
            let content = input["messages"][0]["content"].as_array().unwrap();
            assert_eq!(content.len(), request.references.len() + 1, "{name}");
            assert_eq!(content.last().unwrap(), &json!({"text": request.prompt}), "{name}: images first");
            assert!(
                content[..content.len() - 1]
                    .iter()
                    .all(|c| *c == json!({"image": "data:image/png;base64,aGF0"}))
            );
        }
    }
}

#[tokio::test]
async fn what_is_not_asked_is_not_sent_but_the_watermark_always_is() {
    let upstream = FakeUpstream::start().await;
    let qwen = qwen(json!({"base_url": upstream.url(), "workspace": "ws-1"}));
    let (_, _, body) = sent(&qwen, &upstream, &ImageRequest::new("qwen-image-3.0", "a fox")).await;
    assert_eq!(body["parameters"], json!({"n": 1, "watermark": false}), "no size: the model picks");
    assert_eq!(upstream.requests()[0].header("x-dashscope-workspace"), Some("ws-1"));
}

#[tokio::test]
async fn a_value_that_the_vendor_would_refuse_is_not_sent() {
    let upstream = FakeUpstream::start().await;
    let qwen = qwen(json!({"base_url": upstream.url()}));
    let with = |change: fn(&mut ImageRequest)| {
        let mut request = ImageRequest::new("wan2.7-image", "a fox");
        change(&mut request);
        request
    };
    fn option(request: &mut ImageRequest, key: &str, value: Value) {
        request.vendor.insert(key.into(), value);
    }
    for (request, accepted) in [
        (with(|r| r.negative_prompt = Some("字".repeat(501))), "at most 500"),
        (with(|r| r.seed = Some(2_147_483_648)), "0 to 2147483647"),
        (with(|r| option(r, "thinking_mode", json!("yes"))), "true, false"),
        (with(|r| option(r, "bbox_list", json!({}))), "a list"),
        (with(|r| option(r, "prompt_extend_mode", json!("loud"))), "direct, agent"),
        (
            with(|r| {
                r.references = vec![Input::default()];
                option(r, "prompt_extend_mode", json!("agent"));
            }),
            "only without",
        ),
        (with(|r| r.model = "stable-diffusion".into()), "no image model"),
    ] {
        let error = qwen.submit(&Bench::new().context(), &request).await.unwrap_err();
        assert!(error.message.contains(accepted) && error.spend == Spend::None, "{accepted}: {error}");
    }
    assert!(upstream.requests().is_empty());
    let edge = with(|r| {
        (r.seed, r.negative_prompt) = (Some(2_147_483_647), Some("字".repeat(500)));
        option(r, "color_palette", json!([{"hex": "#ff0000"}]));
    });
    let (_, _, body) = sent(&qwen, &upstream, &edge).await;
    assert_eq!(body["parameters"]["color_palette"], json!([{"hex": "#ff0000"}]));
}

/// The fields that a model refuses of a request.
fn refused(qwen: &Qwen, model: &str, change: impl FnOnce(&mut ImageRequest)) -> Vec<String> {
    let mut request = ImageRequest::new(model, "a fox");
    change(&mut request);
    let fit = qwen.capabilities(model).expect("the model is known").fit(&request, Parameters::Strict);
    fit.map_or_else(|all| all.into_iter().map(|r| r.field).collect(), |_| Vec::new())
}

#[test]
fn every_family_takes_what_the_vendor_says() {
    let qwen = qwen(json!({}));
    let size = |text: &'static str| move |r: &mut ImageRequest| r.size = text.parse().unwrap();
    for (model, text, good) in [
        ("qwen-image-3.0", "2560x2560", true),
        ("qwen-image-3.0", "181x1449", false),
        ("qwen-image-3.0", "4096x1600", true),
        ("qwen-image-3.0", "4096x512", true),
        ("qwen-image-3.0", "4104x512", false),
        ("qwen-image-2.0", "2048x2048", true),
        ("qwen-image-2.0", "2049x2048", false),
        ("qwen-image-2.0", "511x512", false),
        ("qwen-image-plus", "1664x928", true),
        ("qwen-image-plus", "1024x1024", false),
        ("qwen-image-max", "16:9", true),
        ("qwen-image-edit-plus", "1024x1024", false),
        ("wan2.6-t2i", "1280x1280", true),
        ("wan2.6-t2i", "1024x1024", false),
        ("wan2.6-t2i", "1440x1440", true),
        ("wan2.2-t2i-flash", "1440x512", true),
        ("wan2.2-t2i-flash", "1441x512", false),
        ("wanx-v1", "720x1280", true),
    ] {
        let asked = |r: &mut ImageRequest| {
            size(text)(r);
            if model.contains("edit") {
                r.references = vec![Input::default()];
            }
        };
        assert_eq!(refused(&qwen, model, asked).is_empty(), good, "{model} {text}");
    }
    let references = |count: usize| move |r: &mut ImageRequest| r.references = vec![Input::default(); count];
    for (model, count, good) in [
        ("qwen-image-3.0", 3, true),
        ("qwen-image-3.0", 4, false),
        ("qwen-image-2.1-pro", 10, true),
        ("qwen-image-edit", 0, false),
        ("qwen-image-edit", 3, true),
        ("qwen-image-max", 1, false),
        ("wan2.6-t2i", 1, false),
        ("wan2.7-image-pro", 4, true),
        ("wan2.7-image-pro", 5, false),
    ] {
        assert_eq!(refused(&qwen, model, references(count)).is_empty(), good, "{model} {count}");
    }
    for (model, n) in [("qwen-image-3.0", 6), ("qwen-image-max", 1), ("wan2.5-t2i-preview", 4)] {
        assert!(refused(&qwen, model, |r| r.n = n).is_empty(), "{model}");
        assert_eq!(refused(&qwen, model, |r| r.n = n + 1), ["n"], "{model}");
    }
    assert_eq!(refused(&qwen, "wan2.2-t2i-flash", |r| r.prompt = "字".repeat(801)), ["prompt"]);
    for field in ["quality", "background", "mask", "moderation", "steps", "guidance"] {
        let asked = |r: &mut ImageRequest| match field {
            "quality" => r.quality = Some(Quality::High),
            "background" => r.background = Some(Background::Transparent),
            "mask" => (r.mask, r.references) = (Some(Input::default()), vec![Input::default()]),
            "moderation" => r.moderation = Some(plugin_api::Moderation::Low),
            "steps" => r.steps = Some(4),
            _ => r.guidance = Some(4.0),
        };
        assert_eq!(refused(&qwen, "qwen-image-3.0", asked), [field], "nothing is dropped silently");
    }
}

#[test]
fn every_model_has_a_price_in_both_regions() {
    for region in [Region::China, Region::Abroad] {
        for model in built_in(region) {
            let table = model.capabilities.price.as_ref().unwrap();
            let of = |n: u32| {
                let request = ImageRequest { n, ..ImageRequest::new(&model.name, "a fox") };
                table.estimate(&request, (1024, 1024)).unwrap().0
            };
            assert!(of(1).amount_micros > 0 && table.date == "2026-11-21", "{}", model.name);
            assert_eq!(of(2), of(1).times(2), "{}: flat per image", model.name);
        }
    }
    let price = |base_url: &str, model: &str| {
        let qwen = qwen(json!({"base_url": base_url}));
        let table = qwen.capabilities(model).unwrap().price.as_ref().unwrap();
        table.estimate(&ImageRequest::new(model, "a fox"), (1024, 1024)).unwrap().0.to_string()
    };
    assert_eq!(price("https://dashscope.aliyuncs.com/api/v1", "qwen-image-2.0"), "0.20 CNY");
    assert_eq!(price("https://dashscope-intl.aliyuncs.com/api/v1", "qwen-image-2.0"), "0.035 USD");
    assert_eq!(price("https://ws-1.us-east-1.maas.aliyuncs.com/api/v1", "qwen-image-2.0-pro"), "0.075 USD");
    assert_eq!(price("https://ws-1.cn-beijing.maas.aliyuncs.com/api/v1", "qwen-image-2.0-pro"), "0.50 CNY");
}

#[test]
fn snapshots_and_configured_models_are_known() {
    let qwen = qwen(json!({"default_model": "qwen-image-9", "models": {
        "qwen-image-9": {"like": "qwen-image-3.0", "max_n": 2, "references": 5, "max_pixels": 10_000_000},
        "wan2.7-image-pro": {"references": 9, "min_pixels": 589_824, "max_pixels": 16_777_216, "max_ratio": 8.0},
    }}));
    assert_eq!(qwen.models()[0], "qwen-image-9", "the default comes first");
    assert_eq!(qwen.models().iter().filter(|name| *name == "qwen-image-9").count(), 1);
    let new = qwen.capabilities("qwen-image-9").unwrap();
    assert_eq!((new.max_n, new.references.clone(), new.prompt_max), (2, 0..=5, 800));
    assert!(refused(&qwen, "qwen-image-9", |r| r.size = Size::exact(3000, 3000)).is_empty());
    assert!(refused(&qwen, "wan2.7-image-pro", |r| r.size = Size::exact(4096, 4096)).is_empty());
    assert!(
        refused(&qwen, "wan2.7-image", |r| r.size = Size::exact(4096, 4096)) == ["size"],
        "its sibling is not"
    );
    let dated = qwen.model("qwen-image-2.0-pro-2026-03-03").unwrap();
    assert_eq!(dated.name, "qwen-image-2.0-pro");
    for name in ["qwen-image-2.0-pro-2026-3-3", "qwen-image-2.0-pro-", "gpt-image-2", "-2026-03-03", ""] {
        assert!(qwen.model(name).is_none(), "{name}");
    }
}

#[test]
fn settings_are_strict_and_a_missing_key_switches_it_off() {
    match build(json!({})) {
        Ok(Built::Off(why)) => assert!(why.contains("DASHSCOPE_API_KEY"), "{why}"),
        _ => panic!("it must be off, not refused"),
    }
    for (settings, named) in [
        (json!({"api_kye": "k"}), "api_kye"),
        (json!({"base_url": "dashscope.aliyuncs.com"}), "base_url"),
        (json!({"default_model": "sora"}), "default_model"),
        (json!({"models": {"new": {}}}), "models.new.like"),
        (json!({"models": {"qwen-image-3.0": {"max_n": 0}}}), "models.qwen-image-3.0.max_n"),
        (json!({"models": {"qwen-image-max": {"max_pixels": 5}}}), "a list"),
        (json!({"models": {"qwen-image-3.0": {"min_pixels": 9_000_000}}}), "no range"),
        (json!({"models": {"qwen-image-3.0": {"max_ratio": 0.5}}}), "max_ratio"),
        (json!({"models": {"qwen-image-edit": {"references": 0}}}), "at least 1"),
    ] {
        let error = build(settings).err().expect("refused");
        assert!(error.contains(named), "{error}");
    }
    let settings: Settings = build_config(json!({"api_key": CANARY})).unwrap();
    assert!(!format!("{settings:?}").contains(CANARY));
}

fn read(model: &str, n: u32, status: u16, body: impl ToString) -> Result<Submission, ProviderError> {
    let request = ImageRequest { n, ..ImageRequest::new(model, "a fox") };
    qwen(json!({})).read(&request, &answer(status, &[], body.to_string()))
}

#[test]
fn what_failed_of_a_call_is_told_and_only_what_was_made_is_counted() {
    let good = |n: u32| json!({"url": format!("https://h/{n}.png"), "actual_prompt": "a red fox"});
    let bad =
        json!({"code": "DataInspectionFailed", "message": "Output data may contain inappropriate content."});
    let body =
        json!({"output": {"results": [good(0), bad]}, "usage": {"image_count": 1}, "request_id": "r-1"});
    let Ok(Submission::Done(artifact)) = read("qwen-image-2.0", 3, 200, body) else {
        panic!("a partial success")
    };
    let failed: Vec<_> = artifact.failed.iter().map(|f| (f.index, f.error.class, f.error.spend)).collect();
    assert_eq!(
        failed,
        [(1, ErrorClass::ContentBlocked, Spend::None), (2, ErrorClass::BadResponse, Spend::None)]
    );
    assert_eq!(artifact.pictures[0].revised_prompt.as_deref(), Some("a red fox"));
    assert_eq!((artifact.usage.images, artifact.vendor_request_id.as_deref()), (Some(1), Some("r-1")));
    assert!(
        artifact.cost.is_none(),
        "the gateway prices what was made, also where the operator set the price"
    );
    let lost = json!({"output": {"results": [bad, {"url": "ftp://h/x"}]}});
    let error = read("qwen-image-2.0", 2, 200, lost).unwrap_err();
    assert_eq!((error.class, error.spend), (ErrorClass::BadResponse, Spend::Certain), "one was made");
}

#[test]
fn a_vendor_url_is_fetched_by_https_and_another_is_left_to_the_gateway() {
    let url = |text: &str| {
        let body = json!({"output": {"results": [{"url": text}]}});
        let Ok(Submission::Done(artifact)) = read("wan2.2-t2i-flash", 1, 200, body) else { panic!("{text}") };
        let Source::Url(url) = &artifact.pictures[0].source else { panic!("{text}") };
        url.clone()
    };
    assert_eq!(url("http://a.oss-cn-b.aliyuncs.com/x?s=1"), "https://a.oss-cn-b.aliyuncs.com/x?s=1");
    assert_eq!(url("http://127.0.0.1:9/x"), "http://127.0.0.1:9/x");
    assert_eq!(url("http://h/.aliyuncs.com"), "http://h/.aliyuncs.com");
    let error =
        read("wan2.2-t2i-flash", 1, 200, json!({"output": {"results": [{"url": "ftp://h/x"}]}})).unwrap_err();
    assert_eq!((error.class, error.spend), (ErrorClass::BadResponse, Spend::Certain));
}

#[test]
fn an_error_that_comes_as_a_success_is_read_with_and_without_output() {
    for output in [json!(null), json!({}), json!({"choices": []}), json!("")] {
        let body = json!({"code": "DataInspectionFailed", "message": "Input data ...", "output": output});
        let error = read("qwen-image-2.0", 1, 200, body).unwrap_err();
        assert_eq!((error.class, error.spend), (ErrorClass::ContentBlocked, Spend::None));
    }
    let failed = json!({"output": {"task_id": "t-1", "task_status": "FAILED", "code": "InternalError", "message": "m"}});
    let error = read("wan2.6-t2i", 1, 200, failed).unwrap_err();
    assert_eq!((error.class, error.spend), (ErrorClass::Unavailable, Spend::None), "it is over already");
}

#[test]
fn a_ticket_that_could_lead_elsewhere_is_no_ticket() {
    for task in ["../../models", "a/b", "a?b", "", "a b"] {
        let body = json!({"output": {"task_id": task, "task_status": "PENDING"}});
        let error = read("wan2.2-t2i-flash", 1, 200, body).unwrap_err();
        assert_eq!((error.class, error.spend), (ErrorClass::BadResponse, Spend::Certain), "{task}");
    }
}

fn polled(status: u16, body: Value) -> Result<Progress, ProviderError> {
    let request = ImageRequest::new("wan2.2-t2i-flash", "a fox");
    answer::progress(&request, &answer(status, &[], body.to_string()), POLL.0)
}

#[test]
fn a_refused_poll_is_asked_again_or_ends_it_but_never_buys_again() {
    for (status, code, class, spend) in [
        (429, "Throttling", ErrorClass::RateLimited, Spend::None),
        (503, "ServiceUnavailable", ErrorClass::Unavailable, Spend::None),
        (500, "InternalError", ErrorClass::Unavailable, Spend::None),
        (504, "GatewayTimeout", ErrorClass::Unavailable, Spend::None),
        (200, "", ErrorClass::Unavailable, Spend::None),
        (401, "InvalidApiKey", ErrorClass::Authentication, Spend::None),
        (403, "AccessDenied", ErrorClass::Permission, Spend::None),
        (404, "ModelNotFound", ErrorClass::JobExpired, Spend::Certain),
    ] {
        let error = polled(status, json!({"code": code, "message": "m"})).unwrap_err();
        assert_eq!((error.class, error.spend), (class, spend), "{status} {code}");
    }
}

#[test]
fn every_state_of_a_task_is_understood() {
    let state = |status: &str| polled(200, json!({"output": {"task_status": status}}));
    for status in ["PENDING", "RUNNING", "SUSPENDED", "BRAND_NEW"] {
        assert!(matches!(state(status), Ok(Progress::Pending { .. })), "{status}");
    }
    for (status, class, spend) in [
        ("FAILED", ErrorClass::Unavailable, Spend::None),
        ("CANCELED", ErrorClass::Unavailable, Spend::None),
        ("UNKNOWN", ErrorClass::JobExpired, Spend::Certain),
        ("SUCCEEDED", ErrorClass::BadResponse, Spend::Certain),
    ] {
        let Ok(Progress::Failed(error)) = state(status) else { panic!("{status} is an end") };
        assert_eq!((error.class, error.spend), (class, spend), "{status}");
    }
}

#[tokio::test]
async fn polls_grow_apart_up_to_eight_seconds() {
    let upstream = FakeUpstream::start().await;
    upstream.default(Reply::json(200, r#"{"output":{"task_status":"RUNNING"}}"#));
    let qwen = qwen(json!({"base_url": upstream.url()}));
    let (request, ticket) = (ImageRequest::new("wan2.6-t2i", "a fox"), Ticket("t-1".into()));
    let bench = Bench::new();
    for (after, wait) in [(0, 1), (20, 4), (300, 8)] {
        let mut cx = bench.context_for(Duration::from_secs(3_600));
        cx.started -= Duration::from_secs(after);
        let Ok(Progress::Pending { again_after, .. }) = qwen.poll(&cx, &request, &ticket).await else {
            panic!()
        };
        assert_eq!(again_after.as_secs(), wait, "after {after} s");
    }
}

proptest! {
    #[test]
    fn any_answer_can_be_read(answer in any_answer("\\{\"(output|code|error)\":(null|1|\"[A-Z]{0,9}\"|\\{\"(results|choices|task_id|task_status)\":(null|[0-9]|\"[A-Z]{3,9}\"|\\[(null|\\{\"url\":\"[a-z:/.]{0,20}\"\\}|\\{\"message\":\\{\"content\":\\[\\{\"image\":\"[a-z:/]{0,9}\"\\}\\]\\}\\})\\])\\})\\}")) {
        let request = ImageRequest::new("qwen-image-3.0", "p");
        let read = qwen(json!({})).read(&request, &answer);
        prop_assert!(read.is_err() || could_succeed(&answer));
        answer::progress(&request, &answer, POLL.0).ok();
        answer::is_task(&answer).ok();
    }
}
