//! The shared suites over every example of the documentation, with answers in the shapes that the vendors document.

#![allow(clippy::unwrap_used)]

mod support;

use plugin_api::{ImageRequest, OutputFormat, Parameters, Provider, Size, Ticket};
use serde_json::Value;
use std::{path::PathBuf, sync::Arc};
use support::{NAMES, block, example};
use testkit::{Call, Subject, conformance, faults};

struct Example {
    name: &'static str,
    /// What the tickets of the recorded polls are; none where the image comes at once.
    ticket: Option<&'static str>,
}

impl Subject for Example {
    fn fixtures(&self) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(self.name)
    }

    fn build(&self, _: &str, url: &str) -> Arc<dyn Provider> {
        example(self.name, url)
    }

    fn request(&self, case: &str) -> ImageRequest {
        let provider = example(self.name, "http://127.0.0.1:1");
        let fox = |size: Size| ImageRequest {
            size,
            seed: Some(7),
            ..ImageRequest::new(provider.models()[0].clone(), "a red fox")
        };
        let asked = match self.name {
            "a1111" => ImageRequest {
                negative_prompt: Some("blur".into()),
                steps: Some(20),
                guidance: Some(7.0),
                n: if ["several", "grid", "partial"].contains(&case) { 2 } else { 1 },
                ..fox(Size::exact(1024, 1024))
            },
            "fal" => ImageRequest {
                steps: Some(4),
                output_format: Some(OutputFormat::Png),
                ..fox(Size::exact(1024, 768))
            },
            "replicate" => ImageRequest { steps: Some(4), n: 2, ..fox(Size::exact(1344, 768)) },
            "bfl" => fox(Size::exact(1024, 768)),
            _ => fox(Size::exact(1024, 1024)),
        };
        let capabilities = provider.capabilities(&asked.model).expect("it is in the list");
        capabilities.fit(&asked, Parameters::Strict).expect("the model can do it").request
    }

    fn call(&self, case: &str, expect: &Value) -> Call {
        let polls =
            ["status_", "result_", "history_", "starting", "processing", "succeeded", "failed", "canceled"];
        let polls_bfl = ["pending", "ready", "request_moderated", "content_moderated", "task_not_found"];
        let polled = polls.iter().chain(&polls_bfl).any(|start| case.starts_with(start)) || case == "error";
        match self.ticket() {
            _ if expect.get("check").is_some() => Call::Check,
            Some(ticket) if polled => Call::Poll(ticket),
            _ => Call::Submit,
        }
    }

    fn ticket(&self) -> Option<Ticket> {
        self.ticket.map(|ticket| Ticket(ticket.into()))
    }
}

const ALL: [Example; 5] = [
    Example { name: "a1111", ticket: None },
    Example { name: "fal", ticket: Some("fal-ai/flux/requests/80e732af-660e-45cd-bd63-580e4f2a94cc") },
    Example { name: "replicate", ticket: Some("predictions/gm3qorzdhgbfurvjtvhg6dckhu") },
    Example { name: "bfl", ticket: Some("b9b172a8-e39c-47b2-8f1a-cb8925f3532e") },
    Example { name: "comfyui", ticket: Some("11111111-aaaa-bbbb-cccc-222222222222") },
];

#[tokio::test]
async fn every_recorded_case_is_sent_and_read_as_recorded() {
    assert_eq!(ALL.map(|example| example.name), NAMES);
    for example in &ALL {
        println!("{}", example.name);
        conformance(example).await;
    }
}

#[tokio::test]
async fn automatic1111_stands_every_fault() {
    faults(&ALL[0]).await;
}

#[tokio::test]
async fn fal_stands_every_fault() {
    faults(&ALL[1]).await;
}

#[tokio::test]
async fn replicate_stands_every_fault() {
    faults(&ALL[2]).await;
}

#[tokio::test]
async fn black_forest_labs_stands_every_fault() {
    faults(&ALL[3]).await;
}

#[tokio::test]
async fn comfyui_stands_every_fault() {
    faults(&ALL[4]).await;
}

#[test]
fn the_examples_are_short() {
    for name in NAMES {
        let lines = block(name).lines().count();
        assert!((10..=40).contains(&lines), "{name}: {lines} lines");
    }
}
