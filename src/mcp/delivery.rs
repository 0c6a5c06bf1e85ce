//! How long a caller is held, what it hears meanwhile, and how its images come back: the one place that chooses.
//!
//! Known of a caller are the path it came by, the name its client gives itself, what it accepts and whether it sent a
//! progress token. An entry of `mcp.clients` comes first, then what is built in here, then `mcp.wait_ceiling` and
//! `mcp.result`. docs/clients.md has the table.

use super::{
    ClientRule, Inner, Return, Settings,
    call::{Call, Peer, Profile},
    wire::headers::Accept,
};
use crate::providers::glob;
use serde_json::Value;
use std::time::Duration;

/// A client whose ways are known.
struct Known {
    /// Globs over the name it gives itself. `mcp-remote` adds its own behind it.
    names: &'static [&'static str],
    /// Held no longer than this, because it gives up earlier than others do.
    hold: Option<Duration>,
    result: Option<Return>,
}

/// Only ever shorter and smaller than what is configured: a wrong guess here costs one more call, never an image.
const KNOWN: [Known; 7] = [
    // The official Java SDK, and Spring AI on top of it, give up after 20 s and do not listen to progress.
    Known {
        names: &["java sdk mcp client*", "spring-ai-mcp-client*", "spring ai mcp client*"],
        hold: Some(Duration::from_secs(15)),
        result: None,
    },
    // Terminals: nobody would see a picture there, and some versions count its base64 as text.
    Known { names: &["claude-code*"], hold: None, result: Some(Return::Link) },
    Known { names: &["codex*"], hold: None, result: Some(Return::Link) },
    Known { names: &["gemini-cli*"], hold: None, result: Some(Return::Link) },
    Known { names: &["opencode*"], hold: None, result: Some(Return::Link) },
    // They show no picture of a tool, or hand its base64 to the model as text.
    Known { names: &["windsurf*"], hold: None, result: Some(Return::Link) },
    Known { names: &["cherry studio*"], hold: None, result: Some(Return::Link) },
];

fn known(peer: &Peer) -> Option<&'static Known> {
    let name = peer.client.as_deref()?;
    KNOWN.iter().find(|known| known.names.iter().any(|glob| glob::fits(glob, name)))
}

/// The entry of `mcp.clients` for this peer.
fn rule<'a>(settings: &'a Settings, peer: &Peer) -> Option<&'a ClientRule> {
    let name = peer.client.as_deref()?;
    settings.clients.iter().find(|rule| glob::fits(&rule.matches, name))
}

/// Extra time a plain POST waits, per job: what the first predecessor gave it.
const BARE_WAIT: Duration = Duration::from_secs(60);
const BARE_WAIT_PER_JOB: Duration = Duration::from_secs(3);

/// Longest wait of the blocking profile, whose clients wait as long as it takes: a job's own deadline ends it sooner.
const BLOCKING_WAIT: Duration = Duration::from_secs(86_400);

/// How images are handed to one caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    pub result: Return,
    /// Largest preview inside an answer, in bytes.
    pub inline_max: u64,
    /// Largest whole image inside an answer, in bytes.
    pub full_max: u64,
}

/// What a caller hears while it is held.
#[derive(Debug, PartialEq, Eq)]
pub enum Hears {
    /// Nothing: the answer comes whole.
    Nothing,
    /// Comments by time, which keep proxies and the client's sockets from taking silence for an end.
    Comments,
    /// Progress under its token, and the comments.
    Progress(Value),
}

/// Of a call over HTTP, by what its client accepts and whether it sent a progress token.
pub fn hears(call: &Call, accept: Accept, token: Option<Value>, calls_tool: bool) -> Hears {
    match token {
        Some(token) if accept.stream => Hears::Progress(token),
        // Plain programs, and those of the second predecessor, want one JSON answer.
        None if accept.names_stream && calls_tool && call.profile == Profile::Job && !call.peer.bare => {
            Hears::Comments
        }
        _ => Hears::Nothing,
    }
}

impl Inner {
    /// Longest time a wait for `jobs` jobs may hold this caller's request.
    pub fn wait_ceiling(&self, call: &Call, jobs: usize) -> Duration {
        let settings = self.settings.load();
        let usual = match call.profile {
            Profile::Blocking => BLOCKING_WAIT,
            Profile::Job if call.peer.bare => {
                BARE_WAIT + BARE_WAIT_PER_JOB * u32::try_from(jobs).unwrap_or(u32::MAX)
            }
            Profile::Job => *settings.wait_ceiling,
        };
        let own = rule(&settings, &call.peer).and_then(|rule| rule.wait_ceiling);
        let hold = known(&call.peer).and_then(|known| known.hold);
        own.map_or_else(|| hold.map_or(usual, |hold| hold.min(usual)), |own| *own)
    }

    /// How finished images go into an answer, when the call does not say it.
    pub fn delivery(&self, call: &Call) -> Delivery {
        let settings = self.settings.load();
        let rule = rule(&settings, &call.peer);
        let own = rule.and_then(|rule| rule.result);
        let inline = rule.and_then(|rule| rule.inline_max);
        let inline_max = inline.unwrap_or(settings.result.inline_max).0;
        match call.profile {
            // It promises to bring the image along, so only the operator takes that back.
            Profile::Blocking => Delivery {
                result: own.unwrap_or(Return::Full),
                inline_max,
                full_max: inline.unwrap_or(settings.full_max).0,
            },
            Profile::Job if call.peer.bare => {
                Delivery { result: Return::Link, inline_max, full_max: inline_max }
            }
            Profile::Job => {
                let built_in = known(&call.peer).and_then(|known| known.result);
                let result = own.or(built_in).unwrap_or(settings.result.default);
                Delivery { result, inline_max, full_max: inline_max }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_that_is_built_in_is_explained_in_the_documents() {
        let page = include_str!("../../docs/clients.md");
        let table: Vec<&str> =
            page.lines().skip_while(|line| !line.starts_with("## How long")).take(40).collect();
        for known in &KNOWN {
            for name in known.names {
                let row = table.iter().find(|row| row.starts_with('|') && row.contains(&format!("`{name}`")));
                let row = row.unwrap_or_else(|| panic!("docs/clients.md does not explain {name}"));
                let cells: Vec<&str> = row.split('|').map(str::trim).collect();
                let hold =
                    known.hold.map_or("`mcp.wait_ceiling`".into(), |hold| format!("{} s", hold.as_secs()));
                let result =
                    known.result.map_or("`mcp.result`".into(), |result| format!("{result:?}").to_lowercase());
                assert_eq!((cells[4], cells[5]), (&*hold, &*result), "{name}: {row}");
            }
        }
    }
}
