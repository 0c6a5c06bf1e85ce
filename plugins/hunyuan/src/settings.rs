//! The configuration of an instance: one Tencent account.

use plugin_api::value::{Secret, Span};
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

/// One Tencent account: a key for TokenHub, id and secret for the signed TC3 API, or both.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Hunyuan")]
pub struct Config {
    /// The key of TokenHub, for the models `hy-image-*`. Empty: they are off.
    pub api_key: Secret,
    /// TokenHub; `https://tokenhub-intl.tencentcloudmaas.com` outside China.
    pub base_url: String,
    /// SecretId of the TC3 API, for the models `hunyuan-*`. Empty: they are off.
    pub secret_id: Secret,
    /// SecretKey that belongs to `secret_id`.
    pub secret_key: Secret,
    /// The token of temporary credentials.
    pub session_token: Secret,
    /// Region of the TC3 API; the vendor documents no other.
    pub region: String,
    /// Another address of the TC3 API, for both of its services. Empty: `https://<service>.tencentcloudapi.com`.
    pub tc3_base_url: String,
    /// The model of a request that names none.
    pub default_model: Option<String>,
    /// How long after its submission a job is asked for first.
    pub poll_first: Span,
    /// How long after that it is asked for again; the vendor allows 20 queries a second.
    pub poll_every: Span,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            api_key: Secret::default(),
            base_url: "https://tokenhub.tencentmaas.com".into(),
            secret_id: Secret::default(),
            secret_key: Secret::default(),
            session_token: Secret::default(),
            region: "ap-guangzhou".into(),
            tc3_base_url: String::new(),
            default_model: None,
            poll_first: Span::secs(3),
            poll_every: Span::secs(2),
        }
    }
}

/// Where a signed call goes, in the parts that are signed.
#[derive(Debug, PartialEq)]
pub struct Endpoint {
    pub url: String,
    /// With its port where that is not the scheme's own, as HTTP sends it.
    pub host: String,
    pub path: String,
}

impl Config {
    pub fn has_tokenhub(&self) -> bool {
        !self.api_key.is_empty()
    }
    pub fn has_tc3(&self) -> bool {
        !self.secret_id.is_empty() && !self.secret_key.is_empty()
    }

    /// What is missing for the instance to be on.
    ///
    /// # Errors
    /// A setting that cannot be right; a sentence that names it.
    pub fn missing(&self) -> Result<Option<String>, String> {
        if !self.base_url.starts_with("https://") && !self.base_url.starts_with("http://") {
            return Err(format!("base_url: `{}` is not an http or https URL", self.base_url));
        }
        if !self.tc3_base_url.is_empty() {
            self.endpoint("")?;
        }
        if self.region.is_empty() || !self.region.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return Err(format!("region: `{}` is not a region such as ap-guangzhou", self.region));
        }
        if self.poll_every.is_zero() {
            return Err("poll_every: must be more than zero".into());
        }
        let half = |there: &str, other: &str, variable: &str| {
            format!("{there} is set and {other} is not: set {variable} as well, or TOKENHUB_API_KEY")
        };
        Ok(match (self.has_tokenhub(), self.secret_id.is_empty(), self.secret_key.is_empty()) {
            (true, ..) | (_, false, false) => None,
            (_, true, true) => Some(
                "TOKENHUB_API_KEY is not set (the current API), and neither are TENCENT_SECRET_ID and \
                 TENCENT_SECRET_KEY (the signed one that is being retired)"
                    .into(),
            ),
            (_, false, true) => Some(half("secret_id", "secret_key", "TENCENT_SECRET_KEY")),
            (_, true, false) => Some(half("secret_key", "secret_id", "TENCENT_SECRET_ID")),
        })
    }

    /// Where the calls of a TC3 service go.
    ///
    /// # Errors
    /// `tc3_base_url` is no URL.
    pub fn endpoint(&self, service: &str) -> Result<Endpoint, String> {
        let base = match self.tc3_base_url.as_str() {
            "" => format!("https://{service}.tencentcloudapi.com/"),
            base => base.to_owned(),
        };
        let bad = || format!("tc3_base_url: `{base}` is not an http or https URL without a query");
        let url = Url::parse(&base).map_err(|_| bad())?;
        if !matches!(url.scheme(), "http" | "https") || url.query().is_some() || url.fragment().is_some() {
            return Err(bad());
        }
        let name = url.host_str().ok_or_else(bad)?;
        let host = url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
        Ok(Endpoint { url: url.to_string(), host, path: url.path().to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signed_host_is_the_one_that_http_sends() {
        let at = |base: &str| Config { tc3_base_url: base.into(), ..Config::default() }.endpoint("aiart");
        let parts = |base: &str| at(base).map(|e| (e.host, e.path)).unwrap();
        assert_eq!(parts(""), ("aiart.tencentcloudapi.com".into(), "/".into()));
        assert_eq!(parts("http://127.0.0.1:9"), ("127.0.0.1:9".into(), "/".into()));
        assert_eq!(parts("https://Proxy.example.com:443/tc3"), ("proxy.example.com".into(), "/tc3".into()));
        for base in ["aiart.tencentcloudapi.com", "ftp://h/", "https://h/?a=b"] {
            assert!(at(base).unwrap_err().contains("tc3_base_url"), "{base}");
        }
    }
}
