//! Writing the answer, to clients that read slowly, leave, or stay while the gateway stops.

use super::answer::{Answer, Body, Chunks};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use pingora::{http::ResponseHeader, protocols::http::ServerSession, server::ShutdownWatch};
use std::{fmt::Display, future::pending, time::Duration};
use tokio::time::{sleep, timeout};

/// Long answers are handed over in parts, each of which has its own deadline.
pub const PART: usize = 64 << 10;

/// The client has left, or reads too slowly; the connection is of no more use.
#[derive(Debug)]
pub struct Left;

/// What of the request matters for its answer; the default for a request that could not be read.
#[derive(Debug, Clone, Copy, Default)]
pub struct To {
    pub headless: bool,
    pub http10: bool,
}

impl To {
    pub fn new(method: &Method, version: Version) -> To {
        To { headless: method == Method::HEAD, http10: version < Version::HTTP_11 }
    }
}

#[derive(Clone, Copy)]
pub struct Pace<'a> {
    /// How long a client may take for one part.
    pub stall: Duration,
    /// How long a stream may go on once the gateway stops.
    pub last_words: Duration,
    pub stop: &'a ShutdownWatch,
}

impl Pace<'_> {
    /// Ends when a stream without an end must: it must not hold up the stop.
    pub async fn over(self) {
        let mut stop = self.stop.clone();
        if stop.wait_for(|stop| *stop).await.is_err() {
            pending::<()>().await;
        }
        sleep(self.last_words).await;
    }
}

/// Sends `answer`, of which HEAD gets the header only. Of a stream without a known length only the header is sent, and
/// its parts are given back.
///
/// # Errors
/// [`Left`].
pub async fn answer(
    session: &mut ServerSession,
    answer: Answer,
    to: To,
    pace: &Pace<'_>,
) -> Result<Option<Box<dyn Chunks>>, Left> {
    let (mut parts, body) = answer.into_parts();
    let To { headless, http10 } = to;
    frame(parts.status, &mut parts.headers, &body, session.is_http2(), http10);
    let mut head = ResponseHeader::build(parts.status, Some(parts.headers.len() + 2)).map_err(|_| Left)?;
    for (name, value) in &parts.headers {
        head.append_header(name.clone(), value.clone()).map_err(|_| Left)?;
    }
    timely(pace, session.write_response_header(Box::new(head))).await?;
    match body {
        Body::Bytes(bytes) if !headless => whole(session, bytes, pace).await?,
        Body::Stream(chunks) if !headless => {
            if !parts.headers.contains_key(header::CONTENT_LENGTH) {
                return Ok(Some(chunks));
            }
            stream(session, chunks, pace, pending()).await?;
        }
        _ => {}
    }
    end(session, pace).await.map(|()| None)
}

/// Says that the body is whole.
///
/// # Errors
/// [`Left`].
pub async fn end(session: &mut ServerSession, pace: &Pace<'_>) -> Result<(), Left> {
    timely(pace, session.write_response_body(Bytes::new(), true)).await
}

/// Says how long the body is, or that it comes in chunks.
fn frame(status: StatusCode, headers: &mut HeaderMap, body: &Body, http2: bool, http10: bool) {
    if status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
        headers.remove(header::CONTENT_LENGTH);
        return;
    }
    match body {
        Body::Bytes(bytes) => {
            headers.insert(header::CONTENT_LENGTH, bytes.len().into());
        }
        Body::Empty => {
            headers.entry(header::CONTENT_LENGTH).or_insert(0.into());
        }
        // HTTP/1.0 knows no chunks: there the end of the connection is the end of the body.
        Body::Stream(_) if !http2 && !http10 && !headers.contains_key(header::CONTENT_LENGTH) => {
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        Body::Stream(_) => {}
    }
}

async fn whole(session: &mut ServerSession, mut bytes: Bytes, pace: &Pace<'_>) -> Result<(), Left> {
    while !bytes.is_empty() {
        let part = bytes.split_to(PART.min(bytes.len()));
        timely(pace, session.write_response_body(part, false)).await?;
    }
    Ok(())
}

/// Sends the parts of a body until they end, or `over` does.
///
/// # Errors
/// [`Left`].
pub async fn stream(
    session: &mut ServerSession,
    mut chunks: Box<dyn Chunks>,
    pace: &Pace<'_>,
    over: impl Future<Output = ()>,
) -> Result<(), Left> {
    tokio::pin!(over);
    loop {
        let chunk = tokio::select! {
            chunk = chunks.next() => chunk,
            _ = session.read_body_or_idle(true) => return Err(Left),
            () = &mut over => None,
        };
        match chunk {
            None => return Ok(()),
            Some(Ok(bytes)) => whole(session, bytes, pace).await?,
            Some(Err(error)) => {
                tracing::warn!(%error, "the body broke off");
                session.shutdown().await;
                return Err(Left);
            }
        }
    }
}

/// A write within its time.
///
/// # Errors
/// [`Left`].
pub async fn timely<T, E: Display>(
    pace: &Pace<'_>,
    write: impl Future<Output = Result<T, E>>,
) -> Result<T, Left> {
    match timeout(pace.stall, write).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => {
            tracing::debug!(%error, "the client left during the answer");
            Err(Left)
        }
        Err(_) => {
            tracing::debug!("the client reads too slowly");
            Err(Left)
        }
    }
}
