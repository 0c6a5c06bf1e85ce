//! Bearer keys of the database. Only their keyed hashes are here.

use super::{Store, StoreError, entity::key, model::Key};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, sea_query::Expr,
};

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
                if unless_any && key::Entity::find().one(tx).await?.is_some() {
                    return Ok(false);
                }
                key::Entity::insert(new_row(new, now)).exec_without_returning(tx).await?;
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
                let done = key::Entity::update_many()
                    .col_expr(key::Column::Revoked, Expr::value(now))
                    .col_expr(key::Column::Changed, Expr::value(now))
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
    }
}

/// Nobody sees the row: it lives inside the transaction.
pub(super) async fn add_and_remove(tx: &DatabaseTransaction, now: i64, key: Key) -> Result<(), DbErr> {
    let id = key.id.clone();
    key::Entity::insert(new_row(key, now)).exec_without_returning(tx).await?;
    key::Entity::delete_by_id(id).exec(tx).await?;
    Ok(())
}
