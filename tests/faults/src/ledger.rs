//! What the clients were told: each call with its idempotency key, the id it was given, and the last word on it.

use crate::support::{Client, ToolResult};
use serde_json::{Value, json};
use std::time::Duration;

/// One call of a client, with everything it heard.
#[derive(Debug, Clone)]
pub struct Call {
    pub model: &'static str,
    pub prompt: String,
    /// The idempotency key: after a broken connection the call is made again under it.
    pub key: String,
    /// The job, once the gateway named it.
    pub job: Option<String>,
    /// `completed`, or the code of the failure.
    pub told: Option<String>,
}

impl Call {
    /// The prompt is a canary: it must stand in no log.
    pub fn new(model: &'static str, name: &str) -> Call {
        let key = uuid::Uuid::new_v4().to_string();
        Call { model, prompt: format!("canary {name} {model}"), key, job: None, told: None }
    }

    pub fn arguments(&self) -> Value {
        json!({"prompt": self.prompt, "model": self.model, "idempotency_key": self.key})
    }

    /// Makes the call once. What cannot be heard, because the gateway is gone, is no answer.
    pub async fn make(&mut self, client: &Client) -> Option<ToolResult> {
        let result = try_tool(client, "generate_image", self.arguments()).await?;
        if !result.is_error {
            let job = result.str("job_id");
            if let Some(before) = self.job.replace(job.clone()) {
                assert_eq!(before, job, "the same key has the same job");
            }
        }
        Some(result)
    }
}

/// Waits until the gateway has said of every call how it ended, at most `limit`.
pub async fn settle(client: &Client, calls: &mut [Call], limit: Duration) {
    let end = std::time::Instant::now() + limit;
    for call in calls.iter_mut() {
        // What was not heard before is asked again under the same key.
        while call.job.is_none() && std::time::Instant::now() < end {
            if call.make(client).await.is_none_or(|r| r.is_error) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    for chunk in calls.chunks_mut(20) {
        loop {
            let open: Vec<&str> =
                chunk.iter().filter(|c| c.told.is_none()).filter_map(|c| c.job.as_deref()).collect();
            if open.is_empty() || std::time::Instant::now() > end {
                break;
            }
            let asked = json!({"job_ids": open, "max_wait_seconds": 2});
            if try_tool(client, "wait_for_completion", asked).await.is_none() {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            for call in chunk.iter_mut().filter(|c| c.told.is_none()) {
                let Some(job) = &call.job else { continue };
                let asked = json!({"job_id": job});
                let Some(status) = try_tool(client, "get_job_status", asked).await else { continue };
                call.told = last_word(&status.json);
            }
        }
    }
}

/// How a job ended, from the answer about its status.
pub fn last_word(status: &Value) -> Option<String> {
    match status["status"].as_str()? {
        "pending" | "processing" => None,
        "failed" => {
            Some(status["code"].as_str().or(status["error_code"].as_str()).unwrap_or("failed").to_owned())
        }
        word => Some(word.to_owned()),
    }
}

/// A tool's answer, or nothing when the connection breaks.
pub async fn try_tool(client: &Client, name: &str, arguments: Value) -> Option<ToolResult> {
    let (status, body) = try_rpc(client, name, arguments).await?;
    status.is_success().then(|| ToolResult::read(&body))
}

/// The HTTP answer to a tool call, or nothing when the connection breaks.
pub async fn try_rpc(client: &Client, name: &str, arguments: Value) -> Option<(reqwest::StatusCode, Value)> {
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": name, "arguments": arguments}});
    let call = client.http().post(format!("{}/mcp", client.url())).bearer_auth(client.key());
    let answer = call.header("content-type", "application/json").body(body.to_string()).send().await.ok()?;
    let status = answer.status();
    Some((status, answer.json().await.ok()?))
}

/// SHA-256 in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    hex::encode(ring::digest::digest(&ring::digest::SHA256, bytes))
}
