//! The configuration of an instance.

use plugin_api::value::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const PATH: &str = "/api/v3";

/// An account at Volcengine Ark, or at ModelArk, its international sister.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Doubao")]
pub struct Settings {
    /// An Ark API key. Empty: the instance is off.
    pub api_key: Secret,
    /// Where `/images/generations` is added to; without a path, `/api/v3` is.
    pub base_url: String,
    /// The model of a request that names none.
    pub default_model: Option<String>,
    /// Tried once when the vendor says that it has no such model.
    pub fallback_model: Option<String>,
    /// How images come: inside the answer, or behind links that live 24 hours.
    pub response_format: ResponseFormat,
    /// Further ids that the account has (private endpoints `ep-...`, ids of ModelArk), each with the built-in model
    /// whose rules and price it follows.
    pub models: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResponseFormat {
    #[default]
    B64Json,
    Url,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            api_key: Secret::default(),
            base_url: "https://ark.cn-beijing.volces.com".into(),
            default_model: None,
            fallback_model: None,
            response_format: ResponseFormat::B64Json,
            models: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// # Errors
    /// A sentence that names the field.
    pub(crate) fn base(&self) -> Result<String, String> {
        let url = self.base_url.trim().trim_end_matches('/');
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(format!("base_url: `{url}` is not an http or https URL"));
        };
        if !matches!(scheme, "http" | "https") || rest.is_empty() || rest.contains(['?', '#']) {
            return Err(format!("base_url: `{url}` is not an http or https URL without a query"));
        }
        Ok(if rest.contains('/') { url.to_owned() } else { format!("{url}{PATH}") })
    }

    /// The host is that of ModelArk, outside China.
    pub(crate) fn is_abroad(&self) -> bool {
        let rest = self.base_url.split_once("://").map_or("", |(_, rest)| rest);
        let authority = rest.split('/').next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default().split(':').next().unwrap_or_default();
        host.to_ascii_lowercase().ends_with(".bytepluses.com")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(url: &str) -> Settings {
        Settings { base_url: url.into(), ..Settings::default() }
    }

    #[test]
    fn a_base_without_a_path_gets_the_vendors() {
        for (url, base) in [
            ("https://ark.cn-beijing.volces.com", "https://ark.cn-beijing.volces.com/api/v3"),
            ("https://ark.cn-beijing.volces.com/", "https://ark.cn-beijing.volces.com/api/v3"),
            ("https://ark.cn-beijing.volces.com/api/v3/", "https://ark.cn-beijing.volces.com/api/v3"),
            ("http://127.0.0.1:9/ark", "http://127.0.0.1:9/ark"),
        ] {
            assert_eq!(at(url).base().as_deref(), Ok(base));
        }
        for url in ["", "ark.cn-beijing.volces.com", "ftp://a", "https://", "https://a/b?c"] {
            assert!(at(url).base().unwrap_err().starts_with("base_url"), "{url}");
        }
    }

    #[test]
    fn abroad_is_told_by_the_host_alone() {
        assert!(at("https://ark.ap-southeast.bytepluses.com/api/v3").is_abroad());
        for url in [
            "https://ark.cn-beijing.volces.com",
            "https://bytepluses.com.example.com",
            "https://a/.bytepluses.com",
        ] {
            assert!(!at(url).is_abroad(), "{url}");
        }
    }
}
