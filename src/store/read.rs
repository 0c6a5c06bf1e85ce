//! Reading jobs and images, always for one team.

use super::{
    Store, StoreError,
    entity::{attempt, image, job, quota_window, upload},
    model::{Attempt, Image, Job, State, Upload},
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
const COUNTED: u64 = 10_000;

/// A job with its images and attempts.
#[derive(Debug, Clone)]
pub struct JobRows {
    pub job: Job,
    pub images: Vec<Image>,
    pub attempts: Vec<Attempt>,
}

/// One page of a listing.
#[derive(Debug, Clone)]
pub struct Listing<T> {
    pub rows: Vec<T>,
    pub total: u64,
    pub total_is_minimum: bool,
    pub has_more: bool,
}

impl Store {
    /// The team's jobs among `ids`, in no order.
    pub async fn jobs_by_id(&self, team: &str, ids: &[Uuid]) -> Result<Vec<JobRows>, StoreError> {
        let found = job::Entity::find()
            .filter(job::Column::Id.is_in(ids.iter().copied()))
            .filter(job::Column::Team.eq(team))
            .all(&self.read)
            .await?;
        self.with_rows(found).await
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

    async fn with_rows(&self, jobs: Vec<job::Model>) -> Result<Vec<JobRows>, StoreError> {
        let ids: Vec<Uuid> = jobs.iter().map(|j| j.id).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let all = image::Entity::find()
            .filter(image::Column::JobId.is_in(ids.iter().copied()))
            .order_by_asc(image::Column::Position)
            .all(&self.read)
            .await?;
        let mut images: HashMap<Uuid, Vec<Image>> = HashMap::new();
        for row in all {
            images.entry(row.job_id).or_default().push(row.into());
        }
        let all = attempt::Entity::find()
            .filter(attempt::Column::JobId.is_in(ids))
            .order_by_asc(attempt::Column::Number)
            .all(&self.read)
            .await?;
        let mut attempts: HashMap<Uuid, Vec<Attempt>> = HashMap::new();
        for row in all {
            attempts.entry(row.job_id).or_default().push(row.into());
        }
        let whole = |row: job::Model| JobRows {
            images: images.remove(&row.id).unwrap_or_default(),
            attempts: attempts.remove(&row.id).unwrap_or_default(),
            job: row.into(),
        };
        Ok(jobs.into_iter().map(whole).collect())
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
            .filter(before)
            .limit(COUNTED);
        Ok(first.into_tuple::<Uuid>().all(&self.read).await?.len() as u64)
    }

    /// Jobs, newest first. `team`: `None` for the operator; `states` empty: all.
    pub async fn list_jobs(
        &self,
        team: Option<&str>,
        states: &[State],
        limit: u64,
        offset: u64,
    ) -> Result<Listing<JobRows>, StoreError> {
        let mut query = job::Entity::find();
        if let Some(team) = team {
            query = query.filter(job::Column::Team.eq(team));
        }
        if !states.is_empty() {
            query = query.filter(job::Column::State.is_in(states.iter().map(|s| s.code())));
        }
        let page = self.page(query, job::Column::Created, job::Column::Id, limit, offset).await?;
        let rows = self.with_rows(page.rows).await?;
        Ok(Listing {
            rows,
            total: page.total,
            total_is_minimum: page.total_is_minimum,
            has_more: page.has_more,
        })
    }

    /// Stored images with their jobs, newest first.
    pub async fn list_images(
        &self,
        team: &str,
        limit: u64,
        offset: u64,
    ) -> Result<Listing<(Image, JobRows)>, StoreError> {
        let query = image::Entity::find().filter(image::Column::Team.eq(team));
        let page = self.page(query, image::Column::Created, image::Column::Id, limit, offset).await?;
        let ids: Vec<Uuid> = page.rows.iter().map(|i| i.job_id).collect();
        let jobs: HashMap<Uuid, JobRows> =
            self.jobs_by_id(team, &ids).await?.into_iter().map(|rows| (rows.job.id, rows)).collect();
        let rows = page
            .rows
            .into_iter()
            .filter_map(|row| Some((Image::from(row.clone()), jobs.get(&row.job_id)?.clone())))
            .collect();
        Ok(Listing {
            rows,
            total: page.total,
            total_is_minimum: page.total_is_minimum,
            has_more: page.has_more,
        })
    }

    /// One page of a query, newest first; `created`, then `id`, is the order.
    async fn page<E: EntityTrait>(
        &self,
        query: Select<E>,
        created: E::Column,
        id: E::Column,
        limit: u64,
        offset: u64,
    ) -> Result<Listing<E::Model>, StoreError> {
        let total = self.count(query.clone().select_only().column(id)).await?;
        let mut rows = query
            .order_by_desc(created)
            .order_by_desc(id)
            .limit(limit + 1)
            .offset(offset)
            .all(&self.read)
            .await?;
        let has_more = rows.len() as u64 > limit;
        rows.truncate(limit as usize);
        Ok(Listing { rows, total: Ord::min(total, COUNTED), total_is_minimum: total > COUNTED, has_more })
    }

    /// Counts to one more than is shown, so that a long history costs no full scan.
    async fn count<E: EntityTrait>(&self, query: Select<E>) -> Result<u64, StoreError> {
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

    pub async fn add_upload(&self, upload: Upload) -> Result<(), StoreError> {
        self.write(move |tx, _| {
            Box::pin(async move {
                upload::Entity::insert(upload_row(&upload)).exec_without_returning(tx).await?;
                Ok(())
            })
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
