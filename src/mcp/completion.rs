//! `completion/complete`: values for the arguments of prompts and resource templates.

use super::{Inner, call::Call, errors::Fault, resources};
use crate::store::{Filter, Image, Window};
use serde::Serialize;
use serde_json::{Map, Value};

/// Most values of an answer (the protocol's limit).
const MOST: usize = 100;

#[derive(Debug, Serialize)]
pub struct Completed {
    completion: Completion,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Completion {
    values: Vec<String>,
    total: usize,
    has_more: bool,
}

/// What is asked for: the argument, what is typed of it so far, and the provider chosen before it.
struct Asked<'a> {
    argument: &'a str,
    /// The `id` asked for is a job's.
    job: bool,
    typed: &'a str,
    provider: Option<&'a str>,
}

fn text<'a>(of: Option<&'a Value>, name: &str) -> Option<&'a str> {
    of?.get(name)?.as_str()
}

/// # Errors
/// The reference is of no known kind, or the argument is missing.
pub fn admit(params: &Map<String, Value>) -> Result<(), Fault> {
    read(params).map(drop)
}

fn read(params: &Map<String, Value>) -> Result<Asked<'_>, Fault> {
    match text(params.get("ref"), "type") {
        Some("ref/prompt" | "ref/resource") => {}
        _ => return Err(Fault::invalid_params("ref must be of type ref/prompt or ref/resource")),
    }
    let argument =
        text(params.get("argument"), "name").ok_or_else(|| Fault::invalid_params("missing argument.name"))?;
    let typed = text(params.get("argument"), "value").unwrap_or_default();
    let context = params.get("context").and_then(|context| context.get("arguments"));
    // `name` is the provider in the templates of styles and resolutions.
    let argument = if argument == "name" { "provider" } else { argument };
    let job = text(params.get("ref"), "uri").is_some_and(|uri| uri.starts_with("job://"));
    Ok(Asked { argument, job, typed, provider: text(context, "provider") })
}

/// Values that begin as what was typed, in the order of the configuration.
///
/// # Errors
/// As [`admit`]; the database is away.
pub async fn complete(inner: &Inner, call: &Call, params: &Map<String, Value>) -> Result<Completed, Fault> {
    let asked = read(params)?;
    let mut values = values(inner, call, &asked).await?;
    let typed = asked.typed.to_lowercase();
    values.retain(|value| value.to_lowercase().starts_with(&typed));
    let mut seen = std::collections::HashSet::new();
    values.retain(|value| seen.insert(value.clone()));
    let total = values.len();
    values.truncate(MOST);
    Ok(Completed { completion: Completion { has_more: total > values.len(), values, total } })
}

async fn values(inner: &Inner, call: &Call, asked: &Asked<'_>) -> Result<Vec<String>, Fault> {
    let chosen = || {
        let all = resources::providers(inner, call).into_iter();
        all.filter(|p| asked.provider.is_none_or(|name| p.id == name || p.kind == name))
    };
    let ids = |of: Vec<(String, String)>| of.into_iter().map(|(id, _)| id);
    Ok(match asked.argument {
        "provider" => resources::providers(inner, call).into_iter().map(|p| p.id).collect(),
        "style" => chosen().flat_map(|p| ids(p.styles)).collect(),
        "resolution" => chosen().flat_map(|p| ids(p.resolutions)).collect(),
        "model" => inner.backend.models(&call.owner()).into_iter().filter(|m| m.on).map(|m| m.name).collect(),
        "image" | "id" => {
            let mine = Filter::of_team(call.team());
            let newest = inner.backend.generations(&mine, Window::first(MOST as u64)).await?;
            let id = |image: &Image| if asked.job { image.job_id } else { image.id };
            newest.rows.iter().map(|(image, _)| id(image).to_string()).collect()
        }
        _ => Vec::new(),
    })
}
