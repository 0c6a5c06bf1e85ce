//! `reload_config`, in the form of the second predecessor.

use super::{Answer, Cx, arguments::Arguments};
use crate::mcp::{
    errors::ToolError,
    reload::{NotReloaded, Reloaded, Wrong},
};
use plugin_api::Adjustment;
use serde::Serialize;
use serde_json::Value;

/// Problems that the sentence repeats; all of them are in the details.
const TOLD: usize = 5;

#[derive(Serialize)]
struct Envelope {
    version: &'static str,
    ok: bool,
    result: Option<Reloaded>,
    error: Option<Problem>,
    success: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    adjustments: Vec<Adjustment>,
}

#[derive(Serialize)]
struct Problem {
    code: &'static str,
    message: String,
    details: Details,
}

#[derive(Default, Serialize)]
struct Details {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Wrong>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changed_fields: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    restart_required_fields: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dotenv_override: Option<Value>,
}

pub async fn reload_config(cx: Cx<'_>, mut args: Arguments) -> Result<Answer, ToolError> {
    // Read and without a choice: the file of variables is always read again, and the process's own variables win
    // over it, as they do at a start.
    let given = args.raw("dotenv_override");
    let understood = args.flag("dotenv_override");
    let mut envelope = Envelope {
        version: "1.0",
        ok: true,
        result: None,
        error: None,
        success: true,
        adjustments: args.unknown(),
    };
    let outcome = match understood {
        Ok(_) => {
            tracing::info!(key.id = %cx.call.principal.key, "a reload of the configuration was asked for");
            cx.inner.backend.reload().await.map_err(problem)
        }
        Err(refused) => {
            let details = Details { dotenv_override: given, ..Details::default() };
            Err(Problem { code: "invalid_arguments", message: refused.message, details })
        }
    };
    match outcome {
        Ok(reloaded) => {
            envelope.result = Some(reloaded);
            Answer::of(&envelope)
        }
        Err(problem) => {
            (envelope.success, envelope.ok, envelope.error) = (false, false, Some(problem));
            Answer::failure(&envelope)
        }
    }
}

fn problem(why: NotReloaded) -> Problem {
    match why {
        NotReloaded::Invalid(errors) => {
            let told: Vec<&str> = errors.iter().take(TOLD).map(|wrong| wrong.text.as_str()).collect();
            let more = match errors.len().saturating_sub(TOLD) {
                0 => String::new(),
                more => format!("\nand {more} more"),
            };
            Problem {
                code: "invalid_config",
                message: format!(
                    "Nothing was changed; the old configuration stays in force:\n{}{more}",
                    told.join("\n")
                ),
                details: Details { errors, ..Details::default() },
            }
        }
        NotReloaded::RestartRequired { changed_fields, restart_required_fields } => Problem {
            code: "restart_required",
            message: format!(
                "Nothing was changed: {} cannot change while the gateway runs. Restart it; or take the change back; or \
                 start it with `serve --allow-partial`, which applies all the rest.",
                restart_required_fields.join(", ")
            ),
            details: Details { changed_fields, restart_required_fields, ..Details::default() },
        },
        NotReloaded::Stopping => Problem {
            code: "shutting_down",
            message: "The gateway is shutting down; its next start reads the configuration.".into(),
            details: Details::default(),
        },
    }
}
