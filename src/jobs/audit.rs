//! Database and storage compared: images whose object is missing or damaged, objects that nobody knows. What can be
//! mended is mended when it is asked for; no row is ever changed.

use crate::{
    images::{Digest, ImageError, Images, Owner},
    store::{Image, Store, StoreError},
};
use futures_util::{StreamExt as _, stream};
use std::path::Path;
use uuid::Uuid;

/// Rows and keys that are looked at together.
const PAGE: usize = 500;
/// Objects that are read at the same time.
const READERS: usize = 8;

/// What an audit does.
#[derive(Debug, Clone, Copy)]
pub struct Audit<'a> {
    /// Mend what can be mended; else everything is only told.
    pub repair: bool,
    /// Compare lengths alone; else every byte is read and hashed.
    pub quick: bool,
    /// A folder with objects under their keys, from which missing and damaged ones are taken.
    pub backup: Option<&'a Path>,
    /// An object that nobody knows is left alone until it is so old (microseconds): its row may be on its way.
    pub young_us: i64,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub object_key: String,
    pub kind: Kind,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// An image's object is not there.
    Missing { image: Uuid },
    /// An image's object has other bytes.
    Damaged { image: Uuid, says: String },
    /// No image, upload or unfinished job has this object.
    Orphan { bytes: u64 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was to be done, or nothing can be; the text says why.
    Left(String),
    /// The right bytes are there again; the text says where they were.
    Restored(String),
    Removed,
    /// It was tried.
    Failed(String),
}

impl Outcome {
    pub fn is_mended(&self) -> bool {
        matches!(self, Outcome::Restored(_) | Outcome::Removed)
    }
}

/// What was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Audited {
    /// Images whose object is as it should be.
    pub sound: u64,
    /// Objects in storage, smaller copies among them.
    pub objects: u64,
    /// Objects without a row that are too young, or of a job that still runs.
    pub waiting: u64,
    /// Objects that this program did not make; they are never touched.
    pub strange: u64,
    pub missing: u64,
    pub damaged: u64,
    pub orphans: u64,
    pub mended: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error(transparent)]
    Storage(#[from] ImageError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Compares all images with all objects, and tells each finding. Safe beside a running server.
///
/// # Errors
/// Database or storage is away; what was told and mended until then stands.
pub async fn audit(
    store: &Store,
    images: &Images,
    audit: Audit<'_>,
    now_us: i64,
    mut tell: impl FnMut(&Finding),
) -> Result<Audited, AuditError> {
    let mut seen = Audited::default();
    let mut after = None;
    loop {
        let rows = store.kept_images(after, now_us, PAGE as u64).await?;
        after = rows.last().map(|image| image.id);
        if rows.is_empty() {
            break;
        }
        let checks = stream::iter(rows).map(|image| check(store, images, audit, image));
        let mut checks = checks.buffer_unordered(READERS);
        while let Some(found) = checks.next().await {
            match found? {
                None => seen.sound += 1,
                Some(finding) => count(&mut seen, &finding, &mut tell),
            }
        }
    }
    let mut listing = images.list().await?;
    loop {
        let keys = listing.next(PAGE).await?;
        if keys.is_empty() {
            return Ok(seen);
        }
        seen.objects += keys.len() as u64;
        for finding in orphans(store, images, audit, now_us, keys, &mut seen).await? {
            count(&mut seen, &finding, &mut tell);
        }
    }
}

fn count(seen: &mut Audited, finding: &Finding, tell: &mut impl FnMut(&Finding)) {
    match finding.kind {
        Kind::Missing { .. } => seen.missing += 1,
        Kind::Damaged { .. } => seen.damaged += 1,
        Kind::Orphan { .. } => seen.orphans += 1,
    }
    seen.mended += u64::from(finding.outcome.is_mended());
    tell(finding);
}

/// `None`: the image is as it should be, or was deleted meanwhile.
async fn check(
    store: &Store,
    images: &Images,
    audit: Audit<'_>,
    image: Image,
) -> Result<Option<Finding>, AuditError> {
    let wanted =
        Digest { bytes: u64::try_from(image.bytes).unwrap_or_default(), sha256: image.sha256.clone() };
    let Some(kind) = flaw(images, audit.quick, &image, &wanted).await? else { return Ok(None) };
    if store.image_by_id(image.id).await?.is_none_or(|now| now.deleted_us.is_some()) {
        return Ok(None);
    }
    let outcome = if audit.repair {
        restore(store, images, audit.backup, &image, &wanted).await?
    } else {
        Outcome::Left("not repaired without --repair".into())
    };
    Ok(Some(Finding { object_key: image.object_key, kind, outcome }))
}

async fn flaw(
    images: &Images,
    quick: bool,
    image: &Image,
    wanted: &Digest,
) -> Result<Option<Kind>, ImageError> {
    let says = if quick {
        match images.about(&image.object_key).await? {
            None => return Ok(Some(Kind::Missing { image: image.id })),
            Some((bytes, _)) if bytes == wanted.bytes => return Ok(None),
            Some((bytes, _)) => format!("{bytes} bytes instead of {}", wanted.bytes),
        }
    } else {
        match images.digest(&image.object_key).await? {
            None => return Ok(Some(Kind::Missing { image: image.id })),
            Some(found) if found == *wanted => return Ok(None),
            Some(found) if found.bytes == wanted.bytes => "another hash".into(),
            Some(found) => format!("{} bytes instead of {}", found.bytes, wanted.bytes),
        }
    };
    Ok(Some(Kind::Damaged { image: image.id, says }))
}

/// From the backup, else from another image with the same bytes.
async fn restore(
    store: &Store,
    images: &Images,
    backup: Option<&Path>,
    image: &Image,
    wanted: &Digest,
) -> Result<Outcome, AuditError> {
    let key = &image.object_key;
    if let Some(folder) = backup {
        let file = folder.join(key);
        let shown = file.display().to_string();
        match tokio::task::spawn_blocking(move || std::fs::read(file)).await {
            Ok(Ok(bytes)) => match images.restore(key, wanted, bytes.into()).await {
                Ok(true) => return Ok(Outcome::Restored(shown)),
                Ok(false) => tracing::warn!(file = shown, "the backup has other bytes, too"),
                Err(error) => return Ok(Outcome::Failed(error.to_string())),
            },
            Ok(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => {
                return Ok(Outcome::Failed(format!("{shown}: {error}")));
            }
            _ => {}
        }
    }
    for twin in store.objects_like(image).await? {
        let Ok(bytes) = images.read_object(&twin).await else { continue };
        match images.restore(key, wanted, bytes).await {
            Ok(true) => return Ok(Outcome::Restored(twin)),
            Ok(false) => {}
            Err(error) => return Ok(Outcome::Failed(error.to_string())),
        }
    }
    let nowhere = match backup {
        Some(_) => "neither the backup nor another image has its bytes",
        None => "no other image has its bytes; --from FOLDER takes them from a backup",
    };
    Ok(Outcome::Left(nowhere.into()))
}

/// Objects among `keys` that nobody knows.
async fn orphans(
    store: &Store,
    images: &Images,
    audit: Audit<'_>,
    now_us: i64,
    keys: Vec<String>,
    seen: &mut Audited,
) -> Result<Vec<Finding>, AuditError> {
    let mut owned: Vec<(String, Owner)> = Vec::new();
    for key in keys {
        match Images::owner(&key) {
            Some(owner) => owned.push((key, owner)),
            None => seen.strange += 1,
        }
    }
    let jobs: Vec<Uuid> = owned.iter().filter_map(|(_, owner)| owner.job_id).collect();
    let objects: Vec<String> = owned.iter().map(|(_, owner)| owner.object_key.clone()).collect();
    // In this order: a job that ends in between has its rows by the second look.
    let unfinished = store.unfinished(&jobs).await?;
    let known = store.known_objects(&objects).await?;
    let mut findings = Vec::new();
    for (object_key, owner) in owned {
        if known.contains(&owner.object_key) {
            continue;
        }
        let Some((bytes, written)) = images.about(&object_key).await? else { continue };
        let young = written.is_none_or(|at| at > now_us - audit.young_us);
        if young || owner.job_id.is_some_and(|id| unfinished.contains(&id)) {
            seen.waiting += 1;
            continue;
        }
        let outcome = if !audit.repair {
            Outcome::Left("not deleted without --repair".into())
        } else if seen.sound == 0 {
            // A new database, or the storage of another gateway: everything would go.
            let why = "no image of this database lies in this storage: they do not belong together";
            Outcome::Left(why.into())
        } else {
            match images.remove_object(&object_key).await {
                Ok(()) => Outcome::Removed,
                Err(error) => Outcome::Failed(error.to_string()),
            }
        };
        findings.push(Finding { object_key, kind: Kind::Orphan { bytes }, outcome });
    }
    Ok(findings)
}

#[cfg(test)]
mod tests;
