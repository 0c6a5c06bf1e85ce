//! The bodies that the models take, and the answers that they give.

use crate::models::{Dialect, Model};
use bytes::Bytes;
use plugin_api::{
    Answer, Artifact, Blob, ErrorClass, ImageRequest, Input, Part, Picture, ProviderError, Size, Source,
};
use serde::Serialize;
use serde_json::Value;

/// Reference images and mask in the form that goes out.
#[derive(Default)]
pub struct Prepared {
    pub references: Vec<Input>,
    /// White where the picture is to be repainted.
    pub mask: Option<Bytes>,
}

/// A JSON body; what is not set is not sent.
#[derive(Debug, Default, Serialize)]
pub struct Body<'a> {
    prompt: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    negative_prompt: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_steps: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    guidance: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strength: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_b64: Option<String>,
    /// The bytes of the mask as an array of numbers: the vendor has no other form for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    mask: Option<&'a [u8]>,
}

fn sides(request: &ImageRequest) -> (Option<u32>, Option<u32>) {
    match request.size {
        Size::Exact { width, height } => (Some(width), Some(height)),
        _ => (None, None),
    }
}

/// The body of a model that takes JSON.
pub fn body<'a>(model: &Model, request: &'a ImageRequest, inputs: &'a Prepared) -> Body<'a> {
    let prompt = request.prompt.as_str();
    if model.dialect == Dialect::Schnell {
        return Body { prompt, steps: request.steps, ..Body::default() };
    }
    let (width, height) = sides(request);
    let mut body = Body {
        prompt,
        width,
        height,
        num_steps: request.steps,
        guidance: request.guidance,
        seed: request.seed,
        ..Body::default()
    };
    if model.capabilities.negative_prompt {
        body.negative_prompt = request.negative_prompt.as_deref().filter(|text| !text.is_empty());
    }
    if *model.capabilities.references.end() > 0 {
        body.strength = request.vendor.get("strength").and_then(Value::as_f64);
        let encode = |input: &Input| base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &input.bytes);
        body.image_b64 = inputs.references.first().map(encode);
    }
    if model.capabilities.mask {
        body.mask = inputs.mask.as_deref();
    }
    body
}

/// The form of a FLUX.2 model.
pub fn form(steps: Option<u32>, request: &ImageRequest, inputs: &Prepared) -> Vec<Part> {
    let mut parts = vec![Part::text("prompt", &request.prompt)];
    let mut add = |name: &str, value: Option<String>| {
        parts.extend(value.map(|value| Part::text(name, value)));
    };
    let (width, height) = sides(request);
    add("width", width.map(|n| n.to_string()));
    add("height", height.map(|n| n.to_string()));
    add("steps", steps.map(|default| request.steps.unwrap_or(default).to_string()));
    add("guidance", request.guidance.map(|n| n.to_string()));
    add("seed", request.seed.map(|n| n.to_string()));
    for (n, input) in inputs.references.iter().enumerate() {
        let ending = plugin_api::Mime::parse(&input.mime).map_or("bin", plugin_api::Mime::extension);
        let (name, file) = (format!("input_image_{n}"), format!("input_{n}.{ending}"));
        parts.push(Part::file(&name, &file, &input.mime, input.bytes.clone()));
    }
    parts
}

/// The picture of a success that holds no error: the body itself, or base64 in JSON with or without the envelope.
///
/// # Errors
/// `bad_response`, spend certain: there is none.
pub fn picture(answer: &Answer, json: Option<&Value>) -> Result<Artifact, ProviderError> {
    let bad = |what: &str| ProviderError::new(ErrorClass::BadResponse, what);
    if answer.cut_short {
        return Err(bad("the vendor's answer was cut off"));
    }
    let blob: Blob = if answer.binary {
        answer.blobs.first().cloned().ok_or_else(|| bad("the vendor's answer is empty"))?
    } else {
        let json = json.ok_or_else(|| bad("the vendor's answer is neither an image nor JSON"))?;
        let result = json.get("result").unwrap_or(json);
        let text = result.get("image").or(json.get("image")).unwrap_or(result).as_str();
        answer.blob(text.ok_or_else(|| bad("the vendor's answer has no image in it"))?)?
    };
    if blob.sniff().is_none() {
        return Err(bad("what the vendor sent is no image"));
    }
    Ok(Artifact { pictures: vec![Picture::new(Source::Blob(blob))], ..Artifact::default() })
}
