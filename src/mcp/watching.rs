//! Resources that a client watches: `resources/subscribe` of the older eras, `resourceSubscriptions` of 2026-07-28.
//!
//! Watched are jobs (`job://{id}`, while they run) and the lists of what there is to choose from (after a reload).
//! Images never change. Nothing queues up: a resource that changed twice since the client was told is told once.

use super::{
    Inner,
    call::Call,
    errors::Fault,
    resources,
    wire::{
        frame::{self, Request},
        listening::News,
    },
};
use crate::auth::Scope;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep},
};
use uuid::Uuid;

/// Resources and tasks that one client may watch.
pub const WATCHED_MAX: usize = 32;
/// A job tells of its progress at most this often.
const JOB_EVERY: Duration = Duration::from_secs(1);
/// A job ends sooner by itself.
const JOB_LONGEST: Duration = Duration::from_secs(86_400);
const TASK: &str = "task:";

/// The URIs that one client watches. Shared by the requests that change it and the stream that tells.
#[derive(Default)]
pub struct WatchList {
    uris: Mutex<BTreeSet<String>>,
    changed: watch::Sender<()>,
}

impl WatchList {
    pub fn of(uris: impl IntoIterator<Item = String>) -> WatchList {
        WatchList {
            uris: Mutex::new(uris.into_iter().take(WATCHED_MAX).collect()),
            changed: watch::Sender::default(),
        }
    }

    fn add(&self, uri: &str) -> Result<(), Fault> {
        let mut uris = self.uris.lock();
        if uris.len() >= WATCHED_MAX && !uris.contains(uri) {
            let why = format!("a client can watch {WATCHED_MAX} resources; unsubscribe from one first");
            return Err(Fault::invalid_params(&why));
        }
        uris.insert(uri.to_owned());
        drop(uris);
        self.changed.send_replace(());
        Ok(())
    }

    fn remove(&self, uri: &str) {
        self.uris.lock().remove(uri);
        self.changed.send_replace(());
    }

    pub fn is_empty(&self) -> bool {
        self.uris.lock().is_empty()
    }
}

/// # Errors
/// `uri` is missing, the caller may not read, or there is nowhere to tell it.
pub fn admit(call: &Call, request: &Request) -> Result<(), Fault> {
    if !call.hears {
        return Err(Fault::method_not_found(&request.method, false));
    }
    if call.watches.is_none() {
        let why = "open a session first: send initialize, and Mcp-Session-Id with every request";
        return Err(Fault::invalid_params(why));
    }
    resources::admit(call, &request.params)
}

/// `resources/subscribe`.
///
/// # Errors
/// There is no such resource, it never changes, or too many are watched.
pub async fn subscribe(inner: &Inner, call: &Call, params: &Map<String, Value>) -> Result<Value, Fault> {
    let uri = params.get("uri").and_then(Value::as_str).unwrap_or_default();
    if !is_there(inner, call, uri).await? {
        return Err(Fault::no_resource(uri, call.peer.is_modern()));
    }
    if !changes(uri) {
        return Err(Fault::invalid_params("this resource never changes; job:// and the lists do"));
    }
    call.watches.as_ref().map_or(Ok(()), |watches| watches.add(uri))?;
    Ok(json!({}))
}

/// `resources/unsubscribe`. What was not watched is not missed.
pub fn unsubscribe(call: &Call, params: &Map<String, Value>) -> Value {
    if let (Some(watches), Some(uri)) = (&call.watches, params.get("uri").and_then(Value::as_str)) {
        watches.remove(uri);
    }
    json!({})
}

/// Of the resources that a modern client wants to hear of, those that it will hear of.
///
/// # Errors
/// The database is away.
pub async fn honoured(inner: &Inner, call: &Call, params: &Map<String, Value>) -> Result<Vec<String>, Fault> {
    let asked = params.get("notifications").and_then(|n| n.get("resourceSubscriptions"));
    let asked = asked.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut uris = Vec::new();
    for uri in asked.iter().filter_map(Value::as_str).take(WATCHED_MAX) {
        if call.principal.may(Scope::ImagesRead) && changes(uri) && is_there(inner, call, uri).await? {
            uris.push(uri.to_owned());
        }
    }
    Ok(uris)
}

fn job_id(uri: &str) -> Option<Uuid> {
    uri.strip_prefix("job://").and_then(|id| Uuid::try_parse(id).ok())
}

/// A job that is watched as a task, among the URIs of resources. No resource has such a one.
pub fn task(id: Uuid) -> String {
    format!("{TASK}{id}")
}

pub fn task_id(watched: &str) -> Option<Uuid> {
    watched.strip_prefix(TASK).and_then(|id| Uuid::try_parse(id).ok())
}

fn watched_job(watched: &str) -> Option<Uuid> {
    job_id(watched).or_else(|| task_id(watched))
}

fn changes(uri: &str) -> bool {
    job_id(uri).is_some() || resources::is_list(uri)
}

async fn is_there(inner: &Inner, call: &Call, uri: &str) -> Result<bool, Fault> {
    match job_id(uri) {
        Some(id) => Ok(inner.backend.job(call.team(), id).await?.is_some()),
        None if resources::is_list(uri) => Ok(true),
        None => {
            let params = Map::from_iter([("uri".to_owned(), json!(uri))]);
            Ok(resources::read(inner, call, &params).await.is_ok())
        }
    }
}

/// Follows a list of watched resources. Dropping it ends the watch.
pub struct Watching {
    inner: Arc<Inner>,
    team: String,
    list: Arc<WatchList>,
    changed: watch::Receiver<()>,
    news: watch::Receiver<News>,
    told: u64,
    /// Lists that have changed and were not told yet.
    waiting: BTreeSet<String>,
    jobs: Option<Jobs>,
}

/// The jobs that are watched.
struct Jobs {
    tasks: JoinSet<()>,
    watched: BTreeMap<String, AbortHandle>,
    out: mpsc::Sender<String>,
    changed: mpsc::Receiver<String>,
}

impl Watching {
    pub fn new(inner: &Arc<Inner>, team: &str, list: Arc<WatchList>) -> Watching {
        let mut news = inner.news.subscribe();
        let told = news.borrow_and_update().lists;
        let mut changed = list.changed.subscribe();
        changed.mark_changed();
        let (inner, team) = (Arc::clone(inner), team.to_owned());
        Watching { inner, team, list, changed, news, told, waiting: BTreeSet::new(), jobs: None }
    }

    /// The next resource that has changed. May be dropped and called again.
    pub async fn next(&mut self) -> String {
        loop {
            if let Some(uri) = self.waiting.pop_first() {
                return uri;
            }
            tokio::select! {
                Ok(()) = self.changed.changed() => self.follow(),
                Ok(()) = self.news.changed() => {
                    let lists = self.news.borrow_and_update().lists;
                    if lists != self.told {
                        self.told = lists;
                        let uris = self.list.uris.lock();
                        self.waiting.extend(uris.iter().filter(|uri| resources::is_list(uri)).cloned());
                    }
                }
                uri = next_job(&mut self.jobs) => return uri,
            }
        }
    }

    /// Watches what is on the list, and only that.
    fn follow(&mut self) {
        let uris: BTreeSet<String> =
            self.list.uris.lock().iter().filter(|uri| watched_job(uri).is_some()).cloned().collect();
        if uris.is_empty() {
            self.jobs = None;
            return;
        }
        let jobs = self.jobs.get_or_insert_with(|| {
            let (out, changed) = mpsc::channel(WATCHED_MAX);
            Jobs { tasks: JoinSet::new(), watched: BTreeMap::new(), out, changed }
        });
        jobs.watched.retain(|uri, task| {
            uris.contains(uri) || {
                task.abort();
                false
            }
        });
        for uri in uris {
            let Some(id) = watched_job(&uri).filter(|_| !jobs.watched.contains_key(&uri)) else { continue };
            let (inner, team, out) = (Arc::clone(&self.inner), self.team.clone(), jobs.out.clone());
            let task = jobs.tasks.spawn(watch_job(inner, team, id, uri.clone(), out));
            jobs.watched.insert(uri, task);
        }
    }
}

async fn next_job(jobs: &mut Option<Jobs>) -> String {
    match jobs {
        // The sender beside it keeps it open.
        Some(jobs) => match jobs.changed.recv().await {
            Some(uri) => uri,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

/// Tells of a job's progress, and of its end; nothing of one that has ended, but for a task: who asks for a task and
/// then listens would not hear of an end in between.
async fn watch_job(inner: Arc<Inner>, team: String, id: Uuid, uri: String, out: mpsc::Sender<String>) {
    match inner.backend.job(&team, id).await {
        Ok(Some(view)) if !view.job.state.is_final() => {}
        Ok(Some(_)) if task_id(&uri).is_some() => {
            let _ = out.send(uri).await;
            return;
        }
        _ => return,
    }
    let (sender, mut moments) = watch::channel(None);
    let until = Instant::now() + JOB_LONGEST;
    let ids = [id];
    let mut wait = inner.backend.wait(&team, &ids, until, Some(sender));
    loop {
        tokio::select! {
            _ = &mut wait => {
                let _ = out.send(uri).await;
                return;
            }
            Ok(()) = moments.changed() => {
                if out.send(uri.clone()).await.is_err() {
                    return;
                }
                tokio::select! {
                    _ = &mut wait => {
                        let _ = out.send(uri).await;
                        return;
                    }
                    () = sleep(JOB_EVERY) => {}
                }
            }
        }
    }
}

/// The notification that a resource has changed.
pub fn updated(uri: &str) -> Vec<u8> {
    frame::notification("notifications/resources/updated", json!({"uri": uri}))
}
