//! Asking for a reload of the configuration, and what came of it. Whoever owns the configuration holds the other end.

use serde::Serialize;
use std::collections::BTreeMap;
use tokio::sync::{mpsc, oneshot};

/// What a reload changed: names, never values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// Key paths, down to an entry of a map or to a field of a section: `providers.openai`, `jobs.deadline`.
    pub changed_fields: Vec<String>,
    /// Providers that are on.
    pub providers: Vec<String>,
    /// The provider of calls that name neither provider nor model.
    pub default_provider: Option<String>,
    /// The default models of the providers that are on and have one.
    pub provider_models: BTreeMap<String, DefaultModel>,
    /// Fields that differ and stay as they were until a restart.
    pub restart_required_fields: Vec<String>,
    pub changes: Changes,
    /// What works and is likely not what was meant, and what is set and not served yet.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DefaultModel {
    pub model: String,
    /// Tried when the vendor says that it has no such model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback_model: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    pub providers: Names,
    pub models: Names,
    pub teams: Names,
    /// Ids of the file's keys.
    pub keys: Names,
}

/// Entries that came, went, or say something else now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Names {
    pub added: Vec<String>,
    pub removed: Vec<String>,
    pub changed: Vec<String>,
}

/// Why nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotReloaded {
    /// All that is wrong with the new configuration.
    Invalid(Vec<Wrong>),
    /// Some of what differs can only change at a start.
    RestartRequired { changed_fields: Vec<String>, restart_required_fields: Vec<String> },
    /// The gateway stops.
    Stopping,
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wrong {
    pub file: String,
    pub line: Option<usize>,
    pub column: Option<usize>,
    /// Key path; empty for the file as a whole.
    pub field: String,
    pub message: String,
    /// All of it in one line.
    #[serde(skip)]
    pub text: String,
}

pub type Outcome = Result<Reloaded, NotReloaded>;
/// Where requests for a reload come out; each is answered.
pub type Requests = mpsc::Receiver<oneshot::Sender<Outcome>>;

/// Asks for a reload.
#[derive(Debug, Clone)]
pub struct ReloadHandle(mpsc::Sender<oneshot::Sender<Outcome>>);

impl ReloadHandle {
    pub fn new() -> (ReloadHandle, Requests) {
        let (requests, received) = mpsc::channel(1);
        (ReloadHandle(requests), received)
    }

    /// Reads the configuration again and takes it, or says why not. Goes on when the caller leaves.
    ///
    /// # Errors
    /// [`NotReloaded`]: the old configuration stays in force.
    pub async fn reload(&self) -> Outcome {
        let (answer, answered) = oneshot::channel();
        self.0.send(answer).await.map_err(|_| NotReloaded::Stopping)?;
        answered.await.unwrap_or(Err(NotReloaded::Stopping))
    }
}
