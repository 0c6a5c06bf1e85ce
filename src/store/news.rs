//! What nodes tell each other over the database: jobs that changed, and work that waits. PostgreSQL carries it
//! (LISTEN and NOTIFY, sent with the commit); over other databases each node looks now and then. It may get lost with
//! a connection, so whoever listens looks now and then all the same.

use super::Store;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};
use sqlx::{PgPool, postgres::PgListener};
use std::time::Duration;
use uuid::Uuid;

/// One channel for all installations of one database: foreign ids say nothing to anybody.
const CHANNEL: &str = "image_gateway";
const WORK: &str = "work";
/// Ids of one message: PostgreSQL takes less than 8,000 bytes.
const IDS: usize = 200;
/// Between two tries to listen.
const AGAIN: Duration = Duration::from_secs(1);

/// What a node hears, also of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// These jobs look otherwise than before.
    Changed(Vec<Uuid>),
    /// A job waits in a queue.
    Work,
}

impl News {
    fn read(payload: &str) -> News {
        match payload {
            WORK => News::Work,
            ids => News::Changed(ids.split(' ').filter_map(|id| id.parse().ok()).collect()),
        }
    }
}

/// Hears what other nodes tell.
pub struct Listener {
    pool: PgPool,
    connection: Option<PgListener>,
}

impl Store {
    /// `None`: nobody tells anything over this database.
    pub fn listener(&self) -> Option<Listener> {
        Some(Listener { pool: self.news.clone()?, connection: None })
    }
}

impl Listener {
    /// Waits for the next news, and for the database where it is away. Can be dropped and called again.
    pub async fn next(&mut self) -> News {
        loop {
            match self.hear().await {
                Ok(news) => return news,
                Err(error) => {
                    tracing::warn!(%error, "news of other nodes are not heard; looking instead");
                    self.connection = None;
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    async fn hear(&mut self) -> Result<News, sqlx::Error> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let mut connection = PgListener::connect_with(&self.pool).await?;
                connection.listen(CHANNEL).await?;
                none.insert(connection)
            }
        };
        Ok(News::read(connection.recv().await?.payload()))
    }
}

/// Tells it when the transaction commits.
pub(super) async fn tell(
    tx: &impl ConnectionTrait,
    changed: impl IntoIterator<Item = Uuid>,
    work: bool,
) -> Result<(), DbErr> {
    if tx.get_database_backend() != DbBackend::Postgres {
        return Ok(());
    }
    let changed: Vec<String> = changed.into_iter().map(|id| id.to_string()).collect();
    let mut said: Vec<String> = changed.chunks(IDS).map(|part| part.join(" ")).collect();
    said.extend(work.then(|| WORK.to_owned()));
    for text in said {
        let notify = "SELECT pg_notify($1, $2)";
        tx.execute_raw(Statement::from_sql_and_values(
            DbBackend::Postgres,
            notify,
            [CHANNEL.into(), text.into()],
        ))
        .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_understood() {
        let ids = [Uuid::new_v4(), Uuid::new_v4()];
        assert_eq!(News::read(&format!("{} {}", ids[0], ids[1])), News::Changed(ids.to_vec()));
        assert_eq!(News::read(WORK), News::Work);
    }
}
