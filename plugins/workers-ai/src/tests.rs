use super::*;
use crate::wire::Prepared;
use bytes::Bytes;
use image::{ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use plugin_api::{Input, Parameters, Size};
use proptest::prelude::*;
use serde_json::json;
use std::io::Cursor;
use testkit::{Bench, CANARY, FakeUpstream, Reply, answer, any_answer, could_succeed};

const HAT: &[u8] = include_bytes!("../fixtures/hat.png");

fn workers(mut settings: Value) -> WorkersAi {
    settings["account_id"] = "acct".into();
    settings["api_token"] = CANARY.into();
    WorkersAi::new(build_config(settings).unwrap()).unwrap().expect("it is on")
}

/// A request with everything set, fitted to a model the way the gateway does.
fn everything(workers: &WorkersAi, model: &str) -> ImageRequest {
    let capabilities = workers.capabilities(model).expect("the model is known");
    let references = (0..*capabilities.references.end()).map(|_| input("image/png", 64, 64, HAT.into()));
    let asked = ImageRequest {
        negative_prompt: Some("blur".into()),
        seed: Some(7),
        steps: Some(4),
        guidance: Some(7.5),
        quality: Some(plugin_api::Quality::High),
        user: Some("u".into()),
        watermark: Some(false),
        references: references.collect(),
        mask: capabilities.mask.then(|| input("image/png", 64, 64, HAT.into())),
        ..ImageRequest::new(model, "a red fox")
    };
    capabilities.fit(&asked, Parameters::Nearest).expect("it can be fitted").request
}

fn input(mime: &str, width: u32, height: u32, bytes: Bytes) -> Input {
    Input { handle: "i".into(), mime: mime.into(), width, height, bytes }
}

fn encoded(image: impl Into<image::DynamicImage>, format: ImageFormat) -> Bytes {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner().into()
}

/// The names of the members that a model is sent when everything is asked of it.
fn members(workers: &WorkersAi, id: &str) -> Vec<String> {
    let model = &workers.models[workers.model(id).unwrap()];
    let request = everything(workers, id);
    let inputs = inputs::prepare(model, &request).unwrap();
    let mut names: Vec<String> = match model.dialect {
        Dialect::Flux2 { steps } => {
            wire::form(steps, &request, &inputs).into_iter().map(|p| p.name).collect()
        }
        _ => {
            let body = serde_json::to_value(wire::body(model, &request, &inputs)).unwrap();
            body.as_object().unwrap().keys().cloned().collect()
        }
    };
    names.sort();
    names
}

#[test]
fn no_model_is_sent_a_member_that_it_does_not_take() {
    let workers = workers(json!({}));
    let diffusion = ["guidance", "height", "negative_prompt", "num_steps", "prompt", "seed", "width"];
    let edit = ["guidance", "image_b64", "negative_prompt", "num_steps", "prompt", "seed"];
    let inpaint = ["guidance", "image_b64", "mask", "negative_prompt", "num_steps", "prompt", "seed"];
    let lucid = ["guidance", "height", "num_steps", "prompt", "seed", "width"];
    let four = ["input_image_0", "input_image_1", "input_image_2", "input_image_3"];
    let klein = [&["guidance", "height"], &four[..], &["prompt", "seed", "width"]].concat();
    let dev = [&["guidance", "height"], &four[..], &["prompt", "seed", "steps", "width"]].concat();
    let wanted: Vec<(&str, &[&str])> = vec![
        ("@cf/black-forest-labs/flux-1-schnell", &["prompt", "steps"]),
        ("@cf/bytedance/stable-diffusion-xl-lightning", &diffusion),
        ("@cf/stabilityai/stable-diffusion-xl-base-1.0", &diffusion),
        ("@cf/lykon/dreamshaper-8-lcm", &diffusion),
        ("@cf/runwayml/stable-diffusion-v1-5-img2img", &edit),
        ("@cf/runwayml/stable-diffusion-v1-5-inpainting", &inpaint),
        ("@cf/leonardo/phoenix-1.0", &diffusion),
        ("@cf/leonardo/lucid-origin", &lucid),
        ("@cf/black-forest-labs/flux-2-dev", &dev),
        ("@cf/black-forest-labs/flux-2-klein-4b", &klein),
        ("@cf/black-forest-labs/flux-2-klein-9b", &klein),
    ];
    assert_eq!(workers.models(), wanted.iter().map(|w| w.0).collect::<Vec<_>>(), "every model is looked at");
    for (id, want) in wanted {
        assert_eq!(members(&workers, id), want, "{id}");
    }
}

#[test]
fn flux_2_dev_always_says_its_steps_because_they_are_its_price() {
    let parts = wire::form(Some(25), &ImageRequest::new("m", "p"), &Prepared::default());
    assert!(parts.iter().any(|p| p.name == "steps" && p.bytes == "25"));
}

#[test]
fn strength_is_checked_and_sent_to_the_models_that_edit() {
    let workers = workers(json!({}));
    let id = "@cf/runwayml/stable-diffusion-v1-5-img2img";
    let model = &workers.models[workers.model(id).unwrap()];
    let mut request = everything(&workers, id);
    request.vendor.insert("strength".into(), json!(0.5));
    let inputs = Prepared::default();
    assert_eq!(serde_json::to_value(wire::body(model, &request, &inputs)).unwrap()["strength"], 0.5);
    for bad in [json!(1.5), json!("much"), json!(null)] {
        request.vendor.insert("strength".into(), bad);
        let refused = model.capabilities.fit(&request, Parameters::Nearest).unwrap_err();
        assert_eq!((refused.len(), refused[0].field.as_str()), (1, "vendor"), "{refused:?}");
    }
}

#[test]
fn repainting_needs_a_mask() {
    let workers = workers(json!({}));
    let id = "@cf/runwayml/stable-diffusion-v1-5-inpainting";
    let model = &workers.models[workers.model(id).unwrap()];
    let mut request = everything(&workers, id);
    assert!(model.capabilities.fit(&request, Parameters::Nearest).is_ok());
    request.mask = None;
    let refused = model.capabilities.fit(&request, Parameters::Nearest).unwrap_err();
    assert_eq!((refused.len(), refused[0].field.as_str()), (1, "mask"), "{refused:?}");
}

#[test]
fn the_old_short_names_are_the_models_they_were() {
    let workers = workers(json!({}));
    for (alias, id) in [
        ("flux-schnell", "@cf/black-forest-labs/flux-1-schnell"),
        ("sdxl-lightning", "@cf/bytedance/stable-diffusion-xl-lightning"),
        ("sdxl-base", "@cf/stabilityai/stable-diffusion-xl-base-1.0"),
    ] {
        assert_eq!(workers.model(alias), workers.model(id));
        let request = format!("{:?}", workers.call(&workers.models[workers.model(alias).unwrap()]));
        assert!(request.contains(id) && !request.contains(CANARY), "{request}");
    }
    assert!(workers.capabilities("@cf/meta/llama").is_none());
}

#[test]
fn sizes_are_those_of_the_model_table() {
    let workers = workers(json!({}));
    let fit = |model: &str, size: &str| {
        let ImageRequest { references, mask, .. } = everything(&workers, model);
        let size = size.parse().unwrap();
        let asked = ImageRequest { size, references, mask, ..ImageRequest::new(model, "p") };
        workers.capabilities(model).unwrap().fit(&asked, Parameters::Strict).map(|f| f.request.size)
    };
    assert!(fit("flux-schnell", "512x512").is_err());
    assert_eq!(fit("flux-schnell", "1:1"), Ok(Size::exact(1024, 1024)));
    assert!(fit("sdxl-base", "256x2048").is_ok() && fit("sdxl-base", "248x1024").is_err());
    assert_eq!(fit("@cf/lykon/dreamshaper-8-lcm", "auto"), Ok(Size::exact(512, 512)));
    assert_eq!(fit("@cf/runwayml/stable-diffusion-v1-5-img2img", "auto"), Ok(Size::Auto), "the input's own");
    assert_eq!(fit("@cf/leonardo/lucid-origin", "auto"), Ok(Size::exact(1120, 1120)));
    assert!(fit("@cf/black-forest-labs/flux-2-dev", "1920x1080").is_ok());
    assert!(fit("@cf/black-forest-labs/flux-2-dev", "2048x1024").is_err());
    for model in workers.models() {
        for ratio in ["16:9", "9:16", "3:2", "1:1"] {
            let square = model.ends_with("flux-1-schnell") && ratio != "1:1";
            assert_eq!(fit(&model, ratio).is_err(), square, "{model} {ratio}");
        }
    }
}

#[test]
fn inputs_of_flux_2_are_shrunk_to_512_and_it_is_told() {
    let workers = workers(json!({}));
    let id = "@cf/black-forest-labs/flux-2-klein-4b";
    let model = &workers.models[workers.model(id).unwrap()];
    let photo = encoded(RgbImage::from_pixel(1200, 600, Rgb([200, 30, 30])), ImageFormat::Jpeg);
    let drawing = encoded(RgbaImage::from_pixel(300, 900, Rgba([0, 0, 0, 9])), ImageFormat::Png);
    let mut request = ImageRequest::new(id, "p");
    request.references = vec![
        input("image/jpeg", 1200, 600, photo),
        input("image/png", 64, 64, HAT.into()),
        input("image/png", 300, 900, drawing),
    ];
    let sent = inputs::prepare(model, &request).unwrap().references;
    for (input, (mime, width, height)) in
        sent.iter().zip([("image/jpeg", 512, 256), ("image/png", 64, 64), ("image/png", 171, 512)])
    {
        let sniffed = plugin_api::sniff(&input.bytes).unwrap();
        assert_eq!((sniffed.mime.as_str(), sniffed.width, sniffed.height), (mime, width, height));
        assert_eq!(input.mime, mime);
    }
    let told = inputs::adjustments(model, &request);
    assert_eq!(told.len(), 2, "the small one was left as it is");
    assert_eq!((told[0].asked.as_str(), told[0].used.as_str()), ("1200x600", "512x256"));
    let bomb = include_bytes!("../fixtures/claims_60000x60000.png");
    for (bytes, why) in [(&b"no image"[..], "format"), (bomb, "limit")] {
        request.references[0].bytes = Bytes::from_static(bytes);
        let error = inputs::prepare(model, &request).err().expect("it cannot be read");
        assert_eq!((error.class, error.spend), (ErrorClass::InvalidRequest, Spend::None));
        assert!(error.message.contains(why), "{error}");
    }
}

#[test]
fn a_clear_area_of_a_mask_is_sent_white() {
    let workers = workers(json!({}));
    let id = "@cf/runwayml/stable-diffusion-v1-5-inpainting";
    let model = &workers.models[workers.model(id).unwrap()];
    let mut mask = RgbaImage::from_pixel(2, 1, Rgba([0, 0, 0, 255]));
    mask.put_pixel(1, 0, Rgba([0, 0, 0, 0]));
    let mut request = everything(&workers, id);
    request.mask = Some(input("image/png", 2, 1, encoded(mask, ImageFormat::Png)));
    let sent = inputs::prepare(model, &request).unwrap();
    let grey = image::load_from_memory(sent.mask.as_ref().unwrap()).unwrap().to_luma8();
    assert_eq!(grey.as_raw(), &[0, 255]);
    let body = serde_json::to_value(wire::body(model, &request, &sent)).unwrap();
    assert_eq!(
        body["mask"].as_array().unwrap()[1..4],
        [json!(80), json!(78), json!(71)],
        "numbers, as of a PNG"
    );
    // Black and white already: as it came.
    let plain = encoded(RgbImage::from_pixel(2, 1, Rgb([255; 3])), ImageFormat::Png);
    request.mask = Some(input("image/png", 2, 1, plain.clone()));
    assert_eq!(inputs::prepare(model, &request).unwrap().mask, Some(plain));
}

#[test]
fn settings_are_strict_and_missing_credentials_switch_it_off() {
    for (settings, reason) in [
        (json!({}), "account_id and api_token"),
        (json!({"account_id": "a", "api_token": " "}), "api_token is"),
        (json!({"account_id": "", "api_token": "t"}), "account_id is"),
    ] {
        let Ok(Built::Off(off)) = build(settings) else { panic!("{reason}") };
        assert!(off.contains(reason), "{off}");
    }
    for (settings, named) in [
        (json!({"account": "a"}), "account"),
        (json!({"account_id": "a/../b"}), "account_id"),
        (json!({"base_url": "ftp://x"}), "base_url"),
        (json!({"gateway": "a b"}), "gateway"),
    ] {
        let Err(error) = build(settings) else { panic!("{named} must be refused") };
        assert!(error.contains(named), "{error}");
    }
    assert!(matches!(build(json!({"account_id": "a", "api_token": "t"})), Ok(Built::On(_))));
}

#[tokio::test]
async fn through_a_gateway_nothing_is_cached_or_sent_again() {
    let upstream = FakeUpstream::start().await;
    upstream.default(Reply::new(200, "image/png", HAT));
    let settings = json!({"gateway": "gate", "gateway_base_url": upstream.url(), "gateway_token": "aig"});
    let workers = workers(settings);
    let request = everything(&workers, "flux-schnell");
    workers.submit(&Bench::new().context(), &request).await.unwrap();
    let sent = &upstream.requests()[0];
    assert_eq!(sent.path, "/acct/gate/workers-ai/@cf/black-forest-labs/flux-1-schnell");
    for (name, value) in
        [("cf-aig-skip-cache", "true"), ("cf-aig-max-attempts", "1"), ("cf-aig-authorization", "Bearer aig")]
    {
        assert_eq!(sent.header(name), Some(value));
    }
}

#[tokio::test]
async fn a_token_of_the_account_is_verified_at_the_account() {
    let upstream = FakeUpstream::start().await;
    let refused =
        Reply::json(401, r#"{"success":false,"errors":[{"code":1000,"message":"Invalid API Token"}]}"#);
    let active = r#"{"success":true,"errors":[],"result":{"status":"active"}}"#;
    upstream.on("/user/tokens/verify", refused.clone());
    upstream.on("/accounts/acct/tokens/verify", Reply::json(200, active));
    let workers = workers(json!({"base_url": upstream.url()}));
    let bench = Bench::new();
    workers.check(&bench.context()).await.unwrap();
    upstream.on("/accounts/acct/tokens/verify", refused);
    assert_eq!(workers.check(&bench.context()).await.unwrap_err().class, ErrorClass::Authentication);
    upstream.on("/accounts/acct/tokens/verify", Reply::json(200, active.replace("active", "disabled")));
    assert_eq!(workers.check(&bench.context()).await.unwrap_err().class, ErrorClass::Authentication);
    upstream.on("/accounts/acct/tokens/verify", Reply::html(502));
    assert_eq!(
        workers.check(&bench.context()).await.unwrap_err().class,
        ErrorClass::Unavailable,
        "not known"
    );
}

#[test]
fn any_number_of_wrong_forms_is_a_bad_response() {
    let workers = workers(json!({}));
    for body in [
        r#"{"result":{"image":"not base64!"},"success":true}"#,
        r#"{"result":{"image":""},"success":true}"#,
        r#"{"result":{"image":"aGVsbG8="},"success":true}"#,
        r#"{"result":null,"success":true}"#,
        r#"{"result":{"image":[1,2]}}"#,
    ] {
        let error = workers.read(&ImageRequest::new("sdxl-base", "p"), &answer(200, &[], body)).unwrap_err();
        assert_eq!((error.class, error.spend), (ErrorClass::BadResponse, Spend::Certain), "{body}");
    }
}

proptest! {
    #[test]
    fn any_answer_can_be_read(answer in any_answer("\\{\"(success|result|errors|image)\":(null|true|false|1|\"\u{1}blob:[0-9]\"|\\[(1|null|\\{\"code\":[0-9]{4,25}\\})\\]|\\{\"image\":\"[a-z=]{0,9}\"\\})\\}")) {
        let read = workers(json!({})).read(&ImageRequest::new("flux-schnell", "p"), &answer);
        prop_assert!(read.is_err() || could_succeed(&answer));
    }
}
