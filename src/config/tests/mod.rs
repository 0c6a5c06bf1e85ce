mod errors;
mod files;
mod routes;
mod schemas;
mod values;

use super::*;
use crate::providers::builtin::PLUGINS;
use std::{collections::BTreeMap, path::Path};

/// Variables: `NAME=value` each.
fn environment(pairs: &[&str]) -> BTreeMap<String, String> {
    pairs.iter().filter_map(|p| p.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect()
}

/// Loads `config.yaml` with this text from a folder of its own.
fn load_in(folder: &Path, yaml: &str, variables: &[&str], sets: &[&str]) -> Result<Loaded, ConfigErrors> {
    std::fs::write(folder.join("config.yaml"), yaml).unwrap();
    let options = LoadOptions {
        environment: environment(variables),
        sets: sets.iter().map(|s| (*s).to_owned()).collect(),
        working_dir: folder.to_owned(),
        ..LoadOptions::default()
    };
    load(&options, PLUGINS)
}

fn load_text(yaml: &str) -> Result<Loaded, ConfigErrors> {
    load_in(tempfile::tempdir().unwrap().path(), yaml, &[], &[])
}

fn config(yaml: &str) -> Config {
    match load_text(yaml) {
        Ok(loaded) => loaded.config,
        Err(errors) => panic!("{errors}"),
    }
}

/// What is reported, a line each.
fn errors(yaml: &str) -> String {
    load_text(yaml).expect_err(yaml).to_string()
}

/// Everything in a configuration, the gateway's own secrets masked and the plugins' settings as they are.
fn json(config: &Config) -> serde_json::Value {
    let mut json = serde_json::to_value(config).unwrap();
    for (id, instance) in &config.providers {
        json["providers"][id]["plugin"] = instance.plugin.clone().into();
    }
    json
}
