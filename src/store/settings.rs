use plugin_api::value::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `database:` where jobs, keys and quotas live.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `sqlite://gateway.db` (relative paths are under the data directory).
    pub url: String,
    /// Connections for reading; writing has its own.
    pub max_connections: u32,
    /// How long a call may wait for a connection.
    pub acquire_timeout: Span,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { url: "sqlite://gateway.db".into(), max_connections: 16, acquire_timeout: Span::secs(5) }
    }
}
