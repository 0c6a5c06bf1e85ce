//! Vendors that are described in YAML alone, added as a new user would do from `docs/providers/http.md`.

use crate::support::{Config, Gateway, Home, config, eventually, vendor};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use testkit::{Behaviour, FakeUpstream, dead_url};

const PAGE: &str = include_str!("../../docs/providers/http.md");

/// An example of the page, its vendor's address and key replaced; results come from the same address.
fn example(name: &str, url: &str) -> Value {
    let mut value: Value = serde_saphyr::from_str(&testkit::example(PAGE, name, url, "sk-test")).unwrap();
    let entry = &mut value["providers"][name];
    entry["result_hosts"] = json!([url.trim_start_matches("http://")]);
    if entry["poll"].is_object() {
        entry["poll"]["every"] = "50ms".into();
    }
    value
}

/// A configuration of nothing but examples; the first one's model is the default.
pub fn with(examples: &[Value]) -> Config {
    let mut all = config();
    for example in examples.iter().rev() {
        for section in ["providers", "models"] {
            for (name, entry) in example[section].as_object().unwrap() {
                all = all.set(&format!("{section}.{name}"), entry.clone());
            }
        }
        all = all.set("routing.default_model", example["routing"]["default_model"].clone());
    }
    all
}

/// A vendor of the name: what it answers when all goes well.
fn answers(upstream: &FakeUpstream, name: &str) {
    let url = upstream.url();
    let picture = format!("{url}/pictures/1.png");
    let on = |path: &str, body: Value| {
        upstream.on(path, Behaviour::json(200, body.to_string()));
    };
    upstream.on("/pictures/1.png", vendor::raw_picture());
    match name {
        "a1111" => on(
            "/sdapi/v1/txt2img",
            json!({"images": [STANDARD.encode(vendor::png())], "info": "{\"all_seeds\":[5]}"}),
        ),
        "fal" => {
            on("/fal-ai/flux/schnell", json!({"response_url": format!("{url}/fal-ai/flux/requests/1")}));
            on("/requests/1/status", json!({"status": "COMPLETED"}));
            on("/requests/1", json!({"images": [{"url": picture}], "seed": 5, "has_nsfw_concepts": [false]}));
        }
        "replicate" => {
            on("/predictions", json!({"urls": {"get": format!("{url}/v1/predictions/1")}}));
            on("/predictions/1", json!({"status": "succeeded", "output": [picture]}));
        }
        "bfl" => {
            on("/flux-pro-1.1", json!({"id": "1", "polling_url": format!("{url}/v1/get_result?id=1")}));
            on("/get_result", json!({"status": "Ready", "result": {"sample": picture, "seed": 5}}));
        }
        _ => {
            let image = json!({"filename": "1.png", "subfolder": "", "type": "output"});
            on("/prompt", json!({"prompt_id": "p1"}));
            on(
                "/history/p1",
                json!({"p1": {"outputs": {"9": {"images": [image]}}, "status": {"status_str": "success"}}}),
            );
            upstream.on("/view", vendor::raw_picture());
        }
    }
}

/// An image is made by one call, comes whole, and the key is not logged.
pub async fn makes_an_image(name: &str, gateway: &Gateway, upstream: &FakeUpstream) {
    let client = gateway.client();
    let made = client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.ok();
    let stored = client.get(&made.str("image_url")).await.bytes().await.unwrap();
    assert_eq!(stored, vendor::png(), "{name}: byte for byte");
    assert_eq!(upstream.submissions(), 1, "{name}");
    assert!(!gateway.log().contains("sk-test"), "{name}: the key is not logged");
}

#[tokio::test]
async fn every_example_of_the_page_makes_an_image_as_it_stands() {
    for name in ["a1111", "fal", "replicate", "bfl", "comfyui"] {
        let upstream = FakeUpstream::start().await;
        answers(&upstream, name);
        for check in ["/options", "/pricing", "/account", "/credits", "/system_stats"] {
            upstream.on(check, Behaviour::json(200, "{}"));
        }
        let home = Home::new(with(&[example(name, &upstream.url())]));
        let checked = home.run(&["check"]).await;
        assert!(!checked.contains("off"), "{name}: {checked}");
        let tried = home.run(&["doctor"]).await;
        assert!(upstream.requests().len() == 1 && tried.contains(name), "{name}: the free call: {tried}");

        let gateway = Gateway::start_at(home).await;
        let client = gateway.client();
        makes_an_image(name, &gateway, &upstream).await;
        let priced = client.tool("estimate_price", json!({"prompt": "a fox"})).await.ok().json;
        assert!(priced.to_string().contains("amount_micros"), "{name}: {priced}");
    }
}

#[tokio::test]
async fn a_kill_while_polling_resumes_by_the_ticket_and_buys_once() {
    for name in ["fal", "replicate", "bfl", "comfyui"] {
        let upstream = FakeUpstream::start().await;
        answers(&upstream, name);
        let (path, not_yet) = match name {
            "fal" => ("/requests/1/status", r#"{"status":"IN_PROGRESS"}"#),
            "replicate" => ("/predictions/1", r#"{"status":"processing"}"#),
            "bfl" => ("/get_result", r#"{"status":"Pending","progress":0.5}"#),
            _ => ("/history/p1", "{}"),
        };
        upstream.on(path, Behaviour::json(200, not_yet));
        let gateway = Gateway::start(with(&[example(name, &upstream.url())])).await;
        let job = gateway.client().generate("a fox").await;
        let polls = || upstream.requests().iter().filter(|r| r.method == "GET").count();
        eventually("it is polled", async || (polls() >= 2).then_some(())).await;
        let gateway = gateway.kill_and_restart().await;
        let before = polls();
        eventually("the new process polls on", async || (polls() > before).then_some(())).await;
        answers(&upstream, name);
        let done = gateway.client().wait(&job).await.ok();
        assert_eq!(done.str("status"), "completed", "{name}");
        assert_eq!(upstream.submissions(), 1, "{name}: bought once");
        let status = gateway.client().status(&job).await;
        assert_eq!(status["attempts"].as_array().unwrap().len(), 1, "{name}: one attempt, resumed: {status}");
    }
}

#[tokio::test]
async fn a_poll_that_is_turned_away_is_repeated_and_the_job_not_bought_again() {
    let upstream = FakeUpstream::start().await;
    answers(&upstream, "replicate");
    upstream.on("/predictions/1", Behaviour::rate_limited(None));
    let gateway = Gateway::start(with(&[example("replicate", &upstream.url())])).await;
    let job = gateway.client().generate("a fox").await;
    upstream.wait_for_requests(3).await;
    answers(&upstream, "replicate");
    assert_eq!(gateway.client().wait(&job).await.ok().str("status"), "completed");
    assert_eq!(upstream.submissions(), 1, "the ticket was good all the time");
}

#[tokio::test]
async fn a_vendor_that_is_down_or_failed_for_nothing_leaves_the_job_to_the_next() {
    let (replicate, lab) = (FakeUpstream::start().await, FakeUpstream::start().await);
    answers(&lab, "a1111");
    let targets = json!({"targets": ["replicate/black-forest-labs/flux-schnell", "a1111/sdxl"]});
    let failing = |status: u16, body: Value| {
        replicate.on("/predictions", Behaviour::json(status, body.to_string()));
    };
    let down = example("replicate", &dead_url().await);
    let here = example("replicate", &replicate.url());
    for (n, entry) in [down, here.clone(), here].into_iter().enumerate() {
        if n == 1 {
            failing(402, json!({"title": "Insufficient credit", "status": 402}));
        } else {
            failing(201, json!({"urls": {"get": format!("{}/v1/predictions/1", replicate.url())}}));
            replicate
                .on("/predictions/1", Behaviour::json(200, r#"{"status":"failed","error":"out of memory"}"#));
        }
        let both = with(&[entry, example("a1111", &lab.url())]).set("models.photo", targets.clone());
        let gateway = Gateway::start(both).await;
        let ask = json!({"prompt": "a fox", "model": "photo", "size": "1024x1024"});
        let made = gateway.client().tool("generate_image_and_wait", ask).await.ok();
        let status = gateway.client().status(&made.str("job_id")).await;
        let by: Vec<&str> =
            status["attempts"].as_array().unwrap().iter().map(|a| a["provider"].as_str().unwrap()).collect();
        assert_eq!(by, ["replicate", "a1111"], "{status}");
        assert_eq!(lab.submissions(), n + 1);
    }
}

#[tokio::test]
async fn what_may_have_been_charged_is_not_bought_elsewhere() {
    let (first, second) = (FakeUpstream::start().await, FakeUpstream::start().await);
    answers(&second, "a1111");
    first.on("/predictions", Behaviour::json(500, r#"{"detail":"internal"}"#));
    let targets = json!({"targets": ["replicate/black-forest-labs/flux-schnell", "a1111/sdxl"]});
    let both = with(&[example("replicate", &first.url()), example("a1111", &second.url())]);
    let gateway = Gateway::start(both.set("models.photo", targets)).await;
    let ask = json!({"prompt": "a fox", "model": "photo", "size": "1024x1024"});
    gateway.client().tool("generate_image_and_wait", ask).await.failed("outcome_unknown");
    assert_eq!((first.submissions(), second.submissions()), (1, 0));
}

#[tokio::test]
async fn a_mistake_in_a_description_is_told_by_check_with_its_place() {
    let mut wrong = example("fal", "http://127.0.0.1:9");
    wrong["providers"]["fal"]["submit"]["body"]["prompt"] = "{promt}".into();
    let home = Home::new(with(&[wrong]));
    let output = home.command(&["check"]).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    let line = said.lines().find(|line| line.contains("{promt}")).unwrap_or_else(|| panic!("{said}"));
    assert!(line.contains("providers.fal.submit.body.prompt: there is no {promt} here"), "{line}");
    let numbers = line.split("gateway.yaml:").nth(1).and_then(|rest| rest.split(':').next()).unwrap();
    assert!(numbers.parse::<u32>().unwrap() > 5, "the line of the field, not of the file: {line}");
    assert!(!said.contains("sk-test"));
}
