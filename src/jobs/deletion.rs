//! Deleting an image, and the sweep of objects whose time is over. Rows go before objects where an owner deletes, so
//! that a crash in between leaves an object that the sweep finds, and never a row without its object.

use super::Inner;
use crate::{
    images::{ImageError, Images},
    store::{Deleted, Image, Store, StoreError},
};
use uuid::Uuid;

/// What deleting an image came to.
#[derive(Debug, Clone)]
pub struct Deletion {
    pub image: Image,
    /// It was not deleted before.
    pub anew: bool,
    pub object: Object,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    /// It is gone from storage, with its smaller copies.
    Removed,
    /// Another image has the same object.
    Shared,
    /// Storage did not do it: the sweep tries again.
    Later,
}

/// Deletes an image: its row is marked, then its object goes. `team`: `None` for the operator. `None`: there is no
/// such image.
///
/// # Errors
/// The database is away; nothing is deleted.
///
/// # Cancellation
/// Dropped in between, the image is deleted and its object goes with the next sweep.
pub async fn delete_image(
    store: &Store,
    images: &Images,
    team: Option<&str>,
    id: Uuid,
) -> Result<Option<Deletion>, StoreError> {
    let Some(Deleted { image, anew }) = store.delete_image(team, id).await? else { return Ok(None) };
    if anew {
        tracing::info!(image.id = %id, job.id = %image.job_id, "an image was deleted");
    }
    let now_us = image.deleted_us.unwrap_or_default();
    let object = match remove(store, images, &image, now_us).await {
        Ok(object) => object,
        Err(error) => {
            tracing::warn!(image.id = %id, %error, "the object of a deleted image waits for the sweep");
            Object::Later
        }
    };
    Ok(Some(Deletion { image, anew, object }))
}

async fn remove(store: &Store, images: &Images, image: &Image, now_us: i64) -> Result<Object, ImageError> {
    if plugin_api::failpoint("image.deleted").is_err() {
        return Ok(Object::Later);
    }
    if store.shares_object(image, now_us).await? {
        return Ok(Object::Shared);
    }
    images.remove(&image.object_key).await?;
    Ok(Object::Removed)
}

/// Removes the objects of images and uploads whose time is over, and of images that were deleted; their rows follow.
/// What was deleted is remembered for `keep_us` after it. What cannot be removed now is tried in the next round.
///
/// # Errors
/// The database is away.
pub async fn sweep(store: &Store, images: &Images, now_us: i64, keep_us: i64) -> Result<(), StoreError> {
    let expired = store.expired(now_us).await?;
    let (mut gone, mut uploads) = (Vec::new(), Vec::new());
    for image in expired.images {
        match remove(store, images, &image, now_us).await {
            Ok(Object::Later) => {}
            Ok(_) => gone.push(image),
            Err(error) => tracing::warn!(image.id = %image.id, %error, "an object could not be removed"),
        }
    }
    for upload in expired.uploads {
        match images.remove(&upload.object_key).await {
            Ok(()) => uploads.push(upload.id),
            Err(error) => tracing::warn!(upload.id = %upload.id, %error, "an object could not be removed"),
        }
    }
    store.objects_gone(&gone, keep_us).await?;
    if uploads.is_empty() { Ok(()) } else { store.forget_objects(Vec::new(), uploads).await }
}

impl Inner {
    pub(super) async fn delete_image(&self, team: &str, id: Uuid) -> Result<Option<Deletion>, StoreError> {
        delete_image(&self.store, &self.images, Some(team), id).await
    }

    pub(super) async fn sweep_objects(&self) -> Result<(), StoreError> {
        let keep_us = self.live.load().settings.retention.as_us();
        sweep(&self.store, &self.images, self.clock.now_us(), keep_us).await
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        images::{ImageRows, Keep, Kept, LinkBase, LinkKeys, Settings as Storage},
        store::{Filter, Job, QueueCaps, Settings, Submit, Window},
        telemetry::{Clock as _, ManualClock, SharedClock},
    };
    use std::sync::Arc;
    use testkit::BucketServer;

    const PNG: &[u8] = include_bytes!("../images/testdata/fox_1024.png");

    struct NoRows;

    #[async_trait::async_trait]
    impl ImageRows for NoRows {
        async fn image(&self, _: Uuid) -> Result<Option<Image>, StoreError> {
            Ok(None)
        }
    }

    pub struct House {
        pub store: Store,
        pub images: Images,
        pub clock: Arc<ManualClock>,
        pub dir: tempfile::TempDir,
        _server: Option<BucketServer>,
    }

    impl House {
        async fn new() -> House {
            House::over(None).await
        }

        /// Over a folder, and over a bucket.
        pub async fn both() -> [House; 2] {
            [House::new().await, House::over(Some(BucketServer::start().await)).await]
        }

        async fn over(server: Option<BucketServer>) -> House {
            let dir = tempfile::tempdir().unwrap();
            let clock = ManualClock::at(1_795_219_200_000_000);
            let shared: SharedClock = clock.clone();
            let store = Store::open(&Settings::default(), dir.path(), shared.clone()).await.unwrap();
            let keys = LinkKeys { current: [7; 32], previous: Vec::new() };
            let rows = Arc::new(NoRows);
            let storage = match &server {
                None => Storage::default(),
                Some(server) => {
                    let options = serde_json::from_value(server.options()).unwrap();
                    Storage { kind: "s3".into(), options, ..Storage::default() }
                }
            };
            let images = Images::open(storage, dir.path(), &keys, LinkBase::File, rows, shared).unwrap();
            House { store, images, clock, dir, _server: server }
        }

        /// A job that runs, and the epoch of its lease.
        pub async fn started(&self) -> (Uuid, i64) {
            use crate::store::{Offer, Submitted};
            let now = self.clock.now_us();
            let (created_us, deadline_us) = (now, now + 1);
            let job = Job { created_us, updated_us: now, deadline_us, ..Job::sample("t", &["a"]) };
            let id = job.id;
            let offer = Offer { owner: "me".into(), lease_us: 1, slots: 1, caps: Default::default() };
            let queue = QueueCaps { team: None, overall: 10 };
            let submit = Submit {
                jobs: vec![job],
                idempotency: None,
                reservations: vec![],
                queue,
                offer: Some(offer),
            };
            let Submitted::Accepted { started, .. } = self.store.submit(submit).await.unwrap() else {
                panic!("it is accepted")
            };
            (id, started[0].attempt.epoch)
        }

        /// The object of a job that may have no row.
        pub async fn kept(&self, job_id: Uuid) -> Kept {
            let what = Keep { job_id, position: 0, team: "t", created_us: self.clock.now_us() };
            self.images.keep(what, &bytes::Bytes::from_static(PNG).into()).await.unwrap()
        }

        /// A finished job's image; `like`: in the object of another one.
        pub async fn stored(&self, like: Option<&Image>) -> Image {
            self.made(like, None).await
        }

        /// One that is kept for so many microseconds.
        async fn stored_for(&self, life_us: Option<i64>) -> Image {
            self.made(None, life_us).await
        }

        async fn made(&self, like: Option<&Image>, life_us: Option<i64>) -> Image {
            use crate::store::{End, Finish};
            let (job_id, epoch) = self.started().await;
            let kept = self.kept(job_id).await;
            let image = Image {
                id: Uuid::new_v4(),
                job_id,
                position: 0,
                team: "t".into(),
                object_key: like.map_or(kept.object_key, |image| image.object_key.clone()),
                mime: kept.mime.to_string(),
                width: kept.width as i32,
                height: kept.height as i32,
                bytes: kept.bytes as i64,
                sha256: kept.sha256,
                revised_prompt: None,
                seed: None,
                created_us: self.clock.now_us(),
                expires_us: life_us.map(|us| self.clock.now_us() + us),
                deleted_us: None,
            };
            let end = End::Completed {
                images: vec![image.clone()],
                cost: None,
                currency: None,
                adjustments: serde_json::json!([]),
            };
            let finish = Finish { job_id: image.job_id, epoch, end, attempt: None };
            self.store.finish(finish).await.unwrap();
            image
        }

        /// The object and its copies.
        async fn objects(&self, image: &Image) -> usize {
            let all = self.images.list().await.unwrap().next(100).await.unwrap();
            all.iter().filter(|key| key.starts_with(&image.object_key)).count()
        }
    }

    #[tokio::test]
    async fn the_object_and_its_copies_go_at_once() {
        for house in House::both().await {
            let image = house.stored(None).await;
            house.images.preview(&image, 64, u64::MAX).await.unwrap().expect("a preview");
            assert_eq!(house.objects(&image).await, 2);
            let done = delete_image(&house.store, &house.images, Some("t"), image.id).await.unwrap().unwrap();
            assert_eq!((done.anew, done.object), (true, Object::Removed));
            assert_eq!(house.objects(&image).await, 0);
            let again =
                delete_image(&house.store, &house.images, Some("t"), image.id).await.unwrap().unwrap();
            assert!(!again.anew && again.image.deleted_us == done.image.deleted_us);
            let others = delete_image(&house.store, &house.images, Some("b"), image.id).await.unwrap();
            assert!(others.is_none());
        }
    }

    #[tokio::test]
    async fn what_a_crash_leaves_behind_is_swept() {
        let house = House::new().await;
        let (image, kept) = (house.stored(None).await, house.stored(None).await);
        // The process died between the mark and the object.
        house.store.delete_image(Some("t"), image.id).await.unwrap();
        assert_eq!(house.objects(&image).await, 1);
        house.clock.advance(std::time::Duration::from_secs(1));
        sweep(&house.store, &house.images, house.clock.now_us(), 3_600_000_000).await.unwrap();
        assert_eq!((house.objects(&image).await, house.objects(&kept).await), (0, 1));
        let mark = house.store.image("t", image.id).await.unwrap().expect("it is remembered");
        assert!(mark.deleted_us.is_some());

        // A preview that was being made meanwhile lies there after all; the last round takes it along.
        let late = house.dir.path().join("images").join(format!("{}.copies/64.webp", image.object_key));
        std::fs::create_dir_all(late.parent().unwrap()).unwrap();
        std::fs::write(&late, "late").unwrap();
        house.clock.advance(std::time::Duration::from_secs(3_600));
        sweep(&house.store, &house.images, house.clock.now_us(), 3_600_000_000).await.unwrap();
        assert!(!late.exists() && house.store.image("t", image.id).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn of_two_images_in_one_object_the_last_takes_it_along() {
        for house in House::both().await {
            let one = house.stored(None).await;
            let two = house.stored(Some(&one)).await;
            let delete = async |image: &Image| {
                delete_image(&house.store, &house.images, None, image.id).await.unwrap().unwrap().object
            };
            assert_eq!(delete(&one).await, Object::Shared);
            assert_eq!(house.objects(&one).await, 1, "the other one has it");
            house.clock.advance(std::time::Duration::from_secs(1));
            sweep(&house.store, &house.images, house.clock.now_us(), 3_600_000_000).await.unwrap();
            assert_eq!(house.objects(&one).await, 1, "the sweep leaves it too");
            assert_eq!(delete(&two).await, Object::Removed);
            assert_eq!(house.objects(&one).await, 0);
            let left = house.store.list_images(&Filter::of_team("t"), Window::first(9)).await.unwrap();
            assert_eq!(left.total, 0);
        }
    }

    #[tokio::test]
    async fn retention_takes_the_object_with_its_copies() {
        for house in House::both().await {
            let (image, other) = (house.stored_for(Some(500_000)).await, house.stored(None).await);
            house.images.preview(&image, 64, u64::MAX).await.unwrap().expect("a preview");
            assert_eq!(house.objects(&image).await, 2);
            house.clock.advance(std::time::Duration::from_secs(1));
            sweep(&house.store, &house.images, house.clock.now_us(), 3_600_000_000).await.unwrap();
            assert_eq!((house.objects(&image).await, house.objects(&other).await), (0, 1));
            assert!(house.store.image("t", image.id).await.unwrap().is_none(), "the row goes after it");
        }
    }
}
