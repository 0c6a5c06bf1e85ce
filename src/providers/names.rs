//! What the names of a call stand for: models, instances, defaults.

use super::{
    catalog::Catalog,
    plan::{Ask, Candidates, PlanError, Unplannable},
    settings::Strategy,
    upstream::Upstream,
};
use plugin_api::ImageRequest;

impl Catalog {
    /// The targets of the model a call names, of the provider's default, or of the default model.
    pub(super) fn own_targets(&self, ask: &Ask<'_>) -> Result<Candidates, PlanError> {
        match (ask.model, ask.provider) {
            (Some(name), _) => self.targets_of(name),
            (None, Some(provider)) => self.default_of(&self.provider(provider)?),
            (None, None) => match &self.routing.default_provider {
                Some(provider) => self.default_of(&self.provider(provider)?),
                None => match self.default_for(ask.request).or(self.default_model()) {
                    Some(name) => self.targets_of(name),
                    None => Err(PlanError::new(Unplannable::Off, "model", self.nothing_on())),
                },
            },
        }
    }

    /// The first default model that is on and takes as many references as were given: who brings an image to change
    /// and names no model wants one that can.
    fn default_for(&self, request: &ImageRequest) -> Option<&str> {
        let needed = u32::try_from(request.references.len()).unwrap_or(u32::MAX);
        let able = |name: &&String| {
            let targets = self.models.get(*name).map_or(&[][..], |model| &model.targets);
            targets.iter().any(|target| {
                let caps = self.capabilities(name, target.to());
                caps.is_some_and(|caps| *caps.references.end() >= needed)
                    && self.why_off(target.to()).is_none()
            })
        };
        self.routing.default_model.iter().find(able).map(String::as_str)
    }

    fn targets_of(&self, name: &str) -> Result<Candidates, PlanError> {
        if let Some(model) = self.models.get(name) {
            let targets = model.targets.iter().map(|entry| (entry.to().to_owned(), entry.weight())).collect();
            let (model, strategy) = (name.to_owned(), model.strategy);
            return Ok(Candidates { model, targets, strategy, route: None });
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
            return Ok(lone(to.clone(), to));
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
    fn default_of(&self, instance: &str) -> Result<Candidates, PlanError> {
        match self.instances.get(instance).and_then(|i| i.default_model()) {
            Some(vendor_model) => {
                let to = format!("{instance}/{vendor_model}");
                let public = self.first_entries.get(&to).cloned();
                Ok(lone(public.unwrap_or_else(|| to.clone()), to))
            }
            None => Err(PlanError::new(
                Unplannable::Off,
                "provider",
                format!("The provider `{instance}` has no model. {}", self.nothing_on()),
            )),
        }
    }

    /// The instance of a name: its id, or the first one of a kind that is on.
    pub(super) fn provider(&self, name: &str) -> Result<String, PlanError> {
        let on = || {
            self.instances
                .values()
                .filter(|i| self.takes_jobs(i))
                .map(|i| i.id.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        match self.named(name) {
            Some(instance) => match instance.provider.as_ref().err().cloned().or(self.pause_of(&instance.id))
            {
                None => Ok(instance.id.clone()),
                Some(why) => {
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
        let why = |i: &Upstream| i.provider.as_ref().err().cloned().or_else(|| self.pause_of(&i.id));
        let off: Vec<String> =
            self.instances.values().filter_map(|i| Some(format!("{}: {}", i.id, why(i)?))).collect();
        let paused = self.instances.values().any(|i| i.is_on());
        let remedy = if paused { "resume one" } else { "set the credentials of one" };
        format!("No provider is on; the operator has to {remedy}. {}", off.join("; "))
    }
}

fn lone(model: String, to: String) -> Candidates {
    Candidates { model, targets: vec![(to, 1)], strategy: Strategy::Ordered, route: None }
}
