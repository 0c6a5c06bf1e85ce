//! Fixtures that want something of the client: by a request to it in the older eras, by an `input_required` result in
//! the newest.

use super::fixtures::text;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use image_gateway::mcp::{Caller, Fault};
use ring::{hmac, rand::SystemRandom};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

pub const PROMPT: &str = "test_input_required_result_prompt";
pub const TOOLS: [&str; 9] = [
    "test_input_required_result_elicitation",
    "test_input_required_result_sampling",
    "test_input_required_result_list_roots",
    "test_input_required_result_request_state",
    "test_input_required_result_multiple_inputs",
    "test_input_required_result_multi_round",
    "test_input_required_result_tampered_state",
    "test_input_required_result_capabilities",
    "test_streaming_elicitation",
];

/// Signs the state that travels through the client.
static SEAL: LazyLock<hmac::Key> =
    LazyLock::new(|| hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).expect("random numbers"));

fn sealed(state: &str) -> String {
    format!("{state}.{}", BASE64.encode(hmac::sign(&SEAL, state.as_bytes())))
}

fn opened(sealed: &str) -> Result<&str, Fault> {
    let bad = || Fault::invalid_params("requestState was not made by this server");
    let (state, tag) = sealed.split_once('.').ok_or_else(bad)?;
    let tag = BASE64.decode(tag).map_err(|_| bad())?;
    hmac::verify(&SEAL, state.as_bytes(), &tag).map_err(|_| bad())?;
    Ok(state)
}

pub fn form(message: &str, properties: Value) -> Value {
    let required: Vec<&String> = properties.as_object().map(|p| p.keys().collect()).unwrap_or_default();
    let schema = json!({"type": "object", "properties": properties, "required": required});
    json!({"method": "elicitation/create", "params": {"message": message, "requestedSchema": schema}})
}

pub fn name() -> Value {
    form("What is your name?", json!({"name": {"type": "string"}}))
}

fn sampling(question: &str) -> Value {
    json!({"method": "sampling/createMessage", "params": {"maxTokens": 100,
        "messages": [{"role": "user", "content": {"type": "text", "text": question}}]}})
}

fn roots() -> Value {
    json!({"method": "roots/list", "params": {}})
}

pub fn required(requests: Value, state: Option<&str>) -> Value {
    let mut result = json!({"resultType": "input_required", "inputRequests": requests});
    if let Some(state) = state {
        result["requestState"] = json!(sealed(state));
    }
    result
}

/// The answer under a key, if it is an object as answers are.
pub fn answered<'a>(params: &'a Map<String, Value>, key: &str) -> Option<&'a Map<String, Value>> {
    params.get("inputResponses")?.get(key)?.as_object()
}

/// What the user is called, if that was answered.
pub fn user_name(params: &Map<String, Value>) -> Option<&str> {
    answered(params, "user_name")?.get("content")?.get("name")?.as_str()
}

fn state(params: &Map<String, Value>) -> Result<Option<&str>, Fault> {
    params.get("requestState").and_then(Value::as_str).map(opened).transpose()
}

/// # Errors
/// The state is not ours.
pub fn call(caller: &Caller<'_>, tool: &str, params: &Map<String, Value>) -> Result<Value, Fault> {
    let state = state(params)?;
    let has = |key: &str| answered(params, key).is_some();
    Ok(match tool {
        "test_input_required_result_sampling" if !has("capital_question") => {
            required(json!({"capital_question": sampling("What is the capital of France?")}), None)
        }
        "test_input_required_result_list_roots" => match answered(params, "client_roots") {
            Some(roots) => text(format!("Roots: {}", json!(roots))),
            None => required(json!({"client_roots": roots()}), None),
        },
        "test_input_required_result_request_state" | "test_input_required_result_tampered_state" => {
            match (has("confirm"), state) {
                (true, Some("asked")) => text("state-ok"),
                _ => {
                    let confirm = form("Please confirm", json!({"ok": {"type": "boolean"}}));
                    required(json!({"confirm": confirm}), Some("asked"))
                }
            }
        }
        "test_input_required_result_multiple_inputs" => {
            match has("user_name") && has("greeting") && has("client_roots") && state == Some("asked") {
                true => text("All three were answered."),
                false => {
                    let all = json!({"user_name": name(), "greeting": sampling("Generate a greeting"), "client_roots": roots()});
                    required(all, Some("asked"))
                }
            }
        }
        "test_input_required_result_multi_round" => match state {
            Some("second") if has("step2") => text("Both steps are done."),
            Some("first" | "second") if has("step1") || state == Some("second") => {
                let color =
                    form("Step 2: What is your favorite color?", json!({"color": {"type": "string"}}));
                required(json!({"step2": color}), Some("second"))
            }
            _ => {
                let step = form("Step 1: What is your name?", json!({"name": {"type": "string"}}));
                required(json!({"step1": step}), Some("first"))
            }
        },
        "test_input_required_result_capabilities" => {
            let declared = caller.meta("io.modelcontextprotocol/clientCapabilities");
            let can = |capability: &str| declared.is_some_and(|declared| declared.get(capability).is_some());
            let mut requests = json!({});
            if can("elicitation") {
                requests["user_name"] = name();
            }
            if can("sampling") {
                requests["greeting"] = sampling("Generate a greeting");
            }
            required(requests, None)
        }
        "test_input_required_result_elicitation" | "test_streaming_elicitation" => match user_name(params) {
            Some(name) => text(format!("Hello, {name}!")),
            None => required(json!({"user_name": name()}), None),
        },
        _ => text("Answered."),
    })
}

/// # Errors
/// The state is not ours.
pub fn prompt(_: &Caller<'_>, params: &Map<String, Value>) -> Result<Value, Fault> {
    state(params)?;
    let Some(answer) = answered(params, "user_context") else {
        let context = form("What context should the prompt use?", json!({"context": {"type": "string"}}));
        return Ok(required(json!({"user_context": context}), None));
    };
    let words = format!("With the context {}", json!(answer));
    Ok(json!({"messages": [{"role": "user", "content": {"type": "text", "text": words}}]}))
}

/// A request to the client of an older era, and what came back as text.
pub async fn ask(caller: &Caller<'_>, tool: &str, params: &Map<String, Value>) -> Value {
    let given = |name: &str| {
        let given = params.get("arguments").and_then(|given| given.get(name)).and_then(Value::as_str);
        given.unwrap_or("Please answer").to_owned()
    };
    let request = match tool {
        "test_sampling" => sampling(&given("prompt")),
        "test_elicitation" => {
            let properties = json!({"username": {"type": "string"}, "email": {"type": "string"}});
            form(&given("message"), properties)
        }
        "test_elicitation_sep1034_defaults" => form(
            "Please check these values",
            json!({
                "name": {"type": "string", "default": "John Doe"},
                "age": {"type": "integer", "default": 30},
                "score": {"type": "number", "default": 95.5},
                "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
                "verified": {"type": "boolean", "default": true},
            }),
        ),
        _ => {
            let plain = json!(["option1", "option2", "option3"]);
            let titled = json!([{"const": "value1", "title": "First Option"},
                {"const": "value2", "title": "Second Option"}, {"const": "value3", "title": "Third Option"}]);
            form(
                "Please choose",
                json!({
                    "untitledSingle": {"type": "string", "enum": plain},
                    "titledSingle": {"type": "string", "oneOf": titled},
                    "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"],
                        "enumNames": ["Option One", "Option Two", "Option Three"]},
                    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": plain}},
                    "titledMulti": {"type": "array", "items": {"anyOf": titled}},
                }),
            )
        }
    };
    let method = request["method"].as_str().unwrap_or_default();
    match caller.ask(method, request["params"].clone()).await {
        Some(answer) => text(format!("The client answered: {}", json!(answer))),
        None => {
            let mut failed = text("The client did not answer.");
            failed["isError"] = json!(true);
            failed
        }
    }
}
