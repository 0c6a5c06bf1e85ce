//! The configuration of a gateway under test, built up by its methods and written as YAML (JSON is YAML).

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use testkit::FakeUpstream;

#[derive(Clone, Default)]
pub struct Config {
    pub(super) value: Option<Value>,
    pub(super) test_vendors: bool,
    pub(super) fixtures: bool,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) program: Option<Program>,
}

/// Another program than the product's, and what its environment holds.
#[derive(Clone)]
pub struct Program {
    pub path: PathBuf,
    pub env: Vec<(String, String)>,
}

/// Retries without long pauses, and a lease short enough to see it run out.
pub fn config() -> Config {
    let value = json!({
        "jobs": {"lease": "2s"},
        "routing": {"retries": {"backoff": "20ms", "max_backoff": "200ms"}},
        "server": {"shutdown_grace": "10s"},
    });
    Config { value: Some(value), ..Config::default() }
}

impl Config {
    /// Sets a field by its path, `jobs.lease`; a name with a dot in it cannot be reached.
    pub fn set(mut self, path: &str, value: impl Into<Value>) -> Config {
        let mut at = self.value.get_or_insert_with(|| json!({}));
        for name in path.split('.') {
            if !at.is_object() {
                *at = json!({});
            }
            at = at.as_object_mut().unwrap().entry(name).or_insert(Value::Null);
        }
        *at = value.into();
        self
    }

    /// A key of the file with all scopes.
    pub fn key(mut self, id: &str, bearer: &str) -> Config {
        let root = self.value.get_or_insert_with(|| json!({}));
        let keys = &mut root["auth"]["keys"];
        if keys.is_null() {
            *keys = json!([]);
        }
        let scopes = ["images:read", "images:write", "usage:read", "admin"];
        keys.as_array_mut().unwrap().push(json!({"id": id, "key": bearer, "scopes": scopes}));
        self
    }

    /// A public model; its targets in order.
    pub fn model(self, name: &str, targets: &[&str]) -> Config {
        self.set(&format!("models.{name}.targets"), json!(targets))
            .set("routing.default_model", json!([name]))
    }

    pub fn placeholder(self, settings: Value) -> Config {
        let mut entry = json!({"kind": "placeholder"});
        entry.as_object_mut().unwrap().extend(settings.as_object().cloned().unwrap_or_default());
        self.set("providers.placeholder", entry).model("placeholder", &["placeholder/card"])
    }

    /// An instance of kind `openai` at a fake upstream, and the model `gpt-image` there.
    pub fn openai(self, upstream: &FakeUpstream) -> Config {
        self.openai_at("openai", &upstream.url()).model("gpt-image", &["openai/gpt-image-2.5-flare"])
    }

    pub fn openai_at(self, id: &str, url: &str) -> Config {
        let entry = json!({"kind": "openai", "api_key": "sk-test", "base_url": format!("{url}/v1")});
        self.set(&format!("providers.{id}"), entry)
    }

    /// Workers AI at a fake upstream, and the models `flux-schnell` (JSON) and `sdxl-base` (raw) there.
    pub fn workers_ai(self, upstream: &FakeUpstream) -> Config {
        let entry = json!({"kind": "workers-ai", "account_id": "acc1", "api_token": "cf-test", "base_url": upstream.url()});
        self.set("providers.workers-ai", entry)
            .model("sdxl-base", &["workers-ai/@cf/stabilityai/stable-diffusion-xl-base-1.0"])
            .model("flux-schnell", &["workers-ai/@cf/black-forest-labs/flux-1-schnell"])
    }

    /// The vendor of `tests/vendors`, and its models `s`, `k` and `j`.
    pub fn vendor(mut self, upstream: &FakeUpstream) -> Config {
        self.test_vendors = true;
        self.set("providers.vendor", json!({"kind": "vendor", "base_url": upstream.url()}))
            .model("k", &["vendor/k"])
            .model("j", &["vendor/j"])
            .model("s", &["vendor/s"])
    }

    /// The tools, resources and prompts of `tests/conformance` beside the gateway's own.
    pub fn fixtures(mut self) -> Config {
        self.fixtures = true;
        self
    }

    /// Runs this program as the gateway, with one variable more in its environment.
    pub fn program(mut self, path: PathBuf, variable: &str, value: &str) -> Config {
        self.program = Some(Program { path, env: vec![(variable.into(), value.into())] });
        self
    }

    /// Keeps the data elsewhere than in a new temporary folder.
    pub fn data_dir(mut self, path: &Path) -> Config {
        self.data_dir = Some(path.to_owned());
        self
    }
}
