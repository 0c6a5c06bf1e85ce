//! Tencent Hunyuan, both generations of its image API in one plugin; the vendor model chooses.
//!
//! - **TokenHub** (`hy-image-*`): JSON with a bearer key. <https://cloud.tencent.com/document/product/1823>
//! - **TC3** (`hunyuan-*`): calls signed with id and secret, of the services `hunyuan`
//!   (<https://cloud.tencent.com/document/api/1729/105969>) and `aiart`. Tencent is retiring it: a call that is gone is
//!   answered with the remedy.
//!
//! Models that submit a job are class J: the ticket is the job's id, its result lives an hour at the vendor. The
//! others are class S. An account makes one job at a time: set `concurrency: 1`.

mod actions;
mod error;
mod models;
mod rules;
mod settings;
mod styles;
mod tc3;
mod tokenhub;
mod wire;

use error::Asked;
use models::{Api, Model};
use plugin_api::{
    Answer, Built, Capabilities, Context, ErrorClass, ImageRequest, Plugin, Progress, Provider,
    ProviderError, Request, Spend, Submission, Ticket, build_config, http_date, join_url,
};
use serde_json::Value;
pub use settings::Config;
use settings::Endpoint;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

pub const PLUGIN: Plugin = Plugin { kind: "hunyuan", schema: |g| g.subschema_for::<Config>(), build };

/// A call that takes a job or tells of one is answered within this, or is lost.
const SHORT_CALL: Duration = Duration::from_secs(15);
/// A job that nobody has: asked for, it proves key, signature, clock and region at no cost.
const NO_JOB: &str = "image-gateway-check";

fn build(settings: Value) -> Result<Built, String> {
    let config: Config = build_config(settings)?;
    match config.missing()? {
        Some(why) => Ok(Built::Off(why)),
        None => Ok(Built::On(Arc::new(Hunyuan::new(config)?))),
    }
}

struct Hunyuan {
    config: Config,
    models: Vec<Model>,
    hosts: Vec<String>,
}

impl Hunyuan {
    /// # Errors
    /// A sentence that names the setting.
    fn new(config: Config) -> Result<Hunyuan, String> {
        let mut models = models::all();
        models.retain(|model| if model.api.is_tc3() { config.has_tc3() } else { config.has_tokenhub() });
        if let Some(name) = config.default_model.as_deref().filter(|name| !name.is_empty()) {
            let at = models.iter().position(|model| model.id == name).ok_or_else(|| {
                let known: Vec<&str> = models.iter().map(|model| model.id).collect();
                format!("default_model: `{name}` is none of {}", known.join(", "))
            })?;
            models[..=at].rotate_right(1);
        }
        let hosts = ["*.myqcloud.com", "*.tencentcos.cn", "tokenhub.tencentmaas.com"].map(str::to_owned);
        Ok(Hunyuan { config, models, hosts: hosts.to_vec() })
    }

    fn model(&self, name: &str) -> Result<&Model, ProviderError> {
        self.models.iter().find(|model| model.id == name).ok_or_else(|| {
            ProviderError::new(
                ErrorClass::NotFound,
                format!("there is no image model `{name}` with these keys"),
            )
        })
    }

    fn redacted(&self, error: ProviderError) -> ProviderError {
        let Config { api_key, secret_id, secret_key, session_token, .. } = &self.config;
        [api_key, secret_key, session_token, secret_id]
            .into_iter()
            .fold(error, |error, secret| error.redacted(secret))
    }

    /// A call of TokenHub.
    fn hub(&self, path: &str, body: &impl serde::Serialize) -> Request {
        Request::post(join_url(&self.config.base_url, path)).bearer(&self.config.api_key).json(body)
    }

    /// A signed call. The body is serialised once: what is signed is what is sent.
    ///
    /// # Errors
    /// `invalid_request`: the address or the body cannot be used.
    fn signed(
        &self,
        (service, version, action): (&str, &str, &str),
        body: &impl serde::Serialize,
    ) -> Result<Signed, ProviderError> {
        let unusable = |what: String| ProviderError::new(ErrorClass::InvalidRequest, what);
        let body = serde_json::to_vec(body).map_err(|e| unusable(e.to_string()))?;
        let Endpoint { url, host, path } = self.config.endpoint(service).map_err(unusable)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let timestamp = now.map_or(0, |since| since.as_secs());
        let content_type = tc3::CONTENT_TYPE;
        let call = tc3::Call { service, host: &host, path: &path, content_type, body: &body, timestamp };
        let Config { secret_id, secret_key, session_token, region, .. } = &self.config;
        let authorization = call.authorization(secret_id.expose(), secret_key.expose());
        let mut request = Request::post(url)
            .header("content-type", content_type)
            .header("x-tc-action", action)
            .header("x-tc-version", version)
            .header("x-tc-region", region)
            .header("x-tc-timestamp", &timestamp.to_string())
            .secret_header("authorization", &authorization)
            .body(body);
        if !session_token.is_empty() {
            request = request.secret_header("x-tc-token", session_token.expose());
        }
        Ok(Signed { request, timestamp })
    }

    /// Asks about the job of a ticket.
    async fn ask(
        &self,
        cx: &Context,
        request: &ImageRequest,
        ticket: &Ticket,
    ) -> Result<Progress, ProviderError> {
        let again = *self.config.poll_every;
        if let Ok(job) = serde_json::from_value::<tokenhub::Job>(ticket.0.clone()) {
            let answer = cx.http.send(self.hub(tokenhub::QUERY, &job).within(SHORT_CALL)).await?;
            let json = json(&answer);
            if let Some(error) = error::of(&answer, json.as_ref(), Asked::Query) {
                return Err(error::free(error));
            }
            return tokenhub::queried(&answer, json.as_ref(), again);
        }
        let job: actions::Job = serde_json::from_value(ticket.0.clone()).map_err(|_| {
            ProviderError::new(ErrorClass::JobExpired, "the ticket is not one that this plugin has written")
        })?;
        let api = self.model(&request.model).map_or(Api::Image30, |model| model.api);
        let query = actions::Query { job_id: &job.job_id };
        let call = self.signed((&job.service, &job.version, &job.query), &query)?;
        let answer = cx.http.send(call.request.within(SHORT_CALL)).await?;
        let json = json(&answer);
        if let Some(error) = error::of(&answer, json.as_ref(), Asked::Query) {
            return Err(error::free(off_by(error, &answer, call.timestamp)));
        }
        actions::queried(api, request, &answer, json.as_ref(), again)
    }

    async fn check_hub(&self, cx: &Context) -> Result<(), ProviderError> {
        let job = tokenhub::Job { model: error::CURRENT.into(), id: NO_JOB.into() };
        let answer = cx.http.send(self.hub(tokenhub::QUERY, &job).within(SHORT_CALL)).await?;
        proven(&answer, json(&answer).as_ref())
    }

    async fn check_tc3(&self, cx: &Context) -> Result<(), ProviderError> {
        let query = actions::Query { job_id: NO_JOB };
        let call = self.signed(("aiart", "2022-12-29", "QueryTextToImageJob"), &query)?;
        let answer = cx.http.send(call.request.within(SHORT_CALL)).await?;
        proven(&answer, json(&answer).as_ref()).map_err(|error| off_by(error, &answer, call.timestamp))
    }
}

struct Signed {
    request: Request,
    /// Unix seconds.
    timestamp: u64,
}

fn json(answer: &Answer) -> Option<Value> {
    if answer.binary || answer.cut_short { None } else { answer.json().ok() }
}

/// Says by how much the clock is wrong, where that is what the vendor complains of.
fn off_by(mut error: ProviderError, answer: &Answer, timestamp: u64) -> ProviderError {
    let date = answer.header("date").and_then(http_date);
    let date = date.and_then(|date| date.duration_since(SystemTime::UNIX_EPOCH).ok());
    if let (Some("AuthFailure.SignatureExpire"), Some(date)) = (error.vendor_code.as_deref(), date) {
        let (seconds, way) = match timestamp.checked_sub(date.as_secs()) {
            Some(ahead) => (ahead, "ahead of"),
            None => (date.as_secs() - timestamp, "behind"),
        };
        error.message += &format!("; it is {seconds} s {way} Tencent's");
    }
    error
}

/// The vendor looked for the job: the credentials are good.
fn proven(answer: &Answer, json: Option<&Value>) -> Result<(), ProviderError> {
    match error::of(answer, json, Asked::Query) {
        Some(error) if matches!(error.class, ErrorClass::JobExpired | ErrorClass::InvalidRequest) => Ok(()),
        Some(error) => Err(error.with_spend(Spend::None)),
        None if json.is_some_and(Value::is_object) => Ok(()),
        None => Err(wire::bad("Tencent's answer cannot be read: check the base URL").with_spend(Spend::None)),
    }
}

#[async_trait::async_trait]
impl Provider for Hunyuan {
    fn models(&self) -> Vec<String> {
        self.models.iter().map(|model| model.id.to_owned()).collect()
    }

    fn capabilities(&self, model: &str) -> Option<&Capabilities> {
        self.model(model).ok().map(|model| &model.capabilities)
    }

    fn why_off(&self, model: &str) -> Option<String> {
        let known = models::all().into_iter().find(|known| known.id == model)?;
        let (fields, variables) = match known.api.is_tc3() {
            true => ("secret_id and secret_key", "TENCENT_SECRET_ID and TENCENT_SECRET_KEY"),
            false => ("api_key", "TOKENHUB_API_KEY"),
        };
        Some(format!("`{model}` needs {fields}: set {variables}"))
    }

    fn result_hosts(&self) -> &[String] {
        &self.hosts
    }

    async fn submit(&self, cx: &Context, request: &ImageRequest) -> Result<Submission, ProviderError> {
        let model = self.model(&request.model)?;
        let (call, timestamp) = match actions::action(model.api) {
            Some(actions::Action { service, version, submit, .. }) => {
                let signed = self.signed((service, version, submit), &actions::body(model.api, request))?;
                (signed.request, signed.timestamp)
            }
            None => {
                let path = tokenhub::path(model.api).unwrap_or_default();
                (self.hub(path, &tokenhub::body(model.api, request)), 0)
            }
        };
        let call = match model.capabilities.class {
            plugin_api::Class::J => call.within(SHORT_CALL),
            _ => call,
        };
        let answer = cx.http.send(call.paid()).await.map_err(|error| self.redacted(error))?;
        self.read(request, &answer).map_err(|error| off_by(error, &answer, timestamp))
    }

    fn read(&self, request: &ImageRequest, answer: &Answer) -> Result<Submission, ProviderError> {
        let api = self.model(&request.model)?.api;
        let json = json(answer);
        if let Some(error) = error::of(answer, json.as_ref(), Asked::Submit) {
            return Err(self.redacted(error));
        }
        let first = *self.config.poll_first;
        let read = if api.is_tc3() {
            wire::note_deprecation(json.as_ref());
            actions::submitted(api, answer, json.as_ref(), first)
        } else {
            tokenhub::submitted(api, request, answer, json.as_ref(), first)
        };
        read.map_err(|error| self.redacted(error.with_status(answer.status.as_u16())))
    }

    async fn poll(
        &self,
        cx: &Context,
        request: &ImageRequest,
        ticket: &Ticket,
    ) -> Result<Progress, ProviderError> {
        let told = self.ask(cx, request, ticket).await;
        told.map(|progress| progress.map_failed(|error| self.redacted(error)))
            .map_err(|error| self.redacted(error))
    }

    async fn check(&self, cx: &Context) -> Result<(), ProviderError> {
        let named = |name: &str, mut error: ProviderError| {
            error.message = format!("{name}: {}", error.message);
            self.redacted(error)
        };
        if self.config.has_tokenhub() {
            self.check_hub(cx).await.map_err(|error| named("TokenHub", error))?;
        }
        if self.config.has_tc3() {
            self.check_tc3(cx).await.map_err(|error| named("TC3", error))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
