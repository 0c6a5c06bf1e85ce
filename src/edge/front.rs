//! Connections: how many, how long each may stay silent, and which protocol it speaks.

use super::{answer::Refusal, exchange::Exchange, head};
use async_trait::async_trait;
use bytes::BytesMut;
use http::StatusCode;
use pingora::{
    apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp},
    protocols::{ALPN, Stream, http::ServerSession},
    server::ShutdownWatch,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A new connection may still ask one thing while the gateway stops, if it asks soon.
const LAST_CALL: Duration = Duration::from_secs(1);

/// Every connection passes here first. Pingora limits neither their number nor the time to the first byte.
pub struct Front {
    pub exchange: Arc<Exchange>,
    pub http2: Arc<Http2>,
    pub slots: Arc<Semaphore>,
}

#[async_trait]
impl ServerApp for Front {
    async fn process_new(self: &Arc<Self>, mut stream: Stream, _: &ShutdownWatch) -> Option<Stream> {
        let _slot = self.slots.try_acquire().ok()?; // full: dropped at once
        let tls_http2 = matches!(stream.selected_alpn_proto(), Some(ALPN::H2));
        let deadline = match tls_http2 {
            true => Instant::now(),
            false => self.first_byte(&mut stream, true).await?,
        };
        if tls_http2 || self.is_http2(&mut stream, deadline).await? {
            self.http2.process_new(stream, &self.exchange.stop).await;
        } else {
            self.http1(stream, deadline).await;
        }
        None
    }
}

impl Front {
    /// Waits until something is sent, and says when its head must be complete. `None`: the connection is over.
    async fn first_byte(&self, stream: &mut Stream, newcomer: bool) -> Option<Instant> {
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
            tokio::select! {
                peeked = timeout(*limits.idle_timeout, peek) => peeked,
                _ = stop.wait_for(|stop| *stop) => return None, // nothing was asked yet
            }
        };
        match peeked.ok()?.ok()? {
            true => Some(Instant::now() + *limits.header_timeout),
            // TLS cannot be peeked: silence and header share one deadline there.
            false => Some(Instant::now() + *limits.idle_timeout),
        }
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

    async fn http1(&self, mut stream: Stream, mut deadline: Instant) {
        let mut ahead: Option<BytesMut> = None;
        loop {
            let mut session = ServerSession::new_http1(stream);
            session.set_keepalive(Some(0)); // the deadlines are ours; the client's header decides from here on
            session.set_pipelining_enabled(true);
            if let Some(bytes) = ahead.take() {
                session.set_pipelined_prefix(bytes);
            }
            if !self.read_head(&mut session, deadline).await || !self.exchange.run(&mut session).await {
                return;
            }
            let finished = timeout(*self.exchange.limits.body_idle_timeout, session.finish()).await;
            let Ok(Ok(Some(reusable))) = finished else { return };
            (stream, ahead) = reusable.into_parts();
            deadline = match ahead {
                Some(_) => Instant::now() + *self.exchange.limits.header_timeout,
                None => match self.first_byte(&mut stream, false).await {
                    Some(deadline) => deadline,
                    None => return,
                },
            };
        }
    }

    async fn read_head(&self, session: &mut ServerSession, deadline: Instant) -> bool {
        let refusal = match timeout_at(deadline, session.read_request()).await {
            Ok(Ok(read)) => return read,
            Ok(Err(error)) => head::unreadable(&error),
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
        self.exchange.run(&mut session).await;
        None
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}
