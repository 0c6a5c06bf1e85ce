mod settings;
pub use settings::{RequestLimits, Settings, Tls};
