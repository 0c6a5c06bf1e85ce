//! What choosing among many targets costs, and what a failed first target costs beyond its own call.

use crate::{
    bench::{Asked, Bench, call, good},
    http::{Connection, request},
    server::Role,
    vendor::Vendor,
};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const MODELS: usize = 50;
const TARGETS: usize = 5;
/// Generations whose median counts.
const CALLS: usize = 200;

/// # Errors
/// The gateway does not start, or cannot be asked.
pub async fn routing(bench: &mut Bench) -> Result<()> {
    let names = ["`estimate_price`, 1 target", "`estimate_price`, 50 models x 5 targets", "failover"];
    if !names.iter().any(|name| bench.wanted(name)) {
        return Ok(());
    }
    let home = bench.home("routing")?;
    let vendor = bench.vendor.url("small");
    let (gateway, _) = home.start_with(Role::All, &bench.vendor, |config| widen(config, &vendor)).await?;
    let key = home.key()?;
    let estimate = |model: String| {
        ("/mcp".to_owned(), call("estimate_price", &json!({"prompt": "a fox", "model": model})))
    };
    bench.row(&gateway, Asked::calls(names[0], &key, vec![estimate("small".into())])).await?;
    let many = (0..MODELS).map(|n| estimate(format!("m{n}"))).collect();
    bench.row(&gateway, Asked::calls(names[1], &key, many)).await?;
    let cpu = |name: &str| bench.report.rows.iter().find(|row| row.name == name).map(|row| row.cpu_us);
    if let (Some(one), Some(all)) = (cpu(names[0]), cpu(names[1])) {
        let note = format!(
            "CPU per call with {MODELS} models of {TARGETS} targets, cheapest first, less that of one target"
        );
        bench.figure("routing", all - one, "µs", Some(20.0), note);
    }

    if bench.wanted(names[2]) {
        eprintln!("{}", names[2]);
        let ask = |model: &str| {
            let arguments = json!({"prompt": "a fox", "model": model, "return": "link"});
            request("POST", "/mcp", Some(&key), &call("generate_image_and_wait", &arguments))
        };
        let failed = failed_call(&bench.vendor).await?;
        let mut connection = Connection::open(gateway.address).await?;
        let (mut direct, mut over) = (Vec::new(), Vec::new());
        // In turn, so that both meet the same machine.
        for _ in 0..CALLS {
            for (model, times) in [("small", &mut direct), ("over", &mut over)] {
                let request = ask(model);
                let started = Instant::now();
                let reply = connection.call(&request).await?;
                ensure!(good(reply), "{model}: {} {}", reply.status, String::from_utf8_lossy(reply.body));
                times.push(started.elapsed());
            }
        }
        let (direct, over) = (median(direct), median(over));
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let note = format!(
            "median of {CALLS}: {:.2} ms with a first target that answers 429, {:.2} ms without, {:.2} ms the failed call",
            ms(over),
            ms(direct),
            ms(failed)
        );
        bench.figure(names[2], ms(over) - ms(direct) - ms(failed), "ms", Some(1.0), note);
    }
    gateway.kill().await;
    Ok(())
}

/// Adds `MODELS` models with `TARGETS` targets each, and `over`, whose first target always refuses.
fn widen(config: &mut Value, vendor: &str) {
    let entry = json!({"kind": "openai", "base_url": vendor, "models": ["png"]});
    for n in 0..TARGETS {
        config["providers"][format!("r{n}")] = entry.clone();
    }
    let targets: Vec<String> = (0..TARGETS).map(|n| format!("r{n}/png")).collect();
    for n in 0..MODELS {
        config["models"][format!("m{n}")] =
            json!({"strategy": "cheapest", "targets": targets, "price": [{"image": "0.04 USD"}]});
    }
    config["models"]["over"] = json!({"targets": ["refuse/png", "small/png"]});
}

/// How long a refused call to the vendor takes.
async fn failed_call(vendor: &Vendor) -> Result<Duration> {
    let mut connection = Connection::open(vendor.address).await?;
    let request = request("POST", "/refuse/v1/images/generations", None, "{}");
    let mut times = Vec::new();
    for _ in 0..CALLS {
        let started = Instant::now();
        ensure!(connection.call(&request).await?.status == 429, "the vendor does not refuse");
        times.push(started.elapsed());
    }
    Ok(median(times))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
