//! The part of JSON Schema that our output schemas use.

use serde_json::Value;

/// What in `value` breaks `schema`.
pub fn breaks(schema: &Value, value: &Value) -> Option<String> {
    let Some(object) = value.as_object() else { return Some("no object".into()) };
    if *schema == serde_json::json!({"type": "object"}) {
        return None; // it says no more
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        if !object.contains_key(name.as_str()?) {
            return Some(format!("{name} is missing"));
        }
    }
    for (name, value) in object {
        let Some(property) = schema["properties"].get(name) else {
            return Some(format!("`{name}` is not declared"));
        };
        let kinds = match &property["type"] {
            Value::Array(kinds) => kinds.clone(),
            one => vec![one.clone()],
        };
        if !kinds.iter().any(|kind| fits(kind.as_str().unwrap_or_default(), value)) {
            return Some(format!("`{name}` is {value}, not {kinds:?}"));
        }
    }
    None
}

fn fits(kind: &str, value: &Value) -> bool {
    match kind {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => false,
    }
}

#[test]
fn the_check_itself_finds_what_is_wrong() {
    let schema = serde_json::json!({"properties": {"a": {"type": ["string", "null"]}}, "required": ["a"]});
    let check = |value| breaks(&schema, &value).is_some();
    assert!(!check(serde_json::json!({"a": null})));
    assert!(check(serde_json::json!({})));
    assert!(check(serde_json::json!({"a": 1})));
    assert!(check(serde_json::json!({"a": "", "b": 1})), "a key that no schema names");
}
