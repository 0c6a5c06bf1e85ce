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
#[derive(Clone)]
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
        Live { registry: Arc::new(registry), ..self.clone() }
    }

    /// The same configuration with other raises.
    pub fn with_raises(&self, raises: Arc<[Raise]>) -> Live {
        let mut live = self.clone();
        live.rules.raises = raises;
        live
    }

    pub fn shares(&self) -> Shares {
        self.rules.shares(&self.registry)
    }
}
