//! When a transaction runs again. On a server it may lose against another node's (a deadlock, a key that the other
//! was quicker to insert) or with its connection; SQLite's single writer knows neither.

use super::address::is_shared;
use sea_orm::{DbBackend, DbErr, RuntimeErr, SqlErr};
use std::time::Duration;
use tokio::time::sleep;

/// Most times that one transaction is begun.
const TRIES: u32 = 6;
/// The first pause; each later one is twice as long, and each is taken by chance from zero up.
const PAUSE: Duration = Duration::from_millis(10);
/// The same after a lost connection: a server needs a moment to come back.
const AWAY: Duration = Duration::from_millis(100);

/// A transaction that did not go through.
#[derive(Debug)]
pub(super) struct Failed {
    pub error: DbErr,
    /// Its commit was under way: it may have gone through after all.
    pub at_commit: bool,
}

impl From<DbErr> for Failed {
    fn from(error: DbErr) -> Failed {
        Failed { error, at_commit: false }
    }
}

impl Failed {
    pub fn at_commit(error: DbErr) -> Failed {
        Failed { error, at_commit: true }
    }
}

/// Counts the tries of one transaction.
pub(super) struct Tries {
    shared: bool,
    made: u32,
}

impl Tries {
    pub fn on(backend: DbBackend) -> Tries {
        Tries { shared: is_shared(backend), made: 1 }
    }

    /// Whether to try once more; waits a little first.
    pub async fn again(&mut self, failed: &Failed) -> bool {
        let pause = match &failed.error {
            _ if !self.shared || self.made >= TRIES => return false,
            error if is_in_the_way(error) => PAUSE,
            error if is_lost(error) && !failed.at_commit => AWAY,
            _ => return false,
        };
        tracing::debug!(error = %failed.error, made = self.made, "a transaction runs again");
        sleep((pause * 2_u32.pow(self.made - 1)).mul_f64(fastrand::f64())).await;
        self.made += 1;
        true
    }
}

fn sqlx_error(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => Some(error),
        _ => None,
    }
}

fn code(error: &DbErr) -> Option<String> {
    let error = sqlx_error(error)?.as_database_error()?;
    // MySQL's five letters are less exact than its numbers.
    let number = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>().map(|e| e.number().to_string());
    number.or_else(|| error.code().map(|code| code.into_owned()))
}

/// Another transaction came in this one's way: it was rolled back whole.
fn is_in_the_way(error: &DbErr) -> bool {
    // serialization_failure, deadlock_detected; MySQL: deadlock, changed since it was read.
    const CODES: [&str; 4] = ["40001", "40P01", "1213", "1020"];
    code(error).is_some_and(|code| CODES.contains(&code.as_str()))
        || matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_)))
}

/// The database itself says no: a constraint, a text too long for its column, a character that it has no place for.
pub(super) fn is_refusal(error: &DbErr) -> bool {
    // What a value cannot be turned into, the driver says before the database does.
    let encoding = matches!(sqlx_error(error), Some(sqlx::Error::Encode(_)));
    encoding || sqlx_error(error).is_some_and(|error| error.as_database_error().is_some())
}

/// The connection is lost, and what it had begun with it.
pub(super) fn is_lost(error: &DbErr) -> bool {
    // Of PostgreSQL: the connection's class, ended by the operator or a crash, starting up, idle for too long.
    let ended = |code: String| code.starts_with("08") || code.starts_with("57P") || code == "25P03";
    matches!(
        sqlx_error(error),
        Some(sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed)
    ) || code(error).is_some_and(ended)
}

/// The database keeps all who write from it: whoever waits behind this error would meet it too, after as long a wait.
pub(super) fn is_away(error: &DbErr) -> bool {
    const SQLITE_BUSY: u32 = 5;
    match error {
        DbErr::ConnectionAcquire(_) => return true,
        DbErr::Custom(text) if text == NO_ANSWER => return true,
        _ => {}
    }
    // The extended codes of SQLite have theirs in the low byte; those of servers have five letters or are above.
    let busy = |error: &DbErr| {
        let error = sqlx_error(error)?.as_database_error()?;
        error.try_downcast_ref::<sqlx::sqlite::SqliteError>()?;
        error.code()?.parse::<u32>().ok()
    };
    busy(error).is_some_and(|code| code & 0xff == SQLITE_BUSY) || is_lost(error)
}

/// A transaction that took longer than it may.
pub(super) const NO_ANSWER: &str = "the database gave no answer in time";
