//! One configured instance at work: its plugin, caps, rate and health.

use super::{
    breaker::Breaker,
    keys::{Key, Keys},
    settings::{Instance as Settings, Routing},
};
use crate::outbound::{Guard, HostList};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter, clock::Clock as _};
use parking_lot::Mutex;
use plugin_api::{
    Built, Capabilities, Class, ErrorClass, Plugin, Provider, ProviderError, Retry, Spend, value::Limits,
};
use serde_json::{Map, Value};
use std::{
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};
use uuid::Uuid;

/// Longest single call, unless the entry says otherwise.
const TIMEOUT: Duration = Duration::from_secs(300);
/// What a new call's time counts in the mean of a model.
const SHARE: f64 = 0.3;
/// How long a measured time is believed: a vendor that was slow gets another chance.
const BELIEVED: Duration = Duration::from_secs(600);
/// What plugins call the credential that `api_keys` may have several of.
const CREDENTIALS: [&str; 2] = ["api_key", "api_token"];

/// A configured provider, on or off.
pub struct Upstream {
    pub id: String,
    pub kind: String,
    /// `Err`: why it is off, and what would switch it on. With several keys, the plugin with the first.
    pub provider: Result<Arc<dyn Provider>, String>,
    keys: Keys,
    /// Calls in flight over all nodes.
    pub concurrency: Option<u32>,
    /// Longest single call.
    pub timeout: Duration,
    /// Where its result URLs may point.
    pub results: Guard,
    pub breaker: Breaker,
    /// What it was built of, with [`Breaker::is_built_of`].
    settings: Settings,
    default_model: Option<String>,
    rate: Option<DefaultDirectRateLimiter>,
    /// No call may go out before: the rate is used up, or the breaker is open.
    closed_until: Mutex<Option<Instant>>,
    /// The vendor asked for no calls before.
    asked_until: Mutex<Option<Instant>>,
    /// Longest such wish that is granted.
    longest_wait: Duration,
    /// By vendor model: how long its calls took, and when that was last seen.
    speeds: Mutex<HashMap<String, (f64, Instant)>>,
}

/// Why an instance takes no calls for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// The breaker is open, or one call is trying.
    Broken,
    /// The vendor asked for it.
    Asked(Duration),
    /// So do all its keys.
    Keys(Duration),
}

impl fmt::Display for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = |wait: &Duration| wait.as_secs_f64().ceil();
        match self {
            Rest::Broken => f.write_str("its circuit breaker is open after too many failures"),
            Rest::Asked(wait) => write!(f, "its vendor asked for no calls for another {} s", s(wait)),
            Rest::Keys(wait) => write!(f, "all its keys rest, the next one for another {} s", s(wait)),
        }
    }
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
        let keys = match plugins.iter().find(|p| p.kind == settings.kind) {
            None => Err(format!("the plugin of kind `{}` is not part of this build", settings.kind)),
            Some(plugin) => {
                let schema = (plugin.schema)(&mut schemars::SchemaGenerator::default());
                let knows = |field: &str| schema.get("properties").is_some_and(|p| p.get(field).is_some());
                let own = plugin_settings(id, settings, knows)?;
                match settings.api_keys.is_empty() {
                    true => build(id, plugin, own)?.map(|provider| vec![Key::new("", provider, 1)]),
                    false => several(id, settings, plugin, &own, knows)?,
                }
            }
        };
        let provider = match &keys {
            Ok(keys) => keys.first().map(|key| key.provider.clone()).ok_or_else(|| "it has no key".into()),
            Err(why) => Err(why.clone()),
        };
        let known = provider.as_ref().map(|on| on.result_hosts().to_vec()).unwrap_or_default();
        let hosts = HostList::new(&known, &settings.result_hosts);
        let hosts = hosts.map_err(|e| format!("providers.{id}.result_hosts: {e}"))?;
        Ok(Upstream {
            id: id.into(),
            kind: settings.kind.clone(),
            provider,
            keys: Keys::new(keys.unwrap_or_default()),
            concurrency: settings.concurrency,
            timeout: settings.timeout.map_or(TIMEOUT, |t| *t),
            results: Guard::results(hosts),
            breaker: Breaker::new(routing.breaker.clone()),
            settings: settings.clone(),
            default_model: settings.default_model.clone().filter(|m| !m.is_empty()),
            rate: settings.rate.and_then(|rate| {
                let each = rate.per.checked_div(rate.count.get())?;
                Some(RateLimiter::direct(Quota::with_period(each)?.allow_burst(rate.count)))
            }),
            closed_until: Mutex::new(None),
            asked_until: Mutex::new(None),
            longest_wait: *routing.retries.honour_retry_after,
            speeds: Mutex::default(),
        })
    }

    /// Whether these settings would build the same once more.
    pub fn is_built_of(&self, settings: &Settings, routing: &Routing) -> bool {
        self.settings == *settings
            && self.breaker.is_built_of(&routing.breaker)
            && self.longest_wait == *routing.retries.honour_retry_after
    }

    /// Images and money over time, of this instance alone.
    pub fn limits(&self) -> &Limits {
        &self.settings.limits
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

    /// Tried when the vendor says that it has no such model.
    pub fn fallback_model(&self) -> Option<&str> {
        self.settings.fallback_model.as_deref().filter(|model| !model.is_empty())
    }

    /// Whether a call was turned away, and its wait is not over: no job needs to be given a slot just to hear so.
    pub fn is_closed(&self, now: Instant) -> bool {
        self.closed_until.lock().is_some_and(|until| now < until)
    }

    /// Whether another target is the better choice for a new job, and why.
    pub fn rest(&self, now: Instant) -> Option<Rest> {
        if self.breaker.is_open(now) {
            return Some(Rest::Broken);
        }
        let asked = self.asked_until.lock().filter(|until| now < *until);
        asked.map(|until| Rest::Asked(until - now)).or_else(|| self.keys.rest(now).map(Rest::Keys))
    }

    /// The account's keys, each with the plugin that was built with it. Empty: the instance is off.
    pub fn keys(&self) -> &[Arc<Key>] {
        self.keys.all()
    }

    /// Ids of keys that the vendor refused.
    pub fn refused_keys(&self, now: Instant) -> Vec<&str> {
        self.keys.refused(now)
    }

    /// How long calls of a model took lately; `None`: nobody knows.
    pub fn latency(&self, vendor_model: &str, now: Instant) -> Option<Duration> {
        let (mean, seen) = *self.speeds.lock().get(vendor_model)?;
        (now.saturating_duration_since(seen) < BELIEVED).then(|| Duration::from_secs_f64(mean))
    }

    /// A call of a model brought its images after so long.
    pub fn took(&self, vendor_model: &str, time: Duration, now: Instant) {
        let time = time.as_secs_f64();
        let mut speeds = self.speeds.lock();
        let before = speeds.get(vendor_model).filter(|(_, seen)| now.duration_since(*seen) < BELIEVED);
        let mean = before.map_or(time, |(mean, _)| mean + SHARE * (time - mean));
        speeds.insert(vendor_model.to_owned(), (mean, now));
    }

    /// The key by which an attempt may call now; else how long to wait.
    pub fn admit(&self, attempt: Uuid, class: &str, now: Instant) -> Result<Arc<Key>, Duration> {
        let admitted = self.ask(attempt, class, now);
        *self.closed_until.lock() = admitted.as_ref().err().map(|wait| now + *wait);
        admitted
    }

    fn ask(&self, attempt: Uuid, class: &str, now: Instant) -> Result<Arc<Key>, Duration> {
        if let Some(until) = *self.asked_until.lock()
            && now < until
        {
            return Err(until - now);
        }
        // A vendor knows an idempotency key by the account's key that came with it.
        let key = self.keys.choose(attempt, class == Class::K.as_str(), now)?;
        self.breaker.admit(now)?;
        let Some(rate) = &self.rate else { return Ok(key) };
        match rate.check() {
            Ok(()) => Ok(key),
            Err(not_until) => {
                self.breaker.neutral();
                Err(not_until.wait_time_from(governor::clock::DefaultClock::default().now()))
            }
        }
    }

    /// The key that a ticket came by. One that is gone is stood in for by another of the account.
    pub fn key_of_ticket(&self, id: Option<&str>, attempt: Uuid) -> Option<Arc<Key>> {
        if let Some(key) = id.and_then(|id| self.keys.named(id)) {
            return Some(key.clone());
        }
        if let Some(id) = id.filter(|_| self.keys.several()) {
            tracing::warn!(provider.id = %self.id, key.id = id, "the key of a ticket is gone; another one asks for it");
        }
        self.keys.first(attempt)
    }

    /// Learns from how a call went: the breaker its health, and every other job the wait that the vendor asked for.
    /// Where it failed for its key alone, the error comes back as one that another key will not meet.
    ///
    /// # Errors
    /// That of `outcome`.
    pub fn observe<T>(&self, key: &Key, outcome: Result<T, ProviderError>) -> Result<T, ProviderError> {
        use ErrorClass::*;
        let now = Instant::now();
        let mut error = match outcome {
            Ok(done) => {
                self.breaker.succeeded();
                self.keys.accepted(key);
                return Ok(done);
            }
            Err(error) => error,
        };
        let asked = self.asked_wait(&error);
        if self.keys.several() && matches!(error.class, RateLimited | Authentication) {
            let another = match error.class {
                RateLimited => self.keys.limited(key, asked, now),
                _ => {
                    tracing::error!(
                        provider.id = %self.id, key.id = %key.id, message = %error.message,
                        "the vendor refused this key; it is left out for 10 minutes, or until a reload changes its provider"
                    );
                    self.keys.refuse(key, now)
                }
            };
            if another {
                self.breaker.neutral();
                if error.spend == Spend::None {
                    (error.retry, error.retry_after) = (Retry::Later, Some(Duration::ZERO));
                }
                return Err(error);
            }
        } else if let Some(wait) = asked {
            let until = now + wait;
            let mut asked = self.asked_until.lock();
            *asked = (*asked).max(Some(until));
            let mut closed = self.closed_until.lock();
            *closed = (*closed).max(Some(until));
        }
        match error.class {
            Authentication | Permission | QuotaExhausted | Overloaded | Unavailable | Timeout
            | OutcomeUnknown => self.breaker.failed(now),
            // Being told to slow down is no illness, and a bad answer is about one request.
            _ => self.breaker.neutral(),
        }
        Err(error)
    }

    /// For how long a refusal closes the instance, or the key, to everybody: being told to slow down is about the
    /// account. A wait beyond any patience counts as the longest that is granted.
    fn asked_wait(&self, error: &ProviderError) -> Option<Duration> {
        use ErrorClass::*;
        match (error.class, error.retry) {
            (RateLimited, Retry::Elsewhere) => Some(self.longest_wait),
            (RateLimited | Overloaded | Unavailable, _) => {
                error.retry_after.map(|wait| wait.min(self.longest_wait))
            }
            _ => None,
        }
    }
}

/// What goes to the plugin: its own settings, and those of the gateway's that it knows, too.
fn plugin_settings(
    id: &str,
    settings: &Settings,
    knows: impl Fn(&str) -> bool,
) -> Result<Map<String, Value>, String> {
    let mut own = settings.plugin.clone();
    // A plugin that knows the field checks the name against its models.
    if let (true, Some(model)) = (knows("default_model"), &settings.default_model) {
        own.insert("default_model".into(), model.clone().into());
    }
    let fallback = settings.fallback_model.as_deref().filter(|model| !model.is_empty());
    match fallback {
        Some(model) if knows("fallback_model") => {
            own.insert("fallback_model".into(), model.into());
        }
        Some(_) => {
            let kind = &settings.kind;
            return Err(format!(
                "providers.{id}.fallback_model: the kind `{kind}` has none; give the model a second target"
            ));
        }
        None => {}
    }
    if knows("result_hosts") && !settings.result_hosts.is_empty() {
        own.insert("result_hosts".into(), settings.result_hosts.clone().into());
    }
    Ok(own)
}

/// On or off; `Err`: the plugin does not accept its settings.
fn build(
    id: &str,
    plugin: &Plugin,
    own: Map<String, Value>,
) -> Result<Result<Arc<dyn Provider>, String>, String> {
    match (plugin.build)(own.into()).map_err(|e| format!("providers.{id}: {e}"))? {
        Built::On(provider) => Ok(Ok(provider)),
        Built::Off(why) => Ok(Err(why)),
    }
}

/// The plugin once per key that has a value.
fn several(
    id: &str,
    settings: &Settings,
    plugin: &Plugin,
    own: &Map<String, Value>,
    knows: impl Fn(&str) -> bool,
) -> Result<Result<Vec<Key>, String>, String> {
    let wrong = |what: String| format!("providers.{id}.api_keys: {what}");
    let Some(field) = CREDENTIALS.into_iter().find(|field| knows(field)) else {
        return Err(wrong(format!("the kind `{}` has no key of which there could be several", plugin.kind)));
    };
    if own.get(field).is_some_and(|value| value != "") {
        return Err(wrong(format!("`{field}` is set too: give one of them")));
    }
    let (mut keys, mut off) = (Vec::new(), "no entry of api_keys has a value".to_owned());
    for entry in settings.api_keys.iter().filter(|entry| !entry.value.is_empty()) {
        let mut own = own.clone();
        own.insert(field.into(), entry.value.expose().into());
        match build(id, plugin, own)? {
            Ok(provider) => keys.push(Key::new(&entry.id, provider, entry.weight.unwrap_or(1))),
            Err(why) => off = why,
        }
    }
    Ok(if keys.is_empty() { Err(off) } else { Ok(keys) })
}
