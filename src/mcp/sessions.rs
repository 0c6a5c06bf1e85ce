//! Sessions of the older eras' clients: an id at `initialize`, a stream to listen on, an end.
//!
//! An id is sealed, not kept: it carries what the handshake said, under a signature that only holds for the key it was
//! given to. So it works on every node and after a restart, and no number of them takes memory. What is kept, on the
//! node that was told, is which ids were ended before their time, and of those that listen what they watch.

use super::{
    watching::WatchList,
    wire::{era::Version, frame::Id},
};
use crate::auth::Principal;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use bytes::Bytes;
use parking_lot::Mutex;
use ring::hmac;
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use uuid::Uuid;

/// A session ends by itself after this, and its client opens another.
const LIFE: Duration = Duration::from_secs(86_400);
/// Ended sessions that are remembered.
const ENDED_MAX: usize = 10_000;
/// Sessions that listen or watch, of all clients.
const LISTENING_MAX: usize = 10_000;
/// Longest name of a client that an id carries, in characters.
const CLIENT_MAX: usize = 60;
/// Longer ids are none of ours.
const ID_MAX: usize = 1_024;

/// The keys that session ids are signed with. Ids of a previous key work until they end.
#[derive(Clone, Default)]
pub struct SessionKeys {
    pub current: [u8; 32],
    pub previous: Vec<[u8; 32]>,
}

/// What an id stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    #[serde(rename = "n")]
    nonce: Uuid,
    /// Milliseconds UTC.
    #[serde(rename = "e")]
    ends_ms: i64,
    #[serde(rename = "v")]
    version: String,
    /// `clientInfo.name` of the handshake.
    #[serde(rename = "c")]
    pub client: Option<String>,
    /// Its client renders the pages of MCP Apps.
    #[serde(rename = "a", default, skip_serializing_if = "std::ops::Not::not")]
    pub apps: bool,
}

impl Session {
    /// What tells it from all others.
    pub fn nonce(&self) -> Uuid {
        self.nonce
    }

    /// When it ends by itself.
    pub fn until(&self, now_ms: i64) -> Instant {
        Instant::now() + Duration::from_millis(u64::try_from(self.ends_ms - now_ms).unwrap_or(0))
    }

    pub fn version(&self) -> Option<Version> {
        Version::parse(&self.version)
    }
}

pub struct Sessions {
    sign: hmac::Key,
    accept: Vec<hmac::Key>,
    /// Ended before their time, with the time that was.
    ended: Mutex<HashMap<Uuid, i64>>,
    listening: Mutex<HashMap<Uuid, Live>>,
    /// Requests that run here, by session and id, to be cancelled.
    running: Mutex<HashMap<(Uuid, Id), Arc<Notify>>>,
    changed: watch::Sender<()>,
}

/// A request that its client can cancel, as long as this is there.
pub struct Cancellable {
    sessions: Arc<Sessions>,
    key: (Uuid, Id),
    cancelled: Arc<Notify>,
}

impl Cancellable {
    /// Ends when the client has cancelled the request.
    pub async fn cancelled(&self) {
        self.cancelled.notified().await;
    }
}

impl Drop for Cancellable {
    fn drop(&mut self) {
        let mut running = self.sessions.running.lock();
        // An id that was used twice is the later request's.
        if running.get(&self.key).is_some_and(|other| Arc::ptr_eq(other, &self.cancelled)) {
            running.remove(&self.key);
        }
    }
}

/// What is kept of a session that listens or watches.
struct Live {
    ends_ms: i64,
    watches: Arc<WatchList>,
    /// Counts its streams: what is told goes to the newest only.
    stream: u64,
}

impl Sessions {
    pub fn new(keys: &SessionKeys) -> Sessions {
        let key = |bytes: &[u8; 32]| hmac::Key::new(hmac::HMAC_SHA256, bytes);
        Sessions {
            sign: key(&keys.current),
            accept: std::iter::once(&keys.current).chain(&keys.previous).map(key).collect(),
            ended: Mutex::default(),
            listening: Mutex::default(),
            running: Mutex::default(),
            changed: watch::Sender::new(()),
        }
    }

    /// A new id for a client of this principal.
    pub fn open(
        &self,
        of: &Principal,
        version: Version,
        client: Option<&str>,
        apps: bool,
        now_ms: i64,
    ) -> String {
        let session = Session {
            nonce: Uuid::new_v4(),
            ends_ms: now_ms.saturating_add(i64::try_from(LIFE.as_millis()).unwrap_or(i64::MAX)),
            version: version.as_str().to_owned(),
            client: client.map(|name| name.chars().take(CLIENT_MAX).collect()),
            apps,
        };
        let told = BASE64.encode(serde_json::to_vec(&session).unwrap_or_default());
        let tag = hmac::sign(&self.sign, &signed(&told, of));
        format!("{told}.{}", BASE64.encode(tag))
    }

    /// The session of an id; `None`: it has ended, is somebody else's, or never was.
    pub fn find(&self, id: &str, of: &Principal, now_ms: i64) -> Option<Session> {
        let (told, tag) = id.split_once('.').filter(|_| id.len() <= ID_MAX)?;
        let tag = BASE64.decode(tag).ok()?;
        let text = signed(told, of);
        self.accept.iter().find(|key| hmac::verify(key, &text, &tag).is_ok())?;
        let session: Session = serde_json::from_slice(&BASE64.decode(told).ok()?).ok()?;
        let live = now_ms < session.ends_ms && !self.ended.lock().contains_key(&session.nonce);
        live.then_some(session)
    }

    pub fn end(&self, session: &Session, now_ms: i64) {
        {
            let mut ended = self.ended.lock();
            if ended.len() >= ENDED_MAX {
                ended.retain(|_, ends| *ends > now_ms);
            }
            if ended.len() >= ENDED_MAX {
                let first = ended.iter().min_by_key(|(_, ends)| **ends).map(|(nonce, _)| *nonce);
                first.and_then(|nonce| ended.remove(&nonce));
            }
            ended.insert(session.nonce, session.ends_ms);
        }
        self.listening.lock().remove(&session.nonce);
        self.changed.send_replace(());
    }

    /// A request of a session begins.
    pub fn begin(self: &Arc<Sessions>, session: Uuid, id: &Id) -> Cancellable {
        let (key, cancelled) = ((session, id.clone()), Arc::new(Notify::new()));
        self.running.lock().insert(key.clone(), Arc::clone(&cancelled));
        Cancellable { sessions: Arc::clone(self), key, cancelled }
    }

    /// Cancels a request of this session; one that is unknown, or of another session, is let be.
    pub fn cancel(&self, session: &Session, id: Id) {
        if let Some(cancelled) = self.running.lock().get(&(session.nonce, id)) {
            cancelled.notify_one();
        }
    }

    /// What a session watches.
    pub fn watches(&self, session: &Session) -> Arc<WatchList> {
        self.live(session, |live| Arc::clone(&live.watches))
    }

    /// A new stream of this session; the one before it ends. Gives its number.
    pub fn take_stream(&self, session: &Session) -> u64 {
        let number = self.live(session, |live| {
            live.stream += 1;
            live.stream
        });
        self.changed.send_replace(());
        number
    }

    fn live<T>(&self, session: &Session, with: impl FnOnce(&mut Live) -> T) -> T {
        let mut all = self.listening.lock();
        if all.len() >= LISTENING_MAX && !all.contains_key(&session.nonce) {
            let first = all.iter().min_by_key(|(_, live)| live.ends_ms).map(|(nonce, _)| *nonce);
            first.and_then(|nonce| all.remove(&nonce));
        }
        with(all.entry(session.nonce).or_insert_with(|| Live {
            ends_ms: session.ends_ms,
            watches: Arc::default(),
            stream: 0,
        }))
    }

    /// Whether a stream is still the one that is told.
    pub fn is_told(&self, session: &Session, stream: u64) -> bool {
        self.listening.lock().get(&session.nonce).is_some_and(|live| live.stream == stream)
    }

    /// A stream was closed; of a session that watches nothing, nothing is kept.
    pub fn close_stream(&self, session: &Session, stream: u64) {
        let mut all = self.listening.lock();
        if all.get(&session.nonce).is_some_and(|live| live.stream == stream && live.watches.is_empty()) {
            all.remove(&session.nonce);
        }
    }

    /// Hears when sessions end or their streams are replaced.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The stream of a session of the blocking profile, to be ended with it.
    pub fn pings(self: &Arc<Sessions>, session: Session, now_ms: i64, heartbeat: Duration) -> Pings {
        Pings {
            changed: self.changed.subscribe(),
            sessions: Arc::clone(self),
            until: session.until(now_ms),
            session,
            heartbeat,
            next_beat: Instant::now() + heartbeat,
            next_id: 0,
        }
    }
}

/// Under the team and key of its principal, so that nobody else can use it.
fn signed(told: &str, of: &Principal) -> Vec<u8> {
    format!("session-1|{}:{}|{}:{}|{told}", of.team.len(), of.team, of.key.len(), of.key).into_bytes()
}

/// The stream of a session of the blocking profile, as the second predecessor's clients know it. It tells that it is
/// there and nothing else: answers go where the questions came from.
pub struct Pings {
    sessions: Arc<Sessions>,
    session: Session,
    changed: watch::Receiver<()>,
    heartbeat: Duration,
    next_beat: Instant,
    until: Instant,
    next_id: u64,
}

impl Pings {
    /// The next event; `None` when the session has ended. May be dropped and called again.
    pub async fn next(&mut self) -> Option<Bytes> {
        while self.next_id > 0 {
            if self.sessions.ended.lock().contains_key(&self.session.nonce) {
                return None;
            }
            tokio::select! {
                changed = self.changed.changed() => changed.ok()?,
                () = tokio::time::sleep_until(self.until) => return None,
                () = tokio::time::sleep_until(self.next_beat) => {
                    self.next_beat += self.heartbeat;
                    return Some(self.event("ping", r#"{"type": "keepalive"}"#));
                }
            }
        }
        Some(self.event("connected", r#"{"status": "connected"}"#))
    }

    fn event(&mut self, name: &str, data: &str) -> Bytes {
        let id = self.next_id;
        self.next_id += 1;
        format!("id: {id}\nevent: {name}\ndata: {data}\n\n").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Scope;

    const NOW: i64 = 1_800_000_000_000;

    fn sessions() -> Arc<Sessions> {
        Arc::new(Sessions::new(&SessionKeys { current: [1; 32], previous: vec![[2; 32]] }))
    }
    fn alice() -> Principal {
        Principal::new("team", "alice", &Scope::ALL)
    }

    #[test]
    fn an_id_says_what_the_handshake_said_and_only_to_its_own_key() {
        let sessions = sessions();
        let id = sessions.open(&alice(), Version::V2025_06_18, Some("cursor"), false, NOW);
        assert!(id.bytes().all(|b| b.is_ascii_graphic()), "a header can carry it: {id}");
        let found = sessions.find(&id, &alice(), NOW).unwrap();
        assert_eq!((found.version(), found.client.as_deref()), (Some(Version::V2025_06_18), Some("cursor")));
        for other in [Principal::new("team", "bob", &[]), Principal::new("other", "alice", &[])] {
            assert_eq!(sessions.find(&id, &other, NOW), None, "{other:?}");
        }
        assert_ne!(
            id,
            sessions.open(&alice(), Version::V2025_06_18, Some("cursor"), false, NOW),
            "each is new"
        );
    }

    #[test]
    fn an_id_ends_by_time_by_order_and_with_a_changed_letter() {
        let sessions = sessions();
        let id = sessions.open(&alice(), Version::V2025_06_18, None, false, NOW);
        assert!(sessions.find(&id, &alice(), NOW + 86_399_999).is_some());
        assert!(sessions.find(&id, &alice(), NOW + 86_400_000).is_none(), "after a day");
        for n in [0, 10, id.len() - 2] {
            let mut bytes = id.clone().into_bytes();
            bytes[n] = if bytes[n] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(sessions.find(&changed, &alice(), NOW).is_none(), "letter {n}");
        }
        for foreign in ["", ".", "b6bd0ad4-3a30-4e0c-8f0e-6a5c0e0f1a2b", &"x".repeat(5_000)] {
            assert!(sessions.find(foreign, &alice(), NOW).is_none());
        }
        let session = sessions.find(&id, &alice(), NOW).unwrap();
        sessions.end(&session, NOW);
        assert!(sessions.find(&id, &alice(), NOW).is_none(), "by order");
    }

    #[test]
    fn an_id_outlives_a_restart_and_a_changed_secret() {
        let old = Sessions::new(&SessionKeys { current: [2; 32], previous: Vec::new() });
        let id = old.open(&alice(), Version::V2025_06_18, None, false, NOW);
        assert!(sessions().find(&id, &alice(), NOW).is_some(), "the previous key still verifies");
        let other = Sessions::new(&SessionKeys { current: [3; 32], previous: Vec::new() });
        assert!(other.find(&id, &alice(), NOW).is_none());
    }

    #[test]
    fn the_ended_ones_that_are_remembered_are_bounded() {
        let sessions = sessions();
        let mut last = String::new();
        for n in 0..=ENDED_MAX as i64 {
            last = sessions.open(&alice(), Version::V2025_06_18, None, false, NOW + n);
            let session = sessions.find(&last, &alice(), NOW + n).unwrap();
            sessions.end(&session, NOW + n);
        }
        assert_eq!(sessions.ended.lock().len(), ENDED_MAX);
        assert!(sessions.find(&last, &alice(), NOW).is_none(), "the newest is among them");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_says_that_it_is_alive_until_its_session_ends() {
        let sessions = sessions();
        let id = sessions.open(&alice(), Version::V2025_06_18, None, false, NOW);
        let session = sessions.find(&id, &alice(), NOW).unwrap();
        let (mut one, mut other) = (
            sessions.pings(session.clone(), NOW, Duration::from_secs(15)),
            sessions.pings(session.clone(), NOW, Duration::from_secs(15)),
        );
        for stream in [&mut one, &mut other] {
            let first = stream.next().await.unwrap();
            assert_eq!(first, "id: 0\nevent: connected\ndata: {\"status\": \"connected\"}\n\n");
            let beat = stream.next().await.unwrap();
            assert_eq!(beat, "id: 1\nevent: ping\ndata: {\"type\": \"keepalive\"}\n\n");
        }
        sessions.end(&session, NOW);
        assert!(one.next().await.is_none() && other.next().await.is_none(), "both, not only the first");
    }
}
