//! Which targets may serve a request, in which order, and at what price.

use super::{
    catalog::Catalog,
    keys::rank,
    price::{Priced, any, when_fits},
    settings::{Route, Strategy},
    upstream::{Rest, Upstream},
};
use crate::store::{Plan, Target};
use plugin_api::{Adjustment, Capabilities, Fit, ImageRequest, Parameters, Refusal, value::Money};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// What is said of a caller beside team and key: names with their values, such as the claims of a token.
pub type Claims = BTreeMap<String, Vec<String>>;

/// Instances that have used up a limit of their own, each with a sentence.
pub type Full = BTreeMap<String, String>;

/// What a caller asks for.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    pub team: &'a str,
    pub key: &'a str,
    pub claims: &'a Claims,
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
    /// A spend limit applies: a target without a price does not count.
    pub priced: bool,
    pub full: &'a Full,
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
    /// One job at the first target.
    pub expected: Option<Money>,
    /// Images that one job makes at most, over all targets: one, unless a vendor option asks for more.
    pub images: u32,
    /// One job at the dearest target: what is reserved. `None`: a target has no price.
    pub highest: Option<Money>,
    /// One job at each target, at most, in the order of the plan: what its instance's own limits are counted by.
    pub each: Vec<(u32, Option<Money>)>,
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
    /// A spend limit applies, and no target has a price.
    Unpriced,
    /// Every target that could do it has used up a limit of its instance.
    Full,
}

impl PlanError {
    pub(super) fn new(kind: Unplannable, field: &str, message: String) -> PlanError {
        PlanError { kind, message, field: Some(field.into()) }
    }
}

/// The targets that a name stands for, before anybody looks at what they can do.
pub(super) struct Candidates {
    /// Public name.
    pub model: String,
    /// `instance/vendor-model` with its weight.
    pub targets: Vec<(String, u32)>,
    pub strategy: Strategy,
    /// The route that named them, by its place in the configuration.
    pub route: Option<usize>,
}

/// One target that can do what is asked.
pub(super) struct Fitted<'a> {
    pub to: String,
    pub instance: &'a Arc<Upstream>,
    pub caps: &'a Capabilities,
    pub fit: Fit,
    pub priced: Option<Priced>,
    pub weight: u32,
    /// How long a call takes there: as measured, else as its vendor's calls usually do.
    pub takes: Duration,
    pub measured: bool,
    /// Why it takes no calls for a while: it comes last then.
    pub rest: Option<Rest>,
}

/// Why a target cannot serve.
pub(super) enum Misfit {
    Off(String),
    Unsupported(Vec<Refusal>),
    Unpriced,
    Full(String),
    /// The caller named another provider.
    Elsewhere,
}

/// Every target of a request, weighed: plans are made of it, and explanations show it.
pub(super) struct Weighed<'a> {
    pub model: String,
    pub strategy: Strategy,
    pub route: Option<usize>,
    /// With the model's defaults filled in.
    pub request: ImageRequest,
    /// In the order in which they are tried.
    pub fits: Vec<Fitted<'a>>,
    /// In the order of the configuration.
    pub misfits: Vec<(String, Misfit)>,
}

impl Catalog {
    /// Plans a request. Buys nothing, touches nothing.
    ///
    /// # Errors
    /// A sentence that names the argument and what would be accepted.
    pub fn plan(&self, ask: &Ask<'_>) -> Result<Planned, PlanError> {
        let weighed = self.weigh(ask)?;
        match weighed.error() {
            Some(error) => Err(error),
            None => Ok(weighed.planned()),
        }
    }

    /// # Errors
    /// The names in it lead to no target, or the caller may not use them.
    pub(super) fn weigh<'a>(&'a self, ask: &Ask<'a>) -> Result<Weighed<'a>, PlanError> {
        let Candidates { model, targets, strategy, route } = self.candidates(ask)?;
        if !ask.allowed.iter().any(|pattern| super::glob::fits(pattern, &model)) {
            let message = format!(
                "Your team may not use the model `{model}`. Call list_models to see what it may use."
            );
            return Err(PlanError::new(Unplannable::Forbidden, "model", message));
        }
        let only = ask.provider.map(|name| self.provider(name)).transpose()?;
        let request = self.with_defaults(&model, ask.request);
        let mode = ask.parameters.unwrap_or(self.routing.parameters);
        let now = Instant::now();
        let (mut fits, mut misfits) = (Vec::new(), Vec::new());
        for (to, weight) in targets {
            let found = to.split_once('/').and_then(|(id, model)| Some((self.instances.get(id)?, model)));
            if only.as_deref().is_some_and(|only| found.is_none_or(|(instance, _)| instance.id != only)) {
                misfits.push((to, Misfit::Elsewhere));
                continue;
            }
            let (caps, off) = (self.capabilities(&model, &to), self.why_off(&to));
            let (Some((instance, vendor_model)), Some(caps), None) = (found, caps, &off) else {
                misfits.push((to, Misfit::Off(off.unwrap_or_default())));
                continue;
            };
            let fit = match fit(caps, ask.request, &request, mode) {
                Ok(fit) => fit,
                Err(refusals) => {
                    misfits.push((to, Misfit::Unsupported(refusals)));
                    continue;
                }
            };
            let priced = self.price(&model, &to, caps, &fit.request);
            if let Some(why) = ask.full.get(&instance.id) {
                misfits.push((to, Misfit::Full(why.clone())));
            } else if ask.priced && priced.is_none() {
                misfits.push((to, Misfit::Unpriced));
            } else {
                let measured = instance.latency(vendor_model, now);
                fits.push(Fitted {
                    instance,
                    caps,
                    fit,
                    priced,
                    weight,
                    takes: measured.unwrap_or(caps.expected),
                    measured: measured.is_some(),
                    rest: instance.rest(now),
                    to,
                });
            }
        }
        in_order(&mut fits, strategy, ask.request.seed);
        let weighed = Weighed { model, strategy, route, request, fits, misfits };
        if weighed.fits.is_empty() && weighed.misfits.iter().all(|(_, why)| matches!(why, Misfit::Elsewhere))
        {
            let (model, name) = (&weighed.model, ask.provider.unwrap_or_default());
            let message = format!(
                "The model `{model}` has no target at the provider `{name}`. Leave one of the two out."
            );
            return Err(PlanError::new(Unplannable::Unknown, "provider", message));
        }
        Ok(weighed)
    }

    /// Public name and targets of what is asked for: of the first route that matches, else the model's own.
    fn candidates<'a>(&'a self, ask: &Ask<'a>) -> Result<Candidates, PlanError> {
        let asked = ask.model.or(self.default_model());
        if let Some(at) = self.routes.iter().position(|route| differs(route, ask, asked).is_none()) {
            let route = &self.routes[at];
            let model = asked.unwrap_or(&route.name).to_owned();
            let targets = route.to.iter().map(|entry| (entry.to().to_owned(), entry.weight())).collect();
            return Ok(Candidates { model, targets, strategy: Strategy::Ordered, route: Some(at) });
        }
        self.own_targets(ask)
    }

    /// The routes before the one that matches, each with the first of its conditions that does not hold.
    pub(super) fn passed_by(&self, ask: &Ask<'_>) -> Vec<(usize, &'static str)> {
        let asked = ask.model.or(self.default_model());
        let routes = self.routes.iter().enumerate();
        routes.map_while(|(at, route)| Some((at, differs(route, ask, asked)?))).collect()
    }
}

/// Fits what was asked, with the model's defaults `filled` in. The defaults are the operator's wishes and not the
/// caller's: a target that cannot take them takes what is nearest.
///
/// # Errors
/// What the target cannot do of it.
pub fn fit(
    caps: &Capabilities,
    asked: &ImageRequest,
    filled: &ImageRequest,
    mode: Parameters,
) -> Result<Fit, Vec<Refusal>> {
    caps.fit(filled, mode).or_else(|refusals| {
        if asked == filled {
            return Err(refusals);
        }
        caps.fit(asked, mode)?;
        caps.fit(filled, Parameters::Nearest)
    })
}

/// The first condition of a route that does not hold; `None`: it matches.
fn differs(route: &Route, ask: &Ask<'_>, model: Option<&str>) -> Option<&'static str> {
    let when = &route.when;
    let held = [
        ("team", any(&when.team, ask.team)),
        ("key", any(&when.key, ask.key)),
        ("tool", any(&when.tool, ask.tool)),
        ("model", any(&when.model, model.unwrap_or(""))),
        ("provider", any(&when.provider, ask.provider.unwrap_or(""))),
        ("claims", when.claims.iter().all(|(name, words)| has_claim(ask.claims, name, words.as_slice()))),
        ("request", when_fits(when, ask.request)),
    ];
    held.iter().find(|(_, holds)| !holds).map(|(name, _)| *name)
}

/// Whether the caller has a claim with one of these values.
fn has_claim(claims: &Claims, name: &str, words: &[String]) -> bool {
    let values = claims.get(name).map_or(&[][..], Vec::as_slice);
    words.iter().any(|pattern| values.iter().any(|value| super::glob::fits(pattern, value)))
}

/// By strategy; a target that takes no calls for a while comes last, not never. A seed goes to the same target as long
/// as that can serve it, since another would make another image of it.
fn in_order(fits: &mut [Fitted<'_>], strategy: Strategy, seed: Option<u32>) {
    match (strategy, seed) {
        (Strategy::Ordered, _) => {}
        (Strategy::Cheapest, _) => {
            fits.sort_by_key(|fit| fit.priced.as_ref().map_or(i64::MAX, |p| p.expected.amount_micros));
        }
        (Strategy::Fastest, None) => fits.sort_by_key(|fit| fit.takes),
        (Strategy::Weighted | Strategy::Fastest, _) => {
            let draw = seed.map_or_else(|| fastrand::u64(..), u64::from).to_le_bytes();
            fits.sort_by_cached_key(|fit| rank(&draw, &fit.to, fit.weight).to_bits());
        }
    }
    fits.sort_by_key(|fit| fit.rest.is_some());
}

impl Weighed<'_> {
    /// Why no target can serve, if none can.
    pub fn error(&self) -> Option<PlanError> {
        if !self.fits.is_empty() {
            return None;
        }
        let model = &self.model;
        let mut refusals: Vec<(&str, &Refusal)> = Vec::new();
        let (mut off, mut full, mut unpriced) = (Vec::new(), Vec::new(), false);
        for (to, why) in &self.misfits {
            match why {
                Misfit::Unsupported(all) => refusals.extend(all.iter().map(|refusal| (to.as_str(), refusal))),
                Misfit::Off(why) => off.push(format!("{to}: {why}")),
                Misfit::Full(why) => full.push(why.as_str()),
                Misfit::Unpriced => unpriced = true,
                Misfit::Elsewhere => {}
            }
        }
        if !full.is_empty() {
            full.dedup();
            let error = PlanError::new(Unplannable::Full, "model", full.join(" "));
            return Some(error);
        }
        if unpriced {
            let message = format!(
                "The model `{model}` cannot be bought: a spend limit applies, and this model has no price. Choose another \
                 model, or ask the operator to set its price."
            );
            return Some(PlanError::new(Unplannable::Unpriced, "model", message));
        }
        let Some((_, first)) = refusals.first() else {
            let message = format!("The model `{model}` is off: {}.", off.join("; "));
            return Some(PlanError::new(Unplannable::Off, "model", message));
        };
        let single = refusals.iter().all(|(to, _)| *to == refusals[0].0);
        let words: Vec<String> = refusals
            .iter()
            .map(|(to, r)| if single { accepted(r) } else { format!("{to}: {}", accepted(r)) })
            .collect();
        let message = format!("The model `{model}` cannot serve this request. {}", words.join(" "));
        Some(PlanError { kind: Unplannable::Unsupported, message, field: Some(first.field.clone()) })
    }

    fn planned(self) -> Planned {
        let mut plan = Plan::default();
        let (mut highest, mut unpriced) = (None::<Money>, false);
        for Fitted { to, instance, caps, priced, .. } in &self.fits {
            match priced {
                Some(p) if highest.is_none_or(|h| h.amount_micros < p.highest.amount_micros) => {
                    highest = Some(p.highest)
                }
                Some(_) => {}
                None => unpriced = true,
            }
            plan.targets.push(Target {
                instance: instance.id.clone(),
                vendor_model: to.split_once('/').map_or("", |(_, model)| model).to_owned(),
                class: caps.class.as_str().into(),
                expected_ms: i64::try_from(caps.expected.as_millis()).unwrap_or(i64::MAX),
                price: priced.as_ref().map(|p| p.expected.amount_micros),
                price_source: priced.as_ref().map(|p| p.source.clone()),
            });
        }
        let each: Vec<(u32, Option<Money>)> = self
            .fits
            .iter()
            .map(|f| ((f.caps.images)(&f.fit.request).max(1), f.priced.as_ref().map(|p| p.highest)))
            .collect();
        let first = self.fits.into_iter().next();
        let (priced, adjustments) = first.map(|f| (f.priced, f.fit.adjustments)).unwrap_or_default();
        Planned {
            images: each.iter().map(|(images, _)| *images).max().unwrap_or(1),
            model: self.model,
            expected_ms: plan.targets.first().map_or(0, |t| t.expected_ms),
            plan,
            request: self.request,
            adjustments,
            expected: priced.as_ref().map(|p| p.expected),
            highest: if unpriced { None } else { highest },
            each,
            price_source: priced.map(|p| p.source),
        }
    }
}

/// A refusal with what would be accepted.
pub fn accepted(refusal: &Refusal) -> String {
    let accepted = refusal.accepted.as_ref().map(|a| format!(" Accepted: {a}.")).unwrap_or_default();
    format!("`{}`: {}.{accepted}", refusal.field, refusal.reason)
}
