//! The plugin's only way out: one call with a deadline and a cap, its answer streamed into the spool, and an
//! error that knows how far the request got.

use crate::{Answer, ErrorClass, ProviderError, Spend, spares::Spares, spool::SpoolFile, value::Secret};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::time::{Instant, timeout_at};

/// Largest answer that is read, after decoding, unless the request says otherwise.
const DEFAULT_CAP: u64 = 64 << 20;
/// A vendor that asks to wait longer than this is as good as down.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// The client of one attempt. Cheap to clone.
#[derive(Clone)]
pub struct Http {
    client: reqwest::Client,
    spool: PathBuf,
    spares: Arc<Spares>,
    name: String,
    deadline: Instant,
    count: Arc<AtomicU32>,
    listener: Option<Listener>,
}

/// Told how far the vendor is, in percent.
pub type Listener = Arc<dyn Fn(f32) + Send + Sync>;

/// One request, built up by its methods.
#[derive(Debug)]
pub struct Request {
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Body,
    /// Why it cannot be sent, whatever is added to it later.
    broken: Option<String>,
    paid: bool,
    cap: u64,
    within: Option<Duration>,
    until: fn(&[u8]) -> bool,
    steps: Option<(&'static str, u32)>,
}

#[derive(Debug)]
enum Body {
    None,
    Bytes(Bytes),
    Parts(Vec<Part>),
}

/// One part of a `multipart/form-data` body.
#[derive(Debug, Clone)]
pub struct Part {
    pub name: String,
    pub bytes: Bytes,
    /// File name and media type, where the part is a file.
    pub file: Option<(String, String)>,
}

impl Part {
    pub fn text(name: &str, value: impl ToString) -> Part {
        Part { name: name.into(), bytes: Bytes::from(value.to_string()), file: None }
    }
    pub fn file(name: &str, file_name: &str, mime: &str, bytes: Bytes) -> Part {
        Part { name: name.into(), bytes, file: Some((file_name.into(), mime.into())) }
    }
}

impl Request {
    pub fn new(method: Method, url: impl Into<String>) -> Request {
        Request {
            method,
            url: url.into(),
            headers: HeaderMap::new(),
            body: Body::None,
            broken: None,
            paid: false,
            cap: DEFAULT_CAP,
            within: None,
            until: |_| false,
            steps: None,
        }
    }
    pub fn get(url: impl Into<String>) -> Request {
        Request::new(Method::GET, url)
    }
    pub fn post(url: impl Into<String>) -> Request {
        Request::new(Method::POST, url)
    }
    pub fn header(mut self, name: &str, value: &str) -> Request {
        match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            (Ok(name), Ok(value)) => {
                self.headers.append(name, value);
            }
            _ => self.broken = Some(format!("the header `{name}` has a value that HTTP does not allow")),
        }
        self
    }
    /// `Authorization: Bearer <secret>`, never shown in `Debug`.
    pub fn bearer(self, secret: &Secret) -> Request {
        self.secret_header("authorization", &format!("Bearer {}", secret.expose()))
    }
    /// A header whose value is a credential.
    pub fn secret_header(mut self, name: &str, value: &str) -> Request {
        match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            (Ok(name), Ok(mut value)) => {
                value.set_sensitive(true);
                self.headers.insert(name, value);
            }
            _ => {
                self.broken =
                    Some("the credential has characters that HTTP does not allow in a header".into())
            }
        }
        self
    }
    pub fn json(self, body: &impl serde::Serialize) -> Request {
        match serde_json::to_vec(body) {
            Ok(bytes) => {
                Request { body: Body::Bytes(bytes.into()), ..self }.header("content-type", "application/json")
            }
            Err(error) => Request { broken: Some(error.to_string()), ..self },
        }
    }
    /// A body of any kind; set its `content-type` yourself.
    pub fn body(self, bytes: impl Into<Bytes>) -> Request {
        Request { body: Body::Bytes(bytes.into()), ..self }
    }
    pub fn multipart(self, parts: Vec<Part>) -> Request {
        Request { body: Body::Parts(parts), ..self }
    }
    /// The call that costs money: its answer is kept on disk before it is read, and a lost answer is
    /// `outcome_unknown`. Once per attempt; a second one is allowed only after an answer that says that the first
    /// cost nothing, and that answer is forgotten before a byte of the second leaves.
    pub fn paid(self) -> Request {
        Request { paid: true, ..self }
    }
    /// Largest answer in bytes, default 64 MiB.
    pub fn cap(self, bytes: u64) -> Request {
        Request { cap: bytes, ..self }
    }
    /// Longest time of this one call, where the attempt's deadline is farther away: for calls that only take or
    /// tell of a job.
    pub fn within(self, time: Duration) -> Request {
        Request { within: Some(time), ..self }
    }
    /// For a stream that may stay open after its answer: told the text so far (without its base64) after each piece,
    /// whether the answer is whole.
    pub fn until(self, whole: fn(&[u8]) -> bool) -> Request {
        Request { until: whole, ..self }
    }
    /// For a stream that tells how far the work is: its text has `mark` once for each of `of` steps before the last
    /// one. What is done is told to whoever [listens](Http::telling), in percent. Default: nothing is told.
    pub fn steps(self, mark: &'static str, of: u32) -> Request {
        Request { steps: (of > 0).then_some((mark, of)), ..self }
    }
}

impl Http {
    /// `spool`: the folder for answers; `name`: the file name of the paid answer, the attempt's id.
    pub fn new(client: reqwest::Client, spool: PathBuf, name: String, deadline: Instant) -> Http {
        Http { client, spool, spares: Arc::default(), name, deadline, count: Arc::default(), listener: None }
    }

    /// Answers are written on these files, if there are any.
    pub fn on(self, spares: Arc<Spares>) -> Http {
        Http { spares, ..self }
    }

    /// Tells `listener` how far the vendor is, where an answer says it while it streams.
    pub fn telling(self, listener: Listener) -> Http {
        Http { listener: Some(listener), ..self }
    }

    /// Takes an earlier answer of this attempt off the disk: after a crash during the next paid call it would be
    /// adopted as that call's answer, and say that nothing was spent.
    async fn forget(&self) -> Result<(), ProviderError> {
        let (folder, path) = (self.spool.clone(), self.spool.join(&self.name));
        let failed = |what: String| ProviderError::new(ErrorClass::Unavailable, what).with_spend(Spend::None);
        // Mostly there is none. To learn that costs less than the way to a thread that may wait, and back.
        match path.symlink_metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            _ => {}
        }
        let forget = move || match std::fs::remove_file(path) {
            Ok(()) => std::fs::File::open(folder)?.sync_all(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        match tokio::task::spawn_blocking(forget).await {
            Ok(done) => {
                done.map_err(|e| failed(format!("the gateway's disk keeps an earlier answer ({})", e.kind())))
            }
            Err(_) => Err(failed("the gateway is stopping".into())),
        }
    }

    fn paid_path(&self) -> PathBuf {
        self.spool.join(&self.name)
    }

    /// A passing file for an answer that comes another way than by HTTP, such as from a child process. A paid one
    /// gets its place by [`keep`](Self::keep).
    pub fn spool_file(&self) -> SpoolFile {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        SpoolFile::create(self.spool.join(format!("{}.{number}", self.name)), false).on(self.spares.clone())
    }

    /// The answer that was written into a [`spool_file`](Self::spool_file), of this or of another attempt, at its end.
    /// A paid one is kept on disk as this attempt's, like that of a paid request.
    ///
    /// # Errors
    /// `bad_response`: it cannot be kept; spend certain where it is paid.
    pub async fn keep(&self, mut file: SpoolFile, paid: bool) -> Result<Answer, ProviderError> {
        if paid {
            file.becomes(self.paid_path(), true);
        }
        let failed = |what: String| {
            let spend = if paid { Spend::Certain } else { Spend::None };
            ProviderError::new(ErrorClass::BadResponse, what).with_spend(spend)
        };
        let done = tokio::task::spawn_blocking(move || file.finish(StatusCode::OK, HeaderMap::new(), false));
        let kept = done.await.map_err(|_| failed("the answer could not be kept".into()))?;
        kept.map_err(|e| failed(format!("the answer could not be kept on the gateway's disk ({})", e.kind())))
    }

    /// The same client with another deadline.
    pub(crate) fn until(&self, deadline: Instant) -> Http {
        Http { deadline, ..self.clone() }
    }

    /// Sends a request and reads its answer to the end, whatever its status.
    ///
    /// # Errors
    /// Only what the way itself does: no connection (`unavailable`, spend none), no whole answer (on a paid call
    /// `outcome_unknown`), an answer over its cap or in an encoding that was not asked for (`bad_response`).
    pub async fn send(&self, request: Request) -> Result<Answer, ProviderError> {
        let Request { method, url, headers, body, broken, paid, cap, within, until, steps } = request;
        if let Some(why) = broken {
            return Err(ProviderError::new(ErrorClass::InvalidRequest, why));
        }
        let deadline = within.map_or(self.deadline, |time| self.deadline.min(Instant::now() + time));
        let mut call = self.client.request(method, &url).headers(headers);
        call = match body {
            Body::None => call,
            Body::Bytes(bytes) => call.body(bytes),
            Body::Parts(parts) => call.multipart(form(parts)?),
        };
        let lost = |what: String| match paid {
            true => ProviderError::new(ErrorClass::OutcomeUnknown, what),
            false => ProviderError::new(ErrorClass::Unavailable, what).with_spend(Spend::None),
        };
        if paid {
            self.forget().await?;
        }
        let mut answer = match timeout_at(deadline, call.send()).await {
            Ok(Ok(answer)) => answer,
            // The one proof that no byte of the request left.
            Ok(Err(error)) if error.is_connect() => {
                let what = format!("no connection to the vendor ({})", cause(&error));
                return Err(ProviderError::new(ErrorClass::Unavailable, what).with_spend(Spend::None));
            }
            Ok(Err(error)) if error.is_builder() => {
                return Err(ProviderError::new(
                    ErrorClass::InvalidRequest,
                    "the provider's base_url is not a usable URL",
                ));
            }
            Ok(Err(error)) => {
                return Err(lost(format!("the connection was lost before the answer ({})", cause(&error))));
            }
            Err(_) => return Err(lost("the vendor did not answer in time".into())),
        };
        let status = answer.status();
        let headers = std::mem::take(answer.headers_mut());
        let by_status = |what: &str| {
            let error = ProviderError::new(ErrorClass::BadResponse, what).with_status(status.as_u16());
            match paid && status.is_success() {
                true => error,
                false if paid => error.with_spend(Spend::Possible),
                false => error.with_spend(Spend::None),
            }
        };
        if headers.get("content-encoding").is_some_and(|e| e != "identity") {
            return Err(by_status("the answer is in a content encoding that was not asked for"));
        }
        let length = headers.get("content-length").and_then(|l| l.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > cap) {
            return Err(by_status("the answer is larger than its cap"));
        }
        let mut spool = if paid {
            SpoolFile::create(self.paid_path(), true).on(self.spares.clone())
        } else {
            self.spool_file()
        };
        let disk = |error: std::io::Error| {
            let what = format!("the answer could not be kept on the gateway's disk ({})", error.kind());
            by_status(&what)
        };
        let (mut read, mut cut_short, mut passed) = (0_u64, false, 0);
        loop {
            match timeout_at(deadline, answer.chunk()).await {
                Ok(Ok(Some(chunk))) => {
                    read += chunk.len() as u64;
                    if read > cap {
                        return Err(by_status("the answer is larger than its cap"));
                    }
                    spool.push(&chunk).map_err(disk)?;
                    if let (Some((mark, of)), Some(listener)) = (steps, &self.listener) {
                        let now = memchr::memmem::find_iter(spool.text(), mark).count();
                        if now > passed {
                            passed = now;
                            listener(100.0 * now as f32 / (of as f32 + 1.0));
                        }
                    }
                    if until(spool.text()) {
                        break;
                    }
                }
                Ok(Ok(None)) => break,
                Ok(Err(_)) => {
                    cut_short = true;
                    break;
                }
                Err(_) => return Err(lost("the vendor's answer did not end in time".into())),
            }
        }
        if cut_short && !paid {
            return Err(lost("the vendor's answer was cut".into()));
        }
        let done = tokio::task::spawn_blocking(move || spool.finish(status, headers, cut_short)).await;
        let answer = done.map_err(|_| by_status("the answer could not be kept"))?.map_err(disk)?;
        tracing::debug!(status = status.as_u16(), bytes = read, paid, "vendor answered");
        Ok(answer)
    }
}

fn form(parts: Vec<Part>) -> Result<reqwest::multipart::Form, ProviderError> {
    let mut form = reqwest::multipart::Form::new();
    for part in parts {
        let length = part.bytes.len() as u64;
        let body = match part.file {
            None => reqwest::multipart::Part::bytes(part.bytes.to_vec()),
            Some((name, mime)) => reqwest::multipart::Part::stream_with_length(part.bytes, length)
                .file_name(name)
                .mime_str(&mime)
                .map_err(|_| {
                    ProviderError::new(ErrorClass::InvalidRequest, format!("`{mime}` is no media type"))
                })?,
        };
        form = form.part(part.name, body);
    }
    Ok(form)
}

/// The innermost cause, without the URL (it may carry a credential).
fn cause(error: &reqwest::Error) -> String {
    let mut source: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    let mut text = if error.is_timeout() { "timed out".to_owned() } else { "closed".to_owned() };
    while let Some(error) = source {
        text = error.to_string();
        source = error.source();
    }
    text
}

/// Joins a base URL and a path without losing a sub-path of the base.
pub fn join_url(base: &str, path: &str) -> String {
    format!("{}/{}", base.trim_end_matches('/'), path.trim_start_matches('/'))
}

/// How long the vendor asked to wait, as [`asked_wait`]; waits over 120 s are ignored (fail over instead).
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    asked_wait(headers).filter(|wait| *wait <= LONGEST_WAIT)
}

/// How long the vendor asked to wait, however long: `retry-after-ms`, then `retry-after` in seconds or as a date.
/// Meant for [`ProviderError::with_wait`].
pub fn asked_wait(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |name: &str| text(name)?.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
    match number("retry-after-ms") {
        Some(ms) => Duration::try_from_secs_f64(ms / 1000.0).ok(),
        None => match number("retry-after") {
            Some(seconds) => Duration::try_from_secs_f64(seconds).ok(),
            None => http_date(text("retry-after")?)?.duration_since(SystemTime::now()).ok(),
        },
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, the only form servers send today (RFC 9110, section 5.6.7).
pub fn http_date(text: &str) -> Option<SystemTime> {
    let mut words = text.split_once(", ")?.1.split(' ');
    let day: i64 = words.next()?.parse().ok()?;
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let word = words.next()?;
    let month = months.iter().position(|m| *m == word)? as i64 + 1;
    let year: i64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(|n| n.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    // Days from the civil date, with the year beginning in March.
    let (y, m) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let seconds = u64::try_from(days * 86_400 + hour * 3_600 + minute * 60 + second).ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_read_in_every_form_and_capped() {
        let with = |pairs: &[(&'static str, String)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, value.parse().unwrap());
            }
            retry_after(&headers)
        };
        assert_eq!(
            with(&[("retry-after-ms", "1500".into()), ("retry-after", "9".into())]),
            Some(Duration::from_millis(1500))
        );
        assert_eq!(with(&[("retry-after", "7".into())]), Some(Duration::from_secs(7)));
        assert_eq!(with(&[("retry-after", "0".into())]), Some(Duration::ZERO));
        for nonsense in ["-1", "1000000000", "soon", "NaN"] {
            assert_eq!(with(&[("retry-after", nonsense.into())]), None, "{nonsense}");
        }
        assert_eq!(
            http_date("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777))
        );
    }

    #[test]
    fn a_header_that_cannot_be_sent_stops_the_request_whatever_body_follows() {
        for request in [
            Request::post("http://h").header("x-user", "a\r\nx-admin: yes").json(&1),
            Request::post("http://h").bearer(&Secret::new("two\nlines")).body("text"),
            Request::post("http://h").secret_header("api-key", "\u{7f}").multipart(Vec::new()),
        ] {
            assert!(request.broken.is_some() && request.headers.get("x-admin").is_none(), "{request:?}");
        }
        assert!(Request::post("http://h").header("x-user", "a").json(&1).broken.is_none());
    }

    #[test]
    fn a_sub_path_of_the_base_is_kept() {
        assert_eq!(join_url("https://h/v1/", "/images/generations"), "https://h/v1/images/generations");
        assert_eq!(join_url("https://h", "models"), "https://h/models");
    }
}
