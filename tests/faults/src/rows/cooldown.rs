//! F13: 429 with every form of `Retry-After`. While a vendor wants to be left alone nobody asks it, and nobody else
//! has to wait.

use crate::{
    Plan, ledger,
    scene::{LIMIT, make_all},
    stage::{Stage, Truth},
    support::eventually,
    table::Row,
    vendor::Vendor,
};
use futures_util::future::join_all;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use testkit::{Behaviour, Reply};

/// `routing.retries.honour_retry_after` here; 120 s unless configured.
const CAP: Duration = Duration::from_secs(3);
const NONE: Duration = Duration::ZERO;

/// A 429, what is to come of it, and what of the job that met it.
struct Case {
    name: &'static str,
    header: fn() -> Option<String>,
    /// For so long nobody may ask the vendor.
    closed: Duration,
    /// The wait is beyond any patience: the job that met it ends, without another target.
    too_long: bool,
}

const CASES: [Case; 8] = [
    Case { name: "2 s", header: || Some("2".into()), closed: Duration::from_secs(2), too_long: false },
    // Whole seconds: it says at least two seconds from now.
    Case { name: "a date", header: || Some(date()), closed: Duration::from_millis(1_500), too_long: false },
    Case { name: "10^9 s", header: || Some("1000000000".into()), closed: CAP, too_long: true },
    Case { name: "none", header: || None, closed: NONE, too_long: false },
    Case { name: "0", header: || Some("0".into()), closed: NONE, too_long: false },
    Case { name: "-1", header: || Some("-1".into()), closed: NONE, too_long: false },
    Case { name: "garbage", header: || Some("soon; maybe".into()), closed: NONE, too_long: false },
    Case { name: "NaN", header: || Some("NaN".into()), closed: NONE, too_long: false },
];

pub async fn rows(plan: &Plan) -> Vec<Row> {
    if plan.wants("F13") { vec![too_many(plan).await] } else { Vec::new() }
}

async fn too_many(plan: &Plan) -> Row {
    let mut row = Row::new(
        "F13",
        "429 with Retry-After of 2 s, a date, 10^9 s, 0, -1, NaN, garbage and without; 3 more jobs at once, and 1 at \
         another instance",
    );
    let mut asked_early = 0;
    let mut slowest = Duration::ZERO;
    let cases = join_all((0..).zip(&CASES).map(|(n, case)| of_case(plan, n, case)));
    for (case, (wrong, early, elsewhere)) in CASES.iter().zip(cases.await) {
        asked_early += early;
        slowest = slowest.max(elsewhere);
        row.cases(case.name, plan.trials() as usize, wrong);
    }
    row.seen = format!(
        "submissions during the cool-down: {asked_early}; waits over {} s capped to it; another instance answered \
         within {} ms",
        CAP.as_secs(),
        slowest.as_millis()
    );
    row
}

/// All trials of a case. Returns what was wrong, how many submissions came too early, and the longest time of a job
/// elsewhere.
async fn of_case(plan: &Plan, n: u64, case: &Case) -> (Vec<String>, usize, Duration) {
    let other = Vendor::start(plan.seed, crate::scene::QUICK).await;
    let mut stage = Stage::new("F13", plan.seed + 750 + n, |config, _| {
        let entry = serde_json::json!({"kind": "vendor", "base_url": other.upstream.url()});
        let model = serde_json::json!({"targets": ["other/s"], "price": [{"image": "0.04 USD"}]});
        let config = config.set("providers.other", entry).set("models.other", model);
        config.set("routing.retries.honour_retry_after", format!("{}s", CAP.as_secs()))
    })
    .await;
    let (mut all, mut asked_early, mut slowest) = (Vec::new(), 0, Duration::ZERO);
    for _ in 0..plan.trials() {
        let (wrong, early, elsewhere) = trial(&mut stage, &other, case).await;
        all.extend(wrong);
        asked_early += early;
        slowest = slowest.max(elsewhere);
    }
    all.extend(stage.end().await);
    (all, asked_early, slowest)
}

/// One 429, then a job of each class, then one elsewhere. Returns what was wrong, how many submissions came too early,
/// and how long the job elsewhere took.
async fn trial(stage: &mut Stage, other: &Vendor, case: &Case) -> (Vec<String>, usize, Duration) {
    let arrivals = refuse_once(stage, (case.header)());
    let heard = Arc::new(Mutex::new(None));
    let hears = heard.clone();
    other.twist(move |_, serve| {
        hears.lock().unwrap().get_or_insert_with(Instant::now);
        serve()
    });
    let client = stage.gateway.client();
    let failures = || stage.gateway.log().matches("attempt failed").count();
    let before = failures();
    let mut calls = stage.scene.calls(1, &["s", "k", "j", "s", "other"]);
    make_all(&client, &mut calls[..1]).await;
    eventually("the gateway has heard the 429", async || (failures() > before).then_some(())).await;
    let (here, elsewhere) = calls.split_at_mut(4);
    let began = Instant::now();
    let (_, took) = tokio::join!(
        async {
            make_all(&client, &mut here[1..]).await;
            ledger::settle(&client, here, LIMIT).await;
        },
        async {
            ledger::settle(&client, elsewhere, LIMIT).await;
            began.elapsed()
        }
    );
    stage.scene.calls.extend(calls.clone());

    let mut wrong = Vec::new();
    let arrivals = arrivals.lock().unwrap().clone();
    let early = arrivals.iter().skip(1).filter(|at| **at < arrivals[0] + case.closed).count();
    if early > 0 {
        let times: Vec<u128> = arrivals.iter().map(|at| (*at - arrivals[0]).as_millis()).collect();
        wrong.push(format!("asked {early} times too early: after {times:?} ms"));
    }
    let truth = match case.too_long {
        true => Truth::unavailable(1),
        false => Truth::completed().attempts(2),
    };
    wrong.extend(stage.judge(&calls[0], truth).await);
    for call in &calls[1..4] {
        wrong.extend(stage.judge(call, Truth::completed()).await);
    }
    if calls[4].told.as_deref() != Some("completed") {
        wrong.push(format!("elsewhere: {:?}", calls[4].told));
    }
    let heard = *heard.lock().unwrap();
    // Before this one was asked again, however slow the machine.
    let asked_again = arrivals.get(1).copied().unwrap_or_else(Instant::now);
    if !case.closed.is_zero() && heard.is_none_or(|at| at > asked_again) {
        wrong.push(format!("another instance was asked only after {:?}", heard.map(|at| at - arrivals[0])));
    }
    (wrong, early, took)
}

/// Refuses the next submission, and notes when which arrive.
fn refuse_once(stage: &Stage, header: Option<String>) -> Arc<Mutex<Vec<Instant>>> {
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let (seen, refused) = (arrivals.clone(), AtomicBool::new(false));
    stage.scene.vendor.twist(move |request, serve| {
        if request.method != "POST" {
            return serve();
        }
        seen.lock().unwrap().push(Instant::now());
        if refused.swap(true, Ordering::Relaxed) {
            return serve();
        }
        let reply = Reply::json(429, r#"{"error":{"message":"slow down"}}"#);
        match &header {
            Some(value) => Behaviour::from(reply.header("retry-after", value)),
            None => reply.into(),
        }
    });
    arrivals
}

/// Three seconds from now, as servers write it (RFC 9110, section 5.6.7).
fn date() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 3;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // The civil date of a day number, with the year beginning in March.
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let mp = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let weekdays = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    format!(
        "{}, {day:02} {} {year} {:02}:{:02}:{:02} GMT",
        weekdays[(days % 7) as usize],
        months[month as usize - 1],
        rest / 3_600,
        rest / 60 % 60,
        rest % 60
    )
}
