//! Gates: rows that nodes lock while they count what runs and waits.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, string_len},
};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut gates = Table::create();
        // A word, and the name of a team.
        gates
            .table("gates")
            .if_not_exists()
            .col(string_len("name", 80).primary_key())
            .col(big_integer("waiting"));
        manager.create_table(crate::exact(manager, gates).await?).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("gates").if_exists().take()).await
    }
}
