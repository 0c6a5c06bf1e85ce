//! Reads what DashScope answers to a call and to a poll.

use crate::{
    error::{self, Said},
    is_task_id,
};
use plugin_api::{
    Answer, Artifact, ErrorClass, ImageRequest, Picture, Progress, ProviderError, Retry, Source, Spend,
    Submission, Ticket, Usage, asked_wait,
};
use serde_json::Value;
use std::time::Duration;

/// The answer to the paid call: images, or a task to ask for.
///
/// # Errors
/// What the vendor refused, or `bad_response` for a success that cannot be used.
pub(crate) fn submission(
    request: &ImageRequest,
    answer: &Answer,
    first: Duration,
) -> Result<Submission, ProviderError> {
    let body = json(answer);
    let id = body.as_ref().and_then(request_id);
    let named = |error: ProviderError| error.with_request_id(id.clone());
    if !answer.status.is_success() {
        return Err(named(error::of_call(answer, body.as_ref().and_then(Said::read).as_ref())));
    }
    let bad = |what: &str| {
        named(ProviderError::new(ErrorClass::BadResponse, what).with_status(answer.status.as_u16()))
    };
    if answer.cut_short {
        return Err(bad("DashScope's answer was cut short"));
    }
    let body = body.ok_or_else(|| bad("DashScope's answer is not JSON"))?;
    let output = body.get("output").unwrap_or(&Value::Null);
    if holds_images(output) {
        return artifact(request, &body, output).map(Submission::Done).map_err(named);
    }
    if let Some(said) = Said::read(output) {
        return Err(named(error::of_work(&said)));
    }
    if let Some(task) = text(output, "task_id").filter(|task| is_task_id(task)) {
        return Ok(Submission::Pending(Ticket(task.into()), first));
    }
    // An error that comes as a success.
    Err(match Said::read(&body) {
        Some(said) => named(error::of_call(answer, Some(&said))),
        None => bad("DashScope's answer has neither images nor a task"),
    })
}

/// The answer to a poll. `again`: when to ask again.
///
/// # Errors
/// The question failed, not the task: `unavailable` and `rate_limited` are asked again.
pub(crate) fn progress(
    request: &ImageRequest,
    answer: &Answer,
    again: Duration,
) -> Result<Progress, ProviderError> {
    let body = json(answer);
    let id = body.as_ref().and_then(request_id);
    let named = |error: ProviderError| error.with_request_id(id.clone());
    if !answer.status.is_success() {
        return Err(named(refused(answer, body.as_ref())));
    }
    let status = body.as_ref().and_then(|body| text(body.get("output")?, "task_status"));
    let (Some(body), Some(status)) = (&body, status) else {
        let said = body.as_ref().and_then(Said::read);
        let what =
            said.map_or_else(|| "DashScope's answer to a poll cannot be read".into(), |said| said.message);
        return Err(named(ProviderError::new(ErrorClass::Unavailable, what).with_spend(Spend::None)));
    };
    let output = &body["output"];
    let failed = |error: ProviderError| Ok(Progress::Failed(named(error)));
    match status {
        "SUCCEEDED" => match artifact(request, body, output) {
            Ok(artifact) => Ok(Progress::Done(artifact)),
            Err(error) => failed(error),
        },
        "FAILED" => {
            let said = Said::read(output).unwrap_or_default();
            let message =
                if said.message.is_empty() { "the task failed at DashScope".into() } else { said.message };
            failed(error::of_work(&Said { message, ..said }))
        }
        "CANCELED" => {
            let what = "the task was cancelled at DashScope, by nobody here";
            failed(
                ProviderError::new(ErrorClass::Unavailable, what)
                    .with_spend(Spend::None)
                    .with_retry(Retry::Never),
            )
        }
        "UNKNOWN" => {
            let what =
                "DashScope no longer knows the task: it keeps them for 24 hours, for the key that made them";
            failed(ProviderError::new(ErrorClass::JobExpired, what))
        }
        // PENDING, RUNNING, SUSPENDED, and what may come.
        other => {
            let note = other.chars().take(40).collect::<String>().to_ascii_lowercase();
            Ok(Progress::Pending { again_after: again, percent: None, note: Some(note) })
        }
    }
}

/// A poll that was refused. The work behind it is paid for, so it is never a reason to buy it elsewhere.
fn refused(answer: &Answer, body: Option<&Value>) -> ProviderError {
    let said = body.and_then(Said::read);
    let error = error::of_call(answer, said.as_ref());
    match error.class {
        // A key that is refused now may be good again before the deadline: the image is there, and paid for.
        ErrorClass::RateLimited
        | ErrorClass::Authentication
        | ErrorClass::Permission
        | ErrorClass::QuotaExhausted => error.with_spend(Spend::None).with_retry(Retry::Later),
        ErrorClass::Unavailable | ErrorClass::Overloaded | ErrorClass::Timeout => {
            ProviderError { class: ErrorClass::Unavailable, spend: Spend::None, retry: Retry::Later, ..error }
        }
        ErrorClass::NotFound => ProviderError {
            class: ErrorClass::JobExpired,
            spend: Spend::Certain,
            retry: Retry::Never,
            ..error
        },
        _ => error.with_spend(Spend::Possible).with_retry(Retry::Never),
    }
    .with_wait(asked_wait(&answer.headers))
}

/// Whether the answer speaks of a task, known or not: the key was good.
///
/// # Errors
/// The vendor refused the question.
pub(crate) fn is_task(answer: &Answer) -> Result<bool, ProviderError> {
    let body = json(answer);
    let said = body.as_ref().and_then(Said::read);
    if body.as_ref().is_some_and(|body| body.pointer("/output/task_status").is_some())
        && answer.status.is_success()
    {
        return Ok(true);
    }
    if answer.status.is_success() && said.is_none() {
        return Ok(false);
    }
    Err(error::of_call(answer, said.as_ref()))
}

fn json(answer: &Answer) -> Option<Value> {
    if answer.binary { None } else { answer.json().ok() }
}

fn text<'a>(of: &'a Value, key: &str) -> Option<&'a str> {
    of.get(key)?.as_str().filter(|text| !text.is_empty())
}

fn request_id(body: &Value) -> Option<String> {
    Some(text(body, "request_id")?.chars().take(200).collect())
}

fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn holds_images(output: &Value) -> bool {
    !list(output, "results").is_empty() || !list(output, "choices").is_empty()
}

/// One image of an answer, or why it is not there.
type Item = Result<Picture, ProviderError>;

/// `results` of the prompt form; `choices` of the messages form, whose images come as several parts, as several
/// choices, or both.
fn items(output: &Value) -> Vec<Item> {
    let result = |item: &Value| -> Item {
        if let Some(url) = text(item, "url") {
            let mut picture = picture(url)?;
            picture.revised_prompt = text(item, "actual_prompt").map(str::to_owned);
            return Ok(picture);
        }
        Err(match Said::read(item) {
            Some(said) => error::of_work(&said),
            None => ProviderError::new(ErrorClass::BadResponse, "an item of DashScope's answer has no image"),
        })
    };
    let results = list(output, "results").iter().map(result);
    let parts = list(output, "choices").iter().flat_map(|choice| {
        let content = choice.pointer("/message/content").and_then(Value::as_array);
        content.into_iter().flatten().filter_map(|part| text(part, "image"))
    });
    results.chain(parts.map(picture)).collect()
}

fn picture(url: &str) -> Item {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match scheme {
        "https" => Ok(Picture::new(Source::Url(url.to_owned()))),
        // The vendor's storage has both; whether another host may be fetched by http is the gateway's to say.
        "http" if host.ends_with(".aliyuncs.com") => Ok(Picture::new(Source::Url(format!("https://{rest}")))),
        "http" => Ok(Picture::new(Source::Url(url.to_owned()))),
        _ => Err(ProviderError::new(ErrorClass::BadResponse, "DashScope sent an address that is no URL")),
    }
}

fn artifact(request: &ImageRequest, body: &Value, output: &Value) -> Result<Artifact, ProviderError> {
    let mut artifact = Artifact { vendor_request_id: request_id(body), ..Artifact::default() };
    let items = items(output);
    let told = items.len();
    for (index, item) in (0..).zip(items) {
        artifact.take(index, item);
    }
    let none = || ProviderError::new(ErrorClass::BadResponse, "DashScope's answer has no images");
    let mut artifact = artifact.with_pictures(none)?;
    artifact.miss(told, request.n);
    // The gateway prices by it: what failed is not charged.
    let made = artifact.pictures.len() as u64;
    let counted = |key: &str| body.pointer(&format!("/usage/{key}")).and_then(Value::as_u64);
    let count = counted("image_count").or_else(|| counted("output_image_count"));
    artifact.usage = Usage { images: Some(count.unwrap_or(made).max(made)), ..Usage::default() };
    Ok(artifact)
}
