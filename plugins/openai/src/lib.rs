//! OpenAI's image models, and every server that speaks the dialect of `/images/generations`.
//!
//! Vendor documentation: <https://platform.openai.com/docs/api-reference/images>. All models are class S: the
//! endpoint documents no idempotency key, so a lost answer stays unknown. OpenAI's own models are known by name and
//! get the vendor's fields wherever `base_url` points; at another server every other name is a model with the
//! capabilities that the settings give it.

mod answer;
mod call;
mod error;
mod models;
mod rules;
mod settings;

use models::Model;
use plugin_api::{
    Answer, Built, Capabilities, Context, ErrorClass, ImageRequest, Plugin, Provider, ProviderError, Request,
    Spend, Submission, build_config, join_url,
};
use schemars::JsonSchema;
pub use settings::{Auth, Edits, ExtraFields, ResponseFormat, Settings};
use std::sync::Arc;

pub const PLUGIN: Plugin = Plugin { kind: "openai", schema: Settings::json_schema, build };

fn build(settings: serde_json::Value) -> Result<Built, String> {
    let settings: Settings = build_config(settings)?;
    settings.validate()?;
    let provider = OpenAi::new(settings)?;
    if provider.settings.api_key.is_empty() && provider.is_openai {
        return Ok(Built::Off(
            "OPENAI_API_KEY is not set; set it (or api_key in the configuration) to a key from \
             https://platform.openai.com/api-keys, or point base_url at a server that needs none"
                .into(),
        ));
    }
    Ok(Built::On(Arc::new(provider)))
}

struct OpenAi {
    settings: Settings,
    is_openai: bool,
    known: Vec<Model>,
    /// Any `gpt-image-*` that is newer than this table.
    newest: Model,
    /// Any other model of another server.
    generic: Model,
}

impl OpenAi {
    /// # Errors
    /// A sentence that names the setting, and for a model that is gone the one to use instead.
    fn new(settings: Settings) -> Result<OpenAi, String> {
        let is_openai = settings.is_openai();
        let mut known = models::openai();
        let mut newest = models::newest();
        if settings.edits == Some(Edits::None) {
            for model in known.iter_mut().chain([&mut newest]) {
                model.capabilities.references = 0..=0;
                model.capabilities.mask = false;
            }
        }
        if !is_openai {
            // Other servers use the names of OpenAI's old models for theirs.
            known.retain(|model| model.capabilities.replaced_by.is_none());
        }
        let generic = models::generic(&settings)?;
        let provider = OpenAi { settings, is_openai, known, newest, generic };
        let default = provider.default_model();
        match provider.capabilities(default) {
            None => {
                Err(format!("default_model: OpenAI has no image model `{default}`; use {}", models::DEFAULT))
            }
            Some(Capabilities { replaced_by: Some(other), .. }) => {
                Err(format!("default_model: OpenAI has shut `{default}` down; use {other}"))
            }
            Some(_) => Ok(provider),
        }
    }

    fn default_model(&self) -> &str {
        let first = self.settings.models.first();
        let named = self.settings.default_model.as_ref().filter(|name| !name.is_empty());
        named.or(first).map_or(models::DEFAULT, String::as_str)
    }

    fn model(&self, name: &str) -> Option<&Model> {
        if let Some(model) = self.known.iter().find(|model| model.name == name) {
            return Some(model);
        }
        match self.is_openai {
            false => Some(&self.generic),
            true if name.starts_with("gpt-image-") => Some(&self.newest),
            true => None,
        }
    }

    fn redacted(&self, error: ProviderError) -> ProviderError {
        error.redacted(&self.settings.api_key)
    }

    async fn list_models(&self, cx: &Context) -> Result<(), ProviderError> {
        let url = join_url(&self.settings.base_url, "/models");
        let answer = cx.http.send(call::authorized(Request::get(url), &self.settings)).await?;
        if answer.status.as_u16() == 404 && !self.is_openai {
            return Ok(()); // the server is there and has no such list
        }
        if !answer.status.is_success() {
            return Err(error::parse(&answer));
        }
        let body: serde_json::Value = answer.json().map_err(|_| {
            ProviderError::new(ErrorClass::BadResponse, "the list of models is not JSON: check base_url")
        })?;
        error::in_success(&answer, &body).map_or(Ok(()), Err)
    }
}

#[async_trait::async_trait]
impl Provider for OpenAi {
    fn models(&self) -> Vec<String> {
        let default = self.default_model().to_owned();
        let mut names = vec![default.clone()];
        names.extend(self.settings.models.iter().cloned());
        if self.known.iter().any(|model| model.name == default) || self.is_openai {
            let live = self.known.iter().filter(|model| model.capabilities.replaced_by.is_none());
            names.extend(live.map(|model| model.name.clone()));
        }
        let mut seen = std::collections::HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    }

    fn capabilities(&self, model: &str) -> Option<&Capabilities> {
        self.model(model).map(|model| &model.capabilities)
    }

    fn result_hosts(&self) -> &[String] {
        &self.settings.result_hosts
    }

    async fn submit(&self, cx: &Context, request: &ImageRequest) -> Result<Submission, ProviderError> {
        let model = self.model(&request.model).ok_or_else(|| {
            ProviderError::new(ErrorClass::NotFound, format!("no image model `{}`", request.model))
        })?;
        let known = !std::ptr::eq(model, &self.generic);
        let call = call::build(&self.settings, &model.capabilities, known, request);
        let answer = cx.http.send(call).await.map_err(|error| self.redacted(error))?;
        self.read(request, &answer)
    }

    fn read(&self, request: &ImageRequest, answer: &Answer) -> Result<Submission, ProviderError> {
        if !answer.status.is_success() {
            return Err(self.redacted(error::parse(answer)));
        }
        let prices = self.model(&request.model).and_then(|model| model.tokens);
        let artifact = answer::read(request, answer, prices).map_err(|error| self.redacted(error))?;
        Ok(Submission::Done(artifact))
    }

    async fn check(&self, cx: &Context) -> Result<(), ProviderError> {
        // Nothing can be bought by asking.
        self.list_models(cx).await.map_err(|error| self.redacted(error).with_spend(Spend::None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn on(settings: serde_json::Value) -> Arc<dyn Provider> {
        match build(settings) {
            Ok(Built::On(provider)) => provider,
            Ok(Built::Off(why)) => panic!("off: {why}"),
            Err(why) => panic!("refused: {why}"),
        }
    }

    #[test]
    fn without_a_key_openai_is_off_and_other_servers_are_on() {
        match build(json!({})) {
            Ok(Built::Off(why)) => assert!(why.contains("OPENAI_API_KEY"), "{why}"),
            _ => panic!("it must be off, not refused"),
        }
        on(json!({"base_url": "http://127.0.0.1:8000/v1", "default_model": "qwen-image"}));
    }

    #[test]
    fn a_model_that_is_gone_is_refused_with_its_replacement() {
        for gone in ["dall-e-2", "dall-e-3", "gpt-image-1"] {
            let why = build(json!({"api_key": "k", "default_model": gone})).err().expect("refused");
            assert!(why.contains(gone) && why.contains(models::DEFAULT), "{why}");
            let elsewhere = on(json!({"base_url": "http://localai/v1", "default_model": gone}));
            assert!(
                elsewhere.capabilities(gone).unwrap().replaced_by.is_none(),
                "another server's own {gone}"
            );
        }
        let why = build(json!({"api_key": "k", "default_model": "sora"})).err().expect("refused");
        assert!(why.contains("sora"), "{why}");
    }

    #[test]
    fn names_are_known_generic_or_newer_than_the_table() {
        let openai = on(json!({"api_key": "k"}));
        assert_eq!(openai.models()[0], models::DEFAULT);
        assert!(!openai.models().contains(&"dall-e-3".to_owned()), "what is gone is not listed");
        assert_eq!(openai.capabilities("dall-e-3").unwrap().replaced_by, Some(models::DEFAULT));
        assert_eq!(openai.capabilities("gpt-image-3").unwrap().max_n, 10, "as the newest family");
        assert!(openai.capabilities("gpt-5").is_none());

        let other = on(json!({"base_url": "http://h/v1", "models": ["a", "b", "a"], "max_n": 4,
                              "sizes": ["512x512"], "extra_fields": {"seed": "seed"}}));
        assert_eq!(other.models(), ["a", "b"]);
        let caps = other.capabilities("whatever").unwrap();
        assert_eq!((caps.max_n, caps.seed, caps.sizes.default_size()), (4, true, (512, 512)));
        assert!(other.capabilities("gpt-image-2").unwrap().moderation, "known by name anywhere");
        let no_edits = on(json!({"api_key": "k", "edits": "none"}));
        assert_eq!(no_edits.capabilities(models::DEFAULT).unwrap().references, 0..=0);
    }

    #[test]
    fn the_key_is_never_shown_and_the_schema_names_every_setting() {
        let settings: Settings = build_config(json!({"api_key": testkit::CANARY})).unwrap();
        assert!(!format!("{settings:?}").contains(testkit::CANARY));
        let schema = (PLUGIN.schema)(&mut schemars::SchemaGenerator::default()).to_value();
        for name in ["api_key", "base_url", "default_model", "organization", "max_n", "result_hosts"] {
            assert!(schema["properties"].get(name).is_some(), "{name} in {schema}");
        }
        assert_eq!(schema["additionalProperties"], json!(false));
    }
}
