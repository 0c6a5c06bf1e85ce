//! What goes on without being asked: claims, heartbeats, rescue, sweeps, retention, looking for those who wait.

use super::{Inner, Role, held::Held};
use crate::store::{Claimed, Job, News, Retain, Shares};
use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::time::{interval, sleep, timeout};
use uuid::Uuid;

/// How often jobs are looked at that another process of the same database may run.
const LOOK: Duration = Duration::from_millis(500);
/// How often a worker without news looks for work of other processes.
const IDLE: Duration = Duration::from_secs(1);
/// How long a look that found nobody waiting does for: what ends meanwhile is looked at together.
const REST: Duration = Duration::from_millis(10);
const RETENTION: Duration = Duration::from_secs(60);
/// No attempt ends later than this after its answer came.
const ANSWER_AGE: Duration = Duration::from_secs(3_600);
/// Most orphans taken in one transaction.
const RESCUED: u64 = 64;

impl Inner {
    /// Starts the loops. They end with [`Inner::stop`].
    pub(super) fn spawn_loops(self: &Arc<Inner>) {
        let inner = self.clone();
        self.loops.spawn(async move { inner.look_for_waiters().await });
        let inner = self.clone();
        self.loops.spawn(async move { inner.hear().await });
        if self.role == Role::Api {
            return;
        }
        let inner = self.clone();
        self.loops.spawn(async move { inner.claim_work().await });
        let inner = self.clone();
        self.loops.spawn(async move { inner.keep_leases().await });
        let inner = self.clone();
        self.loops.spawn(async move { inner.sweep().await });
        let inner = self.clone();
        self.loops.spawn(async move { inner.forget().await });
    }

    pub(super) fn shares(&self) -> Shares {
        self.live.load().shares()
    }

    pub(super) fn lease_us(&self) -> i64 {
        i64::try_from(self.lease.as_micros()).unwrap_or(i64::MAX)
    }

    /// Time until the job's deadline.
    pub(super) fn left(&self, job: &Job) -> Duration {
        Duration::from_micros(u64::try_from(job.deadline_us - self.store.steady_us()).unwrap_or(0))
    }

    pub(super) fn image_expiry(&self, team: &str) -> Option<i64> {
        self.live.load().rules.image_life_us(team).map(|life| self.clock.now_us() + life)
    }

    pub(super) fn hold(&self, claimed: &Claimed) -> Arc<Held> {
        let held = Arc::new(Held::new(claimed, self.lease));
        self.mine.lock().insert(claimed.job.id, held.clone());
        held
    }

    /// Lets go of what this run held. A job that was put back may be held again already, by another run.
    pub(super) fn let_go(&self, id: Uuid, held: &Arc<Held>) {
        let mut mine = self.mine.lock();
        if mine.get(&id).is_some_and(|other| Arc::ptr_eq(other, held)) {
            mine.remove(&id);
            self.cancelled.lock().remove(&id);
        }
    }

    /// Whether this process runs one of these jobs of the team.
    pub(super) fn runs_any(&self, team: &str, ids: &[Uuid]) -> bool {
        let mine = self.mine.lock();
        ids.iter().any(|id| mine.get(id).is_some_and(|held| held.team == team))
    }

    pub(super) fn is_cancel_requested(&self, id: Uuid) -> bool {
        self.cancelled.lock().contains(&id)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Looks for work once a delay is over.
    pub(super) fn wake_after(self: &Arc<Inner>, after: Duration) {
        let inner = self.clone();
        self.loops.spawn(async move {
            sleep(after).await;
            inner.bring_back().await;
        });
    }

    async fn bring_back(&self) {
        match self.store.sweep().await {
            Ok(swept) => {
                swept.expired.iter().for_each(|id| self.waiters.changed(*id));
                if swept.woken > 0 {
                    self.wake.notify_one();
                }
            }
            Err(error) => tracing::warn!(%error, "sweep failed"),
        }
    }

    /// Gives free slots to waiting jobs, in fair order.
    async fn claim_work(self: Arc<Inner>) {
        loop {
            timeout(IDLE, self.wake.notified()).await.ok();
            loop {
                // A stop waits for a claim that has begun, and for what came of it.
                let _claiming = self.tasks.token();
                if self.is_stopping() {
                    break;
                }
                let free = self.slots.available_permits();
                if free == 0 {
                    break;
                }
                // Every job that ends wakes this loop, and mostly nobody waits. A claim is a transaction of many
                // questions, and keeps all free slots meanwhile: a call that comes then would have to queue.
                match self.store.any_queued().await {
                    Ok(true) => {}
                    Ok(false) => {
                        sleep(REST).await;
                        break;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "looking for work failed");
                        break;
                    }
                }
                let wanted = u32::try_from(free).unwrap_or(0);
                let Ok(mut permits) = self.slots.clone().try_acquire_many_owned(wanted) else { break };
                let claimed = match self.store.claim(&self.owner, self.lease_us(), free, &self.shares()).await
                {
                    Ok(claimed) => claimed,
                    Err(error) => {
                        tracing::warn!(%error, "claim failed");
                        break;
                    }
                };
                let some = !claimed.is_empty();
                for one in claimed {
                    self.waiters.changed(one.job.id);
                    if let Some(permit) = permits.split(1) {
                        self.start(one, permit);
                    }
                }
                if !some {
                    break;
                }
            }
        }
    }

    /// Renews this process's leases, and learns which were lost.
    async fn keep_leases(self: Arc<Inner>) {
        let mut beat = interval(self.lease / 3);
        loop {
            beat.tick().await;
            let before: Vec<(Uuid, Arc<Held>)> =
                self.mine.lock().iter().map(|(id, held)| (*id, held.clone())).collect();
            if before.is_empty() {
                continue;
            }
            let sent = Instant::now();
            let ids = before.iter().map(|(id, _)| *id).collect();
            match self.store.heartbeat(&self.owner, self.lease_us(), ids).await {
                Ok(holds) => self.learn(&before, &holds, sent),
                Err(error) => tracing::warn!(%error, "heartbeat failed"),
            }
        }
    }

    fn learn(&self, before: &[(Uuid, Arc<Held>)], holds: &HashMap<Uuid, (i64, bool)>, sent: Instant) {
        for (id, held) in before {
            match holds.get(id) {
                Some((epoch, cancel)) if *epoch == held.epoch => {
                    held.renewed(sent, self.lease);
                    if *cancel {
                        self.cancelled.lock().insert(*id);
                    }
                }
                // Ended meanwhile, or taken over.
                _ => held.lost(),
            }
        }
    }

    /// Takes over orphans, brings delayed jobs back, ends those past their deadline.
    async fn sweep(self: Arc<Inner>) {
        let mut beat = interval(self.lease / 3);
        loop {
            beat.tick().await;
            self.step_aside().await;
            self.bring_back().await;
            if self.is_stopping() {
                continue;
            }
            // All of them in this sweep, in transactions that leave others room.
            while self.rescue().await == RESCUED {}
        }
    }

    /// Returns how many orphans were taken over.
    async fn rescue(self: &Arc<Inner>) -> u64 {
        let mine: Vec<Uuid> = self.mine.lock().keys().copied().collect();
        let registry = self.live.load().registry.clone();
        let here = registry.instances().filter(|i| i.is_on()).map(|i| i.id.clone()).collect();
        match self.store.rescue(&self.owner, self.lease_us(), RESCUED, &mine, &here).await {
            Ok(rescued) => {
                let n = rescued.len() as u64;
                for one in rescued {
                    tracing::warn!(job.id = %one.job.id, epoch = one.job.lease_epoch, "took over an orphaned job");
                    self.resume(one);
                }
                n
            }
            Err(error) => {
                tracing::warn!(%error, "rescue failed");
                0
            }
        }
    }

    /// Runs an orphan on the next free slot, before anything new: somebody has waited for it, and it may be paid for.
    fn resume(self: &Arc<Inner>, claimed: Claimed) {
        let inner = self.clone();
        // Its lease is kept while it waits for a slot.
        let held = self.hold(&claimed);
        self.tasks.spawn(async move {
            let id = claimed.job.id;
            match inner.slots.clone().acquire_owned().await {
                Ok(permit) => inner.start(claimed, permit),
                Err(_) => inner.let_go(id, &held),
            }
        });
    }

    /// Looks at waited-for jobs that this process does not run.
    async fn look_for_waiters(self: Arc<Inner>) {
        let mut beat = interval(LOOK);
        loop {
            beat.tick().await;
            let ids: Vec<Uuid> = {
                let mine = self.mine.lock();
                let runs = |id: &Uuid| mine.get(id).is_some_and(|held| held.trusted(Duration::ZERO));
                self.waiters.ids().into_iter().filter(|id| !runs(id)).collect()
            };
            if ids.is_empty() {
                continue;
            }
            match self.store.states(&ids).await {
                Ok(states) => self.waiters.looked(&states),
                Err(error) => tracing::debug!(%error, "looking for waiters failed"),
            }
        }
    }

    /// Passes on what other nodes tell: who waits here need not wait for the next look.
    async fn hear(self: Arc<Inner>) {
        let Some(mut listener) = self.store.listener() else { return };
        loop {
            match listener.next().await {
                News::Changed(jobs) => jobs.into_iter().for_each(|id| self.waiters.changed(id)),
                News::Work => self.wake.notify_one(),
            }
        }
    }

    /// Deletes what has lived its time: objects first, rows second.
    async fn forget(self: Arc<Inner>) {
        let mut beat = interval(RETENTION);
        loop {
            beat.tick().await;
            if let Err(error) = self.forget_once().await {
                tracing::warn!(%error, "retention failed");
            }
        }
    }

    async fn forget_once(&self) -> anyhow::Result<()> {
        self.sweep_objects().await?;
        // Answers of attempts that ended while somebody else held the job.
        let spool = self.spool.clone();
        let old = tokio::task::spawn_blocking(move || spool.answers_older_than(ANSWER_AGE)).await??;
        let open = self.store.open_attempts(&old).await?;
        for attempt in old.into_iter().filter(|attempt| !open.contains(attempt)) {
            self.spool.remove(attempt)?;
        }
        let jobs_us = self.live.load().settings.retention.as_us();
        self.store.forget_rows(Retain { jobs_us }).await?;
        Ok(())
    }

    /// Stops taking work, waits for what runs, lets go of what can be resumed.
    pub(super) async fn stop(self: &Arc<Inner>, grace: Duration) {
        self.stopping.store(true, Ordering::Release);
        self.tasks.close();
        if timeout(grace, self.tasks.wait()).await.is_err() {
            tracing::warn!(
                jobs = self.mine.lock().len(),
                "the grace is over; what still runs is resumed at the next start"
            );
        }
        self.stopped.store(true, Ordering::Release);
        self.waiters.all_changed();
        self.loops.close();
        if let Err(error) = self.store.release_leases(&self.owner).await {
            tracing::warn!(%error, "leases could not be released; they run out by themselves");
        }
    }
}
