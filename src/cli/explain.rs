//! `explain` and `estimate`: where a call would go, what it would cost, and why; nothing is generated.
//!
//! It asks the planner that jobs ask, on the configuration as it stands. What only a running server knows (open breakers,
//! rests, measured times) its tool `list_models` with `explain` shows.

use super::{Gateway, options, output};
use crate::{
    app,
    jobs::{Desk, Explanation, Generation, Owner, Refused},
    mcp,
    providers::{Choice, Claims, Explained, Strategy},
    store::Address,
    telemetry::{Clock as _, SystemClock},
};
use anyhow::{Context as _, anyhow, bail};
use plugin_api::{Adjustment, value::Money};
use serde::Serialize;
use serde_json::{Map, Value};
use std::{process::ExitCode, sync::Arc};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of the key that would call, of the file or of the database
    #[arg(long, value_name = "NAME", conflicts_with = "team")]
    key: Option<String>,
    /// Team that would call [default: default]
    #[arg(long, value_name = "TEAM")]
    team: Option<String>,
    /// What else is said of the caller, for routes with `claims`: a JSON object
    #[arg(long, value_name = "JSON", value_parser = object)]
    claims: Option<Map<String, Value>>,
    /// Tool that would be called
    #[arg(long, default_value = "generate_image",
          value_parser = ["generate_image", "generate_image_and_wait", "edit_image"])]
    tool: String,
    /// Its arguments, a JSON object; a prompt is not needed
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = object)]
    args: Map<String, Value>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text)
        .map_err(|error| format!("not a JSON object, such as {{\"model\": \"photo\"}}: {error}"))
}

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    Price,
    Everything,
}

/// Exit code 1: it would be refused.
pub async fn run(gateway: &Gateway, args: Args, detail: Detail) -> anyhow::Result<ExitCode> {
    let config = gateway.load()?.config;
    let data_dir = gateway.data_dir();
    let database = Address::parse(&config.database.url, &data_dir)?.may_exist();
    let store = if database { Some(gateway.existing_store(&config).await?) } else { None };
    let mut notes = Vec::new();
    if store.is_none() {
        notes.push(format!("there is no database in {}: nothing counts as used", data_dir.display()));
    }
    let owner = match (&args.key, &args.team) {
        (None, team) => Owner { team: team.clone().unwrap_or("default".into()), ..Owner::default() },
        (Some(id), _) => {
            let of_file = config.auth.keys.iter().find(|key| key.id == *id);
            let of_file = of_file.map(|key| key.team.clone().unwrap_or("default".into()));
            let keys = match (&of_file, &store) {
                (None, Some(store)) => store.keys().await?,
                _ => Vec::new(),
            };
            let team = of_file.or_else(|| keys.into_iter().find(|key| key.id == *id).map(|key| key.team));
            let Some(team) = team else {
                bail!("there is no key `{id}`; `image-gateway keys list` shows them")
            };
            Owner { team, key: id.clone(), ..Owner::default() }
        }
    };
    if !config.teams.contains_key(&owner.team) {
        notes.push(format!("`teams` has no entry `{}`: it gets that of `default`", owner.team));
    }
    let owner = Owner { claims: Arc::new(claims(args.claims.unwrap_or_default())), ..owner };
    let (generation, adjustments) = generation(&args.tool, &args.args)?;
    notes.extend(adjustments.iter().map(|a| format!("`{}` was not understood: {}", a.field, a.reason)));
    let registry = options::registry(&config, gateway.plugins, &data_dir)?;
    let mut live = app::live(&config, Arc::new(registry))?;
    if let Some(store) = &store {
        live = live.with_raises(store.raises().await?.into());
    }
    let desk = Desk { live: &live, owner: &owner, now_us: SystemClock.now_us() };
    let explanation =
        desk.explain(store.as_ref(), &generation).await.context("the database cannot be read")?;
    let told = Told::new(&owner, &args.tool, explanation, notes);
    output::print(&match (args.json, detail) {
        (true, _) => serde_json::to_string_pretty(&told)? + "\n",
        (false, Detail::Price) => told.price(),
        (false, Detail::Everything) => told.text(),
    });
    Ok(if told.reasons.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn generation(tool: &str, args: &Map<String, Value>) -> anyhow::Result<(Generation, Vec<Adjustment>)> {
    mcp::read_generation(tool, args).map_err(|refused| anyhow!("--args: {}", refused.message))
}

/// Every value as text, a list as several.
fn claims(given: Map<String, Value>) -> Claims {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let values = |value: Value| match value {
        Value::Array(all) => all.iter().map(text).collect(),
        one => vec![text(&one)],
    };
    given.into_iter().map(|(name, value)| (name, values(value))).collect()
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Told {
    team: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    key: String,
    tool: String,
    model: String,
    /// `accepted` or `refused`.
    outcome: &'static str,
    /// The route that matches; `null`: none, the model's own targets count.
    route: Option<String>,
    /// Routes before it, and the condition of each that does not hold.
    passed: Vec<Passed>,
    strategy: Option<Strategy>,
    target: Option<String>,
    count: u32,
    /// Of all images.
    price: Option<Money>,
    /// What would be reserved.
    highest: Option<Money>,
    basis: String,
    targets: Vec<Target>,
    reasons: Vec<Reason>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Passed {
    route: String,
    because: &'static str,
}

#[derive(Debug, Serialize)]
struct Target {
    to: String,
    on: bool,
    serves: bool,
    /// Of one job.
    price: Option<Money>,
    highest: Option<Money>,
    reason: Option<String>,
    class: Option<&'static str>,
    expected_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    adjustments: Vec<Adjustment>,
}

#[derive(Debug, Serialize)]
struct Reason {
    code: &'static str,
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
}

impl From<Choice> for Target {
    fn from(choice: Choice) -> Target {
        let Choice { to, on, serves, price, highest, reason, adjustments, class, expected, .. } = choice;
        let expected_seconds = expected.map(|time| time.as_secs_f64());
        Target { to, on, serves, price, highest, reason, class, expected_seconds, adjustments }
    }
}

impl From<Refused> for Reason {
    fn from(refused: Refused) -> Reason {
        let Refused { code, message, field, provider, .. } = refused;
        Reason { code: code.as_str(), error: message, field, provider }
    }
}

impl Told {
    fn new(owner: &Owner, tool: &str, explanation: Explanation, notes: Vec<String>) -> Told {
        let Explanation { estimate, routing } = explanation;
        let none = || Explained {
            model: None,
            route: None,
            passed: Vec::new(),
            strategy: Strategy::Ordered,
            targets: Vec::new(),
            error: None,
        };
        let Explained { model, route, passed, strategy, targets, .. } = routing.unwrap_or_else(none);
        Told {
            team: owner.team.clone(),
            key: owner.key.clone(),
            tool: tool.to_owned(),
            outcome: if estimate.refusals.is_empty() { "accepted" } else { "refused" },
            strategy: model.is_some().then_some(strategy),
            model: model.unwrap_or(estimate.model),
            route,
            passed: passed.into_iter().map(|(route, because)| Passed { route, because }).collect(),
            target: estimate.target,
            count: estimate.count,
            price: estimate.price,
            highest: estimate.highest,
            basis: estimate.basis,
            targets: targets.into_iter().map(Target::from).collect(),
            reasons: estimate.refusals.into_iter().map(Reason::from).collect(),
            notes,
        }
    }

    fn outcome(&self) -> String {
        match self.reasons.first() {
            None => "it would be accepted".into(),
            Some(reason) => format!("it would be refused ({}): {}", reason.code, reason.error),
        }
    }

    fn cost(&self) -> String {
        match (self.price, self.highest) {
            (None, _) => "nobody knows".into(),
            (Some(price), Some(highest)) if highest != price => {
                format!("{price}, at most {highest}, by {}", self.basis)
            }
            (Some(price), _) => format!("{price}, by {}", self.basis),
        }
    }

    fn facts(&self, all: bool) -> Vec<Vec<String>> {
        let mut facts = vec![("outcome", self.outcome())];
        if all {
            let key = if self.key.is_empty() { String::new() } else { format!(", key {}", self.key) };
            facts.push(("caller", format!("team {}{key}, by {}", self.team, self.tool)));
            facts.extend(
                self.passed.iter().map(|p| ("passed by", format!("{}: its `{}`", p.route, p.because))),
            );
            let own = format!("none matches: the targets of {}", self.model);
            facts.push(("route", self.route.clone().unwrap_or(own)));
        }
        facts.push(("model", self.model.clone()));
        facts.extend(self.target.clone().map(|target| ("target", target)));
        let images = if self.count == 1 { "one image".into() } else { format!("{} images", self.count) };
        facts.push(("price", format!("{} for {images}", self.cost())));
        facts.extend(self.reasons.iter().skip(1).map(|reason| ("also", reason.error.clone())));
        facts.extend(self.notes.iter().map(|note| ("note", note.clone())));
        facts.into_iter().map(|(name, value)| vec![name.into(), value]).collect()
    }

    fn price(&self) -> String {
        output::list(&self.facts(false))
    }

    fn text(&self) -> String {
        let mut text = output::list(&self.facts(true));
        if self.targets.is_empty() {
            return text;
        }
        let row = |target: &Target| {
            let state = match (target.serves, target.on) {
                (true, _) => "serves",
                (false, true) => "next",
                (false, false) => "no",
            };
            let changes =
                target.adjustments.iter().map(|a| format!("{}: {} -> {}", a.field, a.asked, a.used));
            let says: Vec<String> = target.reason.iter().cloned().chain(changes).collect();
            let state = state.to_owned();
            vec![
                target.to.clone(),
                state,
                output::money(target.price),
                output::money(target.highest),
                says.join("; "),
            ]
        };
        let rows: Vec<Vec<String>> = self.targets.iter().map(row).collect();
        text += "\nTargets\n";
        text += &output::indent(&output::table(&["TARGET", "STATE", "PRICE", "AT MOST", "WHY"], &rows), 2);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_words_whatever_they_were() {
        let given = object(r#"{"dept": "design", "groups": ["a", "b"], "level": 3}"#).unwrap();
        let claims = claims(given);
        assert_eq!(
            (&claims["dept"][..], &claims["groups"][..]),
            (&["design".to_owned()][..], &["a".to_owned(), "b".into()][..])
        );
        assert_eq!(claims["level"], ["3"]);
        assert!(object("[]").unwrap_err().contains("JSON object"));
    }

    #[test]
    fn arguments_are_read_as_the_tool_reads_them() {
        let read = |args: &str| generation("generate_image", &object(args).unwrap());
        let (generation, unknown) = read(r#"{"model": "photo", "size": "1K", "sise": "2K"}"#).unwrap();
        assert_eq!((generation.model.as_deref(), generation.count), (Some("photo"), 1));
        assert_eq!(unknown[0].field, "sise");
        let error = read(r#"{"count": 99}"#).unwrap_err().to_string();
        assert!(error.starts_with("--args: ") && error.contains("count"), "{error}");
    }
}
