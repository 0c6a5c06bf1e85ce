//! A worker runs one job at a time to its end, and gives its slot on.

use super::{
    Code, Inner,
    attempt::{Attempted, Made, Run},
    decide::{Verdict, decide},
    held::Held,
};
use crate::store::{AttemptEnd, Claimed, End, Finish, Finished, NextTried, NextTry};
use plugin_api::{ErrorClass, ProviderError, Spend};
use std::{sync::Arc, time::Duration};
use tokio::{sync::OwnedSemaphorePermit, time::sleep};

/// Between two tries to write how a job ended.
const PAUSE: Duration = Duration::from_millis(500);

/// A job this process runs. However its task ends, its lease is kept no longer and its slot goes on.
struct Running {
    inner: Arc<Inner>,
    id: uuid::Uuid,
    held: Arc<Held>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.inner.let_go(self.id, &self.held);
        // Behind: who sees that the job is run here relies on being told of its end.
        self.inner.waiters.changed(self.id);
        drop(self.permit.take());
        self.inner.wake.notify_one();
    }
}

impl Inner {
    /// Runs a claimed job in a task of its own, on the slot that `permit` stands for.
    pub(super) fn start(self: &Arc<Inner>, claimed: Claimed, permit: OwnedSemaphorePermit) {
        let inner = self.clone();
        // Held before the task runs: the sweep must not take the job for an orphan.
        let held = inner.hold(&claimed);
        let mut running = Running { inner: inner.clone(), id: claimed.job.id, held, permit: Some(permit) };
        inner.tasks.clone().spawn(async move { inner.run(claimed, &mut running).await });
    }

    async fn run(self: &Arc<Inner>, mut claimed: Claimed, running: &mut Running) {
        loop {
            let (id, instance) = (claimed.job.id, claimed.attempt.instance.clone());
            let started = std::time::Instant::now();
            let attempted =
                Run { inner: self, claimed: &claimed, held: running.held.clone() }.attempt().await;
            let next = self.conclude(&claimed, attempted, &instance, started.elapsed()).await;
            match next {
                Some(next) => {
                    claimed = next;
                    running.held = self.hold(&claimed);
                    self.waiters.changed(id);
                }
                None => return,
            }
        }
    }

    async fn conclude(
        self: &Arc<Inner>,
        claimed: &Claimed,
        attempted: Attempted,
        instance: &str,
        took: Duration,
    ) -> Option<Claimed> {
        let job = &claimed.job;
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        match attempted {
            Attempted::Done(made) => {
                tracing::info!(job.id = %job.id, provider.id = instance, duration_ms, "job completed");
                self.leave_copies(claimed, &made).await;
                self.finish(claimed, completed(claimed, *made)).await;
                None
            }
            Attempted::Failed(error) => {
                tracing::warn!(
                    job.id = %job.id, provider.id = instance, duration_ms, class = %error.class, spend = ?error.spend,
                    status = error.status, code = error.vendor_code.as_deref(), message = %error.message, "attempt failed"
                );
                self.after_failure(claimed, &error).await
            }
            Attempted::NotStored(why) => {
                tracing::error!(job.id = %job.id, %why, "a paid image could not be stored");
                let error = format!(
                    "The image was made, but what came of it could not be read again before the job's deadline: {why}"
                );
                let end = End::Failed {
                    code: Code::StorageError.as_str(),
                    error,
                    cost: self.expected_cost(claimed),
                    hold: false,
                };
                self.finish(claimed, finish(claimed, end, "storage_error", Spend::Certain, None)).await;
                None
            }
            Attempted::Snooze(after) => {
                let after = after.clamp(Duration::from_millis(50), Duration::from_secs(30));
                self.next_try(claimed, None, job.target, after).await
            }
            Attempted::Lost { out } => {
                tracing::warn!(job.id = %job.id, "the lease could not be trusted; whoever holds it goes on");
                if out || claimed.rescued {
                    // Its attempt may be out and must not be replaced: whoever rescues it next goes on with it.
                    return None;
                }
                // Where it was not lost after all, the job goes back unspent; else this changes nothing.
                self.next_try(claimed, None, job.target, PAUSE).await
            }
        }
    }

    /// A copy is a convenience: that it fails is told to the operator and fails nothing.
    async fn leave_copies(&self, claimed: &Claimed, made: &Made) {
        let Some(folder) = &self.save_dir else { return };
        for image in &made.images {
            let prefix = claimed.job.file_prefix.as_deref();
            if let Err(error) = self.images.copy_to(folder, prefix, &claimed.job.model, image).await {
                tracing::warn!(folder = %folder.display(), %error, "a copy could not be left");
            }
        }
    }

    async fn after_failure(self: &Arc<Inner>, claimed: &Claimed, error: &ProviderError) -> Option<Claimed> {
        let live = self.live.load_full();
        // A cancellation may have been asked for since the claim.
        let mut job = claimed.job.clone();
        job.cancel_requested |= self.is_cancel_requested(job.id);
        match decide(&job, error, &live.registry.routing, self.left(&job), fastrand::f64()) {
            Verdict::Again { target, after } => {
                let end = attempt_end(claimed, &error.class.to_string(), error.spend, Some(error));
                self.next_try(claimed, Some(end), target, after).await
            }
            Verdict::Fail { code, error: text, hold, spent } => {
                let cost = if spent && !hold { self.expected_cost(claimed) } else { None };
                let end = End::Failed { code: code.as_str(), error: text, cost, hold };
                self.finish(
                    claimed,
                    finish(claimed, end, &error.class.to_string(), error.spend, Some(error)),
                )
                .await;
                None
            }
            Verdict::Cancel => {
                let finish =
                    finish(claimed, End::Cancelled, &error.class.to_string(), error.spend, Some(error));
                self.finish(claimed, finish).await;
                None
            }
        }
    }

    fn expected_cost(&self, claimed: &Claimed) -> Option<i64> {
        claimed.job.target().and_then(|t| t.price)
    }

    async fn next_try(
        self: &Arc<Inner>,
        claimed: &Claimed,
        ended: Option<AttemptEnd>,
        target: usize,
        after: Duration,
    ) -> Option<Claimed> {
        let run_at_us = if after.is_zero() { 0 } else { self.store.steady_us() + after.as_micros() as i64 };
        let next = NextTry {
            job_id: claimed.job.id,
            epoch: claimed.job.lease_epoch,
            ended,
            target,
            run_at_us,
            start: !self.is_stopping(),
        };
        loop {
            match self.store.next_try(&self.owner, self.lease_us(), next.clone(), &self.shares()).await {
                // Whoever holds the job now may need the answer.
                Ok(NextTried::Stale) => return None,
                Ok(NextTried::Started(again)) => {
                    self.drop_answer(claimed);
                    return Some(*again);
                }
                Ok(NextTried::Waits) => {
                    self.drop_answer(claimed);
                    if !after.is_zero() {
                        self.wake_after(after);
                    }
                    return None;
                }
                Err(error) => {
                    tracing::warn!(job.id = %claimed.job.id, %error, "a next try waits to be written");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// The database knows how the attempt ended: its answer is needed no more.
    fn drop_answer(&self, claimed: &Claimed) {
        let attempt = claimed.attempt.id;
        // Only a dead worker leaves more than its answer.
        let leftovers = if claimed.rescued { self.spool.remove_leftovers(attempt) } else { Ok(()) };
        if let Err(error) = self.spool.remove(attempt).and(leftovers) {
            tracing::warn!(attempt.id = %attempt, %error, "a spooled answer could not be deleted");
        }
    }

    /// Writes the end until it is written. The answer stays in the spool until then.
    async fn finish(self: &Arc<Inner>, claimed: &Claimed, finish: Finish) {
        loop {
            match self.store.finish(finish.clone()).await {
                Ok(Finished::Applied(_)) => break,
                Ok(Finished::Stale) => {
                    tracing::warn!(job.id = %claimed.job.id, epoch = finish.epoch, "a stale end was not written");
                    // Whoever holds the job now may need the answer, unless the attempt has ended: then it was this
                    // very end, written by a try that was not heard to succeed.
                    match self.store.open_attempts(&[claimed.attempt.id]).await {
                        Ok(open) if open.is_empty() => break,
                        _ => return,
                    }
                }
                Err(error) => {
                    tracing::warn!(job.id = %claimed.job.id, %error, "an end waits to be written");
                    sleep(PAUSE).await;
                }
            }
        }
        self.drop_answer(claimed);
    }
}

fn completed(claimed: &Claimed, made: Made) -> Finish {
    let end = End::Completed {
        cost: made.cost.map(|m| m.amount_micros),
        currency: made.cost.map(|m| m.currency().to_owned()),
        images: made.images,
        adjustments: serde_json::to_value(&made.adjustments).unwrap_or_default(),
    };
    let mut finish = finish(claimed, end, "completed", Spend::Certain, None);
    if let Some(attempt) = &mut finish.attempt {
        attempt.vendor_request_id = made.vendor_request_id;
    }
    finish
}

fn finish(claimed: &Claimed, end: End, outcome: &str, spend: Spend, error: Option<&ProviderError>) -> Finish {
    let attempt = Some(attempt_end(claimed, outcome, spend, error));
    Finish { job_id: claimed.job.id, epoch: claimed.job.lease_epoch, end, attempt }
}

fn attempt_end(claimed: &Claimed, outcome: &str, spend: Spend, error: Option<&ProviderError>) -> AttemptEnd {
    AttemptEnd {
        id: claimed.attempt.id,
        outcome: outcome.to_owned(),
        vendor_status: error.and_then(|e| e.status).map(i32::from),
        vendor_code: error.and_then(|e| e.vendor_code.clone()).map(|code| code.chars().take(190).collect()),
        vendor_request_id: error
            .and_then(|e| e.vendor_request_id.clone())
            .map(|id| id.chars().take(190).collect()),
        spend: match spend {
            Spend::None => "none",
            Spend::Possible => "possible",
            Spend::Certain => "certain",
        },
        unheard: claimed.rescued
            && claimed.attempt.ticket.is_none()
            && error.is_some_and(|e| e.class == ErrorClass::OutcomeUnknown),
    }
}
