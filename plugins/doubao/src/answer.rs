//! Reads a success: one JSON object, or a stream with an event for each image of a group.

use crate::error;
use plugin_api::{Answer, Artifact, ErrorClass, Failed, Picture, ProviderError, Source, Spend, Usage};
use serde_json::Value;

/// What an answer holds, whatever its form.
#[derive(Default)]
struct Held {
    /// Images and refusals, by their place in the group.
    items: Vec<(u32, Value)>,
    usage: Option<Value>,
    model: Option<String>,
    /// Why the answer has no end.
    broken: Option<ProviderError>,
}

/// The artifact in an answer with a success status.
///
/// # Errors
/// `bad_response` for what cannot be used; the first image's own error where every image was refused.
pub(crate) fn read(answer: &Answer) -> Result<Artifact, ProviderError> {
    let held = if answer.is_event_stream() { stream(answer) } else { object(answer)? };
    let count = |key: &str| held.usage.as_ref().and_then(|usage| usage.get(key)?.as_u64());
    let made = count("generated_images");
    // Only images that were made are billed.
    let spend = if made == Some(0) { Spend::None } else { Spend::Possible };
    let mut artifact = Artifact {
        vendor_request_id: error::request_id(answer),
        model: held.model,
        usage: Usage { output_tokens: count("output_tokens"), images: made, ..Usage::default() },
        ..Artifact::default()
    };
    let next = held.items.iter().map(|(index, _)| index.saturating_add(1)).max().unwrap_or(0);
    let refused = |item: &Value| item.get("error").filter(|e| !e.is_null()).cloned();
    let all_refused = held.items.iter().all(|(_, item)| refused(item).is_some());
    for (index, item) in &held.items {
        let outcome = match refused(item) {
            // An image beside it was made; this one was not.
            Some(error) if !all_refused => Err(error::in_success(answer, &error, Spend::None)),
            Some(error) => Err(error::in_success(answer, &error, spend)),
            None => picture(answer, item),
        };
        artifact.take(*index, outcome);
    }
    artifact.failed.extend(held.broken.map(|error| Failed { index: next, error }));
    artifact.with_pictures(|| bad(answer, "the vendor's answer has no images"))
}

fn bad(answer: &Answer, what: &str) -> ProviderError {
    ProviderError::new(ErrorClass::BadResponse, what)
        .with_status(answer.status.as_u16())
        .with_request_id(error::request_id(answer))
}

fn object(answer: &Answer) -> Result<Held, ProviderError> {
    if answer.cut_short {
        return Err(bad(answer, "the vendor's answer was cut short"));
    }
    let mut body: Value = answer.json().map_err(|_| bad(answer, "the vendor's answer is not JSON"))?;
    if let Some(error) = body.get("error").filter(|e| !e.is_null()) {
        // It got as far as a success: nobody says that nothing was made.
        return Err(error::in_success(answer, error, Spend::Possible));
    }
    let items = match body.get_mut("data").map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => return Err(bad(answer, "the vendor's answer has no images")),
    };
    Ok(Held {
        items: (0..).zip(items).collect(),
        usage: body.get("usage").cloned(),
        model: body.get("model").and_then(Value::as_str).map(str::to_owned),
        broken: None,
    })
}

/// A stream that ends early keeps the images that it brought.
fn stream(answer: &Answer) -> Held {
    let text = String::from_utf8_lossy(&answer.text);
    let (mut held, mut ended) = (Held::default(), false);
    for data in text.lines().filter_map(|line| line.strip_prefix("data:")) {
        let data = data.trim();
        let Ok(event) = serde_json::from_str::<Value>(data) else { continue };
        let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
        let index = event.get("image_index").and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
        if let Some(model) = event.get("model").and_then(Value::as_str) {
            held.model = Some(model.to_owned());
        }
        if kind.ends_with(".partial_succeeded") || kind.ends_with(".partial_failed") {
            held.items.push((index.unwrap_or(held.items.len() as u32), event));
        } else if kind.ends_with(".completed") {
            ended = true;
            held.usage = event.get("usage").cloned();
        } else if let Some(error) = event.get("error").filter(|e| !e.is_null()) {
            held.broken = Some(error::in_success(answer, error, Spend::Possible));
        }
    }
    if !ended && held.broken.is_none() {
        held.broken = Some(bad(answer, "the vendor's stream ended before the group was complete"));
    }
    held
}

/// One item: its data or its address.
fn picture(answer: &Answer, item: &Value) -> Result<Picture, ProviderError> {
    let member = |key: &str| item.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(data) = member("b64_json") {
        let blob = answer.blob(data)?;
        return match blob.sniff() {
            Some(_) => Ok(Picture::new(Source::Blob(blob))),
            None => Err(bad(answer, "the vendor sent something that is not an image")),
        };
    }
    match member("url").filter(|url| url.starts_with("https://") || url.starts_with("http://")) {
        Some(url) => Ok(Picture::new(Source::Url(url.to_owned()))),
        None => Err(bad(answer, "an item of the vendor's answer has no image")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use serde_json::json;

    const URL: &str = "https://a.volces.com/0.jpeg";
    /// A picture of one pixel.
    const GIF: &[u8] = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\x04\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";

    fn told(body: impl ToString) -> Result<Artifact, ProviderError> {
        read(&testkit::answer(200, &[], body.to_string()))
    }

    fn blocked() -> Value {
        json!({"error": {"code": "OutputImageSensitiveContentDetected", "message": "blocked"}})
    }

    fn event(kind: &str, mut data: Value) -> String {
        data["type"] = format!("image_generation.{kind}").into();
        format!("event: image_generation.{kind}\ndata: {data}\n\n")
    }

    #[test]
    fn refused_and_broken_items_are_told_one_by_one() {
        let gif = BASE64_STANDARD.encode(GIF);
        let items =
            json!([{"b64_json": "###"}, {"b64_json": gif}, blocked(), {"url": URL}, {"url": "ftp://a"}]);
        let artifact = told(json!({"data": items, "usage": {"generated_images": 4}})).unwrap();
        let failed: Vec<_> =
            artifact.failed.iter().map(|f| (f.index, f.error.class, f.error.spend)).collect();
        assert_eq!((artifact.pictures.len(), artifact.usage.images), (2, Some(4)));
        let broken = |index| (index, ErrorClass::BadResponse, Spend::Certain);
        assert_eq!(failed, [broken(0), (2, ErrorClass::ContentBlocked, Spend::None), broken(4)]);
    }

    #[test]
    fn a_group_that_was_refused_as_a_whole_costs_what_the_count_says() {
        for (usage, spend) in [
            (json!({"generated_images": 0}), Spend::None),
            (json!({}), Spend::Possible),
            (json!(null), Spend::Possible),
        ] {
            let error = told(json!({"data": [blocked(), blocked()], "usage": usage})).unwrap_err();
            assert_eq!((error.class, error.spend), (ErrorClass::ContentBlocked, spend), "{usage}");
            assert_eq!(error.stage.as_deref(), Some("output"));
        }
        let error = told(json!({"error": {"code": "ServerOverloaded", "message": "later"}})).unwrap_err();
        assert_eq!((error.class, error.spend), (ErrorClass::Overloaded, Spend::Possible), "in a success");
    }

    #[test]
    fn a_stream_that_breaks_keeps_what_it_brought() {
        let one = event("partial_succeeded", json!({"image_index": 0, "url": URL, "model": "m"}));
        let no = event("partial_failed", json!({"image_index": 1, "error": blocked()["error"]}));
        let end = event("completed", json!({"usage": {"generated_images": 1}}));
        let whole = told(format!("{one}{no}{end}data: [DONE]\n\n")).unwrap();
        assert_eq!((whole.pictures.len(), whole.failed.len(), whole.usage.images), (1, 1, Some(1)));
        assert_eq!(whole.model.as_deref(), Some("m"));

        let half = told(format!("{one}{no}data: {{\"type\": \"image_gen")).unwrap();
        let failed: Vec<_> = half.failed.iter().map(|f| (f.index, f.error.class)).collect();
        assert_eq!(failed, [(1, ErrorClass::ContentBlocked), (2, ErrorClass::BadResponse)]);

        let fatal = "event: error\ndata: {\"error\": {\"code\": \"InternalServiceError\", \"message\": \"gone\"}}\n\n";
        assert_eq!(told(format!("{one}{fatal}")).unwrap().failed[0].error.message, "gone");
        assert_eq!(told(fatal).unwrap_err().spend, Spend::Possible);
        for nothing in ["data: [DONE]\n\n", "event: x\n\n", "data: {}\n\n"] {
            let error = told(nothing).unwrap_err();
            assert_eq!((error.class, error.spend), (ErrorClass::BadResponse, Spend::Certain), "{nothing}");
        }
        let refused = told(format!("{no}{}", event("completed", json!({"usage": {"generated_images": 0}}))))
            .unwrap_err();
        assert_eq!((refused.class, refused.spend), (ErrorClass::ContentBlocked, Spend::None));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_never_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..3000)) {
            let answer = testkit::answer(200, &[], bytes);
            read(&answer).ok();
            error::parse(&answer);
        }

        #[test]
        fn any_mangled_answer_never_panics(cut in 0_usize..2000, at in 0_usize..2000, byte: u8, status in 200_u16..600) {
            let one = json!({"image_index": 0, "b64_json": BASE64_STANDARD.encode(GIF), "model": "m"});
            let events = event("partial_succeeded", one.clone()) + &event("partial_failed", blocked()) + &event("completed", json!({}));
            let object = json!({"data": [one, blocked()], "usage": {"generated_images": 1}, "model": "m"});
            for text in [events, object.to_string(), blocked().to_string()] {
                let mut bytes = text.into_bytes();
                let (at, cut) = (at % bytes.len(), cut % bytes.len());
                bytes[at] = byte;
                bytes.truncate(cut);
                let answer = testkit::answer(status, &[("content-type", "text/event-stream")], bytes);
                read(&answer).ok();
                error::parse(&answer);
            }
        }
    }
}
