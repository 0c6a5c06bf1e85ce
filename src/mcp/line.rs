//! What a call may say to its caller before it answers: notifications and, in the older eras, requests.

use super::wire::frame::{self, Id};
use crate::auth::Principal;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::{collections::HashMap, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use uuid::Uuid;

/// How long a client, or the person before it, may take to answer.
const PATIENCE: Duration = Duration::from_secs(300);
/// Questions that wait for their answers, of all callers.
const QUESTIONS_MAX: usize = 10_000;

/// The way to one caller, beside the answer itself. A caller that does not read makes the call stand still.
#[derive(Clone)]
pub struct Line(mpsc::Sender<Vec<u8>>);

impl Line {
    pub fn new(out: mpsc::Sender<Vec<u8>>) -> Line {
        Line(out)
    }

    pub async fn notify(&self, method: &str, params: Value) {
        let _ = self.0.send(frame::notification(method, params)).await;
    }
}

/// Requests of ours that clients have not answered yet.
#[derive(Default)]
pub struct Questions(Mutex<HashMap<String, Question>>);

struct Question {
    /// Team and key it was put to; nobody else can answer it.
    to: (String, String),
    answer: oneshot::Sender<Map<String, Value>>,
}

fn whom(principal: &Principal) -> (String, String) {
    (principal.team.to_string(), principal.key.to_string())
}

impl Questions {
    /// Asks the caller something. `None`: it left, took too long, or too many are asked already.
    pub async fn ask(
        &self,
        line: &Line,
        to: &Principal,
        method: &str,
        params: Value,
    ) -> Option<Map<String, Value>> {
        let id = Uuid::new_v4().to_string();
        let (sender, answer) = oneshot::channel();
        {
            let mut open = self.0.lock();
            if open.len() >= QUESTIONS_MAX {
                return None;
            }
            open.insert(id.clone(), Question { to: whom(to), answer: sender });
        }
        let open = Open { questions: self, id };
        line.0.send(frame::request(&open.id, method, params)).await.ok()?;
        timeout(PATIENCE, answer).await.ok()?.ok()
    }

    /// Hands an answer to whoever waits for it. `false`: nobody does.
    pub fn answer(&self, id: Option<&Id>, of: &Principal, answer: Map<String, Value>) -> bool {
        let Some(Id::Text(id)) = id else { return false };
        let mut open = self.0.lock();
        match open.get(id).is_some_and(|question| question.to == whom(of)) {
            true => open.remove(id).is_some_and(|question| question.answer.send(answer).is_ok()),
            false => false,
        }
    }
}

/// A question that is forgotten when whoever asked it has gone.
struct Open<'a> {
    questions: &'a Questions,
    id: String,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.questions.0.lock().remove(&self.id);
    }
}
