//! Reading the request's body: never more than the cap, never longer than it may take.

use super::{RequestLimits, answer::Refusal, exchange::End};
use bytes::{Bytes, BytesMut};
use http::{StatusCode, header};
use pingora::{ErrorType, protocols::http::ServerSession};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// A body that comes slower than this, in bytes per second, is cut however steadily it drips.
const SLOWEST: f64 = 8192.0;
/// What is read of an unwanted body so that the connection can go on.
const SETTLE_BYTES: usize = 64 << 10;
const SETTLE_TIME: Duration = Duration::from_secs(1);
/// After an answer that closes: time for the client to read it before a reset could take it away.
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 << 20;

/// The whole body.
///
/// # Errors
/// 413 over the cap, 408 too slow, 400 badly framed, or the client has left.
pub async fn read(session: &mut ServerSession, limits: &RequestLimits) -> Result<Bytes, End> {
    let cap = limits.body.as_usize();
    let declared =
        session.get_header(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limits.body.0) {
        return Err(too_large(limits).into());
    }
    if expects_continue(session) {
        session.write_continue_response().await.map_err(|_| End::Left)?;
    }
    let idle = *limits.body_idle_timeout;
    let started = Instant::now();
    let mut body = BytesMut::new();
    loop {
        let earned = Duration::from_secs_f64(body.len() as f64 / SLOWEST);
        let deadline = (Instant::now() + idle).min(started + idle + earned);
        match timeout_at(deadline, session.read_request_body()).await {
            Err(_) => return Err(too_slow().into()),
            Ok(Err(error)) => return Err(broken(&error)),
            Ok(Ok(None)) => return Ok(body.freeze()),
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
