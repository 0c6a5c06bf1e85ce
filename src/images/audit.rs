//! Storage looked at from outside: what lies there, whether it is what it should be, and its replacement.

use super::{ImageError, Images, name};
use bytes::Bytes;
use ring::digest;
use uuid::Uuid;

/// Whose an object is, as its key tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The key of the image or upload: of a smaller copy, that of its original.
    pub object_key: String,
    /// The job that stored it; `None` for an upload.
    pub job_id: Option<Uuid>,
}

/// An object by its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    pub bytes: u64,
    /// Hexadecimal.
    pub sha256: String,
}

/// A walk over every object.
pub struct Listing<'a> {
    images: &'a Images,
    lister: opendal::Lister,
}

impl Images {
    /// Begins a walk over all objects.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn list(&self) -> Result<Listing<'_>, ImageError> {
        Ok(Listing { images: self, lister: self.storage.list().await? })
    }

    /// Whose object this key is; `None`: no key that this program makes.
    pub fn owner(key: &str) -> Option<Owner> {
        name::owner(key)
    }

    /// Length of an object, and when it was written (microseconds UTC). `None`: there is none.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn about(&self, object_key: &str) -> Result<Option<(u64, Option<i64>)>, ImageError> {
        self.storage.about(object_key).await
    }

    /// Reads a whole object, piece by piece. `None`: there is none.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn digest(&self, object_key: &str) -> Result<Option<Digest>, ImageError> {
        let Some(bytes) = self.storage.length(object_key).await? else { return Ok(None) };
        let mut hash = digest::Context::new(&digest::SHA256);
        if bytes > 0 {
            let mut pieces = self.storage.stream(object_key, 0, bytes).await?;
            while let Some(piece) = pieces.recv().await {
                hash.update(&piece.map_err(|error| ImageError::Storage(error.to_string()))?);
            }
        }
        Ok(Some(Digest { bytes, sha256: hex::encode(hash.finish()) }))
    }

    /// Writes an object over what is there, if these bytes are what they should be. Says whether they were.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn restore(&self, object_key: &str, wanted: &Digest, bytes: Bytes) -> Result<bool, ImageError> {
        let found = hex::encode(digest::digest(&digest::SHA256, &bytes));
        if bytes.len() as u64 != wanted.bytes || found != wanted.sha256 {
            return Ok(false);
        }
        self.storage.put(object_key, bytes).await?;
        Ok(true)
    }

    /// Deletes this one object and nothing beside it.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn remove_object(&self, object_key: &str) -> Result<(), ImageError> {
        self.storage.remove(object_key).await
    }
}

impl Listing<'_> {
    /// At most `most` further keys; none at the end.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn next(&mut self, most: usize) -> Result<Vec<String>, ImageError> {
        let mut keys = Vec::new();
        while keys.len() < most {
            match self.images.storage.next_key(&mut self.lister).await? {
                Some(key) => keys.push(key),
                None => break,
            }
        }
        Ok(keys)
    }
}
