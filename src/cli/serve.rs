//! `serve`: the gateway over HTTP.

use super::{Gateway, banner, options, output};
use crate::{
    app::{App, Options, Place},
    config::{ConfigErrors, Loaded},
    edge::BindError,
    telemetry::logs,
};
use anyhow::anyhow;
use std::{
    io::{ErrorKind, IsTerminal as _},
    net::SocketAddr,
    process::ExitCode,
};

/// Serve over HTTP; this is what happens without a command
///
/// Needs no configuration, no key and no service: it starts with built-in settings, makes a first key in the data
/// directory, and prints how to connect each client. SIGTERM or Ctrl-C stops it: what runs may finish. SIGHUP reloads
/// the configuration, its variables and its secrets; with a mistake in them the old one stays in force.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Args {
    /// Address to listen on, instead of server.listen; may be given several times; port 0 takes a free one
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub listen: Vec<SocketAddr>,
    /// When a reload meets a change that needs a restart: apply all the rest, instead of nothing
    #[arg(long)]
    pub allow_partial: bool,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let bad = || format!("write it with an address and a port, like 127.0.0.1:8000{}", hint(text));
    text.parse().map_err(|_| bad())
}

fn hint(text: &str) -> String {
    match text.trim_start_matches(':').parse::<u16>() {
        Ok(port) => format!("; for this machine alone: 127.0.0.1:{port}"),
        Err(_) => String::new(),
    }
}

pub async fn run(gateway: Gateway, args: Args) -> anyhow::Result<ExitCode> {
    let loaded = load(&gateway, &args)?;
    logs::start(&loaded.config.telemetry.log)?;
    tell(&loaded);
    let data_dir = gateway.data_dir();
    options::prepare(&data_dir)?;
    let summary = banner::Summary::new(&loaded, &data_dir);
    let (plugins, extra, allow_partial) = (gateway.plugins, gateway.extra, args.allow_partial);
    let options =
        Options { loaded, data_dir, plugins, extra, place: Place::Server, save_dir: None, allow_partial };
    let app = App::build(options).await?;
    let jobs = app.jobs.clone();
    let terminal = std::io::stdout().is_terminal();
    app.serve(|ready| output::print(&banner::text(&summary, ready, &jobs.live().registry, terminal)))
        .await
        .map_err(explain)?;
    Ok(ExitCode::SUCCESS)
}

/// `--listen` beats the file and `--set`; what is wrong with it is told by its own name.
fn load(gateway: &Gateway, args: &Args) -> anyhow::Result<Loaded> {
    if args.listen.is_empty() {
        return gateway.load();
    }
    let here = std::env::current_dir()?;
    let mut sets = gateway.globals.set.clone();
    let all: Vec<String> = args.listen.iter().map(|address| format!("\"{address}\"")).collect();
    sets.push(format!("server.listen=[{}]", all.join(", ")));
    gateway.load_in(here, sets).map_err(|error| match error.downcast::<ConfigErrors>() {
        Ok(mut errors) => {
            for problem in errors.0.iter_mut().filter(|p| p.file == "--set server.listen") {
                problem.file = "--listen".into();
            }
            errors.into()
        }
        Err(other) => other,
    })
}

/// Logs what works and is likely not what was meant.
pub fn tell(loaded: &Loaded) {
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    for later in &loaded.later {
        tracing::warn!("{later}");
    }
}

/// Says which flag to set when an address cannot be taken.
fn explain(error: anyhow::Error) -> anyhow::Error {
    let Some(BindError::Io { address, source }) = error.downcast_ref::<BindError>() else { return error };
    match source.kind() {
        ErrorKind::AddrInUse => anyhow!(
            "{address} is in use by another program; stop that one, or choose another address with --listen (127.0.0.1:0 takes a free port)"
        ),
        ErrorKind::AddrNotAvailable => {
            anyhow!(
                "this machine has no address like {address}; choose another with --listen, such as 127.0.0.1:8000"
            )
        }
        ErrorKind::PermissionDenied => {
            anyhow!(
                "this user may not listen on {address}; choose a port above 1023 with --listen, such as 127.0.0.1:8000"
            )
        }
        _ => anyhow!("cannot listen on {address}: {source}; choose another address with --listen"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_its_port_and_a_bare_port_is_helped_along() {
        assert!(address("[::1]:0").is_ok());
        assert!(address("8000").unwrap_err().contains("127.0.0.1:8000"));
        assert!(address(":9000").unwrap_err().contains("127.0.0.1:9000"));
        assert!(address("127.0.0.1").unwrap_err().contains("port"));
    }

    #[test]
    fn a_taken_port_names_the_flag() {
        let taken = BindError::Io { address: "127.0.0.1:8000".into(), source: ErrorKind::AddrInUse.into() };
        let told = explain(anyhow::Error::new(taken)).to_string();
        assert!(told.contains("127.0.0.1:8000 is in use") && told.contains("--listen"), "{told}");
        let other = explain(anyhow!("something else"));
        assert_eq!(other.to_string(), "something else");
    }
}
