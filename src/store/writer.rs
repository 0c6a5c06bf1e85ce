//! The writer: one task through which every write of this process goes. The commands that have gathered while the
//! last transaction ran become the next one, so that many calls share one flush to disk; each caller is answered
//! after the commit.

use super::{
    StoreError,
    finish::{self, Finish, Finished},
    submit::{self, QueueCounts, Submit, Submitted},
};
use crate::telemetry::SharedClock;
use sea_orm::{
    DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode, TransactionOptions,
    TransactionTrait,
};
use std::{future::Future, pin::Pin};
use tokio::sync::{mpsc, oneshot};

/// Most commands of one transaction.
const BATCH: usize = 128;

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;
type Running<'a> = Pin<Box<dyn Future<Output = Result<(), DbErr>> + Send + 'a>>;
/// A transaction of its own. Returns what to do after the commit: answer its caller.
pub(super) type Single = Box<dyn for<'a> FnOnce(&'a DatabaseTransaction, i64) -> Running<'a> + Send>;

pub(super) enum Command {
    Submit(Box<Submit>, Answer<Submitted>),
    Finish(Box<Finish>, Answer<Finished>),
    Single(Single, Answer<()>),
}

pub(super) struct Writer {
    pub db: DatabaseConnection,
    pub clock: SharedClock,
    pub queue: QueueCounts,
}

pub(super) async fn begin(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    // Taking the write lock at once: a transaction that reads first and writes later can lose it to another process.
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..Default::default()
    };
    db.begin_with_options(options).await
}

impl Writer {
    /// Runs until every sender is gone.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut gathered = Vec::with_capacity(BATCH);
        while commands.recv_many(&mut gathered, BATCH).await > 0 {
            let (mut submits, mut finishes, mut singles) = (Vec::new(), Vec::new(), Vec::new());
            for command in gathered.drain(..) {
                match command {
                    Command::Submit(submit, answer) => submits.push((submit, answer)),
                    Command::Finish(finish, answer) => finishes.push((finish, answer)),
                    Command::Single(work, answer) => singles.push((work, answer)),
                }
            }
            // Apart from each other: together they would lock quota windows in two orders.
            if !finishes.is_empty() {
                self.finish(finishes).await;
            }
            if !submits.is_empty() {
                self.submit(submits).await;
            }
            for (work, answer) in singles {
                let done = self.single(work).await.map_err(StoreError::from);
                answer.send(done).ok();
            }
        }
    }

    async fn single(&self, work: Single) -> Result<(), DbErr> {
        let tx = begin(&self.db).await?;
        work(&tx, self.clock.now_us()).await?;
        tx.commit().await
    }

    async fn submit(&mut self, batch: Vec<(Box<Submit>, Answer<Submitted>)>) {
        let (submits, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|(s, a)| (*s, a)).unzip();
        match self.submit_all(&submits).await {
            Ok(outcomes) => answer_all(answers, outcomes),
            Err(error) if submits.len() == 1 || !is_single_fault(&error) => fail_all(answers, &error),
            Err(_) => {
                // One of them breaks the whole transaction: each alone, so that the others go through.
                for (submit, answer) in submits.into_iter().zip(answers) {
                    let outcome = self.submit_all(std::slice::from_ref(&submit)).await;
                    answer_one(answer, outcome);
                }
            }
        }
    }

    async fn submit_all(&mut self, submits: &[Submit]) -> Result<Vec<Submitted>, DbErr> {
        let tx = begin(&self.db).await?;
        let mut queue = self.queue.clone();
        let outcomes = submit::submit(&tx, self.clock.now_us(), submits, &mut queue).await?;
        tx.commit().await?;
        self.queue = queue;
        Ok(outcomes)
    }

    async fn finish(&mut self, batch: Vec<(Box<Finish>, Answer<Finished>)>) {
        let (finishes, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|(f, a)| (*f, a)).unzip();
        match self.finish_all(&finishes).await {
            Ok(outcomes) => answer_all(answers, outcomes),
            Err(error) if finishes.len() == 1 || !is_single_fault(&error) => fail_all(answers, &error),
            Err(_) => {
                for (finish, answer) in finishes.into_iter().zip(answers) {
                    let outcome = self.finish_all(std::slice::from_ref(&finish)).await;
                    answer_one(answer, outcome);
                }
            }
        }
    }

    async fn finish_all(&self, finishes: &[Finish]) -> Result<Vec<Finished>, DbErr> {
        let tx = begin(&self.db).await?;
        let outcomes = finish::finish(&tx, self.clock.now_us(), finishes).await?;
        tx.commit().await?;
        Ok(outcomes)
    }
}

/// A constraint that one command broke, as against a database that is busy or away.
fn is_single_fault(error: &DbErr) -> bool {
    error.sql_err().is_some()
}

fn answer_all<T>(answers: Vec<Answer<T>>, outcomes: Vec<T>) {
    for (answer, outcome) in answers.into_iter().zip(outcomes) {
        answer.send(Ok(outcome)).ok();
    }
}

fn answer_one<T>(answer: Answer<T>, outcome: Result<Vec<T>, DbErr>) {
    let one = outcome
        .map_err(StoreError::from)
        .and_then(|mut all| all.pop().ok_or(StoreError("no outcome".into())));
    answer.send(one).ok();
}

fn fail_all<T>(answers: Vec<Answer<T>>, error: &DbErr) {
    for answer in answers {
        answer.send(Err(StoreError(error.to_string()))).ok();
    }
}
