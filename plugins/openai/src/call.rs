//! Builds the paid call: JSON for a generation, a form (or JSON with `data:` URLs) for an edit.

use crate::settings::{Auth, Edits, Settings};
use base64::Engine as _;
use plugin_api::{Capabilities, ImageRequest, Input, Part, Request, Size, SizeRule, join_url};
use serde::Serialize;
use serde_json::{Map, Value};

/// PNG of three or four bytes a pixel at its worst, in base64.
const BYTES_PER_PIXEL: u64 = 6;
const LEAST_CAP: u64 = 64 << 20;
/// What an open size is taken for.
const OPEN_PIXELS: u64 = 4096 * 4096;
/// What a streamed answer has once for each image on the way.
const PARTIAL: &str = "\"partial_image_index\"";

/// The fields of generations and edits; what is `None` is left out.
#[derive(Serialize)]
struct Fields<'a> {
    model: &'a str,
    prompt: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quality: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    background: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_format: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_compression: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    moderation: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    safety_identifier: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<&'static str>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

#[derive(Serialize)]
struct JsonEdit<'a> {
    #[serde(flatten)]
    fields: Fields<'a>,
    images: Vec<ImageUrl>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mask: Option<ImageUrl>,
}

#[derive(Serialize)]
struct ImageUrl {
    image_url: String,
}

/// The call of a request. `known`: the model is one of OpenAI's, so the dialect is theirs too.
pub(crate) fn build(
    settings: &Settings,
    capabilities: &Capabilities,
    known: bool,
    request: &ImageRequest,
) -> Request {
    let edit = !request.references.is_empty();
    let mut fields = fields(settings, known, request);
    let path = if edit { &settings.edit_path } else { &settings.path };
    let call = authorized(Request::post(join_url(&settings.base_url, path)), settings)
        .paid()
        .cap(answer_cap(capabilities, request))
        .steps(PARTIAL, partials(request) * request.n.max(1));
    if !edit {
        return call.json(&fields);
    }
    if settings.edits == Some(Edits::Json) {
        fields.n = fields.n.filter(|n| *n > 1);
        let images = request.references.iter().map(data_url).collect();
        return call.json(&JsonEdit { fields, images, mask: request.mask.as_ref().map(data_url) });
    }
    call.multipart(parts(&fields, request))
}

/// The credentials and the account of any call.
pub(crate) fn authorized(call: Request, settings: &Settings) -> Request {
    let mut call = match settings.auth {
        _ if settings.api_key.is_empty() => call,
        Auth::Bearer => call.bearer(&settings.api_key),
        Auth::ApiKey => call.secret_header("api-key", settings.api_key.expose()),
        Auth::None => call,
    };
    for (name, value) in
        [("openai-organization", &settings.organization), ("openai-project", &settings.project)]
    {
        if let Some(value) = value.as_deref().filter(|v| !v.is_empty()) {
            call = call.header(name, value);
        }
    }
    call
}

fn fields<'a>(settings: &Settings, known: bool, request: &'a ImageRequest) -> Fields<'a> {
    let size = match request.size {
        Size::Exact { width, height } if !known => {
            Some(format!("{width}{}{height}", settings.size_separator))
        }
        Size::Auto if !known => None,
        size => Some(size.to_string()),
    };
    Fields {
        model: &request.model,
        prompt: &request.prompt,
        n: Some(request.n.max(1)),
        size,
        quality: request.quality.map(|q| q.as_str()),
        background: request.background.map(|b| b.as_str()),
        output_format: request.output_format.map(|f| f.as_str()),
        output_compression: request.output_compression,
        moderation: request.moderation.map(|m| m.as_str()),
        safety_identifier: request.user.as_deref(),
        response_format: if known { None } else { settings.send_response_format.as_str() },
        extra: if known { request.vendor.clone() } else { extra_fields(settings, request) },
    }
}

/// What OpenAI has no field for, under the server's own names.
fn extra_fields(settings: &Settings, request: &ImageRequest) -> Map<String, Value> {
    let names = &settings.extra_fields;
    let watermark = request.watermark.unwrap_or(false); // servers default to on: always said
    let values = [
        (&names.negative_prompt, request.negative_prompt.clone().map(Value::from)),
        (&names.seed, request.seed.map(Value::from)),
        (&names.steps, request.steps.map(Value::from)),
        (&names.guidance, request.guidance.map(Value::from)),
        (&names.watermark, Some(watermark.into())),
    ];
    values.into_iter().filter_map(|(name, value)| Some((name.clone()?, value?))).collect()
}

/// A form: everything is text, also numbers and booleans.
fn parts(fields: &Fields<'_>, request: &ImageRequest) -> Vec<Part> {
    let values = match serde_json::to_value(fields) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let text = |(name, value): (String, Value)| match value {
        Value::String(text) => Part::text(&name, text),
        other => Part::text(&name, other),
    };
    let mut parts: Vec<Part> = values.into_iter().map(text).collect();
    for (number, input) in request.references.iter().enumerate() {
        parts.push(file("image[]", &format!("image-{number}"), input));
    }
    parts.extend(request.mask.iter().map(|input| file("mask", "mask", input)));
    parts
}

fn file(name: &str, stem: &str, input: &Input) -> Part {
    let ending = plugin_api::Mime::parse(&input.mime).map_or("bin", |mime| mime.extension());
    Part::file(name, &format!("{stem}.{ending}"), &input.mime, input.bytes.clone())
}

fn data_url(input: &Input) -> ImageUrl {
    let data = base64::engine::general_purpose::STANDARD.encode(&input.bytes);
    ImageUrl { image_url: format!("data:{};base64,{data}", input.mime) }
}

/// Images on the way that were asked for, of each image.
fn partials(request: &ImageRequest) -> u32 {
    let asked = request.vendor.get("partial_images").and_then(Value::as_u64).unwrap_or(0);
    u32::try_from(asked.min(3)).unwrap_or(0)
}

/// The largest honest answer.
fn answer_cap(capabilities: &Capabilities, request: &ImageRequest) -> u64 {
    let pixels = match (request.size, &capabilities.sizes) {
        (Size::Exact { width, height }, _) => u64::from(width) * u64::from(height),
        (_, SizeRule::Free { max_pixels, .. }) => (*max_pixels).min(OPEN_PIXELS),
        _ => OPEN_PIXELS,
    };
    let images = u64::from(request.n.max(1)) * (1 + u64::from(partials(request)));
    images.saturating_mul(pixels).saturating_mul(BYTES_PER_PIXEL).max(LEAST_CAP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models;
    use plugin_api::{Background, Moderation, OutputFormat, Quality};
    use serde_json::json;

    fn body(settings: &Settings, known: bool, request: &ImageRequest) -> Value {
        serde_json::to_value(fields(settings, known, request)).unwrap()
    }

    #[test]
    fn openai_models_get_their_fields_and_never_response_format() {
        let settings = Settings {
            extra_fields: crate::settings::ExtraFields { seed: Some("seed".into()), ..Default::default() },
            ..Settings::default()
        };
        let request = ImageRequest {
            quality: Some(Quality::Xhigh),
            background: Some(Background::Transparent),
            output_format: Some(OutputFormat::Webp),
            output_compression: Some(80),
            moderation: Some(Moderation::Low),
            user: Some("5f2c".into()),
            vendor: json!({"complexity": "high"}).as_object().unwrap().clone(),
            ..ImageRequest::new("gpt-image-2.5-flare", "a fox")
        };
        assert_eq!(
            body(&settings, true, &request),
            json!({"model": "gpt-image-2.5-flare", "prompt": "a fox", "n": 1, "size": "auto", "quality": "xhigh",
                   "background": "transparent", "output_format": "webp", "output_compression": 80,
                   "moderation": "low", "safety_identifier": "5f2c", "complexity": "high"})
        );
    }

    #[test]
    fn other_servers_get_their_own_names_and_separator() {
        let settings: Settings = serde_json::from_value(json!({
            "base_url": "https://images.example.com/v1", "size_separator": "*", "send_response_format": "url",
            "extra_fields": {"seed": "rng", "negative_prompt": "negative", "watermark": "mark"},
        }))
        .unwrap();
        let request = ImageRequest {
            size: Size::exact(1280, 720),
            seed: Some(7),
            negative_prompt: Some("text".into()),
            ..ImageRequest::new("qwen-image", "a fox")
        };
        assert_eq!(
            body(&settings, false, &request),
            json!({"model": "qwen-image", "prompt": "a fox", "n": 1, "size": "1280*720", "response_format": "url",
                   "rng": 7, "negative": "text", "mark": false})
        );
    }

    #[test]
    fn the_cap_grows_with_what_was_asked() {
        let flare = &models::openai()[0].capabilities;
        let asked =
            |n: u32, size: Size| answer_cap(flare, &ImageRequest { n, size, ..ImageRequest::default() });
        assert_eq!(asked(1, Size::exact(1024, 1024)), LEAST_CAP);
        assert!(asked(10, Size::exact(3840, 2160)) >= 300_000_000, "ten of the largest fit");
        assert!(asked(10, Size::Auto) >= 300_000_000, "an open size may be the largest");
        assert!(asked(10, Size::exact(3840, 2160)) < 1 << 30);
    }
}
