//! Walks a fixtures folder: makes each call against the fake upstream, and compares request and outcome.

use crate::{Behaviour, Bench, CANARY, FakeUpstream, Recorded, Reply, compare};
use plugin_api::{
    Artifact, ErrorClass, ImageRequest, Progress, Provider, ProviderError, Spend, Submission, Ticket,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// What a plugin's test tells the suites about it.
pub trait Subject: Sync {
    /// The folder with `index.json`.
    fn fixtures(&self) -> PathBuf;

    /// An instance that calls `url` (`http://127.0.0.1:<port>`), with [`CANARY`] for its credential.
    /// `case` is a name of the index, or `fault`.
    fn build(&self, case: &str, url: &str) -> Arc<dyn Provider>;

    /// The request of a case, fitted as the gateway would; also asked for `fault`.
    fn request(&self, case: &str) -> ImageRequest;

    /// Which call a case is about: a check where one is expected, else a submit.
    fn call(&self, case: &str, expect: &Value) -> Call {
        let _ = case;
        if expect.get("check").is_some() { Call::Check } else { Call::Submit }
    }

    /// A ticket as the plugin makes them, where its models are of class J.
    fn ticket(&self) -> Option<Ticket> {
        None
    }

    /// Sets up what is asked of the upstream before the call that a case is about: its
    /// [`prelude`](FakeUpstream::prelude).
    fn prepare(&self, upstream: &FakeUpstream) {
        let _ = upstream;
    }

    /// Why a case of the folder is not this plugin's; `None`: it is.
    fn skip(&self, case: &str) -> Option<&'static str> {
        let _ = case;
        None
    }
}

/// A call of the [`Provider`] trait.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    Submit,
    Poll(Ticket),
    Check,
}

/// What a call came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    Done(Artifact),
    Ticket(Value),
    Waiting,
    Ready,
    /// A poll said that the job is refused, in a way that has it asked for again until its deadline.
    AskedAgain(ProviderError),
}

impl From<Submission> for Outcome {
    fn from(submission: Submission) -> Outcome {
        match submission {
            Submission::Done(artifact) => Outcome::Done(artifact),
            Submission::Pending(ticket, _) => Outcome::Ticket(ticket.0),
        }
    }
}

#[derive(Deserialize)]
struct Index {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    case: String,
    request: Option<String>,
    response: Response,
    expect: Value,
}

#[derive(Deserialize)]
struct Response {
    status: u16,
    #[serde(default)]
    headers: Map<String, Value>,
    body: String,
    #[serde(default)]
    cut_short: bool,
}

impl Response {
    fn behaviour(&self, folder: &Path) -> Behaviour {
        let path = folder.join(&self.body);
        let body = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let promised = self.headers.get("content-length").and_then(|v| v.as_str()?.parse::<usize>().ok());
        let missing = promised.unwrap_or(body.len() + 1).saturating_sub(body.len()).max(1);
        let headers =
            self.headers.iter().map(|(n, v)| (n.clone(), v.as_str().unwrap_or_default().to_owned()));
        let reply = Reply { status: self.status, headers: headers.collect(), body: body.into() };
        if self.cut_short { Behaviour::CutShort(reply, missing) } else { reply.into() }
    }
}

pub(crate) async fn call(
    provider: &dyn Provider,
    cx: &plugin_api::Context,
    request: &ImageRequest,
    call: &Call,
) -> Result<Outcome, ProviderError> {
    match call {
        Call::Submit => provider.submit(cx, request).await.map(Outcome::from),
        Call::Check => provider.check(cx).await.map(|()| Outcome::Ready),
        Call::Poll(ticket) => match provider.poll(cx, request, ticket).await {
            Ok(Progress::Done(artifact)) => Ok(Outcome::Done(artifact)),
            Ok(Progress::Pending { .. }) => Ok(Outcome::Waiting),
            Ok(Progress::Failed(error)) => Err(error),
            Err(error) if error.spend == Spend::None && is_final(error.class) => {
                Ok(Outcome::AskedAgain(error))
            }
            Err(error) => Err(error),
        },
    }
}

/// Nobody asks again after such a word: it is about the job, not about the asking.
fn is_final(class: ErrorClass) -> bool {
    use ErrorClass::*;
    matches!(class, InvalidRequest | UnsupportedParameter | ContentBlocked)
}

/// Runs every case of the folder.
///
/// # Panics
/// With a list of everything that is not as recorded.
pub async fn conformance(subject: &dyn Subject) {
    let folder = subject.fixtures();
    let index = std::fs::read_to_string(folder.join("index.json"))
        .unwrap_or_else(|e| panic!("{}/index.json: {e}", folder.display()));
    let index: Index = serde_json::from_str(&index).unwrap_or_else(|e| panic!("index.json: {e}"));
    assert!(!index.cases.is_empty(), "a folder without cases proves nothing");
    let bench = Bench::new();
    let mut failures = Vec::new();
    for case in &index.cases {
        if subject.skip(&case.case).is_some() {
            continue;
        }
        let off = run(subject, &bench, &folder, case).await;
        failures.extend(off.into_iter().map(|what| format!("{}: {what}", case.case)));
    }
    assert!(failures.is_empty(), "{} differences:\n  {}", failures.len(), failures.join("\n  "));
}

async fn run(subject: &dyn Subject, bench: &Bench, folder: &Path, case: &Case) -> Vec<String> {
    let upstream = FakeUpstream::start().await;
    subject.prepare(&upstream);
    upstream.push(case.response.behaviour(folder));
    let provider = subject.build(&case.case, &upstream.url());
    let (cx, request) = (bench.context(), subject.request(&case.case));
    let made = subject.call(&case.case, &case.expect);
    let got = call(&*provider, &cx, &request, &made).await;

    let mut off = compare::outcomes(&case.expect, &got);
    let sent = upstream.requests();
    match (&case.request, sent.as_slice()) {
        (Some(file), [sent]) => {
            off.extend(compare::requests(&Recorded::from_file(&folder.join(file)), sent));
        }
        (None, [_]) => {}
        // It costs nothing, and a credential may have more than one place to be proven at.
        (None, [_, ..]) if made == Call::Check => {}
        (_, sent) => off.push(format!("made {} requests instead of one", sent.len())),
    }
    if let Err(error) = &got
        && (format!("{error:?}").contains(CANARY) || error.message.chars().count() > 500)
    {
        off.push("the error shows the credential, or is too long".into());
    }
    if made == Call::Submit {
        off.extend(adoption(&*provider, bench, &cx, &request, &got));
    }
    off
}

/// The answer that was kept on disk must say the same after a crash.
pub(crate) fn adoption(
    provider: &dyn Provider,
    bench: &Bench,
    cx: &plugin_api::Context,
    request: &ImageRequest,
    got: &Result<Outcome, ProviderError>,
) -> Option<String> {
    let Some(answer) = bench.adopted(cx) else {
        return Some("the answer was not kept: is the call marked as paid()?".into());
    };
    let again = provider.read(request, &answer).map(Outcome::from);
    let told = |outcome: &Result<Outcome, ProviderError>| match outcome {
        Ok(outcome) => compare::describe(outcome),
        Err(e) => serde_json::json!([e.class, e.spend, e.retry, e.stage, e.vendor_code, e.message]),
    };
    let (first, second) = (told(got), told(&again));
    (first != second).then(|| format!("read again from disk it is {second} instead of {first}"))
}
