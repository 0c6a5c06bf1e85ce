//! `images`: stored images of every team, in the database and the storage themselves. A running server need not be
//! asked; it sees at once what was deleted.

use super::{Gateway, output};
use crate::{
    config::Config,
    images::{ImageRows, Images, LinkBase, LinkKeys},
    jobs::{self, Audit, Audited, Deletion, Finding, Kind, Object, Outcome},
    store::{Image, Store, StoreError},
    telemetry::{Clock as _, SystemClock},
};
use anyhow::{Context as _, bail};
use plugin_api::value::Span;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};
use uuid::Uuid;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Delete an image for good, with its previews and links
    Delete {
        /// Id of the image
        #[arg(value_parser = image_id)]
        id: Uuid,
    },
    /// Compare every image with its object, and every object with its image
    ///
    /// Finds objects that are missing, damaged, or known to nobody, and changes nothing unless --repair is given.
    /// Safe beside a running server. The exit code is 1 when something is wrong and stays so.
    Verify {
        /// Put right bytes back where there are any, and delete objects that nobody knows
        #[arg(long)]
        repair: bool,
        /// Compare lengths alone, instead of reading and hashing every byte
        #[arg(long)]
        quick: bool,
        /// With --repair: take missing and damaged objects from this folder, where they lie under their keys (a
        /// backup, or the folder of `kind: fs` after a move to a bucket)
        #[arg(long, value_name = "FOLDER", requires = "repair")]
        from: Option<PathBuf>,
        /// Leave objects that nobody knows alone until they are so old
        #[arg(long, value_name = "AGE", default_value = "1d")]
        older_than: Span,
    },
}

fn image_id(text: &str) -> Result<Uuid, String> {
    jobs::image_id(text).ok_or_else(|| "`image-gateway jobs show JOB` shows the ids of its images".into())
}

pub async fn run(gateway: &Gateway, command: Command) -> anyhow::Result<ExitCode> {
    let config = gateway.load()?.config;
    let store = gateway.existing_store(&config).await?;
    let images = open(&config, &gateway.data_dir()).context("storage cannot be opened")?;
    match command {
        Command::Delete { id } => delete(&store, &images, id).await,
        Command::Verify { repair, quick, from, older_than } => {
            let audit = Audit { repair, quick, backup: from.as_deref(), young_us: older_than.as_us() };
            verify(&store, &images, audit).await
        }
    }
}

async fn delete(store: &Store, images: &Images, id: Uuid) -> anyhow::Result<ExitCode> {
    match jobs::delete_image(store, images, None, id).await? {
        Some(deletion) => output::print(&format!("{}\n", outcome(&deletion))),
        None => {
            bail!("there is no image {id}; `image-gateway jobs show JOB` shows the ids of a job's images")
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn verify(store: &Store, images: &Images, audit: Audit<'_>) -> anyhow::Result<ExitCode> {
    let tell = |finding: &Finding| output::print(&line(finding));
    let seen = jobs::audit(store, images, audit, SystemClock.now_us(), tell).await?;
    output::print(&summary(&seen));
    let wrong = seen.missing + seen.damaged + seen.orphans;
    Ok(if wrong > seen.mended { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn line(finding: &Finding) -> String {
    let what = match &finding.kind {
        Kind::Missing { image } => format!("missing   image {image}"),
        Kind::Damaged { image, says } => format!("damaged   image {image}, {says}"),
        Kind::Orphan { bytes } => format!("orphaned  {}", output::bytes(*bytes)),
    };
    let done = match &finding.outcome {
        Outcome::Left(why) => why.clone(),
        Outcome::Restored(from) => format!("restored from {from}"),
        Outcome::Removed => "deleted".into(),
        Outcome::Failed(why) => format!("not mended: {why}"),
    };
    format!("{what}: {}\n          {done}\n", finding.object_key)
}

fn summary(seen: &Audited) -> String {
    let Audited { sound, objects, waiting, strange, missing, damaged, orphans, mended } = seen;
    let mut text = format!(
        "{sound} images are as they should be; {missing} missing, {damaged} damaged, {orphans} of {objects} objects \
         orphaned"
    );
    if missing + damaged + orphans > 0 {
        text.push_str(&format!("; {mended} mended"));
    }
    for (count, what) in [
        (waiting, "without a row yet: young, or of a job that still runs"),
        (strange, "not made by this program, and left alone"),
    ] {
        if *count > 0 {
            text.push_str(&format!("\n{count} objects {what}"));
        }
    }
    text + "\n"
}

fn outcome(deletion: &Deletion) -> String {
    let Deletion { image, anew, object } = deletion;
    let bytes = output::bytes(u64::try_from(image.bytes).unwrap_or(0));
    if !anew {
        let at = output::time(image.deleted_us.unwrap_or_default());
        return format!("Image {} was deleted before, {at}.", image.id);
    }
    let rest = match object {
        Object::Removed => format!("{bytes} are free"),
        Object::Shared => format!("its {bytes} stay: another image has the same"),
        Object::Later => format!("its {bytes} are freed by the server within a minute, or at its next start"),
    };
    format!("Image {} of team {} is deleted; {rest}.", image.id, image.team)
}

/// Nobody follows a link here.
struct NoRows;

#[async_trait::async_trait]
impl ImageRows for NoRows {
    async fn image(&self, _: Uuid) -> Result<Option<Image>, StoreError> {
        Ok(None)
    }
}

/// The storage of a configuration, without anybody to serve its links.
pub fn open(config: &Config, data_dir: &Path) -> Result<Images, crate::images::ImageError> {
    let keys = LinkKeys { current: [0; 32], previous: Vec::new() };
    Images::open(
        config.storage.clone(),
        data_dir,
        &keys,
        LinkBase::File,
        Arc::new(NoRows),
        Arc::new(SystemClock),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_comes_in_any_form_and_a_job_is_pointed_to_otherwise() {
        let id = "6f1c2c1e-8f0a-4f0e-9d1c-2f6f3f8f9a10";
        for text in [id.to_owned(), format!("image://{id}"), format!("img_openai_{id}")] {
            assert_eq!(image_id(&text).unwrap().to_string(), id);
        }
        assert!(image_id("fox.png").unwrap_err().contains("jobs show"));
    }
}
