//! What teams may have beyond their limits for a time.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, string_len},
};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let raises = Table::create()
            .table(Alias::new("raises"))
            .if_not_exists()
            .col(string_len("team", 64))
            // Empty: images.
            .col(string_len("currency", 3))
            // Micro-units of the currency, or images.
            .col(big_integer("amount"))
            .col(big_integer("since"))
            .col(big_integer("ends"))
            .col(string_len("reason", 500))
            .primary_key(Index::create().col(Alias::new("team")).col(Alias::new("currency")))
            .take();
        manager.create_table(crate::exact(manager, raises).await?).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Alias::new("raises")).take()).await
    }
}
