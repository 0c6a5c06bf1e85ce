//! Images that their owners delete. The row is marked first, and from then on nobody is given the image; its object
//! goes second. A mark is in the sweep's list at once, so that no crash leaves an object behind, and stays for a while
//! after it, so that whoever asks for the image hears what became of it.

use super::{Store, StoreError, entity::image, model::Image};
use sea_orm::{
    ActiveModelTrait,
    ActiveValue::Set,
    ColumnTrait, Condition, EntityTrait, IntoActiveModel, QueryFilter, QuerySelect,
    sea_query::{Expr, ExprTrait},
};
use uuid::Uuid;

/// An image that is deleted now.
#[derive(Debug, Clone)]
pub struct Deleted {
    pub image: Image,
    /// It was not deleted before.
    pub anew: bool,
}

impl Store {
    /// Marks an image as deleted. `team`: `None` for the operator. `None`: there is no such image, or not there.
    pub async fn delete_image(&self, team: Option<&str>, id: Uuid) -> Result<Option<Deleted>, StoreError> {
        let team = team.map(str::to_owned);
        self.write(move |tx, now| {
            Box::pin(async move {
                let mut query = image::Entity::find_by_id(id);
                if let Some(team) = team {
                    query = query.filter(image::Column::Team.eq(team));
                }
                let Some(row) = query.lock_exclusive().one(tx).await? else { return Ok(None) };
                if row.deleted.is_some() {
                    return Ok(Some(Deleted { image: row.into(), anew: false }));
                }
                let mut change = row.into_active_model();
                change.deleted = Set(Some(now.wall));
                // The next sweep looks after it.
                change.expires = Set(Some(now.wall));
                Ok(Some(Deleted { image: change.update(tx).await?.into(), anew: true }))
            })
        })
        .await
    }

    /// Whether another image that is kept lies in the same object.
    pub async fn shares_object(&self, image: &Image, now_us: i64) -> Result<bool, StoreError> {
        let kept =
            Condition::any().add(image::Column::Expires.is_null()).add(image::Column::Expires.gt(now_us));
        let other = image::Entity::find()
            .select_only()
            .column(image::Column::Id)
            .filter(image::Column::ObjectKey.eq(&image.object_key))
            .filter(image::Column::Id.ne(image.id))
            .filter(image::Column::Deleted.is_null())
            .filter(kept)
            .limit(1);
        Ok(other.into_tuple::<Uuid>().one(&self.read).await?.is_some())
    }

    /// The sweep is done with the objects of these images. Rows go; marks go too once they are `keep_us` old.
    pub async fn objects_gone(&self, images: &[Image], keep_us: i64) -> Result<(), StoreError> {
        let fresh = |image: &&Image| image.deleted_us.is_some() && image.deleted_us == image.expires_us;
        let marks: Vec<Uuid> = images.iter().filter(fresh).map(|image| image.id).collect();
        let over: Vec<Uuid> = images.iter().map(|image| image.id).filter(|id| !marks.contains(id)).collect();
        if !marks.is_empty() {
            // A mark of no time at all would be swept for ever.
            let until = Expr::col(image::Column::Deleted).add(Ord::max(keep_us, 1));
            self.write(move |tx, _| {
                Box::pin(async move {
                    image::Entity::update_many()
                        .col_expr(image::Column::Expires, until)
                        .filter(image::Column::Id.is_in(marks))
                        .exec(tx)
                        .await
                })
            })
            .await?;
        }
        if over.is_empty() { Ok(()) } else { self.forget_objects(over, Vec::new()).await }
    }
}
