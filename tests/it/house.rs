//! Who may import whom. Left may import right, never the reverse; names of one rank do not import each other.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const RANKS: [&[&str]; 10] = [
    &["main", "cli"],
    &["app"],
    &["config"],
    &["edge"],
    &["mcp"],
    &["jobs"],
    &["providers", "images", "limits", "auth"],
    &["outbound"],
    &["spool", "store"],
    &["telemetry"],
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rank(module: &str) -> Option<usize> {
    RANKS.iter().position(|rank| rank.contains(&module))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => files.extend(sources(&path)),
            path if path.extension().is_some_and(|e| e == "rs") => files.push(path),
            _ => {}
        }
    }
    files.sort();
    files
}

/// The modules that a text names right after `crate::`, also in braces; comments are passed over.
fn named(text: &str) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect();
    let mut modules = BTreeSet::new();
    let word =
        |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    for (at, found) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue; // another word, or a macro's own crate
        }
        let rest = &code[at + found.len()..];
        let Some(braces) = rest.strip_prefix('{') else {
            modules.insert(word(rest));
            continue;
        };
        // First names at the outermost level of the braces.
        let (mut depth, mut begin) = (0, true);
        for (n, c) in braces.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begin = true,
                c if depth == 0 && begin && c.is_alphabetic() => {
                    modules.insert(word(&braces[n..]));
                    begin = false;
                }
                _ => {}
            }
        }
    }
    modules
}

fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).unwrap();
    inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

#[test]
fn no_arrow_points_back_or_sideways() {
    let mut wrong = Vec::new();
    for path in sources(&root().join("src")) {
        let from = module_of(&path);
        if from == "lib" {
            continue; // the map: it names everything
        }
        let shown = path.strip_prefix(root()).unwrap().display().to_string();
        let Some(own) = rank(&from) else {
            wrong.push(format!("{shown}: the module `{from}` has no place in the order"));
            continue;
        };
        for to in named(&fs::read_to_string(&path).unwrap()) {
            match rank(&to) {
                _ if to == from => {}
                Some(other) if other < own => wrong.push(format!("{shown}: {from} -> {to} points back")),
                Some(other) if other == own => wrong.push(format!("{shown}: {from} -> {to} points sideways")),
                // `crate::run` and the like: names of lib.rs.
                None if from != "main" => wrong.push(format!("{shown}: {from} -> crate::{to} is no module")),
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_imports_sees_what_is_there() {
    let text = "use crate::store;\nuse crate::{\n    auth::{Keys, crate_like::X},\n    jobs::Jobs, mcp,\n};\n\
                // use crate::edge;\nfn f() -> crate::images::Link { mycrate::config() }";
    let seen: Vec<String> = named(text).into_iter().collect();
    assert_eq!(seen, ["auth", "images", "jobs", "mcp", "store"]);
}

/// The names in a section of a Cargo.toml that are crates of this workspace.
fn ours(manifest: &str, section: &str) -> BTreeSet<String> {
    let all = ["plugin-api", "testkit", "image-gateway", "migrations"];
    let mut inside = false;
    let mut found = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.trim() == format!("[{section}]");
        } else if inside {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            if all.contains(&name) || name.starts_with("plugin-") {
                found.insert(name.to_owned());
            }
        }
    }
    found
}

#[test]
fn crates_name_only_what_the_house_allows() {
    let allowed = |of: &str| -> &[&str] {
        match of {
            "plugins/api" | "migrations" => &[],
            "plugins/http" | "plugins/mcp" => &["plugin-api", "plugin-declared"],
            _ => &["plugin-api"],
        }
    };
    let mut crates = vec!["migrations".to_owned()];
    for entry in fs::read_dir(root().join("plugins")).unwrap().flatten() {
        crates.push(format!("plugins/{}", entry.file_name().to_str().unwrap()));
    }
    assert!(crates.len() > 5, "{crates:?}");
    for of in &crates {
        let manifest = fs::read_to_string(root().join(of).join("Cargo.toml")).unwrap();
        let normal: Vec<String> = ours(&manifest, "dependencies").into_iter().collect();
        assert!(normal.iter().all(|name| allowed(of).contains(&name.as_str())), "{of} depends on {normal:?}");
        let dev: Vec<String> = ours(&manifest, "dev-dependencies").into_iter().collect();
        assert!(dev.iter().all(|name| name == "testkit" || name == "plugin-api"), "{of} tests with {dev:?}");
        let parts = ["plugins/api", "plugins/declared", "plugins/testkit"];
        let is_plugin = of.starts_with("plugins/") && !parts.contains(&of.as_str());
        assert!(!is_plugin || !manifest.contains("reqwest"), "{of}: HTTP goes through plugin_api::Http");
    }
    let product = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(!ours(&product, "dependencies").contains("testkit"), "nothing of the tests is in the product");
}

/// The rules of `lib.rs` that a text can show.
#[test]
fn what_belongs_to_one_module_stays_there() {
    let rules: [(&str, &[&str]); 3] =
        [("pingora", &["edge", "app"]), ("sea_orm", &["store"]), ("opendal", &["images"])];
    for path in sources(&root().join("src")) {
        let text = fs::read_to_string(&path).unwrap();
        for (library, modules) in rules {
            let names_it = text.lines().any(|line| {
                !line.trim_start().starts_with("//") && line.contains(&format!("{library}::"))
                    || line.contains(&format!("use {library}"))
            });
            let module = module_of(&path);
            assert!(!names_it || modules.contains(&module.as_str()), "{} names {library}", path.display());
        }
    }
}
