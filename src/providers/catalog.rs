//! Instances, public models and routes of one configuration: what can be known without calling anybody.

use super::{
    capabilities::overridden,
    price::{self, Priced},
    settings::{Model, Route, Routing, Settings},
    upstream::Upstream,
};
use crate::{store::Pauses, telemetry::utc};
use indexmap::IndexMap;
use plugin_api::{Capabilities, ImageRequest, Input, value::Money};
use std::{collections::HashMap, sync::Arc};

#[derive(Clone)]
pub struct Catalog {
    pub(super) instances: IndexMap<String, Arc<Upstream>>,
    pub(super) models: IndexMap<String, Model>,
    pub(super) routes: Vec<Route>,
    /// The first entry of `models` that leads to a target: what a route's or a lone target is priced by.
    pub(super) first_entries: HashMap<String, String>,
    /// What models can do that overrides what is built in, by model and target.
    overridden: HashMap<String, HashMap<String, Capabilities>>,
    pub routing: Routing,
    pauses: Pauses,
}

/// A public model, as it is today.
#[derive(Debug, Clone)]
pub struct ModelInfo {
    pub name: String,
    pub description: String,
    pub default: bool,
    pub targets: Vec<TargetInfo>,
    /// Of the first target that is on.
    pub capabilities: Option<Capabilities>,
}

#[derive(Debug, Clone)]
pub struct TargetInfo {
    pub instance: String,
    pub vendor_model: String,
    /// Expected price of one image with the model's defaults.
    pub price: Option<Money>,
    /// Why it cannot be used; `None`: it can.
    pub off: Option<String>,
}

impl Catalog {
    /// # Errors
    /// Overrides of capabilities that mean nothing, in sentences with their fields.
    pub fn new(
        settings: &Settings,
        instances: IndexMap<String, Arc<Upstream>>,
    ) -> Result<Catalog, Vec<String>> {
        let (models, routes, routing) =
            (settings.models.clone(), settings.routes.clone(), settings.routing.clone());
        let mut first_entries = HashMap::new();
        for (name, target) in models.iter().flat_map(|(name, m)| m.targets.iter().map(move |t| (name, t))) {
            first_entries.entry(target.to().to_owned()).or_insert_with(|| name.clone());
        }
        let overridden = overridden(&models, &instances)?;
        Ok(Catalog { instances, models, routes, first_entries, overridden, routing, pauses: Pauses::new() })
    }

    /// The same catalog, of which these instances are paused.
    pub(super) fn with_pauses(&self, pauses: Pauses) -> Catalog {
        Catalog { pauses, ..self.clone() }
    }

    /// Instances that the operator has paused, by id; some may not be configured.
    pub fn pauses(&self) -> &Pauses {
        &self.pauses
    }

    /// Since when an instance is paused, in microseconds UTC.
    pub fn paused_since(&self, id: &str) -> Option<i64> {
        self.pauses.get(id).copied()
    }

    /// Whether new jobs may go there: it has its credentials, and nobody has paused it.
    pub fn takes_jobs(&self, instance: &Upstream) -> bool {
        instance.is_on() && self.paused_since(&instance.id).is_none()
    }

    /// The sentence about a pause; `None`: the instance is not paused.
    pub(super) fn pause_of(&self, id: &str) -> Option<String> {
        let since = utc(self.paused_since(id)?);
        Some(format!("the operator has paused the provider `{id}` (since {since})"))
    }

    /// The entry of `models` that says what a target costs and can do: the one that is asked for where it leads there,
    /// else the first that does.
    fn entry(&self, model: &str, to: &str) -> Option<(&str, &Model)> {
        let leads = |(_, entry): &(&String, &Model)| entry.targets.iter().any(|t| t.to() == to);
        let first = || self.models.get_key_value(self.first_entries.get(to)?);
        let found = self.models.get_key_value(model).filter(leads).or_else(first);
        found.map(|(name, entry)| (name.as_str(), entry))
    }

    /// What a target can do as `model` offers it. `None`: it is off, or its vendor has no such model.
    pub fn capabilities(&self, model: &str, to: &str) -> Option<&Capabilities> {
        let own = || self.overridden.get(self.entry(model, to)?.0)?.get(to);
        let (instance, vendor_model) = to.split_once('/')?;
        let built_in = || self.instances.get(instance)?.capabilities(vendor_model);
        if self.overridden.is_empty() { built_in() } else { own().or_else(built_in) }
    }

    pub fn instance(&self, id: &str) -> Option<&Arc<Upstream>> {
        self.instances.get(id)
    }

    pub fn instances(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.instances.values()
    }

    /// An instance by its id, or the first one of a kind that is on; one that is paused is the last choice.
    pub fn named(&self, name: &str) -> Option<&Arc<Upstream>> {
        let of_kind = || self.instances.values().filter(|instance| instance.kind == name && instance.is_on());
        let open = || of_kind().find(|instance| self.takes_jobs(instance));
        self.instances.get(name).or_else(|| open().or_else(|| of_kind().next()))
    }

    /// The price of one job of a fitted request at a target.
    pub fn price(
        &self,
        model: &str,
        to: &str,
        caps: &Capabilities,
        request: &ImageRequest,
    ) -> Option<Priced> {
        price::price(self.entry(model, to).map(|(_, entry)| entry), caps, request, &self.routing)
    }

    /// A vendor's amount in the currency of the limits.
    pub fn convert(&self, money: Money) -> Option<Money> {
        price::convert(money, &self.routing)
    }

    /// The name a call without model and provider gets.
    pub fn default_model(&self) -> Option<&str> {
        let is_on = |name: &&String| {
            self.models.get(*name).is_some_and(|m| m.targets.iter().any(|t| self.why_off(t.to()).is_none()))
        };
        self.routing.default_model.iter().find(is_on).map(String::as_str)
    }

    /// Why `instance/vendor-model` cannot be used; `None`: it can.
    pub(super) fn why_off(&self, to: &str) -> Option<String> {
        let Some((id, vendor_model)) = to.split_once('/') else {
            return Some(format!("`{to}` is not of the form instance/vendor-model"));
        };
        let Some(instance) = self.instances.get(id) else {
            return Some(format!("the provider `{id}` is not configured"));
        };
        match &instance.provider {
            Err(why) => Some(why.clone()),
            Ok(_) if self.paused_since(id).is_some() => self.pause_of(id),
            Ok(provider) => match provider.capabilities(vendor_model) {
                None => provider
                    .why_off(vendor_model)
                    .or_else(|| Some(format!("`{id}` has no model `{vendor_model}`"))),
                Some(caps) => caps.replaced_by.map(|new| format!("`{vendor_model}` is retired; use `{new}`")),
            },
        }
    }

    /// Every public model, in the order of the configuration.
    pub fn models(&self) -> Vec<ModelInfo> {
        let default = self.default_model();
        self.models.iter().map(|(name, model)| self.info(name, model, default)).collect()
    }

    pub fn model(&self, name: &str) -> Option<ModelInfo> {
        let (name, model) = self.models.get_key_value(name)?;
        Some(self.info(name, model, self.default_model()))
    }

    fn info(&self, name: &str, model: &Model, default: Option<&str>) -> ModelInfo {
        let targets: Vec<TargetInfo> = model.targets.iter().map(|t| self.target_info(name, t.to())).collect();
        let first = targets.iter().find(|t| t.off.is_none());
        let capabilities = first
            .and_then(|t| self.capabilities(name, &format!("{}/{}", t.instance, t.vendor_model)).cloned());
        ModelInfo {
            name: name.to_owned(),
            description: model.description.clone().unwrap_or_default(),
            default: default == Some(name),
            targets,
            capabilities,
        }
    }

    fn target_info(&self, model: &str, to: &str) -> TargetInfo {
        let (instance, vendor_model) = to.split_once('/').unwrap_or((to, ""));
        let price = self.capabilities(model, to).and_then(|caps| {
            let request = self.with_defaults(model, &sample(caps));
            let fit = caps.fit(&request, plugin_api::Parameters::Nearest).ok()?;
            Some(self.price(model, to, caps, &fit.request)?.expected)
        });
        TargetInfo {
            instance: instance.into(),
            vendor_model: vendor_model.into(),
            price,
            off: self.why_off(to),
        }
    }

    /// Fills in what the model's entry says for arguments that a call leaves out.
    pub fn with_defaults(&self, model: &str, request: &ImageRequest) -> ImageRequest {
        let Some(defaults) = self.models.get(model).map(|m| &m.defaults).filter(|d| !d.is_empty()) else {
            return request.clone();
        };
        let asked = serde_json::to_value(request).unwrap_or_default();
        let mut merged = defaults.clone();
        for (field, value) in asked.as_object().into_iter().flatten() {
            let left_out = field == "size" && value == "auto" && merged.contains_key("size");
            if !left_out {
                merged.insert(field.clone(), value.clone());
            }
        }
        let mut filled: ImageRequest =
            serde_json::from_value(merged.into()).unwrap_or_else(|_| request.clone());
        // Bytes do not travel through JSON.
        filled.references = request.references.clone();
        filled.mask = request.mask.clone();
        filled
    }
}

/// The least that a model can be asked for.
pub fn sample(caps: &Capabilities) -> ImageRequest {
    let input = Input { mime: "image/png".into(), width: 1024, height: 1024, ..Input::default() };
    let references = vec![input; *caps.references.start() as usize];
    ImageRequest { references, ..ImageRequest::new("", "x") }
}
