//! The face as clients see it, over a stand-in for the rest of the gateway.

mod apps;
mod blocking;
mod deletion;
mod fake;
mod http;
mod library;
mod listening;
mod paging;
mod reload;
mod resources;
mod sessions;
mod shapes;
mod sse;
mod stdio;
mod tasks;
mod usage;
mod validate;
mod waits;

use super::{Mcp, Profile, Reply, ServerInfo, SessionKeys, Settings};
use crate::{
    auth::{Principal, Scope},
    telemetry::ManualClock,
};
use ::http::{Request, Response};
use bytes::Bytes;
use fake::Fake;
use serde_json::{Value, json};
use std::sync::Arc;

/// An MCP server, its stand-in backend, and how to talk to it.
struct Scene {
    mcp: Mcp,
    fake: Arc<Fake>,
    principal: Arc<Principal>,
}

fn scene() -> Scene {
    Scene::with(Settings::default(), ServerInfo::default())
}

impl Scene {
    fn with(settings: Settings, server: ServerInfo) -> Scene {
        let fake = Arc::new(Fake::default());
        let clock = ManualClock::at(fake::NOW_US);
        let mcp = Mcp::with_backend(settings, fake.clone(), server, &SessionKeys::default(), clock);
        Scene { mcp, fake, principal: principal(&Scope::ALL) }
    }

    async fn reply_of(&self, profile: Profile, request: Request<Bytes>) -> Reply {
        self.mcp.http(request, Arc::clone(&self.principal), profile).await
    }

    async fn reply(&self, request: Request<Bytes>) -> Reply {
        self.reply_of(Profile::Job, request).await
    }

    /// A reply that comes whole.
    async fn whole(&self, request: Request<Bytes>) -> Response<Bytes> {
        match self.reply(request).await {
            Reply::Whole(response) => response,
            _ => panic!("a stream was not expected"),
        }
    }

    /// The result of a tool, called as a client of an era would.
    async fn tool(&self, peer: Peer, name: &str, arguments: Value) -> Value {
        let response = self.whole(peer.call(name, arguments)).await;
        assert_eq!(response.status(), 200);
        body(&response)["result"].clone()
    }

    /// The object a tool answers, checked to be the same in the text block.
    async fn object(&self, name: &str, arguments: Value) -> Value {
        let result = self.tool(Peer::Legacy, name, arguments).await;
        object(&result)
    }
}

fn object(result: &Value) -> Value {
    let text = result["content"][0]["text"].as_str().expect("the text block is first");
    let object: Value = serde_json::from_str(text).unwrap();
    assert_eq!(object, result["structuredContent"], "the same object twice");
    object
}

fn principal(scopes: &[Scope]) -> Arc<Principal> {
    Arc::new(Principal::new("team", "key", scopes))
}

fn body(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap_or(Value::Null)
}

const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// Who sends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    /// A curl line of the first predecessor.
    Bare,
    /// A library of 2025-11-25.
    Legacy,
    /// A library of 2025-03-26, which sends no version.
    Old,
    Modern,
}

impl Peer {
    const ALL: [Peer; 4] = [Peer::Bare, Peer::Old, Peer::Legacy, Peer::Modern];

    fn call(self, name: &str, arguments: Value) -> Request<Bytes> {
        self.request("tools/call", json!({"name": name, "arguments": arguments}))
    }

    fn request(self, method: &str, mut params: Value) -> Request<Bytes> {
        if self == Peer::Modern {
            let mut meta = params.get("_meta").cloned().unwrap_or_else(|| json!({}));
            meta["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
            if meta.get(CAPABILITIES).is_none() {
                meta[CAPABILITIES] = json!({});
            }
            params["_meta"] = meta;
        }
        let mut builder = post();
        if self != Peer::Bare {
            builder = builder.header("accept", "application/json, text/event-stream");
        }
        if self == Peer::Legacy {
            builder = builder.header("mcp-protocol-version", "2025-11-25");
        }
        if self == Peer::Modern {
            builder = builder.header("mcp-protocol-version", "2026-07-28").header("mcp-method", method);
            if let Some(name) = ["name", "uri", "taskId"].iter().find_map(|key| params.get(key)?.as_str()) {
                builder = builder.header("mcp-name", name);
            }
        }
        let message = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
        builder.body(message.to_string().into()).unwrap()
    }
}

fn post() -> ::http::request::Builder {
    Request::post("/mcp").header("content-type", "application/json")
}

fn raw(text: impl Into<Bytes>) -> Request<Bytes> {
    post().body(text.into()).unwrap()
}
