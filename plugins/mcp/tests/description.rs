//! What descriptions mean, and what is said of those that cannot work.

#![allow(clippy::unwrap_used)]

mod support;

use plugin_api::{Built, Class, SizeRule};
use serde_json::{Value, json};
use support::{NAMES, build, settings};

fn base() -> Value {
    json!({
        "url": "https://mcp.example.com/mcp", "bearer": "k", "tool": "make", "arguments": {"prompt": "{prompt}"},
        "ticket": "/id", "poll": {"tool": "ask", "arguments": {"id": "{ticket}"}, "status": "/status", "done": "ok"}
    })
}

/// The description with fields set; null takes one away.
fn with(fields: Value) -> Value {
    let mut settings = base();
    for (name, value) in fields.as_object().unwrap() {
        match value {
            Value::Null => drop(settings.as_object_mut().unwrap().remove(name)),
            value => settings[name] = value.clone(),
        }
    }
    settings
}

fn poll(field: &str, value: Value) -> Value {
    let mut poll = base()["poll"].take();
    poll[field] = value;
    json!({ "poll": poll })
}

#[test]
fn mistakes_are_found_when_it_is_read_and_named_by_their_field() {
    build(base());
    for (fields, told) in [
        (json!({"url": null}), "url: where is the server?"),
        (json!({"url": "mcp.example.com"}), "url: `mcp.example.com` is not an address"),
        (json!({"url": "https://a:b@mcp.example.com"}), "url: "),
        (json!({"command": "npx"}), "command: there is a `url` too"),
        (json!({"url": null, "bearer": null, "command": " "}), "command: it is empty"),
        (json!({"url": null, "command": "npx"}), "bearer: a program takes its credentials from `env`"),
        (json!({"args": ["x"]}), "args: it belongs to a `command`"),
        (json!({"env": {"A": "b"}}), "env: it belongs to a `command`"),
        (json!({"url": null, "bearer": null, "command": "npx", "env": {"A=B": "c"}}), "env: `A=B`"),
        (json!({"headers": {"x y": "1"}}), "headers: `x y` is not the name"),
        (json!({"headers": {"x": "1\r\ny: 2"}}), "headers.x: a line break"),
        (json!({"tool": ""}), "tool: it is empty"),
        (json!({"arguments": {"a": [{"b": "{promt}"}]}}), "arguments.a[0].b: there is no {promt} here"),
        (json!({"arguments": {"key": "{api_key}"}}), "arguments.key: there is no {api_key} here"),
        (json!({"arguments": {"text": "a fox"}}), "arguments: none of them holds {prompt}"),
        (json!({"ticket": "id"}), "ticket: `id` is not a JSON pointer"),
        (json!({"ticket": null}), "poll: there is no `ticket`"),
        (json!({"poll": null}), "ticket: a ticket needs `poll`"),
        (poll("arguments", json!({"id": "1"})), "poll.arguments: none of them holds {ticket}"),
        (poll("arguments", json!({"id": "{prompt}"})), "poll.arguments.id: there is no {prompt} here"),
        (poll("status", json!("status")), "poll.status: "),
        (poll("done", json!([])), "poll.done: "),
        (poll("every", json!("0s")), "poll.every: "),
        (poll("tool", json!("")), "poll.tool: "),
        (poll("result", json!({"tool": "x", "arguments": {}})), "poll.result.arguments: none of them"),
        (json!({"images": {"at": "url"}}), "images.at: "),
        (json!({"images": {"at": "/x", "url": "/view"}}), "images.url: "),
        (json!({"images": {"at": "/x", "url": "https://x/{y}"}}), "images.url: the host"),
        (json!({"errors": {"code": "code"}}), "errors.code: "),
        (json!({"models": [{"name": "m", "max_n": 4}]}), "models[0].max_n: `arguments` sends no {n}"),
        (json!({"models": [{"name": "m"}, {"name": "m"}]}), "models[1].name: there are two"),
        (json!({"default_model": "other"}), "default_model: `models` has none of the name `other`"),
    ] {
        let why = match (plugin_mcp::PLUGIN.build)(with(fields.clone())) {
            Err(why) => why,
            Ok(_) => panic!("it must be refused: {fields}"),
        };
        assert!(why.starts_with(told), "{fields}: {why}");
    }
}

#[test]
fn an_address_and_a_tool_are_enough() {
    let bare = build(json!({"url": "http://127.0.0.1:1/mcp", "tool": "render"}));
    assert_eq!(bare.models(), ["render"]);
    let model = bare.capabilities("render").unwrap();
    assert_eq!((model.class, model.max_n, model.seed, model.price.is_none()), (Class::S, 1, false, true));
    assert_eq!(model.sizes, SizeRule::Fixed(1024, 1024));
    assert_eq!(build(base()).capabilities("make").unwrap().class, Class::J);
}

#[test]
fn an_empty_credential_switches_it_off_and_mistakes_are_told_all_the_same() {
    let program = json!({"url": null, "bearer": null, "command": "npx", "env": {"KEY": ""}});
    for (fields, named) in [
        (json!({"bearer": ""}), "bearer"),
        (json!({"headers": {"x-key": ""}}), "headers.x-key"),
        (program, "env.KEY"),
    ] {
        let off = (plugin_mcp::PLUGIN.build)(with(fields));
        assert!(matches!(off, Ok(Built::Off(why)) if why.starts_with(named)), "{named}");
    }
    assert!((plugin_mcp::PLUGIN.build)(with(json!({"bearer": "", "tool": ""}))).is_err());
}

#[test]
fn the_schema_names_and_explains_every_field() {
    let mut generator = schemars::SchemaGenerator::default();
    let schema = (plugin_mcp::PLUGIN.schema)(&mut generator).to_value();
    let definitions = generator.take_definitions(true);
    assert_eq!(schema["additionalProperties"], json!(false));
    let mut all: Vec<(&str, &Value)> = vec![("Mcp", &schema)];
    all.extend(definitions.iter().map(|(name, value)| (name.as_str(), value)));
    let mut fields = 0;
    for (name, definition) in all.into_iter().filter(|(name, _)| name.starts_with("Mcp")) {
        for (field, about) in definition["properties"].as_object().into_iter().flatten() {
            fields += 1;
            let plain =
                ["args", "McpTool.tool"].iter().any(|p| *p == field || *p == format!("{name}.{field}"));
            assert!(plain || about["description"].is_string(), "{name}.{field}: {about}");
        }
    }
    assert!(fields > 25, "{fields}");
    for name in NAMES.into_iter().chain(["local"]) {
        for field in settings(name, "http://127.0.0.1:1").as_object().unwrap().keys() {
            assert!(schema["properties"][field].is_object(), "{name}: {field}");
        }
    }
}
