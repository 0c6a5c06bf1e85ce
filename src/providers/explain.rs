//! Why a request would go where it would go: the same weighing that plans are made of, in words.

use super::{
    catalog::Catalog,
    plan::{Ask, Fitted, Misfit, PlanError, accepted},
    settings::Strategy,
};
use plugin_api::{Adjustment, value::Money};
use std::time::{Duration, Instant};

/// Where a request would go, where else it could, and why not there.
#[derive(Debug, Clone)]
pub struct Explained {
    /// Public name of the model; `None`: what was asked for leads to none.
    pub model: Option<String>,
    /// The route that matches.
    pub route: Option<String>,
    /// The routes before it, each with the condition that does not hold: `team`, `model`, ..., or `request` for what is
    /// drawn.
    pub passed: Vec<(String, &'static str)>,
    pub strategy: Strategy,
    /// In the order in which they would be tried, then those that would not.
    pub targets: Vec<Choice>,
    /// Why no target can serve.
    pub error: Option<PlanError>,
}

/// One target.
#[derive(Debug, Clone)]
pub struct Choice {
    /// `instance/vendor-model`.
    pub to: String,
    /// It can serve the request.
    pub on: bool,
    /// It would be the first one asked.
    pub serves: bool,
    /// Expected, and at most; `None`: nobody knows.
    pub price: Option<Money>,
    pub highest: Option<Money>,
    pub price_source: Option<String>,
    /// Why it is not the first, or not at all; of the first what holds it up.
    pub reason: Option<String>,
    pub adjustments: Vec<Adjustment>,
    /// `K`, `J` or `S`.
    pub class: Option<&'static str>,
    /// How long a call takes there.
    pub expected: Option<Duration>,
}

impl Catalog {
    /// Explains what [`Catalog::plan`] would do now. A weighted choice is drawn for each call anew.
    pub fn explain(&self, ask: &Ask<'_>) -> Explained {
        let passed = self.passed_by(ask).into_iter();
        let passed = passed.map(|(at, condition)| (label(&self.routes[at].name, at), condition)).collect();
        let weighed = match self.weigh(ask) {
            Ok(weighed) => weighed,
            Err(error) => {
                return Explained {
                    model: None,
                    route: None,
                    passed,
                    strategy: Strategy::Ordered,
                    targets: Vec::new(),
                    error: Some(error),
                };
            }
        };
        let mut targets: Vec<Choice> =
            weighed.fits.iter().map(|fit| able(fit, weighed.fits.first(), weighed.strategy)).collect();
        targets.extend(weighed.misfits.iter().map(|(to, why)| unable(to, why)));
        Explained {
            error: weighed.error(),
            route: weighed.route.map(|at| label(&self.routes[at].name, at)),
            model: Some(weighed.model),
            passed,
            strategy: weighed.strategy,
            targets,
        }
    }
}

fn label(name: &str, at: usize) -> String {
    if name.is_empty() { format!("routes[{at}]") } else { name.to_owned() }
}

fn able(fit: &Fitted<'_>, first: Option<&Fitted<'_>>, strategy: Strategy) -> Choice {
    let before = first.filter(|first| !std::ptr::eq(*first, fit));
    let now = Instant::now();
    let held_up = fit.rest.map(|rest| rest.to_string());
    let mut reasons: Vec<String> = held_up.into_iter().collect();
    match before {
        None if reasons.is_empty() && fit.instance.is_closed(now) => {
            reasons.push("its rate is used up for a moment; calls to it wait".into());
        }
        None => {}
        Some(first) if reasons.is_empty() || first.rest.is_some() => {
            reasons.push(after(fit, first, strategy))
        }
        Some(_) => {}
    }
    let refused = fit.instance.refused_keys(now);
    if !refused.is_empty() {
        reasons.push(format!("the vendor refused its keys {}", refused.join(", ")));
    }
    Choice {
        to: fit.to.clone(),
        on: true,
        serves: before.is_none(),
        price: fit.priced.as_ref().map(|p| p.expected),
        highest: fit.priced.as_ref().map(|p| p.highest),
        price_source: fit.priced.as_ref().map(|p| p.source.clone()),
        reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
        adjustments: fit.fit.adjustments.clone(),
        class: Some(fit.caps.class.as_str()),
        expected: Some(fit.takes),
    }
}

/// Why `first` stands before `fit`, where both take calls.
fn after(fit: &Fitted<'_>, first: &Fitted<'_>, strategy: Strategy) -> String {
    let to = &first.to;
    let price = |fit: &Fitted<'_>| fit.priced.as_ref().map_or("no price".into(), |p| p.expected.to_string());
    let time = |fit: &Fitted<'_>| {
        let how = if fit.measured { "measured" } else { "usual" };
        format!("{:.1} s ({how})", fit.takes.as_secs_f64())
    };
    match strategy {
        Strategy::Ordered => format!("stands after {to}"),
        Strategy::Cheapest => format!("{}, and {to} {}", price(fit), price(first)),
        Strategy::Fastest => format!("{}, and {to} {}", time(fit), time(first)),
        Strategy::Weighted => {
            let (own, other) = (fit.weight, first.weight);
            format!("this draw went to {to}, of weight {other} to {own}; each call is drawn anew")
        }
    }
}

fn unable(to: &str, why: &Misfit) -> Choice {
    let reason = match why {
        Misfit::Off(why) => format!("off: {why}"),
        Misfit::Unsupported(refusals) => refusals.iter().map(accepted).collect::<Vec<_>>().join(" "),
        Misfit::Unpriced => {
            "it has no price, and a spend limit applies; set `price` of its model, or routing.unpriced".into()
        }
        Misfit::Full(why) => why.clone(),
        Misfit::Elsewhere => "the call names another provider".into(),
    };
    Choice {
        to: to.to_owned(),
        on: false,
        serves: false,
        price: None,
        highest: None,
        price_source: None,
        reason: Some(reason),
        adjustments: Vec::new(),
        class: None,
        expected: None,
    }
}
