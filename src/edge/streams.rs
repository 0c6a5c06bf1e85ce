//! How many streams each principal holds open, and their end when its key or token ends.

use super::answer::Chunks;
use crate::auth::Keys;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use parking_lot::Mutex;
use std::{collections::HashMap, io, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// How often a credential is looked at whose end nobody announces: it expires, or its issuer takes a key away.
const LOOK: Duration = Duration::from_secs(30);

#[derive(Clone, Default)]
pub struct Streams(Arc<Mutex<HashMap<Arc<str>, u32>>>);

impl Streams {
    pub fn open(&self, principal: &str) -> u32 {
        self.0.lock().get(principal).copied().unwrap_or_default()
    }

    /// Counts a stream as open until this is dropped.
    pub fn count(&self, principal: &Arc<str>) -> Open {
        *self.0.lock().entry(principal.clone()).or_default() += 1;
        Open { principal: principal.clone(), streams: self.clone() }
    }
}

/// One open stream of a principal.
pub struct Open {
    principal: Arc<str>,
    streams: Streams,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut all = self.streams.0.lock();
        if let Some(open) = all.get_mut(&self.principal) {
            *open -= 1;
            if *open == 0 {
                all.remove(&self.principal);
            }
        }
    }
}

/// A stream that ends with the credential it was opened with.
pub struct WhileGood {
    chunks: Box<dyn Chunks>,
    keys: Arc<Keys>,
    credential: Option<HeaderValue>,
    changes: watch::Receiver<()>,
    look: Instant,
    _open: Open,
}

impl WhileGood {
    /// `headers` are those of the request.
    pub fn new(chunks: Box<dyn Chunks>, keys: &Arc<Keys>, headers: &HeaderMap, open: Open) -> WhileGood {
        WhileGood {
            chunks,
            keys: keys.clone(),
            // Copied: a clone would keep the buffer that the whole header was read into.
            credential: headers.get(AUTHORIZATION).and_then(|v| HeaderValue::from_bytes(v.as_bytes()).ok()),
            changes: keys.changes(),
            // Looked at once more at its first part: nothing is missed between the door and here.
            look: Instant::now(),
            _open: open,
        }
    }
}

#[async_trait]
impl Chunks for WhileGood {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        let mut next = self.chunks.next();
        loop {
            tokio::select! {
                chunk = &mut next => return chunk,
                Ok(()) = self.changes.changed() => {}
                () = sleep_until(self.look) => self.look = Instant::now() + LOOK,
            }
            let credential = self.credential.iter().map(|value| (AUTHORIZATION, value.clone())).collect();
            // Rarely needed and large: not a part of what every stream holds while it waits.
            if !Box::pin(self.keys.still(&credential)).await {
                return None;
            }
        }
    }
}
