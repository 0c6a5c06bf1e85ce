use crate::{auth, edge, images, jobs, limits, mcp, providers, store, telemetry};
use indexmap::IndexMap;
use plugin_api::value::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The whole configuration. Every field has a default: an empty file runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The format's version, 1.
    pub version: Version,
    pub server: edge::Settings,
    pub mcp: mcp::Settings,
    pub auth: auth::Settings,
    pub limits: limits::Settings,
    pub teams: IndexMap<String, auth::Team>,
    pub providers: IndexMap<String, providers::Instance>,
    pub models: IndexMap<String, providers::Model>,
    pub routes: Vec<providers::Route>,
    pub routing: providers::Routing,
    pub jobs: jobs::Settings,
    pub database: store::Settings,
    pub redis: limits::RedisSettings,
    pub storage: images::Settings,
    pub webhooks: Vec<Webhook>,
    pub console: Console,
    pub apis: Apis,
    pub telemetry: telemetry::Settings,
    pub reload: Reload,
}

impl Config {
    /// The part that chooses and calls vendors.
    pub fn provider_settings(&self) -> providers::Settings {
        providers::Settings {
            providers: self.providers.clone(),
            models: self.models.clone(),
            routes: self.routes.clone(),
            routing: self.routing.clone(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Version(pub u32);

impl Default for Version {
    fn default() -> Self {
        Version(1)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Webhook {
    pub id: String,
    pub url: String,
    pub secret: Secret,
    pub secret_file: Option<String>,
    pub events: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Console {
    pub enabled: bool,
    pub path: String,
}

impl Default for Console {
    fn default() -> Self {
        Console { enabled: true, path: "/console".into() }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Apis {
    pub openai: bool,
    pub rest: bool,
}

impl Default for Apis {
    fn default() -> Self {
        Apis { openai: true, rest: true }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Reload {
    /// Reload by itself when the file changes.
    pub watch: bool,
}
