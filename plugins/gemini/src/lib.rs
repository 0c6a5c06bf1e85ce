//! Google Gemini's image models, by the Gemini API or Vertex AI.
//!
//! Vendor documentation: <https://ai.google.dev/gemini-api/docs/image-generation>. All models are class S: one blocking
//! call of `generateContent`, and no idempotency key. A size is a ratio and a tier by name, never pixels; refusals by
//! the filter come with status 200. Imagen is shut down.

mod answer;
mod call;
mod error;
mod models;
mod settings;

use models::Model;
use plugin_api::{
    Answer, Built, Capabilities, Context, ErrorClass, ImageRequest, Plugin, Provider, ProviderError, Request,
    Spend, Submission, build_config, join_url,
};
use schemars::JsonSchema;
pub use settings::{ModelSettings, Settings};
use std::sync::Arc;

pub const PLUGIN: Plugin = Plugin { kind: "gemini", schema: Settings::json_schema, build };

fn build(settings: serde_json::Value) -> Result<Built, String> {
    let provider = Gemini::new(build_config(settings)?)?;
    if provider.settings.api_key.is_empty() && provider.settings.access_token.is_empty() {
        return Ok(Built::Off(
            "GEMINI_API_KEY is not set; set it (or api_key in the configuration) to a key from \
             https://aistudio.google.com/apikey"
                .into(),
        ));
    }
    Ok(Built::On(Arc::new(provider)))
}

struct Gemini {
    settings: Settings,
    models: Vec<Model>,
    gone: Vec<(&'static str, Capabilities)>,
}

impl Gemini {
    /// # Errors
    /// A sentence that names the setting, and for a model that is gone the one to use instead.
    fn new(mut settings: Settings) -> Result<Gemini, String> {
        settings.base_url = settings.base_url.trim().to_owned();
        if !(settings.base_url.starts_with("https://") || settings.base_url.starts_with("http://")) {
            return Err(format!("base_url: `{}` is not an http(s) URL", settings.base_url));
        }
        let models = models::with(&settings.models)?;
        let provider = Gemini { settings, models, gone: models::gone() };
        let default = provider.default_model();
        match provider.capabilities(default) {
            None => {
                Err(format!("default_model: Gemini has no image model `{default}`; use {}", models::DEFAULT))
            }
            Some(Capabilities { replaced_by: Some(other), .. }) => {
                Err(format!("default_model: Google has shut `{default}` down; use {other}"))
            }
            Some(_) => Ok(provider),
        }
    }

    fn default_model(&self) -> &str {
        self.settings.default_model.as_deref().filter(|name| !name.is_empty()).unwrap_or(models::DEFAULT)
    }

    fn model(&self, name: &str) -> Result<&Model, ProviderError> {
        let what = || ProviderError::new(ErrorClass::NotFound, format!("Gemini has no image model `{name}`"));
        self.models.iter().find(|model| model.name == name).ok_or_else(what)
    }

    fn url(&self, model: &str, action: &str) -> String {
        join_url(&self.settings.base_url, &format!("models/{model}{action}"))
    }

    fn signed(&self, call: Request) -> Request {
        match self.settings.access_token.is_empty() {
            true => call.secret_header("x-goog-api-key", self.settings.api_key.expose()),
            false => call.bearer(&self.settings.access_token),
        }
    }

    fn redacted(&self, error: ProviderError) -> ProviderError {
        error.redacted(&self.settings.api_key).redacted(&self.settings.access_token)
    }
}

#[async_trait::async_trait]
impl Provider for Gemini {
    fn models(&self) -> Vec<String> {
        let default = self.default_model();
        let others = self.models.iter().map(|model| model.name.as_str()).filter(|name| *name != default);
        [default].into_iter().chain(others).map(str::to_owned).collect()
    }

    fn capabilities(&self, model: &str) -> Option<&Capabilities> {
        let known = self.models.iter().find(|known| known.name == model).map(|known| &known.capabilities);
        let gone = |(name, _): &&(&str, Capabilities)| {
            *name == model || (name.ends_with('-') && model.starts_with(name))
        };
        known.or_else(|| self.gone.iter().find(gone).map(|(_, capabilities)| capabilities))
    }

    async fn submit(&self, cx: &Context, request: &ImageRequest) -> Result<Submission, ProviderError> {
        let model = self.model(&request.model)?;
        let body = call::body(&model.capabilities, request)?;
        let call = Request::post(self.url(&model.name, ":generateContent")).json(&body).paid();
        let call = self.signed(call).cap(call::answer_cap(request));
        let answer = cx.http.send(call).await.map_err(|error| self.redacted(error))?;
        self.read(request, &answer)
    }

    fn read(&self, request: &ImageRequest, answer: &Answer) -> Result<Submission, ProviderError> {
        if !answer.status.is_success() {
            return Err(self.redacted(error::parse(answer)));
        }
        // An answer found after a restart is paid, also where the settings no longer name its model.
        let prices = self.model(&request.model).ok().map(|model| model.tokens);
        answer::read(answer, prices).map(Submission::Done).map_err(|error| self.redacted(error))
    }

    async fn check(&self, cx: &Context) -> Result<(), ProviderError> {
        let free = |error: ProviderError| self.redacted(error).with_spend(Spend::None);
        let call = self.signed(Request::get(self.url(self.default_model(), "")));
        let answer = cx.http.send(call).await.map_err(free)?;
        if !answer.status.is_success() {
            return Err(free(error::parse(&answer)));
        }
        match answer.json::<serde_json::Value>() {
            Ok(body) if body.get("name").is_some() => Ok(()),
            _ => {
                let what = "Google's answer about a model cannot be read: check base_url";
                Err(free(ProviderError::new(ErrorClass::BadResponse, what)))
            }
        }
    }
}

#[cfg(test)]
mod tests;
