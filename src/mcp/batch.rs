//! Batches, which only 2025-03-26 has: several messages in one array.

use super::{
    Mcp,
    call::Call,
    errors::Fault,
    wire::frame::{self, Malformed, Message, NoId, Request},
};
use serde_json::Value;
use tokio::task::JoinSet;

/// Messages of one batch.
const BATCH_MAX: usize = 20;

pub struct Batch {
    messages: Vec<Result<Message, Malformed>>,
}

impl Batch {
    /// # Errors
    /// It is empty, too long, or holds a handshake.
    pub fn read(items: Vec<Value>) -> Result<Batch, Fault> {
        if items.is_empty() || items.len() > BATCH_MAX {
            return Err(Fault::invalid_request(&format!("a batch has 1 to {BATCH_MAX} messages")));
        }
        let batch = Batch { messages: items.into_iter().map(frame::read).collect() };
        if batch.requests().any(|request| request.method == "initialize") {
            return Err(Fault::invalid_request("initialize cannot be part of a batch"));
        }
        Ok(batch)
    }

    /// One `Idempotency-Key` was sent with these messages.
    ///
    /// # Errors
    /// There are several calls that it could stand for.
    pub fn keyed(items: &[Value]) -> Result<(), Fault> {
        let calls =
            items.iter().filter(|item| item.get("method").and_then(Value::as_str) == Some("tools/call"));
        match calls.count() {
            0 | 1 => Ok(()),
            _ => Err(Fault::invalid_request("one Idempotency-Key cannot stand for several calls")),
        }
    }

    pub fn requests(&self) -> impl Iterator<Item = &Request> {
        self.messages.iter().filter_map(|message| match message {
            Ok(Message::Request(request)) => Some(request),
            _ => None,
        })
    }

    /// Admits every request, then lets them run beside each other.
    pub fn start(self, mcp: &Mcp, mut admit: impl FnMut(&Request) -> Result<Call, Fault>) -> Started {
        let mut running = JoinSet::new();
        let mut answers = Vec::with_capacity(self.messages.len());
        for (at, message) in self.messages.into_iter().enumerate() {
            answers.push(match message {
                Ok(Message::Request(request)) => match admit(&request) {
                    Ok(call) => {
                        let (id, started) = (request.id.clone(), mcp.start(call, request));
                        running.spawn(async move { (at, started.await.json) });
                        // Stands should the call break down.
                        Some(frame::refusal(Some(&id), &Fault::internal(), NoId::Null).json)
                    }
                    Err(fault) => Some(frame::refusal(Some(&request.id), &fault, NoId::Null).json),
                },
                Ok(_) => None,
                Err(bad) => Some(frame::refusal(bad.id.as_ref(), &bad.fault, NoId::Null).json),
            });
        }
        Started { running, answers }
    }
}

/// A batch whose calls run. Dropping it ends them.
pub struct Started {
    running: JoinSet<(usize, Vec<u8>)>,
    /// By place in the batch; nothing where nothing was asked.
    answers: Vec<Option<Vec<u8>>>,
}

impl Started {
    /// The answers in the order of the requests, as one array; `None` when nothing was asked.
    pub async fn answers(mut self) -> Option<Vec<u8>> {
        while let Some(done) = self.running.join_next().await {
            if let Ok((at, json)) = done {
                self.answers[at] = Some(json);
            }
        }
        let answers: Vec<Vec<u8>> = self.answers.into_iter().flatten().collect();
        (!answers.is_empty()).then(|| [&b"["[..], &answers.join(&b','), b"]"].concat())
    }
}
