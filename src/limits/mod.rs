//! How much callers may do: request rates here, quotas with `store`.

mod rate;
mod settings;

pub use rate::{RateDecision, Rates};
pub use settings::{PerAddress, RedisSettings, Settings};
