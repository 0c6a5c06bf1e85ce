//! What the tools need of the rest of the gateway, in one place, so that tests can stand in for it.

use crate::{
    images::{ImageError, Images, Link},
    jobs::{
        Accepted, Cancelled, Estimate, Generation, JobView, Jobs, JobsError, ModelView, Moment, Owner, Page,
    },
    store::{Image, State, StoreError},
};
use async_trait::async_trait;
use bytes::Bytes;
use plugin_api::Mime;
use std::sync::Arc;
use tokio::{sync::mpsc, time::Instant};
use uuid::Uuid;

/// [`Jobs`] and [`Images`]; their methods say what each does.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    async fn generate(&self, owner: &Owner, generation: Generation) -> Result<Accepted, JobsError>;
    async fn job(&self, team: &str, id: Uuid) -> Result<Option<JobView>, StoreError>;
    async fn wait(
        &self,
        team: &str,
        ids: &[Uuid],
        until: Instant,
        moments: Option<mpsc::Sender<Moment>>,
    ) -> Result<Vec<JobView>, StoreError>;
    async fn cancel(&self, team: &str, id: Uuid) -> Result<Option<Cancelled>, StoreError>;
    async fn list(
        &self,
        team: &str,
        states: &[State],
        limit: u64,
        offset: u64,
    ) -> Result<Page<JobView>, StoreError>;
    async fn generations(
        &self,
        team: &str,
        limit: u64,
        offset: u64,
    ) -> Result<Page<(Image, JobView)>, StoreError>;
    async fn image(&self, team: &str, id: Uuid) -> Result<Option<(Image, JobView)>, StoreError>;
    async fn estimate(&self, owner: &Owner, generation: Generation) -> Result<Estimate, StoreError>;
    fn models(&self, owner: &Owner) -> Vec<ModelView>;

    async fn full(&self, image: &Image) -> Result<Bytes, ImageError>;
    async fn preview(
        &self,
        image: &Image,
        edge: u32,
        max_bytes: u64,
    ) -> Result<Option<(Mime, Bytes)>, ImageError>;
    fn link(&self, image: &Image) -> Link;
    fn local_path(&self, image: &Image) -> Option<String>;
}

/// The real ones.
pub struct Live {
    pub jobs: Arc<Jobs>,
    pub images: Arc<Images>,
}

#[async_trait]
impl Backend for Live {
    async fn generate(&self, owner: &Owner, generation: Generation) -> Result<Accepted, JobsError> {
        self.jobs.generate(owner, generation).await
    }
    async fn job(&self, team: &str, id: Uuid) -> Result<Option<JobView>, StoreError> {
        self.jobs.job(team, id).await
    }
    async fn wait(
        &self,
        team: &str,
        ids: &[Uuid],
        until: Instant,
        moments: Option<mpsc::Sender<Moment>>,
    ) -> Result<Vec<JobView>, StoreError> {
        self.jobs.wait(team, ids, until, moments).await
    }
    async fn cancel(&self, team: &str, id: Uuid) -> Result<Option<Cancelled>, StoreError> {
        self.jobs.cancel(team, id).await
    }
    async fn list(
        &self,
        team: &str,
        states: &[State],
        limit: u64,
        offset: u64,
    ) -> Result<Page<JobView>, StoreError> {
        self.jobs.list(team, states, limit, offset).await
    }
    async fn generations(
        &self,
        team: &str,
        limit: u64,
        offset: u64,
    ) -> Result<Page<(Image, JobView)>, StoreError> {
        self.jobs.generations(team, limit, offset).await
    }
    async fn image(&self, team: &str, id: Uuid) -> Result<Option<(Image, JobView)>, StoreError> {
        self.jobs.image(team, id).await
    }
    async fn estimate(&self, owner: &Owner, generation: Generation) -> Result<Estimate, StoreError> {
        self.jobs.estimate(owner, generation).await
    }
    fn models(&self, owner: &Owner) -> Vec<ModelView> {
        self.jobs.models(owner)
    }
    async fn full(&self, image: &Image) -> Result<Bytes, ImageError> {
        self.images.full(image).await
    }
    async fn preview(
        &self,
        image: &Image,
        edge: u32,
        max_bytes: u64,
    ) -> Result<Option<(Mime, Bytes)>, ImageError> {
        self.images.preview(image, edge, max_bytes).await
    }
    fn link(&self, image: &Image) -> Link {
        self.images.link(image)
    }
    fn local_path(&self, image: &Image) -> Option<String> {
        self.images.local_path(image)
    }
}
