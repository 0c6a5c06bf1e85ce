//! A client that wants to hear when lists change: `subscriptions/listen` of 2026-07-28, and its older forms.
//!
//! Nothing queues up: however often something changed since a client was told, it is told once.

use super::{
    era::key,
    frame::{self, Id},
};
use crate::mcp::errors::Fault;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::{collections::VecDeque, pin::Pin, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// What there is to hear of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct News {
    /// Rises whenever the lists may have changed.
    pub lists: u64,
    /// The server stops: nothing comes any more.
    pub over: bool,
}

/// The lists a client wants to hear of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lists {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    tools_list_changed: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    prompts_list_changed: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    resources_list_changed: bool,
}

impl Lists {
    pub const ALL: Lists =
        Lists { tools_list_changed: true, prompts_list_changed: true, resources_list_changed: true };

    /// What of a request's `notifications` is honoured; `None`: it is no object.
    pub fn asked(params: &Map<String, Value>) -> Option<Lists> {
        let asked = params.get("notifications")?.as_object()?;
        let wants = |name: &str| asked.get(name) == Some(&Value::Bool(true));
        Some(Lists {
            tools_list_changed: wants("toolsListChanged"),
            prompts_list_changed: wants("promptsListChanged"),
            resources_list_changed: wants("resourcesListChanged"),
        })
    }

    /// The methods of its notifications.
    pub fn methods(self) -> impl Iterator<Item = &'static str> {
        let all = [
            (self.tools_list_changed, "notifications/tools/list_changed"),
            (self.prompts_list_changed, "notifications/prompts/list_changed"),
            (self.resources_list_changed, "notifications/resources/list_changed"),
        ];
        all.into_iter().filter(|(wanted, _)| *wanted).map(|(_, method)| method)
    }
}

/// What a listening client is sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    Message(Vec<u8>),
    /// Nothing happened for a while.
    Alive,
}

/// What a subscription hears of beside the lists.
pub trait Watched: Send {
    /// That, as the acknowledgement says it.
    fn honoured(&self) -> Map<String, Value>;
    /// The next notification: its method and its parameters, an object. May be dropped and called again.
    fn next(&mut self) -> Pin<Box<dyn Future<Output = (&'static str, Value)> + Send + '_>>;
}

/// One open subscription.
pub struct Subscription {
    id: Id,
    lists: Lists,
    watched: Option<Box<dyn Watched>>,
    news: watch::Receiver<News>,
    told: u64,
    /// To be sent first.
    waiting: VecDeque<Vec<u8>>,
    ended: bool,
    heartbeat: Duration,
    next_beat: Instant,
}

impl Subscription {
    /// `id`: of the request.
    pub fn new(
        id: Id,
        lists: Lists,
        watched: Option<Box<dyn Watched>>,
        mut news: watch::Receiver<News>,
        heartbeat: Duration,
    ) -> Subscription {
        let told = news.borrow_and_update().lists;
        let meta = json!({key!("subscriptionId"): &id});
        let mut acknowledged = json!({"notifications": lists, "_meta": meta});
        for (name, honoured) in watched.iter().flat_map(|watched| watched.honoured()) {
            acknowledged["notifications"][name] = honoured;
        }
        let waiting = [frame::notification("notifications/subscriptions/acknowledged", acknowledged)].into();
        let next_beat = Instant::now() + heartbeat;
        Subscription { id, lists, watched, news, told, waiting, ended: false, heartbeat, next_beat }
    }

    /// The next message; `None` after the last. May be dropped and called again.
    pub async fn next(&mut self) -> Option<Heard> {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                self.next_beat = Instant::now() + self.heartbeat;
                return Some(Heard::Message(message));
            }
            if self.ended {
                return None;
            }
            let news = *self.news.borrow_and_update();
            if news.over {
                self.ended = true;
                self.waiting.push_back(self.end());
            } else if news.lists != self.told {
                self.told = news.lists;
                let params = json!({"_meta": {key!("subscriptionId"): &self.id}});
                let methods = self.lists.methods();
                self.waiting.extend(methods.map(|method| frame::notification(method, &params)));
            } else {
                tokio::select! {
                    changed = self.news.changed() => self.ended = changed.is_err(),
                    (method, mut params) = next_watched(&mut self.watched) => {
                        params["_meta"] = json!({key!("subscriptionId"): &self.id});
                        self.waiting.push_back(frame::notification(method, params));
                    }
                    () = sleep_until(self.next_beat) => {
                        self.next_beat = Instant::now() + self.heartbeat;
                        return Some(Heard::Alive);
                    }
                }
            }
        }
    }

    /// The result of the request: the server ends it in good order.
    fn end(&self) -> Vec<u8> {
        let result = json!({"resultType": "complete", "_meta": {key!("subscriptionId"): &self.id}});
        let result = serde_json::value::to_raw_value(&result).map_err(|_| Fault::internal());
        frame::answer(&self.id, result).json
    }
}

async fn next_watched(watched: &mut Option<Box<dyn Watched>>) -> (&'static str, Value) {
    match watched {
        Some(watched) => watched.next().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(heard: Option<Heard>) -> Value {
        match heard {
            Some(Heard::Message(json)) => serde_json::from_slice(&json).unwrap(),
            other => panic!("a message is expected: {other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_was_asked_for_is_told_once_and_the_end_is_an_answer() {
        let (news, hears) = watch::channel(News { lists: 7, over: false });
        let asked = json!({"notifications": {"toolsListChanged": true, "promptsListChanged": false, "taskIds": ["x"]}});
        let lists = Lists::asked(asked.as_object().unwrap()).unwrap();
        let id = Id::read(&json!("s1")).unwrap();
        let mut listening = Subscription::new(id, lists, None, hears, Duration::from_secs(15));
        let first = heard(listening.next().await);
        assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
        assert_eq!(first["params"]["notifications"], json!({"toolsListChanged": true}));
        assert_eq!(first["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], "s1");
        assert_eq!(listening.next().await, Some(Heard::Alive), "old news are no news");

        news.send_modify(|news| news.lists += 1);
        news.send_modify(|news| news.lists += 1);
        let told = heard(listening.next().await);
        assert_eq!(told["method"], "notifications/tools/list_changed");
        assert_eq!(told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], "s1");
        assert_eq!(listening.next().await, Some(Heard::Alive), "once for both");

        news.send_modify(|news| news.over = true);
        let end = heard(listening.next().await);
        assert_eq!((&end["id"], &end["result"]["resultType"]), (&json!("s1"), &json!("complete")));
        assert_eq!(listening.next().await, None);
    }
}
