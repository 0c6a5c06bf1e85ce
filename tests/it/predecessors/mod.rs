//! The two systems that this gateway replaces: their clients, unchanged, at a gateway with the configuration of
//! `docs/migrating`, and what must not be as it was there.

mod blocking;
mod jobs;
mod migrating;
mod mistakes;

use crate::support::{Config, Gateway, Home};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash as _, Hasher as _},
    io::Cursor,
    path::PathBuf,
    sync::Arc,
};
use testkit::{Behaviour, FakeUpstream, Recorded};

/// The token that the old clients have.
const TOKEN: &str = "your-secure-token";
const PY: &str = "config.image-gen-mcp-server.yaml";
const CF: &str = "config.mcp-image-generator.yaml";

fn page(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/migrating").join(name)
}

/// A picture that only this prompt has.
fn picture(prompt: &str) -> Vec<u8> {
    let mut hasher = DefaultHasher::new();
    prompt.hash(&mut hasher);
    let seed = hasher.finish();
    let picture = image::GrayImage::from_fn(64, 64, |x, y| image::Luma([(seed >> ((x + y) % 56)) as u8]));
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn answer(body: Value) -> Behaviour {
    Behaviour::json(200, body.to_string())
}

/// OpenAI, Doubao, Tencent and Cloudflare at one address: each draws the picture of the prompt it is sent.
async fn vendors() -> FakeUpstream {
    let upstream = FakeUpstream::start().await;
    let url = upstream.url();
    upstream.handle(move |request: &Recorded| {
        let asked = request.json();
        let drawn = || STANDARD.encode(picture(asked["prompt"].as_str().unwrap_or_default()));
        match request.header("x-tc-action") {
            Some("SubmitTextToImageJob") => {
                let job = STANDARD.encode(asked["Prompt"].as_str().unwrap_or_default());
                return answer(json!({"Response": {"JobId": job, "RequestId": "r"}}));
            }
            Some("QueryTextToImageJob") => {
                let link = format!("{url}/made/{}", asked["JobId"].as_str().unwrap().replace('/', "_"));
                let done = json!({"JobStatusCode": "5", "ResultImage": [link], "ResultDetails": ["Success"]});
                return answer(json!({"Response": done}));
            }
            _ => {}
        }
        match request.path.as_str() {
            path if path.ends_with("/images/generations") => {
                answer(json!({"created": 1_795_000_000, "data": [{"b64_json": drawn()}]}))
            }
            path if path.contains("/ai/run/") => {
                answer(json!({"result": {"image": drawn()}, "success": true}))
            }
            path => match path.strip_prefix("/made/").map(|job| STANDARD.decode(job.replace('_', "/"))) {
                Some(Ok(prompt)) => {
                    let picture = picture(&String::from_utf8(prompt).unwrap());
                    testkit::Reply::new(200, "image/png", picture).into()
                }
                _ => Behaviour::json(404, "{}"),
            },
        }
    });
    upstream
}

/// A gateway that takes a predecessor's place: its migration file, its variables, and the vendors' fakes.
struct Scene {
    gateway: Gateway,
    upstream: FakeUpstream,
    http: reqwest::Client,
}

impl Scene {
    async fn start(file: &str, variables: &[(&str, &str)], settings: &[&str]) -> Scene {
        let upstream = vendors().await;
        let home = Home::new(Config::default());
        Scene::start_at(home, upstream, file, variables, settings).await
    }

    async fn start_at(
        home: Arc<Home>,
        upstream: FakeUpstream,
        file: &str,
        variables: &[(&str, &str)],
        settings: &[&str],
    ) -> Scene {
        let path = page(file).display().to_string();
        let mut args = vec!["serve", "--listen", "127.0.0.1:0", "--config", &path];
        for setting in settings {
            args.extend(["--set", setting]);
        }
        let gateway = Gateway::start_with(home, &args, variables).await;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Scene { gateway, upstream, http }
    }

    /// With OpenAI's credentials only.
    async fn py() -> Scene {
        let upstream = vendors().await;
        let base = format!("{}/v1", upstream.url());
        let variables =
            [("MCP_AUTH_TOKEN", TOKEN), ("OPENAI_API_KEY", "sk-test"), ("OPENAI_BASE_URL", base.as_str())];
        Scene::start_at(Home::new(Config::default()), upstream, PY, &variables, &[]).await
    }

    async fn cf() -> Scene {
        let upstream = vendors().await;
        let base = format!("providers.workers-ai.base_url={}", upstream.url());
        let variables =
            [("AUTH_TOKEN", TOKEN), ("CLOUDFLARE_ACCOUNT_ID", "acc1"), ("CLOUDFLARE_API_TOKEN", "cf-test")];
        let home = Home::new(Config::default());
        Scene::start_at(home, upstream, CF, &variables, &[&base]).await
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.gateway.url())
    }

    /// With nothing but the token and the type, as the old clients send it.
    async fn post(&self, path: &str, body: impl ToString) -> Response {
        let call =
            self.http.post(self.at(path)).bearer_auth(TOKEN).header("content-type", "application/json");
        call.body(body.to_string()).send().await.expect("the gateway answers")
    }

    async fn rpc(&self, path: &str, method: &str, params: Value) -> Value {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let answer = self.post(path, call).await;
        assert_eq!(answer.status(), 200, "{method}");
        let answer: Value = answer.json().await.expect("JSON");
        assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(1)));
        answer
    }

    async fn tool(&self, path: &str, name: &str, arguments: Value) -> Value {
        self.rpc(path, "tools/call", json!({"name": name, "arguments": arguments})).await["result"].clone()
    }

    /// A request about a session, or about nothing.
    async fn ask(&self, method: Method, path: &str, headers: &[(&'static str, &str)]) -> Response {
        let mut call = self.http.request(method, self.at(path)).bearer_auth(TOKEN);
        for (name, value) in headers {
            call = call.header(*name, *value);
        }
        call.send().await.expect("the gateway answers")
    }

    async fn bytes(&self, url: &str) -> Vec<u8> {
        let answer = self.http.get(url).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{url}");
        answer.bytes().await.unwrap().to_vec()
    }
}

/// The object in the first block, which is text.
#[track_caller]
fn said(result: &Value) -> Value {
    assert_eq!(result["content"][0]["type"], "text", "the text block is first: {result}");
    serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap()
}

/// Names of the keys, in the order they were written.
fn keys(result: &Value) -> Vec<String> {
    let text = result["content"][0]["text"].as_str().unwrap();
    let object: indexmap::IndexMap<String, Value> = serde_json::from_str(text).unwrap();
    object.into_keys().collect()
}

/// Whether a member is `null` anywhere in it: what the TypeScript library cannot read in lists.
fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(members) => members.values().any(has_null),
        _ => false,
    }
}
