//! The tables as sea-orm sees them, one file each. Only `store` names them.

pub mod attempt;
pub mod breaker;
pub mod gate;
pub mod idempotency;
pub mod image;
pub mod job;
pub mod key;
pub mod lane;
pub mod lane_team;
pub mod ledger;
pub mod pause;
pub mod quota_window;
pub mod raise;
pub mod upload;
