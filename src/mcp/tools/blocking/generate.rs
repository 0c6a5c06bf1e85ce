//! `generate_image` and `edit_image` that wait for their image.

use super::{
    Answer, Cx, Envelope, Failed, Row, Running, chosen,
    problem::{Asked, Problem, Stage},
    row, words,
};
use crate::{
    jobs::{Generation, JobView, ProviderView, Refused},
    mcp::{
        errors::{Fault, ToolError},
        resources,
        tools::{
            arguments::Arguments,
            generate,
            made::Made,
            results,
            waiting::{self, ASK_AGAIN_MS, Waiting},
        },
    },
    store::State,
};
use plugin_api::Adjustment;
use uuid::Uuid;

pub async fn generate_image(cx: Cx<'_>, mut args: Arguments) -> Result<Answer, Failed> {
    let providers = resources::providers(cx.inner, cx.call);
    let mut asked = Asked {
        provider: args.given("provider"),
        model: args.given("model").is_some(),
        style: args.given("style"),
        resolution: args.given("resolution").or_else(|| args.given("size")),
    };
    let (waiting, mut generation) = match read(cx, &mut args) {
        Ok(read) => read,
        Err(ToolError::Refused(refused)) => {
            return Err(asked.problem(refused, Stage::Reading, &providers).into());
        }
        Err(ToolError::Fault(fault)) => return Err(fault.into()),
    };
    asked.provider.clone_from(&generation.provider);
    put_style(&mut generation, &asked, &providers)?;
    let mut notes = args.unknown();
    let submitted = Made::submit(cx, generation).await;
    let (accepted, made) = submitted.map_err(|error| match error {
        ToolError::Refused(refused) => asked.problem(refused, Stage::Planning, &providers).into(),
        ToolError::Fault(fault) => Failed::Fault(fault),
    })?;
    notes.extend(accepted.notices.iter().cloned());
    let ids: Vec<Uuid> = accepted.jobs.iter().map(|job| job.id).collect();
    let ceiling = waiting.ceiling(cx, ids.len(), &mut notes);
    let views = waiting::wait(cx, &ids, ceiling).await.map_err(Fault::from);
    // An answer that could not be read back is no reason to lose the jobs.
    made.answered();
    answer(cx, &views?, &waiting, notes).await
}

fn read(cx: Cx<'_>, args: &mut Arguments) -> Result<(Waiting, Generation), ToolError> {
    generate::needs_references(cx, args)?;
    Ok((Waiting::read(cx, args)?, generate::read(cx, args)?))
}

/// A style is one of the provider's, by its id. Nothing comes near one that is not there, so it is refused.
fn put_style(generation: &mut Generation, asked: &Asked, providers: &[ProviderView]) -> Result<(), Problem> {
    let (Some(style), false) = (&generation.request.style, asked.model && asked.provider.is_none()) else {
        return Ok(());
    };
    let Some(of) = chosen(providers, asked.provider.as_deref()).filter(|of| !of.styles.is_empty()) else {
        return Ok(());
    };
    if !of.styles.iter().any(|(id, _)| id == style) {
        let ids: Vec<&str> = of.styles.iter().map(|(id, _)| id.as_str()).collect();
        let message =
            format!("The provider `{}` has no style `{style}`. Accepted: {}.", of.id, ids.join(", "));
        let asked = Asked { style: Some(style.clone()), ..Asked::default() };
        return Err(asked.invalid_style(message, Some(of)));
    }
    generation.request.style = words::in_words(of, style);
    Ok(())
}

async fn answer(
    cx: Cx<'_>,
    views: &[JobView],
    waiting: &Waiting,
    mut notes: Vec<Adjustment>,
) -> Result<Answer, Failed> {
    let done: Vec<&JobView> = views.iter().filter(|view| view.job.state == State::Completed).collect();
    let blocks = cx.blocks(&done, waiting.delivery, &mut notes).await;
    for adjustment in views.iter().flat_map(results::adjustments) {
        if !notes.contains(&adjustment) {
            notes.push(adjustment);
        }
    }
    let images: Vec<Row> =
        done.iter().flat_map(|view| view.images.iter().map(|image| row(cx, image, view))).collect();
    let running: Vec<&JobView> = views.iter().filter(|view| !view.job.state.is_final()).collect();
    let mut envelope = Envelope { images, adjustments: notes, ..Envelope::default() };
    let lost: Vec<&JobView> =
        views.iter().filter(|view| view.job.state.is_final() && view.images.is_empty()).collect();
    if !running.is_empty() {
        envelope.ok = true;
        envelope.message = Some(waiting::message(cx, &running));
        let job = |view: &&JobView| Running {
            job_id: view.job.id,
            status: view.job.state.public(),
            retry_after_ms: ASK_AGAIN_MS,
        };
        match &running[..] {
            [one] if views.len() == 1 => envelope.job = Some(job(one)),
            many => envelope.jobs = many.iter().map(job).collect(),
        }
    } else if let Some(first) = lost.first() {
        // The images that were made are in the answer all the same.
        envelope.error = Some(match lost.len() {
            1 => Problem::of_job(first),
            n => {
                let ids: Vec<String> = lost.iter().map(|view| view.job.id.to_string()).collect();
                Problem::of_job(first).with("failed", n).with("job_ids", ids)
            }
        });
    } else if views.is_empty() {
        let gone = "The job is gone: it was deleted while this call waited for it.";
        envelope.error = Some(Problem::new("generation_failed", gone));
    } else {
        envelope.ok = true;
    }
    let said = if envelope.ok { Answer::of(&envelope) } else { Answer::failure(&envelope) };
    said.map(|answer| answer.with(blocks)).map_err(|error| match error {
        ToolError::Fault(fault) => fault.into(),
        ToolError::Refused(Refused { message, .. }) => Problem::new("internal_error", message).into(),
    })
}
