//! Connections for reading. On a server a statement ends in time, whatever became of the network, and one whose
//! connection was lost is asked once more: it has changed nothing.

use super::{
    address::is_shared,
    tries::{NO_ANSWER, is_lost},
};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, Statement};
use std::{future::Future, time::Duration};
use tokio::time::timeout;

#[derive(Clone)]
pub(super) struct Reader {
    db: DatabaseConnection,
    limit: Duration,
}

impl Reader {
    /// `limit`: for one statement on a server, with the wait for its connection. SQLite is not held to it.
    pub fn new(db: DatabaseConnection, limit: Duration) -> Reader {
        Reader { db, limit }
    }

    async fn ask<T, F>(&self, question: impl Fn() -> F) -> Result<T, DbErr>
    where
        F: Future<Output = Result<T, DbErr>>,
    {
        if !is_shared(self.get_database_backend()) {
            return question().await;
        }
        let asked = async {
            match question().await {
                Err(error) if is_lost(&error) => question().await,
                answer => answer,
            }
        };
        timeout(self.limit, asked).await.unwrap_or_else(|_| Err(DbErr::Custom(NO_ANSWER.into())))
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Reader {
    fn get_database_backend(&self) -> DbBackend {
        self.db.get_database_backend()
    }
    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.ask(|| self.db.execute_raw(statement.clone())).await
    }
    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.ask(|| self.db.execute_unprepared(sql)).await
    }
    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.ask(|| self.db.query_one_raw(statement.clone())).await
    }
    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.ask(|| self.db.query_all_raw(statement.clone())).await
    }
}
