//! A server as the database: its connections, what it must promise, and its schema, brought up to date under a lock.

use super::{Opened, Settings, StoreError, address::Address, steady::Steady};
use crate::telemetry::SharedClock;
use sea_orm::{DbErr, SqlxMySqlConnector, SqlxPostgresConnector};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection, MySql, PgPool, Postgres,
    mysql::MySqlConnectOptions,
    pool::PoolOptions,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::time::Duration;
use url::Url;

/// The writer's connections: one works, the other comes back to the pool meanwhile.
const WRITERS: u32 = 2;
/// How long a connection that comes back may take to prove that it is alive.
const ALIVE: Duration = Duration::from_secs(5);
/// How long a node waits for another one to bring the schema up to date, in seconds.
const MIGRATING: u64 = 300;
/// Names the lock of the migrations; any number does that nobody else uses.
const MIGRATION_LOCK: i64 = 0x0069_6d61_6765_6777;

pub(super) async fn open(
    address: &Address,
    settings: &Settings,
    clock: SharedClock,
) -> Result<Opened, StoreError> {
    let opened = match address {
        Address::Postgres(url) => postgres(url, settings, clock).await,
        Address::Mysql(url) => mysql(url, settings, clock).await,
        Address::Sqlite(_) => Err(Refused::Unsafe("a file is no server".into())),
    };
    opened.map_err(|why| match why {
        Refused::Failed(error) => StoreError(format!("{address}: {error}")),
        Refused::Sql(error) => StoreError(format!("{address}: {error}")),
        Refused::Unsafe(why) => StoreError(format!("{address}: {why}")),
    })
}

/// Why a server is not used.
enum Refused {
    Failed(DbErr),
    Sql(sqlx::Error),
    /// It promises less than is needed; with the remedy.
    Unsafe(String),
}

impl From<DbErr> for Refused {
    fn from(error: DbErr) -> Refused {
        Refused::Failed(error)
    }
}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Refused {
        Refused::Sql(error)
    }
}

/// Connections with `settings`: reconnected when they are found dead, each told `hello` at first.
fn pool<DB: sqlx::Database>(settings: &Settings, connections: u32, hello: String) -> PoolOptions<DB>
where
    for<'c> &'c mut DB::Connection: sqlx::Executor<'c, Database = DB>,
{
    PoolOptions::<DB>::new()
        .max_connections(connections)
        .acquire_timeout(*settings.acquire_timeout)
        .after_connect(move |connection, _| {
            let hello = hello.clone();
            Box::pin(async move { sqlx::raw_sql(AssertSqlSafe(hello)).execute(connection).await.map(drop) })
        })
        // Behind the rollback that may still be on its way. One that hangs is given up, so that the pool gets another.
        .after_release(|connection, _| {
            Box::pin(
                async move { Ok(matches!(tokio::time::timeout(ALIVE, connection.ping()).await, Ok(Ok(())))) },
            )
        })
}

async fn postgres(url: &Url, settings: &Settings, clock: SharedClock) -> Result<Opened, Refused> {
    let options =
        PgConnectOptions::from_url(url)?.application_name("image-gateway").disable_statement_logging();
    let limit = settings.statement_timeout.as_millis();
    // A node that stands still inside a transaction lets go of its locks before others give up waiting for them.
    let idle = (limit / 2).max(1);
    let hello = format!(
        "SET default_transaction_isolation = 'read committed'; SET statement_timeout = {limit}; \
         SET idle_in_transaction_session_timeout = {idle}"
    );
    let migrating = format!("SET lock_timeout = '{MIGRATING}s'");
    let alone: PgPool = pool::<Postgres>(settings, 1, migrating).connect_with(options.clone()).await?;
    let settled: (i32, String, String) = sqlx::query_as(
        "SELECT current_setting('server_version_num')::int, current_setting('fsync'), current_setting('synchronous_commit')",
    )
    .fetch_one(&alone)
    .await?;
    is_safe_postgres(&settled).map_err(Refused::Unsafe)?;
    let db = SqlxPostgresConnector::from_sqlx_postgres_pool(alone.clone());
    sqlx::query("SELECT pg_advisory_lock($1)").bind(MIGRATION_LOCK).execute(&alone).await?;
    // The lock goes with its connection, also when this fails.
    migrations::bring_up_to_date(&db).await?;
    alone.close().await;
    let connect = async |connections| {
        let pool =
            pool::<Postgres>(settings, connections, hello.clone()).connect_with(options.clone()).await?;
        Ok::<_, sqlx::Error>(SqlxPostgresConnector::from_sqlx_postgres_pool(pool))
    };
    let (read, write) = (connect(settings.max_connections.max(1)).await?, connect(WRITERS).await?);
    let steady = Steady::of_database(clock, &read).await?;
    let news = PgPoolOptions::new().max_connections(1).acquire_timeout(*settings.acquire_timeout);
    Ok(Opened { read, write, steady, news: Some(news.connect_lazy_with(options)) })
}

fn is_safe_postgres((version, fsync, synchronous): &(i32, String, String)) -> Result<(), String> {
    if *version < 140_000 {
        return Err(format!("PostgreSQL 14 or newer is needed, this is {}", version / 10_000));
    }
    let unsafe_setting = [("fsync", fsync), ("synchronous_commit", synchronous)];
    match unsafe_setting.iter().find(|(_, value)| *value == "off") {
        Some((name, _)) => Err(format!(
            "{name} is off there, so an accepted job could be lost with the server; run `ALTER SYSTEM SET {name} = on` and `SELECT pg_reload_conf()`, and see that no role or database sets it otherwise"
        )),
        None => Ok(()),
    }
}

async fn mysql(url: &Url, settings: &Settings, clock: SharedClock) -> Result<Opened, Refused> {
    let options = MySqlConnectOptions::from_url(url)?.disable_statement_logging();
    // A locking read of what is not there would lock the gap for others; a text that is too long is an error.
    let plain = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
         SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')"
        .to_owned();
    let alone = pool::<MySql>(settings, 1, plain.clone()).connect_with(options.clone()).await?;
    let (version, flush): (String, i64) =
        sqlx::query_as("SELECT VERSION(), CAST(@@innodb_flush_log_at_trx_commit AS SIGNED)")
            .fetch_one(&alone)
            .await?;
    is_safe_mysql(&version, flush).map_err(Refused::Unsafe)?;
    let db = SqlxMySqlConnector::from_sqlx_mysql_pool(alone.clone());
    // The names of locks are the server's, not the database's.
    let lock = format!("SELECT GET_LOCK(CONCAT('image-gateway ', MD5(DATABASE())), {MIGRATING})");
    let got: Option<i64> = sqlx::query_scalar(AssertSqlSafe(lock)).fetch_one(&alone).await?;
    if got != Some(1) {
        return Err(Refused::Unsafe("another node has held the lock of the migrations for 5 minutes".into()));
    }
    migrations::bring_up_to_date(&db).await?;
    alone.close().await;
    let hello = format!("{plain}; {}", limits_of_mysql(&version, *settings.statement_timeout));
    let connect = async |connections| {
        let pool = pool::<MySql>(settings, connections, hello.clone()).connect_with(options.clone()).await?;
        Ok::<_, sqlx::Error>(SqlxMySqlConnector::from_sqlx_mysql_pool(pool))
    };
    let (read, write) = (connect(settings.max_connections.max(1)).await?, connect(WRITERS).await?);
    let steady = Steady::of_database(clock, &read).await?;
    Ok(Opened { read, write, steady, news: None })
}

fn is_mariadb(version: &str) -> bool {
    version.to_ascii_lowercase().contains("mariadb")
}

fn is_safe_mysql(version: &str, flush: i64) -> Result<(), String> {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse::<u32>().unwrap_or(0));
    let number = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let (name, oldest) = if is_mariadb(version) { ("MariaDB 10.6", (10, 6)) } else { ("MySQL 8.0", (8, 0)) };
    if number < oldest {
        return Err(format!("{name} or newer is needed, this is {version}"));
    }
    // MariaDB's 3 flushes twice.
    if flush == 1 || (is_mariadb(version) && flush == 3) {
        return Ok(());
    }
    Err(format!(
        "innodb_flush_log_at_trx_commit is {flush} there, so an accepted job could be lost with the server; run `SET GLOBAL innodb_flush_log_at_trx_commit = 1` and set it in the server's configuration"
    ))
}

/// How long statements and locks may take, and an idle transaction.
fn limits_of_mysql(version: &str, statement: Duration) -> String {
    let seconds = statement.as_secs().max(1);
    let own = if is_mariadb(version) {
        let idle = (seconds / 2).max(1);
        format!("SET SESSION max_statement_time = {seconds}; SET SESSION idle_transaction_timeout = {idle}")
    } else {
        // MySQL has a limit for reading alone, and none for idle transactions but that of idle connections.
        format!(
            "SET SESSION max_execution_time = {}; SET SESSION wait_timeout = {}",
            seconds * 1_000,
            seconds.max(30)
        )
    };
    format!("SET SESSION innodb_lock_wait_timeout = {seconds}; {own}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_could_lose_an_accepted_job_is_refused_with_the_remedy() {
        let postgres = |version, fsync: &str, synchronous: &str| {
            is_safe_postgres(&(version, fsync.into(), synchronous.into()))
        };
        assert_eq!(postgres(140_005, "on", "on"), Ok(()));
        assert_eq!(postgres(170_000, "on", "remote_apply"), Ok(()));
        for (refused, says) in [
            (postgres(130_022, "on", "on"), "PostgreSQL 14 or newer is needed, this is 13"),
            (postgres(150_000, "off", "on"), "ALTER SYSTEM SET fsync = on"),
            (postgres(150_000, "on", "off"), "ALTER SYSTEM SET synchronous_commit = on"),
            (is_safe_mysql("10.5.9-MariaDB", 1), "MariaDB 10.6 or newer"),
            (is_safe_mysql("5.7.44", 1), "MySQL 8.0 or newer"),
            (is_safe_mysql("8.0.36", 2), "SET GLOBAL innodb_flush_log_at_trx_commit = 1"),
            (is_safe_mysql("8.0.36", 3), "is 3 there"),
        ] {
            assert!(refused.as_ref().is_err_and(|text| text.contains(says)), "{refused:?}");
        }
        for safe in
            [("8.0.36", 1), ("8.4.0", 1), ("11.4.2-MariaDB-log", 1), ("10.11.19-MariaDB-0+deb12u1", 3)]
        {
            assert_eq!(is_safe_mysql(safe.0, safe.1), Ok(()));
        }
    }
}
