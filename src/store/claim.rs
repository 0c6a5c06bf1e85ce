//! Who gets a job next: claims in fair order, the next try, cancellation, and the sweep. Leases are `lease.rs`.

use super::{
    Store, StoreError,
    dialect::{insert_all, locks, unlocked},
    entity::{attempt, job, lane, lane_team},
    failpoint,
    finish::{AttemptEnd, UNKNOWN, end_attempt, may_have_paid, settle},
    gate,
    lane::{Lane, Running},
    model::{Attempt, Job, Phase, State, Target},
    news::tell,
    rows::attempt_row,
    steady::Now,
    submit::{Caps, Claimed, stand_in_lanes},
};
use sea_orm::{
    ActiveModelTrait,
    ActiveValue::Set,
    ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder,
    QuerySelect, Select,
    sea_query::{Expr, ExprTrait, OnConflict, Query},
};
use std::collections::{BTreeSet, HashMap, hash_map::Entry};
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
    /// Whether the team or one of its keys may have a cap.
    fn is_capped(&self, team: &str) -> bool {
        self.team(team).cap.is_some() || self.other_keys.is_some() || !self.keys.is_empty()
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
        let mut lanes: Vec<String> = shares.instances.keys().cloned().collect();
        lanes.sort_unstable();
        let claim =
            Claim { owner: owner.to_owned(), lease_us, n, shares: shares.clone(), lanes, wait: false };
        if !locks(&self.read) {
            return Ok(self.claim_in(claim).await?.0);
        }
        // A lane at a time: a transaction that holds several would keep other nodes from all of them.
        let lanes = self.waited_for(&claim.lanes).await?;
        let (mut claimed, mut taken) = (Vec::new(), None);
        for lane in lanes {
            let one = Claim { lanes: vec![lane.clone()], n: n - claimed.len(), ..claim.clone() };
            match self.claim_in(one).await {
                Ok((some, false)) => claimed.extend(some),
                Ok((_, true)) => taken = taken.or(Some(lane)),
                // What was claimed is this node's.
                Err(error) if !claimed.is_empty() => {
                    tracing::warn!(%error, "a claim broke off");
                    return Ok(claimed);
                }
                Err(error) => return Err(error),
            }
            if claimed.len() == n {
                return Ok(claimed);
            }
        }
        match taken.filter(|_| claimed.is_empty()) {
            // Other nodes are at every lane with work: it is this one's turn then.
            Some(lane) => Ok(self.claim_in(Claim { lanes: vec![lane], wait: true, ..claim }).await?.0),
            None => Ok(claimed),
        }
    }

    /// What was claimed, and whether another node was at a lane.
    async fn claim_in(&self, work: Claim) -> Result<(Vec<Claimed>, bool), StoreError> {
        self.write(move |tx, now| Box::pin(async move { claim(tx, now, &work).await })).await
    }

    /// Those of the lanes in which jobs wait.
    async fn waited_for(&self, lanes: &[String]) -> Result<Vec<String>, StoreError> {
        let mut found = Vec::new();
        for lane in lanes {
            if queued_at(lane).into_tuple::<Uuid>().one(&self.read).await?.is_some() {
                found.push(lane.clone());
            }
        }
        Ok(found)
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
        self.write(move |tx, now| Box::pin(async move { cancel(tx, now.wall, &team, id).await })).await
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

/// Gives jobs to `owner` under new epochs, each with a new attempt at the target it stands at. Nobody else can change
/// the rows meanwhile.
async fn start(
    tx: &DatabaseTransaction,
    now: Now,
    owner: &str,
    lease_us: i64,
    rows: Vec<job::Model>,
) -> Result<Vec<Claimed>, DbErr> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let set = |column: job::Column, value: Expr| (column, value);
    let one_more = |column: job::Column| (column, Expr::col(column).add(1));
    let mut update = job::Entity::update_many().filter(job::Column::Id.is_in(rows.iter().map(|row| row.id)));
    for (column, value) in [
        set(job::Column::State, Expr::value(State::Running.code())),
        set(job::Column::Phase, Expr::value(Phase::Submitting.as_str())),
        set(job::Column::LeaseOwner, Expr::value(owner)),
        set(job::Column::LeaseUntil, Expr::value(now.steady + lease_us)),
        one_more(job::Column::LeaseEpoch),
        one_more(job::Column::AttemptsMade),
        set(job::Column::Updated, Expr::value(now.wall)),
    ] {
        update = update.col_expr(column, value);
    }
    update.exec(tx).await?;
    failpoint("claim.taken")?;
    let started = rows.into_iter().filter_map(|row| {
        let mut job: Job = row.into();
        job.state = State::Running;
        job.phase = Some(Phase::Submitting);
        job.lease_epoch += 1;
        job.attempts_made += 1;
        job.updated_us = now.wall;
        let attempt = Attempt::open(job.id, job.attempts_made, job.lease_epoch, job.target()?, now.wall);
        Some(Claimed { job, attempt, rescued: false })
    });
    let started: Vec<Claimed> = started.collect();
    insert_all(tx, started.iter().map(|one| attempt_row(&one.attempt)).collect()).await?;
    tell(tx, started.iter().map(|one| one.job.id), false).await?;
    Ok(started)
}

/// Who claims what.
#[derive(Clone)]
struct Claim {
    owner: String,
    lease_us: i64,
    n: usize,
    shares: Shares,
    lanes: Vec<String>,
    /// For other nodes that are at a lane.
    wait: bool,
}

/// What was claimed, and whether another node was at a lane.
async fn claim(tx: &DatabaseTransaction, now: Now, claim: &Claim) -> Result<(Vec<Claimed>, bool), DbErr> {
    let Claim { owner, lease_us, n, shares, .. } = claim;
    let (mut claimed, mut taken) = (Vec::new(), false);
    let mut known = None;
    for instance in &claim.lanes {
        if !gate::lane(tx, instance, claim.wait).await? {
            taken = true;
            continue;
        }
        let mut running = match known.take() {
            Some(running) => running,
            None => Running::read(tx).await?,
        };
        let cap = shares.instances.get(instance).copied().flatten().unwrap_or(u32::MAX);
        let free = (cap.saturating_sub(running.of_instance(instance)) as usize).min(n - claimed.len());
        let mut able = if free > 0 { waiting_teams(tx, instance).await? } else { Vec::new() };
        if able.is_empty() {
            known = Some(running);
            continue;
        }
        let capped: BTreeSet<&str> =
            able.iter().map(String::as_str).filter(|t| shares.is_capped(t)).collect();
        if locks(tx) && !capped.is_empty() {
            gate::starts(tx, &capped).await?;
            running = Running::read(tx).await?;
        }
        let mut lane = read_lane(tx, instance).await?;
        let (mut first, mut rows, mut moved) = (HashMap::new(), Vec::new(), BTreeSet::new());
        while rows.len() < free {
            let Some(team) = lane.next(able.iter().map(String::as_str)).map(str::to_owned) else { break };
            let jobs = match first.entry(team.clone()) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(heads(tx, instance, &team, free, shares, &running).await?),
            };
            let Some(at) = jobs.iter().position(|row| has_room(&running, row, shares)) else {
                able.retain(|other| *other != team);
                continue;
            };
            let row = jobs.remove(at);
            let job = Job::from(row.clone());
            let Some(target) = job.target() else { continue };
            running.add(&job);
            lane.started(&team, target.expected_ms, shares.team(&team).weight);
            moved.insert(team);
            rows.push(row);
        }
        known = Some(running);
        claimed.extend(start(tx, now, owner, *lease_us, rows).await?);
        write_lane(tx, instance, &lane, &moved).await?;
        if claimed.len() == *n {
            break;
        }
    }
    Ok((claimed, taken))
}

fn has_room(running: &Running, row: &job::Model, shares: &Shares) -> bool {
    let caps = shares.caps(&row.instance, &row.team, &row.key_id);
    let below = |cap: Option<u32>, n: u32| cap.is_none_or(|cap| n < cap);
    below(caps.team, running.of_team(&row.team)) && below(caps.key, running.of_key(&row.team, &row.key_id))
}

/// Teams that have a job waiting in a lane: one index probe per team, whatever the depth of its queue.
async fn waiting_teams(tx: &DatabaseTransaction, instance: &str) -> Result<Vec<String>, DbErr> {
    let of_lane = |column: job::Column| Expr::col((job::Entity, column));
    // Asked for as a value: as EXISTS, SQLite reads the whole queue.
    let first = Query::select()
        .expr(of_lane(job::Column::Priority))
        .from(job::Entity)
        .and_where(of_lane(job::Column::State).eq(State::Queued.code()))
        .and_where(
            of_lane(job::Column::Instance).eq(Expr::col((lane_team::Entity, lane_team::Column::Instance))),
        )
        .and_where(of_lane(job::Column::Team).eq(Expr::col((lane_team::Entity, lane_team::Column::Team))))
        .limit(1)
        .take();
    let waits = Expr::SubQuery(None, Box::new(first.into()));
    lane_team::Entity::find()
        .select_only()
        .column(lane_team::Column::Team)
        .filter(lane_team::Column::Instance.eq(instance))
        .filter(waits.is_not_null())
        .into_tuple()
        .all(tx)
        .await
}

/// The first jobs of a team in a lane, none of a key at its cap: it must not hide the team's other keys.
async fn heads(
    tx: &DatabaseTransaction,
    instance: &str,
    team: &str,
    n: usize,
    shares: &Shares,
    running: &Running,
) -> Result<Vec<job::Model>, DbErr> {
    if shares.team(team).cap.is_some_and(|cap| running.of_team(team) >= cap) {
        return Ok(Vec::new());
    }
    let busy = running.keys_at_cap(team, |key| shares.keys.get(key).copied().or(shares.other_keys));
    let mut query = job::Entity::find()
        .filter(job::Column::State.eq(State::Queued.code()))
        .filter(job::Column::Instance.eq(instance))
        .filter(job::Column::Team.eq(team));
    if !busy.is_empty() {
        query = query.filter(job::Column::KeyId.is_not_in(busy));
    }
    let query = query
        .order_by_asc(job::Column::Priority)
        .order_by_asc(job::Column::Created)
        .order_by_asc(job::Column::Id)
        .limit(n as u64);
    // One that is cancelled or moved at this moment is left out.
    unlocked(query).all(tx).await
}

/// Any job that waits in a lane.
fn queued_at(instance: &str) -> Select<job::Entity> {
    job::Entity::find()
        .select_only()
        .column(job::Column::Id)
        .filter(job::Column::State.eq(State::Queued.code()))
        .filter(job::Column::Instance.eq(instance))
        .limit(1)
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
    now: Now,
    owner: &str,
    lease_us: i64,
    next: NextTry,
    shares: &Shares,
) -> Result<NextTried, DbErr> {
    let row = job::Entity::find_by_id(next.job_id)
        .filter(job::Column::LeaseEpoch.eq(next.epoch))
        .filter(job::Column::State.eq(State::Running.code()))
        .lock_exclusive()
        .one(tx)
        .await?;
    let Some(row) = row else { return Ok(NextTried::Stale) };
    let snoozed = next.ended.is_none();
    match &next.ended {
        Some(end) => end_attempt(tx, now.wall, end).await?,
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
    change.updated = Set(now.wall);
    let due = next.run_at_us <= now.steady;
    change.state = Set(if due { State::Queued.code() } else { State::Delayed.code() });
    let row = change.update(tx).await?;
    stand_in_lanes(tx, BTreeSet::from([(instance.clone(), row.team.clone())])).await?;
    tell(tx, [row.id], due).await?;
    if !(due && next.start) {
        return Ok(NextTried::Waits);
    }
    let caps = shares.caps(&instance, &row.team, &row.key_id);
    if caps.instance.is_some() && !gate::lane(tx, &instance, false).await? {
        return Ok(NextTried::Waits);
    }
    if caps.team.is_some() || caps.key.is_some() {
        gate::starts(tx, &BTreeSet::from([row.team.as_str()])).await?;
    }
    let running = Running::read(tx).await?;
    let waiting = queued_at(&instance).filter(job::Column::Id.ne(row.id)).into_tuple::<Uuid>();
    let free = running.has_room(&row.clone().into(), &caps);
    if !free || waiting.one(tx).await?.is_some() {
        return Ok(NextTried::Waits);
    }
    let started = start(tx, now, owner, lease_us, vec![row]).await?.pop();
    Ok(started.map_or(NextTried::Waits, |claimed| NextTried::Started(Box::new(claimed))))
}

async fn cancel(
    tx: &DatabaseTransaction,
    now: i64,
    team: &str,
    id: Uuid,
) -> Result<Option<(Job, bool)>, DbErr> {
    let row = job::Entity::find_by_id(id).filter(job::Column::Team.eq(team)).lock_exclusive().one(tx).await?;
    let Some(row) = row else { return Ok(None) };
    let state = State::from_code(row.state);
    let mut change = row.clone().into_active_model();
    change.updated = Set(now);
    match state {
        State::Queued | State::Delayed if !may_have_paid(tx, [id]).await?.is_empty() => {
            change.state = Set(State::Failed.code());
            change.finished = Set(Some(now));
            change.cancel_requested = Set(true);
            change.error_code = Set(Some("outcome_unknown".into()));
            change.error = Set(Some(UNKNOWN.into()));
            let row = change.update(tx).await?;
            tell(tx, [id], false).await?;
            Ok(Some((row.into(), false)))
        }
        State::Queued | State::Delayed => {
            change.state = Set(State::Cancelled.code());
            change.finished = Set(Some(now));
            change.cancel_requested = Set(true);
            change.reserved = Set(None);
            let row = change.update(tx).await?;
            settle(tx, now, &[(id, Some((0, Some(0))))]).await?;
            tell(tx, [id], false).await?;
            Ok(Some((row.into(), true)))
        }
        State::Running => {
            change.cancel_requested = Set(true);
            Ok(Some((change.update(tx).await?.into(), false)))
        }
        _ => Ok(Some((row.into(), false))),
    }
}

async fn sweep(tx: &DatabaseTransaction, now: Now) -> Result<Swept, DbErr> {
    let mut swept = Swept::default();
    let waiting = [State::Queued.code(), State::Delayed.code()];
    let late = job::Entity::find()
        .filter(job::Column::State.is_in(waiting))
        .filter(job::Column::Deadline.lt(now.steady))
        .order_by_asc(job::Column::Id)
        .limit(500);
    let late = unlocked(late).all(tx).await?;
    let paid = may_have_paid(tx, late.iter().filter(|row| row.attempts_made > 0).map(|row| row.id)).await?;
    for row in late {
        let id = row.id;
        let held = paid.contains(&id);
        let mut change = row.into_active_model();
        change.state = Set(State::Failed.code());
        let (code, text) = match held {
            true => ("outcome_unknown", UNKNOWN),
            false => (
                "timeout",
                "The job waited past its deadline and was not sent to any vendor; nothing was spent.",
            ),
        };
        change.error_code = Set(Some(code.into()));
        change.error = Set(Some(text.into()));
        change.finished = Set(Some(now.wall));
        change.updated = Set(now.wall);
        if !held {
            change.reserved = Set(None);
        }
        change.update(tx).await?;
        swept.expired.push(id);
    }
    let free = swept.expired.iter().filter(|id| !paid.contains(id));
    let free: Vec<_> = free.map(|id| (*id, Some((0, Some(0))))).collect();
    settle(tx, now.wall, &free).await?;
    tell(tx, swept.expired.iter().copied(), false).await?;
    let woken = job::Entity::update_many()
        .col_expr(job::Column::State, Expr::value(State::Queued.code()))
        .filter(job::Column::State.eq(State::Delayed.code()))
        .filter(job::Column::NextRun.lte(now.steady))
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
