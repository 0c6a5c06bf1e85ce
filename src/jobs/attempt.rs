//! One attempt: the call to the vendor, or the resumption of one, up to stored images.

use super::{Inner, held::Held};
use crate::{
    images::{ImageError, Keep},
    providers::Upstream,
    store::{Claimed, Image},
};
use plugin_api::{
    Adjustment, Answer, Artifact, Basis, Blob, Class, Context, ErrorClass, Fit, ImageRequest, Parameters,
    Progress, Provider, ProviderError, Source, Spend, Submission, Ticket,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::{Instant as TokioInstant, sleep, sleep_until};

/// What an attempt came to.
pub(super) enum Attempted {
    Done(Box<Made>),
    Failed(Box<ProviderError>),
    /// Paid for and on disk, but it cannot be stored.
    NotStored(String),
    /// Nothing was sent: later.
    Snooze(Duration),
    /// The lease was lost: whoever holds it now goes on.
    Lost,
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

pub(super) struct Run<'a> {
    pub inner: &'a Arc<Inner>,
    pub claimed: &'a Claimed,
    pub held: Arc<Held>,
}

impl Run<'_> {
    pub async fn attempt(&self) -> Attempted {
        let attempt = &self.claimed.attempt;
        let registry = self.inner.registry.load_full();
        let upstream = match registry.instance(&attempt.instance) {
            Some(upstream) => upstream.clone(),
            None => return self.gone(format!("the provider `{}` is no longer configured", attempt.instance)),
        };
        let provider = match &upstream.provider {
            Ok(provider) => provider.clone(),
            Err(why) => return self.gone(format!("the provider `{}` is off: {why}", attempt.instance)),
        };
        let fit = match self.request(&provider).await {
            Ok(fit) => fit,
            // What an earlier life sent may still be paid for.
            Err(error) if self.claimed.rescued => {
                return Attempted::Failed(Box::new(error.with_spend(Spend::Possible)));
            }
            Err(error) => return Attempted::Failed(Box::new(error)),
        };
        let deadline = self.deadline(&upstream);
        let cx = registry.context(attempt.id, deadline);
        let found = match self.submission(&upstream, &provider, &cx, &fit.request).await {
            Ok(found) => found,
            Err(early) => return early,
        };
        let artifact = match found {
            Submission::Done(artifact) => Ok(artifact),
            Submission::Pending(ticket, first) => {
                self.poll(&provider, &cx, &fit.request, &ticket, first).await
            }
        };
        match artifact {
            Ok(artifact) => self.store(&upstream, fit, artifact, deadline).await,
            Err(error) => Attempted::Failed(Box::new(error)),
        }
    }

    /// The target is not there any more. Nothing is lost where nothing was sent.
    fn gone(&self, why: String) -> Attempted {
        let sent = self.claimed.rescued;
        let error = ProviderError::new(ErrorClass::NotFound, why);
        Attempted::Failed(Box::new(if sent { error.with_spend(Spend::Possible) } else { error }))
    }

    /// When the vendor call is given up: the instance's timeout for a blocking call, the job's deadline for polling.
    fn deadline(&self, upstream: &Upstream) -> TokioInstant {
        let left = self.inner.left(&self.claimed.job);
        let longest =
            if self.claimed.attempt.class == Class::J.as_str() { left } else { left.min(upstream.timeout) };
        TokioInstant::now() + longest.max(Duration::from_secs(1))
    }

    /// The kept request, fitted to this target, with its reference bytes.
    async fn request(&self, provider: &Arc<dyn Provider>) -> Result<Fit, ProviderError> {
        let (job, attempt) = (&self.claimed.job, &self.claimed.attempt);
        let bad = |what: String| ProviderError::new(ErrorClass::InvalidRequest, what);
        let mut request: ImageRequest = serde_json::from_value(job.request.clone())
            .map_err(|e| bad(format!("the kept request cannot be read: {e}")))?;
        request.prompt =
            job.prompt.clone().ok_or_else(|| bad("its prompt was deleted by retention".into()))?;
        request.model.clone_from(&attempt.vendor_model);
        for input in request.references.iter_mut().chain(&mut request.mask) {
            let bytes = self.inner.images.read_object(&input.handle).await;
            input.bytes = bytes.map_err(|e| bad(format!("a reference image cannot be read: {e}")))?;
        }
        let caps = provider.capabilities(&attempt.vendor_model).ok_or_else(|| {
            ProviderError::new(
                ErrorClass::NotFound,
                format!("the model `{}` is not there", attempt.vendor_model),
            )
        })?;
        // It was fitted strictly at submit if it had to be; here the mapping is only repeated.
        caps.fit(&request, Parameters::Nearest).map_err(|refusals| {
            let words: Vec<String> = refusals.iter().map(ToString::to_string).collect();
            ProviderError::new(ErrorClass::UnsupportedParameter, words.join("; "))
        })
    }

    /// The answer to the paid call: made now, resumed by its ticket, or found on disk.
    async fn submission(
        &self,
        upstream: &Upstream,
        provider: &Arc<dyn Provider>,
        cx: &Context,
        request: &ImageRequest,
    ) -> Result<Submission, Attempted> {
        let attempt = &self.claimed.attempt;
        if self.claimed.rescued {
            if let Some(ticket) = &attempt.ticket {
                return Ok(Submission::Pending(Ticket(ticket.clone()), Duration::ZERO));
            }
            match self.inner.spool.adopt(attempt.id) {
                Ok(Some(answer)) => {
                    tracing::info!(job.id = %attempt.job_id, attempt.id = %attempt.id, "adopted the answer found on disk");
                    return self.read(provider, request, answer).await;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(attempt.id = %attempt.id, %error, "a spooled answer cannot be read")
                }
            }
            if attempt.class != Class::K.as_str() {
                let what = "the gateway stopped between asking the vendor and hearing its answer";
                return Err(Attempted::Failed(Box::new(ProviderError::new(
                    ErrorClass::OutcomeUnknown,
                    what,
                ))));
            }
        }
        self.room_and_rate(upstream).await?;
        let again = if attempt.class == Class::K.as_str() { 3 } else { 1 };
        let mut tries = 0;
        loop {
            // Checked right before the bytes leave: a paused process must not submit under a lease it lost.
            if !self.held.trusted(*self.inner.settings.lease / TRUST) {
                return Err(Attempted::Lost);
            }
            tries += 1;
            let (call, cx, asked) = (provider.clone(), cx.clone(), request.clone());
            let outcome = isolated(async move { call.submit(&cx, &asked).await }).await;
            upstream.observe(outcome.as_ref().map(|_| ()));
            match outcome {
                Ok(Submission::Pending(ticket, first)) => return self.keep_ticket(ticket, first).await,
                Ok(done) => return Ok(done),
                // The vendor knows the key: asking again buys nothing twice.
                Err(error) if error.spend == Spend::Possible && tries < again => sleep(PAUSE).await,
                Err(error) => return Err(Attempted::Failed(Box::new(error))),
            }
        }
    }

    /// Waits for room on the disk and for the instance's rate: elsewhere, so that the slot is free meanwhile. A call
    /// that may be out already waits here, because a new attempt would have another key.
    async fn room_and_rate(&self, upstream: &Upstream) -> Result<(), Attempted> {
        loop {
            let refused = if self.inner.spool.has_room() {
                upstream.admit(Instant::now()).err()
            } else {
                Some(Duration::from_secs(5))
            };
            let Some(wait) = refused else { return Ok(()) };
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

    async fn read(
        &self,
        provider: &Arc<dyn Provider>,
        request: &ImageRequest,
        answer: Answer,
    ) -> Result<Submission, Attempted> {
        let (reader, asked) = (provider.clone(), request.clone());
        match isolated(async move { reader.read(&asked, &answer) }).await {
            Ok(Submission::Pending(ticket, first)) => self.keep_ticket(ticket, first).await,
            Ok(done) => Ok(done),
            Err(error) => Err(Attempted::Failed(Box::new(error))),
        }
    }

    /// The first thing done with a ticket is to write it down. Until that works the answer lies in the spool.
    async fn keep_ticket(&self, ticket: Ticket, first: Duration) -> Result<Submission, Attempted> {
        let (job, attempt) = (&self.claimed.job, &self.claimed.attempt);
        loop {
            match self.inner.store.ticket(job.id, job.lease_epoch, attempt.id, ticket.0.clone()).await {
                Ok(true) => {
                    self.inner.waiters.changed(job.id);
                    return Ok(Submission::Pending(ticket, first));
                }
                Ok(false) => return Err(Attempted::Lost),
                Err(error) => {
                    tracing::warn!(job.id = %job.id, %error, "a ticket waits to be written");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Asks for the result until it is there. A lost poll costs nothing and is repeated.
    async fn poll(
        &self,
        provider: &Arc<dyn Provider>,
        cx: &Context,
        request: &ImageRequest,
        ticket: &Ticket,
        first: Duration,
    ) -> Result<Artifact, ProviderError> {
        let mut wait = first;
        let mut lost = 0_u32;
        loop {
            let at = (TokioInstant::now() + wait).min(cx.deadline);
            sleep_until(at).await;
            if TokioInstant::now() >= cx.deadline {
                let what = "the vendor did not finish before the job's deadline";
                return Err(ProviderError::new(ErrorClass::Timeout, what).with_spend(Spend::Certain));
            }
            let (call, context, asked, handle) =
                (provider.clone(), cx.clone(), request.clone(), ticket.clone());
            match isolated(async move { call.poll(&context, &asked, &handle).await }).await {
                Ok(Progress::Done(artifact)) => return Ok(artifact),
                Ok(Progress::Pending { again_after, percent, .. }) => {
                    lost = 0;
                    wait = again_after;
                    if let Some(percent) = percent {
                        self.held.set_percent(percent);
                        self.inner.waiters.changed(self.claimed.job.id);
                    }
                }
                Err(error) if error.class == ErrorClass::Unavailable && error.spend == Spend::None => {
                    lost += 1;
                    wait = Duration::from_millis(500 << lost.min(5));
                    tracing::debug!(job.id = %self.claimed.job.id, %error, "a poll was lost");
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Verifies and stores what came back. A paid image is not given up because storage is away for a while.
    async fn store(
        &self,
        upstream: &Upstream,
        fit: Fit,
        artifact: Artifact,
        deadline: TokioInstant,
    ) -> Attempted {
        let job = &self.claimed.job;
        let mut adjustments = fit.adjustments;
        adjustments.extend(artifact.adjustments.iter().cloned());
        let mut images = Vec::new();
        for (position, picture) in (0_u32..).zip(&artifact.pictures) {
            let blob = match self.bytes(upstream, &picture.source, position as usize, deadline).await {
                Ok(blob) => blob,
                Err(error) => return Attempted::Failed(Box::new(error)),
            };
            let what = Keep { job_id: job.id, position, team: &job.team, created_us: job.created_us };
            let kept = loop {
                match self.inner.images.keep(what, &blob).await {
                    Ok(kept) => break kept,
                    Err(ImageError::Unacceptable(why)) => {
                        return Attempted::Failed(Box::new(ProviderError::new(ErrorClass::BadResponse, why)));
                    }
                    Err(error) if self.inner.left(job).is_zero() => {
                        return Attempted::NotStored(error.to_string());
                    }
                    Err(error) => {
                        tracing::warn!(job.id = %job.id, %error, "an image waits to be stored");
                        sleep(PAUSE).await;
                    }
                }
            };
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
                expires_us: self.inner.image_expiry(&job.team),
            });
            self.note_size(&fit.request, images.last(), &mut adjustments);
        }
        if images.is_empty() {
            let what = "the vendor answered without an image";
            return Attempted::Failed(Box::new(ProviderError::new(ErrorClass::BadResponse, what)));
        }
        let cost = self.cost(&artifact);
        Attempted::Done(Box::new(Made {
            images,
            cost,
            adjustments,
            vendor_request_id: artifact.vendor_request_id,
        }))
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

    /// What the vendor reported, else what the price table says.
    fn cost(&self, artifact: &Artifact) -> Option<plugin_api::value::Money> {
        let registry = self.inner.registry.load();
        let reported =
            artifact.cost.filter(|c| c.basis != Basis::Estimated).and_then(|c| registry.convert(c.money));
        let estimated = || {
            let target = self.claimed.job.target()?;
            let currency = registry.routing.currency.as_str();
            (currency.len() == 3)
                .then(|| plugin_api::value::Money::micros(target.price.unwrap_or(0), currency))
        };
        reported.or_else(estimated)
    }

    async fn bytes(
        &self,
        upstream: &Upstream,
        source: &Source,
        number: usize,
        deadline: TokioInstant,
    ) -> Result<Blob, ProviderError> {
        match source {
            Source::Blob(blob) => Ok(blob.clone()),
            Source::Url(url) => {
                let until = deadline.max(TokioInstant::now() + Duration::from_secs(30));
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
