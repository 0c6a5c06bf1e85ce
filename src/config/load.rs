//! From files, variables and `--set` to a `Config`.

use super::{
    Config,
    credentials::{Credential, credentials},
    files,
    problem::{At, ConfigErrors, Origin, Problem, Problems},
    schema::schema,
    tree::{Entry, Kind, Node, parse},
    variables::{read_env_file, substitute},
    walk::{Spot, Walk},
};
use crate::providers::{Catalog, Instance, Upstream};
use indexmap::IndexMap;
use plugin_api::Plugin;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
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
    /// A gateway that runs reads once more: an empty file is half of one, not the built-in settings.
    pub again: bool,
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
    /// The secret fields of each instance.
    pub credentials: BTreeMap<String, Vec<Credential>>,
    /// What it was read by.
    pub options: LoadOptions,
    /// Every file that had a say: those that were read, and the usual ones that were not there.
    pub files: Vec<PathBuf>,
}

const BUILTIN: &str = include_str!("builtin.yaml");

/// Reads, checks and builds the configuration.
///
/// Files of secrets are relative to the folder of the configuration file, or to the working directory without one.
///
/// # Errors
/// All that is wrong, in one go.
pub fn load(options: &LoadOptions, plugins: &[Plugin]) -> Result<Loaded, ConfigErrors> {
    load_noting(options, plugins, &mut Vec::new())
}

/// As [`load`]; `files` gets every file that has a say, also when one of them is wrong.
///
/// # Errors
/// As [`load`].
pub fn load_noting(
    options: &LoadOptions,
    plugins: &[Plugin],
    files: &mut Vec<PathBuf>,
) -> Result<Loaded, ConfigErrors> {
    for (named, usual) in [(&options.file, "config.yaml"), (&options.env_file, ".env")] {
        files.push(options.working_dir.join(named.as_deref().unwrap_or(Path::new(usual))));
    }
    let file = find(options.file.as_deref(), &options.working_dir, "config.yaml");
    let environment = environment(options)?;
    let name = file.as_deref().map_or("configuration".into(), |f| shown(f, &options.working_dir));
    let mut problems = Problems::default();
    let (sets, values) = split_sets(&options.sets, &mut problems);

    let start = At { origin: Origin::File, line: 1, column: 1 };
    let text = file.as_deref().map(|file| read(file, options.again)).transpose()?.unwrap_or_default();
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
    let mut walk = Walk { root: &schema, folder: &folder, problems, positions: BTreeMap::new(), files };
    let value = walk.value(&tree, &schema, "");
    let Walk { mut problems, positions, files, .. } = walk;
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
    let mut warnings = super::checks::check(&mut config, &folder, files, &place, &mut problems);
    let instances = plugins_accept(&config, plugins, &place, &mut problems);
    if let Some(catalog) = catalog(&config, instances, &place, &mut problems) {
        warnings.extend(super::checks::prove(&config, &catalog, &place, &mut problems));
    }
    let later = super::later::check(&config, &place, &mut problems);
    if !problems.is_empty() {
        return Err(problems.finish(&name, &sets));
    }
    let credentials = credentials(&tree, &config.providers, plugins);
    let (options, files) = (options.clone(), files.clone());
    Ok(Loaded { config, file, warnings, later, credentials, options, files })
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
) -> IndexMap<String, Arc<Upstream>> {
    let mut instances = IndexMap::new();
    for (id, instance) in &config.providers {
        let message = match Upstream::build(id, instance, plugins, &config.routing) {
            Ok(upstream) => {
                instances.insert(id.clone(), Arc::new(upstream));
                continue;
            }
            Err(message) => message,
        };
        let entry = format!("providers.{id}");
        // The entry as a whole, or one of its fields.
        let rest = message.strip_prefix(&entry).and_then(|m| m.strip_prefix(": ").or(m.strip_prefix('.')));
        let message = rest.unwrap_or(&message);
        // `submit.url: ...` and `models[1].price: ...` name a field inside a setting.
        let known = |field: &str| {
            let setting = field.split(['.', '[']).next().unwrap_or_default();
            instance.plugin.contains_key(setting) || Instance::OWN.contains(&setting)
        };
        let field = message.split_once(": ").filter(|(field, _)| !field.contains(' ') && known(field));
        let (path, message) = match field {
            Some((field, message)) => (format!("{entry}.{field}"), message),
            None => (entry, message),
        };
        let spot = place(&path);
        problems.add_new(spot.at, &path, spot.shown(message.to_owned()));
    }
    instances
}

/// What calls will be planned by; `None`: an override in it means nothing, and was reported.
fn catalog(
    config: &Config,
    instances: IndexMap<String, Arc<Upstream>>,
    place: &dyn Fn(&str) -> Spot,
    problems: &mut Problems,
) -> Option<Catalog> {
    let errors = match Catalog::new(&config.provider_settings(), instances) {
        Ok(catalog) => return Some(catalog),
        Err(errors) => errors,
    };
    for error in errors {
        let (path, message) = error.split_once(": ").unwrap_or(("models", &error));
        let spot = place(path);
        problems.add_new(spot.at, path, spot.shown(message.to_owned()));
    }
    None
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

fn read(file: &Path, again: bool) -> Result<String, ConfigErrors> {
    let pipe = again && file.metadata().is_ok_and(|data| !data.is_file() && !data.is_dir());
    let text = if pipe { Err("it is no regular file, which is read once".into()) } else { files::read(file) };
    let message = match text {
        Ok(text) if again && text.trim().is_empty() => {
            "the file is empty, as one that is being written; a comment in it would mean the built-in settings"
                .to_owned()
        }
        Ok(text) => return Ok(text),
        Err(why) => format!("cannot be read: {why}"),
    };
    let (file, path) = (file.display().to_string(), String::new());
    Err(ConfigErrors(vec![Problem { file, position: None, path, message }]))
}

fn environment(options: &LoadOptions) -> Result<BTreeMap<String, String>, ConfigErrors> {
    let Some(file) = find(options.env_file.as_deref(), &options.working_dir, ".env") else {
        return Ok(options.environment.clone());
    };
    let mut problems = Problems::default();
    let mut environment = read_env_file(&read(&file, false)?, &mut problems);
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
