//! The HTTP+SSE transport of 2024-11-05: a stream on one path, messages posted to another, answers on the stream.
//!
//! The stream is the session, and lives on the node that it was opened at: with several nodes, both paths have to lead
//! to the same one. The id is sealed for the key that opened it, so another key's post finds nothing.

use super::{
    Inner, Mcp, Reply,
    batch::Batch,
    call::Profile,
    connection::{Connection, Eras, Input, Said},
    errors::Fault,
    http::{accepted, refuse_unheard},
    streams::Listening,
    wire::{
        era::Version,
        frame,
        headers::{self, Headers},
        listening::News,
        sse::{self, BEAT},
    },
};
use crate::auth::Principal;
use bytes::Bytes;
use http::Method;
use parking_lot::Mutex;
use serde_json::Value;
use std::{collections::HashMap, io, sync::Arc, time::Duration};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::AbortHandle,
    time::{Instant, sleep_until},
};
use uuid::Uuid;

/// Posted messages that wait to be taken up; more are refused until there is room.
const INBOX: usize = 16;
/// Answers that wait to be read.
const OUTBOX: usize = 16;
/// Memory of the messages that wait or run, of all streams, in KiB; posts beyond it are refused until there is room.
const ROOM_KIB: usize = 64 << 10;
/// A stream on which nothing was answered for so long ends; its client opens another.
const IDLE: Duration = Duration::from_secs(3_600);
/// The parameter that names the stream.
const PARAMETER: &str = "session_id";

/// The open streams, and where their messages go.
pub struct SseStreams {
    /// Boxed: an inbox has room for its messages from the beginning, and most are never used.
    open: Mutex<HashMap<Uuid, mpsc::Sender<Box<Said>>>>,
    room: Arc<Semaphore>,
}

impl Default for SseStreams {
    fn default() -> Self {
        SseStreams { open: Mutex::default(), room: Arc::new(Semaphore::new(ROOM_KIB)) }
    }
}

impl SseStreams {
    fn inbox(&self, nonce: Uuid) -> Option<mpsc::Sender<Box<Said>>> {
        self.open.lock().get(&nonce).cloned()
    }
}

/// One open stream. Dropping it ends its session: what runs is given up, its jobs go on.
pub struct SseStream {
    inner: Arc<Inner>,
    nonce: Uuid,
    /// Sent first: where to post.
    endpoint: Option<Bytes>,
    outbox: mpsc::Receiver<Vec<u8>>,
    serving: AbortHandle,
    news: watch::Receiver<News>,
    heartbeat: Duration,
    next_beat: Instant,
    idle: Instant,
    /// When its id ends, and with it what may be posted.
    ends: Instant,
    /// The server stops.
    ended: bool,
}

impl SseStream {
    pub async fn next(&mut self) -> Option<Bytes> {
        if let Some(endpoint) = self.endpoint.take() {
            return Some(endpoint);
        }
        tokio::select! {
            biased;
            json = self.outbox.recv() => {
                let now = Instant::now();
                (self.next_beat, self.idle) = (now + self.heartbeat, self.ends.min(now + IDLE));
                json.map(|json| sse::data(&json))
            }
            _ = self.news.wait_for(|news| news.over), if !self.ended => {
                // No message comes any more: what was asked before is answered, then the outbox closes.
                self.ended = true;
                self.inner.streams.open.lock().remove(&self.nonce);
                Some(Bytes::from_static(BEAT))
            }
            () = sleep_until(self.idle) => None,
            () = sleep_until(self.next_beat) => {
                self.next_beat = Instant::now() + self.heartbeat;
                Some(Bytes::from_static(BEAT))
            }
        }
    }
}

impl Drop for SseStream {
    fn drop(&mut self) {
        self.inner.streams.open.lock().remove(&self.nonce);
        self.serving.abort();
    }
}

impl Input for mpsc::Receiver<Box<Said>> {
    async fn next(&mut self) -> io::Result<Option<Said>> {
        Ok(self.recv().await.map(|said| *said))
    }
}

impl Mcp {
    /// Answers one request on `mcp.paths.sse`: `GET` opens a stream of the old transport, all else is as on
    /// `mcp.paths.jobs`. Checks and cancellation are those of [`Mcp::http`].
    pub async fn sse(&self, request: http::Request<Bytes>, principal: Arc<Principal>) -> Reply {
        let headers = Headers::read(request.headers());
        let modern = headers.version.one().and_then(Version::parse).is_some_and(Version::is_modern);
        let newer = modern || headers.session != headers::Header::Absent;
        match &self.inner.messages {
            Some(path) if request.method() == Method::GET && !newer => self.open(path, &headers, principal),
            _ => self.http(request, principal, Profile::Job).await,
        }
    }

    fn open(&self, path: &str, headers: &Headers, principal: Arc<Principal>) -> Reply {
        if !headers.accept.stream {
            return refuse_unheard(&Fault::not_acceptable());
        }
        let inner = &self.inner;
        let now_ms = inner.clock.now_ms();
        let id = inner.sessions.open(&principal, Version::V2024_11_05, None, false, now_ms);
        let Some(session) = inner.sessions.find(&id, &principal, now_ms) else {
            return refuse_unheard(&Fault::internal());
        };
        let (inbox, messages) = mpsc::channel(INBOX);
        let (out, outbox) = mpsc::channel(OUTBOX);
        let connection = Connection::new(self, Profile::Job, principal, Eras::Older, out);
        let serving = tokio::spawn(connection.serve(messages)).abort_handle();
        inner.streams.open.lock().insert(session.nonce(), inbox);
        let heartbeat = *inner.settings.load().heartbeat;
        let (now, ends) = (Instant::now(), session.until(now_ms));
        let endpoint = format!("event: endpoint\ndata: {path}?{PARAMETER}={id}\n\n");
        let stream = SseStream {
            inner: Arc::clone(inner),
            nonce: session.nonce(),
            endpoint: Some(endpoint.into()),
            outbox,
            serving,
            news: inner.news.subscribe(),
            heartbeat,
            next_beat: now + heartbeat,
            idle: ends.min(now + IDLE),
            ends,
            ended: false,
        };
        Reply::Listen(sse::head(), Listening::Sse(stream))
    }

    /// Answers one request on `mcp.paths.messages`: a message for an open stream.
    pub async fn messages(&self, request: http::Request<Bytes>, principal: Arc<Principal>) -> Reply {
        match self.post(&request, principal) {
            Ok(()) => accepted(),
            Err(fault) => refuse_unheard(&fault),
        }
    }

    fn post(&self, request: &http::Request<Bytes>, principal: Arc<Principal>) -> Result<(), Fault> {
        if request.method() != Method::POST {
            return Err(Fault::not_a_post());
        }
        if !headers::is_json(request.headers()) {
            return Err(Fault::not_json());
        }
        let query = request.uri().query().unwrap_or_default();
        let id = query.split('&').find_map(|pair| pair.strip_prefix(PARAMETER)?.strip_prefix('='));
        let id =
            id.ok_or_else(|| Fault::invalid_request("session_id is missing: post to the stream's endpoint"))?;
        let session = self.inner.sessions.find(id, &principal, self.inner.clock.now_ms());
        let session = session.ok_or_else(|| Fault::no_session(id))?;
        let inbox = self.inner.streams.inbox(session.nonce()).ok_or_else(Fault::no_stream)?;
        let idempotency_key = idempotency_key(request)?;
        let message = frame::parse(request.body())?;
        if let (Value::Array(items), Some(_)) = (&message, &idempotency_key) {
            Batch::keyed(items)?;
        }
        let kib = u32::try_from(request.body().len() >> 10).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.inner.streams.room);
        let share = room.try_acquire_many_owned(kib).map_err(|_| Fault::too_many_messages())?;
        let principal = Some(principal);
        let said = Said { message: Ok(message), principal, idempotency_key, share: Some(share) };
        inbox.try_send(Box::new(said)).map_err(|_| Fault::too_many_messages())
    }
}

fn idempotency_key(request: &http::Request<Bytes>) -> Result<Option<String>, Fault> {
    match Headers::read(request.headers()).idempotency_key {
        headers::Header::Malformed => Err(Fault::malformed_key()),
        header => Ok(header.one().map(str::to_owned)),
    }
}
