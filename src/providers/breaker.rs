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
    /// After the pause one call tries, since then; the others wait for what it finds.
    probing: Option<Instant>,
}

impl Breaker {
    pub fn new(settings: Settings) -> Breaker {
        Breaker { settings, state: Mutex::default() }
    }

    pub fn is_built_of(&self, settings: &Settings) -> bool {
        self.settings == *settings
    }

    /// Whether a call may go out now; else how long to wait. A `true` after a pause is the one probe.
    pub fn admit(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.state.lock();
        match state.open_until {
            None => Ok(()),
            Some(until) if now < until => Err(until - now),
            Some(_) if self.is_probing(&state, now) => Err(Duration::from_secs(1)),
            Some(_) => {
                state.probing = Some(now);
                Ok(())
            }
        }
    }

    /// How long until a call may try again; `None`: it is not open.
    pub fn open_for(&self, now: Instant) -> Option<Duration> {
        Some(self.state.lock().open_until?.saturating_duration_since(now))
    }

    pub fn is_open(&self, now: Instant) -> bool {
        let state = self.state.lock();
        state.open_until.is_some_and(|until| now < until || self.is_probing(&state, now))
    }

    /// A call that never tells how it went, because its worker is gone, holds the others up no longer than a pause.
    fn is_probing(&self, state: &State, now: Instant) -> bool {
        state.probing.is_some_and(|since| now < since + *self.settings.open)
    }

    pub fn succeeded(&self) {
        *self.state.lock() = State::default();
    }

    /// The vendor is down, overloaded, or refuses the credentials.
    pub fn failed(&self, now: Instant) {
        let mut state = self.state.lock();
        if state.probing.take().is_some() {
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
        self.state.lock().probing = None;
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
        assert_eq!(breaker.open_for(t0), Some(wait));
        assert_eq!(wait, Duration::from_secs(20));
        let later = t0 + wait;
        assert!(breaker.admit(later).is_ok(), "the probe");
        assert!(breaker.admit(later).is_err(), "only one");
        breaker.failed(later);
        assert!(breaker.admit(later).is_err(), "a failed probe closes the way again");
        assert!(breaker.admit(later + wait).is_ok());
        breaker.succeeded();
        assert_eq!(breaker.open_for(later), None);
        assert!(breaker.admit(later).is_ok() && breaker.admit(later).is_ok());
    }

    #[test]
    fn a_try_that_is_never_heard_of_again_does_not_keep_it_closed() {
        let breaker = Breaker::new(Settings { failures: 1, ..Settings::default() });
        let t0 = Instant::now();
        breaker.failed(t0);
        let probe = t0 + breaker.admit(t0).unwrap_err();
        assert!(breaker.admit(probe).is_ok() && breaker.is_open(probe));
        let later = probe + Duration::from_secs(19);
        assert!(breaker.admit(later).is_err());
        let much_later = probe + Duration::from_secs(20);
        assert!(!breaker.is_open(much_later) && breaker.admit(much_later).is_ok(), "another one tries");
        assert!(breaker.admit(much_later).is_err(), "and only that one");
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
