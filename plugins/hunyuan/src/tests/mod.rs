//! The plugin as a whole: its credentials, its checks, and what it makes of answers.

mod requests;

use super::*;
use plugin_api::{Basis, Class, Input, Parameters, Size, value::Money};
use proptest::prelude::*;
use serde_json::json;
use testkit::{Behaviour, Bench, CANARY, FakeUpstream, Reply, answer, any_answer, could_succeed};

fn built(settings: Value) -> Hunyuan {
    Hunyuan::new(build_config(settings).unwrap()).unwrap()
}

/// An instance with every credential.
fn both() -> Hunyuan {
    built(json!({"api_key": CANARY, "secret_id": "AKIDEXAMPLE", "secret_key": CANARY}))
}

fn png(bytes: &'static [u8], side: u32) -> Input {
    let (mime, handle) = ("image/png".into(), "i".into());
    Input { handle, mime, width: side, height: side, bytes: bytes.into() }
}

/// A request fitted to its model the way the gateway does it.
fn fitted(model: &str, change: impl FnOnce(&mut ImageRequest)) -> ImageRequest {
    let mut asked = ImageRequest::new(model, "a fox");
    change(&mut asked);
    both().capabilities(model).unwrap().fit(&asked, Parameters::Strict).expect("it can be served").request
}

#[test]
fn classes_and_prices_are_as_the_contract_has_them() {
    let hunyuan = both();
    for model in &hunyuan.models {
        let job = matches!(model.api, Api::HubJob | Api::Image | Api::Chat | Api::Image30);
        assert_eq!(model.capabilities.class == Class::J, job, "{}", model.id);
        assert!(model.capabilities.price.is_some(), "{}", model.id);
        assert_eq!(actions::action(model.api).is_some_and(|a| a.query.is_some()), job && model.api.is_tc3());
    }
    let price = |name: &str, size: Size| {
        let caps = hunyuan.capabilities(name).unwrap();
        let request = ImageRequest { size, ..ImageRequest::new(name, "p") };
        caps.price.as_ref().unwrap().estimate(&request, caps.sizes.default_size()).unwrap().1
    };
    assert_eq!(price("hunyuan-image-3.0", Size::Auto), Money::micros(200_000, "CNY"));
    assert_eq!(price("hy-image-v3.5-preview", Size::Auto), Money::micros(150_000, "CNY"));
    assert_eq!(price("hy-image-v3.5-preview", Size::exact(4096, 4096)), Money::micros(200_000, "CNY"));
}

#[test]
fn the_credentials_choose_the_generation() {
    let key = json!({"api_key": "k"});
    let pair = json!({"secret_id": "i", "secret_key": "s"});
    assert_eq!(built(key.clone()).models()[0], "hy-image-v3.0");
    assert!(built(key.clone()).capabilities("hunyuan-image-3.0").is_none(), "no id, no signed call");
    let off = built(key.clone()).why_off("hunyuan-image-3.0").unwrap();
    assert!(off.contains("TENCENT_SECRET_ID"), "{off}");
    assert!(built(pair.clone()).why_off("hy-image-v3.0").unwrap().contains("TOKENHUB_API_KEY"));
    assert_eq!(both().why_off("nope"), None);
    assert_eq!(built(pair.clone()).models()[0], "hunyuan-image-3.0");
    assert!(built(pair).models().iter().all(|name| name.starts_with("hunyuan-")));
    let mut named = key;
    named["default_model"] = "hy-image-lite".into();
    assert_eq!(built(named.clone()).models()[..2], ["hy-image-lite", "hy-image-v3.0"]);
    named["default_model"] = "hunyuan-lite".into();
    let Err(why) = build(named) else { panic!("it is not there with a key alone") };
    assert!(why.contains("default_model") && why.contains("hy-image-v3.0"), "{why}");
    for (settings, reason) in [
        (json!({}), "TOKENHUB_API_KEY"),
        (json!({"secret_id": "i"}), "TENCENT_SECRET_KEY"),
        (json!({"secret_key": "s"}), "TENCENT_SECRET_ID"),
    ] {
        let Ok(Built::Off(why)) = build(settings) else { panic!("{reason}") };
        assert!(why.contains(reason), "{why}");
    }
    for (settings, field) in [
        (json!({"base_url": "ftp://h"}), "base_url"),
        (json!({"tc3_base_url": "nowhere"}), "tc3_base_url"),
        (json!({"region": "a b"}), "region"),
        (json!({"poll_every": "0s"}), "poll_every"),
        (json!({"secretid": "x"}), "secretid"),
    ] {
        let Err(why) = build(settings) else { panic!("{field} must be refused") };
        assert!(why.contains(field), "{why}");
    }
}

#[tokio::test]
async fn a_check_proves_every_credential_and_costs_nothing() {
    let (hub, tc3, bench) = (FakeUpstream::start().await, FakeUpstream::start().await, Bench::new());
    let hunyuan = built(
        json!({"api_key": "th-key", "secret_id": "AKIDEXAMPLE", "secret_key": CANARY, "session_token": "token-1",
                               "base_url": hub.url(), "tc3_base_url": tc3.url()}),
    );
    let gone = json!({"error": {"code": "400002", "message": "invalid parameter 'id': job not found"}});
    let said = |code: &str| json!({"Response": {"Error": {"Code": code, "Message": "m"}, "RequestId": "r"}});
    hub.default(Behaviour::json(400, gone.to_string()));
    tc3.default(Behaviour::json(200, said("ResourceNotFound").to_string()));
    hunyuan.check(&bench.context()).await.expect("both know no such job");
    let signed = &tc3.requests()[0];
    assert_eq!(signed.header("x-tc-action"), Some("QueryTextToImageJob"));
    assert_eq!(signed.header("x-tc-token"), Some("token-1"));
    assert_eq!(hub.requests()[0].path, "/v1/api/image/query");

    // By how much the clock is wrong is told where the vendor's is known.
    let expired = Reply::json(200, said("AuthFailure.SignatureExpire").to_string());
    tc3.default(expired.header("date", "Sun, 06 Nov 1994 08:49:37 GMT"));
    let error = hunyuan.check(&bench.context()).await.unwrap_err();
    assert_eq!((error.class, error.spend), (ErrorClass::Authentication, Spend::None));
    assert!(error.message.starts_with("TC3: ") && error.message.contains("s ahead of Tencent's"), "{error}");

    hub.default(Behaviour::json(
        401,
        json!({"error": {"code": "401002", "message": "invalid api key"}}).to_string(),
    ));
    let error = hunyuan.check(&bench.context()).await.unwrap_err();
    assert_eq!(
        (error.class, error.message.as_str()),
        (ErrorClass::Authentication, "TokenHub: invalid api key")
    );
    hub.default(Behaviour::html(200));
    assert_eq!(hunyuan.check(&bench.context()).await.unwrap_err().class, ErrorClass::BadResponse);
}

#[tokio::test]
async fn a_poll_that_cannot_be_read_is_no_end_of_the_job() {
    let (upstream, bench) = (FakeUpstream::start().await, Bench::new());
    let settings = json!({"api_key": "th-key", "secret_id": "AKIDEXAMPLE", "secret_key": CANARY, "base_url": upstream.url(),
                          "tc3_base_url": upstream.url()});
    let hunyuan = built(settings);
    let of_hub = Ticket(json!({"model": "hy-image-v3.0", "id": "j"}));
    let of_tc3 = Ticket(
        json!({"service": "aiart", "version": "2022-12-29", "query": "QueryTextToImageJob", "job_id": "j"}),
    );
    for ticket in [of_hub, of_tc3] {
        for body in
            ["", "{}", "null", "<html>", r#"{"Response":{}}"#, r#"{"Response":{"JobStatusCode":null}}"#]
        {
            upstream.push(Behaviour::json(200, body));
            let request = ImageRequest::new("hunyuan-image-3.0", "p");
            let error = hunyuan.poll(&bench.context(), &request, &ticket).await.unwrap_err();
            assert_eq!((error.class, error.spend), (ErrorClass::Unavailable, Spend::None), "{body}");
        }
    }
    let foreign = Ticket(json!({"id": 7}));
    let error = hunyuan.poll(&bench.context(), &ImageRequest::default(), &foreign).await.unwrap_err();
    assert_eq!((error.class, error.spend), (ErrorClass::JobExpired, Spend::Certain));
}

fn queried(request: &ImageRequest, response: Value) -> Progress {
    let answer = answer(200, &[], json!({"Response": response}).to_string());
    let api = both().model(&request.model).unwrap().api;
    actions::queried(api, request, &answer, answer.json().ok().as_ref(), Duration::ZERO).unwrap()
}

#[test]
fn successes_and_addresses_are_paired_in_their_order() {
    let request = ImageRequest { n: 4, ..ImageRequest::new("hunyuan-image", "p") };
    let done = queried(
        &request,
        json!({"JobStatusCode": "5", "ResultImage": ["", "https://h/1", "https://h/3"], "RevisedPrompt": ["a", "b", "c", "d"],
               "ResultDetails": ["FailedOperation.GenerateImageFailed", "Success", "FailedOperation.ServerError", "Success"]}),
    );
    let Progress::Done(artifact) = done else { panic!("{done:?}") };
    let prompts: Vec<_> = artifact.pictures.iter().map(|p| p.revised_prompt.as_deref()).collect();
    assert_eq!(prompts, [Some("b"), Some("d")]);
    let failed: Vec<_> = artifact.failed.iter().map(|f| (f.index, f.error.class)).collect();
    assert_eq!(failed, [(0, ErrorClass::ContentBlocked), (2, ErrorClass::Unavailable)]);

    let promised =
        queried(&request, json!({"JobStatusCode": 5, "ResultDetails": ["Success"], "ResultImage": []}));
    let Progress::Failed(error) = promised else { panic!("{promised:?}") };
    assert_eq!((error.class, error.spend), (ErrorClass::BadResponse, Spend::Certain));
    let blocked = json!({"JobStatusCode": "5", "ResultDetails": ["FailedOperation.GenerateImageFailed"]});
    let Progress::Failed(error) = queried(&ImageRequest::new("hunyuan-image", "p"), blocked) else {
        panic!()
    };
    assert_eq!((error.class, error.spend), (ErrorClass::ContentBlocked, Spend::None));
    let fewer = queried(
        &request,
        json!({"JobStatusCode": "5", "ResultImage": ["https://h/1"], "ResultDetails": ["Success"]}),
    );
    let Progress::Done(artifact) = fewer else { panic!("{fewer:?}") };
    assert_eq!((artifact.pictures.len(), artifact.failed.len()), (1, 3), "what is missing is told");
}

#[test]
fn the_next_turn_of_a_chat_is_told() {
    let chat = fitted("hunyuan-image-chat", |_| {});
    let done = json!({"JobStatusCode": "5", "ResultImage": ["https://h/1"], "ChatId": "c-2"});
    let Progress::Done(artifact) = queried(&chat, done) else { panic!() };
    let turn = &artifact.adjustments[0];
    assert_eq!((turn.field.as_str(), turn.used.as_str()), ("vendor.ChatId", "c-2"));
}

#[test]
fn the_newest_model_is_charged_by_its_tokens_or_by_its_size() {
    let hunyuan = both();
    let cost = |image: Value, usage: Value| {
        let choice = json!({"index": 0, "delta": {"image": image}});
        let body = json!({"choices": [choice], "usage": usage});
        let request = ImageRequest::new("hy-image-v3.5-preview", "p");
        let Ok(Submission::Done(done)) = hunyuan.read(&request, &answer(200, &[], body.to_string())) else {
            panic!()
        };
        done.cost.map(|cost| (cost.money.amount_micros, cost.basis))
    };
    let sized = |side: u32| json!({"url": "https://h/1", "width": side, "height": side});
    assert_eq!(cost(sized(1024), json!({"total_tokens": 15_000})), Some((150_000, Basis::Reported)));
    assert_eq!(cost(sized(1024), json!({"total_tokens": 0})), Some((150_000, Basis::Computed)));
    assert_eq!(cost(sized(2048), json!(null)), Some((150_000, Basis::Computed)));
    assert_eq!(cost(sized(4096), json!(null)), Some((200_000, Basis::Computed)));
    assert_eq!(cost(json!({"url": "https://h/1"}), json!(null)), None, "the gateway's estimate stands");
}

#[test]
fn a_submit_that_is_done_or_failed_at_once_is_read_as_such() {
    let hunyuan = both();
    let told = |body: Value| {
        let request = ImageRequest::new("hy-image-v3.0", "p");
        hunyuan.read(&request, &answer(200, &[], body.to_string()))
    };
    let data = json!([{"url": "https://h/1"}]);
    assert!(matches!(told(json!({"data": data})), Ok(Submission::Done(_))));
    assert!(matches!(told(json!({"id": "j", "status": "completed", "data": data})), Ok(Submission::Done(_))));
    assert!(matches!(told(json!({"id": "j"})), Ok(Submission::Pending(..))));
    let failed =
        told(json!({"id": "j", "status": "failed", "error": {"code": "FailedOperation.ModerationFailed"}}));
    assert_eq!(failed.unwrap_err().class, ErrorClass::ContentBlocked);
}

proptest! {
    #[test]
    fn any_answer_can_be_read(
        answer in any_answer("\\{\"(Response|error|data|choices|status|id)\":(null|1|\"x\"|\\[(1|null|\\{\"url\":\"[a-z:/]{0,12}\"\\})\\]|\\{\"(Error|JobId|ResultImage|JobStatusCode|ResultDetails|code)\":(\"[0-9]{0,6}\"|\\{\"Code\":\"[A-Za-z.]{0,30}\"\\}|\\[\"Success\"\\])\\})\\}"),
        n in 0_u32..5,
    ) {
        let hunyuan = both();
        let json = json(&answer);
        for model in hunyuan.models() {
            let request = ImageRequest { n, ..ImageRequest::new(model, "p") };
            let read = hunyuan.read(&request, &answer);
            prop_assert!(read.is_err() || could_succeed(&answer));
            actions::queried(Api::Image, &request, &answer, json.as_ref(), Duration::ZERO).ok();
            tokenhub::queried(&answer, json.as_ref(), Duration::ZERO).ok();
            error::of(&answer, json.as_ref(), Asked::Query);
        }
    }

    #[test]
    fn every_size_is_refused_or_within_the_vendors_rule(width in 1_u32..5_000, height in 1_u32..5_000) {
        for model in ["hunyuan-image-3.0", "hy-image-v3.0", "hy-image-v3"] {
            let asked = ImageRequest { size: Size::exact(width, height), ..ImageRequest::new(model, "p") };
            let fit = both().capabilities(model).unwrap().fit(&asked, Parameters::Nearest).expect("there is always one");
            let Size::Exact { width: w, height: h } = fit.request.size else { panic!("{}", fit.request.size) };
            prop_assert!((512..=2048).contains(&w) && (512..=2048).contains(&h) && w * h <= 1_048_576, "{w}x{h}");
        }
    }
}
