//! A client that stays: one process on stdio, or one stream of the old HTTP+SSE transport. Its messages come one after
//! the other, its requests run beside each other, and whatever is to be told goes one way out.

use super::{
    Mcp, apps,
    batch::Batch,
    call::{Call, Peer, Profile},
    dispatch,
    errors::Fault,
    http::progress_token,
    line::Line,
    watching::{WatchList, Watching, updated},
    wire::{
        era::{self, Era, Version},
        frame::{self, Id, Message, NoId, Request},
        headers::{self, Mirrored},
        listening::{Heard, Lists, News, Subscription},
        progress::{Narrated, Told},
    },
};
use crate::auth::Principal;
use serde_json::{Map, Value};
use std::{collections::HashMap, io, sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, watch},
    task::{AbortHandle, Id as TaskId, JoinSet},
    time::{Instant, sleep_until},
};

/// Requests that run at the same time; then reading stands still.
const CONCURRENT: usize = 64;
/// Subscriptions that are held open beside them.
const LISTENERS: usize = 16;
/// After the end of the input: how long requests may go on by themselves, and how long at all.
const GRACE: Duration = Duration::from_secs(2);
const GRACE_MAX: Duration = Duration::from_secs(5);

/// Memory that a message holds.
type Share = Option<OwnedSemaphorePermit>;

/// What came in.
pub struct Said {
    pub message: Result<Value, Fault>,
    /// Who says it, where each message shows a credential: scopes may be others than when the stream was opened.
    pub principal: Option<Arc<Principal>>,
    /// From the `Idempotency-Key` header, where there are headers.
    pub idempotency_key: Option<String>,
    /// The memory that it takes until it is answered, where that is counted.
    pub share: Share,
}

/// Where messages come from.
pub trait Input {
    /// The next one; `None` at the end. May be dropped and called again.
    fn next(&mut self) -> impl Future<Output = io::Result<Option<Said>>> + Send;
}

/// Which eras a transport has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eras {
    All,
    /// Those with a handshake.
    Older,
}

/// What one client has told us, and what it waits for.
pub struct Connection {
    mcp: Mcp,
    profile: Profile,
    principal: Arc<Principal>,
    eras: Eras,
    /// Settled by `initialize`; from then on this client is legacy.
    agreed: Option<Version>,
    client: Option<String>,
    apps: bool,
    running: JoinSet<()>,
    /// The requests that run, to be cancelled by id.
    open: HashMap<Id, AbortHandle>,
    outbox: mpsc::Sender<Vec<u8>>,
    closing: watch::Sender<bool>,
    news: watch::Receiver<News>,
    /// An older client that has had its handshake: it hears of every change.
    hears: bool,
    /// Subscriptions that are held open.
    listeners: Vec<AbortHandle>,
    watches: Arc<WatchList>,
    watching: Watching,
}

impl Connection {
    /// `outbox` takes what is told, one JSON value at a time.
    pub fn new(
        mcp: &Mcp,
        profile: Profile,
        principal: Arc<Principal>,
        eras: Eras,
        outbox: mpsc::Sender<Vec<u8>>,
    ) -> Connection {
        let watches: Arc<WatchList> = Arc::default();
        Connection {
            mcp: mcp.clone(),
            profile,
            eras,
            agreed: None,
            client: None,
            apps: false,
            running: JoinSet::new(),
            open: HashMap::new(),
            outbox,
            closing: watch::Sender::new(false),
            news: mcp.inner.news.subscribe(),
            hears: false,
            listeners: Vec::new(),
            watching: Watching::new(&mcp.inner, &principal.team, Arc::clone(&watches)),
            watches,
            principal,
        }
    }

    /// Serves the client until its input ends; what it asked before that is answered.
    ///
    /// # Errors
    /// The input broke.
    pub async fn serve(mut self, mut input: impl Input) -> io::Result<()> {
        loop {
            tokio::select! {
                Some(done) = self.running.join_next_with_id(), if !self.running.is_empty() => {
                    self.forget(done.map_or_else(|error| error.id(), |(id, ())| id));
                }
                Ok(()) = self.news.changed() => self.tell().await,
                uri = self.watching.next() => self.send(updated(&uri)).await,
                said = input.next(), if self.running.len() < CONCURRENT + self.listeners.len() => match said? {
                    // Boxed: most of the time an old stream waits, and this is the most of what it would hold.
                    Some(said) => Box::pin(self.said(said)).await,
                    None => break,
                },
            }
        }
        Box::pin(self.finish()).await;
        Ok(())
    }

    /// Lets what runs come to its answer; waits are cut short after a moment.
    async fn finish(&mut self) {
        // Nobody hears them any more.
        self.listeners.drain(..).for_each(|listener| listener.abort());
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
                    self.closing.send_replace(true);
                }
            }
        }
    }

    async fn tell(&self) {
        if self.hears {
            for method in Lists::ALL.methods() {
                self.send(frame::notification(method, Map::new())).await;
            }
        }
    }

    fn forget(&mut self, task: TaskId) {
        self.open.retain(|_, handle| handle.id() != task);
        self.listeners.retain(|handle| handle.id() != task);
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

    async fn said(&mut self, said: Said) {
        let Said { message, principal, idempotency_key: key, share } = said;
        if let Some(principal) = principal {
            self.principal = principal;
        }
        let message = match message {
            Ok(Value::Array(items)) => return self.batch(items, key, share).await,
            Ok(value) => frame::read(value),
            Err(fault) => return self.refuse(None, &fault).await,
        };
        match message {
            Ok(Message::Request(request)) => {
                let first = request.method == "initialize";
                self.request(request, key, share).await;
                self.hears = self.agreed.is_some() && (self.hears || !first);
            }
            Ok(Message::Notification { method, params }) => self.notification(&method, &params),
            Ok(Message::Response { id, answer }) => {
                // Of an answer that nobody waits for there is nothing to say.
                self.mcp.inner.questions.answer(id.as_ref(), &self.principal, answer);
            }
            Err(malformed) => self.refuse(malformed.id.as_ref(), &malformed.fault).await,
        }
    }

    /// The requests of a batch are answered together and cannot be cancelled one by one.
    async fn batch(&mut self, items: Vec<Value>, key: Option<String>, share: Share) {
        let batch = match self.agreed {
            Some(Version::V2025_03_26) => Batch::read(items),
            _ => Err(Fault::invalid_request("only 2025-03-26 has batches")),
        };
        match batch {
            Ok(batch) => {
                let (mcp, outbox) = (self.mcp.clone(), self.outbox.clone());
                let started = batch.start(&mcp, |request| self.admit(request, key.clone()));
                self.running.spawn(async move {
                    let _share = share;
                    if let Some(json) = started.answers().await {
                        let _ = outbox.send(json).await;
                    }
                });
            }
            Err(fault) => self.refuse(None, &fault).await,
        }
    }

    fn notification(&mut self, method: &str, params: &Map<String, Value>) {
        self.hears = self.agreed.is_some();
        if method == "notifications/cancelled"
            && let Some(id) = params.get("requestId").and_then(Id::read)
            && let Some(handle) = self.open.remove(&id)
        {
            handle.abort();
        }
    }

    async fn request(&mut self, request: Request, key: Option<String>, share: Share) {
        if self.open.contains_key(&request.id) {
            let fault = Fault::invalid_request("a request with this id is still running");
            return self.refuse(Some(&request.id), &fault).await;
        }
        let call = match self.admit(&request, key) {
            Ok(call) => call,
            Err(fault) => return self.refuse(Some(&request.id), &fault).await,
        };
        let (mcp, outbox, id) = (self.mcp.clone(), self.outbox.clone(), request.id.clone());
        if dispatch::listens(&request) {
            if self.listeners.len() >= LISTENERS {
                return self.refuse(Some(&request.id), &Fault::too_many_listeners()).await;
            }
            let handle = self.running.spawn(async move {
                match mcp.listening(&call, &request).await {
                    Ok(listening) => listen(listening, outbox).await,
                    Err(fault) => {
                        let refusal = frame::refusal(Some(&request.id), &fault, NoId::Omitted);
                        let _ = outbox.send(refusal.json).await;
                    }
                }
            });
            self.listeners.push(handle.clone());
            self.open.insert(id, handle);
            return;
        }
        let handle = self.running.spawn(async move {
            let _share = share;
            match progress_token(&request) {
                None => {
                    let _ = outbox.send(mcp.start(call, request).await.json).await;
                }
                Some(token) => {
                    let (sender, moments) = watch::channel(None);
                    let running = mcp.start(Call { moments: Some(sender), ..call }, request);
                    let heartbeat = *mcp.inner.settings.load().heartbeat;
                    narrate(Narrated::new(running, moments, Some(token), heartbeat), &outbox).await;
                }
            }
        });
        self.open.insert(id, handle);
    }

    fn admit(&mut self, request: &Request, idempotency_key: Option<String>) -> Result<Call, Fault> {
        let era = match self.eras {
            Eras::All => era::classify_stdio(self.agreed, &request.method, &request.params),
            Eras::Older => Era::Legacy(Version::V2024_11_05),
        };
        let peer = match era {
            Era::Modern => {
                let peer = headers::check_modern(None, request)?;
                Peer { version: Version::V2026_07_28, client: peer.client, bare: false, apps: peer.apps }
            }
            Era::Legacy(version) => {
                if request.method == "initialize" {
                    self.agreed = Some(dispatch::agreed(request));
                    let info = request.params.get("clientInfo");
                    self.client =
                        info.and_then(|info| info.get("name")).and_then(Value::as_str).map(str::to_owned);
                    self.apps = apps::renders(request.params.get("capabilities"));
                }
                let version = self.agreed.unwrap_or(version);
                Peer { version, client: self.client.clone(), bare: false, apps: self.apps }
            }
        };
        let call = Call {
            principal: Arc::clone(&self.principal),
            profile: self.profile,
            idempotency_key,
            moments: None,
            session: None,
            line: Some(Line::new(self.outbox.clone())),
            watches: (!peer.is_modern()).then(|| Arc::clone(&self.watches)),
            hears: true,
            mirrored: Mirrored::default(),
            closing: Some(self.closing.subscribe()),
            peer,
        };
        dispatch::admit(&self.mcp.inner, &call, request)?;
        Ok(call)
    }
}

/// Writes what a subscription hears. A pipe needs no signs of life.
async fn listen(mut listening: Subscription, outbox: mpsc::Sender<Vec<u8>>) {
    while let Some(heard) = listening.next().await {
        if let Heard::Message(json) = heard
            && outbox.send(json).await.is_err()
        {
            return;
        }
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
            // Here a call has the outbox for its line.
            Told::Message(json) => {
                let _ = outbox.send(json).await;
            }
            Told::Answer(outcome) => {
                let _ = outbox.send(outcome.json).await;
            }
        }
    }
}
