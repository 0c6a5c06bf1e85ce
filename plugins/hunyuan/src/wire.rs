//! What both generations share: the parts of a body, and pictures and notes of an answer.

use base64::Engine as _;
use plugin_api::{Answer, ErrorClass, ImageRequest, Input, Picture, ProviderError, Size, Source, Spend};
use serde_json::Value;

/// `1024:1024` or `1024x1024`; `None`: the field is left out.
pub fn size(request: &ImageRequest, mark: char) -> Option<String> {
    match request.size {
        Size::Exact { width, height } => Some(format!("{width}{mark}{height}")),
        _ => None,
    }
}

/// Whether the vendor shall rewrite the prompt. It does by itself, and then ignores the seed: where nothing is asked
/// for, a seed switches it off.
pub fn revise(request: &ImageRequest) -> bool {
    request.prompt_rewrite.unwrap_or(request.seed.is_none())
}

/// The vendor draws a mark unless told not to.
pub fn logo_add(request: &ImageRequest) -> u8 {
    u8::from(request.watermark.unwrap_or(false))
}

pub fn base64(input: &Input) -> String {
    base64::prelude::BASE64_STANDARD.encode(&input.bytes)
}

pub fn data_url(input: &Input) -> String {
    format!("data:{};base64,{}", input.mime, base64(input))
}

pub fn bad(what: &str) -> ProviderError {
    ProviderError::new(ErrorClass::BadResponse, what)
}

/// An answer about a job that cannot be read says nothing about the job: it is asked for again.
pub fn unread() -> ProviderError {
    ProviderError::new(ErrorClass::Unavailable, "Tencent's answer about the job cannot be read")
        .with_spend(Spend::None)
}

/// A picture as the vendor gives it: an address, or base64.
///
/// # Errors
/// `bad_response`: it is neither, or no image.
pub fn picture(answer: &Answer, text: &str) -> Result<Picture, ProviderError> {
    if text.starts_with("https://") || text.starts_with("http://") {
        return Ok(Picture::new(Source::Url(text.to_owned())));
    }
    let blob = answer.blob(text)?;
    if blob.sniff().is_none() {
        return Err(bad("what the vendor sent is no image"));
    }
    Ok(Picture::new(Source::Blob(blob)))
}

/// Texts of a member that is a list, or a bare text.
pub fn texts<'a>(json: &'a Value, key: &str) -> Vec<&'a str> {
    match json.get(key) {
        Some(Value::Array(items)) => items.iter().map(|item| item.as_str().unwrap_or_default()).collect(),
        Some(Value::String(text)) => vec![text.as_str()],
        _ => Vec::new(),
    }
}

/// A text that is there and not empty.
pub fn text<'a>(json: &'a Value, key: &str) -> Option<&'a str> {
    json.get(key)?.as_str().filter(|text| !text.is_empty())
}

pub fn id(text: Option<&str>) -> Option<String> {
    text.map(|id| id.chars().take(200).collect())
}

/// The vendor's warning that a call will end, once in the log.
pub fn note_deprecation(json: Option<&Value>) {
    static SAID: std::sync::Once = std::sync::Once::new();
    let warning = json.and_then(|json| json.pointer("/Response/DeprecatedWarning")).and_then(Value::as_str);
    if let Some(warning) = warning {
        let warning: String = warning.chars().filter(|c| !c.is_control()).take(200).collect();
        SAID.call_once(|| tracing::warn!(warning, "Tencent deprecates a call of the TC3 API"));
    }
}
