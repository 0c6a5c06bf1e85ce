//! Answer bytes on disk before anyone parses them, and their adoption after a crash.
mod settings;
pub use settings::Settings;
