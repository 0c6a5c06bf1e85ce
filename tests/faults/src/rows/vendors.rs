//! F13-F17: vendors that refuse, break off, are not there or never come to an end. Each case has one truth, by class.

use crate::{
    Plan, database,
    ledger::Call,
    proxy::{Cut, Toxic, Toxics},
    scene::CLASSES,
    stage::{Stage, Truth},
    table::Row,
};
use std::{
    sync::Mutex,
    time::{Duration, Instant},
};
use testkit::{Behaviour, Recorded, Reply, dead_url};

/// Longest single call of the gateways here.
const TIMEOUT: Duration = Duration::from_secs(3);
/// What a deadline may be overrun by.
const OVERRUN: Duration = Duration::from_secs(2);

pub async fn rows(plan: &Plan) -> Vec<Row> {
    // They wait more than they work, each for a gateway of its own.
    let (errors, refused, lost, lines) = tokio::join!(
        when(plan.wants("F14"), server_errors(plan)),
        when(plan.wants("F15"), no_connection(plan)),
        when(plan.wants("F16"), lost_answers(plan)),
        when(plan.wants("F16 slow") && !plan.short, bad_lines(plan)),
    );
    let slow = when(plan.wants("F17") && !plan.short, slow_loris(plan)).await;
    [errors, refused, lost, lines, slow].into_iter().flatten().collect()
}

async fn when(wanted: bool, row: impl Future<Output = Row>) -> Option<Row> {
    if wanted { Some(row.await) } else { None }
}

/// What happens to a submission that the vendor accepts and would answer so.
type Fault = fn(Behaviour) -> Behaviour;

/// Each prompt's first `times` submissions meet the fault; polls pass.
fn submissions_meet(stage: &Stage, times: usize, fault: Fault) {
    let seen = Mutex::new(Vec::<String>::new());
    stage.scene.vendor.twist(move |request, serve| {
        let answer = serve();
        if request.method != "POST" {
            return answer;
        }
        let prompt = prompt(request);
        let mut seen = seen.lock().unwrap();
        let before = seen.iter().filter(|p| **p == prompt).count();
        seen.push(prompt);
        if before < times { fault(answer) } else { answer }
    });
}

fn prompt(request: &Recorded) -> String {
    request.json()["prompt"].as_str().unwrap_or_default().to_owned()
}

/// The answer without its delays.
fn reply(behaviour: Behaviour) -> Reply {
    match behaviour {
        Behaviour::Answer(reply) => reply,
        Behaviour::Delay(_, then) | Behaviour::Hold(then) => reply(*then),
        other => panic!("the vendor answers: {other:?}"),
    }
}

/// Class K asks again under its key and completes; of the others nobody knows.
fn ambiguous(call: &Call) -> Truth {
    if call.model == "k" { Truth::completed().bought(2) } else { Truth::unknown() }
}

async fn server_errors(plan: &Plan) -> Row {
    let mut row = Row::new(
        "F14",
        "500, 502, 503, 504 as the vendor's answer, after it read (and billed) the request and before",
    );
    let mut stage = Stage::new("F14", plan.seed + 700, |c, _| c).await;
    let each = plan.trials() as usize;
    let after: [(u16, Fault); 4] = [
        (500, |_| Behaviour::html(500)),
        (502, |_| Behaviour::html(502)),
        (503, |_| Behaviour::json(503, "{}")),
        (504, |_| Behaviour::html(504)),
    ];
    for (status, fault) in after {
        submissions_meet(&stage, 1, fault);
        let wrong = stage.case(&CLASSES, each, ambiguous).await;
        row.cases(&format!("{status} after"), each * CLASSES.len(), wrong);
    }
    submissions_meet(&stage, 0, |answer| answer);
    for status in [500, 503] {
        for model in CLASSES {
            for _ in 0..each {
                let page =
                    format!("HTTP/1.1 {status} Error\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}");
                stage.proxy.set(Toxics { instead: Some((page.into_bytes(), 1)), ..Toxics::default() }).await;
                let truth = if model == "k" { Truth::completed() } else { Truth::unknown().bought(0) };
                let wrong = stage.case(&[model], 1, |_| truth).await;
                row.cases(&format!("{status} before"), 1, wrong);
            }
        }
    }
    row.wrong.extend(stage.end().await);
    row.seen_cases("K: asked again under the same key, completed, billed once; J and S: outcome_unknown, never asked again");
    row
}

async fn no_connection(plan: &Plan) -> Row {
    let mut row = Row::new("F15", "connection refused, a name that does not resolve, no TLS, a TLS alert");
    let each = plan.trials() as usize;
    let retries = 3;
    for (n, case) in ["refused", "DNS", "no TLS", "TLS alert"].into_iter().enumerate() {
        let refused = dead_url().await;
        let mut stage = Stage::new("F15", plan.seed + 710 + n as u64, |config, proxy| {
            let url = match case {
                "refused" => refused,
                "DNS" => "http://vendor.invalid".into(),
                _ => format!("https://{proxy}"),
            };
            config.set("providers.vendor.base_url", url)
        })
        .await;
        let alert = if case == "TLS alert" {
            &b"\x15\x03\x03\x00\x02\x02\x28"[..]
        } else {
            b"HTTP/1.1 400 No\r\n\r\n"
        };
        stage.proxy.set(Toxics { instead: Some((alert.to_vec(), usize::MAX)), ..Toxics::default() }).await;
        let wrong = stage.case(&CLASSES, each, |_| Truth::unavailable(retries)).await;
        row.cases(case, each * CLASSES.len(), wrong);
        let asked = stage.scene.vendor.upstream.requests().len();
        row.expect(asked == 0, || format!("{case}: {asked} requests reached the vendor"));
        row.wrong.extend(stage.end().await);
    }
    row.seen_cases(&format!("{retries} attempts each, submissions 0, provider_unavailable, nothing charged"));
    row
}

async fn lost_answers(plan: &Plan) -> Row {
    let mut row = Row::new(
        "F16",
        "the connection ends by RST, by FIN or in silence: before the request was read, after it, in the head, in the \
         body, while polling",
    );
    let mut stage = Stage::new("F16", plan.seed + 720, |c, _| c.set("providers.vendor.timeout", "2s")).await;
    let each = plan.trials() as usize;
    let half = |answer| {
        let reply = reply(answer);
        let bytes = reply.body.len() / 2;
        Behaviour::ResetInAnswer(reply, bytes)
    };
    let no_body = |answer| {
        let mut reply = reply(answer);
        let missing = std::mem::take(&mut reply.body).len();
        Behaviour::CutShort(reply, missing)
    };
    let lost: [(&str, Fault); 2] = [
        ("RST after the request", |_| Behaviour::ResetAfterReading),
        ("FIN without an answer", |_| Behaviour::Close),
    ];
    for (name, fault) in lost {
        submissions_meet(&stage, 1, fault);
        let wrong = stage.case(&CLASSES, each, ambiguous).await;
        row.cases(name, each * CLASSES.len(), wrong);
    }
    // The head said success: it was made and paid for. Only the key gets it a second time.
    let paid: [(&str, Fault); 2] = [("RST in the body", half), ("FIN without a body", no_body)];
    for (name, fault) in paid {
        submissions_meet(&stage, 1, fault);
        let truth = |call: &Call| match call.model {
            "k" => Truth::completed().bought(2),
            _ => Truth::useless(),
        };
        row.cases(name, each * CLASSES.len(), stage.case(&CLASSES, each, truth).await);
    }
    submissions_meet(&stage, 3, |_| Behaviour::ResetAfterReading);
    let wrong = stage.case(&["k"], each, |_| Truth::unknown().bought(3)).await;
    row.cases("K: RST every time", each, wrong);
    submissions_meet(&stage, 0, |answer| answer);
    let cut = |at, how| Toxic { cut: Some((at, how)), ..Toxic::default() };
    let on_the_way = [
        ("RST before the request was read", Toxics { up: cut(0, Cut::Reset), ..Toxics::default() }, 0),
        ("RST in the head", Toxics { down: cut(12, Cut::Reset), ..Toxics::default() }, 1),
        ("FIN in the head", Toxics { down: cut(12, Cut::Close), ..Toxics::default() }, 1),
        ("half-open", Toxics { down: cut(0, Cut::Swallow), ..Toxics::default() }, 1),
    ];
    for (name, toxics, bought) in on_the_way {
        stage.proxy.set(toxics).await;
        let truth = |call: &Call| {
            let times = if call.model == "k" { 3 } else { 1 };
            Truth::unknown().bought(bought * times)
        };
        row.cases(name, each * CLASSES.len(), stage.case(&CLASSES, each, truth).await);
    }
    stage.proxy.set(Toxics::default()).await;
    lost_polls(&stage);
    let wrong = stage.case(&["j"], each, |_| Truth::completed()).await;
    row.cases("polls lost", each, wrong);
    row.wrong.extend(stage.end().await);
    let (n, off) = (row.n, row.wrong.len());
    row.seen_cases(&format!("classified right: {} of {n}", n.saturating_sub(off as u64)));
    row
}

/// A ticket's first three polls are lost, each in another way.
fn lost_polls(stage: &Stage) {
    let seen = Mutex::new(Vec::<String>::new());
    stage.scene.vendor.twist(move |request, serve| {
        if request.method == "POST" {
            return serve();
        }
        let mut seen = seen.lock().unwrap();
        let before = seen.iter().filter(|path| **path == request.path).count();
        seen.push(request.path.clone());
        match before {
            0 => Behaviour::ResetAfterReading,
            1 => Behaviour::Close,
            2 => Behaviour::CutShort(Reply::new(200, "image/png", &b"\x89PNG\r\n\x1a\n"[..]), 1_000),
            _ => serve(),
        }
    });
}

async fn bad_lines(plan: &Plan) -> Row {
    let mut row =
        Row::new("F16 slow", "latency of 200 ms, 8 KiB/s, slices of 7 bytes, a late FIN, in both directions");
    let mut stage = Stage::new("F16 slow", plan.seed + 730, |c, _| c).await;
    let each = plan.trials() as usize;
    let toxics = [
        ("latency", Toxic { latency: Duration::from_millis(200), ..Toxic::default() }),
        ("bandwidth", Toxic { bandwidth: Some(8 << 10), ..Toxic::default() }),
        ("slicer", Toxic { slicer: Some((7, Duration::from_millis(1))), ..Toxic::default() }),
        ("slow close", Toxic { slow_close: Duration::from_secs(1), ..Toxic::default() }),
    ];
    for (name, toxic) in toxics {
        stage.proxy.set(Toxics { up: toxic.clone(), down: toxic, instead: None }).await;
        let wrong = stage.case(&CLASSES, each, |_| Truth::completed()).await;
        row.cases(name, each * CLASSES.len(), wrong);
    }
    row.wrong.extend(stage.end().await);
    row.seen_cases("all completed, bought once");
    row
}

async fn slow_loris(plan: &Plan) -> Row {
    let mut row = Row::new(
        "F17",
        &format!(
            "one byte a second: of the head, of the body, of every poll; a call may take {} s",
            TIMEOUT.as_secs()
        ),
    );
    let deadline = Duration::from_secs(15);
    let mut stage = Stage::new("F17", plan.seed + 740, |config, _| {
        let timeout = format!("{}s", TIMEOUT.as_secs());
        let config = config.set("providers.vendor.timeout", timeout);
        config.set("jobs.deadline", format!("{}s", deadline.as_secs()))
    })
    .await;
    let each = plan.trials() as usize;
    let mut most = Duration::ZERO;
    let second = Duration::from_secs(1);
    let drip = |answer| Behaviour::Drip { reply: reply(answer), bytes: 1, every: Duration::from_secs(1) };
    let slow_head =
        Toxics { down: Toxic { slicer: Some((1, second)), ..Toxic::default() }, ..Toxics::default() };
    for (name, toxics, fault) in
        [("body", Toxics::default(), drip as Fault), ("head", slow_head, |answer| answer)]
    {
        stage.proxy.set(toxics).await;
        submissions_meet(&stage, usize::MAX, fault);
        let truth = |call: &Call| Truth::unknown().bought(if call.model == "k" { 3 } else { 1 });
        let calls = stage.run(&CLASSES, each).await;
        for call in &calls {
            let calls_made = if call.model == "k" { 3 } else { 1 };
            let took = took(&stage, call).await / calls_made;
            most = most.max(took);
            row.expect(took <= TIMEOUT + OVERRUN, || {
                format!("{name}: `{}` took {took:?} a call", call.prompt)
            });
            row.cases(name, 1, stage.judge(call, truth(call)).await);
        }
    }
    stage.proxy.set(Toxics::default()).await;
    stage.scene.vendor.twist(move |request, serve| match request.method.as_str() {
        "POST" => serve(),
        _ => Behaviour::Drip { reply: reply(serve()), bytes: 1, every: Duration::from_secs(1) },
    });
    let began = Instant::now();
    // It was made and paid for, and did not come in time.
    let truth = Truth { word: "timeout", ..Truth::useless() };
    let wrong = stage.case(&["j"], each, |_| truth).await;
    let polled = began.elapsed();
    row.cases("polls", each, wrong);
    row.expect(polled <= deadline + OVERRUN, || format!("polling was given up after {polled:?}"));
    row.wrong.extend(stage.end().await);
    row.seen_cases(&format!(
        "a call at most {} ms; polling given up after {} ms of a job's {} s",
        most.as_millis(),
        polled.as_millis(),
        deadline.as_secs()
    ));
    row
}

/// How long the call's only attempt took, by the database.
async fn took(stage: &Stage, call: &Call) -> Duration {
    let found = database::read(stage.scene.home.data_dir()).await;
    let attempt = found.attempts.iter().find(|a| Some(&a.job) == call.job.as_ref());
    let micros = attempt.and_then(|a| Some(a.ended? - a.started)).unwrap_or(i64::MAX);
    Duration::from_micros(micros.unsigned_abs())
}
