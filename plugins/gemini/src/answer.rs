//! Reads a success: images among texts, drafts to pass over, and refusals that come with status 200.

use crate::models::TokenPrices;
use plugin_api::{
    Answer, Artifact, Basis, Cost, ErrorClass, Picture, ProviderError, Source, Spend, Usage, value::Money,
};
use serde_json::Value;

/// Ends of a candidate that mean the filter.
const BLOCKED: [&str; 8] = [
    "SAFETY",
    "IMAGE_SAFETY",
    "PROHIBITED_CONTENT",
    "IMAGE_PROHIBITED_CONTENT",
    "RECITATION",
    "IMAGE_RECITATION",
    "BLOCKLIST",
    "SPII",
];

/// The artifact in an answer with a success status.
///
/// # Errors
/// `content_blocked` by the input's or the output's filter; `bad_response` for an answer without an image.
pub(crate) fn read(answer: &Answer, prices: Option<TokenPrices>) -> Result<Artifact, ProviderError> {
    let bad =
        |what: &str| ProviderError::new(ErrorClass::BadResponse, what).with_status(answer.status.as_u16());
    if answer.cut_short {
        return Err(bad("Google's answer was cut short"));
    }
    let body = if answer.binary { None } else { answer.json::<Value>().ok() };
    let body = body.ok_or_else(|| bad("Google's answer is not JSON"))?;
    let id = word(&body, "responseId").map(|id| id.chars().take(200).collect::<String>());
    let candidates = list(&body, "candidates");
    let mut artifact = Artifact { vendor_request_id: id.clone(), ..Artifact::default() };
    for (index, part) in (0..).zip(candidates.iter().flat_map(images)) {
        artifact.take(index, picture(answer, part));
    }
    let why = || blocked_input(&body).or_else(|| ended(candidates));
    let none = || why().unwrap_or_else(|| bad("Google's answer has no image"));
    let mut artifact = artifact.with_pictures(none).map_err(|error| error.with_request_id(id))?;
    artifact.model = word(&body, "modelVersion").map(str::to_owned);
    let usage = body.get("usageMetadata").unwrap_or(&Value::Null);
    artifact.usage = counted(usage, artifact.pictures.len());
    artifact.cost = prices.and_then(|prices| cost(usage, prices));
    Ok(artifact)
}

fn word<'a>(of: &'a Value, key: &str) -> Option<&'a str> {
    of.get(key)?.as_str().filter(|text| !text.is_empty())
}

fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The image parts of a candidate. What it thought of on the way are drafts.
fn images(candidate: &Value) -> impl Iterator<Item = &Value> {
    let parts = candidate.get("content").map_or(&[][..], |content| list(content, "parts"));
    parts
        .iter()
        .filter(|part| part.get("thought") != Some(&Value::Bool(true)))
        .filter_map(|part| part.get("inlineData"))
}

fn picture(answer: &Answer, inline: &Value) -> Result<Picture, ProviderError> {
    let bad = || ProviderError::new(ErrorClass::BadResponse, "Google sent something that is not an image");
    let blob = answer.blob(word(inline, "data").ok_or_else(bad)?)?;
    match blob.sniff() {
        Some(_) => Ok(Picture::new(Source::Blob(blob))),
        None => Err(bad()),
    }
}

/// The prompt was refused before anything was made.
fn blocked_input(body: &Value) -> Option<ProviderError> {
    let reason = word(body.get("promptFeedback")?, "blockReason")?;
    let what = format!("Google's filter refused the prompt or a reference ({reason})");
    Some(ProviderError::new(ErrorClass::ContentBlocked, what).with_stage("input").with_code(reason))
}

/// Why the model ended without an image. What it wrote instead is withheld: it is not what was asked for.
fn ended(candidates: &[Value]) -> Option<ProviderError> {
    let candidate = candidates.first()?;
    let code = word(candidate, "finishReason").map(|word| word.chars().take(60).collect::<String>());
    let reason = code.as_deref().unwrap_or("no reason");
    let error = if BLOCKED.contains(&reason) {
        let what = format!("Google's filter held the image back ({reason})");
        ProviderError::new(ErrorClass::ContentBlocked, what).with_stage("output")
    } else if candidate.get("content").is_some_and(|content| !list(content, "parts").is_empty()) {
        let what = format!(
            "the model answered with words instead of an image ({reason}); ask for an image more firmly"
        );
        ProviderError::new(ErrorClass::BadResponse, what)
    } else {
        ProviderError::new(ErrorClass::BadResponse, format!("the model made no image ({reason})"))
    };
    let error = error.with_spend(Spend::Possible);
    Some(match code {
        Some(code) => error.with_code(code),
        None => error,
    })
}

fn counted(usage: &Value, images: usize) -> Usage {
    let count = |key: &str| usage.get(key).and_then(Value::as_u64);
    let output = match (count("candidatesTokenCount"), count("thoughtsTokenCount")) {
        (None, None) => None,
        (made, thought) => Some(made.unwrap_or(0).saturating_add(thought.unwrap_or(0))),
    };
    Usage {
        input_tokens: count("promptTokenCount"),
        output_tokens: output,
        images: Some(images as u64),
        ..Usage::default()
    }
}

/// Tokens of images and of words have prices of their own; where the vendor does not tell them apart, all that a
/// candidate has counts as images.
fn cost(usage: &Value, prices: TokenPrices) -> Option<Cost> {
    let count = |key: &str| usage.get(key).and_then(Value::as_u64);
    let (input, made) = (count("promptTokenCount")?, count("candidatesTokenCount")?);
    let details = list(usage, "candidatesTokensDetails");
    let of_images = details.iter().filter(|d| word(d, "modality") == Some("IMAGE"));
    let of_images = of_images.filter_map(|d| d.get("tokenCount")?.as_u64()).reduce(u64::saturating_add);
    let images = of_images.unwrap_or(made).min(made);
    let text = (made - images).saturating_add(count("thoughtsTokenCount").unwrap_or(0));
    let rows = [(input, prices.input), (images, prices.image), (text, prices.text)];
    let sum: u128 = rows.iter().map(|(tokens, price)| u128::from(*tokens) * u128::from(*price)).sum();
    let micros = i64::try_from(sum.div_ceil(1_000_000)).ok()?;
    Some(Cost { money: Money::micros(micros, "USD"), basis: Basis::Reported })
}
