//! Builds every part from the configuration, starts them in order, and stops them in the opposite one.

use crate::{
    auth::{self, Keys, Purpose, Scope, Secrets},
    config::{Config, Loaded},
    edge,
    images::{ImageRows, Images, LinkBase, LinkKeys},
    jobs::{self, Jobs, Rules},
    mcp::{Mcp, ServerInfo},
    outbound::{Clients, Guard, HostList},
    providers::{Registry, Settings as ProviderSettings},
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
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use uuid::Uuid;

mod faces;
mod first_key;

pub use first_key::FirstKey;

/// How often the table of keys is asked whether it changed: a revoked key is refused within a second.
const KEYS_EVERY: Duration = Duration::from_millis(500);
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
    pub place: Place,
    /// Where readable copies of images go (stdio).
    pub save_dir: Option<PathBuf>,
}

/// Every part, built and not yet serving. Workers run from here on.
pub struct App {
    pub config: Arc<Config>,
    pub data_dir: PathBuf,
    pub store: Store,
    pub registry: Arc<Registry>,
    pub spool: Arc<Spool>,
    pub images: Arc<Images>,
    pub jobs: Arc<Jobs>,
    pub secrets: Secrets,
    public_url: Arc<ArcSwap<String>>,
    clock: SharedClock,
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
        let Options { loaded, data_dir, plugins, place, save_dir } = options;
        let config = Arc::new(loaded.config);
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
        let spool = Spool::open(&config.storage.spool, &data_dir, config.storage.max_image.0);
        let spool = Arc::new(spool.with_context(|| format!("the spool folder in {}", data_dir.display()))?);
        let registry = Registry::build(&provider_settings(&config), plugins, clients.clone(), spool.clone())
            .map_err(|errors| anyhow!(errors.join("\n")))?;
        let registry = Arc::new(registry);
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
        let hosts = HostList::new(&[], &config.storage.reference_hosts)
            .map_err(|e| anyhow!("storage.reference_hosts: {e}"))?;
        let jobs = Jobs::start(jobs::Parts {
            settings: config.jobs.clone(),
            rules: rules(&config),
            store: store.clone(),
            registry: registry.clone(),
            images: images.clone(),
            spool: spool.clone(),
            clients,
            references: Guard::references(hosts),
            max_image: config.storage.max_image.0,
            save_dir,
            clock: clock.clone(),
        });
        Ok(App { config, data_dir, store, registry, spool, images, jobs, secrets, public_url, clock })
    }

    fn mcp(&self, local: bool) -> Mcp {
        let server = ServerInfo { local, ..ServerInfo::default() };
        Mcp::new(self.config.mcp.clone(), self.jobs.clone(), self.images.clone(), server, self.clock.clone())
    }

    /// Serves until SIGTERM or SIGINT, then stops in order: no new work, running requests and attempts end within
    /// `server.shutdown_grace`. `ready` is called once the sockets listen.
    ///
    /// # Errors
    /// A socket that cannot be opened, with what to do.
    pub async fn serve(self, ready: impl FnOnce(&Ready) + Send) -> anyhow::Result<()> {
        let bound = edge::bind(self.config.server.clone()).await?;
        let public_url = bound.public_url();
        self.public_url.store(Arc::new(public_url.clone()));
        let first_key = first_key::ensure(&self.config, &self.store, &self.secrets, &self.data_dir).await?;
        let keys = Arc::new(Keys::new(&self.config.auth, &self.secrets, self.clock.clone())?);
        refresh_keys(&keys, &self.store).await?;
        let watching = tokio::spawn(watch_keys(keys.clone(), self.store.clone()));
        let rates = Arc::new(ArcSwap::from_pointee(faces::rates(&self.config)));
        let mcp = self.mcp(false);
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
            tracing::info!("stopping: no new work; what runs has {} s", grace.as_secs());
            jobs.stop(grace - LAST_ANSWERS.min(grace / 4)).await;
        });
        let clean = bound.serve(faces, stopped).await?;
        if !clean {
            tracing::warn!("some connections were still open when the grace was over");
        }
        draining.await.ok();
        watching.abort();
        signals.abort();
        Ok(())
    }

    /// Serves one caller on standard input and output until the input ends, or SIGTERM or SIGINT comes.
    ///
    /// # Errors
    /// Reading or writing failed.
    pub async fn stdio(self) -> anyhow::Result<()> {
        let principal = self.stdio_principal().await?;
        let mcp = self.mcp(true);
        let serving = mcp.stdio(Arc::new(principal), tokio::io::stdin(), tokio::io::stdout());
        tokio::select! {
            done = serving => done?,
            // A client that ends the process instead of closing its input.
            stop = stop_signal() => stop?,
        }
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

/// The part of the configuration that chooses and calls vendors.
pub fn provider_settings(config: &Config) -> ProviderSettings {
    ProviderSettings {
        providers: config.providers.clone(),
        models: config.models.clone(),
        routes: config.routes.clone(),
        routing: config.routing.clone(),
    }
}

fn rules(config: &Config) -> Rules {
    let own = |key: &auth::FileKey| (key.id.clone(), key.limits.clone());
    let models = |key: &auth::FileKey| Some((key.id.clone(), key.models.clone()?));
    Rules {
        limits: config.limits.clone(),
        teams: config.teams.iter().map(|(name, team)| (name.clone(), team.clone())).collect(),
        keys: config.auth.keys.iter().map(own).collect(),
        key_models: config.auth.keys.iter().filter_map(models).collect(),
    }
}

async fn refresh_keys(keys: &Keys, store: &Store) -> Result<(), StoreError> {
    let rows: Vec<Key> = store.keys().await?;
    keys.replace(rows);
    Ok(())
}

/// Follows keys that other processes make or revoke.
async fn watch_keys(keys: Arc<Keys>, store: Store) {
    let mut seen = None;
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
