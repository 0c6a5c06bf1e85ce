use std::fmt;

/// Which text a node was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    File,
    /// The nth `--set`.
    Set(usize),
    Builtin,
}

/// Where a node starts. Lines and columns count from 1; columns are characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub origin: Origin,
    pub line: usize,
    pub column: usize,
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file as it was named, or `--set key.path`.
    pub file: String,
    /// Line and column; none for `--set` and for a file that cannot be read.
    pub position: Option<(usize, usize)>,
    /// The key path, such as `providers.openai.concurrency`; empty for the whole text.
    pub path: String,
    /// What is wrong and what would be right. Never the value of a secret.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some((line, column)) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        if !self.path.is_empty() && self.position.is_some() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Everything that is wrong with a configuration, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Problem>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Problems while they are being collected, still with the position to sort them by.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<(At, String, String)>);

impl Problems {
    pub fn add(&mut self, at: At, path: &str, message: impl Into<String>) {
        self.0.push((at, path.to_owned(), message.into()));
    }
    /// Leaves out what only follows from a problem of the same place or of one inside it.
    pub fn add_new(&mut self, at: At, path: &str, message: impl Into<String>) {
        let inside =
            |known: &str| known.strip_prefix(path).is_some_and(|r| r.is_empty() || r.starts_with(['.', '[']));
        if !self.0.iter().any(|(_, known, _)| inside(known)) {
            self.add(at, path, message);
        }
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub fn append(&mut self, mut other: Problems) {
        self.0.append(&mut other.0);
    }
    /// Adds a sentence to every message.
    pub fn note(&mut self, note: &str) {
        for (_, _, message) in &mut self.0 {
            message.push_str(note);
        }
    }

    /// `file` is how the file was named, `sets` the key paths of the `--set` arguments.
    pub fn finish(mut self, file: &str, sets: &[String]) -> ConfigErrors {
        self.0.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        self.0.dedup();
        let problems = self.0.into_iter().map(|(at, path, message)| match at.origin {
            Origin::File => {
                Problem { file: file.into(), position: Some((at.line, at.column)), path, message }
            }
            // A position in a text that nobody has would not help; the variable in the message does.
            Origin::Builtin => Problem {
                file: "built-in entries".into(),
                position: None,
                message: format!("{path}: {message}"),
                path,
            },
            Origin::Set(n) => {
                let key = sets.get(n).map_or("", String::as_str);
                let message =
                    if path.is_empty() || path == key { message } else { format!("{path}: {message}") };
                Problem { file: format!("--set {key}"), position: None, path, message }
            }
        });
        ConfigErrors(problems.collect())
    }
}

/// ``; did you mean `x`?``, or the names there are when none is near.
pub(super) fn nearest<'a>(name: &str, valid: impl IntoIterator<Item = &'a str>) -> String {
    let valid: Vec<&str> = valid.into_iter().collect();
    let near = valid
        .iter()
        .map(|v| (strsim::damerau_levenshtein(&name.to_lowercase(), &v.to_lowercase()), v))
        .filter(|(distance, v)| *distance <= 1.max(name.len().max(v.len()) / 3))
        .min_by_key(|(distance, _)| *distance);
    match near {
        Some((_, v)) => format!("; did you mean `{v}`?"),
        None if valid.is_empty() => String::new(),
        None => format!("; there are {}", list(&valid)),
    }
}

/// `a, b, c`.
pub(super) fn list(names: &[&str]) -> String {
    names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
}
