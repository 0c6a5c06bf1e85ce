//! What every command takes, and the configuration and data that they lead to.

use crate::{
    auth::{self, Secrets},
    config::{self, Config, LoadOptions, Loaded},
    mcp::Extra,
    outbound::Clients,
    providers::Registry,
    spool::Spool,
    store::{Address, Store},
    telemetry::{SharedClock, SystemClock},
};
use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use plugin_api::{Plugin, value::Span};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

const EVERYWHERE: &str = "Options of every command";

/// Options that stand before or after the command.
#[derive(Debug, Clone, Default, Args)]
pub struct Globals {
    /// Configuration file [default: ./config.yaml if there is one, else built-in settings]
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder of database, images and keys [default: ./data]
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Set one value of the configuration; may be given several times
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "KEY.PATH=VALUE")]
    pub set: Vec<String>,
    /// File of variables for ${NAME} in the configuration [default: ./.env if there is one]
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
}

/// Every `--set`, in order. Of an option that stands before and after the command, clap keeps only the last place.
pub fn all_sets(raw: &[OsString]) -> Vec<String> {
    let mut sets = Vec::new();
    let mut words = raw.iter().skip(1).map(|word| word.to_string_lossy());
    while let Some(word) = words.next().filter(|word| word != "--") {
        if word == "--set" {
            sets.extend(words.next().map(|value| value.into_owned()));
        } else if let Some(value) = word.strip_prefix("--set=") {
            sets.push(value.to_owned());
        }
    }
    sets
}

/// What a command works on.
#[derive(Debug)]
pub struct Gateway {
    pub globals: Globals,
    pub plugins: &'static [Plugin],
    /// What is served besides the gateway's own; nothing in the product.
    pub extra: Option<&'static dyn Extra>,
}

impl Gateway {
    pub fn data_dir(&self) -> PathBuf {
        self.globals.data_dir.clone().unwrap_or_else(|| "./data".into())
    }

    /// Reads the configuration of the working directory.
    ///
    /// # Errors
    /// [`config::ConfigErrors`] with all that is wrong.
    pub fn load(&self) -> anyhow::Result<Loaded> {
        let here = std::env::current_dir().context("the current directory cannot be told")?;
        self.load_in(here, self.globals.set.clone())
    }

    /// Reads the configuration whose usual files are looked for in `folder`.
    ///
    /// # Errors
    /// As [`Gateway::load`].
    pub fn load_in(&self, folder: PathBuf, sets: Vec<String>) -> anyhow::Result<Loaded> {
        let absolute = |file: &Option<PathBuf>| match file {
            Some(file) => std::path::absolute(file).map(Some).context("the current directory cannot be told"),
            None => Ok(None),
        };
        let text =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        let options = LoadOptions {
            file: absolute(&self.globals.config)?,
            env_file: absolute(&self.globals.env_file)?,
            sets,
            environment: std::env::vars_os().filter_map(text).collect(),
            working_dir: folder,
            again: false,
        };
        Ok(config::load(&options, self.plugins)?)
    }

    /// The database that a server has made, for commands that only make sense on one.
    ///
    /// # Errors
    /// There is none in the data directory, or it cannot be opened.
    pub async fn existing_store(&self, config: &Config) -> anyhow::Result<Store> {
        let data_dir = self.data_dir();
        let address = Address::parse(&config.database.url, &data_dir)?;
        if !address.may_exist() {
            bail!("there is no database at {address}; name the server's data directory with --data-dir");
        }
        open_store(config, &data_dir).await
    }
}

/// Opens the database, made and brought up to date where needed.
///
/// # Errors
/// A sentence with the file.
pub async fn open_store(config: &Config, data_dir: &Path) -> anyhow::Result<Store> {
    prepare(data_dir)?;
    let clock: SharedClock = Arc::new(SystemClock);
    Ok(Store::open(&config.database, data_dir, clock).await?)
}

/// The secrets by which keys are hashed: those of the server of this data directory.
///
/// # Errors
/// The file of the secret can neither be made nor read.
pub fn secrets(config: &Config, data_dir: &Path) -> anyhow::Result<Secrets> {
    let master = auth::master_secret(&config.server.secret, data_dir)?;
    Ok(Secrets::new(&master, &config.server.previous_secrets))
}

/// The instances and models of a configuration, to look at: nothing is opened and no vendor is called.
///
/// # Errors
/// Every entry that a plugin does not accept.
pub fn registry(config: &Config, plugins: &[Plugin], data_dir: &Path) -> anyhow::Result<Registry> {
    let spool = Arc::new(Spool::unopened(&config.storage.spool, data_dir));
    build_registry(config, plugins, spool)
}

/// The instances and models of a configuration, with a spool for their calls.
///
/// # Errors
/// Every entry that a plugin does not accept.
pub fn build_registry(config: &Config, plugins: &[Plugin], spool: Arc<Spool>) -> anyhow::Result<Registry> {
    Registry::build(&config.provider_settings(), plugins, Clients::new()?, spool)
        .map_err(|errors| anyhow!(errors.join("\n")))
}

/// Makes the data directory, for this user alone, and tries whether it can be written.
///
/// # Errors
/// A sentence that says what to choose instead.
pub fn prepare(data_dir: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let shown = data_dir.display();
    fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(|error| {
        anyhow!("the data directory {shown} cannot be made ({error}); choose another one with --data-dir")
    })?;
    let probe = data_dir.join(format!(".probe-{}", uuid::Uuid::new_v4()));
    let written = fs::write(&probe, b"probe");
    fs::remove_file(&probe).ok();
    written.map_err(|error| {
        anyhow!(
            "the data directory {shown} cannot be written ({error}); give this user the right to, or choose another one with --data-dir"
        )
    })
}

/// A moment to come, as an option of the command line says it.
pub(super) fn moment(option: &str, text: &str, now_us: i64) -> anyhow::Result<i64> {
    let end = match text.parse::<Span>() {
        Ok(span) => Some(now_us.saturating_add(span.as_us())),
        Err(_) => auth::expires_us(text),
    };
    let end = end.ok_or_else(|| {
        anyhow!("{option}: `{text}` is no time; write it like 90d, 2027-01-31 or 2027-01-31T12:00:00Z")
    })?;
    if end <= now_us {
        bail!("{option}: `{text}` is over already");
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_counts_wherever_it_stands() {
        let raw: Vec<OsString> = [
            "x",
            "--set",
            "a=1",
            "serve",
            "--set=b=2",
            "--config",
            "c",
            "--set",
            "c=--set",
            "--",
            "--set",
            "d=4",
        ]
        .map(OsString::from)
        .to_vec();
        assert_eq!(all_sets(&raw), ["a=1", "b=2", "c=--set"]);
    }

    #[test]
    fn a_data_directory_that_cannot_be_used_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = format!("{:#}", prepare(&file.join("data")).unwrap_err());
        assert!(error.contains("--data-dir") && error.contains("file/data"), "{error}");
        assert!(format!("{:#}", prepare(&file).unwrap_err()).contains("--data-dir"));

        let fresh = dir.path().join("a/b");
        prepare(&fresh).unwrap();
        assert_eq!(fs::read_dir(&fresh).unwrap().count(), 0, "the trial leaves nothing behind");
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&fresh).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
