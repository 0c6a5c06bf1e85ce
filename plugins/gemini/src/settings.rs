//! The configuration of an instance.

use plugin_api::value::Secret;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// One account of the Gemini API, or one project of Vertex AI.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Gemini")]
pub struct Settings {
    /// A key of the Gemini API, sent as `x-goog-api-key`. Empty, and no access_token either: the instance is off.
    pub api_key: Secret,
    /// An OAuth token, for Vertex AI: sent as a bearer instead of the key. It lives an hour.
    pub access_token: Secret,
    /// Where `/models/...` is added to. Vertex AI:
    /// `https://{region}-aiplatform.googleapis.com/v1/projects/{project}/locations/{region}/publishers/google`.
    pub base_url: String,
    /// The model of a request that names none.
    pub default_model: Option<String>,
    /// By the vendor's name of a model: limits that differ from the built-in ones, and models that are not built in.
    pub models: BTreeMap<String, ModelSettings>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            api_key: Secret::default(),
            access_token: Secret::default(),
            base_url: "https://generativelanguage.googleapis.com/v1beta".into(),
            default_model: None,
            models: BTreeMap::new(),
        }
    }
}

/// What is different about a model; what is left out is as built in.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "GeminiModel")]
pub struct ModelSettings {
    /// The built-in model that a new name behaves like.
    pub like: Option<String>,
    /// Most reference images.
    pub references: Option<u32>,
    /// Longest prompt in characters.
    pub prompt_max: Option<usize>,
}
