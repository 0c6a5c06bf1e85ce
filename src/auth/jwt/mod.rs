//! Tokens of configured issuers (RFC 7519, RFC 8725, RFC 9068): from a bearer of three parts to a principal.
//!
//! All that can be refused without a signature is refused without one; what is left costs one verification. A token
//! that was good is known by its hash until it ends or its key is gone.

mod claims;
mod jwks;
mod jws;
mod ring;
mod source;

#[cfg(test)]
mod tests;

use super::{AuthError, Issuer, Principal, Scope};
use crate::telemetry::SharedClock;
use ::ring::digest;
use jws::Jws;
use lru::LruCache;
use parking_lot::Mutex;
use source::{Followed, Source};
use std::{
    collections::BTreeSet,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Tokens that are known by their hash, about 1 KiB each. Beyond, the one not seen for longest is verified anew.
const KNOWN: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// Why a token is no good. Callers hear nothing finer than [`AuthError`]; the log says it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refused {
    Bad(&'static str),
    /// Of the issuer at this place.
    UnknownKey(usize),
    /// Those of the issuer at this place were never fetched, or too long ago.
    NoKeys(usize),
    /// Good but for its team.
    NoTeam(String),
}

/// The issuers that are trusted now, and the tokens that were good.
pub struct Tokens {
    issuers: Vec<(Issuer, Arc<Followed>)>,
    teams: BTreeSet<String>,
    known: Mutex<LruCache<[u8; 32], Known>>,
    clock: SharedClock,
    verifications: AtomicU64,
}

struct Known {
    principal: Arc<Principal>,
    issuer: usize,
    /// The key it was signed with.
    print: [u8; 32],
    until_us: i64,
}

impl Tokens {
    /// Trusts these issuers for these teams, and begins to fetch their keys. Keys that `before` has are kept where the
    /// issuer's source is the same, and fetched anew. Needs a tokio runtime.
    pub fn new(
        issuers: &[Issuer],
        teams: impl IntoIterator<Item = String>,
        http: &reqwest::Client,
        clock: SharedClock,
        before: Option<&Tokens>,
    ) -> Tokens {
        ring::install();
        let kept = |issuer: &Issuer| {
            let all = before.map_or(&[][..], |before| &before.issuers);
            let (_, followed) = all.iter().find(|(_, followed)| followed.source.fits(issuer))?;
            followed.source.refresh_now();
            Some(followed.clone())
        };
        let start = |issuer: &Issuer| Arc::new(Followed::start(Source::new(issuer, http.clone())));
        Tokens {
            issuers: issuers
                .iter()
                .map(|issuer| (issuer.clone(), kept(issuer).unwrap_or_else(|| start(issuer))))
                .collect(),
            teams: teams.into_iter().collect(),
            known: Mutex::new(LruCache::new(KNOWN)),
            clock,
            verifications: AtomicU64::new(0),
        }
    }

    /// Whose token this is. Waits for the issuer at most once, and only when the token names a key nobody knows.
    ///
    /// # Errors
    /// [`AuthError::Invalid`]; [`AuthError::Unavailable`] while the issuer's keys are not there.
    pub async fn verify(&self, token: &[u8]) -> Result<Arc<Principal>, AuthError> {
        let hash: [u8; 32] = digest::digest(&digest::SHA256, token).as_ref().try_into().unwrap_or_default();
        if let Some(principal) = self.known(&hash) {
            return Ok(principal);
        }
        let mut verified = self.anew(token);
        if let Err(Refused::UnknownKey(n) | Refused::NoKeys(n)) = verified
            && self.issuers[n].1.source.ask_again().await
        {
            verified = self.anew(token);
        }
        match verified {
            Ok(known) => {
                let principal = known.principal.clone();
                self.known.lock().put(hash, known);
                Ok(principal)
            }
            Err(why) => Err(said(&why)),
        }
    }

    /// Nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    /// Issuers, as clients find them (RFC 9728, `authorization_servers`).
    pub fn servers(&self) -> Vec<&str> {
        self.issuers.iter().map(|(issuer, _)| issuer.issuer.as_str()).collect()
    }

    /// What a client asks an issuer for to get these scopes: the issuers' own words where they have some.
    pub fn asked_for(&self, scopes: &[Scope]) -> Vec<String> {
        let mut all = Vec::new();
        for scope in scopes {
            for (issuer, _) in &self.issuers {
                let own: Vec<String> = issuer
                    .scope_map
                    .iter()
                    .filter(|(_, to)| *to == scope)
                    .map(|(word, _)| word.clone())
                    .collect();
                all.extend(if own.is_empty() { vec![scope.as_str().to_owned()] } else { own });
            }
        }
        let mut seen = BTreeSet::new();
        all.retain(|word| seen.insert(word.clone()));
        all
    }

    fn known(&self, hash: &[u8; 32]) -> Option<Arc<Principal>> {
        let mut all = self.known.lock();
        let known = all.get(hash)?;
        let (_, followed) = self.issuers.get(known.issuer)?;
        let good = self.clock.now_us() < known.until_us
            && followed.source.keys().is_some_and(|keys| keys.0.has(&known.print));
        if good {
            return Some(known.principal.clone());
        }
        all.pop(hash);
        None
    }

    fn anew(&self, token: &[u8]) -> Result<Known, Refused> {
        let jws = Jws::read(token)?;
        let named = jws.claims.get("iss").and_then(|iss| iss.as_str());
        let n = self.issuers.iter().position(|(issuer, _)| Some(issuer.issuer.as_str()) == named);
        let n = n.ok_or(Refused::Bad("its `iss` is none of auth.issuers"))?;
        let (issuer, followed) = &self.issuers[n];
        let algorithm = jws.alg.parse().ok().filter(|_| issuer.algorithms.contains(&jws.alg));
        let algorithm = algorithm.ok_or(Refused::Bad("its `alg` is none of the issuer's"))?;
        let until_us = claims::hold(&jws.claims, jws.typ.as_deref(), issuer, self.clock.now_us())?;
        let keys = followed.source.keys().ok_or(Refused::NoKeys(n))?;
        let Some(key) = keys.0.find(jws.kid.as_deref(), algorithm) else {
            return Err(match keys.0.has_kid(jws.kid.as_deref()) {
                true => Refused::Bad("its key is for another algorithm"),
                false => Refused::UnknownKey(n),
            });
        };
        self.verifications.fetch_add(1, Ordering::Relaxed);
        let verified = jsonwebtoken::crypto::verify(jws.signature, jws.message, &key.key, key.algorithm);
        if !verified.unwrap_or(false) {
            return Err(Refused::Bad("its signature is wrong"));
        }
        let principal = Arc::new(claims::principal(&jws.claims, issuer, &self.teams)?);
        Ok(Known { principal, issuer: n, print: key.print, until_us })
    }
}

fn said(why: &Refused) -> AuthError {
    match why {
        Refused::Bad(why) => tracing::info!(why, "a token is refused"),
        Refused::UnknownKey(_) => tracing::info!("a token is refused: its issuer has no such key"),
        Refused::NoTeam(team) => tracing::warn!(
            team,
            "a good token is refused: `teams` has no such entry; add one, or change `claims.team` of its issuer"
        ),
        Refused::NoKeys(_) => {
            tracing::info!("a token cannot be checked: its issuer's keys are not there, or too old");
            return AuthError::Unavailable;
        }
    }
    AuthError::Invalid
}

/// Tries an issuer's keys as the gateway would: their number, and why others are not used.
///
/// # Errors
/// They cannot be fetched or read, or none can be used.
pub async fn try_keys(issuer: &Issuer, http: &reqwest::Client) -> Result<(usize, Vec<String>), String> {
    let set = Source::new(issuer, http.clone()).fetch().await?;
    usable(set)
}

/// As [`try_keys`], of a key file's text.
///
/// # Errors
/// It is no JWK set, or none of its keys can be used.
pub fn try_text(issuer: &Issuer, text: &[u8]) -> Result<(usize, Vec<String>), String> {
    usable(jwks::KeySet::read(text, &issuer.algorithms())?)
}

fn usable(set: jwks::KeySet) -> Result<(usize, Vec<String>), String> {
    match set.keys.len() {
        0 if set.skipped.is_empty() => Err("it has no keys".into()),
        0 => Err(format!("none of its keys can be used: {}", set.skipped.join("; "))),
        n => Ok((n, set.skipped)),
    }
}
