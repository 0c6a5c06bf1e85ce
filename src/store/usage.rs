//! What was used: jobs counted by team, key, model, provider or day, in one query along the index of a team's rows by
//! time. And what is under way.

use super::{
    Store, StoreError,
    entity::{image, job},
    listing::Filter,
    model::State,
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, ExprTrait as _, FromQueryResult, QueryFilter,
    QuerySelect,
    sea_query::{Alias, CaseStatement, Condition, Expr, Func, Query, SimpleExpr},
};

/// What usage is grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Team,
    Key,
    Model,
    /// The instance that a job stood at last.
    Provider,
    /// UTC, of the moment when a job was made.
    Day,
}

impl By {
    pub const ALL: [By; 5] = [By::Team, By::Key, By::Model, By::Provider, By::Day];

    pub fn as_str(self) -> &'static str {
        match self {
            By::Team => "team",
            By::Key => "key",
            By::Model => "model",
            By::Provider => "provider",
            By::Day => "day",
        }
    }
}

impl std::fmt::Display for By {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the jobs of one group and one currency came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Used {
    /// Name of the group; a day as `2026-11-21`.
    pub group: String,
    /// `None`: jobs without a price.
    pub currency: Option<String>,
    pub jobs: u64,
    /// Images that were made, also those that are deleted by now.
    pub images: u64,
    /// Jobs that failed, without `unknown`.
    pub failed: u64,
    /// Jobs of which nobody knows whether the vendor charged them.
    pub unknown: u64,
    /// What was charged, in micro-units. An image without a known price adds nothing.
    pub spent: i64,
    /// What is held for jobs under way and unknown ones, in micro-units.
    pub held: i64,
}

/// A row of the query; the days of a history are numbers.
#[derive(FromQueryResult)]
struct Row {
    name: Option<String>,
    day: Option<i64>,
    currency: Option<String>,
    jobs: i64,
    images: Option<i64>,
    failed: i64,
    unknown: i64,
    spent: Option<i64>,
    held: Option<i64>,
}

const DAY_US: i64 = 86_400_000_000;

impl Store {
    /// Usage of the jobs that fit the filter's team and time; its other fields are not looked at. Jobs that are
    /// forgotten are not in it. Days are newest first, all else is in the order of names.
    pub async fn usage(&self, filter: &Filter, by: By) -> Result<Vec<Used>, StoreError> {
        // A literal, because a database must see that what is selected is what is grouped by.
        let day = || Expr::cust(format!("created - created % {DAY_US}"));
        let column = match by {
            By::Team => Some(job::Column::Team),
            By::Key => Some(job::Column::KeyId),
            By::Model => Some(job::Column::Model),
            By::Provider => Some(job::Column::Instance),
            By::Day => None,
        };
        let mut query = job::Entity::find()
            .select_only()
            .filter(filter.rows(job::Column::Team, job::Column::Created))
            .group_by(job::Column::Currency)
            .column(job::Column::Currency);
        query = match column {
            Some(column) => query
                .column_as(column, "name")
                .expr_as(Expr::cust(self.as_integer("NULL")), "day")
                .group_by(column),
            None => query.expr_as(Expr::cust("NULL"), "name").expr_as(day(), "day").group_by(day()),
        };
        let failed = || job::Column::State.eq(State::Failed.code());
        let unknown =
            failed().and(job::Column::ErrorCode.eq("outcome_unknown")).and(job::Column::Cost.is_null());
        let query = query
            .expr_as(job::Column::Id.count(), "jobs")
            .expr_as(self.sum(images()), "images")
            .expr_as(count_if(failed()), "failed")
            .expr_as(count_if(unknown), "unknown")
            .expr_as(self.sum(Expr::col((job::Entity, job::Column::Cost))), "spent")
            .expr_as(self.sum(Expr::col((job::Entity, job::Column::Reserved))), "held");
        let rows = query.into_model::<Row>().all(&self.read).await?;
        let mut used: Vec<Used> = rows.into_iter().map(Used::from).collect();
        // Databases sort words differently.
        used.sort_by(|a, b| match by {
            By::Day => (&b.group, &a.currency).cmp(&(&a.group, &b.currency)),
            _ => (&a.group, &a.currency).cmp(&(&b.group, &b.currency)),
        });
        Ok(used)
    }

    /// Jobs waiting and jobs running of a team, by key.
    pub async fn under_way(&self, team: &str) -> Result<Vec<(String, u64, u64)>, StoreError> {
        let open = [State::Queued, State::Delayed, State::Running].map(State::code);
        let running = job::Column::State.eq(State::Running.code());
        let rows: Vec<(String, i64, i64)> = job::Entity::find()
            .select_only()
            .column(job::Column::KeyId)
            .expr_as(job::Column::Id.count(), "jobs")
            .expr_as(count_if(running), "running")
            .filter(job::Column::Team.eq(team))
            .filter(job::Column::State.is_in(open))
            .group_by(job::Column::KeyId)
            .into_tuple()
            .all(&self.read)
            .await?;
        let row = |(key, all, running): (String, i64, i64)| {
            (key, (all - running).unsigned_abs(), running.unsigned_abs())
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// Sums are of a wider type than what is summed, on a server.
    fn sum(&self, what: SimpleExpr) -> SimpleExpr {
        what.sum().cast_as(Alias::new(self.integer()))
    }

    fn as_integer(&self, what: &str) -> String {
        format!("CAST({what} AS {})", self.integer())
    }

    fn integer(&self) -> &'static str {
        match self.read.get_database_backend() {
            DbBackend::MySql => "SIGNED",
            _ => "BIGINT",
        }
    }
}

fn count_if(condition: SimpleExpr) -> SimpleExpr {
    let one: SimpleExpr = CaseStatement::new().case(Condition::all().add(condition), 1).into();
    one.count()
}

/// How many images a job made: at least one if it is completed, since images are forgotten before their jobs.
fn images() -> SimpleExpr {
    let rows = Query::select()
        .expr(Expr::col((image::Entity, image::Column::Id)).count())
        .from(image::Entity)
        .and_where(Expr::col((image::Entity, image::Column::JobId)).equals((job::Entity, job::Column::Id)))
        .to_owned();
    let rows = SimpleExpr::SubQuery(None, Box::new(rows.into()));
    let made = Func::coalesce([Func::cust("NULLIF").args([rows, Expr::val(0)]).into(), Expr::val(1)]);
    let completed = Condition::all().add(job::Column::State.eq(State::Completed.code()));
    CaseStatement::new().case(completed, made).finally(0).into()
}

impl From<Row> for Used {
    fn from(row: Row) -> Used {
        let count = |n: i64| n.unsigned_abs();
        Used {
            group: row.name.or(row.day.map(day)).unwrap_or_default(),
            currency: row.currency,
            jobs: count(row.jobs),
            images: count(row.images.unwrap_or_default()),
            failed: count(row.failed - row.unknown),
            unknown: count(row.unknown),
            spent: row.spent.unwrap_or_default(),
            held: row.held.unwrap_or_default(),
        }
    }
}

/// `2026-11-21`.
fn day(us: i64) -> String {
    crate::telemetry::utc(us).chars().take(10).collect()
}
