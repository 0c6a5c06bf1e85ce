//! Reading jobs for callers: views, waits with their moments, cancellation.

use super::{Cancelled, Inner, JobView, Moment, waiting::Look};
use crate::store::{Phase, State, StoreError};
use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use uuid::Uuid;

impl Inner {
    /// The team's jobs among `ids`, in their order, with the places of those that wait.
    pub(super) async fn views(&self, team: &str, ids: &[Uuid]) -> Result<Vec<JobView>, StoreError> {
        let rows = self.store.jobs_by_id(team, ids).await?;
        let mut found: HashMap<Uuid, JobView> = HashMap::with_capacity(rows.len());
        for row in rows {
            let mut view = self.plain_view(row);
            if view.job.state == State::Queued {
                view.queue_position = Some(self.store.queue_position(&view.job).await?);
            }
            found.insert(view.job.id, view);
        }
        Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
    }

    pub(super) async fn wait(
        &self,
        team: &str,
        ids: &[Uuid],
        until: Instant,
        moments: Option<watch::Sender<Option<Moment>>>,
    ) -> Result<Vec<JobView>, StoreError> {
        // Registered before the look, so that no change falls between.
        let waiting = self.waiters.register(ids);
        let over = || self.is_stopped() || Instant::now() >= until;
        // Those who hear of nothing in between need no more than a short look, and none at what this process runs.
        let open = async || {
            Ok::<_, StoreError>(self.runs_any(team, ids) || Box::pin(self.store.any_open(team, ids)).await?)
        };
        let mut woken = false;
        if moments.is_none() && !over() && open().await? {
            woken = timeout_at(until, waiting.changed()).await.is_ok();
        }
        let mut told = None;
        loop {
            // Boxed: thousands may wait, and what a look takes would be a part of each of them.
            let views = match waiting.look().filter(|_| woken) {
                Some(look) => Box::pin(self.shared(&look, team, ids)).await?,
                None => Box::pin(self.views(team, ids)).await?,
            };
            if over() || views.iter().all(|v| v.job.state.is_final()) {
                return Ok(views);
            }
            if let Some(moments) = &moments {
                let moment = moment(&views);
                if told.as_ref() != Some(&moment) {
                    // A slow reader sees the newest only; it never holds up a wait.
                    moments.send_replace(Some(moment.clone()));
                    told = Some(moment);
                }
            }
            drop(views);
            woken = timeout_at(until, waiting.changed()).await.is_ok();
        }
    }

    /// A look of those that one change has woken: the first reads for all. Who waits on has seen that the job is the
    /// team's, so nobody else's comes out of it.
    async fn shared(&self, look: &Look, team: &str, ids: &[Uuid]) -> Result<Vec<JobView>, StoreError> {
        let views = look.get_or_try_init(|| self.views(team, ids)).await?;
        match views.iter().all(|view| view.job.team == team) && !views.is_empty() {
            true => Ok(views.clone()),
            false => self.views(team, ids).await,
        }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub(super) async fn cancel(
        self: &Arc<Inner>,
        team: &str,
        id: Uuid,
    ) -> Result<Option<Cancelled>, StoreError> {
        let Some((job, cancelled)) = self.store.cancel(team, id).await? else { return Ok(None) };
        self.waiters.changed(id);
        let (cost, message) = match (job.state, cancelled) {
            (_, true) => (
                "none",
                "The job is cancelled; nothing was sent to a vendor and nothing was spent.".to_owned(),
            ),
            (State::Running, _) => {
                // Whoever else runs it reads it with its next heartbeat.
                if self.mine.lock().contains_key(&id) {
                    self.cancelled.lock().insert(id);
                }
                let text = "The vendor is already working on it, and that cannot be taken back: the image will be finished and kept. \
                            It will not be tried again if it fails.";
                ("unknown", text.to_owned())
            }
            (state, _) => {
                let cost = match (state, job.cost) {
                    (State::Cancelled, _) => "none",
                    (_, Some(money)) if money.amount_micros > 0 => "spent",
                    _ if job.reserved.is_some() => "unknown",
                    _ => "none",
                };
                (cost, format!("The job had ended before: it is {}.", state.public()))
            }
        };
        Ok(Some(Cancelled { job, cancelled, cost, message }))
    }
}

/// Where a set of jobs stands, in one sentence.
fn moment(views: &[JobView]) -> Moment {
    let finished = views.iter().filter(|v| v.job.state.is_final()).count();
    let share: f64 = views.iter().map(share).sum::<f64>() / views.len().max(1) as f64;
    let open: Vec<&JobView> = views.iter().filter(|v| !v.job.state.is_final()).collect();
    let message = match open.as_slice() {
        [] => "done".to_owned(),
        [one] if views.len() == 1 => one.sentence(),
        several => {
            let running = several.iter().filter(|v| v.job.state == State::Running).count();
            format!(
                "{finished} of {} done, {running} in work, {} waiting",
                views.len(),
                several.len() - running
            )
        }
    };
    Moment { finished, total: views.len(), message, share }
}

fn share(view: &JobView) -> f64 {
    match view.job.state {
        State::Completed | State::Failed | State::Cancelled => 1.0,
        State::Queued | State::Delayed => 0.05,
        State::Running => match view.progress {
            Some(percent) => 0.1 + f64::from(percent) / 100.0 * 0.8,
            None if view.job.phase == Some(Phase::Waiting) => 0.3,
            None => 0.2,
        },
    }
}

impl JobView {
    /// Where the job stands, in one sentence.
    pub fn sentence(&self) -> String {
        let attempt = self.attempts.last();
        let at = attempt.map_or(self.job.instance.as_str(), |a| a.instance.as_str());
        match self.job.state {
            State::Queued => match self.queue_position {
                Some(0) | None => "waiting for a free slot, next in line".to_owned(),
                Some(n) => format!("waiting, {n} before it"),
            },
            State::Delayed => format!("waiting for the next try at {at}"),
            State::Running => {
                let number = attempt.map_or(1, |a| a.number);
                let percent = self.progress.map(|p| format!(", {p:.0} %")).unwrap_or_default();
                let again = if number > 1 { format!(" (attempt {number})") } else { String::new() };
                format!("{at} is drawing{again}{percent}")
            }
            _ => "done".to_owned(),
        }
    }
}
