use super::{CountWindow, Rate, SpendWindow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One value or a list of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    Many(Vec<T>),
    One(T),
}

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        OneOrMany::Many(Vec::new())
    }
}

impl<T> OneOrMany<T> {
    pub fn as_slice(&self) -> &[T] {
        match self {
            OneOrMany::Many(all) => all,
            OneOrMany::One(one) => std::slice::from_ref(one),
        }
    }
}

/// What a team, a key or an instance may use. Left out means no limit of its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Requests over time.
    pub requests: Option<Rate>,
    /// Requests that may come at once; default: as many as `requests` counts.
    pub burst: Option<u32>,
    /// Jobs running at the same time; further ones wait.
    pub concurrent_jobs: Option<u32>,
    /// Jobs waiting at the same time; further calls are refused.
    pub queued_jobs: Option<u64>,
    /// Images per calendar window, one or several.
    pub images: OneOrMany<CountWindow>,
    /// Money per calendar window, one or several.
    pub spend: OneOrMany<SpendWindow>,
    /// Shares of a quota at which a warning is given; left out: at 0.8.
    pub warn_at: Option<Vec<f64>>,
}
