//! What a subscription of 2026-07-28 hears of beside the lists: resources and tasks.

use super::{Form, shape};
use crate::mcp::{
    Inner,
    call::Call,
    watching::{self, WATCHED_MAX, WatchList, Watching},
    wire::listening::Watched,
};
use serde_json::{Map, Value, json};
use std::{pin::Pin, sync::Arc};
use uuid::Uuid;

/// A client that listens.
pub struct Subscribed {
    inner: Arc<Inner>,
    call: Call,
    uris: Vec<String>,
    tasks: Vec<Uuid>,
    watching: Watching,
    /// Has changed and was not told yet.
    due: Option<String>,
}

impl Subscribed {
    /// `None`: there is nothing to watch.
    pub fn to(
        inner: &Arc<Inner>,
        call: &Call,
        mut uris: Vec<String>,
        mut tasks: Vec<Uuid>,
    ) -> Option<Box<dyn Watched>> {
        uris.sort();
        uris.dedup();
        tasks.truncate(WATCHED_MAX.saturating_sub(uris.len()));
        if uris.is_empty() && tasks.is_empty() {
            return None;
        }
        let watched = uris.iter().cloned().chain(tasks.iter().map(|id| watching::task(*id)));
        let watching = Watching::new(inner, call.team(), Arc::new(WatchList::of(watched)));
        let (inner, call) = (Arc::clone(inner), call.clone());
        Some(Box::new(Subscribed { inner, call, uris, tasks, watching, due: None }))
    }

    /// Nothing is lost where this is dropped: what is due stays so until it is told.
    async fn told(&mut self) -> (&'static str, Value) {
        loop {
            let due = match &self.due {
                Some(due) => due.clone(),
                None => self.watching.next().await,
            };
            self.due = Some(due.clone());
            let told = match watching::task_id(&due) {
                None => Some(("notifications/resources/updated", json!({"uri": due}))),
                Some(id) => self.task(id).await.map(|task| ("notifications/tasks", task)),
            };
            self.due = None;
            if let Some(told) = told {
                return told;
            }
        }
    }

    /// A task as `tasks/get` shows it. What cannot be read now is told by its next change, or asked for.
    async fn task(&self, id: Uuid) -> Option<Value> {
        let view = self.inner.backend.job(self.call.team(), id).await.ok()??;
        let task = shape::detailed(&self.inner, &self.call, Form::Extension, &view).await.ok()?;
        serde_json::to_value(task).ok()
    }
}

impl Watched for Subscribed {
    fn honoured(&self) -> Map<String, Value> {
        let mut honoured = Map::new();
        if !self.uris.is_empty() {
            honoured.insert("resourceSubscriptions".into(), json!(self.uris));
        }
        if !self.tasks.is_empty() {
            honoured.insert("taskIds".into(), json!(self.tasks));
        }
        honoured
    }

    fn next(&mut self) -> Pin<Box<dyn Future<Output = (&'static str, Value)> + Send + '_>> {
        Box::pin(self.told())
    }
}
