//! What teams may have beyond their limits for a time: for all nodes, and across restarts.

use super::{Store, StoreError, entity::raise};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, sea_query::OnConflict};

/// One team's, of images or of one currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raise {
    pub team: String,
    /// `None`: images.
    pub currency: Option<String>,
    /// Micro-units of the currency, or images: so much more in each window.
    pub amount: i64,
    /// Both in µs since 1970.
    pub since_us: i64,
    pub ends_us: i64,
    pub reason: String,
}

impl Store {
    /// Few rows at most, those that are over among them: cheap to ask for often.
    pub async fn raises(&self) -> Result<Vec<Raise>, StoreError> {
        let rows = raise::Entity::find().order_by_asc(raise::Column::Team);
        let rows = rows.order_by_asc(raise::Column::Currency).all(&self.read).await?;
        Ok(rows
            .into_iter()
            .map(|row| Raise {
                team: row.team,
                currency: Some(row.currency).filter(|currency| !currency.is_empty()),
                amount: row.amount,
                since_us: row.since,
                ends_us: row.ends,
                reason: row.reason,
            })
            .collect())
    }

    /// Stands in place of the team's earlier one of the same kind. `since_us` is set here.
    pub async fn raise(&self, raise: Raise) -> Result<(), StoreError> {
        self.write(move |tx, now| {
            Box::pin(async move {
                use raise::Column::{Amount, Currency, Ends, Reason, Since, Team};
                let row = raise::ActiveModel {
                    team: Set(raise.team),
                    currency: Set(raise.currency.unwrap_or_default()),
                    amount: Set(raise.amount),
                    since: Set(now.wall),
                    ends: Set(raise.ends_us),
                    reason: Set(raise.reason),
                };
                let anew = OnConflict::columns([Team, Currency])
                    .update_columns([Amount, Since, Ends, Reason])
                    .to_owned();
                raise::Entity::insert(row).on_conflict(anew).exec_without_returning(tx).await?;
                Ok(())
            })
        })
        .await
    }

    /// Ends all of a team. Returns how many there were.
    pub async fn end_raises(&self, team: &str) -> Result<u64, StoreError> {
        let team = team.to_owned();
        self.write(move |tx, _| {
            Box::pin(async move {
                let rows = raise::Entity::delete_many().filter(raise::Column::Team.eq(team));
                Ok(rows.exec(tx).await?.rows_affected)
            })
        })
        .await
    }
}
