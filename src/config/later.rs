//! What is read and checked already and not served yet. A feature that arrives deletes its line here.

use super::{Config, problem::Problems, walk::Spot};
use crate::store::Address;
use std::path::Path;

/// A field, whether it asks for something that is not there, and what to say.
type Line = (&'static str, fn(&Config) -> bool, &'static str);

/// Served without it: said at `check` and at start.
const LATER: &[Line] = &[
    ("server.admin_listen", |c| c.server.admin_listen.is_some(), "the admin listener is not served yet"),
    ("auth.oauth", |c| c.auth.oauth.enabled, "the authorization server is not there yet"),
    ("redis.url", |c| !c.redis.url.is_empty(), "Redis is not used yet; request rates count on each node"),
    ("webhooks", |c| !c.webhooks.is_empty(), "webhooks are not sent yet"),
    ("console", |c| !c.console.enabled || c.console.path != "/console", "the console is not there yet"),
    ("apis", |c| !c.apis.openai || !c.apis.rest, "the OpenAI and REST APIs are not there yet"),
    ("telemetry.otlp", |c| !c.telemetry.otlp.endpoint.is_empty(), "traces are not sent yet"),
    (
        "teams",
        |c| c.teams.values().any(|t| t.approve_above.is_some()),
        "`approve_above` is not asked for yet: calls above it go through",
    ),
    (
        "teams",
        |c| c.teams.values().any(|t| t.retention.prompts.is_some()),
        "`retention.prompts` is not applied yet: prompts live as long as the job's row",
    ),
    ("telemetry.log.prompts", |c| c.telemetry.log.prompts, "prompts are never logged yet"),
];

/// Must not be served without it: an error.
const MISSING: &[Line] =
    &[("database.url", |c| Address::parse(&c.database.url, Path::new("")).is_err(), Address::FORMS)];

pub(super) fn check(config: &Config, place: &dyn Fn(&str) -> Spot, problems: &mut Problems) -> Vec<String> {
    for (path, asked, message) in MISSING {
        if asked(config) {
            problems.add_new(place(path).at, path, *message);
        }
    }
    LATER
        .iter()
        .filter(|line| line.1(config))
        .map(|(path, _, message)| format!("{path}: {message}"))
        .collect()
}
