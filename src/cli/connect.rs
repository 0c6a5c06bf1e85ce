//! `connect`: what a client's configuration needs to reach the gateway, printed or written into its file.

use super::{Gateway, output};
use crate::{
    app,
    edge::clients::{self, ClientFile, NAME, Snippet},
};
use anyhow::{Context as _, anyhow, bail};
use indexmap::IndexMap;
use serde_json::value::RawValue;
use std::{
    fs,
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

type Members = IndexMap<String, Box<RawValue>>;

/// Print what a client needs to reach the gateway, or write it into the client's file
///
/// Without options: for the server that this configuration and data directory belong to, with the key that was made at
/// its first start. Clients: claude-code, claude-desktop, cursor, windsurf, vscode, gemini-cli, librechat,
/// better-chatbot, inspector, node, curl.
///   image-gateway connect cursor --write
///   image-gateway connect claude-desktop --url https://images.example.com --key igw_...
///   image-gateway connect vscode --stdio
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Which client; left out: all of them
    client: Option<String>,
    /// Address of the server, when it is another one than this configuration's
    #[arg(long)]
    url: Option<String>,
    /// The bearer key the client shall use
    #[arg(long, env = "IMAGE_GATEWAY_KEY", hide_env_values = true)]
    key: Option<String>,
    /// The client launches the program itself: no server, no key
    #[arg(long, conflicts_with_all = ["url", "key"])]
    stdio: bool,
    /// Put the entry into the client's file; its other entries stay as they are
    #[arg(long, requires = "client")]
    write: bool,
    /// The client's file, when it is not at its usual place
    #[arg(long, requires = "write")]
    file: Option<PathBuf>,
}

pub fn run(gateway: &Gateway, args: &Args) -> anyhow::Result<ExitCode> {
    let all = snippets(gateway, args)?;
    let chosen: Vec<&Snippet> = match &args.client {
        None => all.iter().collect(),
        Some(id) => {
            // A server elsewhere is reached by Claude Desktop through a bridge.
            let id = if id == "claude-desktop" && args.url.is_some() { "claude-desktop-remote" } else { id };
            let one = all.iter().find(|snippet| snippet.id == id).ok_or_else(|| {
                let known: Vec<&str> = all.iter().map(|snippet| snippet.id).collect();
                anyhow!("there is no set-up for `{id}`; known are {}", known.join(", "))
            })?;
            vec![one]
        }
    };
    if let ([snippet], true) = (&chosen[..], args.write) {
        let file = snippet.file.as_ref().ok_or_else(|| {
            anyhow!(
                "{} keeps no file that could be written; run this instead:\n\n{}",
                snippet.client,
                snippet.text
            )
        })?;
        let path = args.file.clone().map_or_else(|| place(file), Ok)?;
        let replaced = write(&path, file)?;
        let what = if replaced { "replaced" } else { "added" };
        output::print(&format!(
            "{what} the entry `{NAME}` in {}; restart {}\n",
            path.display(),
            snippet.client
        ));
        return Ok(ExitCode::SUCCESS);
    }
    for snippet in &chosen {
        if chosen.len() > 1 {
            output::print(&format!("{} ({}) - {}\n", snippet.client, snippet.id, snippet.how));
            output::print(&format!("{}\n\n", output::indent(&snippet.text, 2).trim_end()));
        } else {
            output::note(&format!("{}\n", snippet.how));
            output::print(&format!("{}\n", snippet.text));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn snippets(gateway: &Gateway, args: &Args) -> anyhow::Result<Vec<Snippet>> {
    let exe = std::env::current_exe().map_or(NAME.into(), |path| path.display().to_string());
    if args.stdio {
        return Ok(clients::launched(&exe));
    }
    let url = match &args.url {
        Some(url) if !url.starts_with("http://") && !url.starts_with("https://") => {
            bail!("--url `{url}` is no http or https address; such as https://images.example.com")
        }
        // The path is the gateway's own business.
        Some(url) => url.trim_end_matches('/').trim_end_matches("/mcp").to_owned(),
        None => {
            let server = gateway.load()?.config.server;
            let scheme = if server.tls.is_some() { "https" } else { "http" };
            let listens = || server.listen.as_slice().first().map(|address| format!("{scheme}://{address}"));
            server
                .public_url
                .clone()
                .or_else(listens)
                .ok_or_else(|| anyhow!("nothing listens; give --url"))?
        }
    };
    let kept = || fs::read_to_string(gateway.data_dir().join(app::FIRST_KEY)).ok();
    let own = args.url.is_none();
    let key = args.key.clone().or_else(|| kept().filter(|_| own)).map(|key| key.trim().to_owned());
    if key.is_none() {
        output::note("KEY stands for a key: give it by --key; `image-gateway keys create` makes one\n");
        if args.write {
            bail!("no key to write down; give it by --key or IMAGE_GATEWAY_KEY");
        }
    }
    Ok(clients::snippets(&url, key.as_deref().unwrap_or("KEY"), &exe))
}

/// Where the client's file is on this machine.
fn place(file: &ClientFile) -> anyhow::Result<PathBuf> {
    let usual = if cfg!(target_os = "macos") { file.macos.unwrap_or(file.path) } else { file.path };
    match usual.strip_prefix("~/") {
        None => Ok(PathBuf::from(usual)),
        Some(rest) => {
            let home = std::env::var_os("HOME").ok_or_else(|| anyhow!("HOME is not set; give --file"))?;
            Ok(Path::new(&home).join(rest))
        }
    }
}

/// Puts the entry into the file, beside what is there. Returns whether it replaced one.
fn write(path: &Path, file: &ClientFile) -> anyhow::Result<bool> {
    let shown = path.display();
    let before = match fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => "{}".to_owned(),
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => "{}".to_owned(),
        Err(error) => return Err(error).with_context(|| format!("{shown} cannot be read")),
    };
    let (after, replaced) = merged(&before, file)
        .with_context(|| format!("{shown} is no plain JSON (comments?); put the entry there by hand"))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    // In one step, and for nobody else's eyes: there is a key in it.
    let aside = path.with_extension("json.new");
    let mut new = fs::OpenOptions::new();
    new.write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&aside)
        .and_then(|mut new| new.write_all(after.as_bytes()).and_then(|()| new.sync_all()))
        .and_then(|()| fs::rename(&aside, path))
        .with_context(|| format!("{shown} cannot be written"))?;
    Ok(replaced)
}

/// The text with the entry in it. Every other member keeps its text and its place.
fn merged(before: &str, file: &ClientFile) -> serde_json::Result<(String, bool)> {
    let mut whole: Members = serde_json::from_str(before)?;
    let mut servers: Members = match whole.get(file.servers) {
        Some(raw) => serde_json::from_str(raw.get())?,
        None => Members::new(),
    };
    let replaced = servers.insert(NAME.into(), RawValue::from_string(file.entry.clone())?).is_some();
    let written = |members: &Members, indent: usize| {
        let lines: Vec<String> = members
            .iter()
            .map(|(name, value)| {
                format!("{:indent$}  {}: {}", "", serde_json::Value::from(name.as_str()), value.get())
            })
            .collect();
        format!("{{\n{}\n{:indent$}}}", lines.join(",\n"), "")
    };
    whole.insert(file.servers.into(), RawValue::from_string(written(&servers, 2))?);
    Ok((written(&whole, 0) + "\n", replaced))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn cursor() -> ClientFile {
        let all = clients::snippets("http://127.0.0.1:8000", "igw_k", "x");
        all.into_iter().find(|s| s.id == "cursor").and_then(|s| s.file).unwrap()
    }

    #[test]
    fn an_entry_joins_what_is_there_and_leaves_it_as_it_is() {
        let before =
            r#"{"theme": "dark", "mcpServers": {"other": {"url":  "http://o", "a": [1, 2]}}, "z": 1.50}"#;
        let (after, replaced) = merged(before, &cursor()).unwrap();
        assert!(!replaced);
        let json: Value = serde_json::from_str(&after).unwrap();
        assert_eq!(json["mcpServers"][NAME]["url"], "http://127.0.0.1:8000/mcp");
        assert_eq!(json["mcpServers"]["other"], json!({"url": "http://o", "a": [1, 2]}));
        assert!(
            after.contains("\"z\": 1.50") && after.contains(r#"{"url":  "http://o", "a": [1, 2]}"#),
            "{after}"
        );
        assert!(after.find("theme") < after.find("mcpServers"), "{after}");
        let (again, replaced) = merged(&after, &cursor()).unwrap();
        assert!(replaced && again == after, "{again}");
    }

    #[test]
    fn an_empty_file_gets_the_entry_and_one_with_comments_is_left_alone() {
        let (after, _) = merged("{}", &cursor()).unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&after).unwrap()["mcpServers"].as_object().unwrap().len(),
            1
        );
        for before in ["// mine\n{}", "[]", "{\"mcpServers\": 3}", "{"] {
            assert!(merged(before, &cursor()).is_err(), "{before}");
        }
    }
}
