mod settings;
pub use settings::{Role, Settings};
