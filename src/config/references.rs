//! Names that must stand for something: instances in targets, models, teams, routes.

use super::{
    problem::{Origin, Problems, nearest},
    tree::Node,
};

/// Walks the tree, not the `Config`, so that one broken field does not hide the names beside it.
pub(super) fn check(tree: &Node, problems: &mut Problems) {
    let names = |section: &str| -> Vec<String> {
        tree.get(section).map(|n| n.entries().iter().map(|e| e.key.clone()).collect()).unwrap_or_default()
    };
    let mut teams = names("teams");
    teams.push("default".into());
    let mut names = Names {
        instances: names("providers"),
        models: names("models"),
        teams,
        issuers: Vec::new(),
        problems,
    };

    for model in tree.get("models").map_or(&[][..], Node::entries) {
        let path = format!("models.{}.targets", model.key);
        names.targets(model.value.get("targets"), &path);
    }
    for (n, route) in items(tree.get("routes")).enumerate() {
        names.targets(route.get("to"), &format!("routes[{n}].to"));
        let when =
            |field| (route.get("when").and_then(|w| w.get(field)), format!("routes[{n}].when.{field}"));
        let (node, path) = when("team");
        names.each(node, &path, Names::team);
        let (node, path) = when("model");
        names.each(node, &path, Names::model);
        let (node, path) = when("provider");
        names.each(node, &path, Names::instance);
    }
    for (n, key) in items(tree.get("auth").and_then(|a| a.get("keys"))).enumerate() {
        names.each(key.get("team"), &format!("auth.keys[{n}].team"), Names::team);
    }
    for (n, issuer) in items(tree.get("auth").and_then(|a| a.get("issuers"))).enumerate() {
        let team = issuer.get("claims").and_then(|c| c.get("team")).and_then(|t| t.get("value"));
        names.each(team, &format!("auth.issuers[{n}].claims.team.value"), Names::team);
    }
    let auth = |field| tree.get("auth").and_then(|a| a.get(field));
    names.issuers =
        items(auth("issuers")).filter_map(|i| i.get("issuer")?.text().map(str::to_owned)).collect();
    names.each(auth("oauth").and_then(|o| o.get("sign_in")), "auth.oauth.sign_in", Names::sign_in);
    let routing = |field| tree.get("routing").and_then(|r| r.get(field));
    names.each(routing("default_model"), "routing.default_model", Names::model);
    names.each(routing("default_provider"), "routing.default_provider", Names::instance);
}

fn items(node: Option<&Node>) -> impl Iterator<Item = &Node> {
    node.map_or(&[][..], Node::items).iter()
}

struct Names<'a> {
    instances: Vec<String>,
    models: Vec<String>,
    teams: Vec<String>,
    issuers: Vec<String>,
    problems: &'a mut Problems,
}

impl Names<'_> {
    fn targets(&mut self, node: Option<&Node>, path: &str) {
        for (n, target) in items(node).enumerate() {
            match target.get("to") {
                Some(to) => self.one(to, &format!("{path}[{n}].to"), Names::target),
                None => self.one(target, &format!("{path}[{n}]"), Names::target),
            }
        }
    }

    /// One value or a list of them.
    fn each(&mut self, node: Option<&Node>, path: &str, known: fn(&Self, &str) -> Result<(), String>) {
        let Some(node) = node else { return };
        self.one(node, path, known);
        for (n, item) in node.items().iter().enumerate() {
            self.one(item, &format!("{path}[{n}]"), known);
        }
    }

    fn one(&mut self, node: &Node, path: &str, known: fn(&Self, &str) -> Result<(), String>) {
        let Some(scalar) = node.scalar().filter(|s| !s.is_null() && !s.text.is_empty()) else { return };
        // A built-in model whose instance a file left out is off, not wrong.
        if node.at.origin == Origin::Builtin {
            return;
        }
        if let Err(message) = known(self, &scalar.text) {
            self.problems.add_new(node.at, path, scalar.hide(message));
        }
    }

    fn target(&self, text: &str) -> Result<(), String> {
        let Some((instance, model)) = text.split_once('/') else {
            let hint = match self.instances.iter().any(|i| i == text) {
                true => format!("; name a model after it, `{text}/...`"),
                false => String::new(),
            };
            return Err(format!("`{text}` is not a target: it is written `instance/vendor-model`{hint}"));
        };
        if model.is_empty() {
            return Err(format!("`{text}` names no vendor model after the `/`"));
        }
        self.instance(instance)
    }

    fn instance(&self, name: &str) -> Result<(), String> {
        find("instance in `providers`", name, &self.instances)
    }

    fn model(&self, name: &str) -> Result<(), String> {
        match name.split_once('/') {
            Some((instance, _)) => self.instance(instance),
            None => find("model in `models`", name, &self.models),
        }
    }

    fn sign_in(&self, name: &str) -> Result<(), String> {
        if name == "key" { Ok(()) } else { find("issuer in `auth.issuers`", name, &self.issuers) }
    }

    fn team(&self, name: &str) -> Result<(), String> {
        find("team in `teams`", name, &self.teams)
    }
}

fn find(what: &str, name: &str, known: &[String]) -> Result<(), String> {
    if name.contains(['*', '?']) || known.iter().any(|k| k == name) {
        return Ok(());
    }
    Err(format!("there is no {what} called `{name}`{}", nearest(name, known.iter().map(String::as_str))))
}
