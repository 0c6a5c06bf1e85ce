//! The rows as the rest of the gateway sees them. Times are microseconds UTC, money is integer micro-units.

use plugin_api::value::Money;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Where a job stands. The last three are final and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    Queued,
    /// Waits for its next try, outside the claim's index.
    Delayed,
    Running,
    Completed,
    Failed,
    Cancelled,
}

impl State {
    const ALL: [(State, i16, &'static str); 6] = [
        (State::Queued, 0, "pending"),
        (State::Running, 1, "processing"),
        (State::Delayed, 2, "pending"),
        (State::Completed, 3, "completed"),
        (State::Failed, 4, "failed"),
        (State::Cancelled, 5, "cancelled"),
    ];
    /// The number in the database.
    pub fn code(self) -> i16 {
        State::ALL.iter().find(|s| s.0 == self).map_or(0, |s| s.1)
    }
    pub fn from_code(code: i16) -> State {
        State::ALL.iter().find(|s| s.1 == code).map_or(State::Failed, |s| s.0)
    }
    /// The name callers see: `pending`, `processing`, `completed`, `failed`, `cancelled`.
    pub fn public(self) -> &'static str {
        State::ALL.iter().find(|s| s.0 == self).map_or("failed", |s| s.2)
    }
    pub fn is_final(self) -> bool {
        matches!(self, State::Completed | State::Failed | State::Cancelled)
    }
    /// The states behind a public name; none for an unknown name.
    pub fn of_public(name: &str) -> Vec<State> {
        State::ALL.iter().filter(|s| s.2 == name).map(|s| s.0).collect()
    }
}

/// What a running job is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Submitting,
    /// A ticket is held.
    Waiting,
    Storing,
}

impl Phase {
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Submitting => "submitting",
            Phase::Waiting => "waiting",
            Phase::Storing => "storing",
        }
    }
}

/// One job: one vendor call, one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub id: Uuid,
    pub batch_id: Option<Uuid>,
    pub team: String,
    pub key_id: String,
    /// The tool that made it.
    pub tool: String,
    /// The normalised [`plugin_api::ImageRequest`], without the prompt.
    pub request: serde_json::Value,
    /// Dropped by retention.
    pub prompt: Option<String>,
    /// Public name of the model.
    pub model: String,
    /// Where it may go, in order, and which of them it stands at.
    pub plan: Plan,
    pub target: usize,
    /// The instance whose lane the job stands in.
    pub instance: String,
    pub file_prefix: Option<String>,
    pub state: State,
    pub phase: Option<Phase>,
    /// One of the gateway's error codes.
    pub error_code: Option<String>,
    /// A sentence for the caller.
    pub error: Option<String>,
    pub created_us: i64,
    pub updated_us: i64,
    pub finished_us: Option<i64>,
    /// By [`Store::steady_us`](super::Store::steady_us), as `next_run_us`.
    pub deadline_us: i64,
    pub lease_epoch: i64,
    /// Attempts that count against `routing.retries.attempts`.
    pub attempts_made: i32,
    pub next_run_us: i64,
    pub priority: i32,
    pub cancel_requested: bool,
    /// Highest price, held while the job is open.
    pub reserved: Option<Money>,
    /// What it came to.
    pub cost: Option<Money>,
    /// What was changed to fit the model, and what the vendor changed.
    pub adjustments: serde_json::Value,
}

/// Where a job may go, in order. Made at submit; the dearest target is what is reserved.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub targets: Vec<Target>,
}

/// One vendor model at one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    pub instance: String,
    pub vendor_model: String,
    /// `K`, `J` or `S`.
    pub class: String,
    /// How long one call usually takes: what fairness between teams is counted in.
    pub expected_ms: i64,
    /// Expected price of one image in micro-units of the job's currency; `None`: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<i64>,
    /// Where the price comes from and of which day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_source: Option<String>,
}

impl Job {
    /// The target the job stands at.
    pub fn target(&self) -> Option<&Target> {
        self.plan.targets.get(self.target)
    }
}

/// One call to a vendor, or the intent to make it.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    pub id: Uuid,
    pub job_id: Uuid,
    /// 1, 2, ... within the job.
    pub number: i32,
    pub epoch: i64,
    pub instance: String,
    pub vendor_model: String,
    /// `K`, `J` or `S`.
    pub class: String,
    pub started_us: i64,
    pub ticket: Option<serde_json::Value>,
    pub ticket_us: Option<i64>,
    pub ended_us: Option<i64>,
    /// `completed`, or the class of the failure.
    pub outcome: Option<String>,
    pub vendor_status: Option<i32>,
    pub vendor_code: Option<String>,
    pub vendor_request_id: Option<String>,
    /// `none`, `possible`, `certain`.
    pub spend: Option<String>,
}

/// One stored image.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    pub id: Uuid,
    pub job_id: Uuid,
    pub position: i32,
    pub team: String,
    /// Key of the object in storage.
    pub object_key: String,
    /// Sniffed.
    pub mime: String,
    pub width: i32,
    pub height: i32,
    pub bytes: i64,
    /// Hexadecimal.
    pub sha256: String,
    pub revised_prompt: Option<String>,
    pub seed: Option<i64>,
    pub created_us: i64,
    /// When it goes by itself; of a deleted one: when that is forgotten.
    pub expires_us: Option<i64>,
    /// When its owner deleted it: only this row is left, or will be.
    pub deleted_us: Option<i64>,
}

/// A reference image that a caller gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Upload {
    pub id: Uuid,
    pub team: String,
    pub key_id: String,
    pub object_key: String,
    pub mime: String,
    pub width: i32,
    pub height: i32,
    pub bytes: i64,
    pub created_us: i64,
    pub expires_us: i64,
}

/// A bearer key of the database. The bearer itself is nowhere.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Key {
    pub id: String,
    pub team: String,
    /// Keyed hash of the bearer, hexadecimal.
    pub hash: String,
    /// The first characters of the bearer, to recognise it by.
    pub hint: String,
    /// Space-separated.
    pub scopes: String,
    pub created_us: i64,
    pub expires_us: Option<i64>,
    pub revoked_us: Option<i64>,
    /// The bearer before the last rotation, and until when it is good.
    pub old: Option<(String, i64)>,
    /// To the minute.
    pub used_us: Option<i64>,
}

/// For tests.
#[cfg(test)]
impl Job {
    /// A queued job of `team` with a call of class S to each of these instances, accepted at the moment 0.
    pub fn sample(team: &str, instances: &[&str]) -> Job {
        let target = |instance: &&str| Target {
            instance: (*instance).into(),
            vendor_model: "m".into(),
            class: "S".into(),
            expected_ms: 5_000,
            price: None,
            price_source: None,
        };
        Job {
            id: Uuid::new_v4(),
            batch_id: None,
            team: team.into(),
            key_id: format!("{team}-key"),
            tool: "generate_image".into(),
            request: serde_json::json!({}),
            prompt: Some("a fox".into()),
            model: "m".into(),
            plan: Plan { targets: instances.iter().map(target).collect() },
            target: 0,
            instance: instances.first().copied().unwrap_or_default().into(),
            file_prefix: None,
            state: State::Queued,
            phase: None,
            error_code: None,
            error: None,
            created_us: 0,
            updated_us: 0,
            finished_us: None,
            deadline_us: 600_000_000,
            lease_epoch: 0,
            attempts_made: 0,
            next_run_us: 0,
            priority: 0,
            cancel_requested: false,
            reserved: None,
            cost: None,
            adjustments: serde_json::json!([]),
        }
    }
}
