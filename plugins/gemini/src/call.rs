//! Builds the paid call, `generateContent`.

use base64::Engine as _;
use plugin_api::{Capabilities, ErrorClass, ImageRequest, NamedSize, ProviderError, Size, SizeRule};
use serde::Serialize;
use serde_json::Value;

/// What the vendor takes in one request, images in base64 included.
const INLINE_MAX: usize = 20_000_000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Body<'a> {
    contents: [Content<'a>; 1],
    generation_config: GenerationConfig,
}

#[derive(Serialize)]
struct Content<'a> {
    role: &'static str,
    parts: Vec<Part<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Part<'a> {
    Text(&'a str),
    InlineData(InlineData<'a>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InlineData<'a> {
    mime_type: &'a str,
    data: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig {
    response_modalities: [&'static str; 2],
    /// Left out, the model chooses: a square, or the shape of the reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    image_config: Option<ImageConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_config: Option<ThinkingConfig>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ImageConfig {
    aspect_ratio: &'static str,
    /// Left out where the model has one tier.
    #[serde(skip_serializing_if = "Option::is_none")]
    image_size: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ThinkingConfig {
    thinking_level: String,
}

/// The body of a request.
///
/// # Errors
/// What the vendor would refuse.
pub(crate) fn body<'a>(
    capabilities: &Capabilities,
    request: &'a ImageRequest,
) -> Result<Body<'a>, ProviderError> {
    let mut parts = vec![Part::Text(&request.prompt)];
    let mut inline = request.prompt.len();
    for input in &request.references {
        let data = base64::engine::general_purpose::STANDARD.encode(&input.bytes);
        inline += data.len();
        parts.push(Part::InlineData(InlineData { mime_type: &input.mime, data }));
    }
    if inline > INLINE_MAX {
        let what = format!(
            "references: {} MB in base64; accepted: at most {} MB in all, which is about 15 MB of image files",
            inline.div_ceil(1_000_000),
            INLINE_MAX / 1_000_000
        );
        return Err(ProviderError::new(ErrorClass::InvalidRequest, what));
    }
    Ok(Body {
        contents: [Content { role: "user", parts }],
        generation_config: GenerationConfig {
            response_modalities: ["TEXT", "IMAGE"],
            image_config: image_config(capabilities, request.size)?,
            thinking_config: thinking(request)?,
        },
    })
}

/// The named size of a fitted request.
fn image_config(capabilities: &Capabilities, size: Size) -> Result<Option<ImageConfig>, ProviderError> {
    let (Size::Exact { width, height }, SizeRule::Named { sizes, .. }) = (size, &capabilities.sizes) else {
        return Ok(None);
    };
    let Some(named) = sizes.iter().find(|named| named.pixels == (width, height)) else {
        let what =
            format!("size: this model cannot make {size}; accepted: {}", capabilities.sizes.describe());
        return Err(ProviderError::new(ErrorClass::InvalidRequest, what));
    };
    let several = sizes.iter().any(|other: &NamedSize| other.tier != named.tier);
    Ok(Some(ImageConfig { aspect_ratio: named.ratio, image_size: several.then_some(named.tier) }))
}

fn thinking(request: &ImageRequest) -> Result<Option<ThinkingConfig>, ProviderError> {
    let level = match request.vendor.get("thinking_level") {
        None => return Ok(None),
        Some(Value::String(level)) => level.to_ascii_lowercase(),
        Some(_) => String::new(),
    };
    if !["minimal", "medium", "high"].contains(&level.as_str()) {
        let what =
            "the vendor option `thinking_level` cannot be sent like this; accepted: minimal, medium, high";
        return Err(ProviderError::new(ErrorClass::InvalidRequest, what));
    }
    Ok(Some(ThinkingConfig { thinking_level: level }))
}

/// The largest honest answer: some drafts and the image as PNG, in base64.
pub(crate) fn answer_cap(request: &ImageRequest) -> u64 {
    const LEAST: u64 = 64 << 20;
    const BYTES_PER_PIXEL: u64 = 6;
    const IMAGES: u64 = 4;
    match request.size {
        Size::Exact { width, height } => {
            (u64::from(width) * u64::from(height) * BYTES_PER_PIXEL * IMAGES).max(LEAST)
        }
        _ => LEAST,
    }
}
