//! Providers that are paused: for all nodes, and across restarts. Jobs that wait for one go to their next target.

use super::{
    Store, StoreError,
    dialect::insert_new,
    entity::{breaker, job, pause},
    model::{Job, State},
    submit::stand_in_lanes,
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, OnConflict},
};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Instances that are paused, and since when (microseconds UTC).
pub type Pauses = BTreeMap<String, i64>;

/// Jobs looked at in one go.
const PART: u64 = 200;

impl Store {
    /// Few rows at most: cheap to ask for often.
    pub async fn pauses(&self) -> Result<Pauses, StoreError> {
        let rows = pause::Entity::find().all(&self.read).await?;
        Ok(rows.into_iter().map(|row| (row.instance, row.since)).collect())
    }

    /// Pauses an instance. `false`: it is paused already, and its first time stays.
    pub async fn pause(&self, instance: &str) -> Result<bool, StoreError> {
        let instance = instance.to_owned();
        self.write(move |tx, now| {
            Box::pin(async move {
                let row = pause::ActiveModel { instance: Set(instance), since: Set(now.wall) };
                insert_new(tx, row, &[pause::Column::Instance]).await
            })
        })
        .await
    }

    /// Ends a pause. `false`: there was none.
    pub async fn resume(&self, instance: &str) -> Result<bool, StoreError> {
        let instance = instance.to_owned();
        self.write(move |tx, _| {
            Box::pin(
                async move { Ok(pause::Entity::delete_by_id(instance).exec(tx).await?.rows_affected == 1) },
            )
        })
        .await
    }

    /// Instances that a server leaves alone after too many failures, and until when; some may be over.
    pub async fn breakers(&self) -> Result<BTreeMap<String, i64>, StoreError> {
        let rows = breaker::Entity::find().all(&self.read).await?;
        Ok(rows.into_iter().map(|row| (row.instance, row.open_until)).collect())
    }

    /// Writes down for others that this server leaves an instance alone; `None`: no longer.
    pub async fn note_breaker(&self, instance: &str, open_until: Option<i64>) -> Result<(), StoreError> {
        let instance = instance.to_owned();
        self.write(move |tx, _| {
            Box::pin(async move {
                let Some(open_until) = open_until else {
                    breaker::Entity::delete_by_id(instance).exec(tx).await?;
                    return Ok(());
                };
                let row = breaker::ActiveModel { instance: Set(instance), open_until: Set(open_until) };
                let anew = OnConflict::column(breaker::Column::Instance)
                    .update_column(breaker::Column::OpenUntil)
                    .to_owned();
                breaker::Entity::insert(row).on_conflict(anew).exec_without_returning(tx).await?;
                Ok(())
            })
        })
        .await
    }

    /// Moves jobs that wait at one of `paused` to their next target that is at one of `open`; a job without such a
    /// target goes on waiting. Returns how many were moved.
    pub async fn step_aside(
        &self,
        paused: &BTreeSet<String>,
        open: &BTreeSet<String>,
    ) -> Result<u64, StoreError> {
        let (mut moved, mut last) = (0, Uuid::nil());
        loop {
            let part = job::Entity::find()
                .filter(job::Column::State.is_in([State::Queued, State::Delayed].map(State::code)))
                .filter(job::Column::Instance.is_in(paused))
                .filter(job::Column::Id.gt(last))
                .order_by_asc(job::Column::Id)
                .limit(PART)
                .all(&self.read)
                .await?;
            let Some(end) = part.last().map(|row| row.id) else { return Ok(moved) };
            last = end;
            let next = |job: Job| {
                let later = job.plan.targets.iter().enumerate().skip(job.target + 1);
                let (at, target) = later.into_iter().find(|(_, target)| open.contains(&target.instance))?;
                Some((at, target.instance.clone(), job))
            };
            let moves: Vec<_> = part.into_iter().filter_map(|row| next(row.into())).collect();
            moved += if moves.is_empty() { 0 } else { self.move_jobs(moves).await? };
        }
    }

    async fn move_jobs(&self, moves: Vec<(usize, String, Job)>) -> Result<u64, StoreError> {
        self.write(move |tx, now| {
            Box::pin(async move {
                let (mut moved, mut lanes) = (0, BTreeSet::new());
                for (target, instance, job) in moves {
                    // Only as it was seen: it may have been claimed, cancelled or moved meanwhile.
                    let done = job::Entity::update_many()
                        .col_expr(job::Column::Target, Expr::value(target as i32))
                        .col_expr(job::Column::Instance, Expr::value(instance.clone()))
                        .col_expr(job::Column::Updated, Expr::value(now.wall))
                        .filter(job::Column::Id.eq(job.id))
                        .filter(job::Column::State.eq(job.state.code()))
                        .filter(job::Column::Instance.eq(&job.instance))
                        .exec(tx)
                        .await?;
                    moved += done.rows_affected;
                    lanes.insert((instance, job.team));
                }
                stand_in_lanes(tx, lanes).await?;
                Ok(moved)
            })
        })
        .await
    }
}
