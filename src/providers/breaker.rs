//! A circuit breaker per instance: after too many failures no call goes out for a while, then one may try.

use super::settings::Breaker as Settings;
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

#[derive(Debug)]
pub struct Breaker {
    settings: Settings,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: VecDeque<Instant>,
    open_until: Option<Instant>,
    /// After the pause one call tries; the others wait for what it finds.
    probing: bool,
}

impl Breaker {
    pub fn new(settings: Settings) -> Breaker {
        Breaker { settings, state: Mutex::default() }
    }

    /// Whether a call may go out now; else how long to wait. A `true` after a pause is the one probe.
    pub fn admit(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.state.lock();
        match state.open_until {
            None => Ok(()),
            Some(until) if now < until => Err(until - now),
            Some(_) if state.probing => Err(Duration::from_secs(1)),
            Some(_) => {
                state.probing = true;
                Ok(())
            }
        }
    }

    pub fn is_open(&self, now: Instant) -> bool {
        let state = self.state.lock();
        state.open_until.is_some_and(|until| now < until || state.probing)
    }

    pub fn succeeded(&self) {
        *self.state.lock() = State::default();
    }

    /// The vendor is down, overloaded, or refuses the credentials.
    pub fn failed(&self, now: Instant) {
        let mut state = self.state.lock();
        if state.probing {
            state.probing = false;
            state.open_until = Some(now + *self.settings.open);
            return;
        }
        state.failures.push_back(now);
        while state.failures.front().is_some_and(|at| now.duration_since(*at) > *self.settings.window) {
            state.failures.pop_front();
        }
        if state.failures.len() >= self.settings.failures.max(1) as usize {
            state.failures.clear();
            state.open_until = Some(now + *self.settings.open);
        }
    }

    /// The call told nothing about the vendor's health (a refused prompt, say).
    pub fn neutral(&self) {
        self.state.lock().probing = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_its_failures_and_lets_one_call_try() {
        let breaker = Breaker::new(Settings::default());
        let t0 = Instant::now();
        for _ in 0..4 {
            breaker.failed(t0);
        }
        assert!(breaker.admit(t0).is_ok());
        breaker.failed(t0);
        let wait = breaker.admit(t0).unwrap_err();
        assert_eq!(wait, Duration::from_secs(20));
        let later = t0 + wait;
        assert!(breaker.admit(later).is_ok(), "the probe");
        assert!(breaker.admit(later).is_err(), "only one");
        breaker.failed(later);
        assert!(breaker.admit(later).is_err(), "a failed probe closes the way again");
        assert!(breaker.admit(later + wait).is_ok());
        breaker.succeeded();
        assert!(breaker.admit(later).is_ok() && breaker.admit(later).is_ok());
    }

    #[test]
    fn old_failures_do_not_count() {
        let breaker = Breaker::new(Settings::default());
        let t0 = Instant::now();
        for n in 0..20 {
            breaker.failed(t0 + Duration::from_secs(10 * n));
        }
        assert!(!breaker.is_open(t0 + Duration::from_secs(200)), "never five within 30 s");
    }
}
