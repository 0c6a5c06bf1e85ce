//! Jobs, attempts, images, uploads, idempotency keys, quota windows, lanes and keys.

use sea_orm_migration::{
    prelude::*,
    schema::{
        big_integer, big_integer_null, boolean, integer, integer_null, json, json_null, small_integer,
        string_len, string_len_null, text_null, uuid, uuid_null,
    },
};

#[derive(DeriveMigrationName)]
pub struct Migration;

fn table(name: &'static str, columns: Vec<ColumnDef>, primary: &[&'static str]) -> TableCreateStatement {
    let mut table = Table::create();
    table.table(Alias::new(name)).if_not_exists();
    for mut column in columns {
        table.col(&mut column);
    }
    let mut key = Index::create();
    for column in primary {
        key.col(Alias::new(*column));
    }
    table.primary_key(&mut key);
    table
}

fn index(
    name: &'static str,
    table: &'static str,
    columns: &[&'static str],
    unique: bool,
) -> IndexCreateStatement {
    let mut index = Index::create();
    index.name(name).table(Alias::new(table)).if_not_exists();
    for column in columns {
        index.col(Alias::new(*column));
    }
    if unique {
        index.unique();
    }
    index
}

fn jobs(manager: &SchemaManager<'_>) -> TableCreateStatement {
    let columns = vec![
        uuid("id").take(),
        uuid_null("batch_id").take(),
        string_len("team", 64).take(),
        string_len("key_id", 191).take(),
        string_len("tool", 32).take(),
        json("request").take(),
        crate::long_text(manager, "prompt"),
        string_len("model", 191).take(),
        json("plan").take(),
        integer("target").take(),
        string_len("instance", 64).take(),
        string_len_null("file_prefix", 64).take(),
        small_integer("state").take(),
        string_len_null("phase", 16).take(),
        string_len_null("error_code", 32).take(),
        text_null("error").take(),
        integer("priority").take(),
        big_integer("created").take(),
        big_integer("updated").take(),
        big_integer_null("finished").take(),
        big_integer("deadline").take(),
        string_len_null("lease_owner", 64).take(),
        big_integer("lease_until").take(),
        big_integer("lease_epoch").take(),
        integer("attempts_made").take(),
        big_integer("next_run").take(),
        boolean("cancel_requested").take(),
        big_integer_null("reserved").take(),
        big_integer_null("cost").take(),
        string_len_null("currency", 3).take(),
        json("adjustments").take(),
    ];
    table("jobs", columns, &["id"])
}

fn attempts() -> TableCreateStatement {
    let columns = vec![
        uuid("id").take(),
        uuid("job_id").take(),
        integer("number").take(),
        big_integer("epoch").take(),
        string_len("instance", 64).take(),
        string_len("vendor_model", 191).take(),
        string_len("class", 1).take(),
        big_integer("started").take(),
        json_null("ticket").take(),
        big_integer_null("ticket_at").take(),
        big_integer_null("ended").take(),
        string_len_null("outcome", 32).take(),
        integer_null("vendor_status").take(),
        string_len_null("vendor_code", 191).take(),
        string_len_null("vendor_request_id", 191).take(),
        string_len_null("spend", 8).take(),
        // The job while the attempt is open: its unique index is what allows one open attempt only.
        uuid_null("open_job").take(),
    ];
    table("attempts", columns, &["id"])
}

fn images(manager: &SchemaManager<'_>) -> TableCreateStatement {
    let columns = vec![
        uuid("id").take(),
        uuid("job_id").take(),
        integer("position").take(),
        string_len("team", 64).take(),
        string_len("object_key", 512).take(),
        string_len("mime", 32).take(),
        integer("width").take(),
        integer("height").take(),
        big_integer("bytes").take(),
        string_len("sha256", 64).take(),
        crate::long_text(manager, "revised_prompt"),
        big_integer_null("seed").take(),
        big_integer("created").take(),
        big_integer_null("expires").take(),
    ];
    table("images", columns, &["id"])
}

fn uploads() -> TableCreateStatement {
    let columns = vec![
        uuid("id").take(),
        string_len("team", 64).take(),
        string_len("key_id", 191).take(),
        string_len("object_key", 512).take(),
        string_len("mime", 32).take(),
        integer("width").take(),
        integer("height").take(),
        big_integer("bytes").take(),
        big_integer("created").take(),
        big_integer("expires").take(),
    ];
    table("uploads", columns, &["id"])
}

fn small_tables() -> Vec<TableCreateStatement> {
    vec![
        table(
            "idempotency",
            vec![
                string_len("scope", 255).take(),
                string_len("key", 255).take(),
                string_len("hash", 64).take(),
                json("job_ids").take(),
                big_integer("expires").take(),
            ],
            &["scope", "key"],
        ),
        table(
            "quota_windows",
            vec![
                string_len("id", 255).take(),
                big_integer("used").take(),
                big_integer("reserved").take(),
                big_integer("expires").take(),
            ],
            &["id"],
        ),
        table(
            "ledger",
            vec![
                uuid("job_id").take(),
                string_len("window", 255).take(),
                string_len("kind", 8).take(),
                big_integer("amount").take(),
                big_integer("at").take(),
            ],
            &["job_id", "window", "kind"],
        ),
        table("lanes", vec![string_len("instance", 64).take(), big_integer("v").take()], &["instance"]),
        table(
            "lane_teams",
            vec![string_len("instance", 64).take(), string_len("team", 64).take(), big_integer("tag").take()],
            &["instance", "team"],
        ),
        table(
            "keys",
            vec![
                string_len("id", 64).take(),
                string_len("team", 64).take(),
                string_len("hash", 64).take(),
                string_len("hint", 16).take(),
                string_len("scopes", 255).take(),
                big_integer("created").take(),
                big_integer_null("expires").take(),
                big_integer_null("revoked").take(),
                big_integer("changed").take(),
            ],
            &["id"],
        ),
    ]
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut tables = vec![jobs(manager), attempts(), images(manager), uploads()];
        tables.extend(small_tables());
        for table in tables {
            manager.create_table(crate::exact(manager, table).await?).await?;
        }
        let indexes: [(_, _, &[&str], _); 12] = [
            // The claim's own: the heads of one team in one lane. Its first column finds running and delayed jobs.
            ("jobs_queue", "jobs", &["state", "instance", "team", "priority", "created"], false),
            ("jobs_team", "jobs", &["team", "created"], false),
            ("jobs_team_state", "jobs", &["team", "state", "created"], false),
            ("jobs_finished", "jobs", &["finished"], false),
            ("attempts_number", "attempts", &["job_id", "number"], true),
            ("attempts_open", "attempts", &["open_job"], true),
            ("images_job", "images", &["job_id", "position"], true),
            ("images_team", "images", &["team", "created"], false),
            ("images_expires", "images", &["expires"], false),
            ("uploads_expires", "uploads", &["expires"], false),
            ("idempotency_expires", "idempotency", &["expires"], false),
            ("keys_hash", "keys", &["hash"], true),
        ];
        for (name, table, columns, unique) in indexes {
            let index = index(name, table, columns, unique);
            crate::create_index(manager, table, name, index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let names = [
            "jobs",
            "attempts",
            "images",
            "uploads",
            "idempotency",
            "quota_windows",
            "ledger",
            "lanes",
            "lane_teams",
            "keys",
        ];
        for name in names {
            manager.drop_table(Table::drop().table(Alias::new(name)).if_exists().take()).await?;
        }
        Ok(())
    }
}
