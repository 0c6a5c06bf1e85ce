//! Who calls, what their peer understands, and what they may wait for.

use super::{
    Inner,
    line::Line,
    watching::WatchList,
    wire::{era::Version, headers::Mirrored},
};
use crate::{
    auth::Principal,
    jobs::{Moment, Owner},
    providers::glob,
};
use std::sync::Arc;
use tokio::sync::watch;
use uuid::Uuid;

/// Which predecessor's manners a caller is used to. The path tells them apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    /// `mcp.paths.jobs`: what makes images answers at once, with job ids.
    #[default]
    Job,
    /// `mcp.paths.blocking`: it waits for its images and brings them along.
    Blocking,
}

/// The program at the other end, as far as this request tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub version: Version,
    /// `clientInfo.name`, where the request or the process brought it.
    pub client: Option<String>,
    /// A plain POST of a program that knows no MCP library, such as the first predecessor's clients.
    pub bare: bool,
    /// It renders the pages of MCP Apps.
    pub apps: bool,
}

impl Peer {
    pub fn is_modern(&self) -> bool {
        self.version.is_modern()
    }
}

/// One request on its way through the dispatcher.
#[derive(Clone)]
pub struct Call {
    pub principal: Arc<Principal>,
    pub profile: Profile,
    pub peer: Peer,
    /// From the `Idempotency-Key` header.
    pub idempotency_key: Option<String>,
    /// Hears of progress, where the caller asked for it.
    pub moments: Option<watch::Sender<Option<Moment>>>,
    /// The session of Streamable HTTP that it belongs to.
    pub session: Option<Uuid>,
    /// The way to the caller beside the answer, where there is one.
    pub line: Option<Line>,
    /// The resources that this client watches, where it can be told of them.
    pub watches: Option<Arc<WatchList>>,
    /// Whether the client is told when lists change.
    pub hears: bool,
    /// The `Mcp-Param-*` headers that came with it.
    pub mirrored: Mirrored,
    /// Turns `true` when the transport ends: waits then answer with what there is.
    pub closing: Option<watch::Receiver<bool>>,
}

impl Call {
    pub fn owner(&self) -> Owner {
        let Principal { team, key, claims, .. } = &*self.principal;
        Owner { team: team.to_string(), key: key.to_string(), claims: claims.clone() }
    }
    pub fn team(&self) -> &str {
        &self.principal.team
    }

    /// Whether results name images by `resource_link` blocks too: where the peer knows them, and never beside what the
    /// blocking profile's clients take apart by position.
    pub fn wants_resource_links(&self) -> bool {
        self.profile == Profile::Job && self.peer.version >= Version::V2025_06_18 && !self.peer.bare
    }

    /// Ends when the transport ends; never, where it has no end of its own.
    pub async fn closed(&self) {
        match self.closing.clone() {
            Some(mut closing) => {
                let _ = closing.wait_for(|closed| *closed).await;
            }
            None => std::future::pending().await,
        }
    }
}

impl Inner {
    /// Whether the configuration offers a tool to this caller: to all, and to its team.
    pub fn offers(&self, call: &Call, tool: &str) -> bool {
        let to_all = self.settings.load().tools.iter().any(|pattern| glob::fits(pattern, tool));
        to_all && self.backend.offers(call.team(), tool)
    }
}
