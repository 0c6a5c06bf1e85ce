//! `providers`: the configured instances, what is known of them, and pausing them. A running server need not be asked:
//! it follows the database within a second.

use super::{Gateway, doctor, options, output};
use crate::{
    config::{Config, Credential, Loaded},
    providers::{Registry, Upstream},
    store::{Address, Pauses, Store},
    telemetry::{Clock as _, SystemClock},
};
use anyhow::anyhow;
use std::{collections::BTreeMap, process::ExitCode};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the configured providers: on, off or paused, their credentials and models
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Try one provider's credentials with what is free at the vendor
    Test {
        /// The provider's name in the configuration
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Start nothing new at a provider, on every node and across restarts; what runs there goes on
    Pause {
        /// The provider's name in the configuration
        name: String,
    },
    /// End a pause
    Resume {
        /// The provider's name in the configuration
        name: String,
    },
}

pub async fn run(gateway: &Gateway, command: Command) -> anyhow::Result<ExitCode> {
    let loaded = gateway.load()?;
    match command {
        Command::List { json } => list(gateway, &loaded, json).await?,
        Command::Test { name, json } => return test(gateway, &loaded, &name, json).await,
        Command::Pause { name } => pause(gateway, &loaded.config, &name).await?,
        Command::Resume { name } => resume(gateway, &loaded.config, &name).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What a server of this data directory has written down about providers.
#[derive(Default)]
pub struct Noted {
    pub pauses: Pauses,
    /// Instances that a server leaves alone after failures, and until when.
    pub broken: BTreeMap<String, i64>,
}

/// # Errors
/// There is a database, and it cannot be read.
pub async fn noted(gateway: &Gateway, config: &Config) -> anyhow::Result<Noted> {
    if !Address::parse(&config.database.url, &gateway.data_dir())?.may_exist() {
        return Ok(Noted::default());
    }
    let store = gateway.existing_store(config).await?;
    let mut broken = store.breakers().await?;
    let now_us = SystemClock.now_us();
    broken.retain(|_, until| *until > now_us);
    Ok(Noted { pauses: store.pauses().await?, broken })
}

async fn list(gateway: &Gateway, loaded: &Loaded, json: bool) -> anyhow::Result<()> {
    let registry = options::registry(&loaded.config, gateway.plugins, &gateway.data_dir())?;
    let Noted { pauses, broken } = noted(gateway, &loaded.config).await?;
    let registry = registry.with_pauses(pauses);
    let now_us = SystemClock.now_us();
    let rows: Vec<Row> = registry
        .instances()
        .map(|instance| Row::new(instance, &registry, &broken, &loaded.credentials))
        .collect();
    if json {
        output::print_json(&rows);
        return Ok(());
    }
    let cells: Vec<Vec<String>> = rows.iter().map(|row| row.cells(now_us)).collect();
    output::print(&output::table(&["NAME", "KIND", "STATE", "CREDENTIALS", ""], &cells));
    Ok(())
}

/// One provider. Times are milliseconds UTC.
#[derive(serde::Serialize)]
struct Row<'a> {
    name: &'a str,
    kind: &'a str,
    /// `on`, `off` or `paused`.
    state: &'static str,
    /// Why it is off.
    reason: Option<&'a str>,
    paused_since: Option<i64>,
    /// A server saw too many failures and sends nothing until then.
    broken_until: Option<i64>,
    credentials: &'a [Credential],
    /// Public models with a target here.
    models: Vec<String>,
    vendor_models: Vec<String>,
    default_model: Option<String>,
    concurrency: Option<u32>,
    #[serde(skip)]
    serves: String,
}

impl<'a> Row<'a> {
    fn new(
        instance: &'a Upstream,
        registry: &Registry,
        broken: &BTreeMap<String, i64>,
        credentials: &'a BTreeMap<String, Vec<Credential>>,
    ) -> Row<'a> {
        let ms = |us: i64| us.div_euclid(1_000);
        let paused_since = registry.paused_since(&instance.id);
        let state = match (&instance.provider, paused_since) {
            (Err(_), _) => "off",
            (Ok(_), Some(_)) => "paused",
            (Ok(_), None) => "on",
        };
        let here =
            registry.models().into_iter().filter(|m| m.targets.iter().any(|t| t.instance == instance.id));
        let models: Vec<String> = here.map(|model| model.name).collect();
        let serves = match &instance.provider {
            Err(why) => why.clone(),
            Ok(_) if models.is_empty() => {
                format!("no entry of `models` leads to it; ask for {}/MODEL", instance.id)
            }
            Ok(_) => format!("serves {}", models.join(", ")),
        };
        Row {
            name: &instance.id,
            kind: &instance.kind,
            state,
            reason: instance.provider.as_ref().err().map(String::as_str),
            paused_since: paused_since.map(ms),
            broken_until: broken.get(&instance.id).copied().map(ms),
            credentials: credentials.get(&instance.id).map(Vec::as_slice).unwrap_or_default(),
            models,
            vendor_models: instance.provider.as_ref().map(|on| on.models()).unwrap_or_default(),
            default_model: instance.default_model(),
            concurrency: instance.concurrency,
            serves,
        }
    }

    fn cells(&self, now_us: i64) -> Vec<String> {
        let span = |ms: i64| output::span((ms * 1_000 - now_us).abs());
        let state = match (self.paused_since, self.broken_until) {
            (Some(since), _) if self.state == "paused" => format!("paused for {}", span(since)),
            (_, Some(until)) if self.state == "on" => format!("failing, next try in {}", span(until)),
            _ => self.state.to_owned(),
        };
        let key = |credential: &Credential| {
            let name = credential.variable.as_deref().unwrap_or(&credential.field);
            format!("{name} {}", if credential.set { "set" } else { "missing" })
        };
        let keys: Vec<String> = self.credentials.iter().map(key).collect();
        let none = if self.state == "off" { "none set" } else { "none needed" };
        let keys = if keys.is_empty() { none.to_owned() } else { keys.join(", ") };
        vec![self.name.into(), self.kind.into(), state, keys, self.serves.clone()]
    }
}

async fn test(gateway: &Gateway, loaded: &Loaded, name: &str, json: bool) -> anyhow::Result<ExitCode> {
    let finding = doctor::provider(gateway, &loaded.config, known(&loaded.config, name)?).await?;
    if json {
        output::print_json(&finding);
    } else {
        output::print(&doctor::lines(std::slice::from_ref(&finding)));
    }
    Ok(if finding.works() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// # Errors
/// There is no such instance; the sentence names those there are.
fn known<'a>(config: &'a Config, name: &str) -> anyhow::Result<&'a str> {
    let found = config.providers.keys().find(|id| *id == name);
    found.map(String::as_str).ok_or_else(|| {
        let all: Vec<&str> = config.providers.keys().map(String::as_str).collect();
        anyhow!("there is no provider `{name}`; the configuration has {}", all.join(", "))
    })
}

async fn pause(gateway: &Gateway, config: &Config, name: &str) -> anyhow::Result<()> {
    let store = options::open_store(config, &gateway.data_dir()).await?;
    let name = known(config, name)?;
    if store.pause(name).await? {
        output::print(&format!(
            "Provider `{name}` is paused: what runs there goes on, nothing new starts. Servers follow within a second.\n"
        ));
    } else {
        let since = since(&store, name).await?;
        output::print(&format!("Provider `{name}` is paused already, since {since}.\n"));
    }
    Ok(())
}

async fn since(store: &Store, name: &str) -> anyhow::Result<String> {
    Ok(store.pauses().await?.get(name).map_or_else(|| "a moment ago".into(), |us| output::time(*us)))
}

async fn resume(gateway: &Gateway, config: &Config, name: &str) -> anyhow::Result<()> {
    let store = options::open_store(config, &gateway.data_dir()).await?;
    if store.resume(name).await? {
        output::print(&format!("Provider `{name}` is resumed; servers follow within a second.\n"));
    } else if config.providers.contains_key(name) {
        output::print(&format!("Provider `{name}` is not paused.\n"));
    } else {
        known(config, name)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{LoadOptions, load},
        providers::builtin::PLUGINS,
    };
    use std::path::Path;

    const YAML: &str = "providers:\n  \
        openai: {kind: openai, api_key: \"${OPENAI_API_KEY:-}\"}\n  \
        own: {kind: openai, api_key: sk-hush, base_url: http://127.0.0.1:1/v1}\n  \
        card: {kind: placeholder}\n\
        models: {draw: {targets: [own/gpt-image-2.5-flare, openai/gpt-image-2.5-flare]}}\n\
        routing: {default_model: [draw]}\n";

    fn loaded() -> Loaded {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.yaml"), YAML).unwrap();
        let options = LoadOptions { working_dir: dir.path().into(), ..Default::default() };
        load(&options, PLUGINS).unwrap()
    }

    #[test]
    fn a_row_tells_state_credentials_and_models_and_no_secret() {
        const NOW: i64 = 1_800_000_000_000_000;
        let loaded = loaded();
        let registry = options::registry(&loaded.config, PLUGINS, Path::new("data")).unwrap();
        let row = |registry: &Registry, broken: &BTreeMap<String, i64>, id: &str| {
            let instance = registry.instance(id).unwrap();
            let row = Row::new(instance, registry, broken, &loaded.credentials);
            (row.cells(NOW), serde_json::to_value(&row).unwrap())
        };
        let none = BTreeMap::new();
        let (cells, json) = row(&registry, &none, "openai");
        assert_eq!(cells[2..4], ["off", "OPENAI_API_KEY missing"], "{cells:?}");
        assert!(cells[4].contains("OPENAI_API_KEY is not set"), "{cells:?}");
        assert_eq!(json["credentials"][0]["variable"], "OPENAI_API_KEY");

        let (cells, json) = row(&registry, &none, "own");
        assert_eq!(cells[2..5], ["on", "api_key set", "serves draw"]);
        assert!(!json.to_string().contains("hush"), "{json}");
        assert_eq!(row(&registry, &none, "card").0[3], "none needed");

        let broken = BTreeMap::from([("own".to_owned(), NOW + 12_000_000)]);
        assert_eq!(row(&registry, &broken, "own").0[2], "failing, next try in 12.0 s");
        let paused = registry.with_pauses(Pauses::from([("own".into(), NOW - 60_000_000)]));
        let (cells, json) = row(&paused, &broken, "own");
        assert_eq!(cells[2], "paused for 1 min 0 s");
        assert_eq!((&json["state"], &json["models"]), (&"paused".into(), &serde_json::json!(["draw"])));
    }

    #[test]
    fn an_unknown_name_is_answered_with_those_there_are() {
        let error = known(&loaded().config, "opneai").unwrap_err().to_string();
        assert!(error.contains("opneai") && error.contains("openai, own, card"), "{error}");
    }
}
