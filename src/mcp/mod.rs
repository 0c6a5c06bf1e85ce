//! The face for assistants: MCP of every era over HTTP and stdio, and the tools.
//!
//! `wire` knows frames, eras, headers and streams; `http`, `sse` and `stdio` carry them; `sessions` are those of the
//! older eras, `streams` what clients listen to, `watching` what they watch; `dispatch` answers methods;
//! `delivery` chooses how long a caller is held and how its images come back; `tools` do the work through [`Backend`],
//! `tasks` tell of work that goes on after its call. Origin, authentication, rates and body sizes are the edge's; what is
//! left of HTTP here are plain [`http`](::http) types.

mod apps;
mod backend;
mod batch;
mod call;
mod completion;
mod connection;
mod delivery;
mod dispatch;
mod errors;
mod extra;
mod http;
mod line;
mod prompts;
mod reload;
mod resources;
mod sessions;
mod settings;
mod sse;
mod stdio;
mod streams;
mod tasks;
#[cfg(test)]
mod tests;
mod tools;
mod watching;
mod wire;

pub use backend::Backend;
pub use call::Profile;
pub use errors::Fault;
pub use extra::{Caller, Extra, ListOf};
pub use http::Reply;
pub use reload::{
    Changes, DefaultModel, Names, NotReloaded, Outcome, ReloadHandle, Reloaded, Requests, Wrong,
};
pub use sessions::SessionKeys;
pub use settings::{ClientRule, Paths, ResultSettings, Return, Sessions, Settings};
pub use streams::Listening;
pub use tools::read_generation;
pub use wire::sse::EventStream;

use crate::{auth::Scope, images::Images, jobs::Jobs, telemetry::SharedClock};
use arc_swap::ArcSwap;
use backend::Live;
use line::Questions;
use sessions::Sessions as OpenSessions;
use sse::SseStreams;
use std::sync::Arc;
use tokio::sync::watch;
use wire::listening::News;

/// What the gateway says about itself.
#[derive(Debug, Clone)]
pub struct ServerInfo {
    pub name: String,
    pub version: String,
    /// For the model that will call the tools.
    pub instructions: String,
    /// Callers are on this machine (stdio): results name the stored file.
    pub local: bool,
    /// What is served besides the gateway's own; nothing in the product.
    pub extra: Option<&'static dyn Extra>,
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
            extra: None,
        }
    }
}

/// Names and descriptions of the tools, for people; not those of operators.
pub fn tool_cards() -> impl Iterator<Item = (&'static str, &'static str)> {
    let everybodys = tools::Tool::ALL.into_iter().filter(|tool| tool.scope() != Scope::Admin);
    everybodys.map(|tool| (tool.name(), tool.description()))
}

/// The MCP server. Cheap to clone; everything in it is shared.
#[derive(Clone)]
pub struct Mcp {
    inner: Arc<Inner>,
}

/// What every call can see.
struct Inner {
    settings: ArcSwap<Settings>,
    backend: Arc<dyn Backend>,
    server: ServerInfo,
    clock: SharedClock,
    lists: tools::Lists,
    sessions: Arc<OpenSessions>,
    /// Of the old HTTP+SSE transport, and where its clients post; `None`: that is off.
    streams: SseStreams,
    messages: Option<String>,
    questions: Questions,
    /// What listening clients hear of.
    news: watch::Sender<News>,
}

impl Mcp {
    pub fn new(
        settings: Settings,
        jobs: Arc<Jobs>,
        images: Arc<Images>,
        reload: ReloadHandle,
        server: ServerInfo,
        sessions: &SessionKeys,
        clock: SharedClock,
    ) -> Mcp {
        Mcp::with_backend(settings, Arc::new(Live { jobs, images, reload }), server, sessions, clock)
    }

    pub fn with_backend(
        settings: Settings,
        backend: Arc<dyn Backend>,
        server: ServerInfo,
        sessions: &SessionKeys,
        clock: SharedClock,
    ) -> Mcp {
        let sessions = Arc::new(OpenSessions::new(sessions));
        let messages = settings.paths.messages.clone();
        let settings = ArcSwap::from_pointee(settings);
        let (streams, questions) = (SseStreams::default(), Questions::default());
        let (lists, news) = (tools::Lists::default(), watch::Sender::default());
        Mcp {
            inner: Arc::new(Inner {
                settings,
                backend,
                server,
                clock,
                lists,
                sessions,
                streams,
                messages,
                questions,
                news,
            }),
        }
    }

    /// Tells listening clients that lists may have changed.
    pub fn lists_changed(&self) {
        self.inner.news.send_modify(|news| news.lists += 1);
    }

    /// Ends what listening clients hold open: the server stops.
    pub fn stop_listening(&self) {
        self.inner.news.send_modify(|news| news.over = true);
    }

    /// Takes new settings: the next call goes by them. `mcp.paths` are the edge's and stay.
    pub fn reload(&self, settings: Settings) {
        self.inner.settings.store(Arc::new(settings));
    }
}
