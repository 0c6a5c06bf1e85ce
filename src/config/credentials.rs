//! Which credentials the entries of `providers` take, whether they are set, and by which variable: never the values.

use super::{tree::Node, variables::names};
use crate::providers::Instance;
use indexmap::IndexMap;
use plugin_api::Plugin;
use std::collections::BTreeMap;

/// One secret field of an instance.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Credential {
    pub field: String,
    /// The first variable in what is written there.
    pub variable: Option<String>,
    pub set: bool,
}

/// Every instance with its secret fields.
pub(super) fn credentials(
    tree: &Node,
    providers: &IndexMap<String, Instance>,
    plugins: &[Plugin],
) -> BTreeMap<String, Vec<Credential>> {
    let entries = tree.get("providers");
    let of = |(id, instance): (&String, &Instance)| {
        let entry = entries.and_then(|entries| entries.get(id));
        let one = |field: String| {
            let written = |name: &str| {
                let scalar = entry?.get(name)?.scalar()?;
                names(scalar.template.as_deref()?).into_iter().next()
            };
            let value = instance.plugin.get(&field).and_then(serde_json::Value::as_str);
            Credential {
                variable: written(&field).or_else(|| written(&format!("{field}_file"))),
                set: value.is_some_and(|value| !value.is_empty()),
                field,
            }
        };
        (id.clone(), secrets(&instance.kind, plugins).into_iter().map(one).collect())
    };
    providers.iter().map(of).collect()
}

/// The fields of a kind that hold a secret.
fn secrets(kind: &str, plugins: &[Plugin]) -> Vec<String> {
    let Some(plugin) = plugins.iter().find(|plugin| plugin.kind == kind) else { return Vec::new() };
    let schema = (plugin.schema)(&mut schemars::SchemaGenerator::default());
    let fields = schema.get("properties").and_then(serde_json::Value::as_object);
    let secret = |schema: &serde_json::Value| schema.to_string().contains("/Secret\"");
    let fields = fields.into_iter().flatten().filter(|(_, schema)| secret(schema));
    fields.map(|(name, _)| name.clone()).collect()
}
