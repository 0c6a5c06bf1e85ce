//! A place to call a provider from: a real client, and a spool in a temporary folder.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use plugin_api::{Answer, Context, Http, SpoolFile, adopt};
use std::{path::PathBuf, time::Duration};
use tokio::time::Instant;
use uuid::Uuid;

/// Makes contexts, each with an attempt of its own.
pub struct Bench {
    client: reqwest::Client,
    spool: tempfile::TempDir,
}

impl Default for Bench {
    fn default() -> Bench {
        Bench::new()
    }
}

impl Bench {
    pub fn new() -> Bench {
        rustls::crypto::ring::default_provider().install_default().ok(); // another test may have been first
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(Duration::from_secs(5))
            .build()
            .expect("a client without special settings");
        Bench { client, spool: tempfile::tempdir().expect("a temporary folder") }
    }

    /// The context of a new attempt, with a minute of time.
    pub fn context(&self) -> Context {
        self.context_for(Duration::from_secs(60))
    }

    /// The context of a new attempt that is given up after `time`.
    pub fn context_for(&self, time: Duration) -> Context {
        let (attempt, started) = (Uuid::new_v4(), Instant::now());
        let deadline = started + time;
        let http = Http::new(self.client.clone(), self.spool.path().into(), attempt.to_string(), deadline);
        Context { http, attempt, started, deadline }
    }

    /// Where the paid answer of a context lies.
    pub fn answer_path(&self, cx: &Context) -> PathBuf {
        self.spool.path().join(cx.attempt.to_string())
    }

    /// The paid answer of a context, read again as after a crash. `None`: there is none.
    pub fn adopted(&self, cx: &Context) -> Option<Answer> {
        let path = self.answer_path(cx);
        if !path.exists() {
            return None;
        }
        adopt(&path).expect("the spool can be read")
    }
}

/// An answer as [`Http`] would hand it over, for tests of `read` without a socket.
pub fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    // The spool makes the file only for lifted parts, and it goes with the last of them.
    let path = std::env::temp_dir().join(format!("answer-{}", Uuid::new_v4()));
    let mut spool = SpoolFile::create(path, false);
    spool.push(&body.into()).expect("the body fits");
    let headers: HeaderMap = headers
        .iter()
        .map(|(n, v)| (HeaderName::try_from(*n).unwrap(), HeaderValue::try_from(*v).unwrap()))
        .collect();
    spool.finish(StatusCode::from_u16(status).unwrap(), headers, false).expect("the spool can be written")
}
