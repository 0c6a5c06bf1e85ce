//! Files as a configuration reads them: small, whole, and not while somebody writes them.

use std::{
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

/// Longest file that is read: the configuration, its variables, a secret.
pub(super) const LARGEST: u64 = 1 << 20;
/// A file that changes under the reader is read anew so often, with a pause before each.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// Reads a file of text. One that is replaced or written meanwhile is read again, so that no two halves are mixed.
///
/// # Errors
/// Why it cannot be read, as the end of a sentence.
pub(super) fn read(path: &Path) -> Result<String, String> {
    for _ in 0..TRIES {
        if let Some(bytes) = read_once(path).map_err(|error| error.kind().to_string())? {
            if bytes.len() as u64 > LARGEST {
                return Err(format!("it is larger than {} MiB", LARGEST >> 20));
            }
            return String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".into());
        }
        sleep(PAUSE);
    }
    Err("it is being written".into())
}

/// The bytes, at most one more than may be; `None` when the file changed on the way.
fn read_once(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut file = File::open(path)?;
    let before = file.metadata()?;
    let mut bytes = Vec::new();
    (&mut file).take(LARGEST + 1).read_to_end(&mut bytes)?;
    // A pipe has one reader and nothing to compare.
    let same = !before.is_file() || Stamp::of(&before) == Stamp::of(&std::fs::metadata(path)?);
    Ok(same.then_some(bytes))
}

/// What tells whether a file is still the one that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(data: &Metadata) -> Stamp {
        let modified = (data.mtime(), data.mtime_nsec());
        Stamp { device: data.dev(), inode: data.ino(), size: data.size(), modified }
    }
}

/// How some files stand at one moment, to be compared with another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stamps(Vec<Option<Stamp>>);

impl Stamps {
    /// Links are followed; a file that is not there has its place, too.
    pub fn take(files: &[PathBuf]) -> Stamps {
        Stamps(files.iter().map(|file| Some(Stamp::of(&std::fs::metadata(file).ok()?))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, sync::atomic::AtomicBool, sync::atomic::Ordering::Relaxed};

    #[test]
    fn a_large_file_is_refused_without_being_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(read(&path).unwrap_err(), "it is larger than 1 MiB");
        fs::write(&path, vec![b'#'; LARGEST as usize]).unwrap();
        assert_eq!(read(&path).unwrap().len() as u64, LARGEST);
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap_err(), "is a directory");
        assert_eq!(read(&folder.path().join("gone")).unwrap_err(), "entity not found");
        fs::write(folder.path().join("bytes"), [0xff, 0xfe]).unwrap();
        assert_eq!(read(&folder.path().join("bytes")).unwrap_err(), "it is not UTF-8 text");
    }

    #[test]
    fn a_file_that_is_swapped_again_and_again_is_never_read_mixed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("a"), folder.path().join("b"));
        let long = |letter: &str| letter.repeat(200_000);
        fs::write(&path, long("a")).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in (0..).take_while(|_| !done.load(Relaxed)) {
                    // In place and by a rename, in turn.
                    let text = long(if n % 2 == 0 { "b" } else { "a" });
                    match n % 4 {
                        0 | 1 => fs::write(&path, text).unwrap(),
                        _ => fs::write(&other, text).and_then(|()| fs::rename(&other, &path)).unwrap(),
                    }
                    sleep(Duration::from_millis(3));
                }
            });
            for _ in 0..50 {
                if let Ok(text) = read(&path) {
                    let first = text.chars().next();
                    assert!(text.chars().all(|c| Some(c) == first), "two halves");
                }
            }
            done.store(true, Relaxed);
        });
    }

    #[test]
    fn stamps_tell_a_write_a_swap_and_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let files = [folder.path().join("a"), folder.path().join("b")];
        fs::write(&files[0], "1").unwrap();
        let mut seen = vec![Stamps::take(&files)];
        assert_eq!(seen[0], Stamps::take(&files), "nothing happened");
        fs::write(&files[1], "1").unwrap();
        seen.push(Stamps::take(&files));
        fs::write(&files[0], "12").unwrap();
        seen.push(Stamps::take(&files));
        fs::rename(&files[1], &files[0]).unwrap();
        seen.push(Stamps::take(&files));
        for (n, one) in seen.iter().enumerate() {
            assert!(seen[n + 1..].iter().all(|other| other != one), "{n}");
        }
    }
}
