//! What a tool's answer means: images, a ticket, links to read, or an error.

use crate::{
    message::{Reply, Told},
    settings::Settings,
};
use plugin_api::{Answer, Artifact, ErrorClass, Failed, ImageRequest, Picture, ProviderError, Source, Spend};
use plugin_declared::errors::{self, Call, Said};
use serde_json::{Value, json};

/// What a good answer comes to.
#[derive(Debug)]
pub enum Heard {
    Told(Told),
    /// The server goes on after this event of its stream.
    Later(Reply),
}

/// # Errors
/// The answer is an error, is cut, or is none.
pub fn hear(settings: &Settings, answer: &Answer, call: Call) -> Result<Heard, ProviderError> {
    if !answer.status.is_success() {
        return Err(errors::of_answer(&settings.errors, answer, call));
    }
    let bought = call == Call::Submit;
    match Reply::of(answer) {
        Reply::Result(result) => match Told::of(result) {
            Some(told) if told.is_error => Err(of_tool(settings, answer, &told, call)),
            Some(told) => Ok(Heard::Told(told)),
            None => Err(unusable(settings, answer, "the server's answer is no tool's result", call)),
        },
        Reply::Error(error) => Err(of_message(settings, answer, &error, call)),
        later @ Reply::Later { .. } => Ok(Heard::Later(later)),
        Reply::Nothing if bought => {
            Err(ProviderError::new(ErrorClass::OutcomeUnknown, "the server's stream ended before its answer"))
        }
        Reply::Nothing => Err(lost("the server's stream ended before its answer")),
        Reply::Unreadable => Err(unusable(settings, answer, "the server's answer is no whole message", call)),
    }
}

fn lost(what: &str) -> ProviderError {
    ProviderError::new(ErrorClass::Unavailable, what).with_spend(Spend::None)
}

/// What was bought is lost by it; a question is asked again.
fn unusable(settings: &Settings, answer: &Answer, what: &str, call: Call) -> ProviderError {
    match call {
        Call::Submit => errors::bad(&settings.errors, answer, None, what),
        Call::Poll { .. } | Call::Check => lost(what),
    }
}

/// The tool ran and says that it failed. Unless the settings know better it is taken to be about the request, which
/// nobody repeats.
fn of_tool(settings: &Settings, answer: &Answer, told: &Told, call: Call) -> ProviderError {
    let mut said = Said::read(&settings.errors, &told.value);
    if said.message.is_none() && !told.text.trim().is_empty() {
        said.message = Some(told.text.trim().chars().take(errors::LONGEST).collect());
    }
    let named = said.named(&settings.errors);
    let (class, code) = match named {
        Some((class, code)) => (class, Some(code)),
        None => (ErrorClass::InvalidRequest, None),
    };
    said.message.get_or_insert_with(|| "the tool failed and does not say why".into());
    let mut error = errors::dressed(ProviderError::new(class, ""), &said, answer);
    error.vendor_code = code.or(error.vendor_code);
    match call {
        Call::Check => error.with_spend(Spend::None),
        Call::Submit | Call::Poll { .. } => errors::of_job(settings.failed_costs, error),
    }
}

/// A JSON-RPC error.
fn of_message(settings: &Settings, answer: &Answer, error: &Value, call: Call) -> ProviderError {
    use ErrorClass::*;
    let mut said = Said::read(&settings.errors, error);
    let number = error["code"].as_i64();
    said.message.get_or_insert_with(|| format!("the server answers with error {}", number.unwrap_or(0)));
    let named = said.named(&settings.errors);
    let class = match (&named, number) {
        (Some((class, _)), _) => *class,
        // -32002: no such resource.
        (None, Some(-32601 | -32002)) => NotFound,
        (None, Some(-32700 | -32600 | -32602)) => InvalidRequest,
        // The user would have to go to a page first.
        (None, Some(-32042)) => Permission,
        (None, _) => Unavailable,
    };
    let is_named = named.is_some();
    let made = errors::dressed(ProviderError::new(class, ""), &said, answer);
    match call {
        Call::Check => made.with_spend(Spend::None),
        Call::Submit if is_named => errors::of_job(settings.failed_costs, made),
        Call::Submit => made,
        Call::Poll { .. } if class == Unavailable => made.with_spend(Spend::None),
        Call::Poll { .. } if is_named => errors::of_job(settings.failed_costs, made),
        Call::Poll { .. } => ProviderError { class: JobExpired, ..made }.with_spend(Spend::Certain),
    }
}

/// Images, or where they are.
#[derive(Debug)]
pub enum Found {
    Images(Artifact),
    /// Resources to read: at least one is no http(s) address.
    Links(Vec<String>),
}

/// # Errors
/// `bad_response`: there is no image; or an error that the settings know in the answer.
pub fn images(
    settings: &Settings,
    request: &ImageRequest,
    answer: &Answer,
    told: &Told,
    call: Call,
) -> Result<Found, ProviderError> {
    if let Some(error) = errors::in_success(&settings.errors, answer, &told.value, call) {
        return Err(error);
    }
    if let Some(images) = &settings.images {
        let uris: Vec<String> =
            images.texts(&told.value, request.n).into_iter().filter(|t| is_resource(t)).collect();
        if !uris.is_empty() {
            return Ok(behind(uris, request.n));
        }
    }
    if let Some(images) = &settings.images
        && let Some(artifact) = images.read(&told.value, answer, request.n, "")?
    {
        return Ok(Found::Images(artifact));
    }
    let links = links(told);
    if settings.links_first && !links.is_empty() {
        return Ok(behind(links, request.n));
    }
    let mut artifact = Artifact::default();
    for data in data(told) {
        match data.and_then(|text| picture(answer, text)) {
            Ok(picture) => artifact.pictures.push(picture),
            Err(error) => {
                let index = (artifact.pictures.len() + artifact.failed.len()) as u32;
                artifact.failed.push(Failed { index, error });
            }
        }
    }
    if artifact.pictures.is_empty() {
        if !links.is_empty() {
            return Ok(behind(links, request.n));
        }
        let first = artifact.failed.into_iter().next().map(|failed| failed.error);
        return Err(first.unwrap_or_else(|| {
            let said = json!({"message": told.text.trim().chars().take(errors::LONGEST).collect::<String>()});
            errors::bad(&settings.errors, answer, Some(&said), "the tool's answer has no image")
        }));
    }
    let made = artifact.pictures.len() + artifact.failed.len();
    artifact.miss(made, request.n);
    Ok(Found::Images(artifact))
}

/// Links to addresses of the web are fetched by the gateway, all others have to be read at the server.
fn behind(links: Vec<String>, n: u32) -> Found {
    if !links.iter().all(|uri| is_web(uri)) {
        return Found::Links(links);
    }
    let pictures: Vec<Picture> = links.into_iter().map(|url| Picture::new(Source::Url(url))).collect();
    let made = pictures.len();
    let mut artifact = Artifact { pictures, ..Artifact::default() };
    artifact.miss(made, n);
    Found::Images(artifact)
}

/// The URI of a resource that has to be read at the server.
fn is_resource(text: &str) -> bool {
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    !scheme.is_empty() && scheme.chars().all(plain) && !is_web(text)
}

pub fn is_web(uri: &str) -> bool {
    uri.starts_with("https://") || uri.starts_with("http://")
}

fn links(told: &Told) -> Vec<String> {
    let of_image = |block: &&Value| {
        block["type"] == "resource_link"
            && block["mimeType"].as_str().is_none_or(|mime| mime.starts_with("image/"))
    };
    let uris = told.content.iter().filter(of_image).filter_map(|block| block["uri"].as_str());
    uris.map(str::to_owned).collect()
}

/// The base64 of image blocks; where there are none, of embedded resources.
fn data(told: &Told) -> Vec<Result<&str, ProviderError>> {
    let text = |value: &'_ Value| value.is_string();
    let bad = || ProviderError::new(ErrorClass::BadResponse, "an image block without its data");
    let blocks: Vec<_> = told.content.iter().filter(|block| block["type"] == "image").collect();
    if !blocks.is_empty() {
        return blocks.into_iter().map(|block| block["data"].as_str().ok_or_else(bad)).collect();
    }
    let resources = told.content.iter().filter(|block| block["type"] == "resource");
    let blobs = resources.map(|block| &block["resource"]["blob"]).filter(|blob| text(blob));
    blobs.map(|blob| blob.as_str().ok_or_else(bad)).collect()
}

/// # Errors
/// `bad_response`, spend certain: it is no image.
pub fn picture(answer: &Answer, text: &str) -> Result<Picture, ProviderError> {
    let blob = answer.blob(text)?;
    match blob.sniff() {
        Some(_) => Ok(Picture::new(Source::Blob(blob))),
        None => Err(ProviderError::new(ErrorClass::BadResponse, "what the server sent is no image")),
    }
}

/// The image in the answer of `resources/read`.
///
/// # Errors
/// As `hear` for a poll; `bad_response`: it is none.
pub fn resource(settings: &Settings, answer: &Answer) -> Result<Picture, ProviderError> {
    let call = Call::Poll { failed_costs: true };
    if !answer.status.is_success() {
        return Err(errors::of_answer(&settings.errors, answer, call));
    }
    let result = match Reply::of(answer) {
        Reply::Result(result) => result,
        Reply::Error(error) => return Err(of_message(settings, answer, &error, call)),
        _ => return Err(lost("the answer to resources/read did not come whole")),
    };
    let contents = result["contents"].as_array().into_iter().flatten();
    match contents.filter_map(|item| item["blob"].as_str()).next() {
        Some(blob) => picture(answer, blob),
        None => Err(ProviderError::new(ErrorClass::BadResponse, "the resource holds no bytes")),
    }
}
