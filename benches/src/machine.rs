//! What the kernel tells of processes and of this machine.

use anyhow::{Context as _, Result};
use rustix::{
    process::{Resource, getrlimit, setrlimit},
    thread::{CpuSet, sched_setaffinity},
};
use std::{fs, os::unix::process::CommandExt as _, path::Path, process::Command, time::Duration};

/// Where the measured process runs, and where the load comes from.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    pub server: usize,
    pub load: usize,
}

impl Cores {
    /// The first two cores; `None` on a machine that has only one, where nothing is pinned.
    pub fn choose() -> Option<Cores> {
        (std::thread::available_parallelism().map_or(1, usize::from) > 1)
            .then_some(Cores { server: 0, load: 1 })
    }
}

/// Keeps the calling thread, and all that it starts from now on, on one core.
///
/// # Errors
/// The core is not ours to use.
pub fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("core {core} cannot be used"))
}

/// As many open files as this user may have: thousands of connections are held.
pub fn lift_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).ok();
}

/// Becomes `program` on one core. Returns only when that fails.
pub fn become_pinned(core: Option<usize>, program: &str, args: &[String]) -> anyhow::Error {
    lift_file_limit();
    if let Some(Err(error)) = core.map(pin) {
        return error;
    }
    anyhow::Error::new(Command::new(program).args(args).exec()).context(program.to_owned())
}

/// CPU time of a process and its threads so far; its resolution is a tick, mostly 10 ms.
///
/// # Errors
/// There is no such process.
pub fn cpu(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit_once(')').context("/proc/PID/stat reads otherwise")?.1;
    // Fields 14 and 15, utime and stime; the first one after the name is number 3.
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// Resident memory in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    pub now: u64,
    /// Since the start, or since [`forget_peak`].
    pub peak: u64,
    /// What is not backed by a file, such as the program itself.
    pub anonymous: u64,
}

/// # Errors
/// There is no such process.
pub fn memory(pid: u32) -> Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or_default() * 1024
    };
    Ok(Memory { now: field("VmRSS:"), peak: field("VmHWM:"), anonymous: field("RssAnon:") })
}

/// Lets the peak of a process's memory begin anew.
pub fn forget_peak(pid: u32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").ok();
}

/// Cores, CPU, compiler, commit and the file system of the data, on one line. Asked before anything is pinned.
///
/// # Errors
/// There is no such folder.
pub fn describe(data: &Path) -> Result<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpuinfo.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(':'));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let said = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok();
        let output = output.filter(|output| output.status.success());
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = said("git", &["rev-parse", "--short=10", "HEAD"]).unwrap_or_else(|| "unknown".into());
    let changed =
        said("git", &["status", "--porcelain", "--", ":/src", ":/plugins", ":/migrations", ":/Cargo.lock"]);
    let changed = if changed.is_some_and(|files| !files.is_empty()) { " with changes" } else { "" };
    Ok(format!(
        "{cores} cores, {}; Linux {}; {}; commit {commit}{changed}; data on {}",
        model.map_or("unknown CPU", |(_, name)| name.trim()),
        fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        said("rustc", &["--version"]).unwrap_or_else(|| "unknown rustc".into()),
        file_system(&data.canonicalize()?),
    ))
}

fn file_system(path: &Path) -> String {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let of = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (at, kind) = (fields.next()?.to_owned(), fields.next()?.to_owned());
        path.starts_with(&at).then_some((at.len(), kind))
    };
    mounts.lines().filter_map(of).max().map_or_else(|| "an unknown file system".into(), |(_, kind)| kind)
}
