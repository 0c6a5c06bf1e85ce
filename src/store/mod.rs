//! The database: entities, one function per transaction, the writer. All SQL lives here; callers hand in plain data
//! and get plain data. Times are microseconds UTC by the clock that was passed in; leases, delays and deadlines go by
//! [`Store::steady_us`].
//!
//! SQLite, PostgreSQL, MySQL and MariaDB run the same transactions. On SQLite the single writer keeps them apart; on
//! a server rows are locked, always in this order: lanes, gates, jobs (by id), quota windows (by id), and a
//! transaction that still comes in another's way runs again (`tries.rs`).

mod address;
mod audit;
mod claim;
mod deletion;
mod dialect;
mod entity;
mod finish;
mod gate;
mod gather;
mod keys;
mod lane;
mod lease;
mod listing;
mod model;
mod news;
mod pauses;
mod raises;
mod read;
mod reader;
mod reconcile;
mod retention;
mod rows;
mod server;
mod settings;
mod sqlite;
mod steady;
mod submit;
mod tries;
mod usage;
mod words;
mod writer;

#[cfg(test)]
mod tests;

pub use address::Address;
pub use claim::{NextTried, NextTry, Shares, Swept, TeamShare};
pub use deletion::Deleted;
pub use finish::{AttemptEnd, End, Finish, Finished, instance_of};
pub use lease::TicketKept;
pub use listing::{Filter, Listing, Place, Window};
pub use model::{Attempt, Image, Job, Key, Phase, Plan, State, Target, Upload};
pub use news::{Listener, News};
pub use pauses::Pauses;
pub use raises::Raise;
pub use read::JobRows;
pub use retention::{Expired, Retain};
pub use settings::Settings;
pub use submit::{Caps, Claimed, IdempotencyKey, Offer, QueueCaps, Reservation, Submit, Submitted};
pub use usage::{By, Used};

use crate::telemetry::SharedClock;
use gather::Gather;
use parking_lot::Mutex;
use reader::Reader;
use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr};
use std::{future::Future, path::Path, pin::Pin, sync::Arc};
use steady::{Now, Steady};
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
    read: Reader,
    gather: Gather,
    writer: mpsc::Sender<Command>,
    steady: Steady,
    /// Where other nodes tell of changes.
    news: Option<sqlx::PgPool>,
}

/// A database that was opened.
struct Opened {
    read: DatabaseConnection,
    write: DatabaseConnection,
    steady: Steady,
    news: Option<sqlx::PgPool>,
}

/// Boxed, because the transaction outlives the closure that uses it.
type InTransaction<'a, T> = Pin<Box<dyn Future<Output = Result<T, DbErr>> + Send + 'a>>;

impl Store {
    /// Opens the database, brings its schema up to date and starts the writer.
    ///
    /// # Errors
    /// It cannot be opened or migrated, or promises less than is needed; the text names the file or the server.
    pub async fn open(settings: &Settings, data_dir: &Path, clock: SharedClock) -> Result<Store, StoreError> {
        let address = Address::parse(&settings.url, data_dir)?;
        let Opened { read, write, steady, news } = match &address {
            Address::Sqlite(path) => sqlite::open(path, settings, clock).await?,
            server => server::open(server, settings, clock).await?,
        };
        let (writer, commands) = mpsc::channel(WAITING);
        let task = Writer::new(write, steady.clone(), *settings.statement_timeout * 2);
        tokio::spawn(task.run(commands));
        let read = Reader::new(read, *settings.acquire_timeout + *settings.statement_timeout);
        let gather = Gather::new(read.clone());
        Ok(Store { read, gather, writer, steady, news })
    }

    /// Commits jobs, or says why not. The jobs are on disk when this returns.
    pub async fn submit(&self, submit: Submit) -> Result<Submitted, StoreError> {
        self.command(|answer| Command::Submit(Box::new(submit), answer)).await
    }

    /// Ends a job.
    pub async fn finish(&self, finish: Finish) -> Result<Finished, StoreError> {
        self.command(|answer| Command::Finish(Box::new(finish), answer)).await
    }

    /// Microseconds by which leases, delays and deadlines are counted: near the wall clock's, but they do not jump
    /// when that is set.
    pub fn steady_us(&self) -> i64 {
        self.steady.now_us()
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
        let row = Key { id, revoked_us: Some(0), ..Key::default() };
        self.write(move |tx, now| Box::pin(async move { keys::add_and_remove(tx, now.wall, row).await }))
            .await
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

    /// Runs `work` in a transaction of its own, on the writer; anew, on a server, where another came in its way.
    async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a DatabaseTransaction, Now) -> InTransaction<'a, T> + Clone + Send + 'static,
    {
        let done = Arc::new(Mutex::new(None));
        let value = done.clone();
        let single: writer::Single = Box::new(move |tx, now| {
            let (running, done) = (work.clone()(tx, now), done.clone());
            Box::pin(async move {
                let value = running.await?;
                *done.lock() = Some(value);
                Ok(())
            })
        });
        // The value is there before the commit; it counts only when the commit was answered.
        self.command(|answer| Command::Single(single, answer)).await?;
        let value = value.lock().take();
        value.ok_or_else(|| StoreError("no answer".into()))
    }
}

/// A place where the fault harness breaks in.
fn failpoint(name: &str) -> Result<(), DbErr> {
    plugin_api::failpoint(name).map_err(|error| DbErr::Custom(error.to_string()))
}
