//! Walks a located tree along the JSON Schema, collects all that is wrong, and makes the JSON value of the rest.

use super::{
    files,
    problem::{At, Problems, list, nearest},
    schema::{FILE_TWIN, is_secret},
    tree::{Kind, Node, Scalar},
};
use plugin_api::value::{ByteSize, CountWindow, Money, Rate, Span, SpendWindow};
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// `path.key`.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Where a key path stands, and its scalar when that came from a variable.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    pub at: At,
    /// Its key, where it has one.
    pub key: Option<At>,
    pub scalar: Option<Scalar>,
}

impl Spot {
    /// A message about this value, which does not show what a variable held.
    pub fn shown(&self, message: String) -> String {
        let Some(scalar) = &self.scalar else { return message };
        let message = scalar.hide(message);
        match &scalar.template {
            Some(template) if !message.contains(template) => format!("{message} (the value of `{template}`)"),
            _ => message,
        }
    }
}

pub(super) struct Walk<'a> {
    /// The schema's root, for its `$defs`.
    pub root: &'a Value,
    /// What files of secrets are relative to.
    pub folder: &'a Path,
    pub problems: Problems,
    pub positions: BTreeMap<String, Spot>,
    /// Gets the files of secrets.
    pub files: &'a mut Vec<PathBuf>,
}

impl Walk<'_> {
    /// The value of `node` under `schema`. `None`: there is none, and a problem was reported.
    pub fn value(&mut self, node: &Node, schema: &Value, path: &str) -> Option<Value> {
        let scalar = node.scalar().filter(|s| s.template.is_some()).cloned();
        self.positions.insert(path.to_owned(), Spot { at: node.at, key: None, scalar });
        if matches!(node.kind, Kind::Broken) {
            return None;
        }
        // A variable that may be empty leaves an optional field out.
        if nullable(schema) && (node.is_null() || node.text() == Some("")) {
            return Some(Value::Null);
        }
        if is_secret(schema) {
            return self.secret(node, path);
        }
        if let Some(parse) = schema["$ref"].as_str().and_then(text_type) {
            return self.written(node, parse, path);
        }
        let schema = self.resolve(schema);
        if let Some(words) = words(schema) {
            return self.word(node, &words, path);
        }
        if schema.get("allOf").is_some() {
            return self.by_kind(node, schema, path);
        }
        for several in ["anyOf", "oneOf"] {
            if let Some(all) = schema[several].as_array() {
                return self.one_of(node, all, path);
            }
        }
        match type_name(schema) {
            Some("object") => self.object(node, schema, path),
            Some("array") => self.array(node, schema, path),
            Some("string") => self.string(node, path),
            Some("boolean") => match node.scalar().and_then(Scalar::as_bool) {
                Some(flag) => Some(flag.into()),
                None => self.wrong(node, "true or false", path),
            },
            Some("integer") => self.integer(node, schema, path),
            Some("number") => match node.scalar().and_then(Scalar::as_number) {
                Some(number) => Some(number.into()),
                None => self.wrong(node, "a number", path),
            },
            _ => Some(free(node)),
        }
    }

    fn resolve<'s>(&self, schema: &'s Value) -> &'s Value
    where
        Self: 's,
    {
        let name = schema["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/"));
        name.and_then(|name| self.root["$defs"].get(name)).unwrap_or(schema)
    }

    fn wrong(&mut self, node: &Node, wanted: &str, path: &str) -> Option<Value> {
        self.problems.add(node.at, path, format!("expected {wanted}, found {}", found(node)));
        None
    }

    fn secret(&mut self, node: &Node, path: &str) -> Option<Value> {
        if node.is_null() {
            return Some("".into());
        }
        match node.scalar() {
            Some(scalar) if is_text(scalar) => Some(scalar.text.clone().into()),
            Some(_) => self.wrong(node, "text in quotes", path),
            None => self.wrong(node, "a secret's text", path),
        }
    }

    fn string(&mut self, node: &Node, path: &str) -> Option<Value> {
        match node.scalar() {
            Some(scalar) if is_text(scalar) => Some(scalar.text.clone().into()),
            Some(scalar) if !scalar.is_null() => {
                self.problems.add(
                    node.at,
                    path,
                    format!("expected text, found {}: put it in quotes", found(node)),
                );
                None
            }
            _ => self.wrong(node, "text", path),
        }
    }

    /// A value type of `plugin_api::value`, whose own sentence says what is accepted.
    fn written(&mut self, node: &Node, parse: TextType, path: &str) -> Option<Value> {
        let Some(scalar) = node.scalar().filter(|s| !s.is_null()) else {
            return self.wrong(node, parse.0, path);
        };
        match (parse.1)(&scalar.text) {
            Ok(()) => Some(scalar.text.clone().into()),
            Err(message) => {
                self.problems.add(node.at, path, scalar.hide(message));
                None
            }
        }
    }

    fn word(&mut self, node: &Node, words: &[&str], path: &str) -> Option<Value> {
        let Some(scalar) = node.scalar().filter(|s| !s.is_null()) else {
            return self.wrong(node, &format!("one of {}", list(words)), path);
        };
        if words.contains(&scalar.text.as_str()) {
            return Some(scalar.text.clone().into());
        }
        let near = nearest(&scalar.text, words.iter().copied());
        let message = format!("`{}` is none of {}", scalar.text, list(words));
        let hint = if near.starts_with("; did") { near } else { String::new() };
        self.problems.add(node.at, path, scalar.hide(message) + &hint);
        None
    }

    fn integer(&mut self, node: &Node, schema: &Value, path: &str) -> Option<Value> {
        let Some(number) = node.scalar().and_then(Scalar::as_number) else {
            return self.wrong(node, "a whole number", path);
        };
        let least = schema["minimum"].as_i64().map_or(i128::from(i64::MIN), i128::from);
        let most = match schema["format"].as_str() {
            Some("uint8") => u8::MAX.into(),
            Some("uint16") => u16::MAX.into(),
            Some("uint32") => u32::MAX.into(),
            Some("int32") => i32::MAX.into(),
            _ => i128::from(i64::MAX),
        };
        let most = schema["maximum"].as_i64().map_or(most, |m| most.min(m.into()));
        match number.as_i64() {
            Some(n) if (least..=most).contains(&n.into()) => Some(n.into()),
            _ => {
                let message = format!("expected a whole number from {least} to {most}");
                self.problems.add(node.at, path, message);
                None
            }
        }
    }

    fn array(&mut self, node: &Node, schema: &Value, path: &str) -> Option<Value> {
        let Kind::Seq(items) = &node.kind else {
            return self.wrong(node, "a list", path);
        };
        let values: Vec<Option<Value>> = items
            .iter()
            .enumerate()
            .map(|(n, item)| self.value(item, &schema["items"], &format!("{path}[{n}]")))
            .collect();
        // All or nothing: later checks name items by their number.
        values.into_iter().collect::<Option<Vec<Value>>>().map(Value::Array)
    }

    fn object(&mut self, node: &Node, schema: &Value, path: &str) -> Option<Value> {
        let empty = Map::new();
        let fields = schema["properties"].as_object().unwrap_or(&empty);
        if !matches!(node.kind, Kind::Map(_)) && !node.is_null() {
            return self.wrong(node, "a map", path);
        }
        let rest = schema.get("additionalProperties").filter(|rest| **rest != Value::Bool(false));
        let (mut out, mut files) = (Map::new(), Vec::new());
        for entry in node.entries() {
            let path = join(path, &entry.key);
            let Some(field) = fields.get(&entry.key).or(rest) else {
                self.problems.add(
                    entry.at,
                    &path,
                    format!("unknown field{}", nearest(&entry.key, fields.keys().map(String::as_str))),
                );
                continue;
            };
            // `section:` with all its lines commented out is a section left out.
            if fields.contains_key(&entry.key) && entry.value.is_null() && is_collection(self.resolve(field))
            {
                continue;
            }
            let value = self.value(&entry.value, field, &path);
            if let Some(spot) = self.positions.get_mut(&path) {
                spot.key = Some(entry.at);
            }
            let Some(value) = value else { continue };
            let secret = entry.key.strip_suffix("_file").filter(|s| fields.get(*s).is_some_and(is_secret));
            if let (Some(secret), Value::String(file)) = (secret, &value) {
                files.extend(self.read(file, entry.value.at, &path).map(|text| (secret.to_owned(), text)));
            }
            if field.get(FILE_TWIN).is_none() {
                out.insert(entry.key.clone(), value);
            }
        }
        for (secret, text) in files {
            out.insert(secret, text.into());
        }
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let missing: Vec<&str> = required.filter(|name| !out.contains_key(*name)).collect();
        for name in &missing {
            if node.get(name).is_none() {
                self.problems.add(node.at, path, format!("`{name}` is missing"));
            }
        }
        missing.is_empty().then(|| out.into())
    }

    fn read(&mut self, file: &str, at: At, path: &str) -> Option<String> {
        let full = self.folder.join(file);
        let text = files::read(&full);
        self.files.push(full);
        match text {
            Ok(text) => Some(text.trim().to_owned()),
            Err(why) => {
                self.problems.add(at, path, format!("the file `{file}` cannot be read: {why}"));
                None
            }
        }
    }

    /// An entry of `providers`: its `kind` chooses the fields.
    fn by_kind(&mut self, node: &Node, schema: &Value, path: &str) -> Option<Value> {
        let kind = node.get("kind").and_then(Node::text).unwrap_or_default();
        let arms = schema["allOf"].as_array().map_or(&[][..], Vec::as_slice);
        let arm = arms.iter().find(|arm| arm["if"]["properties"]["kind"]["const"] == kind);
        let schema = arm.map_or(schema, |arm| self.resolve(&arm["then"]));
        self.object(node, schema, path)
    }

    fn one_of(&mut self, node: &Node, all: &[Value], path: &str) -> Option<Value> {
        let fits: Vec<&Value> = all.iter().filter(|s| self.takes(node, s)).collect();
        match fits[..] {
            [] => {
                let wanted: Vec<&str> =
                    all.iter().map(|s| self.wanted(s)).filter(|w| *w != "nothing").collect();
                self.wrong(node, &wanted.join(" or "), path)
            }
            [one] => self.value(node, one, path),
            _ => {
                let mut note = String::new();
                for schema in fits {
                    let before = std::mem::take(&mut self.problems);
                    let value = self.value(node, schema, path);
                    let mut found = std::mem::replace(&mut self.problems, before);
                    if value.is_some() && found.is_empty() {
                        return value;
                    }
                    if let Some(words) = words(self.resolve(schema)) {
                        note = format!("; or {}", list(&words));
                        continue;
                    }
                    found.note(&note);
                    self.problems.append(found);
                }
                None
            }
        }
    }

    /// Whether the shape of `node` is one that `schema` describes.
    fn takes(&self, node: &Node, schema: &Value) -> bool {
        let wanted = type_name(self.resolve(schema));
        match node.kind {
            Kind::Map(_) => matches!(wanted, Some("object") | None),
            Kind::Seq(_) => matches!(wanted, Some("array") | None),
            _ => !matches!(wanted, Some("object" | "array" | "null")),
        }
    }

    fn wanted(&self, schema: &Value) -> &'static str {
        if let Some(TextType(name, _)) = schema["$ref"].as_str().and_then(text_type) {
            return name;
        }
        match type_name(self.resolve(schema)) {
            Some("object") => "a map",
            Some("array") => "a list",
            Some("integer" | "number") => "a number",
            Some("boolean") => "true or false",
            Some("null") => "nothing",
            _ => "text",
        }
    }
}

fn is_text(scalar: &Scalar) -> bool {
    let typed = scalar.is_null() || scalar.as_bool().is_some() || scalar.as_number().is_some();
    scalar.template.is_some() || !typed
}

fn found(node: &Node) -> &'static str {
    match &node.kind {
        Kind::Map(_) => "a map",
        Kind::Seq(_) => "a list",
        Kind::Scalar(s) if s.is_null() => "nothing",
        Kind::Scalar(s) if s.template.is_some() => "text from a variable",
        Kind::Scalar(s) if s.as_bool().is_some() => "true or false",
        Kind::Scalar(s) if s.as_number().is_some() => "a number",
        Kind::Scalar(_) | Kind::Broken => "text",
    }
}

fn nullable(schema: &Value) -> bool {
    let null = |s: &Value| s["type"] == "null";
    schema["type"].as_array().is_some_and(|all| all.iter().any(|t| t == "null"))
        || schema["anyOf"].as_array().is_some_and(|all| all.iter().any(null))
}

fn is_collection(schema: &Value) -> bool {
    matches!(type_name(schema), Some("object" | "array"))
        || schema["anyOf"].as_array().is_some_and(|all| all.iter().any(is_collection))
}

fn type_name(schema: &Value) -> Option<&str> {
    match &schema["type"] {
        Value::Array(all) => all.iter().filter_map(Value::as_str).find(|t| *t != "null"),
        other => other.as_str(),
    }
}

/// The words of an enumeration, however it is spelled.
fn words(schema: &Value) -> Option<Vec<&str>> {
    if let Some(word) = schema["const"].as_str() {
        return Some(vec![word]);
    }
    if let Some(all) = schema["enum"].as_array() {
        return Some(all.iter().filter_map(Value::as_str).collect());
    }
    let all = schema["oneOf"].as_array().or(schema["anyOf"].as_array())?;
    all.iter().map(words).collect::<Option<Vec<_>>>().map(|all| all.concat())
}

/// What a value type is called, and its reading.
struct TextType(&'static str, fn(&str) -> Result<(), String>);

fn text_type(reference: &str) -> Option<TextType> {
    fn check<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<(), String> {
        text.parse::<T>().map(drop).map_err(|e| e.to_string())
    }
    Some(match reference.strip_prefix("#/$defs/")? {
        "Span" => TextType("a duration", check::<Span>),
        "ByteSize" => TextType("a size", check::<ByteSize>),
        "Money" => TextType("an amount of money", check::<Money>),
        "Rate" => TextType("a rate", check::<Rate>),
        "CountWindow" => TextType("a window such as 500/day", check::<CountWindow>),
        "SpendWindow" => TextType("a budget such as 20 USD/day", check::<SpendWindow>),
        _ => return None,
    })
}

/// A value without a schema, typed as YAML types it.
pub(super) fn free(node: &Node) -> Value {
    match &node.kind {
        Kind::Broken => Value::Null,
        Kind::Seq(items) => items.iter().map(free).collect(),
        Kind::Map(entries) => {
            Value::Object(entries.iter().map(|e| (e.key.clone(), free(&e.value))).collect())
        }
        Kind::Scalar(s) if s.template.is_some() => s.text.clone().into(),
        Kind::Scalar(s) if s.is_null() => Value::Null,
        Kind::Scalar(s) => match (s.as_bool(), s.as_number()) {
            (Some(flag), _) => flag.into(),
            (_, Some(number)) => number.into(),
            _ => s.text.clone().into(),
        },
    }
}
