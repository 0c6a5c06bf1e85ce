//! Who calls, what their peer understands, and what they may wait for.

use super::{Inner, Return, wire::era::Version};
use crate::{
    auth::Principal,
    jobs::{Moment, Owner},
    providers::glob,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::{mpsc, watch};

/// The program at the other end, as far as this request tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub version: Version,
    /// `clientInfo.name`, where the request or the process brought it.
    pub client: Option<String>,
    /// A plain POST of a program that knows no MCP library, such as the first predecessor's clients.
    pub bare: bool,
}

impl Peer {
    pub fn is_modern(&self) -> bool {
        self.version.is_modern()
    }
    /// Whether it knows `resource_link` blocks.
    pub fn knows_resource_links(&self) -> bool {
        self.version >= Version::V2025_06_18 && !self.bare
    }
}

/// One request on its way through the dispatcher.
#[derive(Clone)]
pub struct Call {
    pub principal: Arc<Principal>,
    pub peer: Peer,
    /// From the `Idempotency-Key` header.
    pub idempotency_key: Option<String>,
    /// Hears of progress, where the caller asked for it.
    pub moments: Option<mpsc::Sender<Moment>>,
    /// Turns `true` when the transport ends: waits then answer with what there is.
    pub closing: Option<watch::Receiver<bool>>,
}

impl Call {
    pub fn owner(&self) -> Owner {
        Owner { team: self.principal.team.to_string(), key: self.principal.key.to_string() }
    }
    pub fn team(&self) -> &str {
        &self.principal.team
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

/// Extra time a plain POST waits, per job: what the first predecessor gave it.
const BARE_WAIT: Duration = Duration::from_secs(60);
const BARE_WAIT_PER_JOB: Duration = Duration::from_secs(3);

/// How images are handed to one caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    pub result: Return,
    /// Largest image inside an answer, in bytes.
    pub inline_max: u64,
}

impl Inner {
    /// The entry of `mcp.clients` for this peer.
    fn rule(&self, peer: &Peer) -> Option<&super::ClientRule> {
        let name = peer.client.as_deref()?;
        self.settings.clients.iter().find(|rule| glob::fits(&rule.matches, name))
    }

    /// Longest time a wait for `jobs` jobs may hold this peer's request.
    pub fn wait_ceiling(&self, peer: &Peer, jobs: usize) -> Duration {
        if peer.bare {
            return BARE_WAIT + BARE_WAIT_PER_JOB * u32::try_from(jobs).unwrap_or(u32::MAX);
        }
        let ceiling = *self.settings.wait_ceiling;
        self.rule(peer).and_then(|rule| rule.wait_ceiling).map_or(ceiling, |own| *own)
    }

    /// How finished images go into an answer, when the call does not say it.
    pub fn delivery(&self, peer: &Peer) -> Delivery {
        let result = &self.settings.result;
        let rule = self.rule(peer);
        Delivery {
            result: match rule.and_then(|rule| rule.result) {
                _ if peer.bare => Return::Link,
                Some(own) => own,
                None => result.default,
            },
            inline_max: rule.and_then(|rule| rule.inline_max).unwrap_or(result.inline_max).0,
        }
    }

    /// Whether the configuration offers a tool.
    pub fn offers(&self, tool: &str) -> bool {
        self.settings.tools.iter().any(|pattern| glob::fits(pattern, tool))
    }
}
