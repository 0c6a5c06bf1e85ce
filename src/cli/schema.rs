//! `schema`: descriptions of what the gateway reads, for editors.

use super::{Gateway, output};
use crate::config;
use std::process::ExitCode;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// The schema of config.yaml, with the settings of every provider in this build
    ///
    /// `image-gateway schema config > config.schema.json` gives an editor what it needs to complete and check the
    /// file (a comment in its first line names the schema: `# yaml-language-server: $schema=./config.schema.json`).
    #[command(verbatim_doc_comment)]
    Config,
}

pub fn run(gateway: &Gateway, command: &Command) -> anyhow::Result<ExitCode> {
    let Command::Config = command;
    let schema = serde_json::to_string_pretty(&config::schema(gateway.plugins))?;
    output::print(&format!("{schema}\n"));
    Ok(ExitCode::SUCCESS)
}
