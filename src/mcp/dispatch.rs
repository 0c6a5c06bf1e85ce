//! Methods: which there are in each era, and their answers.

use super::{
    Inner,
    call::{Call, Profile},
    completion,
    errors::Fault,
    extra, prompts, resources,
    tasks::{self, Form},
    tools::{self, Called},
    watching,
    wire::{
        era::Version,
        frame::{Request, Written},
        listening::Lists,
    },
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
    ListResources,
    ListTemplates,
    ReadResource,
    ListPrompts,
    GetPrompt,
    Complete,
    Subscribe,
    Unsubscribe,
    Listen,
    Task(tasks::Method),
}

impl Method {
    fn find(name: &str, call: &Call) -> Result<Method, Fault> {
        let modern = call.peer.is_modern();
        match (name, modern) {
            ("tools/list", _) => Ok(Method::ListTools),
            ("tools/call", _) => Ok(Method::CallTool),
            ("resources/list", _) => Ok(Method::ListResources),
            ("resources/templates/list", _) => Ok(Method::ListTemplates),
            ("resources/read", _) => Ok(Method::ReadResource),
            ("prompts/list", _) => Ok(Method::ListPrompts),
            ("prompts/get", _) => Ok(Method::GetPrompt),
            ("completion/complete", _) => Ok(Method::Complete),
            ("subscriptions/listen", true) => Ok(Method::Listen),
            ("server/discover", true) => Ok(Method::Discover),
            ("resources/subscribe", false) => Ok(Method::Subscribe),
            ("resources/unsubscribe", false) => Ok(Method::Unsubscribe),
            ("initialize", false) => Ok(Method::Initialize),
            ("ping", false) => Ok(Method::Ping),
            _ => match tasks::Method::find(name, call) {
                Some(method) => Ok(Method::Task(method)),
                None => Err(Fault::method_not_found(name, modern)),
            },
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
    if let Some(extra) = inner.extra_for(request) {
        return extra::admit(extra, call, request);
    }
    match Method::find(&request.method, call)? {
        Method::CallTool => tools::admit(inner, call, &request.params),
        Method::ListTools | Method::ListResources | Method::ListTemplates | Method::ListPrompts => {
            first_page(request.params.get("cursor"))
        }
        Method::ReadResource => resources::admit(call, &request.params),
        Method::GetPrompt => prompts::admit(&request.params),
        Method::Complete => completion::admit(&request.params),
        Method::Subscribe | Method::Unsubscribe => watching::admit(call, request),
        Method::Listen => match Lists::asked(&request.params) {
            Some(_) => tasks::admit_listen(call, &request.params),
            None => Err(Fault::invalid_params("notifications must be an object")),
        },
        Method::Task(method) => tasks::admit(method, call, &request.params),
        Method::Initialize | Method::Ping | Method::Discover => Ok(()),
    }
}

/// Whether a request stays open to hear of changes, instead of being answered.
pub fn listens(request: &Request) -> bool {
    request.method == "subscriptions/listen"
}

/// The result of an admitted request.
///
/// # Errors
/// Those of the protocol. What a tool could not do is a result.
pub async fn answer(inner: &Inner, call: &Call, request: &Request) -> Result<Written, Fault> {
    match inner.server.extra {
        None => own(inner, call, request).await,
        Some(extra) if extra.owns(&request.method, &request.params) => {
            extra::answer(extra, inner, call, request).await.map(Written::New)
        }
        Some(extra) => extra::add(extra, call, &request.method, own(inner, call, request).await?),
    }
}

async fn own(inner: &Inner, call: &Call, request: &Request) -> Result<Written, Fault> {
    let modern = call.peer.is_modern();
    let new = match Method::find(&request.method, call)? {
        Method::Initialize => raw(&initialize(inner, call, request)),
        Method::Ping => raw(&serde_json::Map::new()),
        Method::Discover => raw(&Envelope::cached(inner, discover(inner, call), DISCOVER_TTL_MS, "public")),
        Method::ListTools => return tools::list(inner, call, |list| cached(inner, modern, list)),
        Method::ListResources => cached(inner, modern, resources::all(call)),
        Method::ListTemplates => cached(inner, modern, resources::templates()),
        Method::ListPrompts => cached(inner, modern, prompts::all()),
        Method::ReadResource => cached(inner, modern, resources::read(inner, call, &request.params).await?),
        Method::CallTool => match tools::call(inner, call, &request.params).await? {
            Called::Answered(result) => complete(inner, modern, result),
            Called::Task(started) => {
                let task = tasks::created(inner, call, *started)?;
                let body = || Envelope { result_type: "task", ..Envelope::complete(inner, &task) };
                if modern { raw(&body()) } else { raw(&task) }
            }
        },
        Method::Task(method) => {
            complete(inner, modern, tasks::answer(inner, call, method, &request.params).await?)
        }
        Method::GetPrompt => complete(inner, modern, prompts::get(inner, call, &request.params)?),
        Method::Subscribe => raw(&watching::subscribe(inner, call, &request.params).await?),
        Method::Unsubscribe => raw(&watching::unsubscribe(call, &request.params)),
        // A transport holds it open: see `Mcp::listening`.
        Method::Listen => Err(Fault::internal()),
        Method::Complete => {
            complete(inner, modern, completion::complete(inner, call, &request.params).await?)
        }
    };
    new.map(Written::New)
}

/// A result, dressed as its era wants it.
///
/// # Errors
/// Never but for a fault of the gateway.
pub fn complete<T: Serialize>(inner: &Inner, modern: bool, body: T) -> Result<Box<RawValue>, Fault> {
    if modern { raw(&Envelope::complete(inner, body)) } else { raw(&body) }
}

/// A result of the caller's own that may be kept for a minute.
fn cached<T: Serialize>(inner: &Inner, modern: bool, body: T) -> Result<Box<RawValue>, Fault> {
    if modern { raw(&Envelope::cached(inner, body, LIST_TTL_MS, "private")) } else { raw(&body) }
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
    tools: Listed,
    resources: Watched,
    prompts: Listed,
    completions: Nothing,
    /// Of 2025-11-25.
    #[serde(skip_serializing_if = "Option::is_none")]
    tasks: Option<Value>,
    /// Of 2026-07-28.
    #[serde(skip_serializing_if = "Option::is_none")]
    extensions: Option<Value>,
}

/// `{}`
#[derive(Serialize)]
struct Nothing {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    list_changed: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Watched {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    subscribe: bool,
    list_changed: bool,
}

impl Capabilities {
    /// `hears`: whether this peer can be told that a list or a resource has changed. `tasks`: how it has tasks.
    fn new(hears: bool, tasks: Option<Form>) -> Capabilities {
        let listed = || Listed { list_changed: hears };
        let resources = Watched { subscribe: hears, list_changed: hears };
        Capabilities {
            tools: listed(),
            resources,
            prompts: listed(),
            completions: Nothing {},
            tasks: (tasks == Some(Form::Core)).then(tasks::capability),
            extensions: (tasks == Some(Form::Extension)).then(tasks::extensions),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Initialized<'a> {
    protocol_version: &'static str,
    capabilities: Capabilities,
    server_info: Implementation<'a>,
    instructions: &'a str,
}

fn initialize<'a>(inner: &'a Inner, call: &Call, request: &Request) -> Initialized<'a> {
    let version = agreed(request);
    Initialized {
        protocol_version: version.as_str(),
        capabilities: Capabilities::new(call.hears, Form::at(call.profile, version)),
        server_info: inner.server_info(),
        instructions: instructions(inner, call),
    }
}

fn instructions<'a>(inner: &'a Inner, call: &Call) -> &'a str {
    match call.profile {
        Profile::Job => &inner.server.instructions,
        Profile::Blocking => tools::BLOCKING_INSTRUCTIONS,
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

fn discover<'a>(inner: &'a Inner, call: &Call) -> Discovered<'a> {
    Discovered {
        supported_versions: Version::ALL.map(Version::as_str),
        capabilities: Capabilities::new(true, Form::of(call)),
        instructions: instructions(inner, call),
    }
}
