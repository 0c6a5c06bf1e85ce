//! Breaks a running gateway in every way of the fault catalogue, and joins four ledgers afterwards: what the clients
//! were told, the database, what the vendor was asked for, and the stored files.
//!
//! ```text
//! cargo run -p faults -- --rounds 200 --seed 1 --write docs/reliability.md
//! ```
//!
//! The gateway under attack is this program itself, started again in another role: the product with the failpoints
//! of `plugin_api::failpoint` and one more kind of provider.

#![allow(clippy::unwrap_used)] // a harness that cannot go on should stop on the spot

mod checker;
mod database;
mod ledger;
mod machine;
mod proxy;
mod rows;
mod scene;
mod stage;
mod table;
mod vendor;

// The stories' actors: a gateway, its home, its callers.
#[path = "../../vendors/vendor.rs"]
mod plugin;
#[allow(dead_code)]
#[path = "../../it/support/mod.rs"]
mod support;

use clap::Parser;
use image_gateway::providers::builtin;
use plugin_api::Plugin;
use std::{path::PathBuf, process::ExitCode, sync::LazyLock};

/// Set for the child processes that are gateways.
const ROLE: &str = "FAULTS_ROLE";

static PLUGINS: LazyLock<Vec<Plugin>> =
    LazyLock::new(|| builtin::PLUGINS.iter().copied().chain([plugin::PLUGIN]).collect());

/// Breaks a gateway in every known way and prints one table. Exits with 1 when a row is wrong.
#[derive(Parser, Debug, Clone)]
pub struct Plan {
    /// Random kills of the long rows. The trials of each window are a tenth of it.
    #[arg(long, default_value_t = 200)]
    rounds: u64,
    /// Where the random numbers begin. The same seed makes the same choices, not the same timing.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Gateways under attack at the same time in the kill rows.
    #[arg(long, default_value_t = 4)]
    lanes: u64,
    /// Only rows whose names begin so; may be given several times.
    #[arg(long)]
    only: Vec<String>,
    /// Puts the table between the markers of this file.
    #[arg(long)]
    write: Option<PathBuf>,
    /// Leaves out what takes long however few its trials are.
    #[arg(long)]
    short: bool,
}

impl Plan {
    /// Trials at each window and fault.
    pub fn trials(&self) -> u64 {
        self.rounds.div_ceil(10)
    }
    /// Whether a row was asked for.
    pub fn wants(&self, row: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| row.starts_with(name.as_str()))
    }
}

fn main() -> ExitCode {
    if std::env::var_os(ROLE).is_some() {
        return image_gateway::run(&PLUGINS);
    }
    let plan = Plan::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let wrong = runtime.block_on(table::run(&plan));
    if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
