//! A folder of this machine, and what opendal leaves to its caller there: fsync of folders, leftovers of broken writes.

use parking_lot::Mutex;
use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// Where half-written files lie; the same file system, so that the rename is atomic.
pub(super) const TEMP: &str = ".temp";
/// Other processes share the folder: only what is older can no longer be theirs.
const LEFTOVER: Duration = Duration::from_secs(3_600);

/// A folder of this machine.
pub(super) struct Local {
    pub root: PathBuf,
    /// Folders whose own entry is known to be on disk.
    settled: Mutex<HashSet<PathBuf>>,
}

/// A temporary file; it goes when its write is given up. After the rename it is no more.
pub(super) struct Temporary {
    pub path: PathBuf,
}

impl Temporary {
    pub fn below(root: &Path) -> Temporary {
        Temporary { path: root.join(TEMP).join(uuid::Uuid::new_v4().to_string()) }
    }

    /// Makes the file, and the folder again if somebody took it away.
    pub fn create(&self) -> io::Result<fs::File> {
        match fs::File::create_new(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.path.parent().map_or(Ok(()), private_folder)?;
                fs::File::create_new(&self.path)
            }
            made => made,
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        fs::remove_file(&self.path).ok();
    }
}

impl Local {
    /// Makes the folder, for this user alone, and removes what dead writers left in it.
    pub fn open(root: &Path) -> io::Result<Local> {
        let temp = root.join(TEMP);
        private_folder(&temp)?;
        let root = root.canonicalize()?;
        sweep(&temp);
        Ok(Local { root, settled: Mutex::default() })
    }

    /// Moves a file that is whole and synced to its name, and syncs the folders above.
    pub fn give_name(&self, from: &Path, to: &Path) -> io::Result<()> {
        match (fs::rename(from, to), to.parent()) {
            // The first of its day.
            (Err(error), Some(folder)) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(folder)?;
                fs::rename(from, to)?;
            }
            (named, _) => named?,
        }
        self.settle(to)
    }

    /// Syncs the folder of `file`, and those above it up to the first whose own name is known to be on disk. From the
    /// outside in: an outer folder is always being changed by somebody, and after its sync the inner one, changed
    /// before, has little left to do.
    pub fn settle(&self, file: &Path) -> io::Result<()> {
        const REMEMBERED: usize = 4_096;
        let mut fresh = Vec::new();
        let mut outer = Vec::new();
        for folder in file.ancestors().skip(1) {
            outer.push(folder);
            if folder == self.root || self.settled.lock().contains(folder) {
                break;
            }
            fresh.push(folder.to_owned());
        }
        for folder in outer.into_iter().rev() {
            fs::File::open(folder)?.sync_all()?;
        }
        let mut settled = self.settled.lock();
        if settled.len() + fresh.len() > REMEMBERED {
            settled.clear();
        }
        settled.extend(fresh);
        Ok(())
    }
}

/// Creates the folder for this user alone; one that exists keeps its mode.
fn private_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Removes what writers that died left half-written.
fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let age = entry.metadata().and_then(|about| about.modified()).map(|at| at.elapsed());
        if matches!(age, Ok(Ok(age)) if age > LEFTOVER) {
            fs::remove_file(entry.path()).ok();
        }
    }
}

#[cfg(test)]
pub(in crate::images) use tests::age;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    /// Makes a file as old as what a dead writer left.
    pub fn age(path: &Path) {
        let then = SystemTime::now() - LEFTOVER - Duration::from_secs(60);
        fs::File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
    }
}
