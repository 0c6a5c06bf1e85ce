//! Waiting for jobs, and what is said about them when the wait is over.

use super::{
    Answer, Cx,
    arguments::{Arguments, bad},
    pictures::asked,
    results::{
        self, FailedMany, Failure, Finished, FinishedMany, FinishedOne, Pending, StillRunning, adjustments,
    },
};
use crate::{
    jobs::{Code, JobView, Refused},
    mcp::{Return, delivery::Delivery, errors::ToolError},
    store::{State, StoreError},
};
use plugin_api::Adjustment;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{fmt::Display, time::Duration};
use tokio::time::Instant;
use uuid::Uuid;

/// When a caller may ask again about what is still running.
pub const ASK_AGAIN_MS: u64 = 2_000;
/// A job ends sooner by itself.
pub const LONGEST: Duration = Duration::from_secs(86_400);
const IDS_MAX: usize = 20;

/// The arguments of every waiting tool.
pub struct Waiting {
    pub delivery: Delivery,
    max_wait: Option<Duration>,
}

impl Waiting {
    pub fn read(cx: Cx<'_>, args: &mut Arguments) -> Result<Waiting, Refused> {
        let delivery = delivery(cx, args, None)?;
        let max_wait = args.number("max_wait_seconds", 0.0..=86_400.0)?.map(Duration::from_secs_f64);
        Ok(Waiting { delivery, max_wait })
    }

    /// How long to wait, and a note when that is less than was asked for.
    pub fn ceiling(&self, cx: Cx<'_>, jobs: usize, notes: &mut Vec<Adjustment>) -> Duration {
        let ceiling = cx.inner.wait_ceiling(cx.call, jobs);
        match self.max_wait {
            Some(wanted) if wanted > ceiling => {
                let reason = "no wait is longer than this here; call wait_for_completion again";
                let (wanted, used) = (wanted.as_secs_f64().to_string(), ceiling.as_secs().to_string());
                notes.push(Adjustment::new("max_wait_seconds", wanted, used, reason));
                ceiling
            }
            wanted => wanted.unwrap_or(ceiling),
        }
    }
}

/// How images are wanted: by argument, else as configured for this peer, else `default`.
pub fn delivery(cx: Cx<'_>, args: &mut Arguments, default: Option<Return>) -> Result<Delivery, Refused> {
    let configured = cx.inner.delivery(cx.call);
    let asked = args.word("return", &[Word(Return::Link), Word(Return::Preview), Word(Return::Full)])?;
    Ok(Delivery { result: asked.map(|word| word.0).or(default).unwrap_or(configured.result), ..configured })
}

#[derive(Clone, Copy)]
struct Word(Return);

impl Display for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(asked(self.0))
    }
}

/// What is kept with a job whose call is answered by a task: all that its answer needs and the job does not know.
#[derive(Default, Serialize, Deserialize)]
struct Memo {
    /// The argument, where it was given.
    #[serde(rename = "return", skip_serializing_if = "Option::is_none")]
    delivery: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    notes: Vec<Adjustment>,
}

/// `None`: there is nothing to remember.
pub fn memo(delivery: Option<String>, notes: Vec<Adjustment>) -> Option<Value> {
    let plain = delivery.is_none() && notes.is_empty();
    (!plain).then(|| serde_json::to_value(Memo { delivery, notes }).unwrap_or_default())
}

/// The answer of a call that was answered by a task.
pub async fn remembered(cx: Cx<'_>, view: &JobView) -> Result<Answer, ToolError> {
    let memo = view.memo().and_then(|memo| Memo::deserialize(memo).ok()).unwrap_or_default();
    let given = Map::from_iter(memo.delivery.map(|word| ("return".to_owned(), word.into())));
    let delivery = delivery(cx, &mut Arguments::new(&given), None)?;
    answer(cx, std::slice::from_ref(view), true, delivery, memo.notes).await
}

pub async fn wait_for_completion(cx: Cx<'_>, mut args: Arguments) -> Result<Answer, ToolError> {
    let waiting = Waiting::read(cx, &mut args)?;
    let one = args.text("job_id", 200)?;
    let several = args.texts("job_ids", 1..=IDS_MAX, 200)?;
    let (ids, single) = match (one, several) {
        (Some(id), _) => (vec![id], true),
        (None, Some(ids)) => (ids, false),
        (None, None) => {
            return Err(args.missing("job_id", "the id of a job, or job_ids with several of them").into());
        }
    };
    let mut wanted: Vec<Uuid> = Vec::with_capacity(ids.len());
    for id in &ids {
        match Uuid::try_parse(id.trim()) {
            Ok(id) if wanted.contains(&id) => {}
            Ok(id) => wanted.push(id),
            Err(_) => return unknown_jobs(single),
        }
    }
    let mut notes = args.unknown();
    let ceiling = waiting.ceiling(cx, wanted.len(), &mut notes);
    let views = wait(cx, &wanted, ceiling).await?;
    if views.len() < wanted.len() {
        return unknown_jobs(single);
    }
    answer(cx, &views, single, waiting.delivery, notes).await
}

fn unknown_jobs(single: bool) -> Result<Answer, ToolError> {
    let field = if single { "job_id" } else { "job_ids" };
    let refused = Refused::new(Code::NotFound, "One or more jobs not found").field(field);
    Answer::failure(&Failure::from(refused))
}

/// Waits for jobs that were just made and answers about them.
pub async fn for_made(
    cx: Cx<'_>,
    ids: &[Uuid],
    waiting: &Waiting,
    mut notes: Vec<Adjustment>,
) -> Result<Answer, ToolError> {
    let ceiling = waiting.ceiling(cx, ids.len(), &mut notes);
    let views = wait(cx, ids, ceiling).await?;
    if views.is_empty() {
        return Err(bad("job_id", "the job is gone".into()).into());
    }
    answer(cx, &views, ids.len() == 1, waiting.delivery, notes).await
}

/// Until all have ended, the time is up, or the transport ends.
pub async fn wait(cx: Cx<'_>, ids: &[Uuid], ceiling: Duration) -> Result<Vec<JobView>, StoreError> {
    let backend = &cx.inner.backend;
    let (team, moments) = (cx.call.team(), cx.call.moments.clone());
    tokio::select! {
        views = backend.wait(team, ids, Instant::now() + ceiling, moments) => views,
        () = cx.call.closed() => backend.wait(team, ids, Instant::now(), None).await,
    }
}

async fn answer(
    cx: Cx<'_>,
    views: &[JobView],
    single: bool,
    delivery: Delivery,
    mut notes: Vec<Adjustment>,
) -> Result<Answer, ToolError> {
    let done: Vec<&JobView> = views.iter().filter(|view| view.job.state == State::Completed).collect();
    let ended = views.iter().all(|view| view.job.state.is_final());
    let blocks = cx.blocks(&done, delivery, &mut notes).await;
    for view in views {
        for adjustment in adjustments(view) {
            if !notes.contains(&adjustment) {
                notes.push(adjustment);
            }
        }
    }
    let answer = match (single, views) {
        (true, [view]) if !ended => still_running_one(cx, view, notes)?,
        (true, [view]) => finished_one(cx, view, notes)?,
        _ if !ended => still_running_many(cx, views, notes)?,
        _ => finished_many(cx, views, notes)?,
    };
    Ok(answer.with(blocks))
}

fn finished_one(cx: Cx<'_>, view: &JobView, notes: Vec<Adjustment>) -> Result<Answer, ToolError> {
    if let Some((error, code)) = results::error(view) {
        return Answer::failure(&Failure {
            status: Some(view.job.state.public()),
            error,
            code,
            job_id: Some(view.job.id.to_string()),
            ..Failure::default()
        });
    }
    let Finished { job_id, image_url, prompt, model, images, deleted, cost } = finished(cx, view);
    let status = view.job.state.public();
    Answer::of(&FinishedOne {
        success: true,
        status,
        image_url,
        prompt,
        model,
        job_id,
        images,
        deleted,
        cost,
        adjustments: notes,
    })
}

fn finished_many(cx: Cx<'_>, views: &[JobView], notes: Vec<Adjustment>) -> Result<Answer, ToolError> {
    let failed: Vec<_> = views.iter().filter_map(results::failed).collect();
    let results: Vec<_> = completed(cx, views);
    match failed.first() {
        None => {
            Answer::of(&FinishedMany { success: true, count: results.len(), results, adjustments: notes })
        }
        Some(first) => {
            let code = first.code.clone();
            let error = format!("{} job(s) failed", failed.len());
            Answer::failure(&FailedMany { success: false, error, failed, completed: results, code })
        }
    }
}

fn completed(cx: Cx<'_>, views: &[JobView]) -> Vec<Finished> {
    views.iter().filter(|view| view.job.state == State::Completed).map(|view| finished(cx, view)).collect()
}

fn finished(cx: Cx<'_>, view: &JobView) -> Finished {
    Finished {
        job_id: view.job.id,
        image_url: cx.image_url(view),
        prompt: results::prompt(view),
        model: view.job.model.clone(),
        images: cx.images(view),
        deleted: results::deleted(view),
        cost: results::cost(view),
    }
}

/// What a still running answer begins with. It must not read like a failure, or the model generates again.
pub fn message(cx: Cx<'_>, running: &[&JobView]) -> String {
    let ids: Vec<String> = running.iter().map(|view| view.job.id.to_string()).collect();
    let since = running.iter().map(|view| view.job.created_us).min().unwrap_or_default();
    let seconds = cx.inner.clock.now_us().saturating_sub(since).max(0) / 1_000_000;
    let ids = match ids.as_slice() {
        [id] => format!("job_id {id}"),
        many => format!("job_ids {}", many.join(", ")),
    };
    format!(
        "Still running. Do not generate again: call wait_for_completion with {ids}. Started {seconds} s ago."
    )
}

fn still_running_one(cx: Cx<'_>, view: &JobView, notes: Vec<Adjustment>) -> Result<Answer, ToolError> {
    let mut status = super::jobs::status(cx, view);
    status.adjustments = notes;
    status.message = Some(message(cx, &[view]));
    status.retry_after_ms = Some(ASK_AGAIN_MS);
    Answer::of(&status)
}

fn still_running_many(cx: Cx<'_>, views: &[JobView], notes: Vec<Adjustment>) -> Result<Answer, ToolError> {
    let running: Vec<&JobView> = views.iter().filter(|view| !view.job.state.is_final()).collect();
    let pending =
        running.iter().map(|v| Pending { job_id: v.job.id, status: v.job.state.public() }).collect();
    Answer::of(&StillRunning {
        success: true,
        status: "processing",
        count: views.len(),
        results: completed(cx, views),
        pending,
        failed: views.iter().filter_map(results::failed).collect(),
        message: message(cx, &running),
        retry_after_ms: ASK_AGAIN_MS,
        adjustments: notes,
    })
}
