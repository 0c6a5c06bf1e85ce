//! Vendors' texts as every database takes them. What a column refuses would keep a job from ever ending.

use serde_json::Value;

/// Without NUL, which PostgreSQL has no place for, and no longer than its column.
pub(super) fn fitted(text: &str, most: usize) -> String {
    text.chars().filter(|c| *c != '\0').take(most).collect()
}

/// The same for all texts of a value, of any length.
pub(super) fn without_nul(mut value: Value) -> Value {
    fn clean(value: &mut Value) {
        match value {
            Value::String(text) => text.retain(|c| c != '\0'),
            Value::Array(all) => all.iter_mut().for_each(clean),
            Value::Object(all) => all.values_mut().for_each(clean),
            _ => {}
        }
    }
    clean(&mut value);
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_are_cut_by_characters_and_lose_what_no_column_takes() {
        assert_eq!(fitted("a\0bü€", 3), "abü");
        assert_eq!(
            without_nul(json!({"a": ["x\0y", 1], "b": {"c": "\0"}})),
            json!({"a": ["xy", 1], "b": {"c": ""}})
        );
    }
}
