//! Keys that are rotated with a time of grace for the old bearer; when each was last used.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer_null, string_len_null},
};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// All or nothing, where the database can: MySQL is asked what is there already.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (name, column) in [
            ("old_hash", string_len_null("old_hash", 64)),
            ("old_until", big_integer_null("old_until")),
            ("used", big_integer_null("used")),
        ] {
            crate::add_column(manager, "keys", name, column).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in ["old_hash", "old_until", "used"] {
            let table = Table::alter().table(Alias::new("keys")).drop_column(Alias::new(column)).take();
            manager.alter_table(table).await?;
        }
        Ok(())
    }
}
