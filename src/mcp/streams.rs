//! What a client listens to that outlives one request: the stream of a session, and that of the old HTTP+SSE transport.

use super::{
    Inner,
    sessions::{Pings, Session},
    sse::SseStream,
    watching::{Watching, updated},
    wire::{
        frame,
        listening::{Lists, News},
        sse::{self, BEAT},
    },
};
use bytes::Bytes;
use serde_json::Map;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// A stream that nothing but its own end, or the client, ends.
pub enum Listening {
    /// Of the blocking profile.
    Pings(Pings),
    Session(Box<SessionStream>),
    Sse(SseStream),
}

impl Listening {
    /// The next event; `None` at the end. May be dropped and called again.
    pub async fn next(&mut self) -> Option<Bytes> {
        match self {
            Listening::Pings(stream) => stream.next().await,
            Listening::Session(stream) => stream.next().await,
            Listening::Sse(stream) => stream.next().await,
        }
    }
}

/// The stream of a session: changes of lists and of watched resources. It never carries an answer.
pub struct SessionStream {
    inner: Arc<Inner>,
    session: Session,
    /// Its number among the streams of the session.
    number: u64,
    watching: Watching,
    changed: watch::Receiver<()>,
    news: watch::Receiver<News>,
    told: u64,
    heartbeat: Duration,
    next_beat: Instant,
    until: Instant,
    /// Nothing was sent yet.
    fresh: bool,
}

impl SessionStream {
    pub(super) fn new(inner: &Arc<Inner>, session: Session, team: &str) -> SessionStream {
        let heartbeat = *inner.settings.load().heartbeat;
        let number = inner.sessions.take_stream(&session);
        let watching = Watching::new(inner, team, inner.sessions.watches(&session));
        let mut news = inner.news.subscribe();
        let told = news.borrow_and_update().lists;
        SessionStream {
            number,
            watching,
            changed: inner.sessions.changes(),
            told,
            news,
            heartbeat,
            next_beat: Instant::now() + heartbeat,
            until: session.until(inner.clock.now_ms()),
            session,
            inner: Arc::clone(inner),
            fresh: true,
        }
    }

    async fn next(&mut self) -> Option<Bytes> {
        // Some proxies hold a stream back until its first byte.
        if std::mem::take(&mut self.fresh) {
            return Some(Bytes::from_static(BEAT));
        }
        loop {
            let news = *self.news.borrow_and_update();
            if news.over || !self.inner.sessions.is_told(&self.session, self.number) {
                return None;
            }
            if news.lists != self.told {
                self.told = news.lists;
                return Some(self.sent(lists_changed()));
            }
            tokio::select! {
                changed = self.news.changed() => changed.ok()?,
                changed = self.changed.changed() => changed.ok()?,
                uri = self.watching.next() => {
                    let event = sse::data(&updated(&uri));
                    return Some(self.sent(event));
                }
                () = sleep_until(self.until) => return None,
                () = sleep_until(self.next_beat) => return Some(self.sent(Bytes::from_static(BEAT))),
            }
        }
    }

    fn sent(&mut self, event: Bytes) -> Bytes {
        self.next_beat = Instant::now() + self.heartbeat;
        event
    }
}

impl Drop for SessionStream {
    fn drop(&mut self) {
        self.inner.sessions.close_stream(&self.session, self.number);
    }
}

/// The events that say that every list may have changed.
fn lists_changed() -> Bytes {
    let methods = Lists::ALL.methods();
    let events: Vec<Bytes> =
        methods.map(|method| sse::data(&frame::notification(method, Map::new()))).collect();
    events.concat().into()
}
