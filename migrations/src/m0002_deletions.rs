//! Images that were deleted by their owners; providers that are paused, and those that servers leave alone.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, big_integer_null, string_len},
};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// All or nothing: a column cannot be added twice, should the process die in between. (MySQL has no such
    /// transactions, so it is asked first.)
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let images = Alias::new("images");
        crate::add_column(manager, "images", "deleted", big_integer_null("deleted")).await?;
        let index = Index::create()
            .name("images_object")
            .table(images)
            .if_not_exists()
            // Who else has the object.
            .col(Alias::new("object_key"))
            .take();
        crate::create_index(manager, "images", "images_object", index).await?;
        let pauses = Table::create()
            .table(Alias::new("pauses"))
            .if_not_exists()
            .col(string_len("instance", 64).primary_key())
            .col(big_integer("since"))
            .take();
        manager.create_table(crate::exact(manager, pauses).await?).await?;
        let breakers = Table::create()
            .table(Alias::new("breakers"))
            .if_not_exists()
            .col(string_len("instance", 64).primary_key())
            .col(big_integer("open_until"))
            .take();
        manager.create_table(crate::exact(manager, breakers).await?).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let (images, deleted) = (Alias::new("images"), Alias::new("deleted"));
        for table in ["pauses", "breakers"] {
            manager.drop_table(Table::drop().table(Alias::new(table)).if_exists().take()).await?;
        }
        manager.drop_index(Index::drop().name("images_object").table(images.clone()).to_owned()).await?;
        manager.alter_table(Table::alter().table(images).drop_column(deleted).take()).await
    }
}
