//! Answer bytes on disk before anyone parses them, and their adoption after a crash. A paid answer lies here under
//! its attempt's id until the jobs that it belongs to are finished; everything else goes with its last user.
//!
//! Several processes may share the folder: nothing of another live process is ever deleted, so leftovers are told
//! by their age.

mod settings;
pub use settings::Settings;

use parking_lot::Mutex;
use plugin_api::{Answer, Blob, Http, Spares};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::Instant;
use uuid::Uuid;

/// No request lives as long; a half-written file of this age has lost its writer.
const LEFTOVER: Duration = Duration::from_secs(3_600);
/// Used and free bytes are counted at most this often.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// Free space that is never counted on: the database needs some.
const FLOOR: u64 = 64 << 20;
/// Ends the name of the folder of an attempt's downloads that wait for storage.
const HELD: &str = ".held";
/// The folder of empty files that are used again.
const SPARES: &str = ".spares";

/// The folder of answers.
pub struct Spool {
    path: PathBuf,
    limit: u64,
    floor: u64,
    spares: Arc<Spares>,
    counted: Mutex<Option<(std::time::Instant, bool)>>,
}

impl Spool {
    /// Creates the folder (for this user alone) and removes what died in it more than an hour ago. `largest`: the
    /// largest image that is stored; the disk must have room for two of them, and 64 MiB at least.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(settings: &Settings, data_dir: &Path, largest: u64) -> io::Result<Spool> {
        let path = data_dir.join(&settings.root);
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        let spares = path.join(SPARES);
        builder.create(&spares)?;
        let (path, spares) = (path.canonicalize()?, spares.canonicalize()?);
        sweep(&path)?;
        sweep(&spares)?;
        let floor = FLOOR.max(largest.saturating_mul(2));
        let spares = Arc::new(Spares::open(spares));
        Ok(Spool { path, limit: settings.limit.0, floor, spares, counted: Mutex::new(None) })
    }

    /// The folder without a look at it: for those who read a configuration and call no vendor.
    pub fn unopened(settings: &Settings, data_dir: &Path) -> Spool {
        let path = data_dir.join(&settings.root);
        Spool {
            path,
            limit: settings.limit.0,
            floor: FLOOR,
            spares: Arc::default(),
            counted: Mutex::new(None),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The client of one attempt: its paid answer is kept here, under the attempt's id.
    pub fn http(&self, client: &reqwest::Client, attempt: Uuid, deadline: Instant) -> Http {
        Http::new(client.clone(), self.path.clone(), attempt.to_string(), deadline).on(self.spares.clone())
    }

    /// A name for the `number`th download of an attempt. Whoever writes it deletes it.
    pub fn download(&self, attempt: Uuid, number: usize) -> PathBuf {
        self.path.join(format!("{attempt}.url{number}"))
    }

    /// An image waits for storage: the files of its attempt stay fresh, so that nobody takes them for leftovers, and
    /// its `number`th download, if there is one, will outlive this process. Blocking: the folder is listed.
    ///
    /// # Errors
    /// The download cannot be given its second name, or that is not on disk.
    pub fn hold(&self, attempt: Uuid, number: usize) -> io::Result<()> {
        let download = self.download(attempt, number);
        let folder = self.held_folder(attempt);
        let held = folder.join(number.to_string());
        if !held.exists() && download.exists() {
            fs::create_dir_all(&folder)?;
            fs::File::open(&download)?.sync_all()?;
            fs::hard_link(&download, &held)?;
            fs::File::open(&folder)?.sync_all()?;
            fs::File::open(&self.path)?.sync_all()?;
        }
        let beside = format!("{attempt}.");
        for (path, _) in files(&self.path)? {
            if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&beside)) {
                fs::File::options().write(true).open(path)?.set_modified(SystemTime::now())?;
            }
        }
        Ok(())
    }

    /// The `number`th download of an attempt, held by an earlier life of it: need not be fetched again. Blocking.
    ///
    /// # Errors
    /// It is there and cannot be used.
    pub fn held(&self, attempt: Uuid, number: usize) -> io::Result<Option<Blob>> {
        let held = self.held_folder(attempt).join(number.to_string());
        let length = match fs::metadata(&held) {
            Ok(about) => about.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let download = self.download(attempt, number);
        match fs::remove_file(&download) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::hard_link(&held, &download)?,
        }
        Ok(Some(Blob::temporary_file(download, length)))
    }

    fn held_folder(&self, attempt: Uuid) -> PathBuf {
        self.path.join(format!("{attempt}{HELD}"))
    }

    /// The answer that an attempt of an earlier life received whole. Blocking: the answer's text is read.
    ///
    /// # Errors
    /// There is one and it cannot be read now.
    pub fn adopt(&self, attempt: Uuid) -> io::Result<Option<Answer>> {
        match plugin_api::adopt(&self.path.join(attempt.to_string())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            answer => answer,
        }
    }

    /// Whether an attempt's whole answer lies here.
    pub fn has_answer(&self, attempt: Uuid) -> bool {
        self.path.join(attempt.to_string()).exists()
    }

    /// Deletes an attempt's answer and held downloads, once the database knows how it ended. None is no error.
    ///
    /// # Errors
    /// It is there and stays there.
    pub fn remove(&self, attempt: Uuid) -> io::Result<()> {
        match fs::remove_dir_all(self.held_folder(attempt)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match self.spares.remove(&self.path.join(attempt.to_string())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    /// Deletes what an earlier life of the attempt left unfinished beside its answer. Blocking: the folder is listed.
    ///
    /// # Errors
    /// The folder cannot be read, or a file stays there.
    pub fn remove_leftovers(&self, attempt: Uuid) -> io::Result<()> {
        let beside = format!("{attempt}.");
        for (path, _) in files(&self.path)? {
            if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&beside)) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Attempts whose answers or held downloads are older than `age`, to ask the database about. Blocking.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn answers_older_than(&self, age: Duration) -> io::Result<Vec<Uuid>> {
        let old = |entry: io::Result<fs::DirEntry>| {
            let entry = entry.ok()?;
            attempt_of(&entry.path()).filter(|_| entry.metadata().is_ok_and(|about| is_older(&about, age)))
        };
        let mut attempts: Vec<Uuid> = fs::read_dir(&self.path)?.filter_map(old).collect();
        attempts.sort_unstable();
        attempts.dedup();
        Ok(attempts)
    }

    /// Bytes that this user may still write to the folder's disk.
    ///
    /// # Errors
    /// The disk does not tell.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.path)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Bytes that lie in the folder, of every process that shares it. Blocking.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn used_bytes(&self) -> io::Result<u64> {
        Ok(files(&self.path)?.map(|(_, about)| about.len()).sum())
    }

    /// Whether a new attempt may begin: the disk has room for its answer, and the folder is below its limit. Counted
    /// at most once a second, so a burst may pass the limit by as much as a second brings. A disk that does not
    /// tell has none.
    pub fn has_room(&self) -> bool {
        let mut counted = self.counted.lock();
        if let Some((at, room)) = *counted
            && at.elapsed() < COUNT_EVERY
        {
            return room;
        }
        let room = match (self.free_bytes(), self.used_bytes()) {
            (Ok(free), Ok(used)) => {
                let room = free >= self.floor && used < self.limit;
                if !room {
                    tracing::warn!(
                        free,
                        used,
                        floor = self.floor,
                        limit = self.limit,
                        "no room for answers: new attempts wait"
                    );
                }
                room
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(error = %error, "the folder for answers cannot be examined: new attempts wait");
                false
            }
        };
        *counted = Some((std::time::Instant::now(), room));
        room
    }
}

fn files(folder: &Path) -> io::Result<impl Iterator<Item = (PathBuf, fs::Metadata)>> {
    // A file that goes between the listing and the look is no file.
    let entry = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.ok()?;
        let about = entry.metadata().ok()?;
        about.is_file().then(|| (entry.path(), about))
    };
    Ok(fs::read_dir(folder)?.filter_map(entry))
}

/// The attempt whose whole answer this file is, or whose held downloads this folder has; `None` for parts and
/// passing files.
fn attempt_of(path: &Path) -> Option<Uuid> {
    let name = path.file_name()?.to_str()?;
    let name = name.strip_suffix(HELD).unwrap_or(name);
    Uuid::try_parse(name).ok().filter(|id| id.to_string() == name)
}

fn is_older(about: &fs::Metadata, age: Duration) -> bool {
    about.modified().is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|passed| passed > age))
}

/// Whole answers are left to the jobs that know their attempts.
fn sweep(folder: &Path) -> io::Result<()> {
    let ours = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let part = name.split_once('.').is_some_and(|(attempt, _)| Uuid::try_parse(attempt).is_ok());
        part || path.parent().is_some_and(|folder| folder.ends_with(SPARES))
    };
    for (path, about) in files(folder)? {
        if ours(&path) && is_older(&about, LEFTOVER) {
            fs::remove_file(&path).ok();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, StatusCode};
    use plugin_api::{SpoolFile, value::ByteSize};

    fn spool(dir: &Path, limit: u64) -> Spool {
        Spool::open(&Settings { limit: ByteSize(limit), ..Settings::default() }, dir, 0).unwrap()
    }
    fn leave(spool: &Spool, name: &str, old: bool) -> PathBuf {
        let path = spool.path().join(name);
        fs::write(&path, b"half an answer").unwrap();
        if old {
            let then = SystemTime::now() - LEFTOVER - Duration::from_secs(60);
            fs::File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
        }
        path
    }

    #[test]
    fn the_folder_is_for_this_user_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let spool = spool(dir.path(), 1 << 30);
        assert_eq!(fs::metadata(spool.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_start_sweeps_only_what_nobody_can_be_writing_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let first = spool(dir.path(), 1 << 30);
        let id = Uuid::new_v4();
        let gone = [format!("{id}.part"), format!("{id}.0"), format!("{id}.0.part"), format!("{id}.url2")]
            .map(|name| leave(&first, &name, true));
        let young = leave(&first, &format!("{}.part", Uuid::new_v4()), false);
        let answer = leave(&first, &id.to_string(), true);
        let strange = leave(&first, "README", true);

        let second = spool(dir.path(), 1 << 30);
        assert!(gone.iter().all(|path| !path.exists()));
        for path in [young, answer, strange] {
            assert!(path.exists(), "{}", path.display());
        }
        assert_eq!(second.answers_older_than(Duration::from_secs(60)).unwrap(), [id]);
        assert!(second.answers_older_than(LEFTOVER * 2).unwrap().is_empty());
    }

    #[test]
    fn a_whole_answer_is_adopted_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let before = spool(dir.path(), 1 << 30);
        let attempt = Uuid::new_v4();
        assert!(before.adopt(attempt).unwrap().is_none());
        let mut file = SpoolFile::create(before.path().join(attempt.to_string()), true);
        file.push(br#"{"data":[]}"#).unwrap();
        file.finish(StatusCode::OK, HeaderMap::new(), false).unwrap();

        let after = spool(dir.path(), 1 << 30);
        let answer = after.adopt(attempt).unwrap().expect("it survives the restart");
        assert_eq!(answer.text, r#"{"data":[]}"#);
        after.remove(attempt).unwrap();
        after.remove(attempt).unwrap();
        assert!(after.adopt(attempt).unwrap().is_none());
    }

    #[test]
    fn a_download_that_waits_for_storage_outlives_its_process_and_counts_as_fresh() {
        let dir = tempfile::tempdir().unwrap();
        let before = spool(dir.path(), 1 << 30);
        let attempt = Uuid::new_v4();
        before.hold(attempt, 0).unwrap();
        assert!(before.held(attempt, 0).unwrap().is_none(), "nothing was downloaded");
        leave(&before, &format!("{attempt}.url1"), true);
        before.hold(attempt, 1).unwrap();
        let after = spool(dir.path(), 1 << 30);
        assert!(after.download(attempt, 1).exists(), "it is no leftover");
        drop(Blob::temporary_file(before.download(attempt, 1), 14));
        after.remove_leftovers(attempt).unwrap();
        for _ in 0..2 {
            let held = after.held(attempt, 1).unwrap().expect("it is still there");
            assert_eq!(held.read().unwrap(), "half an answer");
        }
        assert!(after.held(attempt, 0).unwrap().is_none());
        assert_eq!(after.answers_older_than(Duration::ZERO).unwrap(), [attempt]);
        after.remove(attempt).unwrap();
        assert!(after.held(attempt, 1).unwrap().is_none());
        assert!(after.answers_older_than(Duration::ZERO).unwrap().is_empty());
    }

    #[test]
    fn what_a_dead_worker_left_beside_its_answer_goes_when_the_attempt_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let spool = spool(dir.path(), 1 << 30);
        let (id, other) = (Uuid::new_v4(), Uuid::new_v4());
        let gone = [".part", ".1", ".2.part", ".url0"].map(|end| leave(&spool, &format!("{id}{end}"), false));
        let kept = ["", ".1"].map(|end| leave(&spool, &format!("{other}{end}"), false));
        let answer = leave(&spool, &id.to_string(), false);
        spool.remove_leftovers(id).unwrap();
        assert!(gone.iter().all(|path| !path.exists()));
        assert!(kept.iter().chain([&answer]).all(|path| path.exists()));
    }

    #[test]
    fn a_spool_at_its_limit_has_no_room_and_a_full_disk_neither() {
        let dir = tempfile::tempdir().unwrap();
        let id = Uuid::new_v4().to_string();
        let small = spool(dir.path(), 14);
        assert!(small.has_room());
        leave(&small, &id, false);
        assert_eq!(small.used_bytes().unwrap(), 14);
        assert!(!spool(dir.path(), 14).has_room());
        assert!(spool(dir.path(), 15).has_room());
        let huge = Spool::open(&Settings::default(), dir.path(), u64::MAX / 4).unwrap();
        assert!(huge.free_bytes().unwrap() > 0 && !huge.has_room(), "no disk holds two such images");
    }
}
