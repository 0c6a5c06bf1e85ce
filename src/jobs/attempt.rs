//! One attempt: the call to the vendor, or the resumption of one, up to stored images.

use super::{Inner, held::Held};
use crate::{
    images::{ImageError, Keep, Kept},
    providers::{Key, Registry, Upstream},
    store::{Claimed, Image, TicketKept},
};
use plugin_api::{
    Adjustment, Answer, Artifact, Basis, Blob, Class, Context, ErrorClass, Fit, ImageRequest, Parameters,
    Progress, Provider, ProviderError, Source, Spend, Submission, Ticket,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::SemaphorePermit,
    time::{Instant as TokioInstant, sleep, sleep_until, timeout},
};

/// What an attempt came to.
pub(super) enum Attempted {
    Done(Box<Made>),
    Failed(Box<ProviderError>),
    /// Paid for, and its bytes cannot be read again.
    NotStored(String),
    /// Nothing was sent: later.
    Snooze(Duration),
    /// The lease was lost: whoever holds it now goes on. `out`: a call may be with the vendor.
    Lost {
        out: bool,
    },
}

/// Images that are stored, and what they cost.
pub(super) struct Made {
    pub images: Vec<Image>,
    /// Micro-units of the routing currency.
    pub cost: Option<plugin_api::value::Money>,
    pub adjustments: Vec<Adjustment>,
    pub vendor_request_id: Option<String>,
}

/// A lease must hold this share of itself longer for a paid call to go out.
const TRUST: u32 = 5;
/// Between two tries to write a ticket or to store an image.
const PAUSE: Duration = Duration::from_millis(500);
/// And at most between two tries to store one.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// Marks a kept ticket that says by which key it came; no vendor's has such a field.
const BY_KEY: &str = "@key";

pub(super) struct Run<'a> {
    pub inner: &'a Arc<Inner>,
    pub claimed: &'a Claimed,
    pub held: Arc<Held>,
}

impl Run<'_> {
    pub async fn attempt(&self) -> Attempted {
        let attempt = &self.claimed.attempt;
        let registry = self.inner.live.load().registry.clone();
        let upstream = match registry.instance(&attempt.instance) {
            Some(upstream) => upstream.clone(),
            None => return self.gone(format!("the provider `{}` is no longer configured", attempt.instance)),
        };
        if let Err(why) = &upstream.provider {
            return self.gone(format!("the provider `{}` is off: {why}", attempt.instance));
        }
        let (mut fit, room) = match self.request(&registry).await {
            Ok(found) => found,
            // What an earlier life sent may still be paid for.
            Err(error) if self.claimed.rescued => {
                return Attempted::Failed(Box::new(error.with_spend(Spend::Possible)));
            }
            Err(error) => return Attempted::Failed(Box::new(error)),
        };
        let left = self.inner.left(&self.claimed.job);
        let mut cx = registry.context(attempt.id, TokioInstant::now() + left.max(Duration::from_secs(1)));
        cx.http = cx.http.telling(self.listener());
        let began = Instant::now();
        let (key, found) = match self.submission(&upstream, &cx, &fit.request).await {
            Ok(found) => found,
            Err(early) => return early,
        };
        let provider = &key.provider;
        // The vendor has them: the next job may bring its own.
        fit.request.references.iter_mut().chain(&mut fit.request.mask).for_each(|input| input.bytes.clear());
        drop(room);
        let artifact = match found {
            Submission::Done(artifact) => Ok(artifact),
            Submission::Pending(ticket, first) => {
                self.poll(&upstream, provider, &cx, &fit.request, &ticket, first).await
            }
        };
        match artifact {
            Ok(artifact) => {
                // One that was taken over began long ago.
                if !self.claimed.rescued {
                    upstream.took(&attempt.vendor_model, began.elapsed(), Instant::now());
                }
                self.store(&registry, &upstream, provider, fit, artifact, cx.deadline).await
            }
            Err(error) => Attempted::Failed(Box::new(error)),
        }
    }

    /// Passes on how far the vendor is.
    fn listener(&self) -> plugin_api::Listener {
        let (inner, held, job) = (self.inner.clone(), self.held.clone(), self.claimed.job.id);
        Arc::new(move |percent| {
            held.set_percent(percent);
            inner.waiters.changed(job);
        })
    }

    /// The target is not there any more. Nothing is lost where nothing was sent; else nobody here can ask what became of it.
    fn gone(&self, why: String) -> Attempted {
        let error = match self.claimed.rescued {
            true => ProviderError::new(ErrorClass::OutcomeUnknown, why).with_spend(Spend::Possible),
            false => ProviderError::new(ErrorClass::NotFound, why),
        };
        Attempted::Failed(Box::new(error))
    }

    /// The kept request, fitted to this target, with its reference bytes and the room they take.
    async fn request(
        &self,
        registry: &Registry,
    ) -> Result<(Fit, Option<SemaphorePermit<'_>>), ProviderError> {
        let (job, attempt) = (&self.claimed.job, &self.claimed.attempt);
        let bad = |what: String| ProviderError::new(ErrorClass::InvalidRequest, what);
        let mut request: ImageRequest = serde_json::from_value(job.request.clone())
            .map_err(|e| bad(format!("the kept request cannot be read: {e}")))?;
        request.prompt =
            job.prompt.clone().ok_or_else(|| bad("its prompt was deleted by retention".into()))?;
        request.model.clone_from(&attempt.vendor_model);
        let mut room = None;
        if self.needs_references() {
            let unread = |error| bad(format!("a reference image cannot be read: {error}"));
            let images = &self.inner.images;
            let (mut sum, mut pause) = (0, PAUSE);
            for input in request.references.iter().chain(&request.mask) {
                sum += loop {
                    match images.object_bytes(&input.handle).await {
                        Ok(bytes) => break bytes,
                        Err(error) => self.await_storage(&mut pause, error).await.map_err(unread)?,
                    }
                };
            }
            let share = self.inner.reference_room.share(sum);
            room = timeout(self.inner.left(job), share).await.map_err(|_| {
                let what = "there was no memory for its reference images before the job's deadline";
                ProviderError::new(ErrorClass::Timeout, what).with_spend(Spend::None)
            })?;
            for input in request.references.iter_mut().chain(&mut request.mask) {
                input.bytes = loop {
                    match images.read_object(&input.handle).await {
                        Ok(bytes) => break bytes,
                        Err(error) => self.await_storage(&mut pause, error).await.map_err(unread)?,
                    }
                };
            }
        }
        let to = format!("{}/{}", attempt.instance, attempt.vendor_model);
        let caps = registry.capabilities(&job.model, &to).ok_or_else(|| {
            ProviderError::new(
                ErrorClass::NotFound,
                format!("the model `{}` is not there", attempt.vendor_model),
            )
        })?;
        // It was fitted strictly at submit if it had to be; here the mapping is only repeated.
        let fit = caps.fit(&request, Parameters::Nearest).map_err(|refusals| {
            let words: Vec<String> = refusals.iter().map(ToString::to_string).collect();
            ProviderError::new(ErrorClass::UnsupportedParameter, words.join("; "))
        })?;
        Ok((fit, room))
    }

    /// What the vendor works on already, or has answered, is not sent again: it must not depend on references that
    /// cannot be read now, or are over.
    fn needs_references(&self) -> bool {
        let attempt = &self.claimed.attempt;
        !(self.claimed.rescued && (attempt.ticket.is_some() || self.inner.spool.has_answer(attempt.id)))
    }

    /// A pause before storage is asked for a reference again; longer each time, and none past the job's deadline.
    async fn await_storage(&self, pause: &mut Duration, error: ImageError) -> Result<(), ImageError> {
        let job = &self.claimed.job;
        match error {
            ImageError::Storage(why) if self.inner.left(job) > *pause => {
                tracing::warn!(job.id = %job.id, %why, "a reference image waits for storage");
                sleep(pause.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
                *pause = (*pause * 2).min(LONGEST_PAUSE);
                Ok(())
            }
            error => Err(error),
        }
    }

    /// The answer to the paid call, and the key it is of: made now, resumed by its ticket, or found on disk.
    async fn submission(
        &self,
        upstream: &Upstream,
        cx: &Context,
        request: &ImageRequest,
    ) -> Result<(Arc<Key>, Submission), Attempted> {
        let attempt = &self.claimed.attempt;
        if self.claimed.rescued {
            let key_of = |id: Option<&str>| {
                let off = || self.gone(format!("the provider `{}` has no key any more", attempt.instance));
                upstream.key_of_ticket(id, attempt.id).ok_or_else(off)
            };
            if let Some(kept) = &attempt.ticket {
                let (id, ticket) = opened(kept);
                return Ok((key_of(id)?, Submission::Pending(ticket, Duration::ZERO)));
            }
            match self.inner.spool.adopt(attempt.id) {
                Ok(Some(answer)) => {
                    tracing::info!(job.id = %attempt.job_id, attempt.id = %attempt.id, "adopted the answer found on disk");
                    let key = key_of(None)?;
                    let found = self.read(&key, request, answer).await?;
                    return Ok((key, found));
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(attempt.id = %attempt.id, %error, "a spooled answer cannot be read")
                }
            }
            // Without its references, which an unreadable answer made seem needless, it would be another call.
            let whole = request.references.iter().chain(&request.mask).all(|input| !input.bytes.is_empty());
            if attempt.class != Class::K.as_str() || !whole {
                let what = "the gateway stopped between asking the vendor and hearing its answer";
                return Err(Attempted::Failed(Box::new(ProviderError::new(
                    ErrorClass::OutcomeUnknown,
                    what,
                ))));
            }
        }
        let key = self.room_and_rate(upstream).await?;
        let again = if attempt.class == Class::K.as_str() { 3 } else { 1 };
        let (mut tries, end) = (0, cx.deadline);
        loop {
            // Checked right before the bytes leave: a paused process must not submit under a lease it lost.
            if !self.held.trusted(self.inner.lease / TRUST) {
                return Err(Attempted::Lost { out: tries > 0 });
            }
            tries += 1;
            place("submit.send");
            let (call, cx, asked) = (key.provider.clone(), cx.within(upstream.timeout), request.clone());
            let outcome = isolated(async move { call.submit(&cx, &asked).await }).await;
            match upstream.observe(&key, outcome) {
                Ok(Submission::Pending(ticket, first)) => {
                    let kept = self.keep_ticket(&key, ticket, first).await?;
                    return Ok((key, kept));
                }
                Ok(done) => return Ok((key, done)),
                // The vendor knows the key: asking again buys nothing twice, and gets what was lost on its way.
                Err(error)
                    if (error.spend == Spend::Possible || error.class == ErrorClass::BadResponse)
                        && tries < again
                        && TokioInstant::now() + PAUSE < end =>
                {
                    sleep(PAUSE).await;
                }
                Err(error) => return Err(Attempted::Failed(Box::new(error))),
            }
        }
    }

    /// Waits for room on the disk and for the instance's rate: elsewhere, so that the slot is free meanwhile. A call
    /// that may be out already waits here, because a new attempt would have another key.
    async fn room_and_rate(&self, upstream: &Upstream) -> Result<Arc<Key>, Attempted> {
        let attempt = &self.claimed.attempt;
        loop {
            let admitted = if self.inner.spool.has_room() {
                upstream.admit(attempt.id, &attempt.class, Instant::now())
            } else {
                Err(Duration::from_secs(5))
            };
            let wait = match admitted {
                Ok(key) => return Ok(key),
                Err(wait) => wait,
            };
            if !self.claimed.rescued {
                return Err(Attempted::Snooze(wait));
            }
            let left = self.inner.left(&self.claimed.job);
            if left.is_zero() {
                let what = "the gateway stopped during the call and could not repeat it in time";
                return Err(Attempted::Failed(Box::new(ProviderError::new(
                    ErrorClass::OutcomeUnknown,
                    what,
                ))));
            }
            sleep(wait.min(left)).await;
        }
    }

    async fn read(&self, key: &Key, request: &ImageRequest, answer: Answer) -> Result<Submission, Attempted> {
        let (reader, asked) = (key.provider.clone(), request.clone());
        match isolated(async move { reader.read(&asked, &answer) }).await {
            Ok(Submission::Pending(ticket, first)) => self.keep_ticket(key, ticket, first).await,
            Ok(done) => Ok(done),
            Err(error) => Err(Attempted::Failed(Box::new(error))),
        }
    }

    /// The first thing done with a ticket is to write it down. Until that works the answer lies in the spool.
    async fn keep_ticket(&self, key: &Key, ticket: Ticket, first: Duration) -> Result<Submission, Attempted> {
        let (job, attempt) = (&self.claimed.job, &self.claimed.attempt);
        place("ticket.known");
        loop {
            let kept = sealed(key, &ticket);
            match self.inner.store.ticket(job.id, job.lease_epoch, attempt.id, kept).await {
                Ok(TicketKept::Held) => {
                    self.inner.waiters.changed(job.id);
                    return Ok(Submission::Pending(ticket, first));
                }
                Ok(TicketKept::Late) => {
                    tracing::warn!(job.id = %job.id, "a ticket came too late; what it stands for is waited for all the same");
                    return Ok(Submission::Pending(ticket, first));
                }
                Ok(TicketKept::Lost) => return Err(Attempted::Lost { out: true }),
                Err(error) => {
                    tracing::warn!(job.id = %job.id, %error, "a ticket waits to be written");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Asks for the result until it is there. A poll that was lost or turned away costs nothing and is repeated.
    async fn poll(
        &self,
        upstream: &Upstream,
        provider: &Arc<dyn Provider>,
        cx: &Context,
        request: &ImageRequest,
        ticket: &Ticket,
        first: Duration,
    ) -> Result<Artifact, ProviderError> {
        let (mut wait, tell) = (first, self.listener());
        let mut lost = 0_u32;
        loop {
            let at = (TokioInstant::now() + wait).min(cx.deadline);
            sleep_until(at).await;
            if TokioInstant::now() >= cx.deadline {
                let what = "the vendor did not finish before the job's deadline";
                return Err(ProviderError::new(ErrorClass::Timeout, what).with_spend(Spend::Certain));
            }
            place("poll");
            let (call, context, asked, handle) =
                (provider.clone(), cx.within(upstream.timeout), request.clone(), ticket.clone());
            match isolated(async move { call.poll(&context, &asked, &handle).await }).await {
                Ok(Progress::Done(artifact)) => return Ok(artifact),
                Ok(Progress::Pending { again_after, percent, .. }) => {
                    lost = 0;
                    wait = again_after;
                    percent.into_iter().for_each(&*tell);
                }
                Ok(Progress::Failed(error)) => return Err(error),
                // The job goes on at the vendor: to give up on it here would be to buy it again.
                Err(error) if error.spend == Spend::None => {
                    lost += 1;
                    let growing = Duration::from_millis(500 << lost.min(5));
                    wait = error.retry_after.map_or(growing, |asked| asked.max(growing));
                    tracing::debug!(job.id = %self.claimed.job.id, %error, "a poll was lost");
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Verifies and stores what came back. A paid image is not given up because storage is away for a while.
    async fn store(
        &self,
        registry: &Registry,
        upstream: &Upstream,
        provider: &Arc<dyn Provider>,
        fit: Fit,
        artifact: Artifact,
        end: TokioInstant,
    ) -> Attempted {
        let job = &self.claimed.job;
        let mut adjustments = fit.adjustments;
        adjustments.extend(artifact.adjustments.iter().cloned());
        // What the vendor failed to make, and what of a group cannot be had: the rest is paid for and counts.
        let mut missing: Vec<(u32, ProviderError)> =
            artifact.failed.iter().map(|f| (f.index, f.error.clone())).collect();
        let mut images = Vec::new();
        // Quotas were reserved for what was asked.
        let caps = provider.capabilities(&self.claimed.attempt.vendor_model);
        let asked = caps.map_or(fit.request.n, |caps| (caps.images)(&fit.request)).max(1);
        if artifact.pictures.len() > asked as usize {
            let made = artifact.pictures.len();
            tracing::warn!(job.id = %job.id, made, asked, "the vendor made more images than were asked for");
        }
        for (position, picture) in (0..asked).zip(&artifact.pictures) {
            let kept = match self.bytes(upstream, &picture.source, position as usize, end).await {
                Ok(blob) => self.keep(position, &blob).await,
                Err(error) => Err(Attempted::Failed(Box::new(error))),
            };
            let kept = match kept {
                Ok(kept) => kept,
                Err(Attempted::Failed(error)) if artifact.pictures.len() > 1 => {
                    missing.push((position, *error));
                    continue;
                }
                Err(failed) => return failed,
            };
            place("image.stored");
            images.push(Image {
                id: uuid::Uuid::new_v4(),
                job_id: job.id,
                position: position as i32,
                team: job.team.clone(),
                object_key: kept.object_key,
                mime: kept.mime.as_str().into(),
                width: i32::try_from(kept.width).unwrap_or(i32::MAX),
                height: i32::try_from(kept.height).unwrap_or(i32::MAX),
                bytes: i64::try_from(kept.bytes).unwrap_or(i64::MAX),
                sha256: kept.sha256,
                revised_prompt: picture.revised_prompt.clone(),
                seed: picture.seed.or(fit.request.seed).map(i64::from),
                created_us: self.inner.clock.now_us(),
                deleted_us: None,
                expires_us: self.inner.image_expiry(&job.team),
            });
            self.note_size(&fit.request, images.last(), &mut adjustments);
        }
        if images.is_empty() {
            let none = || ProviderError::new(ErrorClass::BadResponse, "the vendor answered without an image");
            let error = ProviderError::costliest(missing.into_iter().map(|(_, error)| error));
            let error = error.unwrap_or_else(none);
            return Attempted::Failed(Box::new(error));
        }
        for (index, error) in missing {
            let which = format!("image {}", index + 1);
            adjustments.push(Adjustment::new("images", which, "missing", &error.to_string()));
        }
        let cost = self.cost(registry, provider, &fit.request, &artifact);
        Attempted::Done(Box::new(Made {
            images,
            cost,
            adjustments,
            vendor_request_id: artifact.vendor_request_id,
        }))
    }

    /// Verifies and stores one picture. While storage is away the image waits, also past the job's deadline: it is
    /// paid for, and lies in the spool. `Failed`: it is none that can be kept.
    async fn keep(&self, position: u32, blob: &Blob) -> Result<Kept, Attempted> {
        let job = &self.claimed.job;
        let what = Keep { job_id: job.id, position, team: &job.team, created_us: job.created_us };
        let mut pause = PAUSE;
        loop {
            match self.inner.images.keep(what, blob).await {
                Ok(kept) => return Ok(kept),
                Err(ImageError::Unacceptable(why)) => {
                    let error = ProviderError::new(ErrorClass::BadResponse, why);
                    return Err(Attempted::Failed(Box::new(error)));
                }
                // Storage has no part in it, and waiting for it does not help.
                Err(error @ ImageError::Unread(_)) if self.inner.left(job).is_zero() => {
                    return Err(Attempted::NotStored(error.to_string()));
                }
                Err(error) => {
                    self.hold(position).await;
                    tracing::warn!(job.id = %job.id, %error, "an image waits to be stored");
                    sleep(pause.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// What waits for storage is safe from a restart and from whoever tidies up.
    async fn hold(&self, position: u32) {
        let (spool, attempt) = (self.inner.spool.clone(), self.claimed.attempt.id);
        let held = tokio::task::spawn_blocking(move || spool.hold(attempt, position as usize)).await;
        if let Ok(Err(error)) = held {
            tracing::warn!(attempt.id = %attempt, %error, "a download is not safe from a restart");
        }
    }

    /// The size that came is compared with the one that was sent.
    fn note_size(&self, request: &ImageRequest, image: Option<&Image>, adjustments: &mut Vec<Adjustment>) {
        if let (plugin_api::Size::Exact { width, height }, Some(image)) = (request.size, image) {
            let came = (image.width.unsigned_abs(), image.height.unsigned_abs());
            if came != (width, height) {
                let (asked, used) = (request.size.to_string(), format!("{}x{}", came.0, came.1));
                adjustments.push(Adjustment::new("size", asked, used, "what the vendor made"));
            }
        }
    }

    /// What the vendor reported, else what the price table says: of a group, for the images that were made.
    fn cost(
        &self,
        registry: &Registry,
        provider: &Arc<dyn Provider>,
        request: &ImageRequest,
        artifact: &Artifact,
    ) -> Option<plugin_api::value::Money> {
        let reported =
            artifact.cost.filter(|c| c.basis != Basis::Estimated).and_then(|c| registry.convert(c.money));
        let estimated = || {
            let target = self.claimed.job.target()?;
            let currency = registry.routing.currency.as_str();
            let price = target.price.unwrap_or(0);
            let most = provider.capabilities(&request.model).map_or(1, |caps| (caps.images)(request).max(1));
            let made = artifact.usage.images.unwrap_or(artifact.pictures.len() as u64);
            let (most, made) = (i64::from(most), i64::try_from(made).ok()?);
            let micros = if most > 1 { (price * made + most - 1) / most } else { price };
            (currency.len() == 3).then(|| plugin_api::value::Money::micros(micros, currency))
        };
        reported.or_else(estimated)
    }

    /// What an earlier life of the attempt had fetched already.
    async fn held(&self, number: usize) -> Option<Blob> {
        let (spool, attempt) = (self.inner.spool.clone(), self.claimed.attempt.id);
        if !self.claimed.rescued {
            return None;
        }
        match tokio::task::spawn_blocking(move || spool.held(attempt, number)).await.ok()? {
            Ok(held) => held,
            Err(error) => {
                tracing::warn!(attempt.id = %attempt, %error, "a held download cannot be used; it is fetched again");
                None
            }
        }
    }

    async fn bytes(
        &self,
        upstream: &Upstream,
        source: &Source,
        number: usize,
        end: TokioInstant,
    ) -> Result<Blob, ProviderError> {
        match source {
            Source::Blob(blob) => Ok(blob.clone()),
            Source::Url(url) => {
                if let Some(held) = self.held(number).await {
                    return Ok(held);
                }
                let now = TokioInstant::now();
                let until = (now + upstream.timeout).min(end).max(now + Duration::from_secs(30));
                let into = self.inner.spool.download(self.claimed.attempt.id, number);
                let (guard, cap) = (&upstream.results, self.inner.max_image);
                self.inner.clients.fetch(url, guard, cap, until, &into).await.map_err(|error| {
                    // The image behind it is paid for: the host is named.
                    let what = format!("the finished image could not be fetched: {error}");
                    ProviderError::new(ErrorClass::BadResponse, what)
                })
            }
        }
    }
}

/// A ticket as it is kept: with the name of the key that it came by, where there are several.
fn sealed(key: &Key, ticket: &Ticket) -> serde_json::Value {
    match key.id.as_str() {
        "" => ticket.0.clone(),
        id => serde_json::json!({ BY_KEY: id, "ticket": ticket.0 }),
    }
}

/// The name of the key, and the vendor's ticket.
fn opened(kept: &serde_json::Value) -> (Option<&str>, Ticket) {
    match (kept.get(BY_KEY).and_then(|id| id.as_str()), kept.get("ticket")) {
        (Some(id), Some(ticket)) => (Some(id), Ticket(ticket.clone())),
        _ => (None, Ticket(kept.clone())),
    }
}

/// A place where the fault harness kills or stalls: there is nothing here that could fail.
fn place(name: &str) {
    plugin_api::failpoint(name).ok();
}

/// Runs a plugin's code so that its panic is an error of this one job, and stops it when nobody waits any more.
async fn isolated<T, F>(work: F) -> Result<T, ProviderError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, ProviderError>> + Send + 'static,
{
    struct Abort(tokio::task::AbortHandle);
    impl Drop for Abort {
        fn drop(&mut self) {
            self.0.abort();
        }
    }
    let task = tokio::spawn(work);
    let _abort = Abort(task.abort_handle());
    task.await.unwrap_or_else(|gone| {
        tracing::error!(panic = gone.is_panic(), "a provider plugin broke off");
        Err(ProviderError::new(ErrorClass::BadResponse, "the provider plugin failed inside")
            .with_spend(Spend::Possible))
    })
}
