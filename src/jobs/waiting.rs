//! Those who wait for jobs: told in the process when a job changes, and by looking now and then at jobs that
//! another process may run.

use super::JobView;
use crate::store::State;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};
use tokio::sync::{Notify, OnceCell};
use uuid::Uuid;

#[derive(Default)]
pub(super) struct Waiters {
    map: Mutex<HashMap<Uuid, Waited>>,
}

#[derive(Default)]
struct Waited {
    waiters: Vec<Arc<Notify>>,
    seen: Option<(State, i64)>,
    look: Look,
}

/// What the job looks like since its last change, read by the first who wants it.
pub(super) type Look = Arc<OnceCell<Vec<JobView>>>;

impl Waited {
    fn tell(&mut self) {
        self.look = Look::default();
        self.waiters.iter().for_each(|n| n.notify_one());
    }
}

/// A waiter's registration; it ends with the wait.
pub(super) struct Waiting<'a> {
    waiters: &'a Waiters,
    ids: Vec<Uuid>,
    notify: Arc<Notify>,
}

impl Waiters {
    /// Register first, look second: so no change falls between.
    pub fn register(&self, ids: &[Uuid]) -> Waiting<'_> {
        let notify = Arc::new(Notify::new());
        let mut map = self.map.lock();
        for id in ids {
            map.entry(*id).or_default().waiters.push(notify.clone());
        }
        Waiting { waiters: self, ids: ids.to_vec(), notify }
    }

    pub fn changed(&self, id: Uuid) {
        if let Some(waited) = self.map.lock().get_mut(&id) {
            waited.tell();
        }
    }

    pub fn all_changed(&self) {
        self.map.lock().values_mut().for_each(Waited::tell);
    }

    pub fn ids(&self) -> Vec<Uuid> {
        self.map.lock().keys().copied().collect()
    }

    /// What a look at the database showed: whoever waits for a job that looks otherwise now is told.
    pub fn looked(&self, states: &HashMap<Uuid, (State, i64)>) {
        let mut map = self.map.lock();
        for (id, now) in states {
            if let Some(waited) = map.get_mut(id) {
                if waited.seen.is_some_and(|seen| seen != *now) || now.0.is_final() {
                    waited.tell();
                }
                waited.seen = Some(*now);
            }
        }
    }
}

impl Waiting<'_> {
    /// Returns at the next change, or at one that happened since the last call.
    pub async fn changed(&self) {
        self.notify.notified().await;
    }

    /// The look that all who were told of the last change share; `None`: this one waits for several jobs.
    pub fn look(&self) -> Option<Look> {
        let [id] = &*self.ids else { return None };
        self.waiters.map.lock().get(id).map(|waited| waited.look.clone())
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut map = self.waiters.map.lock();
        for id in &self.ids {
            if let Some(waited) = map.get_mut(id) {
                waited.waiters.retain(|n| !Arc::ptr_eq(n, &self.notify));
                if waited.waiters.is_empty() {
                    map.remove(id);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_between_register_and_wait_is_not_lost_and_nothing_stays_behind() {
        let waiters = Waiters::default();
        let id = Uuid::new_v4();
        let waiting = waiters.register(&[id]);
        waiters.changed(id);
        waiting.changed().await;
        drop(waiting);
        assert!(waiters.ids().is_empty());
    }

    #[tokio::test]
    async fn a_look_is_shared_until_the_next_change() {
        let waiters = Waiters::default();
        let id = Uuid::new_v4();
        let (one, other) = (waiters.register(&[id]), waiters.register(&[id]));
        let (first, same) = (one.look().unwrap(), other.look().unwrap());
        assert!(Arc::ptr_eq(&first, &same));
        waiters.changed(id);
        one.changed().await;
        assert!(!Arc::ptr_eq(&first, &one.look().unwrap()), "what was read before says nothing now");
        assert!(Arc::ptr_eq(&one.look().unwrap(), &other.look().unwrap()));
        let several = waiters.register(&[id, Uuid::new_v4()]);
        assert!(several.look().is_none());
    }
}
