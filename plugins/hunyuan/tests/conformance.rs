//! The shared suites over the recorded cases of both generations.

use plugin_api::{Built, ImageRequest, Input, Provider, Size, Ticket};
use serde_json::{Value, json};
use std::{path::PathBuf, sync::Arc};
use testkit::{CANARY, Call, Recorded, Subject, conformance, faults};

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn instance(settings: Value) -> Arc<dyn Provider> {
    match (plugin_hunyuan::PLUGIN.build)(settings) {
        Ok(Built::On(provider)) => provider,
        Ok(Built::Off(why)) | Err(why) => panic!("{why}"),
    }
}

/// A case asks about a job when its name says so, or when only a query can meet it.
fn is_query(case: &str) -> bool {
    case.starts_with("query_") || matches!(case, "error_job_gone" | "error_resource_not_found")
}

fn options(options: Value) -> serde_json::Map<String, Value> {
    options.as_object().cloned().unwrap_or_default()
}

/// The signed API. `0`: the model of the faults, and of cases that name none.
struct Tc3(&'static str);

impl Subject for Tc3 {
    fn fixtures(&self) -> PathBuf {
        folder("tc3")
    }

    fn build(&self, _: &str, url: &str) -> Arc<dyn Provider> {
        instance(
            json!({"secret_id": "AKIDEXAMPLEEXAMPLEEXAMPLEEXAMPLE0000", "secret_key": CANARY, "tc3_base_url": url}),
        )
    }

    fn request(&self, case: &str) -> ImageRequest {
        let fox = |model: &str| ImageRequest::new(model, "a red fox in the snow");
        match case {
            "submit_ok" => ImageRequest {
                prompt: "雪地里的赤狐，水墨画风格".into(),
                size: Size::exact(512, 1024),
                ..fox("hunyuan-image-3.0")
            },
            "lite_url" => ImageRequest {
                vendor: options(json!({"RspImgType": "url"})),
                ..ImageRequest::new("hunyuan-lite", "night")
            },
            "lite_base64" => fox("hunyuan-lite"),
            "query_done_multi" | "query_partial" | "query_partial_blank" => {
                ImageRequest { n: 2, ..fox("hunyuan-image") }
            }
            _ => fox(self.0),
        }
    }

    fn call(&self, case: &str, _: &Value) -> Call {
        match self.ticket().filter(|_| is_query(case)) {
            Some(ticket) => Call::Poll(ticket),
            None => Call::Submit,
        }
    }

    fn ticket(&self) -> Option<Ticket> {
        Some(Ticket(json!({
            "service": "aiart", "version": "2022-12-29", "query": "QueryTextToImageJob",
            "job_id": "1250000000-1790000000-11111111-2222-3333-4444-555555555555-0",
        })))
    }

    fn skip(&self, case: &str) -> Option<&'static str> {
        (case == "download_expired").then_some("the gateway fetches the result, not the plugin")
    }
}

struct TokenHub(&'static str);

impl Subject for TokenHub {
    fn fixtures(&self) -> PathBuf {
        folder("tokenhub")
    }

    fn build(&self, _: &str, url: &str) -> Arc<dyn Provider> {
        instance(json!({"api_key": CANARY, "base_url": url}))
    }

    fn request(&self, case: &str) -> ImageRequest {
        let asked = |model: &str, prompt: &str| ImageRequest::new(model, prompt);
        match case {
            "submit_ok" => ImageRequest {
                size: Size::exact(1024, 1024),
                seed: Some(7),
                ..asked("hy-image-v3.0", "雪地里的赤狐")
            },
            "lite_b64" => asked("hy-image-lite", "雨中, 竹林"),
            "lite_url" => ImageRequest {
                vendor: options(json!({"rsp_img_type": "url"})),
                ..asked("hy-image-lite", "雨中, 竹林")
            },
            "v3_ok" => ImageRequest {
                size: Size::exact(768, 1024),
                seed: Some(7),
                ..asked("hy-image-v3", "窗台上的橘猫")
            },
            "v35_ok" => ImageRequest {
                size: Size::exact(1024, 1024),
                seed: Some(7),
                references: vec![recorded_reference()],
                ..asked("hy-image-v3.5-preview", "给狐狸戴上帽子")
            },
            "v35_no_image" => asked("hy-image-v3.5-preview", "a fox"),
            _ => asked(self.0, "a red fox"),
        }
    }

    fn call(&self, case: &str, _: &Value) -> Call {
        match self.ticket().filter(|_| is_query(case)) {
            Some(ticket) => Call::Poll(ticket),
            None => Call::Submit,
        }
    }

    fn ticket(&self) -> Option<Ticket> {
        Some(Ticket(json!({"model": "hy-image-v3.0", "id": "th-job-0001"})))
    }
}

/// The picture of the recorded edit.
fn recorded_reference() -> Input {
    let body = Recorded::from_file(&folder("tokenhub/v35_ok.req.http")).json();
    let url = body.pointer("/messages/0/content/1/image_url/url").and_then(Value::as_str);
    let blob = testkit::answer(200, &[], "{}").blob(url.expect("the edit has a picture"));
    let bytes = blob.expect("it is base64").read().expect("it is in memory");
    Input { mime: "image/png".into(), width: 64, height: 64, bytes, ..Input::default() }
}

#[tokio::test]
async fn every_recorded_case_of_tc3_is_sent_and_read_as_recorded() {
    conformance(&Tc3("hunyuan-image-3.0")).await;
}

#[tokio::test]
async fn every_recorded_case_of_tokenhub_is_sent_and_read_as_recorded() {
    conformance(&TokenHub("hy-image-v3.0")).await;
}

#[tokio::test]
async fn jobs_of_tc3_stand_every_fault() {
    faults(&Tc3("hunyuan-image-3.0")).await;
}

#[tokio::test]
async fn blocking_calls_of_tc3_stand_every_fault() {
    faults(&Tc3("hunyuan-lite")).await;
}

#[tokio::test]
async fn jobs_of_tokenhub_stand_every_fault() {
    faults(&TokenHub("hy-image-v3.0")).await;
}

#[tokio::test]
async fn blocking_calls_of_tokenhub_stand_every_fault() {
    for model in ["hy-image-lite", "hy-image-v3", "hy-image-v3.5-preview"] {
        faults(&TokenHub(model)).await;
    }
}
