//! Is this an image that is kept? By its bytes alone: type, size and pixels from the header, the structure to its
//! end, and the hash, in one pass and without decoding a pixel.

use super::{ImageError, structure};
use plugin_api::{Blob, Sniffed};
use ring::digest;
use std::io::{self, Read};

/// Blobs up to this size are verified on the spot; larger ones off the async threads.
pub(super) const INLINE: u64 = 256 << 10;

#[derive(Debug, Clone, Copy)]
pub(super) struct Caps {
    pub bytes: u64,
    pub pixels: u64,
}

#[derive(Debug)]
pub(super) struct Verified {
    pub sniffed: Sniffed,
    pub sha256: String,
    pub bytes: u64,
}

/// Blocking: reads the blob once or twice.
pub(super) fn verify(blob: &Blob, caps: Caps) -> Result<Verified, ImageError> {
    let refuse = |why: String| Err(ImageError::Unacceptable(why));
    let bytes = blob.len();
    if bytes == 0 {
        return refuse("the image is empty".into());
    }
    if bytes > caps.bytes {
        return refuse(format!("the image has {bytes} bytes; at most {} are kept", caps.bytes));
    }
    if blob.is_damaged() {
        return refuse("the image's base64 is broken".into());
    }
    let Some(sniffed) = blob.sniff() else {
        return refuse(what_instead(&blob.head(512).map_err(unread)?, bytes));
    };
    let Sniffed { mime, width, height } = sniffed;
    let pixels = u64::from(width) * u64::from(height);
    if pixels > caps.pixels {
        return refuse(format!(
            "the image claims {width}x{height} pixels; at most {} are kept, whatever its file size",
            caps.pixels
        ));
    }
    let mut hashing = Hashing { inner: blob.reader().map_err(unread)?, digest: sha256(), seen: 0 };
    match structure::walk(mime, &mut hashing, bytes) {
        Ok(()) => {}
        Err(structure::Flaw::Read(error)) => return Err(unread(error)),
        Err(flaw) => return refuse(format!("the {} is damaged: {flaw}", kind(sniffed))),
    }
    io::copy(&mut hashing, &mut io::sink()).map_err(unread)?;
    if hashing.seen != bytes {
        return Err(unread(io::ErrorKind::UnexpectedEof.into()));
    }
    let sha256 = hex::encode(hashing.digest.finish());
    Ok(Verified { sniffed, sha256, bytes })
}

pub(super) fn unread(error: io::Error) -> ImageError {
    ImageError::Unread(format!("the image cannot be read again ({error})"))
}

fn sha256() -> digest::Context {
    digest::Context::new(&digest::SHA256)
}

fn kind(sniffed: Sniffed) -> String {
    sniffed.mime.extension().to_uppercase()
}

/// What came in place of an image, as far as its beginning tells.
fn what_instead(head: &[u8], bytes: u64) -> String {
    let text = String::from_utf8_lossy(head).trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    let what = if text.contains("<svg") {
        "an SVG drawing, which is never kept as an image"
    } else if text.starts_with("<!doctype html") || text.starts_with("<html") {
        "an HTML page, not an image"
    } else if text.starts_with(['{', '[']) {
        "JSON text, not an image"
    } else if bytes < 12 {
        "too short to be an image"
    } else {
        "not an image of a kind that is kept (PNG, JPEG, WebP, GIF, AVIF)"
    };
    format!("the {bytes} byte{} are {what}", if bytes == 1 { "" } else { "s" })
}

/// Hashes everything that is read through it.
struct Hashing<R> {
    inner: R,
    digest: digest::Context,
    seen: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.digest.update(buf.get(..n).unwrap_or_default());
        self.seen += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use plugin_api::Mime;

    const CAPS: Caps = Caps { bytes: 32 << 20, pixels: 64_000_000 };
    const FOX: &[u8] = include_bytes!("testdata/fox_1024.png");

    fn of(bytes: &'static [u8]) -> Result<Verified, ImageError> {
        verify(&Blob::from(Bytes::from_static(bytes)), CAPS)
    }
    fn refusal(bytes: &'static [u8]) -> String {
        match of(bytes) {
            Err(ImageError::Unacceptable(why)) => why,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn every_good_fixture_is_accepted_with_its_type_and_size() {
        for (bytes, mime, edge) in [
            (FOX, Mime::Png, 1024),
            (include_bytes!("testdata/fox_1024_alpha.png").as_slice(), Mime::Png, 1024),
            (include_bytes!("testdata/fox_64.jpg"), Mime::Jpeg, 64),
            (include_bytes!("testdata/fox_64_alpha.webp"), Mime::Webp, 64),
        ] {
            let verified = of(bytes).unwrap();
            assert_eq!(verified.sniffed, Sniffed { mime, width: edge, height: edge });
            assert_eq!(verified.bytes, bytes.len() as u64);
            let hash = hex::encode(digest::digest(&digest::SHA256, bytes));
            assert_eq!(verified.sha256, hash, "the hash is of all bytes");
        }
    }

    #[test]
    fn what_is_no_image_is_refused_with_its_nature() {
        for (bytes, word) in [
            (b"".as_slice(), "empty"),
            (b"\x89", "1 byte are too short"),
            (include_bytes!("testdata/svg.svg"), "SVG"),
            (b"<?xml version=\"1.0\"?>\n<svg onload=\"x()\"/>", "SVG"),
            (b"  <!DOCTYPE html><html></html>", "HTML"),
            (b"{\"error\":\"no\"}", "JSON"),
            (include_bytes!("testdata/text_named.png"), "not an image"),
            (include_bytes!("testdata/cut.png"), "damaged"),
            (b"\x89PNG\r\n\x1a\n\xff\xd8\xff\xe0 and then a JPEG's body", "claims"),
        ] {
            let why = refusal(bytes);
            assert!(why.contains(word), "{word}: {why}");
        }
    }

    #[test]
    fn a_header_that_claims_too_much_is_refused_before_any_decoding() {
        let why = refusal(include_bytes!("testdata/claims_60000x60000.png"));
        assert!(why.contains("60000x60000") && why.contains("64000000"), "{why}");
    }

    #[test]
    fn a_file_over_the_cap_is_refused_with_both_numbers() {
        let caps = Caps { bytes: 400, ..CAPS };
        let why = verify(&Blob::from(Bytes::from_static(FOX)), caps).unwrap_err().to_string();
        assert!(why.contains("465") && why.contains("400"), "{why}");
    }

    const SEEDS: [&[u8]; 4] = [
        FOX,
        include_bytes!("testdata/fox_1024_alpha.png"),
        include_bytes!("testdata/fox_64.jpg"),
        include_bytes!("testdata/fox_64_alpha.webp"),
    ];

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            seed in proptest::sample::select(SEEDS.to_vec()),
            changes in proptest::collection::vec((0_usize..480, proptest::prelude::any::<u8>()), 0..12),
            length in 0_usize..480,
        ) {
            let mut bytes = seed.to_vec();
            for (at, value) in changes {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            bytes.truncate(length);
            if let Ok(verified) = verify(&Blob::from(Bytes::from(bytes.clone())), CAPS) {
                proptest::prop_assert_eq!(verified.bytes, bytes.len() as u64);
            }
        }
    }
}
