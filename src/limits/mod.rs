//! Limits: request rates in memory, and what a job has to reserve of its quotas.

pub mod calendar;
pub mod quota;
mod rate;
mod settings;

pub use rate::{RateDecision, Rates};
pub use settings::{PerAddress, RedisSettings, Settings};
