//! `stdio`: the gateway for one client that launches it and talks over standard input and output.

use super::{Gateway, options, serve};
use crate::{
    app::{App, Options, Place},
    mcp::Profile,
    telemetry::logs,
};
use anyhow::{Context as _, anyhow};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Serve one client over standard input and output, as Claude Desktop, Cursor and Windsurf launch it
///
/// Needs no key and opens no socket. Clients start it in any folder, so nothing is read from there: without
/// `--data-dir` it keeps its data in the user's data directory, and its configuration is `config.yaml` (and `.env`)
/// in that directory, or the file of `--config`. Several of them, and a server, may share one data directory.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Args {
    /// Also leave a readable copy of each image in this folder
    #[arg(long, value_name = "DIR")]
    pub save_dir: Option<PathBuf>,
    /// `generate_image` waits for its image and returns it, as image-gen-mcp-server did
    #[arg(long)]
    pub blocking: bool,
}

pub async fn run(gateway: Gateway, args: Args) -> anyhow::Result<ExitCode> {
    let data_dir = match &gateway.globals.data_dir {
        Some(dir) => dir.clone(),
        None => user_data_dir(cfg!(target_os = "macos"), |name| std::env::var_os(name)).ok_or_else(|| {
            anyhow!("HOME is not set, so there is no place for data; name one with --data-dir")
        })?,
    };
    let data_dir = absolute(&data_dir)?;
    let loaded = gateway.load_in(data_dir.clone(), gateway.globals.set.clone())?;
    logs::start(&loaded.config.telemetry.log)?;
    serve::tell(&loaded);
    options::prepare(&data_dir)?;
    let save_dir = args.save_dir.as_deref().map(absolute).transpose()?;
    let options = Options {
        loaded,
        data_dir,
        plugins: gateway.plugins,
        extra: gateway.extra,
        place: Place::Stdio,
        save_dir,
        allow_partial: false,
    };
    let profile = if args.blocking { Profile::Blocking } else { Profile::Job };
    App::build(options).await?.stdio(profile).await?;
    Ok(ExitCode::SUCCESS)
}

/// Paths go into results, and the reader of a result is in another folder.
fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{} is no path", path.display()))
}

/// Where a user's programs keep their data; relative values of the variables are void (XDG base directories).
fn user_data_dir(macos: bool, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = if macos {
        folder("HOME")?.join("Library/Application Support")
    } else {
        folder("XDG_DATA_HOME").or_else(|| Some(folder("HOME")?.join(".local/share")))?
    };
    Some(base.join("image-gateway"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_data_directory_is_where_the_platform_wants_it() {
        let dir = |macos, xdg: Option<&str>, home: Option<&str>| {
            let found = user_data_dir(macos, |name| match name {
                "XDG_DATA_HOME" => xdg.map(Into::into),
                "HOME" => home.map(Into::into),
                _ => None,
            });
            found.map(|path| path.display().to_string())
        };
        assert_eq!(dir(false, Some("/x"), Some("/h")).as_deref(), Some("/x/image-gateway"));
        assert_eq!(dir(false, Some("x"), Some("/h")).as_deref(), Some("/h/.local/share/image-gateway"));
        assert_eq!(
            dir(true, Some("/x"), Some("/h")).as_deref(),
            Some("/h/Library/Application Support/image-gateway")
        );
        assert_eq!(dir(false, None, Some("")), None);
    }
}
