//! The recorded cases of OpenAI and of servers that speak its dialect, and the faults every plugin must stand.

use plugin_api::{
    Background, Built, ImageRequest, Input, Moderation, OutputFormat, Provider, Quality, Size, Submission,
};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use testkit::{Behaviour, Bench, CANARY, FakeUpstream, Recorded, Subject};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn instance(settings: Value) -> Arc<dyn Provider> {
    match (plugin_openai::PLUGIN.build)(settings) {
        Ok(Built::On(provider)) => provider,
        Ok(Built::Off(why)) | Err(why) => panic!("{why}"),
    }
}

struct OpenAi;

impl Subject for OpenAi {
    fn fixtures(&self) -> PathBuf {
        folder("openai")
    }
    fn build(&self, case: &str, url: &str) -> Arc<dyn Provider> {
        let edits = if case == "edit_json" { "json" } else { "multipart" };
        instance(json!({"api_key": CANARY, "base_url": format!("{url}/v1"), "edits": edits}))
    }
    fn request(&self, case: &str) -> ImageRequest {
        let model = match case {
            "edit_json" => "gpt-image-2",
            "edit_multipart" => "gpt-image-2.5-sunburst",
            _ => "gpt-image-2.5-flare",
        };
        let usual = ImageRequest {
            size: Size::exact(1024, 1024),
            quality: Some(Quality::Low),
            output_format: Some(OutputFormat::Png),
            background: Some(Background::Opaque),
            moderation: Some(Moderation::Auto),
            ..ImageRequest::new(model, "a red fox in the snow")
        };
        match case {
            "generate_multi" | "generate_fewer_than_asked" => ImageRequest { n: 2, ..usual },
            "generate_flexible_size" => ImageRequest { size: Size::exact(1536, 864), ..usual },
            "generate_webp_transparent" => ImageRequest {
                prompt: "a fox sticker".into(),
                output_format: Some(OutputFormat::Webp),
                output_compression: Some(80),
                background: Some(Background::Transparent),
                moderation: None,
                ..usual
            },
            "stream" | "stream_cut" => {
                let options = json!({"stream": true, "partial_images": 2});
                ImageRequest { vendor: options.as_object().cloned().unwrap_or_default(), ..usual }
            }
            "edit_multipart" => {
                let (references, mask) = recorded_inputs();
                ImageRequest {
                    prompt: "put a hat on the fox".into(),
                    size: usual.size,
                    quality: usual.quality,
                    references,
                    mask,
                    ..ImageRequest::new(model, "")
                }
            }
            "edit_json" => {
                let (mut references, _) = recorded_inputs();
                references.truncate(1);
                let prompt = "put a hat on the fox";
                ImageRequest { size: usual.size, references, ..ImageRequest::new(model, prompt) }
            }
            _ => usual,
        }
    }
}

/// The pictures of the recorded form: its references and its mask.
fn recorded_inputs() -> (Vec<Input>, Option<Input>) {
    let parts = Recorded::from_file(&folder("openai/edit_multipart.req.http")).parts();
    let inputs = |name: &str| -> Vec<Input> {
        let named = parts.iter().filter(|p| p.name == name);
        let input = |p: &testkit::SeenPart| Input {
            mime: p.content_type.clone().unwrap_or_default(),
            bytes: p.bytes.clone(),
            ..Input::default()
        };
        named.map(input).collect()
    };
    (inputs("image[]"), inputs("mask").pop())
}

struct Compatible;

impl Subject for Compatible {
    fn fixtures(&self) -> PathBuf {
        folder("openai_compatible")
    }
    fn build(&self, _: &str, url: &str) -> Arc<dyn Provider> {
        let settings = json!({"api_key": CANARY, "base_url": format!("{url}/v1"), "models": ["qwen-image"],
                              "max_n": 4, "result_hosts": ["cdn.example.com"]});
        instance(settings)
    }
    fn request(&self, case: &str) -> ImageRequest {
        let n = if case == "ignored_n" { 3 } else { 1 };
        ImageRequest { n, size: Size::exact(1024, 1024), ..ImageRequest::new("qwen-image", "a red fox") }
    }
}

#[tokio::test]
async fn every_recorded_case_of_openai_is_read_as_recorded() {
    testkit::conformance(&OpenAi).await;
}

#[tokio::test]
async fn every_recorded_case_of_other_servers_is_read_as_recorded() {
    testkit::conformance(&Compatible).await;
}

#[tokio::test]
async fn openai_models_stand_every_fault() {
    testkit::faults(&OpenAi).await;
}

#[tokio::test]
async fn models_of_other_servers_stand_every_fault() {
    testkit::faults(&Compatible).await;
}

#[tokio::test]
async fn fewer_images_than_asked_is_a_partial_success() {
    let upstream = FakeUpstream::start().await;
    let body = std::fs::read(folder("openai/generate_fewer_than_asked.resp.json")).unwrap();
    upstream.push(Behaviour::json(200, body));
    let (provider, request) = (OpenAi.build("", &upstream.url()), OpenAi.request("generate_multi"));
    let Ok(Submission::Done(artifact)) = provider.submit(&Bench::new().context(), &request).await else {
        panic!("it is a success");
    };
    assert_eq!((artifact.pictures.len(), artifact.failed.len()), (1, 1));
    assert_eq!(artifact.failed[0].index, 1, "the second one is missing");
}

#[tokio::test]
async fn the_key_travels_as_the_server_wants_it_and_the_account_is_named() {
    let upstream = FakeUpstream::start().await;
    upstream.default(Behaviour::json(200, r#"{"data":[]}"#));
    let base = format!("{}/v1", upstream.url());
    for settings in [
        json!({"base_url": base, "api_key": "k", "organization": "org-1", "project": "proj-1"}),
        json!({"base_url": base, "api_key": "k", "auth": "api-key"}),
        json!({"base_url": base, "api_key": "k", "auth": "none"}),
        json!({"base_url": base}),
    ] {
        instance(settings).check(&Bench::new().context()).await.expect("the list of models is there");
    }
    let sent = upstream.requests();
    let header = |n: usize, name: &str| sent[n].header(name);
    assert_eq!(header(0, "authorization"), Some("Bearer k"));
    assert_eq!(
        (header(0, "openai-organization"), header(0, "openai-project")),
        (Some("org-1"), Some("proj-1"))
    );
    assert_eq!((header(1, "api-key"), header(1, "authorization")), (Some("k"), None));
    assert_eq!((header(2, "api-key"), header(2, "authorization")), (None, None));
    assert_eq!(header(3, "authorization"), None, "an empty key is not sent");
}

#[tokio::test]
async fn a_server_without_a_list_of_models_is_ready() {
    let upstream = FakeUpstream::start().await; // answers 404
    let other = Compatible.build("", &upstream.url());
    other.check(&Bench::new().context()).await.expect("a 404 there is no failure");
}
