//! Reads a successful answer in every form the dialect has: one JSON object, or a stream of events.

use crate::{error, models::TokenPrices};
use plugin_api::{
    Answer, Artifact, Basis, Cost, ErrorClass, ImageRequest, Picture, ProviderError, Source, Usage,
    value::Money,
};
use serde_json::Value;

/// The artifact in an answer with a success status.
///
/// # Errors
/// `bad_response` for what cannot be used (it is paid), `outcome_unknown` for a stream without its end.
pub(crate) fn read(
    request: &ImageRequest,
    answer: &Answer,
    prices: Option<TokenPrices>,
) -> Result<Artifact, ProviderError> {
    if answer.is_event_stream() {
        return stream(request, answer, prices);
    }
    if answer.cut_short {
        return Err(bad(answer, "the vendor's answer was cut short"));
    }
    let body: Value = answer.json().map_err(|_| bad(answer, "the vendor's answer is not JSON"))?;
    if let Some(error) = error::in_success(answer, &body) {
        return Err(error);
    }
    let items = ["data", "images", "output"].into_iter().find_map(|key| match body.get(key)? {
        Value::Array(items) if !items.is_empty() => Some(items.clone()),
        Value::String(text) => Some(vec![Value::from(text.as_str())]),
        _ => None,
    });
    let items = items.ok_or_else(|| bad(answer, "the vendor's answer has no images"))?;
    gather(request, answer, &items, &[&body], prices)
}

fn bad(answer: &Answer, what: &str) -> ProviderError {
    ProviderError::new(ErrorClass::BadResponse, what)
        .with_status(answer.status.as_u16())
        .with_request_id(error::request_id(answer))
}

/// Pictures of the items, what is missing, and what it cost. `bodies` hold `usage` and `model`.
fn gather(
    request: &ImageRequest,
    answer: &Answer,
    items: &[Value],
    bodies: &[&Value],
    prices: Option<TokenPrices>,
) -> Result<Artifact, ProviderError> {
    let mut artifact = Artifact { vendor_request_id: error::request_id(answer), ..Artifact::default() };
    for (index, item) in (0..).zip(items) {
        artifact.take(index, picture(answer, item));
    }
    let mut artifact = artifact.with_pictures(|| bad(answer, "the vendor's answer has no images"))?;
    artifact.miss(items.len(), request.n);
    artifact.model = bodies.iter().find_map(|b| b.get("model")?.as_str().map(str::to_owned));
    let usage: Vec<&Value> = bodies.iter().filter_map(|b| b.get("usage")).collect();
    artifact.usage = counted(&usage);
    artifact.cost = prices.and_then(|prices| cost(request, &usage, prices));
    Ok(artifact)
}

/// One item: a string, or an object with its data or its address.
fn picture(answer: &Answer, item: &Value) -> Result<Picture, ProviderError> {
    let member = |key: &str| item.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let text = item.as_str().or_else(|| ["b64_json", "image", "url"].into_iter().find_map(member));
    let text = text.ok_or_else(|| bad(answer, "an item of the vendor's answer has no image"))?;
    let source = if text.starts_with("https://") || text.starts_with("http://") {
        Source::Url(text.to_owned())
    } else {
        let blob = answer.blob(text)?;
        if blob.sniff().is_none() {
            return Err(bad(answer, "the vendor sent something that is not an image"));
        }
        Source::Blob(blob)
    };
    let seed = item.get("seed").and_then(Value::as_u64).and_then(|seed| u32::try_from(seed).ok());
    Ok(Picture { source, revised_prompt: member("revised_prompt").map(str::to_owned), seed })
}

fn counted(usage: &[&Value]) -> Usage {
    let sum = |key: &str| {
        let counts = usage.iter().filter_map(|u| u.get(key)?.as_u64());
        counts.reduce(u64::saturating_add)
    };
    Usage { input_tokens: sum("input_tokens"), output_tokens: sum("output_tokens"), ..Usage::default() }
}

/// Tokens of text and of images have prices of their own; where the vendor does not tell them apart, input with
/// references and all output count as images.
fn cost(request: &ImageRequest, usage: &[&Value], prices: TokenPrices) -> Option<Cost> {
    let mut micros: Option<u128> = None;
    for usage in usage {
        let count = |at: &str| usage.pointer(at).and_then(Value::as_u64);
        let (Some(input), Some(output)) = (count("/input_tokens"), count("/output_tokens")) else { continue };
        let image_in = count("/input_tokens_details/image_tokens")
            .unwrap_or(if request.references.is_empty() { 0 } else { input })
            .min(input);
        let text_out = count("/output_tokens_details/text_tokens").unwrap_or(0).min(output);
        let rows = [
            (input - image_in, prices.text_in),
            (image_in, prices.image_in),
            (output - text_out, prices.image_out),
            (text_out, prices.text_out),
        ];
        let sum: u128 = rows.iter().map(|(tokens, price)| u128::from(*tokens) * u128::from(*price)).sum();
        micros = Some(micros.unwrap_or(0) + sum);
    }
    let micros = i64::try_from(micros?.div_ceil(1_000_000)).ok()?;
    let basis = if prices.assumed { Basis::Estimated } else { Basis::Reported };
    Some(Cost { money: Money::micros(micros, "USD"), basis })
}

/// Events up to the last `completed`; partial images are passed over.
fn stream(
    request: &ImageRequest,
    answer: &Answer,
    prices: Option<TokenPrices>,
) -> Result<Artifact, ProviderError> {
    let unknown = |what: &str| {
        ProviderError::new(ErrorClass::OutcomeUnknown, what)
            .with_status(answer.status.as_u16())
            .with_request_id(error::request_id(answer))
    };
    let text = String::from_utf8_lossy(&answer.text);
    let mut completed = Vec::new();
    for (name, data) in events(&text) {
        if data == "[DONE]" {
            continue;
        }
        let Ok(event) = serde_json::from_str::<Value>(&data) else {
            match name.ends_with(".completed") && !answer.cut_short {
                true => return Err(bad(answer, "the vendor's last event is not JSON")),
                false => continue,
            }
        };
        let kind = if name.is_empty() { event["type"].as_str().unwrap_or_default() } else { &name };
        if kind.ends_with(".completed") {
            completed.push(event);
        } else if kind == "error" || event.get("error").is_some_and(|e| !e.is_null()) {
            let said = event.pointer("/error/message").or_else(|| event.get("message"));
            let said = said.and_then(Value::as_str).unwrap_or("no reason given");
            return Err(unknown(&format!("the vendor's stream broke off: {said}")));
        }
    }
    if completed.is_empty() {
        return Err(unknown("the vendor's stream ended before the image"));
    }
    gather(request, answer, &completed, &completed.iter().collect::<Vec<_>>(), prices)
}

/// Server-sent events as (name, data); the last one counts without its blank line too.
fn events(text: &str) -> Vec<(String, String)> {
    let (mut events, mut name, mut data) = (Vec::new(), String::new(), Vec::new());
    for line in text.lines().chain([""]) {
        if let Some(value) = line.strip_prefix("event:") {
            name = value.trim().to_owned();
        } else if let Some(value) = line.strip_prefix("data:") {
            data.push(value.strip_prefix(' ').unwrap_or(value));
        } else if line.is_empty() {
            let name = std::mem::take(&mut name);
            if !data.is_empty() {
                events.push((name, std::mem::take(&mut data).join("\n")));
            }
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models;
    use plugin_api::Spend;
    use serde_json::json;

    const PNG: &[u8] = include_bytes!("../fixtures/images/fox_1024.png");

    fn png() -> String {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(PNG)
    }

    fn told(n: u32, body: impl ToString) -> Result<Artifact, ProviderError> {
        let request = ImageRequest { n, ..ImageRequest::new("gpt-image-2.5-flare", "a fox") };
        let prices = models::openai()[0].tokens;
        read(&request, &testkit::answer(200, &[], body.to_string()), prices)
    }

    #[test]
    fn pictures_are_found_in_every_form_servers_use() {
        let (png, url) = (png(), "https://cdn.example.com/1.png");
        for body in [
            json!({"data": [{"b64_json": png}]}),
            json!({"data": [{"image": png}]}),
            json!({"data": [{"url": url}]}),
            json!({"data": [{"url": format!("data:image/png;base64,{png}")}]}),
            json!({"data": [], "images": [url]}),
            json!({"images": [{"url": url}]}),
            json!({"output": [png]}),
            json!({"output": url}),
        ] {
            let artifact = told(1, &body).unwrap_or_else(|e| panic!("{e} for {body}"));
            assert_eq!((artifact.pictures.len(), artifact.failed.len()), (1, 0), "{body}");
        }
        for body in [json!({"data": [{"url": "ftp://a/b"}]}), json!({"data": [{"hex": "00"}]}), json!([1])] {
            let error = told(1, &body).unwrap_err();
            assert_eq!((error.class, error.spend), (ErrorClass::BadResponse, Spend::Certain), "{body}");
        }
    }

    #[test]
    fn missing_and_broken_items_are_told_one_by_one() {
        let artifact = told(3, json!({"data": [{"b64_json": "###"}, {"b64_json": png()}]})).unwrap();
        let failed: Vec<_> = artifact.failed.iter().map(|f| (f.index, f.error.spend)).collect();
        assert_eq!(artifact.pictures.len(), 1);
        assert_eq!(failed, [(0, Spend::Certain), (2, Spend::None)], "broken is paid, missing is not");
    }

    #[test]
    fn the_cost_follows_the_kinds_of_tokens() {
        let usage = json!({"input_tokens": 110, "input_tokens_details": {"text_tokens": 10, "image_tokens": 100},
                           "output_tokens": 200});
        let artifact = told(1, json!({"data": [{"b64_json": png()}], "usage": usage})).unwrap();
        let cost = artifact.cost.unwrap();
        assert_eq!((cost.money.amount_micros, cost.basis), (10 * 5 + 100 * 8 + 200 * 30, Basis::Reported));
        let none = told(1, json!({"data": [{"b64_json": png()}], "usage": {"output_tokens": -1}})).unwrap();
        assert_eq!((none.cost, none.usage), (None, Usage::default()), "absent is not zero");
    }

    #[test]
    fn a_stream_ends_with_its_completed_event_or_is_unknown() {
        let done = format!("data: {}", json!({"type": "image_edit.completed", "b64_json": png()}));
        let artifact =
            told(1, format!("event: image_edit.completed\r\n{done}\r\n\r\ndata: [DONE]\n\n")).unwrap();
        assert_eq!(artifact.pictures.len(), 1);
        assert_eq!(told(1, &done).unwrap().pictures.len(), 1, "the event's own type is enough");
        for text in
            ["event: error\ndata: {\"error\":{\"message\":\"gone\"}}\n\n", "data: [DONE]\n\n", "event: x\n\n"]
        {
            let error = told(1, text).unwrap_err();
            assert_eq!((error.class, error.spend), (ErrorClass::OutcomeUnknown, Spend::Possible), "{text}");
        }
        let broken = told(1, "event: image_generation.completed\ndata: {\"b64\n\n").unwrap_err();
        assert_eq!(broken.class, ErrorClass::BadResponse);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_never_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..3000)) {
            let answer = testkit::answer(200, &[], bytes);
            read(&ImageRequest::default(), &answer, models::openai()[0].tokens).ok();
            error::parse(&answer);
        }

        #[test]
        fn any_mangled_answer_never_panics(cut in 0_usize..2000, at in 0_usize..2000, byte: u8, status in 200_u16..600) {
            let events = format!("event: image_generation.completed\ndata: {}\n\n", json!({"b64_json": png(), "usage": {}}));
            let object = json!({"data": [{"b64_json": png()}], "usage": {"input_tokens": 1}, "error": {"code": 3}});
            for text in [events, object.to_string()] {
                let mut bytes = text.into_bytes();
                let (at, cut) = (at % bytes.len(), cut % bytes.len());
                bytes[at] = byte;
                bytes.truncate(cut);
                let answer = testkit::answer(status, &[], bytes);
                read(&ImageRequest::default(), &answer, models::openai()[0].tokens).ok();
                error::parse(&answer);
            }
        }
    }
}
