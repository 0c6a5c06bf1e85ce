//! SQLite: one file, one writer at a time, and processes of one machine.

use super::{Opened, Settings, StoreError, lease, steady::Steady};
use crate::telemetry::SharedClock;
use sea_orm::{ConnectOptions, Database, DbErr};
use sqlx::{
    Connection as _, SqliteConnection,
    sqlite::{SqliteJournalMode, SqliteSynchronous},
};
use std::{path::Path, time::Duration};

/// Opens the file and brings its schema up to date.
pub(super) async fn open(path: &Path, settings: &Settings, clock: SharedClock) -> Result<Opened, StoreError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| StoreError(format!("{}: {e}", folder.display())))?;
    }
    let url = format!("sqlite://{}?mode=rwc", path.display());
    let named = |e: DbErr| StoreError(format!("{}: {e}", path.display()));
    // Opening sets the journal mode and migrating makes tables: one process of this directory at a time.
    let io = |e: std::io::Error| StoreError(format!("{}: {e}", path.display()));
    let mut lock = alone(path).await.map_err(io)?;
    let (steady, machine_started) = Steady::of_machine(clock, &mut lock).map_err(io)?;
    let mut writes = options(&url, 1, settings);
    writes.map_sqlx_sqlite_pool_opts(|pool| {
        pool.after_connect(|connection, _| Box::pin(keep_plans(connection)))
            .after_release(|connection, _| Box::pin(is_clean(connection)))
    });
    let write = Database::connect(writes).await.map_err(named)?;
    migrations::bring_up_to_date(&write).await.map_err(named)?;
    if machine_started {
        lease::end_all(&write).await.map_err(named)?;
    }
    drop(lock);
    let read =
        Database::connect(options(&url, settings.max_connections.max(1), settings)).await.map_err(named)?;
    Ok(Opened { read, write, steady, news: None })
}

/// Holds a lock beside the database file until it is dropped.
async fn alone(database: &Path) -> std::io::Result<std::fs::File> {
    let path = database.with_extension("lock");
    let wait = move || {
        let file = std::fs::File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
        Ok(file)
    };
    tokio::task::spawn_blocking(wait).await.map_err(std::io::Error::other)?
}

/// Whether a connection that comes back to its pool may be used again. When SQLite rolls a transaction back by itself
/// (a full disk, a failed sync), sqlx counts on as if it were open. Later transactions would then be savepoints
/// inside one that nobody commits.
async fn is_clean(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        // Behind the rollback that may still be on its way.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

/// Tells SQLite that a statement's plan does not hang on what is bound (`SQLITE_DBCONFIG_ENABLE_QPSG`,
/// <https://sqlite.org/c3ref/c_dbconfig_defensive.html>). Else it parses and plans each statement with a bound LIMIT
/// anew every time it runs; sea-orm binds them all.
///
/// # Errors
/// SQLite refuses.
#[allow(unsafe_code)]
async fn keep_plans(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let mut handle = connection.lock_handle().await?;
    let (on, was) = (1_i32, std::ptr::null_mut::<i32>());
    // SAFETY: the handle is open and nobody else uses it while it is locked; this option takes an int and a pointer
    // to an int, which may be null.
    let code = unsafe {
        let database = handle.as_raw_handle().as_ptr();
        libsqlite3_sys::sqlite3_db_config(database, libsqlite3_sys::SQLITE_DBCONFIG_ENABLE_QPSG, on, was)
    };
    if code == libsqlite3_sys::SQLITE_OK {
        Ok(())
    } else {
        Err(sqlx::Error::Configuration(format!("SQLite refuses to keep plans ({code})").into()))
    }
}

fn options(url: &str, connections: u32, settings: &Settings) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(*settings.acquire_timeout)
        .sqlx_logging(false)
        .map_sqlx_sqlite_pool_opts(|pool| {
            pool.after_connect(|connection, _| Box::pin(keep_plans(connection)))
        })
        // A file does not hang up: the question would only be one more trip to the connection's thread per query.
        .test_before_acquire(false)
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
