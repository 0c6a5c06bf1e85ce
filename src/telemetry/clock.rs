//! The wall clock, passed in and never asked for, so that tests own the time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// Microseconds since 1970 UTC.
pub trait Clock: Send + Sync + 'static {
    fn now_us(&self) -> i64;

    /// Milliseconds, the unit of everything a caller sees.
    fn now_ms(&self) -> i64 {
        self.now_us() / 1_000
    }

    /// The time when a database server says `said_us`. A test's clock knows better.
    fn of_database(&self, said_us: i64) -> i64 {
        said_us
    }

    /// How long the machine is up, which no setting of the clock changes. `None`: it cannot be told.
    fn machine(&self) -> Option<Machine> {
        None
    }
}

/// The machine since its start.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// Names this start of it; every start has another name.
    pub start: &'static str,
    /// Microseconds since then, sleep included.
    pub up_us: i64,
}

pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_us(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as i64)
    }

    #[cfg(target_os = "linux")]
    fn machine(&self) -> Option<Machine> {
        static START: std::sync::LazyLock<Option<String>> = std::sync::LazyLock::new(|| {
            let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
            Some(id.trim().to_owned()).filter(|id| !id.is_empty())
        });
        let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Some(Machine { start: START.as_deref()?, up_us: up.tv_sec * 1_000_000 + up.tv_nsec / 1_000 })
    }
}

/// A clock that stands still until it is told to move.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    pub fn at(us: i64) -> Arc<ManualClock> {
        Arc::new(ManualClock(AtomicI64::new(us)))
    }
    pub fn advance(&self, by: std::time::Duration) {
        self.0.fetch_add(by.as_micros() as i64, Ordering::SeqCst);
    }
    pub fn set_back(&self, by: std::time::Duration) {
        self.0.fetch_sub(by.as_micros() as i64, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_us(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
    fn of_database(&self, _: i64) -> i64 {
        self.now_us()
    }
}
