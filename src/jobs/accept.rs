//! Accepting a generation: references stored, plan made, quota reserved, jobs committed.

use super::{
    Accepted, Code, Estimate, Explanation, Generation, Inner, JobsError, Live, Owner, Refused, Role,
    Settings,
    draft::{Desk, Draft, Spent, hashed},
    references::References,
    spending::{over_quota, warn},
    view::MEMO,
};
use crate::{
    providers::Planned,
    store::{IdempotencyKey, Job, Offer, QueueCaps, State, StoreError, Submit, Submitted, instance_of},
};
use std::sync::Arc;
use uuid::Uuid;

impl Inner {
    pub(super) async fn generate(
        self: &Arc<Inner>,
        owner: &Owner,
        generation: Generation,
    ) -> Result<Accepted, JobsError> {
        self.open_for_work()?;
        let generation = self.take_references(&self.live.load_full(), owner, generation).await?;
        let mut spent = Spent::new();
        loop {
            match self.submit(owner, &generation, &mut spent).await? {
                Some(accepted) => return Ok(accepted),
                // An instance came to a limit of its own in between: around it, then.
                None => continue,
            }
        }
    }

    /// `None`: an instance of the plan has used up a limit, and is in `spent` now.
    async fn submit(
        self: &Arc<Inner>,
        owner: &Owner,
        generation: &Generation,
        spent: &mut Spent,
    ) -> Result<Option<Accepted>, JobsError> {
        let live = self.live.load_full();
        let desk = Desk { live: &live, owner, now_us: self.clock.now_us() };
        let Draft { planned, lines, .. } = desk.draft(Some(&self.store), generation, spent).await??;
        let jobs = self.jobs(&live, owner, generation, &planned);
        let slots = self.offer_slots(jobs.len());
        let rules = &live.rules;
        let instance = planned.plan.targets.first().map(|t| t.instance.clone()).unwrap_or_default();
        let held = lines.clone();
        let submit = Submit {
            idempotency: self.idempotency(&live.settings, owner, generation),
            reservations: lines,
            queue: QueueCaps { team: rules.queued_jobs(&owner.team), overall: live.settings.queue_limit },
            offer: slots.as_ref().map(|slots| Offer {
                owner: self.owner.clone(),
                lease_us: self.lease_us(),
                slots: slots.num_permits(),
                caps: rules.caps(&live.registry, &instance, &owner.team, &owner.key),
            }),
            jobs,
        };
        let retry_ms = self.retry_hint(&planned);
        match self.store.submit(submit).await? {
            Submitted::Accepted { jobs, started, taken } => {
                let waiting = jobs.len() > started.len();
                let mut slots = slots;
                for claimed in started {
                    if let Some(permit) = slots.as_mut().and_then(|s| s.split(1)) {
                        self.start(claimed, permit);
                    }
                }
                drop(slots);
                if waiting {
                    self.wake.notify_one();
                }
                let notices = warn(&live, owner, &held, &taken, jobs.len(), self.clock.now_us());
                Ok(Some(Accepted { notices, ..accepted(jobs, &planned, false) }))
            }
            Submitted::Repeated(ids) => {
                let mut rows = self.store.jobs_by_id(&owner.team, &ids).await?;
                rows.sort_by_key(|r| ids.iter().position(|id| *id == r.job.id));
                Ok(Some(accepted(rows.into_iter().map(|r| r.job).collect(), &planned, true)))
            }
            Submitted::KeyReused => {
                let text = "This idempotency_key was used for a generation with other arguments. Use a new key for a new image.";
                Err(Refused::new(Code::InvalidRequest, text).field("idempotency_key").into())
            }
            Submitted::QuotaExceeded { reservation, used, reserved } => {
                let why = over_quota(&reservation, used, reserved, self.clock.now_us());
                match instance_of(&reservation.window) {
                    Some(instance) if !spent.contains_key(instance) => {
                        spent.insert(instance.to_owned(), why);
                        Ok(None)
                    }
                    _ => Err(why.into()),
                }
            }
            Submitted::QueueFull { of_team, cap } => {
                let whose = if of_team { "Your team's queue" } else { "The gateway's queue" };
                let text = format!(
                    "{whose} is full ({cap} jobs wait). Wait for some of them to finish, then ask again."
                );
                Err(Refused { retry_after_ms: Some(retry_ms), ..Refused::new(Code::RateLimited, text) }
                    .into())
            }
        }
    }

    fn open_for_work(&self) -> Result<(), Refused> {
        if self.role == Role::Worker {
            let text = "This node only runs jobs (jobs.role: worker) and accepts none; call a node of the role all or api.";
            return Err(Refused::new(Code::ProviderUnavailable, text));
        }
        if self.is_stopping() {
            let text = "The gateway is shutting down; ask again in a few seconds.";
            return Err(Refused { retry_after_ms: Some(5_000), ..Refused::new(Code::ShuttingDown, text) });
        }
        if !self.spool.has_room() {
            let text = "The gateway's disk is full, so nothing was bought. Ask the operator to free space, then try again.";
            return Err(Refused { retry_after_ms: Some(10_000), ..Refused::new(Code::StorageError, text) });
        }
        Ok(())
    }

    /// The bytes behind reference handles are stored before any row is written.
    async fn take_references(
        &self,
        live: &Live,
        owner: &Owner,
        mut generation: Generation,
    ) -> Result<Generation, JobsError> {
        let references = References { inner: self, live, owner };
        for (index, handle) in std::mem::take(&mut generation.references).into_iter().enumerate() {
            let input = references.take(&handle, &format!("references[{index}]")).await?;
            generation.request.references.push(input);
            generation.references.push(handle);
        }
        if let Some(handle) = &generation.mask {
            generation.request.mask = Some(references.take(handle, "mask").await?);
        }
        Ok(generation)
    }

    fn jobs(&self, live: &Live, owner: &Owner, generation: &Generation, planned: &Planned) -> Vec<Job> {
        let now = self.clock.now_us();
        let batch_id = (generation.count > 1).then(Uuid::new_v4);
        let instance = planned.plan.targets.first().map(|t| t.instance.clone()).unwrap_or_default();
        let one = |index: u32| {
            let mut request = planned.request.clone();
            // A fixed seed must differ per job, or every image is the same.
            request.seed = request.seed.map(|seed| seed.wrapping_add(index));
            let prompt = std::mem::take(&mut request.prompt);
            let mut request = serde_json::to_value(&request).unwrap_or_default();
            if let (Some(memo), Some(kept)) = (&generation.memo, request.as_object_mut()) {
                kept.insert(MEMO.into(), memo.clone());
            }
            Job {
                id: Uuid::new_v4(),
                batch_id,
                team: owner.team.clone(),
                key_id: owner.key.clone(),
                tool: generation.tool.clone(),
                request,
                prompt: Some(prompt),
                model: planned.model.clone(),
                plan: planned.plan.clone(),
                target: 0,
                instance: instance.clone(),
                file_prefix: generation.file_prefix.clone(),
                state: State::Queued,
                phase: None,
                error_code: None,
                error: None,
                // Rising, so that a batch pages in the order asked.
                created_us: now + i64::from(index),
                updated_us: now,
                finished_us: None,
                deadline_us: self.store.steady_us() + live.settings.deadline.as_us(),
                lease_epoch: 0,
                attempts_made: 0,
                next_run_us: 0,
                priority: 0,
                cancel_requested: false,
                reserved: planned.highest,
                cost: None,
                adjustments: serde_json::to_value(&planned.adjustments).unwrap_or_default(),
            }
        };
        (0..generation.count).map(one).collect()
    }

    /// Slots of this node for jobs that may start at once.
    fn offer_slots(&self, n: usize) -> Option<tokio::sync::OwnedSemaphorePermit> {
        if self.role == Role::Api || self.is_stopping() {
            return None;
        }
        let n = u32::try_from(self.slots.available_permits().min(n)).ok().filter(|n| *n > 0)?;
        self.slots.clone().try_acquire_many_owned(n).ok()
    }

    fn idempotency(
        &self,
        settings: &Settings,
        owner: &Owner,
        generation: &Generation,
    ) -> Option<IdempotencyKey> {
        let now = self.clock.now_us();
        let scope = scope(owner);
        let hash = fingerprint(generation);
        match &generation.idempotency_key {
            Some(key) => {
                // Never shorter than the job's life.
                let life = settings.idempotency_ttl.as_us().max(settings.deadline.as_us());
                Some(IdempotencyKey { scope, key: key.clone(), hash, expires_us: now + life })
            }
            None if !settings.duplicate_window.is_zero() => {
                let expires_us = now + settings.duplicate_window.as_us();
                // No caller's key has a space in it.
                Some(IdempotencyKey { scope, key: format!("same {hash}"), hash, expires_us })
            }
            None => None,
        }
    }

    fn retry_hint(&self, planned: &Planned) -> u64 {
        u64::try_from(planned.expected_ms).unwrap_or(5_000).clamp(1_000, 60_000)
    }

    pub(super) async fn estimate(
        &self,
        owner: &Owner,
        generation: &Generation,
    ) -> Result<Estimate, StoreError> {
        let live = self.live.load_full();
        let desk = Desk { live: &live, owner, now_us: self.clock.now_us() };
        desk.estimate(Some(&self.store), generation).await
    }

    pub(super) async fn explain_model(&self, owner: &Owner, model: &str) -> Result<Explanation, StoreError> {
        let live = self.live.load_full();
        let desk = Desk { live: &live, owner, now_us: self.clock.now_us() };
        desk.explain_model(&self.store, model).await
    }
}

fn accepted(jobs: Vec<Job>, planned: &Planned, repeated: bool) -> Accepted {
    Accepted {
        batch_id: jobs.first().and_then(|j| j.batch_id),
        estimated_cost: planned.expected.map(|m| m.times(jobs.len() as i64)),
        expected_seconds: u32::try_from(planned.expected_ms.max(0).unsigned_abs().div_ceil(1_000))
            .unwrap_or(u32::MAX)
            .max(1),
        adjustments: planned.adjustments.clone(),
        notices: Vec::new(),
        repeated,
        jobs,
    }
}

/// Whose idempotency keys they are.
fn scope(owner: &Owner) -> String {
    let scope = format!("{}/{}", owner.team, owner.key);
    // A token's subject may be longer than the column.
    if scope.chars().count() <= 255 { scope } else { hashed(&[&owner.team, &owner.key]) }
}

/// The same for the same generation, whichever tool asked for it and however it wants the answer.
fn fingerprint(generation: &Generation) -> String {
    let mut request = generation.request.clone();
    // Stored handles are new each time; the caller's own are what counts.
    request.references.clear();
    request.mask = None;
    let text = serde_json::to_string(&request).unwrap_or_default();
    let word = |word: &Option<String>| word.clone().unwrap_or_default();
    let references = serde_json::to_string(&(&generation.references, &generation.mask)).unwrap_or_default();
    hashed(&[
        &text,
        &references,
        &word(&generation.model),
        &word(&generation.provider),
        &generation.count.to_string(),
        &word(&generation.file_prefix),
    ])
}
