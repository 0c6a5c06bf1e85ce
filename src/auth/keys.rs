//! Bearer keys: how they are made, hashed and recognised. The set is in memory; who owns the rows tells it of changes.

use super::{FileKey, Mode, Principal, Purpose, Scope, Secrets, Settings, Tokens};
use crate::{store, telemetry::SharedClock};
use arc_swap::{ArcSwap, ArcSwapOption};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, header::AUTHORIZATION};
use parking_lot::Mutex;
use ring::{digest, hmac, rand::SecureRandom};
use std::{collections::HashMap, sync::Arc};
use tokio::sync::watch;

/// Longer bearers are not looked at.
const LONGEST: usize = 8 << 10;
const ALL_BUT_ADMIN: [Scope; 3] = [Scope::ImagesRead, Scope::ImagesWrite, Scope::UsageRead];
const DEFAULT_TEAM: &str = "default";

/// Why a request has no principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("no bearer key was sent")]
    Missing,
    /// The request says two things, or says it where it must not. The sentence never holds the credential.
    #[error("{0}")]
    Malformed(&'static str),
    #[error("the bearer key or token is not known, has expired or was revoked")]
    Invalid,
    /// The keys of the database, or those of the issuer, are not known at the moment.
    #[error("keys cannot be checked at the moment")]
    Unavailable,
}

/// A key of the configuration that cannot be used as it stands.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("auth.keys `{0}`: key_sha256 is not 64 hexadecimal digits")]
    Digest(String),
    #[error("auth.keys `{0}`: `{1}` is neither a day (2027-01-31) nor an RFC 3339 time")]
    Expiry(String, String),
    #[error("the random source of this machine failed")]
    NoRandomness,
}

/// A new bearer: `igw_` and 43 characters, 256 random bits.
///
/// # Errors
/// The machine has no randomness.
pub fn new_key() -> Result<String, KeyError> {
    let mut bytes = [0u8; 32];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| KeyError::NoRandomness)?;
    Ok(format!("igw_{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)))
}

/// An id for a new key: `key_` and 8 hexadecimal digits.
///
/// # Errors
/// The machine has no randomness.
pub fn new_key_id() -> Result<String, KeyError> {
    let mut bytes = [0u8; 4];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| KeyError::NoRandomness)?;
    Ok(format!("key_{}", hex::encode(bytes)))
}

/// What the database keeps of a bearer: its hash under the current secret, hexadecimal.
pub fn hash(secrets: &Secrets, bearer: &str) -> String {
    hex::encode(hmac::sign(&secrets.signing(Purpose::KeyHash), bearer.as_bytes()))
}

struct Entry {
    principal: Arc<Principal>,
    tag: Vec<u8>,
    expires_us: Option<i64>,
}

#[derive(Default)]
struct Table(HashMap<Vec<u8>, Entry>);

impl Table {
    fn insert(&mut self, principal: Principal, tag: Vec<u8>, expires_us: Option<i64>) {
        self.0.insert(tag.clone(), Entry { principal: Arc::new(principal), tag, expires_us });
    }
}

/// Keys from the database, and whether they are up to date.
#[derive(Default)]
struct Database {
    table: Table,
    known: bool,
}

/// The keys that are good now.
pub struct Keys {
    mode: Mode,
    /// Current first.
    hashers: Vec<hmac::Key>,
    file: ArcSwap<Table>,
    database: ArcSwap<Database>,
    tokens: ArcSwapOption<Tokens>,
    /// Keys of the database that were used, and when.
    used: Mutex<HashMap<Arc<str>, i64>>,
    changed: watch::Sender<()>,
    nobody: Arc<Principal>,
    clock: SharedClock,
}

impl Keys {
    /// Until the first [`Keys::replace`] an unknown key is [`AuthError::Unavailable`].
    ///
    /// # Errors
    /// A key of the file with a bad digest or expiry.
    pub fn new(settings: &Settings, secrets: &Secrets, clock: SharedClock) -> Result<Keys, KeyError> {
        let keys = Keys {
            mode: settings.mode,
            hashers: secrets.verifying(Purpose::KeyHash),
            file: ArcSwap::default(),
            database: ArcSwap::default(),
            tokens: ArcSwapOption::empty(),
            used: Mutex::default(),
            changed: watch::Sender::new(()),
            nobody: Arc::new(Principal::new(DEFAULT_TEAM, "local", &Scope::ALL)),
            clock,
        };
        keys.reload(&settings.keys)?;
        Ok(keys)
    }

    /// Takes the file's keys anew, all or none.
    ///
    /// # Errors
    /// A key with a bad digest or expiry; the old ones stay.
    pub fn reload(&self, keys: &[FileKey]) -> Result<(), KeyError> {
        let mut table = Table::default();
        for key in keys {
            let Some(digest) = file_digest(key)? else { continue };
            let team = key.team.as_deref().unwrap_or(DEFAULT_TEAM);
            let scopes = key.scopes.as_deref().unwrap_or(&ALL_BUT_ADMIN);
            let expires = key.expires.as_deref().map(|text| expiry(&key.id, text)).transpose()?;
            // The digest is hashed once more: what lies in memory is no better than what lies in the database.
            let tag = hmac::sign(&self.hashers[0], &digest).as_ref().to_vec();
            table.insert(Principal::new(team, &key.id, scopes), tag, expires);
        }
        self.file.store(Arc::new(table));
        self.changed.send_replace(());
        Ok(())
    }

    /// Takes the database's keys anew. Revoked ones may be among them.
    pub fn replace(&self, rows: Vec<store::Key>) {
        let mut table = Table::default();
        for row in rows.into_iter().filter(|row| row.revoked_us.is_none()) {
            let Ok(tag) = hex::decode(&row.hash) else {
                tracing::warn!(key.id = row.id, "the hash of this key is damaged; it is off");
                continue;
            };
            let scopes: Vec<Scope> = row.scopes.split_whitespace().filter_map(|s| s.parse().ok()).collect();
            let principal = Principal::new(&row.team, &row.id, &scopes);
            if let Some((hash, until_us)) = row.old
                && let Ok(old) = hex::decode(hash)
            {
                let end = row.expires_us.map_or(until_us, |end| end.min(until_us));
                table.insert(principal.clone(), old, Some(end));
            }
            table.insert(principal, tag, row.expires_us);
        }
        self.database.store(Arc::new(Database { table, known: true }));
        self.changed.send_replace(());
    }

    /// Keys of the database that were used since this was last asked, and when.
    pub fn take_used(&self) -> Vec<(String, i64)> {
        self.used.lock().drain().map(|(id, at_us)| (id.to_string(), at_us)).collect()
    }

    /// The database cannot be asked: known keys stay good, unknown ones are [`AuthError::Unavailable`] until the next
    /// [`Keys::replace`].
    pub fn database_away(&self) {
        self.database.rcu(|now| Database {
            table: Table(
                now.table
                    .0
                    .iter()
                    .map(|(tag, e)| {
                        let (principal, expires_us) = (e.principal.clone(), e.expires_us);
                        (tag.clone(), Entry { principal, tag: tag.clone(), expires_us })
                    })
                    .collect(),
            ),
            known: false,
        });
    }

    /// Trusts these issuers from now on; `make` is given those before. Without effect where the mode takes no tokens.
    pub fn trust(&self, make: impl FnOnce(Option<&Tokens>) -> Tokens) {
        if matches!(self.mode, Mode::Jwt | Mode::Any) {
            let tokens = make(self.tokens.load().as_deref());
            self.tokens.store(Some(Arc::new(tokens)));
            self.changed.send_replace(());
        }
    }

    /// The issuers whose tokens are taken; none: only keys are.
    pub fn tokens(&self) -> Option<Arc<Tokens>> {
        self.tokens.load_full().filter(|tokens| !tokens.is_empty())
    }

    /// Who sends this request. `query` is the part of its target after `?`.
    ///
    /// # Errors
    /// [`AuthError`]; none of them says more about a key or token than that it is no good.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
    ) -> Result<Arc<Principal>, AuthError> {
        if query.is_some_and(names_a_token) {
            return Err(AuthError::Malformed("Send the key in the Authorization header, never in the URL."));
        }
        if self.mode == Mode::None {
            return Ok(self.nobody.clone());
        }
        let mut all = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = all.next() else { return Err(AuthError::Missing) };
        if all.next().is_some() {
            return Err(AuthError::Malformed("Send one Authorization header, not several."));
        }
        let bearer = bearer(value.as_bytes()).ok_or(AuthError::Invalid)?;
        match self.tokens() {
            Some(tokens) if self.mode == Mode::Jwt || is_token(bearer) => tokens.verify(bearer).await,
            _ if self.mode == Mode::Jwt => Err(AuthError::Invalid),
            _ => self.key(bearer),
        }
    }

    /// Whether whoever sent this is still let in. In doubt, such as while the database is away: yes.
    pub async fn still(&self, headers: &HeaderMap) -> bool {
        !matches!(self.authenticate(headers, None).await, Err(AuthError::Invalid | AuthError::Missing))
    }

    /// Hears of every change by which somebody may no longer be let in. Ends of time are no changes.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Who owns this bearer.
    ///
    /// # Errors
    /// [`AuthError::Invalid`] and [`AuthError::Unavailable`].
    pub fn key(&self, bearer: &[u8]) -> Result<Arc<Principal>, AuthError> {
        let (file, database) = (self.file.load(), self.database.load());
        let digest = digest::digest(&digest::SHA256, bearer);
        let in_file = self.find(&file, &self.hashers[..1], digest.as_ref());
        let in_database = || self.find(&database.table, &self.hashers, bearer);
        let now_us = self.clock.now_us();
        match in_file.or_else(in_database) {
            Some(entry) if entry.expires_us.is_none_or(|end| now_us < end) => {
                if in_file.is_none() {
                    self.used.lock().insert(entry.principal.key.clone(), now_us);
                }
                Ok(entry.principal.clone())
            }
            Some(_) => Err(AuthError::Invalid),
            None if !database.known => Err(AuthError::Unavailable),
            None => Err(AuthError::Invalid),
        }
    }

    /// The map finds the candidate by a hash that nobody can steer; the comparison that counts is constant-time.
    fn find<'a>(&self, table: &'a Table, hashers: &[hmac::Key], message: &[u8]) -> Option<&'a Entry> {
        hashers.iter().find_map(|hasher| {
            let entry = table.0.get(hmac::sign(hasher, message).as_ref())?;
            hmac::verify(hasher, message, &entry.tag).is_ok().then_some(entry)
        })
    }
}

/// SHA-256 of the bearer; none: the key is off.
fn file_digest(key: &FileKey) -> Result<Option<Vec<u8>>, KeyError> {
    if !key.key.is_empty() {
        let digest = digest::digest(&digest::SHA256, key.key.expose().as_bytes());
        return Ok(Some(digest.as_ref().to_vec()));
    }
    let Some(text) = key.key_sha256.as_deref().filter(|t| !t.is_empty()) else { return Ok(None) };
    let bytes = hex::decode(text).ok().filter(|b| b.len() == 32);
    let bytes = bytes.ok_or_else(|| KeyError::Digest(key.id.clone()))?;
    Ok(Some(bytes))
}

fn expiry(id: &str, text: &str) -> Result<i64, KeyError> {
    expires_us(text).ok_or_else(|| KeyError::Expiry(id.into(), text.into()))
}

/// The moment a key ends: an RFC 3339 time, or of a day (`2027-01-31`) its last one, in UTC. `None`: neither.
pub fn expires_us(text: &str) -> Option<i64> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(time.as_microsecond());
    }
    let next = text.parse::<jiff::civil::Date>().ok()?.tomorrow().ok()?;
    Some(next.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_microsecond())
}

/// The token of `Bearer <token>`, the scheme in any case.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    let token = rest.trim_ascii_start();
    let good = scheme.eq_ignore_ascii_case(b"bearer ")
        && !token.is_empty()
        && token.len() <= LONGEST
        && token.iter().all(|b| b.is_ascii_graphic());
    good.then_some(token)
}

/// Three parts, the first of them base64url of what begins with `{`.
fn is_token(bearer: &[u8]) -> bool {
    bearer.starts_with(b"e") && bearer.iter().filter(|byte| **byte == b'.').count() == 2
}

fn names_a_token(query: &str) -> bool {
    query.split('&').any(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        name.eq_ignore_ascii_case("access_token") || name.eq_ignore_ascii_case("access%5ftoken")
    })
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
