//! Jobs at providers that are paused: those that run go on, those that wait go elsewhere or wait on.

use super::Inner;
use std::{collections::BTreeSet, sync::Arc};

impl Inner {
    /// Moves jobs that wait for a paused provider to their next target.
    pub(super) async fn step_aside(&self) {
        let registry = self.live.load().registry.clone();
        let paused: BTreeSet<String> = registry.pauses().keys().cloned().collect();
        if paused.is_empty() {
            return;
        }
        let open = registry.instances().filter(|instance| registry.takes_jobs(instance));
        let open: BTreeSet<String> = open.map(|instance| instance.id.clone()).collect();
        match self.store.step_aside(&paused, &open).await {
            Ok(0) => {}
            Ok(jobs) => {
                tracing::info!(jobs, "jobs that waited for a paused provider go to their next target");
                self.wake.notify_one();
            }
            Err(error) => tracing::warn!(%error, "jobs at a paused provider could not be moved"),
        }
    }

    /// At once, and not only at the next sweep.
    pub(super) fn step_aside_soon(self: &Arc<Inner>) {
        let inner = self.clone();
        self.loops.spawn(async move { inner.step_aside().await });
    }
}
