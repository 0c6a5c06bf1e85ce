//! `jobs`: the operator's view, over all teams, of the database itself. A running server need not be asked.

use super::{Gateway, output, reconcile};
use crate::{
    config::Config,
    store::{Attempt, Filter, Image, Job, JobRows, Listing, State, Window},
    telemetry::{Clock as _, MOMENTS, SystemClock, moment_us},
};
use anyhow::{anyhow, bail};
use std::{fmt::Write as _, process::ExitCode};
use uuid::Uuid;

const STATUSES: [&str; 5] = ["pending", "processing", "completed", "failed", "cancelled"];

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    List(List),
    /// Show one job: what was asked, what happened when, what it cost, what came of it
    Show {
        /// Id of the job
        #[arg(value_parser = job_id)]
        id: Uuid,
    },
    /// Cancel a job that waits; one that a vendor works on is finished and not tried again
    Cancel {
        /// Id of the job
        #[arg(value_parser = job_id)]
        id: Uuid,
    },
    Reconcile(reconcile::Args),
}

/// List jobs, newest first
#[derive(Debug, clap::Args)]
pub struct List {
    /// Only this team's
    #[arg(long)]
    team: Option<String>,
    /// Only jobs that stand so
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(STATUSES))]
    status: Option<String>,
    /// Only those of this model
    #[arg(long)]
    model: Option<String>,
    /// Only those with this text in the prompt; the case of letters does not count
    #[arg(long)]
    text: Option<String>,
    /// Only those made since: a day, a time, or how long ago (2026-11-21, 2026-11-21T12:00:00Z, 24h, 7d)
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Only those made until then; a day counts whole
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// How many at most
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl List {
    fn filter(&self, now_us: i64) -> anyhow::Result<Filter> {
        let (since_us, until_us) = period(self.since.as_deref(), self.until.as_deref(), now_us)?;
        Ok(Filter {
            team: self.team.clone(),
            states: self.status.as_deref().map(State::of_public).unwrap_or_default(),
            model: self.model.clone(),
            text: self.text.clone().filter(|text| !text.is_empty()),
            since_us,
            until_us,
            deleted: false,
        })
    }
}

/// A time from `--since` to `--until`, in microseconds UTC.
pub(super) fn period(
    since: Option<&str>,
    until: Option<&str>,
    now_us: i64,
) -> anyhow::Result<(Option<i64>, Option<i64>)> {
    let moment = |name: &str, text: Option<&str>, end| match text {
        None => Ok(None),
        Some(text) => moment_us(text, now_us, end)
            .map(Some)
            .ok_or_else(|| anyhow!("--{name}: `{text}` is no moment; write it like {MOMENTS}")),
    };
    let (since_us, until_us) = (moment("since", since, false)?, moment("until", until, true)?);
    if let (Some(since), Some(until)) = (since_us, until_us)
        && since >= until
    {
        bail!("--until: {} is not after {}", output::time(until), output::time(since));
    }
    Ok((since_us, until_us))
}

pub(super) fn job_id(text: &str) -> Result<Uuid, String> {
    let id = text.strip_prefix("job://").unwrap_or(text);
    Uuid::try_parse(id).map_err(|_| "`image-gateway jobs list` shows the ids".into())
}

pub async fn run(gateway: &Gateway, command: Command) -> anyhow::Result<ExitCode> {
    let config = gateway.load()?.config;
    match command {
        Command::List(list) => self::list(gateway, &config, &list).await?,
        Command::Show { id } => {
            let rows = find(gateway, &config, id).await?;
            output::print(&details(&rows));
        }
        Command::Cancel { id } => cancel(gateway, &config, id).await?,
        Command::Reconcile(args) => reconcile::run(gateway, &config, &args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn find(gateway: &Gateway, config: &Config, id: Uuid) -> anyhow::Result<JobRows> {
    match gateway.existing_store(config).await?.any_job(id).await? {
        Some(rows) => Ok(rows),
        None => bail!("there is no job {id}; `image-gateway jobs list` shows them (old ones are forgotten)"),
    }
}

async fn list(gateway: &Gateway, config: &Config, list: &List) -> anyhow::Result<()> {
    let store = gateway.existing_store(config).await?;
    let now_us = SystemClock.now_us();
    let found = store.list_jobs(&list.filter(now_us)?, Window::first(list.limit)).await?;
    if list.json {
        output::print_json(&Json::of(&found));
    } else {
        output::print(&listing(&found, now_us));
    }
    Ok(())
}

/// The listing for programs. Times are milliseconds UTC, money is micro-units.
#[derive(serde::Serialize)]
struct Json<'a> {
    total: u64,
    total_is_minimum: bool,
    has_more: bool,
    jobs: Vec<JsonJob<'a>>,
}

#[derive(serde::Serialize)]
struct JsonJob<'a> {
    id: Uuid,
    status: &'static str,
    model: &'a str,
    instance: &'a str,
    team: &'a str,
    key: &'a str,
    tool: &'a str,
    prompt: Option<&'a str>,
    created_at: i64,
    finished_at: Option<i64>,
    cost: Option<output::JsonMoney>,
    error_code: Option<&'a str>,
    error: Option<&'a str>,
    images: Vec<Uuid>,
}

impl Json<'_> {
    fn of(found: &Listing<JobRows>) -> Json<'_> {
        let ms = |us: i64| us.div_euclid(1_000);
        let jobs = found.rows.iter().map(|rows| {
            let job = &rows.job;
            JsonJob {
                id: job.id,
                status: job.state.public(),
                model: &job.model,
                instance: &job.instance,
                team: &job.team,
                key: &job.key_id,
                tool: &job.tool,
                prompt: job.prompt.as_deref(),
                created_at: ms(job.created_us),
                finished_at: job.finished_us.map(ms),
                cost: job.cost.map(output::JsonMoney::from),
                error_code: job.error_code.as_deref(),
                error: job.error.as_deref(),
                images: rows.images.iter().map(|image| image.id).collect(),
            }
        });
        Json {
            total: found.total,
            total_is_minimum: found.total_is_minimum,
            has_more: found.next.is_some(),
            jobs: jobs.collect(),
        }
    }
}

fn listing(found: &Listing<JobRows>, now_us: i64) -> String {
    if found.rows.is_empty() {
        return "There is no such job.\n".into();
    }
    let rows: Vec<_> = found.rows.iter().map(|rows| line(&rows.job, now_us)).collect();
    let mut text = output::table(&["ID", "STATUS", "MODEL", "TEAM", "AGE", "TOOK", "COST", "ERROR"], &rows);
    if found.next.is_some() {
        let more = if found.total_is_minimum { "more than " } else { "" };
        let _ = writeln!(text, "{} of {more}{} jobs; --limit shows more.", rows.len(), found.total);
    }
    text
}

fn line(job: &Job, now_us: i64) -> Vec<String> {
    let took = job.finished_us.map_or("-".into(), |end| output::span(end - job.created_us));
    vec![
        job.id.to_string(),
        job.state.public().into(),
        job.model.clone(),
        job.team.clone(),
        output::span((now_us - job.created_us).max(0)),
        took,
        output::money(job.cost),
        job.error_code.clone().unwrap_or_default(),
    ]
}

fn details(rows: &JobRows) -> String {
    let job = &rows.job;
    let mut text = output::list(&facts(job));
    text += "\nTimeline\n";
    text += &output::list(&timeline(job, &rows.attempts));
    if !rows.images.is_empty() || !rows.deleted.is_empty() {
        text += "\nImages\n";
        text += &output::list(&rows.images.iter().chain(&rows.deleted).map(image).collect::<Vec<_>>());
    }
    text
}

fn facts(job: &Job) -> Vec<Vec<String>> {
    let target = job.target().map_or(String::new(), |t| format!(" by {}/{}", t.instance, t.vendor_model));
    let status = match job.phase.filter(|_| job.state == State::Running) {
        Some(phase) => format!("{} ({})", job.state.public(), phase.as_str()),
        None => job.state.public().into(),
    };
    let cost = match (job.cost, job.reserved) {
        (Some(cost), _) => cost.to_string(),
        (None, Some(held)) => format!("at most {held}, held until it ends"),
        (None, None) => "-".into(),
    };
    let mut facts = vec![
        ("job", job.id.to_string()),
        ("status", status),
        ("model", format!("{}{target}", job.model)),
        ("team", format!("{}, key {}", job.team, job.key_id)),
        ("tool", job.tool.clone()),
        ("prompt", job.prompt.as_deref().map_or("(forgotten)".into(), |text| output::shorten(text, 200))),
        ("cost", cost),
    ];
    if let Some(batch) = job.batch_id {
        facts.push(("batch", batch.to_string()));
    }
    if job.error.is_some() || job.error_code.is_some() {
        let code = job.error_code.as_deref().unwrap_or("internal");
        facts.push(("error", format!("{code}: {}", job.error.as_deref().unwrap_or("no reason was kept"))));
    }
    if let Some(changes) = job.adjustments.as_array() {
        facts.extend(changes.iter().filter_map(adjustment).map(|text| ("adjusted", text)));
    }
    facts.into_iter().map(|(name, value)| vec![name.into(), value]).collect()
}

fn adjustment(value: &serde_json::Value) -> Option<String> {
    let change: plugin_api::Adjustment = serde_json::from_value(value.clone()).ok()?;
    Some(format!("{}: {} -> {} ({})", change.field, change.asked, change.used, change.reason))
}

/// What happened, by the time since the job was accepted.
fn timeline(job: &Job, attempts: &[Attempt]) -> Vec<Vec<String>> {
    let mut moments = vec![(job.created_us, format!("accepted, {}", output::time(job.created_us)))];
    for attempt in attempts {
        let Attempt { number, instance, vendor_model, class, .. } = attempt;
        moments.push((
            attempt.started_us,
            format!("attempt {number}: call to {instance}/{vendor_model} (class {class})"),
        ));
        moments
            .extend(attempt.ticket_us.map(|at| (at, format!("attempt {number}: the vendor gave a ticket"))));
        moments.extend(attempt.ended_us.map(|at| (at, format!("attempt {number}: {}", ending(attempt)))));
    }
    if job.cancel_requested {
        moments.push((job.finished_us.unwrap_or(job.updated_us), "a cancellation was asked for".into()));
    }
    moments.extend(job.finished_us.map(|at| (at, job.state.public().to_owned())));
    if job.state == State::Delayed {
        moments.push((job.next_run_us, "the next attempt is due".into()));
    }
    if !job.state.is_final() {
        moments.push((job.deadline_us, "it fails if it is not done by then".into()));
    }
    // Stable: of what happened at once, the order above is the order of events.
    moments.sort_by_key(|(at, _)| *at);
    moments
        .into_iter()
        .map(|(at, what)| vec![format!("+{}", output::span(at - job.created_us)), what])
        .collect()
}

fn ending(attempt: &Attempt) -> String {
    let mut text = attempt.outcome.clone().unwrap_or("ended".into());
    if let Some(status) = attempt.vendor_status {
        let _ = write!(text, ", HTTP {status}");
    }
    if let Some(code) = &attempt.vendor_code {
        let _ = write!(text, ", vendor code {code}");
    }
    if let Some(id) = &attempt.vendor_request_id {
        let _ = write!(text, ", vendor request {id}");
    }
    match attempt.spend.as_deref() {
        Some("none") => text += ", cost nothing",
        Some("possible") => text += ", may have cost money",
        _ => {}
    }
    text
}

fn image(image: &Image) -> Vec<String> {
    let size = u64::try_from(image.bytes).unwrap_or(0);
    vec![
        image.id.to_string(),
        format!("{}x{}", image.width, image.height),
        image.mime.clone(),
        output::bytes(size),
        match image.deleted_us {
            Some(at) => format!("deleted {}", output::time(at)),
            None => image.object_key.clone(),
        },
    ]
}

async fn cancel(gateway: &Gateway, config: &Config, id: Uuid) -> anyhow::Result<()> {
    let team = find(gateway, config, id).await?.job.team;
    let store = gateway.existing_store(config).await?;
    let Some((job, cancelled)) = store.cancel(&team, id).await? else {
        bail!("there is no job {id} any more")
    };
    output::print(&format!("{}\n", outcome(&job, cancelled)));
    Ok(())
}

fn outcome(job: &Job, cancelled: bool) -> String {
    match (cancelled, job.state) {
        // Only a job whose attempts cost nothing waits.
        (true, _) => format!("Job {} is cancelled; nothing was spent.", job.id),
        (false, State::Running) => format!(
            "Job {} is at a vendor, which cannot be taken back: its image will be kept, and it is not tried again if it fails.",
            job.id
        ),
        (false, state) => format!("Job {} had ended before: it is {}.", job.id, state.public()),
    }
}

/// A job for tests.
#[cfg(test)]
pub(super) fn sample() -> Job {
    tests::job(State::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Place;
    use plugin_api::value::Money;

    const START: i64 = 1_800_000_000_000_000;

    pub fn job(state: State) -> Job {
        let mut job = Job {
            prompt: Some("a red\nfox".into()),
            state,
            created_us: START,
            updated_us: START,
            deadline_us: START + 600_000_000,
            attempts_made: 1,
            next_run_us: START,
            reserved: Some(Money::micros(50_000, "USD")),
            adjustments: serde_json::json!([
                {"field": "size", "asked": "1000x1000", "used": "1024x1024", "reason": "nearest"}
            ]),
            ..Job::sample("design", &["openai"])
        };
        job.plan.targets[0].vendor_model = "gpt-image-2".into();
        (job.id, job.model) = (Uuid::nil(), "gpt-image".into());
        job
    }

    fn attempt() -> Attempt {
        Attempt {
            id: Uuid::nil(),
            job_id: Uuid::nil(),
            number: 1,
            epoch: 1,
            instance: "openai".into(),
            vendor_model: "gpt-image-2".into(),
            class: "S".into(),
            started_us: START + 2_000,
            ticket: None,
            ticket_us: None,
            ended_us: Some(START + 3_000_000),
            outcome: Some("rate_limited".into()),
            vendor_status: Some(429),
            vendor_code: Some("slow_down".into()),
            vendor_request_id: None,
            spend: Some("none".into()),
        }
    }

    #[test]
    fn a_job_tells_its_story_in_order() {
        let mut waiting = job(State::Delayed);
        waiting.next_run_us = START + 5_000_000;
        let text =
            details(&JobRows { job: waiting, images: vec![], deleted: vec![], attempts: vec![attempt()] });
        let order = [
            "at most 0.05 USD, held",
            "size: 1000x1000 -> 1024x1024 (nearest)",
            "+0 ms",
            "accepted",
            "+2 ms",
            "attempt 1: call to openai/gpt-image-2 (class S)",
            "+3.0 s",
            "attempt 1: rate_limited, HTTP 429, vendor code slow_down, cost nothing",
            "+5.0 s",
            "the next attempt is due",
            "+10 min 0 s",
        ];
        let mut rest = text.as_str();
        for part in order {
            let at =
                rest.find(part).unwrap_or_else(|| panic!("`{part}` is missing or too early in:\n{text}"));
            rest = &rest[at + part.len()..];
        }
        assert!(text.contains("a red fox") && !text.contains("Images"), "{text}");
    }

    #[test]
    fn a_listing_says_how_many_there_are() {
        let done = Job {
            cost: Some(Money::micros(40_000, "USD")),
            finished_us: Some(START + 80_000),
            ..job(State::Completed)
        };
        let rows = vec![JobRows { job: done, images: vec![], deleted: vec![], attempts: vec![] }];
        let next = Some(Place { created_us: START, id: Uuid::nil() });
        let found = Listing { rows, total: 133, total_is_minimum: false, next };
        let text = listing(&found, START + 125_000_000);
        for part in ["completed", "gpt-image", "design", "2 min 5 s", "80 ms", "0.04 USD", "1 of 133 jobs"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let none = Listing { rows: vec![], total: 0, total_is_minimum: false, next: None };
        assert_eq!(listing(&none, START), "There is no such job.\n");
    }

    #[test]
    fn a_listing_is_narrowed_by_moments_that_make_sense() {
        let list = |since: &str, until: &str| List {
            team: None,
            status: Some("pending".into()),
            model: None,
            text: Some("fox".into()),
            since: Some(since.into()),
            until: Some(until.into()),
            limit: 20,
            json: false,
        };
        let filter = list("2d", "1d").filter(START).unwrap();
        let day = 86_400_000_000;
        assert_eq!((filter.since_us, filter.until_us), (Some(START - 2 * day), Some(START - day)));
        assert_eq!(filter.states, [State::Queued, State::Delayed]);
        for (since, until, word) in
            [("soon", "1d", "--since"), ("1d", "2d", "not after"), ("1d", "x", "--until")]
        {
            let error = list(since, until).filter(START).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn an_id_may_come_as_a_resource() {
        let id = "6f1c2c1e-8f0a-4f0e-9d1c-2f6f3f8f9a10";
        assert_eq!(job_id(&format!("job://{id}")).unwrap(), job_id(id).unwrap());
        assert!(job_id("42").unwrap_err().contains("jobs list"));
    }

    #[test]
    fn cancelling_says_what_it_came_to() {
        assert!(outcome(&job(State::Cancelled), true).contains("nothing was spent"));
        assert!(outcome(&job(State::Running), false).contains("cannot be taken back"));
        assert!(outcome(&job(State::Completed), false).contains("had ended before: it is completed"));
    }
}
