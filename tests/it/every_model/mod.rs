//! The shipped configuration with only keys set serves every model of every vendor, on both profiles, and every tool
//! of each was called.

mod strict;

use crate::{
    hunyuan::{SECRET_ID, SECRET_KEY},
    support::{Client, Config, Gateway, Home, vendor},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex},
};
use strict::Strict;
use tokio::task::JoinSet;

const TOKEN: &str = "strict-token";

struct Scene {
    vendors: Strict,
    gateway: Gateway,
    client: Client,
    settings: Vec<String>,
    variables: Vec<(&'static str, String)>,
}

impl Scene {
    /// A gateway with the shipped configuration; the vendors' addresses lead to the strict fake.
    async fn start() -> Scene {
        let vendors = Strict::start().await;
        let (url, host) = (vendors.upstream.url(), vendors.upstream.address());
        let set = |text: String| ["--set".to_owned(), text];
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config.yaml").display().to_string();
        let mut settings = vec!["--config".to_owned(), file];
        settings.extend(
            [
                format!("providers.workers-ai.base_url={url}/client/v4"),
                format!("providers.hunyuan.base_url={url}/hub"),
                format!("providers.hunyuan.tc3_base_url={url}"),
                "providers.hunyuan.poll_first=10ms".into(),
                "providers.hunyuan.poll_every=10ms".into(),
                format!("providers.hunyuan.result_hosts=[\"{host}\"]"),
                format!("providers.qwen.base_url={url}/dashscope"),
                format!("providers.qwen.result_hosts=[\"{host}\"]"),
                format!("providers.gemini.base_url={url}/gemini"),
                "routing.parameters=nearest".into(),
                // Many calls in a row; rates are another story.
                "providers.openai.rate=10000/s".into(),
                "limits.per_key.requests=100000/min".into(),
                "limits.per_key.burst=10000".into(),
                format!("auth.keys=[{{id: strict, key: {TOKEN}, scopes: [images:read, images:write, usage:read, admin]}}]"),
            ]
            .into_iter()
            .flat_map(set),
        );
        let variables = vec![
            ("OPENAI_API_KEY", "sk-strict".to_owned()),
            ("OPENAI_BASE_URL", format!("{url}/openai/v1")),
            ("CLOUDFLARE_ACCOUNT_ID", "acc1".into()),
            ("CLOUDFLARE_API_TOKEN", "cf-strict".into()),
            ("TOKENHUB_API_KEY", "th-strict".into()),
            ("TENCENT_SECRET_ID", SECRET_ID.into()),
            ("TENCENT_SECRET_KEY", SECRET_KEY.into()),
            ("DOUBAO_API_KEY", "ark-strict".into()),
            ("DOUBAO_ENDPOINT", url.clone()),
            ("DASHSCOPE_API_KEY", "ds-strict".into()),
            ("GEMINI_API_KEY", "AIza-strict".into()),
        ];
        let mut args = vec!["serve", "--listen", "127.0.0.1:0"];
        args.extend(settings.iter().map(String::as_str));
        let env: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let gateway = Gateway::start_with(Home::new(Config::default()), &args, &env).await;
        let client = Client::new(gateway.url(), TOKEN);
        Scene { vendors, gateway, client, settings, variables }
    }

    /// `provider/vendor-model` of every model of every vendor, and the public names.
    async fn models(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let mut args = vec!["providers", "list", "--json"];
        args.extend(self.settings.iter().map(String::as_str));
        let mut command = self.gateway.home().command(&args);
        let said = command.envs(self.variables.iter().cloned()).output().await.unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let providers: Vec<Value> = serde_json::from_slice(&said.stdout).unwrap();
        let (mut targets, mut names) = (BTreeSet::new(), BTreeSet::new());
        for provider in &providers {
            let name = provider["name"].as_str().unwrap();
            assert_eq!(provider["state"], "on", "every key is set: {provider}");
            let texts = |key: &str| {
                provider[key]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|m| m.as_str().unwrap().to_owned())
                    .collect::<Vec<_>>()
            };
            targets.extend(texts("vendor_models").iter().map(|model| format!("{name}/{model}")));
            names.extend(texts("models"));
        }
        (targets, names)
    }

    async fn post(&self, path: &str, method: &str, params: Value) -> Value {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let url = format!("{}{path}", self.gateway.url());
        let sent = self.client.http().post(url).bearer_auth(TOKEN).json(&call).send().await.unwrap();
        sent.json().await.unwrap()
    }

    /// What a tool of the blocking profile says.
    async fn blocking(&self, name: &str, arguments: Value) -> Value {
        let answer =
            self.post("/mcp/v1/messages", "tools/call", json!({"name": name, "arguments": arguments})).await;
        let text = answer["result"]["content"][0]["text"].as_str();
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(answer)
    }
}

/// The images that a model cannot do without.
fn inputs(model: &str) -> Value {
    let input = format!("data:image/png;base64,{}", STANDARD.encode(vendor::png()));
    let needs = model.contains("img2img") || model.contains("inpainting") || model.contains("-edit");
    let needs = needs || model.contains("seededit");
    let mut arguments = json!({});
    if needs {
        arguments["references"] = json!([input]);
    }
    if model.contains("inpainting") {
        arguments["mask"] = input.into();
    }
    arguments
}

fn with(mut arguments: Value, more: &Value) -> Value {
    arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    arguments
}

/// Everything that a request can say; what a model cannot do is mapped and reported.
fn rich() -> Value {
    json!({
        "prompt": "a red fox in the snow", "negative_prompt": "blur", "size": "1536x1024", "quality": "high",
        "style": "watercolour", "seed": 7, "steps": 4, "guidance": 3.0, "background": "opaque", "output_format": "png",
        "moderation": "low", "prompt_rewrite": false, "watermark": false, "user": "u-1",
    })
}

#[tokio::test]
async fn every_model_is_served_on_both_profiles_by_strict_vendors() {
    let scene = Scene::start().await;
    let (targets, names) = scene.models().await;
    assert!(targets.len() > 60 && names.len() > 7, "{targets:?} {names:?}");
    let scene = Arc::new(scene);
    let left = Arc::new(Mutex::new(targets.union(&names).cloned().collect::<Vec<_>>()));
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let (scene, left) = (scene.clone(), left.clone());
        callers.spawn(async move {
            let next = || left.lock().unwrap().pop();
            while let Some(name) = next() {
                let more = with(inputs(&name), &json!({"model": name}));
                let plain = with(json!({"prompt": "a red fox"}), &more);
                let link = json!({"return": "link"});
                scene.client.tool("generate_image_and_wait", with(plain.clone(), &link)).await.ok();
                let made = scene.blocking("generate_image", plain).await;
                assert_eq!(made["ok"], true, "{name}: {made}");
                scene.client.tool("generate_image_and_wait", with(with(rich(), &more), &link)).await.ok();
            }
        });
    }
    callers.join_all().await;
    let seen = scene.vendors.seen();
    assert!(seen.wrong.is_empty(), "{:#?}", seen.wrong);
    let served: BTreeSet<String> = seen.served.into_iter().collect();
    let missing: Vec<_> =
        targets.iter().filter(|t| !t.starts_with("placeholder/") && !served.contains(*t)).collect();
    assert!(missing.is_empty(), "their vendor never heard of {missing:?}");
}

#[tokio::test]
async fn every_tool_of_both_profiles_was_called() {
    let scene = Scene::start().await;
    for (path, least) in [("/mcp", 16), ("/mcp/v1/messages", 3)] {
        let made =
            scene.client.tool("generate_image_and_wait", json!({"prompt": "a red fox"})).await.ok().json;
        let (job, image) = (&made["job_id"], &made["images"][0]["id"]);
        let arguments = |tool: &str| match tool {
            "generate_image" | "generate_image_and_wait" | "estimate_price" => json!({"prompt": "a red fox"}),
            "edit_image" => json!({"prompt": "a hat on it", "references": [image]}),
            "get_job_status" | "wait_for_completion" | "cancel_job" => json!({"job_id": job}),
            "get_image_data" | "delete_image" => json!({"image_id": image}),
            "create_upload" => json!({}),
            _ => json!({}),
        };
        let listed = scene.post(path, "tools/list", json!({})).await;
        let mut tools: Vec<&str> = listed["result"]["tools"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t["name"].as_str().unwrap())
            .collect();
        assert!(tools.len() >= least, "{path}: {tools:?}");
        // What is deleted cannot be read.
        tools.sort_by_key(|tool| *tool == "delete_image");
        for tool in tools {
            let call = json!({"name": tool, "arguments": arguments(tool)});
            let answer = scene.post(path, "tools/call", call).await;
            // A job that has ended cannot be cancelled, which it says.
            let fine = tool == "cancel_job" || answer["result"]["isError"] != true;
            assert!(fine && answer.get("error").is_none(), "{path} {tool}: {answer}");
        }
    }
    assert!(scene.vendors.seen().wrong.is_empty());
}
