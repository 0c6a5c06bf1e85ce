//! Connections: how many, how long each may stay silent, and which protocol it speaks.

use super::{answer::Refusal, exchange::Exchange, head, park, streaming::Next};
use async_trait::async_trait;
use bytes::BytesMut;
use http::StatusCode;
use pingora::{
    apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp},
    protocols::{ALPN, Stream, http::ServerSession},
    server::ShutdownWatch,
};
use std::{pin::Pin, sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A new connection may still ask one thing while the gateway stops, if it asks soon; and a request that was on its
/// way to an idle one is answered, not cut off.
const LAST_CALL: Duration = Duration::from_millis(500);

/// When the head of the next request must be complete.
#[derive(Clone, Copy)]
struct Due {
    at: Instant,
    /// Something was sent already. TLS cannot be peeked: there it is not known.
    heard: bool,
}

/// Every connection passes here first. Pingora limits neither their number nor the time to the first byte.
pub struct Front {
    pub exchange: Arc<Exchange>,
    pub http2: Arc<Http2>,
    pub slots: Arc<Semaphore>,
}

#[async_trait]
impl ServerApp for Front {
    async fn process_new(self: &Arc<Self>, mut stream: Stream, _: &ShutdownWatch) -> Option<Stream> {
        let slot = self.slots.clone().try_acquire_owned().ok()?; // full: dropped at once
        let tls_http2 = matches!(stream.selected_alpn_proto(), Some(ALPN::H2));
        if tls_http2 {
            self.http2.process_new(stream, &self.exchange.stop).await;
            return None;
        }
        let due = self.first_byte(&mut stream, true).await?;
        if due.heard && self.is_http2(&mut stream, due.at).await? {
            self.http2.process_new(stream, &self.exchange.stop).await;
        } else {
            self.clone().http1(stream, None, due, slot).await;
        }
        None
    }
}

impl Front {
    /// Waits until something is sent, and says when its head must be complete. `None`: the connection is over.
    async fn first_byte(&self, stream: &mut Stream, newcomer: bool) -> Option<Due> {
        let limits = &self.exchange.limits;
        let mut stop = self.exchange.stop.clone();
        let mut byte = [0];
        let peek = stream.try_peek(&mut byte);
        let stopping = *stop.borrow();
        if stopping && !newcomer {
            return None;
        }
        let peeked = if stopping {
            timeout(LAST_CALL, peek).await
        } else {
            let last_call = async {
                stop.wait_for(|stop| *stop).await.ok();
                tokio::time::sleep(LAST_CALL).await;
            };
            tokio::select! {
                peeked = timeout(*limits.idle_timeout, peek) => peeked,
                () = last_call => return None,
            }
        };
        let heard = peeked.ok()?.ok()?;
        let patience = if heard || newcomer { *limits.header_timeout } else { *limits.idle_timeout };
        Some(Due { at: Instant::now() + patience, heard })
    }

    /// Whether the client opens with the preface of HTTP/2. No method of HTTP/1 begins like it, so three bytes decide.
    async fn is_http2(&self, stream: &mut Stream, deadline: Instant) -> Option<bool> {
        for length in [1, 3, PREFACE.len()] {
            let mut start = [0; PREFACE.len()];
            let peek = stream.try_peek(&mut start[..length]);
            if !timeout_at(deadline, peek).await.ok()?.ok()? || start[..length] != PREFACE[..length] {
                return Some(false);
            }
        }
        Some(true)
    }

    async fn http1(
        self: Arc<Self>,
        mut stream: Stream,
        mut ahead: Option<BytesMut>,
        mut due: Due,
        slot: OwnedSemaphorePermit,
    ) {
        loop {
            let mut session = ServerSession::new_http1(stream);
            session.set_keepalive(Some(0)); // the deadlines are ours; the client's header decides from here on
            session.set_pipelining_enabled(true);
            if let Some(bytes) = ahead.take() {
                session.set_pipelined_prefix(bytes);
            }
            if !self.read_head(&mut session, due).await {
                return;
            }
            let goes_on = match self.exchange.run(&mut session).await {
                Next::Request => true,
                Next::Close => false,
                Next::Stream(streaming) if park::can_park(&mut session) => {
                    return park::park(self, slot, session, streaming).await;
                }
                Next::Stream(streaming) => streaming.hold(&mut session, self.exchange.pace()).await,
            };
            if !goes_on {
                return;
            }
            let finished = timeout(*self.exchange.limits.body_idle_timeout, session.finish()).await;
            let Ok(Ok(Some(reusable))) = finished else { return };
            (stream, ahead) = reusable.into_parts();
            let Some(next) = self.next(&mut stream, ahead.is_some()).await else { return };
            due = next;
        }
    }

    /// When the next request of a connection is due, some of which may be here already.
    async fn next(&self, stream: &mut Stream, begun: bool) -> Option<Due> {
        match begun {
            true => Some(Due { at: Instant::now() + *self.exchange.limits.header_timeout, heard: true }),
            false => self.first_byte(stream, false).await,
        }
    }

    /// Goes on with a connection whose stream was parked and has ended.
    pub fn resume(
        self: Arc<Self>,
        mut stream: Stream,
        ahead: Option<BytesMut>,
        slot: OwnedSemaphorePermit,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            if let Some(due) = self.next(&mut stream, ahead.is_some()).await {
                self.http1(stream, ahead, due, slot).await;
            }
        })
    }

    async fn read_head(&self, session: &mut ServerSession, due: Due) -> bool {
        let mut stop = self.exchange.stop.clone();
        let stopped = async {
            if due.heard || stop.wait_for(|stop| *stop).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let read = tokio::select! {
            read = timeout_at(due.at, session.read_request()) => read,
            () = stopped => return false,
        };
        let refusal = match read {
            Ok(Ok(read)) => return read,
            Ok(Err(error)) => head::unreadable(&error),
            Err(_) if !due.heard => None, // most likely nothing was asked
            Err(_) => {
                let sentence = "The request's header came too slowly.";
                Some(Refusal::closing(StatusCode::REQUEST_TIMEOUT, sentence))
            }
        };
        if let Some(refusal) = refusal {
            self.exchange.refuse_unread(session, refusal).await;
        }
        session.shutdown().await;
        false
    }
}

/// Requests of HTTP/2 connections, with prior knowledge or by ALPN.
pub struct Http2 {
    exchange: Arc<Exchange>,
    options: HttpServerOptions,
}

impl Http2 {
    pub fn new(exchange: Arc<Exchange>) -> Http2 {
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        options.h2_idle_timeout = Some(*exchange.limits.idle_timeout);
        Http2 { exchange, options }
    }
}

#[async_trait]
impl HttpServerApp for Http2 {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        _: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        // A task per stream waits here: what read the request must not wait with it.
        if let Next::Stream(streaming) = Box::pin(self.exchange.run(&mut session)).await {
            let pace = self.exchange.pace();
            match session.is_body_done() {
                true => streaming.hold_http2(session, pace).await,
                false => drop(streaming.hold(&mut session, pace).await),
            }
        }
        None
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}
