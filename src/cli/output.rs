//! How things look on a terminal: tables, times, money, sizes, errors.

use crate::config::ConfigErrors;
use plugin_api::value::Money;
use std::{fmt::Write as _, io::Write as _, process::ExitCode};

/// Prints to stdout. A reader that has gone (`| head`) is no error.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
}

/// Prints a value for programs.
pub fn print_json<T: serde::Serialize>(value: &T) {
    // Nothing that is printed can fail to be written as JSON.
    print(&format!("{}\n", serde_json::to_string_pretty(value).unwrap_or_default()));
}

/// Money for programs.
#[derive(serde::Serialize)]
pub struct JsonMoney {
    amount_micros: i64,
    currency: String,
}

impl From<Money> for JsonMoney {
    fn from(money: Money) -> JsonMoney {
        JsonMoney { amount_micros: money.amount_micros, currency: money.currency().to_owned() }
    }
}

/// Says on stderr what is not for the program that reads stdout.
pub fn note(text: &str) {
    std::io::stderr().write_all(text.as_bytes()).ok();
}

/// Says on stderr what failed; the exit code of a failure.
pub fn fail(error: &anyhow::Error) -> ExitCode {
    let text = match error.downcast_ref::<ConfigErrors>() {
        Some(errors) => config_errors(errors),
        None => format!("error: {}\n", sentence(error)),
    };
    note(&text);
    ExitCode::FAILURE
}

fn config_errors(errors: &ConfigErrors) -> String {
    let n = errors.0.len();
    let what = if n == 1 { "one error".to_owned() } else { format!("{n} errors") };
    format!("{errors}\n\nerror: {what} in the configuration; nothing was started\n")
}

/// An error with its causes, each said once: some errors name their cause themselves.
pub fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            let _ = write!(text, ": {cause}");
        }
    }
    text
}

/// Columns as wide as their content, two spaces between them.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let width = |column: usize| {
        let cells = std::iter::once(&head).chain(rows).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    let titled = !head.iter().all(String::is_empty);
    for row in std::iter::once(&head).filter(|_| titled).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A table without titles, moved to the right.
pub fn list(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    indent(&table(&vec![""; columns], rows), 2)
}

pub fn indent(text: &str, by: usize) -> String {
    let line = |line: &str| if line.is_empty() { "\n".to_owned() } else { format!("{:by$}{line}\n", "") };
    text.lines().map(line).collect()
}

/// `2026-11-21 03:17:24 UTC`.
pub fn time(us: i64) -> String {
    crate::telemetry::utc(us)
}

/// How long something took or is away, in its two largest units at most.
pub fn span(us: i64) -> String {
    let ms = us.unsigned_abs() / 1_000;
    let (s, m, h) = (ms / 1_000, ms / 60_000, ms / 3_600_000);
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{s}.{} s", ms % 1_000 / 100),
        60_000..3_600_000 => format!("{m} min {} s", s % 60),
        3_600_000..86_400_000 => format!("{h} h {} min", m % 60),
        _ => format!("{} d {} h", h / 24, h % 24),
    }
}

pub fn money(money: Option<Money>) -> String {
    money.map_or("-".into(), |money| money.to_string())
}

pub fn bytes(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(size, _)| bytes >= *size) {
        Some((size, unit)) => format!("{:.1} {unit}", bytes as f64 / *size as f64),
        None => format!("{bytes} B"),
    }
}

/// The first characters of a text, on one line.
pub fn shorten(text: &str, longest: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= longest {
        return line;
    }
    let kept: String = line.chars().take(longest.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_content_and_lines_end_without_blanks() {
        let rows = [vec!["a".into(), "long cell".into()], vec!["größer".into(), String::new()]];
        assert_eq!(table(&["ID", "WHAT"], &rows), "ID      WHAT\na       long cell\ngrößer\n");
        assert_eq!(list(&rows), "  a       long cell\n  größer\n");
        assert_eq!(table(&["ID"], &[]), "ID\n");
    }

    #[test]
    fn times_lengths_and_sizes_read_well() {
        assert_eq!(time(1_000_000), "1970-01-01 00:00:01 UTC");
        for (us, text) in [
            (80_000, "80 ms"),
            (4_321_000, "4.3 s"),
            (125_000_000, "2 min 5 s"),
            (3_600_000_000, "1 h 0 min"),
            (90_000_000_000, "1 d 1 h"),
            (-80_000, "80 ms"),
        ] {
            assert_eq!(span(us), text);
        }
        assert_eq!(
            (bytes(512), bytes(1536), bytes(5 << 30)),
            ("512 B".into(), "1.5 KiB".into(), "5.0 GiB".into())
        );
        assert_eq!(money(Some(Money::micros(40_000, "USD"))), "0.04 USD");
        assert_eq!(shorten("a\n  red fox", 6), "a red…");
    }

    #[test]
    fn a_cause_that_was_named_is_not_named_again() {
        let io = || std::io::Error::other("disk full");
        let error = anyhow::Error::new(io()).context("cannot write");
        assert_eq!(sentence(&error), "cannot write: disk full");
        let error = anyhow::Error::new(io()).context("cannot write: disk full");
        assert_eq!(sentence(&error), "cannot write: disk full");
    }
}
