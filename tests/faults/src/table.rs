//! The rows, one after the other, and the table they make.

use crate::{Plan, rows};
use std::{fmt::Write as _, path::Path, time::Instant};

const BEGIN: &str = "<!-- faults: begin -->";
const END: &str = "<!-- faults: end -->";

/// What one row of the catalogue came to.
#[derive(Debug)]
pub struct Row {
    /// Its name in the catalogue, and a word: `F13 429`.
    pub name: String,
    /// What was done.
    pub fault: String,
    /// Trials.
    pub n: u64,
    /// What was seen, in figures.
    pub seen: String,
    /// Everything that was not as promised.
    pub wrong: Vec<String>,
    /// Times and memory beyond what is wanted. They depend on the machine and on what else it does, so they are shown and
    /// do not make the row wrong.
    pub missed: Vec<String>,
}

impl Row {
    pub fn new(name: &str, fault: &str) -> Row {
        let (name, fault) = (name.into(), fault.into());
        Row { name, fault, n: 0, seen: String::new(), wrong: Vec::new(), missed: Vec::new() }
    }
    /// Counts a trial, and what was wrong with it.
    pub fn trial(&mut self, wrong: Vec<String>) {
        self.n += 1;
        let n = self.n;
        self.wrong.extend(wrong.into_iter().map(|what| format!("trial {n}: {what}")));
    }
    /// Counts `n` trials of a case, and what was wrong with them.
    pub fn cases(&mut self, case: &str, n: usize, wrong: Vec<String>) {
        self.n += n as u64;
        self.wrong.extend(wrong.into_iter().map(|what| format!("{case}: {what}")));
    }
    /// Says what was seen where nothing was wrong.
    pub fn seen_cases(&mut self, seen: &str) {
        self.seen = match self.wrong.len() {
            0 => seen.to_owned(),
            wrong => format!("{wrong} findings"),
        };
    }
    /// Notes a broken promise unless `holds`.
    pub fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(what());
        }
    }
    /// Notes a figure that is not what is wanted unless `holds`.
    pub fn wants(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.missed.push(what());
        }
    }
}

/// Runs the plan. Returns how many rows are wrong.
pub async fn run(plan: &Plan) -> usize {
    let began = Instant::now();
    let mut done: Vec<Row> = Vec::new();
    macro_rules! part {
        ($($part:ident),*) => {
            $(
                let at = Instant::now();
                let rows = rows::$part::rows(plan).await;
                for row in &rows {
                    println!("{}", line(row));
                    row.wrong.iter().chain(&row.missed).take(10).for_each(|what| println!("    {what}"));
                }
                if !rows.is_empty() {
                    eprintln!("({}: {} s)", stringify!($part), at.elapsed().as_secs());
                }
                done.extend(rows);
            )*
        };
    }
    println!("{HEAD}");
    part!(
        kills,
        windows,
        stops,
        locked,
        disk,
        power,
        storage,
        cooldown,
        vendors,
        answers,
        clock,
        clients,
        reload,
        descriptors,
        pressure
    );
    let wrong = done.iter().filter(|row| !row.wrong.is_empty()).count();
    let missed = done.iter().filter(|row| !row.missed.is_empty()).count();
    let about = format!(
        "{} rows, {wrong} wrong, {missed} with a figure missed; `--rounds {} --seed {}`, {} s; {}",
        done.len(),
        plan.rounds,
        plan.seed,
        began.elapsed().as_secs(),
        machine()
    );
    println!("\n{about}");
    if let Some(path) = &plan.write {
        write(path, &about, &done).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
    wrong
}

const HEAD: &str = "| row | what was done | N | seen | verdict |\n|---|---|---|---|---|";

fn line(row: &Row) -> String {
    let verdict = match (row.wrong.as_slice(), row.missed.as_slice()) {
        ([], []) => "holds".to_owned(),
        ([], [first, ..]) => format!("holds; missed: {first}"),
        ([first, ..], _) => format!("**{} wrong**: {first}", row.wrong.len()),
    };
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    format!(
        "| {} | {} | {} | {} | {} |",
        cell(&row.name),
        cell(&row.fault),
        row.n,
        cell(&row.seen),
        cell(&verdict)
    )
}

fn write(path: &Path, about: &str, rows: &[Row]) -> std::io::Result<()> {
    let page = std::fs::read_to_string(path)?;
    let (before, rest) = page.split_once(BEGIN).expect("the page has the first marker");
    let (_, after) = rest.split_once(END).expect("the page has the second marker");
    let mut table = format!("{about}\n\n{HEAD}\n");
    rows.iter().for_each(|row| writeln!(table, "{}", line(row)).unwrap());
    std::fs::write(path, format!("{before}{BEGIN}\n{table}{END}{after}"))
}

/// What the figures were made on.
fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ")).map(|(_, m)| m);
    let commit = std::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    let commit = commit.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default();
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    format!("{cpus} cores, {}, {build} build of {commit}", model.unwrap_or("unknown processor"))
}
