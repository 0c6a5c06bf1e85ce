//! Builds every part from the configuration, starts them in order, and stops them in the opposite one.

use crate::{
    auth::{self, Keys, Purpose, Scope, Secrets, Tokens},
    config::{Config, LoadOptions, Loaded},
    edge,
    images::{ImageRows, Images, LinkBase, LinkKeys},
    jobs::{self, Jobs, Live, Rules},
    mcp::{Extra, Mcp, Profile, ReloadHandle, ServerInfo, SessionKeys},
    outbound::{Clients, Guard, HostList},
    providers::Registry,
    spool::Spool,
    store::{Image, Key, Store, StoreError},
    telemetry::{SharedClock, SystemClock},
};
use anyhow::{Context as _, anyhow};
use arc_swap::ArcSwap;
use plugin_api::Plugin;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use uuid::Uuid;

mod faces;
mod first_key;
mod reload;

pub use first_key::{FILE as FIRST_KEY, FirstKey};
use reload::{Doors, Reloader};

/// How often the table of keys is asked whether it changed: a revoked key is refused within a second.
const KEYS_EVERY: Duration = Duration::from_millis(500);
/// How often it is written down which keys were used.
const USED_EVERY: Duration = Duration::from_secs(60);
/// Work is given up so long before the grace is over: who waits for it still gets an answer.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Who the gateway is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Many callers over HTTP.
    Server,
    /// One caller, who started it and reads its files.
    Stdio,
}

pub struct Options {
    pub loaded: Loaded,
    pub data_dir: PathBuf,
    pub plugins: &'static [Plugin],
    /// What is served besides the gateway's own; nothing in the product.
    pub extra: Option<&'static dyn Extra>,
    pub place: Place,
    /// Where readable copies of images go (stdio).
    pub save_dir: Option<PathBuf>,
    /// A reload applies what it can, although something else needs a restart.
    pub allow_partial: bool,
}

/// Where the configuration came from, to be read again.
struct Source {
    options: LoadOptions,
    file: Option<PathBuf>,
    files: Vec<PathBuf>,
    plugins: &'static [Plugin],
    allow_partial: bool,
}

/// Every part, built and not yet serving. Workers run from here on.
pub struct App {
    pub config: Arc<Config>,
    pub data_dir: PathBuf,
    pub store: Store,
    pub spool: Arc<Spool>,
    pub images: Arc<Images>,
    pub jobs: Arc<Jobs>,
    pub secrets: Secrets,
    public_url: Arc<ArcSwap<String>>,
    /// For the keys of issuers, whose addresses are the operator's.
    http: reqwest::Client,
    clock: SharedClock,
    source: Source,
    extra: Option<&'static dyn Extra>,
}

/// What is known once the sockets listen.
#[derive(Debug)]
pub struct Ready {
    pub public_url: String,
    pub addresses: Vec<SocketAddr>,
    pub first_key: Option<FirstKey>,
}

/// The store, asked for the row behind an image's link.
struct Rows(Store);

#[async_trait::async_trait]
impl ImageRows for Rows {
    async fn image(&self, id: Uuid) -> Result<Option<Image>, StoreError> {
        self.0.image_by_id(id).await
    }
}

impl App {
    /// Opens the database and storage, builds the providers and starts the workers.
    ///
    /// # Errors
    /// A sentence that names what could not be opened or built.
    pub async fn build(options: Options) -> anyhow::Result<App> {
        let Options { loaded, data_dir, plugins, extra, place, save_dir, allow_partial } = options;
        let Loaded { config, options, file, files, .. } = loaded;
        let source = Source { options, file, files, plugins, allow_partial };
        let config = Arc::new(config);
        let clock: SharedClock = Arc::new(SystemClock);
        std::fs::create_dir_all(&data_dir).with_context(|| {
            format!(
                "the data directory {} cannot be made; choose another with --data-dir",
                data_dir.display()
            )
        })?;
        let master = auth::master_secret(&config.server.secret, &data_dir)?;
        let secrets = Secrets::new(&master, &config.server.previous_secrets);
        let store = Store::open(&config.database, &data_dir, clock.clone()).await?;
        let clients = Clients::new()?;
        let http = clients.vendor().clone();
        let spool = Spool::open(&config.storage.spool, &data_dir, config.storage.max_image.0);
        let spool = Arc::new(spool.with_context(|| format!("the spool folder in {}", data_dir.display()))?);
        let registry = Registry::build(&config.provider_settings(), plugins, clients.clone(), spool.clone())
            .map_err(|errors| anyhow!(errors.join("\n")))?;
        let registry = registry.with_pauses(store.pauses().await?);
        let public_url = Arc::new(ArcSwap::from_pointee(String::new()));
        let base = match place {
            Place::Server => LinkBase::Http(public_url.clone()),
            Place::Stdio => LinkBase::File,
        };
        let keys = LinkKeys {
            current: secrets.current(Purpose::LinkSigning),
            previous: secrets.previous(Purpose::LinkSigning),
        };
        let rows = Arc::new(Rows(store.clone()));
        let images = Images::open(config.storage.clone(), &data_dir, &keys, base, rows, clock.clone())?;
        let images = Arc::new(images);
        let jobs = Jobs::start(jobs::Parts {
            // Held by nobody else: what a reload takes out of it ends with the last job on it.
            live: live(&config, Arc::new(registry))?.with_raises(store.raises().await?.into()),
            store: store.clone(),
            images: images.clone(),
            spool: spool.clone(),
            clients,
            max_image: config.storage.max_image.0,
            save_dir,
            clock: clock.clone(),
        });
        Ok(App {
            config,
            data_dir,
            store,
            spool,
            images,
            jobs,
            secrets,
            public_url,
            http,
            clock,
            source,
            extra,
        })
    }

    fn mcp(&self, local: bool, reload: ReloadHandle) -> Mcp {
        let server = ServerInfo { local, extra: self.extra, ..ServerInfo::default() };
        let (jobs, images) = (self.jobs.clone(), self.images.clone());
        let sessions = SessionKeys {
            current: self.secrets.current(Purpose::SealedSessions),
            previous: self.secrets.previous(Purpose::SealedSessions),
        };
        Mcp::new(self.config.mcp.clone(), jobs, images, reload, server, &sessions, self.clock.clone())
    }

    /// Serves until SIGTERM or SIGINT, then stops in order: no new work, running requests and attempts end within
    /// `server.shutdown_grace`. SIGHUP reloads the configuration. `ready` is called once the sockets listen.
    ///
    /// # Errors
    /// A socket that cannot be opened, with what to do.
    pub async fn serve(self, ready: impl FnOnce(&Ready) + Send) -> anyhow::Result<()> {
        // From here on SIGHUP ends nothing.
        let hangup = signal(SignalKind::hangup())?;
        let bound = edge::bind(self.config.server.clone()).await?;
        let public_url = bound.public_url();
        self.public_url.store(Arc::new(public_url.clone()));
        let first_key = first_key::ensure(&self.config, &self.store, &self.secrets, &self.data_dir).await?;
        let keys = Arc::new(Keys::new(&self.config.auth, &self.secrets, self.clock.clone())?);
        refresh_keys(&keys, &self.store).await?;
        keys.trust(|before| {
            let teams = self.config.teams.keys().cloned();
            Tokens::new(&self.config.auth.issuers, teams, &self.http, self.clock.clone(), before)
        });
        let watching = tokio::spawn(watch_keys(keys.clone(), self.store.clone()));
        let last_used = keys.clone();
        let rates = Arc::new(ArcSwap::from_pointee(faces::rates(&self.config)));
        let (reload, requests) = ReloadHandle::new();
        let mcp = self.mcp(false, reload);
        let doors = Doors { keys: keys.clone(), rates: rates.clone(), http: self.http.clone() };
        let reloader = Reloader::new(&self, mcp.clone(), Some(doors));
        let reloading = tokio::spawn(reloader.run(requests, Some(hangup)));
        let listeners = mcp.clone();
        let faces = faces::faces(&self, mcp, keys, rates);
        let (stop, stopped) = watch::channel(false);
        let signals = tokio::spawn(async move {
            if let Err(error) = stop_signal().await {
                tracing::error!(%error, "signals cannot be received");
                std::future::pending::<()>().await;
            }
            stop.send_replace(true);
        });
        ready(&Ready { public_url, addresses: bound.addresses(), first_key });
        let grace = *self.config.server.shutdown_grace;
        let mut stopping = stopped.clone();
        let jobs = self.jobs.clone();
        // Attempts end while the last requests are answered: those are what many requests wait for.
        let draining = tokio::spawn(async move {
            stopping.wait_for(|stop| *stop).await.ok();
            listeners.stop_listening();
            tracing::info!("stopping: no new work; what runs has {} s", grace.as_secs());
            jobs.stop(grace - LAST_ANSWERS.min(grace / 4)).await;
        });
        let clean = bound.serve(faces, stopped).await?;
        if !clean {
            tracing::warn!("some connections were still open when the grace was over");
        }
        draining.await.ok();
        watching.abort();
        note_used(&last_used, &self.store).await;
        reloading.abort();
        signals.abort();
        Ok(())
    }

    /// Serves one caller on standard input and output until the input ends, or SIGTERM or SIGINT comes.
    ///
    /// # Errors
    /// Reading or writing failed.
    pub async fn stdio(self, profile: Profile) -> anyhow::Result<()> {
        let principal = self.stdio_principal().await?;
        let (reload, requests) = ReloadHandle::new();
        let mcp = self.mcp(true, reload);
        // A signal of the terminal means what it means to other programs that a client starts.
        let reloading = tokio::spawn(Reloader::new(&self, mcp.clone(), None).run(requests, None));
        let serving = mcp.stdio(profile, Arc::new(principal), tokio::io::stdin(), tokio::io::stdout());
        tokio::select! {
            done = serving => done?,
            // A client that ends the process instead of closing its input.
            stop = stop_signal() => stop?,
        }
        reloading.abort();
        // The caller has gone; what was paid for is still finished.
        self.jobs.stop(*self.config.server.shutdown_grace).await;
        Ok(())
    }

    /// The key in `IMAGE_GATEWAY_KEY`, else team `default` with every scope.
    async fn stdio_principal(&self) -> anyhow::Result<auth::Principal> {
        match std::env::var("IMAGE_GATEWAY_KEY") {
            Ok(bearer) if !bearer.is_empty() => {
                let keys = Keys::new(&self.config.auth, &self.secrets, self.clock.clone())?;
                refresh_keys(&keys, &self.store).await?;
                let found = keys.key(bearer.as_bytes());
                let principal = found.map_err(|_| anyhow!("IMAGE_GATEWAY_KEY is not a key of this gateway; unset it, or make one with `image-gateway keys create`"))?;
                Ok((*principal).clone())
            }
            _ => Ok(auth::Principal::new("default", "stdio", &Scope::ALL)),
        }
    }
}

/// What calls and attempts go by.
///
/// # Errors
/// A host of `storage.reference_hosts` that is none.
pub fn live(config: &Config, registry: Arc<Registry>) -> anyhow::Result<Live> {
    let hosts = HostList::new(&[], &config.storage.reference_hosts)
        .map_err(|e| anyhow!("storage.reference_hosts: {e}"))?;
    let (settings, rules) = (config.jobs.clone(), rules(config));
    Ok(Live { settings, rules, registry, references: Guard::references(hosts) })
}

fn rules(config: &Config) -> Rules {
    let own = |key: &auth::FileKey| (key.id.clone(), key.limits.clone());
    let models = |key: &auth::FileKey| Some((key.id.clone(), key.models.clone()?));
    Rules {
        limits: config.limits.clone(),
        teams: config.teams.iter().map(|(name, team)| (name.clone(), team.clone())).collect(),
        keys: config.auth.keys.iter().map(own).collect(),
        key_models: config.auth.keys.iter().filter_map(models).collect(),
        ..Rules::default()
    }
}

async fn refresh_keys(keys: &Keys, store: &Store) -> Result<(), StoreError> {
    let rows: Vec<Key> = store.keys().await?;
    keys.replace(rows);
    Ok(())
}

/// Writes down which keys were used.
async fn note_used(keys: &Keys, store: &Store) {
    let used = keys.take_used();
    if !used.is_empty()
        && let Err(error) = store.note_keys_used(used).await
    {
        tracing::debug!(%error, "the last use of keys cannot be noted");
    }
}

/// Follows keys that other processes make or revoke.
async fn watch_keys(keys: Arc<Keys>, store: Store) {
    let mut seen = None;
    let mut noted = Instant::now();
    let mut beat = tokio::time::interval(KEYS_EVERY);
    loop {
        beat.tick().await;
        let now = match store.keys_version().await {
            Ok(now) => now,
            Err(error) => {
                tracing::warn!(%error, "keys cannot be read");
                keys.database_away();
                seen = None;
                continue;
            }
        };
        if noted.elapsed() >= USED_EVERY {
            noted = Instant::now();
            note_used(&keys, &store).await;
        }
        if seen != Some(now) && refresh_keys(&keys, &store).await.is_ok() {
            seen = Some(now);
        }
    }
}

async fn stop_signal() -> std::io::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

/// A path for messages: as it was given, not made absolute.
pub fn shown(path: &Path) -> String {
    path.display().to_string()
}
