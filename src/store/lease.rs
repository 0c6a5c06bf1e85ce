//! What a worker holds: its leases, their rescue when they run out, and the vendor's tickets.

use super::{
    Store, StoreError,
    entity::{attempt, job},
    model::{Phase, State},
    submit::Claimed,
};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, Condition, DatabaseTransaction, DbErr, EntityTrait,
    IntoActiveModel, QueryFilter, QueryOrder, QuerySelect, sea_query::Expr,
};
use std::collections::HashMap;
use uuid::Uuid;

impl Store {
    /// Takes over jobs whose lease ran out. `mine`: jobs this process still runs.
    pub async fn rescue(
        &self,
        owner: &str,
        lease_us: i64,
        n: u64,
        mine: &[Uuid],
    ) -> Result<Vec<Claimed>, StoreError> {
        let (owner, mine) = (owner.to_owned(), mine.to_vec());
        self.write(move |tx, now| Box::pin(async move { rescue(tx, now, &owner, lease_us, n, mine).await }))
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
                    .col_expr(job::Column::LeaseUntil, Expr::value(now + lease_us))
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

    /// Keeps the vendor's ticket: the first thing done after the submit was answered. `false`: the lease was lost.
    pub async fn ticket(
        &self,
        job_id: Uuid,
        epoch: i64,
        attempt: Uuid,
        ticket: serde_json::Value,
    ) -> Result<bool, StoreError> {
        self.write(move |tx, now| {
            Box::pin(async move {
                let held = set_phase(tx, now, job_id, epoch, Phase::Waiting).await?;
                // The ticket is kept even then: whoever resumes the job needs it.
                let change = attempt::ActiveModel {
                    ticket: Set(Some(ticket)),
                    ticket_at: Set(Some(now)),
                    ..Default::default()
                };
                attempt::Entity::update_many()
                    .set(change)
                    .filter(attempt::Column::Id.eq(attempt))
                    .filter(attempt::Column::Ticket.is_null())
                    .exec(tx)
                    .await?;
                Ok(held)
            })
        })
        .await
    }
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
    now: i64,
    owner: &str,
    lease_us: i64,
    n: u64,
    mine: Vec<Uuid>,
) -> Result<Vec<Claimed>, DbErr> {
    let lost = job::Entity::find()
        .filter(job::Column::State.eq(State::Running.code()))
        .filter(job::Column::LeaseUntil.lt(now))
        .filter(job::Column::Id.is_not_in(mine))
        .order_by_asc(job::Column::LeaseUntil)
        .limit(n)
        .all(tx)
        .await?;
    let mut claimed = Vec::new();
    for row in lost {
        let open = attempt::Entity::find().filter(attempt::Column::OpenJob.eq(row.id)).one(tx).await?;
        let epoch = row.lease_epoch + 1;
        let mut change = row.into_active_model();
        change.lease_owner = Set(Some(owner.into()));
        change.lease_until = Set(now + lease_us);
        change.lease_epoch = Set(epoch);
        change.updated = Set(now);
        match open {
            Some(attempt) => {
                let job = change.update(tx).await?.into();
                claimed.push(Claimed { job, attempt: attempt.into(), rescued: true });
            }
            // No intent, so nothing was sent: back to the queue.
            None => {
                change.state = Set(State::Queued.code());
                change.lease_owner = Set(None);
                change.update(tx).await?;
            }
        }
    }
    Ok(claimed)
}
