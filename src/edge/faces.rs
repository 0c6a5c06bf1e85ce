//! What the edge stands in front of. `app` fills these in; tests put doubles there.

use super::answer::{Answer, Refusal};
use crate::{
    auth::{Keys, Principal},
    limits::Rates,
    mcp::Paths,
    telemetry::SharedClock,
};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use std::sync::Arc;

/// Which door of the MCP face a request came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    Jobs,
    /// The old HTTP+SSE transport: its streams,
    Sse,
    /// and its messages.
    Messages,
    /// The second predecessor's path.
    Blocking,
}

/// The MCP face. The future is dropped when the client leaves.
#[async_trait]
pub trait McpHandler: Send + Sync {
    async fn call(
        &self,
        request: http::Request<Bytes>,
        principal: Arc<Principal>,
        endpoint: Endpoint,
    ) -> Answer;
}

/// Stored images. `name` is what follows `/images/`, exactly as it was sent.
#[async_trait]
pub trait ImageHandler: Send + Sync {
    async fn serve(&self, name: &str, query: &str, headers: &HeaderMap) -> Answer;
}

/// Upload links. `token` is what follows `/uploads/`; it is the credential.
#[async_trait]
pub trait UploadHandler: Send + Sync {
    /// Looks at the token alone, before any bytes are taken.
    ///
    /// # Errors
    /// It is not one of ours, or not good any more.
    fn admit(&self, token: &str) -> Result<(), Refusal>;

    /// # Errors
    /// Why the bytes were not taken.
    async fn put(&self, token: &str, bytes: Bytes) -> Result<Answer, Refusal>;
}

/// What works at this moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    pub database: bool,
    pub queue: bool,
    pub storage: bool,
}

#[async_trait]
pub trait Standings: Send + Sync {
    /// Asked at most once a second.
    async fn standing(&self) -> Standing;
}

/// A tool as the home page shows it.
#[derive(Debug, Clone)]
pub struct ToolCard {
    pub name: String,
    pub description: String,
}

pub struct Faces {
    pub mcp: Arc<dyn McpHandler>,
    pub images: Arc<dyn ImageHandler>,
    pub uploads: Arc<dyn UploadHandler>,
    pub standings: Arc<dyn Standings>,
    pub keys: Arc<Keys>,
    /// Swapped at a reload.
    pub rates: Arc<ArcSwap<Rates>>,
    pub paths: Paths,
    pub tools: Vec<ToolCard>,
    /// The command that starts this program, for clients that launch it themselves.
    pub exe: String,
    pub clock: SharedClock,
}
