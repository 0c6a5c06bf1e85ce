//! `models`: the public models, where each leads, and what an image costs there.

use super::{Gateway, check, options, output, providers};
use crate::providers::{ModelInfo, Registry, TargetInfo};
use std::process::ExitCode;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the models and their targets: on, off or paused, and the price of one image
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub async fn run(gateway: &Gateway, command: Command) -> anyhow::Result<ExitCode> {
    let Command::List { json } = command;
    let loaded = gateway.load()?;
    let registry = options::registry(&loaded.config, gateway.plugins, &gateway.data_dir())?;
    let registry = registry.with_pauses(providers::noted(gateway, &loaded.config).await?.pauses);
    if json {
        output::print_json(&rows(&registry));
    } else {
        output::print(&check::models(&registry));
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(serde::Serialize)]
struct Row {
    name: String,
    description: String,
    on: bool,
    default: bool,
    targets: Vec<Target>,
}

#[derive(serde::Serialize)]
struct Target {
    to: String,
    on: bool,
    /// One image with the model's defaults.
    price: Option<output::JsonMoney>,
    /// Why it is off.
    reason: Option<String>,
}

fn rows(registry: &Registry) -> Vec<Row> {
    let target = |target: TargetInfo| Target {
        to: format!("{}/{}", target.instance, target.vendor_model),
        on: target.off.is_none(),
        price: target.price.map(output::JsonMoney::from),
        reason: target.off,
    };
    let row = |model: ModelInfo| Row {
        name: model.name,
        description: model.description,
        on: model.targets.iter().any(|target| target.off.is_none()),
        default: model.default,
        targets: model.targets.into_iter().map(target).collect(),
    };
    registry.models().into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{providers::builtin::PLUGINS, store::Pauses};
    use std::path::Path;

    #[test]
    fn a_paused_provider_is_the_reason_of_a_model_that_is_off() {
        let dir = tempfile::tempdir().unwrap();
        let options = crate::config::LoadOptions { working_dir: dir.path().into(), ..Default::default() };
        let config = crate::config::load(&options, PLUGINS).unwrap().config;
        let registry = options::registry(&config, PLUGINS, Path::new("data")).unwrap();
        let find =
            |registry: &Registry| rows(registry).into_iter().find(|row| row.name == "placeholder").unwrap();
        assert!(find(&registry).on && find(&registry).default);
        let paused = registry.with_pauses(Pauses::from([("placeholder".into(), 1)]));
        let row = find(&paused);
        assert!(!row.on && !row.default);
        let why = row.targets[0].reason.as_deref().unwrap();
        assert!(why.contains("paused the provider `placeholder`"), "{why}");
    }
}
