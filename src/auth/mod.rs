mod principal;
mod settings;
pub use principal::Principal;
pub use settings::{
    Claim, FileKey, Issuer, KeepImages, KeepPrompts, Mode, Oauth, Retention, Scope, Settings, Team,
};
