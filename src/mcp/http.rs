//! MCP over HTTP: one POST in, one answer out, whole or as a stream. Eras live side by side, decided per request.

use super::{
    Inner, Mcp,
    batch::Batch,
    call::{Call, Peer},
    dispatch,
    errors::Fault,
    wire::{
        era::{self, Era, Version, key},
        frame::{self, Id, Message, NoId, Outcome, Request},
        headers::{self, Accept, Headers},
        progress::{MOMENTS, Narrated, Running},
        sse::{self, EventStream, First},
    },
};
use crate::auth::Principal;
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Which path was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `mcp.paths.jobs`: calls that make jobs answer at once.
    Jobs,
}

/// The answer to one HTTP request.
pub enum Reply {
    Whole(Response<Bytes>),
    /// Send the head, then every item of the stream until it ends. Dropping the stream tells that the client left.
    Stream(Response<()>, EventStream),
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
        endpoint: Endpoint,
    ) -> Reply {
        let Endpoint::Jobs = endpoint;
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
            return refuse(None, &Fault::not_a_post());
        }
        if !headers::is_json(&head.headers) {
            return refuse(None, &Fault::not_json());
        }
        if !headers.accept.json && !headers.accept.stream {
            return refuse(None, &Fault::not_acceptable());
        }
        let message = match frame::parse(&body) {
            Ok(Value::Array(items)) => {
                let reply = self.batch(items, &headers, principal).await;
                return reply.unwrap_or_else(|fault| refuse(None, &fault));
            }
            Ok(value) => frame::read(value),
            Err(fault) => return refuse(None, &fault),
        };
        drop(body);
        match message {
            Ok(Message::Request(request)) => self.request(request, &headers, principal).await,
            Ok(other) => match era::classify(&headers, other.said()) {
                Ok(_) if matches!(other, Message::Notification { .. }) => accepted(),
                // We have asked nothing, so there is nothing to answer.
                Ok(_) => refuse(None, &Fault::invalid_request("no request waits for this response")),
                Err(fault) => refuse(None, &fault),
            },
            Err(malformed) => refuse(malformed.id.as_ref(), &malformed.fault),
        }
    }

    async fn request(&self, request: Request, headers: &Headers, principal: Arc<Principal>) -> Reply {
        let accept = headers.accept;
        let call = match self.admit(&request, headers, principal) {
            Ok(call) => call,
            Err(fault) => return whole(frame::refusal(Some(&request.id), &fault, NoId::Omitted), accept),
        };
        let token = progress_token(&request).filter(|_| accept.stream);
        match token {
            Some(token) => {
                let (sender, moments) = mpsc::channel(MOMENTS);
                let running = self.start(Call { moments: Some(sender), ..call }, request);
                let heartbeat = *self.inner.settings.heartbeat;
                match EventStream::first(Narrated::new(running, moments, token, heartbeat)).await {
                    Some(First::Answer(outcome)) => whole(outcome, accept),
                    Some(First::Stream(stream)) => Reply::Stream(sse::head(), stream),
                    None => whole(frame::refusal(None, &Fault::internal(), NoId::Omitted), accept),
                }
            }
            None => whole(self.start(call, request).await, accept),
        }
    }

    /// A call to be driven by whoever holds it.
    pub(super) fn start(&self, call: Call, request: Request) -> Running {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let result = dispatch::answer(&inner, &call, &request).await;
            frame::answer(&request.id, result)
        })
    }

    /// Everything that is checked before a handler sees the request.
    fn admit(&self, request: &Request, headers: &Headers, principal: Arc<Principal>) -> Result<Call, Fault> {
        let peer = match era::classify(headers, Some((&request.method, &request.params)))? {
            Era::Modern => {
                let peer = headers::check_modern(Some(headers), request)?;
                Peer { version: Version::V2026_07_28, client: peer.client, bare: false }
            }
            Era::Legacy(version) => legacy_peer(version, headers, request),
        };
        if headers.idempotency_key == headers::Header::Malformed {
            return Err(Fault::invalid_request("Idempotency-Key is malformed or there twice"));
        }
        let call = Call {
            principal,
            peer,
            idempotency_key: headers.idempotency_key.one().map(str::to_owned),
            moments: None,
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
    ) -> Result<Reply, Fault> {
        era::classify_batch(headers, &items)?;
        let batch = Batch::read(items)?;
        let keyed = headers.idempotency_key != headers::Header::Absent;
        if keyed && batch.requests().filter(|r| r.method == "tools/call").count() > 1 {
            return Err(Fault::invalid_request("one Idempotency-Key cannot stand for several calls"));
        }
        let started = batch.start(self, |request| self.admit(request, headers, Arc::clone(&principal)));
        Ok(match started.answers().await {
            Some(json) => {
                whole(Outcome { status: StatusCode::OK, headers: Vec::new(), json }, headers.accept)
            }
            None => accepted(),
        })
    }
}

/// A peer of the older eras. Without a session nothing of its handshake is known later.
fn legacy_peer(version: Version, headers: &Headers, request: &Request) -> Peer {
    let info = request.meta().and_then(|meta| meta.get(key!("clientInfo")));
    let client = info.and_then(|info| info.get("name")).and_then(Value::as_str).map(str::to_owned);
    let bare = client.is_none() && !headers.from_library;
    Peer { version, client, bare }
}

/// The token a caller wants progress under.
pub fn progress_token(request: &Request) -> Option<Value> {
    let token = request.meta()?.get("progressToken")?;
    (token.is_string() || token.is_i64() || token.is_u64()).then(|| token.clone())
}

fn accepted() -> Reply {
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

impl Inner {
    /// The line of `initialize` and `server/discover` about ourselves.
    pub fn server_info(&self) -> dispatch::Implementation<'_> {
        dispatch::Implementation { name: &self.server.name, version: &self.server.version }
    }
}
