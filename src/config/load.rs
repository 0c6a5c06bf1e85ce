//! From files, variables and `--set` to a `Config`.

use super::{
    Config,
    problem::{At, ConfigErrors, Origin, Problem, Problems},
    schema::{NOT_BUILT, schema},
    tree::{Entry, Kind, Node, parse},
    variables::{read_env_file, substitute},
    walk::{Spot, Walk},
};
use crate::providers::{Instance, Upstream};
use plugin_api::Plugin;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// What to read. Nothing is taken from the process itself, so that a test owns all of it.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// `--config`; without it `config.yaml` in the working directory, if there is one.
    pub file: Option<PathBuf>,
    /// `--env-file`; without it `.env` in the working directory, if there is one.
    pub env_file: Option<PathBuf>,
    /// `--set key.path=value`, in order.
    pub sets: Vec<String>,
    /// The process's variables. They win over the file of variables.
    pub environment: BTreeMap<String, String>,
    /// Where `config.yaml` and `.env` are looked for.
    pub working_dir: PathBuf,
}

/// A configuration that holds together.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// The file it came from; none: built in.
    pub file: Option<PathBuf>,
    /// What works and is likely not what was meant.
    pub warnings: Vec<String>,
    /// What is set and not served yet.
    pub later: Vec<String>,
    /// Instances whose kind is known and whose plugin is not in this build, with the reason.
    pub off: BTreeMap<String, String>,
}

const BUILTIN: &str = include_str!("builtin.yaml");

/// Reads, checks and builds the configuration.
///
/// Files of secrets are relative to the folder of the configuration file, or to the working directory without one.
///
/// # Errors
/// All that is wrong, in one go.
pub fn load(options: &LoadOptions, plugins: &[Plugin]) -> Result<Loaded, ConfigErrors> {
    let file = find(options.file.as_deref(), &options.working_dir, "config.yaml");
    let environment = environment(options)?;
    let name = file.as_deref().map_or("configuration".into(), |f| shown(f, &options.working_dir));
    let mut problems = Problems::default();
    let (sets, values) = split_sets(&options.sets, &mut problems);

    let start = At { origin: Origin::File, line: 1, column: 1 };
    let text = file.as_deref().map(read).transpose()?.unwrap_or_default();
    // Without a tree every further check would be noise.
    let Ok(tree) = parse(&text, Origin::File, &mut problems) else {
        return Err(problems.finish(&name, &sets));
    };
    let mut tree = tree.unwrap_or(Node::map(start));
    for (n, (key, value)) in sets.iter().zip(&values).enumerate() {
        if let Some(value) = value {
            set(&mut tree, n, key, value, &mut problems);
        }
    }
    if let Ok(Some(builtin)) = parse(BUILTIN, Origin::Builtin, &mut problems) {
        fill(&mut tree, builtin, 0);
    }
    substitute(&mut tree, "", &environment, &mut problems);

    let schema = schema(plugins);
    let folder = file.as_deref().and_then(Path::parent).unwrap_or(&options.working_dir).to_owned();
    let mut walk = Walk { root: &schema, folder: &folder, problems, positions: BTreeMap::new() };
    let value = walk.value(&tree, &schema, "");
    let Walk { mut problems, positions, .. } = walk;
    super::references::check(&tree, &mut problems);

    let config = serde_json::from_value::<Config>(value.unwrap_or_default());
    let config = match config {
        Ok(config) => Some(config),
        Err(error) => {
            // The walk accepts what the types accept; this is the net below it.
            if problems.is_empty() {
                problems.add(start, "", error.to_string());
            }
            None
        }
    };
    let Some(mut config) = config else {
        return Err(problems.finish(&name, &sets));
    };
    config.teams.entry("default".into()).or_default();
    in_order(&mut config, &tree);
    let place = |path: &str| place(&positions, path, start);
    let warnings = super::checks::check(&mut config, &place, &mut problems);
    plugins_accept(&config, plugins, &place, &mut problems);
    let later = super::later::check(&config, &place, &mut problems);
    if !problems.is_empty() {
        return Err(problems.finish(&name, &sets));
    }
    let off = off(&config, plugins);
    Ok(Loaded { config, file, warnings, later, off })
}

/// Puts entries into the order of the file, which a JSON map does not keep.
fn in_order(config: &mut Config, tree: &Node) {
    let order = |section: &str| -> BTreeMap<&str, usize> {
        let entries = tree.get(section).map_or(&[][..], Node::entries);
        entries.iter().enumerate().map(|(n, e)| (e.key.as_str(), n)).collect()
    };
    let (providers, models, teams) = (order("providers"), order("models"), order("teams"));
    let place = |order: &BTreeMap<&str, usize>, name: &String| order.get(name.as_str()).copied();
    config.providers.sort_by_cached_key(|name, _| place(&providers, name));
    config.models.sort_by_cached_key(|name, _| place(&models, name));
    config.teams.sort_by_cached_key(|name, _| place(&teams, name));
}

/// The position of a key path, or of the nearest thing around it.
fn place(positions: &BTreeMap<String, Spot>, path: &str, start: At) -> Spot {
    let (mut path, wanted) = (path, path.len());
    loop {
        if let Some(spot) = positions.get(path) {
            return if path.len() == wanted { spot.clone() } else { Spot { scalar: None, ..*spot } };
        }
        match path.rfind(['.', '[']) {
            Some(end) => path = &path[..end],
            None => return Spot { at: start, key: None, scalar: None },
        }
    }
}

/// Builds every provider for what its plugin says of the settings.
fn plugins_accept(
    config: &Config,
    plugins: &[Plugin],
    place: &dyn Fn(&str) -> Spot,
    problems: &mut Problems,
) {
    for (id, instance) in &config.providers {
        let Err(message) = Upstream::build(id, instance, plugins, &config.routing) else { continue };
        let entry = format!("providers.{id}");
        let message = message.strip_prefix(&format!("{entry}: ")).unwrap_or(&message);
        let field = message
            .split_once(": ")
            .filter(|(field, _)| instance.plugin.contains_key(*field) || Instance::OWN.contains(field));
        let (path, message) = match field {
            Some((field, message)) => (format!("{entry}.{field}"), message),
            None => (entry, message),
        };
        let spot = place(&path);
        problems.add_new(spot.at, &path, spot.shown(message.to_owned()));
    }
}

fn off(config: &Config, plugins: &[Plugin]) -> BTreeMap<String, String> {
    let absent = |kind: &str| NOT_BUILT.contains(&kind) && !plugins.iter().any(|p| p.kind == kind);
    config
        .providers
        .iter()
        .filter(|(_, instance)| absent(&instance.kind))
        .map(|(id, i)| (id.clone(), format!("the plugin of kind `{}` is not part of this build", i.kind)))
        .collect()
}

fn find(named: Option<&Path>, folder: &Path, usual: &str) -> Option<PathBuf> {
    match named {
        Some(file) => Some(folder.join(file)),
        None => Some(folder.join(usual)).filter(|file| file.is_file()),
    }
}

/// A file as messages name it: relative to the working directory where it lies below.
fn shown(file: &Path, folder: &Path) -> String {
    file.strip_prefix(folder).unwrap_or(file).display().to_string()
}

fn read(file: &Path) -> Result<String, ConfigErrors> {
    std::fs::read_to_string(file).map_err(|error| {
        let message = match error.kind() {
            std::io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
            kind => format!("cannot be read: {kind}"),
        };
        let (file, path) = (file.display().to_string(), String::new());
        ConfigErrors(vec![Problem { file, position: None, path, message }])
    })
}

fn environment(options: &LoadOptions) -> Result<BTreeMap<String, String>, ConfigErrors> {
    let Some(file) = find(options.env_file.as_deref(), &options.working_dir, ".env") else {
        return Ok(options.environment.clone());
    };
    let mut problems = Problems::default();
    let mut environment = read_env_file(&read(&file)?, &mut problems);
    if !problems.is_empty() {
        return Err(problems.finish(&shown(&file, &options.working_dir), &[]));
    }
    environment.extend(options.environment.clone());
    Ok(environment)
}

/// The keys of the `--set` arguments and their values; none where the argument has not their form.
fn split_sets(sets: &[String], problems: &mut Problems) -> (Vec<String>, Vec<Option<String>>) {
    let split = |(n, text): (usize, &String)| {
        let (key, value) = text.split_once('=').map_or((text.as_str(), None), |(k, v)| (k, Some(v)));
        let value = value.filter(|_| !key.split('.').any(str::is_empty));
        if value.is_none() {
            let at = At { origin: Origin::Set(n), line: 0, column: 0 };
            problems.add(at, "", "not of the form key.path=value");
        }
        (key.to_owned(), value.map(str::to_owned))
    };
    sets.iter().enumerate().map(split).unzip()
}

/// Puts the value of the nth `--set` into the tree.
fn set(tree: &mut Node, n: usize, key: &str, value: &str, problems: &mut Problems) {
    let origin = Origin::Set(n);
    let at = At { origin, line: 0, column: 0 };
    let mut wrong = Problems::default();
    let parsed = parse(value, origin, &mut wrong);
    let Some(mut value) = parsed.ok().filter(|_| wrong.is_empty()).map(|node| node.unwrap_or(null(at)))
    else {
        // The value may be a secret: only the key is named.
        problems.add(at, "", "the value is not YAML; put text with special characters in quotes");
        return;
    };
    relocate(&mut value, at);
    match slot(tree, key, at) {
        Ok(slot) => *slot = value,
        Err(message) => problems.add(at, "", message),
    }
}

fn null(at: At) -> Node {
    let scalar = super::tree::Scalar { text: String::new(), plain: true, template: None };
    Node { at, kind: Kind::Scalar(scalar) }
}

fn relocate(node: &mut Node, at: At) {
    node.at = at;
    match &mut node.kind {
        Kind::Seq(items) => items.iter_mut().for_each(|i| relocate(i, at)),
        Kind::Map(entries) => entries.iter_mut().for_each(|e| {
            e.at = at;
            relocate(&mut e.value, at);
        }),
        Kind::Scalar(_) | Kind::Broken => {}
    }
}

/// The node at `key`, made on the way where it is missing.
fn slot<'a>(tree: &'a mut Node, key: &str, at: At) -> Result<&'a mut Node, String> {
    let mut node = tree;
    for part in key.split('.') {
        if node.is_null() {
            *node = Node::map(at);
        }
        node = match &mut node.kind {
            Kind::Seq(items) => {
                let len = items.len();
                let n: usize =
                    part.parse().map_err(|_| format!("`{part}` is not the number of a list item"))?;
                if n == len {
                    items.push(null(at));
                }
                items.get_mut(n).ok_or_else(|| format!("the list has {len} items; there is no item {n}"))?
            }
            Kind::Map(entries) => {
                let n = entries.iter().position(|e| e.key == part).unwrap_or_else(|| {
                    entries.push(Entry { key: part.to_owned(), at, value: null(at), merged: false });
                    entries.len() - 1
                });
                &mut entries[n].value
            }
            _ => return Err(format!("there is a single value where `{part}` would go")),
        };
    }
    Ok(node)
}

/// Adds what is built in where `tree` says nothing: single fields of sections, and whole maps of entries.
fn fill(tree: &mut Node, builtin: Node, depth: usize) {
    let Kind::Map(theirs) = builtin.kind else { return };
    if tree.is_null() {
        tree.kind = Kind::Map(Vec::new());
    }
    let Kind::Map(entries) = &mut tree.kind else { return };
    for entry in theirs {
        match entries.iter_mut().find(|e| e.key == entry.key) {
            None => entries.push(entry),
            Some(own) if own.value.is_null() && matches!(entry.value.kind, Kind::Map(_)) => {
                own.value = entry.value;
            }
            Some(own) => {
                let replaces = depth == 0 && matches!(entry.key.as_str(), "providers" | "models");
                if !replaces {
                    fill(&mut own.value, entry.value, depth + 1);
                }
            }
        }
    }
}
