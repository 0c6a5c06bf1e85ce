//! Logs, request ids, the clock and how moments are written. Owns nothing else; every module may use it.

mod clock;
pub mod logs;
mod moment;
mod settings;

pub use clock::{Clock, Machine, ManualClock, SharedClock, SystemClock};
pub use moment::{MOMENTS, moment_us, rfc3339, utc};
pub use settings::{Log, LogFormat, Otlp, Settings};
