//! One binary between AI assistants and image-generation vendors: MCP in, durable jobs, stored images out.
//!
//! # The house
//!
//! | module | owns |
//! |---|---|
//! | [`cli`] | the command line, one file per command |
//! | [`app`] | builds every part from the configuration, starts them, stops them in order |
//! | [`config`] | YAML, variables and `--set` to one typed `Config`, or everything that is wrong |
//! | [`edge`] | sockets, HTTP, who may come in; one file per phase of a request |
//! | [`mcp`] | the MCP face: eras, framing, tools, results; the same dispatcher for HTTP and stdio |
//! | [`jobs`] | accept, claim, run, rescue, wait |
//! | [`providers`] | the plugins of this build, configured instances, plans and prices |
//! | [`images`] | verify, name, store, hand out |
//! | [`limits`] | request rates, and what a job must reserve of its quotas |
//! | [`auth`] | bearer keys, principals, the secrets behind them |
//! | [`outbound`] | the one HTTP client, and guarded downloads |
//! | [`spool`] | paid answers on disk before anyone parses them |
//! | [`store`] | the database: one function per transaction |
//! | [`telemetry`] | logs, request ids, the clock |
//!
//! Left may name right, never the reverse; names between bars do not name each other:
//!
//! ```text
//! main, cli > app > config > edge > mcp > jobs > providers | images | limits | auth > outbound > spool | store > telemetry
//! ```
//!
//! Each module owns its `Settings`; `config` lists them, and only `app` and `cli` see the whole. Any module may name
//! `plugin-api`, only `providers::builtin` names plugins, only `store` names `migrations`.
//!
//! # One call
//!
//! `edge` lets it in under caps and gives it a principal; `mcp` turns it into typed arguments; `jobs` takes a plan
//! from `providers` and commits the job with its reservation in one transaction; a worker records its attempt before
//! a byte leaves, and calls the plugin; `images` verifies and stores what came back; one more transaction ends the
//! job and wakes who waits; `mcp` encodes and `edge` sends.
//!
//! # Invariants
//!
//! - Only `edge` and `app` see pingora's types, only `mcp` sees those of MCP.
//! - Only `store` writes SQL; no transaction leaves it. Only `images` touches storage.
//! - Plugins decode, sign and map. They never retry, store, wait for a rate or log a secret.
//! - No byte leaves for a vendor before the attempt is on disk, and no answer is parsed before it is.
//! - Every write to a claimed job is fenced by the epoch of its lease; a final state never changes, but for one
//!   case: a late paid image turns its own job's `outcome_unknown` into `completed`.
//! - Only a failure that surely cost nothing is tried again without being asked.
//! - Logs hold no prompt, key, token or image byte.

pub mod app;
pub mod auth;
pub mod cli;
pub mod config;
pub mod edge;
pub mod images;
pub mod jobs;
pub mod limits;
pub mod mcp;
pub mod outbound;
pub mod providers;
pub mod spool;
pub mod store;
pub mod telemetry;

use plugin_api::Plugin;
use std::process::ExitCode;

/// The whole program with these plugins: reads the command line, does what it says, and gives the exit code
/// (0 done, 1 failed with a sentence on stderr, 2 not understood).
pub fn run(plugins: &'static [Plugin]) -> ExitCode {
    run_with(plugins, None)
}

/// The same with a set of tools, resources and prompts besides the gateway's own.
pub fn run_with(plugins: &'static [Plugin], extra: Option<&'static dyn mcp::Extra>) -> ExitCode {
    // One crypto library for everybody. It is only refused when it is there already.
    rustls::crypto::ring::default_provider().install_default().ok();
    cli::run(plugins, extra)
}
