//! Vendors: the configured instances, which of them serves a request, at what price, and how they are.
//!
//! `jobs` asks for a plan and calls the plugin; `providers` knows nothing of jobs, keys or storage.

mod breaker;
pub mod builtin;
pub mod glob;
mod plan;
mod price;
mod registry;
mod settings;
#[cfg(test)]
mod tests;
mod upstream;

pub use plan::{Ask, PlanError, Planned, Unplannable};
pub use registry::{ModelInfo, Registry, TargetInfo};
pub use settings::*;
pub use upstream::Upstream;
