//! Where an issuer's keys come from, and how the gateway keeps up with them: fetched at the start and every
//! `jwks_refresh`, once more when a token names a key that nobody knows, and kept while the issuer is away.

use super::jwks::KeySet;
use crate::auth::Issuer;
use arc_swap::ArcSwapOption;
use jsonwebtoken::Algorithm;
use parking_lot::Mutex;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, Semaphore, watch},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

const REFRESH: Duration = Duration::from_secs(10 * 60);
const MAX_STALE: Duration = Duration::from_secs(24 * 60 * 60);
/// Between two fetches that tokens cause, whatever they say; also the pause after a failure.
const APART: Duration = Duration::from_secs(30);
/// For one fetch, and so for a request that waits for it.
const PATIENCE: Duration = Duration::from_secs(5);
/// Requests of one issuer that wait for a fetch. Those beyond are refused at once: anybody can name a key.
const WAITING: usize = 64;
const LARGEST: usize = 256 << 10;

/// One issuer's keys.
pub struct Source {
    terms: Terms,
    http: reqwest::Client,
    /// The last good ones, and since when.
    keys: ArcSwapOption<(KeySet, Instant)>,
    state: Mutex<State>,
    wake: Notify,
    /// Fetches that have ended.
    rounds: watch::Sender<u64>,
    waiting: Semaphore,
}

/// What of an issuer's settings is about its keys.
#[derive(PartialEq)]
struct Terms {
    from: From,
    issuer: String,
    algorithms: Vec<Algorithm>,
    refresh: Duration,
    max_stale: Duration,
}

impl Terms {
    fn of(issuer: &Issuer) -> Terms {
        Terms {
            from: match (&issuer.jwks_url, &issuer.jwks_file) {
                (Some(url), _) => From::Url(url.clone()),
                (None, file) => From::File(file.clone().unwrap_or_default().into()),
            },
            issuer: issuer.issuer.clone(),
            algorithms: issuer.algorithms(),
            refresh: issuer.jwks_refresh.map_or(REFRESH, |span| *span),
            max_stale: issuer.jwks_max_stale.map_or(MAX_STALE, |span| *span),
        }
    }
}

#[derive(PartialEq)]
enum From {
    Url(String),
    File(PathBuf),
}

struct State {
    /// A fetch is under way, or is about to be: so it is at the start.
    running: bool,
    /// When a token last caused one.
    caused: Option<Instant>,
}

impl Source {
    /// Fetches nothing yet.
    pub fn new(issuer: &Issuer, http: reqwest::Client) -> Source {
        Source {
            terms: Terms::of(issuer),
            http,
            keys: ArcSwapOption::empty(),
            state: Mutex::new(State { running: true, caused: None }),
            wake: Notify::new(),
            rounds: watch::Sender::new(0),
            waiting: Semaphore::new(WAITING),
        }
    }

    /// Whether it stays as it is under these settings.
    pub fn fits(&self, issuer: &Issuer) -> bool {
        self.terms == Terms::of(issuer)
    }

    /// The keys that count now; `None`: never fetched, or too long ago.
    pub fn keys(&self) -> Option<Arc<(KeySet, Instant)>> {
        self.keys.load_full().filter(|keys| keys.1.elapsed() <= self.terms.max_stale)
    }

    /// Waits for a fetch that may bring a key nobody knows. `true`: there may be other keys now.
    pub async fn ask_again(&self) -> bool {
        let mut rounds = self.rounds.subscribe();
        {
            let mut state = self.state.lock();
            if !state.running {
                if state.caused.is_some_and(|at| at.elapsed() < APART) {
                    return rounds.has_changed().unwrap_or(false);
                }
                state.caused = Some(Instant::now());
                state.running = true;
                self.wake.notify_one();
            }
        }
        let Ok(_place) = self.waiting.try_acquire() else { return false };
        timeout(PATIENCE, rounds.changed()).await.is_ok_and(|changed| changed.is_ok())
    }

    /// Fetches soon, whatever was fetched before: the operator asked for it.
    pub fn refresh_now(&self) {
        self.state.lock().running = true;
        self.wake.notify_one();
    }

    /// Keeps up until it is dropped.
    async fn follow(&self) {
        loop {
            self.state.lock().running = true;
            let pause = match self.fetch().await {
                Ok(set) => {
                    self.take(set);
                    self.terms.refresh
                }
                Err(why) => {
                    let known = self.keys().is_some();
                    tracing::warn!(
                        issuer = self.terms.issuer,
                        why,
                        known,
                        "the keys of an issuer cannot be fetched"
                    );
                    self.terms.refresh.min(APART)
                }
            };
            self.state.lock().running = false;
            self.rounds.send_modify(|rounds| *rounds += 1);
            let due = Instant::now() + pause;
            loop {
                tokio::select! {
                    () = sleep_until(due) => break,
                    () = self.wake.notified() => if self.state.lock().running { break },
                }
            }
        }
    }

    fn take(&self, set: KeySet) {
        let old = self.keys.load();
        let prints = |set: &KeySet| set.keys.iter().map(|key| key.print).collect::<Vec<_>>();
        if old.as_ref().is_none_or(|old| prints(&old.0) != prints(&set)) {
            for why in &set.skipped {
                tracing::warn!(issuer = self.terms.issuer, "an issuer's key is not used: {why}");
            }
            tracing::info!(issuer = self.terms.issuer, keys = set.keys.len(), "an issuer has new keys");
        }
        self.keys.store(Some(Arc::new((set, Instant::now()))));
    }

    /// # Errors
    /// Why there are none, without what the issuer said.
    pub async fn fetch(&self) -> Result<KeySet, String> {
        let text = match &self.terms.from {
            From::File(path) => {
                tokio::fs::read(path).await.map_err(|e| format!("the file cannot be read: {}", e.kind()))?
            }
            From::Url(url) => match timeout(PATIENCE, self.download(url)).await {
                Ok(text) => text?,
                Err(_) => return Err(format!("no answer in {} s", PATIENCE.as_secs())),
            },
        };
        if text.len() > LARGEST {
            return Err(format!("it has more than {} KiB", LARGEST >> 10));
        }
        KeySet::read(&text, &self.terms.algorithms)
    }

    async fn download(&self, url: &str) -> Result<Vec<u8>, String> {
        let call = self.http.get(url).header("accept", "application/jwk-set+json, application/json");
        let failed = |error: reqwest::Error| match error.is_connect() {
            true => "it cannot be reached".to_owned(),
            false => "the connection broke off".to_owned(),
        };
        let mut answer = call.send().await.map_err(failed)?;
        if answer.status() != http::StatusCode::OK {
            return Err(format!("it answers {}", answer.status()));
        }
        let mut text = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(failed)? {
            text.extend_from_slice(&piece);
            if text.len() > LARGEST {
                break;
            }
        }
        Ok(text)
    }
}

/// A source that keeps up for as long as this lives.
pub struct Followed {
    pub source: Arc<Source>,
    task: JoinHandle<()>,
}

impl Followed {
    pub fn start(source: Source) -> Followed {
        let source = Arc::new(source);
        let following = source.clone();
        Followed { source, task: tokio::spawn(async move { following.follow().await }) }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}
