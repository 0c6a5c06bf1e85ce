//! Another MCP server's image tool as a provider, over streamable HTTP or as a program of its own.
//!
//! What the description says is documented in `docs/providers/mcp.md`; its examples run in tests. A ticket in the
//! tool's answer makes the models class J, else they are class S. Three kinds of unfinished work are tickets: a job of
//! the server's, resources that have to be read, and a stream that broke off and can be taken up again.
//!
//! Versions: <https://modelcontextprotocol.io/specification/2025-11-25> and older. The gateway offers the server
//! nothing (no sampling, roots or elicitation). Not here: OAuth, and the versions without a session.

mod answer;
mod check;
mod child;
mod lines;
mod message;
mod remote;
mod settings;

use answer::{Found, Heard};
use child::Child;
use message::{Reply, Told};
use plugin_api::{
    Answer, Artifact, Built, Capabilities, Class, Context, ErrorClass, ImageRequest, Picture, Plugin,
    Progress, Provider, ProviderError, Source, Spend, Submission, Ticket, build_config, value::Secret,
};
use plugin_declared::{
    answer_cap,
    errors::{self, Call},
    models::{Model, Models, Paid},
    pointer,
    template::{Scope, fill, plain},
};
use remote::{Mark, Remote};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use settings::{Poll, Settings};
use std::{sync::Arc, time::Duration};

pub const PLUGIN: Plugin = Plugin { kind: "mcp", schema: Settings::json_schema, build };

/// Pages of `tools/list` that are looked at.
const PAGES: usize = 20;
/// Before a stream that broke off is taken up again, where the server names no pause.
const PAUSE: Duration = Duration::from_secs(1);

fn build(settings: Value) -> Result<Built, String> {
    let mut settings: Settings = build_config(settings)?;
    let used = check::check(&settings)?;
    if settings.models.is_empty() {
        settings.models.push(Model::named(&settings.tool));
    }
    let class = if settings.ticket.is_some() { Class::J } else { Class::S };
    let paid = Paid { used: &used, field: "arguments", class };
    let models = Models::new(&settings.models, settings.default_model.as_deref(), &paid)?;
    if let Some(why) = settings.off() {
        return Ok(Built::Off(why));
    }
    let secrets = settings.secrets();
    let server = match (&settings.url, &settings.command) {
        (Some(url), _) => Server::Remote(Remote::new(
            url.clone(),
            settings.bearer.clone(),
            settings.headers.clone(),
            settings.errors.clone(),
        )),
        (None, command) => Server::Child(Child::new(
            command.clone().unwrap_or_default(),
            settings.args.clone(),
            settings.env.clone(),
            secrets.clone(),
        )),
    };
    Ok(Built::On(Arc::new(Mcp { settings, server, models, secrets })))
}

/// How large an answer may be, and whether it costs something.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    paid: bool,
    cap: u64,
}

enum Server {
    Remote(Remote),
    Child(Child),
}

struct Mcp {
    settings: Settings,
    server: Server,
    models: Models,
    secrets: Vec<Secret>,
}

/// What a ticket stands for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Handle {
    /// A job of the server's.
    Job(String),
    /// Resources that are the images.
    Read(Vec<String>),
    /// A stream that broke off after this event.
    Resume { event: String, session: Option<String> },
}

impl Handle {
    fn ticket(&self) -> Ticket {
        Ticket(serde_json::to_value(self).unwrap_or_default())
    }
}

impl Mcp {
    fn redacted(&self, error: ProviderError) -> ProviderError {
        self.secrets.iter().fold(error, |error, secret| error.redacted(secret))
    }

    fn polling(&self) -> Call {
        Call::Poll { failed_costs: self.settings.failed_costs }
    }

    async fn call(
        &self,
        cx: &Context,
        method: &str,
        params: &Value,
        bounds: Bounds,
    ) -> Result<Answer, ProviderError> {
        match &self.server {
            Server::Remote(remote) => remote.call(cx, method, params, bounds).await,
            Server::Child(child) => child.call(cx, method, params, bounds).await,
        }
    }

    /// Images, a job's ticket, or links to read.
    fn understood(
        &self,
        request: &ImageRequest,
        answer: &Answer,
        told: &Told,
        call: Call,
    ) -> Result<Submission, ProviderError> {
        let settings = &self.settings;
        if let (Call::Submit, Some(at)) = (call, &settings.ticket) {
            if let Some(error) = errors::in_success(&settings.errors, answer, &told.value, call) {
                return Err(error);
            }
            let found = pointer::first(&told.value, at).filter(|v| v.is_string() || v.is_number());
            let every = settings.poll.as_ref().map_or(PAUSE, |poll| *poll.every);
            return match found.map(|v| plain(&v)).filter(|text| !text.is_empty()) {
                Some(job) => Ok(Submission::Pending(Handle::Job(job).ticket(), every)),
                None => {
                    let what = format!("the tool's answer has no ticket at `{at}`");
                    Err(errors::bad(&settings.errors, answer, Some(&told.value), &what))
                }
            };
        }
        Ok(match answer::images(settings, request, answer, told, call)? {
            Found::Images(artifact) => Submission::Done(artifact),
            Found::Links(uris) => Submission::Pending(Handle::Read(uris).ticket(), Duration::ZERO),
        })
    }

    async fn ask_tool(
        &self,
        cx: &Context,
        request: &ImageRequest,
        (tool, arguments): (&str, &Map<String, Value>),
        job: &str,
    ) -> Result<(Answer, Told), ProviderError> {
        let scope = Scope { request, attempt: None, ticket: Some(job), api_key: "" };
        let arguments = filled(arguments, &scope);
        let bounds = Bounds { paid: false, cap: answer_cap(request) };
        let params = json!({"name": tool, "arguments": arguments});
        let answer = self.call(cx, "tools/call", &params, bounds).await?;
        match answer::hear(&self.settings, &answer, self.polling())? {
            Heard::Told(told) => Ok((answer, told)),
            Heard::Later(_) => {
                let what = "the server's stream ended before its answer";
                Err(ProviderError::new(ErrorClass::Unavailable, what).with_spend(Spend::None))
            }
        }
    }

    async fn ask_job(
        &self,
        cx: &Context,
        request: &ImageRequest,
        poll: &Poll,
        job: &str,
    ) -> Result<Progress, ProviderError> {
        let (mut answer, mut told) = self.ask_tool(cx, request, (&poll.tool, &poll.arguments), job).await?;
        let word = pointer::first(&told.value, &poll.status).map(|word| plain(&word));
        let (errors, costs) = (&self.settings.errors, self.settings.failed_costs);
        if let Some((word, class)) = word.as_ref().and_then(|word| Some((word, *poll.failed.get(word)?))) {
            let error = errors::of_failed_job(errors, &answer, &told.value, (word, class), costs);
            return Ok(Progress::Failed(error));
        }
        if !word.is_some_and(|word| poll.done.as_slice().contains(&word)) {
            if let Some(error) = errors::in_success(errors, &answer, &told.value, self.polling()) {
                return Ok(Progress::Failed(error));
            }
            let share = poll.percent.as_ref().and_then(|at| pointer::first(&told.value, at)?.as_f64());
            let percent = share.map(|share| if share <= 1.0 { share * 100.0 } else { share });
            let percent = percent.map(|percent| percent.clamp(0.0, 100.0) as f32);
            return Ok(Progress::Pending { again_after: *poll.every, percent, note: None });
        }
        if let Some(result) = &poll.result {
            (answer, told) = self.ask_tool(cx, request, (&result.tool, &result.arguments), job).await?;
        }
        self.finished(cx, request, &answer, &told).await
    }

    /// The result of something that was polled for.
    async fn finished(
        &self,
        cx: &Context,
        request: &ImageRequest,
        answer: &Answer,
        told: &Told,
    ) -> Result<Progress, ProviderError> {
        match answer::images(&self.settings, request, answer, told, self.polling())? {
            Found::Images(artifact) => Ok(Progress::Done(artifact)),
            Found::Links(uris) => self.fetch(cx, request, &uris).await.map(Progress::Done),
        }
    }

    async fn fetch(
        &self,
        cx: &Context,
        request: &ImageRequest,
        uris: &[String],
    ) -> Result<Artifact, ProviderError> {
        let mut artifact = Artifact::default();
        for uri in uris {
            let picture = match answer::is_web(uri) {
                true => Picture::new(Source::Url(uri.clone())),
                false => {
                    let bounds = Bounds { paid: false, cap: answer_cap(request) };
                    let answer = self.call(cx, "resources/read", &json!({"uri": uri}), bounds).await?;
                    answer::resource(&self.settings, &answer)?
                }
            };
            artifact.pictures.push(picture);
        }
        artifact.miss(uris.len(), request.n);
        Ok(artifact)
    }

    /// The rest of the stream in which the answer to the paid call was to come.
    async fn resume(
        &self,
        cx: &Context,
        request: &ImageRequest,
        mark: Mark<'_>,
    ) -> Result<Progress, ProviderError> {
        let gone = |what: &str| ProviderError::new(ErrorClass::JobExpired, what);
        let Server::Remote(remote) = &self.server else {
            return Err(gone("the server was reached by its address, and is a program now"));
        };
        let answer = remote.resume(cx, mark, answer_cap(request)).await?;
        if matches!(answer.status.as_u16(), 400 | 404 | 405) {
            return Err(gone("the server no longer knows the stream that broke off"));
        }
        match answer::hear(&self.settings, &answer, self.polling())? {
            Heard::Later(Reply::Later { pause, .. }) => {
                let again_after = pause.unwrap_or(PAUSE);
                Ok(Progress::Pending { again_after, percent: None, note: None })
            }
            Heard::Later(_) => Err(gone("the server's stream ended before its answer")),
            Heard::Told(told) => match self.understood(request, &answer, &told, Call::Submit)? {
                Submission::Done(artifact) => Ok(Progress::Done(artifact)),
                Submission::Pending(ticket, _) => Box::pin(self.progress(cx, request, &ticket)).await,
            },
        }
    }

    async fn progress(
        &self,
        cx: &Context,
        request: &ImageRequest,
        ticket: &Ticket,
    ) -> Result<Progress, ProviderError> {
        let gone = |what: &str| ProviderError::new(ErrorClass::JobExpired, what);
        let handle = serde_json::from_value(ticket.0.clone());
        match handle.map_err(|_| gone("the ticket cannot be read"))? {
            Handle::Job(job) => {
                let poll = self.settings.poll.as_ref();
                let poll = poll.ok_or_else(|| gone("the provider's entry no longer says how to poll"))?;
                self.ask_job(cx, request, poll, &job).await
            }
            Handle::Read(uris) => self.fetch(cx, request, &uris).await.map(Progress::Done),
            Handle::Resume { event, session } => {
                self.resume(cx, request, Mark { event: &event, session: session.as_deref() }).await
            }
        }
    }

    /// The tool as the server lists it.
    async fn listed(&self, cx: &Context) -> Result<Value, ProviderError> {
        let (mut cursor, mut names) = (None::<String>, Vec::new());
        for _ in 0..PAGES {
            let params = cursor.as_ref().map_or(json!({}), |cursor| json!({"cursor": cursor}));
            let answer = self
                .call(
                    cx,
                    "tools/list",
                    &params,
                    Bounds { paid: false, cap: answer_cap(&ImageRequest::default()) },
                )
                .await?;
            if !answer.status.is_success() {
                return Err(errors::of_answer(&self.settings.errors, &answer, Call::Check));
            }
            let Reply::Result(mut page) = Reply::of(&answer) else {
                let what = "the server did not answer tools/list";
                return Err(ProviderError::new(ErrorClass::Unavailable, what).with_spend(Spend::None));
            };
            if let Value::Array(tools) = page["tools"].take() {
                for tool in tools {
                    if tool["name"] == self.settings.tool.as_str() {
                        return Ok(tool);
                    }
                    names.extend(tool["name"].as_str().map(str::to_owned));
                }
            }
            match page["nextCursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => break,
            }
        }
        let what = format!("the server has no tool `{}`; it has: {}", self.settings.tool, names.join(", "));
        Err(ProviderError::new(ErrorClass::NotFound, what))
    }
}

/// Arguments with their values.
fn filled(arguments: &Map<String, Value>, scope: &Scope<'_>) -> Value {
    let tree = Value::Object(arguments.clone());
    fill(&tree, &|name| scope.value(name)).unwrap_or_else(|| json!({}))
}

/// What the tool's own description says against the arguments that it will get.
fn mismatch(tool: &Value, arguments: &Map<String, Value>) -> Option<String> {
    let schema = &tool["inputSchema"];
    let properties = schema["properties"].as_object()?;
    let known: Vec<&str> = properties.keys().map(String::as_str).collect();
    if schema["additionalProperties"] == false
        && let Some(name) = arguments.keys().find(|name| !properties.contains_key(*name))
    {
        return Some(format!(
            "arguments.{name}: the tool has none of the name; it has: {}",
            known.join(", ")
        ));
    }
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let missing: Vec<&str> = required.filter(|name| !arguments.contains_key(*name)).collect();
    (!missing.is_empty()).then(|| format!("arguments: the tool requires also {}", missing.join(", ")))
}

#[async_trait::async_trait]
impl Provider for Mcp {
    fn models(&self) -> Vec<String> {
        self.models.names()
    }

    fn capabilities(&self, model: &str) -> Option<&Capabilities> {
        self.models.get(model)
    }

    async fn submit(&self, cx: &Context, request: &ImageRequest) -> Result<Submission, ProviderError> {
        let scope = Scope { request, attempt: Some(cx.attempt), ticket: None, api_key: "" };
        let arguments = filled(&self.settings.arguments, &scope);
        let params = json!({"name": self.settings.tool, "arguments": arguments});
        let bounds = Bounds { paid: true, cap: answer_cap(request) };
        let answer = self.call(cx, "tools/call", &params, bounds).await.map_err(|e| self.redacted(e))?;
        self.read(request, &answer)
    }

    fn read(&self, request: &ImageRequest, answer: &Answer) -> Result<Submission, ProviderError> {
        let heard = answer::hear(&self.settings, answer, Call::Submit).map_err(|e| self.redacted(e))?;
        match heard {
            Heard::Told(told) => {
                self.understood(request, answer, &told, Call::Submit).map_err(|e| self.redacted(e))
            }
            Heard::Later(Reply::Later { event, pause }) => {
                let session = answer.header(remote::SESSION).map(str::to_owned);
                let handle = Handle::Resume { event, session };
                Ok(Submission::Pending(handle.ticket(), pause.unwrap_or(PAUSE)))
            }
            Heard::Later(_) => Err(ProviderError::new(ErrorClass::OutcomeUnknown, "the stream broke off")),
        }
    }

    async fn poll(
        &self,
        cx: &Context,
        request: &ImageRequest,
        ticket: &Ticket,
    ) -> Result<Progress, ProviderError> {
        self.progress(cx, request, ticket).await.map_err(|error| self.redacted(error))
    }

    /// Agrees on a session and looks for the tool. Nothing is called.
    async fn check(&self, cx: &Context) -> Result<(), ProviderError> {
        let tool = self.listed(cx).await.map_err(|error| self.redacted(error))?;
        match mismatch(&tool, &self.settings.arguments) {
            None => Ok(()),
            Some(what) => Err(ProviderError::new(ErrorClass::InvalidRequest, what)),
        }
    }
}
