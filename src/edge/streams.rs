//! How many streams each principal holds open, and their end when its key or token ends.

use super::answer::Chunks;
use crate::auth::Keys;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, header::AUTHORIZATION};
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

    /// Counts `chunks` as open until it is dropped.
    pub fn count(&self, principal: &Arc<str>, chunks: Box<dyn Chunks>) -> Box<dyn Chunks> {
        *self.0.lock().entry(principal.clone()).or_default() += 1;
        Box::new(Counted { chunks, principal: principal.clone(), streams: self.clone() })
    }
}

struct Counted {
    chunks: Box<dyn Chunks>,
    principal: Arc<str>,
    streams: Streams,
}

#[async_trait]
impl Chunks for Counted {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        self.chunks.next().await
    }
}

/// A stream that ends with the credential it was opened with.
pub struct WhileGood {
    chunks: Box<dyn Chunks>,
    keys: Arc<Keys>,
    credential: HeaderMap,
    changes: watch::Receiver<()>,
    look: Instant,
}

impl WhileGood {
    /// `headers` are those of the request.
    pub fn new(chunks: Box<dyn Chunks>, keys: &Arc<Keys>, headers: &HeaderMap) -> WhileGood {
        let credential = headers.get(AUTHORIZATION).map(|value| (AUTHORIZATION, value.clone()));
        let credential = credential.into_iter().collect();
        // Looked at once more at its first part: nothing is missed between the door and here.
        WhileGood { chunks, keys: keys.clone(), credential, changes: keys.changes(), look: Instant::now() }
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
            if !self.keys.still(&self.credential).await {
                return None;
            }
        }
    }
}

impl Drop for Counted {
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
