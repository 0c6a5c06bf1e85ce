//! The configuration: YAML, variables and `--set` in, one typed [`Config`] out, or everything that is wrong.
//!
//! The text becomes a tree that knows its positions (`tree`), variables are put in (`variables`), the tree is walked
//! along the JSON Schema of the settings (`schema`, `walk`), names are looked up (`references`), and what goes
//! together is checked (`checks`). Each module owns its own settings; plugins are asked about theirs.

mod changes;
mod checks;
mod credentials;
mod files;
mod later;
mod load;
mod problem;
mod references;
mod schema;
mod settings;
mod tree;
mod variables;
mod walk;

#[cfg(test)]
mod tests;

pub use changes::{changes, fixed, keep_fixed};
pub use credentials::Credential;
pub use files::Stamps;
pub use load::{LoadOptions, Loaded, load, load_noting};
pub use problem::{ConfigErrors, Problem};
pub use schema::schema;
pub use settings::*;
