//! One master secret in, one key for each purpose out. Nothing else ever sees the master.

use plugin_api::value::Secret;
use ring::{hkdf, hmac, rand::SecureRandom};
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// A shorter master could be guessed.
const SHORTEST: usize = 32;
const SALT: &[u8] = b"image-gateway/1";

/// What a derived key is for. The label is part of the stored data: a changed one voids all that it made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    KeyHash,
    LinkSigning,
    SealedSessions,
    AuditChain,
}

impl Purpose {
    fn label(self) -> &'static [u8] {
        match self {
            Purpose::KeyHash => b"key_hash",
            Purpose::LinkSigning => b"link_signing",
            Purpose::SealedSessions => b"sealed_sessions",
            Purpose::AuditChain => b"audit_chain",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("server.secret has {0} bytes; it needs at least {SHORTEST}")]
    TooShort(usize),
    #[error("the random source of this machine failed")]
    NoRandomness,
    #[error("cannot keep the secret in {path}: {source}")]
    Io { path: String, source: io::Error },
}

/// The current master secret and those before it.
pub struct Secrets {
    current: hkdf::Prk,
    previous: Vec<hkdf::Prk>,
}

impl Secrets {
    /// `previous` still verify; only `master` makes new things.
    pub fn new(master: &[u8], previous: &[Secret]) -> Secrets {
        let extract = |bytes: &[u8]| hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(bytes);
        Secrets {
            current: extract(master),
            previous: previous
                .iter()
                .filter(|s| !s.is_empty())
                .map(|s| extract(s.expose().as_bytes()))
                .collect(),
        }
    }

    /// The key that makes new tags and links.
    pub fn current(&self, purpose: Purpose) -> [u8; 32] {
        derive(&self.current, purpose)
    }

    /// Keys that made what is still good.
    pub fn previous(&self, purpose: Purpose) -> Vec<[u8; 32]> {
        self.previous.iter().map(|prk| derive(prk, purpose)).collect()
    }

    pub(super) fn signing(&self, purpose: Purpose) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.current(purpose))
    }

    /// The current key first.
    pub(super) fn verifying(&self, purpose: Purpose) -> Vec<hmac::Key> {
        let previous = self.previous(purpose);
        let previous = previous.iter().map(|bytes| hmac::Key::new(hmac::HMAC_SHA256, bytes));
        std::iter::once(self.signing(purpose)).chain(previous).collect()
    }
}

fn derive(prk: &hkdf::Prk, purpose: Purpose) -> [u8; 32] {
    let mut key = [0; 32];
    match prk.expand(&[purpose.label()], hmac::HMAC_SHA256).and_then(|okm| okm.fill(&mut key)) {
        Ok(()) => key,
        // HKDF refuses more than 255 blocks, and a buffer of another length than was asked: this is one block of 32.
        Err(ring::error::Unspecified) => unreachable!("HKDF gives one block"),
    }
}

/// The master secret: `configured`, else the one in `<data_dir>/secret`, made at the first start.
///
/// # Errors
/// A configured secret under 32 bytes, or a file that can neither be made nor read.
pub fn master_secret(configured: &Secret, data_dir: &Path) -> Result<Vec<u8>, SecretError> {
    if !configured.is_empty() {
        return check(configured.expose().as_bytes().to_vec());
    }
    let path = data_dir.join("secret");
    let failed = |source| SecretError::Io { path: path.display().to_string(), source };
    if !path.exists() {
        create(&path).map_err(|e| match e {
            CreateError::Random => SecretError::NoRandomness,
            CreateError::Io(e) => failed(e),
        })?;
    }
    let text = std::fs::read_to_string(&path).map_err(failed)?;
    check(text.trim().as_bytes().to_vec())
}

fn check(secret: Vec<u8>) -> Result<Vec<u8>, SecretError> {
    if secret.len() < SHORTEST { Err(SecretError::TooShort(secret.len())) } else { Ok(secret) }
}

enum CreateError {
    Random,
    Io(io::Error),
}

impl From<io::Error> for CreateError {
    fn from(e: io::Error) -> Self {
        CreateError::Io(e)
    }
}

/// Written whole beside its place, then linked there: of two processes that start at once the first one's secret
/// stays, and neither reads half of it.
fn create(path: &Path) -> Result<(), CreateError> {
    let mut bytes = [0u8; 32];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| CreateError::Random)?;
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let beside = path.with_file_name(format!(".secret-{}", uuid::Uuid::new_v4()));
    let written = (|| {
        let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(hex::encode(bytes).as_bytes())?;
        file.sync_all()?;
        match std::fs::hard_link(&beside, path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
            _ => Ok(()),
        }
    })();
    std::fs::remove_file(&beside).ok();
    Ok(written?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn every_purpose_has_a_key_of_its_own_and_old_secrets_still_verify() {
        let old = Secrets::new(&[1; 32], &[]);
        let tag = hmac::sign(&old.signing(Purpose::KeyHash), b"bearer");
        let new = Secrets::new(&[2; 32], &[Secret::new(String::from_utf8(vec![1; 32]).unwrap())]);

        let keys = new.verifying(Purpose::KeyHash);
        assert_eq!(keys.len(), 2);
        assert!(hmac::verify(&keys[0], b"bearer", tag.as_ref()).is_err(), "the new secret made another key");
        assert!(hmac::verify(&keys[1], b"bearer", tag.as_ref()).is_ok(), "the old one still verifies");
        for key in new.verifying(Purpose::LinkSigning) {
            assert!(hmac::verify(&key, b"bearer", tag.as_ref()).is_err(), "purposes do not mix");
        }
    }

    #[test]
    fn a_secret_is_made_once_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let all: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| master_secret(&Secret::default(), &data).unwrap())).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(all.iter().all(|s| *s == all[0]), "processes that start at once agree on the secret");
        assert_eq!(all[0].len(), 64);
        let mode = std::fs::metadata(data.join("secret")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&data).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_short_secret_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = master_secret(&Secret::new("hunter2"), dir.path()).unwrap_err();
        assert!(error.to_string().contains("at least 32"), "{error}");
    }
}
