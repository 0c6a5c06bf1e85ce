//! Tools of other MCP servers as providers, added as a new user would do from `docs/providers/mcp.md`: a gateway like
//! this one over HTTP, the same program over its standard streams, and fake servers.

use crate::{
    http_vendor::makes_an_image,
    support::{Config, Gateway, Home, config, eventually, vendor},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::path::Path;
use testkit::{Behaviour, FakeUpstream, Recorded, Reply};

const PAGE: &str = include_str!("../../docs/providers/mcp.md");

/// An example of the page, every variable replaced by `key`.
fn example(name: &str, key: &str) -> Value {
    let fence = format!("```yaml {name}\n");
    let begin = PAGE.find(&fence).expect("the page has the example") + fence.len();
    let end = PAGE[begin..].find("\n```").unwrap() + begin;
    let mut text = PAGE[begin..end].to_owned();
    while let Some(at) = text.find("${") {
        let end = text[at..].find('}').unwrap() + at;
        text.replace_range(at..=end, key);
    }
    serde_saphyr::from_str(&text).unwrap()
}

fn at(name: &str, url: &str, key: &str) -> Value {
    let mut value = example(name, key);
    value["providers"][name]["url"] = format!("{url}/mcp").into();
    value
}

fn with(example: &Value) -> Config {
    let mut all = config();
    for section in ["providers", "models"] {
        for (name, entry) in example[section].as_object().unwrap() {
            all = all.set(&format!("{section}.{name}"), entry.clone());
        }
    }
    all.set("routing.default_model", example["routing"]["default_model"].clone())
}

/// A fake server: the handshake, one listed tool, and this result of every call.
async fn server(tool: &'static str, result: Value) -> FakeUpstream {
    let upstream = FakeUpstream::start().await;
    upstream.on("/pictures/1.png", vendor::raw_picture());
    upstream.prelude(move |request: &Recorded| {
        let message = request.json();
        let result = match message["method"].as_str()? {
            "initialize" => json!({"protocolVersion": "2025-11-25", "capabilities": {}}),
            "notifications/initialized" => return Some(Reply::new(202, "text/plain", "")),
            "tools/list" => json!({"tools": [{"name": tool, "inputSchema": {"type": "object"}}]}),
            _ => return None,
        };
        let body = json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
        Some(Reply::json(200, body.to_string()).header("mcp-session-id", "s1"))
    });
    let body = json!({"jsonrpc": "2.0", "id": 1, "result": result}).to_string();
    upstream.on("/mcp", Behaviour::json(200, body));
    upstream
}

#[tokio::test]
async fn the_examples_of_the_page_make_an_image_as_they_stand() {
    let data = STANDARD.encode(vendor::png());
    let block = json!({"content": [{"type": "image", "data": data, "mimeType": "image/png"}]});
    for (name, tool) in [("studio", "render"), ("canvas", "create_image")] {
        let upstream = server(tool, block.clone()).await;
        let mut entry = at(name, &upstream.url(), "sk-test");
        if name == "canvas" {
            let url = format!("{}/pictures/1.png", upstream.url());
            let answer = json!({"images": [{"url": url, "seed": 5, "prompt": "a red fox"}]});
            let result = json!({"content": [], "structuredContent": answer});
            let body = json!({"jsonrpc": "2.0", "id": 1, "result": result}).to_string();
            upstream.on("/mcp", Behaviour::json(200, body));
            entry["providers"][name]["result_hosts"] = json!([upstream.address().to_string()]);
        }
        let home = Home::new(with(&entry));
        let checked = home.run(&["check"]).await;
        assert!(!checked.contains("off"), "{name}: {checked}");
        let tried = home.run(&["doctor"]).await;
        assert!(tried.contains(name) && upstream.requests().is_empty(), "nothing is called: {tried}");

        makes_an_image(name, &Gateway::start_at(home).await, &upstream).await;
    }
}

#[tokio::test]
async fn doctor_tells_that_the_server_has_no_such_tool() {
    let upstream = server("paint", json!({})).await;
    let home = Home::new(with(&at("studio", &upstream.url(), "sk-test")));
    let output = home.command(&["doctor"]).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the server has no tool `render`; it has: paint"), "{said}");
}

#[tokio::test]
async fn without_its_credential_it_is_off_and_says_so() {
    for (name, field) in
        [("studio", "bearer"), ("canvas", "headers.x-api-key"), ("local", "env.IMAGE_SERVER_KEY")]
    {
        let output = Home::new(with(&example(name, ""))).command(&["check"]).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(&format!("{field} is empty")), "{name}: {said}");
    }
}

#[tokio::test]
async fn a_tool_that_refuses_is_told_to_the_caller_and_a_busy_one_asked_again() {
    let refusal = |text: &str| json!({"content": [{"type": "text", "text": text}], "isError": true});
    let upstream = server("render", refusal("The prompt is too long.")).await;
    let gateway = Gateway::start(with(&at("studio", &upstream.url(), "sk-test"))).await;
    let client = gateway.client();
    client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.failed("provider_rejected");
    assert_eq!(upstream.submissions(), 1);

    let data = STANDARD.encode(vendor::png());
    let image = json!({"content": [{"type": "image", "data": data, "mimeType": "image/png"}]});
    let body = |result: Value| json!({"jsonrpc": "2.0", "id": 1, "result": result}).to_string();
    upstream
        .push(Behaviour::json(200, body(refusal("Sorry, the queue is full"))))
        .push(Behaviour::json(200, body(image)));
    client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.ok();
    assert_eq!(upstream.submissions(), 3);

    upstream.push(Behaviour::ResetAfterReading);
    client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.failed("outcome_unknown");
    assert_eq!(upstream.submissions(), 4, "it may be paid, so it is not asked for again");
}

#[tokio::test]
async fn another_gateway_makes_the_image_and_a_kill_does_not_buy_it_twice() {
    let lab = Gateway::start(config().placeholder(json!({"delay": "3s"}))).await;
    let mut entry = at("lab", lab.url(), &lab.key());
    entry["providers"]["lab"]["poll"]["every"] = "100ms".into();
    let gateway = Gateway::start(with(&entry)).await;
    let job = gateway.client().generate("a fox").await;
    let there =
        async || lab.client().tool("list_jobs", json!({})).await.ok().json["jobs"].as_array().map(Vec::len);
    eventually("the other gateway has the job", async || (there().await == Some(1)).then_some(())).await;
    gateway.client().until_status(&job, "processing").await;
    let gateway = gateway.kill_and_restart().await;
    let made = gateway.client().wait(&job).await.ok();
    assert_eq!(made.str("status"), "completed");
    assert_eq!(there().await, Some(1), "the job of the first life was asked for");
    let image = gateway.client().get(&gateway.at(&made.str("image_url"))).await.bytes().await.unwrap();
    let made = lab.client().tool("list_generations", json!({})).await.ok();
    let original = made.json["generations"][0]["image_url"].as_str().unwrap().to_owned();
    let original = lab.client().get(&lab.at(&original)).await.bytes().await.unwrap();
    assert_eq!(image, original, "byte for byte, read through MCP");
}

/// Processes in whose command line this folder stands.
fn processes(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let with_it = all.filter(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(folder)
    });
    with_it.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

async fn gone(folder: &Path, what: &str) {
    eventually(what, async || processes(folder).is_empty().then_some(())).await;
}

/// The example `local`, whose program is this project's own.
fn local(folder: &Path, delay: &str) -> Config {
    let program = env!("CARGO_BIN_EXE_image-gateway");
    let settings = folder.join("inner.yaml");
    let inner = json!({
        "providers": {"placeholder": {"kind": "placeholder", "delay": delay}},
        "models": {"placeholder": {"targets": ["placeholder/card"]}},
        "routing": {"default_model": ["placeholder"]}
    });
    std::fs::write(&settings, inner.to_string()).unwrap();
    let mut entry = example("local", "sk-test-of-the-program");
    let local = &mut entry["providers"]["local"];
    local["command"] = program.into();
    let data = folder.join("inner");
    local["args"] =
        json!(["stdio", "--data-dir", data.to_str().unwrap(), "--config", settings.to_str().unwrap()]);
    local["tool"] = "generate_image_and_wait".into();
    local["images"] = json!({"at": "/images/*/uri"}); // its image blocks are previews
    with(&entry)
}

#[tokio::test]
async fn a_program_makes_images_and_ends_with_the_gateway_however_that_ends() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("inner");
    for how in ["stop", "kill", "reload"] {
        let home = Home::new(local(folder.path(), "0s"));
        let gateway = Gateway::start_at(home.clone()).await;
        assert!(processes(&data).is_empty(), "{how}: not before it is needed");
        let client = gateway.client();
        for _ in 0..2 {
            let made = client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.ok();
            let bytes = client.get(&made.str("image_url")).await.bytes().await.unwrap();
            assert!(bytes.starts_with(b"\x89PNG"), "{how}: {:?}", bytes.get(..16));
            assert_eq!(processes(&data).len(), 1, "{how}: one process for the instance");
        }
        assert!(!gateway.log().contains("sk-test-of-the-program"));
        match how {
            "stop" => drop(gateway.stop().await),
            "kill" => drop(gateway.kill().await),
            _ => {
                home.configure(&config().placeholder(json!({})));
                gateway.hang_up().await;
                gone(&data, "the reload took its instance away").await;
            }
        }
        gone(&data, how).await;
    }
}

#[tokio::test]
async fn a_program_that_is_killed_is_started_again_for_the_next_call() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("inner");
    let gateway = Gateway::start(local(folder.path(), "0s")).await;
    let client = gateway.client();
    client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.ok();
    let first = processes(&data);
    let pid = rustix::process::Pid::from_raw(first[0].parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    eventually("its end is logged", async || gateway.log().contains("ended by itself").then_some(())).await;
    client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.ok();
    let second = processes(&data);
    assert!(second.len() == 1 && second != first, "{first:?} {second:?}");
}
