//! The tools, resources and prompts that the suite's scenarios name.

use super::{asking, tasks};
use async_trait::async_trait;
use image_gateway::mcp::{Caller, Extra, Fault, ListOf};
use serde_json::{Map, Value, json};
use std::time::Duration;
use tokio::time::sleep;

#[derive(Debug)]
pub struct Fixtures;

pub static FIXTURES: Fixtures = Fixtures;

/// One red pixel.
pub const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
/// A header without samples.
const WAV: &str = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=";
/// Between two messages of one call.
const PAUSE: Duration = Duration::from_millis(50);

const TOOLS: [(&str, &str); 16] = [
    ("test_simple_text", "Answers with text"),
    ("test_image_content", "Answers with an image"),
    ("test_audio_content", "Answers with sound"),
    ("test_embedded_resource", "Answers with a resource"),
    ("test_multiple_content_types", "Answers with text, an image and a resource"),
    ("test_error_handling", "Fails"),
    ("test_tool_with_progress", "Tells how far it is"),
    ("test_tool_with_logging", "Logs while it runs"),
    ("test_logging_tool", "Logs where the request asked for it"),
    ("test_sampling", "Asks the client's model"),
    ("test_elicitation", "Asks the user"),
    ("test_elicitation_sep1034_defaults", "Asks the user, with defaults"),
    ("test_elicitation_sep1330_enums", "Asks the user, with choices"),
    ("test_missing_capability", "Needs a client with sampling"),
    ("test_trigger_tool_change", "Changes the list of tools"),
    ("test_trigger_prompt_change", "Changes the list of prompts"),
];

const LEVELS: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

pub fn text(text: impl Into<String>) -> Value {
    json!({"content": [{"type": "text", "text": text.into()}]})
}

fn tools() -> Vec<Value> {
    let tool = |name: &str, about: &str| {
        let schema = match name {
            "test_sampling" => json!({"type": "object", "properties": {"prompt": {"type": "string"}}}),
            "test_elicitation" => json!({"type": "object", "properties": {"message": {"type": "string"}}}),
            _ => json!({"type": "object", "properties": {}}),
        };
        json!({"name": name, "description": about, "inputSchema": schema})
    };
    let own = TOOLS.iter().map(|(name, about)| tool(name, about));
    let asking = asking::TOOLS.iter().map(|name| tool(name, "Wants input of the client before it answers"));
    let schema = json!({"name": "json_schema_2020_12_tool", "description": "Has a schema of many words", "inputSchema": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": {"$anchor": "addressDef", "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}},
        "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"}, "email": {"type": "string"}},
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": false,
    }});
    let mirrored = json!({"name": "test_mirrored_header", "description": "Has an argument that a header mirrors",
        "inputSchema": {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}});
    let tasks = tasks::TOOLS.iter().map(|name| tool(name, "May go on after its call"));
    own.chain(asking).chain(tasks).chain([schema, mirrored]).collect()
}

fn resources() -> Vec<Value> {
    let resource = |uri: &str, name: &str, mime: &str| json!({"uri": uri, "name": name, "mimeType": mime});
    vec![
        resource("test://static-text", "Static text", "text/plain"),
        resource("test://static-binary", "Static bytes", "image/png"),
        resource("test://watched-resource", "Watched", "text/plain"),
    ]
}

fn prompts() -> Vec<Value> {
    let argument = |name: &str| json!({"name": name, "description": "A word", "required": true});
    let prompt = |name: &str, arguments: &[&str]| {
        let arguments: Vec<Value> = arguments.iter().map(|name| argument(name)).collect();
        json!({"name": name, "description": "A prompt of the suite", "arguments": arguments})
    };
    vec![
        prompt("test_simple_prompt", &[]),
        prompt("test_prompt_with_arguments", &["arg1", "arg2"]),
        prompt("test_prompt_with_embedded_resource", &["resourceUri"]),
        prompt("test_prompt_with_image", &[]),
        prompt(asking::PROMPT, &[]),
    ]
}

fn named<'a>(params: &'a Map<String, Value>, key: &str) -> &'a str {
    params.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn lists(entries: &[Value], key: &str, name: &str) -> bool {
    entries.iter().any(|entry| entry[key] == name)
}

#[async_trait]
impl Extra for Fixtures {
    fn capabilities(&self, modern: bool) -> Map<String, Value> {
        match modern {
            true => Map::new(),
            false => Map::from_iter([("logging".to_owned(), json!({}))]),
        }
    }

    fn list(&self, list: ListOf) -> Vec<Value> {
        match list {
            ListOf::Tools => tools(),
            ListOf::Resources => resources(),
            ListOf::Prompts => prompts(),
            ListOf::Templates => {
                vec![
                    json!({"uriTemplate": "test://template/{id}/data", "name": "Data of an id", "mimeType": "application/json"}),
                ]
            }
        }
    }

    fn owns(&self, method: &str, params: &Map<String, Value>) -> bool {
        match method {
            "tools/call" => lists(&tools(), "name", named(params, "name")),
            "prompts/get" => lists(&prompts(), "name", named(params, "name")),
            "resources/read" => read(named(params, "uri")).is_some(),
            "resources/subscribe" | "resources/unsubscribe" => {
                named(params, "uri") == "test://watched-resource"
            }
            // Of the older eras; the newest one removed it.
            "logging/setLevel" => !params.contains_key("_meta"),
            _ => tasks::owns(method, params),
        }
    }

    async fn answer(
        &self,
        caller: Caller<'_>,
        method: &str,
        params: &Map<String, Value>,
    ) -> Result<Value, Fault> {
        match method {
            "resources/read" => {
                read(named(params, "uri")).ok_or_else(|| Fault::invalid_params("unknown resource"))
            }
            "prompts/get" => prompt(&caller, params),
            "logging/setLevel" => match LEVELS.contains(&named(params, "level")) {
                true => Ok(json!({})),
                false => Err(Fault::invalid_params("unknown level")),
            },
            "tools/call" => call(&caller, params).await,
            method if method.starts_with("tasks/") => tasks::answer(&caller, method, params),
            _ => Ok(json!({})),
        }
    }
}

fn read(uri: &str) -> Option<Value> {
    let content = match uri {
        "test://static-text" => {
            json!({"uri": uri, "mimeType": "text/plain", "text": "This is the content of the static text resource."})
        }
        "test://static-binary" => json!({"uri": uri, "mimeType": "image/png", "blob": PNG}),
        "test://watched-resource" => json!({"uri": uri, "mimeType": "text/plain", "text": "Watched."}),
        _ => {
            let id = uri.strip_prefix("test://template/")?.strip_suffix("/data")?;
            let data = json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")});
            json!({"uri": uri, "mimeType": "application/json", "text": data.to_string()})
        }
    };
    Some(json!({"contents": [content]}))
}

fn prompt(caller: &Caller<'_>, params: &Map<String, Value>) -> Result<Value, Fault> {
    let user = |content: Value| json!({"role": "user", "content": content});
    let words = |words: &str| user(json!({"type": "text", "text": words}));
    let given =
        |name: &str| params.get("arguments").and_then(|given| given.get(name)).and_then(Value::as_str);
    let messages = match named(params, "name") {
        asking::PROMPT => return asking::prompt(caller, params),
        "test_simple_prompt" => vec![words("This is a simple prompt for testing.")],
        "test_prompt_with_arguments" => {
            let (Some(one), Some(two)) = (given("arg1"), given("arg2")) else {
                return Err(Fault::invalid_params("arg1 and arg2 are required"));
            };
            vec![words(&format!("Prompt with arguments: arg1='{one}', arg2='{two}'"))]
        }
        "test_prompt_with_image" => vec![
            user(json!({"type": "image", "data": PNG, "mimeType": "image/png"})),
            words("Please analyze the image above."),
        ],
        _ => {
            let uri = given("resourceUri").unwrap_or("test://example-resource");
            let inside = json!({"uri": uri, "mimeType": "text/plain", "text": "Embedded resource content for testing."});
            vec![
                user(json!({"type": "resource", "resource": inside})),
                words("Please process the embedded resource above."),
            ]
        }
    };
    Ok(json!({"description": "A prompt of the suite", "messages": messages}))
}

async fn call(caller: &Caller<'_>, params: &Map<String, Value>) -> Result<Value, Fault> {
    let image = || json!({"type": "image", "data": PNG, "mimeType": "image/png"});
    let resource = |uri: &str, mime: &str, text: &str| json!({"type": "resource", "resource": {"uri": uri, "mimeType": mime, "text": text}});
    Ok(match named(params, "name") {
        name if asking::TOOLS.contains(&name) => return asking::call(caller, name, params),
        name if tasks::TOOLS.contains(&name) => return tasks::call(caller, name, params).await,
        "test_simple_text" => text("This is a simple text response for testing."),
        "test_image_content" => json!({"content": [image()]}),
        "test_audio_content" => json!({"content": [{"type": "audio", "data": WAV, "mimeType": "audio/wav"}]}),
        "test_embedded_resource" => json!({"content": [resource(
            "test://embedded-resource", "text/plain", "This is an embedded resource content.")]}),
        "test_multiple_content_types" => json!({"content": [
            {"type": "text", "text": "Multiple content types test:"}, image(),
            resource("test://mixed-content-resource", "application/json", r#"{"test":"data","value":123}"#)]}),
        "test_error_handling" => {
            let mut failed = text("This tool intentionally returns an error for testing");
            failed["isError"] = json!(true);
            failed
        }
        "test_tool_with_progress" => {
            for done in [0, 50, 100] {
                if let Some(token) = caller.meta("progressToken") {
                    let told = json!({"progressToken": token, "progress": done, "total": 100});
                    caller.notify("notifications/progress", told).await;
                }
                sleep(PAUSE).await;
            }
            text("Done.")
        }
        "test_tool_with_logging" | "test_logging_tool" => {
            let wanted = caller.meta("io.modelcontextprotocol/logLevel").is_some();
            for line in ["Tool execution started", "Tool processing data", "Tool execution completed"] {
                if wanted || !caller.is_modern() {
                    caller.notify("notifications/message", json!({"level": "info", "data": line})).await;
                }
                sleep(PAUSE).await;
            }
            text("Logged.")
        }
        "test_missing_capability" => {
            let declared = caller.meta("io.modelcontextprotocol/clientCapabilities");
            match declared.is_some_and(|declared| declared.get("sampling").is_some()) {
                true => text("The client has sampling."),
                false => return Err(Fault::missing_capability(json!({"sampling": {}}))),
            }
        }
        "test_trigger_tool_change" | "test_trigger_prompt_change" => {
            caller.lists_changed();
            text("Changed.")
        }
        name if name.starts_with("test_sampling") || name.starts_with("test_elicitation") => {
            asking::ask(caller, name, params).await
        }
        _ => text("Called."),
    })
}
