//! Volcengine Ark, sold as Doubao: the Seedream image models, <https://www.volcengine.com/docs/82379/1541523>, and
//! their international sister ModelArk. One blocking call (class S) makes one image, or a group of them where a
//! vendor option asks for it.
//!
//! Ark has no idempotency key: a lost answer is not asked for again. A second call is made in one case only: the
//! vendor says that the model does not exist, and the instance has a `fallback_model`.

mod answer;
mod call;
mod error;
mod models;
mod rules;
mod settings;

use models::Model;
use plugin_api::{
    Adjustment, Answer, Artifact, Basis, Built, Capabilities, Context, Cost, ErrorClass, Fit, ImageRequest,
    Parameters, Plugin, Provider, ProviderError, Request, Spend, Submission, build_config, join_url,
};
use schemars::JsonSchema as _;
use serde_json::{Value, json};
pub use settings::{ResponseFormat, Settings};
use std::sync::Arc;

pub const PLUGIN: Plugin = Plugin { kind: "doubao", schema: Settings::json_schema, build };

/// Where result links may point: the vendor's object storage and its image hosts.
const RESULT_HOSTS: [&str; 3] = ["*.volces.com", "*.byteimg.com", "*.bytepluses.com"];

fn build(settings: Value) -> Result<Built, String> {
    let settings: Settings = build_config(settings)?;
    let provider = Doubao::new(settings)?;
    match provider.settings.api_key.is_empty() {
        true => Ok(Built::Off("api_key is empty: set DOUBAO_API_KEY to an API key of Volcengine Ark".into())),
        false => Ok(Built::On(Arc::new(provider))),
    }
}

/// See the crate's documentation.
pub struct Doubao {
    settings: Settings,
    base: String,
    models: Vec<Model>,
    /// The id of the model of calls that name none.
    default: String,
    /// The id that is sent when the vendor does not have the one that was asked for.
    fallback: Option<String>,
    hosts: Vec<String>,
}

impl Doubao {
    /// # Errors
    /// A setting that cannot be right, by its name.
    pub fn new(settings: Settings) -> Result<Doubao, String> {
        let base = settings.base()?;
        let mut models = models::all(settings.is_abroad());
        for (id, like) in &settings.models {
            let Some((_, at)) = models::resolve(&models, like) else {
                return Err(format!("models.{id}: no built-in model `{like}`; {}", known(&models)));
            };
            models.push(Model { id: id.clone(), capabilities: models[at].capabilities.clone() });
        }
        let named = |field: &str, name: &Option<String>| {
            let Some(name) = name.as_deref().map(str::trim).filter(|name| !name.is_empty()) else {
                return Ok(None);
            };
            match models::resolve(&models, name) {
                Some((id, _)) => Ok(Some(id)),
                None => Err(format!(
                    "{field}: no model `{name}`; {}; a private endpoint is added under `models`",
                    known(&models)
                )),
            }
        };
        let default = named("default_model", &settings.default_model)?;
        let default = default.unwrap_or_else(|| models::DEFAULT.to_owned());
        let fallback = named("fallback_model", &settings.fallback_model)?;
        let hosts = RESULT_HOSTS.map(str::to_owned).to_vec();
        Ok(Doubao { settings, base, models, default, fallback, hosts })
    }

    /// The id that is sent for a name, and its model.
    ///
    /// # Errors
    /// `not_found`: the name means nothing here.
    fn model(&self, name: &str) -> Result<(String, &Model), ProviderError> {
        let found = models::resolve(&self.models, name).map(|(id, at)| (id, &self.models[at]));
        found.ok_or_else(|| ProviderError::new(ErrorClass::NotFound, format!("no image model `{name}`")))
    }

    async fn call(&self, cx: &Context, id: &str, request: &ImageRequest) -> Result<Answer, ProviderError> {
        let form = self.settings.response_format;
        let post = Request::post(join_url(&self.base, "images/generations"))
            .bearer(&self.settings.api_key)
            .cap(call::cap(form, request))
            .paid();
        let post = if request.references.is_empty() {
            post.json(&call::body(id, form, request)?)
        } else {
            let (id, asked) = (id.to_owned(), request.clone());
            let encode = move || call::body(&id, form, &asked).map(|body| post.json(&body));
            let lost =
                |_| ProviderError::new(ErrorClass::InvalidRequest, "the references cannot be prepared");
            tokio::task::spawn_blocking(encode).await.map_err(lost)??
        };
        cx.http.send(post).await.map_err(|error| error.redacted(&self.settings.api_key))
    }

    /// The fallback's id and the request as it can serve it, where the vendor says that it has no model `id`.
    ///
    /// # Errors
    /// It says so, and the fallback model cannot do what was asked.
    fn instead(
        &self,
        id: &str,
        request: &ImageRequest,
        answer: &Answer,
    ) -> Result<Option<(String, Fit)>, ProviderError> {
        let Some(fallback) = self.fallback.as_ref().filter(|fallback| *fallback != id) else {
            return Ok(None);
        };
        if answer.status.is_success() {
            return Ok(None);
        }
        let error = error::parse(answer).redacted(&self.settings.api_key);
        if error.spend != Spend::None || !error.vendor_code.as_deref().is_some_and(error::is_missing_model) {
            return Ok(None);
        }
        let (_, model) = self.model(fallback)?;
        match model.capabilities.fit(request, Parameters::Strict) {
            Ok(fit) => Ok(Some((fallback.clone(), fit))),
            Err(refusals) => {
                let why: Vec<String> = refusals.iter().map(ToString::to_string).collect();
                let message = format!(
                    "the vendor has no model `{id}`, and the fallback model `{fallback}` cannot serve this request: {}",
                    why.join("; ")
                );
                Err(ProviderError { message: message.chars().take(500).collect(), ..error })
            }
        }
    }

    fn read_as(
        &self,
        request: &ImageRequest,
        answer: &Answer,
        fallback: Option<&(String, Fit)>,
    ) -> Result<Submission, ProviderError> {
        let key = &self.settings.api_key;
        if !answer.status.is_success() {
            return Err(error::parse(answer).redacted(key));
        }
        let mut artifact = answer::read(answer).map_err(|error| error.redacted(key))?;
        match fallback {
            None => artifact.adjustments = call::adjustments(request),
            Some((id, fit)) => self.note_fallback(request, id, fit, &mut artifact),
        }
        Ok(Submission::Done(artifact))
    }

    /// Another model than the one asked for: said, and priced by its own table.
    fn note_fallback(&self, request: &ImageRequest, id: &str, fit: &Fit, artifact: &mut Artifact) {
        let reason =
            "the vendor says that it has no such model, and this one is the instance's fallback_model";
        artifact.adjustments.push(Adjustment::new("model", &request.model, id, reason));
        artifact.adjustments.extend(fit.adjustments.iter().cloned());
        artifact.adjustments.extend(call::adjustments(&fit.request));
        let capabilities = models::resolve(&self.models, id).map(|(_, at)| &self.models[at].capabilities);
        artifact.cost = capabilities.and_then(|caps| {
            let made = artifact.usage.images.unwrap_or(artifact.pictures.len() as u64);
            let (one, _) = caps.price.as_ref()?.estimate(&fit.request, caps.sizes.default_size())?;
            Some(Cost { money: one.times(i64::try_from(made).ok()?), basis: Basis::Computed })
        });
    }

    /// The fallback, where the answer's own word says that it made the images: how an answer that was found on
    /// disk is told from one of the model that was asked for.
    fn echoed_fallback(&self, request: &ImageRequest, answer: &Answer) -> Option<(String, Fit)> {
        let fallback = self.fallback.as_ref()?;
        let (id, _) = self.model(&request.model).ok()?;
        let echo = answer::read(answer).ok().filter(|_| answer.status.is_success())?.model?;
        let (_, model) = self.model(fallback).ok()?;
        if echo != *fallback || echo == id {
            return None;
        }
        Some((fallback.clone(), model.capabilities.fit(request, Parameters::Strict).ok()?))
    }
}

fn known(models: &[Model]) -> String {
    let ids: Vec<&str> = models.iter().map(|model| model.id.as_str()).collect();
    format!("there are {}", ids.join(", "))
}

#[async_trait::async_trait]
impl Provider for Doubao {
    fn models(&self) -> Vec<String> {
        let others = self.models.iter().map(|model| model.id.clone()).filter(|id| *id != self.default);
        std::iter::once(self.default.clone()).chain(others).collect()
    }

    fn capabilities(&self, model: &str) -> Option<&Capabilities> {
        models::resolve(&self.models, model).map(|(_, at)| &self.models[at].capabilities)
    }

    fn result_hosts(&self) -> &[String] {
        &self.hosts
    }

    async fn submit(&self, cx: &Context, request: &ImageRequest) -> Result<Submission, ProviderError> {
        let (id, _) = self.model(&request.model)?;
        let answer = self.call(cx, &id, request).await?;
        match self.instead(&id, request, &answer)? {
            None => self.read(request, &answer),
            Some(other) => {
                let answer = self.call(cx, &other.0, &other.1.request).await?;
                self.read_as(request, &answer, Some(&other))
            }
        }
    }

    fn read(&self, request: &ImageRequest, answer: &Answer) -> Result<Submission, ProviderError> {
        self.read_as(request, answer, self.echoed_fallback(request, answer).as_ref())
    }

    /// A generation without a prompt: the vendor checks key and model first, then refuses it, and makes nothing.
    async fn check(&self, cx: &Context) -> Result<(), ProviderError> {
        let body = json!({"model": self.default, "prompt": ""});
        let url = join_url(&self.base, "images/generations");
        let call = Request::post(url).bearer(&self.settings.api_key).json(&body);
        let answer = cx.http.send(call).await.map_err(|error| error.redacted(&self.settings.api_key))?;
        if answer.status.is_success() {
            return Ok(());
        }
        let error = error::parse(&answer).redacted(&self.settings.api_key).with_spend(Spend::None);
        match &error.vendor_code {
            Some(code) if error.class == ErrorClass::InvalidRequest && error::is_parameter(code) => Ok(()),
            _ => Err(error),
        }
    }
}
