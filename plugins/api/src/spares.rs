//! Files to use again, for answers that come and go. Whenever ext4 makes a file, it passes over the places of those
//! that were deleted within the last minutes, so a folder in which much is made and deleted gets slower the more it
//! is used.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};
use uuid::Uuid;

/// Files that are kept at most.
const KEPT: usize = 64;
/// A longer file is deleted: somebody may still be reading it piece by piece.
const LONGEST: u64 = 256 << 10;

/// Empty files of this process in a folder of their own. What cannot be kept is deleted, and what is not there is made
/// anew; so it is no error when the folder, or a file in it, goes.
#[derive(Debug, Default)]
pub struct Spares {
    folder: PathBuf,
    files: Mutex<Vec<PathBuf>>,
}

impl Spares {
    /// `folder` exists, and is on one file system with the files that come and go.
    pub fn open(folder: PathBuf) -> Spares {
        Spares { folder, files: Mutex::default() }
    }

    fn files(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An empty file at `path`, in place of what is there.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn make(&self, path: &Path) -> io::Result<File> {
        let spare = self.files().pop();
        if let Some(spare) = spare {
            fs::rename(spare, path).ok();
        }
        File::options().read(true).write(true).create(true).truncate(true).open(path)
    }

    /// Takes away a file that nobody needs any more.
    ///
    /// # Errors
    /// It is not there, or stays there.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        if self.folder.as_os_str().is_empty() || self.files().len() >= KEPT || self.keep(path).is_err() {
            return fs::remove_file(path);
        }
        Ok(())
    }

    fn keep(&self, path: &Path) -> io::Result<()> {
        let file = File::options().write(true).open(path)?;
        if file.metadata()?.len() > LONGEST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        // Nobody's answer stays on the disk longer than it must.
        file.set_len(0)?;
        let spare = self.folder.join(Uuid::new_v4().to_string());
        fs::rename(path, &spare)?;
        self.files().push(spare);
        Ok(())
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        for spare in self.files().drain(..) {
            fs::remove_file(spare).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    fn entries(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn a_file_is_used_again_and_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("spares");
        fs::create_dir(&folder).unwrap();
        let spares = Spares::open(folder.clone());
        let (first, second) = (dir.path().join("first"), dir.path().join("second"));
        fs::write(&first, b"somebody's answer").unwrap();
        let number = fs::metadata(&first).unwrap().ino();
        spares.remove(&first).unwrap();
        assert!(!first.exists());
        let kept = fs::read_dir(&folder).unwrap().next().unwrap().unwrap();
        assert_eq!(kept.metadata().unwrap().len(), 0, "the answer is gone at once");

        let again = spares.make(&second).unwrap().metadata().unwrap();
        assert_eq!((again.ino(), again.len()), (number, 0));
        assert_eq!(entries(&folder), 0);
        spares.remove(&second).unwrap();
        drop(spares);
        assert_eq!(entries(&folder), 0, "nothing stays behind");
    }

    #[test]
    fn what_cannot_be_kept_is_deleted_and_what_is_gone_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        for spares in [Spares::default(), Spares::open(dir.path().join("nowhere"))] {
            spares.make(&path).unwrap();
            spares.remove(&path).unwrap();
            assert!(!path.exists());
            assert_eq!(spares.remove(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        }
        let folder = dir.path().join("spares");
        fs::create_dir(&folder).unwrap();
        let spares = Spares::open(folder.clone());
        fs::write(&path, vec![0; LONGEST as usize + 1]).unwrap();
        spares.remove(&path).unwrap();
        assert_eq!(entries(&folder), 0, "too long to be kept");
        fs::write(&path, b"x").unwrap();
        spares.remove(&path).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        fs::write(&path, b"what was here before").unwrap();
        assert_eq!(spares.make(&path).unwrap().metadata().unwrap().len(), 0);
    }
}
