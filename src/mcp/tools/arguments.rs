//! The arguments of a call, read one by one: typed, in range, or refused with a sentence that says what would do.

use crate::{
    jobs::{Code, Refused},
    telemetry::{MOMENTS, moment_us},
};
use plugin_api::Adjustment;
use serde_json::{Map, Value};
use std::{fmt::Display, ops::RangeInclusive, str::FromStr};

/// What is left of a call's arguments. `null` and `""` mean absent.
pub struct Arguments {
    left: Map<String, Value>,
    /// Every name asked for: what an unknown name may have meant.
    known: Vec<&'static str>,
}

type Read<T> = Result<Option<T>, Refused>;

/// An argument that cannot be used.
pub fn bad(name: &str, message: String) -> Refused {
    Refused::new(Code::InvalidRequest, message).field(name)
}

/// A value as a message may repeat it: short, on one line.
pub fn shown(value: &Value) -> String {
    let text = value.to_string();
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

impl Arguments {
    pub fn new(arguments: &Map<String, Value>) -> Arguments {
        let given = |value: &Value| !value.is_null() && value.as_str() != Some("");
        let left = arguments.iter().filter(|(_, v)| given(v)).map(|(k, v)| (k.clone(), v.clone())).collect();
        Arguments { left, known: Vec::new() }
    }

    /// Whether something was given under this name; an empty list is nothing.
    pub fn has(&self, name: &str) -> bool {
        self.left.get(name).is_some_and(|value| value.as_array().is_none_or(|items| !items.is_empty()))
    }

    /// What is under a name, left where it is.
    pub fn raw(&self, name: &str) -> Option<Value> {
        self.left.get(name).cloned()
    }

    /// The same, where it is text.
    pub fn given(&self, name: &str) -> Option<String> {
        self.left.get(name)?.as_str().map(str::to_owned)
    }

    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.left.remove(name)
    }

    /// Text of at most `max` characters.
    pub fn text(&mut self, name: &'static str, max: usize) -> Read<String> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let Value::String(text) = value else {
            return Err(bad(name, format!("`{name}` must be a string; {} was given.", shown(&value))));
        };
        match text.chars().count() {
            length if length > max => {
                Err(bad(name, format!("`{name}` may have at most {max} characters; {length} were given.")))
            }
            _ => Ok(Some(text)),
        }
    }

    /// A whole number; one that is written as text is taken too.
    pub fn integer(&mut self, name: &'static str, range: RangeInclusive<i64>) -> Read<i64> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = match &value {
            Value::Number(n) => n
                .as_i64()
                .or_else(|| n.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9e15).map(|f| f as i64)),
            Value::String(text) => parsed(text),
            _ => None,
        };
        in_range(name, "a whole number", &value, number, &range)
    }

    /// A moment in microseconds UTC, and the text that it was given as. A day as the `end` of a time is part of it.
    pub fn moment(&mut self, name: &'static str, now_us: i64, end: bool) -> Read<(i64, String)> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match moment_us(&text, now_us, end) {
            Some(at) => Ok(Some((at, text))),
            None => Err(bad(
                name,
                format!("`{name}` must be a moment, written like {MOMENTS}; {} was given.", shown(&value)),
            )),
        }
    }

    pub fn number(&mut self, name: &'static str, range: RangeInclusive<f64>) -> Read<f64> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = match &value {
            Value::Number(n) => n.as_f64(),
            Value::String(text) => parsed::<f64>(text).filter(|f| f.is_finite()),
            _ => None,
        };
        in_range(name, "a number", &value, number, &range)
    }

    pub fn flag(&mut self, name: &'static str) -> Read<bool> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match &value {
            Value::Bool(flag) => Ok(Some(*flag)),
            Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            _ => Err(bad(name, format!("`{name}` must be true or false; {} was given.", shown(&value)))),
        }
    }

    /// One of a set of words.
    pub fn word<T: Copy + Display>(&mut self, name: &'static str, all: &[T]) -> Read<T> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let text = value.as_str().map(str::trim).unwrap_or_default();
        let hit = all.iter().copied().find(|word| word.to_string().eq_ignore_ascii_case(text));
        hit.map(Some).ok_or_else(|| {
            let words: Vec<String> = all.iter().map(ToString::to_string).collect();
            bad(name, format!("`{name}` must be one of {}; {} was given.", words.join(", "), shown(&value)))
        })
    }

    /// A list of texts; a single one counts as a list of one.
    pub fn texts(
        &mut self,
        name: &'static str,
        count: RangeInclusive<usize>,
        max: usize,
    ) -> Read<Vec<String>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let items = match value {
            Value::Array(items) => items,
            one => vec![one],
        };
        if !count.contains(&items.len()) {
            let (least, most) = count.into_inner();
            return Err(bad(
                name,
                format!("`{name}` must have {least} to {most} entries; {} were given.", items.len()),
            ));
        }
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Value::String(text) if !text.is_empty() && text.chars().count() <= max => texts.push(text),
                other => {
                    let message = format!("`{name}` must be a list of strings; {} is in it.", shown(&other));
                    return Err(bad(name, message));
                }
            }
        }
        Ok(Some(texts))
    }

    pub fn object(&mut self, name: &'static str) -> Read<Map<String, Value>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(object)),
            Some(value) => {
                Err(bad(name, format!("`{name}` must be an object; {} was given.", shown(&value))))
            }
        }
    }

    /// The refusal of a call that lacks `name`, with what may have been meant for it.
    pub fn missing(&self, name: &str, what: &str) -> Refused {
        let near = self.left.keys().find(|key| nearest(key, &[name]).is_some());
        let hint = near.map(|key| format!(" (`{key}` was given: was that meant?)")).unwrap_or_default();
        bad(name, format!("`{name}` is required: {what}{hint}."))
    }

    /// What nobody asked for: ignored, and told.
    pub fn unknown(self) -> Vec<Adjustment> {
        let told = |(name, value): (String, Value)| {
            let short: String = name.chars().take(60).collect();
            let reason = match nearest(&name, &self.known) {
                Some(near) => format!("there is no argument `{short}`; did you mean `{near}`?"),
                None => format!("there is no argument `{short}`"),
            };
            Adjustment::new(&short, shown(&value), "ignored", &reason)
        };
        self.left.into_iter().take(20).map(told).collect()
    }
}

fn parsed<T: FromStr>(text: &str) -> Option<T> {
    text.trim().parse().ok()
}

fn in_range<T: PartialOrd + Display>(
    name: &str,
    kind: &str,
    value: &Value,
    number: Option<T>,
    range: &RangeInclusive<T>,
) -> Read<T> {
    match number.filter(|n| range.contains(n)) {
        Some(number) => Ok(Some(number)),
        None => {
            let (least, most) = (range.start(), range.end());
            let message =
                format!("`{name}` must be {kind} from {least} to {most}; {} was given.", shown(value));
            Err(bad(name, message))
        }
    }
}

/// The known name that an unknown one resembles.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let name = name.to_lowercase();
    let name: String = name.chars().take(60).collect();
    let score = |known: &str| strsim::jaro_winkler(&name, known);
    known.iter().copied().max_by(|a, b| score(a).total_cmp(&score(b))).filter(|best| score(best) > 0.8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn arguments(value: Value) -> Arguments {
        Arguments::new(value.as_object().unwrap())
    }

    #[test]
    fn nothing_null_and_empty_text_are_all_absent() {
        for value in [json!({}), json!({"a": null}), json!({"a": ""})] {
            assert_eq!(arguments(value.clone()).text("a", 9).unwrap(), None, "{value}");
            assert_eq!(arguments(value).integer("a", 1..=2).unwrap(), None);
        }
    }

    #[test]
    fn numbers_are_read_in_any_harmless_spelling() {
        for value in [json!(5), json!("5"), json!(5.0), json!(" 5 ")] {
            assert_eq!(arguments(json!({"a": value})).integer("a", 1..=20).unwrap(), Some(5), "{value}");
        }
        for value in [json!(0), json!(21), json!("five"), json!(1.5), json!(true), json!([5]), json!(1e300)] {
            let refused = arguments(json!({"a": value})).integer("a", 1..=20).unwrap_err();
            assert_eq!(
                (refused.code, refused.field.as_deref()),
                (Code::InvalidRequest, Some("a")),
                "{value}"
            );
            let message = &refused.message;
            assert!(
                message.contains("`a`") && message.contains("1 to 20") && message.contains(&shown(&value)),
                "{message}"
            );
        }
    }

    #[test]
    fn words_are_matched_in_any_case_and_listed_when_none_fits() {
        let words = plugin_api::Quality::ALL;
        assert_eq!(
            arguments(json!({"q": "HIGH"})).word("q", words).unwrap(),
            Some(plugin_api::Quality::High)
        );
        let refused = arguments(json!({"q": "best"})).word("q", words).unwrap_err();
        assert!(refused.message.contains("auto, low, medium, high") && refused.message.contains("\"best\""));
    }

    #[test]
    fn an_unknown_argument_is_told_with_the_nearest_known_one() {
        let mut args = arguments(json!({"promt": "a cat", "zzz": 1}));
        assert_eq!(args.text("prompt", 10).unwrap(), None);
        assert!(args.missing("prompt", "what to draw").message.contains("`promt` was given"));
        let told = args.unknown();
        assert!(told[0].reason.contains("did you mean `prompt`?"), "{told:?}");
        assert_eq!(told[1].reason, "there is no argument `zzz`");
    }

    #[test]
    fn a_long_value_is_not_repeated_in_full() {
        let refused = arguments(json!({"a": "x".repeat(100_000)})).integer("a", 1..=2).unwrap_err();
        assert!(refused.message.len() < 300);
    }
}
