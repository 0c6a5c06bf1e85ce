//! Accepting a generation: references stored, plan made, quota reserved, jobs committed.

use super::{
    Accepted, Code, Estimate, Generation, Inner, JobsError, Owner, Refused, Role, references::References,
};
use crate::{
    limits::quota::{self, Payer},
    providers::{Ask, PlanError, Planned, Registry, Unplannable, Unpriced},
    store::{IdempotencyKey, Job, Offer, QueueCaps, Reservation, State, StoreError, Submit, Submitted},
};
use plugin_api::value::Money;
use ring::digest::{SHA256, digest};
use std::sync::Arc;
use uuid::Uuid;

const MOST: u32 = 20;

impl Inner {
    pub(super) async fn generate(
        self: &Arc<Inner>,
        owner: &Owner,
        generation: Generation,
    ) -> Result<Accepted, JobsError> {
        self.open_for_work()?;
        let generation = self.take_references(owner, generation).await?;
        let registry = self.registry.load_full();
        let planned = self.plan(&registry, owner, &generation)?;
        let reservations = self.reservations(&registry, owner, &planned)?;
        let jobs = self.jobs(owner, &generation, &planned);
        let slots = self.offer_slots(jobs.len());
        let rules = self.rules.load();
        let instance = planned.plan.targets.first().map(|t| t.instance.clone()).unwrap_or_default();
        let submit = Submit {
            idempotency: self.idempotency(owner, &generation),
            reservations,
            queue: QueueCaps { team: rules.queued_jobs(&owner.team), overall: self.settings.queue_limit },
            offer: slots.as_ref().map(|slots| Offer {
                owner: self.owner.clone(),
                lease_us: self.lease_us(),
                slots: slots.num_permits(),
                caps: rules.caps(&registry, &instance, &owner.team, &owner.key),
            }),
            jobs,
        };
        let retry_ms = self.retry_hint(&planned);
        match self.store.submit(submit).await? {
            Submitted::Accepted { jobs, started } => {
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
                Ok(accepted(jobs, &planned, false))
            }
            Submitted::Repeated(ids) => {
                let mut rows = self.store.jobs_by_id(&owner.team, &ids).await?;
                rows.sort_by_key(|r| ids.iter().position(|id| *id == r.job.id));
                Ok(accepted(rows.into_iter().map(|r| r.job).collect(), &planned, true))
            }
            Submitted::KeyReused => {
                let text = "This idempotency_key was used for a generation with other arguments. Use a new key for a new image.";
                Err(Refused::new(Code::InvalidRequest, text).field("idempotency_key").into())
            }
            Submitted::QuotaExceeded { reservation, used, reserved } => {
                Err(over_quota(&reservation, used, reserved, self.clock.now_us()).into())
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
        if self.settings.role == Role::Worker {
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
        owner: &Owner,
        mut generation: Generation,
    ) -> Result<Generation, JobsError> {
        let references = References { inner: self, owner };
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

    fn plan(&self, registry: &Registry, owner: &Owner, generation: &Generation) -> Result<Planned, Refused> {
        if !(1..=MOST).contains(&generation.count) {
            let text = format!("`count` is {}; accepted: 1 to {MOST}.", generation.count);
            return Err(Refused::new(Code::InvalidRequest, text).field("count"));
        }
        let mut request = generation.request.clone();
        request.n = 1;
        request.watermark.get_or_insert(registry.routing.watermark);
        request.user = request.user.map(|user| hashed(&[&owner.team, &user])[..32].to_owned());
        let allowed = self.rules.load().models(&owner.team, &owner.key);
        let ask = Ask {
            team: &owner.team,
            key: &owner.key,
            tool: &generation.tool,
            model: generation.model.as_deref(),
            provider: generation.provider.as_deref(),
            request: &request,
            parameters: generation.parameters,
            allowed: &allowed,
        };
        registry.plan(&ask).map_err(refused)
    }

    fn reservations(
        &self,
        registry: &Registry,
        owner: &Owner,
        planned: &Planned,
    ) -> Result<Vec<Reservation>, Refused> {
        let rules = self.rules.load();
        let (team, key) = (rules.team(&owner.team).limits, rules.key(&owner.key));
        let payer = Payer { team: &owner.team, key: &owner.key, of_team: &team, of_key: &key };
        let ceiling = match registry.routing.unpriced {
            Unpriced::Refuse => None,
            Unpriced::Ceiling(money) => registry.convert(money),
        };
        let highest = planned.highest.or(ceiling);
        quota::lines(&rules.limits, payer, highest, |m| registry.convert(m), self.clock.now_us()).map_err(|error| {
            let text = format!("The model `{}` cannot be bought: {error}. Choose another model, or ask the operator to set its price.", planned.model);
            Refused::new(Code::BudgetExceeded, text).field("model")
        })
    }

    fn jobs(&self, owner: &Owner, generation: &Generation, planned: &Planned) -> Vec<Job> {
        let now = self.clock.now_us();
        let batch_id = (generation.count > 1).then(Uuid::new_v4);
        let instance = planned.plan.targets.first().map(|t| t.instance.clone()).unwrap_or_default();
        let one = |index: u32| {
            let mut request = planned.request.clone();
            // A fixed seed must differ per job, or every image is the same.
            request.seed = request.seed.map(|seed| seed.wrapping_add(index));
            let prompt = std::mem::take(&mut request.prompt);
            Job {
                id: Uuid::new_v4(),
                batch_id,
                team: owner.team.clone(),
                key_id: owner.key.clone(),
                tool: generation.tool.clone(),
                request: serde_json::to_value(&request).unwrap_or_default(),
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
                deadline_us: now + self.settings.deadline.as_us(),
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
        if self.settings.role == Role::Api || self.is_stopping() {
            return None;
        }
        let n = u32::try_from(self.slots.available_permits().min(n)).ok().filter(|n| *n > 0)?;
        self.slots.clone().try_acquire_many_owned(n).ok()
    }

    fn idempotency(&self, owner: &Owner, generation: &Generation) -> Option<IdempotencyKey> {
        let now = self.clock.now_us();
        let scope = format!("{}/{}", owner.team, owner.key);
        let hash = fingerprint(generation);
        match &generation.idempotency_key {
            Some(key) => {
                // Never shorter than the job's life.
                let life = self.settings.idempotency_ttl.as_us().max(self.settings.deadline.as_us());
                Some(IdempotencyKey { scope, key: key.clone(), hash, expires_us: now + life })
            }
            None if !self.settings.duplicate_window.is_zero() => {
                let expires_us = now + self.settings.duplicate_window.as_us();
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
        generation: Generation,
    ) -> Result<Estimate, StoreError> {
        let registry = self.registry.load_full();
        let mut estimate = Estimate {
            model: generation.model.clone().unwrap_or_default(),
            target: None,
            count: generation.count,
            price: None,
            highest: None,
            basis: "no price is known".into(),
            refusals: Vec::new(),
        };
        // References are only counted here; nothing is fetched or stored for a price.
        let mut generation = generation;
        let input = || plugin_api::Input { mime: "image/png".into(), ..Default::default() };
        generation.request.references = generation.references.iter().map(|_| input()).collect();
        generation.request.mask = generation.mask.as_ref().map(|_| input());
        let planned = match self.plan(&registry, owner, &generation) {
            Ok(planned) => planned,
            Err(refused) => {
                estimate.refusals.push(refused);
                return Ok(estimate);
            }
        };
        let times = |money: Option<Money>| money.map(|m| m.times(generation.count.into()));
        estimate.model = planned.model.clone();
        estimate.target = planned.plan.targets.first().map(|t| format!("{}/{}", t.instance, t.vendor_model));
        estimate.price = times(planned.expected);
        estimate.highest = times(planned.highest);
        if let Some(source) = &planned.price_source {
            estimate.basis = source.clone();
        }
        match self.reservations(&registry, owner, &planned) {
            Err(refused) => estimate.refusals.push(refused),
            Ok(lines) => {
                let ids: Vec<&str> = lines.iter().map(|l| l.window.as_str()).collect();
                let windows = self.store.windows(&ids).await?;
                let over = lines.iter().find_map(|line| {
                    let (used, reserved) = windows.get(&line.window).copied().unwrap_or_default();
                    let n = i64::from(generation.count);
                    (used + reserved + line.amount * n > line.cap)
                        .then(|| over_quota(line, used, reserved, self.clock.now_us()))
                });
                estimate.refusals.extend(over);
            }
        }
        Ok(estimate)
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
        repeated,
        jobs,
    }
}

fn refused(error: PlanError) -> Refused {
    let code = match error.kind {
        Unplannable::Unknown => Code::InvalidRequest,
        Unplannable::Forbidden => Code::Permission,
        Unplannable::Unsupported => Code::UnsupportedParameter,
        Unplannable::Off => Code::ProviderUnavailable,
    };
    Refused { field: error.field, ..Refused::new(code, error.message) }
}

fn over_quota(line: &Reservation, used: i64, reserved: i64, now: i64) -> Refused {
    let mut parts = line.window.split('|');
    let (owner, what, unit) =
        (parts.next().unwrap_or(""), parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let whose = match owner.split(':').next() {
        Some("team") => "Your team's",
        Some("key") => "Your key's",
        _ => "The gateway's",
    };
    let minutes = (line.ends_us - now).max(0) / 60_000_000;
    let resets = if minutes >= 120 { format!("{} h", minutes / 60) } else { format!("{minutes} min") };
    let (code, text) = if what == "spend" {
        let show = |micros: i64| format!("{:.2}", micros as f64 / 1e6);
        let text = format!(
            "{whose} budget of {} per {unit} does not allow it: {} is spent, {} is reserved. It starts anew in {resets}; asking again before that does not help.",
            show(line.cap),
            show(used),
            show(reserved)
        );
        (Code::BudgetExceeded, text)
    } else {
        let text = format!(
            "{whose} quota of {} images per {unit} does not allow it: {used} are made, {reserved} are under way. It starts anew in {resets}; asking again before that does not help.",
            line.cap
        );
        (Code::QuotaExceeded, text)
    };
    let wait = u64::try_from((line.ends_us - now).max(0) / 1_000).unwrap_or(0);
    Refused { retry_after_ms: Some(wait), ..Refused::new(code, text) }
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

fn hashed(parts: &[&str]) -> String {
    let mut all = Vec::new();
    for part in parts {
        all.extend_from_slice(&(part.len() as u64).to_le_bytes());
        all.extend_from_slice(part.as_bytes());
    }
    digest(&SHA256, &all).as_ref().iter().map(|b| format!("{b:02x}")).collect()
}
