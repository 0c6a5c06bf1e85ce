//! Submit: idempotency key, quota reservations, jobs and the attempts of those that start at once, for a whole
//! batch of callers in one transaction. What is decided is decided in memory by [`decide`]; a refusal is simply
//! not written.

use super::{
    dialect::{in_order, insert_all, keep, locks, proposed},
    entity::{idempotency, job, lane_team, ledger, quota_window},
    failpoint,
    gate::{self, QueueCounts},
    lane::Running,
    model::{Attempt, Job, Phase, State},
    news::tell,
    rows::{attempt_row, job_row},
    steady::Now,
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter,
    QuerySelect,
    sea_query::{Expr, ExprTrait, OnConflict},
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
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
    /// Names team, key or instance, unit and window (`team:design|spend|day|2026-11-21`); unique. Money has the unit `spend` and settles
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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
        /// Used and reserved of the window of each reservation, these jobs among it.
        taken: Vec<i64>,
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

pub(super) async fn submit(
    tx: &DatabaseTransaction,
    now: Now,
    batch: &[Submit],
    queue: &mut QueueCounts,
) -> Result<Vec<Submitted>, DbErr> {
    let mut start = Start::read(tx, batch).await?;
    let counted = locks(tx) && start.leaves_any_waiting(batch);
    if counted {
        *queue = QueueCounts::locked(tx, batch).await?;
    }
    if counted || !locks(tx) {
        queue.make_sure(tx, batch).await?;
    }
    let windows = read_windows(tx, batch).await?;
    // Behind the locks: what another node has committed meanwhile is seen.
    let (known, expired) = read_keys(tx, now.wall, batch).await?;
    let mut decided = Decision { known, windows, new_windows: HashMap::new(), accepted: Vec::new() };
    let mut outcomes: Vec<Submitted> = Vec::with_capacity(batch.len());
    for (index, one) in batch.iter().enumerate() {
        let outcome = match decide(&decided, one) {
            Some(refused) => refused,
            None => match start.place(now.wall, one, Some(queue)) {
                Ok((jobs, started)) => {
                    decided.accept(index, one);
                    Submitted::Accepted { jobs, started, taken: decided.taken(one) }
                }
                Err(refused) => refused,
            },
        };
        outcomes.push(outcome);
    }
    write(tx, now, batch, &decided, &outcomes, &expired).await?;
    if counted {
        queue.write(tx).await?;
        tell(tx, [], true).await?;
    }
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
    fn taken(&self, submit: &Submit) -> Vec<i64> {
        let of =
            |line: &Reservation| self.windows.get(&line.window).map_or(0, |(used, reserved)| used + reserved);
        submit.reservations.iter().map(of).collect()
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
#[derive(Clone)]
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
        let offers = batch.iter().filter_map(|s| Some((s, s.offer.as_ref().filter(|o| o.slots > 0)?)));
        for instance in &offered {
            let of_lane = |s: &Submit| s.jobs.iter().any(|j| j.instance == **instance);
            let capped = offers.clone().any(|(s, offer)| offer.caps.instance.is_some() && of_lane(s));
            if capped && !gate::lane(tx, instance, false).await? {
                // Another node gives its slots away now.
                start.waited_for.insert((*instance).to_owned());
            }
        }
        let capped =
            offers.clone().filter(|(_, offer)| offer.caps.team.is_some() || offer.caps.key.is_some());
        gate::starts(tx, &capped.filter_map(|(s, _)| Some(s.jobs.first()?.team.as_str())).collect()).await?;
        // Where nothing has a cap, it does not matter how much runs.
        if offers.clone().any(|(_, offer)| offer.caps != Caps::default()) {
            start.running = Running::read(tx).await?;
        }
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

    /// Whether any job of a batch may have to wait.
    fn leaves_any_waiting(&self, batch: &[Submit]) -> bool {
        let mut start = self.clone();
        let mut placed = batch.iter().map(|submit| start.place(0, submit, None));
        placed.any(|placed| placed.is_ok_and(|(jobs, started)| started.len() < jobs.len()))
    }

    /// Starts what may start, queues the rest; refused when the rest has no room in `queue`.
    fn place(
        &mut self,
        now: i64,
        submit: &Submit,
        queue: Option<&mut QueueCounts>,
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
            queue.map_or(Ok(()), |queue| queue.add(&team, waiting, &submit.queue))?;
            self.waited_for
                .extend(jobs.iter().filter(|j| j.state == State::Queued).map(|j| j.instance.clone()));
        }
        self.running = running;
        Ok((jobs, started))
    }
}

/// A caller's scope and key.
type KeyName = (String, String);

/// Keys of the batch that were seen before, with hash and jobs; and those whose time is over.
async fn read_keys(
    tx: &DatabaseTransaction,
    now: i64,
    batch: &[Submit],
) -> Result<(HashMap<KeyName, (String, Vec<Uuid>)>, HashSet<KeyName>), DbErr> {
    let (mut known, mut expired) = (HashMap::new(), HashSet::new());
    let any = batch.iter().filter_map(|s| s.idempotency.as_ref()).fold(Condition::any(), |any, key| {
        any.add(idempotency::Column::Scope.eq(&key.scope).and(idempotency::Column::Key.eq(&key.key)))
    });
    if any.is_empty() {
        return Ok((known, expired));
    }
    for row in idempotency::Entity::find().filter(any).all(tx).await? {
        if row.expires > now {
            let ids: Vec<Uuid> = serde_json::from_value(row.job_ids).unwrap_or_default();
            known.insert((row.scope, row.key), (row.hash, ids));
        } else {
            expired.insert((row.scope, row.key));
        }
    }
    Ok((known, expired))
}

/// Used and reserved of the windows that a batch touches. On a server they are locked, and made where they are
/// missing: what is not there cannot be locked, and two nodes would each find it empty.
async fn read_windows(
    tx: &DatabaseTransaction,
    batch: &[Submit],
) -> Result<HashMap<String, (i64, i64)>, DbErr> {
    let lines = batch.iter().flat_map(|s| &s.reservations);
    let ends: BTreeMap<&str, i64> = lines.map(|line| (line.window.as_str(), line.ends_us)).collect();
    if ends.is_empty() {
        return Ok(HashMap::new());
    }
    let mut rows = lock_windows(tx, ends.keys().copied()).await?;
    if locks(tx) && rows.len() < ends.len() {
        let missing = ends.iter().filter(|(id, _)| rows.iter().all(|row| row.id != **id));
        let missing: Vec<_> = missing.map(|(id, ends)| window_row((*id).to_owned(), 0, 0, *ends)).collect();
        quota_window::Entity::insert_many(missing)
            .on_conflict(keep(&[quota_window::Column::Id]))
            .exec_without_returning(tx)
            .await?;
        rows = lock_windows(tx, ends.keys().copied()).await?;
    }
    Ok(rows.into_iter().map(|row| (row.id, (row.used, row.reserved))).collect())
}

async fn lock_windows(
    tx: &DatabaseTransaction,
    ids: impl IntoIterator<Item = &str>,
) -> Result<Vec<quota_window::Model>, DbErr> {
    let rows = quota_window::Entity::find().filter(quota_window::Column::Id.is_in(ids));
    if !locks(tx) {
        return rows.all(tx).await;
    }
    in_order(rows.lock_exclusive(), tx.get_database_backend(), quota_window::Column::Id).all(tx).await
}

/// One INSERT per table for all that was accepted.
async fn write(
    tx: &DatabaseTransaction,
    now: Now,
    batch: &[Submit],
    decided: &Decision,
    outcomes: &[Submitted],
    expired: &HashSet<KeyName>,
) -> Result<(), DbErr> {
    let (mut jobs, mut attempts, mut lines, mut keys, mut lanes) =
        (vec![], vec![], vec![], vec![], BTreeSet::new());
    for (submit, outcome) in decided.accepted.iter().map(|i| (&batch[*i], &outcomes[*i])) {
        let Submitted::Accepted { jobs: accepted, started, .. } = outcome else { continue };
        for job in accepted {
            let mut row = job_row(job);
            if let (State::Running, Some(offer)) = (job.state, &submit.offer) {
                row.lease_owner = Set(Some(offer.owner.clone()));
                row.lease_until = Set(now.steady + offer.lease_us);
            } else {
                lanes.insert((job.instance.clone(), job.team.clone()));
            }
            jobs.push(row);
            for line in &submit.reservations {
                lines.push(ledger_row(job.id, &line.window, "reserve", line.amount, now.wall));
            }
        }
        attempts.extend(started.iter().map(|c| attempt_row(&c.attempt)));
        if let Some(key) = &submit.idempotency {
            let ids: Vec<Uuid> = accepted.iter().map(|j| j.id).collect();
            if expired.contains(&(key.scope.clone(), key.key.clone())) {
                let old = idempotency::Entity::delete_by_id((key.scope.clone(), key.key.clone()));
                old.filter(idempotency::Column::Expires.lte(now.wall)).exec(tx).await?;
            }
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
    insert_all(tx, jobs).await?;
    insert_all(tx, attempts).await?;
    // In one order on all nodes. One that is there already came from another node, and the batch runs again.
    keys.sort_by(|a, b| {
        (a.scope.try_as_ref(), a.key.try_as_ref()).cmp(&(b.scope.try_as_ref(), b.key.try_as_ref()))
    });
    insert_all(tx, keys).await?;
    if !lanes.is_empty() {
        stand_in_lanes(tx, lanes).await?;
    }
    if !lines.is_empty() {
        let reserved = decided.new_windows.iter().map(|(id, (amount, ends))| (id.clone(), 0, *amount, *ends));
        add_to_windows(tx, reserved.collect()).await?;
        failpoint("accept.reserved")?;
        insert_all(tx, lines).await?;
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
    let keep = keep(&[lane_team::Column::Instance, lane_team::Column::Team]);
    lane_team::Entity::insert_many(rows).on_conflict(keep).exec_without_returning(tx).await?;
    Ok(())
}

/// Adds to used and reserved of quota windows: id, used, reserved, end.
pub(super) async fn add_to_windows(
    tx: &DatabaseTransaction,
    mut changes: Vec<(String, i64, i64, i64)>,
) -> Result<(), DbErr> {
    changes.sort_unstable();
    let rows = changes.into_iter().map(|(id, used, reserved, ends)| window_row(id, used, reserved, ends));
    let sum = |column: quota_window::Column, name: &'static str| {
        Expr::col((quota_window::Entity, column)).add(proposed(tx.get_database_backend(), name))
    };
    let on_conflict = OnConflict::column(quota_window::Column::Id)
        .value(quota_window::Column::Used, sum(quota_window::Column::Used, "used"))
        .value(quota_window::Column::Reserved, sum(quota_window::Column::Reserved, "reserved"))
        .to_owned();
    quota_window::Entity::insert_many(rows).on_conflict(on_conflict).exec_without_returning(tx).await?;
    Ok(())
}

fn window_row(id: String, used: i64, reserved: i64, ends: i64) -> quota_window::ActiveModel {
    quota_window::ActiveModel { id: Set(id), used: Set(used), reserved: Set(reserved), expires: Set(ends) }
}
