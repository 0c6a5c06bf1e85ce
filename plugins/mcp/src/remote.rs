//! A server behind an address: streamable HTTP (2025-03-26 to 2025-11-25).

use crate::{
    Bounds,
    message::{self, Reply, VERSIONS},
};
use plugin_api::{Answer, Context, ErrorClass, ProviderError, Request, Spend, value::Secret};
use plugin_declared::errors::{self, Call, Errors};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Mutex;

/// Longest time of a call that only agrees on the session.
const HANDSHAKE: Duration = Duration::from_secs(20);
pub const SESSION: &str = "mcp-session-id";

pub struct Remote {
    url: String,
    bearer: Option<Secret>,
    headers: BTreeMap<String, Secret>,
    errors: Errors,
    session: Mutex<Option<Arc<Session>>>,
    next: AtomicU64,
}

/// What the server and the gateway agreed on.
#[derive(Debug)]
struct Session {
    /// None where the server keeps no sessions.
    id: Option<String>,
    version: String,
}

/// Where a broken stream is taken up.
pub struct Mark<'a> {
    pub event: &'a str,
    pub session: Option<&'a str>,
}

impl Remote {
    pub fn new(
        url: String,
        bearer: Option<Secret>,
        headers: BTreeMap<String, Secret>,
        errors: Errors,
    ) -> Remote {
        Remote { url, bearer, headers, errors, session: Mutex::new(None), next: AtomicU64::new(1) }
    }

    /// Calls a method, in a session. Where the server no longer knows the session nothing was done, and the call is
    /// made once more in a new one.
    ///
    /// # Errors
    /// There is no session to be had (spend none), or as [`Http::send`](plugin_api::Http::send).
    pub async fn call(
        &self,
        cx: &Context,
        method: &str,
        params: &Value,
        bounds: Bounds,
    ) -> Result<Answer, ProviderError> {
        let session = self.session(cx).await?;
        let answer = self.ask(cx, &session, method, params, bounds).await?;
        if session.id.is_none() || !is_over(&answer) {
            return Ok(answer);
        }
        tracing::debug!("the server's session is over: a new one");
        self.end(&session).await;
        let session = self.session(cx).await?;
        self.ask(cx, &session, method, params, bounds).await
    }

    async fn ask(
        &self,
        cx: &Context,
        session: &Session,
        method: &str,
        params: &Value,
        bounds: Bounds,
    ) -> Result<Answer, ProviderError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let body = message::call(id, method, params);
        let call = self.request(Request::post(&self.url), session).json(&body).until(message::is_whole);
        let call = call.cap(bounds.cap);
        cx.http.send(if bounds.paid { call.paid() } else { call }).await
    }

    /// The rest of a stream that broke off; 404 and 405 mean that there is none.
    ///
    /// # Errors
    /// As [`Http::send`](plugin_api::Http::send).
    pub async fn resume(&self, cx: &Context, mark: Mark<'_>, cap: u64) -> Result<Answer, ProviderError> {
        let now = self.session(cx).await?;
        let session = match mark.session {
            Some(id) => Arc::new(Session { id: Some(id.into()), version: now.version.clone() }),
            None => now,
        };
        let call = self.request(Request::get(&self.url), &session).header("last-event-id", mark.event);
        cx.http.send(call.until(message::is_whole).cap(cap)).await
    }

    fn request(&self, call: Request, session: &Session) -> Request {
        let mut call = call.header("accept", "application/json, text/event-stream");
        if let Some(bearer) = &self.bearer {
            call = call.bearer(bearer);
        }
        for (name, value) in &self.headers {
            call = call.secret_header(name, value.expose());
        }
        if let Some(id) = &session.id {
            call = call.secret_header(SESSION, id);
        }
        match session.version.as_str() {
            "" => call,
            version => call.header("mcp-protocol-version", version),
        }
    }

    async fn end(&self, over: &Arc<Session>) {
        let mut session = self.session.lock().await;
        if session.as_ref().is_some_and(|now| Arc::ptr_eq(now, over)) {
            *session = None;
        }
    }

    /// The session, agreed on now where there is none. Several calls wait for one handshake.
    async fn session(&self, cx: &Context) -> Result<Arc<Session>, ProviderError> {
        let mut session = self.session.lock().await;
        if let Some(session) = &*session {
            return Ok(session.clone());
        }
        let nothing = Session { id: None, version: String::new() };
        let hello = message::call(0, "initialize", &message::introduction());
        let call = self.request(Request::post(&self.url), &nothing).json(&hello).within(HANDSHAKE);
        let answer = cx.http.send(call.until(message::is_whole)).await?;
        if !answer.status.is_success() {
            return Err(errors::of_answer(&self.errors, &answer, Call::Check));
        }
        let version = agreed(&Reply::of(&answer))?;
        let new = Arc::new(Session { id: answer.header(SESSION).map(str::to_owned), version });
        let ready = message::notification("notifications/initialized");
        let call = self.request(Request::post(&self.url), &new).json(&ready).within(HANDSHAKE);
        cx.http.send(call).await?;
        *session = Some(new.clone());
        Ok(new)
    }
}

/// 404 by the specification; servers that follow an old example of the TypeScript SDK say 400.
fn is_over(answer: &Answer) -> bool {
    let says_session = || String::from_utf8_lossy(&answer.text).to_lowercase().contains("session");
    answer.status == 404 || (answer.status == 400 && says_session())
}

/// The version that the server chose in its answer to `initialize`.
///
/// # Errors
/// It chose none that is spoken here, or did not answer; nothing was spent.
pub fn agreed(reply: &Reply) -> Result<String, ProviderError> {
    let failed = |what: String| ProviderError::new(ErrorClass::Unavailable, what).with_spend(Spend::None);
    match reply {
        Reply::Result(result) => match result["protocolVersion"].as_str() {
            Some(version) if VERSIONS.contains(&version) => Ok(version.to_owned()),
            Some(version) => {
                let version: String = version.chars().take(40).collect();
                let all = VERSIONS.join(", ");
                let what = format!("the server speaks MCP {version}; the gateway as a client: {all}");
                Err(ProviderError::new(ErrorClass::NotFound, what))
            }
            None => Err(failed("the server's answer to initialize names no version of MCP".into())),
        },
        Reply::Error(error) => {
            let said = error["message"].as_str().unwrap_or("no reason given");
            Err(ProviderError::new(ErrorClass::NotFound, format!("the server refuses initialize: {said}")))
        }
        _ => Err(failed("the server did not answer initialize: is it an MCP server?".into())),
    }
}
