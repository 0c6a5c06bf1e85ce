//! The suites must notice what is wrong: here they meet a provider that does everything wrong.

use plugin_api::{
    Answer, Artifact, Capabilities, Context, ErrorClass, ImageRequest, Picture, Provider, ProviderError,
    Request, Source, Submission,
};
use std::{panic::AssertUnwindSafe, path::PathBuf, sync::Arc};
use testkit::{CANARY, Subject};
use tokio::task::JoinError;

/// Pays without saying so, sends twice, repeats the key, and calls every answer a picture.
struct Careless(String, Capabilities);

#[async_trait::async_trait]
impl Provider for Careless {
    fn models(&self) -> Vec<String> {
        vec!["m".into()]
    }
    fn capabilities(&self, _: &str) -> Option<&Capabilities> {
        Some(&self.1)
    }
    async fn submit(&self, cx: &Context, request: &ImageRequest) -> Result<Submission, ProviderError> {
        let call = || Request::post(self.0.as_str()).json(&serde_json::json!({"text": request.prompt}));
        let answer = match cx.http.send(call()).await {
            Ok(answer) => answer,
            Err(_) => cx.http.send(call()).await?,
        };
        self.read(request, &answer)
    }
    fn read(&self, _: &ImageRequest, answer: &Answer) -> Result<Submission, ProviderError> {
        if answer.status.is_server_error() {
            let what = format!("failed with {CANARY}");
            return Err(ProviderError::new(ErrorClass::RateLimited, what));
        }
        let picture = Picture::new(Source::Url("https://example.com/1.png".into()));
        Ok(Submission::Done(Artifact { pictures: vec![picture], ..Artifact::default() }))
    }
    async fn check(&self, cx: &Context) -> Result<(), ProviderError> {
        cx.http.send(Request::get(self.0.as_str()).paid()).await.map(drop)
    }
}

struct Wrong(PathBuf);

impl Subject for Wrong {
    fn fixtures(&self) -> PathBuf {
        self.0.clone()
    }
    fn build(&self, _: &str, url: &str) -> Arc<dyn Provider> {
        Arc::new(Careless(format!("{url}/draw"), Capabilities::default()))
    }
    fn request(&self, _: &str) -> ImageRequest {
        ImageRequest::new("m", "a fox")
    }
}

/// The list a suite panics with.
async fn complaints(suite: impl Future<Output = ()> + Send + 'static) -> String {
    let failed: JoinError = tokio::spawn(AssertUnwindSafe(suite)).await.expect_err("the suite must complain");
    failed.into_panic().downcast_ref::<String>().cloned().unwrap_or_default()
}

#[tokio::test]
async fn a_careless_provider_passes_neither_suite() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
    write(
        "a.req.http",
        "POST /draw HTTP/1.1\r\nAuthorization: Bearer k\r\nContent-Type: application/json\r\nContent-Length: 18\r\n\r\n{\"prompt\":\"a fox\"}",
    );
    write("a.resp.json", "{}");
    let case = |name: &str, status: u16, expect: &str| {
        format!(
            r#"{{"case":"{name}","request":"a.req.http","response":{{"status":{status},"body":"a.resp.json"}},"expect":{expect}}}"#
        )
    };
    let cases = [
        case("ok", 200, r#"{"images":[{"mime":"image/png","width":1,"height":1}]}"#),
        case("down", 500, r#"{"error":"unavailable","spend":"possible"}"#),
        case("key", 200, r#"{"check":"authentication"}"#),
    ];
    write("index.json", &format!(r#"{{"cases":[{}]}}"#, cases.join(",")));
    let subject = || Wrong(folder.path().into());

    let (first, second) = (subject(), subject());
    let recorded = complaints(async move { testkit::conformance(&first).await }).await;
    for complaint in [
        "ok: sent no header authorization",
        "ok: body.prompt is missing",
        "ok: images is [] instead of",
        "ok: the answer was not kept",
        "down: error is \"rate_limited\" instead of \"unavailable\"",
        "down: the error shows the credential",
        "key: the check said ready instead of authentication",
    ] {
        assert!(recorded.contains(complaint), "`{complaint}` is missing in {recorded}");
    }
    let faults = complaints(async move { testkit::faults(&second).await }).await;
    for complaint in [
        "reset after the request: sent 2 times",
        "429 with Retry-After: a success",
        "502 as a page: class rate_limited instead of unavailable",
        "500 that repeats the credential: the credential is shown",
        "Check: reset: class outcome_unknown instead of unavailable",
        "Check: 429: marked as paid",
        "307 to another host: a success",
    ] {
        assert!(faults.contains(complaint), "`{complaint}` is missing in {faults}");
    }
}
