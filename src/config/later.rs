//! What is read and checked already and not served yet. A feature that arrives deletes its line here.

use super::{Config, problem::Problems, walk::Spot};
use crate::{auth::Mode, images::Delivery, mcp::Sessions};

/// A field, whether it asks for something that is not there, and what to say.
type Line = (&'static str, fn(&Config) -> bool, &'static str);

/// Served without it: said at `check` and at start.
const LATER: &[Line] = &[
    ("server.admin_listen", |c| c.server.admin_listen.is_some(), "the admin listener is not served yet"),
    ("auth.mode", |c| c.auth.mode == Mode::Any, "JWT issuers are not served yet; keys are"),
    ("auth.issuers", |c| !c.auth.issuers.is_empty(), "JWT issuers are not served yet"),
    ("auth.oauth", |c| c.auth.oauth.enabled, "the authorization server is not there yet"),
    ("redis.url", |c| !c.redis.url.is_empty(), "Redis is not used yet; request rates count on each node"),
    ("webhooks", |c| !c.webhooks.is_empty(), "webhooks are not sent yet"),
    ("console", |c| !c.console.enabled || c.console.path != "/console", "the console is not there yet"),
    ("apis", |c| !c.apis.openai || !c.apis.rest, "the OpenAI and REST APIs are not there yet"),
    ("telemetry.otlp", |c| !c.telemetry.otlp.endpoint.is_empty(), "traces are not sent yet"),
    ("reload.watch", |c| c.reload.watch, "the file is not watched yet; restart after a change"),
    (
        "models",
        // The built-in entry of that name has some.
        |c| c.models.iter().any(|(name, m)| !m.capabilities.is_empty() && name != "seedream"),
        "`capabilities` are not overridden yet: the built-in ones count",
    ),
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
    (
        "teams",
        |c| c.teams.values().any(|t| t.tools != ["*"]),
        "`tools` of a team are not narrowed yet: it is offered what `mcp.tools` offers",
    ),
    (
        "providers",
        |c| c.providers.values().any(|p| !p.api_keys.is_empty()),
        "`api_keys` are not spread yet: set one `api_key`",
    ),
    (
        "providers",
        |c| c.providers.values().any(|p| p.fallback_model.as_deref().is_some_and(|m| !m.is_empty())),
        "`fallback_model` is not tried yet: give the model a second target",
    ),
    (
        "providers",
        |c| c.providers.values().any(|p| p.limits != Default::default()),
        "`limits` of a provider are not counted yet; `concurrency` and `rate` are",
    ),
    (
        "routes",
        |c| c.routes.iter().any(|r| !r.when.claims.is_empty()),
        "a route with `claims` never matches yet",
    ),
    ("telemetry.log.prompts", |c| c.telemetry.log.prompts, "prompts are never logged yet"),
    (
        "mcp.sessions",
        |c| c.mcp.sessions == Sessions::Required,
        "there are no sessions yet, and none is required",
    ),
    (
        "teams",
        |c| c.teams.values().any(|t| t.time_zone != "UTC"),
        "`time_zone` is not used yet: quota windows follow UTC",
    ),
];

/// Must not be served without it: an error.
const MISSING: &[Line] = &[
    ("auth.mode", |c| c.auth.mode == Mode::Jwt, "JWT issuers are not served yet: use `keys`"),
    (
        "database.url",
        |c| !c.database.url.starts_with("sqlite:"),
        "not served yet: use sqlite://, such as sqlite://gateway.db",
    ),
    ("storage.kind", |c| c.storage.kind != "fs", "not served yet: use `fs`"),
    (
        "storage.delivery",
        |c| c.storage.kind == "fs" && c.storage.delivery == Delivery::Presigned,
        "`fs` has no presigned links: use `signed`, `public` or `base_url`",
    ),
    (
        "storage.delivery",
        |c| c.storage.delivery == Delivery::BaseUrl && c.storage.base_url.is_none(),
        "`base_url` needs `storage.base_url`",
    ),
];

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
