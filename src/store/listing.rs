//! Listings of jobs and images: narrowed, newest first, page by page. What narrows them is looked up along the index
//! of a team's rows by time; text and model are compared on the way.

use super::{
    Store, StoreError,
    entity::{image, job},
    model::{Image, State},
    read::{COUNTED, JobRows},
};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
    sea_query::{Expr, ExprTrait, Func, LikeExpr, Query, SelectStatement},
};
use std::collections::HashMap;
use uuid::Uuid;

/// What a listing is narrowed to. The default is all there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// `None`: of every team, for the operator.
    pub team: Option<String>,
    /// Empty: all.
    pub states: Vec<State>,
    /// Public name, in this spelling.
    pub model: Option<String>,
    /// Somewhere in the prompt. The case of ASCII letters does not count.
    pub text: Option<String>,
    /// Made at this time or later.
    pub since_us: Option<i64>,
    /// Made before this time.
    pub until_us: Option<i64>,
    /// Of images: also those that were deleted.
    pub deleted: bool,
}

impl Filter {
    pub fn of_team(team: &str) -> Filter {
        Filter { team: Some(team.into()), ..Filter::default() }
    }

    /// The columns of a row by which a team's listing runs.
    pub(super) fn rows(&self, team: impl ColumnTrait, created: impl ColumnTrait) -> Condition {
        Condition::all()
            .add_option(self.team.as_ref().map(|name| team.eq(name)))
            .add_option(self.since_us.map(|since| created.gte(since)))
            .add_option(self.until_us.map(|until| created.lt(until)))
    }

    /// What only the row of a job knows.
    fn of_job(&self) -> Condition {
        let column = |column| Expr::col((job::Entity, column));
        Condition::all()
            .add_option(self.model.as_ref().map(|model| column(job::Column::Model).eq(model)))
            .add_option(self.text.as_ref().map(|text| {
                // Some databases know the small letters of ASCII alone.
                let mut ways = vec![text.to_ascii_lowercase(), text.to_lowercase()];
                ways.dedup();
                ways.iter().fold(Condition::any(), |any, text| {
                    let pattern = LikeExpr::new(like(text)).escape(ESCAPE);
                    any.add(Expr::expr(Func::lower(column(job::Column::Prompt))).like(pattern))
                })
            }))
    }
}

const ESCAPE: char = '!';

/// A pattern of LIKE for a text that stands anywhere.
fn like(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for c in text.chars() {
        if matches!(c, '%' | '_' | ESCAPE) {
            pattern.push(ESCAPE);
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// A row's place in a listing. What comes after it does not move when newer rows are added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub created_us: i64,
    pub id: Uuid,
}

/// Which part of a listing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    pub limit: u64,
    /// Rows left out, counted from `after` or from the newest.
    pub offset: u64,
    /// Only what comes after this row.
    pub after: Option<Place>,
}

impl Window {
    /// The newest rows.
    pub fn first(limit: u64) -> Window {
        Window { limit, ..Window::default() }
    }
}

/// One page of a listing.
#[derive(Debug, Clone)]
pub struct Listing<T> {
    pub rows: Vec<T>,
    /// Rows that fit the filter, on all pages.
    pub total: u64,
    pub total_is_minimum: bool,
    /// The last row of this page, if more come after it.
    pub next: Option<Place>,
}

impl<T> Listing<T> {
    fn with<U>(self, rows: Vec<U>) -> Listing<U> {
        let Listing { total, total_is_minimum, next, .. } = self;
        Listing { rows, total, total_is_minimum, next }
    }
}

impl Store {
    /// Jobs, newest first.
    pub async fn list_jobs(&self, filter: &Filter, window: Window) -> Result<Listing<JobRows>, StoreError> {
        let mut page = self.page(jobs(filter), window).await?;
        let rows = self.with_rows(std::mem::take(&mut page.rows)).await?;
        Ok(page.with(rows))
    }

    /// Stored images with their jobs, newest first. `states` is not looked at.
    pub async fn list_images(
        &self,
        filter: &Filter,
        window: Window,
    ) -> Result<Listing<(Image, JobRows)>, StoreError> {
        let mut page = self.page(images(filter), window).await?;
        let ids = page.rows.iter().map(|image| image.job_id);
        let found = job::Entity::find().filter(job::Column::Id.is_in(ids)).all(&self.read).await?;
        let jobs: HashMap<Uuid, JobRows> =
            self.with_rows(found).await?.into_iter().map(|rows| (rows.job.id, rows)).collect();
        let with_job = |row: image::Model| Some((Image::from(row.clone()), jobs.get(&row.job_id)?.clone()));
        let rows = std::mem::take(&mut page.rows).into_iter().filter_map(with_job).collect();
        Ok(page.with(rows))
    }

    /// One page of a query.
    async fn page<E>(&self, query: Select<E>, window: Window) -> Result<Listing<E::Model>, StoreError>
    where
        E: Listed,
        E::Model: Placed,
    {
        let mut rows = part(query.clone(), window).all(&self.read).await?;
        let more = rows.len() as u64 > window.limit;
        rows.truncate(window.limit as usize);
        let total = match rows.len() as u64 {
            // Nothing is left to count.
            all if !more && window.offset == 0 && window.after.is_none() => all,
            _ => self.count(query.select_only().column(E::ID)).await?,
        };
        let next = rows.last().filter(|_| more).map(Placed::place);
        Ok(Listing { rows, total: Ord::min(total, COUNTED), total_is_minimum: total > COUNTED, next })
    }
}

/// A table that is listed.
trait Listed: EntityTrait {
    const CREATED: Self::Column;
    const ID: Self::Column;
}

impl Listed for job::Entity {
    const CREATED: job::Column = job::Column::Created;
    const ID: job::Column = job::Column::Id;
}

impl Listed for image::Entity {
    const CREATED: image::Column = image::Column::Created;
    const ID: image::Column = image::Column::Id;
}

trait Placed {
    fn place(&self) -> Place;
}

impl Placed for job::Model {
    fn place(&self) -> Place {
        Place { created_us: self.created, id: self.id }
    }
}

impl Placed for image::Model {
    fn place(&self) -> Place {
        Place { created_us: self.created, id: self.id }
    }
}

/// The rows of a window, and one more if there is one.
fn part<E: Listed>(mut query: Select<E>, window: Window) -> Select<E> {
    let (created, id) = (E::CREATED, E::ID);
    if let Some(Place { created_us, id: last }) = window.after {
        let later = Condition::any().add(created.lt(created_us)).add(id.lt(last));
        // Said once more without an `or`: that is what the index can be entered by.
        query = query.filter(Condition::all().add(created.lte(created_us)).add(later));
    }
    query.order_by_desc(created).order_by_desc(id).limit(window.limit + 1).offset(window.offset)
}

fn jobs(filter: &Filter) -> Select<job::Entity> {
    let mut query = job::Entity::find()
        .filter(filter.rows(job::Column::Team, job::Column::Created))
        .filter(filter.of_job());
    if !filter.states.is_empty() {
        query = query.filter(job::Column::State.is_in(filter.states.iter().map(|state| state.code())));
    }
    query
}

fn images(filter: &Filter) -> Select<image::Entity> {
    let mut query = image::Entity::find().filter(filter.rows(image::Column::Team, image::Column::Created));
    if !filter.deleted {
        query = query.filter(image::Column::Deleted.is_null());
    }
    if filter.model.is_some() || filter.text.is_some() {
        // Asked per image, so that the images are walked in their order and no further than the page goes.
        query = query.filter(Expr::exists(job_of_image(filter)));
    }
    query
}

fn job_of_image(filter: &Filter) -> SelectStatement {
    let id = Expr::col((job::Entity, job::Column::Id));
    Query::select()
        .expr(Expr::val(1))
        .from(job::Entity)
        .and_where(id.equals((image::Entity, image::Column::JobId)))
        .cond_where(filter.of_job())
        .to_owned()
}

#[cfg(test)]
impl Store {
    /// How SQLite goes about both listings.
    pub(super) async fn plans(&self, filter: &Filter, window: Window) -> [String; 2] {
        use sea_orm::{ConnectionTrait as _, DbBackend, QueryTrait as _, Statement};
        let ways = [
            part(jobs(filter), window).build(DbBackend::Sqlite),
            part(images(filter), window).build(DbBackend::Sqlite),
        ];
        let mut plans = [String::new(), String::new()];
        for (plan, way) in plans.iter_mut().zip(ways) {
            let explain = Statement { sql: format!("EXPLAIN QUERY PLAN {}", way.sql), ..way };
            for row in self.read.query_all_raw(explain).await.unwrap() {
                *plan += &format!("{}\n", row.try_get::<String>("", "detail").unwrap());
            }
        }
        plans
    }
}
