//! `keys`: bearer keys of the database. The server of the same database follows within a second.

use super::{Gateway, check, options, output};
use crate::{
    app,
    auth::{self, Scope},
    config::Config,
    store::{Address, Key, Store},
    telemetry::{Clock as _, SystemClock},
};
use anyhow::bail;
use plugin_api::value::Span;
use std::{process::ExitCode, time::Duration};

/// After so long every server knows that a key is revoked.
const IN_FORCE: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Create(Create),
    /// List all keys, those of the file too; never the keys themselves
    List,
    Rotate(Rotate),
    /// Revoke a key for good, within a second on every node; its jobs that wait are cancelled
    Revoke {
        /// The key's id, as `keys list` shows it
        id: String,
    },
}

/// Make a key and print it: the only time that it is shown
///
/// On stdout stands the key alone, so that a script can take it:
///   KEY=$(image-gateway keys create --team design --expires 90d)
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Create {
    /// Team that the key's jobs, images and costs belong to
    #[arg(long, default_value = "default", value_parser = name)]
    team: String,
    /// Name to recognise the key by; left out: one is made up
    #[arg(long, visible_alias = "name", value_parser = name)]
    id: Option<String>,
    /// What it may do: images:read, images:write, usage:read, admin
    #[arg(long, value_name = "SCOPES", value_delimiter = ',', value_parser = scope,
          default_value = "images:read,images:write,usage:read")]
    scopes: Vec<Scope>,
    /// When it ends: after a time (90d), after a day (2027-01-31), or at a moment (2027-01-31T12:00:00Z)
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
}

/// Give a key another bearer and print it; the old one is good for a while longer
///
/// On stdout stands the new bearer alone. Team, scopes, limits and usage stay.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Rotate {
    /// The key's id, as `keys list` shows it
    id: String,
    /// How long the old bearer stays good; 0s ends it at once
    #[arg(long, value_name = "TIME", default_value = "24h")]
    grace: Span,
}

fn scope(text: &str) -> Result<Scope, String> {
    text.trim().parse()
}

/// Names stand in listings, logs and object keys.
fn name(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.is_empty() || text.len() > 64 || !text.chars().all(good) {
        return Err("use 1 to 64 letters, digits, `-`, `_` and `.`".into());
    }
    Ok(text.into())
}

pub async fn run(gateway: &Gateway, command: Command) -> anyhow::Result<ExitCode> {
    let config = gateway.load()?.config;
    match command {
        Command::Create(create) => self::create(gateway, &config, create).await?,
        Command::List => list(gateway, &config).await?,
        Command::Rotate(rotate) => self::rotate(gateway, &config, rotate).await?,
        Command::Revoke { id } => revoke(gateway, &config, &id).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(gateway: &Gateway, config: &Config, create: Create) -> anyhow::Result<()> {
    let expires_us = create
        .expires
        .as_deref()
        .map(|text| options::moment("--expires", text, SystemClock.now_us()))
        .transpose()?;
    if create.team.is_empty() || create.team.chars().count() > auth::LONGEST_TEAM {
        bail!("--team: a team's name has 1 to {} characters", auth::LONGEST_TEAM);
    }
    let data_dir = gateway.data_dir();
    let is_new = !Address::parse(&config.database.url, &data_dir)?.may_exist();
    let store = options::open_store(config, &data_dir).await?;
    let secrets = options::secrets(config, &data_dir)?;
    if is_new {
        output::note(&format!(
            "Note: there was no database in {}, and one was made. A server that runs elsewhere, or with other settings \
             (--data-dir, --config, --env-file, its variables), does not know this key.\n",
            data_dir.display()
        ));
    }
    let id = create.id.map_or_else(auth::new_key_id, Ok)?;
    let taken =
        config.auth.keys.iter().any(|key| key.id == id) || store.keys().await?.iter().any(|key| key.id == id);
    if taken {
        bail!("there is a key `{id}` already, maybe a revoked one; choose another --id");
    }
    let bearer = auth::new_key()?;
    let mut scopes = create.scopes;
    scopes.sort();
    scopes.dedup();
    let key = Key {
        id,
        team: create.team,
        hash: auth::hash(&secrets, &bearer),
        hint: bearer.chars().take(8).collect(),
        scopes: scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" "),
        expires_us,
        ..Key::default()
    };
    store.add_key(key.clone(), false).await?;
    output::print(&format!("{bearer}\n"));
    output::note(&made(&key, config));
    Ok(())
}

/// What is said beside the key.
fn made(key: &Key, config: &Config) -> String {
    let end =
        key.expires_us.map_or("it does not expire".into(), |us| format!("it ends {}", output::time(us)));
    let mut text =
        format!("Key `{}` of team `{}` may {}; {end}. ", key.id, key.team, key.scopes.replace(' ', ", "));
    text += "It is not shown again; servers take it within a second.\n";
    if !config.teams.contains_key(&key.team) {
        text += &format!(
            "Note: `teams` has no entry `{}`, so it gets the limits and models of `default`.\n",
            key.team
        );
    }
    text
}

async fn list(gateway: &Gateway, config: &Config) -> anyhow::Result<()> {
    let keys = gateway.existing_store(config).await?.keys().await?;
    output::print(&listing(&keys, config, SystemClock.now_us()));
    Ok(())
}

fn listing(keys: &[Key], config: &Config, now_us: i64) -> String {
    let database = keys.iter().map(|key| {
        let end = key.expires_us.map_or("never".into(), output::time);
        let row = [
            &key.id,
            &key.team,
            &key.scopes.replace(' ', ","),
            &output::time(key.created_us),
            &end,
            &key.used_us.map_or("-".into(), output::time),
            &state(key, now_us),
        ];
        let mut row: Vec<String> = row.map(String::clone).to_vec();
        row.push(format!("{}...", key.hint));
        row
    });
    let file = config.auth.keys.iter().map(|key| {
        let scopes = match &key.scopes {
            Some(own) => own.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(","),
            None => "all but admin".into(),
        };
        let state = if check::is_off(key) { "off" } else { "good" };
        let team = key.team.clone().unwrap_or("default".into());
        let end = key.expires.clone().unwrap_or("never".into());
        vec![key.id.clone(), team, scopes, "in the file".into(), end, "-".into(), state.into(), String::new()]
    });
    let rows: Vec<_> = file.chain(database).collect();
    if rows.is_empty() {
        return "There is no key yet; `image-gateway keys create` makes one.\n".into();
    }
    output::table(&["ID", "TEAM", "SCOPES", "CREATED", "EXPIRES", "LAST USED", "STATE", "BEGINS"], &rows)
}

fn state(key: &Key, now_us: i64) -> String {
    match (key.revoked_us, key.expires_us) {
        (Some(at), _) => format!("revoked {}", output::time(at)),
        (None, Some(end)) if end <= now_us => "expired".into(),
        _ => match &key.old {
            Some((_, until)) if *until > now_us => {
                format!("good; the old one until {}", output::time(*until))
            }
            _ => "good".into(),
        },
    }
}

/// Whether it can be the id of a key of the database.
fn in_database(config: &Config, id: &str, remedy: &str) -> anyhow::Result<()> {
    if id.starts_with("igw_") {
        // Not repeated: it may be a living key.
        bail!("that is a key, not its id; `image-gateway keys list` shows the ids");
    }
    if config.auth.keys.iter().any(|key| key.id == id) {
        bail!("the key `{id}` belongs to the configuration file; {remedy} there and reload the server");
    }
    Ok(())
}

async fn rotate(gateway: &Gateway, config: &Config, rotate: Rotate) -> anyhow::Result<()> {
    let Rotate { id, grace } = rotate;
    in_database(config, &id, "change it")?;
    let store = gateway.existing_store(config).await?;
    let secrets = options::secrets(config, &gateway.data_dir())?;
    let bearer = auth::new_key()?;
    let (hash, hint) = (auth::hash(&secrets, &bearer), bearer.chars().take(8).collect());
    let old_hash = store.keys().await?.into_iter().find(|key| key.id == id).map(|key| key.hash);
    if !store.rotate_key(&id, hash, hint, grace.as_us()).await? {
        bail!("there is no key `{id}`, or it is revoked; `image-gateway keys list` shows them");
    }
    output::print(&format!("{bearer}\n"));
    let old =
        if grace.is_zero() { "ends within a second".into() } else { format!("is good for {grace} more") };
    output::note(&format!("Key `{id}` has this new bearer; the old one {old}. It is not shown again.\n"));
    forget_first(gateway, config, old_hash.as_deref())
}

async fn revoke(gateway: &Gateway, config: &Config, id: &str) -> anyhow::Result<()> {
    in_database(config, id, "take it out")?;
    let store = gateway.existing_store(config).await?;
    let hash = store.keys().await?.into_iter().find(|key| key.id == id).map(|key| key.hash);
    if store.revoke_key(id).await? {
        output::print(&format!("Key `{id}` is revoked; servers refuse it within a second.\n"));
        forget_first(gateway, config, hash.as_deref())?;
        return cancel_jobs(&store, id).await;
    }
    match store.keys().await?.iter().find(|key| key.id == id).and_then(|key| key.revoked_us) {
        Some(at) => output::print(&format!("Key `{id}` was revoked before, {}.\n", output::time(at))),
        None => bail!("there is no key `{id}`; `image-gateway keys list` shows them"),
    }
    // Whoever did it may have been interrupted.
    cancel_jobs(&store, id).await
}

/// The start and `connect` show the first key: one that is good no more helps nobody.
fn forget_first(gateway: &Gateway, config: &Config, hash: Option<&str>) -> anyhow::Result<()> {
    let (data_dir, Some(hash)) = (gateway.data_dir(), hash) else { return Ok(()) };
    let path = data_dir.join(app::FIRST_KEY);
    let Ok(bearer) = std::fs::read_to_string(&path) else { return Ok(()) };
    if auth::hash(&options::secrets(config, &data_dir)?, bearer.trim()) == hash {
        std::fs::remove_file(&path)?;
        output::note(&format!("{} held it and is deleted.\n", path.display()));
    }
    Ok(())
}

async fn cancel_jobs(store: &Store, key: &str) -> anyhow::Result<()> {
    let mut cancelled = store.cancel_jobs_of(key).await?;
    // Until then servers may have taken some more.
    tokio::time::sleep(IN_FORCE).await;
    cancelled += store.cancel_jobs_of(key).await?;
    output::print(&format!("Jobs that waited and are cancelled: {cancelled}.\n"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000_000;

    fn key(id: &str) -> Key {
        Key {
            id: id.into(),
            team: "default".into(),
            hash: "0badc0de".into(),
            hint: "igw_abcd".into(),
            scopes: "images:read admin".into(),
            created_us: NOW - 1,
            ..Key::default()
        }
    }

    #[test]
    fn an_end_is_a_length_a_day_or_a_moment_to_come() {
        assert_eq!(options::moment("--expires", "90d", NOW).unwrap(), NOW + 90 * 86_400_000_000);
        let day = options::moment("--expires", "2027-01-31", NOW).unwrap();
        assert_eq!(output::time(day), "2027-02-01 00:00:00 UTC", "it is good on its last day");
        assert!(options::moment("--expires", "2027-01-31T12:00:00Z", NOW).unwrap() < day);
        for (text, word) in [("2020-01-01", "over"), ("soon", "90d"), ("0s", "over"), ("", "90d")] {
            let error = options::moment("--expires", text, NOW).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("--expires"), "{text}: {error}");
        }
    }

    #[test]
    fn names_are_fit_for_listings_and_paths() {
        assert!(name("design-2.eu_west").is_ok());
        for bad in ["", "a b", "../x", "ä", &"x".repeat(65)] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_listing_tells_states_and_neither_key_nor_hash() {
        let revoked = Key { revoked_us: Some(NOW), ..key("gone") };
        let expired = Key { expires_us: Some(NOW - 1), ..key("late") };
        let mut config = Config::default();
        config.auth.keys.push(auth::FileKey {
            id: "ci".into(),
            key: plugin_api::value::Secret::new("igw_hush"),
            ..Default::default()
        });
        let text = listing(&[key("a"), revoked, expired], &config, NOW);
        let line =
            |id: &str| text.lines().find(|line| line.starts_with(id)).unwrap_or_else(|| panic!("{text}"));
        assert!(line("a ").contains("good") && line("a ").contains("igw_abcd..."), "{text}");
        assert!(line("gone").contains("revoked 2027-01-15"), "{text}");
        assert!(line("late").contains("expired") && line("ci").contains("in the file"), "{text}");
        assert!(!text.contains("hush") && !text.contains("0badc0de"), "{text}");
        assert!(listing(&[], &Config::default(), NOW).contains("keys create"));
    }

    #[test]
    fn a_team_without_an_entry_is_pointed_out() {
        let mut config = Config::default();
        config.teams.entry("default".into()).or_default();
        assert!(!made(&key("a"), &config).contains("Note"));
        assert!(made(&Key { team: "desgin".into(), ..key("a") }, &config).contains("no entry `desgin`"));
    }
}
