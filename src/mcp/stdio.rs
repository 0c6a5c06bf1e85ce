//! MCP over stdio: one JSON value a line, the same dispatcher, requests beside each other.

use super::{
    Mcp,
    batch::Batch,
    call::{Call, Peer},
    dispatch,
    errors::Fault,
    http::progress_token,
    wire::{
        era::{self, Era, Version},
        frame::{self, Id, Message, NoId, Request},
        headers,
        progress::{MOMENTS, Narrated, Told},
        stdio::{Line, Lines},
    },
};
use crate::auth::Principal;
use serde_json::{Map, Value};
use std::{collections::HashMap, io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::{mpsc, watch},
    task::{AbortHandle, Id as TaskId, JoinSet},
    time::{Instant, sleep_until},
};

/// Requests that run at the same time; then reading stands still.
const CONCURRENT: usize = 64;
/// Lines that wait to be written.
const OUTBOX: usize = 64;
/// After the end of the input: how long requests may go on by themselves, and how long at all.
const GRACE: Duration = Duration::from_secs(2);
const GRACE_MAX: Duration = Duration::from_secs(5);

impl Mcp {
    /// Serves one client until its input ends; what it asked before that is answered.
    ///
    /// # Errors
    /// Input or output broke.
    pub async fn stdio<R, W>(&self, principal: Arc<Principal>, input: R, mut output: W) -> io::Result<()>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let (outbox, mut lines) = mpsc::channel::<Vec<u8>>(OUTBOX);
        let write = async move {
            while let Some(mut line) = lines.recv().await {
                line.push(b'\n');
                output.write_all(&line).await?;
                output.flush().await?;
            }
            Ok(())
        };
        let (closing, closed) = watch::channel(false);
        let connection = Connection {
            mcp: self.clone(),
            principal,
            agreed: None,
            client: None,
            running: JoinSet::new(),
            open: HashMap::new(),
            outbox,
            closed,
        };
        tokio::try_join!(connection.serve(Lines::new(input), closing), write)?;
        Ok(())
    }
}

/// What one process has told us, and what it waits for.
struct Connection {
    mcp: Mcp,
    principal: Arc<Principal>,
    /// Settled by `initialize`; from then on this process is legacy.
    agreed: Option<Version>,
    client: Option<String>,
    running: JoinSet<()>,
    /// The requests that run, to be cancelled by id.
    open: HashMap<Id, AbortHandle>,
    outbox: mpsc::Sender<Vec<u8>>,
    closed: watch::Receiver<bool>,
}

impl Connection {
    async fn serve<R: AsyncRead + Unpin>(
        mut self,
        mut lines: Lines<R>,
        closing: watch::Sender<bool>,
    ) -> io::Result<()> {
        loop {
            tokio::select! {
                Some(done) = self.running.join_next_with_id(), if !self.running.is_empty() => {
                    self.forget(done.map_or_else(|error| error.id(), |(id, ())| id));
                }
                line = lines.next(), if self.running.len() < CONCURRENT => match line? {
                    Some(Line::Text(text)) => self.line(&text).await,
                    Some(Line::TooLong) => self.refuse(None, &Fault::invalid_request("the line is too long")).await,
                    None => break,
                },
            }
        }
        self.finish(closing).await;
        Ok(())
    }

    /// Lets what runs come to its answer; waits are cut short after a moment.
    async fn finish(&mut self, closing: watch::Sender<bool>) {
        let ended = Instant::now();
        let mut cut = false;
        while !self.running.is_empty() {
            let until = ended + if cut { GRACE_MAX } else { GRACE };
            tokio::select! {
                _ = self.running.join_next() => {}
                () = sleep_until(until) => {
                    if cut {
                        self.running.shutdown().await;
                    }
                    cut = true;
                    let _ = closing.send(true);
                }
            }
        }
    }

    fn forget(&mut self, task: TaskId) {
        self.open.retain(|_, handle| handle.id() != task);
    }

    /// A client that does not read its answers stops us here, which is right: there is nobody to serve.
    async fn send(&self, json: Vec<u8>) {
        let _ = self.outbox.send(json).await;
    }

    async fn refuse(&self, id: Option<&Id>, fault: &Fault) {
        let no_id = match self.agreed {
            Some(version) if version < Version::V2025_11_25 => NoId::Null,
            _ => NoId::Omitted,
        };
        self.send(frame::refusal(id, fault, no_id).json).await;
    }

    async fn line(&mut self, text: &[u8]) {
        let message = match frame::parse(text) {
            Ok(Value::Array(items)) => return self.batch(items).await,
            Ok(value) => frame::read(value),
            Err(fault) => return self.refuse(None, &fault).await,
        };
        match message {
            Ok(Message::Request(request)) => self.request(request).await,
            Ok(Message::Notification { method, params }) => self.notification(&method, &params),
            // We ask nothing, so this answers nothing.
            Ok(Message::Response) => {}
            Err(malformed) => self.refuse(malformed.id.as_ref(), &malformed.fault).await,
        }
    }

    /// The requests of a batch are answered together and cannot be cancelled one by one.
    async fn batch(&mut self, items: Vec<Value>) {
        let batch = match self.agreed {
            Some(Version::V2025_03_26) => Batch::read(items),
            _ => Err(Fault::invalid_request("only 2025-03-26 has batches")),
        };
        match batch {
            Ok(batch) => {
                let (mcp, outbox) = (self.mcp.clone(), self.outbox.clone());
                let started = batch.start(&mcp, |request| self.admit(request));
                self.running.spawn(async move {
                    if let Some(json) = started.answers().await {
                        let _ = outbox.send(json).await;
                    }
                });
            }
            Err(fault) => self.refuse(None, &fault).await,
        }
    }

    fn notification(&mut self, method: &str, params: &Map<String, Value>) {
        if method == "notifications/cancelled"
            && let Some(id) = params.get("requestId").and_then(Id::read)
            && let Some(handle) = self.open.remove(&id)
        {
            handle.abort();
        }
    }

    async fn request(&mut self, request: Request) {
        if self.open.contains_key(&request.id) {
            let fault = Fault::invalid_request("a request with this id is still running");
            return self.refuse(Some(&request.id), &fault).await;
        }
        let call = match self.admit(&request) {
            Ok(call) => call,
            Err(fault) => return self.refuse(Some(&request.id), &fault).await,
        };
        let (mcp, outbox, id) = (self.mcp.clone(), self.outbox.clone(), request.id.clone());
        let handle = self.running.spawn(async move {
            match progress_token(&request) {
                None => {
                    let _ = outbox.send(mcp.start(call, request).await.json).await;
                }
                Some(token) => {
                    let (sender, moments) = mpsc::channel(MOMENTS);
                    let running = mcp.start(Call { moments: Some(sender), ..call }, request);
                    let heartbeat = *mcp.inner.settings.heartbeat;
                    narrate(Narrated::new(running, moments, token, heartbeat), &outbox).await;
                }
            }
        });
        self.open.insert(id, handle);
    }

    fn admit(&mut self, request: &Request) -> Result<Call, Fault> {
        let peer = match era::classify_stdio(self.agreed, &request.method, &request.params) {
            Era::Modern => {
                let peer = headers::check_modern(None, request)?;
                Peer { version: Version::V2026_07_28, client: peer.client, bare: false }
            }
            Era::Legacy(version) => {
                if request.method == "initialize" {
                    self.agreed = Some(dispatch::agreed(request));
                    let info = request.params.get("clientInfo");
                    self.client =
                        info.and_then(|info| info.get("name")).and_then(Value::as_str).map(str::to_owned);
                }
                let version = self.agreed.unwrap_or(version);
                Peer { version, client: self.client.clone(), bare: false }
            }
        };
        let call = Call {
            principal: Arc::clone(&self.principal),
            peer,
            idempotency_key: None,
            moments: None,
            closing: Some(self.closed.clone()),
        };
        dispatch::admit(&self.mcp.inner, &call, request)?;
        Ok(call)
    }
}

/// Writes what a call tells, dropping progress where the client reads too slowly.
async fn narrate(mut call: Narrated, outbox: &mpsc::Sender<Vec<u8>>) {
    while let Some(told) = call.next().await {
        match told {
            Told::Progress(json) | Told::Alive(Some(json)) => {
                let _ = outbox.try_send(json);
            }
            Told::Alive(None) => {}
            Told::Answer(outcome) => {
                let _ = outbox.send(outcome.json).await;
            }
        }
    }
}
