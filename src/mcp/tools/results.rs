//! The results of the tools, key by key: the predecessor's first, with their names, types and order; ours after.
//!
//! Times are milliseconds UTC, sizes bytes, money micro-units.

use crate::{
    jobs::{JobView, Refused},
    store::{Image, State},
};
use plugin_api::{Adjustment, value::Money};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

/// Money as results show it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Price {
    pub amount_micros: i64,
    pub currency: String,
}

impl From<Money> for Price {
    fn from(money: Money) -> Price {
        Price { amount_micros: money.amount_micros, currency: money.currency().to_owned() }
    }
}

/// A stored image.
#[derive(Debug, Clone, Serialize)]
pub struct ImageObject {
    pub id: Uuid,
    pub job_id: Uuid,
    /// `image://{id}`.
    pub uri: String,
    pub url: String,
    pub mime_type: String,
    pub width: i32,
    pub height: i32,
    pub size_bytes: i64,
    pub sha256: String,
    pub file_name: String,
    /// When the link ends.
    pub expires_at: Option<i64>,
    pub revised_prompt: Option<String>,
    pub seed: Option<i64>,
    /// A line for a shell that saves the image.
    pub curl: String,
    /// Only for callers on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_path: Option<String>,
}

type Adjustments = Vec<Adjustment>;

#[derive(Debug, Serialize)]
pub struct GeneratedOne {
    pub success: bool,
    pub job_id: Uuid,
    pub status: &'static str,
    pub message: String,
    pub prompt: String,
    pub model: String,
    pub estimated_time_seconds: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_cost: Option<Price>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub adjustments: Adjustments,
}

#[derive(Debug, Serialize)]
pub struct GeneratedMany {
    pub success: bool,
    pub job_ids: Vec<Uuid>,
    pub count: usize,
    pub status: &'static str,
    pub message: String,
    pub prompt: String,
    pub model: String,
    pub estimated_time_seconds: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_cost: Option<Price>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub adjustments: Adjustments,
}

/// `get_job_status`, and a wait for one job that has not ended.
#[derive(Debug, Serialize)]
pub struct JobStatus {
    pub success: bool,
    pub job_id: Uuid,
    pub status: &'static str,
    pub image_url: Option<String>,
    pub error: Option<String>,
    pub prompt: String,
    pub model: String,
    pub created_at: i64,
    pub updated_at: i64,
    pub images: Vec<ImageObject>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deleted: Vec<DeletedImage>,
    pub code: Option<String>,
    pub cost: Option<Price>,
    /// The vendor's own percentage.
    pub progress: Option<f32>,
    pub queue_position: Option<u64>,
    pub attempts: Vec<AttemptObject>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub adjustments: Adjustments,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
pub struct AttemptObject {
    pub provider: String,
    pub model: String,
    pub outcome: Option<String>,
    pub started_at: i64,
    pub ended_at: Option<i64>,
}

#[derive(Debug, Serialize)]
pub struct FinishedOne {
    pub success: bool,
    pub status: &'static str,
    pub image_url: Option<String>,
    pub prompt: String,
    pub model: String,
    pub job_id: Uuid,
    pub images: Vec<ImageObject>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deleted: Vec<DeletedImage>,
    pub cost: Option<Price>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub adjustments: Adjustments,
}

#[derive(Debug, Serialize)]
pub struct FinishedMany {
    pub success: bool,
    pub count: usize,
    pub results: Vec<Finished>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub adjustments: Adjustments,
}

/// A finished job of several.
#[derive(Debug, Serialize)]
pub struct Finished {
    pub job_id: Uuid,
    pub image_url: Option<String>,
    pub prompt: String,
    pub model: String,
    pub images: Vec<ImageObject>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deleted: Vec<DeletedImage>,
    pub cost: Option<Price>,
}

/// A wait for several jobs that ended before they did.
#[derive(Debug, Serialize)]
pub struct StillRunning {
    pub success: bool,
    pub status: &'static str,
    pub count: usize,
    pub results: Vec<Finished>,
    pub pending: Vec<Pending>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedJob>,
    pub message: String,
    pub retry_after_ms: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub adjustments: Adjustments,
}

#[derive(Debug, Serialize)]
pub struct Pending {
    pub job_id: Uuid,
    pub status: &'static str,
}

#[derive(Debug, Serialize)]
pub struct FailedJob {
    pub job_id: Uuid,
    pub error: String,
    pub code: String,
}

/// Several jobs of which some failed.
#[derive(Debug, Serialize)]
pub struct FailedMany {
    pub success: bool,
    pub error: String,
    pub failed: Vec<FailedJob>,
    pub completed: Vec<Finished>,
    pub code: String,
}

/// Anything that did not work.
#[derive(Debug, Default, Serialize)]
pub struct Failure {
    pub success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<&'static str>,
    pub error: String,
    pub code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// When the image that was asked for was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<i64>,
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Failure {
        Failure {
            error: refused.message,
            code: refused.code.as_str().to_owned(),
            field: refused.field,
            provider: refused.provider,
            retry_after_ms: refused.retry_after_ms,
            ..Failure::default()
        }
    }
}

#[derive(Debug, Serialize)]
pub struct Generations {
    pub success: bool,
    pub total_count: u64,
    pub returned_count: usize,
    pub has_more: bool,
    pub limit: u64,
    pub offset: u64,
    pub generations: Vec<GenerationRow>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub total_is_minimum: bool,
    /// Leads to the next page of the same list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub adjustments: Adjustments,
}

#[derive(Debug, Serialize)]
pub struct GenerationRow {
    /// The image's.
    pub id: Uuid,
    pub job_id: Uuid,
    pub image_url: String,
    pub prompt: String,
    pub model: String,
    pub created_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_path: Option<String>,
    /// Only where it was deleted; `image_url` is empty then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<i64>,
}

#[derive(Debug, Serialize)]
pub struct JobList {
    pub success: bool,
    pub filter: &'static str,
    pub total_count: u64,
    pub returned_count: usize,
    pub has_more: bool,
    pub limit: u64,
    pub offset: u64,
    pub jobs: Vec<JobRow>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub total_is_minimum: bool,
    /// Leads to the next page of the same list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub adjustments: Adjustments,
}

#[derive(Debug, Serialize)]
pub struct JobRow {
    pub id: Uuid,
    pub status: &'static str,
    pub prompt: String,
    pub model: String,
    pub image_url: Option<String>,
    pub error: Option<String>,
    pub created_at: i64,
    pub updated_at: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deleted: Vec<DeletedImage>,
}

#[derive(Debug, Serialize)]
pub struct ImageData {
    pub success: bool,
    pub image: ImageObject,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub adjustments: Adjustments,
}

/// What is left of an image that was deleted.
#[derive(Debug, Serialize)]
pub struct DeletedImage {
    pub id: Uuid,
    pub deleted_at: i64,
}

/// `delete_image`.
#[derive(Debug, Serialize)]
pub struct ImageDeleted {
    pub success: bool,
    pub image_id: Uuid,
    pub job_id: Uuid,
    pub deleted_at: i64,
    pub message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub adjustments: Adjustments,
}

#[derive(Debug, Serialize)]
pub struct CancelledJob {
    pub success: bool,
    pub job_id: Uuid,
    pub status: &'static str,
    pub cancelled: bool,
    pub cost: &'static str,
    pub message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub adjustments: Adjustments,
}

#[derive(Debug, Serialize)]
pub struct Models {
    pub success: bool,
    pub models: Vec<ModelRow>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub adjustments: Adjustments,
}

#[derive(Debug, Serialize)]
pub struct ModelRow {
    pub name: String,
    pub description: String,
    pub on: bool,
    pub default: bool,
    pub providers: Vec<String>,
    pub sizes: String,
    pub max_count: u32,
    pub references: u32,
    pub formats: Vec<&'static str>,
    pub transparent: bool,
    pub styles: Vec<String>,
    pub price: Option<Price>,
    /// Why it is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The route that a plain call takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<TargetRow>>,
}

#[derive(Debug, Serialize)]
pub struct TargetRow {
    pub to: String,
    pub on: bool,
    pub price: Option<Price>,
    pub reason: Option<String>,
    /// It would be asked first.
    pub serves: bool,
}

#[derive(Debug, Serialize)]
pub struct Estimated {
    pub success: bool,
    pub model: String,
    pub target: Option<String>,
    pub count: u32,
    pub price: Option<Price>,
    /// What would be reserved.
    pub highest: Option<Price>,
    pub basis: String,
    /// `accepted`, `refused` or `asks`.
    pub outcome: &'static str,
    pub reasons: Vec<Reason>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub adjustments: Adjustments,
}

#[derive(Debug, Serialize)]
pub struct Reason {
    pub code: &'static str,
    pub error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
}

pub fn ms(us: i64) -> i64 {
    us.div_euclid(1_000)
}

/// The prompt, or nothing where retention has dropped it: the key keeps its type.
pub fn prompt(view: &JobView) -> String {
    view.job.prompt.clone().unwrap_or_default()
}

pub fn deleted(view: &JobView) -> Vec<DeletedImage> {
    let mark = |image: &Image| Some(DeletedImage { id: image.id, deleted_at: ms(image.deleted_us?) });
    view.deleted.iter().filter_map(mark).collect()
}

pub fn cost(view: &JobView) -> Option<Price> {
    view.job.cost.map(Price::from)
}

/// What was changed to fit the model, and by the vendor.
pub fn adjustments(view: &JobView) -> Adjustments {
    match &view.job.adjustments {
        Value::Array(items) => {
            items.iter().filter_map(|item| serde_json::from_value(item.clone()).ok()).collect()
        }
        _ => Vec::new(),
    }
}

/// Why a job has no image. A job that succeeded has no error, whatever went before.
pub fn error(view: &JobView) -> Option<(String, String)> {
    let job = &view.job;
    let (text, code) = match job.state {
        State::Failed => ("Generation failed", "internal"),
        State::Cancelled => ("The job was cancelled.", "cancelled"),
        _ => return None,
    };
    Some((
        job.error.clone().unwrap_or_else(|| text.into()),
        job.error_code.clone().unwrap_or_else(|| code.into()),
    ))
}

pub fn failed(view: &JobView) -> Option<FailedJob> {
    error(view).map(|(error, code)| FailedJob { job_id: view.job.id, error, code })
}
