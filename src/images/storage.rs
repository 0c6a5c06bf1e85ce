//! Objects in a folder, in a bucket, or in memory, through opendal. An object is whole under its name or not there
//! at all.

use super::{
    ImageError, Settings,
    bucket::{self, Bucket},
    local::{self, Local, Temporary},
    name,
    verify::unread,
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use opendal::{ErrorKind, Operator};
use plugin_api::Blob;
use std::{
    fs, io,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::sync::{Semaphore, mpsc};

/// Blobs up to this size are handed to storage in one piece.
const WHOLE: u64 = 256 << 10;
const CHUNK: usize = 256 << 10;
/// What is copied from file to file at once: little enough to stay in the processor's cache.
const PIECE: usize = 64 << 10;
/// What a bucket gets in one request; more is sent in parts of this size. The least that S3 takes.
const PART: usize = 5 << 20;
/// Large images that are written to a local folder at the same time: a disk does more of them no faster.
const PENS: usize = 4;
/// And to a bucket, each with a part in memory.
const BUCKET_PENS: usize = 16;
/// An object never changes under its key. Caches may be those of one person alone.
const CACHE: &str = "private, max-age=31536000, immutable";

pub(super) struct Storage {
    operator: Operator,
    local: Option<Arc<Local>>,
    bucket: Option<Bucket>,
    pens: Semaphore,
    /// The bucket's service knows no write on the condition that nothing is there.
    unconditional: AtomicBool,
}

/// A write that failed: of reading what is to be written, or of storage.
enum Unwritten {
    Blob(ImageError),
    Storage(opendal::Error),
}

impl From<opendal::Error> for Unwritten {
    fn from(error: opendal::Error) -> Unwritten {
        Unwritten::Storage(error)
    }
}

impl Storage {
    pub fn open(settings: &Settings, data_dir: &Path) -> Result<Storage, ImageError> {
        if let Some(flaw) = settings.flaws().into_iter().next() {
            return Err(ImageError::Storage(format!("`{}`: {}", flaw.path, flaw.message)));
        }
        let (operator, local, bucket) = match settings.kind.as_str() {
            "s3" | "r2" => {
                let (operator, bucket) = bucket::open(settings)?;
                (operator, None, Some(bucket))
            }
            "memory" => (Operator::new(opendal::services::Memory::default()).map_err(opened)?, None, None),
            _ => {
                let root = folder(settings, data_dir);
                let local = Local::open(&root).map_err(|error| {
                    ImageError::Storage(format!("the folder {} cannot be used: {error}", root.display()))
                })?;
                let service = opendal::services::Fs::default().root(&local.root.to_string_lossy());
                (Operator::new(service).map_err(opened)?, Some(Arc::new(local)), None)
            }
        };
        let pens = Semaphore::new(if bucket.is_some() { BUCKET_PENS } else { PENS });
        Ok(Storage { operator, local, bucket, pens, unconditional: AtomicBool::new(false) })
    }

    /// The object's file, where storage is a folder.
    pub fn local_path(&self, key: &str) -> Option<PathBuf> {
        Some(self.local.as_ref()?.root.join(key))
    }

    /// A link of the bucket's own, that ends after `life`. `None`: storage is no bucket, or its credentials are
    /// being fetched just now.
    pub fn presigned(&self, key: &str, life: Duration) -> Option<String> {
        self.bucket.as_ref()?;
        let signing = pin!(async { self.operator.presign_read(key, life).await });
        // With credentials at hand nothing in it waits.
        match signing.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(request)) => Some(request.uri().to_string()),
            Poll::Ready(Err(error)) => {
                tracing::warn!(error = self.explain(&error), "the bucket signs no link");
                None
            }
            Poll::Pending => None,
        }
    }

    /// Writes an object unless it is there already with this length. On disk when it returns.
    pub async fn put_once(&self, key: &str, blob: &Blob) -> Result<(), ImageError> {
        if self.bucket.is_some() {
            return self.put_absent(key, blob).await;
        }
        match self.length(key).await? {
            // Settled all the same: the earlier writer may have died before it came to that.
            Some(length) if length == blob.len() => return self.settle(key).await,
            Some(length) => {
                tracing::warn!(key, found = length, expected = blob.len(), "a damaged object is replaced");
            }
            None => {}
        }
        self.send(key, blob, false).await.map_err(|error| self.unwritten(error))
    }

    /// Leaves it to the bucket whether the object is there already, and looks afterwards whether it is.
    async fn put_absent(&self, key: &str, blob: &Blob) -> Result<(), ImageError> {
        let mut absent = !self.unconditional.load(Relaxed);
        if !absent && self.length(key).await? == Some(blob.len()) {
            return Ok(());
        }
        loop {
            match self.send(key, blob, absent).await {
                Ok(()) => {}
                Err(Unwritten::Storage(error)) if absent && error.kind() == ErrorKind::ConditionNotMatch => {
                    match self.length(key).await? {
                        Some(length) if length == blob.len() => return Ok(()),
                        found => {
                            tracing::warn!(key, found, expected = blob.len(), "a damaged object is replaced");
                        }
                    }
                    absent = false;
                    continue;
                }
                Err(Unwritten::Storage(error))
                    if absent && bucket::code(&error) == Some("NotImplemented") =>
                {
                    tracing::info!(
                        "the bucket's service has no conditional writes: it is asked before each one"
                    );
                    self.unconditional.store(true, Relaxed);
                    absent = false;
                    continue;
                }
                Err(error) => return Err(self.unwritten(error)),
            }
            return match self.length(key).await? {
                Some(length) if length == blob.len() => Ok(()),
                found => Err(ImageError::Storage(format!(
                    "storage took an object of {} bytes, and then {}",
                    blob.len(),
                    found.map_or_else(|| "had none".into(), |found| format!("had one of {found}")),
                ))),
            };
        }
    }

    async fn send(&self, key: &str, blob: &Blob, absent: bool) -> Result<(), Unwritten> {
        let _pen = match blob.len() {
            // It is closed never.
            len if len > WHOLE => self.pens.acquire().await.ok(),
            _ => None,
        };
        if self.local.is_some() {
            let (key, blob) = (key.to_owned(), blob.clone());
            return self.locally(move |local| write_file(local, &key, &blob)).await.map_err(Unwritten::Blob);
        }
        let mut writer = self.writer(key, absent).await?;
        let written = match write_object(blob, &mut writer).await {
            Ok(()) => writer.close().await.map(drop).map_err(Unwritten::from),
            error => error,
        };
        if written.is_err() {
            writer.abort().await.ok();
        }
        written
    }

    /// Writes an object, over what is there. On disk when it returns.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<(), ImageError> {
        self.send(key, &Blob::from(bytes), false).await.map_err(|error| self.unwritten(error))
    }

    async fn writer(&self, key: &str, absent: bool) -> Result<opendal::Writer, opendal::Error> {
        if self.bucket.is_none() {
            return self.operator.writer(key).await;
        }
        let write = self.operator.writer_with(key).chunk(PART).if_not_exists(absent);
        write.content_type(name::content_type(key)).cache_control(CACHE).await
    }

    pub async fn read(&self, key: &str) -> Result<Bytes, ImageError> {
        Ok(self.operator.read(key).await.map_err(|e| self.failed(&e))?.to_bytes())
    }

    /// The object's length; `None`: there is none.
    pub async fn length(&self, key: &str) -> Result<Option<u64>, ImageError> {
        if let Some(path) = self.local_path(key) {
            // One look at a local disk costs less than the way to a thread that may wait, and back.
            return match fs::metadata(path) {
                Ok(found) => Ok(Some(found.len())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(refused(&error)),
            };
        }
        match self.operator.stat(key).await {
            Ok(found) => Ok(Some(found.content_length())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Bytes `from..to` in pieces, read as they are taken; it ends early, and reads no further, when nobody does.
    pub async fn stream(
        &self,
        key: &str,
        from: u64,
        to: u64,
    ) -> Result<mpsc::Receiver<io::Result<Bytes>>, ImageError> {
        let reader = self.operator.reader(key).await.map_err(|e| self.failed(&e))?;
        let (send, receive) = mpsc::channel(2);
        if self.bucket.is_some() {
            // One request for all of it.
            let mut pieces = reader.into_bytes_stream(from..to).await.map_err(|e| self.failed(&e))?;
            tokio::spawn(async move {
                let mut left = to - from;
                while let Some(piece) = pieces.next().await {
                    left = left.saturating_sub(piece.as_ref().map_or(0, |bytes| bytes.len() as u64));
                    let last = piece.is_err();
                    if send.send(piece).await.is_err() || last {
                        return;
                    }
                }
                if left > 0 {
                    send.send(Err(io::ErrorKind::UnexpectedEof.into())).await.ok();
                }
            });
            return Ok(receive);
        }
        tokio::spawn(async move {
            let mut at = from;
            while at < to {
                let end = to.min(at + CHUNK as u64);
                let piece = reader.read(at..end).await.map(|buffer| buffer.to_bytes());
                let piece = match piece {
                    Ok(bytes) if bytes.len() as u64 == end - at => Ok(bytes),
                    Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
                    Err(error) => Err(io::Error::other(cause(&error))),
                };
                let last = piece.is_err();
                if send.send(piece).await.is_err() || last {
                    return;
                }
                at = end;
            }
        });
        Ok(receive)
    }

    pub async fn remove_with_copies(&self, key: &str) -> Result<(), ImageError> {
        let copies = name::copies(key);
        self.operator.delete_with(&copies).recursive(true).await.map_err(|e| self.failed(&e))?;
        self.remove(key).await
    }

    /// Removes one object. None there is no error.
    pub async fn remove(&self, key: &str) -> Result<(), ImageError> {
        self.operator.delete(key).await.map_err(|e| self.failed(&e))
    }

    /// A walk over everything that is there.
    pub async fn list(&self) -> Result<opendal::Lister, ImageError> {
        self.operator.lister_with("").recursive(true).await.map_err(|e| self.failed(&e))
    }

    /// The next object of a walk; half-written files are none.
    pub async fn next_key(&self, lister: &mut opendal::Lister) -> Result<Option<String>, ImageError> {
        while let Some(entry) = lister.next().await {
            let entry = entry.map_err(|e| self.failed(&e))?;
            let half = self.local.is_some() && entry.path().starts_with(local::TEMP);
            if entry.metadata().mode().is_file() && !half {
                return Ok(Some(entry.path().to_owned()));
            }
        }
        Ok(None)
    }

    /// Length and time of the last write, in microseconds UTC.
    pub async fn about(&self, key: &str) -> Result<Option<(u64, Option<i64>)>, ImageError> {
        match self.operator.stat(key).await {
            Ok(found) => {
                let written = found.last_modified().map(|at| at.into_inner().as_microsecond());
                Ok(Some((found.content_length(), written)))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    pub async fn probe(&self) -> Result<(), ImageError> {
        let key = format!(".probe-{}", uuid::Uuid::new_v4());
        let sent = Bytes::from_static(b"probe");
        self.put(&key, sent.clone()).await?;
        let back = self.read(&key).await;
        self.remove(&key).await?;
        if back? == sent {
            Ok(())
        } else {
            Err(ImageError::Storage("storage gave other bytes back than it was given".into()))
        }
    }

    /// opendal syncs the file, not the folder that names it: without this a power cut may lose the name.
    async fn settle(&self, key: &str) -> Result<(), ImageError> {
        let Some(file) = self.local_path(key) else { return Ok(()) };
        self.locally(move |local| local.settle(&file).map_err(|error| refused(&error))).await
    }

    /// Does `work` on the local folder, if there is one, in one trip to a thread that may wait.
    async fn locally(
        &self,
        work: impl FnOnce(&Local) -> Result<(), ImageError> + Send + 'static,
    ) -> Result<(), ImageError> {
        let Some(local) = self.local.clone() else { return Ok(()) };
        let done = tokio::task::spawn_blocking(move || work(&local)).await;
        done.unwrap_or_else(|_| Err(ImageError::Storage("the folder of images was not changed".into())))
    }

    /// A write that does not find its folder is no missing image.
    fn unwritten(&self, error: Unwritten) -> ImageError {
        match error {
            Unwritten::Blob(error) => error,
            Unwritten::Storage(error) => match self.failed(&error) {
                ImageError::Missing => ImageError::Storage("the folder of images is gone".into()),
                other => other,
            },
        }
    }

    fn failed(&self, error: &opendal::Error) -> ImageError {
        if error.kind() == ErrorKind::NotFound {
            return ImageError::Missing;
        }
        tracing::warn!(error = %error, "image storage failed");
        ImageError::Storage(self.explain(error))
    }

    fn explain(&self, error: &opendal::Error) -> String {
        self.bucket.as_ref().map_or_else(|| cause(error), |bucket| bucket.explain(error))
    }
}

/// The folder of images, where storage is one.
fn folder(settings: &Settings, data_dir: &Path) -> PathBuf {
    data_dir.join(settings.options.root.as_deref().unwrap_or("images"))
}

/// Where objects lie, for people.
pub fn place(settings: &Settings, data_dir: &Path) -> String {
    let options = &settings.options;
    match settings.kind.as_str() {
        "fs" => folder(settings, data_dir).display().to_string(),
        "memory" => "this process alone".into(),
        _ => {
            let root = options.root.as_deref().unwrap_or_default().trim_matches('/');
            let below = if root.is_empty() { String::new() } else { format!(", below {root}/") };
            format!("the bucket {}{below}", options.bucket.as_deref().unwrap_or_default())
        }
    }
}

/// Writes a file of a folder: under a temporary name until it is whole and synced. (opendal takes a trip to another
/// thread for each step; its `atomic_write_dir` repeats the key's folders in there and leaves them behind.) Blocking.
fn write_file(local: &Local, key: &str, blob: &Blob) -> Result<(), ImageError> {
    let temp = Temporary::below(&local.root);
    let mut file = temp.create().map_err(|error| refused(&error))?;
    let mut reader = blob.reader().map_err(unread)?;
    let mut piece = vec![0; PIECE.min(usize::try_from(blob.len()).unwrap_or(PIECE))];
    let mut left = blob.len();
    while left > 0 {
        match reader.read(&mut piece) {
            Ok(0) => return Err(unread(io::ErrorKind::UnexpectedEof.into())),
            Ok(n) => {
                file.write_all(piece.get(..n).unwrap_or_default()).map_err(|error| refused(&error))?;
                left = left.saturating_sub(n as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unread(error)),
        }
    }
    half_way()?;
    let named = file.sync_all().and_then(|()| local.give_name(&temp.path, &local.root.join(key)));
    named.map_err(|error| refused(&error))
}

/// All of an object but its end, to a service.
async fn write_object(blob: &Blob, writer: &mut opendal::Writer) -> Result<(), Unwritten> {
    if blob.len() <= WHOLE {
        let bytes = blob.read().map_err(|error| Unwritten::Blob(unread(error)))?;
        writer.write(bytes).await?;
    } else {
        pour(blob, writer).await?;
    }
    half_way().map_err(Unwritten::Blob)
}

/// Where the fault harness breaks in: storage fails, not the blob.
fn half_way() -> Result<(), ImageError> {
    plugin_api::failpoint("image.half").map_err(|error| ImageError::Storage(error.to_string()))
}

/// Reads the blob off the async threads, a few pieces ahead of storage.
async fn pour(blob: &Blob, writer: &mut opendal::Writer) -> Result<(), Unwritten> {
    let unread = |error| Unwritten::Blob(unread(error));
    let (send, mut receive) = mpsc::channel::<io::Result<Bytes>>(2);
    let blob = blob.clone();
    let expected = blob.len();
    let reading = tokio::task::spawn_blocking(move || {
        let mut reader = match blob.reader() {
            Ok(reader) => reader,
            Err(error) => return drop(send.blocking_send(Err(error))),
        };
        loop {
            let mut piece = Vec::with_capacity(CHUNK);
            let read = reader.by_ref().take(CHUNK as u64).read_to_end(&mut piece);
            let last = !matches!(read, Ok(n) if n > 0);
            if let Ok(0) = read {
                return;
            }
            if send.blocking_send(read.map(|_| piece.into())).is_err() || last {
                return;
            }
        }
    });
    let mut written = 0;
    while let Some(piece) = receive.recv().await {
        let piece = piece.map_err(unread)?;
        written += piece.len() as u64;
        writer.write(piece).await?;
    }
    reading.await.map_err(|_| unread(io::ErrorKind::Interrupted.into()))?;
    if written == expected { Ok(()) } else { Err(unread(io::ErrorKind::UnexpectedEof.into())) }
}

/// The local disk says no.
fn refused(error: &io::Error) -> ImageError {
    tracing::warn!(%error, "image storage failed");
    ImageError::Storage(error.to_string())
}

fn opened(error: opendal::Error) -> ImageError {
    ImageError::Storage(error.message().to_owned())
}

/// In the words of the innermost cause: "No space left on device", not "unexpected error".
fn cause(error: &opendal::Error) -> String {
    let mut text = error.message().to_owned();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    text
}
