//! Where the database is, as `database.url` says it.

use super::StoreError;
use sea_orm::DbBackend;
use std::{
    fmt,
    path::{Path, PathBuf},
};
use url::Url;

/// A file of this machine, or a server that several nodes share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Sqlite(PathBuf),
    /// With user and password; `Display` leaves them out.
    Postgres(Url),
    /// MySQL or MariaDB.
    Mysql(Url),
}

impl Address {
    /// # Errors
    /// The URL is of another kind. The text does not repeat it: it may hold a password.
    pub fn parse(url: &str, data_dir: &Path) -> Result<Address, StoreError> {
        if let Some(path) = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")) {
            let path = path.split('?').next().unwrap_or(path);
            return Ok(Address::Sqlite(data_dir.join(path)));
        }
        let refused = || StoreError(format!("database.url: {}", Self::FORMS));
        let (scheme, rest) = url.split_once("://").ok_or_else(refused)?;
        let parsed = |scheme: &str| Url::parse(&format!("{scheme}://{rest}")).ok().filter(has_database);
        let address = match scheme {
            "postgres" | "postgresql" => parsed("postgres").map(Address::Postgres),
            "mysql" | "mariadb" => parsed("mysql").map(Address::Mysql),
            _ => None,
        };
        address.ok_or_else(refused)
    }

    /// What `database.url` may look like.
    pub const FORMS: &str = "use sqlite://gateway.db, postgres://user:password@host/database or mysql://user:password@host/database";

    /// Whether there may be a database: a file has to exist, a server has to be asked.
    pub fn may_exist(&self) -> bool {
        match self {
            Address::Sqlite(file) => file.exists(),
            Address::Postgres(_) | Address::Mysql(_) => true,
        }
    }

    pub fn is_file(&self) -> bool {
        matches!(self, Address::Sqlite(_))
    }
}

/// A server holds several databases; which one is never guessed.
fn has_database(url: &Url) -> bool {
    !url.path().trim_start_matches('/').is_empty() && url.fragment().is_none()
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Sqlite(file) => write!(f, "{}", file.display()),
            Address::Postgres(url) | Address::Mysql(url) => {
                let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
                write!(f, "{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
            }
        }
    }
}

/// Whether several nodes write at the same time: then rows are locked, and a transaction may have to run again.
/// SQLite has one writer at a time.
pub(super) fn is_shared(backend: DbBackend) -> bool {
    backend != DbBackend::Sqlite
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_known_by_its_url_and_shown_without_its_password() {
        let shown = |url| Address::parse(url, Path::new("data")).map(|address| address.to_string());
        let table = [
            ("sqlite://gateway.db", "data/gateway.db"),
            ("sqlite:gateway.db?mode=rwc", "data/gateway.db"),
            ("postgres://u:sk-canary@h:5433/igw?sslmode=require&password=sk-canary", "postgres://h:5433/igw"),
            ("postgresql://h/igw", "postgres://h/igw"),
            ("mariadb://u:sk-canary@h/igw", "mysql://h/igw"),
            ("mysql://root@127.0.0.1:3306/igw", "mysql://127.0.0.1:3306/igw"),
        ];
        for (url, text) in table {
            assert_eq!(shown(url).unwrap(), text);
        }
        for url in ["", "gateway.db", "redis://u:sk-canary@h/1", "postgres://u:sk-canary@h", "mysql://h/"] {
            let error = shown(url).unwrap_err().to_string();
            assert!(error.contains("postgres://user") && !error.contains("canary"), "{url}: {error}");
        }
    }
}
