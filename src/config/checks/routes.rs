//! Proof that every model and every route ends in vendor models that can serve it, at a price. It asks the same catalog
//! that plans calls. What an instance that is off can do is not known; it is not proven.

use super::Place;
use crate::{
    config::{
        Config,
        problem::{Origin, Problems, nearest},
    },
    providers::{Catalog, Route, Unpriced, Upstream, When, Words, accepted, fit, glob, sample},
};
use plugin_api::{Background, Capabilities, Fit, ImageRequest, Parameters, Quality, Refusal, Size};

/// Most different requests that a route is tried with.
const MOST: usize = 256;

/// Reports errors, and returns warnings.
pub(in crate::config) fn prove(
    config: &Config,
    catalog: &Catalog,
    place: Place<'_>,
    problems: &mut Problems,
) -> Vec<String> {
    let mut proof = Proof { config, catalog, place, problems, warnings: Vec::new() };
    for (name, model) in &config.models {
        let targets = model.targets.iter().map(|target| target.to());
        let targets = proof.targets(&format!("models.{name}.targets"), name, None, targets.collect());
        for Target { path, to, caps, .. } in &targets {
            proof.can(name, path, to, caps, &[sample(caps)]);
        }
    }
    for (n, route) in config.routes.iter().enumerate() {
        proof.route(n, route);
    }
    proof.warnings
}

struct Proof<'a> {
    config: &'a Config,
    catalog: &'a Catalog,
    place: Place<'a>,
    problems: &'a mut Problems,
    warnings: Vec<String>,
}

/// A target of an instance that is on.
struct Target<'a> {
    path: String,
    to: &'a str,
    instance: &'a Upstream,
    caps: &'a Capabilities,
}

impl<'a> Proof<'a> {
    fn wrong(&mut self, path: &str, message: String) {
        let spot = (self.place)(path);
        self.problems.add_new(spot.at, path, spot.shown(message));
    }

    /// A built-in entry may lead to an instance that the file has made another of: it is off then.
    fn is_built_in(&self, path: &str) -> bool {
        (self.place)(path).at.origin == Origin::Builtin
    }

    /// The targets of a list that are on, after their vendor models, prices and kinds were looked at.
    fn targets(
        &mut self,
        path: &str,
        model: &str,
        when: Option<&When>,
        all: Vec<&'a str>,
    ) -> Vec<Target<'a>> {
        let catalog = self.catalog;
        let mut on: Vec<Target<'a>> = Vec::new();
        for (n, to) in all.into_iter().enumerate() {
            let path = format!("{path}[{n}]");
            let Some((id, vendor_model)) = to.split_once('/') else { continue };
            let Some(instance) = catalog.instance(id).filter(|_| !self.is_built_in(&path)) else { continue };
            let Ok(provider) = &instance.provider else { continue };
            let Some(caps) = catalog.capabilities(model, to) else {
                if provider.why_off(vendor_model).is_none() {
                    let models = provider.models();
                    let hint = nearest(vendor_model, models.iter().map(String::as_str));
                    self.wrong(&path, format!("`{id}` has no model `{vendor_model}`{hint}"));
                }
                continue;
            };
            if let Some(new) = caps.replaced_by {
                self.warnings
                    .push(format!("{path}: `{vendor_model}` is retired and takes no calls; use `{new}`"));
                continue;
            }
            self.price(&path, model, to, caps, instance, when);
            if let Some(first) = on.first()
                && !is_of_one_kind(first.caps, caps)
            {
                let (this, that) = (does(caps), does(first.caps));
                let first = first.to;
                let message =
                    format!("`{to}` {this}, and `{first}` {that}: a fallback must be of the same kind");
                self.wrong(&path, message);
                continue;
            }
            on.push(Target { path, to, instance, caps });
        }
        on
    }

    fn price(
        &mut self,
        path: &str,
        model: &str,
        to: &str,
        caps: &Capabilities,
        instance: &Upstream,
        when: Option<&When>,
    ) {
        let request = self.catalog.with_defaults(model, &sample(caps));
        let fitted = caps.fit(&request, Parameters::Nearest).map_or(request, |fit| fit.request);
        if self.catalog.price(model, to, caps, &fitted).is_some() {
            return;
        }
        let named = self.config.models.contains_key(model);
        let entry = if named { format!("models.{model}.price") } else { "the `price` of a model".into() };
        let refuses = self.config.routing.unpriced == Unpriced::Refuse;
        if refuses && let Some(budget) = self.budget(model, instance, when) {
            let message = format!(
                "`{to}` has no price, so no call that {budget} counts can go there: set {entry}, or in routing.unpriced what \
                 to reserve"
            );
            self.wrong(path, message);
        } else if refuses {
            self.warnings.push(format!("{path}: `{to}` has no price, and is counted as free; set {entry}"));
        }
    }

    /// A spend limit that counts calls of this model.
    fn budget(&self, model: &str, instance: &Upstream, when: Option<&When>) -> Option<String> {
        let config = self.config;
        let limits = &config.limits;
        let common = [
            ("limits.overall.spend", &limits.overall),
            ("limits.per_team.spend", &limits.per_team),
            ("limits.per_key.spend", &limits.per_key),
        ];
        let common = common.into_iter().find(|(_, limits)| !limits.spend.as_slice().is_empty());
        let own = || {
            let counts = !instance.limits().spend.as_slice().is_empty();
            counts.then(|| format!("providers.{}.limits.spend", instance.id))
        };
        let of_team = || {
            let for_it = |name: &str| when.is_none_or(|when| may_be(&when.team, name));
            let mut teams = config.teams.iter().filter(|(name, team)| {
                let may = team.models.iter().any(|pattern| glob::fits(pattern, model));
                !team.limits.spend.as_slice().is_empty() && may && for_it(name)
            });
            teams.next().map(|(name, _)| format!("teams.{name}.limits.spend"))
        };
        common.map(|(path, _)| path.to_owned()).or_else(own).or_else(of_team)
    }

    /// Every target can serve one of these requests.
    fn can(
        &mut self,
        model: &str,
        path: &str,
        to: &str,
        caps: &Capabilities,
        requests: &[ImageRequest],
    ) -> bool {
        let mut refused = None::<Vec<Refusal>>;
        for request in requests {
            match self.fit(model, caps, request) {
                Ok(_) => return true,
                Err(refusals) => drop(refused.get_or_insert(refusals)),
            }
        }
        let words: Vec<String> = refused.iter().flatten().map(accepted).collect();
        self.wrong(path, format!("`{to}` can serve none of these calls: {}", words.join(" ")));
        false
    }

    /// As calls are fitted.
    fn fit(&self, model: &str, caps: &Capabilities, asked: &ImageRequest) -> Result<Fit, Vec<Refusal>> {
        let filled = self.catalog.with_defaults(model, asked);
        fit(caps, asked, &filled, self.config.routing.parameters)
    }

    fn route(&mut self, n: usize, route: &'a Route) {
        let when = &route.when;
        let path = format!("routes[{n}]");
        let earlier = self.config.routes.iter().take(n).position(|other| other.when == When::default());
        if let Some(other) = earlier {
            self.warnings
                .push(format!("{path}: it is never reached, because routes[{other}] takes every call"));
        }
        let model = exact(&when.model).next().unwrap_or_default().to_owned();
        let all: Vec<&str> = route.to.iter().map(|target| target.to()).collect();
        let every = all.len();
        let targets = self.targets(&format!("{path}.to"), &model, Some(when), all);
        for name in exact(&when.provider) {
            let there = |target: &Target<'_>| target.instance.id == name || target.instance.kind == name;
            if targets.len() == every && !targets.iter().any(there) {
                let message = format!("none of the route's targets is at `{name}`: no call would be served");
                self.wrong(&format!("{path}.when.provider"), message);
            }
        }
        let mut served = vec![0; MOST];
        for target in &targets {
            let requests = requests(when, target.caps);
            if !self.can(&model, &target.path, target.to, target.caps, &requests) {
                return;
            }
            for (request, count) in requests.iter().zip(&mut served) {
                *count += u32::from(self.fit(&model, target.caps, request).is_ok());
            }
            served.truncate(requests.len());
        }
        if targets.is_empty() || targets.len() < every {
            return;
        }
        if let Some(at) = served.iter().position(|count| *count == 0) {
            let request = &requests(when, targets[0].caps)[at];
            let message = format!("no target of this route can serve {}", shown(when, request));
            self.wrong(&format!("{path}.when"), message);
        }
    }
}

/// The words of a condition that are no patterns.
fn exact(words: &Option<Words>) -> impl Iterator<Item = &str> {
    let words = words.as_ref().map_or(&[][..], |words| words.as_slice());
    words.iter().map(String::as_str).filter(|word| !word.contains(['*', '?']))
}

fn may_be(words: &Option<Words>, name: &str) -> bool {
    words.as_ref().is_none_or(|words| words.as_slice().iter().any(|pattern| glob::fits(pattern, name)))
}

/// A request for every combination of what a route names. Each target is asked for as many references as it needs,
/// unless the route is about them.
fn requests(when: &When, caps: &Capabilities) -> Vec<ImageRequest> {
    let mut base = sample(caps);
    let edits = when.references == Some(true) || exact(&when.tool).eq(["edit_image"]);
    if edits && base.references.is_empty() {
        base.references = sample(&Capabilities { references: 1..=1, ..Capabilities::default() }).references;
    }
    if when.references == Some(false) {
        base.references.clear();
    }
    let mut all = vec![base];
    let mut each = |set: &dyn Fn(&mut ImageRequest, &str) -> bool, words: &Option<Words>| {
        let with = |request: &ImageRequest, word: &str| {
            let mut request = request.clone();
            set(&mut request, word).then_some(request)
        };
        let words: Vec<&str> = exact(words).collect();
        let more: Vec<ImageRequest> = all
            .iter()
            .flat_map(|request| words.iter().filter_map(|word| with(request, word)))
            .take(MOST)
            .collect();
        if !more.is_empty() {
            all = more;
        }
    };
    each(&|r, word| word.parse().map(|size: Size| r.size = size).is_ok(), &when.size);
    each(&|r, word| Quality::parse(word).map(|q| r.quality = Some(q)).is_some(), &when.quality);
    each(&|r, word| Background::parse(word).map(|b| r.background = Some(b)).is_some(), &when.background);
    each(
        &|r, word| {
            r.style = Some(word.to_owned());
            true
        },
        &when.style,
    );
    all
}

/// What of a request the route names.
fn shown(when: &When, request: &ImageRequest) -> String {
    let named = [
        ("size", when.size.is_some().then(|| request.size.to_string())),
        ("quality", request.quality.map(|q| q.to_string())),
        ("background", request.background.map(|b| b.to_string())),
        ("style", request.style.clone()),
    ];
    let words: Vec<String> =
        named.into_iter().filter_map(|(name, word)| Some(format!("{name} `{}`", word?))).collect();
    if words.is_empty() { "its calls".into() } else { words.join(", ") }
}

fn makes(caps: &Capabilities) -> bool {
    *caps.references.start() == 0
}

fn edits(caps: &Capabilities) -> bool {
    *caps.references.end() > 0
}

/// There are calls that both can serve: from a prompt alone, or with images to change.
fn is_of_one_kind(one: &Capabilities, other: &Capabilities) -> bool {
    (makes(one) && makes(other)) || (edits(one) && edits(other))
}

fn does(caps: &Capabilities) -> &'static str {
    if makes(caps) { "makes images from a prompt" } else { "only changes images" }
}
