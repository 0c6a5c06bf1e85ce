//! The configuration of an instance.

use plugin_api::value::Secret;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// One account of Alibaba Model Studio in one region. A key belongs to its region.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Qwen")]
pub struct Settings {
    /// Empty: the instance is off.
    pub api_key: Secret,
    /// Where `/services/...` and `/tasks/...` are added to. Default: Beijing. Singapore:
    /// `https://dashscope-intl.aliyuncs.com/api/v1`; newer regions:
    /// `https://{workspace}.{region}.maas.aliyuncs.com/api/v1`.
    pub base_url: String,
    /// `X-DashScope-WorkSpace` of every call; empty: the key's default workspace.
    pub workspace: String,
    /// The model of a request that names none.
    pub default_model: Option<String>,
    /// By the vendor's name of a model: limits that differ from the built-in ones, and models that are not built in.
    pub models: BTreeMap<String, ModelSettings>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            api_key: Secret::default(),
            base_url: "https://dashscope.aliyuncs.com/api/v1".into(),
            workspace: String::new(),
            default_model: None,
            models: BTreeMap::new(),
        }
    }
}

/// What is different about a model; what is left out is as built in.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "QwenModel")]
pub struct ModelSettings {
    /// The built-in model that a new name behaves like.
    pub like: Option<String>,
    /// Most images of one call.
    pub max_n: Option<u32>,
    /// Most reference images.
    pub references: Option<u32>,
    /// Longest prompt in characters.
    pub prompt_max: Option<usize>,
    /// Least and most pixels in all, where the model takes free sizes.
    pub min_pixels: Option<u64>,
    pub max_pixels: Option<u64>,
    /// Longer by shorter side, where the model takes free sizes.
    pub max_ratio: Option<f64>,
}
