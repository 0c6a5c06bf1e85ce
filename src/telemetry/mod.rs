//! Logs, request ids and the clock. Owns nothing else; every module may use it.

mod clock;
pub mod logs;
mod settings;

pub use clock::{Clock, ManualClock, SharedClock, SystemClock};
pub use settings::{Log, LogFormat, Otlp, Settings};
