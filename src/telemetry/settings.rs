use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `telemetry:` logs and traces.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub log: Log,
    pub otlp: Otlp,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    pub format: LogFormat,
    /// A level (`error` `warn` `info` `debug` `trace`) or a filter such as `info,sqlx=warn`.
    pub level: String,
    /// Whether prompts may appear in logs.
    pub prompts: bool,
}

impl Default for Log {
    fn default() -> Self {
        Log { format: LogFormat::Auto, level: "info".into(), prompts: false }
    }
}

/// `auto`: pretty on a terminal, JSON otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    #[default]
    Auto,
    Pretty,
    Json,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Otlp {
    /// Empty: no traces are sent.
    pub endpoint: String,
    pub sample: f64,
}

impl Default for Otlp {
    fn default() -> Self {
        Otlp { endpoint: String::new(), sample: 1.0 }
    }
}
