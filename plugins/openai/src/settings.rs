//! The configuration of an instance, and the dialect that follows from it.

use plugin_api::{Quality, Size, value::Secret};
use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) const OPENAI_URL: &str = "https://api.openai.com/v1";

/// One OpenAI account, or one server that speaks the same dialect.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Empty at OpenAI: the instance is off. Empty elsewhere: no credential is sent.
    pub api_key: Secret,
    /// Where `/images/generations` is added to.
    pub base_url: String,
    /// The model of a request that names none.
    pub default_model: Option<String>,
    /// `OpenAI-Organization` of every call.
    pub organization: Option<String>,
    /// `OpenAI-Project` of every call.
    pub project: Option<String>,
    /// How the key is sent.
    pub auth: Auth,
    /// Path of a generation, added to `base_url`; a query may follow (`?api-version=...`).
    pub path: String,
    /// Path of an edit.
    pub edit_path: String,
    /// How reference images are sent. Default: `multipart` for OpenAI's models, `none` for others.
    pub edits: Option<Edits>,
    /// The `response_format` of models that are not OpenAI's own (those refuse the field).
    pub send_response_format: ResponseFormat,
    /// Between width and height, for models that are not OpenAI's own.
    pub size_separator: String,
    /// Most images of one call, for models that are not OpenAI's own; many servers ignore a larger `n`.
    pub max_n: u32,
    /// Hosts that result URLs may name. Empty: only images inside the answer are taken.
    pub result_hosts: Vec<String>,
    /// Further models of the server.
    pub models: Vec<String>,
    /// Sizes of models that are not OpenAI's own, the default first. Empty: any.
    pub sizes: Vec<String>,
    /// Words for `quality` of models that are not OpenAI's own.
    pub qualities: Vec<Quality>,
    /// The server's names of fields that OpenAI does not have. A field without a name is not offered.
    pub extra_fields: ExtraFields,
}

/// How the key is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// `Authorization: Bearer ...`
    #[default]
    Bearer,
    /// `api-key: ...`
    ApiKey,
    None,
}

/// How reference images travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Edits {
    /// As files of a form.
    Multipart,
    /// As `data:` URLs in JSON; such a call has no mask.
    Json,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResponseFormat {
    #[default]
    B64Json,
    Url,
    /// The field is left out.
    Never,
}

impl ResponseFormat {
    pub(crate) fn as_str(self) -> Option<&'static str> {
        match self {
            ResponseFormat::B64Json => Some("b64_json"),
            ResponseFormat::Url => Some("url"),
            ResponseFormat::Never => None,
        }
    }
}

/// The server's own names for what OpenAI has no field for.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExtraFields {
    pub negative_prompt: Option<String>,
    pub seed: Option<String>,
    pub steps: Option<String>,
    pub guidance: Option<String>,
    pub watermark: Option<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            api_key: Secret::default(),
            base_url: OPENAI_URL.into(),
            default_model: None,
            organization: None,
            project: None,
            auth: Auth::Bearer,
            path: "/images/generations".into(),
            edit_path: "/images/edits".into(),
            edits: None,
            send_response_format: ResponseFormat::B64Json,
            size_separator: "x".into(),
            max_n: 1,
            result_hosts: Vec::new(),
            models: Vec::new(),
            sizes: Vec::new(),
            qualities: Vec::new(),
            extra_fields: ExtraFields::default(),
        }
    }
}

impl Settings {
    /// The instance talks to OpenAI itself, regional hosts included.
    pub(crate) fn is_openai(&self) -> bool {
        let after_scheme = self.base_url.split_once("://").map_or("", |(_, rest)| rest);
        let authority = after_scheme.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        let host = host.split(':').next().unwrap_or_default().to_ascii_lowercase();
        host == "api.openai.com" || host.ends_with(".api.openai.com")
    }

    /// # Errors
    /// A sentence that names the field.
    pub(crate) fn validate(&self) -> Result<(), String> {
        if !(self.base_url.starts_with("https://") || self.base_url.starts_with("http://")) {
            return Err(format!("base_url: `{}` is not an http(s) URL", self.base_url));
        }
        if !(1..=100).contains(&self.max_n) {
            return Err(format!("max_n: {} is not within 1 to 100", self.max_n));
        }
        self.listed_sizes().map(drop)
    }

    /// # Errors
    /// An entry that is no `WxH`.
    pub(crate) fn listed_sizes(&self) -> Result<Vec<(u32, u32)>, String> {
        let exact = |text: &String| match text.parse() {
            Ok(Size::Exact { width, height }) => Ok((width, height)),
            _ => Err(format!("sizes: `{text}` is not written like 1024x1024")),
        };
        self.sizes.iter().map(exact).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openai_is_told_by_its_host_alone() {
        let at = |url: &str| Settings { base_url: url.into(), ..Settings::default() }.is_openai();
        for url in [OPENAI_URL, "https://API.openai.com:443/v1", "https://eu.api.openai.com/v1"] {
            assert!(at(url), "{url}");
        }
        for url in [
            "https://images.example.com/api.openai.com",
            "https://api.openai.com.example.com/v1",
            "https://api.openai.com@example.com/v1",
            "http://127.0.0.1:8080/v1",
            "api.openai.com",
        ] {
            assert!(!at(url), "{url}");
        }
    }

    #[test]
    fn a_setting_that_does_not_exist_is_named() {
        let error = serde_json::from_value::<Settings>(serde_json::json!({"api_kye": "x"})).unwrap_err();
        assert!(error.to_string().contains("api_kye"), "{error}");
        let bad = Settings { sizes: vec!["big".into()], ..Settings::default() };
        assert!(bad.validate().unwrap_err().contains("sizes"));
        let bad = Settings { base_url: "api.openai.com".into(), ..Settings::default() };
        assert!(bad.validate().unwrap_err().contains("base_url"));
    }
}
