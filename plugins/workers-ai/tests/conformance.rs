//! The shared suites over the recorded cases in `fixtures/`.

use plugin_api::{Built, ImageRequest, Input, Provider, Size};
use std::{path::PathBuf, sync::Arc};
use testkit::{CANARY, Subject, conformance, faults};

struct WorkersAi;

impl Subject for WorkersAi {
    fn fixtures(&self) -> PathBuf {
        concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures").into()
    }

    fn build(&self, case: &str, url: &str) -> Arc<dyn Provider> {
        let mut settings = serde_json::json!({
            "account_id": "0123456789abcdef0123456789abcdef",
            "api_token": CANARY,
            "base_url": format!("{url}/client/v4"),
            "gateway_base_url": format!("{url}/v1"),
        });
        if case == "gateway_run" {
            settings["gateway"] = "my-gateway".into();
            settings["gateway_token"] = CANARY.into();
        }
        match (plugin_workers_ai::PLUGIN.build)(settings) {
            Ok(Built::On(provider)) => provider,
            Ok(Built::Off(why)) => panic!("off: {why}"),
            Err(error) => panic!("{error}"),
        }
    }

    fn request(&self, case: &str) -> ImageRequest {
        let red_fox = |model: &str, side: u32| ImageRequest {
            size: Size::exact(side, side),
            ..ImageRequest::new(model, "a red fox")
        };
        let full = |model: &str, steps: u32, guidance: f32| ImageRequest {
            negative_prompt: Some("blur".into()),
            steps: Some(steps),
            guidance: Some(guidance),
            seed: Some(7),
            ..red_fox(model, 1024)
        };
        match case {
            "sdxl_raw" | "raw_but_json" => full("@cf/stabilityai/stable-diffusion-xl-base-1.0", 20, 7.5),
            "phoenix_raw" => full("@cf/leonardo/phoenix-1.0", 25, 2.0),
            "lightning_jpeg_labelled_png" => ImageRequest {
                steps: Some(4),
                ..red_fox("@cf/bytedance/stable-diffusion-xl-lightning", 1024)
            },
            "lucid_ok" => ImageRequest {
                guidance: Some(4.5),
                seed: Some(7),
                ..red_fox("@cf/leonardo/lucid-origin", 1120)
            },
            "flux2_multipart" => ImageRequest {
                prompt: "a red fox wearing the hat of image 0".into(),
                seed: Some(7),
                references: vec![Input {
                    handle: "hat".into(),
                    mime: "image/png".into(),
                    width: 64,
                    height: 64,
                    bytes: include_bytes!("../fixtures/hat.png").as_slice().into(),
                }],
                ..red_fox("@cf/black-forest-labs/flux-2-klein-4b", 1024)
            },
            _ => ImageRequest {
                prompt: "a red fox in the snow".into(),
                steps: Some(4),
                ..red_fox("@cf/black-forest-labs/flux-1-schnell", 1024)
            },
        }
    }
}

#[tokio::test]
async fn every_recorded_case_is_sent_and_read_as_recorded() {
    conformance(&WorkersAi).await;
}

#[tokio::test]
async fn faults_of_network_and_vendor_are_told_for_what_they_are() {
    faults(&WorkersAi).await;
}
