use super::capabilities::Overrides;
use indexmap::IndexMap;
use plugin_api::{
    Parameters,
    value::{Limits, Money, Rate, Secret, Span},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// One entry of `providers:`. The fields here are the gateway's own; all others are the plugin's.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Instance {
    /// Which plugin: `openai`, `workers-ai`, `placeholder`, ...
    pub kind: String,
    /// Calls in flight over all nodes; default: as many as there are workers.
    pub concurrency: Option<u32>,
    /// Calls over time.
    pub rate: Option<Rate>,
    /// Longest single call. Default 300 s.
    pub timeout: Option<Span>,
    /// The vendor model of calls that name this instance and no model.
    pub default_model: Option<String>,
    /// Tried when the vendor says that the model is not there.
    pub fallback_model: Option<String>,
    /// Several keys of one account, spread and cooled down after a 429.
    pub api_keys: Vec<ApiKey>,
    /// Further hosts that result URLs may name; loopback and http only when listed here. A host may carry a port.
    pub result_hosts: Vec<String>,
    pub limits: Limits,
    /// The plugin's own settings, credentials among them: serialised by their names only.
    #[serde(flatten, serialize_with = "masked")]
    pub plugin: Map<String, Value>,
}

fn masked<S: serde::Serializer>(settings: &Map<String, Value>, s: S) -> Result<S::Ok, S::Error> {
    s.collect_map(settings.keys().map(|name| (name, "***")))
}

impl std::fmt::Debug for Instance {
    /// The plugin's settings by their names: credentials are among them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Instance { kind, concurrency, rate, timeout, default_model, fallback_model, .. } = self;
        f.debug_struct("Instance")
            .field("kind", kind)
            .field("concurrency", concurrency)
            .field("rate", rate)
            .field("timeout", timeout)
            .field("default_model", default_model)
            .field("fallback_model", fallback_model)
            .field("api_keys", &self.api_keys)
            .field("result_hosts", &self.result_hosts)
            .field("limits", &self.limits)
            .field("plugin", &self.plugin.keys().collect::<Vec<_>>())
            .finish()
    }
}

impl Instance {
    /// The fields that never reach the plugin.
    pub const OWN: [&'static str; 9] = [
        "kind",
        "concurrency",
        "rate",
        "timeout",
        "default_model",
        "fallback_model",
        "api_keys",
        "result_hosts",
        "limits",
    ];
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ApiKey {
    pub id: String,
    pub value: Secret,
    pub value_file: Option<String>,
    pub weight: Option<u32>,
}

/// One entry of `models:`, a public name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Model {
    pub description: Option<String>,
    pub targets: Vec<Target>,
    pub strategy: Strategy,
    /// First match counts; overrides the built-in table.
    pub price: Vec<PriceRule>,
    /// Overrides of the built-in capabilities of its targets.
    pub capabilities: Overrides,
    /// Arguments a call takes when it leaves them out.
    pub defaults: Map<String, Value>,
}

/// `instance/vendor-model`, alone or with a weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Target {
    To(String),
    Weighted(Weighted),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Weighted {
    pub to: String,
    #[serde(default = "one")]
    pub weight: u32,
}

fn one() -> u32 {
    1
}

impl Target {
    pub fn to(&self) -> &str {
        match self {
            Target::To(to) => to,
            Target::Weighted(weighted) => &weighted.to,
        }
    }
    pub fn weight(&self) -> u32 {
        match self {
            Target::To(_) => one(),
            Target::Weighted(weighted) => weighted.weight,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    #[default]
    Ordered,
    Weighted,
    Cheapest,
    Fastest,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceRule {
    #[serde(default)]
    pub when: When,
    /// One image.
    pub image: Money,
}

/// Conditions, all of which must hold; a list means any of its values.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct When {
    pub team: Option<Words>,
    pub key: Option<Words>,
    pub tool: Option<Words>,
    pub model: Option<Words>,
    pub provider: Option<Words>,
    pub style: Option<Words>,
    pub size: Option<Words>,
    pub quality: Option<Words>,
    pub background: Option<Words>,
    pub references: Option<bool>,
    pub claims: BTreeMap<String, Words>,
}

pub type Words = plugin_api::value::OneOrMany<String>;

/// One entry of `routes:`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Route {
    pub name: String,
    pub when: When,
    /// Targets in order.
    pub to: Vec<Target>,
}

/// `routing:` how a target is chosen and what may be tried again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Routing {
    /// The first that is on.
    pub default_model: Vec<String>,
    /// An instance: calls without model and provider use its default model.
    pub default_provider: Option<String>,
    /// Limits and prices elsewhere convert at these rates.
    pub currency: String,
    /// Units of `currency` for one unit of another.
    pub exchange_rates: BTreeMap<String, f64>,
    pub parameters: Parameters,
    pub fallback_on: Vec<FallbackOn>,
    pub on_ambiguous: OnAmbiguous,
    /// `refuse`, or the money to reserve for a model without a price.
    pub unpriced: Unpriced,
    pub watermark: bool,
    pub retries: Retries,
    pub breaker: Breaker,
}

impl Default for Routing {
    fn default() -> Self {
        Routing {
            default_model: ["gpt-image", "flux-schnell", "seedream", "hunyuan", "placeholder"]
                .map(String::from)
                .to_vec(),
            default_provider: None,
            currency: "USD".into(),
            exchange_rates: BTreeMap::from([("CNY".into(), 0.14)]),
            parameters: Parameters::Strict,
            fallback_on: vec![FallbackOn::Refused, FallbackOn::RateLimited, FallbackOn::Unavailable],
            on_ambiguous: OnAmbiguous::Report,
            unpriced: Unpriced::Refuse,
            watermark: false,
            retries: Retries::default(),
            breaker: Breaker::default(),
        }
    }
}

/// A failure that costs nothing and moves the job to its next target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FallbackOn {
    /// The vendor said no: key, permission, quota, model, parameter.
    Refused,
    RateLimited,
    /// Down, overloaded, not reachable.
    Unavailable,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnAmbiguous {
    #[default]
    Report,
    /// May pay twice.
    RetryOnce,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unpriced {
    #[default]
    Refuse,
    #[serde(untagged)]
    Ceiling(Money),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retries {
    /// Attempts of a job in all.
    pub attempts: u32,
    /// First wait; it doubles, with full jitter.
    pub backoff: Span,
    pub max_backoff: Span,
    /// Longest wait a vendor may ask for.
    pub honour_retry_after: Span,
}

impl Default for Retries {
    fn default() -> Self {
        Retries {
            attempts: 3,
            backoff: Span::millis(500),
            max_backoff: Span::secs(30),
            honour_retry_after: Span::secs(120),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Breaker {
    /// So many failures within the window open it.
    pub failures: u32,
    pub window: Span,
    /// How long it stays open before one call may try.
    pub open: Span,
}

impl Default for Breaker {
    fn default() -> Self {
        Breaker { failures: 5, window: Span::secs(30), open: Span::secs(20) }
    }
}

/// The part of the configuration that chooses and calls vendors.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub providers: IndexMap<String, Instance>,
    pub models: IndexMap<String, Model>,
    pub routes: Vec<Route>,
    pub routing: Routing,
}
