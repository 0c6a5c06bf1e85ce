//! The examples of the documentation, as instances.

#![allow(dead_code)] // each test uses its part

use plugin_api::{Built, Provider};
use serde_json::{Value, json};
use std::sync::Arc;
use testkit::{CANARY, FakeUpstream, Recorded, Reply};

const PAGE: &str = include_str!("../../../../docs/providers/mcp.md");
/// Those with an address.
pub const NAMES: [&str; 3] = ["studio", "canvas", "lab"];
pub const HAT: &[u8] = include_bytes!("../../fixtures/hat.png");

/// The block of the page that carries a name.
pub fn block(name: &str) -> &'static str {
    let fence = format!("```yaml {name}\n");
    let begin = PAGE.find(&fence).unwrap_or_else(|| panic!("the page has no example {name}")) + fence.len();
    let end = PAGE[begin..].find("\n```").expect("the block has an end") + begin + 1;
    &PAGE[begin..end]
}

/// The plugin's settings of an example, with a key for every variable, and another address.
pub fn settings(name: &str, url: &str) -> Value {
    let mut text = block(name).to_owned();
    while let Some(at) = text.find("${") {
        let end = text[at..].find('}').expect("a variable has an end") + at;
        text.replace_range(at..=end, CANARY);
    }
    let mut page: Value = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut settings = page["providers"][name].take();
    let fields = settings.as_object_mut().expect("an entry of the example's name");
    assert_eq!(fields.remove("kind"), Some("mcp".into()));
    for own in ["concurrency", "timeout"] {
        fields.remove(own);
    }
    if fields.contains_key("url") {
        fields.insert("url".into(), format!("{url}/mcp").into());
    }
    settings
}

pub fn build(settings: Value) -> Arc<dyn Provider> {
    match (plugin_mcp::PLUGIN.build)(settings) {
        Ok(Built::On(provider)) => provider,
        Ok(Built::Off(why)) => panic!("off: {why}"),
        Err(why) => panic!("refused: {why}"),
    }
}

pub fn example(name: &str, url: &str) -> Arc<dyn Provider> {
    build(settings(name, url))
}

/// What a server answers to `initialize`, in the session `id`.
pub fn welcome(id: &str) -> Reply {
    let result = json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
        "serverInfo": {"name": "studio", "version": "1"}});
    let body = json!({"jsonrpc": "2.0", "id": 0, "result": result});
    Reply::json(200, body.to_string()).header("mcp-session-id", id)
}

pub fn handshake(request: &Recorded) -> Option<Reply> {
    match request.json()["method"].as_str()? {
        "initialize" => Some(welcome("session-1")),
        "notifications/initialized" => Some(Reply::new(202, "text/plain", "")),
        _ => None,
    }
}

/// The handshake is there before every call, and not counted.
pub fn welcoming(upstream: &FakeUpstream) {
    upstream.prelude(handshake);
}
