//! What the databases say differently.

use super::address::is_shared;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait,
    IdenStatic, QueryOrder, QuerySelect, SqlErr,
    sea_query::{Expr, Func, LockBehavior, LockType, OnConflict, SimpleExpr},
};

/// Rows of one INSERT at most: a server takes 65,535 values.
const ROWS: usize = 1_000;

/// Rows that another transaction has locked are left out, and the others locked. (SQLite locks nothing.)
pub(super) fn unlocked<Q: QuerySelect>(query: Q) -> Q {
    query.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
}

/// Inserts what may be many rows.
pub(super) async fn insert_all<A>(tx: &impl ConnectionTrait, rows: Vec<A>) -> Result<(), DbErr>
where
    A: ActiveModelTrait,
{
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let part: Vec<A> = rows.by_ref().take(ROWS).collect();
        <A::Entity as EntityTrait>::insert_many(part).exec_without_returning(tx).await?;
    }
    Ok(())
}

/// A row that is there already stays as it is. `key`: the columns of its primary key.
pub(super) fn keep<C>(key: &[C]) -> OnConflict
where
    C: sea_orm::sea_query::IntoIden + Copy,
{
    OnConflict::columns(key.iter().copied()).do_nothing_on(key.iter().copied()).to_owned()
}

/// Inserts a row, or leaves the one that is there. `true`: it is new.
pub(super) async fn insert_new<A, C>(tx: &DatabaseTransaction, row: A, key: &[C]) -> Result<bool, DbErr>
where
    A: ActiveModelTrait,
    C: sea_orm::sea_query::IntoIden + Copy,
{
    let insert = <A::Entity as EntityTrait>::insert(row);
    if tx.get_database_backend() != DbBackend::MySql {
        return Ok(insert.on_conflict(keep(key)).exec_without_returning(tx).await? == 1);
    }
    // MySQL counts a row that stays as it is; but a statement that fails there leaves its transaction whole.
    match insert.exec_without_returning(tx).await {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The value that an INSERT would have put into a column, where its row was there already.
pub(super) fn proposed(backend: DbBackend, column: &'static str) -> SimpleExpr {
    match backend {
        DbBackend::MySql => Func::cust("VALUES").arg(Expr::col(column)).into(),
        _ => Expr::col(("excluded", column)),
    }
}

/// Rows in one order on all nodes, whatever the database's language: the order in which they are locked.
pub(super) fn in_order<Q: QueryOrder>(query: Q, backend: DbBackend, id: impl ColumnTrait) -> Q {
    match backend {
        DbBackend::Postgres => {
            query.order_by_asc(Expr::cust(format!("\"{}\" COLLATE \"C\"", IdenStatic::as_str(&id))))
        }
        _ => query.order_by_asc(id),
    }
}

/// Whether rows have to be locked on this connection.
pub(super) fn locks(db: &impl ConnectionTrait) -> bool {
    is_shared(db.get_database_backend())
}
