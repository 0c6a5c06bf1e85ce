//! What a reload changes for jobs.

use super::{Rules, Settings};
use crate::{
    outbound::Guard,
    providers::Registry,
    store::{Raise, Shares},
};
use std::sync::Arc;

/// The part of the configuration that calls and attempts go by. Swapped as a whole; whoever took it keeps it to the
/// end, so that a plan, its reservation and its caps come from one configuration.
pub struct Live {
    pub settings: Settings,
    pub rules: Rules,
    pub registry: Arc<Registry>,
    /// Where callers' reference URLs may point.
    pub references: Guard,
}

impl Live {
    /// The same configuration with another registry.
    pub fn with_registry(&self, registry: Registry) -> Live {
        let Live { settings, rules, references, .. } = self;
        let (settings, rules, references) = (settings.clone(), rules.clone(), references.clone());
        Live { settings, rules, registry: Arc::new(registry), references }
    }

    /// The same configuration with other raises.
    pub fn with_raises(&self, raises: Arc<[Raise]>) -> Live {
        let Live { settings, rules, registry, references } = self;
        let (settings, registry, references) = (settings.clone(), registry.clone(), references.clone());
        Live { settings, rules: Rules { raises, ..rules.clone() }, registry, references }
    }

    pub fn shares(&self) -> Shares {
        self.rules.shares(&self.registry)
    }
}
