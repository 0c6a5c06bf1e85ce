//! The examples of the documentation, as instances that call a fake vendor.

#![allow(dead_code)] // each test uses its part

use plugin_api::{Built, Provider};
use serde_json::Value;
use std::sync::Arc;
use testkit::CANARY;

const PAGE: &str = include_str!("../../../../docs/providers/http.md");
pub const NAMES: [&str; 5] = ["a1111", "fal", "replicate", "bfl", "comfyui"];

pub fn block(name: &str) -> &'static str {
    testkit::block(PAGE, name)
}

/// The plugin's settings of an example at another address, with a key for every variable. What needs no key gets one
/// too, so that a message could show it.
pub fn settings(name: &str, url: &str) -> Value {
    let text = testkit::example(PAGE, name, url, CANARY);
    let mut page: Value = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut settings = page["providers"][name].take();
    let fields = settings.as_object_mut().expect("an entry of the example's name");
    assert_eq!(fields.remove("kind"), Some("http".into()));
    for own in ["concurrency", "timeout"] {
        fields.remove(own);
    }
    if !text.contains(CANARY) {
        fields.insert("api_key".into(), CANARY.into());
        fields.insert("headers".into(), serde_json::json!({"x-key": "{api_key}"}));
    }
    settings
}

pub fn build(settings: Value) -> Arc<dyn Provider> {
    match (plugin_http::PLUGIN.build)(settings) {
        Ok(Built::On(provider)) => provider,
        Ok(Built::Off(why)) => panic!("off: {why}"),
        Err(why) => panic!("refused: {why}"),
    }
}

pub fn example(name: &str, url: &str) -> Arc<dyn Provider> {
    build(settings(name, url))
}
