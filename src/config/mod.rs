//! The configuration: YAML, variables and `--set` in, one typed [`Config`] out, or everything that is wrong.

mod checks;
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

pub use load::{LoadOptions, Loaded, load};
pub use problem::{ConfigErrors, Problem};
pub use schema::schema;
pub use settings::*;
