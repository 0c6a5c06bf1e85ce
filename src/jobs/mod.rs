mod settings;
mod view;

pub use settings::{Role, Settings};
pub use view::{
    Accepted, Cancelled, Code, Estimate, Generation, JobView, ModelView, Moment, Owner, Page, Refused,
    TargetView,
};

use crate::store::{Image, State, StoreError};
use tokio::{sync::mpsc, time::Instant};
use uuid::Uuid;

/// A call on jobs failed: refused with a sentence, or the database is away.
#[derive(Debug, thiserror::Error)]
pub enum JobsError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The queue and its workers.
pub struct Jobs {}

#[allow(unused_variables, clippy::unused_async, clippy::todo)]
impl Jobs {
    /// Commits `count` jobs of one batch, or none. The ids are on disk when this returns.
    pub async fn generate(&self, owner: &Owner, generation: Generation) -> Result<Accepted, JobsError> {
        todo!()
    }
    /// One job of the team; somebody else's is `None`, as one that does not exist.
    pub async fn job(&self, team: &str, id: Uuid) -> Result<Option<JobView>, StoreError> {
        todo!()
    }
    /// Waits until all these jobs have ended or `until` has come; looks first. Jobs that the team does not have
    /// are left out of the answer, which is in the order of `ids`. `moments` (bounded, never blocked on) hears of
    /// changes on the way.
    pub async fn wait(
        &self,
        team: &str,
        ids: &[Uuid],
        until: Instant,
        moments: Option<mpsc::Sender<Moment>>,
    ) -> Result<Vec<JobView>, StoreError> {
        todo!()
    }
    pub async fn cancel(&self, team: &str, id: Uuid) -> Result<Option<Cancelled>, StoreError> {
        todo!()
    }
    /// Jobs of the team, newest first. `states` empty: all.
    pub async fn list(
        &self,
        team: &str,
        states: &[State],
        limit: u64,
        offset: u64,
    ) -> Result<Page<JobView>, StoreError> {
        todo!()
    }
    /// Finished images of the team with their jobs, newest first.
    pub async fn generations(
        &self,
        team: &str,
        limit: u64,
        offset: u64,
    ) -> Result<Page<(Image, JobView)>, StoreError> {
        todo!()
    }
    pub async fn image(&self, team: &str, id: Uuid) -> Result<Option<(Image, JobView)>, StoreError> {
        todo!()
    }
    /// What a generation would cost and whether it would be accepted; buys nothing.
    pub async fn estimate(&self, owner: &Owner, generation: Generation) -> Result<Estimate, StoreError> {
        todo!()
    }
    /// The models this owner may use.
    pub fn models(&self, owner: &Owner) -> Vec<ModelView> {
        todo!()
    }
}
