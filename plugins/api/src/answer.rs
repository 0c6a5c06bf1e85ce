//! A vendor's complete answer: status, headers, the text to parse, and the large parts on disk.

use crate::{ErrorClass, ProviderError, Sniffed, lift, sniff};
use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use std::{
    io::{self, Read, Seek, SeekFrom},
    path::PathBuf,
    sync::Arc,
};

/// A file that goes when the last blob in it goes, unless it is kept for a restart.
#[derive(Debug)]
pub(crate) struct BlobFile {
    pub path: PathBuf,
    pub temporary: bool,
}

impl Drop for BlobFile {
    fn drop(&mut self) {
        if self.temporary {
            std::fs::remove_file(&self.path).ok();
        }
    }
}

/// Bytes of an answer: a stretch of a file in the spool, or a few bytes in memory.
#[derive(Debug, Clone)]
pub struct Blob(Inner);

#[derive(Debug, Clone)]
enum Inner {
    Memory { bytes: Bytes, damaged: bool },
    File { file: Arc<BlobFile>, offset: u64, len: u64, damaged: bool },
}

impl From<Bytes> for Blob {
    fn from(bytes: Bytes) -> Blob {
        Blob::in_memory(bytes, false)
    }
}

impl Blob {
    pub(crate) fn in_memory(bytes: Bytes, damaged: bool) -> Blob {
        Blob(Inner::Memory { bytes, damaged })
    }

    pub(crate) fn in_file(file: Arc<BlobFile>, offset: u64, len: u64, damaged: bool) -> Blob {
        Blob(Inner::File { file, offset, len, damaged })
    }

    /// A file that already lies in the spool, whole; it is deleted with the last copy of the blob.
    pub fn temporary_file(path: PathBuf, len: u64) -> Blob {
        Blob::in_file(Arc::new(BlobFile { path, temporary: true }), 0, len, false)
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Inner::Memory { bytes, .. } => bytes.len() as u64,
            Inner::File { len, .. } => *len,
        }
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The base64 it came from was broken.
    pub fn is_damaged(&self) -> bool {
        matches!(self.0, Inner::File { damaged: true, .. } | Inner::Memory { damaged: true, .. })
    }

    /// Opens the bytes for reading from their beginning. Blocking: one file open and one seek.
    pub fn reader(&self) -> io::Result<Box<dyn Read + Send>> {
        match &self.0 {
            Inner::Memory { bytes, .. } => Ok(Box::new(io::Cursor::new(bytes.clone()))),
            Inner::File { file, offset, len, .. } => {
                let mut open = std::fs::File::open(&file.path)?;
                open.seek(SeekFrom::Start(*offset))?;
                Ok(Box::new(open.take(*len)))
            }
        }
    }

    /// All bytes, in memory. Blocking.
    pub fn read(&self) -> io::Result<Bytes> {
        if let Inner::Memory { bytes, .. } = &self.0 {
            return Ok(bytes.clone());
        }
        let mut all = Vec::with_capacity(self.len() as usize);
        self.reader()?.read_to_end(&mut all)?;
        Ok(all.into())
    }

    /// The first bytes, at most `n`. Blocking.
    pub fn head(&self, n: usize) -> io::Result<Bytes> {
        let mut head = Vec::with_capacity(n.min(self.len() as usize));
        self.reader()?.take(n as u64).read_to_end(&mut head)?;
        Ok(head.into())
    }

    /// Type and size of the image, by its first 64 KiB, or by all of it where those do not tell.
    pub fn sniff(&self) -> Option<Sniffed> {
        const HEAD: usize = 64 << 10;
        sniff(&self.head(HEAD).ok()?)
            .or_else(|| if self.len() > HEAD as u64 { sniff(&self.read().ok()?) } else { None })
    }
}

/// The answer to one request, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The text, with its long base64 strings lifted out; empty when the body is binary.
    pub text: Bytes,
    /// What was lifted out, by the numbers in the markers; a binary body is the only blob.
    pub blobs: Vec<Blob>,
    /// The body is binary: no JSON, no text.
    pub binary: bool,
    /// The body ended before its announced length.
    pub cut_short: bool,
}

impl Answer {
    /// Parses the text as JSON.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.text)
    }

    /// A stream of server-sent events, by its type or its first line.
    pub fn is_event_stream(&self) -> bool {
        let said = self.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
        said || self.text.starts_with(b"event:") || self.text.starts_with(b"data:")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The bytes behind a base64 string of the text: lifted ones by their marker, short ones decoded here, with or
    /// without a `data:` prefix or line breaks.
    ///
    /// # Errors
    /// `bad_response`, spend certain: it is no base64, or it was cut.
    pub fn blob(&self, text: &str) -> Result<Blob, ProviderError> {
        let bad =
            || ProviderError::new(ErrorClass::BadResponse, "the vendor's image data is not valid base64");
        if let Some(number) = text.strip_prefix(lift::MARK) {
            let blob = number.parse::<usize>().ok().and_then(|n| self.blobs.get(n)).ok_or_else(bad)?;
            return if blob.is_damaged() || blob.is_empty() { Err(bad()) } else { Ok(blob.clone()) };
        }
        let mut clean = lift::strip_data_prefix(text.as_bytes()).to_vec();
        clean.retain(|b| !b.is_ascii_whitespace());
        let bytes = lift::BASE64.decode(&clean).map_err(|_| bad())?;
        if bytes.is_empty() { Err(bad()) } else { Ok(Blob::from(Bytes::from(bytes))) }
    }
}
