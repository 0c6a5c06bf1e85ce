//! The database: entities, one function per transaction, the writer. All SQL lives here; callers hand in plain data
//! and get plain data. Times are microseconds UTC by the clock that was passed in (SQLite has none of its own).

mod claim;
mod entity;
mod finish;
mod keys;
mod lane;
mod lease;
mod model;
mod read;
mod retention;
mod rows;
mod settings;
mod submit;
mod writer;

#[cfg(test)]
mod tests;

pub use claim::{NextTried, NextTry, Shares, Swept, TeamShare};
pub use finish::{AttemptEnd, End, Finish, Finished};
pub use model::{Attempt, Image, Job, Key, Phase, Plan, State, Target, Upload};
pub use read::{JobRows, Listing};
pub use retention::{Expired, Retain};
pub use settings::Settings;
pub use submit::{Caps, Claimed, IdempotencyKey, Offer, QueueCaps, Reservation, Submit, Submitted};

use crate::telemetry::SharedClock;
use migrations::{Migrator, MigratorTrait};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbErr};
use sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use std::{future::Future, path::Path, pin::Pin, time::Duration};
use tokio::sync::{mpsc, oneshot};
use writer::{Command, Writer};

/// The database could not do it. Callers answer 503 and ask to come again.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the database is not available: {0}")]
pub struct StoreError(pub String);

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> StoreError {
        StoreError(error.to_string())
    }
}

/// Commands that wait for the writer at most; more callers wait in line.
const WAITING: usize = 1024;

/// The database, ready to use. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    read: DatabaseConnection,
    writer: mpsc::Sender<Command>,
}

/// Boxed, because the transaction outlives the closure that uses it.
type InTransaction<'a, T> = Pin<Box<dyn Future<Output = Result<T, DbErr>> + Send + 'a>>;

impl Store {
    /// Opens the database, brings its schema up to date and starts the writer.
    ///
    /// # Errors
    /// It cannot be opened or migrated; the text names the file.
    pub async fn open(settings: &Settings, data_dir: &Path, clock: SharedClock) -> Result<Store, StoreError> {
        let path = sqlite_path(&settings.url, data_dir)?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| StoreError(format!("{}: {e}", folder.display())))?;
        }
        let url = format!("sqlite://{}?mode=rwc", path.display());
        let named = |e: DbErr| StoreError(format!("{}: {e}", path.display()));
        // Opening sets the journal mode and migrating makes tables: one process of this directory at a time.
        let lock = alone(&path).await.map_err(|e| StoreError(format!("{}: {e}", path.display())))?;
        let write = Database::connect(options(&url, 1, settings)).await.map_err(named)?;
        Migrator::up(&write, None).await.map_err(named)?;
        drop(lock);
        let read = Database::connect(options(&url, settings.max_connections.max(1), settings))
            .await
            .map_err(named)?;
        let (writer, commands) = mpsc::channel(WAITING);
        let task = Writer { db: write, clock, queue: Default::default() };
        tokio::spawn(task.run(commands));
        Ok(Store { read, writer })
    }

    /// Commits jobs, or says why not. The jobs are on disk when this returns.
    pub async fn submit(&self, submit: Submit) -> Result<Submitted, StoreError> {
        self.command(|answer| Command::Submit(Box::new(submit), answer)).await
    }

    /// Ends a job.
    pub async fn finish(&self, finish: Finish) -> Result<Finished, StoreError> {
        self.command(|answer| Command::Finish(Box::new(finish), answer)).await
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.read.execute_unprepared("SELECT 1").await?;
        Ok(())
    }

    /// Whether the database takes writes: commits a row that is gone again.
    ///
    /// # Errors
    /// In the words of the database: a full disk, a missing right.
    pub async fn probe(&self) -> Result<(), StoreError> {
        let id = format!(".probe-{}", uuid::Uuid::new_v4());
        let row = Key {
            id,
            team: String::new(),
            hash: String::new(),
            hint: String::new(),
            scopes: String::new(),
            created_us: 0,
            expires_us: None,
            revoked_us: Some(0),
        };
        self.write(move |tx, now| Box::pin(async move { keys::add_and_remove(tx, now, row).await })).await
    }

    async fn command<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Command,
    ) -> Result<T, StoreError> {
        let (answer, done) = oneshot::channel();
        let gone = || StoreError("it is closed".into());
        self.writer.send(command(answer)).await.map_err(|_| gone())?;
        done.await.map_err(|_| gone())?
    }

    /// Runs `work` in a transaction of its own, on the writer.
    async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a DatabaseTransaction, i64) -> InTransaction<'a, T> + Send + 'static,
    {
        let (value_out, value_in) = oneshot::channel();
        let single: writer::Single = Box::new(move |tx, now| {
            let running = work(tx, now);
            Box::pin(async move {
                value_out.send(running.await?).ok();
                Ok(())
            })
        });
        // The value is there before the commit; it counts only when the commit was answered.
        self.command(|answer| Command::Single(single, answer)).await?;
        value_in.await.map_err(|_| StoreError("no answer".into()))
    }
}

/// The file behind a `sqlite:` URL.
///
/// # Errors
/// The URL is of another kind.
pub fn sqlite_path(url: &str, data_dir: &Path) -> Result<std::path::PathBuf, StoreError> {
    let path = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:"));
    let path = path.ok_or_else(|| {
        StoreError("only sqlite:// is served; set database.url to sqlite://gateway.db".into())
    })?;
    let path = path.split('?').next().unwrap_or(path);
    Ok(data_dir.join(path))
}

/// Holds a lock beside the database file until it is dropped.
async fn alone(database: &Path) -> std::io::Result<std::fs::File> {
    let path = database.with_extension("lock");
    let wait = move || {
        let file = std::fs::File::options().create(true).truncate(false).write(true).open(path)?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
        Ok(file)
    };
    tokio::task::spawn_blocking(wait).await.map_err(std::io::Error::other)?
}

fn options(url: &str, connections: u32, settings: &Settings) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(*settings.acquire_timeout)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(|sqlite| {
            sqlite
                .journal_mode(SqliteJournalMode::Wal)
                // An accepted job survives a power cut.
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(Duration::from_secs(5))
                .pragma("wal_autocheckpoint", "10000")
        });
    options
}
