//! Texts with placeholders: `{prompt}`, or with a value for when there is none, `{steps|20}`. A brace that begins no
//! name is itself, and `{{` is always one brace.

use plugin_api::ImageRequest;
use serde_json::{Map, Value};
use uuid::Uuid;

/// A text, cut at its placeholders.
#[derive(Debug, Clone, PartialEq)]
pub struct Template(pub Vec<Piece>);

#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    Text(String),
    Name {
        name: String,
        /// What stands in for an absent value: JSON, else text; `random` is a number of the attempt's own.
        default: Option<String>,
    },
}

impl Piece {
    /// The value of a placeholder, or its default.
    pub fn value(&self, value: &dyn Fn(&str) -> Option<Value>) -> Option<Value> {
        let Piece::Name { name, default } = self else { return None };
        value(name).or_else(|| match default.as_deref()? {
            RANDOM => value(RANDOM),
            text => Some(serde_json::from_str(text).unwrap_or_else(|_| text.into())),
        })
    }
}

const RANDOM: &str = "random";

impl Template {
    pub fn parse(text: &str) -> Template {
        let (mut pieces, mut literal) = (Vec::new(), String::new());
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            literal.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            if let Some(doubled) = after.strip_prefix('{') {
                literal.push('{');
                rest = doubled;
            } else if let Some((piece, tail)) = placeholder(after) {
                if !literal.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut literal)));
                }
                pieces.push(piece);
                rest = tail;
            } else {
                literal.push('{');
                rest = after;
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Template(pieces)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Name { name, .. } => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The names that have no default.
    pub fn needed(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Name { name, default: None } => Some(name.as_str()),
            _ => None,
        })
    }

    /// The value of a lone placeholder with its JSON type, else the joined text. `None`: one of the values is absent.
    pub fn fill(&self, value: &dyn Fn(&str) -> Option<Value>) -> Option<Value> {
        match &self.0[..] {
            [piece @ Piece::Name { .. }] => piece.value(value),
            _ => self.text(value).map(Value::String),
        }
    }

    /// The joined text. `None`: one of the values is absent.
    pub fn text(&self, value: &dyn Fn(&str) -> Option<Value>) -> Option<String> {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => Some(text.clone()),
            placeholder => placeholder.value(value).map(|value| plain(&value)),
        };
        self.0.iter().map(piece).collect()
    }
}

/// A placeholder at the beginning of a text, its brace taken off, and what follows it.
fn placeholder(after: &str) -> Option<(Piece, &str)> {
    let (inside, tail) = after.split_once('}')?;
    let (name, default) = inside.split_once('|').map_or((inside, None), |(n, d)| (n, Some(d)));
    let sound = is_name(name) && !default.is_some_and(|text| text.contains('{'));
    sound.then(|| (Piece::Name { name: name.to_owned(), default: default.map(str::to_owned) }, tail))
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

/// A value as text: a string without its quotes.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Every text of a tree, with its place.
pub fn texts(tree: &Value, at: &str, found: &mut Vec<(String, String)>) {
    match tree {
        Value::String(text) => found.push((at.to_owned(), text.clone())),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, item)| texts(item, &format!("{at}[{n}]"), found));
        }
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| texts(value, &format!("{at}.{key}"), found));
        }
        _ => {}
    }
}

/// A tree with its placeholders filled in. A field whose value is absent is left out, and so is a list or map of
/// which nothing is left.
pub fn fill(tree: &Value, value: &dyn Fn(&str) -> Option<Value>) -> Option<Value> {
    match tree {
        Value::String(text) => Template::parse(text).fill(value),
        Value::Array(items) => {
            let kept: Vec<Value> = items.iter().filter_map(|item| fill(item, value)).collect();
            (items.is_empty() || !kept.is_empty()).then_some(Value::Array(kept))
        }
        Value::Object(map) => {
            let kept: Map<String, Value> =
                map.iter().filter_map(|(key, item)| Some((key.clone(), fill(item, value)?))).collect();
            (map.is_empty() || !kept.is_empty()).then_some(Value::Object(kept))
        }
        other => Some(other.clone()),
    }
}

/// What a placeholder of a paid call may be called; `vendor.NAME` besides.
pub const REQUEST: [&str; 27] = [
    "model",
    "prompt",
    "negative_prompt",
    "n",
    "size",
    "width",
    "height",
    "aspect_ratio",
    "quality",
    "style",
    "seed",
    "steps",
    "guidance",
    "background",
    "output_format",
    "output_compression",
    "watermark",
    "moderation",
    "prompt_rewrite",
    "user",
    "references",
    "references_base64",
    "reference",
    "reference_base64",
    "mask",
    "mask_base64",
    "attempt",
];

/// The usual ratios, of which `{aspect_ratio}` is the nearest.
const RATIOS: [(u32, u32); 11] =
    [(1, 1), (16, 9), (9, 16), (4, 3), (3, 4), (3, 2), (2, 3), (21, 9), (9, 21), (4, 5), (5, 4)];

/// Where placeholders take their values from.
pub struct Scope<'a> {
    pub request: &'a ImageRequest,
    pub attempt: Option<Uuid>,
    pub ticket: Option<&'a str>,
    pub api_key: &'a str,
}

impl Scope<'_> {
    /// `None`: absent, or no such name.
    pub fn value(&self, name: &str) -> Option<Value> {
        use plugin_api::Size;
        let request = self.request;
        let sides = match request.size {
            Size::Exact { width, height } => Some((width, height)),
            _ => None,
        };
        let as_data =
            |input: &plugin_api::Input| Value::from(format!("data:{};base64,{}", input.mime, base64(input)));
        let bare = |input: &plugin_api::Input| Value::from(base64(input));
        let list = |form: &dyn Fn(&plugin_api::Input) -> Value| {
            (!request.references.is_empty()).then(|| request.references.iter().map(form).collect::<Value>())
        };
        Some(match name {
            "model" => request.model.as_str().into(),
            "prompt" => request.prompt.as_str().into(),
            "negative_prompt" => request.negative_prompt.as_deref()?.into(),
            "n" => request.n.max(1).into(),
            "size" => sides.map(|(w, h)| format!("{w}x{h}"))?.into(),
            "width" => sides?.0.into(),
            "height" => sides?.1.into(),
            "aspect_ratio" => sides.map(|(w, h)| ratio(w, h))?.into(),
            "quality" => request.quality?.as_str().into(),
            "style" => request.style.as_deref()?.into(),
            "seed" => request.seed?.into(),
            "steps" => request.steps?.into(),
            // By way of its text: 7.1 stays 7.1.
            "guidance" => request.guidance?.to_string().parse::<f64>().ok()?.into(),
            "background" => request.background?.as_str().into(),
            "output_format" => request.output_format?.as_str().into(),
            "output_compression" => request.output_compression?.into(),
            // Vendors default to on: always said.
            "watermark" => request.watermark.unwrap_or(false).into(),
            "moderation" => request.moderation?.as_str().into(),
            "prompt_rewrite" => request.prompt_rewrite?.into(),
            "user" => request.user.as_deref()?.into(),
            "references" => list(&as_data)?,
            "references_base64" => list(&bare)?,
            "reference" => as_data(request.references.first()?),
            "reference_base64" => bare(request.references.first()?),
            "mask" => as_data(request.mask.as_ref()?),
            "mask_base64" => bare(request.mask.as_ref()?),
            "attempt" => self.attempt?.to_string().into(),
            RANDOM => self.attempt.map(|id| id.as_fields().0)?.into(),
            "ticket" => self.ticket?.into(),
            "api_key" => self.api_key.into(),
            _ => request.vendor.get(name.strip_prefix("vendor.")?)?.clone(),
        })
    }
}

fn base64(input: &plugin_api::Input) -> String {
    base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &input.bytes)
}

fn ratio(width: u32, height: u32) -> String {
    let of = |(w, h): (u32, u32)| (f64::from(w.max(1)) / f64::from(h.max(1))).ln();
    let off = |pair: &(u32, u32)| (of(*pair) - of((width, height))).abs();
    let (w, h) = RATIOS.into_iter().min_by(|a, b| off(a).total_cmp(&off(b))).unwrap_or((1, 1));
    format!("{w}:{h}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::Size;
    use proptest::prelude::*;
    use serde_json::json;

    fn scope<'a>(request: &'a ImageRequest) -> Scope<'a> {
        Scope { request, attempt: None, ticket: None, api_key: "key" }
    }

    #[test]
    fn values_keep_their_type_and_absent_ones_leave_their_field_out() {
        let request = ImageRequest {
            seed: Some(7),
            guidance: Some(7.1),
            size: Size::exact(1344, 768),
            ..ImageRequest::new("m", "say \"hi\", {prompt}")
        };
        let tree = json!({
            "prompt": "{prompt}", "seed": "{seed}", "text": "seed {seed}, {width}x{height}", "cfg": "{guidance}",
            "negative": "{negative_prompt}", "sentence": "no {negative_prompt}", "ratio": "{aspect_ratio}",
            "nested": {"steps": "{steps}"}, "default": "{steps|20}", "empty_text": "{style|}", "given": "{seed|1}", "list": ["{steps}", 1], "empty": {}, "on": true, "none": null,
            "braces": "{{prompt} {{a|b} { b | c } {", "watermark": "{watermark}", "n": "{n}"
        });
        let scope = scope(&request);
        let wanted = json!({
            "prompt": "say \"hi\", {prompt}", "seed": 7, "text": "seed 7, 1344x768", "cfg": 7.1,
            "ratio": "16:9", "list": [1], "default": 20, "empty_text": "", "given": 7, "empty": {}, "on": true, "none": null,
            "braces": "{prompt} {a|b} { b | c } {", "watermark": false, "n": 1
        });
        assert_eq!(fill(&tree, &|name| scope.value(name)), Some(wanted));
    }

    #[test]
    fn every_name_that_is_offered_has_a_value_when_the_request_sets_everything() {
        let input = plugin_api::Input { mime: "image/png".into(), bytes: "x".into(), ..Default::default() };
        let all = json!({
            "model": "m", "prompt": "p", "negative_prompt": "x", "size": "8x8", "n": 2, "quality": "low",
            "style": "s", "seed": 1, "steps": 2, "guidance": 3.0, "background": "opaque", "output_format": "png",
            "output_compression": 5, "watermark": true, "moderation": "low", "prompt_rewrite": true, "user": "u",
            "vendor": {"strength": 0.5}
        });
        let mut request: ImageRequest = serde_json::from_value(all).unwrap();
        request.references = vec![input.clone()];
        request.mask = Some(input);
        let scope = Scope { attempt: Some(Uuid::from_u128(1 << 96)), ..scope(&request) };
        for name in REQUEST {
            assert!(scope.value(name).is_some(), "{name}");
        }
        assert_eq!(scope.value("vendor.strength"), Some(json!(0.5)));
        let nothing = ImageRequest::default();
        let scope = Scope { request: &nothing, ..scope };
        let random = Template::parse("{seed|random}").fill(&|name| scope.value(name));
        assert_eq!(random, Some(json!(1)), "the beginning of the attempt's id");
        let scope = Scope { request: &request, ..scope };
        assert_eq!(scope.value("references"), Some(json!(["data:image/png;base64,eA=="])));
        assert_eq!((scope.value("nonsense"), scope.value("vendor.other")), (None, None));
    }

    proptest! {
        #[test]
        fn no_value_can_become_more_than_one_value(prompt in ".{0,80}") {
            let request = ImageRequest::new("m", prompt.as_str());
            let scope = scope(&request);
            let filled = fill(&json!({"a": "{prompt}", "b": ["<{prompt}>"]}), &|name| scope.value(name)).unwrap();
            let back: Value = serde_json::from_str(&filled.to_string()).unwrap();
            prop_assert_eq!(back, json!({"a": prompt.clone(), "b": [format!("<{prompt}>")]}));
        }

        #[test]
        fn any_text_can_be_parsed(text in "[{}a-z.|]{0,40}") {
            let all: String = Template::parse(&text).0.iter().map(|piece| match piece {
                Piece::Text(text) => text.replace('{', "{{"),
                Piece::Name { name, default: None } => format!("{{{name}}}"),
                Piece::Name { name, default: Some(text) } => format!("{{{name}|{text}}}"),
            }).collect();
            prop_assert_eq!(Template::parse(&all), Template::parse(&text));
        }
    }
}
