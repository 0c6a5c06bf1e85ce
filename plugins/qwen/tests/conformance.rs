//! The shared suites over the recorded cases in `fixtures/`.

use plugin_api::{Built, ImageRequest, Input, Provider, Size, Ticket};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use testkit::{Behaviour, Bench, CANARY, Call, FakeUpstream, Recorded, Subject, conformance, faults};

const TASK: &str = "aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// The two surfaces see the same answers; they differ in the faults that are sent to them.
struct Qwen {
    model: &'static str,
}

impl Subject for Qwen {
    fn fixtures(&self) -> PathBuf {
        folder()
    }
    fn build(&self, _: &str, url: &str) -> Arc<dyn Provider> {
        let settings = serde_json::json!({"api_key": CANARY, "base_url": format!("{url}/api/v1")});
        match (plugin_qwen::PLUGIN.build)(settings) {
            Ok(Built::On(provider)) => provider,
            Ok(Built::Off(why)) | Err(why) => panic!("{why}"),
        }
    }
    fn request(&self, case: &str) -> ImageRequest {
        let (fox, blur) = ("雪地里的赤狐", Some("模糊".to_owned()));
        match case {
            "submit_ok" | "task_succeeded" | "task_partial" => ImageRequest {
                n: 2,
                size: Size::exact(1024, 1024),
                negative_prompt: blur,
                prompt_rewrite: Some(false),
                ..ImageRequest::new("wan2.2-t2i-flash", fox)
            },
            "submit_ok_messages" => {
                ImageRequest { size: Size::exact(1280, 1280), ..ImageRequest::new("wan2.6-t2i", fox) }
            }
            "sync_edit" => ImageRequest {
                references: vec![hat()],
                ..ImageRequest::new("qwen-image-3.0", "给狐狸戴上帽子")
            },
            "sync_ok" => ImageRequest {
                size: Size::exact(1024, 1024),
                negative_prompt: blur,
                seed: Some(7),
                prompt_rewrite: Some(false),
                ..ImageRequest::new("qwen-image-2.0", fox)
            },
            "sync_multi_parts" | "sync_multi_choices" => {
                ImageRequest { n: 2, ..ImageRequest::new("qwen-image-2.0", fox) }
            }
            _ => ImageRequest::new(self.model, fox),
        }
    }
    fn call(&self, case: &str, _: &serde_json::Value) -> Call {
        if case.starts_with("task_") { Call::Poll(Ticket(TASK.into())) } else { Call::Submit }
    }
    fn ticket(&self) -> Option<Ticket> {
        Some(Ticket(TASK.into()))
    }
}

/// The reference of the recorded edit.
fn hat() -> Input {
    use base64::Engine as _;
    let body = Recorded::from_file(&folder().join("sync_edit.req.http")).json();
    let url = body["input"]["messages"][0]["content"][0]["image"].as_str().expect("a data URL").to_owned();
    let (head, data) = url.split_once(',').expect("a data URL has a comma");
    assert_eq!(head, "data:image/png;base64");
    let bytes = base64::engine::general_purpose::STANDARD.decode(data).expect("base64").into();
    Input { handle: "hat".into(), mime: "image/png".into(), width: 64, height: 64, bytes }
}

#[tokio::test]
async fn every_recorded_case_is_sent_and_read_as_recorded() {
    conformance(&Qwen { model: "qwen-image-2.0" }).await;
}

#[tokio::test]
async fn blocking_models_stand_every_fault() {
    faults(&Qwen { model: "qwen-image-3.0" }).await;
}

#[tokio::test]
async fn models_with_a_task_stand_every_fault() {
    faults(&Qwen { model: "wan2.6-t2i" }).await;
    faults(&Qwen { model: "wan2.2-t2i-flash" }).await;
}

#[tokio::test]
async fn the_check_asks_for_a_task_that_nobody_has() {
    let upstream = FakeUpstream::start().await;
    let qwen = Qwen { model: "qwen-image-3.0" }.build("", &upstream.url());
    let file = |name: &str| std::fs::read(folder().join(name)).expect("a fixture");
    upstream.push(Behaviour::json(200, file("task_unknown.resp.json")));
    qwen.check(&Bench::new().context()).await.expect("the key is good");
    let sent = upstream.requests();
    assert_eq!(sent[0].path, "/api/v1/tasks/00000000-0000-0000-0000-000000000000");
    upstream.push(Behaviour::json(401, file("error_auth.resp.json")));
    let refused = qwen.check(&Bench::new().context()).await.expect_err("the key is bad");
    assert_eq!(refused.class, plugin_api::ErrorClass::Authentication);
    upstream.push(Behaviour::json(200, "{}"));
    assert!(qwen.check(&Bench::new().context()).await.is_err(), "somebody else answers there");
}
