use super::*;
use plugin_api::{Mime, Sniffed};
use proptest::prelude::*;

fn placeholder(settings: serde_json::Value) -> Placeholder {
    Placeholder::new(build_config(settings).unwrap())
}

fn request(prompt: &str) -> ImageRequest {
    ImageRequest { size: Size::exact(256, 192), seed: Some(7), ..ImageRequest::new(MODEL, prompt) }
}

async fn picture(attempt: u64, request: &ImageRequest) -> (Bytes, u32) {
    let mut artifact = placeholder(serde_json::json!({})).draw(attempt, request).await.unwrap();
    let picture = artifact.pictures.pop().expect("one picture");
    let Source::Blob(blob) = picture.source else { panic!("the bytes come inline") };
    (blob.read().unwrap(), picture.seed.expect("the seed is told"))
}

#[tokio::test]
async fn the_same_request_draws_the_same_bytes_in_every_attempt() {
    let first = picture(1, &request("a red fox")).await;
    assert_eq!(first, picture(2, &request("a red fox")).await);
    assert_ne!(first.0, picture(1, &request("a blue fox")).await.0);
    let other = ImageRequest { seed: Some(8), ..request("a red fox") };
    assert_ne!(first.0, picture(1, &other).await.0, "another seed is another card");
}

#[tokio::test]
async fn as_a_provider_it_is_ready_and_done_at_once() {
    let Ok(Built::On(provider)) = (PLUGIN.build)(serde_json::json!({})) else { panic!("it is on") };
    let cx = testkit::Bench::new().context();
    provider.check(&cx).await.unwrap();
    assert_eq!(provider.models(), [MODEL]);
    let Submission::Done(artifact) = provider.submit(&cx, &request("a red fox")).await.unwrap() else {
        panic!("there is nothing to wait for");
    };
    assert_eq!(artifact.pictures.len(), 1);
    let unasked = provider.read(&request("a red fox"), &testkit::answer(200, &[], "{}")).unwrap_err();
    assert_eq!((unasked.class, unasked.spend), (ErrorClass::BadResponse, Spend::None));
}

#[tokio::test]
async fn without_a_seed_equal_prompts_differ_and_each_can_be_drawn_again() {
    let free = ImageRequest { seed: None, ..request("a red fox") };
    let (first, seed) = picture(1, &free).await;
    let (second, other) = picture(2, &free).await;
    assert_ne!((&first, seed), (&second, other));
    let again = ImageRequest { seed: Some(seed), ..free };
    assert_eq!(picture(3, &again).await.0, first, "the reported seed is the one that was used");
}

#[tokio::test]
async fn every_format_and_size_is_what_was_asked_for() {
    for (format, mime) in
        [(OutputFormat::Png, Mime::Png), (OutputFormat::Jpeg, Mime::Jpeg), (OutputFormat::Webp, Mime::Webp)]
    {
        for (width, height) in [(64, 64), (65, 2048), (2048, 64), (301, 199)] {
            let asked = ImageRequest {
                size: Size::exact(width, height),
                output_format: Some(format),
                ..request("a red fox in the snow")
            };
            let (bytes, _) = picture(1, &asked).await;
            assert_eq!(plugin_api::sniff(&bytes), Some(Sniffed { mime, width, height }));
            assert!(image::load_from_memory(&bytes).is_ok(), "{format} {width}x{height} decodes");
        }
    }
    let auto = ImageRequest { size: Size::Auto, ..request("a red fox") };
    let sniffed = plugin_api::sniff(&picture(1, &auto).await.0).unwrap();
    assert_eq!((sniffed.width, sniffed.height), (1024, 1024));
}

#[tokio::test]
async fn a_transparent_card_has_clear_and_solid_pixels() {
    for format in [OutputFormat::Png, OutputFormat::Webp] {
        let asked = ImageRequest {
            background: Some(Background::Transparent),
            output_format: Some(format),
            ..request("a red fox")
        };
        let image = image::load_from_memory(&picture(1, &asked).await.0).unwrap().to_rgba8();
        for alpha in [0, 255] {
            assert!(image.pixels().any(|p| p.0[3] == alpha), "{format}: alpha {alpha}");
        }
    }
}

#[tokio::test]
async fn style_and_references_change_the_card() {
    let plain = picture(1, &request("a red fox")).await.0;
    let mono = ImageRequest { style: Some("mono".into()), ..request("a red fox") };
    let grey = image::load_from_memory(&picture(1, &mono).await.0).unwrap().to_rgb8();
    assert!(grey.pixels().all(|p| p.0[0] == p.0[1] && p.0[1] == p.0[2]), "mono has no colour");
    let tall = ImageRequest { size: Size::exact(512, 512), ..request("a red fox") };
    let edit = ImageRequest { references: vec![Default::default(); 2], ..tall.clone() };
    assert_ne!(picture(1, &tall).await.0, picture(1, &edit).await.0, "the caption counts them");
    assert_ne!(plain, picture(1, &mono).await.0);
}

#[tokio::test]
async fn the_failure_rate_is_met_and_decided_by_the_attempt() {
    let never = placeholder(serde_json::json!({}));
    let always = placeholder(serde_json::json!({ "failure_rate": 1.0 }));
    for attempt in 0..50 {
        let error = always.draw(attempt, &request("a red fox")).await.unwrap_err();
        assert_eq!((error.class, error.spend), (ErrorClass::Unavailable, Spend::None));
        assert!(!never.fails(attempt));
    }
    let half = placeholder(serde_json::json!({ "failure_rate": 0.5 }));
    let failed = (0..1000).filter(|attempt| half.fails(fold(&u64::to_le_bytes(*attempt)))).count();
    assert!((400..600).contains(&failed), "{failed} of 1000 failed");
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_waited_before_the_card_is_drawn() {
    let slow = placeholder(serde_json::json!({ "delay": "2s" }));
    let began = tokio::time::Instant::now();
    slow.draw(1, &request("a red fox")).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(2));
    assert_eq!(slow.capabilities(MODEL).unwrap().expected, Duration::from_secs(2));
}

#[test]
fn settings_are_strict_and_all_have_defaults() {
    assert!(matches!(build(serde_json::json!({})), Ok(Built::On(_))));
    for (settings, named) in [
        (serde_json::json!({ "failure_rate": 1.5 }), "failure_rate"),
        (serde_json::json!({ "failure_rate": -0.1 }), "failure_rate"),
        (serde_json::json!({ "delay": 2 }), "string"),
        (serde_json::json!({ "dealy": "2s" }), "dealy"),
    ] {
        let Err(error) = build(settings) else { panic!("{named} must be refused") };
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn a_card_is_free_and_its_price_is_stated() {
    let card = placeholder(serde_json::json!({}));
    let capabilities = card.capabilities(MODEL).expect("the model is known");
    let price = capabilities.price.as_ref().expect("free is a price");
    let (expected, most) = price.estimate(&request("a red fox"), (1024, 1024)).unwrap();
    assert_eq!((expected, most), (Money::micros(0, "USD"), Money::micros(0, "USD")));
    assert!(card.capabilities("dall-e").is_none());
}

#[tokio::test]
async fn what_a_fitted_request_never_asks_is_refused_all_the_same() {
    let card = placeholder(serde_json::json!({}));
    let good = request("a red fox");
    for (bad, class) in [
        (ImageRequest { model: "dall-e".into(), ..good.clone() }, ErrorClass::NotFound),
        (ImageRequest { size: Size::exact(4096, 64), ..good.clone() }, ErrorClass::InvalidRequest),
        (ImageRequest { style: Some("noir".into()), ..good }, ErrorClass::InvalidRequest),
    ] {
        assert_eq!(card.draw(1, &bad).await.unwrap_err().class, class);
    }
}

#[test]
fn long_and_foreign_prompts_are_drawn() {
    for prompt in
        ["狐狸在雪地里奔跑，".repeat(400), "x".repeat(32_000), "🦊🏳️‍🌈 čeština, Ünïcödé\0\u{202E}".repeat(40)]
    {
        for (width, height) in [(64, 64), (64, 2048), (512, 300)] {
            let asked = ImageRequest { size: Size::exact(width, height), ..request(&prompt) };
            assert!(plan(&asked, 1).unwrap().render().is_ok());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_prompt_seed_and_size_can_be_drawn(
        prompt in any::<String>(), seed in any::<u32>(), width in 64_u32..400, height in 64_u32..400,
    ) {
        let asked = ImageRequest { size: Size::exact(width, height), ..request(&prompt) };
        let bytes = plan(&asked, seed).unwrap().render().unwrap();
        let sniffed = plugin_api::sniff(&bytes).unwrap();
        prop_assert_eq!((sniffed.width, sniffed.height), (width, height));
    }
}
