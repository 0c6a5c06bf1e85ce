//! Tools, resources and prompts besides the gateway's own. The product has none; the fixtures of the conformance suite
//! are such a set, served by the same transports and the same dispatcher.

use super::{
    Inner,
    call::Call,
    errors::Fault,
    wire::{
        frame::{self, Request, Written},
        headers,
    },
};
use async_trait::async_trait;
use serde_json::{Map, Value, json, value::RawValue};
use std::fmt;

/// One of the lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListOf {
    Tools,
    Resources,
    Templates,
    Prompts,
}

impl ListOf {
    /// The list that a method asks for, and its member in the result.
    fn of(method: &str) -> Option<(ListOf, &'static str)> {
        Some(match method {
            "tools/list" => (ListOf::Tools, "tools"),
            "resources/list" => (ListOf::Resources, "resources"),
            "resources/templates/list" => (ListOf::Templates, "resourceTemplates"),
            "prompts/list" => (ListOf::Prompts, "prompts"),
            _ => return None,
        })
    }
}

/// A set of offerings.
#[async_trait]
pub trait Extra: fmt::Debug + Send + Sync {
    /// Members of `capabilities` besides the gateway's own.
    fn capabilities(&self, modern: bool) -> Map<String, Value>;
    /// Entries of a list, as the protocol writes them.
    fn list(&self, list: ListOf) -> Vec<Value>;
    /// Whether it answers this request, instead of the gateway.
    fn owns(&self, method: &str, params: &Map<String, Value>) -> bool;
    /// The result of a request that it owns.
    ///
    /// # Errors
    /// Those of the protocol.
    async fn answer(
        &self,
        caller: Caller<'_>,
        method: &str,
        params: &Map<String, Value>,
    ) -> Result<Value, Fault>;
}

/// Who called, and the way back beside the answer.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    inner: &'a Inner,
    call: &'a Call,
    params: &'a Map<String, Value>,
}

impl Caller<'_> {
    pub fn is_modern(&self) -> bool {
        self.call.peer.is_modern()
    }

    /// A member of `_meta`.
    pub fn meta(&self, key: &str) -> Option<&Value> {
        frame::meta(self.params)?.get(key)
    }

    /// Tells the caller something. Not told where there is no stream to it.
    pub async fn notify(&self, method: &str, params: Value) {
        if let Some(line) = &self.call.line {
            line.notify(method, params).await;
        }
    }

    /// Asks the caller something, in the eras that have it; the answer is its `result` or `error`. `None`: it cannot be
    /// asked, or did not answer.
    pub async fn ask(&self, method: &str, params: Value) -> Option<Map<String, Value>> {
        let line = self.call.line.as_ref().filter(|_| !self.is_modern())?;
        self.inner.questions.ask(line, &self.call.principal, method, params).await
    }

    /// Tells listening clients that lists may have changed.
    pub fn lists_changed(&self) {
        self.inner.news.send_modify(|news| news.lists += 1);
    }
}

impl Inner {
    /// The set that answers this request, if one does.
    pub fn extra_for(&self, request: &Request) -> Option<&'static dyn Extra> {
        self.server.extra.filter(|extra| extra.owns(&request.method, &request.params))
    }
}

/// What is checked of a request of `extra` before it runs.
///
/// # Errors
/// A header differs from the argument that it mirrors.
pub fn admit(extra: &dyn Extra, call: &Call, request: &Request) -> Result<(), Fault> {
    if request.method != "tools/call" || !call.peer.is_modern() {
        return Ok(());
    }
    let name = request.params.get("name");
    let tools = extra.list(ListOf::Tools);
    let schema = tools.iter().find(|tool| tool.get("name") == name).and_then(|tool| tool.get("inputSchema"));
    match schema {
        Some(schema) => headers::check_params(&call.mirrored, schema, request.params.get("arguments")),
        None => Ok(()),
    }
}

/// The result of a request of `extra`, dressed as the caller's era wants it.
///
/// # Errors
/// Those of the protocol.
pub async fn answer(
    extra: &dyn Extra,
    inner: &Inner,
    call: &Call,
    request: &Request,
) -> Result<Box<RawValue>, Fault> {
    let caller = Caller { inner, call, params: &request.params };
    let mut result = extra.answer(caller, &request.method, &request.params).await?;
    if let (true, Some(object)) = (call.peer.is_modern(), result.as_object_mut()) {
        object.entry("resultType").or_insert(json!("complete"));
        if request.method == "resources/read" {
            object.entry("ttlMs").or_insert(json!(0));
            object.entry("cacheScope").or_insert(json!("private"));
        }
        let ours = json!(inner.server_info());
        object.entry("_meta").or_insert(json!({"io.modelcontextprotocol/serverInfo": ours}));
    }
    serde_json::value::to_raw_value(&result).map_err(|_| Fault::internal())
}

/// A result of the gateway's own with what `extra` has to add to it.
///
/// # Errors
/// Never but for a fault of the gateway.
pub fn add(extra: &dyn Extra, call: &Call, method: &str, result: Written) -> Result<Written, Fault> {
    let more = match ListOf::of(method) {
        Some((list, member)) => (member, Value::Array(extra.list(list))),
        None if matches!(method, "initialize" | "server/discover") => {
            ("capabilities", Value::Object(extra.capabilities(call.peer.is_modern())))
        }
        None => return Ok(result),
    };
    let mut whole: Map<String, Value> = serde_json::from_str(result.get()).map_err(|_| Fault::internal())?;
    match (whole.get_mut(more.0), more.1) {
        (Some(Value::Array(own)), Value::Array(more)) => own.extend(more),
        (Some(Value::Object(own)), Value::Object(more)) => own.extend(more),
        _ => {}
    }
    serde_json::value::to_raw_value(&whole).map(Written::New).map_err(|_| Fault::internal())
}
