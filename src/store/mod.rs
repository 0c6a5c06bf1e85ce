mod model;
mod settings;

pub use model::{Attempt, Image, Job, Key, Phase, State, Upload};
pub use settings::Settings;

/// The database could not do it. Callers answer 503 and ask to come again.
#[derive(Debug, thiserror::Error)]
#[error("the database is not available: {0}")]
pub struct StoreError(pub String);
