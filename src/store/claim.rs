//! Who gets a job next: claims in fair order, the next try, cancellation, and the sweep. Leases are `lease.rs`.

use super::{
    Store, StoreError,
    entity::{attempt, job, lane, lane_team},
    finish::{AttemptEnd, end_attempt, settle},
    lane::{Lane, Running},
    model::{Attempt, Job, Phase, State, Target},
    rows::attempt_row,
    submit::{Caps, Claimed, stand_in_lanes},
};
use sea_orm::{
    ActiveModelTrait,
    ActiveValue::Set,
    ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder,
    QuerySelect,
    sea_query::{Expr, OnConflict},
};
use std::collections::{BTreeSet, HashMap};
use uuid::Uuid;

/// Caps and weights of teams, keys and instances, as the configuration has them now.
#[derive(Debug, Clone, Default)]
pub struct Shares {
    pub instances: HashMap<String, Option<u32>>,
    pub teams: HashMap<String, TeamShare>,
    pub other_teams: TeamShare,
    pub keys: HashMap<String, u32>,
    pub other_keys: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
pub struct TeamShare {
    pub cap: Option<u32>,
    pub weight: u32,
}

impl Default for TeamShare {
    fn default() -> Self {
        TeamShare { cap: None, weight: 1 }
    }
}

impl Shares {
    pub fn team(&self, team: &str) -> TeamShare {
        self.teams.get(team).copied().unwrap_or(self.other_teams)
    }
    pub fn caps(&self, instance: &str, team: &str, key: &str) -> Caps {
        Caps {
            instance: self.instances.get(instance).copied().flatten(),
            team: self.team(team).cap,
            key: self.keys.get(key).copied().or(self.other_keys),
        }
    }
}

/// The end of one attempt and what comes after it.
#[derive(Debug, Clone)]
pub struct NextTry {
    pub job_id: Uuid,
    pub epoch: i64,
    /// The attempt that ended; `None`: the same one is given back unspent (a snooze).
    pub ended: Option<AttemptEnd>,
    /// Index into the plan.
    pub target: usize,
    /// Not before.
    pub run_at_us: i64,
    /// Start it here and now if there is room and nobody waits.
    pub start: bool,
}

/// What became of the next try.
#[derive(Debug, Clone)]
pub enum NextTried {
    /// The job waits in a queue, or for its time.
    Waits,
    Started(Box<Claimed>),
    /// The lease was lost: nothing was written.
    Stale,
}

impl Attempt {
    /// A new attempt at a target, not yet sent.
    pub fn open(job_id: Uuid, number: i32, epoch: i64, target: &Target, now: i64) -> Attempt {
        Attempt {
            id: Uuid::new_v4(),
            job_id,
            number,
            epoch,
            instance: target.instance.clone(),
            vendor_model: target.vendor_model.clone(),
            class: target.class.clone(),
            started_us: now,
            ticket: None,
            ticket_us: None,
            ended_us: None,
            outcome: None,
            vendor_status: None,
            vendor_code: None,
            vendor_request_id: None,
            spend: None,
        }
    }
}

impl Store {
    /// Gives up to `n` waiting jobs to `owner`, in fair order, with their attempts on disk.
    pub async fn claim(
        &self,
        owner: &str,
        lease_us: i64,
        n: usize,
        shares: &Shares,
    ) -> Result<Vec<Claimed>, StoreError> {
        let (owner, shares) = (owner.to_owned(), shares.clone());
        self.write(move |tx, now| Box::pin(async move { claim(tx, now, &owner, lease_us, n, &shares).await }))
            .await
    }

    /// Ends an attempt and puts its job back: in the queue of its next target, or aside until its time. Where it
    /// may start at once, it is.
    pub async fn next_try(
        &self,
        owner: &str,
        lease_us: i64,
        next: NextTry,
        shares: &Shares,
    ) -> Result<NextTried, StoreError> {
        let (owner, shares) = (owner.to_owned(), shares.clone());
        self.write(move |tx, now| {
            Box::pin(async move { next_try(tx, now, &owner, lease_us, next, &shares).await })
        })
        .await
    }

    /// Cancels a job that is not out at a vendor; on a running one it asks for no further try. `None`: not the team's.
    pub async fn cancel(&self, team: &str, id: Uuid) -> Result<Option<(Job, bool)>, StoreError> {
        let team = team.to_owned();
        self.write(move |tx, now| Box::pin(async move { cancel(tx, now, &team, id).await })).await
    }

    /// Brings delayed jobs back whose time has come, and ends those that waited past their deadline.
    /// Returns the jobs that were ended.
    pub async fn sweep(&self) -> Result<Swept, StoreError> {
        self.write(move |tx, now| Box::pin(async move { sweep(tx, now).await })).await
    }
}

/// What a sweep did.
#[derive(Debug, Default)]
pub struct Swept {
    pub woken: u64,
    pub expired: Vec<Uuid>,
    /// When the next delayed job is due.
    pub next_us: Option<i64>,
}

/// Gives a job to `owner` under a new epoch, with a new attempt at the target it stands at.
async fn start(
    tx: &DatabaseTransaction,
    now: i64,
    owner: &str,
    lease_us: i64,
    row: job::Model,
) -> Result<Option<Claimed>, DbErr> {
    let job: Job = row.clone().into();
    let Some(target) = job.target() else { return Ok(None) };
    let number = row.attempts_made + 1;
    let epoch = row.lease_epoch + 1;
    let attempt = Attempt::open(row.id, number, epoch, target, now);
    let mut change = row.into_active_model();
    change.state = Set(State::Running.code());
    change.phase = Set(Some(Phase::Submitting.as_str().into()));
    change.lease_owner = Set(Some(owner.into()));
    change.lease_until = Set(now + lease_us);
    change.lease_epoch = Set(epoch);
    change.attempts_made = Set(number);
    change.updated = Set(now);
    let row = change.update(tx).await?;
    attempt::Entity::insert(attempt_row(&attempt)).exec_without_returning(tx).await?;
    Ok(Some(Claimed { job: row.into(), attempt, rescued: false }))
}

async fn claim(
    tx: &DatabaseTransaction,
    now: i64,
    owner: &str,
    lease_us: i64,
    n: usize,
    shares: &Shares,
) -> Result<Vec<Claimed>, DbErr> {
    let mut running = Running::read(tx).await?;
    let mut claimed = Vec::new();
    let mut instances: Vec<&String> = shares.instances.keys().collect();
    instances.sort_unstable();
    for instance in instances {
        let cap = shares.instances.get(instance).copied().flatten().unwrap_or(u32::MAX);
        let free = (cap.saturating_sub(running.of_instance(instance)) as usize).min(n - claimed.len());
        if free == 0 {
            continue;
        }
        let mut heads = heads(tx, instance, free, shares, &running).await?;
        if heads.is_empty() {
            continue;
        }
        let mut lane = read_lane(tx, instance).await?;
        let mut moved = BTreeSet::new();
        for _ in 0..free {
            let able = heads.iter().filter(|(_, jobs)| jobs.iter().any(|j| has_room(&running, j, shares)));
            let Some(team) = lane.next(able.map(|(team, _)| team.as_str())).map(str::to_owned) else { break };
            let Some(jobs) = heads.get_mut(&team) else { break };
            let Some(at) = jobs.iter().position(|j| has_room(&running, j, shares)) else { break };
            let row = jobs.remove(at);
            let expected = Job::from(row.clone()).target().map_or(1, |t| t.expected_ms);
            if let Some(one) = start(tx, now, owner, lease_us, row).await? {
                running.add(&one.job);
                lane.started(&team, expected, shares.team(&team).weight);
                moved.insert(team);
                claimed.push(one);
            }
        }
        write_lane(tx, instance, &lane, &moved).await?;
        if claimed.len() == n {
            break;
        }
    }
    Ok(claimed)
}

fn has_room(running: &Running, row: &job::Model, shares: &Shares) -> bool {
    let caps = shares.caps(&row.instance, &row.team, &row.key_id);
    let below = |cap: Option<u32>, n: u32| cap.is_none_or(|cap| n < cap);
    below(caps.team, running.of_team(&row.team)) && below(caps.key, running.of_key(&row.team, &row.key_id))
}

/// The first jobs of every team that waits in a lane and has room: one index probe per team, whatever the depth of
/// its queue.
async fn heads(
    tx: &DatabaseTransaction,
    instance: &str,
    n: usize,
    shares: &Shares,
    running: &Running,
) -> Result<HashMap<String, Vec<job::Model>>, DbErr> {
    let teams: Vec<String> = lane_team::Entity::find()
        .select_only()
        .column(lane_team::Column::Team)
        .filter(lane_team::Column::Instance.eq(instance))
        .into_tuple()
        .all(tx)
        .await?;
    let mut heads = HashMap::new();
    for team in teams {
        if shares.team(&team).cap.is_some_and(|cap| running.of_team(&team) >= cap) {
            continue;
        }
        // A key at its cap must not hide the team's other keys.
        let busy = running.keys_at_cap(&team, |key| shares.keys.get(key).copied().or(shares.other_keys));
        let mut query = job::Entity::find()
            .filter(job::Column::State.eq(State::Queued.code()))
            .filter(job::Column::Instance.eq(instance))
            .filter(job::Column::Team.eq(&team));
        if !busy.is_empty() {
            query = query.filter(job::Column::KeyId.is_not_in(busy));
        }
        let jobs = query
            .order_by_asc(job::Column::Priority)
            .order_by_asc(job::Column::Created)
            .order_by_asc(job::Column::Id)
            .limit(n as u64)
            .all(tx)
            .await?;
        if !jobs.is_empty() {
            heads.insert(team, jobs);
        }
    }
    Ok(heads)
}

async fn read_lane(tx: &DatabaseTransaction, instance: &str) -> Result<Lane, DbErr> {
    let v = lane::Entity::find_by_id(instance).one(tx).await?.map_or(0, |row| row.v);
    let tags = lane_team::Entity::find().filter(lane_team::Column::Instance.eq(instance)).all(tx).await?;
    Ok(Lane { v, tags: tags.into_iter().map(|row| (row.team, row.tag)).collect() })
}

async fn write_lane(
    tx: &DatabaseTransaction,
    instance: &str,
    lane: &Lane,
    moved: &BTreeSet<String>,
) -> Result<(), DbErr> {
    if moved.is_empty() {
        return Ok(());
    }
    let row = lane::ActiveModel { instance: Set(instance.into()), v: Set(lane.v) };
    let on_conflict = OnConflict::column(lane::Column::Instance).update_column(lane::Column::V).to_owned();
    lane::Entity::insert(row).on_conflict(on_conflict).exec_without_returning(tx).await?;
    let tags = moved.iter().map(|team| lane_team::ActiveModel {
        instance: Set(instance.into()),
        team: Set(team.clone()),
        tag: Set(lane.tags.get(team).copied().unwrap_or(0)),
    });
    let on_conflict = OnConflict::columns([lane_team::Column::Instance, lane_team::Column::Team])
        .update_column(lane_team::Column::Tag)
        .to_owned();
    lane_team::Entity::insert_many(tags).on_conflict(on_conflict).exec_without_returning(tx).await?;
    Ok(())
}

async fn next_try(
    tx: &DatabaseTransaction,
    now: i64,
    owner: &str,
    lease_us: i64,
    next: NextTry,
    shares: &Shares,
) -> Result<NextTried, DbErr> {
    let row = job::Entity::find_by_id(next.job_id)
        .filter(job::Column::LeaseEpoch.eq(next.epoch))
        .filter(job::Column::State.eq(State::Running.code()))
        .one(tx)
        .await?;
    let Some(row) = row else { return Ok(NextTried::Stale) };
    let snoozed = next.ended.is_none();
    match &next.ended {
        Some(end) => end_attempt(tx, now, end).await?,
        // Nothing was sent: the intent goes as if it had never been.
        None => {
            attempt::Entity::delete_many().filter(attempt::Column::OpenJob.eq(row.id)).exec(tx).await?;
        }
    }
    let job: Job = row.clone().into();
    let instance = job.plan.targets.get(next.target).map_or(row.instance.clone(), |t| t.instance.clone());
    let made = if snoozed { row.attempts_made - 1 } else { row.attempts_made };
    let mut change = row.into_active_model();
    change.target = Set(next.target as i32);
    change.instance = Set(instance.clone());
    change.attempts_made = Set(made);
    change.phase = Set(None);
    change.lease_owner = Set(None);
    change.lease_until = Set(0);
    change.next_run = Set(next.run_at_us);
    change.updated = Set(now);
    let due = next.run_at_us <= now;
    change.state = Set(if due { State::Queued.code() } else { State::Delayed.code() });
    let row = change.update(tx).await?;
    stand_in_lanes(tx, BTreeSet::from([(instance.clone(), row.team.clone())])).await?;
    if !(due && next.start) {
        return Ok(NextTried::Waits);
    }
    let running = Running::read(tx).await?;
    let caps = shares.caps(&instance, &row.team, &row.key_id);
    let waiting = job::Entity::find()
        .select_only()
        .column(job::Column::Id)
        .filter(job::Column::State.eq(State::Queued.code()))
        .filter(job::Column::Instance.eq(&instance))
        .filter(job::Column::Id.ne(row.id))
        .limit(1);
    let free = running.has_room(&row.clone().into(), &caps);
    if !free || waiting.into_tuple::<Uuid>().one(tx).await?.is_some() {
        return Ok(NextTried::Waits);
    }
    let started = start(tx, now, owner, lease_us, row).await?;
    Ok(started.map_or(NextTried::Waits, |claimed| NextTried::Started(Box::new(claimed))))
}

async fn cancel(
    tx: &DatabaseTransaction,
    now: i64,
    team: &str,
    id: Uuid,
) -> Result<Option<(Job, bool)>, DbErr> {
    let row = job::Entity::find_by_id(id).filter(job::Column::Team.eq(team)).one(tx).await?;
    let Some(row) = row else { return Ok(None) };
    let state = State::from_code(row.state);
    let mut change = row.clone().into_active_model();
    change.updated = Set(now);
    match state {
        State::Queued | State::Delayed => {
            change.state = Set(State::Cancelled.code());
            change.finished = Set(Some(now));
            change.cancel_requested = Set(true);
            change.reserved = Set(None);
            let row = change.update(tx).await?;
            settle(tx, now, &[(id, Some((0, Some(0))))]).await?;
            Ok(Some((row.into(), true)))
        }
        State::Running => {
            change.cancel_requested = Set(true);
            Ok(Some((change.update(tx).await?.into(), false)))
        }
        _ => Ok(Some((row.into(), false))),
    }
}

async fn sweep(tx: &DatabaseTransaction, now: i64) -> Result<Swept, DbErr> {
    let mut swept = Swept::default();
    let waiting = [State::Queued.code(), State::Delayed.code()];
    let late = job::Entity::find()
        .filter(job::Column::State.is_in(waiting))
        .filter(job::Column::Deadline.lt(now))
        .limit(500)
        .all(tx)
        .await?;
    for row in late {
        let id = row.id;
        let mut change = row.into_active_model();
        change.state = Set(State::Failed.code());
        change.error_code = Set(Some("timeout".into()));
        let text = "The job waited past its deadline and was not sent to any vendor; nothing was spent.";
        change.error = Set(Some(text.into()));
        change.finished = Set(Some(now));
        change.updated = Set(now);
        change.reserved = Set(None);
        change.update(tx).await?;
        swept.expired.push(id);
    }
    let free: Vec<_> = swept.expired.iter().map(|id| (*id, Some((0, Some(0))))).collect();
    settle(tx, now, &free).await?;
    let woken = job::Entity::update_many()
        .col_expr(job::Column::State, Expr::value(State::Queued.code()))
        .filter(job::Column::State.eq(State::Delayed.code()))
        .filter(job::Column::NextRun.lte(now))
        .exec(tx)
        .await?;
    swept.woken = woken.rows_affected;
    swept.next_us = job::Entity::find()
        .select_only()
        .column_as(job::Column::NextRun.min(), "next")
        .filter(job::Column::State.eq(State::Delayed.code()))
        .into_tuple::<Option<i64>>()
        .one(tx)
        .await?
        .flatten();
    Ok(swept)
}
