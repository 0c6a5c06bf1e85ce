//! Input images in the form and the size that the models take. All of it is work for a blocking thread.

use crate::{
    models::{Dialect, FLUX2_INPUT_SIDE, Model},
    wire::Prepared,
};
use bytes::Bytes;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, metadata::Orientation};
use plugin_api::{Adjustment, ErrorClass, ImageRequest, Input, ProviderError};
use std::io::Cursor;

/// Memory that decoding one input may take.
const DECODING_CAP: u64 = 512 << 20;

/// Makes the inputs ready to be sent. Blocking.
///
/// # Errors
/// `invalid_request`: an image that cannot be read.
pub fn prepare(model: &Model, request: &ImageRequest) -> Result<Prepared, ProviderError> {
    let most = *model.capabilities.references.end() as usize;
    let mut prepared = Prepared::default();
    for (n, input) in request.references.iter().take(most).enumerate() {
        prepared.references.push(match shrunk(model, input) {
            Some(_) => shrink(input).map_err(|e| unreadable(&format!("reference {}", n + 1), &e))?,
            None => input.clone(),
        });
    }
    if let Some(mask) = request.mask.as_ref().filter(|_| model.capabilities.mask) {
        prepared.mask = Some(repaint(&mask.bytes).map_err(|e| unreadable("the mask", &e))?);
    }
    Ok(prepared)
}

/// What was changed about the inputs: told by the request alone, so that it can be told after a crash too.
pub fn adjustments(model: &Model, request: &ImageRequest) -> Vec<Adjustment> {
    let told = |input: &Input| {
        let (width, height) = shrunk(model, input)?;
        let asked = format!("{}x{}", input.width, input.height);
        let reason = "the model takes input images of at most 512x512";
        Some(Adjustment::new("references", asked, format!("{width}x{height}"), reason))
    };
    request.references.iter().filter_map(told).collect()
}

/// The size an input is shrunk to; `None`: it stays as it is.
fn shrunk(model: &Model, input: &Input) -> Option<(u32, u32)> {
    let long = input.width.max(input.height);
    if !matches!(model.dialect, Dialect::Flux2 { .. }) || long <= FLUX2_INPUT_SIDE {
        return None;
    }
    let side = |n: u32| {
        let exact = u64::from(n) * u64::from(FLUX2_INPUT_SIDE) / u64::from(long);
        u32::try_from(exact).unwrap_or(FLUX2_INPUT_SIDE).max(1)
    };
    Some((side(input.width), side(input.height)))
}

fn unreadable(what: &str, error: &image::ImageError) -> ProviderError {
    ProviderError::new(ErrorClass::InvalidRequest, format!("{what} cannot be read as an image: {error}"))
}

fn decode(bytes: &Bytes) -> image::ImageResult<DynamicImage> {
    let mut limits = Limits::default();
    limits.max_alloc = Some(DECODING_CAP);
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder()?;
    // The pixels themselves are not counted by the decoder.
    limits.reserve(decoder.total_bytes())?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    Ok(image)
}

fn encode(image: &DynamicImage, format: ImageFormat) -> image::ImageResult<Bytes> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format)?;
    Ok(bytes.into_inner().into())
}

/// A photograph stays one; all else is kept without loss.
fn shrink(input: &Input) -> image::ImageResult<Input> {
    let small = decode(&input.bytes)?.thumbnail(FLUX2_INPUT_SIDE, FLUX2_INPUT_SIDE);
    let (small, format) = match input.mime.as_str() {
        "image/jpeg" => (DynamicImage::from(small.into_rgb8()), ImageFormat::Jpeg),
        _ => (small, ImageFormat::Png),
    };
    Ok(Input {
        mime: format.to_mime_type().into(),
        width: small.width(),
        height: small.height(),
        bytes: encode(&small, format)?,
        ..input.clone()
    })
}

/// A request's mask is clear where the picture is to be repainted; Stable Diffusion wants that area white and the
/// rest black. A mask without transparency is taken to be in that form already.
fn repaint(bytes: &Bytes) -> image::ImageResult<Bytes> {
    let image = decode(bytes)?;
    if !image.color().has_alpha() {
        return Ok(bytes.clone());
    }
    let alpha = image.into_rgba8();
    let white = image::GrayImage::from_fn(alpha.width(), alpha.height(), |x, y| {
        image::Luma([255 - alpha.get_pixel(x, y).0[3]])
    });
    encode(&white.into(), ImageFormat::Png)
}
