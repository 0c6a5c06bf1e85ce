use plugin_api::value::{Limits, Rate, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;

/// `limits:` the defaults for every key and team, and for the gateway as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub per_key: Limits,
    pub per_team: Limits,
    pub overall: Limits,
    pub per_address: PerAddress,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            per_key: Limits {
                requests: "600/min".parse().ok(),
                burst: Some(100),
                concurrent_jobs: Some(32),
                ..Limits::default()
            },
            per_team: Limits {
                concurrent_jobs: Some(64),
                queued_jobs: Some(1000),
                warn_at: Some(vec![0.8]),
                ..Limits::default()
            },
            overall: Limits::default(),
            per_address: PerAddress::default(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PerAddress {
    /// Requests with a missing or wrong key, by address.
    pub unauthenticated: Rate,
}

impl Default for PerAddress {
    fn default() -> Self {
        let count = NonZeroU32::MIN.saturating_add(29);
        PerAddress { unauthenticated: Rate { count, per: std::time::Duration::from_secs(60) } }
    }
}

/// `redis:` shared request rates and wake-ups; empty: in memory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RedisSettings {
    pub url: Secret,
}
