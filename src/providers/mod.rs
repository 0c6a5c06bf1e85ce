//! Vendors: the configured instances, which of them serves a request, at what price, and how they are.
//!
//! `jobs` asks for a plan and calls the plugin; `providers` knows nothing of jobs, keys or storage.

mod breaker;
pub mod builtin;
mod capabilities;
mod catalog;
mod explain;
pub mod glob;
mod keys;
mod names;
mod plan;
mod price;
mod registry;
mod settings;
#[cfg(test)]
mod tests;
mod upstream;

pub use capabilities::Overrides;
pub use catalog::{Catalog, ModelInfo, TargetInfo, sample};
pub use explain::{Choice, Explained};
pub use keys::Key;
pub use plan::{Ask, Claims, Full, PlanError, Planned, Unplannable, accepted, fit};
pub use registry::Registry;
pub use settings::*;
pub use upstream::Upstream;
