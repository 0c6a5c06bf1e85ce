//! Reference images: by id of an earlier image, by upload, by URL, or inline. All end as stored bytes with a handle.

use super::{Code, Inner, JobsError, Live, Owner, Refused};
use crate::{
    images::{ImageError, Kept},
    store::Upload,
    telemetry::utc,
};
use base64::Engine as _;
use bytes::Bytes;
use plugin_api::{Input, value::ByteSize};
use std::time::Duration;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};
use uuid::Uuid;

/// How long a stored reference is kept: longer than any job that uses it.
const LIFE_US: i64 = 24 * 3_600 * 1_000_000;
const FETCH: Duration = Duration::from_secs(30);

/// The memory for reference images while vendors are asked.
pub(super) struct Room {
    /// In KiB.
    free: Semaphore,
    whole: u32,
}

impl Room {
    pub fn new(memory: ByteSize) -> Room {
        let whole = u32::try_from(memory.0 >> 10).unwrap_or(u32::MAX).max(1);
        Room { free: Semaphore::new(whole as usize), whole }
    }

    /// Waits until so many bytes fit. More than there is room for at all fits alone.
    pub async fn share(&self, bytes: u64) -> Option<SemaphorePermit<'_>> {
        let kib = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX).min(self.whole);
        self.free.acquire_many(kib).await.ok()
    }
}

pub(super) struct References<'a> {
    pub inner: &'a Inner,
    pub live: &'a Live,
    pub owner: &'a Owner,
}

impl References<'_> {
    /// # Errors
    /// The handle names nothing of the team's, or its bytes are no image; the text names `field`.
    pub async fn take(&self, handle: &str, field: &str) -> Result<Input, JobsError> {
        let refuse = |text: String| JobsError::Refused(Refused::new(Code::InvalidRequest, text).field(field));
        if let Some(id) = handle.strip_prefix("upload://") {
            let upload = match id.parse::<Uuid>() {
                Ok(id) => self.inner.store.upload(&self.owner.team, id).await?,
                Err(_) => None,
            };
            let upload =
                upload.ok_or_else(|| refuse(format!("`{field}`: there is no upload `{handle}`.")))?;
            return Ok(input(&upload.object_key, &upload.mime, upload.width, upload.height));
        }
        if let Some(id) = image_id(handle) {
            let image = self.inner.store.image(&self.owner.team, id).await?;
            let image = image.ok_or_else(|| {
                refuse(format!("`{field}`: there is no image `{handle}`. Call list_generations to see the images there are."))
            })?;
            if let Some(at) = image.deleted_us {
                let at = utc(at);
                return Err(refuse(format!(
                    "`{field}`: the image `{handle}` was deleted on {at}. Call list_generations to see the images there are."
                )));
            }
            return Ok(input(&image.object_key, &image.mime, image.width, image.height));
        }
        let bytes = if let Some(data) = handle.strip_prefix("data:") {
            let data = data.split_once(";base64,").map(|(_, data)| data);
            let data = data.and_then(|d| base64::engine::general_purpose::STANDARD.decode(d.trim()).ok());
            Bytes::from(data.ok_or_else(|| refuse(format!("`{field}`: the data: URI is not base64.")))?)
        } else if handle.starts_with("https://") || handle.starts_with("http://") {
            let into = self.inner.spool.download(Uuid::new_v4(), 0);
            let (guard, until) = (&self.live.references, Instant::now() + FETCH);
            let blob = self.inner.clients.fetch(handle, guard, self.inner.max_image, until, &into).await;
            let blob = blob.map_err(|error| refuse(format!("`{field}`: {error}")))?;
            tokio::task::spawn_blocking(move || blob.read())
                .await
                .map_err(|e| refuse(e.to_string()))?
                .map_err(|e| refuse(format!("`{field}`: {e}")))?
        } else {
            return Err(refuse(format!(
                "`{field}`: `{}` is no image handle. Accepted: an image id, image://ID, upload://ID, an https: URL, a data: URI.",
                handle.chars().take(60).collect::<String>()
            )));
        };
        self.keep(bytes, field).await
    }

    async fn keep(&self, bytes: Bytes, field: &str) -> Result<Input, JobsError> {
        let id = Uuid::new_v4();
        let kept =
            self.inner.images.keep_reference(&self.owner.team, id, bytes).await.map_err(
                |error| match error {
                    ImageError::Unacceptable(why) => JobsError::Refused(
                        Refused::new(Code::InvalidRequest, format!("`{field}`: {why}")).field(field),
                    ),
                    error => JobsError::Refused(Refused::new(Code::StorageError, error.to_string())),
                },
            )?;
        let upload = self.inner.upload(id, self.owner, &kept);
        let input = input(&upload.object_key, &upload.mime, upload.width, upload.height);
        self.inner.store.add_upload(upload).await?;
        Ok(input)
    }
}

/// A `PUT` that was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    #[error(
        "This upload link is not valid: it was changed, or its 15 minutes are over. Call create_upload for a new one."
    )]
    NoSlot,
    #[error("This upload link was used already; call create_upload for a new one.")]
    Used,
    #[error("This is no image that can be used: {0}.")]
    NoImage(String),
    #[error("The upload cannot be stored at the moment; send it again.")]
    Away,
}

impl Inner {
    fn upload(&self, id: Uuid, owner: &Owner, kept: &Kept) -> Upload {
        let now = self.clock.now_us();
        Upload {
            id,
            team: owner.team.clone(),
            key_id: owner.key.clone(),
            object_key: kept.object_key.clone(),
            mime: kept.mime.as_str().into(),
            width: i32::try_from(kept.width).unwrap_or(i32::MAX),
            height: i32::try_from(kept.height).unwrap_or(i32::MAX),
            bytes: i64::try_from(kept.bytes).unwrap_or(i64::MAX),
            created_us: now,
            expires_us: now + LIFE_US.max(2 * self.live.load().settings.deadline.as_us()),
        }
    }

    /// Takes the bytes of an upload slot, once. The row comes first: of two at a time one wins.
    pub(super) async fn put_upload(&self, token: &str, bytes: Bytes) -> Result<(Uuid, Kept), PutError> {
        let slot = self.images.open_slot(token).ok_or(PutError::NoSlot)?;
        let kept = self.images.about_reference(&slot.team, slot.id, bytes.clone()).await.map_err(unusable)?;
        let owner = Owner { team: slot.team.clone(), key: slot.key, ..Owner::default() };
        let away = |error: &dyn std::fmt::Display| {
            tracing::warn!(upload.id = %slot.id, %error, "an upload could not be stored");
            PutError::Away
        };
        if !self.store.add_upload(self.upload(slot.id, &owner, &kept)).await.map_err(|e| away(&e))? {
            return Err(PutError::Used);
        }
        if let Err(error) = self.images.keep_reference(&slot.team, slot.id, bytes).await {
            // The link can be tried again.
            self.store.forget_objects(Vec::new(), vec![slot.id]).await.map_err(|e| away(&e))?;
            return Err(away(&error));
        }
        Ok((slot.id, kept))
    }
}

fn unusable(error: ImageError) -> PutError {
    match error {
        ImageError::Unacceptable(why) => PutError::NoImage(why),
        _ => PutError::Away,
    }
}

fn input(key: &str, mime: &str, width: i32, height: i32) -> Input {
    Input {
        handle: key.into(),
        mime: mime.into(),
        width: width.unsigned_abs(),
        height: height.unsigned_abs(),
        bytes: Bytes::new(),
    }
}

/// The id in `ID`, `image://ID` or `img_<provider>_ID`, the last being a predecessor's spelling.
pub fn image_id(text: &str) -> Option<Uuid> {
    let text = text.trim();
    let text = text.strip_prefix("image://").unwrap_or(text);
    let text = if text.starts_with("img_") { text.rsplit('_').next().unwrap_or(text) } else { text };
    Uuid::try_parse(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_one_id_in_every_spelling() {
        let id = Uuid::from_u128(7);
        for text in [format!("{id}"), format!(" image://{id} "), format!("img_my_openai_{id}")] {
            assert_eq!(image_id(&text), Some(id), "{text}");
        }
        for text in ["", "image://", "img_", "img_openai_", "upload://00000000-0000-0000-0000-000000000007"] {
            assert_eq!(image_id(text), None, "{text}");
        }
    }
}
