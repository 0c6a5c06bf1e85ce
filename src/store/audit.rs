//! What storage is compared with: which images must be there, and which objects somebody knows.

use super::{
    Store, StoreError,
    entity::{image, job, upload},
    model::{Image, State},
};
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use std::collections::HashSet;
use uuid::Uuid;

impl Store {
    /// Images that are neither deleted nor over, by id from `after` on, at most `limit`.
    pub async fn kept_images(
        &self,
        after: Option<Uuid>,
        now_us: i64,
        limit: u64,
    ) -> Result<Vec<Image>, StoreError> {
        let kept =
            Condition::any().add(image::Column::Expires.is_null()).add(image::Column::Expires.gt(now_us));
        let mut rows = image::Entity::find()
            .filter(image::Column::Deleted.is_null())
            .filter(kept)
            .order_by_asc(image::Column::Id)
            .limit(limit);
        if let Some(after) = after {
            rows = rows.filter(image::Column::Id.gt(after));
        }
        Ok(rows.all(&self.read).await?.into_iter().map(Image::from).collect())
    }

    /// Object keys of other images with the same bytes. Not by an index: for the few that are damaged.
    pub async fn objects_like(&self, image: &Image) -> Result<Vec<String>, StoreError> {
        let like = image::Entity::find()
            .select_only()
            .column(image::Column::ObjectKey)
            .filter(image::Column::Sha256.eq(&image.sha256))
            .filter(image::Column::Bytes.eq(image.bytes))
            .filter(image::Column::ObjectKey.ne(&image.object_key))
            .filter(image::Column::Deleted.is_null())
            .limit(8);
        Ok(like.into_tuple().all(&self.read).await?)
    }

    /// Those of these object keys that an image or an upload has; also one whose time is over, because the sweep will
    /// see to its object.
    pub async fn known_objects(&self, keys: &[String]) -> Result<HashSet<String>, StoreError> {
        let images: Vec<String> = image::Entity::find()
            .select_only()
            .column(image::Column::ObjectKey)
            .filter(image::Column::ObjectKey.is_in(keys))
            .into_tuple()
            .all(&self.read)
            .await?;
        let uploads: Vec<String> = upload::Entity::find()
            .select_only()
            .column(upload::Column::ObjectKey)
            .filter(upload::Column::ObjectKey.is_in(keys))
            .into_tuple()
            .all(&self.read)
            .await?;
        Ok(images.into_iter().chain(uploads).collect())
    }

    /// Those of these jobs that may still store something.
    pub async fn unfinished(&self, jobs: &[Uuid]) -> Result<HashSet<Uuid>, StoreError> {
        let open: Vec<Uuid> = job::Entity::find()
            .select_only()
            .column(job::Column::Id)
            .filter(job::Column::Id.is_in(jobs.iter().copied()))
            .filter(job::Column::State.lt(State::Completed.code()))
            .into_tuple()
            .all(&self.read)
            .await?;
        Ok(open.into_iter().collect())
    }
}
