use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "attempts")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub job_id: Uuid,
    pub number: i32,
    pub epoch: i64,
    pub instance: String,
    pub vendor_model: String,
    pub class: String,
    pub started: i64,
    pub ticket: Option<Json>,
    pub ticket_at: Option<i64>,
    pub ended: Option<i64>,
    pub outcome: Option<String>,
    pub vendor_status: Option<i32>,
    pub vendor_code: Option<String>,
    pub vendor_request_id: Option<String>,
    pub spend: Option<String>,
    pub open_job: Option<Uuid>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(belongs_to = "super::job::Entity", from = "Column::JobId", to = "super::job::Column::Id")]
    Job,
}

impl Related<super::job::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Job.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
