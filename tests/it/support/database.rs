//! A database of its own for each test, on the servers of this machine or of `TEST_POSTGRES_URL`, `TEST_MYSQL_URL`.

use sqlx::{AssertSqlSafe, Connection, MySqlConnection, PgConnection};
use std::{io::Write as _, sync::LazyLock};

/// The databases the gateway runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
    Mysql,
}

/// A fresh database; it goes with the value.
pub struct TestDatabase {
    pub kind: Kind,
    /// For `database.url`.
    pub url: String,
    name: String,
}

/// Where a server is asked for, and where it is without a word.
const SERVERS: [(Kind, &str, &str); 2] = [
    (Kind::Postgres, "TEST_POSTGRES_URL", "postgres://root@127.0.0.1:5432/postgres"),
    (Kind::Mysql, "TEST_MYSQL_URL", "mysql://root@127.0.0.1:3306/mysql"),
];

/// The server's own database, from which others are made. `None`: there is no such server, and nobody asked for one.
fn server(kind: Kind) -> Option<&'static str> {
    static FOUND: LazyLock<[Option<String>; 2]> =
        LazyLock::new(|| SERVERS.map(|(kind, variable, usual)| find(kind, variable, usual)));
    let at = SERVERS.iter().position(|server| server.0 == kind)?;
    FOUND[at].as_deref()
}

fn find(kind: Kind, variable: &str, usual: &str) -> Option<String> {
    let asked = std::env::var(variable).ok().filter(|url| !url.is_empty());
    let url = asked.clone().unwrap_or_else(|| usual.to_owned());
    match run(kind, &url, "SELECT 1") {
        Ok(()) => Some(url),
        Err(error) if asked.is_some() || std::env::var_os("CI").is_some() => {
            panic!("{kind:?} does not answer at {variable} ({error}); start it, or name another one")
        }
        Err(error) => {
            // Past the capture of what passing tests print.
            let text = format!(
                "skipped: {kind:?} does not answer at its usual port ({error}); {variable} names another one\n"
            );
            std::io::stderr().write_all(text.as_bytes()).ok();
            None
        }
    }
}

/// Runs a statement from wherever the caller is, also from a `Drop`.
fn run(kind: Kind, url: &str, sql: &str) -> Result<(), sqlx::Error> {
    let (url, sql) = (url.to_owned(), AssertSqlSafe(sql.to_owned()));
    let work = move || {
        rustls::crypto::ring::default_provider().install_default().ok();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async move {
            if kind == Kind::Postgres {
                let mut connection = PgConnection::connect(&url).await?;
                sqlx::raw_sql(sql).execute(&mut connection).await?;
                connection.close().await
            } else {
                let mut connection = MySqlConnection::connect(&url).await?;
                sqlx::raw_sql(sql).execute(&mut connection).await?;
                connection.close().await
            }
        })
    };
    std::thread::spawn(work).join().expect("the statement's thread")
}

impl TestDatabase {
    /// `None`: there is no such server.
    pub fn new(kind: Kind) -> Option<TestDatabase> {
        let name = format!("igw_test_{}", uuid::Uuid::new_v4().simple());
        if kind == Kind::Sqlite {
            return Some(TestDatabase { kind, url: "sqlite://gateway.db".into(), name });
        }
        let server = server(kind)?;
        run(kind, server, &format!("CREATE DATABASE {name}")).expect("a database can be made");
        let mut url = url::Url::parse(server).expect("the server's URL");
        url.set_path(&name);
        Some(TestDatabase { kind, url: url.into(), name })
    }

    /// One of each kind that can be had.
    pub fn each() -> Vec<TestDatabase> {
        [Kind::Sqlite, Kind::Postgres, Kind::Mysql].into_iter().filter_map(TestDatabase::new).collect()
    }

    /// Runs a statement in it.
    pub fn execute(&self, sql: &str) {
        run(self.kind, &self.url, sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let Some(server) = server(self.kind) else { return };
        let force = if self.kind == Kind::Postgres { " WITH (FORCE)" } else { "" };
        if let Err(error) = run(self.kind, server, &format!("DROP DATABASE {}{force}", self.name)) {
            eprintln!("the test's database {} stays behind: {error}", self.name);
        }
    }
}
