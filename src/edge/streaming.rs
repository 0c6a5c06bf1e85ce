//! An answer that is a stream without a known length, from the end of its header on.

use super::{
    answer::Chunks,
    write::{self, PART, Pace, timely},
};
use crate::auth::Principal;
use bytes::Bytes;
use http::{Method, StatusCode};
use pingora::protocols::http::{ServerSession, v2::write_body};
use std::{future::poll_fn, sync::Arc};
use tokio::{sync::watch, time::Instant};

/// What becomes of a connection once its request was looked at.
pub enum Next {
    /// It may carry another request.
    Request,
    Close,
    /// The header of a stream has been sent.
    Stream(Streaming),
}

/// A stream that has begun.
pub struct Streaming {
    pub chunks: Box<dyn Chunks>,
    pub status: StatusCode,
    pub asked: Asked,
    pub running: Running,
}

/// The request, as the log tells of it.
pub struct Asked {
    pub id: String,
    pub method: Method,
    pub path: String,
    pub started: Instant,
    pub principal: Option<Arc<Principal>>,
}

impl Asked {
    /// Good answers are many; what was refused or broken off is worth a line.
    pub fn log(&self, outcome: &str) {
        let duration_ms = self.started.elapsed().as_millis() as u64;
        let key_id = self.principal.as_ref().map(|p| &*p.key);
        // The rest of an upload's path is its credential.
        let path = if self.path.starts_with("/uploads/") { "/uploads/..." } else { &*self.path };
        let (request_id, method) = (&*self.id, self.method.as_str());
        if outcome < "400" {
            tracing::debug!(request_id, method, path, outcome, key_id, duration_ms, "request answered");
        } else {
            tracing::info!(request_id, method, path, outcome, key_id, duration_ms, "request not served");
        }
    }
}

impl Streaming {
    /// Sends the stream through its session, which waits as long. `true`: the connection may carry another request.
    pub async fn hold(self, session: &mut ServerSession, pace: Pace<'_>) -> bool {
        let streamed = write::stream(session, self.chunks, &pace, pace.over()).await;
        let sent = match streamed {
            Ok(()) => write::end(session, &pace).await.is_ok(),
            Err(write::Left) => false,
        };
        self.asked.log(if sent { self.status.as_str() } else { "left" });
        sent
    }
}

impl Streaming {
    /// The same for a stream of HTTP/2 whose request was read to the end: its session goes, what it writes to stays.
    pub async fn hold_http2(mut self, session: ServerSession, pace: Pace<'_>) {
        let ServerSession::H2(mut session) = session else { return };
        let Some(mut body) = session.take_response_body_writer() else { return };
        drop(session);
        let over = pace.over();
        tokio::pin!(over);
        let sent = loop {
            let chunk = tokio::select! {
                chunk = self.chunks.next() => chunk,
                _ = poll_fn(|cx| body.poll_reset(cx)) => break false,
                () = &mut over => None,
            };
            let (mut part, last) = match chunk {
                None => (Bytes::new(), true),
                Some(Ok(bytes)) => (bytes, false),
                Some(Err(error)) => {
                    tracing::warn!(%error, "the body broke off");
                    break false;
                }
            };
            // Parts of a body each have their time.
            let written = loop {
                let now = part.split_to(PART.min(part.len()));
                let write = Box::pin(write_body(&mut body, now, last, None));
                match timely(&pace, write).await {
                    Ok(()) if part.is_empty() => break true,
                    Ok(()) => {}
                    Err(write::Left) => break false,
                }
            };
            if last || !written {
                break written;
            }
        };
        self.asked.log(if sent { self.status.as_str() } else { "left" });
    }
}

/// Counts a request from its head to its end.
pub struct Running(watch::Sender<usize>);

impl Running {
    pub fn start(count: &watch::Sender<usize>) -> Running {
        count.send_modify(|n| *n += 1);
        Running(count.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n -= 1);
    }
}
