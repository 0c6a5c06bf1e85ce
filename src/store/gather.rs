//! Reading jobs by their ids. On SQLite a statement is a trip to the connection's thread and back, which costs more than
//! the rows that it brings: whatever is asked for while one such statement runs is answered by the next, in one. A
//! server answers many at the same time, each on a connection of its own.

use super::{
    StoreError,
    address::is_shared,
    read::{JobRows, jobs_with_rows},
    reader::Reader,
};
use sea_orm::ConnectionTrait as _;
use std::collections::HashMap;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// Callers that one statement answers at most.
const GATHERED: usize = 64;
/// Callers that wait at most; more wait in line.
const WAITING: usize = 1024;

/// Reads jobs. Cheap to clone; what it has started ends with the last clone.
#[derive(Clone)]
pub(super) struct Gather {
    read: Reader,
    /// `None`: each caller reads for itself.
    asked: Option<mpsc::Sender<Asked>>,
}

struct Asked {
    /// Each once.
    ids: Vec<Uuid>,
    answer: oneshot::Sender<Result<Vec<JobRows>, StoreError>>,
}

impl Gather {
    pub fn new(read: Reader) -> Gather {
        let asked = (!is_shared(read.get_database_backend())).then(|| {
            let (sender, asked) = mpsc::channel(WAITING);
            tokio::spawn(answer_all(read.clone(), asked));
            sender
        });
        Gather { read, asked }
    }

    /// The jobs among `ids`, whoever's they are, in no order. They are read after this was called.
    pub async fn jobs(&self, ids: &[Uuid]) -> Result<Vec<JobRows>, StoreError> {
        let Some(asked) = &self.asked else {
            return Ok(jobs_with_rows(&self.read, ids).await?.into_values().collect());
        };
        let (answer, answered) = oneshot::channel();
        let gone = || StoreError("it is closed".into());
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        asked.send(Asked { ids, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

/// Runs until nobody is left to ask.
async fn answer_all(read: Reader, mut asked: mpsc::Receiver<Asked>) {
    let mut gathered = Vec::with_capacity(GATHERED);
    while asked.recv_many(&mut gathered, GATHERED).await > 0 {
        gathered.retain(|one| !one.answer.is_closed());
        // How many of them want each job.
        let mut wanted: HashMap<Uuid, usize> = HashMap::new();
        gathered.iter().flat_map(|one| &one.ids).for_each(|id| *wanted.entry(*id).or_default() += 1);
        match jobs_with_rows(&read, &padded(wanted.keys().copied().collect())).await {
            Ok(mut found) => {
                let mut take = |id: &Uuid| match wanted.get_mut(id) {
                    Some(more) if *more > 1 => {
                        *more -= 1;
                        found.get(id).cloned()
                    }
                    _ => found.remove(id),
                };
                for Asked { ids, answer } in gathered.drain(..) {
                    answer.send(Ok(ids.iter().filter_map(&mut take).collect())).ok();
                }
            }
            Err(error) => gathered.drain(..).for_each(|one| drop(one.answer.send(Err(error.clone())))),
        }
    }
}

/// One id several times, so that there are few lengths of a statement: its plan is kept under its text.
fn padded(mut ids: Vec<Uuid>) -> Vec<Uuid> {
    if let Some(last) = ids.last().copied() {
        ids.resize(ids.len().next_power_of_two(), last);
    }
    ids
}
