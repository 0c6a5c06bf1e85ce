//! The face for assistants: MCP of every era over HTTP and stdio, and the tools.
//!
//! `wire` knows frames, eras, headers and streams; `http` and `stdio` carry them; `dispatch` answers methods;
//! `tools` do the work through [`Backend`]. Origin, authentication, rates and body sizes are the edge's; what is
//! left of HTTP here are plain [`http`](::http) types.

mod backend;
mod batch;
mod call;
mod dispatch;
mod errors;
mod http;
mod settings;
mod stdio;
#[cfg(test)]
mod tests;
mod tools;
mod wire;

pub use backend::Backend;
pub use http::{Endpoint, Reply};
pub use settings::{ClientRule, Paths, ResultSettings, Return, Sessions, Settings};
pub use wire::sse::EventStream;

use crate::{images::Images, jobs::Jobs, telemetry::SharedClock};
use backend::Live;
use std::sync::Arc;

/// What the gateway says about itself.
#[derive(Debug, Clone)]
pub struct ServerInfo {
    pub name: String,
    pub version: String,
    /// For the model that will call the tools.
    pub instructions: String,
    /// Callers are on this machine (stdio): results name the stored file.
    pub local: bool,
}

impl Default for ServerInfo {
    fn default() -> Self {
        ServerInfo {
            name: "image-gateway".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            instructions: "Generates images. For one image at once call generate_image_and_wait. For several, or when \
                there is other work to do meanwhile, call generate_image and then wait_for_completion with the job ids. \
                An answer that says \"still running\" is no failure: call wait_for_completion again with the same ids \
                and never generate again for it. Show the user image_url."
                .into(),
            local: false,
        }
    }
}

/// Names and descriptions of the tools, for people.
pub fn tool_cards() -> impl Iterator<Item = (&'static str, &'static str)> {
    tools::Tool::ALL.into_iter().map(|tool| (tool.name(), tool.description()))
}

/// The MCP server. Cheap to clone; everything in it is shared.
#[derive(Clone)]
pub struct Mcp {
    inner: Arc<Inner>,
}

/// What every call can see.
struct Inner {
    settings: Settings,
    backend: Arc<dyn Backend>,
    server: ServerInfo,
    clock: SharedClock,
}

impl Mcp {
    pub fn new(
        settings: Settings,
        jobs: Arc<Jobs>,
        images: Arc<Images>,
        server: ServerInfo,
        clock: SharedClock,
    ) -> Mcp {
        Mcp::with_backend(settings, Arc::new(Live { jobs, images }), server, clock)
    }

    pub fn with_backend(
        settings: Settings,
        backend: Arc<dyn Backend>,
        server: ServerInfo,
        clock: SharedClock,
    ) -> Mcp {
        Mcp { inner: Arc::new(Inner { settings, backend, server, clock }) }
    }
}
