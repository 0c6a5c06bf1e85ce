//! The shared suites over the recorded cases in `fixtures/`.

use plugin_api::{Built, ImageRequest, Input, Provider, Size};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use testkit::{Behaviour, Bench, CANARY, FakeUpstream, Recorded, Subject, conformance, faults};

const MODEL: &str = "gemini-nano-banana-2.1";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

struct Gemini;

impl Subject for Gemini {
    fn fixtures(&self) -> PathBuf {
        folder()
    }
    fn build(&self, _: &str, url: &str) -> Arc<dyn Provider> {
        instance(serde_json::json!({"api_key": CANARY, "base_url": format!("{url}/v1beta")}))
    }
    fn request(&self, case: &str) -> ImageRequest {
        match case {
            "edit" => ImageRequest {
                size: Size::exact(2752, 1536), // 16:9 at 2K
                references: vec![hat()],
                ..ImageRequest::new(MODEL, "put a hat on the fox")
            },
            _ => ImageRequest {
                size: Size::exact(1024, 1024),
                ..ImageRequest::new(MODEL, "a red fox in the snow")
            },
        }
    }
}

fn instance(settings: serde_json::Value) -> Arc<dyn Provider> {
    match (plugin_gemini::PLUGIN.build)(settings) {
        Ok(Built::On(provider)) => provider,
        Ok(Built::Off(why)) | Err(why) => panic!("{why}"),
    }
}

/// The reference of the recorded edit.
fn hat() -> Input {
    use base64::Engine as _;
    let body = Recorded::from_file(&folder().join("edit.req.http")).json();
    let data = body["contents"][0]["parts"][1]["inlineData"]["data"].as_str().expect("base64").to_owned();
    let bytes = base64::engine::general_purpose::STANDARD.decode(data).expect("base64").into();
    Input { handle: "hat".into(), mime: "image/png".into(), width: 64, height: 64, bytes }
}

#[tokio::test]
async fn every_recorded_case_is_sent_and_read_as_recorded() {
    conformance(&Gemini).await;
}

#[tokio::test]
async fn faults_of_network_and_vendor_are_told_for_what_they_are() {
    faults(&Gemini).await;
}

#[tokio::test]
async fn the_check_looks_at_the_model_and_the_key_travels_in_its_header_alone() {
    let upstream = FakeUpstream::start().await;
    upstream.default(Behaviour::json(200, format!(r#"{{"name":"models/{MODEL}"}}"#)));
    let gemini = Gemini.build("", &upstream.url());
    gemini.check(&Bench::new().context()).await.expect("the model is there");
    let vertex = format!("{}/v1/projects/p/locations/global/publishers/google", upstream.url());
    let token = instance(serde_json::json!({"access_token": CANARY, "base_url": vertex}));
    token.check(&Bench::new().context()).await.expect("the model is there");
    let sent = upstream.requests();
    assert_eq!(
        (sent[0].method.as_str(), sent[0].path.as_str()),
        ("GET", format!("/v1beta/models/{MODEL}").as_str())
    );
    assert_eq!((sent[0].header("x-goog-api-key"), sent[0].header("authorization")), (Some(CANARY), None));
    assert_eq!(sent[1].path, format!("/v1/projects/p/locations/global/publishers/google/models/{MODEL}"));
    assert_eq!(sent[1].header("authorization"), Some(format!("Bearer {CANARY}").as_str()));
    assert_eq!(sent[1].header("x-goog-api-key"), None);
    for (body, why) in [("{}", "something else answers"), ("<html>", "a page")] {
        upstream.push(Behaviour::json(200, body));
        assert!(gemini.check(&Bench::new().context()).await.is_err(), "{why}");
    }
}
