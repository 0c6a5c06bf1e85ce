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
pub const FILE: &str = "first-key";

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
    if matches!(config.auth.mode, Mode::None | Mode::Jwt) {
        return Ok(None);
    }
    let in_file = config.auth.keys.iter().any(|k| !k.key.is_empty() || k.key_sha256.is_some());
    let known = in_file || !store.keys().await?.is_empty();
    let (bearer, made_now) = match kept(&path) {
        // Deleted by somebody who does not want it to lie there.
        None if known => return Ok(None),
        Some(bearer) => (bearer, false),
        None => keep(&path, &auth::new_key()?)
            .with_context(|| format!("the first key cannot be kept in {}", path.display()))?,
    };
    plugin_api::failpoint("first_key.kept")?;
    // The file comes first: after a crash between the two the next start finds it, and adds its key.
    if !known {
        let scopes = Scope::ALL.map(Scope::as_str).join(" ");
        let key = Key {
            id: auth::new_key_id()?,
            team: "default".into(),
            hash: auth::hash(secrets, &bearer),
            hint: bearer.chars().take(8).collect(),
            scopes,
            ..Key::default()
        };
        // Another process of this directory may be at the same point: the database lets one of them in.
        store.add_key(key, true).await?;
    }
    Ok(Some(FirstKey { bearer, path, made_now }))
}

fn kept(path: &Path) -> Option<String> {
    let bearer = std::fs::read_to_string(path).ok()?.trim().to_owned();
    (!bearer.is_empty()).then_some(bearer)
}

/// Puts the key where it stays, whole or not at all, and on disk. Of two processes at once one is the first: both go
/// on with its key.
fn keep(path: &Path, bearer: &str) -> std::io::Result<(String, bool)> {
    let draft = path.with_extension(uuid::Uuid::new_v4().to_string());
    let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&draft)?;
    writeln!(file, "{bearer}")?;
    file.sync_all()?;
    let placed = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft)?;
    match placed {
        Ok(()) => {
            if let Some(folder) = path.parent() {
                std::fs::File::open(folder)?.sync_all()?;
            }
            Ok((bearer.to_owned(), true))
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            kept(path).map(|bearer| (bearer, false)).ok_or(error)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_first_keys_one_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        assert_eq!(kept(&path), None);
        assert_eq!(keep(&path, "igw_a").unwrap(), ("igw_a".into(), true));
        assert_eq!(keep(&path, "igw_b").unwrap(), ("igw_a".into(), false), "both go on with the first");
        assert_eq!(kept(&path), Some("igw_a".into()));
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "no draft is left: {left:?}");
    }
}
