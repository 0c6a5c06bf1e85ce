//! `get_job_status`, `list_jobs` and `cancel_job`.

use super::{
    Answer, Cx,
    arguments::Arguments,
    results::{self, AttemptObject, CancelledJob, Failure, JobList, JobRow, JobStatus, ms},
};
use crate::{
    jobs::{Code, JobView, Refused},
    mcp::errors::ToolError,
    store::State,
};
use uuid::Uuid;

/// What `list_jobs` can be narrowed to.
pub const FILTERS: [&str; 6] = ["all", "pending", "processing", "completed", "failed", "cancelled"];

/// A page of a listing.
pub struct Window {
    pub limit: u64,
    pub offset: u64,
}

impl Window {
    pub fn read(args: &mut Arguments) -> Result<Window, Refused> {
        let limit = args.integer("limit", 1..=50)?.unwrap_or(10);
        let offset = args.integer("offset", 0..=i64::from(u32::MAX))?.unwrap_or(0);
        Ok(Window { limit: limit.unsigned_abs(), offset: offset.unsigned_abs() })
    }
}

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
        code,
        cost: results::cost(view),
        progress: view.progress,
        queue_position: view.queue_position,
        attempts: view.attempts.iter().map(attempt).collect(),
        adjustments: results::adjustments(view),
        message: None,
        retry_after_ms: None,
    }
}

pub async fn list_jobs(cx: Cx<'_>, mut args: Arguments) -> Result<Answer, ToolError> {
    let filter = args.word("status", &FILTERS)?.unwrap_or("all");
    let Window { limit, offset } = Window::read(&mut args)?;
    let states = State::of_public(filter);
    let page = cx.inner.backend.list(cx.call.team(), &states, limit, offset).await?;
    let row = |view: &JobView| JobRow {
        id: view.job.id,
        status: view.job.state.public(),
        prompt: results::prompt(view),
        model: view.job.model.clone(),
        image_url: cx.image_url(view),
        error: results::error(view).map(|(error, _)| error),
        created_at: ms(view.job.created_us),
        updated_at: ms(view.job.updated_us),
    };
    let jobs: Vec<JobRow> = page.rows.iter().map(row).collect();
    Answer::of(&JobList {
        success: true,
        filter,
        total_count: page.total,
        returned_count: jobs.len(),
        has_more: page.has_more,
        limit,
        offset,
        jobs,
        total_is_minimum: page.total_is_minimum,
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
