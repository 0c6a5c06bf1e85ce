//! The gateway's database schema, one migration a file. Rules for changes: `README.md` beside this crate's manifest.

use sea_orm_migration::{
    MigrationTrait, MigratorTrait, SchemaManager, async_trait,
    sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, DbErr, Statement},
    sea_query::{Alias, ColumnDef, IndexCreateStatement, Table, TableCreateStatement},
};

mod m0001_jobs;
mod m0002_deletions;
mod m0003_gates;
mod m0004_key_rotation;
mod m0005_raises;

/// Brings the schema up to date. What a newer release has added stays, and does not keep this one from starting: nodes
/// of both run side by side, and the newer one can be taken back. The caller sees to it that nobody else does the
/// same now.
///
/// # Errors
/// The database refuses a change.
pub async fn bring_up_to_date(db: &DatabaseConnection) -> Result<(), DbErr> {
    Migrator::install(db).await?;
    let applied = Migrator::get_migration_models(db).await?;
    let is_applied = |name: &str| applied.iter().any(|row| row.version == name);
    if Migrator::migrations().iter().all(|migration| is_applied(migration.name())) {
        return Ok(());
    }
    Migrator::up(db, None).await
}

struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_jobs::Migration),
            Box::new(m0002_deletions::Migration),
            Box::new(m0003_gates::Migration),
            Box::new(m0004_key_rotation::Migration),
            Box::new(m0005_raises::Migration),
        ]
    }
}

/// Text is compared byte by byte on every database. MySQL and MariaDB would otherwise hold `A` and `a` to be the same
/// key, and `a` with a space behind it too.
async fn exact(
    manager: &SchemaManager<'_>,
    mut table: TableCreateStatement,
) -> Result<TableCreateStatement, DbErr> {
    let db = manager.get_connection();
    if db.get_database_backend() == DbBackend::MySql {
        let version = Statement::from_string(DbBackend::MySql, "SELECT VERSION() AS version");
        let version = db.query_one_raw(version).await?.map(|row| row.try_get::<String>("", "version"));
        let is_mariadb = version.transpose()?.unwrap_or_default().to_ascii_lowercase().contains("mariadb");
        let collation = if is_mariadb { "utf8mb4_nopad_bin" } else { "utf8mb4_0900_bin" };
        table.engine("InnoDB").character_set("utf8mb4").collate(collation);
    }
    Ok(table)
}

/// Creates an index unless it is there: MySQL keeps what a migration did before it broke off.
async fn create_index(
    manager: &SchemaManager<'_>,
    table: &str,
    name: &str,
    index: IndexCreateStatement,
) -> Result<(), DbErr> {
    let of_table = "statistics WHERE table_schema = DATABASE() AND table_name = ? AND index_name = ?";
    if mysql_has(manager, of_table, [table, name]).await? {
        Ok(())
    } else {
        manager.create_index(index).await
    }
}

/// Adds a column unless it is there, as with [`create_index`].
async fn add_column(
    manager: &SchemaManager<'_>,
    table: &str,
    name: &str,
    mut column: ColumnDef,
) -> Result<(), DbErr> {
    let of_table = "columns WHERE table_schema = DATABASE() AND table_name = ? AND column_name = ?";
    if mysql_has(manager, of_table, [table, name]).await? {
        return Ok(());
    }
    let table = Alias::new(table);
    manager.alter_table(Table::alter().table(table).add_column(&mut column).take()).await
}

/// Whether MySQL's `information_schema` has it. No other database is asked: they roll back what broke off.
async fn mysql_has(manager: &SchemaManager<'_>, what: &str, names: [&str; 2]) -> Result<bool, DbErr> {
    let db = manager.get_connection();
    if db.get_database_backend() != DbBackend::MySql {
        return Ok(false);
    }
    let sql = format!("SELECT 1 FROM information_schema.{what} LIMIT 1");
    let asked = Statement::from_sql_and_values(DbBackend::MySql, sql, names.map(Into::into));
    Ok(db.query_one_raw(asked).await?.is_some())
}

/// Text of any length: MySQL's own TEXT ends at 64 KiB, and a prompt of 32,000 characters may be longer.
fn long_text(manager: &SchemaManager<'_>, name: &'static str) -> ColumnDef {
    match manager.get_connection().get_database_backend() {
        DbBackend::MySql => ColumnDef::new(name).custom("mediumtext").null().take(),
        _ => ColumnDef::new(name).text().null().take(),
    }
}
