//! YAML as a tree whose every node knows its line and column.

use super::problem::{At, Origin, Problems};
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, Tag};
use std::{borrow::Cow, collections::HashMap};

/// Deepest nesting of a configuration.
const DEPTH: usize = 64;
/// Most nodes, aliases spread out: no file of ours comes near it, an alias bomb passes it at once.
const NODES: usize = 100_000;

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub at: At,
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Scalar(Scalar),
    Seq(Vec<Node>),
    Map(Vec<Entry>),
    /// Already reported; nothing more can be said about it.
    Broken,
}

#[derive(Debug, Clone)]
pub(super) struct Scalar {
    pub text: String,
    /// Plain scalars may be numbers, booleans or null; quoted ones are text.
    pub plain: bool,
    /// What was written before variables were put in: then `text` has the type that is wanted, and is not shown.
    pub template: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub key: String,
    pub at: At,
    pub value: Node,
    /// Came by `<<`: yields to a key of the map itself.
    pub merged: bool,
}

impl Node {
    pub fn map(at: At) -> Node {
        Node { at, kind: Kind::Map(Vec::new()) }
    }
    pub fn scalar(&self) -> Option<&Scalar> {
        if let Kind::Scalar(scalar) = &self.kind { Some(scalar) } else { None }
    }
    pub fn text(&self) -> Option<&str> {
        self.scalar().map(|s| s.text.as_str())
    }
    pub fn entries(&self) -> &[Entry] {
        if let Kind::Map(entries) = &self.kind { entries } else { &[] }
    }
    pub fn items(&self) -> &[Node] {
        if let Kind::Seq(items) = &self.kind { items } else { &[] }
    }
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|e| e.key == key).map(|e| &e.value)
    }
    /// Nothing written, `~` or `null`.
    pub fn is_null(&self) -> bool {
        self.scalar().is_some_and(Scalar::is_null)
    }
}

impl Scalar {
    pub fn is_null(&self) -> bool {
        self.plain
            && self.template.is_none()
            && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }
    pub fn as_bool(&self) -> Option<bool> {
        match self.text.as_str() {
            "true" | "True" | "TRUE" if self.untyped() => Some(true),
            "false" | "False" | "FALSE" if self.untyped() => Some(false),
            _ => None,
        }
    }
    /// A number of YAML 1.2's core schema.
    pub fn as_number(&self) -> Option<serde_json::Number> {
        let text = self.text.as_str();
        let digits = text.trim_start_matches(['+', '-']);
        let numeric = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && digits.chars().all(|c| c.is_ascii_hexdigit() || matches!(c, '.' | '+' | '-' | 'x' | 'o'));
        if !self.untyped() || !numeric {
            return None;
        }
        if let Some(hex) = text.strip_prefix("0x") {
            return u64::from_str_radix(hex, 16).ok().map(Into::into);
        }
        if let Some(octal) = text.strip_prefix("0o") {
            return u64::from_str_radix(octal, 8).ok().map(Into::into);
        }
        let text = text.trim_start_matches('+');
        let whole = text.parse::<u64>().map(Into::into).or_else(|_| text.parse::<i64>().map(Into::into));
        whole.ok().or_else(|| text.parse::<f64>().ok().and_then(serde_json::Number::from_f64))
    }
    /// Takes a value that came from a variable out of a message.
    pub fn hide(&self, message: String) -> String {
        match &self.template {
            Some(template) => {
                let instead = format!("the value of `{template}`");
                let instance = self.text.split('/').next().unwrap_or_default();
                [self.text.as_str(), instance].iter().fold(message, |message, text| {
                    message.replace(&format!("`{text}`"), &instead).replace(&format!("{text:?}"), &instead)
                })
            }
            None => message,
        }
    }
    fn untyped(&self) -> bool {
        self.plain || self.template.is_some()
    }
}

/// The text is not YAML; the reason was reported.
#[derive(Debug)]
pub(super) struct Unreadable;

/// Reads one YAML document; `None` when there is nothing in it. Keys that stand twice are reported and the first
/// one counts, so that the rest can be checked.
pub(super) fn parse(text: &str, origin: Origin, problems: &mut Problems) -> Result<Option<Node>, Unreadable> {
    let mut builder =
        Builder { origin, open: Vec::new(), anchors: HashMap::new(), nodes: 0, root: None, problems };
    for event in Parser::new_from_str(text) {
        let result = match event {
            Ok((event, span)) => builder.event(event, &span),
            Err(error) => {
                let mark = error.marker();
                let at = At { origin, line: mark.line().max(1), column: mark.col() + 1 };
                let hint = match text.lines().nth(at.line - 1) {
                    Some(line) if line.contains("${") => "; put `${...}` in quotes",
                    _ => "",
                };
                Err((at, format!("not YAML: {}{hint}", error.info())))
            }
        };
        if let Err((at, message)) = result {
            let path = builder.path();
            builder.problems.add(at, &path, message);
            return Err(Unreadable);
        }
    }
    Ok(builder.root.filter(|root| !root.is_null()))
}

type Fault = (At, String);

/// A collection whose end has not come yet.
struct Open {
    node: Node,
    anchor: usize,
    key: Option<(String, At)>,
}

struct Builder<'p> {
    origin: Origin,
    open: Vec<Open>,
    /// Finished anchored nodes and how many nodes each holds.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    root: Option<Node>,
    problems: &'p mut Problems,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), Fault> {
        let at = At { origin: self.origin, line: span.start.line().max(1), column: span.start.col() + 1 };
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && !is_str(tag.as_deref(), at)?;
                let scalar = Scalar { text: text.into_owned(), plain, template: None };
                self.finish(Node { at, kind: Kind::Scalar(scalar) }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => self.start(Kind::Seq(Vec::new()), at, anchor, tag),
            Event::MappingStart(_, anchor, tag) => self.start(Kind::Map(Vec::new()), at, anchor, tag),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open { node, anchor, .. }) => self.finish(node, anchor),
                None => Ok(()),
            },
            Event::Alias(id) => {
                let (node, size) = self
                    .anchors
                    .get(&id)
                    .ok_or((at, "this alias stands inside of what it names".to_owned()))?;
                let (mut node, size) = (node.clone(), *size);
                // Counted before it is put in place, so that aliases of aliases stop in time.
                self.count(size, at)?;
                node.at = at;
                self.place(node)
            }
            Event::DocumentStart(..) if self.root.is_some() => {
                Err((at, "a second YAML document; a configuration is one".into()))
            }
            _ => Ok(()),
        }
    }

    fn start(&mut self, kind: Kind, at: At, anchor: usize, tag: Option<Cow<'_, Tag>>) -> Result<(), Fault> {
        if tag.is_some() {
            return Err((at, "YAML tags have no meaning here".into()));
        }
        if self.open.len() >= DEPTH {
            return Err((at, format!("nested deeper than {DEPTH} levels")));
        }
        self.open.push(Open { node: Node { at, kind }, anchor, key: None });
        Ok(())
    }

    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        self.count(1, node.at)?;
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), size(&node)));
        }
        self.place(node)
    }

    fn count(&mut self, more: usize, at: At) -> Result<(), Fault> {
        self.nodes += more;
        if self.nodes > NODES {
            return Err((at, format!("more than {NODES} values, aliases spread out")));
        }
        Ok(())
    }

    fn place(&mut self, node: Node) -> Result<(), Fault> {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.node.kind {
            Kind::Seq(items) => items.push(node),
            Kind::Map(entries) => match open.key.take() {
                None => {
                    let Kind::Scalar(scalar) = node.kind else {
                        return Err((node.at, "a key must be text".into()));
                    };
                    open.key = Some((scalar.text, node.at));
                }
                Some((key, at)) if key == "<<" => merge(entries, node, at)?,
                Some((key, at)) => {
                    let entry = Entry { key: key.clone(), at, value: node, merged: false };
                    if let Err(message) = put(entries, entry) {
                        let path = super::walk::join(&self.path(), &key);
                        self.problems.add(at, &path, message);
                    }
                }
            },
            _ => {}
        }
        Ok(())
    }

    /// Where the parser stands, for errors of YAML itself.
    fn path(&self) -> String {
        let mut path = String::new();
        for open in &self.open {
            match (&open.node.kind, &open.key) {
                (Kind::Seq(items), _) => path.push_str(&format!("[{}]", items.len())),
                (_, Some((key, _))) => path = super::walk::join(&path, key),
                _ => {}
            }
        }
        path
    }
}

fn size(node: &Node) -> usize {
    1 + node.items().iter().map(size).sum::<usize>()
        + node.entries().iter().map(|e| size(&e.value)).sum::<usize>()
}

fn is_str(tag: Option<&Tag>, at: At) -> Result<bool, Fault> {
    match tag {
        None => Ok(false),
        Some(tag) if tag.is_yaml_core_schema_tag("str") => Ok(true),
        Some(_) => Err((at, "YAML tags have no meaning here".into())),
    }
}

fn put(entries: &mut Vec<Entry>, entry: Entry) -> Result<(), String> {
    match entries.iter().position(|e| e.key == entry.key) {
        Some(n) if entries[n].merged => entries[n] = entry,
        Some(n) => return Err(format!("stands twice, first on line {}", entries[n].at.line)),
        None => entries.push(entry),
    }
    Ok(())
}

/// `<<: *anchor`, or a list of them: keys that the map does not have itself.
fn merge(entries: &mut Vec<Entry>, node: Node, at: At) -> Result<(), Fault> {
    let sources = if let Kind::Seq(items) = node.kind { items } else { vec![node] };
    for source in sources {
        let Kind::Map(more) = source.kind else {
            return Err((at, "`<<` takes a map or a list of maps".into()));
        };
        for entry in more {
            if !entries.iter().any(|e| e.key == entry.key) {
                entries.push(Entry { merged: true, ..entry });
            }
        }
    }
    Ok(())
}
