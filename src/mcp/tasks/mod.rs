//! Jobs as the tasks of MCP, in both forms that it has had: the extension of 2026-07-28, where the server decides what
//! becomes a task, and the core tasks of 2025-11-25, where the client does.
//!
//! A task is a job: one row, one id, one owner, one retention, however the job was made. Only calls for one image
//! become tasks, for a batch is several jobs. The blocking profile has no tasks: what its tools do is wait.

mod push;
mod shape;

pub use push::Subscribed;
pub use shape::{Created, Task};

use super::{
    Inner,
    call::{Call, Profile},
    errors::Fault,
    tools::{self, Pages, Started, Tool, ToolResult},
    watching::WATCHED_MAX,
    wire::{
        era::{Version, key},
        frame::{self, Request},
    },
};
use crate::{
    auth::Scope,
    jobs::JobView,
    store::{Filter, Job, Window},
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Name of the extension, among the capabilities of both sides.
const EXTENSION: &str = key!("tasks");
/// Tasks on a page of `tasks/list`.
const PAGE: u64 = 50;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// 2026-07-28.
    Extension,
    /// 2025-11-25.
    Core,
}

impl Form {
    pub fn of(call: &Call) -> Option<Form> {
        Form::at(call.profile, call.peer.version)
    }

    pub fn at(profile: Profile, version: Version) -> Option<Form> {
        match version {
            _ if profile == Profile::Blocking => None,
            Version::V2026_07_28 => Some(Form::Extension),
            Version::V2025_11_25 => Some(Form::Core),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Update,
    Cancel,
    Result,
    List,
}

impl Method {
    /// The method of this name, where the caller's form has it.
    pub fn find(name: &str, call: &Call) -> Option<Method> {
        match (name, Form::of(call)?) {
            ("tasks/get", _) => Some(Method::Get),
            ("tasks/cancel", _) => Some(Method::Cancel),
            ("tasks/update", Form::Extension) => Some(Method::Update),
            ("tasks/result", Form::Core) => Some(Method::Result),
            ("tasks/list", Form::Core) => Some(Method::List),
            _ => None,
        }
    }
}

/// `capabilities.tasks` of `initialize`.
pub fn capability() -> Value {
    json!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}})
}

/// `capabilities.extensions` of `server/discover`.
pub fn extensions() -> Value {
    json!({EXTENSION: {}})
}

/// Whether this request's client knows the extension. What it said before does not count.
fn declared(params: &Map<String, Value>) -> bool {
    let declared = frame::meta(params).and_then(|meta| meta.get(key!("clientCapabilities")));
    declared.and_then(|declared| declared.get("extensions")?.get(EXTENSION)).is_some_and(Value::is_object)
}

fn needs_extension() -> Fault {
    Fault::missing_capability(json!({"extensions": extensions()}))
}

/// Whether a request is held until a task has ended.
pub fn waits(request: &Request) -> bool {
    request.method == "tasks/result"
}

/// # Errors
/// Parameters malformed, extension undeclared, scope missing.
pub fn admit(method: Method, call: &Call, params: &Map<String, Value>) -> Result<(), Fault> {
    match (method, params.get("taskId")) {
        (Method::List, _) | (_, Some(Value::String(_))) => {}
        _ => return Err(Fault::invalid_params("taskId must be a string")),
    }
    if method == Method::Update && !params.get("inputResponses").is_some_and(Value::is_object) {
        return Err(Fault::invalid_params("inputResponses must be an object"));
    }
    if Form::of(call) == Some(Form::Extension) && !declared(params) {
        return Err(needs_extension());
    }
    let scope = if method == Method::Cancel { Scope::ImagesWrite } else { Scope::ImagesRead };
    if call.principal.may(scope) { Ok(()) } else { Err(Fault::insufficient_scope(scope)) }
}

/// What is checked of a call of a tool.
///
/// # Errors
/// The client wants a task of a tool that makes none, or would not be allowed to read it.
pub fn admit_call(call: &Call, tool: Tool, params: &Map<String, Value>) -> Result<(), Fault> {
    match params.get("task") {
        Some(task) if Form::of(call) == Some(Form::Core) => match task {
            _ if !tool.makes() => Err(Fault::method_not_found("this tool makes no task", false)),
            Value::Object(_) if call.principal.may(Scope::ImagesRead) => Ok(()),
            Value::Object(_) => Err(Fault::insufficient_scope(Scope::ImagesRead)),
            _ => Err(Fault::invalid_params("task must be an object")),
        },
        _ => Ok(()),
    }
}

/// # Errors
/// Tasks are named by a client that does not know the extension.
pub fn admit_listen(call: &Call, params: &Map<String, Value>) -> Result<(), Fault> {
    let named = params.get("notifications").is_some_and(|wanted| wanted.get("taskIds").is_some());
    let open = Form::of(call) == Some(Form::Extension);
    if named && open && !declared(params) { Err(needs_extension()) } else { Ok(()) }
}

/// The form in which a call of a tool is to become a task, if it is.
pub fn wanted(call: &Call, tool: Tool, params: &Map<String, Value>) -> Option<Form> {
    let form = Form::of(call).filter(|_| tool.makes())?;
    let wanted = match form {
        // A caller that may not read tasks gets its image the plain way.
        Form::Extension => declared(params) && call.principal.may(Scope::ImagesRead),
        Form::Core => params.contains_key("task"),
    };
    wanted.then_some(form)
}

/// What the methods answer.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Said {
    Task(Box<Task>),
    Done {},
    Result(Ended),
    List(List),
}

/// The result of a call, later.
#[derive(Serialize)]
pub struct Ended {
    #[serde(flatten)]
    result: ToolResult,
    #[serde(rename = "_meta")]
    meta: BTreeMap<&'static str, Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct List {
    tasks: Vec<Task>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// # Errors
/// There is no such task, or the database is away.
pub async fn answer(
    inner: &Inner,
    call: &Call,
    method: Method,
    params: &Map<String, Value>,
) -> Result<Said, Fault> {
    let form = Form::of(call).ok_or_else(Fault::internal)?;
    match method {
        Method::Get => {
            let view = find(inner, call, params).await?;
            Ok(Said::Task(Box::new(shape::detailed(inner, call, form, &view).await?)))
        }
        // A job never asks for anything, so there is nothing that could be answered.
        Method::Update => find(inner, call, params).await.map(|_| Said::Done {}),
        Method::Cancel => cancel(inner, call, form, params).await,
        Method::Result => result(inner, call, params).await.map(Said::Result),
        Method::List => list(inner, call, params).await.map(Said::List),
    }
}

/// The task of a job that was just made.
pub fn created(inner: &Inner, call: &Call, started: Started) -> Result<Created, Fault> {
    let form = Form::of(call).ok_or_else(Fault::internal)?;
    let task = shape::plain(inner, form, &view(started.job));
    Ok(Created::new(form, task.noting(&started.notices)))
}

fn view(job: Job) -> JobView {
    let (images, deleted, attempts) = (Vec::new(), Vec::new(), Vec::new());
    JobView { job, images, deleted, attempts, queue_position: None, progress: None }
}

/// The caller's job of this id. Another team's is not there.
async fn find(inner: &Inner, call: &Call, params: &Map<String, Value>) -> Result<JobView, Fault> {
    let id = params.get("taskId").and_then(Value::as_str).and_then(|id| Uuid::try_parse(id).ok());
    let view = match id {
        Some(id) => inner.backend.job(call.team(), id).await?,
        None => None,
    };
    view.ok_or_else(Fault::no_task)
}

async fn cancel(inner: &Inner, call: &Call, form: Form, params: &Map<String, Value>) -> Result<Said, Fault> {
    let before = find(inner, call, params).await?;
    let over = |status: &str| Fault::invalid_params(&format!("the task has ended before: it is {status}"));
    if form == Form::Core && shape::is_over(form, &before) {
        return Err(over(shape::status(form, &before)));
    }
    let cancelled = inner.backend.cancel(call.team(), before.job.id).await?.ok_or_else(Fault::no_task)?;
    let after = JobView { job: cancelled.job, ..before };
    match form {
        Form::Extension => Ok(Said::Done {}),
        Form::Core if shape::status(form, &after) == shape::CANCELLED => {
            Ok(Said::Task(Box::new(shape::plain(inner, form, &after))))
        }
        // It ended in between.
        Form::Core => Err(over(shape::status(form, &after))),
    }
}

async fn result(inner: &Inner, call: &Call, params: &Map<String, Value>) -> Result<Ended, Fault> {
    let mut view = find(inner, call, params).await?;
    let id = view.job.id;
    if !shape::is_over(Form::Core, &view) {
        view = tools::wait_for(inner, call, id).await?.ok_or_else(Fault::no_task)?;
        if !view.job.state.is_final() {
            return Err(Fault::not_ended());
        }
    }
    if shape::is_fault(&view) {
        return Err(Fault::internal());
    }
    let result = tools::answer_about(inner, call, &view).await?;
    Ok(Ended { result, meta: BTreeMap::from([(key!("related-task"), json!({"taskId": id}))]) })
}

async fn list(inner: &Inner, call: &Call, params: &Map<String, Value>) -> Result<List, Fault> {
    let pages = Pages::of(&("tasks/list", call.team()));
    let foreign = || Fault::invalid_params("this cursor was not given by this server");
    let after = match params.get("cursor") {
        None | Some(Value::Null) => None,
        Some(Value::String(cursor)) => Some(pages.place(cursor).ok_or_else(foreign)?),
        Some(_) => return Err(foreign()),
    };
    let window = Window { after, ..Window::first(PAGE) };
    let page = inner.backend.list(&Filter::of_team(call.team()), window).await?;
    let tasks = page.rows.iter().map(|view| shape::plain(inner, Form::Core, view)).collect();
    Ok(List { tasks, next_cursor: page.next.map(|last| pages.cursor(last)) })
}

/// Of the tasks that a client wants to hear of, those that it will hear of.
///
/// # Errors
/// The database is away.
pub async fn honoured(inner: &Inner, call: &Call, params: &Map<String, Value>) -> Result<Vec<Uuid>, Fault> {
    let open = Form::of(call) == Some(Form::Extension) && call.principal.may(Scope::ImagesRead);
    let asked = params.get("notifications").and_then(|wanted| wanted.get("taskIds")).filter(|_| open);
    let asked = asked.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut ids = Vec::new();
    for id in asked.iter().filter_map(Value::as_str).take(WATCHED_MAX) {
        let Ok(id) = Uuid::try_parse(id) else { continue };
        if !ids.contains(&id) && inner.backend.job(call.team(), id).await?.is_some() {
            ids.push(id);
        }
    }
    Ok(ids)
}
