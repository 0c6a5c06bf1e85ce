//! `${NAME}` in scalars, and the `.env` file that feeds it.

use super::{
    problem::{At, Origin, Problems, nearest},
    tree::{Kind, Node},
    walk::join,
};
use std::collections::BTreeMap;

/// Puts the values of variables into all scalars below `node`.
pub(super) fn substitute(
    node: &mut Node,
    path: &str,
    environment: &BTreeMap<String, String>,
    problems: &mut Problems,
) {
    match &mut node.kind {
        Kind::Scalar(scalar) if scalar.text.contains("${") => match expand(&scalar.text, environment) {
            Ok((text, used)) => {
                let template = std::mem::replace(&mut scalar.text, text);
                if used {
                    scalar.template = Some(template);
                }
            }
            Err(messages) => {
                for message in messages {
                    problems.add(node.at, path, message);
                }
                node.kind = Kind::Broken;
            }
        },
        Kind::Seq(items) => {
            for (n, item) in items.iter_mut().enumerate() {
                substitute(item, &format!("{path}[{n}]"), environment, problems);
            }
        }
        Kind::Map(entries) => {
            for entry in entries {
                substitute(&mut entry.value, &join(path, &entry.key), environment, problems);
            }
        }
        Kind::Scalar(_) | Kind::Broken => {}
    }
}

/// The text with its variables put in, and whether there was one besides `$${`.
fn expand(text: &str, environment: &BTreeMap<String, String>) -> Result<(String, bool), Vec<String>> {
    let (mut out, mut rest, mut used, mut wrong) = (String::new(), text, false, Vec::new());
    while let Some(start) = rest.find("${") {
        if rest[..start].ends_with('$') {
            out.push_str(&rest[..start]);
            out.push('{');
            rest = &rest[start + 2..];
            continue;
        }
        out.push_str(&rest[..start]);
        used = true;
        let inside = &rest[start + 2..];
        let Some(end) = inside.find('}') else {
            wrong.push("`${` without its `}`; a literal `${` is written `$${`".into());
            break;
        };
        rest = &inside[end + 1..];
        match value(&inside[..end], environment) {
            Ok(value) => out.push_str(value),
            Err(message) => wrong.push(message),
        }
    }
    out.push_str(rest);
    if wrong.is_empty() { Ok((out, used)) } else { Err(wrong) }
}

fn value<'a>(inside: &'a str, environment: &'a BTreeMap<String, String>) -> Result<&'a str, String> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    if !is_name(name) {
        return Err(
            "a variable is written `${NAME}` or `${NAME:-default}`; a literal `${` is written `$${`".into()
        );
    }
    match (environment.get(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default),
        (None, None) => {
            // Only a near name is worth showing: all others are the environment's own business.
            let hint = nearest(name, environment.keys().map(String::as_str));
            let hint = if hint.starts_with("; did") { hint } else { String::new() };
            Err(format!(
                "the variable `{name}` is not set; set it, or write `${{{name}:-}}` if it may be empty{hint}"
            ))
        }
    }
}

/// The variables that a text names, in order.
pub(super) fn names(text: &str) -> Vec<String> {
    let name = |part: &str| part.split([':', '}']).next().filter(|name| is_name(name)).map(str::to_owned);
    let parts: Vec<&str> = text.split("${").collect();
    let pairs = parts.windows(2).filter(|pair| !pair[0].ends_with('$'));
    pairs.filter_map(|pair| name(pair[1])).collect()
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Reads `NAME=value` lines: `export` before them, quotes around the value and `#` comments are taken as shells do.
/// Values are literal: no variable is put into another.
pub(super) fn read_env_file(text: &str, problems: &mut Problems) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for (n, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let pair = line.split_once('=').map(|(name, value)| (name.trim(), unquote(value.trim())));
        match pair {
            Some((name, Some(value))) if is_name(name) => {
                out.insert(name.to_owned(), value);
            }
            // The line itself may hold a secret and is not shown.
            _ => {
                let at = At { origin: Origin::File, line: n + 1, column: 1 };
                problems.add(at, "", "not a line of the form NAME=value");
            }
        }
    }
    out
}

fn unquote(value: &str) -> Option<String> {
    let Some(quote) = value.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        let end = value.find(" #").unwrap_or(value.len());
        return Some(value[..end].trim_end().to_owned());
    };
    let (mut out, mut chars) = (String::new(), value[1..].chars());
    loop {
        match chars.next()? {
            c if c == quote => break,
            '\\' if quote == '"' => match chars.next()? {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                c => out.push(c),
            },
            c => out.push(c),
        }
    }
    let rest = chars.as_str().trim_start();
    (rest.is_empty() || rest.starts_with('#')).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> BTreeMap<String, String> {
        BTreeMap::from([("SET".into(), "value".into()), ("EMPTY".into(), String::new())])
    }

    #[test]
    fn variables_defaults_and_escapes_are_put_in() {
        for (text, wanted) in [
            ("${SET}", "value"),
            ("a ${SET} b ${SET}", "a value b value"),
            ("${EMPTY}", ""),
            ("${EMPTY:-x}", "x"),
            ("${GONE:-x}", "x"),
            ("${GONE:-}", ""),
            ("${GONE:-http://h:1}", "http://h:1"),
            ("$${SET}", "${SET}"),
            ("$SET $ {", "$SET $ {"),
        ] {
            assert_eq!(expand(text, &environment()).unwrap().0, wanted, "{text}");
        }
    }

    #[test]
    fn every_wrong_variable_of_a_scalar_is_named() {
        let wrong = expand("${ONE} ${TWO} ${}", &environment()).unwrap_err();
        assert_eq!(wrong.len(), 3);
        assert!(wrong[0].contains("`ONE` is not set") && wrong[1].contains("`TWO`"), "{wrong:?}");
        assert_eq!(names("a ${SET} $${NOT} ${ONE:-x}"), ["SET", "ONE"]);
        assert!(expand("${SETT}", &environment()).unwrap_err()[0].ends_with("did you mean `SET`?"));
        assert!(expand("${SET", &environment()).unwrap_err()[0].contains("without its"));
    }

    #[test]
    fn an_env_file_is_read_as_shells_read_it() {
        let text = "# comment\nA=1\nexport B = two words # tail\nC='#x $A'\nD=\"a\\nb\" # tail\n\nE=\n";
        let mut problems = Problems::default();
        let read = read_env_file(text, &mut problems);
        assert!(problems.is_empty());
        let wanted = [("A", "1"), ("B", "two words"), ("C", "#x $A"), ("D", "a\nb"), ("E", "")];
        assert_eq!(read, wanted.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    }

    #[test]
    fn a_bad_line_of_an_env_file_is_named_and_not_shown() {
        let mut problems = Problems::default();
        read_env_file("A=1\nsk-canary\nB=\"open\n", &mut problems);
        let text = problems.finish(".env", &[]).to_string();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.starts_with(".env:2:1: ") && !text.contains("canary"), "{text}");
    }
}
