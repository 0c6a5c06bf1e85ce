//! The first key: made when neither the file nor the database has one, so that a fresh machine can be called.

use crate::{
    auth::{self, Mode, Scope, Secrets},
    config::Config,
    store::{Key, Store},
};
use anyhow::Context as _;
use std::{
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// The only place where a key lies in clear. Delete the file and it is shown no more.
const FILE: &str = "first-key";

/// The key a fresh gateway was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstKey {
    pub bearer: String,
    pub path: PathBuf,
    /// This start made it.
    pub made_now: bool,
}

/// Makes the first key, or finds the one an earlier start made. `None`: keys are made elsewhere, or not asked for.
pub(super) async fn ensure(
    config: &Config,
    store: &Store,
    secrets: &Secrets,
    data_dir: &Path,
) -> anyhow::Result<Option<FirstKey>> {
    let path = data_dir.join(FILE);
    if config.auth.mode == Mode::None {
        return Ok(None);
    }
    if let Ok(bearer) = std::fs::read_to_string(&path) {
        let bearer = bearer.trim().to_owned();
        return Ok((!bearer.is_empty()).then_some(FirstKey { bearer, path, made_now: false }));
    }
    let in_file = config.auth.keys.iter().any(|k| !k.key.is_empty() || k.key_sha256.is_some());
    if in_file || !store.keys().await?.is_empty() {
        return Ok(None);
    }
    let bearer = auth::new_key()?;
    let scopes = Scope::ALL.map(Scope::as_str).join(" ");
    let key = Key {
        id: auth::new_key_id()?,
        team: "default".into(),
        hash: auth::hash(secrets, &bearer),
        hint: bearer.chars().take(8).collect(),
        scopes,
        created_us: 0,
        expires_us: None,
        revoked_us: None,
    };
    // Another process of this directory may be at the same point: the database lets one of them in.
    if !store.add_key(key, true).await? {
        return Ok(None);
    }
    let write = || -> std::io::Result<()> {
        let mut file =
            std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        writeln!(file, "{bearer}")?;
        file.sync_all()
    };
    write().with_context(|| format!("the first key cannot be kept in {}", path.display()))?;
    Ok(Some(FirstKey { bearer, path, made_now: true }))
}
