//! Callers: JSON-RPC as curl sends it, and the tools as verbs.

use indexmap::IndexMap;
use reqwest::{Response, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use std::time::Duration;

#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    key: String,
}

/// What a tool said.
#[derive(Debug, Clone)]
pub struct ToolResult {
    /// The object in the first block.
    pub json: Value,
    /// Its keys in the order they came.
    pub keys: Vec<String>,
    pub is_error: bool,
    pub content: Vec<Value>,
    /// The whole `result`.
    pub result: Value,
}

impl ToolResult {
    /// # Panics
    /// When it is no result of a tool.
    pub fn read(answer: &Value) -> ToolResult {
        let result = answer.get("result").unwrap_or_else(|| panic!("no result: {answer}")).clone();
        let content = result["content"].as_array().unwrap_or_else(|| panic!("no content: {answer}")).clone();
        let text = content.first().and_then(|block| block["text"].as_str());
        let text = text.unwrap_or_else(|| panic!("the first block is no text: {answer}"));
        let ordered: IndexMap<String, Value> = serde_json::from_str(text).expect("the text is a JSON object");
        let is_error = result.get("isError").is_some_and(|v| *v == json!(true));
        ToolResult {
            json: serde_json::from_str(text).unwrap(),
            keys: ordered.into_keys().collect(),
            is_error,
            content,
            result,
        }
    }

    /// The result, which must be a success.
    #[track_caller]
    pub fn ok(self) -> ToolResult {
        assert!(!self.is_error && self.json["success"] == true, "a success is expected: {}", self.json);
        self
    }
    /// The result, which must be a failure with this code and a sentence.
    #[track_caller]
    pub fn failed(self, code: &str) -> ToolResult {
        assert!(self.is_error && self.json["success"] == false, "a failure is expected: {}", self.json);
        assert_eq!(self.json["code"], code, "{}", self.json);
        assert!(!self.str("error").is_empty(), "there is a sentence: {}", self.json);
        self
    }
    #[track_caller]
    pub fn str(&self, key: &str) -> String {
        let text = self.json[key].as_str();
        text.unwrap_or_else(|| panic!("`{key}` is no string: {}", self.json)).to_owned()
    }
}

impl Client {
    pub fn new(url: &str, key: &str) -> Client {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(90)).build();
        Client { http: http.expect("a plain client"), url: url.to_owned(), key: key.to_owned() }
    }
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }
    pub fn url(&self) -> &str {
        &self.url
    }
    pub fn key(&self) -> &str {
        &self.key
    }

    pub async fn get(&self, url: &str) -> Response {
        self.http.get(url).send().await.expect("the gateway answers")
    }

    /// `POST /mcp` as curl sends it: only `Authorization` and `Content-Type`.
    pub async fn post_text(&self, body: impl Into<reqwest::Body>) -> Response {
        let call = self.http.post(format!("{}/mcp", self.url)).bearer_auth(&self.key);
        call.header("content-type", "application/json").body(body).send().await.expect("the gateway answers")
    }
    pub async fn post(&self, body: &Value) -> Response {
        self.post_text(body.to_string()).await
    }
    pub async fn rpc(&self, method: &str, params: Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
        let answer: Value = self.post(&body).await.json().await.expect("the answer is JSON");
        assert_eq!(answer["id"], 7, "the answer carries the request's id: {answer}");
        answer
    }

    /// A request of 2026-07-28, with the headers and `_meta` that era wants.
    pub async fn modern(&self, method: &str, params: Value) -> (StatusCode, HeaderMap, Value) {
        let answer = self.modern_as(json!({}), method, params).await;
        let (status, headers) = (answer.status(), answer.headers().clone());
        (status, headers, answer.json().await.expect("the answer is JSON"))
    }
    /// The same of a client with these capabilities; the answer may be a stream.
    pub async fn modern_as(&self, capabilities: Value, method: &str, mut params: Value) -> Response {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": capabilities,
            "io.modelcontextprotocol/clientInfo": {"name": "story", "version": "1"},
        });
        let mut call = self.http.post(format!("{}/mcp", self.url)).bearer_auth(&self.key);
        call = call
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", method);
        if let Some(name) = params["name"].as_str().or(params["taskId"].as_str()) {
            call = call.header("mcp-name", name);
        }
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
        call.body(body.to_string()).send().await.expect("the gateway answers")
    }

    pub async fn tool(&self, name: &str, arguments: Value) -> ToolResult {
        ToolResult::read(&self.rpc("tools/call", json!({"name": name, "arguments": arguments})).await)
    }

    /// Starts a job.
    pub async fn generate(&self, prompt: &str) -> String {
        self.generate_with(json!({"prompt": prompt})).await
    }
    pub async fn generate_with(&self, arguments: Value) -> String {
        self.tool("generate_image", arguments).await.ok().str("job_id")
    }
    /// Waits until a job has ended.
    pub async fn wait(&self, job: &str) -> ToolResult {
        self.tool("wait_for_completion", json!({"job_id": job, "max_wait_seconds": 40})).await
    }
    pub async fn status(&self, job: &str) -> Value {
        self.tool("get_job_status", json!({"job_id": job})).await.ok().json
    }
    pub async fn cancel(&self, job: &str) -> Value {
        self.tool("cancel_job", json!({"job_id": job})).await.ok().json
    }
    /// Asks for a job's state until it is as wanted.
    pub async fn until_status(&self, job: &str, wanted: &str) -> Value {
        super::eventually(&format!("job {job} is {wanted}"), async || {
            let status = self.status(job).await;
            (status["status"] == wanted).then_some(status)
        })
        .await
    }
}
