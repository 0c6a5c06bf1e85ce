//! How many streams each principal holds open.

use super::answer::Chunks;
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use std::{collections::HashMap, io, sync::Arc};

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
