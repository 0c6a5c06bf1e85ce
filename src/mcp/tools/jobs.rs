//! `get_job_status`, `list_jobs` and `cancel_job`.

use super::{
    Answer, Cx,
    arguments::Arguments,
    paging::Paging,
    results::{self, AttemptObject, CancelledJob, Failure, JobList, JobRow, JobStatus, ms},
};
use crate::{
    jobs::{Code, JobView, Refused},
    mcp::errors::ToolError,
    store::{Filter, State},
    telemetry::utc,
};
use uuid::Uuid;

/// What `list_jobs` can be narrowed to.
pub const FILTERS: [&str; 6] = ["all", "pending", "processing", "completed", "failed", "cancelled"];

fn job_id(args: &mut Arguments) -> Result<String, Refused> {
    args.text("job_id", 200)?.ok_or_else(|| args.missing("job_id", "the id of a job"))
}

/// Somebody else's job answers as one that does not exist.
fn not_found(id: String) -> Result<Answer, ToolError> {
    let failure = Failure::from(Refused::new(Code::NotFound, "Job not found"));
    Answer::failure(&Failure { job_id: Some(id), ..failure })
}

pub async fn get_job_status(cx: Cx<'_>, mut args: Arguments) -> Result<Answer, ToolError> {
    let id = job_id(&mut args)?;
    let view = match Uuid::try_parse(id.trim()) {
        Ok(id) => cx.inner.backend.job(cx.call.team(), id).await?,
        Err(_) => None,
    };
    let Some(view) = view else { return not_found(id) };
    let mut status = status(cx, &view);
    status.adjustments.extend(args.unknown());
    Answer::of(&status)
}

/// One job as `get_job_status` shows it.
pub fn status(cx: Cx<'_>, view: &JobView) -> JobStatus {
    let job = &view.job;
    let (error, code) = results::error(view).unzip();
    let attempt = |attempt: &crate::store::Attempt| AttemptObject {
        provider: attempt.instance.clone(),
        model: attempt.vendor_model.clone(),
        outcome: attempt.outcome.clone(),
        started_at: ms(attempt.started_us),
        ended_at: attempt.ended_us.map(ms),
    };
    JobStatus {
        success: true,
        job_id: job.id,
        status: job.state.public(),
        image_url: cx.image_url(view),
        error,
        prompt: results::prompt(view),
        model: job.model.clone(),
        created_at: ms(job.created_us),
        updated_at: ms(job.updated_us),
        images: cx.images(view),
        deleted: results::deleted(view),
        code,
        cost: results::cost(view),
        progress: view.progress,
        queue_position: view.queue_position,
        attempts: view.attempts.iter().map(attempt).collect(),
        adjustments: results::adjustments(view),
        message: view.deleted.first().and_then(|image| image.deleted_us).map(deleted_on),
        retry_after_ms: None,
    }
}

fn deleted_on(at_us: i64) -> String {
    format!("The image that this job made was deleted on {}.", utc(at_us))
}

pub async fn list_jobs(cx: Cx<'_>, mut args: Arguments) -> Result<Answer, ToolError> {
    let filter = args.word("status", &FILTERS)?.unwrap_or("all");
    let paging = Paging::read(cx, &mut args, ("list_jobs", filter))?;
    let wanted = Filter { states: State::of_public(filter), ..paging.filter.clone() };
    let page = cx.inner.backend.list(&wanted, paging.window).await?;
    let row = |view: &JobView| JobRow {
        id: view.job.id,
        status: view.job.state.public(),
        prompt: results::prompt(view),
        model: view.job.model.clone(),
        image_url: cx.image_url(view),
        error: results::error(view).map(|(error, _)| error),
        created_at: ms(view.job.created_us),
        updated_at: ms(view.job.updated_us),
        deleted: results::deleted(view),
    };
    let jobs: Vec<JobRow> = page.rows.iter().map(row).collect();
    Answer::of(&JobList {
        success: true,
        filter,
        total_count: page.total,
        returned_count: jobs.len(),
        has_more: page.next.is_some(),
        limit: paging.window.limit,
        offset: paging.window.offset,
        jobs,
        total_is_minimum: page.total_is_minimum,
        next_cursor: page.next.map(|last| paging.cursor(last)),
        adjustments: args.unknown(),
    })
}

pub async fn cancel_job(cx: Cx<'_>, mut args: Arguments) -> Result<Answer, ToolError> {
    let id = job_id(&mut args)?;
    let cancelled = match Uuid::try_parse(id.trim()) {
        Ok(id) => cx.inner.backend.cancel(cx.call.team(), id).await?,
        Err(_) => None,
    };
    let Some(cancelled) = cancelled else { return not_found(id) };
    Answer::of(&CancelledJob {
        success: true,
        job_id: cancelled.job.id,
        status: cancelled.job.state.public(),
        cancelled: cancelled.cancelled,
        cost: cancelled.cost,
        message: cancelled.message,
        adjustments: args.unknown(),
    })
}
