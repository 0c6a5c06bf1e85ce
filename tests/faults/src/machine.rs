//! The machine under a gateway: small disks that fill up and break, and what the kernel tells of a process.

use crate::table::Row;
use std::{
    ffi::OsStr,
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

/// Notes that a row could not be tried. `possible`: nothing of this machine stands in the way, so in a run of checks
/// (`CI`) it is a failure and not silence.
pub fn skip(row: &mut Row, why: &str, possible: bool) {
    row.seen = format!("not tried: {why}");
    if std::env::var_os("CI").is_some() && possible {
        row.wrong.push(format!("it could be tried here, and was not: {why}"));
    }
}

/// Whether this process may mount. Root in a container often may not.
pub fn may_mount() -> bool {
    const SYS_ADMIN: u32 = 21;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("CapEff:")).unwrap_or_default();
    u64::from_str_radix(line.trim(), 16).is_ok_and(|capabilities| capabilities >> SYS_ADMIN & 1 == 1)
}

/// Whether what is missing could have been installed as `.ci/run` does it.
pub fn may_install() -> bool {
    Path::new("/usr/bin/apt-get").exists() && rustix::process::geteuid().is_root()
}

/// Runs a tool of the machine to its end.
pub fn tool(program: &str, args: &[&OsStr]) -> Result<(), String> {
    let done = Command::new(program).args(args).output().map_err(|e| format!("{program}: {e}"))?;
    match done.status.success() {
        true => Ok(()),
        false => Err(format!("{program}: {}", String::from_utf8_lossy(&done.stderr).trim())),
    }
}

/// A file system of its own on a small image file; unmounted and gone with the value.
pub struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// A new ext4 of so many MiB, mounted.
    pub fn new(mib: u64) -> Result<Disk, String> {
        if !may_mount() {
            return Err("it needs the right to mount".into());
        }
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let disk = Disk { folder };
        File::create(disk.image()).and_then(|f| f.set_len(mib << 20)).map_err(|e| e.to_string())?;
        std::fs::create_dir(disk.path()).map_err(|e| e.to_string())?;
        let options = ["-q", "-F", "-m", "0"].map(OsStr::new);
        tool("mkfs.ext4", &[&options[..], &[disk.image().as_os_str()]].concat())?;
        disk.mount()?;
        Ok(disk)
    }
    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }
    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }
    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }
    fn mount(&self) -> Result<(), String> {
        tool("mount", &["-o".as_ref(), "loop".as_ref(), self.image().as_ref(), self.path().as_ref()])
    }

    /// Writes until no byte fits any more but so many MiB.
    pub fn fill(&self, name: &str, leave_mib: u64) -> PathBuf {
        let path = self.path().join(name);
        let mut file = File::create(&path).unwrap();
        let free = || rustix::fs::statvfs(self.path()).map_or(0, |s| s.f_bavail * s.f_frsize);
        for size in [1 << 20, 4 << 10, 1] {
            let block = vec![b'x'; size];
            while free() >= (leave_mib << 20) + size as u64 && file.write_all(&block).is_ok() {}
            while leave_mib == 0 && file.write_all(&block).is_ok() {}
        }
        path
    }

    /// From now on every write fails, as after an error of the device: the kernel makes it read-only, open files
    /// and all. (A plain `remount,ro` is refused while a file is open for writing.)
    pub fn make_read_only(&self) -> Result<(), String> {
        tool("mount", &["-o".as_ref(), "remount,abort".as_ref(), self.path().as_ref()])
    }

    /// From now on everything fails with EIO; what was written before is on the disk.
    pub fn fail(&self) -> Result<(), String> {
        self.go_down(0)
    }

    /// Cuts the file system off from its disk: what was not synced is lost, and everything fails with EIO. Whoever may
    /// hear of a sync must stand still: the kernel can let one that is under way end well though nothing was
    /// written (the row `F7 bare` counts it).
    pub fn cut_off(&self) -> Result<(), String> {
        self.go_down(2)
    }

    /// The kernel's `FS_IOC_GOINGDOWN`, which file system developers test power cuts with. 0: the file system is
    /// frozen and thawed before; 2: its log is not flushed.
    fn go_down(&self, how: u32) -> Result<(), String> {
        let ioctl = format!(
            r#"open(F, "<", $ARGV[0]) or die $!; ioctl(F, 0x8004587d, my $f = pack("L", {how})) or die $!"#
        );
        tool("perl", &["-e".as_ref(), ioctl.as_ref(), self.path().as_ref()])
    }

    /// Mounts what is on the disk, after a check as at a start of the machine. Nobody may use it.
    pub fn recover(&self) -> Result<(), String> {
        tool("umount", &[self.path().as_ref()])?;
        let check = Command::new("fsck.ext4").arg("-p").arg(self.image()).output();
        let check = check.map_err(|e| e.to_string())?;
        // 1: errors were corrected.
        if !matches!(check.status.code(), Some(0 | 1)) {
            return Err(format!("fsck: {}", String::from_utf8_lossy(&check.stdout)));
        }
        self.mount()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The loop device goes with its mount.
        tool("umount", &["-l".as_ref(), self.path().as_ref()]).ok();
    }
}

/// What the kernel tells of a process.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// Resident memory.
    pub rss: u64,
    pub threads: u64,
    pub descriptors: usize,
    /// Those of them that are connections: the database's files come and go with its pool.
    pub sockets: usize,
    /// Processor time so far, in hundredths of a second.
    pub ticks: u64,
}

pub fn figures(pid: u32) -> Figures {
    let about = Path::new("/proc").join(pid.to_string());
    let status = std::fs::read_to_string(about.join("status")).unwrap_or_default();
    let number = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default();
        line.trim_start_matches(':')
            .split_whitespace()
            .next()
            .and_then(|n| n.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let stat = std::fs::read_to_string(about.join("stat")).unwrap_or_default();
    // The name may hold spaces; utime and stime are the 12th and 13th field after it.
    let fields: Vec<u64> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().map(|f| f.parse().unwrap_or(0)).collect())
        .unwrap_or_default();
    let open = || std::fs::read_dir(about.join("fd")).into_iter().flatten().flatten();
    let is_socket = |path: PathBuf| path.to_string_lossy().starts_with("socket:");
    Figures {
        rss: number("VmRSS") << 10,
        threads: number("Threads"),
        descriptors: open().count(),
        sockets: open().filter(|entry| std::fs::read_link(entry.path()).is_ok_and(is_socket)).count(),
        ticks: fields.get(11).copied().unwrap_or(0) + fields.get(12).copied().unwrap_or(0),
    }
}
