//! What `serve` prints once it listens: where it is, the key, how to connect each client, which providers are on.

use super::output;
use crate::{
    app::{FirstKey, Ready},
    auth::Mode,
    config::Loaded,
    edge::clients,
    providers::{Registry, Upstream},
};
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

/// Those for whom a snippet is printed; the home page has them all.
const CLIENTS: [&str; 7] =
    ["Claude Code", "Claude Desktop", "Cursor", "Windsurf", "VS Code", "MCP Inspector", "curl"];
const ANY_KEY: &str = "YOUR_KEY";

/// What is known before the start.
#[derive(Debug)]
pub struct Summary {
    configuration: String,
    data_dir: PathBuf,
    mode: Mode,
    mcp: bool,
    scheme: &'static str,
}

impl Summary {
    pub fn new(loaded: &Loaded, data_dir: &Path) -> Summary {
        Summary {
            configuration: configuration(loaded),
            data_dir: data_dir.to_owned(),
            mode: loaded.config.auth.mode,
            mcp: loaded.config.mcp.paths.jobs.is_some(),
            scheme: if loaded.config.server.tls.is_some() { "https" } else { "http" },
        }
    }
}

/// The file, as it is best shown.
pub fn configuration(loaded: &Loaded) -> String {
    match &loaded.file {
        None => "built-in settings (there is no config.yaml here)".into(),
        Some(file) => {
            let here = std::env::current_dir().unwrap_or_default();
            file.strip_prefix(&here).unwrap_or(file).display().to_string()
        }
    }
}

/// The banner. The line `listening on` comes last and once, for people and for programs that wait for it. A key is
/// shown where it was just made, later only to a `terminal`: what is written elsewhere is likely kept as a log.
pub fn text(summary: &Summary, ready: &Ready, registry: &Registry, terminal: bool) -> String {
    let first = ready.first_key.as_ref();
    let shown = first.filter(|key| terminal || key.made_now);
    let mut text = format!("image-gateway {}\n\n", env!("CARGO_PKG_VERSION"));
    if summary.mcp && (terminal || shown.is_some()) {
        let exe = std::env::current_exe().map_or("image-gateway".into(), |path| path.display().to_string());
        text += &snippets(&ready.public_url, shown.map_or(ANY_KEY, |key| &key.bearer), &exe);
    }
    text += "Providers\n";
    text +=
        &output::list(&registry.instances().map(|instance| provider(instance, registry)).collect::<Vec<_>>());
    text.push('\n');
    let url = &ready.public_url;
    let rows = [
        ("endpoint", if summary.mcp { format!("{url}/mcp") } else { "off (mcp.paths.jobs is null)".into() }),
        ("key", key(summary, first, shown)),
        ("home page", format!("{url}/ (client snippets, tools, health)")),
        ("data", summary.data_dir.display().to_string()),
        ("settings", summary.configuration.clone()),
        ("stop", "Ctrl-C, or SIGTERM: what runs may finish".into()),
    ];
    text += &output::list(&rows.map(|(name, value)| vec![name.into(), value]));
    text.push('\n');
    for address in ready.addresses.iter().skip(1) {
        let _ = writeln!(text, "also on {}://{address}", summary.scheme);
    }
    if let Some(address) = ready.addresses.first() {
        let _ = writeln!(text, "listening on {}://{address}", summary.scheme);
    }
    text
}

fn key(summary: &Summary, first: Option<&FirstKey>, shown: Option<&FirstKey>) -> String {
    match (summary.mode, first, shown) {
        (Mode::Jwt, ..) => "a token of an issuer of auth.issuers (auth.mode: jwt)".into(),
        (Mode::None, ..) => "none is asked for (auth.mode: none)".into(),
        (_, _, Some(key)) => {
            format!(
                "{} (kept in {}; delete the file and it is shown no more)",
                key.bearer,
                key.path.display()
            )
        }
        (_, Some(key), None) => format!("in {}", key.path.display()),
        (_, None, None) => "yours; `image-gateway keys create` makes another".into(),
    }
}

fn snippets(public_url: &str, key: &str, exe: &str) -> String {
    let mut text = String::from("Connect a client\n\n");
    for snippet in clients::snippets(public_url, key, exe).iter().filter(|s| CLIENTS.contains(&s.client)) {
        let _ = writeln!(text, "  {} - {}", snippet.client, snippet.how);
        text += &output::indent(&snippet.text, 4);
        text.push('\n');
    }
    text
}

/// One line: id, on or off, and what it makes or what is missing.
pub fn provider(instance: &Upstream, registry: &Registry) -> Vec<String> {
    let (state, what) = match &instance.provider {
        Err(why) => ("off", why.clone()),
        Ok(_) => {
            let names: Vec<String> = registry
                .models()
                .into_iter()
                .filter(|m| m.targets.iter().any(|t| t.instance == instance.id && t.off.is_none()))
                .map(|m| m.name)
                .collect();
            let none = || format!("no entry of `models` leads to it; ask for {}/MODEL", instance.id);
            ("on", if names.is_empty() { none() } else { format!("serves {}", names.join(", ")) })
        }
    };
    vec![instance.id.clone(), state.into(), what]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::options;

    fn banner(first_key: Option<FirstKey>, terminal: bool) -> String {
        let dir = tempfile::tempdir().unwrap();
        let options = crate::config::LoadOptions { working_dir: dir.path().into(), ..Default::default() };
        let loaded = crate::config::load(&options, crate::providers::builtin::PLUGINS).unwrap();
        let registry =
            options::registry(&loaded.config, crate::providers::builtin::PLUGINS, Path::new("data")).unwrap();
        let summary = Summary::new(&loaded, Path::new("data"));
        let address = "127.0.0.1:4711".parse().unwrap();
        let ready = Ready { public_url: "http://127.0.0.1:4711".into(), addresses: vec![address], first_key };
        text(&summary, &ready, &registry, terminal)
    }

    fn key(made_now: bool) -> Option<FirstKey> {
        Some(FirstKey { bearer: "igw_secret".into(), path: "data/first-key".into(), made_now })
    }

    #[test]
    fn the_first_start_shows_the_key_and_every_client() {
        let text = banner(key(true), false);
        for client in CLIENTS {
            assert!(text.contains(&format!("  {client} - ")), "{client} is missing:\n{text}");
        }
        assert!(text.contains("Bearer igw_secret") && text.contains("http://127.0.0.1:4711/mcp"), "{text}");
        assert!(text.contains("openai") && text.contains("OPENAI_API_KEY"), "why it is off: {text}");
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with("listening on ")).collect();
        assert_eq!(lines, ["listening on http://127.0.0.1:4711"], "programs wait for this line");
    }

    #[test]
    fn later_starts_show_the_key_only_on_a_terminal() {
        assert!(banner(key(false), true).contains("Bearer igw_secret"));
        let log = banner(key(false), false);
        assert!(!log.contains("igw_secret") && log.contains("in data/first-key"), "{log}");
        assert!(banner(None, true).contains(&format!("Bearer {ANY_KEY}")));
    }
}
