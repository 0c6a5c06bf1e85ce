//! The command line: one file per command. It reads arguments and the configuration, asks `app` to serve, and turns
//! every error into a sentence. What is printed for people is made here; what happens is the other modules'.

mod banner;
mod budget;
mod check;
mod connect;
mod doctor;
mod explain;
mod images;
mod jobs;
mod keys;
mod memory;
mod migrate;
mod models;
mod options;
mod output;
mod providers;
mod reconcile;
mod schema;
mod serve;
mod stdio;
mod trial;
mod usage;

use crate::mcp::Extra;
use clap::{CommandFactory as _, Parser, Subcommand};
use options::{Gateway, Globals};
use plugin_api::Plugin;
use std::{process::ExitCode, time::Duration};

/// How long what still runs in the background may hold up the end: a thread that reads a terminal never ends.
const LAST_MOMENT: Duration = Duration::from_millis(500);

const EXAMPLES: &str = "\
Examples:
  image-gateway                                    serve on 127.0.0.1:8000 with built-in settings
  image-gateway --listen 127.0.0.1:0               on a free port, which is printed
  image-gateway serve --config prod.yaml --set server.insecure=true --listen 0.0.0.0:8000
  image-gateway check                              what is on, what is off, and why
  image-gateway keys create --team design --expires 90d";

/// The gateway between AI assistants (MCP) and image-generation vendors.
#[derive(Debug, Parser)]
#[command(name = "image-gateway", version, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(flatten)]
    serve: serve::Args,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Stdio(stdio::Args),
    /// Check the configuration; print what is on, what is off, and why
    ///
    /// Reads the configuration as `serve` would and starts nothing: no file is made, no vendor is called. All errors
    /// are reported in one go, and the exit code is 1.
    Check,
    Doctor(doctor::Args),
    Connect(connect::Args),
    /// Show where a call would go, at what price, and why nowhere else; nothing is generated
    ///
    /// A dry run on the configuration and the usage so far:
    ///   image-gateway explain --team design --args '{"model": "photo", "size": "2K"}'
    /// The exit code is 1 when the call would be refused.
    #[command(verbatim_doc_comment)]
    Explain(explain::Args),
    /// Say what a call would cost and whether it would be accepted; nothing is generated
    Estimate(explain::Args),
    /// Make, list and revoke the keys of callers; works while the server runs
    #[command(subcommand)]
    Keys(keys::Command),
    /// Look at jobs of every team, or cancel one; works while the server runs
    #[command(subcommand)]
    Jobs(jobs::Command),
    /// List the configured providers, try one, pause and resume them; works while the server runs
    #[command(subcommand)]
    Providers(providers::Command),
    /// List the models, where they lead and what they cost
    #[command(subcommand)]
    Models(models::Command),
    Usage(usage::Args),
    /// Give a team more images or money for a time; works while the server runs
    #[command(subcommand)]
    Budget(budget::Command),
    /// Delete a stored image of any team; works while the server runs
    #[command(subcommand)]
    Images(images::Command),
    /// Bring the database's schema up to date (`serve` does it too)
    Migrate,
    /// Print a JSON Schema
    #[command(subcommand)]
    Schema(schema::Command),
}

/// Reads the process's arguments and does what they say.
pub fn run(plugins: &'static [Plugin], extra: Option<&'static dyn Extra>) -> ExitCode {
    let raw: Vec<_> = std::env::args_os().collect();
    let cli = match parse(&raw) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, on stdout and with 0.
            error.print().ok();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    memory::settle();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output::fail(&anyhow::anyhow!("no threads can be started: {error}")),
    };
    let done = runtime.block_on(dispatch(cli, plugins, extra));
    runtime.shutdown_timeout(LAST_MOMENT);
    done.unwrap_or_else(|error| output::fail(&error))
}

fn parse(raw: &[std::ffi::OsString]) -> Result<Cli, clap::Error> {
    let mut cli = Cli::try_parse_from(raw)?;
    cli.globals.set = options::all_sets(raw);
    let serve::Args { listen, allow_partial } = &mut cli.serve;
    if !listen.is_empty() || *allow_partial {
        match &mut cli.command {
            None => {}
            Some(Command::Serve(args)) => {
                args.listen.splice(..0, listen.drain(..)).for_each(drop);
                args.allow_partial |= *allow_partial;
            }
            Some(_) => {
                let flag = if listen.is_empty() { "--allow-partial" } else { "--listen" };
                let text = format!("`{flag}` is for `serve` only; leave it out here");
                return Err(Cli::command().error(clap::error::ErrorKind::ArgumentConflict, text));
            }
        }
    }
    Ok(cli)
}

async fn dispatch(
    cli: Cli,
    plugins: &'static [Plugin],
    extra: Option<&'static dyn Extra>,
) -> anyhow::Result<ExitCode> {
    let gateway = Gateway { globals: cli.globals, plugins, extra };
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => serve::run(gateway, args).await,
        Command::Stdio(args) => stdio::run(gateway, args).await,
        Command::Check => check::run(&gateway),
        Command::Doctor(args) => doctor::run(&gateway, args).await,
        Command::Connect(args) => connect::run(&gateway, &args),
        Command::Explain(args) => explain::run(&gateway, args, explain::Detail::Everything).await,
        Command::Estimate(args) => explain::run(&gateway, args, explain::Detail::Price).await,
        Command::Keys(command) => keys::run(&gateway, command).await,
        Command::Jobs(command) => jobs::run(&gateway, command).await,
        Command::Providers(command) => providers::run(&gateway, command).await,
        Command::Models(command) => models::run(&gateway, command).await,
        Command::Budget(command) => budget::run(&gateway, command).await,
        Command::Usage(args) => usage::run(&gateway, &args).await,
        Command::Images(command) => images::run(&gateway, command).await,
        Command::Migrate => migrate::run(&gateway).await,
        Command::Schema(command) => schema::run(&gateway, &command),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        parse(&line.split_whitespace().map(Into::into).collect::<Vec<_>>())
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_is_what_happens_without_a_command() {
        let cli = parsed("x --listen 127.0.0.1:1 --data-dir d").unwrap();
        assert!(cli.command.is_none() && cli.serve.listen.len() == 1);
        assert_eq!(cli.globals.data_dir.unwrap().to_str(), Some("d"));
    }

    #[test]
    fn options_count_before_and_after_the_command() {
        let cli = parsed("x --listen 127.0.0.1:1 --set a=1 serve --listen 127.0.0.1:2 --set b=2").unwrap();
        assert_eq!(cli.globals.set, ["a=1", "b=2"]);
        let Some(Command::Serve(args)) = cli.command else { panic!("serve") };
        assert_eq!(args.listen.iter().map(|a| a.port()).collect::<Vec<_>>(), [1, 2]);
        for line in ["x --allow-partial serve", "x serve --allow-partial"] {
            let Some(Command::Serve(args)) = parsed(line).unwrap().command else { panic!("serve") };
            assert!(args.allow_partial, "{line}");
        }
        for line in ["x --data-dir d keys list", "x keys --data-dir d list", "x keys list --data-dir d"] {
            assert_eq!(parsed(line).unwrap().globals.data_dir.unwrap().to_str(), Some("d"), "{line}");
        }
    }

    #[test]
    fn what_is_not_understood_ends_with_2_and_a_hint() {
        for (line, hint) in [
            ("x chek", "check"),
            ("x --listen 8000", "127.0.0.1:8000"),
            ("x --listen 127.0.0.1:1 check", "`--listen` is for `serve` only"),
            ("x --allow-partial check", "`--allow-partial` is for `serve` only"),
            ("x jobs show 42", "jobs list"),
            ("x images delete 42", "jobs show"),
            ("x jobs list --status done", "completed"),
            ("x usage --by hour", "provider"),
            ("x keys create --scopes images:all", "images:read"),
            ("x explain --args [1]", "JSON object"),
            ("x explain --tool draw", "generate_image"),
        ] {
            let error = parsed(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(hint), "{line}: {error}");
        }
    }
}
