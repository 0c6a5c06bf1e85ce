//! Which targets may serve a request, in which order, and at what price.

use super::{
    price::{any, when_fits},
    registry::Registry,
    settings::{Strategy, Target as Entry},
};
use crate::store::{Plan, Target};
use plugin_api::{Adjustment, ImageRequest, Parameters, Refusal, value::Money};
use std::time::Instant;

/// What a caller asks for.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    pub team: &'a str,
    pub key: &'a str,
    pub tool: &'a str,
    /// Public name, or `instance/vendor-model`.
    pub model: Option<&'a str>,
    /// Instance or kind.
    pub provider: Option<&'a str>,
    pub request: &'a ImageRequest,
    /// `None`: as configured.
    pub parameters: Option<Parameters>,
    /// Models the caller may use, as globs.
    pub allowed: &'a [String],
}

/// A plan, and what it is expected to cost.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Public name.
    pub model: String,
    pub plan: Plan,
    /// The request with the model's defaults filled in, as it is kept.
    pub request: ImageRequest,
    /// Of the first target.
    pub adjustments: Vec<Adjustment>,
    /// One image at the first target.
    pub expected: Option<Money>,
    /// One image at the dearest target: what is reserved. `None`: a target has no price.
    pub highest: Option<Money>,
    pub price_source: Option<String>,
    pub expected_ms: i64,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanError {
    pub kind: Unplannable,
    /// A sentence that says what to do.
    pub message: String,
    pub field: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unplannable {
    /// No such model or provider, or the two contradict each other.
    Unknown,
    /// The caller may not use it.
    Forbidden,
    /// No target can do what was asked.
    Unsupported,
    /// No target is on.
    Off,
}

impl PlanError {
    fn new(kind: Unplannable, field: &str, message: String) -> PlanError {
        PlanError { kind, message, field: Some(field.into()) }
    }
}

impl Registry {
    /// Plans a request. Buys nothing, touches nothing.
    ///
    /// # Errors
    /// A sentence that names the argument and what would be accepted.
    pub fn plan(&self, ask: &Ask<'_>) -> Result<Planned, PlanError> {
        let (model, mut targets) = self.candidates(ask)?;
        if !ask.allowed.iter().any(|pattern| super::glob::fits(pattern, &model)) {
            let message = format!(
                "Your team may not use the model `{model}`. Call list_models to see what it may use."
            );
            return Err(PlanError::new(Unplannable::Forbidden, "model", message));
        }
        if let Some(name) = ask.provider {
            let instance = self.provider(name)?;
            targets.retain(|to| to.split_once('/').is_some_and(|(id, _)| id == instance));
            if targets.is_empty() {
                let message = format!(
                    "The model `{model}` has no target at the provider `{name}`. Leave one of the two out."
                );
                return Err(PlanError::new(Unplannable::Unknown, "provider", message));
            }
        }
        let request = self.with_defaults(&model, ask.request);
        self.fit_targets(&model, targets, request, ask)
    }

    /// Public name and targets, in the order in which they are tried.
    fn candidates(&self, ask: &Ask<'_>) -> Result<(String, Vec<String>), PlanError> {
        if let Some(route) = self.routes.iter().find(|route| {
            let when = &route.when;
            any(&when.team, ask.team)
                && any(&when.key, ask.key)
                && any(&when.tool, ask.tool)
                && any(&when.model, ask.model.or(self.default_model()).unwrap_or(""))
                && any(&when.provider, ask.provider.unwrap_or(""))
                && when.claims.is_empty()
                && when_fits(when, ask.request)
        }) {
            let name = ask.model.or(self.default_model()).unwrap_or(&route.name);
            return Ok((name.to_owned(), self.in_order(&route.to, Strategy::Ordered)));
        }
        match (ask.model, ask.provider) {
            (Some(name), _) => self.targets_of(name),
            (None, Some(provider)) => self.default_of(&self.provider(provider)?),
            (None, None) => match &self.routing.default_provider {
                Some(provider) => self.default_of(&self.provider(provider)?),
                None => match self.default_model() {
                    Some(name) => self.targets_of(name),
                    None => Err(PlanError::new(Unplannable::Off, "model", self.nothing_on())),
                },
            },
        }
    }

    fn targets_of(&self, name: &str) -> Result<(String, Vec<String>), PlanError> {
        if let Some(model) = self.models.get(name) {
            return Ok((name.to_owned(), self.in_order(&model.targets, model.strategy)));
        }
        if let Some((instance, vendor_model)) = name.split_once('/')
            && let Some(instance) = self.named(instance)
        {
            if let Ok(provider) = &instance.provider
                && provider.capabilities(vendor_model).is_none()
            {
                let message = format!(
                    "The provider `{}` has no model `{vendor_model}`. Accepted: {}.",
                    instance.id,
                    provider.models().join(", ")
                );
                return Err(PlanError::new(Unplannable::Unknown, "model", message));
            }
            let to = format!("{}/{vendor_model}", instance.id);
            return Ok((to.clone(), vec![to]));
        }
        let names: Vec<&str> = self.models.keys().map(String::as_str).collect();
        let is_on = |name: &&&str| self.models[**name].targets.iter().any(|t| self.why_off(t.to()).is_none());
        let on: Vec<&str> = names.iter().filter(is_on).copied().collect();
        let near = names
            .iter()
            .max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
        let hint = near
            .filter(|n| strsim::jaro_winkler(n, name) > 0.8)
            .map(|n| format!(" Did you mean `{n}`?"))
            .unwrap_or_default();
        let message = format!("There is no model `{name}`.{hint} Accepted: {}.", on.join(", "));
        Err(PlanError::new(Unplannable::Unknown, "model", message))
    }

    /// The default model of an instance: its own, under its public name where it has one.
    fn default_of(&self, instance: &str) -> Result<(String, Vec<String>), PlanError> {
        let vendor_model = self.instances.get(instance).and_then(|i| i.default_model());
        let to = vendor_model.map(|m| format!("{instance}/{m}"));
        let public = |to: &String| {
            self.models
                .iter()
                .find(|(_, m)| m.targets.iter().any(|t| t.to() == to))
                .map(|(name, _)| name.clone())
        };
        match to {
            Some(to) => Ok((public(&to).unwrap_or_else(|| to.clone()), vec![to])),
            None => Err(PlanError::new(
                Unplannable::Off,
                "provider",
                format!("The provider `{instance}` has no model. {}", self.nothing_on()),
            )),
        }
    }

    fn provider(&self, name: &str) -> Result<String, PlanError> {
        let on = || {
            self.instances
                .values()
                .filter(|i| i.is_on())
                .map(|i| i.id.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        match self.named(name) {
            Some(instance) => match &instance.provider {
                Ok(_) => Ok(instance.id.clone()),
                Err(why) => {
                    let message =
                        format!("The provider `{name}` is off: {why}. Providers that are on: {}.", on());
                    Err(PlanError::new(Unplannable::Off, "provider", message))
                }
            },
            None => {
                let message = format!("There is no provider `{name}`. Providers that are on: {}.", on());
                Err(PlanError::new(Unplannable::Unknown, "provider", message))
            }
        }
    }

    fn nothing_on(&self) -> String {
        let off: Vec<String> = self
            .instances
            .values()
            .filter_map(|i| Some(format!("{}: {}", i.id, i.provider.as_ref().err()?)))
            .collect();
        format!("No provider is on; the operator has to set the credentials of one. {}", off.join("; "))
    }

    fn in_order(&self, entries: &[Entry], strategy: Strategy) -> Vec<String> {
        let mut targets: Vec<&Entry> = entries.iter().collect();
        let info = |entry: &Entry| {
            let (instance, vendor_model) = entry.to().split_once('/')?;
            let caps = self.instances.get(instance)?.capabilities(vendor_model)?;
            let price =
                self.price("", caps, &ImageRequest::new(vendor_model, "x")).map(|p| p.expected.amount_micros);
            Some((price.unwrap_or(i64::MAX), caps.expected.as_millis()))
        };
        match strategy {
            Strategy::Ordered => {}
            Strategy::Cheapest => targets.sort_by_key(|t| info(t).map_or(i64::MAX, |i| i.0)),
            Strategy::Fastest => targets.sort_by_key(|t| info(t).map_or(u128::MAX, |i| i.1)),
            Strategy::Weighted => {
                // A weighted draw without putting back: the largest u^(1/w) goes first.
                let draw = |entry: &Entry| {
                    let weight = if let Entry::Weighted(w) = entry { w.weight.max(1) } else { 1 };
                    let u = (uuid::Uuid::new_v4().as_u128() >> 75) as f64 / (1_u64 << 53) as f64;
                    u.powf(1.0 / f64::from(weight))
                };
                let mut drawn: Vec<(f64, &Entry)> = targets.into_iter().map(|t| (draw(t), t)).collect();
                drawn.sort_by(|a, b| b.0.total_cmp(&a.0));
                targets = drawn.into_iter().map(|d| d.1).collect();
            }
        }
        targets.into_iter().map(|t| t.to().to_owned()).collect()
    }

    /// Keeps the targets that are on and can do what is asked.
    fn fit_targets(
        &self,
        model: &str,
        targets: Vec<String>,
        request: ImageRequest,
        ask: &Ask<'_>,
    ) -> Result<Planned, PlanError> {
        let mode = ask.parameters.unwrap_or(self.routing.parameters);
        let (mut fitted, mut refusals, mut off) = (Vec::new(), Vec::<(String, Refusal)>::new(), Vec::new());
        for to in targets {
            let found = to
                .split_once('/')
                .and_then(|(id, vendor_model)| Some((self.instances.get(id)?, vendor_model)));
            match (self.why_off(&to), found) {
                (None, Some((instance, vendor_model))) => {
                    let Some(caps) = instance.capabilities(vendor_model) else { continue };
                    match caps.fit(&request, mode) {
                        Ok(fit) => fitted.push((instance, vendor_model.to_owned(), caps, fit)),
                        Err(why) => refusals.extend(why.into_iter().map(|r| (to.clone(), r))),
                    }
                }
                (why, _) => off.push(format!("{to}: {}", why.unwrap_or_default())),
            }
        }
        if fitted.is_empty() {
            return Err(unplannable(model, &refusals, &off));
        }
        // A target whose breaker is open comes last, not never.
        let now = Instant::now();
        fitted.sort_by_key(|(instance, ..)| instance.breaker.is_open(now));
        let mut plan = Plan::default();
        let (mut highest, mut unpriced, mut first) = (None::<Money>, false, None);
        for (instance, vendor_model, caps, fit) in &fitted {
            let priced = self.price(model, caps, &fit.request);
            match &priced {
                Some(p) if highest.is_none_or(|h| h.amount_micros < p.highest.amount_micros) => {
                    highest = Some(p.highest)
                }
                Some(_) => {}
                None => unpriced = true,
            }
            plan.targets.push(Target {
                instance: instance.id.clone(),
                vendor_model: vendor_model.clone(),
                class: caps.class.as_str().into(),
                expected_ms: i64::try_from(caps.expected.as_millis()).unwrap_or(i64::MAX),
                price: priced.as_ref().map(|p| p.expected.amount_micros),
                price_source: priced.as_ref().map(|p| p.source.clone()),
            });
            first.get_or_insert((priced, fit.adjustments.clone()));
        }
        let (priced, adjustments) = first.unwrap_or_default();
        Ok(Planned {
            model: model.to_owned(),
            expected_ms: plan.targets.first().map_or(0, |t| t.expected_ms),
            plan,
            request,
            adjustments,
            expected: priced.as_ref().map(|p| p.expected),
            highest: if unpriced { None } else { highest },
            price_source: priced.map(|p| p.source),
        })
    }
}

fn unplannable(model: &str, refusals: &[(String, Refusal)], off: &[String]) -> PlanError {
    let Some((_, first)) = refusals.first() else {
        let message = format!("The model `{model}` is off: {}.", off.join("; "));
        return PlanError { kind: Unplannable::Off, message, field: Some("model".into()) };
    };
    let one = |refusal: &Refusal| {
        let accepted = refusal.accepted.as_ref().map(|a| format!(" Accepted: {a}.")).unwrap_or_default();
        format!("`{}`: {}.{accepted}", refusal.field, refusal.reason)
    };
    let single = refusals.iter().all(|(to, _)| *to == refusals[0].0);
    let words: Vec<String> =
        refusals.iter().map(|(to, r)| if single { one(r) } else { format!("{to}: {}", one(r)) }).collect();
    let message = format!("The model `{model}` cannot serve this request. {}", words.join(" "));
    PlanError { kind: Unplannable::Unsupported, message, field: Some(first.field.clone()) }
}
