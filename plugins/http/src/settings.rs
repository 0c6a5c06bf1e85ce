//! The description of a vendor.

use plugin_api::{
    ErrorClass,
    value::{OneOrMany, Secret, Span},
};
use plugin_declared::{
    errors::{Call, Errors},
    images::Images,
    models::Model,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

/// A vendor described by its HTTP calls. Texts may hold placeholders such as `{prompt}`.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Http")]
pub struct Settings {
    /// Addresses that begin with `/` are added to it. It may be any address, also inside.
    pub base_url: String,
    /// The credential that `{api_key}` stands for, in headers and bodies. Empty where it is used: the instance is off.
    #[serde(default)]
    pub api_key: Secret,
    /// Headers of every call.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The call that makes the image, and is paid.
    pub submit: Submit,
    /// How to ask for the image, where `submit` gives a ticket.
    pub poll: Option<Poll>,
    /// Where the images are in the last answer. Left out: the answer is the image itself.
    pub images: Option<Images>,
    /// What errors mean.
    #[serde(default)]
    pub errors: Errors,
    /// An address to GET that costs nothing and needs the credential: `doctor` tries it.
    pub check: Option<String>,
    /// The vendor's models, the default first.
    pub models: Vec<Model>,
    /// The model of a request that names none. Default: the first.
    pub default_model: Option<String>,
    /// Further hosts, besides those of `base_url`, to which a ticket that is an address may lead, such as
    /// `*.example.com`. They get the headers, so the credential too. https only.
    #[serde(default)]
    pub api_hosts: Vec<String>,
    /// Hosts that result URLs may name.
    #[serde(default)]
    pub result_hosts: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[schemars(rename = "HttpMethod")]
pub enum Method {
    #[serde(rename = "GET")]
    Get,
    #[default]
    #[serde(rename = "POST")]
    Post,
}

/// The paid call.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "HttpSubmit")]
pub struct Submit {
    #[serde(default)]
    pub method: Method,
    /// Where to: `/path` below `base_url`, or a whole address.
    pub url: String,
    /// Headers of this call alone.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The JSON body. A lone placeholder keeps its type; one without a value leaves its field out.
    pub body: Option<Value>,
    /// Instead of `body`: the fields of a form (multipart/form-data).
    pub form: Option<BTreeMap<String, Value>>,
    /// JSON pointer to the ticket in the answer: an id, or the address to ask at. The image is then polled for, also
    /// after a crash (class J).
    pub ticket: Option<String>,
    /// The header in which the vendor takes an idempotency key, by which a repeated call is billed once (class K).
    pub idempotency_header: Option<String>,
}

/// Asking for the image behind a ticket.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "HttpPoll")]
pub struct Poll {
    /// Where to ask; `{ticket}` is the ticket.
    pub url: String,
    #[serde(default = "get")]
    pub method: Method,
    /// The JSON body, where there is one.
    pub body: Option<Value>,
    /// JSON pointer to the word that says how far it is. Left out: status 202 means not yet, 200 done.
    pub status: Option<String>,
    /// Words that mean done. All other words, and no word, mean not yet.
    #[serde(default)]
    pub done: OneOrMany<String>,
    /// Words that mean failed, each with what that is.
    #[serde(default)]
    pub failed: BTreeMap<String, ErrorClass>,
    /// The vendor charges for jobs that failed: then none is bought again by itself.
    #[serde(default)]
    pub failed_costs: bool,
    /// JSON pointer to how much is done, from 0 to 1 or to 100.
    pub percent: Option<String>,
    /// Between two questions. Default 2s.
    #[serde(default = "every")]
    pub every: Span,
    /// Where the finished result is, when the answer that says done does not hold it.
    pub result: Option<String>,
}

fn get() -> Method {
    Method::Get
}

fn every() -> Span {
    Span::secs(2)
}

impl Settings {
    /// Between two polls.
    pub fn every(&self) -> Duration {
        self.poll.as_ref().map_or(Duration::from_secs(2), |poll| *poll.every)
    }
    /// Asking for a job of the vendor's.
    pub fn asking(&self) -> Call {
        Call::Poll { failed_costs: self.poll.as_ref().is_some_and(|poll| poll.failed_costs) }
    }
}
