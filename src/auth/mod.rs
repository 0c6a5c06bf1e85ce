//! Who calls: bearer keys and the secrets behind them. Rates and quotas are `limits`', rows are `store`'s.

mod keys;
mod principal;
mod secrets;
mod settings;

pub use keys::{AuthError, KeyError, Keys, expires_us, hash, new_key, new_key_id};
pub use principal::Principal;
pub use secrets::{Purpose, SecretError, Secrets, master_secret};
pub use settings::{
    Claim, FileKey, Issuer, KeepImages, KeepPrompts, Mode, Oauth, Retention, Scope, Settings, Team,
};

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    let text = text.as_bytes();
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}
