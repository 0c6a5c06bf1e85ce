//! MCP over HTTP: one POST in, one answer out, whole or as a stream. Eras live side by side, decided per request.

use super::{
    Inner, Mcp, Sessions, apps,
    batch::Batch,
    call::{Call, Peer, Profile},
    delivery::{self, Hears},
    dispatch,
    errors::Fault,
    line::Line,
    sessions::Session,
    streams::{Listening, SessionStream},
    tasks::{self, Subscribed},
    watching,
    wire::{
        era::{self, Era, Version, key},
        frame::{self, Id, Message, NoId, Outcome, Request},
        headers::{self, Accept, Headers},
        listening::{Lists, Subscription},
        progress::{Narrated, Running},
        sse::{self, EventStream, First},
    },
};
use crate::auth::Principal;
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// What a call may say before the caller has read it; then it stands still.
const LINE: usize = 16;

/// The answer to one HTTP request.
pub enum Reply {
    Whole(Response<Bytes>),
    /// Send the head, then every item of the stream until it ends. Dropping the stream tells that the client left.
    Stream(Response<()>, EventStream),
    /// The same for the stream of a session, which nothing but its own end, or the client, ends.
    Listen(Response<()>, Listening),
}

impl Mcp {
    /// Answers one request on an MCP path. Origin, bearer, rate and body size have been checked.
    ///
    /// # Cancellation
    /// Dropping the future, or the stream it gave, means that the client has left. A modern client takes the job
    /// back that this very request made, if it is still unsent; an older one's job goes on.
    pub async fn http(
        &self,
        request: http::Request<Bytes>,
        principal: Arc<Principal>,
        profile: Profile,
    ) -> Reply {
        let (head, body) = request.into_parts();
        let headers = Headers::read(&head.headers);
        // Peers that can say their version read the rule of that version; all others want the key.
        let no_id = match headers.version.one().and_then(Version::parse) {
            Some(version) if version >= Version::V2025_11_25 => NoId::Omitted,
            _ => NoId::Null,
        };
        let refuse =
            |id: Option<&Id>, fault: &Fault| whole(frame::refusal(id, fault, no_id), Accept::default());
        if head.method != Method::POST {
            return match profile {
                Profile::Blocking => self.about_old_session(&head.method, &headers, &principal),
                Profile::Job => self
                    .about_session(&head.method, &headers, &principal)
                    .unwrap_or_else(|fault| refuse(None, &fault)),
            };
        }
        // The second predecessor never looked at it, and this is JSON or refused as none.
        if profile == Profile::Job && !headers::is_json(&head.headers) {
            return refuse(None, &Fault::not_json());
        }
        if !headers.accept.json && !headers.accept.stream {
            return refuse(None, &Fault::not_acceptable());
        }
        let message = match frame::parse(&body) {
            Ok(Value::Array(items)) => {
                let reply = self.batch(items, &headers, principal, profile).await;
                return reply.unwrap_or_else(|fault| refuse(None, &fault));
            }
            Ok(value) => frame::read(value),
            Err(fault) => return refuse(None, &fault),
        };
        drop((head, body)); // thousands may wait for their answer
        match message {
            Ok(Message::Request(request)) => self.request(request, &headers, principal, profile).await,
            Ok(other) => match self.hear(other, &headers, profile, &principal) {
                Ok(()) => accepted(),
                Err(fault) => refuse(None, &fault),
            },
            Err(malformed) => refuse(malformed.id.as_ref(), &malformed.fault),
        }
    }

    /// Takes what wants no answer: a notification, or an answer to something that was asked of the client.
    fn hear(
        &self,
        message: Message,
        headers: &Headers,
        profile: Profile,
        principal: &Principal,
    ) -> Result<(), Fault> {
        let era = era::classify(headers, message.said())?;
        let session = match era {
            Era::Legacy(_) => self.inner.session(profile, headers, principal)?,
            Era::Modern => None,
        };
        match message {
            Message::Response { id, answer } if era != Era::Modern => {
                let awaited = self.inner.questions.answer(id.as_ref(), principal, answer);
                // In a session it may come too late; without one it belongs nowhere.
                match awaited || session.is_some() {
                    true => Ok(()),
                    false => Err(Fault::invalid_request("no request waits for this response")),
                }
            }
            Message::Response { .. } => Err(Fault::invalid_request("no request waits for this response")),
            Message::Notification { method, params } if method == "notifications/cancelled" => {
                let id = params.get("requestId").and_then(Id::read);
                if let (Some(session), Some(id)) = (session, id) {
                    self.inner.sessions.cancel(&session, id);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn request(
        &self,
        request: Request,
        headers: &Headers,
        principal: Arc<Principal>,
        profile: Profile,
    ) -> Reply {
        let accept = headers.accept;
        let call = match self.admit(&request, headers, principal, profile) {
            Ok(call) => call,
            Err(fault) => return whole(frame::refusal(Some(&request.id), &fault, NoId::Omitted), accept),
        };
        if let Some(id) = self.inner.opened(&call, headers, &request) {
            let mut outcome = self.start(call, request).await;
            outcome.headers.extend(HeaderValue::try_from(id).ok().map(|id| (headers::SESSION, id)));
            return whole(outcome, accept);
        }
        if dispatch::listens(&request) {
            if !accept.stream {
                return whole(
                    frame::refusal(Some(&request.id), &Fault::not_acceptable(), NoId::Omitted),
                    accept,
                );
            }
            return match self.listening(&call, &request).await {
                Ok(listening) => Reply::Stream(sse::head(), EventStream::listening(listening)),
                Err(fault) => whole(frame::refusal(Some(&request.id), &fault, NoId::Omitted), accept),
            };
        }
        let waits = request.method == "tools/call" || tasks::waits(&request);
        let hears = delivery::hears(&call, accept, progress_token(&request), waits);
        let talks = accept.stream && self.inner.extra_for(&request).is_some();
        if hears == Hears::Nothing && !talks {
            return whole(self.start(call, request).await, accept);
        }
        let token = match hears {
            Hears::Progress(token) => Some(token),
            Hears::Comments | Hears::Nothing => None,
        };
        let (sender, moments) = watch::channel(None);
        let (line, said) = talks.then(|| mpsc::channel(LINE)).unzip();
        let sender = (token.is_some() || talks).then_some(sender);
        let call = Call { moments: sender, line: line.map(Line::new), ..call };
        let running = self.start(call, request);
        let heartbeat = *self.inner.settings.load().heartbeat;
        let mut narrated = Narrated::new(running, moments, token, heartbeat);
        if let Some(said) = said {
            narrated = narrated.with_line(said);
        }
        match EventStream::first(narrated).await {
            Some(First::Answer(outcome)) => whole(outcome, accept),
            Some(First::Stream(stream)) => Reply::Stream(sse::head(), stream),
            None => whole(frame::refusal(None, &Fault::internal(), NoId::Omitted), accept),
        }
    }

    /// The open subscription that a request asks for.
    ///
    /// # Errors
    /// The database is away.
    pub(super) async fn listening(&self, call: &Call, request: &Request) -> Result<Subscription, Fault> {
        let lists = Lists::asked(&request.params).unwrap_or_default();
        let heartbeat = *self.inner.settings.load().heartbeat;
        let uris = watching::honoured(&self.inner, call, &request.params).await?;
        let tasks = tasks::honoured(&self.inner, call, &request.params).await?;
        let watched = Subscribed::to(&self.inner, call, uris, tasks);
        let news = self.inner.news.subscribe();
        Ok(Subscription::new(request.id.clone(), lists, watched, news, heartbeat))
    }

    /// A call to be driven by whoever holds it.
    pub(super) fn start(&self, call: Call, request: Request) -> Running {
        let inner = Arc::clone(&self.inner);
        let cancellable = call.session.map(|session| self.inner.sessions.begin(session, &request.id));
        Box::pin(async move {
            let cancelled = async {
                match &cancellable {
                    Some(cancellable) => cancellable.cancelled().await,
                    None => std::future::pending().await,
                }
            };
            let result = tokio::select! {
                result = dispatch::answer(&inner, &call, &request) => result,
                () = cancelled => Err(Fault::cancelled()),
            };
            frame::answer(&request.id, result)
        })
    }

    /// Everything that is checked before a handler sees the request.
    fn admit(
        &self,
        request: &Request,
        headers: &Headers,
        principal: Arc<Principal>,
        profile: Profile,
    ) -> Result<Call, Fault> {
        let (mut watches, mut belongs) = (None, None);
        let peer = match era::classify(headers, Some((&request.method, &request.params)))? {
            Era::Modern => {
                let peer = headers::check_modern(Some(headers), request)?;
                Peer { version: Version::V2026_07_28, client: peer.client, bare: false, apps: peer.apps }
            }
            Era::Legacy(version) => {
                // A handshake opens a session and belongs to none.
                let session = match request.method != "initialize" {
                    true => self.inner.session(profile, headers, &principal)?,
                    false => None,
                };
                // The blocking profile's streams tell of nothing.
                if let (Profile::Job, true) = (profile, request.method.starts_with("resources/")) {
                    let watched = matches!(&*request.method, "resources/subscribe" | "resources/unsubscribe");
                    let session = session.as_ref().filter(|_| watched);
                    watches = session.map(|session| self.inner.sessions.watches(session));
                }
                // A handshake cannot be cancelled, and is in none.
                belongs = session.as_ref().map(Session::nonce);
                legacy_peer(version, headers, request, session)
            }
        };
        if headers.idempotency_key == headers::Header::Malformed {
            return Err(Fault::malformed_key());
        }
        let hears = peer.is_modern() || self.inner.opens(profile, headers);
        let call = Call {
            principal,
            profile,
            peer,
            idempotency_key: headers.idempotency_key.one().map(str::to_owned),
            moments: None,
            session: belongs,
            line: None,
            watches,
            hears,
            mirrored: headers.mirrored.clone(),
            closing: None,
        };
        dispatch::admit(&self.inner, &call, request)?;
        Ok(call)
    }

    async fn batch(
        &self,
        items: Vec<Value>,
        headers: &Headers,
        principal: Arc<Principal>,
        profile: Profile,
    ) -> Result<Reply, Fault> {
        era::classify_batch(headers, &items)?;
        if headers.idempotency_key != headers::Header::Absent {
            Batch::keyed(&items)?;
        }
        let batch = Batch::read(items)?;
        let started =
            batch.start(self, |request| self.admit(request, headers, Arc::clone(&principal), profile));
        Ok(match started.answers().await {
            Some(json) => {
                whole(Outcome { status: StatusCode::OK, headers: Vec::new(), json }, headers.accept)
            }
            None => accepted(),
        })
    }
}

/// A peer of the older eras. Without a session nothing of its handshake is known later.
fn legacy_peer(version: Version, headers: &Headers, request: &Request, session: Option<Session>) -> Peer {
    let info = request.meta().and_then(|meta| meta.get(key!("clientInfo")));
    let named = info.and_then(|info| info.get("name")).and_then(Value::as_str).map(str::to_owned);
    let agreed = session.as_ref().filter(|_| headers.version == headers::Header::Absent);
    let version = agreed.and_then(Session::version).unwrap_or(version);
    let apps = session.as_ref().is_some_and(|session| session.apps);
    let client = named.or_else(|| session.and_then(|session| session.client));
    let bare = client.is_none() && !headers.from_library;
    Peer { version, client, bare, apps }
}

/// The token a caller wants progress under.
pub fn progress_token(request: &Request) -> Option<Value> {
    let token = request.meta()?.get("progressToken")?;
    (token.is_string() || token.is_i64() || token.is_u64()).then(|| token.clone())
}

/// The refusal of a request of which nothing was read, for peers of any age.
pub(super) fn refuse_unheard(fault: &Fault) -> Reply {
    whole(frame::refusal(None, fault, NoId::Null), Accept::default())
}

pub(super) fn accepted() -> Reply {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::ACCEPTED;
    Reply::Whole(response)
}

/// An answer in one piece: JSON, or the one event of a stream for peers that take nothing else.
fn whole(outcome: Outcome, accept: Accept) -> Reply {
    let as_event = accept.stream && !accept.json;
    let (kind, body) = if as_event {
        ("text/event-stream", sse::data(&outcome.json))
    } else {
        ("application/json", outcome.json.into())
    };
    let mut response = Response::new(body);
    *response.status_mut() = outcome.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if as_event {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    for (name, value) in outcome.headers {
        headers.insert(name, value);
    }
    Reply::Whole(response)
}

impl Mcp {
    /// `GET` and `DELETE`: the stream of a session, and its end.
    ///
    /// # Errors
    /// 405 where there are none or none is named, 404 for one that has ended or is somebody else's.
    fn about_session(&self, method: &Method, headers: &Headers, of: &Principal) -> Result<Reply, Fault> {
        let modern = headers.version.one().and_then(Version::parse).is_some_and(Version::is_modern);
        let mode = self.inner.settings.load().sessions;
        if modern || mode == Sessions::Off || !matches!(*method, Method::GET | Method::DELETE) {
            return Err(Fault::not_a_post());
        }
        let Some(session) = self.inner.session(Profile::Job, headers, of)? else {
            return Err(Fault::not_a_post());
        };
        if *method == Method::DELETE {
            self.inner.sessions.end(&session, self.inner.clock.now_ms());
            let mut gone = Response::new(Bytes::new());
            *gone.status_mut() = StatusCode::NO_CONTENT;
            return Ok(Reply::Whole(gone));
        }
        if !headers.accept.stream {
            return Err(Fault::not_acceptable());
        }
        let stream = SessionStream::new(&self.inner, session, &of.team);
        Ok(Reply::Listen(sse::head(), Listening::Session(Box::new(stream))))
    }

    /// `GET` and `DELETE` of the blocking profile: the stream of a session, and its end. Refused in the words of the
    /// second predecessor.
    fn about_old_session(&self, method: &Method, headers: &Headers, principal: &Principal) -> Reply {
        let modern = headers.version.one().and_then(Version::parse).is_some_and(Version::is_modern);
        let off = self.inner.settings.load().sessions == Sessions::Off;
        let reading = match *method {
            Method::GET if !modern && !off => true,
            Method::DELETE if !modern && !off => false,
            _ => return whole(frame::refusal(None, &Fault::not_a_post(), NoId::Null), Accept::default()),
        };
        let (what, lost) = if reading { (" for SSE stream", " or expired") } else { ("", "") };
        let Some(id) = headers.session.one() else {
            let sentence = format!("Mcp-Session-Id header is required{what}");
            return refused(StatusCode::BAD_REQUEST, &sentence);
        };
        let now_ms = self.inner.clock.now_ms();
        let Some(session) = self.inner.sessions.find(id, principal, now_ms) else {
            let short: String = id.chars().take(100).collect();
            return refused(StatusCode::NOT_FOUND, &format!("Session '{short}' not found{lost}"));
        };
        if !reading {
            self.inner.sessions.end(&session, now_ms);
            let mut gone = Response::new(Bytes::new());
            *gone.status_mut() = StatusCode::NO_CONTENT;
            return Reply::Whole(gone);
        }
        if !headers.accept.stream {
            return refused(StatusCode::NOT_ACCEPTABLE, "Accept must allow text/event-stream");
        }
        let heartbeat = *self.inner.settings.load().heartbeat;
        Reply::Listen(sse::head(), Listening::Pings(self.inner.sessions.pings(session, now_ms, heartbeat)))
    }
}

/// `{"error": "..."}`
fn refused(status: StatusCode, sentence: &str) -> Reply {
    #[derive(serde::Serialize)]
    struct Refused<'a> {
        error: &'a str,
    }
    let json = serde_json::to_vec(&Refused { error: sentence }).unwrap_or_default();
    whole(Outcome { status, headers: Vec::new(), json }, Accept::default())
}

impl Inner {
    /// The session a request of an older era belongs to.
    ///
    /// # Errors
    /// There is none of that id: its client opens another. None is named where one is required.
    fn session(&self, profile: Profile, headers: &Headers, of: &Principal) -> Result<Option<Session>, Fault> {
        let mode = self.settings.load().sessions;
        match &headers.session {
            _ if mode == Sessions::Off => Ok(None),
            headers::Header::One(id) => {
                let found = self.sessions.find(id, of, self.clock.now_ms());
                found.map(Some).ok_or_else(|| Fault::no_session(id))
            }
            headers::Header::Malformed => {
                Err(Fault::invalid_request("Mcp-Session-Id is there twice or malformed"))
            }
            headers::Header::Absent if mode == Sessions::Required && profile == Profile::Job => {
                Err(Fault::needs_session())
            }
            headers::Header::Absent => Ok(None),
        }
    }

    /// Whether a handshake with these headers opens a session: a plain program would not know what to do with it.
    fn opens(&self, profile: Profile, headers: &Headers) -> bool {
        match self.settings.load().sessions {
            Sessions::Off => false,
            Sessions::Auto => profile == Profile::Job && headers.from_library,
            Sessions::Required => profile == Profile::Job,
        }
    }

    /// The id of the session that a handshake opens.
    fn opened(&self, call: &Call, headers: &Headers, request: &Request) -> Option<String> {
        let old = call.profile == Profile::Blocking && self.settings.load().sessions != Sessions::Off;
        let opens = request.method == "initialize" && (old || self.opens(call.profile, headers));
        let client =
            request.params.get("clientInfo").and_then(|info| info.get("name")).and_then(Value::as_str);
        opens.then(|| {
            let version = dispatch::agreed(request);
            let apps = apps::renders(request.params.get("capabilities"));
            self.sessions.open(&call.principal, version, client, apps, self.clock.now_ms())
        })
    }

    /// The line of `initialize` and `server/discover` about ourselves.
    pub fn server_info(&self) -> dispatch::Implementation<'_> {
        dispatch::Implementation { name: &self.server.name, version: &self.server.version }
    }
}
