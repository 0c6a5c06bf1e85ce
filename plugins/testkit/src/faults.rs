//! What networks and broken vendors do: the same matrix for every plugin.

use crate::{
    Behaviour, Bench, CANARY, FakeUpstream, Reply, Subject, compare,
    conformance::{Call, Outcome, adoption, call},
    dead_url,
};
use plugin_api::{ErrorClass, Provider, ProviderError, Retry, Spend};
use std::{sync::Arc, time::Duration};

const FAULT: &str = "fault";

struct Matrix<'a> {
    subject: &'a dyn Subject,
    bench: Bench,
    upstream: FakeUpstream,
    provider: Arc<dyn Provider>,
    failures: Vec<String>,
}

/// What one row wants of the error; what is `None` may be anything.
#[derive(Default, Clone, Copy)]
struct Want {
    class: Option<ErrorClass>,
    spend: Option<Spend>,
    wait: Option<Option<Duration>>,
    retry: Option<Retry>,
}

const fn want(class: ErrorClass, spend: Spend) -> Want {
    Want { class: Some(class), spend: Some(spend), wait: None, retry: None }
}

/// Runs the matrix: lost connections, refusals, broken and hostile answers, for the submit, the check and (class J)
/// the poll.
///
/// # Panics
/// With a list of everything the plugin got wrong.
pub async fn faults(subject: &dyn Subject) {
    let upstream = FakeUpstream::start().await;
    subject.prepare(&upstream);
    let provider = subject.build(FAULT, &upstream.url());
    let mut matrix = Matrix { subject, bench: Bench::new(), upstream, provider, failures: Vec::new() };
    matrix.no_connection().await;
    matrix.lost_answers().await;
    matrix.refusals().await;
    matrix.broken_answers().await;
    matrix.oversized_answers().await;
    matrix.redirect().await;
    matrix.late_answer().await;
    matrix.secrets().await;
    matrix.free_calls().await;
    let failures = matrix.failures;
    assert!(failures.is_empty(), "{} faults handled wrongly:\n  {}", failures.len(), failures.join("\n  "));
}

impl Matrix<'_> {
    fn judge(&mut self, name: &str, want: Want, got: &Result<Outcome, ProviderError>) {
        let error = match got {
            Ok(outcome) => {
                let told = compare::describe(outcome);
                return self.failures.push(format!("{name}: a success: {told}"));
            }
            Err(error) => error,
        };
        let mut off = Vec::new();
        if want.class.is_some_and(|class| class != error.class) {
            off.push(format!("class {} instead of {}", error.class, want.class.unwrap()));
        }
        if want.spend.is_some_and(|spend| spend != error.spend) {
            off.push(format!("spend {:?} instead of {:?}", error.spend, want.spend.unwrap()));
        }
        if want.wait.is_some_and(|wait| wait != error.retry_after) {
            off.push(format!("wait {:?} instead of {:?}", error.retry_after, want.wait.unwrap()));
        }
        if want.retry.is_some_and(|retry| retry != error.retry) {
            off.push(format!("advice {:?} instead of {:?}", error.retry, want.retry.unwrap()));
        }
        if format!("{error} {error:?}").contains(CANARY) {
            off.push("the credential is shown".into());
        }
        if error.message.is_empty() || error.message.chars().count() > 500 {
            off.push("the message is empty or too long".into());
        }
        self.failures.extend(off.into_iter().map(|what| format!("{name}: {what} ({error})")));
    }

    /// One submit that meets `behaviour`; it must be the only one.
    async fn submit(&mut self, name: &str, behaviour: impl Into<Behaviour>, want: Want) {
        self.upstream.push(behaviour);
        let (cx, request) = (self.bench.context(), self.subject.request(FAULT));
        let before = self.upstream.requests().len();
        let got = call(&*self.provider, &cx, &request, &Call::Submit).await;
        self.judge(name, want, &got);
        let sent = self.upstream.requests().len() - before;
        if sent > 1 {
            self.failures.push(format!("{name}: sent {sent} times: a plugin never retries"));
        }
        // Where a whole answer came, it says the same after a crash.
        if self.bench.adopted(&cx).is_some() {
            let off = adoption(&*self.provider, &self.bench, &cx, &request, &got);
            self.failures.extend(off.map(|what| format!("{name}: {what}")));
        }
    }

    async fn no_connection(&mut self) {
        let provider = self.subject.build(FAULT, &dead_url().await);
        let request = self.subject.request(FAULT);
        for made in [Call::Submit, Call::Check] {
            let got = call(&*provider, &self.bench.context(), &request, &made).await;
            self.judge("connection refused", want(ErrorClass::Unavailable, Spend::None), &got);
        }
    }

    async fn lost_answers(&mut self) {
        let unknown = want(ErrorClass::OutcomeUnknown, Spend::Possible);
        self.submit("reset after the request", Behaviour::ResetAfterReading, unknown).await;
        self.submit("closed without an answer", Behaviour::Close, unknown).await;
        self.submit("reset before the request was read", Behaviour::ResetBeforeReading, Want::default())
            .await;
        // The head said success and the rest is lost: it was made, and paid.
        let half = Behaviour::ResetInAnswer(Reply::json(200, vec![b' '; 200]), 100);
        self.submit("reset in the answer", half, want(ErrorClass::BadResponse, Spend::Certain)).await;
    }

    async fn refusals(&mut self) {
        let seven =
            Want { wait: Some(Some(Duration::from_secs(7))), ..want(ErrorClass::RateLimited, Spend::None) };
        self.submit("429 with Retry-After", Behaviour::rate_limited(Some(7)), seven).await;
        let none = Want { wait: Some(None), ..seven };
        self.submit("429 without Retry-After", Behaviour::rate_limited(None), none).await;
        let long = Behaviour::rate_limited(Some(100_000));
        self.submit("429 with a wait of a day", long, Want { retry: Some(Retry::Elsewhere), ..none }).await;
        let page = Behaviour::html(401);
        self.submit("401 as a page", page, want(ErrorClass::Authentication, Spend::None)).await;
        let page = Behaviour::html(403);
        self.submit("403 as a page", page, want(ErrorClass::Permission, Spend::None)).await;
        let free = Want { spend: Some(Spend::None), ..Want::default() };
        self.submit("418 as a page", Behaviour::html(418), free).await;
        for status in [500, 502, 504, 520] {
            let may_be_paid = Want { spend: Some(Spend::Possible), ..Want::default() };
            self.submit(&format!("{status} as a page"), Behaviour::html(status), may_be_paid).await;
        }
        let bad_gateway = want(ErrorClass::Unavailable, Spend::Possible);
        self.submit("502 as a page", Behaviour::html(502), bad_gateway).await;
        self.submit("500 with an empty body", Behaviour::json(500, ""), bad_gateway).await;
    }

    async fn broken_answers(&mut self) {
        let broken = want(ErrorClass::BadResponse, Spend::Certain);
        let texts = ["", "null", "[]", "{}", "\"text\"", "{\"", "17", "{\"data\":[{\"b64_json\":17}]}"];
        for text in texts {
            self.submit(&format!("200 with `{text}`"), Behaviour::json(200, text), broken).await;
        }
        self.submit("200 as a page", Behaviour::html(200), broken).await;
        let bytes: &[u8] = b"\x00\x01\x02 no picture";
        self.submit("200 with binary junk", Reply::new(200, "image/png", bytes), broken).await;
        let cut = Behaviour::CutShort(Reply::json(200, r#"{"data":[{"b64_json":"iVBORw0KGgo"#), 1000);
        self.submit("200 cut short", cut, broken).await;
        let zipped = Reply::json(200, "{}").header("content-encoding", "gzip");
        self.submit("200 in gzip", zipped, broken).await;
        let deep = "[".repeat(100_000);
        self.submit("200 nested without end", Behaviour::json(200, deep), broken).await;
    }

    async fn oversized_answers(&mut self) {
        let broken = want(ErrorClass::BadResponse, Spend::Certain);
        let promise = Behaviour::CutShort(Reply::json(200, "{"), 1 << 40);
        self.submit("200 that promises a terabyte", promise, broken).await;
        let text = format!("{{\"data\":[{{\"text\":\"{}", "no base64, ".repeat(6000));
        let endless = Behaviour::Endless(Reply::json(200, text));
        self.submit("200 that never ends", endless, broken).await;
    }

    async fn redirect(&mut self) {
        let elsewhere = FakeUpstream::start().await;
        for status in [302, 307, 308] {
            let reply = Reply::new(status, "text/plain", "").header("location", elsewhere.url());
            let kind = Want { class: Some(ErrorClass::BadResponse), ..Want::default() };
            self.submit(&format!("{status} to another host"), reply, kind).await;
        }
        if !elsewhere.requests().is_empty() {
            self.failures.push("a redirect was followed".into());
        }
    }

    async fn late_answer(&mut self) {
        let drip =
            Behaviour::Drip { reply: Reply::json(200, "{}"), bytes: 1, every: Duration::from_secs(60) };
        for (name, behaviour) in [("no answer in time", Behaviour::Silence), ("no end in time", drip)] {
            self.upstream.push(behaviour);
            let cx = self.bench.context_for(Duration::from_millis(300));
            let got = call(&*self.provider, &cx, &self.subject.request(FAULT), &Call::Submit).await;
            self.judge(name, want(ErrorClass::OutcomeUnknown, Spend::Possible), &got);
            if self.bench.adopted(&cx).is_some() {
                self.failures.push(format!("{name}: half an answer was kept as a whole one"));
            }
        }
    }

    /// A vendor that repeats the credential in its error text, in every place a text can stand.
    async fn secrets(&mut self) {
        let text = format!("Incorrect API key provided: {CANARY}.");
        let body = serde_json::json!({
            "error": {"message": text, "code": text, "type": text},
            "errors": [{"code": 10000, "message": text}],
            "message": text, "detail": text, "success": false,
            "Response": {"Error": {"Code": "AuthFailure", "Message": text}},
        });
        for status in [400, 401, 403, 500] {
            let reply = Reply::json(status, body.to_string()).header("x-request-id", CANARY);
            self.submit(&format!("{status} that repeats the credential"), reply.clone(), Want::default())
                .await;
            for made in self.subject.ticket().map(Call::Poll).into_iter().chain([Call::Check]) {
                self.upstream.push(reply.clone());
                let request = self.subject.request(FAULT);
                let got = call(&*self.provider, &self.bench.context(), &request, &made).await;
                if format!("{got:?}").contains(CANARY) {
                    self.failures.push(format!("{made:?}: {status}: the credential is shown: {got:?}"));
                }
            }
        }
        let shown = format!("{:?}", self.provider.models());
        if shown.contains(CANARY) {
            self.failures.push("the list of models shows the credential".into());
        }
    }

    /// Calls that cannot cost anything: the check, and the poll where there is a ticket.
    async fn free_calls(&mut self) {
        let mut calls = vec![Call::Check];
        calls.extend(self.subject.ticket().map(Call::Poll));
        let lost = want(ErrorClass::Unavailable, Spend::None);
        for made in calls {
            let rows: [(&str, Behaviour, Want); 5] = [
                ("reset", Behaviour::ResetAfterReading, lost),
                ("closed", Behaviour::Close, lost),
                ("cut", Behaviour::CutShort(Reply::json(200, "{\"a\":"), 100), lost),
                ("502", Behaviour::html(502), lost),
                ("429", Behaviour::rate_limited(None), want(ErrorClass::RateLimited, Spend::None)),
            ];
            for (name, behaviour, want) in rows {
                self.upstream.push(behaviour);
                let cx = self.bench.context();
                let got = call(&*self.provider, &cx, &self.subject.request(FAULT), &made).await;
                self.judge(&format!("{made:?}: {name}"), want, &got);
                if self.bench.answer_path(&cx).exists() {
                    self.failures.push(format!("{made:?}: {name}: marked as paid"));
                }
            }
        }
    }
}
