//! What has lived its time. Objects go first, rows second: the caller deletes an object and then says so here.

use super::{
    Store, StoreError,
    entity::{attempt, idempotency, image, job, ledger, quota_window, upload},
    model::{Image, State, Upload},
};
use sea_orm::{
    ColumnTrait, EntityTrait, QueryFilter, QuerySelect,
    sea_query::{Expr, ExprTrait, Query},
};
use uuid::Uuid;

/// How long things are kept.
#[derive(Debug, Clone, Copy)]
pub struct Retain {
    /// Finished jobs without an image.
    pub jobs_us: i64,
}

/// Objects whose time is over.
#[derive(Debug, Clone, Default)]
pub struct Expired {
    pub images: Vec<Image>,
    pub uploads: Vec<Upload>,
}

/// Most rows of one round.
const ROUND: u64 = 500;

impl Store {
    /// Images and uploads to delete from storage.
    pub async fn expired(&self, now: i64) -> Result<Expired, StoreError> {
        let images =
            image::Entity::find().filter(image::Column::Expires.lt(now)).limit(ROUND).all(&self.read).await?;
        let uploads = upload::Entity::find()
            .filter(upload::Column::Expires.lt(now))
            .limit(ROUND)
            .all(&self.read)
            .await?;
        Ok(Expired {
            images: images.into_iter().map(Image::from).collect(),
            uploads: uploads.into_iter().map(Upload::from).collect(),
        })
    }

    /// Objects of uploads are gone, and of images that nobody has heard of: the rows follow.
    pub async fn forget_objects(&self, images: Vec<Uuid>, uploads: Vec<Uuid>) -> Result<(), StoreError> {
        self.write(move |tx, _| {
            Box::pin(async move {
                image::Entity::delete_many().filter(image::Column::Id.is_in(images)).exec(tx).await?;
                upload::Entity::delete_many().filter(upload::Column::Id.is_in(uploads)).exec(tx).await?;
                Ok(())
            })
        })
        .await
    }

    /// Deletes finished jobs without images, expired idempotency keys and old quota windows. Returns how many jobs.
    pub async fn forget_rows(&self, retain: Retain) -> Result<u64, StoreError> {
        self.write(move |tx, now| {
            Box::pin(async move {
                let with_image = Query::select().column(image::Column::JobId).from(image::Entity).to_owned();
                let ids: Vec<Uuid> = job::Entity::find()
                    .select_only()
                    .column(job::Column::Id)
                    .filter(job::Column::Finished.lt(now.wall - retain.jobs_us))
                    // What may have cost money stays until somebody has looked at it.
                    .filter(job::Column::Reserved.is_null())
                    .filter(job::Column::State.gte(State::Completed.code()))
                    .filter(Expr::col((job::Entity, job::Column::Id)).not_in_subquery(with_image))
                    .limit(ROUND)
                    .into_tuple()
                    .all(tx)
                    .await?;
                attempt::Entity::delete_many()
                    .filter(attempt::Column::JobId.is_in(ids.clone()))
                    .exec(tx)
                    .await?;
                ledger::Entity::delete_many()
                    .filter(ledger::Column::JobId.is_in(ids.clone()))
                    .exec(tx)
                    .await?;
                job::Entity::delete_many().filter(job::Column::Id.is_in(ids.clone())).exec(tx).await?;
                idempotency::Entity::delete_many()
                    .filter(idempotency::Column::Expires.lt(now.wall))
                    .exec(tx)
                    .await?;
                const MONTH: i64 = 31 * 86_400 * 1_000_000;
                quota_window::Entity::delete_many()
                    .filter(quota_window::Column::Expires.lt(now.wall - MONTH))
                    .filter(quota_window::Column::Reserved.eq(0))
                    .exec(tx)
                    .await?;
                Ok(ids.len() as u64)
            })
        })
        .await
    }
}
