//! The tables, and the page that keeps them.

use anyhow::{Context as _, Result};
use std::{fmt::Write as _, fs, path::Path};

/// Of the open loop's rate, what must have been answered for its latencies to count.
const KEPT_UP: f64 = 0.97;

/// One kind of request.
#[derive(Debug, Default)]
pub struct Row {
    pub name: String,
    pub connections: usize,
    /// Requests a second, as many as came through.
    pub peak: f64,
    /// Of the gateway, per request.
    pub cpu_us: f64,
    /// Of the floor with an answer of the same length.
    pub floor_us: f64,
    /// Requests a second of the open loop, and what they took.
    pub rate: f64,
    /// What came of that rate; less, and the load or the gateway did not keep up.
    pub reached: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    pub errors: u64,
    pub first_error: Option<String>,
    pub peak_rss: u64,
    pub goals: Vec<Goal>,
}

/// What a row should reach.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// CPU per request, as a multiple of the floor's, at most.
    Floors(f64),
    /// CPU per request in microseconds, at most.
    CpuUs(f64),
    /// Requests a second, at least.
    PerSecond(f64),
    /// Milliseconds in the open loop, at most.
    P50(f64),
    P99(f64),
}

impl Row {
    fn floors(&self) -> f64 {
        self.cpu_us / self.floor_us.max(0.001)
    }

    fn goal(&self, goal: Goal) -> String {
        let (text, met) = match goal {
            Goal::Floors(most) => (format!("≤ {most} floors"), self.floors() <= most),
            Goal::CpuUs(most) => (format!("≤ {} ms CPU", most / 1000.0), self.cpu_us <= most),
            Goal::PerSecond(least) => (format!("≥ {least}/s"), self.peak >= least),
            Goal::P50(most) => (format!("p50 ≤ {most} ms"), self.p50_ms <= most),
            Goal::P99(most) => (format!("p99 ≤ {most} ms"), self.p99_ms <= most),
        };
        verdict(&text, met && self.errors == 0)
    }
}

fn verdict(goal: &str, met: bool) -> String {
    if met { format!("{goal}: met") } else { format!("**{goal}: missed**") }
}

/// One number.
#[derive(Debug)]
pub struct Figure {
    pub name: String,
    pub value: f64,
    pub unit: &'static str,
    /// At most this much.
    pub goal: Option<f64>,
    pub note: String,
}

/// Everything that one run found.
#[derive(Debug, Default)]
pub struct Report {
    pub machine: String,
    pub how: String,
    pub rows: Vec<Row>,
    pub figures: Vec<Figure>,
}

impl Report {
    pub fn markdown(&self) -> String {
        let mut text = format!("{}\n\n{}\n\n", self.machine, self.how);
        text += "| request | connections | peak, /s | CPU, µs | floor, µs | CPU in floors | at rate, /s | p50, ms | \
                 p99, ms | max, ms | errors | peak RSS, MiB | goals |\n";
        text += "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|\n";
        for row in &self.rows {
            let goals: Vec<String> = row.goals.iter().map(|goal| row.goal(*goal)).collect();
            let errors = if row.errors == 0 { "0".to_owned() } else { format!("**{}**", row.errors) };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {:.0} | {:.1} | {:.1} | {} | {:.2} | {:.2} | {:.1} | {errors} | {} | {} |",
                row.name,
                row.connections,
                grouped(row.peak),
                row.cpu_us,
                row.floor_us,
                row.floors(),
                grouped(row.rate),
                row.p50_ms,
                row.p99_ms,
                row.max_ms,
                row.peak_rss >> 20,
                goals.join(", "),
            );
        }
        for row in &self.rows {
            if let Some(error) = &row.first_error {
                let _ = writeln!(
                    text,
                    "\n**Errors in \"{}\"**, the first: `{}`",
                    row.name,
                    error.replace('`', "'")
                );
            }
        }
        for row in self.rows.iter().filter(|row| row.reached < row.rate * KEPT_UP) {
            let (name, rate, reached) = (&row.name, grouped(row.rate), grouped(row.reached));
            let _ = writeln!(
                text,
                "\n**Behind in \"{name}\"**: {reached} of {rate} requests a second were answered"
            );
        }
        text += "\n| figure | value | goal | |\n|---|--:|---|---|\n";
        for figure in &self.figures {
            let Figure { name, value, unit, goal, note } = figure;
            let goal =
                goal.map(|most| verdict(&format!("≤ {most} {unit}"), *value <= most)).unwrap_or_default();
            let precision = if *value < 10.0 { 2 } else { 1 };
            let _ = writeln!(text, "| {name} | {value:.precision$} {unit} | {goal} | {note} |");
        }
        text
    }
}

/// 12345 as `12,345`.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

const BEGIN: &str = "<!-- benches: begin -->";
const END: &str = "<!-- benches: end -->";

/// Replaces what stands between the markers of a page.
///
/// # Errors
/// The file cannot be read or written, or has no markers.
pub fn write_into(page: &Path, report: &str) -> Result<()> {
    let text = fs::read_to_string(page).with_context(|| page.display().to_string())?;
    let text = between(&text, report).with_context(|| format!("{}: no {BEGIN} ... {END}", page.display()))?;
    Ok(fs::write(page, text)?)
}

fn between(text: &str, report: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", report.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_keeps_what_is_around_the_markers() {
        let page = format!("# P\n{BEGIN}\nold\n{END}\nafter\n");
        assert_eq!(between(&page, "new\n").unwrap(), format!("# P\n{BEGIN}\n\nnew\n\n{END}\nafter\n"));
        assert_eq!(between(&between(&page, "a").unwrap(), "b"), between(&page, "b"));
        assert!(between("# P", "new").is_none());
    }

    #[test]
    fn a_row_with_errors_meets_no_goal_and_shows_them() {
        let row = |errors| Row {
            cpu_us: 20.0,
            floor_us: 10.0,
            errors,
            goals: vec![Goal::Floors(2.0)],
            ..Row::default()
        };
        let table = |row| Report { rows: vec![row], ..Report::default() }.markdown();
        assert!(table(row(0)).contains("| ≤ 2 floors: met |"));
        let bad = table(row(3));
        assert!(bad.contains("| **3** |") && bad.contains("**≤ 2 floors: missed**"), "{bad}");
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([999.4, 1000.0, 1234567.0].map(grouped), ["999", "1,000", "1,234,567"]);
    }
}
