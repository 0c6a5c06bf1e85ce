//! The JSON Schema of a configuration file: what the check walks along and `image-gateway schema config` prints.

use super::Config;
use crate::providers::Instance;
use plugin_api::Plugin;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// Marks a `<secret>_file` field that only the file has: its content goes into the secret itself.
pub(super) const FILE_TWIN: &str = "x-content-of";

/// JSON Schema (draft 2020-12) of `config.yaml`, with the settings of the given plugins by `kind`.
pub fn schema(plugins: &[Plugin]) -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    generator.subschema_for::<Config>();
    let settings: Vec<(&str, Value)> =
        plugins.iter().map(|p| (p.kind, (p.schema)(&mut generator).to_value())).collect();
    let mut defs = generator.take_definitions(true);
    let own = defs.get("Instance").cloned().unwrap_or_default();
    let mut kinds = Vec::new();
    for (kind, plugin) in settings {
        let name = format!("provider:{kind}");
        let plugin = resolve(&plugin, &defs).clone();
        defs.insert(name.clone(), instance(&own, &plugin));
        kinds.push((kind, name));
    }
    if let Some(object) = defs.get_mut("Instance") {
        *object = by_kind(&own, &kinds);
    }
    for def in defs.values_mut() {
        finish(def);
    }
    let mut root = defs.remove("Config").unwrap_or_default();
    if let Some(object) = root.as_object_mut() {
        object.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
        object.insert("title".into(), "Configuration of image-gateway".into());
        object.insert("$defs".into(), Value::Object(defs));
    }
    root
}

fn resolve<'a>(schema: &'a Value, defs: &'a Map<String, Value>) -> &'a Value {
    let name = schema["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/"));
    name.and_then(|name| defs.get(name)).unwrap_or(schema)
}

/// An entry of one kind: the gateway's fields and the plugin's.
fn instance(own: &Value, plugin: &Value) -> Value {
    let mut properties = plugin["properties"].as_object().cloned().unwrap_or_default();
    for name in Instance::OWN {
        // A plugin may read a field of the gateway's too, under the gateway's meaning.
        if let Some(field) = own["properties"].get(name) {
            properties.insert(name.into(), field.clone());
        }
    }
    let mut required = plugin["required"].as_array().cloned().unwrap_or_default();
    required.push("kind".into());
    let mut schema = json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false
    });
    if let Some(about) = plugin.get("description") {
        schema["description"] = about.clone();
    }
    schema
}

fn by_kind(own: &Value, kinds: &[(&str, String)]) -> Value {
    let names: Vec<&str> = kinds.iter().map(|(kind, _)| *kind).collect();
    let mut properties = own["properties"].clone();
    properties["kind"]["enum"] = json!(names);
    let arms: Vec<Value> = kinds
        .iter()
        .map(|(kind, def)| {
            json!({
                "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
                "then": {"$ref": format!("#/$defs/{def}")}
            })
        })
        .collect();
    json!({
        "type": "object", "description": own["description"], "properties": properties, "required": ["kind"],
        "additionalProperties": true, "allOf": arms
    })
}

/// Adds the `_file` twins of secrets, and takes out defaults that say nothing or would show a masked secret.
fn finish(schema: &mut Value) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        let secrets: Vec<String> =
            properties.iter().filter(|(_, field)| is_secret(field)).map(|(name, _)| name.clone()).collect();
        for name in secrets {
            if let Some(field) = properties.get_mut(&name).and_then(Value::as_object_mut) {
                field.remove("default");
            }
            properties.entry(format!("{name}_file")).or_insert_with(|| {
                json!({
                    "type": ["string", "null"], FILE_TWIN: name,
                    "description": format!("A file with the value of `{name}`; it beats the one written here.")
                })
            });
        }
        for field in properties.values_mut().filter_map(Value::as_object_mut) {
            if field.get("default").is_some_and(|d| d.is_null() || d.is_object()) {
                field.remove("default");
            }
        }
    }
    match schema {
        Value::Object(object) => object.values_mut().for_each(finish),
        Value::Array(items) => items.iter_mut().for_each(finish),
        _ => {}
    }
}

pub(super) fn is_secret(field: &Value) -> bool {
    field["$ref"] == "#/$defs/Secret"
        || field["anyOf"].as_array().is_some_and(|all| all.iter().any(is_secret))
}
