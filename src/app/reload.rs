//! A new configuration in a gateway that runs: read, checked and built beside the old one, then swapped in.

use super::{faces, live};
use crate::{
    auth::{Keys, Tokens},
    config::{self, Config, ConfigErrors, LoadOptions, Loaded, Stamps},
    jobs::{Jobs, Live},
    limits::Rates,
    mcp::{DefaultModel, Mcp, NotReloaded, Outcome, Reloaded, Requests, Wrong},
    providers::{Registry, Upstream},
    store::Store,
    telemetry::SharedClock,
};
use arc_swap::ArcSwap;
use plugin_api::{Plugin, value::Limits};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    signal::unix::Signal,
    time::{MissedTickBehavior, interval},
};

/// How often files are looked at where `reload.watch` is on. A file is taken once it stands still for as long.
const LOOK: Duration = Duration::from_secs(1);

/// How often the tables of pauses and raises are looked at.
const NOTES: Duration = Duration::from_millis(500);

/// What HTTP has besides the tools: who may come in, and how often.
pub(super) struct Doors {
    pub keys: Arc<Keys>,
    pub rates: Arc<ArcSwap<Rates>>,
    /// To fetch the keys of new issuers.
    pub http: reqwest::Client,
}

/// Owns the configuration in force and every place that goes by it.
pub(super) struct Reloader {
    config: Arc<Config>,
    options: LoadOptions,
    plugins: &'static [Plugin],
    /// What can change is applied, although something else needs a restart.
    allow_partial: bool,
    jobs: Arc<Jobs>,
    mcp: Mcp,
    doors: Option<Doors>,
    watched: Watched,
    store: Store,
    clock: SharedClock,
    /// Instances whose breaker this process has written down, and until when.
    noted: BTreeMap<String, i64>,
}

/// A configuration with all that is built of it, not yet in force.
struct Prepared {
    config: Config,
    live: Live,
    warnings: Vec<String>,
    /// Fields that stay as they were.
    kept: Vec<String>,
}

impl Reloader {
    pub fn new(app: &super::App, mcp: Mcp, doors: Option<Doors>) -> Reloader {
        let super::Source { options, file, files, plugins, allow_partial } = &app.source;
        // The file of the start: that it is gone must not mean the built-in settings.
        let file = file.clone().or_else(|| options.file.clone());
        Reloader {
            config: app.config.clone(),
            options: LoadOptions { file, again: true, ..options.clone() },
            plugins,
            allow_partial: *allow_partial,
            jobs: app.jobs.clone(),
            mcp,
            doors,
            watched: Watched::new(files.clone()),
            store: app.store.clone(),
            clock: app.clock.clone(),
            noted: BTreeMap::new(),
        }
    }

    /// Reloads whenever it is asked: by a request, by the signal, or by a file. One after the other.
    pub async fn run(mut self, mut requests: Requests, mut hangup: Option<Signal>) {
        let mut beat = interval(LOOK);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut notes = interval(NOTES);
        notes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(request) = requests.recv() => {
                    let outcome = self.reload("reload_config").await;
                    request.send(outcome).ok();
                }
                _ = notes.tick() => {
                    self.follow_pauses().await;
                    self.follow_raises().await;
                    self.note_breakers().await;
                }
                () = signalled(&mut hangup) => drop(self.reload("SIGHUP").await),
                _ = beat.tick(), if self.config.reload.watch => {
                    if self.watched.settled_anew().await {
                        self.reload("a changed file").await.ok();
                    }
                }
            }
        }
    }

    /// Takes over what any process of this database has paused or resumed.
    async fn follow_pauses(&self) {
        let live = self.jobs.live();
        let before = live.registry.pauses();
        let now = match self.store.pauses().await {
            Ok(now) if now != *before => now,
            Ok(_) => return,
            // The database tells in many other places that it is away; what was paused stays so.
            Err(error) => return tracing::debug!(%error, "pauses cannot be read"),
        };
        for id in now.keys().filter(|id| !before.contains_key(*id)) {
            tracing::info!(provider.id = %id, "the provider is paused: what runs there goes on, nothing new starts");
        }
        for id in before.keys().filter(|id| !now.contains_key(*id)) {
            tracing::info!(provider.id = %id, "the provider is resumed");
        }
        let registry = live.registry.with_pauses(now);
        self.jobs.reload(live.with_registry(registry));
        self.mcp.lists_changed();
    }

    /// Takes over what any process of this database has raised.
    async fn follow_raises(&self) {
        let live = self.jobs.live();
        match self.store.raises().await {
            Ok(now) if *now == *live.rules.raises => {}
            Ok(now) => {
                tracing::info!(raises = now.len(), "the limits of teams are raised, or are their own again");
                self.jobs.reload(live.with_raises(now.into()));
            }
            Err(error) => tracing::debug!(%error, "raises cannot be read"),
        }
    }

    /// Writes down which instances this process leaves alone, for `providers list`.
    async fn note_breakers(&mut self) {
        /// Less is the time that passes while one looks.
        const SAME_US: i64 = 1_000_000;
        let (now, now_us) = (Instant::now(), self.clock.now_us());
        let live = self.jobs.live();
        for instance in live.registry.instances() {
            let open_us = instance.breaker.open_for(now).map(|left| now_us + left.as_micros() as i64);
            let noted = self.noted.get(&instance.id).copied();
            let changed = match (open_us, noted) {
                (Some(until), Some(noted)) => until > noted + SAME_US,
                (open, noted) => open.is_some() != noted.is_some(),
            };
            if changed && self.store.note_breaker(&instance.id, open_us).await.is_ok() {
                match open_us {
                    Some(until) => self.noted.insert(instance.id.clone(), until),
                    None => self.noted.remove(&instance.id),
                };
            }
        }
    }

    async fn reload(&mut self, cause: &str) -> Outcome {
        let started = Instant::now();
        let before = self.watched.now().await;
        let (prepared, files) = self.prepare().await;
        self.watched.tried(files, before).await;
        let outcome = match prepared {
            Ok(prepared) => self.swap(*prepared),
            Err(why) => Err(why),
        };
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tell(cause, duration_ms, &outcome);
        outcome
    }

    /// Everything that can fail, off the async threads.
    async fn prepare(&self) -> (Result<Box<Prepared>, NotReloaded>, Vec<PathBuf>) {
        let (options, plugins, allow_partial) = (self.options.clone(), self.plugins, self.allow_partial);
        let (config, old) = (self.config.clone(), self.jobs.live());
        let work = move || {
            let mut files = Vec::new();
            let loaded = config::load_noting(&options, plugins, &mut files);
            let prepared = loaded
                .map_err(invalid)
                .and_then(|loaded| prepare(loaded, &config, &old.registry, plugins, allow_partial));
            (prepared.map(Box::new), files)
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|gone| {
            let text = format!("reading the configuration broke off: {gone}");
            (Err(NotReloaded::Invalid(vec![sentence(text)])), self.watched.files.clone())
        })
    }

    /// Puts what is prepared in force. Only the first step can fail: what is taken away goes first, too.
    fn swap(&mut self, prepared: Prepared) -> Outcome {
        let Prepared { config, live, warnings, kept } = prepared;
        if let Some(doors) = &self.doors {
            let refused = |error| NotReloaded::Invalid(vec![sentence(format!("auth.keys: {error}"))]);
            doors.keys.reload(&config.auth.keys).map_err(refused)?;
            doors.keys.trust(|before| {
                let teams = config.teams.keys().cloned();
                Tokens::new(&config.auth.issuers, teams, &doors.http, self.clock.clone(), before)
            });
            if !same_rates(&self.config, &config) {
                doors.rates.store(Arc::new(faces::rates(&config)));
            }
        }
        let registry = live.registry.clone();
        self.jobs.reload(live.with_raises(self.jobs.live().rules.raises.clone()));
        self.mcp.reload(config.mcp.clone());
        let (changed_fields, changes) = config::changes(&self.config, &config);
        self.config = Arc::new(config);
        if !changed_fields.is_empty() {
            self.mcp.lists_changed();
        }
        let (providers, default_provider, provider_models) = standing(&registry);
        Ok(Reloaded {
            changed_fields,
            providers,
            default_provider,
            provider_models,
            restart_required_fields: kept,
            changes,
            warnings,
        })
    }
}

async fn signalled(signal: &mut Option<Signal>) {
    let came = match signal {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if came.is_none() {
        std::future::pending::<()>().await;
    }
}

fn prepare(
    loaded: Loaded,
    old: &Config,
    registry: &Registry,
    plugins: &[Plugin],
    allow_partial: bool,
) -> Result<Prepared, NotReloaded> {
    let Loaded { mut config, warnings, later, .. } = loaded;
    let kept = config::fixed(old, &config);
    if !kept.is_empty() && !allow_partial {
        let (changed_fields, _) = config::changes(old, &config);
        return Err(NotReloaded::RestartRequired { changed_fields, restart_required_fields: kept });
    }
    config::keep_fixed(&mut config, old);
    let registry = registry.rebuild(&config.provider_settings(), plugins);
    let registry =
        registry.map_err(|errors| NotReloaded::Invalid(errors.into_iter().map(sentence).collect()))?;
    let live = live(&config, Arc::new(registry))
        .map_err(|error| NotReloaded::Invalid(vec![sentence(format!("{error:#}"))]))?;
    Ok(Prepared { config, live, warnings: warnings.into_iter().chain(later).collect(), kept })
}

fn invalid(errors: ConfigErrors) -> NotReloaded {
    let wrong = |problem: config::Problem| Wrong {
        text: problem.to_string(),
        line: problem.position.map(|(line, _)| line),
        column: problem.position.map(|(_, column)| column),
        file: problem.file,
        field: problem.path,
        message: problem.message,
    };
    NotReloaded::Invalid(errors.0.into_iter().map(wrong).collect())
}

/// What has no place in a file.
fn sentence(text: String) -> Wrong {
    Wrong { file: String::new(), line: None, column: None, field: String::new(), message: text.clone(), text }
}

/// Buckets begin anew with new rates, so they stay where none changed.
fn same_rates(old: &Config, new: &Config) -> bool {
    let own = |(name, limits): (&String, &Limits)| {
        (*limits != Limits::default()).then(|| (name.clone(), limits.clone()))
    };
    let keys = |config: &Config| -> Vec<_> {
        config.auth.keys.iter().filter_map(|key| own((&key.id, &key.limits))).collect()
    };
    let teams = |config: &Config| -> Vec<_> {
        config.teams.iter().filter_map(|(name, team)| own((name, &team.limits))).collect()
    };
    old.limits == new.limits && keys(old) == keys(new) && teams(old) == teams(new)
}

type Standing = (Vec<String>, Option<String>, BTreeMap<String, DefaultModel>);

/// The providers that are on, the default one, and their default models.
fn standing(registry: &Registry) -> Standing {
    let on = || registry.instances().filter(|instance| registry.takes_jobs(instance));
    let first_target = |name: &str| {
        let models = registry.models();
        let model = models.iter().find(|model| model.name == name)?;
        model.targets.iter().find(|target| target.off.is_none()).map(|target| target.instance.clone())
    };
    let default = registry.routing.default_provider.clone();
    (
        on().map(|instance| instance.id.clone()).collect(),
        default.or_else(|| first_target(registry.default_model()?)),
        on().filter_map(|i| Some((i.id.clone(), default_model(i)?))).collect(),
    )
}

fn default_model(instance: &Upstream) -> Option<DefaultModel> {
    let fallback_model = instance.fallback_model().map(str::to_owned);
    Some(DefaultModel { model: instance.default_model()?, fallback_model })
}

/// Says in the log how a reload ended.
fn tell(cause: &str, duration_ms: u64, outcome: &Outcome) {
    match outcome {
        Ok(reloaded) => {
            for warning in &reloaded.warnings {
                tracing::warn!("{warning}");
            }
            let (changed, kept) =
                (reloaded.changed_fields.join(" "), reloaded.restart_required_fields.join(" "));
            if !kept.is_empty() {
                tracing::warn!(fields = kept, "these fields change at the next start only");
            }
            tracing::info!(cause, duration_ms, changed, "the configuration was reloaded");
        }
        Err(NotReloaded::Invalid(errors)) => {
            for wrong in errors {
                tracing::error!(
                    file = wrong.file,
                    line = wrong.line,
                    field = wrong.field,
                    "wrong configuration: {}",
                    wrong.text
                );
            }
            let errors = errors.len();
            tracing::error!(
                cause,
                duration_ms,
                errors,
                "the configuration was not reloaded; the old one stays in force"
            );
        }
        Err(NotReloaded::RestartRequired { restart_required_fields, .. }) => {
            let fields = restart_required_fields.join(" ");
            tracing::error!(
                cause,
                duration_ms,
                fields,
                "the configuration was not reloaded: these fields cannot change while the gateway runs; restart it, or \
                 start it with --allow-partial to have the rest applied"
            );
        }
        Err(NotReloaded::Stopping) => {}
    }
}

/// The files of the configuration, and how they stood when they were last tried.
struct Watched {
    files: Vec<PathBuf>,
    tried: Stamps,
    last: Stamps,
}

impl Watched {
    fn new(files: Vec<PathBuf>) -> Watched {
        let stamps = Stamps::take(&files);
        Watched { files, tried: stamps.clone(), last: stamps }
    }

    async fn now(&self) -> Stamps {
        let files = self.files.clone();
        tokio::task::spawn_blocking(move || Stamps::take(&files)).await.unwrap_or_default()
    }

    /// Whether the files differ from those last tried, and nobody has written since the last look.
    async fn settled_anew(&mut self) -> bool {
        let now = self.now().await;
        let settled = now == self.last && now != self.tried;
        self.last = now;
        settled
    }

    /// These files were tried, as they stood `before`: a change during the reading is one more.
    async fn tried(&mut self, files: Vec<PathBuf>, before: Stamps) {
        let same = files == self.files;
        self.files = files;
        self.tried = if same { before } else { self.now().await };
        self.last = self.tried.clone();
    }
}
