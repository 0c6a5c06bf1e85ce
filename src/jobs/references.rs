//! Reference images: by id of an earlier image, by upload, by URL, or inline. All end as stored bytes with a handle.

use super::{Code, Inner, JobsError, Owner, Refused};
use crate::{images::ImageError, store::Upload};
use base64::Engine as _;
use bytes::Bytes;
use plugin_api::Input;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// How long a stored reference is kept: longer than any job that uses it.
const LIFE_US: i64 = 24 * 3_600 * 1_000_000;
const FETCH: Duration = Duration::from_secs(30);

pub(super) struct References<'a> {
    pub inner: &'a Inner,
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
            return Ok(input(&image.object_key, &image.mime, image.width, image.height));
        }
        let bytes = if let Some(data) = handle.strip_prefix("data:") {
            let data = data.split_once(";base64,").map(|(_, data)| data);
            let data = data.and_then(|d| base64::engine::general_purpose::STANDARD.decode(d.trim()).ok());
            Bytes::from(data.ok_or_else(|| refuse(format!("`{field}`: the data: URI is not base64.")))?)
        } else if handle.starts_with("https://") || handle.starts_with("http://") {
            let into = self.inner.spool.download(Uuid::new_v4(), 0);
            let (guard, until) = (&self.inner.reference_guard, Instant::now() + FETCH);
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
        let now = self.inner.clock.now_us();
        let upload = Upload {
            id,
            team: self.owner.team.clone(),
            key_id: self.owner.key.clone(),
            object_key: kept.object_key,
            mime: kept.mime.as_str().into(),
            width: i32::try_from(kept.width).unwrap_or(i32::MAX),
            height: i32::try_from(kept.height).unwrap_or(i32::MAX),
            bytes: i64::try_from(kept.bytes).unwrap_or(i64::MAX),
            created_us: now,
            expires_us: now + LIFE_US.max(2 * self.inner.settings.deadline.as_us()),
        };
        let input = input(&upload.object_key, &upload.mime, upload.width, upload.height);
        self.inner.store.add_upload(upload).await?;
        Ok(input)
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

/// `ID`, `image://ID` or `img_<provider>_ID`.
pub fn image_id(text: &str) -> Option<Uuid> {
    let text = text.strip_prefix("image://").unwrap_or(text);
    let text = if text.starts_with("img_") { text.rsplit('_').next().unwrap_or(text) } else { text };
    (text.len() == 36).then(|| text.parse().ok()).flatten()
}
