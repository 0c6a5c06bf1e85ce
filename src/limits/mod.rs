//! Limits: request rates in memory, and what a job has to reserve of its quotas.

pub mod quota;
mod settings;

pub use settings::{PerAddress, RedisSettings, Settings};
