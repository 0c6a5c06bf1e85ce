//! A vendor with a model of each class: `s`, `k` and `j`.
//!
//! `POST {base_url}/{model}` with the prompt, and the attempt in `Idempotency-Key`. 200 is the picture itself; 202 is
//! `{"ticket": "..."}`, to be asked for at `GET {base_url}/tickets/{ticket}`, where 202 means not yet.
//!
//! A prompt with `panic at submit`, `panic at read` or `panic at poll` breaks the plugin there.

use plugin_api::{
    Answer, Artifact, Built, Capabilities, Class, Context, ErrorClass, ImageRequest, Picture, Plugin,
    Progress, Provider, ProviderError, Request, Source, Spend, Submission, Ticket, asked_wait, build_config,
    join_url,
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

pub const PLUGIN: Plugin = Plugin { kind: "vendor", schema: |g| g.subschema_for::<Config>(), build };

const AGAIN: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Vendor")]
pub struct Config {
    base_url: String,
}

struct Vendor {
    base_url: String,
    models: [(&'static str, Capabilities); 3],
}

fn build(settings: Value) -> Result<Built, String> {
    let Config { base_url } = build_config(settings)?;
    let of = |class| Capabilities { class, expected: Duration::from_secs(1), ..Capabilities::default() };
    let models = [("s", of(Class::S)), ("k", of(Class::K)), ("j", of(Class::J))];
    Ok(Built::On(Arc::new(Vendor { base_url, models })))
}

/// A defect of a plugin, on order.
fn defect(request: &ImageRequest, place: &str) {
    assert!(!request.prompt.contains(&format!("panic at {place}")), "the prompt asks for a panic at {place}");
}

fn refused(answer: &Answer) -> ProviderError {
    let status = answer.status.as_u16();
    let class = match status {
        429 => ErrorClass::RateLimited,
        404 => ErrorClass::JobExpired,
        400..=499 => ErrorClass::InvalidRequest,
        _ => ErrorClass::Unavailable,
    };
    ProviderError::new(class, format!("the vendor answered with status {status}"))
        .with_status(status)
        .with_wait(asked_wait(&answer.headers))
}

fn picture(answer: &Answer) -> Result<Artifact, ProviderError> {
    let blob = answer.blobs.first().filter(|_| answer.binary && !answer.cut_short);
    let blob = blob.ok_or_else(|| ProviderError::new(ErrorClass::BadResponse, "there is no picture"))?;
    Ok(Artifact { pictures: vec![Picture::new(Source::Blob(blob.clone()))], ..Artifact::default() })
}

#[async_trait::async_trait]
impl Provider for Vendor {
    fn models(&self) -> Vec<String> {
        self.models.iter().map(|(name, _)| (*name).to_owned()).collect()
    }

    fn capabilities(&self, model: &str) -> Option<&Capabilities> {
        self.models.iter().find(|(name, _)| *name == model).map(|(_, capabilities)| capabilities)
    }

    async fn submit(&self, cx: &Context, request: &ImageRequest) -> Result<Submission, ProviderError> {
        defect(request, "submit");
        let call = Request::post(join_url(&self.base_url, &request.model))
            .header("idempotency-key", &cx.attempt.to_string())
            .json(&json!({"prompt": request.prompt}))
            .paid();
        self.read(request, &cx.http.send(call).await?)
    }

    fn read(&self, request: &ImageRequest, answer: &Answer) -> Result<Submission, ProviderError> {
        defect(request, "read");
        match answer.status.as_u16() {
            200 => picture(answer).map(Submission::Done),
            202 => {
                let bad = || ProviderError::new(ErrorClass::BadResponse, "there is no ticket");
                let ticket = answer.json::<Value>().map_err(|_| bad())?;
                Ok(Submission::Pending(Ticket(ticket.get("ticket").ok_or_else(bad)?.clone()), AGAIN))
            }
            _ => Err(refused(answer)),
        }
    }

    async fn poll(
        &self,
        cx: &Context,
        request: &ImageRequest,
        ticket: &Ticket,
    ) -> Result<Progress, ProviderError> {
        defect(request, "poll");
        let path = format!("tickets/{}", ticket.0.as_str().unwrap_or_default());
        let answer = cx.http.send(Request::get(join_url(&self.base_url, &path))).await?;
        match answer.status.as_u16() {
            200 => picture(&answer).map(Progress::Done),
            202 => Ok(Progress::Pending { again_after: AGAIN, percent: Some(50.0), note: None }),
            500.. => Err(refused(&answer).with_spend(Spend::None)),
            _ => Err(refused(&answer)),
        }
    }

    async fn check(&self, cx: &Context) -> Result<(), ProviderError> {
        cx.http.send(Request::get(self.base_url.clone())).await.map(drop)
    }
}
