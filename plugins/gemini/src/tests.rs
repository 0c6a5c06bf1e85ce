use super::*;
use plugin_api::{
    Artifact, Background, Basis, Input, Moderation, OutputFormat, Parameters, Quality, Retry, Size,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use testkit::{Bench, CANARY, FakeUpstream, answer, any_answer, could_succeed};

fn gemini(mut settings: Value) -> Gemini {
    settings["api_key"] = CANARY.into();
    Gemini::new(build_config(settings).unwrap()).unwrap()
}

fn fitted(
    model: &str,
    mode: Parameters,
    change: impl FnOnce(&mut ImageRequest),
) -> Result<plugin_api::Fit, Vec<String>> {
    let mut request = ImageRequest::new(model, "a red fox");
    change(&mut request);
    let gemini = gemini(json!({}));
    let fit = gemini.capabilities(model).expect("the model is known").fit(&request, mode);
    fit.map_err(|all| all.into_iter().map(|r| r.field).collect())
}

/// The body of a request that was fitted in nearest mode.
fn body(model: &str, change: impl FnOnce(&mut ImageRequest)) -> Value {
    let request = fitted(model, Parameters::Nearest, change).expect("it can be fitted").request;
    let gemini = gemini(json!({}));
    serde_json::to_value(call::body(gemini.capabilities(model).unwrap(), &request).unwrap()).unwrap()
}

fn image_config(model: &str, size: &str) -> Value {
    body(model, |r| r.size = size.parse().unwrap())["generationConfig"]["imageConfig"].clone()
}

#[test]
fn a_size_becomes_a_ratio_and_a_tier() {
    for (model, size, ratio, tier) in [
        (models::DEFAULT, "1024x1024", "1:1", Some("1K")),
        (models::DEFAULT, "16:9", "16:9", Some("1K")),
        (models::DEFAULT, "2K", "1:1", Some("2K")),
        (models::DEFAULT, "4K", "1:1", Some("4K")),
        (models::DEFAULT, "1536x1024", "3:2", Some("2K")),
        (models::DEFAULT, "1920x1080", "16:9", Some("2K")),
        (models::DEFAULT, "300x300", "1:1", Some("1K")),
        ("gemini-3.1-flash-image", "300x300", "1:1", Some("512")),
        ("gemini-3.1-flash-image", "3:2", "3:2", Some("1K")),
        ("gemini-3-pro-image", "5504x3072", "16:9", Some("4K")),
        ("gemini-3.1-flash-lite-image", "3:4", "3:4", None),
        ("gemini-2.5-flash-image", "1344x768", "16:9", None),
        ("gemini-2.5-flash-image", "4K", "1:1", None),
    ] {
        let mut wanted = json!({"aspectRatio": ratio});
        if let Some(tier) = tier {
            wanted["imageSize"] = tier.into();
        }
        assert_eq!(image_config(model, size), wanted, "{model} {size}");
    }
    assert_eq!(image_config(models::DEFAULT, "auto"), Value::Null, "the model chooses");
    let reported =
        fitted(models::DEFAULT, Parameters::Nearest, |r| r.size = Size::exact(1536, 1024)).unwrap();
    assert_eq!(reported.adjustments[0].used, "2528x1696");
    assert_eq!(
        fitted(models::DEFAULT, Parameters::Strict, |r| r.size = Size::exact(1536, 1024)),
        Err(vec!["size".into()])
    );
    let listed = models::built_in();
    let distinct: std::collections::HashSet<_> =
        listed.iter().map(|model| model.capabilities.sizes.default_size()).collect();
    assert_eq!(
        distinct.into_iter().collect::<Vec<_>>(),
        [(1024, 1024)],
        "every model begins with a square at 1K"
    );
}

#[test]
fn texts_come_first_then_the_references_and_nothing_else_is_sent() {
    let hat = || Input { mime: "image/png".into(), bytes: b"hat".as_slice().into(), ..Input::default() };
    let sent = body("gemini-3-pro-image", |r| {
        r.negative_prompt = Some("blur".into());
        r.style = Some("watercolour".into());
        r.references = vec![hat(), hat()];
        (r.seed, r.steps, r.guidance) = (Some(7), Some(4), Some(7.5));
        (r.quality, r.background) = (Some(Quality::High), Some(Background::Transparent));
        (r.watermark, r.prompt_rewrite) = (Some(true), Some(true));
        (r.moderation, r.user) = (Some(Moderation::Low), Some("u".into()));
        (r.output_format, r.output_compression) = (Some(OutputFormat::Webp), Some(80));
    });
    let inline = json!({"inlineData": {"mimeType": "image/png", "data": "aGF0"}});
    let parts = json!([{"text": "a red fox, watercolour. Avoid: blur"}, inline, inline]);
    assert_eq!(
        sent,
        json!({"contents": [{"role": "user", "parts": parts}], "generationConfig": {"responseModalities": ["TEXT", "IMAGE"]}})
    );
}

#[test]
fn what_no_model_can_do_is_refused_by_its_name() {
    type Ask = fn(&mut ImageRequest);
    let asks: [(&str, Ask); 11] = [
        ("seed", |r| r.seed = Some(7)),
        ("steps", |r| r.steps = Some(4)),
        ("guidance", |r| r.guidance = Some(7.5)),
        ("quality", |r| r.quality = Some(Quality::High)),
        ("background", |r| r.background = Some(Background::Transparent)),
        ("watermark", |r| r.watermark = Some(true)),
        ("moderation", |r| r.moderation = Some(Moderation::Low)),
        ("prompt_rewrite", |r| r.prompt_rewrite = Some(true)),
        ("output_compression", |r| r.output_compression = Some(80)),
        ("mask", |r| (r.mask, r.references) = (Some(Input::default()), vec![Input::default()])),
        ("n", |r| r.n = 2),
    ];
    for (field, ask) in asks {
        assert_eq!(fitted(models::DEFAULT, Parameters::Strict, ask), Err(vec![field.into()]));
    }
    let fits = |model: &str, count: usize| {
        fitted(model, Parameters::Strict, |r| r.references = vec![Input::default(); count]).is_ok()
    };
    for (model, most) in [
        (models::DEFAULT, 10),
        ("gemini-3-pro-image", 14),
        ("gemini-3.1-flash-image", 14),
        ("gemini-3.1-flash-lite-image", 3),
        ("gemini-2.5-flash-image", 3),
    ] {
        assert!(fits(model, most) && !fits(model, most + 1), "{model}");
    }
    let option = |r: &mut ImageRequest| drop(r.vendor.insert("thinking_level".into(), "high".into()));
    assert_eq!(fitted("gemini-2.5-flash-image", Parameters::Strict, option), Err(vec!["vendor".into()]));
    assert_eq!(
        body(models::DEFAULT, option)["generationConfig"]["thinkingConfig"],
        json!({"thinkingLevel": "high"})
    );
}

#[tokio::test]
async fn what_the_vendor_would_refuse_is_not_sent() {
    let upstream = FakeUpstream::start().await;
    let gemini = gemini(json!({"base_url": upstream.url()}));
    let with = |change: fn(&mut ImageRequest)| {
        let mut request = ImageRequest::new(models::DEFAULT, "a fox");
        change(&mut request);
        request
    };
    for (request, named) in [
        (with(|r| drop(r.vendor.insert("thinking_level".into(), 3.into()))), "minimal, medium, high"),
        (with(|r| r.size = Size::exact(7, 7)), "at 1K, 2K, 4K"),
        (with(|r| r.model = "gemini-4".into()), "no image model"),
        (
            with(|r| {
                r.references = vec![Input { bytes: vec![0; 15_500_000].into(), ..Input::default() }];
            }),
            "at most 20 MB",
        ),
    ] {
        let error = gemini.submit(&Bench::new().context(), &request).await.unwrap_err();
        assert!(error.message.contains(named) && error.spend == Spend::None, "{named}: {error}");
    }
    assert!(upstream.requests().is_empty());
}

#[test]
fn names_that_are_gone_lead_to_their_successors() {
    let on = gemini(json!({}));
    for (old, new) in [
        ("imagen-4.0-generate-001", models::DEFAULT),
        ("imagen-3", models::DEFAULT),
        ("gemini-3-pro-image-preview", "gemini-3-pro-image"),
        ("gemini-2.5-flash-image-preview", "gemini-2.5-flash-image"),
    ] {
        assert_eq!(on.capabilities(old).unwrap().replaced_by, Some(new), "{old}");
        assert!(!on.models().contains(&old.to_owned()), "{old} is not listed");
        let why = build(json!({"api_key": "k", "default_model": old})).err().expect("refused");
        assert!(why.contains(old) && why.contains(new), "{why}");
    }
    for unknown in ["imagen", "gemini-3-pro", ""] {
        assert!(on.capabilities(unknown).is_none(), "{unknown}");
    }
    assert_eq!(on.capabilities("gemini-2.5-flash-image").unwrap().sunset, Some("2027-03-15"));
}

#[test]
fn prices_rise_with_the_tier() {
    let on = gemini(json!({}));
    let price = |model: &str, size: &str| {
        let request = ImageRequest { size: size.parse().unwrap(), ..ImageRequest::new(model, "a fox") };
        let fit = on.capabilities(model).unwrap().fit(&request, Parameters::Nearest).unwrap();
        let table = on.capabilities(model).unwrap().price.as_ref().unwrap();
        table.estimate(&fit.request, (1024, 1024)).unwrap().1.amount_micros
    };
    for (model, size, micros) in [
        (models::DEFAULT, "auto", 33_600),
        (models::DEFAULT, "3:4", 33_600),
        (models::DEFAULT, "2K", 50_400),
        (models::DEFAULT, "4K", 75_600),
        ("gemini-3-pro-image", "1K", 134_000),
        ("gemini-3-pro-image", "2752x1536", 134_000),
        ("gemini-3-pro-image", "5504x3072", 240_000),
        ("gemini-3.1-flash-image", "512x512", 44_820),
        ("gemini-3.1-flash-image", "21:9", 67_200),
        ("gemini-3.1-flash-lite-image", "1K", 33_600),
        ("gemini-2.5-flash-image", "auto", 39_000),
    ] {
        assert_eq!(price(model, size), micros, "{model} {size}");
    }
}

#[test]
fn settings_are_strict_and_a_missing_key_switches_it_off() {
    match build(json!({})) {
        Ok(Built::Off(why)) => assert!(why.contains("GEMINI_API_KEY"), "{why}"),
        _ => panic!("it must be off, not refused"),
    }
    assert!(matches!(build(json!({"access_token": "t"})), Ok(Built::On(_))), "Vertex AI needs no key");
    for (settings, named) in [
        (json!({"api_kye": "k"}), "api_kye"),
        (json!({"base_url": "generativelanguage.googleapis.com"}), "base_url"),
        (json!({"default_model": "sora"}), "default_model"),
        (json!({"models": {"new": {}}}), "models.new.like"),
        (json!({"models": {"a/../b": {"like": models::DEFAULT}}}), "a/../b"),
    ] {
        let error = build(settings).err().expect("refused");
        assert!(error.contains(named), "{error}");
    }
    let own = gemini(json!({"default_model": "gemini-5-image", "models": {
        "gemini-5-image": {"like": "gemini-3-pro-image", "references": 20, "prompt_max": 100},
        "gemini-2.5-flash-image": {"references": 5},
    }}));
    assert_eq!(own.models()[0], "gemini-5-image");
    let new = own.capabilities("gemini-5-image").unwrap();
    assert_eq!((new.references.clone(), new.prompt_max), (0..=20, 100));
    assert_eq!(own.capabilities("gemini-2.5-flash-image").unwrap().references, 0..=5);
    let settings: Settings = build_config(json!({"api_key": CANARY, "access_token": CANARY})).unwrap();
    assert!(!format!("{settings:?}").contains(CANARY));
}

fn read(body: Value) -> Result<Artifact, ProviderError> {
    let request = ImageRequest::new(models::DEFAULT, "a fox");
    match gemini(json!({})).read(&request, &answer(200, &[], body.to_string()))? {
        Submission::Done(artifact) => Ok(artifact),
        Submission::Pending(..) => panic!("there are no tickets"),
    }
}

fn image() -> Value {
    let file = include_str!("../fixtures/generate_ok.resp.json");
    let answer: Value = serde_json::from_str(file).unwrap();
    answer["candidates"][0]["content"]["parts"][0].clone()
}

#[test]
fn the_cost_follows_the_kinds_of_tokens() {
    let candidates = json!([{"content": {"parts": [image(), image()]}}]);
    let usage = json!({"promptTokenCount": 300, "candidatesTokenCount": 1_140, "thoughtsTokenCount": 100,
                       "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1_120}, {"modality": "TEXT", "tokenCount": 20}]});
    let made = read(
        json!({"candidates": candidates, "usageMetadata": usage, "modelVersion": "v", "responseId": "r"}),
    )
    .unwrap();
    assert_eq!(made.pictures.len(), 2, "all of one answer are kept");
    let cost = made.cost.unwrap();
    // 300 x 0.5 + 1120 x 30 + 120 x 3
    assert_eq!((cost.money.amount_micros, cost.basis), (150 + 33_600 + 360, Basis::Reported));
    assert_eq!(
        (made.usage.input_tokens, made.usage.output_tokens, made.usage.images),
        (Some(300), Some(1_240), Some(2))
    );
    assert_eq!((made.model.as_deref(), made.vendor_request_id.as_deref()), (Some("v"), Some("r")));
    let forgotten = ImageRequest::new("gemini-configured-once", "a fox");
    let paid = answer(200, &[], json!({"candidates": candidates}).to_string());
    assert!(gemini(json!({})).read(&forgotten, &paid).is_ok(), "it is paid, whatever the settings say now");
    let silent = read(json!({"candidates": candidates})).unwrap();
    assert_eq!((silent.cost, silent.usage.input_tokens), (None, None), "absent is not zero");
}

#[test]
fn why_there_is_no_image_is_told_apart() {
    use ErrorClass::{BadResponse, ContentBlocked};
    let ended = |reason: &str| json!({"candidates": [{"finishReason": reason}]});
    let draft = json!({"thought": true, "inlineData": image()["inlineData"]});
    for (body, class, spend, stage) in [
        (json!({"promptFeedback": {"blockReason": "JAILBREAK"}}), ContentBlocked, Spend::None, Some("input")),
        (ended("SAFETY"), ContentBlocked, Spend::Possible, Some("output")),
        (ended("IMAGE_RECITATION"), ContentBlocked, Spend::Possible, Some("output")),
        (ended("SPII"), ContentBlocked, Spend::Possible, Some("output")),
        (ended("IMAGE_OTHER"), BadResponse, Spend::Possible, None),
        (ended("MAX_TOKENS"), BadResponse, Spend::Possible, None),
        (ended("STOP"), BadResponse, Spend::Possible, None),
        (json!({"candidates": [{}]}), BadResponse, Spend::Possible, None),
        (
            json!({"candidates": [{"content": {"parts": [draft]}, "finishReason": "STOP"}]}),
            BadResponse,
            Spend::Possible,
            None,
        ),
        (json!({"candidates": []}), BadResponse, Spend::Certain, None),
        (
            json!({"candidates": [{"content": {"parts": [{"inlineData": {"data": "aGVsbG8="}}]}}]}),
            BadResponse,
            Spend::Certain,
            None,
        ),
    ] {
        let error = read(body.clone()).unwrap_err();
        assert_eq!((error.class, error.spend, error.stage.as_deref()), (class, spend, stage), "{body}");
        assert_eq!(error.retry, Retry::Never, "{body}");
    }
    let poem =
        json!({"candidates": [{"content": {"parts": [{"text": "Roses are red"}]}, "finishReason": "STOP"}]});
    assert!(!read(poem).unwrap_err().message.contains("Roses"), "its words are withheld");
}

proptest! {
    #[test]
    fn any_answer_can_be_read(answer in any_answer("\\{\"(candidates|error|promptFeedback)\":(null|1|\\{\"(status|details|blockReason)\":(\"[A-Z_]{0,20}\"|\\[null\\])\\}|\\[(null|\\{\"(content|finishReason)\":(\"[A-Z]{0,5}\"|\\{\"parts\":\\[(null|\\{\"inlineData\":\\{\"data\":(1|\"[a-z=]{0,9}\")\\}\\})\\]\\})\\})\\])\\}")) {
        let read = gemini(json!({})).read(&ImageRequest::new(models::DEFAULT, "p"), &answer);
        prop_assert!(read.is_err() || could_succeed(&answer));
    }
}
