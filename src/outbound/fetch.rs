//! One guarded download into a file of the spool.

use super::{Clients, Guard, guard::Way, resolver::Blocked};
use plugin_api::Blob;
use reqwest::header;
use std::{
    error::Error as _,
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt as _,
    time::{Instant, sleep, timeout_at},
};
use url::Url;

/// Between the tries.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];

/// A download failed. The texts name the host and never the rest of the URL, which may be signed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The URL may not be fetched; the sentence says why and what the operator can do.
    #[error("{0}")]
    Refused(String),
    #[error("{host} answered with HTTP {status}")]
    Status { host: String, status: u16 },
    #[error("{host} could not be reached ({cause})")]
    Unreachable { host: String, cause: String },
    #[error("the file at {host} is larger than {cap} bytes")]
    TooLarge { host: String, cap: u64 },
    #[error("{host} did not send the file in time")]
    Late { host: String },
    #[error("the download could not be kept on the gateway's disk ({0})")]
    Disk(#[from] io::Error),
}

impl FetchError {
    /// Connection errors and 5xx pass; a refusal does not.
    fn may_pass(&self) -> bool {
        match self {
            FetchError::Unreachable { .. } => true,
            FetchError::Status { status, .. } => *status >= 500,
            _ => false,
        }
    }
}

impl Clients {
    /// Fetches `url` into the file `into`, at most `cap` bytes, all tries before `deadline`. The file goes with the
    /// last copy of the blob, and at once when the download fails or is dropped.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn fetch(
        &self,
        url: &str,
        guard: &Guard,
        cap: u64,
        deadline: Instant,
        into: &Path,
    ) -> Result<Blob, FetchError> {
        let url = Url::parse(url).map_err(|_| FetchError::Refused("the address is no URL".into()))?;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let error = match self.try_once(&url, guard, cap, deadline, into).await {
                Ok(blob) => return Ok(blob),
                Err(error) => error,
            };
            let pause = PAUSES.get(attempt as usize - 1).copied().unwrap_or_default();
            if attempt >= guard.tries || !error.may_pass() || Instant::now() + pause >= deadline {
                return Err(error);
            }
            tracing::debug!(error = %error, attempt, "a download is tried again");
            sleep(pause).await;
        }
    }

    async fn try_once(
        &self,
        url: &Url,
        guard: &Guard,
        cap: u64,
        deadline: Instant,
        into: &Path,
    ) -> Result<Blob, FetchError> {
        let mut url = url.clone();
        let mut hops = 0;
        loop {
            let answer = self.send(&url, guard, deadline).await?;
            let status = answer.status();
            if status.is_success() {
                return receive(answer, host(&url), cap, deadline, into).await;
            }
            let location = answer.headers().get(header::LOCATION).filter(|_| status.is_redirection());
            let Some(location) = location else {
                return Err(FetchError::Status { host: host(&url), status: status.as_u16() });
            };
            if hops >= guard.redirects {
                let most =
                    if hops == 0 { "none is followed".into() } else { format!("{hops} were followed") };
                return Err(FetchError::Refused(format!("{} redirects elsewhere; {most}", host(&url))));
            }
            hops += 1;
            let next = location.to_str().ok().and_then(|text| url.join(text).ok());
            let next = next.ok_or_else(|| {
                FetchError::Refused(format!("{} redirects to an address that is no URL", host(&url)))
            })?;
            if url.scheme() == "https" && next.scheme() != "https" {
                return Err(FetchError::Refused(format!(
                    "{} redirects from https to {} at {}",
                    host(&url),
                    next.scheme(),
                    host(&next)
                )));
            }
            url = next;
        }
    }

    async fn send(
        &self,
        url: &Url,
        guard: &Guard,
        deadline: Instant,
    ) -> Result<reqwest::Response, FetchError> {
        let client = match guard.check(url)? {
            Way::PublicOnly => &self.public_only,
            Way::AnyAddress => &self.vendor,
        };
        let call = client.get(url.clone()).header(header::ACCEPT, "image/*, */*;q=0.5");
        match timeout_at(deadline, call.send()).await {
            Err(_) => Err(FetchError::Late { host: host(url) }),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(refined(&error, host(url))),
        }
    }
}

async fn receive(
    mut answer: reqwest::Response,
    host: String,
    cap: u64,
    deadline: Instant,
    into: &Path,
) -> Result<Blob, FetchError> {
    if answer.headers().get(header::CONTENT_ENCODING).is_some_and(|e| e != "identity") {
        return Err(FetchError::Refused(format!("{host} sent an encoding that was not asked for")));
    }
    if answer.content_length().is_some_and(|length| length > cap) {
        return Err(FetchError::TooLarge { host, cap });
    }
    let partial = Partial(Some(into.to_owned()));
    let mut file = tokio::fs::File::create(into).await?;
    let mut len = 0;
    loop {
        let piece = match timeout_at(deadline, answer.chunk()).await {
            Err(_) => return Err(FetchError::Late { host }),
            Ok(Err(error)) => return Err(refined(&error, host)),
            Ok(Ok(None)) => break,
            Ok(Ok(Some(piece))) => piece,
        };
        len += piece.len() as u64;
        if len > cap {
            return Err(FetchError::TooLarge { host, cap });
        }
        file.write_all(&piece).await?;
    }
    file.flush().await?;
    Ok(partial.whole(len))
}

/// A file that goes unless it becomes whole.
struct Partial(Option<PathBuf>);

impl Partial {
    fn whole(mut self, len: u64) -> Blob {
        Blob::temporary_file(self.0.take().unwrap_or_default(), len)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            std::fs::remove_file(path).ok();
        }
    }
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or("the address").to_owned()
}

/// The innermost cause, without the URL; a blocked name is a refusal.
fn refined(error: &reqwest::Error, host: String) -> FetchError {
    let mut cause = if error.is_timeout() { "timed out".to_owned() } else { "closed".to_owned() };
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(blocked) = inner.downcast_ref::<Blocked>() {
            return FetchError::Refused(blocked.to_string());
        }
        cause = inner.to_string();
        source = inner.source();
    }
    FetchError::Unreachable { host, cause }
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
