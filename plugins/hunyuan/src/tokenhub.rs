//! The calls of TokenHub: their bodies and their answers. `/v1/api/image/*` wants `resolution` with a colon and
//! numbers for switches, `/v1/wand/*` wants `size` with an `x` and booleans.

use crate::{
    error,
    models::{self, Api},
    wire,
};
use plugin_api::{
    Answer, Artifact, Basis, Cost, ImageRequest, Picture, Progress, ProviderError, Submission, Ticket, Usage,
    value::Money,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::Duration;

pub const QUERY: &str = "/v1/api/image/query";

/// Where a model is called; `None`: a call of TC3.
pub fn path(api: Api) -> Option<&'static str> {
    Some(match api {
        Api::HubJob => "/v1/api/image/submit",
        Api::HubLite => "/v1/api/image/lite",
        Api::HubV3 => "/v1/wand/hunyuan-image/v3-generation",
        Api::HubV35 => "/v1/wand/hunyuan-image/v35-generation",
        _ => return None,
    })
}

/// A job at the vendor; the body of a query too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    pub model: String,
    pub id: String,
}

/// The members of every submit; what is not set is not sent.
#[derive(Debug, Serialize)]
pub struct Body<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<[Message; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    negative_prompt: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    images: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revise: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logo_add: Option<u8>,
    /// `rsp_img_type`, `footnote`, `session`, ...: checked by the model's rules.
    #[serde(flatten)]
    options: Map<String, Value>,
}

/// A chat of one turn.
#[derive(Debug, Serialize)]
struct Message {
    role: &'static str,
    content: Vec<Content>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Content {
    Text { text: String },
    ImageUrl { image_url: ImageUrl },
}

#[derive(Debug, Serialize)]
struct ImageUrl {
    url: String,
}

/// The body of a model's submit.
pub fn body(api: Api, request: &ImageRequest) -> Body<'_> {
    let prompt = request.prompt.as_str();
    let mut body = Body {
        model: &request.model,
        prompt: None,
        messages: None,
        negative_prompt: None,
        images: None,
        resolution: None,
        size: None,
        seed: request.seed,
        revise: None,
        logo_add: Some(wire::logo_add(request)),
        options: request.vendor.clone(),
    };
    let images = |form: fn(&plugin_api::Input) -> String| {
        (!request.references.is_empty()).then(|| request.references.iter().map(form).collect())
    };
    let negative = request.negative_prompt.as_deref().filter(|text| !text.is_empty());
    match api {
        Api::HubLite => {
            body.options.entry("rsp_img_type").or_insert_with(|| "base64".into());
            let resolution = wire::size(request, ':');
            Body { prompt: Some(prompt), negative_prompt: negative, resolution, ..body }
        }
        Api::HubV3 => Body {
            prompt: Some(prompt),
            images: images(wire::data_url),
            size: wire::size(request, 'x'),
            revise: Some(wire::revise(request).into()),
            logo_add: None,
            ..body
        },
        Api::HubV35 => {
            Body { messages: Some([message(prompt, request)]), size: wire::size(request, 'x'), ..body }
        }
        _ => Body {
            prompt: Some(prompt),
            images: images(wire::base64),
            resolution: wire::size(request, ':'),
            revise: Some(u8::from(wire::revise(request)).into()),
            ..body
        },
    }
}

fn message(text: &str, request: &ImageRequest) -> Message {
    let image = |input| Content::ImageUrl { image_url: ImageUrl { url: wire::data_url(input) } };
    let content =
        std::iter::once(Content::Text { text: text.to_owned() }).chain(request.references.iter().map(image));
    Message { role: "user", content: content.collect() }
}

/// The answer to a submit that is no error.
///
/// # Errors
/// `bad_response`: there is neither a job nor an image in it.
pub fn submitted(
    api: Api,
    request: &ImageRequest,
    answer: &Answer,
    json: Option<&Value>,
    first: Duration,
) -> Result<Submission, ProviderError> {
    let json = json.filter(|json| json.is_object());
    let json = json.ok_or_else(|| wire::bad("TokenHub's answer is not JSON"))?;
    if api == Api::HubJob {
        match (status(json), wire::text(json, "id")) {
            (Status::Failed, _) => return Err(failure(json)),
            (Status::Open | Status::Untold, Some(id)) => {
                let job = Job { model: request.model.clone(), id: id.to_owned() };
                let ticket = serde_json::to_value(job);
                let ticket = ticket.map_err(|_| wire::bad("the job cannot be written down"))?;
                return Ok(Submission::Pending(Ticket(ticket), first));
            }
            // Done at once.
            _ => {}
        }
    }
    artifact(api, answer, json).map(Submission::Done)
}

/// The answer to a query that is no error.
///
/// # Errors
/// `unavailable`: it cannot be read, and may be asked again.
pub fn queried(
    answer: &Answer,
    json: Option<&Value>,
    again_after: Duration,
) -> Result<Progress, ProviderError> {
    let json = json.ok_or_else(wire::unread)?;
    let done = |json| match artifact(Api::HubJob, answer, json) {
        Ok(artifact) => Progress::Done(artifact),
        Err(error) => Progress::Failed(error),
    };
    match status(json) {
        Status::Done => Ok(done(json)),
        Status::Failed => Ok(Progress::Failed(failure(json))),
        Status::Untold if json.get("data").is_some() => Ok(done(json)),
        Status::Untold => Err(wire::unread()),
        Status::Open => {
            let note = wire::text(json, "status").map(str::to_owned);
            Ok(Progress::Pending { again_after, percent: None, note })
        }
    }
}

enum Status {
    /// Also any word that nobody knows.
    Open,
    Done,
    Failed,
    /// There is no word.
    Untold,
}

fn status(json: &Value) -> Status {
    match wire::text(json, "status") {
        Some("completed" | "succeeded" | "succeed") => Status::Done,
        Some("failed") => Status::Failed,
        Some(_) => Status::Open,
        None => Status::Untold,
    }
}

fn failure(json: &Value) -> ProviderError {
    let of = |key: &str| json.pointer(&format!("/error/{key}")).and_then(Value::as_str).unwrap_or_default();
    error::of_job(of("code"), of("message")).with_request_id(wire::id(wire::text(json, "request_id")))
}

/// The images of an answer, in `data` or in the choices of a chat.
fn artifact(api: Api, answer: &Answer, json: &Value) -> Result<Artifact, ProviderError> {
    let request_id = wire::id(wire::text(json, "request_id"));
    let items = json.get(if api == Api::HubV35 { "choices" } else { "data" }).and_then(Value::as_array);
    let mut artifact = Artifact::default();
    for (index, item) in (0_u32..).zip(items.into_iter().flatten()) {
        artifact.take(index, picture(answer, item));
    }
    let mut artifact = artifact
        .with_pictures(|| wire::bad("TokenHub's answer has no image"))
        .map_err(|error| error.with_request_id(request_id.clone()))?;
    artifact.usage = usage(json);
    if api == Api::HubV35 {
        artifact.cost = cost(&artifact.usage, items.into_iter().flatten());
    }
    artifact.model = wire::text(json, "model").map(str::to_owned);
    artifact.vendor_request_id = request_id;
    Ok(artifact)
}

/// An item of `data` has the image itself, one of a chat's choices has it in `delta` (or `message`). Whether it is
/// there is all that counts; `finish_reason` says nothing.
fn picture(answer: &Answer, item: &Value) -> Result<Picture, ProviderError> {
    let turn = item.get("delta").or(item.get("message")).and_then(|turn| turn.get("image"));
    let image = turn.unwrap_or(item);
    let text = ["url", "b64_json"].into_iter().find_map(|key| wire::text(image, key));
    let mut picture = wire::picture(answer, text.ok_or_else(|| wire::bad("an item has no image"))?)?;
    picture.revised_prompt = wire::text(item, "revised_prompt").map(str::to_owned);
    Ok(picture)
}

fn usage(json: &Value) -> Usage {
    let count = |key: &str| json.pointer(&format!("/usage/{key}")).and_then(Value::as_u64);
    Usage {
        input_tokens: count("input_tokens").or_else(|| count("prompt_tokens")),
        output_tokens: count("output_tokens").or_else(|| count("total_tokens")),
        credits: json.pointer("/usage/credits").and_then(Value::as_f64),
        images: None,
    }
}

/// The vendor often leaves its count out, or at nought; the price then follows from the size that it names.
fn cost<'a>(usage: &Usage, items: impl Iterator<Item = &'a Value>) -> Option<Cost> {
    let size = |item: &Value| {
        let image = item.get("delta").or(item.get("message"))?.get("image")?;
        Some((image.get("width")?.as_u64()?, image.get("height")?.as_u64()?))
    };
    let money = |micros| Money::micros(micros, "CNY");
    if let Some(tokens) = usage.output_tokens.filter(|tokens| *tokens > 0) {
        let micros = models::v35_price(Some(tokens), (0, 0))?;
        return Some(Cost { money: money(micros), basis: Basis::Reported });
    }
    let mut sum = 0_i64;
    for item in items {
        sum = sum.checked_add(models::v35_price(None, size(item)?)?)?;
    }
    Some(Cost { money: money(sum), basis: Basis::Computed })
}
