//! All instances and public models of one configuration. Built anew at a reload, never changed in place.

use super::{
    price::{self, Priced},
    settings::{Model, Route, Routing, Settings},
    upstream::Upstream,
};
use crate::{outbound::Clients, spool::Spool};
use indexmap::IndexMap;
use plugin_api::{Capabilities, Context, ImageRequest, Plugin, value::Money};
use std::sync::Arc;
use tokio::time::Instant;
use uuid::Uuid;

pub struct Registry {
    pub(super) instances: IndexMap<String, Arc<Upstream>>,
    pub(super) models: IndexMap<String, Model>,
    pub(super) routes: Vec<Route>,
    pub routing: Routing,
    clients: Clients,
    spool: Arc<Spool>,
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

impl Registry {
    /// # Errors
    /// Every entry a plugin does not accept, in sentences.
    pub fn build(
        settings: &Settings,
        plugins: &[Plugin],
        clients: Clients,
        spool: Arc<Spool>,
    ) -> Result<Registry, Vec<String>> {
        let mut errors = Vec::new();
        let mut instances = IndexMap::new();
        for (id, entry) in &settings.providers {
            match Upstream::build(id, entry, plugins, &settings.routing) {
                Ok(instance) => {
                    instances.insert(id.clone(), Arc::new(instance));
                }
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let (models, routes, routing) =
            (settings.models.clone(), settings.routes.clone(), settings.routing.clone());
        Ok(Registry { instances, models, routes, routing, clients, spool })
    }

    pub fn instance(&self, id: &str) -> Option<&Arc<Upstream>> {
        self.instances.get(id)
    }

    pub fn instances(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.instances.values()
    }

    /// An instance by its id, or the first one of a kind that is on.
    pub fn named(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.instances.get(name).or_else(|| self.instances.values().find(|i| i.kind == name && i.is_on()))
    }

    /// What one attempt brings along to its plugin.
    pub fn context(&self, attempt: Uuid, deadline: Instant) -> Context {
        Context { http: self.spool.http(self.clients.vendor(), attempt, deadline), attempt, deadline }
    }

    /// The price of one image of a fitted request.
    pub fn price(&self, model: &str, caps: &Capabilities, request: &ImageRequest) -> Option<Priced> {
        price::price(self.models.get(model), caps, request, &self.routing)
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
            Ok(provider) => match provider.capabilities(vendor_model) {
                None => Some(format!("`{id}` has no model `{vendor_model}`")),
                Some(caps) => caps.replaced_by.map(|new| format!("`{vendor_model}` is retired; use `{new}`")),
            },
        }
    }

    /// Every public model, in the order of the configuration.
    pub fn models(&self) -> Vec<ModelInfo> {
        let default = self.default_model();
        let info = |(name, model): (&String, &Model)| {
            let targets: Vec<TargetInfo> =
                model.targets.iter().map(|t| self.target_info(name, t.to())).collect();
            let first = targets.iter().find(|t| t.off.is_none());
            let capabilities =
                first.and_then(|t| self.instances.get(&t.instance)?.capabilities(&t.vendor_model).cloned());
            ModelInfo {
                name: name.clone(),
                description: model.description.clone().unwrap_or_default(),
                default: default == Some(name.as_str()),
                targets,
                capabilities,
            }
        };
        self.models.iter().map(info).collect()
    }

    fn target_info(&self, model: &str, to: &str) -> TargetInfo {
        let (instance, vendor_model) = to.split_once('/').unwrap_or((to, ""));
        let price = self.instances.get(instance).and_then(|i| {
            let caps = i.capabilities(vendor_model)?;
            let request = self.with_defaults(model, &ImageRequest::new(vendor_model, "x"));
            let fit = caps.fit(&request, plugin_api::Parameters::Nearest).ok()?;
            Some(self.price(model, caps, &fit.request)?.expected)
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
