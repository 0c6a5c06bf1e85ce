//! `storage.options`: what each kind of storage takes, and what is wrong with what was given.

use super::{Delivery, Settings};
use plugin_api::value::{Secret, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kinds of storage in this build. `memory` forgets everything when the process ends.
pub(super) const KINDS: [&str; 4] = ["fs", "s3", "r2", "memory"];
/// Longest life of a link that a bucket signs (AWS Signature Version 4).
const LONGEST_PRESIGNED: Span = Span::secs(7 * 86_400);

/// The options of a kind of storage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Options {
    /// `fs`: the folder, relative to the data directory (default `images`). `s3`, `r2`: what stands before every
    /// key in the bucket (default nothing).
    pub root: Option<String>,
    /// `s3`, `r2`: the bucket. It must exist.
    pub bucket: Option<String>,
    /// `r2`: the account's id, from which the endpoint follows.
    pub account_id: Option<String>,
    /// `s3`: the service's URL; left out, Amazon's in `region`. `r2`: left out, the account's; a bucket under a
    /// jurisdiction has its own, such as `https://{account}.eu.r2.cloudflarestorage.com`.
    pub endpoint: Option<String>,
    /// `s3`: the bucket's region. Left out where there is an `endpoint`: `us-east-1`.
    pub region: Option<String>,
    /// Left out on `s3`: where Amazon's tools look, which are the variables `AWS_ACCESS_KEY_ID` and the like, the
    /// files in `~/.aws`, and the role of the machine or container.
    pub access_key_id: Secret,
    pub secret_access_key: Secret,
    /// With temporary credentials.
    pub session_token: Secret,
    /// Whether the bucket is named in the URL's path and not in its host. Left out: true where there is an
    /// `endpoint`, and on `r2`.
    pub path_style: Option<bool>,
    /// A PEM file of the authorities that signed the endpoint's certificate, for a service of one's own. They are
    /// believed besides the machine's.
    pub ca_file: Option<String>,
    /// Sent with every write, for the service to compare. Left out: none.
    pub checksum: Option<Checksum>,
    #[serde(flatten)]
    pub unknown: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Checksum {
    Crc32c,
    Md5,
}

impl Options {
    /// The options of a kind.
    pub fn of(kind: &str) -> &'static [&'static str] {
        match kind {
            "s3" => &[
                "root",
                "bucket",
                "endpoint",
                "region",
                "access_key_id",
                "secret_access_key",
                "session_token",
                "path_style",
                "ca_file",
                "checksum",
            ],
            "r2" => &[
                "root",
                "bucket",
                "account_id",
                "endpoint",
                "access_key_id",
                "secret_access_key",
                "session_token",
                "ca_file",
                "checksum",
            ],
            // `memory` has no use for it, and the default has it.
            _ => &["root"],
        }
    }

    /// The names of those that were given.
    fn given(&self) -> Vec<&str> {
        let fields = [
            ("root", self.root.is_some()),
            ("bucket", self.bucket.is_some()),
            ("account_id", self.account_id.is_some()),
            ("endpoint", self.endpoint.is_some()),
            ("region", self.region.is_some()),
            ("access_key_id", !self.access_key_id.is_empty()),
            ("secret_access_key", !self.secret_access_key.is_empty()),
            ("session_token", !self.session_token.is_empty()),
            ("path_style", self.path_style.is_some()),
            ("ca_file", self.ca_file.is_some()),
            ("checksum", self.checksum.is_some()),
        ];
        let known = fields.into_iter().filter(|(_, given)| *given).map(|(name, _)| name);
        known.chain(self.unknown.keys().map(String::as_str)).collect()
    }
}

/// What is wrong with a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Such as `storage.options.bucket`.
    pub path: String,
    pub message: String,
    /// The name is wrong, and these were possible.
    pub instead: &'static [&'static str],
}

impl Settings {
    /// Everything that can be told to be wrong without a look at the storage itself.
    pub fn flaws(&self) -> Vec<Flaw> {
        let mut flaws = Vec::new();
        let mut wrong = |path: &str, message: &str| {
            flaws.push(Flaw { path: format!("storage.{path}"), message: message.into(), instead: &[] });
        };
        if self.delivery == Delivery::Presigned {
            if matches!(self.kind.as_str(), "fs" | "memory") {
                wrong("delivery", "`fs` has no presigned links: use `signed`, `public` or `base_url`");
            } else if self.signed_url_ttl > LONGEST_PRESIGNED {
                wrong("signed_url_ttl", "links that a bucket signs end after 7d at the latest");
            }
        }
        if self.delivery == Delivery::BaseUrl && self.base_url.is_none() {
            wrong("delivery", "`base_url` needs `storage.base_url`");
        }
        if !KINDS.contains(&self.kind.as_str()) {
            let message = format!("`{}` is no kind of storage of this build", self.kind);
            flaws.push(Flaw { path: "storage.kind".into(), message, instead: &KINDS });
            return flaws;
        }
        self.options_flaws(&mut flaws);
        flaws
    }

    fn options_flaws(&self, flaws: &mut Vec<Flaw>) {
        let (kind, options) = (self.kind.as_str(), &self.options);
        let possible = Options::of(kind);
        for name in options.given().into_iter().filter(|name| !possible.contains(name)) {
            let message = format!("unknown option of `{kind}`");
            flaws.push(Flaw { path: format!("storage.options.{name}"), message, instead: possible });
        }
        let mut wrong = |field: &str, message: String| {
            flaws.push(Flaw { path: format!("storage.options{field}"), message, instead: &[] });
        };
        if kind == "fs" && options.root.as_deref() == Some("") {
            wrong(".root", "expected a folder".into());
        }
        if !matches!(kind, "s3" | "r2") {
            return;
        }
        if options.bucket.is_none() {
            wrong("", "`bucket` is missing".into());
        }
        let url = |text: &str| url::Url::parse(text).ok().filter(|url| url.has_host());
        match &options.endpoint {
            Some(text) if !url(text).is_some_and(|url| matches!(url.scheme(), "http" | "https")) => {
                wrong(".endpoint", "not a URL such as https://s3.example.com".into());
            }
            None if kind == "r2" && options.account_id.is_none() => {
                wrong("", "`account_id` is missing".into());
            }
            None if kind == "s3" && options.region.is_none() => {
                wrong("", "`region` is missing, or `endpoint` for a service that is not Amazon's".into());
            }
            _ => {}
        }
        let (id, secret) = (options.access_key_id.is_empty(), options.secret_access_key.is_empty());
        for (missing, name) in [(id, "access_key_id"), (secret, "secret_access_key")] {
            if missing && (kind == "r2" || !(id && secret)) {
                wrong("", format!("`{name}` is missing, or empty"));
            }
        }
        if options.root.as_deref().is_some_and(|root| root.split('/').any(|part| matches!(part, "." | "..")))
        {
            wrong(".root", "a prefix of keys has no `.` and `..`".into());
        }
    }
}
