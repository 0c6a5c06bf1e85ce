//! Cloudflare Workers AI: the image models of <https://developers.cloudflare.com/workers-ai/models/>, called directly
//! or through an AI Gateway. Every model makes one image in one blocking call (class S).
//!
//! The models answer in three forms (an image, base64 in an envelope, base64 without one), and some errors come with
//! status 200; the form is told by the bytes, never by the label.

mod error;
mod inputs;
mod models;
mod wire;

use models::{Dialect, Model};
use plugin_api::{
    Answer, Artifact, Built, Capabilities, Context, ErrorClass, ImageRequest, Plugin, Provider,
    ProviderError, Request, Spend, Submission, build_config, join_url, value::Secret,
};
use serde_json::Value;
use std::sync::Arc;

pub const PLUGIN: Plugin = Plugin { kind: "workers-ai", schema: |g| g.subschema_for::<Config>(), build };

/// Settings of a Workers AI instance.
#[derive(Debug, Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "WorkersAi")]
pub struct Config {
    /// The account's id, 32 hexadecimal digits. Empty: the instance is off.
    pub account_id: String,
    /// An API token with the permission Workers AI. Empty: the instance is off.
    pub api_token: Secret,
    pub base_url: String,
    /// The name of an AI Gateway to call the models through.
    pub gateway: String,
    pub gateway_base_url: String,
    /// The gateway's own token, where it asks for one.
    pub gateway_token: Secret,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            account_id: String::new(),
            api_token: Secret::default(),
            base_url: "https://api.cloudflare.com/client/v4".into(),
            gateway: String::new(),
            gateway_base_url: "https://gateway.ai.cloudflare.com/v1".into(),
            gateway_token: Secret::default(),
        }
    }
}

fn build(settings: Value) -> Result<Built, String> {
    let config: Config = build_config(settings)?;
    match WorkersAi::new(config)? {
        Ok(provider) => Ok(Built::On(Arc::new(provider))),
        Err(off) => Ok(Built::Off(off)),
    }
}

/// See the crate's documentation.
pub struct WorkersAi {
    config: Config,
    models: Arc<Vec<Model>>,
}

impl WorkersAi {
    /// The inner `Err` says why the instance is off.
    ///
    /// # Errors
    /// A setting that cannot be right.
    pub fn new(mut config: Config) -> Result<Result<WorkersAi, String>, String> {
        for text in
            [&mut config.account_id, &mut config.gateway, &mut config.base_url, &mut config.gateway_base_url]
        {
            *text = text.trim().to_owned();
        }
        for (name, url) in [("base_url", &config.base_url), ("gateway_base_url", &config.gateway_base_url)] {
            if !url.starts_with("https://") && !url.starts_with("http://") {
                return Err(format!("{name}: `{url}` is not an http or https URL"));
            }
        }
        // Both become one segment of a path.
        let segment = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        for (name, text) in [("account_id", &config.account_id), ("gateway", &config.gateway)] {
            if !text.chars().all(segment) {
                return Err(format!("{name}: only letters, digits, `-` and `_`"));
            }
        }
        let missing = match (config.account_id.is_empty(), config.api_token.is_empty()) {
            (false, false) => return Ok(Ok(WorkersAi { config, models: Arc::new(models::all()) })),
            (true, true) => "account_id and api_token are",
            (true, false) => "account_id is",
            (false, true) => "api_token is",
        };
        Ok(Err(format!("{missing} empty: set CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN")))
    }

    fn model(&self, name: &str) -> Option<usize> {
        self.models.iter().position(|m| m.id == name || m.alias == Some(name))
    }

    /// The paid call of a model, without its body.
    fn call(&self, model: &Model) -> Request {
        let Config { account_id, gateway, base_url, gateway_base_url, gateway_token, .. } = &self.config;
        let request = if gateway.is_empty() {
            Request::post(join_url(base_url, &format!("accounts/{account_id}/ai/run/{}", model.id)))
        } else {
            let path = format!("{account_id}/{gateway}/workers-ai/{}", model.id);
            // Without a seed two equal prompts must be two images; and the gateway in between must not send a call
            // again, or it is paid again out of our sight.
            let request = Request::post(join_url(gateway_base_url, &path))
                .header("cf-aig-skip-cache", "true")
                .header("cf-aig-max-attempts", "1");
            match gateway_token.is_empty() {
                true => request,
                false => request
                    .secret_header("cf-aig-authorization", &format!("Bearer {}", gateway_token.expose())),
            }
        };
        request.bearer(&self.config.api_token).paid()
    }

    fn error(&self, answer: &Answer, json: Option<&Value>) -> Option<ProviderError> {
        let error = error::error(answer, json)?;
        Some(error.redacted(&self.config.api_token).redacted(&self.config.gateway_token))
    }

    /// Asks whether a token is alive, where that kind of token is known.
    async fn verify(&self, cx: &Context, path: &str) -> Result<(), ProviderError> {
        let url = join_url(&self.config.base_url, path);
        let answer = cx.http.send(Request::get(url).bearer(&self.config.api_token)).await?;
        let json = answer.json::<Value>().ok();
        if let Some(error) = self.error(&answer, json.as_ref()) {
            return Err(error.with_spend(Spend::None));
        }
        match json.as_ref().and_then(|j| j.pointer("/result/status")?.as_str()) {
            Some("active") => Ok(()),
            Some(_) => {
                Err(ProviderError::new(ErrorClass::Authentication, "the API token is disabled or expired"))
            }
            None => Err(ProviderError::new(ErrorClass::BadResponse, "Cloudflare's answer cannot be read")
                .with_spend(Spend::None)),
        }
    }
}

fn no_such_model() -> ProviderError {
    ProviderError::new(ErrorClass::NotFound, "Workers AI has no image model of this name")
}

/// The call was refused, rather than lost or postponed.
fn refused(error: &ProviderError) -> bool {
    use ErrorClass::*;
    matches!(error.class, Authentication | Permission | NotFound | InvalidRequest)
}

#[async_trait::async_trait]
impl Provider for WorkersAi {
    fn models(&self) -> Vec<String> {
        self.models.iter().map(|m| m.id.to_owned()).collect()
    }

    fn capabilities(&self, model: &str) -> Option<&Capabilities> {
        self.model(model).map(|n| &self.models[n].capabilities)
    }

    async fn submit(&self, cx: &Context, request: &ImageRequest) -> Result<Submission, ProviderError> {
        let n = self.model(&request.model).ok_or_else(no_such_model)?;
        let (models, asked) = (self.models.clone(), request.clone());
        let inputs = match request.references.is_empty() && request.mask.is_none() {
            true => wire::Prepared::default(),
            false => {
                tokio::task::spawn_blocking(move || inputs::prepare(&models[n], &asked)).await.map_err(
                    |_| ProviderError::new(ErrorClass::InvalidRequest, "the input images cannot be prepared"),
                )??
            }
        };
        let model = &self.models[n];
        let call = self.call(model);
        let call = match model.dialect {
            Dialect::Flux2 { steps } => call.multipart(wire::form(steps, request, &inputs)),
            _ => call.json(&wire::body(model, request, &inputs)),
        };
        let answer = cx.http.send(call).await?;
        self.read(request, &answer)
    }

    fn read(&self, request: &ImageRequest, answer: &Answer) -> Result<Submission, ProviderError> {
        let n = self.model(&request.model).ok_or_else(no_such_model)?;
        let json = if answer.binary { None } else { answer.json::<Value>().ok() };
        if let Some(error) = self.error(answer, json.as_ref()) {
            return Err(error);
        }
        let id = answer.header("cf-ray").map(str::to_owned);
        let status = answer.status.as_u16();
        let made = wire::picture(answer, json.as_ref())
            .map_err(|error| error.with_status(status).with_request_id(id.clone()))?;
        Ok(Submission::Done(Artifact {
            adjustments: inputs::adjustments(&self.models[n], request),
            vendor_request_id: id,
            ..made
        }))
    }

    /// A token is a user's or an account's own, and each is verified at its own address.
    async fn check(&self, cx: &Context) -> Result<(), ProviderError> {
        let Err(first) = self.verify(cx, "user/tokens/verify").await else { return Ok(()) };
        if !refused(&first) {
            return Err(first);
        }
        let path = format!("accounts/{}/tokens/verify", self.config.account_id);
        match self.verify(cx, &path).await {
            Err(second) if refused(&second) => Err(first),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests;
