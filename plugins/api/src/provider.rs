//! The trait a plugin implements, and what travels through it.

use crate::{Answer, Blob, Capabilities, ErrorClass, Http, ImageRequest, ProviderError, Retry, Spend};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use uuid::Uuid;

/// What a crash between send and answer means for a model (CONTRACTS: lifecycle classes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Class {
    /// Honours an idempotency key ([`Context::attempt`]): sent again with the same key, billed once.
    K,
    /// Answers with a ticket at once; the result is polled, so a restart resumes.
    J,
    /// One blocking call: after a crash the outcome is unknown, and it is never sent again by itself.
    S,
}

impl Class {
    pub const fn as_str(self) -> &'static str {
        match self {
            Class::K => "K",
            Class::J => "J",
            Class::S => "S",
        }
    }
}

/// One vendor, set up by one configuration entry.
#[async_trait::async_trait]
pub trait Provider: Send + Sync + 'static {
    /// The vendor models this instance knows, the default first.
    fn models(&self) -> Vec<String>;

    /// What `model` can do; `None` when the vendor has no such model.
    fn capabilities(&self, model: &str) -> Option<&Capabilities>;

    /// What a model of the vendor's needs that this instance does not have, where some models need other credentials
    /// than the rest; a sentence with the remedy. Asked only about models without capabilities.
    fn why_off(&self, model: &str) -> Option<String> {
        let _ = model;
        None
    }

    /// Hosts that result URLs may name: exact, or `*.example.com` for everything below it.
    fn result_hosts(&self) -> &[String] {
        &[]
    }

    /// Makes the paid call. The request was fitted to the model's capabilities.
    ///
    /// # Errors
    /// A [`ProviderError`] whose `spend` says whether money may be gone.
    ///
    /// # Cancellation
    /// Dropped when the attempt is given up; what the vendor does then is the class's business.
    async fn submit(&self, cx: &Context, request: &ImageRequest) -> Result<Submission, ProviderError>;

    /// Reads the answer of the paid call: the second half of [`submit`](Self::submit), also used on an answer
    /// that was found on disk after a crash.
    ///
    /// # Errors
    /// As `submit`.
    fn read(&self, request: &ImageRequest, answer: &Answer) -> Result<Submission, ProviderError>;

    /// Asks for the result behind a ticket. Nothing new is bought, so a lost answer is `unavailable` with no spend.
    ///
    /// # Errors
    /// The poll failed. With [`Spend::None`](crate::Spend::None) it says nothing about the job, whatever its class,
    /// and is asked again until the job's deadline; any other spend ends the attempt (`job_expired`, a finished job
    /// without an image). A job that failed at the vendor is [`Progress::Failed`].
    async fn poll(
        &self,
        cx: &Context,
        request: &ImageRequest,
        ticket: &Ticket,
    ) -> Result<Progress, ProviderError> {
        let _ = (cx, request, ticket);
        Err(ProviderError::new(ErrorClass::NotFound, "this provider has no tickets"))
    }

    /// Proves the credentials at no cost.
    ///
    /// # Errors
    /// What is wrong with them.
    async fn check(&self, cx: &Context) -> Result<(), ProviderError>;
}

/// What one attempt brings along.
#[derive(Clone)]
pub struct Context {
    pub http: Http,
    /// The id of the attempt: the idempotency key of class K.
    pub attempt: Uuid,
    /// When this run of the attempt began: polls may grow apart with the time since.
    pub started: Instant,
    /// When the gateway gives the call up.
    pub deadline: Instant,
}

impl Context {
    /// The same for one call that may take no longer than this.
    pub fn within(&self, longest: Duration) -> Context {
        let deadline = self.deadline.min(Instant::now() + longest);
        Context { http: self.http.until(deadline), deadline, ..self.clone() }
    }
}

/// The vendor's handle of unfinished work, in whatever form the plugin likes; it is kept in the attempt's row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ticket(pub serde_json::Value);

/// The answer to a submit.
#[derive(Debug)]
pub enum Submission {
    Done(Artifact),
    /// The ticket, and when to ask first.
    Pending(Ticket, Duration),
}

/// The answer to a poll.
#[derive(Debug)]
pub enum Progress {
    Done(Artifact),
    /// Not finished: when to ask again, and the vendor's own percentage where it gives one.
    Pending {
        again_after: Duration,
        percent: Option<f32>,
        note: Option<String>,
    },
    /// The job itself failed at the vendor: it is over, and the error's `spend` says whether it cost anything.
    Failed(ProviderError),
}

impl Progress {
    /// The same, with the error of a failed job changed: a plugin takes its credential out.
    pub fn map_failed(self, change: impl FnOnce(ProviderError) -> ProviderError) -> Progress {
        match self {
            Progress::Failed(error) => Progress::Failed(change(error)),
            progress => progress,
        }
    }
}

/// What a provider returned: not yet verified, not yet stored.
#[derive(Debug, Default)]
pub struct Artifact {
    pub pictures: Vec<Picture>,
    /// Items of the call that failed while others succeeded.
    pub failed: Vec<Failed>,
    pub adjustments: Vec<Adjustment>,
    pub usage: Usage,
    /// What the vendor reported, or what its usage numbers come to. `None`: the gateway's estimate stands.
    pub cost: Option<Cost>,
    pub vendor_request_id: Option<String>,
    /// The model as the vendor echoed it.
    pub model: Option<String>,
}

impl Artifact {
    /// Takes one item of the answer: its picture, or why there is none.
    pub fn take(&mut self, index: u32, item: Result<Picture, ProviderError>) {
        match item {
            Ok(picture) => self.pictures.push(picture),
            Err(error) => self.failed.push(Failed { index, error }),
        }
    }

    /// Notes the items that were asked for and of which the answer, with `told` items, says nothing. They were not
    /// made, so they cost nothing.
    pub fn miss(&mut self, told: usize, asked: u32) {
        for index in u32::try_from(told).unwrap_or(u32::MAX)..asked {
            let error =
                ProviderError::new(ErrorClass::BadResponse, "the vendor made fewer images than asked")
                    .with_spend(Spend::None)
                    .with_retry(Retry::Later);
            self.failed.push(Failed { index, error });
        }
    }

    /// The artifact, which has a picture at least.
    ///
    /// # Errors
    /// No item is a picture: the failure that cost most. `none`: there is not even an item.
    pub fn with_pictures(self, none: impl FnOnce() -> ProviderError) -> Result<Artifact, ProviderError> {
        if !self.pictures.is_empty() {
            return Ok(self);
        }
        let failures = self.failed.into_iter().map(|failed| failed.error);
        Err(ProviderError::costliest(failures).unwrap_or_else(none))
    }
}

#[derive(Debug)]
pub struct Picture {
    pub source: Source,
    pub revised_prompt: Option<String>,
    pub seed: Option<u32>,
}

impl Picture {
    pub fn new(source: Source) -> Picture {
        Picture { source, revised_prompt: None, seed: None }
    }
}

/// Where a picture's bytes are.
#[derive(Debug)]
pub enum Source {
    Blob(Blob),
    /// To be fetched by the gateway at once, from one of the provider's result hosts.
    Url(String),
}

/// One item of a call that failed.
#[derive(Debug, Clone)]
pub struct Failed {
    pub index: u32,
    pub error: ProviderError,
}

/// A change to what was asked, reported in the result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adjustment {
    pub field: String,
    pub asked: String,
    pub used: String,
    pub reason: String,
}

impl Adjustment {
    pub fn new(field: &str, asked: impl Into<String>, used: impl Into<String>, reason: &str) -> Adjustment {
        Adjustment { field: field.into(), asked: asked.into(), used: used.into(), reason: reason.into() }
    }
}

/// What the vendor counted. Absent is `None`, never zero.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credits: Option<f64>,
}

/// Where a cost comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// From the vendor's usage numbers.
    Reported,
    /// From the price table and what was made.
    Computed,
    /// From the price table before the call.
    Estimated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    pub money: crate::value::Money,
    pub basis: Basis,
}

/// A plugin: its name in the configuration, the schema of its settings, and how to build an instance.
#[derive(Clone, Copy)]
pub struct Plugin {
    /// The `kind:` of a configuration entry.
    pub kind: &'static str,
    /// JSON Schema of the settings that are the plugin's own (the gateway adds its own, such as `concurrency`).
    pub schema: fn(&mut schemars::SchemaGenerator) -> schemars::Schema,
    /// Builds an instance from those settings.
    pub build: fn(serde_json::Value) -> Result<Built, String>,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plugin({})", self.kind)
    }
}

/// What building an instance came to.
pub enum Built {
    On(Arc<dyn Provider>),
    /// Without credentials: the instance is simply off, with the reason and the remedy.
    Off(String),
}

/// Reads a plugin's settings.
///
/// # Errors
/// A sentence that names the field.
pub fn build_config<T: serde::de::DeserializeOwned>(settings: serde_json::Value) -> Result<T, String> {
    serde_json::from_value(settings).map_err(|e| e.to_string())
}
