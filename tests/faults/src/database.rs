//! The database, read past the gateway.

use sqlx::{Connection as _, Row as _, SqliteConnection, sqlite::SqliteConnectOptions};
use std::path::Path;

#[derive(Debug, Clone)]
pub struct Job {
    /// As the gateway writes it.
    pub id: String,
    pub prompt: String,
    pub state: i64,
    pub code: Option<String>,
    pub reserved: Option<i64>,
    pub attempts_made: i64,
    /// Microseconds since 1970.
    pub finished: Option<i64>,
}

#[derive(Debug, Clone)]
pub struct Attempt {
    pub job: String,
    pub started: i64,
    pub ended: Option<i64>,
    pub outcome: Option<String>,
    pub spend: Option<String>,
    pub has_ticket: bool,
}

#[derive(Debug, Clone)]
pub struct Image {
    pub job: String,
    pub object_key: String,
    pub bytes: i64,
    pub sha256: String,
}

#[derive(Debug, Clone)]
pub struct Window {
    pub id: String,
    pub used: i64,
    pub reserved: i64,
}

#[derive(Debug, Clone)]
pub struct Line {
    pub job: String,
    pub window: String,
    pub kind: String,
    pub amount: i64,
}

pub struct Contents {
    pub jobs: Vec<Job>,
    pub attempts: Vec<Attempt>,
    pub images: Vec<Image>,
    /// Object keys of reference images.
    pub uploads: Vec<String>,
    pub windows: Vec<Window>,
    pub lines: Vec<Line>,
}

pub const RUNNING: i64 = 1;
pub const COMPLETED: i64 = 3;
pub const FAILED: i64 = 4;
pub const CANCELLED: i64 = 5;

/// UUIDs are blobs of 16 bytes; here they read as the gateway shows them.
fn id(column: &str) -> String {
    let part = |from: u32, n: u32| format!("substr(lower(hex({column})),{from},{n})");
    [part(1, 8), part(9, 4), part(13, 4), part(17, 4), part(21, 12)].join("||'-'||")
}

pub async fn open(data_dir: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(data_dir.join("gateway.db")).read_only(true);
    SqliteConnection::connect_with(&options).await.unwrap()
}

/// A job that a process holds, under this epoch, until then (microseconds UTC).
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    pub job: String,
    pub epoch: i64,
    pub until: i64,
}

/// The leases of running jobs.
pub async fn leases(db: &mut SqliteConnection) -> Vec<Lease> {
    let sql =
        format!("SELECT {} AS job, lease_epoch, lease_until FROM jobs WHERE state = {RUNNING}", id("id"));
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(db).await.unwrap();
    let lease = |r: &sqlx::sqlite::SqliteRow| Lease {
        job: r.get("job"),
        epoch: r.get("lease_epoch"),
        until: r.get("lease_until"),
    };
    rows.iter().map(lease).collect()
}

pub async fn read(data_dir: &Path) -> Contents {
    let mut db = open(data_dir).await;
    let sql = format!(
        "SELECT {} AS id, coalesce(prompt,'') AS prompt, state, error_code, reserved, attempts_made, finished FROM jobs",
        id("id")
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut db).await.unwrap();
    let jobs = rows.iter().map(|r| Job {
        id: r.get("id"),
        prompt: r.get("prompt"),
        state: r.get("state"),
        code: r.get("error_code"),
        reserved: r.get("reserved"),
        attempts_made: r.get("attempts_made"),
        finished: r.get("finished"),
    });
    let jobs = jobs.collect();
    let sql = format!(
        "SELECT {} AS job, started, ended, outcome, spend, ticket IS NOT NULL AS has_ticket FROM attempts",
        id("job_id")
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut db).await.unwrap();
    let attempts = rows.iter().map(|r| Attempt {
        job: r.get("job"),
        started: r.get("started"),
        ended: r.get("ended"),
        outcome: r.get("outcome"),
        spend: r.get("spend"),
        has_ticket: r.get("has_ticket"),
    });
    let attempts = attempts.collect();
    let sql = format!("SELECT {} AS job, object_key, bytes, sha256 FROM images", id("job_id"));
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut db).await.unwrap();
    let images = rows.iter().map(|r| Image {
        job: r.get("job"),
        object_key: r.get("object_key"),
        bytes: r.get("bytes"),
        sha256: r.get("sha256"),
    });
    let images = images.collect();
    let rows = sqlx::query("SELECT object_key FROM uploads").fetch_all(&mut db).await.unwrap();
    let uploads = rows.iter().map(|r| r.get("object_key")).collect();
    let rows = sqlx::query("SELECT id, used, reserved FROM quota_windows").fetch_all(&mut db).await.unwrap();
    let windows = rows
        .iter()
        .map(|r| Window { id: r.get("id"), used: r.get("used"), reserved: r.get("reserved") })
        .collect();
    let sql = format!("SELECT {} AS job, \"window\", kind, amount FROM ledger", id("job_id"));
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut db).await.unwrap();
    let lines = rows.iter().map(|r| Line {
        job: r.get("job"),
        window: r.get("window"),
        kind: r.get("kind"),
        amount: r.get("amount"),
    });
    Contents { jobs, attempts, images, uploads, windows, lines: lines.collect() }
}
