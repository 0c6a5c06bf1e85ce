use plugin_api::value::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `storage.spool:` answers on their way from the vendor to storage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Folder, relative to the data directory.
    pub root: String,
    /// Bytes in flight at most; above it new attempts wait.
    pub limit: ByteSize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { root: "spool".into(), limit: ByteSize(2 << 30) }
    }
}
