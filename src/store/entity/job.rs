use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "jobs")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub batch_id: Option<Uuid>,
    pub team: String,
    pub key_id: String,
    pub tool: String,
    pub request: Json,
    #[sea_orm(column_type = "Text", nullable)]
    pub prompt: Option<String>,
    pub model: String,
    pub plan: Json,
    pub target: i32,
    pub instance: String,
    pub file_prefix: Option<String>,
    pub state: i16,
    pub phase: Option<String>,
    pub error_code: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub error: Option<String>,
    pub priority: i32,
    pub created: i64,
    pub updated: i64,
    pub finished: Option<i64>,
    pub deadline: i64,
    pub lease_owner: Option<String>,
    pub lease_until: i64,
    pub lease_epoch: i64,
    pub attempts_made: i32,
    pub next_run: i64,
    pub cancel_requested: bool,
    pub reserved: Option<i64>,
    pub cost: Option<i64>,
    pub currency: Option<String>,
    pub adjustments: Json,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(has_many = "super::image::Entity")]
    Images,
    #[sea_orm(has_many = "super::attempt::Entity")]
    Attempts,
}

impl Related<super::image::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Images.def()
    }
}

impl Related<super::attempt::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Attempts.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
