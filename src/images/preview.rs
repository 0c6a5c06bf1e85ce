//! Smaller copies, made when first asked for and kept in a folder beside the original. Decoding is the dearest thing the
//! gateway does, so it happens off the async threads, a few at a time, within one budget of memory.

use super::{ImageError, Images, ThumbnailFormat, name};
use crate::store::Image;
use bytes::Bytes;
use fast_image_resize as resize;
use image::{
    ColorType, DynamicImage, ImageDecoder as _, ImageFormat, ImageReader, Limits, metadata::Orientation,
};
use plugin_api::Mime;
use std::{io::Cursor, num::NonZero, sync::Arc, thread::available_parallelism};
use tokio::sync::Semaphore;

/// What all decoders together may hold, in MiB; the largest image that is accepted still fits at 8 bits.
const BUDGET_MIB: u32 = 256;
const QUALITY: f32 = 80.0;
/// Tried in turn until the copy is small enough; then the edge shrinks.
const QUALITIES: [f32; 3] = [QUALITY, 60.0, 40.0];
const SMALLEST_EDGE: u32 = 32;

/// The places where images are decoded.
pub(super) struct Workshop {
    places: Arc<Semaphore>,
    memory: Arc<Semaphore>,
}

impl Workshop {
    pub fn new() -> Workshop {
        Workshop {
            places: Arc::new(Semaphore::new(available_parallelism().map_or(2, NonZero::get))),
            memory: Arc::new(Semaphore::new(BUDGET_MIB as usize)),
        }
    }
}

/// Whether smaller copies are made of this kind.
pub(super) fn possible(mime: Mime) -> bool {
    format(mime).is_some()
}

fn format(mime: Mime) -> Option<ImageFormat> {
    match mime {
        Mime::Png => Some(ImageFormat::Png),
        Mime::Jpeg => Some(ImageFormat::Jpeg),
        Mime::Webp => Some(ImageFormat::WebP),
        Mime::Gif | Mime::Avif => None,
    }
}

pub(super) async fn preview(
    images: &Images,
    image: &Image,
    edge: u32,
    max_bytes: u64,
) -> Result<Option<(Mime, Bytes)>, ImageError> {
    let Some(format) = Mime::parse(&image.mime).and_then(format) else { return Ok(None) };
    let kind = images.settings.thumbnail.format;
    let mime = match kind {
        ThumbnailFormat::Webp => Mime::Webp,
        ThumbnailFormat::Jpeg => Mime::Jpeg,
    };
    let edge = edge.clamp(1, 4_096);
    // The copy at full quality first; where that is too long, one that was made for this limit.
    let copies = name::copies(&image.object_key);
    let best = format!("{copies}{edge}.{}", mime.extension());
    let limited = format!("{copies}{edge}-{max_bytes}.{}", mime.extension());
    for key in [&best, &limited] {
        match images.storage.length(key).await? {
            Some(length) if length <= max_bytes => {
                return Ok(Some((mime, images.storage.read(key).await?)));
            }
            _ => {}
        }
    }
    let pixels = u64::from(image.width.unsigned_abs()) * u64::from(image.height.unsigned_abs());
    // As 16 bits a channel need; the largest go one at a time.
    let need = u32::try_from((pixels * 8) >> 20).unwrap_or(u32::MAX).clamp(1, BUDGET_MIB);
    let closed = |_| ImageError::Storage("previews are closed".into());
    let workshop = &images.workshop;
    let place = workshop.places.clone().acquire_owned().await.map_err(closed)?;
    let memory = workshop.memory.clone().acquire_many_owned(need).await.map_err(closed)?;
    let original = images.full(image).await?;
    let work = tokio::task::spawn_blocking(move || {
        // Whoever asked may leave; the decoder goes on, and what it takes is taken until its end.
        let _held = (place, memory);
        make(&original, format, edge, max_bytes, kind)
    });
    let Ok(made) = work.await else {
        tracing::error!(image.id = %image.id, "the decoder panicked on a stored image");
        return Ok(None);
    };
    match made {
        Ok(Some((bytes, full_quality))) => {
            let key = if full_quality { &best } else { &limited };
            if let Err(error) = images.storage.put(key, bytes.clone()).await {
                tracing::warn!(image.id = %image.id, error = %error, "a preview could not be kept");
            }
            Ok(Some((mime, bytes)))
        }
        Ok(None) => Ok(None),
        Err(error) => {
            tracing::warn!(image.id = %image.id, error = %error, "no preview can be made of a stored image");
            Ok(None)
        }
    }
}

/// Blocking. The copy, and whether it has full quality and edge; `None`: nothing that small can be made.
fn make(
    original: &[u8],
    format: ImageFormat,
    edge: u32,
    max_bytes: u64,
    kind: ThumbnailFormat,
) -> Result<Option<(Bytes, bool)>, PreviewError> {
    let (picture, orientation) = decode(original, format)?;
    let mut picture = Original { picture, multiplied: false };
    let mut edge = edge;
    let mut first = true;
    loop {
        let mut small = picture.scaled(edge)?;
        small.apply_orientation(orientation);
        for quality in QUALITIES {
            let bytes = encode(&small, kind, quality)?;
            if bytes.len() as u64 <= max_bytes {
                return Ok(Some((bytes.into(), first)));
            }
            first = false;
        }
        edge = edge.min(picture.longest()) * 3 / 4;
        if edge < SMALLEST_EDGE {
            return Ok(None);
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum PreviewError {
    #[error("{0}")]
    Decode(#[from] image::ImageError),
    #[error("{0}")]
    Resize(#[from] resize::ResizeError),
    #[error("the pixels do not fit the size")]
    Buffer,
    #[error("the copy cannot be encoded")]
    Encode,
}

/// Eight bits a channel, with alpha only where there is some.
fn decode(original: &[u8], format: ImageFormat) -> Result<(DynamicImage, Orientation), PreviewError> {
    let mut limits = Limits::default();
    limits.max_alloc = Some(u64::from(BUDGET_MIB) << 20);
    let mut reader = ImageReader::with_format(Cursor::new(original), format);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder()?;
    limits.reserve(decoder.total_bytes())?;
    let (width, height) = decoder.dimensions();
    let color = decoder.color_type();
    if !matches!(color, ColorType::Rgb8 | ColorType::Rgba8) {
        // It is converted, and both are in memory for a moment.
        limits.reserve(u64::from(width) * u64::from(height) * if color.has_alpha() { 4 } else { 3 })?;
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let picture = DynamicImage::from_decoder(decoder)?;
    let picture = match picture {
        DynamicImage::ImageRgb8(_) | DynamicImage::ImageRgba8(_) => picture,
        other if other.color().has_alpha() => DynamicImage::ImageRgba8(other.into_rgba8()),
        other => DynamicImage::ImageRgb8(other.into_rgb8()),
    };
    Ok((picture, orientation))
}

/// A decoded picture on its way to smaller sizes.
struct Original {
    picture: DynamicImage,
    /// Colours already multiplied by their alpha, in place: left to the resizer it costs a second copy of all pixels.
    multiplied: bool,
}

impl Original {
    fn longest(&self) -> u32 {
        self.picture.width().max(self.picture.height())
    }

    /// Never enlarges. The first edge may be any; each later one must be smaller.
    fn scaled(&mut self, edge: u32) -> Result<DynamicImage, PreviewError> {
        let (width, height, longest) = (self.picture.width(), self.picture.height(), self.longest());
        if longest <= edge {
            return Ok(self.picture.clone());
        }
        let part = |side: u32| (u64::from(side) * u64::from(edge) / u64::from(longest)).max(1) as u32;
        let (to_width, to_height) = (part(width), part(height));
        self.multiply()?;
        let pixel = if self.multiplied { resize::PixelType::U8x4 } else { resize::PixelType::U8x3 };
        let source = resize::images::ImageRef::new(width, height, self.picture.as_bytes(), pixel)
            .map_err(|_| PreviewError::Buffer)?;
        let mut target = resize::images::Image::new(to_width, to_height, pixel);
        let options = resize::ResizeOptions::new().use_alpha(false);
        resize::Resizer::new().resize(&source, &mut target, &options)?;
        if self.multiplied {
            resize::MulDiv::new().divide_alpha_inplace(&mut target).map_err(|_| PreviewError::Buffer)?;
        }
        let pixels = target.into_vec();
        let small = if self.multiplied {
            image::RgbaImage::from_raw(to_width, to_height, pixels).map(DynamicImage::ImageRgba8)
        } else {
            image::RgbImage::from_raw(to_width, to_height, pixels).map(DynamicImage::ImageRgb8)
        };
        small.ok_or(PreviewError::Buffer)
    }

    fn multiply(&mut self) -> Result<(), PreviewError> {
        let DynamicImage::ImageRgba8(pixels) = &mut self.picture else { return Ok(()) };
        if self.multiplied {
            return Ok(());
        }
        let (width, height) = pixels.dimensions();
        let mut view =
            resize::images::Image::from_slice_u8(width, height, pixels.as_mut(), resize::PixelType::U8x4)
                .map_err(|_| PreviewError::Buffer)?;
        resize::MulDiv::new().multiply_alpha_inplace(&mut view).map_err(|_| PreviewError::Buffer)?;
        self.multiplied = true;
        Ok(())
    }
}

fn encode(picture: &DynamicImage, kind: ThumbnailFormat, quality: f32) -> Result<Vec<u8>, PreviewError> {
    match kind {
        ThumbnailFormat::Webp => {
            let (width, height) = (picture.width(), picture.height());
            let encoder = match picture {
                DynamicImage::ImageRgba8(pixels) => webp::Encoder::from_rgba(pixels, width, height),
                DynamicImage::ImageRgb8(pixels) => webp::Encoder::from_rgb(pixels, width, height),
                _ => return Err(PreviewError::Encode),
            };
            let encoded = encoder.encode_simple(false, quality).map_err(|_| PreviewError::Encode)?;
            Ok(encoded.to_vec())
        }
        ThumbnailFormat::Jpeg => {
            let mut bytes = Vec::new();
            let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, quality as u8);
            on_white(picture).write_with_encoder(encoder)?;
            Ok(bytes)
        }
    }
}

/// JPEG has no transparency: what shows through becomes white, not black.
fn on_white(picture: &DynamicImage) -> image::RgbImage {
    let DynamicImage::ImageRgba8(pixels) = picture else { return picture.to_rgb8() };
    let mut flat = image::RgbImage::new(pixels.width(), pixels.height());
    for (to, from) in flat.pixels_mut().zip(pixels.pixels()) {
        let [r, g, b, a] = from.0.map(u32::from);
        to.0 = [r, g, b].map(|c| ((c * a + 255 * (255 - a)) / 255) as u8);
    }
    flat
}
