//! The rows of the catalogue, one file for each kind of fault.

pub mod answers;
pub mod clients;
pub mod clock;
pub mod cooldown;
pub mod descriptors;
pub mod disk;
pub mod kills;
pub mod locked;
pub mod power;
pub mod pressure;
pub mod reload;
pub mod stops;
pub mod storage;
pub mod vendors;
pub mod windows;

use std::time::Duration;

/// Lines of a gateway's log that tell of a panic.
pub fn panics(log: &str) -> Vec<String> {
    log.lines().filter(|line| line.contains("panicked at")).map(str::to_owned).collect()
}

/// The value below which this share of the times lies, in milliseconds.
pub fn percentile(times: &mut [Duration], share: f64) -> u128 {
    times.sort_unstable();
    let at = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len().max(1)) - 1;
    times.get(at).map_or(0, Duration::as_millis)
}

/// What the kernel tells of a process's memory, in bytes.
pub mod memory {
    /// Resident now.
    pub fn now(pid: u32) -> u64 {
        field(pid, "VmRSS:")
    }
    /// The most that was ever resident.
    pub fn peak(pid: u32) -> u64 {
        field(pid, "VmHWM:")
    }
    fn field(pid: u32, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel tells");
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().expect("a number");
        kib << 10
    }
}
