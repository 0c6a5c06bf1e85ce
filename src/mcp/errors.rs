//! What failed, as the outside sees it: the one border where errors of other modules become JSON-RPC errors with
//! their HTTP status, or tool results.

use super::wire::era::Version;
use crate::{
    auth::Scope,
    images::ImageError,
    jobs::{Code, JobsError, Refused},
    store::StoreError,
    telemetry::utc,
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

/// Seconds after which a caller may find the database again.
const STORE_RETRY_SECONDS: u32 = 2;

/// A JSON-RPC error and what HTTP says beside it.
#[derive(Debug, Clone)]
pub struct Fault {
    pub status: StatusCode,
    pub code: i32,
    pub message: String,
    pub data: Option<Box<Value>>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Fault {
    fn new(status: StatusCode, code: i32, message: impl Into<String>) -> Fault {
        Fault { status, code, message: message.into(), data: None, headers: Vec::new() }
    }
    fn data(mut self, data: Value) -> Fault {
        self.data = Some(Box::new(data));
        self
    }
    fn header(mut self, name: HeaderName, value: impl TryInto<HeaderValue>) -> Fault {
        self.headers.extend(value.try_into().ok().map(|value| (name, value)));
        self
    }
    /// Refused before any handler saw it.
    pub fn bad_request(mut self) -> Fault {
        self.status = StatusCode::BAD_REQUEST;
        self
    }

    pub fn parse() -> Fault {
        Fault::new(StatusCode::BAD_REQUEST, -32700, "Parse error")
    }
    pub fn invalid_request(why: &str) -> Fault {
        Fault::new(StatusCode::BAD_REQUEST, -32600, format!("Invalid Request: {why}"))
    }
    /// Found by a handler, so HTTP 200: peers take a 4xx for a fault of the transport.
    pub fn invalid_params(why: &str) -> Fault {
        Fault::new(StatusCode::OK, -32602, format!("Invalid params: {why}"))
    }
    /// The modern era wants 404; older clients expect 200.
    pub fn method_not_found(method: &str, modern: bool) -> Fault {
        let status = if modern { StatusCode::NOT_FOUND } else { StatusCode::OK };
        let method: String = method.chars().take(100).collect();
        Fault::new(status, -32601, format!("Method not found: {method}"))
    }
    pub fn header_mismatch(why: &str) -> Fault {
        Fault::new(StatusCode::BAD_REQUEST, -32020, format!("Header mismatch: {why}"))
    }
    pub fn unsupported_version(asked: &str) -> Fault {
        let asked: String = asked.chars().take(40).collect();
        Fault::new(StatusCode::BAD_REQUEST, -32022, "Unsupported protocol version")
            .data(json!({"supported": Version::ALL.map(Version::as_str), "requested": asked}))
    }
    pub fn not_a_post() -> Fault {
        Fault::new(
            StatusCode::METHOD_NOT_ALLOWED,
            405,
            "POST JSON-RPC messages here; there is nothing to GET",
        )
        .header(header::ALLOW, "POST")
    }
    /// Clients answer it with a new handshake.
    pub fn no_session(id: &str) -> Fault {
        let id: String = id.chars().take(100).collect();
        Fault::new(StatusCode::NOT_FOUND, 404, format!("Session '{id}' not found or expired"))
    }
    /// The session is there; its stream is not, or not at this node.
    pub fn no_stream() -> Fault {
        let sentence = "The stream of this session is not open here; open another, and lead its posts to the node that holds it";
        Fault::new(StatusCode::NOT_FOUND, 404, sentence)
    }
    pub fn needs_session() -> Fault {
        Fault::invalid_request(
            "Mcp-Session-Id is missing: send initialize first, and its id with every request",
        )
    }
    pub fn too_many_messages() -> Fault {
        let sentence = "Too many messages wait; send this one again in a second";
        Fault::new(StatusCode::SERVICE_UNAVAILABLE, 503, sentence)
            .header(header::RETRY_AFTER, HeaderValue::from(1))
    }
    pub fn too_many_listeners() -> Fault {
        let sentence = "Too many subscriptions are open; end some with notifications/cancelled first";
        Fault::new(StatusCode::TOO_MANY_REQUESTS, 429, sentence)
    }
    /// Seen only by a client that still listens to a request it has cancelled.
    pub fn cancelled() -> Fault {
        Fault::new(StatusCode::OK, 499, "The client has cancelled this request")
    }
    pub fn malformed_key() -> Fault {
        Fault::invalid_request("Idempotency-Key is malformed or there twice")
    }
    /// The client has not declared what the call needs; `capabilities` is shaped as it would declare them.
    pub fn missing_capability(capabilities: Value) -> Fault {
        Fault::new(StatusCode::BAD_REQUEST, -32021, "Missing required client capability")
            .data(json!({"requiredCapabilities": capabilities}))
    }
    pub fn not_json() -> Fault {
        Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, 415, "Content-Type must be application/json")
    }
    pub fn not_acceptable() -> Fault {
        let message = "Accept must allow application/json or text/event-stream";
        Fault::new(StatusCode::NOT_ACCEPTABLE, 406, message)
    }
    /// The key lacks a scope. The challenge names all that the operation needs.
    pub fn insufficient_scope(scope: Scope) -> Fault {
        let scope = scope.as_str();
        Fault::new(StatusCode::FORBIDDEN, 403, format!("this key lacks the scope {scope}"))
            .data(json!({"scope": scope}))
            .header(
                header::WWW_AUTHENTICATE,
                format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\""),
            )
    }
    /// Not there, or not the caller's. Older revisions have a code of their own for it.
    pub fn no_resource(uri: &str, modern: bool) -> Fault {
        let uri: String = uri.chars().take(200).collect();
        let code = if modern { -32602 } else { -32002 };
        Fault::new(StatusCode::OK, code, format!("Resource not found: {uri}")).data(json!({"uri": uri}))
    }
    /// Its owner deleted it.
    pub fn deleted_resource(uri: &str, at_us: i64, modern: bool) -> Fault {
        let mut fault = Fault::no_resource(uri, modern);
        fault.message = format!("Resource deleted on {}: {uri}", utc(at_us));
        fault.data(json!({"uri": uri, "deletedAt": at_us.div_euclid(1_000)}))
    }
    /// Never was, is over, or is somebody else's: one answer to all of them.
    pub fn no_task() -> Fault {
        Fault::invalid_params("there is no such task")
    }
    /// A call that is to be a task was refused before there was one.
    pub fn refused(message: &str, data: Value) -> Fault {
        Fault::new(StatusCode::OK, -32602, message).data(data)
    }
    /// The server stops while a caller waits.
    pub fn not_ended() -> Fault {
        let sentence = "The task goes on; the gateway is shutting down. Ask again in a few seconds.";
        Fault::new(StatusCode::SERVICE_UNAVAILABLE, 503, sentence)
            .header(header::RETRY_AFTER, HeaderValue::from(STORE_RETRY_SECONDS))
    }
    pub fn internal() -> Fault {
        Fault::new(StatusCode::OK, -32603, "Internal error")
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Fault {
        tracing::error!(error = %error, "a call failed because the database is away");
        Fault::new(
            StatusCode::SERVICE_UNAVAILABLE,
            503,
            "The gateway's database is not available right now; try again in a moment.",
        )
        .data(json!({"retryAfterMs": STORE_RETRY_SECONDS * 1_000}))
        .header(header::RETRY_AFTER, HeaderValue::from(STORE_RETRY_SECONDS))
    }
}

/// How a tool fails: as a result that the assistant reads, or as an error of the protocol.
#[derive(Debug)]
pub enum ToolError {
    Refused(Refused),
    Fault(Fault),
}

impl From<Refused> for ToolError {
    fn from(refused: Refused) -> Self {
        ToolError::Refused(refused)
    }
}

impl From<Fault> for ToolError {
    fn from(fault: Fault) -> Self {
        ToolError::Fault(fault)
    }
}

impl From<StoreError> for ToolError {
    fn from(error: StoreError) -> Self {
        ToolError::Fault(error.into())
    }
}

impl From<JobsError> for ToolError {
    fn from(error: JobsError) -> Self {
        match error {
            JobsError::Refused(refused) => ToolError::Refused(refused),
            JobsError::Store(error) => error.into(),
        }
    }
}

impl From<ImageError> for ToolError {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Store(error) => error.into(),
            ImageError::Unacceptable(why) => Refused::new(Code::StorageError, why).into(),
            ImageError::Missing => {
                Refused::new(Code::NotFound, "The image is no longer in storage; its job is unchanged.")
                    .into()
            }
            ImageError::Storage(detail) | ImageError::Unread(detail) => {
                tracing::error!(error = %detail, "an image could not be read");
                let message =
                    "The image is stored but cannot be read right now; ask for it again in a moment.";
                Refused::new(Code::StorageError, message).into()
            }
        }
    }
}
