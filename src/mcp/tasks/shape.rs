//! What a task looks like, and what state of a job is which of a task.

use super::Form;
use crate::{
    jobs::{Code, JobView},
    mcp::{
        Inner,
        call::Call,
        dispatch,
        errors::Fault,
        tools::{self, ASK_AGAIN_MS},
    },
    store::State,
    telemetry::rfc3339,
};
use plugin_api::Adjustment;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

const WORKING: &str = "working";
const COMPLETED: &str = "completed";
const FAILED: &str = "failed";
pub const CANCELLED: &str = "cancelled";

/// A task, as both forms show it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    task_id: Uuid,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_message: Option<String>,
    created_at: String,
    last_updated_at: String,
    #[serde(flatten)]
    times: Times,
    /// Of the extension: what the call would have answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<TaskError>,
}

impl Task {
    /// With what the caller should hear now: the result comes too late for it.
    pub fn noting(mut self, notices: &[Adjustment]) -> Task {
        let said = self.status_message.take();
        let all: Vec<String> = said.into_iter().chain(notices.iter().map(|n| n.reason.clone())).collect();
        self.status_message = (!all.is_empty()).then(|| all.join(". "));
        self
    }
}

/// Milliseconds from the beginning for which it is kept at least, and between two looks at it.
#[derive(Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
enum Times {
    Extension { ttl_ms: u64, poll_interval_ms: u64 },
    Core { ttl: u64, poll_interval: u64 },
}

#[derive(Serialize)]
struct TaskError {
    code: i32,
    message: String,
}

/// A call's answer while its work goes on.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Created {
    /// Flat; what kind of result it is is said around it.
    Extension(Task),
    Core {
        task: Task,
    },
}

impl Created {
    pub fn new(form: Form, task: Task) -> Created {
        match form {
            Form::Extension => Created::Extension(task),
            Form::Core => Created::Core { task },
        }
    }
}

/// A job that failed by a fault of the gateway: no result of a tool but an error of the protocol.
pub fn is_fault(view: &JobView) -> bool {
    tools::error(view).is_some_and(|(_, code)| code == Code::Internal.as_str())
}

pub fn status(form: Form, view: &JobView) -> &'static str {
    let job = &view.job;
    match (form, job.state) {
        (_, State::Cancelled) => CANCELLED,
        // Once cancelled, a core task stays so, also where the vendor could not be stopped any more.
        (Form::Core, _) if job.cancel_requested => CANCELLED,
        (_, State::Queued | State::Delayed | State::Running) => WORKING,
        (_, State::Completed) => COMPLETED,
        // In the extension a tool that failed has completed, with a result that says so.
        (Form::Extension, State::Failed) if !is_fault(view) => COMPLETED,
        (_, State::Failed) => FAILED,
    }
}

pub fn is_over(form: Form, view: &JobView) -> bool {
    status(form, view) != WORKING
}

fn message(form: Form, view: &JobView) -> Option<String> {
    match view.job.state {
        State::Completed => None,
        State::Failed | State::Cancelled => tools::error(view).map(|(error, _)| error),
        _ if is_over(form, view) => {
            Some("The vendor is already working on it: the image will be finished and kept.".into())
        }
        _ => Some(view.sentence()),
    }
}

/// Without its result.
pub fn plain(inner: &Inner, form: Form, view: &JobView) -> Task {
    let job = &view.job;
    let kept = u64::try_from(inner.backend.retention().as_millis()).unwrap_or(u64::MAX);
    Task {
        task_id: job.id,
        status: status(form, view),
        status_message: message(form, view),
        created_at: rfc3339(job.created_us),
        last_updated_at: rfc3339(job.updated_us),
        times: match form {
            Form::Extension => Times::Extension { ttl_ms: kept, poll_interval_ms: ASK_AGAIN_MS },
            Form::Core => Times::Core { ttl: kept, poll_interval: ASK_AGAIN_MS },
        },
        result: None,
        error: None,
    }
}

/// With its result or error, where the form has them in the task.
///
/// # Errors
/// A fault of the gateway.
pub async fn detailed(inner: &Inner, call: &Call, form: Form, view: &JobView) -> Result<Task, Fault> {
    let mut task = plain(inner, form, view);
    match (form, task.status) {
        (Form::Extension, COMPLETED) => {
            let result = tools::answer_about(inner, call, view).await?;
            task.result = Some(dispatch::complete(inner, true, result)?);
        }
        (Form::Extension, FAILED) => {
            let Fault { code, message, .. } = Fault::internal();
            task.error = Some(TaskError { code, message });
        }
        _ => {}
    }
    Ok(task)
}
