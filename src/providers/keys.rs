//! The keys of one account: which of them a call goes by, and which rest. Most instances have one.

use parking_lot::Mutex;
use plugin_api::Provider;
use ring::digest::{SHA256, digest};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use uuid::Uuid;

/// How long a key rests after a 429 that names no time.
const REST: Duration = Duration::from_secs(5);
/// How long a key that the vendor refused is left out before one call tries it again.
const OUT: Duration = Duration::from_secs(600);

/// When an attempt that needs the one key it drew asks again, while others are free: the next attempt draws anew.
const REDRAW: Duration = Duration::from_millis(50);

/// One key, with the plugin that was built with it.
pub struct Key {
    /// As the configuration names it; empty where there is only one.
    pub id: String,
    pub provider: Arc<dyn Provider>,
    weight: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default, Clone, Copy)]
struct State {
    rests_until: Option<Instant>,
    refused_at: Option<Instant>,
}

impl Key {
    pub fn new(id: &str, provider: Arc<dyn Provider>, weight: u32) -> Key {
        Key { id: id.into(), provider, weight: weight.max(1), state: Mutex::default() }
    }

    /// The time it rests; `None`: it may be used.
    fn rest(&self, now: Instant) -> Option<Duration> {
        let State { rests_until, refused_at } = *self.state.lock();
        let until = rests_until.max(refused_at.map(|at| at + OUT));
        until.filter(|until| now < *until).map(|until| until - now)
    }

    fn is_refused(&self, now: Instant) -> bool {
        self.state.lock().refused_at.is_some_and(|at| now < at + OUT)
    }

    /// Its place in the draw of an attempt.
    fn rank(&self, attempt: Uuid) -> f64 {
        rank(attempt.as_bytes(), &self.id, self.weight)
    }
}

/// One name's number in the draw `of` something: smaller comes first, and heavier names do so more often. The same draw
/// always gives the same numbers.
pub(super) fn rank(of: &[u8], name: &str, weight: u32) -> f64 {
    let hash = digest(&SHA256, &[of, name.as_bytes()].concat());
    let bits = hash.as_ref().iter().take(6).fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    let u = (bits as f64 + 0.5) / (1_u64 << 48) as f64;
    -u.ln() / f64::from(weight.max(1))
}

/// At least one key.
pub struct Keys(Vec<Arc<Key>>);

impl Keys {
    pub fn new(keys: Vec<Key>) -> Keys {
        Keys(keys.into_iter().map(Arc::new).collect())
    }

    pub fn several(&self) -> bool {
        self.0.len() > 1
    }

    /// All of them, in the order of the configuration.
    pub fn all(&self) -> &[Arc<Key>] {
        &self.0
    }

    pub fn named(&self, id: &str) -> Option<&Arc<Key>> {
        self.0.iter().find(|key| key.id == id)
    }

    /// The key of an attempt: the first in its own draw that does not rest. `only_first`: no other will do, because the
    /// vendor knows the attempt under this one. Where all were refused, the first is as good as any.
    ///
    /// # Errors
    /// How long to wait.
    pub fn choose(&self, attempt: Uuid, only_first: bool, now: Instant) -> Result<Arc<Key>, Duration> {
        let mut keys: Vec<&Arc<Key>> = self.0.iter().collect();
        if self.several() {
            keys.sort_by(|a, b| a.rank(attempt).total_cmp(&b.rank(attempt)));
        }
        let ready = keys.iter().position(|key| key.rest(now).is_none());
        match ready {
            Some(at) if at == 0 || !only_first => return Ok(keys[at].clone()),
            Some(_) => return Err(REDRAW),
            None => {}
        }
        match keys.iter().filter(|key| !key.is_refused(now)).filter_map(|key| key.rest(now)).min() {
            Some(wait) => Err(wait),
            None => keys.first().map(|key| (*key).clone()).ok_or(REST),
        }
    }

    /// The first in an attempt's draw, whether it rests or not.
    pub fn first(&self, attempt: Uuid) -> Option<Arc<Key>> {
        self.0.iter().min_by(|a, b| a.rank(attempt).total_cmp(&b.rank(attempt))).cloned()
    }

    /// The least time until a key may be used; `None`: one may now.
    pub fn rest(&self, now: Instant) -> Option<Duration> {
        if !self.several() {
            return None;
        }
        let rests: Option<Vec<Duration>> = self.0.iter().map(|key| key.rest(now)).collect();
        rests?.into_iter().min()
    }

    /// Keys that were refused, by their ids.
    pub fn refused(&self, now: Instant) -> Vec<&str> {
        self.0.iter().filter(|key| key.is_refused(now)).map(|key| key.id.as_str()).collect()
    }

    /// A key was told to slow down. Returns whether another one may go on.
    pub fn limited(&self, key: &Key, asked: Option<Duration>, now: Instant) -> bool {
        let until = now + asked.unwrap_or(REST);
        let mut state = key.state.lock();
        state.rests_until = state.rests_until.max(Some(until));
        drop(state);
        self.rest(now).is_none()
    }

    /// A key was refused. Returns whether another one may go on.
    pub fn refuse(&self, key: &Key, now: Instant) -> bool {
        key.state.lock().refused_at = Some(now);
        self.rest(now).is_none()
    }

    /// A call with it went well. A rest that another call was told of goes on.
    pub fn accepted(&self, key: &Key) {
        key.state.lock().refused_at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::Built;

    fn keys(weights: &[(&str, u32)]) -> Keys {
        let key = |(id, weight): &(&str, u32)| {
            let Ok(Built::On(provider)) = (plugin_placeholder::PLUGIN.build)(serde_json::json!({})) else {
                panic!("it needs nothing")
            };
            Key::new(id, provider, *weight)
        };
        Keys::new(weights.iter().map(key).collect())
    }

    fn drawn(keys: &Keys, now: Instant) -> Vec<String> {
        (0..3_000).map(|n| keys.choose(Uuid::from_u128(n), false, now).unwrap().id.clone()).collect()
    }

    #[test]
    fn calls_are_spread_by_weight_and_an_attempt_keeps_its_key_whatever_the_order() {
        let now = Instant::now();
        let there = drawn(&keys(&[("a", 1), ("b", 2)]), now);
        let b = there.iter().filter(|id| *id == "b").count();
        assert!((1_850..2_150).contains(&b), "two thirds of 3000: {b}");
        assert_eq!(there, drawn(&keys(&[("b", 2), ("a", 1)]), now));
    }

    #[test]
    fn a_key_that_was_told_to_wait_rests_alone() {
        let (keys, now) = (keys(&[("a", 1), ("b", 1)]), Instant::now());
        let (a, b) = (keys.named("a").unwrap().clone(), keys.named("b").unwrap().clone());
        assert!(keys.limited(&a, Some(Duration::from_secs(7)), now), "the other goes on");
        assert!(drawn(&keys, now).iter().all(|id| id == "b"));
        assert!(!keys.limited(&b, None, now), "now both rest");
        assert_eq!(keys.rest(now), Some(REST), "until the first is back");
        assert_eq!(keys.choose(Uuid::nil(), false, now).err(), Some(REST));
        let later = now + Duration::from_secs(8);
        assert!(keys.rest(later).is_none() && drawn(&keys, later).contains(&"a".to_owned()));
    }

    #[test]
    fn a_refused_key_is_left_out_and_tried_again_after_a_while() {
        let (keys, now) = (keys(&[("a", 1), ("b", 1)]), Instant::now());
        let (a, b) = (keys.named("a").unwrap().clone(), keys.named("b").unwrap().clone());
        assert!(keys.refuse(&a, now));
        assert!(drawn(&keys, now).iter().all(|id| id == "b") && keys.refused(now) == ["a"]);
        assert!(!keys.refuse(&b, now));
        assert!(keys.choose(Uuid::nil(), false, now).is_ok(), "with none left, the vendor says it again");
        assert!(keys.refused(now + OUT).is_empty());
        keys.accepted(&a);
        assert_eq!(keys.refused(now), ["b"]);
    }

    #[test]
    fn an_attempt_that_the_vendor_knows_by_its_key_waits_for_it() {
        let (keys, now) = (keys(&[("a", 1), ("b", 1)]), Instant::now());
        let attempt = Uuid::from_u128(1);
        let first = keys.choose(attempt, true, now).unwrap();
        keys.limited(&first, Some(Duration::from_secs(9)), now);
        keys.accepted(&first);
        assert_eq!(keys.choose(attempt, true, now).err(), Some(REDRAW), "the rest goes on");
        assert_ne!(keys.choose(attempt, false, now).unwrap().id, first.id);
    }
}
