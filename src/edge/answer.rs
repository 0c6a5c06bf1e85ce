//! Every answer that leaves: its type, and the gateway's own refusals. The library's error pages are never used.

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde::Serialize;
use std::io;
use tokio::sync::mpsc;

/// What a handler gives back.
pub type Answer = http::Response<Body>;

pub enum Body {
    Empty,
    Bytes(Bytes),
    Stream(Box<dyn Chunks>),
}

/// Parts of a body as they come. Dropped when the client has left.
#[async_trait]
pub trait Chunks: Send {
    /// `None`: the end. An error cuts the answer so that the client sees it is not whole.
    async fn next(&mut self) -> Option<io::Result<Bytes>>;
}

#[async_trait]
impl Chunks for mpsc::Receiver<Bytes> {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        self.recv().await.map(Ok)
    }
}

#[async_trait]
impl Chunks for mpsc::Receiver<io::Result<Bytes>> {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        self.recv().await
    }
}

/// How a refusal is written: for assistants as JSON-RPC, for everything else as a problem document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Face {
    /// `id: null`, as revisions before 2025-11-25 want it.
    McpNullId,
    /// No `id` at all.
    McpNoId,
    /// The second predecessor's path: `id: null`, and its own codes where it had some.
    McpBlocking,
    Plain,
}

/// A request that ends at the edge.
#[derive(Debug)]
pub struct Refusal {
    pub status: StatusCode,
    /// What the caller should do.
    pub sentence: String,
    /// Of the JSON-RPC error.
    pub code: i32,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Seconds, and the rate policy if it was one.
    pub retry: Option<(u64, Option<&'static str>)>,
    /// Nothing more may be read from this connection.
    pub close: bool,
}

impl Refusal {
    pub fn new(status: StatusCode, sentence: impl Into<String>) -> Refusal {
        let code = match status {
            StatusCode::INTERNAL_SERVER_ERROR => -32603,
            // Our own codes lie outside the range that JSON-RPC and MCP reserve, and equal the status.
            StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE => i32::from(status.as_u16()),
            _ => -32600,
        };
        Refusal { status, sentence: sentence.into(), code, headers: Vec::new(), retry: None, close: false }
    }

    pub fn closing(status: StatusCode, sentence: impl Into<String>) -> Refusal {
        Refusal { close: true, ..Refusal::new(status, sentence) }
    }

    pub fn not_found() -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, "There is nothing here.")
    }

    /// Work cannot be taken now; it can be brought again.
    pub fn unavailable(sentence: impl Into<String>) -> Refusal {
        Refusal { retry: Some((5, None)), ..Refusal::new(StatusCode::SERVICE_UNAVAILABLE, sentence) }
    }

    pub fn method(allowed: &'static str) -> Refusal {
        Refusal::new(StatusCode::METHOD_NOT_ALLOWED, format!("This path takes {allowed}."))
            .with(header::ALLOW, HeaderValue::from_static(allowed))
    }

    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Refusal {
        self.headers.push((name, value));
        self
    }

    pub fn into_answer(self, face: Face) -> Answer {
        let (kind, body) = match face {
            Face::Plain => ("application/problem+json", self.problem()),
            Face::McpNullId => ("application/json", self.rpc(self.code, Some(()))),
            Face::McpNoId => ("application/json", self.rpc(self.code, None)),
            Face::McpBlocking => ("application/json", self.rpc(self.blocking_code(), Some(()))),
        };
        let mut answer = whole(self.status, kind, body);
        let headers = answer.headers_mut();
        if let Some((seconds, _)) = self.retry {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        headers.extend(self.headers);
        answer
    }

    fn problem(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Problem<'a> {
            r#type: &'a str,
            title: &'a str,
            status: u16,
            detail: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            retry_after_ms: Option<u64>,
        }
        to_json(&Problem {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.sentence,
            retry_after_ms: self.retry.map(|(seconds, _)| seconds * 1000),
        })
    }

    /// What the second predecessor's clients know: unauthorized, and a page that may not call.
    fn blocking_code(&self) -> i32 {
        match self.status {
            StatusCode::UNAUTHORIZED => -32001,
            StatusCode::FORBIDDEN => -32002,
            _ => self.code,
        }
    }

    fn rpc(&self, code: i32, null_id: Option<()>) -> Vec<u8> {
        #[derive(Serialize)]
        struct Message<'a> {
            jsonrpc: &'a str,
            /// Some(None) is `null`, None is left out.
            #[serde(skip_serializing_if = "Option::is_none")]
            id: Option<Option<u8>>,
            error: Error<'a>,
        }
        #[derive(Serialize)]
        struct Error<'a> {
            code: i32,
            message: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            data: Option<Data>,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Data {
            retry_after_ms: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            policy: Option<&'static str>,
        }
        let data = self.retry.map(|(seconds, policy)| Data { retry_after_ms: seconds * 1000, policy });
        let error = Error { code, message: &self.sentence, data };
        to_json(&Message { jsonrpc: "2.0", id: null_id.map(|()| None), error })
    }
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// A small answer of one piece.
pub fn whole(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Answer::new(Body::Bytes(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

pub fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    whole(status, "application/json", to_json(value))
}

/// 204 with nothing in it.
pub fn no_content() -> Answer {
    let mut answer = Answer::new(Body::Empty);
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

/// What every answer carries, whoever made it.
pub fn dress(answer: &mut Answer, method: &Method, request_id: &str) {
    let headers = answer.headers_mut();
    let mut default = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    default(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    default(header::REFERRER_POLICY, "no-referrer");
    if method != Method::OPTIONS {
        default(header::CACHE_CONTROL, "no-store");
    }
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(refusal: Refusal, face: Face) -> serde_json::Value {
        match refusal.into_answer(face).into_body() {
            Body::Bytes(bytes) => serde_json::from_slice(&bytes).unwrap(),
            _ => panic!("a refusal has a body"),
        }
    }

    #[test]
    fn a_refusal_speaks_the_language_of_its_path() {
        let refusal = || Refusal {
            retry: Some((7, Some("burst"))),
            ..Refusal::new(StatusCode::TOO_MANY_REQUESTS, "Rate limited, retry in 7 s")
        };
        assert_eq!(
            body(refusal(), Face::McpNullId),
            serde_json::json!({"jsonrpc": "2.0", "id": null, "error": {"code": 429,
                "message": "Rate limited, retry in 7 s", "data": {"retryAfterMs": 7000, "policy": "burst"}}})
        );
        assert_eq!(body(refusal(), Face::McpNoId).get("id"), None, "newer revisions have no null ids");
        let codes = [(401, -32001), (403, -32002), (413, 413), (404, -32600)];
        for (status, code) in codes {
            let refusal = Refusal::new(StatusCode::from_u16(status).unwrap(), "No.");
            let said = body(refusal, Face::McpBlocking);
            assert_eq!((&said["error"]["code"], &said["id"]), (&code.into(), &serde_json::Value::Null));
        }
        let problem = body(refusal(), Face::Plain);
        assert_eq!((&problem["status"], &problem["title"]), (&429.into(), &"Too Many Requests".into()));
    }
}
