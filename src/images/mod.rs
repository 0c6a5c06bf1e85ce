//! Stored images: verified, named, written once, handed out. Only this module touches storage; it fetches
//! nothing (`outbound` does) and holds no rows (`store` does, and answers through [`ImageRows`]).

mod audit;
mod bucket;
mod copy;
mod link;
mod local;
mod name;
mod options;
mod preview;
mod range;
mod serve;
mod settings;
mod slot;
mod storage;
mod structure;
mod verify;

pub use audit::{Digest, Listing, Owner};
pub use link::{Link, LinkBase, LinkKeys};
pub use options::{Checksum, Flaw, Options};
pub use serve::ImageBody;
pub use settings::{Delivery, Settings, Thumbnail, ThumbnailFormat};
pub use slot::{Slot, SlotLink};
pub use storage::place;

use crate::{
    store::{Image, StoreError},
    telemetry::SharedClock,
};
use async_trait::async_trait;
use bytes::Bytes;
use plugin_api::{Blob, Mime, Sniffed};
use std::{path::Path, sync::Arc};
use storage::Storage;
use tokio::sync::Semaphore;
use uuid::Uuid;

/// Large images that are verified at the same time: each takes a thread and its buffers.
const VERIFYING: usize = 4;

/// Storing or reading an image failed.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The bytes are no image that is kept, or break a cap; the sentence says which.
    #[error("{0}")]
    Unacceptable(String),
    #[error("the image is gone from storage")]
    Missing,
    #[error("image storage failed: {0}")]
    Storage(String),
    /// The bytes that are to be stored are gone or cannot be read; nothing is wrong with storage.
    #[error("{0}")]
    Unread(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where the rows of images are looked up when a link is followed.
#[async_trait]
pub trait ImageRows: Send + Sync + 'static {
    async fn image(&self, id: Uuid) -> Result<Option<Image>, StoreError>;
}

/// What an image belongs to; its object key is made of this and of its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Keep<'a> {
    pub job_id: Uuid,
    /// 0, 1, ... within the job.
    pub position: u32,
    pub team: &'a str,
    /// When the job was made, so that a repeat finds the same key.
    pub created_us: i64,
}

/// What was stored, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub object_key: String,
    /// Sniffed.
    pub mime: Mime,
    pub width: u32,
    pub height: u32,
    pub bytes: u64,
    /// Hexadecimal.
    pub sha256: String,
}

/// Stored images: verified, named, written once, handed out.
pub struct Images {
    settings: Settings,
    storage: Storage,
    links: link::Links,
    workshop: preview::Workshop,
    verifying: Arc<Semaphore>,
    rows: Arc<dyn ImageRows>,
    clock: SharedClock,
}

impl Images {
    /// Opens the storage that the settings name; a local folder is created, and what broken writes left in it
    /// more than an hour ago is removed.
    ///
    /// # Errors
    /// The settings do not fit together, or the folder cannot be used.
    pub fn open(
        settings: Settings,
        data_dir: &Path,
        keys: &LinkKeys,
        base: LinkBase,
        rows: Arc<dyn ImageRows>,
        clock: SharedClock,
    ) -> Result<Images, ImageError> {
        let storage = Storage::open(&settings, data_dir)?;
        let links = link::Links::new(&settings, keys, base);
        let verifying = Arc::new(Semaphore::new(VERIFYING));
        let workshop = preview::Workshop::new();
        Ok(Images { storage, links, workshop, verifying, rows, clock, settings })
    }

    /// Whether these bytes would be stored: type, caps and structure, all without decoding a pixel.
    ///
    /// # Errors
    /// `Unacceptable` with the reason; `Unread` when the bytes cannot be read.
    pub async fn check(&self, blob: &Blob) -> Result<Sniffed, ImageError> {
        Ok(self.verify(blob).await?.sniffed)
    }

    /// Stores the vendor's bytes exactly as they came. They are on disk when this returns, and a repeat with the
    /// same arguments changes nothing.
    ///
    /// # Errors
    /// `Unacceptable` with the reason; `Storage` when storage fails, `Unread` when the spool does (worth a retry).
    pub async fn keep(&self, what: Keep<'_>, blob: &Blob) -> Result<Kept, ImageError> {
        let blob = &at_hand(blob)?;
        let verified = self.verify(blob).await?;
        let object_key = name::object_key(&what, verified.sniffed.mime, &verified.sha256);
        self.store(object_key, verified, blob).await
    }

    /// Stores a caller's reference image under the id of its upload.
    ///
    /// # Errors
    /// As [`Images::keep`].
    pub async fn keep_reference(&self, team: &str, id: Uuid, bytes: Bytes) -> Result<Kept, ImageError> {
        let about = self.about_reference(team, id, bytes.clone()).await?;
        self.storage.put_once(&about.object_key, &Blob::from(bytes)).await?;
        Ok(about)
    }

    /// Largest image that is kept, in bytes.
    pub fn largest(&self) -> u64 {
        self.settings.max_image.0
    }

    /// What [`Images::keep_reference`] would store, and where; nothing is written.
    ///
    /// # Errors
    /// `Unacceptable` with the reason.
    pub async fn about_reference(&self, team: &str, id: Uuid, bytes: Bytes) -> Result<Kept, ImageError> {
        let verified = self.verify(&Blob::from(bytes)).await?;
        Ok(kept(name::upload_key(team, id, verified.sniffed.mime), verified))
    }

    async fn store(
        &self,
        object_key: String,
        verified: verify::Verified,
        blob: &Blob,
    ) -> Result<Kept, ImageError> {
        self.storage.put_once(&object_key, blob).await?;
        Ok(kept(object_key, verified))
    }

    async fn verify(&self, blob: &Blob) -> Result<verify::Verified, ImageError> {
        let caps = verify::Caps { bytes: self.settings.max_image.0, pixels: self.settings.max_pixels };
        if blob.len() <= verify::INLINE {
            return verify::verify(blob, caps);
        }
        // It is closed never.
        let turn = self.verifying.clone().acquire_owned().await.ok();
        let blob = blob.clone();
        let work = tokio::task::spawn_blocking(move || {
            // Until it ends, also where nobody waits for it any more.
            let _turn = turn;
            verify::verify(&blob, caps)
        });
        work.await.map_err(|_| ImageError::Storage("the check of the image broke off".into()))?
    }

    /// The stored bytes, exactly as the vendor sent them.
    ///
    /// # Errors
    /// `Missing`: no object, or one of another length. `Storage`: it cannot be read now.
    pub async fn full(&self, image: &Image) -> Result<Bytes, ImageError> {
        let bytes = self.storage.read(&image.object_key).await?;
        if bytes.len() as i64 != image.bytes {
            tracing::error!(image.id = %image.id, found = bytes.len(), recorded = image.bytes, "stored image has another length");
            return Err(ImageError::Missing);
        }
        Ok(bytes)
    }

    /// The bytes of an object by its key: a caller's reference image.
    ///
    /// # Errors
    /// As [`Images::full`].
    pub async fn read_object(&self, object_key: &str) -> Result<Bytes, ImageError> {
        self.storage.read(object_key).await
    }

    /// Length of an object in bytes.
    ///
    /// # Errors
    /// As [`Images::full`].
    pub async fn object_bytes(&self, object_key: &str) -> Result<u64, ImageError> {
        self.storage.length(object_key).await?.ok_or(ImageError::Missing)
    }

    /// Deletes an object and the smaller copies beside it. One that is gone already is no error.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn remove(&self, object_key: &str) -> Result<(), ImageError> {
        self.storage.remove_with_copies(object_key).await
    }

    /// Writes, reads and deletes a tiny object.
    ///
    /// # Errors
    /// `Storage`, in the words of what failed: a full disk, a missing right.
    pub async fn health(&self) -> Result<(), ImageError> {
        self.storage.probe().await
    }

    /// A smaller copy, longest side at most `edge`, at most `max_bytes` long; made once and kept.
    /// `None`: this kind of image cannot be previewed, or nothing that small can be made of it.
    ///
    /// # Errors
    /// As [`Images::full`].
    pub async fn preview(
        &self,
        image: &Image,
        edge: u32,
        max_bytes: u64,
    ) -> Result<Option<(Mime, Bytes)>, ImageError> {
        preview::preview(self, image, edge, max_bytes).await
    }

    /// The preview of the configured edge.
    ///
    /// # Errors
    /// As [`Images::full`].
    pub async fn thumbnail(&self, image: &Image) -> Result<Option<(Mime, Bytes)>, ImageError> {
        self.preview(image, self.settings.thumbnail.edge, u64::MAX).await
    }

    /// A link that works from now on. Over HTTP `{public_url}/images/{id}.{ext}?...`; on stdio a `file:` URL.
    pub fn link(&self, image: &Image) -> Link {
        self.links.link(image, link::extension(image), self.clock.now_us(), &self.storage)
    }

    /// Where links to images lead: `scheme://host:port` each, none for files.
    pub fn origins(&self) -> Vec<String> {
        self.links.origins(&self.storage)
    }

    /// A link to the thumbnail, `{id}-thumb.webp`; `None` where there is none, or nobody to serve it.
    pub fn thumbnail_link(&self, image: &Image) -> Option<Link> {
        let mime = Mime::parse(&image.mime)?;
        (preview::possible(mime) && self.links.served()).then(|| {
            let ending = link::thumb_ending(self.settings.thumbnail.format);
            self.links.link(image, ending, self.clock.now_us(), &self.storage)
        })
    }

    /// The file's own path, where storage is a local folder and the caller is on this machine (stdio); else `None`.
    pub fn local_path(&self, image: &Image) -> Option<String> {
        if self.links.served() {
            return None;
        }
        Some(self.storage.local_path(&image.object_key)?.to_string_lossy().into_owned())
    }
}

/// A small image in memory, so that its file is read once for the check and for storage; a large one stays where it is.
fn at_hand(blob: &Blob) -> Result<Blob, ImageError> {
    if blob.len() > verify::INLINE || blob.is_damaged() {
        return Ok(blob.clone());
    }
    let bytes = blob.read().map_err(verify::unread)?;
    if bytes.len() as u64 != blob.len() {
        return Err(verify::unread(std::io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(bytes.into())
}

fn kept(object_key: String, verified: verify::Verified) -> Kept {
    let verify::Verified { sniffed: Sniffed { mime, width, height }, sha256, bytes } = verified;
    Kept { object_key, mime, width, height, bytes, sha256 }
}

#[cfg(test)]
mod tests;
