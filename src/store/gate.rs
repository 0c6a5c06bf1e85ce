//! Counts that hold over all nodes of a server. Whoever is about to count what runs or waits, and to add to it, locks
//! a row first that all others who add to the same count lock too:
//!
//! - the lane of an instance that has a cap, to start a job there;
//! - the gate `start|TEAM`, to start a job of a team that has a cap, or whose keys have one;
//! - the gates `queue|` and `queue|TEAM`, to let a job wait. These hold the count as well.
//!
//! SQLite's writer is alone, and needs none of this.

use super::{
    dialect::{in_order, keep, locks, unlocked},
    entity::{gate, job, lane},
    model::State,
    submit::{QueueCaps, Submit, Submitted},
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, PaginatorTrait,
    QueryFilter, QuerySelect, sea_query::OnConflict,
};
use std::collections::{BTreeSet, HashMap};

/// Locks an instance's lane. `wait`: for a node that is at it; else that node makes this `false`.
pub(super) async fn lane(tx: &DatabaseTransaction, instance: &str, wait: bool) -> Result<bool, DbErr> {
    if !locks(tx) || lock_lane(tx, instance, wait).await? {
        return Ok(true);
    }
    if lane::Entity::find_by_id(instance).one(tx).await?.is_some() {
        return Ok(false);
    }
    let row = lane::ActiveModel { instance: Set(instance.into()), v: Set(0) };
    lane::Entity::insert(row).on_conflict(keep(&[lane::Column::Instance])).exec_without_returning(tx).await?;
    lock_lane(tx, instance, wait).await
}

async fn lock_lane(tx: &DatabaseTransaction, instance: &str, wait: bool) -> Result<bool, DbErr> {
    let row = lane::Entity::find_by_id(instance);
    let row = if wait { row.lock_exclusive() } else { unlocked(row) };
    Ok(row.one(tx).await?.is_some())
}

/// Locks the gates to starting jobs of these teams.
pub(super) async fn starts(tx: &DatabaseTransaction, teams: &BTreeSet<&str>) -> Result<(), DbErr> {
    if locks(tx) && !teams.is_empty() {
        lock(tx, teams.iter().map(|team| format!("start|{team}")).collect()).await?;
    }
    Ok(())
}

/// A gate that only one passes at a time, for what is rare.
pub(super) async fn alone(tx: &DatabaseTransaction, name: &str) -> Result<(), DbErr> {
    if locks(tx) {
        lock(tx, BTreeSet::from([format!("alone|{name}")])).await?;
    }
    Ok(())
}

/// Locks gates in the order of their names, made where they are missing, and tells what they hold.
async fn lock(tx: &DatabaseTransaction, names: BTreeSet<String>) -> Result<HashMap<String, i64>, DbErr> {
    let known = read(tx, &names).await?;
    let missing: Vec<_> = names.iter().filter(|name| !known.contains_key(*name)).collect();
    if missing.is_empty() {
        return Ok(known);
    }
    let rows =
        missing.into_iter().map(|name| gate::ActiveModel { name: Set(name.clone()), waiting: Set(-1) });
    gate::Entity::insert_many(rows)
        .on_conflict(keep(&[gate::Column::Name]))
        .exec_without_returning(tx)
        .await?;
    read(tx, &names).await
}

async fn read(tx: &DatabaseTransaction, names: &BTreeSet<String>) -> Result<HashMap<String, i64>, DbErr> {
    let rows = gate::Entity::find().filter(gate::Column::Name.is_in(names)).lock_exclusive();
    let rows = in_order(rows, tx.get_database_backend(), gate::Column::Name).all(tx).await?;
    Ok(rows.into_iter().map(|row| (row.name, row.waiting)).collect())
}

/// Lengths of queues: an upper bound per team, counted anew when it reaches a cap. So no submit counts a long queue,
/// and the cap still holds exactly. What is put back into a queue for its next try was let in before, and passes.
#[derive(Debug, Clone, Default)]
pub struct QueueCounts {
    teams: HashMap<String, u64>,
    all: Option<u64>,
}

/// The team whose queue a submit stands in.
fn team_of(submit: &Submit) -> Option<&str> {
    submit.jobs.first().map(|job| job.team.as_str())
}

impl QueueCounts {
    /// What the gates hold, locked. SQLite's writer remembers it instead.
    pub async fn locked(tx: &DatabaseTransaction, batch: &[Submit]) -> Result<QueueCounts, DbErr> {
        let names =
            batch.iter().filter_map(team_of).chain([""]).map(|team| format!("queue|{team}")).collect();
        let mut counts = QueueCounts::default();
        for (name, waiting) in lock(tx, names).await? {
            match (name.strip_prefix("queue|").unwrap_or_default(), u64::try_from(waiting).ok()) {
                ("", all) => counts.all = all,
                (team, Some(waiting)) => drop(counts.teams.insert(team.to_owned(), waiting)),
                (_, None) => {}
            }
        }
        Ok(counts)
    }

    /// Writes down what [`QueueCounts::locked`] has locked.
    pub async fn write(&self, tx: &DatabaseTransaction) -> Result<(), DbErr> {
        let counts = self.teams.iter().map(|(team, n)| (team.as_str(), *n));
        let rows = counts.chain(self.all.map(|all| ("", all))).map(|(team, n)| gate::ActiveModel {
            name: Set(format!("queue|{team}")),
            waiting: Set(i64::try_from(n).unwrap_or(i64::MAX)),
        });
        let anew = OnConflict::column(gate::Column::Name).update_column(gate::Column::Waiting).to_owned();
        gate::Entity::insert_many(rows).on_conflict(anew).exec_without_returning(tx).await?;
        Ok(())
    }

    pub fn add(&mut self, team: &str, waiting: u64, caps: &QueueCaps) -> Result<(), Submitted> {
        // A team without a cap is not counted, and must not look as if it were.
        let mut of_team = self.teams.get_mut(team);
        let known = of_team.as_deref().copied().unwrap_or_default();
        if let Some(cap) = caps.team.filter(|cap| known + waiting > *cap) {
            return Err(Submitted::QueueFull { of_team: true, cap });
        }
        let all = self.all.get_or_insert_default();
        if *all + waiting > caps.overall {
            return Err(Submitted::QueueFull { of_team: false, cap: caps.overall });
        }
        if let Some(of_team) = &mut of_team {
            **of_team += waiting;
        }
        *all += waiting;
        Ok(())
    }

    /// Counts anew where this batch could come to a cap by the bound that is known.
    pub async fn make_sure(&mut self, tx: &DatabaseTransaction, batch: &[Submit]) -> Result<(), DbErr> {
        let coming: u64 = batch.iter().map(|s| s.jobs.len() as u64).sum();
        if self.all.is_none_or(|all| batch.iter().any(|s| all + coming > s.queue.overall)) {
            self.all = Some(count_queued(tx, None).await?);
        }
        let mut teams: HashMap<&str, u64> = HashMap::new();
        for (team, cap) in batch.iter().filter_map(|s| Some((team_of(s)?, s.queue.team?))) {
            teams.entry(team).and_modify(|c| *c = Ord::min(cap, *c)).or_insert(cap);
        }
        for (team, cap) in teams {
            if self.teams.get(team).is_none_or(|known| known + coming > cap) {
                let counted = count_queued(tx, Some(team)).await?;
                self.teams.insert(team.to_owned(), counted);
            }
        }
        Ok(())
    }
}

async fn count_queued(tx: &DatabaseTransaction, team: Option<&str>) -> Result<u64, DbErr> {
    let waiting = job::Column::State.is_in([State::Queued.code(), State::Delayed.code()]);
    let mut query = job::Entity::find().filter(waiting);
    if let Some(team) = team {
        query = query.filter(job::Column::Team.eq(team));
    }
    query.count(tx).await
}
