//! The images of a finished answer.

use crate::settings::Settings;
use plugin_api::{Answer, Artifact, ImageRequest, Picture, ProviderError, Source};
use plugin_declared::errors::{Call, bad, in_success, request_id};
use serde_json::Value;

/// # Errors
/// `bad_response`, spend certain: there is none; or the error that the body names.
pub fn read(
    settings: &Settings,
    request: &ImageRequest,
    answer: &Answer,
    call: Call,
) -> Result<Artifact, ProviderError> {
    let bad = |body: Option<&Value>, what: &str| bad(&settings.errors, answer, body, what);
    if answer.cut_short {
        return Err(bad(None, "the vendor's answer was cut off"));
    }
    let vendor_request_id = request_id(answer);
    if answer.binary {
        let blob = answer.blobs.first().filter(|blob| blob.sniff().is_some());
        let blob = blob.ok_or_else(|| bad(None, "what the vendor sent is no image"))?;
        let pictures = vec![Picture::new(Source::Blob(blob.clone()))];
        return Ok(Artifact { pictures, vendor_request_id, ..Artifact::default() });
    }
    let body: Value =
        answer.json().map_err(|_| bad(None, "the vendor's answer is neither an image nor JSON"))?;
    if let Some(error) = in_success(&settings.errors, answer, &body, call) {
        return Err(error);
    }
    let images =
        settings.images.as_ref().ok_or_else(|| bad(Some(&body), "the vendor's answer is no image"))?;
    match images.read(&body, answer, request.n, &settings.base_url)? {
        Some(artifact) => Ok(Artifact { vendor_request_id, ..artifact }),
        None => Err(bad(Some(&body), &format!("the vendor's answer has no image at `{}`", images.at))),
    }
}
