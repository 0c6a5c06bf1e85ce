//! One configured instance at work: its plugin, caps, rate and health.

use super::{
    breaker::Breaker,
    settings::{Instance as Settings, Routing},
};
use crate::outbound::{Guard, HostList};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter, clock::Clock as _};
use parking_lot::Mutex;
use plugin_api::{Built, Capabilities, ErrorClass, Plugin, Provider, ProviderError};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Longest single call, unless the entry says otherwise.
const TIMEOUT: Duration = Duration::from_secs(300);

/// A configured provider, on or off.
pub struct Upstream {
    pub id: String,
    pub kind: String,
    /// `Err`: why it is off, and what would switch it on.
    pub provider: Result<Arc<dyn Provider>, String>,
    /// Calls in flight over all nodes.
    pub concurrency: Option<u32>,
    /// Longest single call.
    pub timeout: Duration,
    /// Where its result URLs may point.
    pub results: Guard,
    pub breaker: Breaker,
    default_model: Option<String>,
    rate: Option<DefaultDirectRateLimiter>,
    /// No call may go out before: the rate is used up, or the breaker is open.
    closed_until: Mutex<Option<Instant>>,
}

impl Upstream {
    /// # Errors
    /// The plugin does not accept its settings; a sentence that names the entry.
    pub fn build(
        id: &str,
        settings: &Settings,
        plugins: &[Plugin],
        routing: &Routing,
    ) -> Result<Upstream, String> {
        let mut own = settings.plugin.clone();
        let provider = match plugins.iter().find(|p| p.kind == settings.kind) {
            None => Err(format!("the plugin of kind `{}` is not part of this build", settings.kind)),
            Some(plugin) => {
                // A plugin that knows the field checks the name against its models.
                let schema = (plugin.schema)(&mut schemars::SchemaGenerator::default());
                let knows = |field: &str| schema.get("properties").is_some_and(|p| p.get(field).is_some());
                if let (true, Some(model)) = (knows("default_model"), &settings.default_model) {
                    own.insert("default_model".into(), model.clone().into());
                }
                if knows("result_hosts") && !settings.result_hosts.is_empty() {
                    own.insert("result_hosts".into(), settings.result_hosts.clone().into());
                }
                match (plugin.build)(own.into()).map_err(|e| format!("providers.{id}: {e}"))? {
                    Built::On(provider) => Ok(provider),
                    Built::Off(why) => Err(why),
                }
            }
        };
        let known = provider.as_ref().map(|on| on.result_hosts().to_vec()).unwrap_or_default();
        let hosts = HostList::new(&known, &settings.result_hosts);
        let hosts = hosts.map_err(|e| format!("providers.{id}.result_hosts: {e}"))?;
        Ok(Upstream {
            id: id.into(),
            kind: settings.kind.clone(),
            provider,
            concurrency: settings.concurrency,
            timeout: settings.timeout.map_or(TIMEOUT, |t| *t),
            results: Guard::results(hosts),
            breaker: Breaker::new(routing.breaker.clone()),
            default_model: settings.default_model.clone().filter(|m| !m.is_empty()),
            rate: settings.rate.and_then(|rate| {
                let each = rate.per.checked_div(rate.count.get())?;
                Some(RateLimiter::direct(Quota::with_period(each)?.allow_burst(rate.count)))
            }),
            closed_until: Mutex::new(None),
        })
    }

    pub fn is_on(&self) -> bool {
        self.provider.is_ok()
    }

    pub fn capabilities(&self, vendor_model: &str) -> Option<&Capabilities> {
        self.provider.as_ref().ok()?.capabilities(vendor_model)
    }

    /// The vendor model of calls that name no model.
    pub fn default_model(&self) -> Option<String> {
        self.default_model.clone().or_else(|| self.provider.as_ref().ok()?.models().into_iter().next())
    }

    /// Whether a call was turned away, and its wait is not over: no job needs to be given a slot just to hear so.
    pub fn is_closed(&self, now: Instant) -> bool {
        self.closed_until.lock().is_some_and(|until| now < until)
    }

    /// Whether a call may go out now; else how long to wait.
    pub fn admit(&self, now: Instant) -> Result<(), Duration> {
        let admitted = self.ask(now);
        *self.closed_until.lock() = admitted.err().map(|wait| now + wait);
        admitted
    }

    fn ask(&self, now: Instant) -> Result<(), Duration> {
        self.breaker.admit(now)?;
        let Some(rate) = &self.rate else { return Ok(()) };
        rate.check().map_err(|not_until| {
            self.breaker.neutral();
            not_until.wait_time_from(governor::clock::DefaultClock::default().now())
        })
    }

    /// Lets the breaker learn from how a call went.
    pub fn observe(&self, outcome: Result<(), &ProviderError>) {
        use ErrorClass::*;
        match outcome.map_err(|e| e.class) {
            Ok(()) => self.breaker.succeeded(),
            Err(
                Authentication | Permission | QuotaExhausted | Overloaded | Unavailable | Timeout
                | OutcomeUnknown,
            ) => {
                self.breaker.failed(Instant::now());
            }
            // Being told to slow down is no illness, and a bad answer is about one request.
            Err(_) => self.breaker.neutral(),
        }
    }
}
