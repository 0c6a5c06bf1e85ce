//! `list_models` and `estimate_price`.

use super::{
    Answer, Cx,
    arguments::{Arguments, bad},
    generation,
    results::{Estimated, ModelRow, Models, Price, Reason, TargetRow},
};
use crate::{
    jobs::{Code, ModelView, Refused, TargetView},
    mcp::errors::ToolError,
};

pub fn list_models(cx: Cx<'_>, mut args: Arguments) -> Result<Answer, ToolError> {
    let provider = args.text("provider", 200)?;
    let explain = args.flag("explain")?.unwrap_or(false);
    let mut models = cx.inner.backend.models(&cx.call.owner());
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
    // What can be used comes first; else the configuration's order.
    models.sort_by_key(|model| !model.on);
    let models = models.into_iter().map(|model| row(model, explain)).collect();
    Answer::of(&Models { success: true, models, adjustments: args.unknown() })
}

/// The instances a model's targets are at, also those that are off.
fn instances(model: &ModelView) -> impl Iterator<Item = String> + '_ {
    let of_target = |target: &TargetView| target.to.split('/').next().unwrap_or_default().to_owned();
    model.providers.iter().cloned().chain(model.targets.iter().map(of_target))
}

fn row(model: ModelView, explain: bool) -> ModelRow {
    let target = |target: TargetView| TargetRow {
        to: target.to,
        on: target.on,
        price: target.price.map(Price::from),
        reason: target.reason,
    };
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
        targets: explain.then(|| model.targets.into_iter().map(target).collect()),
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
