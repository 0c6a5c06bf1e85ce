mod settings;
pub use settings::{PerAddress, RedisSettings, Settings};
