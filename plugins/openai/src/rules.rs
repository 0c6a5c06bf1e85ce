//! What OpenAI refuses of a request beyond a model's record: values of its own options, and input images.

use plugin_api::{Capabilities, ImageRequest, Input, Refusal};
use serde_json::Value;

/// Media types of reference images.
const MIMES: [&str; 3] = ["image/png", "image/webp", "image/jpeg"];
/// Largest reference image in bytes.
const LARGEST: usize = 50_000_000;
/// Largest mask in bytes.
const LARGEST_MASK: usize = 4_000_000;

pub(crate) fn refusals(_: &Capabilities, request: &ImageRequest) -> Vec<Refusal> {
    let mut all = options(request);
    for (n, input) in request.references.iter().enumerate() {
        let name = format!("references[{n}]");
        if !input.mime.is_empty() && !MIMES.contains(&input.mime.as_str()) {
            all.push(Refusal::new("references", format!("{name} is {}", input.mime), "png, webp, jpeg"));
        } else if input.bytes.len() >= LARGEST {
            all.push(Refusal::new("references", format!("{name} {}", large(input)), "less than 50 MB"));
        }
    }
    if let Some(mask) = &request.mask {
        all.extend(of_mask(mask, request.references.first()));
    }
    all
}

fn options(request: &ImageRequest) -> Vec<Refusal> {
    let streams = request.vendor.get("stream") == Some(&Value::Bool(true));
    let of_one = |(key, value): (&String, &Value)| {
        let word = value.as_str().unwrap_or_default();
        let accepted = match key.as_str() {
            "input_fidelity" if request.references.is_empty() => "only with a reference image",
            "input_fidelity" if request.model == "gpt-image-1-mini" && word != "low" => "low",
            "input_fidelity" if !["low", "high"].contains(&word) => "low, high",
            "complexity" if !["low", "medium", "high"].contains(&word) => "low, medium, high",
            "stream" if !value.is_boolean() => "true, false",
            "partial_images" if !streams => "only with \"stream\": true",
            "partial_images" if value.as_u64().is_none_or(|n| n > 3) => "0 to 3",
            _ => return None,
        };
        Some(Refusal::new("vendor", format!("`{key}` cannot be {value} here"), accepted))
    };
    request.vendor.iter().filter_map(of_one).collect()
}

fn of_mask(mask: &Input, first: Option<&Input>) -> Option<Refusal> {
    let size = |input: &Input| (input.width, input.height);
    let unlike = first.filter(|first| mask.width > 0 && first.width > 0 && size(first) != size(mask));
    if !mask.mime.is_empty() && mask.mime != "image/png" {
        Some(Refusal::new("mask", format!("the mask is {}", mask.mime), "png with an alpha channel"))
    } else if mask.bytes.len() >= LARGEST_MASK {
        Some(Refusal::new("mask", format!("the mask {}", large(mask)), "less than 4 MB"))
    } else if let Some(first) = unlike {
        let reason = format!("the mask is {}x{}", mask.width, mask.height);
        let accepted = format!("the size of the first reference, {}x{}", first.width, first.height);
        Some(Refusal::new("mask", reason, accepted.as_str()))
    } else {
        None
    }
}

fn large(input: &Input) -> String {
    format!("has {} bytes", input.bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(request: &ImageRequest) -> Vec<(String, String)> {
        let caps = Capabilities::default();
        refusals(&caps, request).into_iter().map(|r| (r.field, r.accepted.unwrap_or_default())).collect()
    }

    #[test]
    fn an_option_that_the_vendor_would_refuse_is_not_sent() {
        let with = |model: &str, references: usize, options: Value| {
            refused(&ImageRequest {
                references: vec![Input::default(); references],
                vendor: options.as_object().unwrap().clone(),
                ..ImageRequest::new(model, "a fox")
            })
        };
        for (model, references, options, accepted) in [
            ("gpt-image-1.5", 0, json!({"input_fidelity": "high"}), "reference"),
            ("gpt-image-1.5", 1, json!({"input_fidelity": "most"}), "low, high"),
            ("gpt-image-1-mini", 1, json!({"input_fidelity": "high"}), "low"),
            ("gpt-image-2.5-flare", 0, json!({"complexity": 3}), "medium"),
            ("gpt-image-2.5-flare", 0, json!({"stream": "yes"}), "true"),
            ("gpt-image-2.5-flare", 0, json!({"partial_images": 2}), "stream"),
            ("gpt-image-2.5-flare", 0, json!({"stream": true, "partial_images": 4}), "0 to 3"),
        ] {
            let all = with(model, references, options.clone());
            assert_eq!(all.len(), 1, "{options}: {all:?}");
            assert!(all[0].0 == "vendor" && all[0].1.contains(accepted), "{options}: {all:?}");
        }
        assert_eq!(with("gpt-image-1.5", 1, json!({"input_fidelity": "high"})), []);
        assert_eq!(with("gpt-image-2.5-flare", 0, json!({"stream": true, "partial_images": 3})), []);
    }

    #[test]
    fn input_images_are_what_the_vendor_reads() {
        let input = |mime: &str, width: u32, bytes: usize| Input {
            mime: mime.into(),
            width,
            height: 512,
            bytes: vec![0; bytes].into(),
            ..Input::default()
        };
        let with = |reference: Input, mask: Option<Input>| {
            refused(&ImageRequest { references: vec![reference], mask, ..ImageRequest::new("m", "a fox") })
        };
        let png = || input("image/png", 512, 9);
        assert_eq!(with(png(), Some(png())), []);
        assert_eq!(with(input("image/webp", 512, LARGEST - 1), None), []);
        for (reference, mask, field, accepted) in [
            (input("image/gif", 512, 9), None, "references", "png, webp, jpeg"),
            (input("image/png", 512, LARGEST), None, "references", "50 MB"),
            (png(), Some(input("image/jpeg", 512, 9)), "mask", "alpha"),
            (png(), Some(input("image/png", 512, LARGEST_MASK)), "mask", "4 MB"),
            (png(), Some(input("image/png", 511, 9)), "mask", "512x512"),
        ] {
            let all = with(reference, mask);
            assert!(all.len() == 1 && all[0].0 == field && all[0].1.contains(accepted), "{all:?}");
        }
    }
}
