//! The floor: the same HTTP library with the same settings, doing nothing else. `GET` or `POST /N` is answered with N
//! constant bytes, `GET /stream` with an event and then nothing more. Runs as a process of its own.

use anyhow::Result;
use async_trait::async_trait;
use bytes::Bytes;
use pingora::{
    apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream},
    http::ResponseHeader,
    listeners::ListenerConfig,
    protocols::{http::ServerSession, l4::stream::L4BufferSettings},
    server::{Fds, ShutdownWatch},
    services::{Service as _, listening::Service},
};
use std::{net::TcpListener, os::fd::IntoRawFd as _, sync::Arc};
use tokio::sync::watch;

/// The longest answer.
const LONGEST: usize = 8 << 20;

struct Floor(Bytes);

impl Floor {
    async fn answer(&self, session: &mut ServerSession) -> pingora::Result<()> {
        let path = session.req_header().uri.path();
        if path == "/stream" {
            return self.hold(session).await;
        }
        let length = path.trim_start_matches('/').parse().unwrap_or(0).min(LONGEST);
        while session.read_request_body().await?.is_some() {}
        let mut head = ResponseHeader::build(200, Some(3))?;
        head.insert_header("content-type", "application/json")?;
        head.insert_header("content-length", length)?;
        session.write_response_header(Box::new(head)).await?;
        session.write_response_body(self.0.slice(..length), true).await
    }

    /// A stream that waits until its client leaves.
    async fn hold(&self, session: &mut ServerSession) -> pingora::Result<()> {
        let mut head = ResponseHeader::build(200, Some(2))?;
        head.insert_header("content-type", "text/event-stream")?;
        head.insert_header("transfer-encoding", "chunked")?;
        session.write_response_header(Box::new(head)).await?;
        session.write_response_body(Bytes::from_static(b": here\n\n"), false).await?;
        session.read_body_or_idle(true).await.map(|_| ())
    }
}

#[async_trait]
impl HttpServerApp for Floor {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        _: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if !session.read_request().await.ok()? {
            return None;
        }
        self.answer(&mut session).await.ok()?;
        let settings = HttpPersistentSettings::for_session(&session);
        session
            .finish()
            .await
            .ok()?
            .map(|reusable| ReusedHttpStream::from_reusable_stream(reusable, settings))
    }
}

/// Serves until it is killed.
///
/// # Errors
/// No socket can be had.
pub fn serve() -> Result<()> {
    rustls::crypto::ring::default_provider().install_default().ok();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?.to_string();
        let mut fds = Fds::new();
        fds.add(bound.clone(), listener.into_raw_fd());
        let mut service = Service::new("floor".into(), Floor(Bytes::from(vec![b'x'; LONGEST])));
        service.add_listener(ListenerConfig::tcp(bound.clone()).l4_buffer(L4BufferSettings::new(0, 4096)));
        println!("listening on http://{bound}");
        let (_stop, stopped) = watch::channel(false);
        service.start_service(Some(Arc::new(parking_lot::Mutex::new(fds))), stopped, 1).await;
        Ok(())
    })
}
