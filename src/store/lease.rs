//! What a worker holds: its leases, their rescue when they run out, and the vendor's tickets.

use super::{
    Store, StoreError,
    dialect::{locks, unlocked},
    entity::{attempt, job},
    model::{Phase, State},
    steady::Now,
    submit::Claimed,
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect,
    sea_query::{Expr, ExprTrait},
};
use std::collections::{BTreeSet, HashMap};
use uuid::Uuid;

/// For whom a ticket was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TicketKept {
    /// The lease's holder.
    Held,
    /// A worker that came too late: the job was given up as `outcome_unknown` meanwhile. Its image is being made, and
    /// may still come home.
    Late,
    /// Somebody else has the job now, and the ticket.
    Lost,
}

impl Store {
    /// Takes over jobs whose lease ran out. `mine`: jobs this process still runs; `here`: the instances that it has. A job
    /// of another waits for a process that has it, since its ticket or answer is paid for, until its deadline is over.
    pub async fn rescue(
        &self,
        owner: &str,
        lease_us: i64,
        n: u64,
        mine: &[Uuid],
        here: &BTreeSet<String>,
    ) -> Result<Vec<Claimed>, StoreError> {
        let (owner, mine, here) = (owner.to_owned(), mine.to_vec(), here.clone());
        self.write(move |tx, now| {
            Box::pin(async move { rescue(tx, now, &owner, lease_us, n, mine, here).await })
        })
        .await
    }

    /// Renews the leases that `owner` has on these jobs, and tells which it still holds, with their epochs and
    /// whether a cancellation was asked for.
    pub async fn heartbeat(
        &self,
        owner: &str,
        lease_us: i64,
        ids: Vec<Uuid>,
    ) -> Result<HashMap<Uuid, (i64, bool)>, StoreError> {
        let owner = owner.to_owned();
        self.write(move |tx, now| {
            Box::pin(async move {
                let mine = Condition::all()
                    .add(job::Column::Id.is_in(ids))
                    .add(job::Column::State.eq(State::Running.code()))
                    .add(job::Column::LeaseOwner.eq(&owner));
                job::Entity::update_many()
                    .col_expr(job::Column::LeaseUntil, Expr::value(now.steady + lease_us))
                    .filter(mine.clone())
                    .exec(tx)
                    .await?;
                let held: Vec<(Uuid, i64, bool)> = job::Entity::find()
                    .select_only()
                    .columns([job::Column::Id, job::Column::LeaseEpoch, job::Column::CancelRequested])
                    .filter(mine)
                    .into_tuple()
                    .all(tx)
                    .await?;
                Ok(held.into_iter().map(|(id, epoch, cancel)| (id, (epoch, cancel))).collect())
            })
        })
        .await
    }

    /// Lets go of jobs that another process may resume at once: those with a ticket, at a stop.
    pub async fn release_leases(&self, owner: &str) -> Result<(), StoreError> {
        let owner = owner.to_owned();
        self.write(move |tx, _| {
            Box::pin(async move {
                job::Entity::update_many()
                    .col_expr(job::Column::LeaseUntil, Expr::value(0))
                    .filter(job::Column::State.eq(State::Running.code()))
                    .filter(job::Column::LeaseOwner.eq(&owner))
                    .exec(tx)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// Keeps the vendor's ticket: the first thing done after the submit was answered.
    pub async fn ticket(
        &self,
        job_id: Uuid,
        epoch: i64,
        attempt: Uuid,
        ticket: serde_json::Value,
    ) -> Result<TicketKept, StoreError> {
        self.write(move |tx, now| {
            Box::pin(async move {
                // Whoever gives the job up at this moment sees the ticket, or is seen here.
                if locks(tx) {
                    job::Entity::find_by_id(job_id).lock_exclusive().one(tx).await?;
                }
                let held = set_phase(tx, now.wall, job_id, epoch, Phase::Waiting).await?;
                // The ticket is kept even then: whoever resumes the job needs it.
                let change = attempt::ActiveModel {
                    ticket: Set(Some(ticket)),
                    ticket_at: Set(Some(now.wall)),
                    ..Default::default()
                };
                attempt::Entity::update_many()
                    .set(change)
                    .filter(attempt::Column::Id.eq(attempt))
                    .filter(attempt::Column::Ticket.is_null())
                    .exec(tx)
                    .await?;
                if held {
                    return Ok(TicketKept::Held);
                }
                let given_up = job::Entity::find_by_id(job_id)
                    .filter(job::Column::State.eq(State::Failed.code()))
                    .filter(job::Column::ErrorCode.eq("outcome_unknown"));
                let late = given_up.one(tx).await?.is_some();
                Ok(if late { TicketKept::Late } else { TicketKept::Lost })
            })
        })
        .await
    }
}

/// Ends every lease: their holders are gone.
pub(super) async fn end_all(db: &impl ConnectionTrait) -> Result<(), DbErr> {
    job::Entity::update_many()
        .col_expr(job::Column::LeaseUntil, Expr::value(0))
        .filter(job::Column::State.eq(State::Running.code()))
        .exec(db)
        .await?;
    Ok(())
}

async fn set_phase(
    tx: &DatabaseTransaction,
    now: i64,
    id: Uuid,
    epoch: i64,
    phase: Phase,
) -> Result<bool, DbErr> {
    let done = job::Entity::update_many()
        .col_expr(job::Column::Phase, Expr::value(phase.as_str()))
        .col_expr(job::Column::Updated, Expr::value(now))
        .filter(job::Column::Id.eq(id))
        .filter(job::Column::LeaseEpoch.eq(epoch))
        .filter(job::Column::State.eq(State::Running.code()))
        .exec(tx)
        .await?;
    Ok(done.rows_affected == 1)
}

async fn rescue(
    tx: &DatabaseTransaction,
    now: Now,
    owner: &str,
    lease_us: i64,
    n: u64,
    mine: Vec<Uuid>,
    here: BTreeSet<String>,
) -> Result<Vec<Claimed>, DbErr> {
    let over = job::Column::Deadline.lt(now.steady);
    let lost = job::Entity::find()
        .filter(job::Column::State.eq(State::Running.code()))
        .filter(job::Column::LeaseUntil.lt(now.steady))
        .filter(job::Column::Id.is_not_in(mine))
        .filter(job::Column::Instance.is_in(here).or(over))
        .order_by_asc(job::Column::LeaseUntil)
        .limit(n);
    // Another node may be taking over the others.
    let lost = unlocked(lost).all(tx).await?;
    if lost.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = lost.iter().map(|row| row.id).collect();
    let open = attempt::Entity::find().filter(attempt::Column::OpenJob.is_in(ids)).all(tx).await?;
    let mut open: HashMap<Uuid, attempt::Model> = open.into_iter().map(|row| (row.job_id, row)).collect();
    let (out, unsent): (Vec<_>, Vec<_>) = lost.into_iter().partition(|row| open.contains_key(&row.id));
    let under_a_new_epoch = |rows: &[job::Model]| {
        job::Entity::update_many()
            .col_expr(job::Column::LeaseEpoch, Expr::col(job::Column::LeaseEpoch).add(1))
            .col_expr(job::Column::Updated, Expr::value(now.wall))
            .filter(job::Column::Id.is_in(rows.iter().map(|row| row.id)))
    };
    if !unsent.is_empty() {
        // No intent, so nothing was sent: back to the queue.
        under_a_new_epoch(&unsent)
            .col_expr(job::Column::State, Expr::value(State::Queued.code()))
            .col_expr(job::Column::LeaseOwner, Expr::value(None::<String>))
            .exec(tx)
            .await?;
    }
    let until = now.steady + lease_us;
    if !out.is_empty() {
        under_a_new_epoch(&out)
            .col_expr(job::Column::LeaseOwner, Expr::value(owner))
            .col_expr(job::Column::LeaseUntil, Expr::value(until))
            .exec(tx)
            .await?;
    }
    let mut claimed = Vec::with_capacity(out.len());
    for mut row in out {
        let Some(attempt) = open.remove(&row.id) else { continue };
        row.lease_owner = Some(owner.into());
        row.lease_until = until;
        row.lease_epoch += 1;
        row.updated = now.wall;
        claimed.push(Claimed { job: row.into(), attempt: attempt.into(), rescued: true });
    }
    Ok(claimed)
}
