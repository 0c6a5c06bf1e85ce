//! The time by which leases, delays and deadlines are counted: all nodes agree on it, whatever their own clocks say.
//!
//! A server's clock is the database's, asked in each transaction. SQLite has no clock of its own, but its processes
//! share a machine, and so the time since its start, which does not jump when somebody sets the clock. What that
//! was counted from is written once for each start of the machine, into the lock file beside the database. By then
//! no lease of an earlier start has a living holder.

use crate::telemetry::SharedClock;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};
use std::{
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Instant,
};

/// The moment of a transaction, in microseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// Since 1970 by the wall clock: what people and calendars go by.
    pub wall: i64,
    /// By [`Steady`]: what is only compared with itself.
    pub steady: i64,
}

/// See the module. Near the wall clock's time, unless that was set.
#[derive(Clone)]
pub(super) struct Steady {
    clock: SharedClock,
    base: Base,
}

#[derive(Clone)]
enum Base {
    /// There is only the wall clock.
    Wall,
    /// Wall clock less time since the machine's start, when it was anchored.
    Machine(i64),
    /// The database's clock less the time since `from`, when it was last asked.
    Database { from: Instant, offset: Arc<AtomicI64> },
}

impl Steady {
    /// Takes the anchor from `file`, which this process has locked, or casts it. `true`: it is new, so every lease is
    /// one of before the machine's start.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn of_machine(clock: SharedClock, file: &mut File) -> io::Result<(Steady, bool)> {
        let Some(machine) = clock.machine() else { return Ok((Steady { clock, base: Base::Wall }, false)) };
        let mut text = String::new();
        file.read_to_string(&mut text).ok();
        let known = text.trim().split_once(' ').filter(|(start, _)| *start == machine.start);
        if let Some(anchor) = known.and_then(|(_, anchor)| anchor.parse().ok()) {
            return Ok((Steady { clock, base: Base::Machine(anchor) }, false));
        }
        let anchor = clock.now_us() - machine.up_us;
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{} {anchor}", machine.start)?;
        Ok((Steady { clock, base: Base::Machine(anchor) }, true))
    }

    /// Goes by the clock of a server.
    ///
    /// # Errors
    /// It does not tell the time.
    pub async fn of_database(clock: SharedClock, db: &impl ConnectionTrait) -> Result<Steady, DbErr> {
        let base = Base::Database { from: Instant::now(), offset: Arc::default() };
        let steady = Steady { clock, base };
        steady.now(db).await?;
        Ok(steady)
    }

    /// Whether all who share the database share this machine.
    pub fn is_of_machine(&self) -> bool {
        !matches!(self.base, Base::Database { .. })
    }

    /// Without a question to the database: between two transactions its clock is carried on.
    pub fn now_us(&self) -> i64 {
        match (&self.base, self.clock.machine()) {
            (Base::Machine(anchor), Some(machine)) => anchor + machine.up_us,
            (Base::Database { from, offset }, _) => {
                self.clock.of_database(offset.load(Ordering::Relaxed) + micros_since(*from))
            }
            _ => self.clock.now_us(),
        }
    }

    /// The moment of a transaction on `db`.
    pub async fn now(&self, db: &impl ConnectionTrait) -> Result<Now, DbErr> {
        if let Base::Database { from, offset } = &self.base {
            let said = ask(db).await?;
            offset.store(said - micros_since(*from), Ordering::Relaxed);
            return Ok(Now { wall: self.clock.now_us(), steady: self.clock.of_database(said) });
        }
        Ok(Now { wall: self.clock.now_us(), steady: self.now_us() })
    }
}

fn micros_since(start: Instant) -> i64 {
    i64::try_from(start.elapsed().as_micros()).unwrap_or(i64::MAX)
}

async fn ask(db: &impl ConnectionTrait) -> Result<i64, DbErr> {
    let backend = db.get_database_backend();
    let sql = match backend {
        DbBackend::MySql => "SELECT CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED) AS now_us",
        _ => "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT) AS now_us",
    };
    let row = db.query_one_raw(Statement::from_string(backend, sql)).await?;
    row.ok_or_else(|| DbErr::Custom("the database does not tell the time".into()))?.try_get("", "now_us")
}
