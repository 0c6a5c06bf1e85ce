//! The tools: what each is called, takes, needs and gives.

mod arguments;
mod blocking;
mod catalogue;
mod gallery;
mod generate;
mod generation;
mod jobs;
mod lists;
mod made;
mod models;
mod paging;
mod pictures;
mod reload;
mod results;
mod schema;
mod uploads;
mod usage;
mod waiting;

pub use blocking::{INSTRUCTIONS as BLOCKING_INSTRUCTIONS, known_words};
pub use catalogue::Tool;
pub use generate::Started;
pub use lists::{Lists, result as list};
pub use models::read_generation;
pub use paging::Pages;
pub use results::error;
pub use waiting::ASK_AGAIN_MS;

use super::{
    Inner,
    call::{Call, Profile},
    errors::{Fault, ToolError},
    tasks::{self, Form},
    wire::frame,
};
use crate::jobs::JobView;
use arguments::Arguments;
use pictures::Block;
use results::Failure;
use serde::Serialize;
use serde_json::{Map, Value, value::RawValue};

/// One call of a tool.
#[derive(Clone, Copy)]
pub struct Cx<'a> {
    inner: &'a Inner,
    call: &'a Call,
    tool: Tool,
    meta: Option<&'a Map<String, Value>>,
}

/// What a tool has to say: one JSON object, and blocks after it.
pub struct Answer {
    object: Box<RawValue>,
    blocks: Vec<Block>,
    failed: bool,
}

impl Answer {
    fn of<T: Serialize>(object: &T) -> Result<Answer, ToolError> {
        Ok(Answer { object: self::object(object)?, blocks: Vec::new(), failed: false })
    }
    fn with(mut self, blocks: Vec<Block>) -> Answer {
        self.blocks = blocks;
        self
    }
    fn failure<T: Serialize>(object: &T) -> Result<Answer, ToolError> {
        Ok(Answer { failed: true, ..Answer::of(object)? })
    }
}

/// The result of `tools/call`: the object as text first, and once more as it is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolResult {
    content: Vec<Block>,
    structured_content: Box<RawValue>,
    /// Absent on success for the first predecessor's clients, always there for the second's.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_error: Option<bool>,
}

impl Answer {
    fn into_result(self, profile: Profile) -> ToolResult {
        let mut content = vec![Block::Text { text: self.object.get().to_owned() }];
        content.extend(self.blocks);
        let told = self.failed || profile == Profile::Blocking;
        ToolResult { content, structured_content: self.object, is_error: told.then_some(self.failed) }
    }
}

/// Arguments as they came, if any came.
type Given<'a> = Option<&'a Map<String, Value>>;

/// The tool and the arguments of a `tools/call`.
fn read<'a>(inner: &Inner, call: &Call, params: &'a Map<String, Value>) -> Result<(Tool, Given<'a>), Fault> {
    let name = match params.get("name") {
        Some(Value::String(name)) => name,
        _ => return Err(Fault::invalid_params("missing tool name")),
    };
    let arguments = match params.get("arguments") {
        None | Some(Value::Null) => None,
        Some(Value::Object(arguments)) => Some(arguments),
        Some(_) => return Err(Fault::invalid_params("arguments must be an object")),
    };
    if let Some((name, _)) = arguments.into_iter().flatten().find(|(name, value)| has_nul(name, value)) {
        let text = format!("`{}` has a NUL character (U+0000) in it; leave it out", name.replace('\0', "?"));
        return Err(Fault::invalid_params(&text));
    }
    let tool = Tool::find(name).filter(|tool| inner.offers(call, tool.name()));
    let tool = tool.ok_or_else(|| {
        let short: String = name.chars().take(100).collect();
        Fault::invalid_params(&format!("unknown tool: {short}"))
    })?;
    Ok((tool, arguments))
}

/// No text has it by intent, and not every database can keep it.
fn has_nul(name: &str, value: &Value) -> bool {
    let inside = match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(all) => all.iter().any(|value| has_nul("", value)),
        Value::Object(all) => all.iter().any(|(name, value)| has_nul(name, value)),
        _ => false,
    };
    inside || name.contains('\0')
}

/// The name of a tool that is not there: clients of the blocking profile read that in a result.
fn unknown<'a>(inner: &Inner, call: &Call, params: &'a Map<String, Value>) -> Option<&'a str> {
    let name = params.get("name")?.as_str()?;
    let known = || Tool::find(name).is_some_and(|tool| inner.offers(call, tool.name()));
    (call.profile == Profile::Blocking && !known()).then_some(name)
}

/// # Errors
/// The call is malformed, there is no such tool, or the caller may not use it.
pub fn admit(inner: &Inner, call: &Call, params: &Map<String, Value>) -> Result<(), Fault> {
    if unknown(inner, call, params).is_some() {
        return Ok(());
    }
    let (tool, _) = read(inner, call, params)?;
    match tool.scope() {
        scope if call.principal.may(scope) => tasks::admit_call(call, tool, params),
        scope => Err(Fault::insufficient_scope(scope)),
    }
}

/// What a call comes to.
pub enum Called {
    Answered(ToolResult),
    /// The work goes on; its answer is the task's.
    Task(Box<Started>),
}

/// # Errors
/// Only what is no business of the tool: its own failures are results.
pub async fn call(inner: &Inner, call: &Call, params: &Map<String, Value>) -> Result<Called, Fault> {
    if let Some(name) = unknown(inner, call, params) {
        return result(call, blocking::unknown_tool(name)).map(Called::Answered);
    }
    let (tool, arguments) = read(inner, call, params)?;
    let none = Map::new();
    let given = arguments.unwrap_or(&none);
    let cx = Cx { inner, call, tool, meta: frame::meta(params) };
    if let Some(form) = tasks::wanted(call, tool, params)
        && let Some(task) = task(cx, form, Arguments::new(given)).await?
    {
        return Ok(task);
    }
    let args = Arguments::new(given);
    let answer = match tool {
        _ if blocking::answers(call, tool) => blocking::call(cx, args).await,
        Tool::ListModels => models::list_models(cx, args).await,
        Tool::EstimatePrice => models::estimate_price(cx, args).await,
        Tool::GenerateImage | Tool::EditImage => generate::generate_image(cx, args).await,
        Tool::CreateUpload => uploads::create_upload(cx, args),
        Tool::GenerateImageAndWait => generate::generate_image_and_wait(cx, args).await,
        Tool::GetJobStatus => jobs::get_job_status(cx, args).await,
        Tool::WaitForCompletion => waiting::wait_for_completion(cx, args).await,
        Tool::ListGenerations => gallery::list_generations(cx, args).await,
        Tool::ListJobs => jobs::list_jobs(cx, args).await,
        Tool::GetImageData => gallery::get_image_data(cx, args).await,
        Tool::CancelJob => jobs::cancel_job(cx, args).await,
        Tool::DeleteImage => gallery::delete_image(cx, args).await,
        Tool::GetQuota => usage::get_quota(cx, args).await,
        Tool::GetUsage => usage::get_usage(cx, args).await,
        Tool::ReloadConfig => reload::reload_config(cx, args).await,
    };
    result(call, answer).map(Called::Answered)
}

/// A call that makes images, as a task. `None`: it becomes none, so it is answered as ever.
async fn task(cx: Cx<'_>, form: Form, args: Arguments) -> Result<Option<Called>, Fault> {
    match (generate::start(cx, args).await, form) {
        (Ok(Some(started)), _) => Ok(Some(Called::Task(Box::new(started)))),
        (Ok(None), Form::Extension) => Ok(None),
        // This client waits for a task and for nothing else.
        (Ok(None), Form::Core) => {
            Err(Fault::invalid_params("a task makes one image; ask for several in a call without a task"))
        }
        (Err(ToolError::Refused(refused)), Form::Core) => {
            let message = refused.message.clone();
            let data = serde_json::to_value(Failure::from(refused)).unwrap_or_default();
            Err(Fault::refused(&message, data))
        }
        (Err(error), _) => result(cx.call, Err(error)).map(|result| Some(Called::Answered(result))),
    }
}

/// What a tool that waits for this job answers about it, as it stands now.
///
/// # Errors
/// A fault of the gateway.
pub async fn answer_about(inner: &Inner, call: &Call, view: &JobView) -> Result<ToolResult, Fault> {
    let cx = Cx { inner, call, tool: Tool::GenerateImageAndWait, meta: None };
    result(call, waiting::remembered(cx, view).await)
}

/// Waits until a job has ended, or the transport does. `None`: it is gone.
///
/// # Errors
/// The database is away.
pub async fn wait_for(inner: &Inner, call: &Call, id: uuid::Uuid) -> Result<Option<JobView>, Fault> {
    let cx = Cx { inner, call, tool: Tool::WaitForCompletion, meta: None };
    Ok(waiting::wait(cx, &[id], waiting::LONGEST).await?.pop())
}

fn result(call: &Call, answer: Result<Answer, ToolError>) -> Result<ToolResult, Fault> {
    let answer = match answer {
        Err(ToolError::Refused(refused)) => Answer::failure(&Failure::from(refused)),
        answer => answer,
    };
    match answer {
        Ok(answer) => Ok(answer.into_result(call.profile)),
        Err(ToolError::Fault(fault)) => Err(fault),
        Err(ToolError::Refused(_)) => Err(Fault::internal()),
    }
}

/// A job as `get_job_status` shows it; `None`: not there, or not the caller's.
///
/// # Errors
/// The database is away.
pub async fn job_resource(inner: &Inner, call: &Call, id: &str) -> Result<Option<Box<RawValue>>, Fault> {
    let Ok(id) = uuid::Uuid::try_parse(id) else { return Ok(None) };
    let Some(view) = inner.backend.job(call.team(), id).await? else { return Ok(None) };
    let cx = Cx { inner, call, tool: Tool::GetJobStatus, meta: None };
    object(&jobs::status(cx, &view)).map(Some)
}

/// What `list_models` answers.
///
/// # Errors
/// Never but for a fault of the gateway.
pub fn models_resource(inner: &Inner, call: &Call) -> Result<Box<RawValue>, Fault> {
    object(&models::rows(inner.backend.models(&call.owner())))
}

fn object<T: Serialize>(object: &T) -> Result<Box<RawValue>, Fault> {
    serde_json::value::to_raw_value(object).map_err(|error| {
        tracing::error!(error = %error, "a result could not be written");
        Fault::internal()
    })
}
