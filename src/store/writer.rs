//! The writer: one task through which every write of this process goes. The commands that have gathered while the
//! last transaction ran become the next one, so that many calls share one flush to disk; each caller is answered
//! after the commit.

use super::{
    StoreError, failpoint,
    finish::{self, Finish, Finished},
    gate::QueueCounts,
    steady::{Now, Steady},
    submit::{self, Submit, Submitted},
    tries::{Failed, NO_ANSWER, Tries, is_away, is_refusal},
};
use sea_orm::{
    DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode, TransactionOptions,
    TransactionTrait,
};
use std::{future::Future, pin::Pin, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

/// Most commands of one transaction.
const BATCH: usize = 128;

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;
type Running<'a> = Pin<Box<dyn Future<Output = Result<(), DbErr>> + Send + 'a>>;
/// A transaction of its own; its caller is answered after the commit. It may have to run again.
pub(super) type Single = Box<dyn for<'a> FnMut(&'a DatabaseTransaction, Now) -> Running<'a> + Send>;

pub(super) enum Command {
    Submit(Box<Submit>, Answer<Submitted>),
    Finish(Box<Finish>, Answer<Finished>),
    Single(Single, Answer<()>),
}

impl Command {
    fn fail(self, error: &DbErr) {
        let error = StoreError(error.to_string());
        match self {
            Command::Submit(_, answer) => drop(answer.send(Err(error))),
            Command::Finish(_, answer) => drop(answer.send(Err(error))),
            Command::Single(_, answer) => drop(answer.send(Err(error))),
        }
    }
}

pub(super) struct Writer {
    db: DatabaseConnection,
    steady: Steady,
    queue: QueueCounts,
    /// How long a transaction may take on a server.
    limit: Duration,
}

async fn begin(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    // Taking the write lock at once: a transaction that reads first and writes later can lose it to another process.
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..Default::default()
    };
    db.begin_with_options(options).await
}

impl Writer {
    pub fn new(db: DatabaseConnection, steady: Steady, limit: Duration) -> Writer {
        Writer { db, steady, queue: QueueCounts::default(), limit }
    }

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
            // Once another process has kept the database for the whole busy timeout, or a server gives no answer, all
            // that waits fails with the first: one timeout after the other would hold its caller up for minutes.
            let mut away = None;
            // Apart from each other: together they would lock quota windows in two orders.
            if !finishes.is_empty() {
                away = self.finish(finishes).await;
            }
            match away.take() {
                Some(error) => {
                    away = fail_all(submits.into_iter().map(|(_, answer)| answer).collect(), error)
                }
                None if !submits.is_empty() => away = self.submit(submits).await,
                None => {}
            }
            for (work, answer) in singles {
                let done = match &away {
                    Some(error) => Err(error.clone()),
                    None => self.single(work).await,
                };
                away = away.or_else(|| done.as_ref().err().filter(|error| is_away(error)).cloned());
                answer.send(done.map_err(StoreError::from)).ok();
            }
            // Also what came meanwhile: with more than a batch of them, the last would wait for several timeouts.
            while let Some(error) = &away
                && let Ok(command) = commands.try_recv()
            {
                command.fail(error);
            }
        }
    }

    /// A server's answer, or the end of patience. SQLite waits for its lock by itself.
    async fn limited<T>(&self, work: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
        if self.steady.is_of_machine() {
            return work.await;
        }
        let late = || Failed::at_commit(DbErr::Custom(NO_ANSWER.into()));
        timeout(self.limit, work).await.unwrap_or_else(|_| Err(late()))
    }

    fn tries(&self) -> Tries {
        Tries::on(self.db.get_database_backend())
    }

    async fn single(&self, mut work: Single) -> Result<(), DbErr> {
        let mut tries = self.tries();
        loop {
            let once = async {
                let tx = begin(&self.db).await?;
                work(&tx, self.steady.now(&tx).await?).await?;
                tx.commit().await.map_err(Failed::at_commit)
            };
            match self.limited(once).await {
                Err(failed) if tries.again(&failed).await => {}
                done => return done.map_err(|failed| failed.error),
            }
        }
    }

    /// Returns why, if the database is away.
    async fn submit(&mut self, batch: Vec<(Box<Submit>, Answer<Submitted>)>) -> Option<DbErr> {
        let (submits, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|(s, a)| (*s, a)).unzip();
        match self.submit_all(&submits).await {
            Ok(outcomes) => answer_all(answers, outcomes),
            Err(error) if submits.len() == 1 || !is_single_fault(&error) => return fail_all(answers, error),
            Err(_) => {
                // One of them breaks the whole transaction: each alone, so that the others go through.
                for (submit, answer) in submits.into_iter().zip(answers) {
                    let outcome = self.submit_all(std::slice::from_ref(&submit)).await;
                    answer_one(answer, outcome);
                }
            }
        }
        None
    }

    async fn submit_all(&mut self, submits: &[Submit]) -> Result<Vec<Submitted>, DbErr> {
        let mut tries = self.tries();
        loop {
            let once = async {
                failpoint("accept.begin")?;
                let tx = begin(&self.db).await?;
                let mut queue = self.queue.clone();
                let now = self.steady.now(&tx).await?;
                let outcomes = submit::submit(&tx, now, submits, &mut queue).await?;
                tx.commit().await.map_err(Failed::at_commit)?;
                failpoint("accept.committed").map_err(Failed::at_commit)?;
                Ok((outcomes, queue))
            };
            match self.limited(once).await {
                Ok((outcomes, queue)) => {
                    self.queue = queue;
                    return Ok(outcomes);
                }
                Err(failed) if tries.again(&failed).await => {}
                Err(failed) => return Err(failed.error),
            }
        }
    }

    /// Returns why, if the database is away.
    async fn finish(&mut self, batch: Vec<(Box<Finish>, Answer<Finished>)>) -> Option<DbErr> {
        let (finishes, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|(f, a)| (*f, a)).unzip();
        match self.finish_all(&finishes).await {
            Ok(outcomes) => answer_all(answers, outcomes),
            Err(error) if finishes.len() == 1 || !is_single_fault(&error) => return fail_all(answers, error),
            Err(_) => {
                for (finish, answer) in finishes.into_iter().zip(answers) {
                    let outcome = self.finish_all(std::slice::from_ref(&finish)).await;
                    answer_one(answer, outcome);
                }
            }
        }
        None
    }

    async fn finish_all(&self, finishes: &[Finish]) -> Result<Vec<Finished>, DbErr> {
        let mut tries = self.tries();
        loop {
            let once = async {
                let tx = begin(&self.db).await?;
                let now = self.steady.now(&tx).await?;
                let outcomes = finish::finish(&tx, now.wall, finishes).await?;
                tx.commit().await.map_err(Failed::at_commit)?;
                failpoint("finish.committed").map_err(Failed::at_commit)?;
                Ok(outcomes)
            };
            match self.limited(once).await {
                Err(failed) if tries.again(&failed).await => {}
                done => return done.map_err(|failed| failed.error),
            }
        }
    }
}

/// The database has refused what one command says, as against one that is busy or away.
fn is_single_fault(error: &DbErr) -> bool {
    is_refusal(error) && !is_away(error)
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

/// Returns the error if it says that the database is away.
fn fail_all<T>(answers: Vec<Answer<T>>, error: DbErr) -> Option<DbErr> {
    for answer in answers {
        answer.send(Err(StoreError(error.to_string()))).ok();
    }
    Some(error).filter(is_away)
}
