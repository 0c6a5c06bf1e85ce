use plugin_api::value::{Limits, Money, OneOrMany, Secret, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `auth:` who may call.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub mode: Mode,
    /// Keys owned by the file; others are made with `image-gateway keys create`.
    pub keys: Vec<FileKey>,
    pub issuers: Vec<Issuer>,
    pub oauth: Oauth,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    #[default]
    Keys,
    Jwt,
    /// Keys and JWTs.
    Any,
    /// Nobody is asked; loopback only.
    None,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FileKey {
    pub id: String,
    /// Default: `default`.
    pub team: Option<String>,
    /// The bearer itself. Empty, and no `key_sha256`: this key is off.
    pub key: Secret,
    pub key_file: Option<String>,
    /// SHA-256 of the bearer, 64 hexadecimal digits.
    pub key_sha256: Option<String>,
    /// Default: all but `admin`.
    pub scopes: Option<Vec<Scope>>,
    pub limits: Limits,
    /// Last day it is good, `YYYY-MM-DD`, or an RFC 3339 time.
    pub expires: Option<String>,
    /// Models it may use, as globs; default all of its team's.
    pub models: Option<Vec<String>>,
}

/// What a principal may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Scope {
    #[serde(rename = "images:read")]
    ImagesRead,
    #[serde(rename = "images:write")]
    ImagesWrite,
    #[serde(rename = "usage:read")]
    UsageRead,
    #[serde(rename = "admin")]
    Admin,
}

impl Scope {
    pub const ALL: [Scope; 4] = [Scope::ImagesRead, Scope::ImagesWrite, Scope::UsageRead, Scope::Admin];
    pub const fn as_str(self) -> &'static str {
        match self {
            Scope::ImagesRead => "images:read",
            Scope::ImagesWrite => "images:write",
            Scope::UsageRead => "usage:read",
            Scope::Admin => "admin",
        }
    }
}

impl std::str::FromStr for Scope {
    type Err = String;
    fn from_str(text: &str) -> Result<Scope, String> {
        let all = Scope::ALL.map(Scope::as_str).join(", ");
        Scope::ALL
            .into_iter()
            .find(|s| s.as_str() == text)
            .ok_or(format!("`{text}` is no scope; there are {all}"))
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Issuer {
    /// A URL, letter by letter as it stands in `iss`.
    pub issuer: String,
    /// What `aud` must hold, best the URL of the endpoint; one of several.
    pub audience: OneOrMany<String>,
    /// https, or http on loopback. Or `jwks_file`.
    pub jwks_url: Option<String>,
    /// Relative to the folder of the configuration file.
    pub jwks_file: Option<String>,
    /// What its tokens are signed with. A key without `alg` is used with the first that fits it.
    pub algorithms: Vec<String>,
    pub claims: Claims,
    /// Words of the issuer for scopes of the gateway. The gateway's own words count too.
    pub scope_map: BTreeMap<String, Scope>,
    /// Media types (`typ`) of its access tokens. Default: `at+jwt` and `JWT`; a token without one is a `JWT`.
    pub types: Vec<String>,
    /// Between clocks; default 30 s, at most 60 s.
    pub leeway: Option<Span>,
    /// A key that was taken away is refused after this. Default 10 min.
    pub jwks_refresh: Option<Span>,
    /// How long keys count while they cannot be fetched. Default 24 h.
    pub jwks_max_stale: Option<Span>,
}

impl Issuer {
    /// Those of `algorithms` that have a public key.
    pub(super) fn algorithms(&self) -> Vec<jsonwebtoken::Algorithm> {
        let known = self.algorithms.iter().filter(|name| !name.starts_with("HS"));
        known.filter_map(|name| name.parse().ok()).collect()
    }
}

/// Which claims of a token say who bears it: names, paths such as `realm_access.roles`, or fixed values.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Claims {
    /// Default: `team`. It must be an entry of `teams`.
    pub team: Option<Claim>,
    /// Default: `sub`.
    pub subject: Option<Claim>,
    /// Default: `scope`, else `scp`.
    pub scopes: Option<Claim>,
}

/// The name of a claim, or a fixed value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Claim {
    Name(String),
    Fixed { value: String },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Oauth {
    pub enabled: bool,
    /// `key`, or the URL of a configured issuer.
    pub sign_in: Vec<String>,
}

impl Default for Oauth {
    fn default() -> Self {
        Oauth { enabled: false, sign_in: vec!["key".into()] }
    }
}

/// `teams:` one entry each; `default` always exists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Team {
    /// Share of scarce providers.
    pub weight: u32,
    /// Calendar of the quota windows, an IANA name.
    pub time_zone: String,
    /// Models it may use, as globs.
    pub models: Vec<String>,
    /// Tools it is offered, as globs.
    pub tools: Vec<String>,
    pub limits: Limits,
    pub retention: Retention,
    /// One call estimated above this needs a yes.
    pub approve_above: Option<Money>,
}

impl Default for Team {
    fn default() -> Self {
        Team {
            weight: 1,
            time_zone: "UTC".into(),
            models: vec!["*".into()],
            tools: vec!["*".into()],
            limits: Limits::default(),
            retention: Retention::default(),
            approve_above: None,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// `forever` (default) or a duration.
    pub images: KeepImages,
    /// `none`, `hash`, or a duration; default as long as the job's row.
    pub prompts: Option<KeepPrompts>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeepImages {
    #[default]
    Forever,
    #[serde(untagged)]
    For(Span),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeepPrompts {
    None,
    Hash,
    #[serde(untagged)]
    For(Span),
}
