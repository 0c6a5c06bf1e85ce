//! `list_models` and `estimate_price`.

use super::{
    Answer, Cx,
    arguments::{Arguments, bad},
    generation,
    results::{Estimated, ModelRow, Models, Price, Reason, TargetRow},
};
use crate::{
    jobs::{Code, Explanation, Generation, ModelView, Refused, TargetView},
    mcp::errors::ToolError,
};
use plugin_api::Adjustment;
use serde_json::{Map, Value};

/// Reads the arguments of a generation for a dry run, which needs no prompt; and those it does not know.
///
/// # Errors
/// The first argument that cannot be used.
pub fn read_generation(
    tool: &str,
    arguments: &Map<String, Value>,
) -> Result<(Generation, Vec<Adjustment>), Refused> {
    let mut args = Arguments::new(arguments);
    let generation = generation::read(&mut args, tool, false)?;
    Ok((generation, args.unknown()))
}

pub async fn list_models(cx: Cx<'_>, mut args: Arguments) -> Result<Answer, ToolError> {
    let provider = args.text("provider", 200)?;
    let explain = args.flag("explain")?.unwrap_or(false);
    let owner = cx.call.owner();
    let mut models = cx.inner.backend.models(&owner);
    if let Some(provider) = &provider {
        let mut known: Vec<String> = models.iter().flat_map(instances).collect();
        known.sort_unstable();
        known.dedup();
        models.retain(|model| instances(model).any(|instance| instance == *provider));
        if models.is_empty() {
            let message =
                format!("No model has a target at `{provider}`; the providers are {}.", known.join(", "));
            return Err(bad("provider", message).into());
        }
    }
    let mut rows = rows(models);
    if explain {
        for row in &mut rows {
            let explanation = cx.inner.backend.explain_model(&owner, &row.name).await?;
            tell(row, explanation);
        }
    }
    Answer::of(&Models { success: true, models: rows, adjustments: args.unknown() })
}

/// What can be used comes first; else the configuration's order.
pub fn rows(mut models: Vec<ModelView>) -> Vec<ModelRow> {
    models.sort_by_key(|model| !model.on);
    models.into_iter().map(row).collect()
}

/// Where a plain call of this model by this caller would go now, and why nowhere else.
fn tell(row: &mut ModelRow, explanation: Explanation) {
    let Explanation { estimate, routing } = explanation;
    row.reason = row.reason.take().or(estimate.refusals.into_iter().next().map(|why| why.message));
    let Some(routing) = routing else { return };
    row.route = routing.route;
    let targets = routing.targets.into_iter().map(|choice| TargetRow {
        to: choice.to,
        on: choice.on,
        price: choice.price.map(Price::from),
        reason: choice.reason,
        serves: choice.serves,
    });
    row.targets = Some(targets.collect());
}

/// The instances a model's targets are at, also those that are off.
fn instances(model: &ModelView) -> impl Iterator<Item = String> + '_ {
    let of_target = |target: &TargetView| target.to.split('/').next().unwrap_or_default().to_owned();
    model.providers.iter().cloned().chain(model.targets.iter().map(of_target))
}

fn row(model: ModelView) -> ModelRow {
    ModelRow {
        name: model.name,
        description: model.description,
        on: model.on,
        default: model.default,
        providers: model.providers,
        sizes: model.sizes,
        max_count: model.max_count,
        references: model.references,
        formats: model.formats,
        transparent: model.transparent,
        styles: model.styles,
        price: model.price.map(Price::from),
        reason: model.off,
        route: None,
        targets: None,
    }
}

pub async fn estimate_price(cx: Cx<'_>, mut args: Arguments) -> Result<Answer, ToolError> {
    // A call can be estimated as it would be made: these change nothing about its price.
    super::waiting::Waiting::read(cx, &mut args)?;
    generation::idempotency_key(&mut args, cx.meta, cx.call)?;
    let owner = cx.call.owner();
    let generation = generation::read(&mut args, cx.tool.name(), false)?;
    let estimate = cx.inner.backend.estimate(&owner, generation).await?;
    Answer::of(&Estimated {
        success: true,
        model: estimate.model,
        target: estimate.target,
        count: estimate.count,
        price: estimate.price.map(Price::from),
        highest: estimate.highest.map(Price::from),
        basis: estimate.basis,
        outcome: outcome(&estimate.refusals),
        reasons: estimate.refusals.into_iter().map(reason).collect(),
        adjustments: args.unknown(),
    })
}

fn outcome(refusals: &[Refused]) -> &'static str {
    match refusals {
        [] => "accepted",
        all if all.iter().all(|refused| refused.code == Code::ApprovalRequired) => "asks",
        _ => "refused",
    }
}

fn reason(refused: Refused) -> Reason {
    Reason {
        code: refused.code.as_str(),
        error: refused.message,
        field: refused.field,
        provider: refused.provider,
    }
}
