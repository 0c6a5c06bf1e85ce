//! Jobs that a request has made and not yet answered for.

use super::Cx;
use crate::{
    jobs::{Accepted, Generation, JobsError},
    mcp::{
        Backend,
        errors::{Fault, ToolError},
    },
};
use std::sync::Arc;
use tokio::{runtime::Handle, task::JoinHandle};
use tracing::Instrument;
use uuid::Uuid;

/// Takes the jobs of a modern caller back when it is dropped before [`answered`](Made::answered): the caller has
/// left. What was sent to a vendor by then is finished and kept. Older callers leave without meaning anything by it.
pub struct Made {
    backend: Arc<dyn Backend>,
    team: String,
    runtime: Handle,
    revocable: bool,
    stage: Stage,
}

enum Stage {
    /// May already be on disk, so the ids must be awaited before they can be taken back.
    Submitting(JoinHandle<Result<Accepted, JobsError>>),
    Committed(Vec<Uuid>),
    /// Nothing to take back.
    Kept,
}

impl Made {
    /// Submits a generation, all of it or nothing, also when the caller leaves meanwhile.
    pub async fn submit(cx: Cx<'_>, generation: Generation) -> Result<(Accepted, Made), ToolError> {
        let (backend, owner) = (Arc::clone(&cx.inner.backend), cx.call.owner());
        let submit = async move { backend.generate(&owner, generation).await };
        let submitting = tokio::spawn(submit.in_current_span());
        let mut made = Made {
            backend: Arc::clone(&cx.inner.backend),
            team: cx.call.team().to_owned(),
            runtime: Handle::current(),
            revocable: cx.call.peer.is_modern(),
            stage: Stage::Submitting(submitting),
        };
        let accepted = made.committed().await?;
        Ok((accepted, made))
    }

    async fn committed(&mut self) -> Result<Accepted, ToolError> {
        let Stage::Submitting(submitting) = &mut self.stage else { return Err(Fault::internal().into()) };
        let outcome = submitting.await;
        self.stage = Stage::Kept;
        let accepted = outcome.map_err(|error| {
            tracing::error!(error = %error, "submitting a generation failed inside");
            Fault::internal()
        })??;
        if !accepted.repeated {
            self.stage = Stage::Committed(ids(&accepted));
        }
        Ok(accepted)
    }

    /// The caller has got an answer about these jobs: they stay.
    pub fn answered(mut self) {
        self.stage = Stage::Kept;
    }
}

fn ids(accepted: &Accepted) -> Vec<Uuid> {
    accepted.jobs.iter().map(|job| job.id).collect()
}

impl Drop for Made {
    fn drop(&mut self) {
        let stage = std::mem::replace(&mut self.stage, Stage::Kept);
        if !self.revocable || matches!(stage, Stage::Kept) {
            return;
        }
        let (backend, team) = (Arc::clone(&self.backend), std::mem::take(&mut self.team));
        // Nobody is left to await it: it ends by itself after a few statements.
        self.runtime.spawn(async move {
            let ids = match stage {
                Stage::Committed(ids) => ids,
                Stage::Submitting(submitting) => match submitting.await {
                    Ok(Ok(accepted)) if !accepted.repeated => ids(&accepted),
                    _ => return,
                },
                Stage::Kept => return,
            };
            for id in ids {
                match backend.cancel(&team, id).await {
                    Ok(_) => tracing::info!(job.id = %id, "the caller left: job taken back if unsent"),
                    Err(error) => {
                        tracing::warn!(job.id = %id, error = %error, "a left job could not be cancelled")
                    }
                }
            }
        });
    }
}
