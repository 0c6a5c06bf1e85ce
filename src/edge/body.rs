//! Reading the request's body: never more than the cap, never longer than it may take.

use super::{RequestLimits, answer::Refusal, exchange::End};
use bytes::{Bytes, BytesMut};
use http::{StatusCode, header};
use pingora::{ErrorType, protocols::http::ServerSession};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};

/// Smaller bodies need no room of their own.
const LARGE: u64 = 256 << 10;
/// A body that comes slower than this, in bytes per second, is cut however steadily it drips.
const SLOWEST: f64 = 8192.0;
/// What is read of an unwanted body so that the connection can go on.
const SETTLE_BYTES: usize = 64 << 10;
const SETTLE_TIME: Duration = Duration::from_secs(1);
/// After an answer that closes: time for the client to read it before a reset could take it away.
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 << 20;

/// The memory for large bodies that are at work at the same time.
pub struct Room {
    /// In KiB.
    free: Arc<Semaphore>,
    whole: u32,
}

/// What one body takes of the room, until its request is answered. `None`: it is a small one.
pub type Share = Option<OwnedSemaphorePermit>;

impl Room {
    pub fn new(limits: &RequestLimits) -> Room {
        let whole = u32::try_from(limits.bodies.0 >> 10).unwrap_or(u32::MAX).max(1);
        Room { free: Arc::new(Semaphore::new(whole as usize)), whole }
    }

    /// Waits for room, as long as a body may pause.
    async fn share(&self, bytes: u64, limits: &RequestLimits) -> Result<Share, Refusal> {
        if bytes <= LARGE {
            return Ok(None);
        }
        // The largest body there may be has room when it is alone.
        let kib = u32::try_from(bytes >> 10).unwrap_or(u32::MAX).min(self.whole);
        let share = timeout(*limits.body_idle_timeout, self.free.clone().acquire_many_owned(kib)).await;
        share.ok().and_then(Result::ok).map(Some).ok_or_else(|| {
            let sentence = "Too many large requests are at work; send this one again in a few seconds.";
            Refusal { close: true, ..Refusal::unavailable(sentence) }
        })
    }
}

/// The whole body, and the room it takes.
///
/// # Errors
/// 413 over the cap, 408 too slow, 400 badly framed, 503 no room for it in time, or the client has left.
pub async fn read(
    session: &mut ServerSession,
    limits: &RequestLimits,
    room: &Room,
) -> Result<(Bytes, Share), End> {
    let cap = limits.body.as_usize();
    let declared =
        session.get_header(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limits.body.0) {
        return Err(too_large(limits).into());
    }
    let mut share = room.share(declared.unwrap_or(0), limits).await?;
    if expects_continue(session) {
        session.write_continue_response().await.map_err(|_| End::Left)?;
    }
    let idle = *limits.body_idle_timeout;
    let mut started = Instant::now();
    let mut body = BytesMut::new();
    loop {
        if share.is_none() && body.len() as u64 > LARGE {
            // It did not say how long it is.
            let waited = Instant::now();
            share = room.share(limits.body.0, limits).await?;
            started += waited.elapsed();
        }
        let earned = Duration::from_secs_f64(body.len() as f64 / SLOWEST);
        let deadline = (Instant::now() + idle).min(started + idle + earned);
        match timeout_at(deadline, session.read_request_body()).await {
            Err(_) => return Err(too_slow().into()),
            Ok(Err(error)) => return Err(broken(&error)),
            Ok(Ok(None)) => return Ok((body.freeze(), share)),
            Ok(Ok(Some(part))) if body.len() + part.len() > cap => return Err(too_large(limits).into()),
            Ok(Ok(Some(part))) => body.extend_from_slice(&part),
        }
    }
}

fn too_large(limits: &RequestLimits) -> Refusal {
    let sentence = format!("The request's body is larger than {}; send less at once.", limits.body);
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, sentence)
}

fn too_slow() -> Refusal {
    Refusal::closing(StatusCode::REQUEST_TIMEOUT, "The request's body came too slowly; send it again.")
}

fn broken(error: &pingora::Error) -> End {
    match error.etype() {
        ErrorType::ReadError | ErrorType::ConnectionClosed | ErrorType::H2Error => End::Left,
        ErrorType::ReadTimedout => too_slow().into(),
        _ => Refusal::closing(StatusCode::BAD_REQUEST, "The request's body is badly framed.").into(),
    }
}

pub fn expects_continue(session: &ServerSession) -> bool {
    !session.is_http2() && session.get_header_bytes(header::EXPECT).eq_ignore_ascii_case(b"100-continue")
}

/// Reads what is left of a small body that nobody wants, so that the connection can carry the next request. A larger
/// one is left alone: the answer then closes the connection.
pub async fn settle(session: &mut ServerSession) {
    if !session.is_http2() && !session.is_body_done() && !expects_continue(session) {
        timeout(SETTLE_TIME, discard(session, SETTLE_BYTES)).await.ok();
    }
}

/// Keeps reading for a while after an answer that came before the body's end.
pub async fn linger(session: &mut ServerSession) {
    if !session.is_http2() && !session.is_body_done() {
        timeout(LINGER_TIME, discard(session, LINGER_BYTES)).await.ok();
    }
}

async fn discard(session: &mut ServerSession, mut left: usize) {
    while let Ok(Some(part)) = session.read_request_body().await {
        let Some(rest) = left.checked_sub(part.len()) else { return };
        left = rest;
    }
}
