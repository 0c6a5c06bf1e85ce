//! Joins the four ledgers: what the clients were told, the database, the vendor, the stored files.

use crate::{
    database::{self, CANCELLED, COMPLETED, Contents, FAILED, Image, Job},
    ledger::{Call, digest},
    vendor::{Accepted, png},
};
use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

/// What was counted, and everything that must not be.
#[derive(Debug, Default)]
pub struct Findings {
    pub jobs: u64,
    pub completed: u64,
    /// Ended `outcome_unknown`: paid for or not, nobody knows, and the money stays reserved.
    pub unknown: u64,
    /// Of these, the ones that the vendor never saw.
    pub unknown_unsent: u64,
    /// Taken back unsent.
    pub cancelled: u64,
    /// Ended with another code.
    pub failed: u64,
    /// Idempotency keys the vendor saw again (class K: not billed again).
    pub resent: u64,
    pub wrong: Vec<String>,
}

impl Findings {
    pub fn add(&mut self, other: Findings) {
        self.jobs += other.jobs;
        self.completed += other.completed;
        self.unknown += other.unknown;
        self.unknown_unsent += other.unknown_unsent;
        self.cancelled += other.cancelled;
        self.failed += other.failed;
        self.resent += other.resent;
        self.wrong.extend(other.wrong);
    }
    pub fn seen(&self) -> String {
        let mut seen = format!("{} jobs, {} completed", self.jobs, self.completed);
        if self.unknown > 0 {
            seen += &format!(", {} outcome_unknown ({} never sent)", self.unknown, self.unknown_unsent);
        }
        if self.cancelled > 0 {
            seen += &format!(", {} cancelled", self.cancelled);
        }
        if self.failed > 0 {
            seen += &format!(", {} failed", self.failed);
        }
        if self.resent > 0 {
            seen += &format!(", {} keys sent again", self.resent);
        }
        seen + ", lost 0, bought twice 0, damaged 0, leaked 0"
            .repeat(usize::from(self.wrong.is_empty()))
            .as_str()
    }
}

/// Checks every call of a class against the other three ledgers.
pub async fn check(data_dir: &Path, calls: &[Call], accepted: &[Accepted], class: &str) -> Findings {
    let found = database::read(data_dir).await;
    let mut findings = Findings::default();
    let view = View::new(&found, accepted);
    for call in calls.iter().filter(|call| call.model == class) {
        findings.jobs += 1;
        view.call(data_dir, call, &mut findings);
    }
    findings
}

/// Checks what concerns no single call: reservations, jobs nobody asked for, files without an owner.
pub async fn whole(data_dir: &Path, calls: &[Call], accepted: &[Accepted]) -> Findings {
    let found = database::read(data_dir).await;
    let mut findings = Findings::default();
    View::new(&found, accepted).whole(data_dir, calls, &mut findings);
    findings
}

/// The ledgers, by job and by prompt.
struct View<'a> {
    found: &'a Contents,
    jobs: HashMap<&'a str, &'a Job>,
    by_prompt: HashMap<&'a str, Vec<&'a Job>>,
    images: HashMap<&'a str, Vec<&'a Image>>,
    accepted: HashMap<&'a str, Vec<&'a Accepted>>,
}

impl<'a> View<'a> {
    fn new(found: &'a Contents, accepted: &'a [Accepted]) -> View<'a> {
        let mut view = View {
            found,
            jobs: found.jobs.iter().map(|j| (j.id.as_str(), j)).collect(),
            by_prompt: HashMap::new(),
            images: HashMap::new(),
            accepted: HashMap::new(),
        };
        found.jobs.iter().for_each(|j| view.by_prompt.entry(&j.prompt).or_default().push(j));
        found.images.iter().for_each(|i| view.images.entry(&i.job).or_default().push(i));
        accepted.iter().for_each(|a| view.accepted.entry(&a.prompt).or_default().push(a));
        view
    }

    fn call(&self, data_dir: &Path, call: &Call, findings: &mut Findings) {
        let prompt = call.prompt.as_str();
        let mut wrong = |what: String| findings.wrong.push(format!("`{prompt}`: {what}"));
        let Some(id) = &call.job else { return wrong("the client was never given a job".into()) };
        let Some(job) = self.jobs.get(id.as_str()) else { return wrong(format!("lost: no job {id}")) };
        if self.by_prompt[prompt].len() != 1 {
            wrong(format!("{} jobs under one idempotency key", self.by_prompt[prompt].len()));
        }
        let in_database = match job.state {
            COMPLETED => "completed".to_owned(),
            CANCELLED => "cancelled".to_owned(),
            FAILED => job.code.clone().unwrap_or_default(),
            state => return wrong(format!("lost: still in state {state}, told {:?}", call.told)),
        };
        if call.told.as_deref() != Some(in_database.as_str()) {
            wrong(format!("the client was told {:?}, the database says {in_database}", call.told));
        }
        // The vendor.
        let bought = self.accepted.get(prompt).map_or(&[][..], Vec::as_slice);
        let billed = bought.iter().filter(|a| a.billed).count();
        let submissions_allowed = if call.model == "k" { usize::MAX } else { 1 };
        if billed > 1 || bought.len() > submissions_allowed {
            wrong(format!("bought twice: {} submissions, {billed} billed", bought.len()));
        }
        let keys: HashSet<&str> = bought.iter().map(|a| a.key.as_str()).collect();
        if bought.len() > 1 && keys.len() > 1 {
            wrong(format!("submitted under {} keys", keys.len()));
        }
        let attempts: Vec<_> = self.found.attempts.iter().filter(|a| a.job == *id).collect();
        if let Some(open) = attempts.iter().find(|a| a.ended.is_none()) {
            wrong(format!("an attempt is still open: {open:?}"));
        }
        let images = self.images.get(id.as_str()).map_or(&[][..], Vec::as_slice);
        match in_database.as_str() {
            "completed" => {
                if bought.is_empty() {
                    wrong("completed, and the vendor knows nothing of it".into());
                }
                match images {
                    [image] => damage(data_dir, image, prompt).into_iter().for_each(&mut wrong),
                    _ => wrong(format!("completed with {} images", images.len())),
                }
            }
            "outcome_unknown" => {
                if call.model == "k" {
                    wrong("class K has a key, and can always ask again".into());
                }
                if job.reserved.is_none() {
                    wrong("its money is no longer held".into());
                }
                let last = attempts.iter().max_by_key(|a| a.started);
                let ambiguous = last.is_some_and(|a| {
                    a.outcome.as_deref() == Some("outcome_unknown") && a.spend.as_deref() == Some("possible")
                });
                if !ambiguous {
                    wrong(format!("wrongly classified: the attempt says {last:?}"));
                }
                if last.is_some_and(|a| a.has_ticket) {
                    wrong("its ticket was on disk, so it can be resumed".into());
                }
            }
            "cancelled" if bought.is_empty() && job.reserved.is_none() => {}
            "cancelled" => wrong("cancelled, and bought or still reserved".into()),
            other => wrong(format!("failed with {other}, though the vendor refuses nothing")),
        }
        match in_database.as_str() {
            "completed" => findings.completed += 1,
            "outcome_unknown" => {
                findings.unknown += 1;
                findings.unknown_unsent += u64::from(bought.is_empty());
            }
            "cancelled" => findings.cancelled += 1,
            _ => findings.failed += 1,
        }
        findings.resent += (bought.len() as u64).saturating_sub(1);
    }

    fn whole(&self, data_dir: &Path, calls: &[Call], findings: &mut Findings) {
        if self.found.jobs.len() != calls.len() {
            findings.wrong.push(format!("{} jobs for {} calls", self.found.jobs.len(), calls.len()));
        }
        self.quotas(&mut findings.wrong);
        let keys = self.found.images.iter().map(|i| &i.object_key).chain(&self.found.uploads);
        let owned: HashSet<PathBuf> = keys.map(|key| data_dir.join("images").join(key)).collect();
        // Previews lie beside their image: `abc.png.copies/1024.webp`.
        let of_image = |file: &PathBuf| file.parent().is_some_and(|f| owned.contains(&f.with_extension("")));
        let strays =
            files(&data_dir.join("images")).into_iter().filter(|f| !owned.contains(f) && !of_image(f));
        for file in strays {
            findings.wrong.push(format!("an object without an owner: {}", file.display()));
        }
        for file in files(&data_dir.join("spool")) {
            findings.wrong.push(format!("left in the spool: {}", file.display()));
        }
    }

    /// Used and reserved are what the ledger says, and only an unknown outcome holds money.
    fn quotas(&self, wrong: &mut Vec<String>) {
        let mut windows: HashMap<&str, (i64, i64)> = HashMap::new();
        let settled: HashSet<(&str, &str)> = self
            .found
            .lines
            .iter()
            .filter(|l| l.kind == "settle")
            .map(|l| (l.job.as_str(), l.window.as_str()))
            .collect();
        for line in &self.found.lines {
            let entry = windows.entry(&line.window).or_default();
            match line.kind.as_str() {
                "settle" => entry.0 += line.amount,
                _ if settled.contains(&(line.job.as_str(), line.window.as_str())) => {}
                _ => {
                    entry.1 += line.amount;
                    let owner = self.jobs.get(line.job.as_str());
                    if owner.is_none_or(|j| j.code.as_deref() != Some("outcome_unknown")) {
                        wrong.push(format!("a reservation leaked: {line:?} of {owner:?}"));
                    }
                }
            }
        }
        if windows.is_empty() {
            wrong.push("no quota was counted: the check would prove nothing".into());
        }
        for window in &self.found.windows {
            let (used, reserved) = windows.remove(window.id.as_str()).unwrap_or_default();
            if (used, reserved) != (window.used, window.reserved) {
                wrong.push(format!("the window {window:?} should have used {used}, reserved {reserved}"));
            }
        }
        wrong.extend(windows.into_keys().map(|id| format!("the window {id} is gone")));
    }
}

/// The stored file against its row, and against the picture of its prompt.
pub fn damage(data_dir: &Path, image: &Image, prompt: &str) -> Option<String> {
    let path = data_dir.join("images").join(&image.object_key);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) => return Some(format!("its image is lost: {}: {error}", path.display())),
    };
    let whole = bytes.len() as i64 == image.bytes && digest(&bytes) == image.sha256;
    (!whole || bytes != png(prompt)).then(|| format!("its image is damaged: {}", path.display()))
}

/// All files below a folder, but for the empty ones that the spool uses again.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.ends_with(".spares") => {}
            path if path.is_dir() => all.extend(files(&path)),
            path => all.push(path),
        }
    }
    all
}
