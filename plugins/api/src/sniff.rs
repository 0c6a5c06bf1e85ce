//! What bytes really are: media type and dimensions from their first bytes, never from a name or a header.

use std::fmt;

/// The image types the gateway keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mime {
    Png,
    Jpeg,
    Webp,
    Gif,
    Avif,
}

impl Mime {
    const ALL: [(Mime, &'static str, &'static str); 5] = [
        (Mime::Png, "image/png", "png"),
        (Mime::Jpeg, "image/jpeg", "jpg"),
        (Mime::Webp, "image/webp", "webp"),
        (Mime::Gif, "image/gif", "gif"),
        (Mime::Avif, "image/avif", "avif"),
    ];
    pub fn as_str(self) -> &'static str {
        Mime::ALL.iter().find(|m| m.0 == self).map_or("", |m| m.1)
    }
    /// The usual ending of a file of this type, without the dot.
    pub fn extension(self) -> &'static str {
        Mime::ALL.iter().find(|m| m.0 == self).map_or("", |m| m.2)
    }
    pub fn parse(text: &str) -> Option<Mime> {
        Mime::ALL.iter().find(|m| m.1 == text).map(|m| m.0)
    }
}

impl fmt::Display for Mime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Type and size of an image, read from its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sniffed {
    pub mime: Mime,
    pub width: u32,
    pub height: u32,
}

/// Reads the header of an image. `None`: no image, or one of a kind that is not kept. The first 64 KiB of a file
/// are enough for nearly all; pass more when they are not.
pub fn sniff(head: &[u8]) -> Option<Sniffed> {
    let mime = match imagesize::image_type(head).ok()? {
        imagesize::ImageType::Png => Mime::Png,
        imagesize::ImageType::Jpeg => Mime::Jpeg,
        imagesize::ImageType::Webp => Mime::Webp,
        imagesize::ImageType::Gif => Mime::Gif,
        imagesize::ImageType::Heif(imagesize::Compression::Av1) => Mime::Avif,
        _ => return None,
    };
    let size = imagesize::blob_size(head).ok()?;
    let (width, height) = (u32::try_from(size.width).ok()?, u32::try_from(size.height).ok()?);
    (width > 0 && height > 0).then_some(Sniffed { mime, width, height })
}
