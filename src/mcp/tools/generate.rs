//! `generate_image`, `generate_image_and_wait` and `edit_image`.

use super::{
    Answer, Cx, Tool,
    arguments::Arguments,
    generation,
    made::Made,
    results::{GeneratedMany, GeneratedOne, Price},
    waiting::{self, Waiting},
};
use crate::{
    jobs::{Accepted, Generation},
    mcp::{
        call::Profile,
        errors::{Fault, ToolError},
    },
    store::{Job, State},
};
use plugin_api::{Adjustment, Parameters};
use uuid::Uuid;

/// # Errors
/// The first argument that cannot be used.
pub fn read(cx: Cx<'_>, args: &mut Arguments) -> Result<Generation, ToolError> {
    let key = generation::idempotency_key(args, cx.meta, cx.call);
    let read = generation::read(args, cx.tool.name(), true)?;
    // The second predecessor's clients know nothing of what a model can do.
    let parameters = (cx.call.profile == Profile::Blocking).then_some(Parameters::Nearest);
    Ok(Generation { idempotency_key: key?, parameters, ..read })
}

/// # Errors
/// A call of `edit_image` without an image to work from.
pub fn needs_references(cx: Cx<'_>, args: &Arguments) -> Result<(), ToolError> {
    if cx.tool != Tool::EditImage || args.has("references") {
        return Ok(());
    }
    let what = "one or more images to change: image ids, upload:// handles or https URLs";
    Err(args.missing("references", what).into())
}

/// `generate_image` and `edit_image`.
pub async fn generate_image(cx: Cx<'_>, mut args: Arguments) -> Result<Answer, ToolError> {
    needs_references(cx, &args)?;
    // Named here too, so that a call meant for the waiting tool is not told about them.
    Waiting::read(cx, &mut args)?;
    let generation = read(cx, &mut args)?;
    let mut notes = args.unknown();
    let prompt = generation.request.prompt.clone();
    let (accepted, made) = Made::submit(cx, generation).await?;
    notes.extend(accepted.adjustments.iter().chain(&accepted.notices).cloned());
    let Accepted { jobs, batch_id, estimated_cost, expected_seconds, repeated, .. } = accepted;
    let estimated_cost = estimated_cost.map(Price::from);
    let model = jobs.first().map(|job| job.model.clone()).unwrap_or_default();
    let ids: Vec<Uuid> = jobs.iter().map(|job| job.id).collect();
    let status = if repeated { overall(&jobs) } else { State::Queued.public() };
    let message = message(&ids, repeated);
    let answer = match ids.as_slice() {
        [id] => Answer::of(&GeneratedOne {
            success: true,
            job_id: *id,
            status,
            message,
            prompt,
            model,
            estimated_time_seconds: expected_seconds,
            estimated_cost,
            adjustments: notes,
        }),
        _ => Answer::of(&GeneratedMany {
            success: true,
            count: ids.len(),
            job_ids: ids,
            status,
            message,
            prompt,
            model,
            estimated_time_seconds: expected_seconds,
            batch_id,
            estimated_cost,
            adjustments: notes,
        }),
    };
    made.answered();
    answer
}

/// The job of a call that is a task, and what its caller should hear at once.
pub struct Started {
    pub job: Job,
    pub notices: Vec<Adjustment>,
}

/// Starts a call that is to be a task. `None`: it asks for several images, and nothing was started.
pub async fn start(cx: Cx<'_>, mut args: Arguments) -> Result<Option<Started>, ToolError> {
    needs_references(cx, &args)?;
    let delivery = args.given("return");
    Waiting::read(cx, &mut args)?;
    let generation = read(cx, &mut args)?;
    if generation.count > 1 {
        return Ok(None);
    }
    let memo = waiting::memo(delivery, args.unknown());
    let (mut accepted, made) = Made::submit(cx, Generation { memo, ..generation }).await?;
    made.answered();
    let job = accepted.jobs.pop().ok_or_else(Fault::internal)?;
    Ok(Some(Started { job, notices: accepted.notices }))
}

pub async fn generate_image_and_wait(cx: Cx<'_>, mut args: Arguments) -> Result<Answer, ToolError> {
    let waiting = Waiting::read(cx, &mut args)?;
    let generation = read(cx, &mut args)?;
    let mut notes = args.unknown();
    let (ids, made) = {
        let (accepted, made) = Made::submit(cx, generation).await?;
        notes.extend(accepted.notices);
        (accepted.jobs.iter().map(|job| job.id).collect::<Vec<Uuid>>(), made)
    };
    let answer = waiting::for_made(cx, &ids, &waiting, notes).await;
    // An answer that could not be read back is no reason to lose the jobs.
    made.answered();
    answer
}

fn message(ids: &[Uuid], repeated: bool) -> String {
    let begun = match (repeated, ids.len()) {
        (true, _) => {
            "This idempotency key was used before; these are its jobs, nothing new was started.".to_owned()
        }
        (false, 1) => "Image generation started.".to_owned(),
        (false, n) => format!("{n} image generations started."),
    };
    match ids {
        [id] => format!("{begun} Call wait_for_completion with job_id {id} to get the image."),
        _ => format!("{begun} Call wait_for_completion with these job_ids to get the images."),
    }
}

/// One word for jobs that were there before.
fn overall(jobs: &[Job]) -> &'static str {
    let first = jobs.first().map_or(State::Queued, |job| job.state);
    let alike = jobs.iter().all(|job| job.state.public() == first.public());
    if alike { first.public() } else { State::Running.public() }
}
