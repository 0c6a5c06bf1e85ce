//! The shared suites over the examples of the documentation, with answers in the forms of the specification.

#![allow(clippy::unwrap_used)]

mod support;

use plugin_api::{ImageRequest, Parameters, Provider, Size, Ticket};
use serde_json::{Value, json};
use std::{path::PathBuf, sync::Arc};
use support::{NAMES, block, example, welcoming};
use testkit::{Call, FakeUpstream, Subject, conformance, faults};

struct Example(&'static str);

impl Subject for Example {
    fn fixtures(&self) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(self.0)
    }

    fn build(&self, _: &str, url: &str) -> Arc<dyn Provider> {
        example(self.0, url)
    }

    fn prepare(&self, upstream: &FakeUpstream) {
        welcoming(upstream);
    }

    fn request(&self, _: &str) -> ImageRequest {
        let provider = example(self.0, "http://127.0.0.1:1");
        let fox = |size: Size| ImageRequest {
            size,
            seed: Some(7),
            ..ImageRequest::new(provider.models()[0].clone(), "a red fox")
        };
        let asked = match self.0 {
            "studio" => ImageRequest { negative_prompt: Some("blur".into()), ..fox(Size::exact(1024, 768)) },
            "canvas" => ImageRequest { n: 2, ..fox(Size::exact(1344, 768)) },
            _ => fox(Size::exact(1024, 1024)),
        };
        let capabilities = provider.capabilities(&asked.model).expect("it is in the list");
        capabilities.fit(&asked, Parameters::Strict).expect("the model can do it").request
    }

    fn call(&self, case: &str, expect: &Value) -> Call {
        match self.ticket() {
            _ if expect.get("check").is_some() => Call::Check,
            Some(ticket) if case.starts_with("status_") => Call::Poll(ticket),
            _ => Call::Submit,
        }
    }

    fn ticket(&self) -> Option<Ticket> {
        (self.0 == "lab").then(|| Ticket(json!({"job": "7d4de5d8-4a0a-4d0c-b2a1-1a2b3c4d5e6f"})))
    }
}

#[tokio::test]
async fn every_recorded_case_is_sent_and_read_as_recorded() {
    for name in NAMES {
        println!("{name}");
        conformance(&Example(name)).await;
    }
}

#[tokio::test]
async fn a_tool_with_image_blocks_stands_every_fault() {
    faults(&Example("studio")).await;
}

#[tokio::test]
async fn a_tool_with_addresses_stands_every_fault() {
    faults(&Example("canvas")).await;
}

#[tokio::test]
async fn a_tool_that_takes_jobs_stands_every_fault() {
    faults(&Example("lab")).await;
}

#[test]
fn the_examples_are_short() {
    for name in NAMES.into_iter().chain(["local"]) {
        let lines = block(name).lines().count();
        assert!((10..=40).contains(&lines), "{name}: {lines} lines");
    }
}
