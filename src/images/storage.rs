//! Objects: opendal, and what it leaves to its caller on a local disk (fsync of folders, leftovers of broken
//! writes). An object is whole under its name or not there at all.

use super::{ImageError, Settings};
use bytes::Bytes;
use opendal::{ErrorKind, Operator};
use parking_lot::Mutex;
use plugin_api::Blob;
use std::{
    collections::HashSet,
    fs, io,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::mpsc;

/// Blobs up to this size are handed to storage in one piece.
const WHOLE: u64 = 256 << 10;
const CHUNK: usize = 256 << 10;
/// Where half-written files lie; the same file system, so that the rename is atomic.
const TEMP: &str = ".temp";
/// Other processes share the folder: only what is older can no longer be theirs.
const LEFTOVER: Duration = Duration::from_secs(3_600);

pub(super) struct Storage {
    operator: Operator,
    local: Option<Arc<Local>>,
}

/// A folder of this machine.
struct Local {
    root: PathBuf,
    /// Folders whose own entry is known to be on disk.
    settled: Mutex<HashSet<PathBuf>>,
}

impl Storage {
    pub fn open(settings: &Settings, data_dir: &Path) -> Result<Storage, ImageError> {
        let option = |name: &str| settings.options.get(name).and_then(serde_json::Value::as_str);
        if settings.kind != "fs" {
            return Storage::remote(settings);
        }
        if let Some(name) = settings.options.keys().find(|name| option(name).is_none() || *name != "root") {
            return Err(ImageError::Storage(format!(
                "`storage.options.{name}`: `kind: fs` has one option, `root`, the path of a folder"
            )));
        }
        let root = data_dir.join(option("root").unwrap_or("images"));
        let temp = root.join(TEMP);
        let refuse = |error: io::Error| {
            ImageError::Storage(format!("the folder {} cannot be used: {error}", root.display()))
        };
        private_folder(&temp).map_err(refuse)?;
        let root = root.canonicalize().map_err(refuse)?;
        sweep(&temp);
        let service = opendal::services::Fs::default().root(&root.to_string_lossy());
        let operator = Operator::new(service).map_err(|e| failed(&e))?;
        let local = Arc::new(Local { root, settled: Mutex::default() });
        Ok(Storage { operator, local: Some(local) })
    }

    /// Any other service that was built in, by its opendal name.
    fn remote(settings: &Settings) -> Result<Storage, ImageError> {
        let options = settings.options.iter().map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (name.clone(), text)
        });
        let operator = Operator::via_iter(&settings.kind, options).map_err(|error| {
            ImageError::Storage(format!("`storage.kind: {}` cannot be opened: {error}", settings.kind))
        })?;
        let operator = operator
            .layer(opendal::layers::TimeoutLayer::new())
            .layer(opendal::layers::RetryLayer::new().with_jitter());
        Ok(Storage { operator, local: None })
    }

    /// The object's file, where storage is a folder.
    pub fn local_path(&self, key: &str) -> Option<PathBuf> {
        Some(self.local.as_ref()?.root.join(key))
    }

    /// Writes an object unless it is there already with this length. On disk when it returns.
    pub async fn put_once(&self, key: &str, blob: &Blob) -> Result<(), ImageError> {
        match self.length(key).await? {
            // Settled all the same: the earlier writer may have died before it came to that.
            Some(length) if length == blob.len() => return self.settle(key).await,
            Some(length) => {
                tracing::warn!(key, found = length, expected = blob.len(), "a damaged object is replaced");
            }
            None => {}
        }
        if blob.len() <= WHOLE {
            let bytes = blob.read().map_err(unread)?;
            return self.put(key, bytes).await;
        }
        let mut draft = self.draft(key).await?;
        match pour(blob, &mut draft.writer).await {
            Ok(()) => self.publish(draft, key).await,
            Err(error) => Err(draft.give_up(error).await),
        }
    }

    /// Writes an object, over what is there. On disk when it returns.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<(), ImageError> {
        let mut draft = self.draft(key).await?;
        match draft.writer.write(bytes).await {
            Ok(()) => self.publish(draft, key).await,
            Err(error) => Err(draft.give_up(unwritten(&error)).await),
        }
    }

    /// On a local disk an object is written under a temporary name first. (opendal's own `atomic_write_dir` repeats
    /// the key's folders in there and leaves them behind: one empty folder per job.)
    async fn draft(&self, key: &str) -> Result<Draft, ImageError> {
        let temp = self.local.as_ref().map(|local| {
            let key = format!("{TEMP}/{}", uuid::Uuid::new_v4());
            Temporary { path: local.root.join(&key), key }
        });
        let target = temp.as_ref().map_or(key, |temp| &temp.key);
        let writer = self.operator.writer(target).await.map_err(|e| unwritten(&e))?;
        Ok(Draft { writer, temp })
    }

    async fn publish(&self, mut draft: Draft, key: &str) -> Result<(), ImageError> {
        // Closing syncs the file's bytes; only then it gets its name.
        if let Err(error) = draft.writer.close().await {
            return Err(draft.give_up(unwritten(&error)).await);
        }
        if let Some(temp) = &draft.temp {
            self.operator.rename(&temp.key, key).await.map_err(|e| unwritten(&e))?;
        }
        self.settle(key).await
    }

    pub async fn read(&self, key: &str) -> Result<Bytes, ImageError> {
        Ok(self.operator.read(key).await.map_err(|e| failed(&e))?.to_bytes())
    }

    /// The object's length; `None`: there is none.
    pub async fn length(&self, key: &str) -> Result<Option<u64>, ImageError> {
        match self.operator.stat(key).await {
            Ok(found) => Ok(Some(found.content_length())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }

    /// Bytes `from..to` in pieces, read as they are taken; it ends early, and reads no further, when nobody does.
    pub async fn stream(
        &self,
        key: &str,
        from: u64,
        to: u64,
    ) -> Result<mpsc::Receiver<io::Result<Bytes>>, ImageError> {
        let reader = self.operator.reader(key).await.map_err(|e| failed(&e))?;
        let (send, receive) = mpsc::channel(2);
        tokio::spawn(async move {
            let mut at = from;
            while at < to {
                let end = to.min(at + CHUNK as u64);
                let piece = reader.read(at..end).await.map(|buffer| buffer.to_bytes());
                let piece = match piece {
                    Ok(bytes) if bytes.len() as u64 == end - at => Ok(bytes),
                    Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
                    Err(error) => Err(io::Error::other(failed(&error).to_string())),
                };
                let broken = piece.is_err();
                if send.send(piece).await.is_err() || broken {
                    return;
                }
                at = end;
            }
        });
        Ok(receive)
    }

    pub async fn remove_with_copies(&self, key: &str) -> Result<(), ImageError> {
        let upload = key.starts_with("uploads/"); // many in one folder, none with copies
        if let Some((folder, _)) = key.rsplit_once('/')
            && !upload
        {
            let beside = self.operator.list(&format!("{folder}/")).await.map_err(|e| failed(&e))?;
            for entry in beside {
                let copy = entry.path().strip_prefix(key).is_some_and(|rest| rest.starts_with('.'));
                if copy {
                    self.operator.delete(entry.path()).await.map_err(|e| failed(&e))?;
                }
            }
        }
        self.operator.delete(key).await.map_err(|e| failed(&e))?;
        if let (Some(path), false) = (self.local_path(key), upload) {
            // The job's folder goes with its last image; one that is not empty stays.
            path.parent().map(fs::remove_dir);
        }
        Ok(())
    }

    pub async fn probe(&self) -> Result<(), ImageError> {
        let key = format!(".probe-{}", uuid::Uuid::new_v4());
        let sent = Bytes::from_static(b"probe");
        self.put(&key, sent.clone()).await?;
        let back = self.read(&key).await;
        self.operator.delete(&key).await.map_err(|e| failed(&e))?;
        if back? == sent {
            Ok(())
        } else {
            Err(ImageError::Storage("storage gave other bytes back than it was given".into()))
        }
    }

    /// opendal syncs the file, not the folder that names it: without this a power cut may lose the name.
    async fn settle(&self, key: &str) -> Result<(), ImageError> {
        let Some(local) = self.local.clone() else { return Ok(()) };
        let file = local.root.join(key);
        let work = tokio::task::spawn_blocking(move || local.settle(&file));
        let done = work.await.map_err(|_| ImageError::Storage("a folder was not synced".into()))?;
        done.map_err(|error| ImageError::Storage(format!("a folder cannot be synced: {error}")))
    }
}

/// An object that is not under its name yet.
struct Draft {
    writer: opendal::Writer,
    temp: Option<Temporary>,
}

impl Draft {
    async fn give_up(mut self, error: ImageError) -> ImageError {
        if self.temp.is_none() {
            self.writer.abort().await.ok();
        }
        error
    }
}

/// A temporary file; it goes when its write is given up or its future dropped. After the rename it is no more.
struct Temporary {
    key: String,
    path: PathBuf,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        fs::remove_file(&self.path).ok();
    }
}

impl Local {
    /// Syncs the folder of `file`, and those above it up to the first whose own name is known to be on disk. From the
    /// outside in: an outer folder is always being changed by somebody, and after its sync the inner one, changed
    /// before, has little left to do.
    fn settle(&self, file: &Path) -> io::Result<()> {
        const REMEMBERED: usize = 4_096;
        let mut fresh = Vec::new();
        let mut outer = Vec::new();
        for folder in file.ancestors().skip(1) {
            outer.push(folder);
            if folder == self.root || self.settled.lock().contains(folder) {
                break;
            }
            fresh.push(folder.to_owned());
        }
        for folder in outer.into_iter().rev() {
            fs::File::open(folder)?.sync_all()?;
        }
        let mut settled = self.settled.lock();
        if settled.len() + fresh.len() > REMEMBERED {
            settled.clear();
        }
        settled.extend(fresh);
        Ok(())
    }
}

/// Reads the blob off the async threads, a few pieces ahead of storage.
async fn pour(blob: &Blob, writer: &mut opendal::Writer) -> Result<(), ImageError> {
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
        writer.write(piece).await.map_err(|e| failed(&e))?;
    }
    reading.await.map_err(|_| unread(io::ErrorKind::Interrupted.into()))?;
    if written == expected { Ok(()) } else { Err(unread(io::ErrorKind::UnexpectedEof.into())) }
}

fn unread(error: io::Error) -> ImageError {
    ImageError::Storage(format!("the image cannot be read again ({error})"))
}

/// A write that does not find its folder is no missing image.
fn unwritten(error: &opendal::Error) -> ImageError {
    match failed(error) {
        ImageError::Missing => ImageError::Storage("the folder of images is gone".into()),
        other => other,
    }
}

/// In the words of the innermost cause: "No space left on device", not "unexpected error".
fn failed(error: &opendal::Error) -> ImageError {
    if error.kind() == ErrorKind::NotFound {
        return ImageError::Missing;
    }
    let mut text = error.message().to_owned();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    tracing::warn!(error = %error, "image storage failed");
    ImageError::Storage(text)
}

/// Creates the folder for this user alone; one that exists keeps its mode.
fn private_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Removes what writers that died left half-written.
fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let age = entry.metadata().and_then(|about| about.modified()).map(|at| at.elapsed());
        if matches!(age, Ok(Ok(age)) if age > LEFTOVER) {
            fs::remove_file(entry.path()).ok();
        }
    }
}

#[cfg(test)]
pub(super) use tests::age;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    /// Makes a file as old as what a dead writer left.
    pub fn age(path: &Path) {
        let then = SystemTime::now() - LEFTOVER - Duration::from_secs(60);
        fs::File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
    }
}
