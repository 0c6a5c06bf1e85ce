//! A vendor described in YAML alone: the paid call as a template, JSON pointers to what comes back, and how to poll.
//!
//! What the description says is documented in `docs/providers/http.md`; its examples run in this crate's tests. A
//! ticket makes the models class J, an idempotency header class K, and neither class S. Placeholders are filled into
//! JSON values, encoded parts of addresses and single header lines, so that no value can become anything else; calls
//! go only to hosts that the settings name.

mod address;
mod answer;
mod call;
mod check;
mod settings;

use address::Addresses;
use plugin_api::{
    Answer, Built, Capabilities, Class, Context, ErrorClass, ImageRequest, Plugin, Progress, Provider,
    ProviderError, Request, Spend, Submission, Ticket, build_config, value::Secret,
};
use plugin_declared::{
    errors::{self, Call},
    models::{Models, Paid},
    pointer,
    template::plain,
};
use schemars::JsonSchema;
use serde_json::Value;
use settings::{Method, Poll, Settings};
use std::sync::Arc;

pub const PLUGIN: Plugin = Plugin { kind: "http", schema: Settings::json_schema, build };

fn build(settings: Value) -> Result<Built, String> {
    let settings: Settings = build_config(settings)?;
    let (addresses, used) = check::check(&settings)?;
    let class = match (&settings.submit.ticket, &settings.submit.idempotency_header) {
        (Some(_), _) => Class::J,
        (None, Some(_)) => Class::K,
        (None, None) => Class::S,
    };
    let paid = Paid { used: &used, field: "submit", class };
    let models = Models::new(&settings.models, settings.default_model.as_deref(), &paid)?;
    if used.contains("api_key") && settings.api_key.is_empty() {
        return Ok(Built::Off("api_key is empty: set it to the vendor's key".into()));
    }
    let secrets = secrets(&settings);
    Ok(Built::On(Arc::new(Declared { settings, addresses, models, secrets })))
}

/// What a message must not show: the key, and the last word of every header that is written out.
fn secrets(settings: &Settings) -> Vec<Secret> {
    const TELLING: usize = 8;
    const OPEN: [&str; 4] = ["accept", "content-type", "prefer", "user-agent"];
    let headers = settings.headers.iter().chain(&settings.submit.headers);
    let words = headers
        .filter(|(name, _)| !OPEN.contains(&name.to_ascii_lowercase().as_str()))
        .filter_map(|(_, text)| text.split_whitespace().last())
        .filter(|word| word.len() >= TELLING && !word.contains('{'));
    [settings.api_key.clone()].into_iter().chain(words.map(Secret::new)).collect()
}

struct Declared {
    settings: Settings,
    addresses: Addresses,
    models: Models,
    secrets: Vec<Secret>,
}

impl Declared {
    fn redacted(&self, error: ProviderError) -> ProviderError {
        self.secrets.iter().fold(error, |error, secret| error.redacted(secret))
    }

    fn read_submission(&self, request: &ImageRequest, answer: &Answer) -> Result<Submission, ProviderError> {
        let settings = &self.settings;
        if !answer.status.is_success() {
            return Err(errors::of_answer(&settings.errors, answer, Call::Submit));
        }
        let Some(pointer) = &settings.submit.ticket else {
            return answer::read(settings, request, answer, Call::Submit).map(Submission::Done);
        };
        let body: Value = match answer.json() {
            Ok(body) if !answer.cut_short => body,
            _ => {
                return Err(errors::bad(
                    &settings.errors,
                    answer,
                    None,
                    "the vendor's answer is not whole JSON",
                ));
            }
        };
        if let Some(error) = errors::in_success(&settings.errors, answer, &body, Call::Submit) {
            return Err(error);
        }
        let ticket =
            pointer::first(&body, pointer).filter(|v| v.is_string() || v.is_number()).map(|v| plain(&v));
        match ticket.filter(|text| !text.is_empty()) {
            Some(ticket) => Ok(Submission::Pending(Ticket(ticket.into()), settings.every())),
            None => {
                let what = format!("the vendor's answer has no ticket at `{pointer}`");
                Err(errors::bad(&settings.errors, answer, Some(&body), &what))
            }
        }
    }

    async fn ask(&self, cx: &Context, call: Request) -> Result<Asked, ProviderError> {
        let answer = cx.http.send(call).await?;
        if answer.status.is_success() {
            return Ok(Asked::Answer(answer));
        }
        let error = errors::of_answer(&self.settings.errors, &answer, self.settings.asking());
        match errors::may_pass(error.class) {
            true => Err(error),
            false => Ok(Asked::Failed(error)),
        }
    }

    async fn progress(
        &self,
        cx: &Context,
        request: &ImageRequest,
        poll: &Poll,
        ticket: &str,
    ) -> Result<Progress, ProviderError> {
        let bought = |error: ProviderError| error.with_spend(Spend::Certain);
        let call =
            self.question(request, ticket, (&poll.url, poll.method, poll.body.as_ref())).map_err(bought)?;
        let mut answer = match self.ask(cx, call).await? {
            Asked::Answer(answer) => answer,
            Asked::Failed(error) => return Ok(Progress::Failed(error)),
        };
        if let Some(waiting) = self.waiting(poll, &answer)? {
            return Ok(waiting);
        }
        if let Some(url) = &poll.result {
            let call = self.question(request, ticket, (url, Method::Get, None)).map_err(bought)?;
            answer = match self.ask(cx, call).await? {
                Asked::Answer(answer) => answer,
                Asked::Failed(error) => return Ok(Progress::Failed(error)),
            };
        }
        Ok(match answer::read(&self.settings, request, &answer, self.settings.asking()) {
            Ok(artifact) => Progress::Done(artifact),
            Err(error) => Progress::Failed(error),
        })
    }

    /// `None`: it is done.
    fn waiting(&self, poll: &Poll, answer: &Answer) -> Result<Option<Progress>, ProviderError> {
        let again = |percent| Progress::Pending { again_after: *poll.every, percent, note: None };
        let Some(pointer) = &poll.status else {
            return Ok((answer.status.as_u16() == 202).then(|| again(None)));
        };
        if answer.binary {
            return Ok(None);
        }
        let body: Value = answer.json().map_err(|_| {
            // The job is bought: it is asked for again.
            ProviderError::new(ErrorClass::Unavailable, "the answer to a poll is not JSON")
                .with_spend(Spend::None)
        })?;
        let word = pointer::first(&body, pointer).map(|word| plain(&word));
        if let Some(class) = word.as_ref().and_then(|word| poll.failed.get(word)) {
            let word = word.unwrap_or_default();
            let error = errors::of_failed_job(
                &self.settings.errors,
                answer,
                &body,
                (&word, *class),
                poll.failed_costs,
            );
            return Ok(Some(Progress::Failed(error)));
        }
        if let Some(error) = errors::in_success(&self.settings.errors, answer, &body, self.settings.asking())
        {
            return Ok(Some(Progress::Failed(error)));
        }
        if word.is_some_and(|word| poll.done.as_slice().contains(&word)) {
            return Ok(None);
        }
        let share = poll.percent.as_ref().and_then(|pointer| pointer::first(&body, pointer)?.as_f64());
        let percent = share.map(|share| if share <= 1.0 { share * 100.0 } else { share });
        Ok(Some(again(percent.map(|percent| percent.clamp(0.0, 100.0) as f32))))
    }
}

/// What a question about a job came to. That it was turned away is an error: it is asked again.
enum Asked {
    Answer(Answer),
    /// The vendor has no image for the job, and never will.
    Failed(ProviderError),
}

#[async_trait::async_trait]
impl Provider for Declared {
    fn models(&self) -> Vec<String> {
        self.models.names()
    }

    fn capabilities(&self, model: &str) -> Option<&Capabilities> {
        self.models.get(model)
    }

    async fn submit(&self, cx: &Context, request: &ImageRequest) -> Result<Submission, ProviderError> {
        let answer = cx.http.send(self.submission(cx, request)?).await.map_err(|e| self.redacted(e))?;
        self.read(request, &answer)
    }

    fn read(&self, request: &ImageRequest, answer: &Answer) -> Result<Submission, ProviderError> {
        self.read_submission(request, answer).map_err(|error| self.redacted(error))
    }

    async fn poll(
        &self,
        cx: &Context,
        request: &ImageRequest,
        ticket: &Ticket,
    ) -> Result<Progress, ProviderError> {
        let gone =
            || ProviderError::new(ErrorClass::JobExpired, "the provider's entry no longer says how to poll");
        let poll = self.settings.poll.as_ref().ok_or_else(gone)?;
        let told = self.progress(cx, request, poll, &plain(&ticket.0)).await;
        told.map(|progress| progress.map_failed(|error| self.redacted(error)))
            .map_err(|error| self.redacted(error))
    }

    /// Without a `check` address there is nothing to prove: it is taken to be in order.
    async fn check(&self, cx: &Context) -> Result<(), ProviderError> {
        let Some(url) = &self.settings.check else { return Ok(()) };
        let answer = cx.http.send(self.trial(url)?).await.map_err(|e| self.redacted(e))?;
        match answer.status.is_success() {
            true => Ok(()),
            false => Err(self.redacted(errors::of_answer(&self.settings.errors, &answer, Call::Check))),
        }
    }
}
