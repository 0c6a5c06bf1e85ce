//! Calls whose outcome nobody knew, settled by whoever found out at the vendor. Until then what was reserved for them
//! stays held.

use super::{
    Store, StoreError,
    entity::job,
    finish::settle_at,
    model::{Job, State},
};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder,
    QuerySelect, Select,
};
use uuid::Uuid;

impl Store {
    /// Jobs that ended as `outcome_unknown` and are not settled, oldest first, at most `n`.
    pub async fn unreconciled(&self, n: u64) -> Result<Vec<Job>, StoreError> {
        let rows = open(job::Entity::find()).order_by_asc(job::Column::Created).limit(n);
        Ok(rows.all(&self.read).await?.into_iter().map(Job::from).collect())
    }

    /// Settles one of them at what the vendor charged, in micro-units of its currency; 0: nothing. Its images are not
    /// counted: nobody has them. `None`: there is no such job, or it is settled.
    pub async fn reconcile(&self, id: Uuid, charged: i64) -> Result<Option<Job>, StoreError> {
        self.write(move |tx, now| {
            Box::pin(async move {
                let found = open(job::Entity::find_by_id(id)).lock_exclusive().one(tx).await?;
                let Some(row) = found else { return Ok(None) };
                let instance = row.instance.clone();
                let mut change = row.into_active_model();
                change.cost = Set(Some(charged));
                change.reserved = Set(None);
                change.updated = Set(now.wall);
                let settled = change.update(tx).await?;
                settle_at(tx, now.wall, [(id, instance, Some((0, Some(charged))))]).await?;
                Ok(Some(settled.into()))
            })
        })
        .await
    }
}

fn open(jobs: Select<job::Entity>) -> Select<job::Entity> {
    jobs.filter(job::Column::State.eq(State::Failed.code()))
        .filter(job::Column::ErrorCode.eq("outcome_unknown"))
        .filter(job::Column::Cost.is_null())
}
