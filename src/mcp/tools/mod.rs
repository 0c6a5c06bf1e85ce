//! The tools: what each is called, takes, needs and gives.

mod arguments;
mod catalogue;
mod gallery;
mod generate;
mod generation;
mod jobs;
mod made;
mod models;
mod pictures;
mod results;
mod schema;
mod waiting;

pub use catalogue::{Tool, list};

use super::{
    Inner,
    call::Call,
    errors::{Fault, ToolError},
    wire::frame,
};
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
        let object = serde_json::value::to_raw_value(object).map_err(|error| {
            tracing::error!(error = %error, "a tool's result could not be written");
            Fault::internal()
        })?;
        Ok(Answer { object, blocks: Vec::new(), failed: false })
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
    /// Absent on success, as the first predecessor's clients expect.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_error: bool,
}

impl From<Answer> for ToolResult {
    fn from(answer: Answer) -> ToolResult {
        let mut content = vec![Block::Text { text: answer.object.get().to_owned() }];
        content.extend(answer.blocks);
        ToolResult { content, structured_content: answer.object, is_error: answer.failed }
    }
}

/// Arguments as they came, if any came.
type Given<'a> = Option<&'a Map<String, Value>>;

/// The tool and the arguments of a `tools/call`.
fn read<'a>(inner: &Inner, params: &'a Map<String, Value>) -> Result<(Tool, Given<'a>), Fault> {
    let name = match params.get("name") {
        Some(Value::String(name)) => name,
        _ => return Err(Fault::invalid_params("missing tool name")),
    };
    let arguments = match params.get("arguments") {
        None | Some(Value::Null) => None,
        Some(Value::Object(arguments)) => Some(arguments),
        Some(_) => return Err(Fault::invalid_params("arguments must be an object")),
    };
    let tool = Tool::find(name).filter(|tool| inner.offers(tool.name()));
    let tool = tool.ok_or_else(|| {
        let short: String = name.chars().take(100).collect();
        Fault::invalid_params(&format!("unknown tool: {short}"))
    })?;
    Ok((tool, arguments))
}

/// # Errors
/// The call is malformed, there is no such tool, or the caller may not use it.
pub fn admit(inner: &Inner, call: &Call, params: &Map<String, Value>) -> Result<(), Fault> {
    let (tool, _) = read(inner, params)?;
    match tool.scope() {
        scope if call.principal.may(scope) => Ok(()),
        scope => Err(Fault::insufficient_scope(scope)),
    }
}

/// # Errors
/// Only what is no business of the tool: its own failures are results.
pub async fn call(inner: &Inner, call: &Call, params: &Map<String, Value>) -> Result<ToolResult, Fault> {
    let (tool, arguments) = read(inner, params)?;
    let none = Map::new();
    let args = Arguments::new(arguments.unwrap_or(&none));
    let cx = Cx { inner, call, tool, meta: frame::meta(params) };
    let answer = match tool {
        Tool::ListModels => models::list_models(cx, args),
        Tool::EstimatePrice => models::estimate_price(cx, args).await,
        Tool::GenerateImage => generate::generate_image(cx, args).await,
        Tool::GenerateImageAndWait => generate::generate_image_and_wait(cx, args).await,
        Tool::GetJobStatus => jobs::get_job_status(cx, args).await,
        Tool::WaitForCompletion => waiting::wait_for_completion(cx, args).await,
        Tool::ListGenerations => gallery::list_generations(cx, args).await,
        Tool::ListJobs => jobs::list_jobs(cx, args).await,
        Tool::GetImageData => gallery::get_image_data(cx, args).await,
        Tool::CancelJob => jobs::cancel_job(cx, args).await,
    };
    match answer {
        Ok(answer) => Ok(answer.into()),
        Err(ToolError::Fault(fault)) => Err(fault),
        Err(ToolError::Refused(refused)) => match Answer::failure(&Failure::from(refused)) {
            Ok(answer) => Ok(answer.into()),
            Err(_) => Err(Fault::internal()),
        },
    }
}
