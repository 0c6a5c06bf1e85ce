//! Finish: images, terminal state, settlement of what was reserved, the end of the attempt; for a batch of jobs in
//! one transaction. Only the holder of the lease's epoch may finish a job; anybody else's write is not applied.

use super::{
    dialect::insert_all,
    entity::{attempt, job, ledger},
    failpoint,
    model::{Image, Job, State},
    news::tell,
    rows::image_row,
    submit::{add_to_windows, ledger_row},
    words::{fitted, without_nul},
};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr,
    EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, QuerySelect, TryIntoModel,
};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// How a job ended.
#[derive(Debug, Clone)]
pub struct Finish {
    pub job_id: Uuid,
    /// The lease under which it ran.
    pub epoch: i64,
    pub end: End,
    /// How its open attempt ended; `None`: it has none.
    pub attempt: Option<AttemptEnd>,
}

#[derive(Debug, Clone)]
pub enum End {
    /// `cost`: micro-units in the job's currency.
    Completed {
        images: Vec<Image>,
        cost: Option<i64>,
        currency: Option<String>,
        adjustments: serde_json::Value,
    },
    /// `hold`: money may be gone and nobody knows; what was reserved stays held until it is known.
    Failed {
        code: &'static str,
        error: String,
        cost: Option<i64>,
        hold: bool,
    },
    Cancelled,
}

/// What the attempt's row is told at its end.
#[derive(Debug, Clone)]
pub struct AttemptEnd {
    pub id: Uuid,
    /// `completed`, or the class of the failure.
    pub outcome: String,
    pub vendor_status: Option<i32>,
    pub vendor_code: Option<String>,
    pub vendor_request_id: Option<String>,
    pub spend: &'static str,
    /// It was taken over without a ticket, so nobody could be asked for its result. If its ticket was written down
    /// meanwhile, by a worker that came back, the job does not end: its lease does, and it is resumed with the ticket.
    pub unheard: bool,
}

/// The answer to one finish.
#[derive(Debug, Clone)]
pub enum Finished {
    Applied(Box<Job>),
    /// The lease was lost, the job had ended, or its ticket came meanwhile. No end was written.
    Stale,
}

pub(super) async fn finish(
    tx: &DatabaseTransaction,
    now: i64,
    batch: &[Finish],
) -> Result<Vec<Finished>, DbErr> {
    let ids: Vec<Uuid> = batch.iter().map(|f| f.job_id).collect();
    // Locked, in one order on all nodes: what is decided here stays so until the commit.
    let rows = job::Entity::find().filter(job::Column::Id.is_in(ids)).order_by_asc(job::Column::Id);
    let rows = rows.lock_exclusive().all(tx).await?;
    let mut rows: HashMap<Uuid, job::Model> = rows.into_iter().map(|row| (row.id, row)).collect();
    let heard = heard_after_all(tx, batch).await?;
    let paid = may_have_paid(tx, rows.values().filter(|row| row.attempts_made > 1).map(|row| row.id)).await?;
    let mut outcomes = Vec::with_capacity(batch.len());
    let (mut images, mut settled) = (Vec::new(), Vec::new());
    for one in batch {
        let Some(row) = rows.get(&one.job_id).filter(|row| may_finish(row, one)) else {
            outcomes.push(Finished::Stale);
            continue;
        };
        if one.attempt.as_ref().is_some_and(|end| heard.contains(&end.id)) {
            let mut change = row.clone().into_active_model();
            change.lease_until = Set(0);
            change.update(tx).await?;
            outcomes.push(Finished::Stale);
            continue;
        }
        let held = paid.contains(&one.job_id).then(|| one.clone().held());
        let one = held.as_ref().unwrap_or(one);
        let ended = write_end(tx, now, row.clone(), one).await?;
        if let End::Completed { images: made, .. } = &one.end {
            images.extend(made.iter().map(image_row));
        }
        settled.push((ended.id, ended.instance.clone(), settlement(one)));
        outcomes.push(Finished::Applied(Box::new(ended.clone().into())));
        rows.insert(ended.id, ended);
    }
    insert_all(tx, images).await?;
    failpoint("finish.settle")?;
    tell(tx, settled.iter().map(|(id, ..)| *id), false).await?;
    settle_at(tx, now, settled).await?;
    Ok(outcomes)
}

/// Jobs with an ended attempt that may have been charged, and was followed by another all the same (`retry_once`).
pub(super) async fn may_have_paid(
    tx: &DatabaseTransaction,
    jobs: impl IntoIterator<Item = Uuid>,
) -> Result<HashSet<Uuid>, DbErr> {
    let jobs: Vec<Uuid> = jobs.into_iter().collect();
    if jobs.is_empty() {
        return Ok(HashSet::new());
    }
    let paid = attempt::Entity::find()
        .select_only()
        .column(attempt::Column::JobId)
        .filter(attempt::Column::JobId.is_in(jobs))
        .filter(attempt::Column::Ended.is_not_null())
        .filter(attempt::Column::Spend.eq("possible"));
    Ok(paid.into_tuple::<Uuid>().all(tx).await?.into_iter().collect())
}

/// What is said of a job that ends without an image, and of which an earlier attempt may have been charged.
pub(super) const UNKNOWN: &str = "An earlier try may have been charged, and nobody knows; no image came of it. Ask the operator to reconcile it.";

impl Finish {
    /// The same end where an earlier attempt may have been charged: what is reserved stays held, unless an image came.
    fn held(mut self) -> Finish {
        self.end = match self.end {
            End::Failed { hold: false, error, .. } => End::Failed {
                code: "outcome_unknown",
                error: format!("{error} {UNKNOWN}"),
                cost: None,
                hold: true,
            },
            End::Cancelled => {
                End::Failed { code: "outcome_unknown", error: UNKNOWN.into(), cost: None, hold: true }
            }
            end => end,
        };
        self
    }
}

/// Attempts that would end unheard, and have a ticket.
async fn heard_after_all(tx: &DatabaseTransaction, batch: &[Finish]) -> Result<HashSet<Uuid>, DbErr> {
    let unheard: Vec<Uuid> =
        batch.iter().filter_map(|one| one.attempt.as_ref()).filter(|end| end.unheard).map(|e| e.id).collect();
    if unheard.is_empty() {
        return Ok(HashSet::new());
    }
    let heard = attempt::Entity::find()
        .select_only()
        .column(attempt::Column::Id)
        .filter(attempt::Column::Id.is_in(unheard))
        .filter(attempt::Column::Ticket.is_not_null());
    Ok(heard.into_tuple::<Uuid>().all(tx).await?.into_iter().collect())
}

/// The lease's holder may; and a call whose outcome was unknown may still bring its own paid image home, which is
/// the one way out of a final state.
fn may_finish(row: &job::Model, finish: &Finish) -> bool {
    let state = State::from_code(row.state);
    let holder = state == State::Running && row.lease_epoch == finish.epoch;
    let comes_late = state == State::Failed
        && row.error_code.as_deref() == Some("outcome_unknown")
        && matches!(finish.end, End::Completed { .. });
    holder || comes_late
}

async fn write_end(
    tx: &DatabaseTransaction,
    now: i64,
    row: job::Model,
    finish: &Finish,
) -> Result<job::Model, DbErr> {
    let id = row.id;
    let mut change = row.into_active_model();
    change.phase = Set(None);
    change.finished = Set(Some(now));
    change.updated = Set(now);
    change.lease_owner = Set(None);
    change.lease_until = Set(0);
    match &finish.end {
        End::Completed { cost, currency, adjustments, .. } => {
            change.state = Set(State::Completed.code());
            // A stale error never survives success.
            change.error_code = Set(None);
            change.error = Set(None);
            change.cost = Set(*cost);
            if currency.is_some() {
                change.currency = Set(currency.clone());
            }
            change.adjustments = Set(without_nul(adjustments.clone()));
            change.reserved = Set(None);
        }
        End::Failed { code, error, cost, hold } => {
            change.state = Set(State::Failed.code());
            change.error_code = Set(Some((*code).to_owned()));
            change.error = Set(Some(fitted(error, usize::MAX)));
            change.cost = Set(*cost);
            if !hold {
                change.reserved = Set(None);
            }
        }
        End::Cancelled => {
            change.state = Set(State::Cancelled.code());
            change.reserved = Set(None);
        }
    }
    if let Some(end) = &finish.attempt {
        end_attempt(tx, now, end).await?;
    }
    // Nobody else changes the locked row, so what it is now need not be asked for.
    job::Entity::update_many().set(change.clone()).filter(job::Column::Id.eq(id)).exec(tx).await?;
    change.try_into_model()
}

/// Characters of the columns with a vendor's own words.
const VENDORS: usize = 191;

pub(super) async fn end_attempt(tx: &impl ConnectionTrait, now: i64, end: &AttemptEnd) -> Result<(), DbErr> {
    let change = attempt::ActiveModel {
        ended: Set(Some(now)),
        outcome: Set(Some(end.outcome.clone())),
        vendor_status: Set(end.vendor_status),
        vendor_code: Set(end.vendor_code.as_deref().map(|code| fitted(code, VENDORS))),
        vendor_request_id: Set(end.vendor_request_id.as_deref().map(|id| fitted(id, VENDORS))),
        spend: Set(Some(end.spend.to_owned())),
        open_job: Set(None),
        ..Default::default()
    };
    attempt::Entity::update_many().set(change).filter(attempt::Column::Id.eq(end.id)).exec(tx).await?;
    Ok(())
}

/// What becomes of a job's reservations: how many images it made and what it cost; `None`: they stay held.
type Settlement = Option<(i64, Option<i64>)>;

fn settlement(finish: &Finish) -> Settlement {
    match &finish.end {
        End::Completed { images, cost, .. } => Some((images.len() as i64, *cost)),
        End::Failed { hold: true, .. } => None,
        End::Failed { cost, .. } => Some((0, Some(cost.unwrap_or(0)))),
        End::Cancelled => Some((0, Some(0))),
    }
}

/// The instance whose window this is; `None`: it is a caller's.
pub fn instance_of(window: &str) -> Option<&str> {
    window.rsplitn(4, '|').nth(3)?.strip_prefix("provider:")
}

/// Turns the reservations of jobs that no instance worked on into use.
pub(super) async fn settle(
    tx: &DatabaseTransaction,
    now: i64,
    ended: &[(Uuid, Settlement)],
) -> Result<(), DbErr> {
    settle_at(tx, now, ended.iter().map(|(id, settlement)| (*id, String::new(), *settlement))).await
}

/// Turns reservations into use, once: the ledger's key is job, window and kind. A job reserves at every instance it may
/// go to; where it did not end, nothing was used, whatever becomes of the rest.
pub(super) async fn settle_at(
    tx: &DatabaseTransaction,
    now: i64,
    ended: impl IntoIterator<Item = (Uuid, String, Settlement)>,
) -> Result<(), DbErr> {
    let ended: HashMap<Uuid, (String, Settlement)> =
        ended.into_iter().map(|(id, instance, settlement)| (id, (instance, settlement))).collect();
    if ended.is_empty() {
        return Ok(());
    }
    let lines =
        ledger::Entity::find().filter(ledger::Column::JobId.is_in(ended.keys().copied())).all(tx).await?;
    let closed: HashSet<(Uuid, String)> =
        lines.iter().filter(|l| l.kind == "settle").map(|l| (l.job_id, l.window.clone())).collect();
    let (mut rows, mut changes) = (Vec::new(), HashMap::<String, (i64, i64)>::new());
    for line in lines.into_iter().filter(|l| l.kind == "reserve") {
        if closed.contains(&(line.job_id, line.window.clone())) {
            continue;
        }
        let Some((instance, settlement)) = ended.get(&line.job_id) else { continue };
        let elsewhere = instance_of(&line.window).is_some_and(|other| other != instance);
        let used = match settlement {
            _ if elsewhere => 0,
            None => continue,
            Some((_, cost)) if line.window.contains("|spend|") => cost.unwrap_or(line.amount),
            Some((images, _)) => *images,
        };
        let change = changes.entry(line.window.clone()).or_default();
        change.0 += used;
        change.1 -= line.amount;
        rows.push(ledger_row(line.job_id, &line.window, "settle", used, now));
    }
    if !rows.is_empty() {
        add_to_windows(
            tx,
            changes.into_iter().map(|(id, (used, reserved))| (id, used, reserved, 0)).collect(),
        )
        .await?;
        insert_all(tx, rows).await?;
    }
    Ok(())
}
