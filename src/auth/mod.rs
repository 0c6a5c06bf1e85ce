//! Who calls: bearer keys and the secrets behind them, and tokens of issuers. Rates and quotas are `limits`', rows are `store`'s.

mod jwt;
mod keys;
mod principal;
mod secrets;
mod settings;

/// Most characters of a team's name.
pub const LONGEST_TEAM: usize = 64;

pub use jwt::{Tokens, try_keys, try_text};
pub use keys::{AuthError, KeyError, Keys, expires_us, hash, new_key, new_key_id};
pub use principal::{Principal, is_subject};
pub use secrets::{Purpose, SecretError, Secrets, master_secret};
pub use settings::{
    Claim, Claims, FileKey, Issuer, KeepImages, KeepPrompts, Mode, Oauth, Retention, Scope, Settings, Team,
};
