//! One request, from its head to the last byte of its answer, as a list of phases.

use super::{
    RequestLimits,
    answer::{Answer, Body, Face, Refusal, dress},
    body,
    faces::{Endpoint, Faces},
    head, oauth,
    origin::{self, Doors, Visitor},
    pages::Pages,
    peer::Trusted,
    route::{Route, route},
    streaming::{Asked, Next, Running, Streaming},
    streams::{Streams, WhileGood},
    write,
};
use crate::{
    auth::{AuthError, Principal},
    limits::RateDecision,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use pingora::{protocols::http::ServerSession, server::ShutdownWatch};
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

const KEY_HELP: &str =
    "Send `Authorization: Bearer <key>` with a key of this gateway; `image-gateway keys create` makes one.";

const TOKEN_HELP: &str = "Send `Authorization: Bearer <token>` with a token of an issuer that this gateway trusts, or with one of its keys \
    where it takes keys.";

/// Why a request ends before its handler answered.
#[derive(Debug)]
pub enum End {
    Refused(Box<Refusal>),
    /// Nobody is there to answer.
    Left,
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        End::Refused(Box::new(refusal))
    }
}

/// Everything that the requests of one front share.
pub struct Exchange {
    pub faces: Faces,
    pub limits: RequestLimits,
    pub room: body::Room,
    pub doors: Doors,
    pub trusted: Trusted,
    pub pages: Pages,
    pub streams: Streams,
    pub stop: ShutdownWatch,
    pub last_words: Duration,
    /// Requests that are being answered.
    pub running: watch::Sender<usize>,
}

/// What is known of a request once its head is read.
struct Seen {
    asked: Asked,
    query: Option<String>,
    host: Option<String>,
    client: IpAddr,
    visitor: Visitor,
    face: Face,
    to: write::To,
    rate: Option<RateDecision>,
}

impl Exchange {
    /// Answers one request, or begins a stream that is its answer.
    pub async fn run(&self, session: &mut ServerSession) -> Next {
        let running = Running::start(&self.running);
        session.set_read_timeout(None); // the deadlines are ours
        let mut seen = self.look(session);
        let (mut answer, close) = match self.phases(session, &mut seen).await {
            Ok(answer) => (answer, false),
            Err(End::Refused(refusal)) => (*refusal).split(seen.face),
            Err(End::Left) => {
                seen.asked.log("left");
                return Next::Close;
            }
        };
        seen.finish(&mut answer);
        if close || *self.stop.borrow() {
            session.set_keepalive(None);
        }
        if !close {
            body::settle(session).await;
        }
        let status = answer.status();
        let sent = write::answer(session, answer, seen.to, &self.pace()).await;
        if let Ok(Some(chunks)) = sent {
            return Next::Stream(Streaming { chunks, status, asked: seen.asked, running });
        }
        body::linger(session).await;
        seen.asked.log(if sent.is_ok() { status.as_str() } else { "left" });
        if sent.is_ok() && !close { Next::Request } else { Next::Close }
    }

    /// The answer to bytes that are no request.
    pub async fn refuse_unread(&self, session: &mut ServerSession, refusal: Refusal) {
        let mut answer = refusal.into_answer(Face::Plain);
        dress(&mut answer, &Method::GET, &new_id());
        session.set_keepalive(None);
        write::answer(session, answer, write::To::default(), &self.pace()).await.ok();
    }

    pub fn pace(&self) -> write::Pace<'_> {
        write::Pace { stall: *self.limits.body_idle_timeout, last_words: self.last_words, stop: &self.stop }
    }

    fn look(&self, session: &ServerSession) -> Seen {
        let head = session.req_header();
        let headers = &head.headers;
        let socket = session.client_addr().and_then(|a| a.as_inet()).map(|a| a.ip());
        let named = head.uri.authority().map(|a| a.as_str().as_bytes());
        let host = named.or_else(|| headers.get(header::HOST).map(HeaderValue::as_bytes));
        let host = host.map(|h| String::from_utf8_lossy(h).into_owned());
        let path = head.uri.path().to_owned();
        Seen {
            query: head.uri.query().map(str::to_owned),
            client: self.trusted.client(socket.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), headers),
            visitor: self.doors.visitor(headers, host.as_deref()),
            face: face(&route(&path, &self.faces.paths), headers),
            to: write::To::new(&head.method, head.version),
            rate: None,
            host,
            asked: Asked {
                id: request_id(headers),
                method: head.method.clone(),
                path,
                started: Instant::now(),
                principal: None,
            },
        }
    }

    async fn phases(&self, session: &mut ServerSession, seen: &mut Seen) -> Result<Answer, End> {
        head::check(session, &self.limits)?;
        let path = seen.asked.path.clone();
        let route = route(&path, &self.faces.paths);
        // Who asks how it is may know the address alone, as kubelets and load balancers do; nothing is told but that.
        if !matches!(route, Route::Live | Route::Ready) {
            self.doors.host(seen.host.as_deref())?;
        }
        if matches!(seen.asked.method, Method::CONNECT | Method::TRACE) {
            return Err(Refusal { close: true, ..Refusal::method(route.methods()) }.into());
        }
        if seen.asked.method == Method::OPTIONS {
            let headers = &session.req_header().headers;
            return Ok(origin::preflight(&seen.visitor, headers, route.methods())?);
        }
        if seen.visitor == Visitor::Foreign && (route.is_mcp() || !seen.reads()) {
            return Err(origin::foreign().into());
        }
        let stopping = *self.stop.borrow();
        if stopping && !route.is_probe() {
            return Err(Refusal::unavailable("The gateway is stopping; send the request again.").into());
        }
        match route {
            Route::Mcp(endpoint) => self.mcp(session, seen, endpoint).await,
            Route::Upload(token) => self.upload(session, seen, token).await,
            Route::Nothing => Err(Refusal::not_found().into()),
            _ if !seen.reads() => Err(Refusal::method(route.methods()).into()),
            Route::Image(name) => {
                let headers = &session.req_header().headers;
                Ok(self.faces.images.serve(name, seen.query.as_deref().unwrap_or_default(), headers).await)
            }
            Route::Metadata(path) => match self.faces.keys.tokens() {
                Some(tokens) => Ok(oauth::metadata(&tokens, &self.pages.public_url, path)),
                None => Err(Refusal::not_found().into()),
            },
            Route::Home => Ok(self.pages.home(&self.faces).await),
            Route::Health => Ok(self.pages.health(&self.faces)),
            Route::Live => Ok(self.pages.live()),
            Route::Ready => Ok(self.pages.ready(&self.faces, stopping).await),
        }
    }

    async fn mcp(
        &self,
        session: &mut ServerSession,
        seen: &mut Seen,
        endpoint: Endpoint,
    ) -> Result<Answer, End> {
        let principal = self.authenticate(session, seen).await?;
        self.rate(seen, &principal)?;
        self.some_scope(seen, &principal)?;
        let encoding = session.get_header_bytes(header::CONTENT_ENCODING);
        if !encoding.is_empty() && !encoding.eq_ignore_ascii_case(b"identity") {
            let sentence = "Send the body without Content-Encoding.";
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, sentence).into());
        }
        let mut headers = inner_headers(&session.req_header().headers, &seen.asked.id);
        if endpoint != Endpoint::Messages && seen.asked.method != Method::DELETE {
            self.leave_room_for_streams(&seen.asked.method, &mut headers, &principal)?;
        }
        // Its share is held until there is an answer: what is made of a body is as large as the body.
        let (body, _share) = body::read(session, &self.limits, &self.room).await?;
        let request = build(seen, headers, body)?;

        let call = self.faces.mcp.call(request, principal.clone(), endpoint);
        let mut answer = tokio::select! {
            answer = call => answer,
            _ = session.read_body_or_idle(true) => return Err(End::Left), // the call is dropped
        };
        if answer.status() == StatusCode::FORBIDDEN
            && let Some(tokens) = self.faces.keys.tokens()
        {
            oauth::complete(&mut answer, &tokens, &self.pages.public_url, &seen.asked.path);
        }
        Ok(answer.map(|body| match body {
            Body::Stream(chunks) => {
                let open = self.streams.count(&principal.key);
                let headers = &session.req_header().headers;
                Body::Stream(Box::new(WhileGood::new(chunks, &self.faces.keys, headers, open)))
            }
            other => other,
        }))
    }

    /// The link is the credential; guessing at links is slowed down like guessing at keys.
    async fn upload(&self, session: &mut ServerSession, seen: &mut Seen, token: &str) -> Result<Answer, End> {
        if seen.asked.method != Method::PUT {
            return Err(Refusal::method("PUT, OPTIONS").into());
        }
        // Before the body: nobody takes room for bytes without a link.
        if let Err(refusal) = self.faces.uploads.admit(token) {
            let decision = self.faces.rates.load().unauthenticated(seen.client);
            return Err(if decision.allowed { refusal } else { limited(seen, decision) }.into());
        }
        let (body, _share) = body::read(session, &self.limits, &self.room).await?;
        Ok(self.faces.uploads.put(token, body).await?)
    }

    async fn authenticate(
        &self,
        session: &ServerSession,
        seen: &mut Seen,
    ) -> Result<Arc<Principal>, Refusal> {
        let headers = &session.req_header().headers;
        let error = match self.faces.keys.authenticate(headers, seen.query.as_deref()).await {
            Ok(principal) => {
                seen.asked.principal = Some(principal.clone());
                return Ok(principal);
            }
            Err(error) => error,
        };
        let tokens = self.faces.keys.tokens();
        let challenge =
            |wrong| oauth::challenge(tokens.as_deref(), &self.pages.public_url, &seen.asked.path, wrong);
        let value = match error {
            AuthError::Unavailable => {
                let sentence = "Keys and tokens cannot be checked at the moment; try again soon.";
                return Err(Refusal::unavailable(sentence));
            }
            AuthError::Malformed(sentence) => {
                let value = HeaderValue::from_static("Bearer error=\"invalid_request\"");
                let refusal = Refusal::new(StatusCode::BAD_REQUEST, sentence);
                return Err(refusal.with(header::WWW_AUTHENTICATE, value));
            }
            AuthError::Missing => challenge(false),
            AuthError::Invalid => challenge(true),
        };
        let decision = self.faces.rates.load().unauthenticated(seen.client);
        if !decision.allowed {
            return Err(limited(seen, decision));
        }
        let help = if tokens.is_some() { TOKEN_HELP } else { KEY_HELP };
        Err(Refusal::new(StatusCode::UNAUTHORIZED, help).with(header::WWW_AUTHENTICATE, value))
    }

    fn rate(&self, seen: &mut Seen, principal: &Principal) -> Result<(), Refusal> {
        match self.faces.rates.load().request(&principal.key, &principal.team) {
            Some(decision) if !decision.allowed => Err(limited(seen, decision)),
            decision => {
                seen.rate = decision;
                Ok(())
            }
        }
    }

    /// A client that got a token for nothing is told at once what to ask its issuer for: it would see no tool, and not
    /// know why.
    fn some_scope(&self, seen: &Seen, principal: &Principal) -> Result<(), Refusal> {
        match self.faces.keys.tokens() {
            Some(tokens) if principal.scopes.is_empty() => {
                let value =
                    oauth::too_little(&tokens, &self.pages.public_url, &seen.asked.path, &oauth::USUAL);
                let refusal = Refusal::new(StatusCode::FORBIDDEN, "This token has no scope of the gateway.");
                Err(refusal.with(header::WWW_AUTHENTICATE, value))
            }
            _ => Ok(()),
        }
    }

    /// A principal with too many open streams gets its answers whole, or none if it takes nothing but streams. A call
    /// must not be turned away after it has started work, so this comes first.
    fn leave_room_for_streams(
        &self,
        method: &Method,
        headers: &mut HeaderMap,
        principal: &Principal,
    ) -> Result<(), Refusal> {
        if self.streams.open(&principal.key) < self.limits.streams_per_principal {
            return Ok(());
        }
        let accepted: Vec<_> =
            headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
        let accepted = accepted.join(",").to_ascii_lowercase();
        let only_streams = accepted.contains("text/event-stream")
            && !["application/json", "application/*", "*/*"].iter().any(|kind| accepted.contains(kind));
        // What is listened to comes in no other form.
        let listens = headers.get("mcp-method").is_some_and(|method| method == "subscriptions/listen");
        if only_streams || listens || method == Method::GET {
            let sentence = "This key holds too many open streams; close some first.";
            let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, sentence);
            return Err(Refusal { retry: Some((5, Some("streams"))), ..refusal });
        }
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        Ok(())
    }
}

impl Seen {
    fn reads(&self) -> bool {
        matches!(self.asked.method, Method::GET | Method::HEAD)
    }

    fn finish(&self, answer: &mut Answer) {
        if let Some(rate) = &self.rate {
            for (name, value) in rate_headers(rate) {
                answer.headers_mut().insert(name, value);
            }
        }
        origin::admit(answer, &self.visitor);
        dress(answer, &self.asked.method, &self.asked.id);
    }
}

impl Refusal {
    fn split(self, face: Face) -> (Answer, bool) {
        let close = self.close;
        (self.into_answer(face), close)
    }
}

fn limited(seen: &mut Seen, decision: RateDecision) -> Refusal {
    let seconds = decision.retry_after_s;
    let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, format!("Rate limited, retry in {seconds} s"));
    let refusal = Refusal { retry: Some((seconds, Some(decision.policy))), ..refusal };
    seen.rate = Some(decision);
    refusal
}

fn rate_headers(decision: &RateDecision) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let pairs = [("ratelimit-policy", decision.policy_header()), ("ratelimit", decision.state_header())];
    pairs
        .into_iter()
        .filter_map(|(name, value)| Some((HeaderName::from_static(name), value.try_into().ok()?)))
}

/// The client's own id if it is harmless in a log, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get("x-request-id").and_then(|v| v.to_str().ok());
    let harmless = |id: &&str| {
        (1..=64).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    given.filter(harmless).map_or_else(new_id, str::to_owned)
}

/// Told apart, not secret: so without a trip to the system's random numbers.
fn new_id() -> String {
    uuid::Builder::from_random_bytes(fastrand::u128(..).to_be_bytes()).into_uuid().to_string()
}

fn face(route: &Route<'_>, headers: &HeaderMap) -> Face {
    let version = headers.get("mcp-protocol-version").and_then(|v| v.to_str().ok()).unwrap_or_default();
    match route {
        Route::Mcp(_) if version >= "2025-11-25" => Face::McpNoId,
        Route::Mcp(Endpoint::Blocking) => Face::McpBlocking,
        Route::Mcp(_) => Face::McpNullId,
        _ => Face::Plain,
    }
}

/// The headers as the inside sees them: no credentials, nothing that only a proxy may say.
fn inner_headers(headers: &HeaderMap, id: &str) -> HeaderMap {
    let hidden = |name: &str| {
        matches!(
            name,
            "authorization" | "proxy-authorization" | "cookie" | "forwarded" | "x-real-ip" | "x-request-id"
        ) || name.starts_with("x-forwarded-")
    };
    let mut inner: HeaderMap = headers
        .iter()
        .filter(|(name, _)| !hidden(name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if let Ok(id) = HeaderValue::from_str(id) {
        inner.insert("x-request-id", id);
    }
    inner
}

fn build(seen: &Seen, headers: HeaderMap, body: Bytes) -> Result<http::Request<Bytes>, Refusal> {
    let target = match &seen.query {
        Some(query) => format!("{}?{query}", seen.asked.path),
        None => seen.asked.path.clone(),
    };
    let uri = target.parse::<http::Uri>();
    let uri = uri.map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "The request's target is not a URL."))?;
    let mut request = http::Request::new(body);
    *request.method_mut() = seen.asked.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = headers;
    Ok(request)
}
