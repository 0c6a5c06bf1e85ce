mod settings;
pub use settings::{Delivery, Settings, Thumbnail, ThumbnailFormat};

use crate::store::{Image, StoreError};
use bytes::Bytes;
use plugin_api::Mime;

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
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A link to an image, and when it ends (microseconds UTC; `None`: never).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub url: String,
    pub expires_us: Option<i64>,
}

/// Stored images: verified, named, written once, handed out.
pub struct Images {}

#[allow(unused_variables, clippy::unused_async, clippy::todo)]
impl Images {
    /// The stored bytes, exactly as the vendor sent them.
    pub async fn full(&self, image: &Image) -> Result<Bytes, ImageError> {
        todo!()
    }
    /// A smaller copy, longest side at most `edge`, at most `max_bytes` long; made once and kept.
    /// `None`: this kind of image cannot be previewed.
    pub async fn preview(
        &self,
        image: &Image,
        edge: u32,
        max_bytes: u64,
    ) -> Result<Option<(Mime, Bytes)>, ImageError> {
        todo!()
    }
    /// A link that works from now on. Over HTTP `{public_url}/images/{id}.{ext}?...`; on stdio a `file:` URL.
    pub fn link(&self, image: &Image) -> Link {
        todo!()
    }
    /// The file's own path, where storage is a local folder and the caller is on this machine (stdio); else `None`.
    pub fn local_path(&self, image: &Image) -> Option<String> {
        todo!()
    }
}
