//! What this process knows of a job it runs: until when its lease can be trusted, and how far the vendor is.

use crate::store::Claimed;
use parking_lot::Mutex;
use std::time::{Duration, Instant};

pub(super) struct Held {
    pub epoch: i64,
    /// Whose job it is.
    pub team: String,
    state: Mutex<State>,
}

struct State {
    /// By the monotonic clock, which a paused process cannot fool.
    lease_until: Instant,
    percent: Option<f32>,
}

impl Held {
    pub fn new(claimed: &Claimed, lease: Duration) -> Held {
        let (epoch, team) = (claimed.job.lease_epoch, claimed.job.team.clone());
        Held { epoch, team, state: Mutex::new(State { lease_until: Instant::now() + lease, percent: None }) }
    }

    /// A heartbeat that was sent at `sent` was answered.
    pub fn renewed(&self, sent: Instant, lease: Duration) {
        let mut state = self.state.lock();
        state.lease_until = state.lease_until.max(sent + lease);
    }

    /// Another process has the job now.
    pub fn lost(&self) {
        self.state.lock().lease_until = Instant::now();
    }

    /// Whether the lease holds at least `margin` longer.
    pub fn trusted(&self, margin: Duration) -> bool {
        self.state.lock().lease_until > Instant::now() + margin
    }

    pub fn set_percent(&self, percent: f32) {
        self.state.lock().percent = Some((percent.clamp(0.0, 100.0) * 100.0).round() / 100.0);
    }

    pub fn percent(&self) -> Option<f32> {
        self.state.lock().percent
    }
}
