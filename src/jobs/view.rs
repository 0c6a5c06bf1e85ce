//! What callers ask of jobs, and what they see of them.

use crate::{
    providers::{Claims, Explained},
    store::{Attempt, Image, Job, Place},
};
use plugin_api::{ImageRequest, Parameters, value::Money};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use uuid::Uuid;

/// Who a job belongs to, and what limits are counted by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owner {
    pub team: String,
    pub key: String,
    /// What routes may ask for beside them.
    pub claims: Arc<Claims>,
}

/// A generation as a face has read it: typed, checked for form, not yet for what a model can do.
#[derive(Debug, Clone, Default)]
pub struct Generation {
    /// The tool that was called.
    pub tool: String,
    /// Public name, or `instance/vendor-model`; absent: the route, else the default.
    pub model: Option<String>,
    /// Instance, or a kind (its first instance that is on).
    pub provider: Option<String>,
    /// 1..=20: so many jobs, one image each.
    pub count: u32,
    /// All else; `model`, `n`, `references` and `mask` are filled in by `jobs`.
    pub request: ImageRequest,
    /// Handles: image id, `image://{id}`, `upload://{id}`, `https:` URL, `data:` URI.
    pub references: Vec<String>,
    pub mask: Option<String>,
    pub file_prefix: Option<String>,
    /// `None`: as configured.
    pub parameters: Option<Parameters>,
    pub idempotency_key: Option<String>,
    /// What the face that read the call wants to find with the job, when it is asked for the answer later.
    pub memo: Option<Value>,
}

/// Jobs that are committed.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// In the order asked.
    pub jobs: Vec<Job>,
    pub batch_id: Option<Uuid>,
    /// Expected cost of all jobs together; `None`: the model has no price.
    pub estimated_cost: Option<Money>,
    /// Usual time of one job in seconds.
    pub expected_seconds: u32,
    pub adjustments: Vec<plugin_api::Adjustment>,
    /// Quotas of which not much is left.
    pub notices: Vec<plugin_api::Adjustment>,
    /// The jobs were there already: the idempotency key was seen before.
    pub repeated: bool,
}

/// One job with everything that belongs to it.
#[derive(Debug, Clone)]
pub struct JobView {
    pub job: Job,
    pub images: Vec<Image>,
    /// Images that were deleted.
    pub deleted: Vec<Image>,
    pub attempts: Vec<Attempt>,
    /// How many jobs of its team stand before it, for a waiting job.
    pub queue_position: Option<u64>,
    /// The vendor's own percentage, 0..=100.
    pub progress: Option<f32>,
}

/// Where [`Generation::memo`] is in the kept request, which has no field of this name.
pub(super) const MEMO: &str = "memo";

impl JobView {
    /// [`Generation::memo`], as it was given.
    pub fn memo(&self) -> Option<&Value> {
        self.job.request.get(MEMO)
    }
}

/// What a wait sees on its way.
#[derive(Debug, Clone, PartialEq)]
pub struct Moment {
    pub finished: usize,
    pub total: usize,
    /// A sentence, such as "queued, 3 before it" or "openai is drawing (attempt 1)".
    pub message: String,
    /// 0..=1 over all jobs, rising.
    pub share: f64,
}

/// A page of a listing, newest first.
#[derive(Debug, Clone)]
pub struct Page<T> {
    pub rows: Vec<T>,
    /// Counted up to 10,000.
    pub total: u64,
    pub total_is_minimum: bool,
    /// The last row of this page, if more come after it.
    pub next: Option<Place>,
}

/// What cancelling came to.
#[derive(Debug, Clone)]
pub struct Cancelled {
    pub job: Job,
    /// The job is cancelled now. `false` on a job that had ended before, and on one whose paid call is out.
    pub cancelled: bool,
    /// `none`, `spent` or `unknown`.
    pub cost: &'static str,
    pub message: String,
}

/// A price before buying.
#[derive(Debug, Clone)]
pub struct Estimate {
    pub model: String,
    /// `instance/vendor-model`.
    pub target: Option<String>,
    pub count: u32,
    /// Expected, for all images.
    pub price: Option<Money>,
    /// What would be reserved.
    pub highest: Option<Money>,
    /// Where the price comes from and of which day.
    pub basis: String,
    /// Empty: it would be accepted.
    pub refusals: Vec<Refused>,
}

/// A price before buying, and how the target was chosen.
#[derive(Debug, Clone)]
pub struct Explanation {
    pub estimate: Estimate,
    /// `None`: what is asked for has no form that could be routed.
    pub routing: Option<Explained>,
}

/// Why a generation was not accepted: a sentence that says what to do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    pub code: Code,
    pub message: String,
    /// The argument.
    pub field: Option<String>,
    pub provider: Option<String>,
    pub retry_after_ms: Option<u64>,
}

impl Refused {
    pub fn new(code: Code, message: impl Into<String>) -> Refused {
        Refused { code, message: message.into(), field: None, provider: None, retry_after_ms: None }
    }
    pub fn field(mut self, field: &str) -> Refused {
        self.field = Some(field.into());
        self
    }
}

/// The one vocabulary of error codes, in every face.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    InvalidRequest,
    UnsupportedParameter,
    ContentBlocked,
    Authentication,
    Permission,
    NotFound,
    RateLimited,
    QuotaExceeded,
    BudgetExceeded,
    ApprovalRequired,
    ProviderUnavailable,
    ProviderError,
    ProviderRejected,
    Timeout,
    OutcomeUnknown,
    StorageError,
    Cancelled,
    ShuttingDown,
    Internal,
}

impl Code {
    pub fn as_str(self) -> &'static str {
        use Code::*;
        match self {
            InvalidRequest => "invalid_request",
            UnsupportedParameter => "unsupported_parameter",
            ContentBlocked => "content_blocked",
            Authentication => "authentication",
            Permission => "permission",
            NotFound => "not_found",
            RateLimited => "rate_limited",
            QuotaExceeded => "quota_exceeded",
            BudgetExceeded => "budget_exceeded",
            ApprovalRequired => "approval_required",
            ProviderUnavailable => "provider_unavailable",
            ProviderError => "provider_error",
            ProviderRejected => "provider_rejected",
            Timeout => "timeout",
            OutcomeUnknown => "outcome_unknown",
            StorageError => "storage_error",
            Cancelled => "cancelled",
            ShuttingDown => "shutting_down",
            Internal => "internal",
        }
    }
}

/// One model as `list_models` shows it.
#[derive(Debug, Clone)]
pub struct ModelView {
    pub name: String,
    pub description: String,
    /// At least one target is on.
    pub on: bool,
    /// It is what a call without a model gets.
    pub default: bool,
    /// Instances that are on, in the order they are tried.
    pub providers: Vec<String>,
    /// The size rule in words.
    pub sizes: String,
    pub max_count: u32,
    /// Most reference images of a call.
    pub references: u32,
    pub formats: Vec<&'static str>,
    pub transparent: bool,
    pub styles: Vec<String>,
    /// Which optional arguments have an effect: `quality`, `seed`, `steps`, ...
    pub honours: Vec<&'static str>,
    /// Expected price of one image with its defaults.
    pub price: Option<Money>,
    pub targets: Vec<TargetView>,
    /// Why it is off.
    pub off: Option<String>,
}

/// A provider that is on, and what its default model offers to choose from.
#[derive(Debug, Clone)]
pub struct ProviderView {
    pub id: String,
    pub kind: String,
    /// Style id and what it means.
    pub styles: Vec<(String, String)>,
    /// Size and its shape: `1024x1024`, `1:1`.
    pub resolutions: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
pub struct TargetView {
    /// `instance/vendor-model`.
    pub to: String,
    pub on: bool,
    pub price: Option<Money>,
    pub reason: Option<String>,
}
