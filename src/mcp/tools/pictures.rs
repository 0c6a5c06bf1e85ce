//! How a stored image goes into an answer: as an object, as a link, as a copy to look at.

use super::{
    Cx,
    results::{ImageObject, ms},
};
use crate::{
    images::ImageError,
    jobs::JobView,
    mcp::{Return, delivery::Delivery},
    store::Image,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use plugin_api::{Adjustment, Mime};
use serde::Serialize;

/// Encoding more than this is worth a thread of its own.
const ENCODE_INLINE: usize = 256 << 10;

/// A content block of a result.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    Text {
        text: String,
    },
    Image {
        data: String,
        #[serde(rename = "mimeType")]
        mime_type: String,
    },
    ResourceLink {
        uri: String,
        name: String,
        #[serde(rename = "mimeType")]
        mime_type: String,
        size: i64,
    },
}

impl Block {
    /// Bytes of the image in it, before they were encoded.
    fn bytes(&self) -> usize {
        match self {
            Block::Image { data, .. } => data.len() / 4 * 3,
            _ => 0,
        }
    }
}

impl Cx<'_> {
    /// A job's images as objects.
    pub fn images(&self, view: &JobView) -> Vec<ImageObject> {
        view.images.iter().map(|image| self.image(image, view)).collect()
    }

    pub fn image(&self, image: &Image, view: &JobView) -> ImageObject {
        let link = self.inner.backend.link(image);
        let file_name = file_name(image, view);
        ImageObject {
            id: image.id,
            job_id: image.job_id,
            uri: format!("image://{}", image.id),
            curl: format!("curl -fsSLo {} {}", quoted(&file_name), quoted(&link.url)),
            url: link.url,
            mime_type: image.mime.clone(),
            width: image.width,
            height: image.height,
            size_bytes: image.bytes,
            sha256: image.sha256.clone(),
            file_name,
            expires_at: link.expires_us.map(ms),
            revised_prompt: image.revised_prompt.clone(),
            seed: image.seed,
            local_path: self.local_path(image),
        }
    }

    /// The stored file, for callers on this machine.
    pub fn local_path(&self, image: &Image) -> Option<String> {
        self.inner.server.local.then(|| self.inner.backend.local_path(image)).flatten()
    }

    pub fn image_url(&self, view: &JobView) -> Option<String> {
        view.images.first().map(|image| self.inner.backend.link(image).url)
    }

    /// Blocks for the images of finished jobs. A copy that cannot be made, or has no more room in the answer, is
    /// told in `notes`; the link stays.
    pub async fn blocks(
        &self,
        views: &[&JobView],
        delivery: Delivery,
        notes: &mut Vec<Adjustment>,
    ) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut room = self.inner.settings.load().full_max.as_usize();
        for view in views {
            for image in &view.images {
                let wanted = if room == 0 { Delivery { result: Return::Link, ..delivery } } else { delivery };
                match self.copy(image, wanted, delivery.full_max).await {
                    Ok((Some(copy), _)) if copy.bytes() > room => {
                        notes.push(instead(delivery, "the answer is full; the links have the other images"));
                        room = 0;
                    }
                    Ok((copy, note)) => {
                        room -= copy.as_ref().map_or(0, Block::bytes);
                        blocks.extend(copy);
                        notes.extend(note);
                    }
                    Err(error) => {
                        tracing::warn!(image.id = %image.id, error = %error, "an image could not be put into an answer");
                        notes.push(instead(
                            delivery,
                            "the image could not be read from storage; its link stays",
                        ));
                    }
                }
                blocks.extend(self.resource_link(image, view));
            }
        }
        // One sentence is enough for any number of images.
        let mut told: Vec<Adjustment> = Vec::new();
        for note in notes.drain(..) {
            if !told.contains(&note) {
                told.push(note);
            }
        }
        *notes = told;
        blocks
    }

    pub fn resource_link(&self, image: &Image, view: &JobView) -> Option<Block> {
        self.call.wants_resource_links().then(|| Block::ResourceLink {
            uri: self.inner.backend.link(image).url,
            name: file_name(image, view),
            mime_type: image.mime.clone(),
            size: image.bytes,
        })
    }

    /// The image as asked for, whole only up to `full_max` bytes, and what was given instead.
    pub async fn copy(
        &self,
        image: &Image,
        delivery: Delivery,
        full_max: u64,
    ) -> Result<(Option<Block>, Option<Adjustment>), ImageError> {
        let bytes = u64::try_from(image.bytes).unwrap_or(u64::MAX);
        let note = match delivery.result {
            Return::Link => return Ok((None, None)),
            Return::Full if bytes <= full_max => {
                let data = self.inner.backend.full(image).await?;
                return Ok((Some(block(image.mime.clone(), data).await), None));
            }
            Return::Full => {
                let reason = format!(
                    "the image has {bytes} bytes and at most {full_max} go into an answer; its link has it whole"
                );
                Some(Adjustment::new("return", "full", "preview", &reason))
            }
            Return::Preview => None,
        };
        let edge = self.inner.settings.load().result.preview_edge;
        match self.inner.backend.preview(image, edge, delivery.inline_max).await? {
            Some((mime, data)) => Ok((Some(block(mime.as_str().to_owned(), data).await), note)),
            None => Ok((
                None,
                Some(instead(
                    delivery,
                    "there is no small copy of this kind of image; its link has it whole",
                )),
            )),
        }
    }
}

/// Only the link is given.
fn instead(delivery: Delivery, reason: &str) -> Adjustment {
    Adjustment::new("return", asked(delivery.result), "link", reason)
}

pub fn asked(result: Return) -> &'static str {
    match result {
        Return::Link => "link",
        Return::Preview => "preview",
        Return::Full => "full",
    }
}

async fn block(mime_type: String, data: Bytes) -> Block {
    Block::Image { data: base64(data).await, mime_type }
}

pub async fn base64(data: Bytes) -> String {
    let encode = |data: &Bytes| STANDARD.encode(data);
    if data.len() > ENCODE_INLINE {
        let copy = data.clone();
        tokio::task::spawn_blocking(move || encode(&copy)).await.unwrap_or_else(|_| encode(&data))
    } else {
        encode(&data)
    }
}

/// The instance that made a job's images; of a job that has none yet, the one whose turn it is.
pub fn provider(view: &JobView) -> &str {
    let made = view.attempts.iter().rev().find(|attempt| attempt.outcome.as_deref() == Some("completed"));
    made.map_or(view.job.instance.as_str(), |attempt| attempt.instance.as_str())
}

/// `<prefix or img>_<provider>_<image id>.<ext>`.
pub fn file_name(image: &Image, view: &JobView) -> String {
    let prefix = view.job.file_prefix.as_deref().filter(|p| !p.is_empty()).unwrap_or("img");
    let provider = provider(view);
    let extension = Mime::parse(&image.mime).map_or("img", Mime::extension);
    format!("{prefix}_{provider}_{}.{extension}", image.id)
}

/// As one word of a POSIX shell.
pub fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-./:".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_for_the_shell_cannot_break_out() {
        assert_eq!(quoted("img_a.png"), "img_a.png");
        assert_eq!(quoted("http://a/b?x=1&y=2"), "'http://a/b?x=1&y=2'");
        assert_eq!(quoted("a'; rm -rf"), r"'a'\''; rm -rf'");
        assert_eq!(quoted(""), "''");
    }
}
