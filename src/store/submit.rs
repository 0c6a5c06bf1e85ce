//! Submit: idempotency key, quota reservations, jobs and the attempts of those that start at once, for a whole
//! batch of callers in one transaction. What is decided is decided in memory by [`decide`]; a refusal is simply
//! not written.

use super::{
    entity::{attempt, idempotency, job, lane_team, ledger, quota_window},
    lane::Running,
    model::{Attempt, Job, Phase, State},
    rows::{attempt_row, job_row},
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, PaginatorTrait,
    QueryFilter, QuerySelect,
    sea_query::{Expr, ExprTrait, OnConflict},
};
use std::collections::{BTreeSet, HashMap, HashSet};
use uuid::Uuid;

/// Jobs to commit together, or not at all.
#[derive(Debug, Clone)]
pub struct Submit {
    /// In the order asked; state `Queued`. `lease_epoch` and the rest of the lease are set here.
    pub jobs: Vec<Job>,
    pub idempotency: Option<IdempotencyKey>,
    /// What each job holds until it ends.
    pub reservations: Vec<Reservation>,
    pub queue: QueueCaps,
    /// Slots this node has free: jobs that may start at once take one each.
    pub offer: Option<Offer>,
}

/// Who says it is the same call (MCP.md 9.4).
#[derive(Debug, Clone)]
pub struct IdempotencyKey {
    /// Team and key.
    pub scope: String,
    pub key: String,
    /// Of the normalised arguments.
    pub hash: String,
    pub expires_us: i64,
}

/// One quota window and what one job takes of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reservation {
    /// Names team or key, unit and window (`design|spend|day|2026-11-21`); unique. Money has the unit `spend` and settles
    /// by what was spent, all else by the images that were made.
    pub window: String,
    /// Per job: 1 for images, micro-units for money.
    pub amount: i64,
    pub cap: i64,
    /// When the window is over.
    pub ends_us: i64,
}

/// Most jobs waiting.
#[derive(Debug, Clone, Copy)]
pub struct QueueCaps {
    pub team: Option<u64>,
    pub overall: u64,
}

/// What a node offers to start at once.
#[derive(Debug, Clone)]
pub struct Offer {
    /// This process.
    pub owner: String,
    pub lease_us: i64,
    pub slots: usize,
    pub caps: Caps,
}

/// Most jobs running, by instance, team and key; `None`: no cap.
#[derive(Debug, Clone, Copy, Default)]
pub struct Caps {
    pub instance: Option<u32>,
    pub team: Option<u32>,
    pub key: Option<u32>,
}

/// A job this node runs now, with the intent of its call already on disk.
#[derive(Debug, Clone)]
pub struct Claimed {
    pub job: Job,
    pub attempt: Attempt,
    /// The attempt was begun by another life of the gateway: what it left behind comes first.
    pub rescued: bool,
}

/// The answer to one submit.
#[derive(Debug, Clone)]
pub enum Submitted {
    Accepted {
        jobs: Vec<Job>,
        started: Vec<Claimed>,
    },
    /// The idempotency key was seen before, with the same arguments.
    Repeated(Vec<Uuid>),
    /// The same key with other arguments.
    KeyReused,
    QuotaExceeded {
        reservation: Reservation,
        used: i64,
        reserved: i64,
    },
    QueueFull {
        of_team: bool,
        cap: u64,
    },
}

/// What the writer knows of queue lengths: an upper bound per team, counted anew when it reaches a cap. So no
/// submit counts a long queue, and the cap still holds exactly.
#[derive(Debug, Clone, Default)]
pub struct QueueCounts {
    teams: HashMap<String, u64>,
    all: u64,
    known: bool,
}

async fn count_queued(tx: &DatabaseTransaction, team: Option<&str>) -> Result<u64, DbErr> {
    let waiting = job::Column::State.is_in([State::Queued.code(), State::Delayed.code()]);
    let mut query = job::Entity::find().filter(waiting);
    if let Some(team) = team {
        query = query.filter(job::Column::Team.eq(team));
    }
    query.count(tx).await
}

pub(super) async fn submit(
    tx: &DatabaseTransaction,
    now: i64,
    batch: &[Submit],
    queue: &mut QueueCounts,
) -> Result<Vec<Submitted>, DbErr> {
    let known = read_keys(tx, now, batch).await?;
    let windows = read_windows(tx, batch).await?;
    let mut start = Start::read(tx, batch).await?;
    make_sure_of_counts(tx, batch, queue).await?;
    let mut decided = Decision { known, windows, new_windows: HashMap::new(), accepted: Vec::new() };
    let mut outcomes: Vec<Submitted> = Vec::with_capacity(batch.len());
    for (index, one) in batch.iter().enumerate() {
        let outcome = match decide(&decided, one) {
            Some(refused) => refused,
            None => match start.place(now, one, queue) {
                Ok((jobs, started)) => {
                    decided.accept(index, one);
                    Submitted::Accepted { jobs, started }
                }
                Err(refused) => refused,
            },
        };
        outcomes.push(outcome);
    }
    write(tx, now, batch, &decided, &outcomes).await?;
    Ok(outcomes)
}

/// The state of the keys and windows a batch touches, and what its earlier members have changed of it.
struct Decision {
    known: HashMap<(String, String), (String, Vec<Uuid>)>,
    /// used, reserved
    windows: HashMap<String, (i64, i64)>,
    new_windows: HashMap<String, (i64, i64)>,
    accepted: Vec<usize>,
}

impl Decision {
    fn accept(&mut self, index: usize, submit: &Submit) {
        let n = submit.jobs.len() as i64;
        for line in &submit.reservations {
            self.windows.entry(line.window.clone()).or_default().1 += line.amount * n;
            let new = self.new_windows.entry(line.window.clone()).or_insert((0, line.ends_us));
            new.0 += line.amount * n;
        }
        if let Some(key) = &submit.idempotency {
            let ids = submit.jobs.iter().map(|j| j.id).collect();
            self.known.insert((key.scope.clone(), key.key.clone()), (key.hash.clone(), ids));
        }
        self.accepted.push(index);
    }
}

/// Whether the rules let a submit in, given what is there; `None`: they do. Touches nothing.
fn decide(decided: &Decision, submit: &Submit) -> Option<Submitted> {
    if let Some(key) = &submit.idempotency
        && let Some((hash, ids)) = decided.known.get(&(key.scope.clone(), key.key.clone()))
    {
        let same = *hash == key.hash;
        return Some(if same { Submitted::Repeated(ids.clone()) } else { Submitted::KeyReused });
    }
    let n = submit.jobs.len() as i64;
    submit.reservations.iter().find_map(|line| {
        let (used, reserved) = decided.windows.get(&line.window).copied().unwrap_or_default();
        let over = used.saturating_add(reserved).saturating_add(line.amount.saturating_mul(n)) > line.cap;
        over.then(|| Submitted::QuotaExceeded { reservation: line.clone(), used, reserved })
    })
}

/// Who may start at once.
struct Start {
    running: Running,
    /// Instances for which somebody waits already.
    waited_for: HashSet<String>,
}

impl Start {
    async fn read(tx: &DatabaseTransaction, batch: &[Submit]) -> Result<Start, DbErr> {
        let offered: BTreeSet<&str> = batch
            .iter()
            .filter(|s| s.offer.as_ref().is_some_and(|o| o.slots > 0))
            .flat_map(|s| s.jobs.iter().map(|j| j.instance.as_str()))
            .collect();
        let mut start = Start { running: Running::default(), waited_for: HashSet::new() };
        if offered.is_empty() {
            return Ok(start);
        }
        start.running = Running::read(tx).await?;
        for instance in offered {
            let first = job::Entity::find()
                .select_only()
                .column(job::Column::Id)
                .filter(job::Column::State.eq(State::Queued.code()))
                .filter(job::Column::Instance.eq(instance))
                .limit(1);
            if first.into_tuple::<Uuid>().one(tx).await?.is_some() {
                start.waited_for.insert(instance.to_owned());
            }
        }
        Ok(start)
    }

    /// Starts what may start, queues the rest; refused when the rest has no room.
    fn place(
        &mut self,
        now: i64,
        submit: &Submit,
        queue: &mut QueueCounts,
    ) -> Result<(Vec<Job>, Vec<Claimed>), Submitted> {
        let mut running = self.running.clone();
        let (mut jobs, mut started) = (Vec::with_capacity(submit.jobs.len()), Vec::new());
        for job in &submit.jobs {
            let mut job = job.clone();
            let offer = submit.offer.as_ref().filter(|offer| {
                started.len() < offer.slots
                    && !self.waited_for.contains(&job.instance)
                    && running.has_room(&job, &offer.caps)
            });
            if let (Some(_), Some(target)) = (offer, job.target()) {
                let attempt = Attempt::open(job.id, 1, 1, target, now);
                running.add(&job);
                job.state = State::Running;
                job.phase = Some(Phase::Submitting);
                job.lease_epoch = 1;
                job.attempts_made = 1;
                started.push(Claimed { job: job.clone(), attempt, rescued: false });
            }
            jobs.push(job);
        }
        let waiting = (jobs.len() - started.len()) as u64;
        if waiting > 0 {
            let team = submit.jobs.first().map(|j| j.team.clone()).unwrap_or_default();
            queue.add(&team, waiting, &submit.queue)?;
            self.waited_for
                .extend(jobs.iter().filter(|j| j.state == State::Queued).map(|j| j.instance.clone()));
        }
        self.running = running;
        Ok((jobs, started))
    }
}

impl QueueCounts {
    fn add(&mut self, team: &str, waiting: u64, caps: &QueueCaps) -> Result<(), Submitted> {
        let of_team = self.teams.entry(team.to_owned()).or_default();
        if let Some(cap) = caps.team.filter(|cap| *of_team + waiting > *cap) {
            return Err(Submitted::QueueFull { of_team: true, cap });
        }
        if self.all + waiting > caps.overall {
            return Err(Submitted::QueueFull { of_team: false, cap: caps.overall });
        }
        *of_team += waiting;
        self.all += waiting;
        Ok(())
    }
}

/// Counts anew where this batch could come to a cap by the bound that is known.
async fn make_sure_of_counts(
    tx: &DatabaseTransaction,
    batch: &[Submit],
    queue: &mut QueueCounts,
) -> Result<(), DbErr> {
    let coming: u64 = batch.iter().map(|s| s.jobs.len() as u64).sum();
    if !queue.known || batch.iter().any(|s| queue.all + coming > s.queue.overall) {
        queue.all = count_queued(tx, None).await?;
        queue.known = true;
    }
    let mut teams: HashMap<&str, u64> = HashMap::new();
    for (team, cap) in batch.iter().filter_map(|s| Some((s.jobs.first()?.team.as_str(), s.queue.team?))) {
        teams.entry(team).and_modify(|c| *c = Ord::min(cap, *c)).or_insert(cap);
    }
    for (team, cap) in teams {
        if queue.teams.get(team).is_none_or(|known| known + coming > cap) {
            let counted = count_queued(tx, Some(team)).await?;
            queue.teams.insert(team.to_owned(), counted);
        }
    }
    Ok(())
}

async fn read_keys(
    tx: &DatabaseTransaction,
    now: i64,
    batch: &[Submit],
) -> Result<HashMap<(String, String), (String, Vec<Uuid>)>, DbErr> {
    let mut any = Condition::any();
    for key in batch.iter().filter_map(|s| s.idempotency.as_ref()) {
        let one = idempotency::Column::Scope.eq(&key.scope).and(idempotency::Column::Key.eq(&key.key));
        any = any.add(one);
    }
    if any.is_empty() {
        return Ok(HashMap::new());
    }
    let rows =
        idempotency::Entity::find().filter(any).filter(idempotency::Column::Expires.gt(now)).all(tx).await?;
    let entry = |row: idempotency::Model| {
        let ids: Vec<Uuid> = serde_json::from_value(row.job_ids).unwrap_or_default();
        ((row.scope, row.key), (row.hash, ids))
    };
    Ok(rows.into_iter().map(entry).collect())
}

async fn read_windows(
    tx: &DatabaseTransaction,
    batch: &[Submit],
) -> Result<HashMap<String, (i64, i64)>, DbErr> {
    let ids: BTreeSet<&str> =
        batch.iter().flat_map(|s| s.reservations.iter().map(|r| r.window.as_str())).collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = quota_window::Entity::find().filter(quota_window::Column::Id.is_in(ids)).all(tx).await?;
    Ok(rows.into_iter().map(|row| (row.id, (row.used, row.reserved))).collect())
}

/// One INSERT per table for all that was accepted.
async fn write(
    tx: &DatabaseTransaction,
    now: i64,
    batch: &[Submit],
    decided: &Decision,
    outcomes: &[Submitted],
) -> Result<(), DbErr> {
    let (mut jobs, mut attempts, mut lines, mut keys, mut lanes) =
        (vec![], vec![], vec![], vec![], BTreeSet::new());
    for (submit, outcome) in decided.accepted.iter().map(|i| (&batch[*i], &outcomes[*i])) {
        let Submitted::Accepted { jobs: accepted, started } = outcome else { continue };
        for job in accepted {
            let mut row = job_row(job);
            if let (State::Running, Some(offer)) = (job.state, &submit.offer) {
                row.lease_owner = Set(Some(offer.owner.clone()));
                row.lease_until = Set(now + offer.lease_us);
            } else {
                lanes.insert((job.instance.clone(), job.team.clone()));
            }
            jobs.push(row);
            for line in &submit.reservations {
                lines.push(ledger_row(job.id, &line.window, "reserve", line.amount, now));
            }
        }
        attempts.extend(started.iter().map(|c| attempt_row(&c.attempt)));
        if let Some(key) = &submit.idempotency {
            let ids: Vec<Uuid> = accepted.iter().map(|j| j.id).collect();
            keys.push(idempotency::ActiveModel {
                scope: Set(key.scope.clone()),
                key: Set(key.key.clone()),
                hash: Set(key.hash.clone()),
                job_ids: Set(serde_json::to_value(ids).unwrap_or_default()),
                expires: Set(key.expires_us),
            });
        }
    }
    if jobs.is_empty() {
        return Ok(());
    }
    job::Entity::insert_many(jobs).exec_without_returning(tx).await?;
    if !attempts.is_empty() {
        attempt::Entity::insert_many(attempts).exec_without_returning(tx).await?;
    }
    if !keys.is_empty() {
        // An expired key may stand there still.
        let columns = [idempotency::Column::Scope, idempotency::Column::Key];
        let again = [idempotency::Column::Hash, idempotency::Column::JobIds, idempotency::Column::Expires];
        let on_conflict = OnConflict::columns(columns).update_columns(again).to_owned();
        idempotency::Entity::insert_many(keys).on_conflict(on_conflict).exec_without_returning(tx).await?;
    }
    if !lanes.is_empty() {
        stand_in_lanes(tx, lanes).await?;
    }
    if !lines.is_empty() {
        let reserved = decided.new_windows.iter().map(|(id, (amount, ends))| (id.clone(), 0, *amount, *ends));
        add_to_windows(tx, reserved.collect()).await?;
        ledger::Entity::insert_many(lines).exec_without_returning(tx).await?;
    }
    Ok(())
}

pub(super) fn ledger_row(
    job_id: Uuid,
    window: &str,
    kind: &str,
    amount: i64,
    at: i64,
) -> ledger::ActiveModel {
    ledger::ActiveModel {
        job_id: Set(job_id),
        window: Set(window.to_owned()),
        kind: Set(kind.to_owned()),
        amount: Set(amount),
        at: Set(at),
    }
}

/// A team that has a job in a lane has a row there, with its start tag.
pub(super) async fn stand_in_lanes(
    tx: &impl ConnectionTrait,
    lanes: BTreeSet<(String, String)>,
) -> Result<(), DbErr> {
    let rows = lanes.into_iter().map(|(instance, team)| lane_team::ActiveModel {
        instance: Set(instance),
        team: Set(team),
        tag: Set(0),
    });
    let keep =
        OnConflict::columns([lane_team::Column::Instance, lane_team::Column::Team]).do_nothing().to_owned();
    lane_team::Entity::insert_many(rows).on_conflict(keep).exec_without_returning(tx).await?;
    Ok(())
}

/// Adds to used and reserved of quota windows: id, used, reserved, end.
pub(super) async fn add_to_windows(
    tx: &DatabaseTransaction,
    mut changes: Vec<(String, i64, i64, i64)>,
) -> Result<(), DbErr> {
    changes.sort_unstable();
    let rows = changes.into_iter().map(|(id, used, reserved, ends)| quota_window::ActiveModel {
        id: Set(id),
        used: Set(used),
        reserved: Set(reserved),
        expires: Set(ends),
    });
    let sum = |column: quota_window::Column, name: &'static str| {
        Expr::col((quota_window::Entity, column)).add(Expr::col(("excluded", name)))
    };
    let on_conflict = OnConflict::column(quota_window::Column::Id)
        .value(quota_window::Column::Used, sum(quota_window::Column::Used, "used"))
        .value(quota_window::Column::Reserved, sum(quota_window::Column::Reserved, "reserved"))
        .to_owned();
    quota_window::Entity::insert_many(rows).on_conflict(on_conflict).exec_without_returning(tx).await?;
    Ok(())
}
