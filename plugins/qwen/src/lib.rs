//! Alibaba DashScope (Model Studio): the Qwen-Image and Wan families.
//!
//! Vendor documentation: <https://help.aliyun.com/zh/model-studio/> and <https://www.alibabacloud.com/help/en/model-studio/>.
//! Where the vendor has a task to poll for, a model is class J: its ticket is the vendor's `task_id`, good for 24 hours.
//! The other models answer one blocking call (class S). The vendor documents no idempotency key. Results are URLs.

mod answer;
mod call;
mod error;
mod models;
mod settings;

use models::{Model, Region};
use plugin_api::{
    Answer, Built, Capabilities, Context, ErrorClass, ImageRequest, Plugin, Progress, Provider,
    ProviderError, Request, Retry, Spend, Submission, Ticket, build_config, join_url,
};
use schemars::JsonSchema;
pub use settings::{ModelSettings, Settings};
use std::{sync::Arc, time::Duration};

pub const PLUGIN: Plugin = Plugin { kind: "qwen", schema: Settings::json_schema, build };

/// No task has this id: asking for it proves the key and buys nothing.
const NO_TASK: &str = "00000000-0000-0000-0000-000000000000";
/// Between polls: the first, and the longest.
const POLL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));

fn build(settings: serde_json::Value) -> Result<Built, String> {
    let provider = Qwen::new(build_config(settings)?)?;
    if provider.settings.api_key.is_empty() {
        return Ok(Built::Off(
            "DASHSCOPE_API_KEY is not set; set it (or api_key in the configuration) to a key of Alibaba Model Studio".into(),
        ));
    }
    Ok(Built::On(Arc::new(provider)))
}

struct Qwen {
    settings: Settings,
    models: Vec<Model>,
    hosts: Vec<String>,
}

impl Qwen {
    /// # Errors
    /// A sentence that names the setting.
    fn new(mut settings: Settings) -> Result<Qwen, String> {
        settings.base_url = settings.base_url.trim().to_owned();
        if !(settings.base_url.starts_with("https://") || settings.base_url.starts_with("http://")) {
            return Err(format!("base_url: `{}` is not an http(s) URL", settings.base_url));
        }
        let models = models::with(&settings.models, Region::of(&settings.base_url))?;
        // The vendor's object storage, by region and by its accelerated name.
        let hosts = ["dashscope-result-*.oss-*.aliyuncs.com", "dashscope-*.oss-accelerate.aliyuncs.com"];
        let provider = Qwen { settings, models, hosts: hosts.map(String::from).to_vec() };
        match provider.default_model() {
            Some(name) if provider.model(name).is_none() => {
                Err(format!("default_model: DashScope has no image model `{name}`; use {}", models::DEFAULT))
            }
            _ => Ok(provider),
        }
    }

    fn default_model(&self) -> Option<&str> {
        self.settings.default_model.as_deref().filter(|name| !name.is_empty())
    }

    /// By its name, or as the dated snapshot of a known one: `qwen-image-2.0-pro-2026-03-03`.
    fn model(&self, name: &str) -> Option<&Model> {
        let named = |name: &str| self.models.iter().find(|model| model.name == name);
        named(name).or_else(|| named(models::without_date(name)?))
    }

    fn known(&self, name: &str) -> Result<&Model, ProviderError> {
        let what =
            || ProviderError::new(ErrorClass::NotFound, format!("DashScope has no image model `{name}`"));
        self.model(name).ok_or_else(what)
    }

    fn signed(&self, call: Request) -> Request {
        let call = call.bearer(&self.settings.api_key);
        match self.settings.workspace.trim() {
            "" => call,
            workspace => call.header("x-dashscope-workspace", workspace),
        }
    }

    fn redacted(&self, error: ProviderError) -> ProviderError {
        error.redacted(&self.settings.api_key)
    }

    async fn task(&self, cx: &Context, id: &str) -> Result<Answer, ProviderError> {
        let url = join_url(&self.settings.base_url, &format!("tasks/{id}"));
        cx.http.send(self.signed(Request::get(url))).await
    }
}

/// Whether a task's id can stand in a path as it is.
fn is_task_id(id: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    (1..=128).contains(&id.len()) && id.bytes().all(plain)
}

#[async_trait::async_trait]
impl Provider for Qwen {
    fn models(&self) -> Vec<String> {
        let mut names: Vec<String> = self.default_model().map(str::to_owned).into_iter().collect();
        names.extend(
            self.models
                .iter()
                .map(|model| model.name.clone())
                .filter(|n| Some(n.as_str()) != self.default_model()),
        );
        names
    }

    fn capabilities(&self, model: &str) -> Option<&Capabilities> {
        self.model(model).map(|model| &model.capabilities)
    }

    fn result_hosts(&self) -> &[String] {
        &self.hosts
    }

    async fn submit(&self, cx: &Context, request: &ImageRequest) -> Result<Submission, ProviderError> {
        let model = self.known(&request.model)?;
        let call = self.signed(call::build(&self.settings.base_url, model, request)?);
        let answer = cx.http.send(call).await.map_err(|error| self.redacted(error))?;
        self.read(request, &answer)
    }

    fn read(&self, request: &ImageRequest, answer: &Answer) -> Result<Submission, ProviderError> {
        answer::submission(request, answer, POLL.0).map_err(|error| self.redacted(error))
    }

    async fn poll(
        &self,
        cx: &Context,
        request: &ImageRequest,
        ticket: &Ticket,
    ) -> Result<Progress, ProviderError> {
        let Some(id) = ticket.0.as_str().filter(|id| is_task_id(id)) else {
            return Err(ProviderError::new(
                ErrorClass::JobExpired,
                "the kept ticket is no task of DashScope",
            ));
        };
        let answer = self.task(cx, id).await.map_err(|error| self.redacted(error))?;
        // A fifth of the time it has taken so far, so that a long task is not asked for every second.
        let again = (cx.started.elapsed() / 5).clamp(POLL.0, POLL.1);
        let told = answer::progress(request, &answer, again);
        told.map(|progress| progress.map_failed(|error| self.redacted(error)))
            .map_err(|error| self.redacted(error))
    }

    async fn check(&self, cx: &Context) -> Result<(), ProviderError> {
        let free = |error: ProviderError| self.redacted(error).with_spend(Spend::None);
        let answer = self.task(cx, NO_TASK).await.map_err(free)?;
        match answer::is_task(&answer) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let what = "DashScope's answer cannot be read: check base_url";
                Err(free(ProviderError::new(ErrorClass::BadResponse, what).with_retry(Retry::Elsewhere)))
            }
            Err(error) => Err(free(error)),
        }
    }
}

#[cfg(test)]
mod tests;
