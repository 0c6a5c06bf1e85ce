//! Bearer keys of the database. Only their keyed hashes are here.

use super::{
    Store, StoreError,
    entity::{job, key},
    gate,
    model::{Key, State},
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, DatabaseTransaction, DbErr, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect, sea_query::Expr,
};
use uuid::Uuid;

impl Store {
    /// All keys, revoked ones too, oldest first.
    pub async fn keys(&self) -> Result<Vec<Key>, StoreError> {
        let rows = key::Entity::find().order_by_asc(key::Column::Created).all(&self.read).await?;
        Ok(rows.into_iter().map(Key::from).collect())
    }

    /// Changes whenever a key is added or revoked: cheap to ask for often.
    pub async fn keys_version(&self) -> Result<(i64, i64), StoreError> {
        let row: Option<(i64, Option<i64>)> = key::Entity::find()
            .select_only()
            .column_as(key::Column::Id.count(), "n")
            .column_as(key::Column::Changed.max(), "changed")
            .into_tuple()
            .one(&self.read)
            .await?;
        Ok(row.map_or((0, 0), |(n, changed)| (n, changed.unwrap_or(0))))
    }

    /// Adds a key. `unless_any`: only when there is none yet. `false`: there was.
    pub async fn add_key(&self, new: Key, unless_any: bool) -> Result<bool, StoreError> {
        self.write(move |tx, now| {
            Box::pin(async move {
                if unless_any {
                    gate::alone(tx, "keys").await?;
                }
                if unless_any && key::Entity::find().one(tx).await?.is_some() {
                    return Ok(false);
                }
                key::Entity::insert(new_row(new, now.wall)).exec_without_returning(tx).await?;
                Ok(true)
            })
        })
        .await
    }

    /// Revokes a key for good. `false`: there is none with this id, or it was revoked before.
    pub async fn revoke_key(&self, id: &str) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.write(move |tx, now| {
            Box::pin(async move {
                let changed = changed(tx, now.wall).await?;
                let done = key::Entity::update_many()
                    .col_expr(key::Column::Revoked, Expr::value(now.wall))
                    .col_expr(key::Column::Changed, Expr::value(changed))
                    .filter(key::Column::Id.eq(id))
                    .filter(key::Column::Revoked.is_null())
                    .exec(tx)
                    .await?;
                Ok(done.rows_affected == 1)
            })
        })
        .await
    }
}

impl Store {
    /// Takes the jobs of a key back that are not out at a vendor. Returns how many were cancelled.
    pub async fn cancel_jobs_of(&self, key: &str) -> Result<u64, StoreError> {
        let open = [State::Queued, State::Delayed, State::Running].map(State::code);
        let jobs = job::Entity::find()
            .select_only()
            .column(job::Column::Team)
            .column(job::Column::Id)
            .filter(job::Column::State.is_in(open))
            .filter(job::Column::KeyId.eq(key));
        let mut cancelled = 0;
        for (team, id) in jobs.into_tuple::<(String, Uuid)>().all(&self.read).await? {
            cancelled += u64::from(self.cancel(&team, id).await?.is_some_and(|(_, cancelled)| cancelled));
        }
        Ok(cancelled)
    }

    /// Gives a key another bearer. The one before is good for `grace_us` µs more; one before that ends at once.
    /// `false`: there is no such key, or it is revoked.
    pub async fn rotate_key(
        &self,
        id: &str,
        hash: String,
        hint: String,
        grace_us: i64,
    ) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.write(move |tx, now| {
            Box::pin(async move {
                let Some(row) = key::Entity::find_by_id(id).one(tx).await? else { return Ok(false) };
                if row.revoked.is_some() {
                    return Ok(false);
                }
                let until = now.wall.saturating_add(grace_us);
                let new = key::ActiveModel {
                    old_hash: Set(Some(row.hash.clone())),
                    old_until: Set(Some(until)),
                    hash: Set(hash),
                    hint: Set(hint),
                    changed: Set(changed(tx, now.wall).await?),
                    ..row.into()
                };
                key::Entity::update(new).exec(tx).await?;
                Ok(true)
            })
        })
        .await
    }

    /// Notes when keys were used, in µs since 1970, unless a later moment is known. It is no change that others follow.
    pub async fn note_keys_used(&self, used: Vec<(String, i64)>) -> Result<(), StoreError> {
        self.write(move |tx, _| {
            Box::pin(async move {
                for (id, at) in used {
                    let later =
                        Condition::any().add(key::Column::Used.is_null()).add(key::Column::Used.lt(at));
                    key::Entity::update_many()
                        .col_expr(key::Column::Used, Expr::value(at))
                        .filter(key::Column::Id.eq(id))
                        .filter(later)
                        .exec(tx)
                        .await?;
                }
                Ok(())
            })
        })
        .await
    }
}

fn new_row(new: Key, now: i64) -> key::ActiveModel {
    key::ActiveModel {
        id: Set(new.id),
        team: Set(new.team),
        hash: Set(new.hash),
        hint: Set(new.hint),
        scopes: Set(new.scopes),
        created: Set(now),
        expires: Set(new.expires_us),
        revoked: Set(None),
        changed: Set(now),
        old_hash: Set(None),
        old_until: Set(None),
        used: Set(None),
    }
}

/// A moment above every other, or nobody would look again after the clock was set back.
async fn changed(tx: &DatabaseTransaction, now: i64) -> Result<i64, DbErr> {
    gate::alone(tx, "keys").await?;
    let last = key::Entity::find().select_only().column_as(key::Column::Changed.max(), "last");
    let last = last.into_tuple::<Option<i64>>().one(tx).await?.flatten();
    Ok(now.max(last.unwrap_or(0) + 1))
}

/// Nobody sees the row: it lives inside the transaction.
pub(super) async fn add_and_remove(tx: &DatabaseTransaction, now: i64, key: Key) -> Result<(), DbErr> {
    let id = key.id.clone();
    key::Entity::insert(new_row(key, now)).exec_without_returning(tx).await?;
    key::Entity::delete_by_id(id).exec(tx).await?;
    Ok(())
}
