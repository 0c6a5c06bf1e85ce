mod settings;
pub use settings::{ClientRule, Paths, ResultSettings, Return, Sessions, Settings};
