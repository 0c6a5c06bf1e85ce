//! What the tools need of the rest of the gateway, in one place, so that tests can stand in for it.

use super::reload::{Outcome, ReloadHandle};
use crate::{
    images::{ImageError, Images, Link, SlotLink},
    jobs::{
        Accepted, Cancelled, Deletion, Estimate, Explanation, Generation, JobView, Jobs, JobsError, Limit,
        ModelView, Moment, Offered, Owner, Page, ProviderView,
    },
    store::{By, Filter, Image, StoreError, Used, Window},
};
use async_trait::async_trait;
use bytes::Bytes;
use plugin_api::Mime;
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};
use uuid::Uuid;

/// [`Jobs`], [`Images`] and [`ReloadHandle`]; their methods say what each does.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    async fn generate(&self, owner: &Owner, generation: Generation) -> Result<Accepted, JobsError>;
    async fn job(&self, team: &str, id: Uuid) -> Result<Option<JobView>, StoreError>;
    async fn wait(
        &self,
        team: &str,
        ids: &[Uuid],
        until: Instant,
        moments: Option<watch::Sender<Option<Moment>>>,
    ) -> Result<Vec<JobView>, StoreError>;
    async fn cancel(&self, team: &str, id: Uuid) -> Result<Option<Cancelled>, StoreError>;
    async fn list(&self, filter: &Filter, window: Window) -> Result<Page<JobView>, StoreError>;
    async fn generations(
        &self,
        filter: &Filter,
        window: Window,
    ) -> Result<Page<(Image, JobView)>, StoreError>;
    async fn image(&self, team: &str, id: Uuid) -> Result<Option<(Image, JobView)>, StoreError>;
    async fn delete_image(&self, team: &str, id: Uuid) -> Result<Option<Deletion>, StoreError>;
    async fn estimate(&self, owner: &Owner, generation: Generation) -> Result<Estimate, StoreError>;
    async fn explain_model(&self, owner: &Owner, model: &str) -> Result<Explanation, StoreError>;
    async fn quota(&self, owner: &Owner) -> Result<Vec<Limit>, StoreError>;
    async fn usage(&self, filter: &Filter, by: By) -> Result<Vec<Used>, StoreError>;
    fn models(&self, owner: &Owner) -> Vec<ModelView>;
    fn providers(&self, owner: &Owner) -> Vec<ProviderView>;
    /// Whether the team is offered a tool.
    fn offers(&self, team: &str, tool: &str) -> bool;
    async fn reload(&self) -> Outcome;
    /// `None`: `models` is to be asked each time.
    fn offered(&self, _: &Owner) -> Option<Offered> {
        None
    }

    async fn full(&self, image: &Image) -> Result<Bytes, ImageError>;
    async fn preview(
        &self,
        image: &Image,
        edge: u32,
        max_bytes: u64,
    ) -> Result<Option<(Mime, Bytes)>, ImageError>;
    /// `None`: nobody serves links.
    fn upload_slot(&self, owner: &Owner) -> Option<SlotLink>;
    /// Largest upload, in bytes.
    fn upload_max(&self) -> u64;
    /// How long a finished job is kept at least.
    fn retention(&self) -> Duration;
    fn link(&self, image: &Image) -> Link;
    /// Where links to images lead: `scheme://host:port` each, none for files.
    fn image_origins(&self) -> Vec<String>;
    fn local_path(&self, image: &Image) -> Option<String>;
}

/// The real ones.
pub struct Live {
    pub jobs: Arc<Jobs>,
    pub images: Arc<Images>,
    pub reload: ReloadHandle,
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
        moments: Option<watch::Sender<Option<Moment>>>,
    ) -> Result<Vec<JobView>, StoreError> {
        self.jobs.wait(team, ids, until, moments).await
    }
    async fn cancel(&self, team: &str, id: Uuid) -> Result<Option<Cancelled>, StoreError> {
        self.jobs.cancel(team, id).await
    }
    async fn list(&self, filter: &Filter, window: Window) -> Result<Page<JobView>, StoreError> {
        self.jobs.list(filter, window).await
    }
    async fn generations(
        &self,
        filter: &Filter,
        window: Window,
    ) -> Result<Page<(Image, JobView)>, StoreError> {
        self.jobs.generations(filter, window).await
    }
    async fn image(&self, team: &str, id: Uuid) -> Result<Option<(Image, JobView)>, StoreError> {
        self.jobs.image(team, id).await
    }
    async fn delete_image(&self, team: &str, id: Uuid) -> Result<Option<Deletion>, StoreError> {
        self.jobs.delete_image(team, id).await
    }
    async fn estimate(&self, owner: &Owner, generation: Generation) -> Result<Estimate, StoreError> {
        self.jobs.estimate(owner, generation).await
    }
    async fn explain_model(&self, owner: &Owner, model: &str) -> Result<Explanation, StoreError> {
        self.jobs.explain_model(owner, model).await
    }
    async fn quota(&self, owner: &Owner) -> Result<Vec<Limit>, StoreError> {
        self.jobs.quota(owner).await
    }
    async fn usage(&self, filter: &Filter, by: By) -> Result<Vec<Used>, StoreError> {
        self.jobs.usage(filter, by).await
    }
    fn models(&self, owner: &Owner) -> Vec<ModelView> {
        self.jobs.models(owner)
    }
    fn providers(&self, owner: &Owner) -> Vec<ProviderView> {
        self.jobs.providers(owner)
    }
    fn offers(&self, team: &str, tool: &str) -> bool {
        self.jobs.offers(team, tool)
    }
    async fn reload(&self) -> Outcome {
        self.reload.reload().await
    }
    fn offered(&self, owner: &Owner) -> Option<Offered> {
        Some(self.jobs.offered(owner))
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
    fn upload_slot(&self, owner: &Owner) -> Option<SlotLink> {
        self.images.slot(&owner.team, &owner.key)
    }
    fn upload_max(&self) -> u64 {
        self.images.largest()
    }
    fn retention(&self) -> Duration {
        *self.jobs.live().settings.retention
    }
    fn link(&self, image: &Image) -> Link {
        self.images.link(image)
    }
    fn image_origins(&self) -> Vec<String> {
        self.images.origins()
    }
    fn local_path(&self, image: &Image) -> Option<String> {
        self.images.local_path(image)
    }
}
