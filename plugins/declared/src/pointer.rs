//! JSON pointers (RFC 6901) with one addition: `*` stands for every item of a list or every member of a map.

use serde_json::Value;
use std::borrow::Cow;

/// Everything a pointer leads to. A text that the pointer goes into is read as JSON first: some vendors wrap it.
pub fn all<'a>(value: &'a Value, pointer: &str) -> Vec<Cow<'a, Value>> {
    let mut found = vec![Cow::Borrowed(value)];
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        found = found.into_iter().flat_map(|value| below(value, &step)).collect();
    }
    found
}

/// The first thing there that is not null.
pub fn first<'a>(value: &'a Value, pointer: &str) -> Option<Cow<'a, Value>> {
    all(value, pointer).into_iter().find(|value| !value.is_null())
}

fn below<'a>(value: Cow<'a, Value>, step: &str) -> Vec<Cow<'a, Value>> {
    match value {
        Cow::Borrowed(Value::String(text)) => match serde_json::from_str::<Value>(text) {
            Ok(inner @ (Value::Object(_) | Value::Array(_))) => below(Cow::Owned(inner), step),
            _ => Vec::new(),
        },
        Cow::Borrowed(value) => select(value, step).into_iter().map(Cow::Borrowed).collect(),
        Cow::Owned(value) => select(&value, step).into_iter().cloned().map(Cow::Owned).collect(),
    }
}

fn select<'a>(value: &'a Value, step: &str) -> Vec<&'a Value> {
    match (value, step) {
        (Value::Object(map), "*") => map.values().collect(),
        (Value::Array(items), "*") => items.iter().collect(),
        (Value::Object(map), key) => map.get(key).into_iter().collect(),
        (Value::Array(items), at) => at.parse().ok().and_then(|n: usize| items.get(n)).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// # Errors
/// It is no pointer.
pub fn check(pointer: &str) -> Result<(), String> {
    match pointer.is_empty() || pointer.starts_with('/') {
        true => Ok(()),
        false => {
            Err(format!("`{pointer}` is not a JSON pointer: write it like /data/0/url or /images/*/url"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pointers_lead_to_one_thing_to_several_or_to_none() {
        let value = json!({
            "images": [{"url": "a"}, {"url": "b"}, {}], "a/b": {"~": 1}, "info": "{\"all_seeds\":[7,8]}",
            "nodes": {"9": {"images": [1]}, "12": {"images": [2]}}, "text": "plain", "nothing": null
        });
        let found = |pointer: &str| -> Value { all(&value, pointer).iter().map(|v| (**v).clone()).collect() };
        assert_eq!(found("/images/*/url"), json!(["a", "b"]));
        assert_eq!(found("/images/1/url"), json!(["b"]));
        assert_eq!(found("/a~1b/~0"), json!([1]));
        assert_eq!(found("/info/all_seeds/*"), json!([7, 8]));
        assert_eq!(found("/nodes/*/images/*"), json!([2, 1]), "members by their names");
        assert_eq!(found(""), json!([value]));
        for nowhere in ["/images/9", "/text/0", "/text/*", "/none", "/nothing/x", "/images/-1"] {
            assert_eq!(found(nowhere), json!([]), "{nowhere}");
        }
        assert_eq!((first(&value, "/nothing"), first(&value, "/text").is_some()), (None, true));
        assert!(check("images").is_err() && check("/images").is_ok() && check("").is_ok());
    }
}
