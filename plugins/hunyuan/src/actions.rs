//! The signed calls of TC3: their bodies and their answers.

use crate::{error, models::Api, wire};
use plugin_api::{
    Adjustment, Answer, Artifact, ErrorClass, ImageRequest, Input, Picture, Progress, ProviderError, Retry,
    Spend, Submission,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::Duration;

/// A call of the vendor's, and the one that tells how its job is doing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Action {
    pub service: &'static str,
    pub version: &'static str,
    pub submit: &'static str,
    /// `None`: the answer to the submit is the image.
    pub query: Option<&'static str>,
}

const fn hunyuan(submit: &'static str, query: Option<&'static str>) -> Action {
    Action { service: "hunyuan", version: "2023-09-01", submit, query }
}
const fn aiart(submit: &'static str, query: Option<&'static str>) -> Action {
    Action { service: "aiart", version: "2022-12-29", submit, query }
}

/// `None`: a call of TokenHub.
pub fn action(api: Api) -> Option<Action> {
    Some(match api {
        Api::Image => hunyuan("SubmitHunyuanImageJob", Some("QueryHunyuanImageJob")),
        Api::Chat => hunyuan("SubmitHunyuanImageChatJob", Some("QueryHunyuanImageChatJob")),
        Api::Image30 => aiart("SubmitTextToImageJob", Some("QueryTextToImageJob")),
        Api::Lite => hunyuan("TextToImageLite", None),
        Api::Rapid => aiart("TextToImageRapid", None),
        _ => return None,
    })
}

/// A job at the vendor, and how to ask for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    pub service: String,
    pub version: String,
    pub query: String,
    pub job_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Query<'a> {
    pub job_id: &'a str,
}

/// The members of every submit; what is not set is not sent.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Body<'a> {
    prompt: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    negative_prompt: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    style: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_image: Option<ContentImage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    images: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<Image>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revise: Option<u8>,
    logo_add: u8,
    /// `Clarity`, `ChatId`, `RspImgType`: checked by the model's rules.
    #[serde(flatten)]
    options: Map<String, Value>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ContentImage {
    image_base64: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    base64: String,
}

/// The body of a model's submit.
pub fn body(api: Api, request: &ImageRequest) -> Body<'_> {
    let mut body = Body {
        prompt: &request.prompt,
        logo_add: wire::logo_add(request),
        options: request.vendor.clone(),
        ..Body::default()
    };
    let negative = request.negative_prompt.as_deref().filter(|text| !text.is_empty());
    let style = request.style.as_deref();
    let revise = Some(u8::from(wire::revise(request)));
    let resolution = wire::size(request, ':');
    let first = || request.references.first().map(wire::base64);
    let all = |inputs: &[Input]| (!inputs.is_empty()).then(|| inputs.iter().map(wire::base64).collect());
    if matches!(api, Api::Lite | Api::Rapid) {
        body.options.entry("RspImgType").or_insert_with(|| "base64".into());
    }
    match api {
        Api::Lite => Body { negative_prompt: negative, style, resolution, ..body },
        Api::Rapid => {
            let image = first().map(|base64| Image { base64 });
            Body { style, resolution, image, seed: request.seed, ..body }
        }
        Api::Image30 => {
            Body { resolution, images: all(&request.references), seed: request.seed, revise, ..body }
        }
        Api::Image => Body {
            negative_prompt: negative,
            style,
            resolution,
            num: Some(request.n.max(1)),
            content_image: first().map(|image_base64| ContentImage { image_base64 }),
            seed: request.seed,
            revise,
            ..body
        },
        _ => body,
    }
}

/// The answer to a submit that is no error.
///
/// # Errors
/// `bad_response`: there is neither a job nor an image in it.
pub fn submitted(
    api: Api,
    answer: &Answer,
    json: Option<&Value>,
    first: Duration,
) -> Result<Submission, ProviderError> {
    let response = json.and_then(|json| json.get("Response"));
    let response = response.ok_or_else(|| wire::bad("Tencent's answer has no Response in it"))?;
    let request_id = wire::id(wire::text(response, "RequestId"));
    let bad = |what: &str| wire::bad(what).with_request_id(request_id.clone());
    let Action { service, version, query, .. } =
        action(api).ok_or_else(|| bad("this model is no call of TC3"))?;
    if let Some(query) = query {
        let job_id = wire::text(response, "JobId").ok_or_else(|| bad("Tencent's answer has no JobId"))?;
        let job = Job {
            service: service.into(),
            version: version.into(),
            query: query.into(),
            job_id: job_id.into(),
        };
        let ticket = serde_json::to_value(job).map_err(|_| bad("the job cannot be written down"))?;
        return Ok(Submission::Pending(plugin_api::Ticket(ticket), first));
    }
    let image = wire::texts(response, "ResultImage").into_iter().find(|text| !text.is_empty());
    let mut picture = wire::picture(answer, image.ok_or_else(|| bad("Tencent's answer has no image"))?)
        .map_err(|error| error.with_request_id(request_id.clone()))?;
    picture.seed = response.get("Seed").and_then(Value::as_u64).and_then(|seed| u32::try_from(seed).ok());
    let pictures = vec![picture];
    Ok(Submission::Done(Artifact { pictures, vendor_request_id: request_id, ..Artifact::default() }))
}

/// The answer to a query that is no error.
///
/// # Errors
/// `unavailable`: it cannot be read, and may be asked again; `bad_response`: done without an image.
pub fn queried(
    api: Api,
    request: &ImageRequest,
    answer: &Answer,
    json: Option<&Value>,
    again_after: Duration,
) -> Result<Progress, ProviderError> {
    let response = json.and_then(|json| json.get("Response")).ok_or_else(wire::unread)?;
    // A text by the documentation.
    let status = match response.get("JobStatusCode") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => return Err(wire::unread()),
    };
    let request_id = wire::id(wire::text(response, "RequestId"));
    match status.as_str() {
        "4" => {
            let text = |key| wire::text(response, key).unwrap_or_default();
            let error = error::of_job(text("JobErrorCode"), text("JobErrorMsg"));
            Ok(Progress::Failed(error.with_request_id(request_id)))
        }
        "5" => Ok(match done(api, request, answer, response) {
            Ok(artifact) => Progress::Done(Artifact { vendor_request_id: request_id, ..artifact }),
            Err(error) => Progress::Failed(error.with_request_id(request_id)),
        }),
        _ => {
            let note = wire::text(response, "JobStatusMsg").map(str::to_owned);
            Ok(Progress::Pending { again_after, percent: None, note })
        }
    }
}

/// With a partial failure the list of addresses may be shorter than that of the details, or have blanks: the n-th
/// success belongs to the n-th address that is not blank.
fn done(
    api: Api,
    request: &ImageRequest,
    answer: &Answer,
    response: &Value,
) -> Result<Artifact, ProviderError> {
    let mut images = wire::texts(response, "ResultImage").into_iter().filter(|url| !url.is_empty());
    let (details, prompts) = (wire::texts(response, "ResultDetails"), wire::texts(response, "RevisedPrompt"));
    let mut artifact = Artifact::default();
    let count = details.len().max(request.n as usize);
    for (at, index) in (0..count).zip(0_u32..) {
        let outcome = match details.get(at) {
            Some(&"Success") | None => images
                .next()
                .ok_or_else(|| missing(details.get(at).is_some()))
                .and_then(|image| wire::picture(answer, image)),
            Some(code) => Err(error::of_job(code, "")),
        };
        let revised = prompts.get(at).filter(|text| !text.is_empty()).map(|text| (*text).to_owned());
        artifact.take(index, outcome.map(|picture| Picture { revised_prompt: revised, ..picture }));
    }
    // More than was told of: paid all the same.
    for image in images {
        artifact.pictures.extend(wire::picture(answer, image).ok());
    }
    artifact.adjustments.extend(turn(api, request, response));
    if !artifact.pictures.is_empty() {
        return Ok(artifact);
    }
    let none = || wire::bad("Tencent says that the job is done, and names no image");
    let unexplained = artifact.failed.iter().any(|failed| failed.error.class == ErrorClass::BadResponse);
    let first = artifact.failed.into_iter().next().filter(|_| !unexplained);
    Err(first.map_or_else(none, |failed| failed.error))
}

fn missing(promised: bool) -> ProviderError {
    if promised {
        return wire::bad("Tencent says that this image was made, and names no address");
    }
    wire::bad("Tencent made fewer images than asked").with_spend(Spend::None).with_retry(Retry::Later)
}

/// The id of a chat's turn, with which the next one goes on.
fn turn(api: Api, request: &ImageRequest, response: &Value) -> Option<Adjustment> {
    let id = wire::text(response, "ChatId").filter(|_| api == Api::Chat)?;
    let asked = request.vendor.get("ChatId").and_then(Value::as_str).unwrap_or("none");
    let reason = "the conversation: give it as the vendor option ChatId to go on from this image";
    (asked != id).then(|| Adjustment::new("vendor.ChatId", asked, id, reason))
}
