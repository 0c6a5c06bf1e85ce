//! An answer that is a stream without a known length, from the end of its header on.

use super::{
    answer::Chunks,
    write::{self, Pace},
};
use crate::auth::Principal;
use http::{Method, StatusCode};
use pingora::protocols::http::ServerSession;
use std::sync::Arc;
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
        let (request_id, method, path) = (&*self.id, self.method.as_str(), &*self.path);
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
