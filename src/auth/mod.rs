mod settings;
pub use settings::{
    Claim, FileKey, Issuer, KeepImages, KeepPrompts, Mode, Oauth, Retention, Scope, Settings, Team,
};
