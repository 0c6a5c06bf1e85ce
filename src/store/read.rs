//! Reading jobs and images, always for one team.

use super::{
    Store, StoreError,
    dialect::insert_new,
    entity::{attempt, image, job, quota_window, upload},
    model::{Attempt, Image, Job, State, Upload},
    reader::Reader,
    rows::upload_row,
};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    Select,
    sea_query::{ExprTrait, Query},
};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// Listings are counted up to here.
pub(super) const COUNTED: u64 = 10_000;

/// A job with its images and attempts.
#[derive(Debug, Clone)]
pub struct JobRows {
    pub job: Job,
    pub images: Vec<Image>,
    /// Images that were deleted.
    pub deleted: Vec<Image>,
    pub attempts: Vec<Attempt>,
}

impl JobRows {
    fn of(job: Job) -> JobRows {
        JobRows { job, images: Vec::new(), deleted: Vec::new(), attempts: Vec::new() }
    }
}

/// The jobs among `ids`, whoever's they are.
pub(super) async fn jobs_with_rows(db: &Reader, ids: &[Uuid]) -> Result<HashMap<Uuid, JobRows>, StoreError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    // One statement, because each costs a trip to the connection's thread and back.
    let found = job::Entity::find()
        .find_also_related(image::Entity)
        .find_also_related(attempt::Entity)
        .filter(job::Column::Id.is_in(ids.iter().copied()))
        .all(db)
        .await?;
    let mut jobs: HashMap<Uuid, JobRows> = HashMap::with_capacity(ids.len());
    // Each image comes with each attempt.
    for (job, image, attempt) in found {
        let rows = jobs.entry(job.id).or_insert_with(|| JobRows::of(job.into()));
        if let Some(image) = image {
            let of_kind = if image.deleted.is_some() { &mut rows.deleted } else { &mut rows.images };
            if of_kind.iter().all(|known| known.id != image.id) {
                of_kind.push(image.into());
            }
        }
        if let Some(attempt) = attempt.filter(|new| rows.attempts.iter().all(|known| known.id != new.id)) {
            rows.attempts.push(attempt.into());
        }
    }
    // A few in memory; the database would sort whole rows.
    for rows in jobs.values_mut() {
        rows.images.sort_by_key(|image| image.position);
        rows.deleted.sort_by_key(|image| image.position);
        rows.attempts.sort_by_key(|attempt| attempt.number);
    }
    Ok(jobs)
}

impl Store {
    /// The team's jobs among `ids`, in no order.
    pub async fn jobs_by_id(&self, team: &str, ids: &[Uuid]) -> Result<Vec<JobRows>, StoreError> {
        let mut jobs = self.gather.jobs(ids).await?;
        jobs.retain(|rows| rows.job.team == team);
        Ok(jobs)
    }

    /// Any team's job, for the operator.
    pub async fn any_job(&self, id: Uuid) -> Result<Option<JobRows>, StoreError> {
        let found = job::Entity::find_by_id(id).all(&self.read).await?;
        Ok(self.with_rows(found).await?.pop())
    }

    /// Which of these attempts are not ended.
    pub async fn open_attempts(&self, ids: &[Uuid]) -> Result<HashSet<Uuid>, StoreError> {
        let mut open = HashSet::new();
        for part in ids.chunks(500) {
            let rows: Vec<Uuid> = attempt::Entity::find()
                .select_only()
                .column(attempt::Column::Id)
                .filter(attempt::Column::Id.is_in(part.iter().copied()))
                .filter(attempt::Column::Ended.is_null())
                .into_tuple()
                .all(&self.read)
                .await?;
            open.extend(rows);
        }
        Ok(open)
    }

    /// State and time of last change of jobs, for those who wait.
    pub async fn states(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, (State, i64)>, StoreError> {
        let mut states = HashMap::with_capacity(ids.len());
        for part in ids.chunks(500) {
            let rows: Vec<(Uuid, i16, i64)> = job::Entity::find()
                .select_only()
                .columns([job::Column::Id, job::Column::State, job::Column::Updated])
                .filter(job::Column::Id.is_in(part.iter().copied()))
                .into_tuple()
                .all(&self.read)
                .await?;
            states.extend(
                rows.into_iter().map(|(id, state, updated)| (id, (State::from_code(state), updated))),
            );
        }
        Ok(states)
    }

    /// Whether any of these jobs is the team's and has not ended.
    pub async fn any_open(&self, team: &str, ids: &[Uuid]) -> Result<bool, StoreError> {
        let open = [State::Queued, State::Delayed, State::Running].map(State::code);
        let first = job::Entity::find()
            .select_only()
            .column(job::Column::Id)
            .filter(job::Column::Id.is_in(ids.iter().copied()))
            .filter(job::Column::Team.eq(team))
            .filter(job::Column::State.is_in(open))
            .limit(1);
        Ok(first.into_tuple::<Uuid>().one(&self.read).await?.is_some())
    }

    /// Whether any job waits in a queue.
    pub async fn any_queued(&self) -> Result<bool, StoreError> {
        let first = job::Entity::find()
            .select_only()
            .column(job::Column::Id)
            .filter(job::Column::State.eq(State::Queued.code()))
            .limit(1);
        Ok(first.into_tuple::<Uuid>().one(&self.read).await?.is_some())
    }

    pub(super) async fn with_rows(&self, jobs: Vec<job::Model>) -> Result<Vec<JobRows>, StoreError> {
        // What a job cannot have is not looked for.
        let with = |has: fn(&job::Model) -> bool| -> Vec<Uuid> {
            jobs.iter().filter(|job| has(job)).map(|job| job.id).collect()
        };
        let mut images: HashMap<Uuid, Vec<Image>> = HashMap::new();
        for row in self.images_of(&with(|job| job.state == State::Completed.code())).await? {
            images.entry(row.job_id).or_default().push(row.into());
        }
        let mut attempts: HashMap<Uuid, Vec<Attempt>> = HashMap::new();
        for row in self.attempts_of(&with(|job| job.attempts_made > 0)).await? {
            attempts.entry(row.job_id).or_default().push(row.into());
        }
        let whole = |row: job::Model| {
            let images = images.remove(&row.id).unwrap_or_default();
            let (images, deleted) = images.into_iter().partition(|image| image.deleted_us.is_none());
            JobRows {
                images,
                deleted,
                attempts: attempts.remove(&row.id).unwrap_or_default(),
                job: row.into(),
            }
        };
        Ok(jobs.into_iter().map(whole).collect())
    }

    async fn images_of(&self, jobs: &[Uuid]) -> Result<Vec<image::Model>, StoreError> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let of_jobs = image::Entity::find().filter(image::Column::JobId.is_in(jobs.iter().copied()));
        Ok(of_jobs.order_by_asc(image::Column::Position).all(&self.read).await?)
    }

    async fn attempts_of(&self, jobs: &[Uuid]) -> Result<Vec<attempt::Model>, StoreError> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let of_jobs = attempt::Entity::find().filter(attempt::Column::JobId.is_in(jobs.iter().copied()));
        Ok(of_jobs.order_by_asc(attempt::Column::Number).all(&self.read).await?)
    }

    /// Jobs waiting before this one in its team's queue at its instance.
    pub async fn queue_position(&self, job: &Job) -> Result<u64, StoreError> {
        let before = Condition::any()
            .add(job::Column::Priority.lt(job.priority))
            .add(job::Column::Priority.eq(job.priority).and(job::Column::Created.lt(job.created_us)));
        let first = job::Entity::find()
            .select_only()
            .column(job::Column::Id)
            .filter(job::Column::State.eq(State::Queued.code()))
            .filter(job::Column::Instance.eq(&job.instance))
            .filter(job::Column::Team.eq(&job.team))
            .filter(before);
        Ok(Ord::min(self.count(first).await?, COUNTED))
    }

    /// Counts to one more than is shown, so that a long history costs no full scan.
    pub(super) async fn count<E: EntityTrait>(&self, query: Select<E>) -> Result<u64, StoreError> {
        use sea_orm::{ConnectionTrait, DbErr};
        let inner = query.limit(COUNTED + 1).into_query();
        let outer = Query::select()
            .expr_as(sea_orm::sea_query::Expr::cust("COUNT(*)"), "n")
            .from_subquery(inner, "counted")
            .to_owned();
        let row = self.read.query_one(&outer).await?;
        let n: i64 = row
            .map(|row| row.try_get("", "n"))
            .transpose()
            .map_err(|e: DbErr| StoreError::from(e))?
            .unwrap_or(0);
        Ok(n.unsigned_abs())
    }

    /// Also one that was deleted.
    pub async fn image(&self, team: &str, id: Uuid) -> Result<Option<Image>, StoreError> {
        Ok(self.image_by_id(id).await?.filter(|image| image.team == team))
    }

    /// Whoever's it is: for a link that carries its own proof.
    pub async fn image_by_id(&self, id: Uuid) -> Result<Option<Image>, StoreError> {
        Ok(image::Entity::find_by_id(id).one(&self.read).await?.map(Image::from))
    }

    pub async fn upload(&self, team: &str, id: Uuid) -> Result<Option<Upload>, StoreError> {
        let found =
            upload::Entity::find_by_id(id).filter(upload::Column::Team.eq(team)).one(&self.read).await?;
        Ok(found.map(Upload::from))
    }

    /// `false`: there is one with this id already, and it stays.
    pub async fn add_upload(&self, upload: Upload) -> Result<bool, StoreError> {
        self.write(move |tx, _| {
            Box::pin(async move { insert_new(tx, upload_row(&upload), &[upload::Column::Id]).await })
        })
        .await
    }

    /// Used and reserved of quota windows; one that nobody has touched is left out.
    pub async fn windows(&self, ids: &[&str]) -> Result<HashMap<String, (i64, i64)>, StoreError> {
        let ids = ids.iter().copied();
        let rows =
            quota_window::Entity::find().filter(quota_window::Column::Id.is_in(ids)).all(&self.read).await?;
        Ok(rows.into_iter().map(|row| (row.id, (row.used, row.reserved))).collect())
    }

    /// Jobs waiting and jobs running, over all teams.
    pub async fn load(&self) -> Result<(u64, u64), StoreError> {
        let count =
            |states: Vec<i16>| job::Entity::find().filter(job::Column::State.is_in(states)).count(&self.read);
        let waiting = count(vec![State::Queued.code(), State::Delayed.code()]).await?;
        let running = count(vec![State::Running.code()]).await?;
        Ok((waiting, running))
    }
}
