use plugin_api::value::{ByteSize, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `jobs:` the queue and its workers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Attempts in flight on this node.
    pub workers: u32,
    /// A job that is not done by then fails.
    pub deadline: Span,
    /// How long a silent worker keeps its job.
    pub lease: Span,
    /// Jobs waiting, over all teams.
    pub queue_limit: u64,
    /// Rows of finished jobs; a row with an image lives as long as the image.
    pub retention: Span,
    pub idempotency_ttl: Span,
    /// Above zero: the same key with the same arguments inside it gets the same job.
    pub duplicate_window: Span,
    /// Reference images in memory at the same time, while vendors are asked; more calls wait.
    pub reference_memory: ByteSize,
    pub role: Role,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            workers: 64,
            deadline: Span::secs(600),
            lease: Span::secs(15),
            queue_limit: 10_000,
            retention: Span::secs(30 * 86_400),
            idempotency_ttl: Span::secs(86_400),
            duplicate_window: Span::secs(0),
            reference_memory: ByteSize::mib(96),
            role: Role::All,
        }
    }
}

/// What this process does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    #[default]
    All,
    /// Accepts calls, runs nothing.
    Api,
    /// Runs jobs, accepts no calls.
    Worker,
}
