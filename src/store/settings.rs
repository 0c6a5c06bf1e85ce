use plugin_api::value::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `database:` where jobs, keys and quotas live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `sqlite://gateway.db` (relative paths are under the data directory), `postgres://user:password@host/database` or
    /// `mysql://user:password@host/database` (MySQL and MariaDB).
    pub url: String,
    /// Connections for reading; writing has up to two of its own, and one hears news of other nodes (PostgreSQL).
    pub max_connections: u32,
    /// How long a call may wait for a connection.
    pub acquire_timeout: Span,
    /// How long one statement may take on a server; a transaction may take twice as long. SQLite waits up to 5 s for
    /// its lock.
    pub statement_timeout: Span,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            url: "sqlite://gateway.db".into(),
            max_connections: 16,
            acquire_timeout: Span::secs(5),
            statement_timeout: Span::secs(10),
        }
    }
}
