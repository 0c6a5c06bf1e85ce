//! Methods: which there are in each era, and their answers.

use super::{
    Inner,
    call::Call,
    errors::Fault,
    tools,
    wire::{era::Version, frame::Request},
};
use serde::Serialize;
use serde_json::{Value, value::RawValue};

/// How long a client may keep what `server/discover` said, and the list of tools.
const DISCOVER_TTL_MS: u32 = 3_600_000;
const LIST_TTL_MS: u32 = 60_000;

/// The methods that are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Initialize,
    Ping,
    Discover,
    ListTools,
    CallTool,
}

impl Method {
    fn find(name: &str, modern: bool) -> Result<Method, Fault> {
        match (name, modern) {
            ("tools/list", _) => Ok(Method::ListTools),
            ("tools/call", _) => Ok(Method::CallTool),
            ("server/discover", true) => Ok(Method::Discover),
            ("initialize", false) => Ok(Method::Initialize),
            ("ping", false) => Ok(Method::Ping),
            _ => Err(Fault::method_not_found(name, modern)),
        }
    }
}

/// Name and version of a program.
#[derive(Debug, Serialize)]
pub struct Implementation<'a> {
    pub name: &'a str,
    pub version: &'a str,
}

/// What is refused before a handler runs, and so before anything can have been streamed.
///
/// # Errors
/// Method or tool unknown, parameters malformed, scope missing.
pub fn admit(inner: &Inner, call: &Call, request: &Request) -> Result<(), Fault> {
    match Method::find(&request.method, call.peer.is_modern())? {
        Method::CallTool => tools::admit(inner, call, &request.params),
        Method::ListTools => first_page(request.params.get("cursor")),
        _ => Ok(()),
    }
}

/// The result of an admitted request.
///
/// # Errors
/// Those of the protocol. What a tool could not do is a result.
pub async fn answer(inner: &Inner, call: &Call, request: &Request) -> Result<Box<RawValue>, Fault> {
    let modern = call.peer.is_modern();
    match Method::find(&request.method, modern)? {
        Method::Initialize => raw(&initialize(inner, request)),
        Method::Ping => raw(&serde_json::Map::new()),
        Method::Discover => raw(&Envelope::cached(inner, discover(inner), DISCOVER_TTL_MS, "public")),
        Method::ListTools => {
            let list = tools::list(inner, call);
            if modern { raw(&Envelope::cached(inner, list, LIST_TTL_MS, "private")) } else { raw(&list) }
        }
        Method::CallTool => {
            let result = tools::call(inner, call, &request.params).await?;
            if modern { raw(&Envelope::complete(inner, result)) } else { raw(&result) }
        }
    }
}

/// Every list fits one page, so the only cursor there can be is none (or an empty one).
fn first_page(cursor: Option<&Value>) -> Result<(), Fault> {
    match cursor {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(text)) if text.is_empty() => Ok(()),
        Some(_) => Err(Fault::invalid_params("this cursor was not given by this server")),
    }
}

fn raw<T: Serialize>(result: &T) -> Result<Box<RawValue>, Fault> {
    serde_json::value::to_raw_value(result).map_err(|error| {
        tracing::error!(error = %error, "a result could not be written");
        Fault::internal()
    })
}

/// A result of the modern era: what it is, who made it, how long it holds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a, T> {
    result_type: &'static str,
    #[serde(flatten)]
    body: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_scope: Option<&'static str>,
    #[serde(rename = "_meta")]
    meta: Meta<'a>,
}

#[derive(Serialize)]
struct Meta<'a> {
    #[serde(rename = "io.modelcontextprotocol/serverInfo")]
    server_info: Implementation<'a>,
}

impl<'a, T> Envelope<'a, T> {
    fn complete(inner: &'a Inner, body: T) -> Self {
        let meta = Meta { server_info: inner.server_info() };
        Envelope { result_type: "complete", body, ttl_ms: None, cache_scope: None, meta }
    }
    fn cached(inner: &'a Inner, body: T, ttl_ms: u32, scope: &'static str) -> Self {
        Envelope { ttl_ms: Some(ttl_ms), cache_scope: Some(scope), ..Envelope::complete(inner, body) }
    }
}

/// What is served; nothing is claimed that is not.
#[derive(Serialize)]
struct Capabilities {
    tools: ToolsCapability,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolsCapability {
    list_changed: bool,
}

const CAPABILITIES: Capabilities = Capabilities { tools: ToolsCapability { list_changed: false } };

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Initialized<'a> {
    protocol_version: &'static str,
    capabilities: Capabilities,
    server_info: Implementation<'a>,
    instructions: &'a str,
}

fn initialize<'a>(inner: &'a Inner, request: &Request) -> Initialized<'a> {
    Initialized {
        protocol_version: agreed(request).as_str(),
        capabilities: CAPABILITIES,
        server_info: inner.server_info(),
        instructions: &inner.server.instructions,
    }
}

/// The version that an `initialize` request ends with.
pub fn agreed(request: &Request) -> Version {
    Version::negotiate(request.params.get("protocolVersion").and_then(Value::as_str))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Discovered<'a> {
    supported_versions: [&'static str; 5],
    capabilities: Capabilities,
    instructions: &'a str,
}

fn discover(inner: &Inner) -> Discovered<'_> {
    Discovered {
        supported_versions: Version::ALL.map(Version::as_str),
        capabilities: CAPABILITIES,
        instructions: &inner.server.instructions,
    }
}
