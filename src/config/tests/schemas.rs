use super::*;
use serde_json::Value;

fn references<'a>(schema: &'a Value, found: &mut Vec<&'a str>) {
    match schema {
        Value::Object(object) => {
            found.extend(object.get("$ref").and_then(Value::as_str));
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn every_reference_of_the_schema_leads_somewhere() {
    let schema = schema(PLUGINS);
    let mut found = Vec::new();
    references(&schema, &mut found);
    assert!(found.len() > 100, "{}", found.len());
    for reference in found {
        let name = reference.strip_prefix("#/$defs/").unwrap();
        assert!(schema["$defs"].get(name).is_some(), "{reference}");
    }
}

#[test]
fn the_schema_knows_the_settings_of_every_kind_and_the_files_of_secrets() {
    let schema = schema(PLUGINS);
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["additionalProperties"], false);
    let instance = &schema["$defs"]["Instance"];
    let kinds: Vec<&str> =
        instance["properties"]["kind"]["enum"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(
        kinds,
        ["openai", "workers-ai", "hunyuan", "doubao", "qwen", "gemini", "http", "mcp", "placeholder"]
    );
    assert_eq!(instance["allOf"].as_array().unwrap().len(), PLUGINS.len());
    let openai = &schema["$defs"]["provider:openai"];
    for field in ["kind", "concurrency", "api_keys", "api_key", "api_key_file", "base_url"] {
        assert!(openai["properties"][field].is_object(), "{field}");
    }
    assert!(openai["properties"]["base_url"]["description"].is_string());
    assert_eq!(openai["additionalProperties"], false);
    assert!(schema["$defs"]["RedisSettings"]["properties"]["url_file"].is_object());
}

#[test]
fn the_schema_shows_defaults_and_never_a_masked_secret() {
    let schema = schema(PLUGINS);
    let text = schema.to_string();
    assert!(!text.contains("<empty>") && !text.contains("***"), "{text}");
    let mut found = Vec::new();
    references(&schema["properties"]["jobs"], &mut found);
    let jobs = &schema["$defs"][found[0].strip_prefix("#/$defs/").unwrap()];
    assert_eq!(jobs["properties"]["workers"]["default"], 64);
    assert_eq!(jobs["properties"]["lease"]["default"], "15s");
}
