//! One row: warm up, the closed loop for the peak and the CPU time, the floor with an answer of the same length, the
//! open loop for latencies.

use crate::{
    http::{Connection, Reply, request},
    load::{self, Plan},
    machine::{self, Cores},
    report::{Figure, Goal, Report, Row},
    server::{self, Home, Server},
    vendor::{self, Vendor},
};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Of the peak, where a row names no rate of its own.
const SHARE_OF_PEAK: f64 = 0.6;

/// How long each part takes, and how much there is of it.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub warm: Duration,
    pub closed: Duration,
    pub floor: Duration,
    pub open: Duration,
    pub waiting: &'static [usize],
    /// Streams that wait, and how long they are watched: longer than between two signs of life.
    pub idle: &'static [usize],
    pub idle_for: Duration,
    pub queued: usize,
    pub starts: usize,
}

impl Size {
    pub const FULL: Size = Size {
        warm: Duration::from_secs(1),
        closed: Duration::from_secs(6),
        floor: Duration::from_secs(3),
        open: Duration::from_secs(6),
        waiting: &[1_000, 5_000],
        idle: &[1_000, 10_000],
        idle_for: Duration::from_secs(30),
        queued: 100_000,
        starts: 5,
    };
    pub const QUICK: Size = Size {
        warm: Duration::from_millis(300),
        closed: Duration::from_millis(1_500),
        floor: Duration::from_millis(800),
        open: Duration::from_millis(1_000),
        waiting: &[1_000],
        idle: &[1_000],
        idle_for: Duration::from_secs(5),
        queued: 10_000,
        starts: 2,
    };
}

/// A run.
pub struct Bench {
    pub size: Size,
    /// Only rows whose names contain this.
    pub only: Option<String>,
    pub vendor: Vendor,
    pub report: Report,
    floor: Server,
    program: PathBuf,
    data: tempfile::TempDir,
    cores: Option<Cores>,
}

/// What a row asks.
pub struct Asked<'a> {
    pub name: &'a str,
    pub method: &'a str,
    pub key: Option<&'a str>,
    /// Path and body of each request, sent in turn.
    pub requests: Vec<(String, String)>,
    pub good: fn(Reply<'_>) -> bool,
    pub connections: usize,
    /// Of the open loop, if the peak leaves room for it.
    pub rate: Option<f64>,
    pub goals: &'a [Goal],
}

impl<'a> Asked<'a> {
    /// Calls of tools by 16 connections at 60 % of the peak, without a goal.
    pub fn calls(name: &'a str, key: &'a str, requests: Vec<(String, String)>) -> Asked<'a> {
        Asked {
            name,
            method: "POST",
            key: Some(key),
            requests,
            good,
            connections: 16,
            rate: None,
            goals: &[],
        }
    }
}

impl Bench {
    /// # Errors
    /// The floor or the vendor does not start.
    pub async fn start(program: &Path, data: &Path, size: Size, only: Option<String>) -> Result<Bench> {
        machine::lift_file_limit();
        std::fs::create_dir_all(data)?;
        let machine = format!("**Machine**: {}.", machine::describe(data)?);
        let cores = Cores::choose();
        if let Some(cores) = cores {
            machine::pin(cores.load)?;
        }
        let data = tempfile::tempdir_in(data)?;
        let how = match cores {
            Some(Cores { server, load }) => {
                format!("The gateway and the floor run on core {server}, load and vendor on core {load}.")
            }
            None => "One core only: gateway, floor, load and vendor share it.".into(),
        };
        let vendor = Vendor::start(&vendor::png(256, 12_000)?, &vendor::png(1024, 1_300_000)?)?;
        let floor = server::floor(cores).await?;
        let report = Report { machine, how, ..Report::default() };
        Ok(Bench { size, only, vendor, report, floor, program: program.to_owned(), data, cores })
    }

    /// Another bare server.
    ///
    /// # Errors
    /// It does not start.
    pub async fn new_floor(&self) -> Result<Server> {
        server::floor(self.cores).await
    }

    /// A new data directory; its last name is unique per use.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn home(&self, name: &str) -> Result<Home> {
        Home::new(self.data.path().join(name), &self.program, self.cores)
    }

    pub fn wanted(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
    }

    /// Measures one row, if it is wanted.
    ///
    /// # Errors
    /// Nothing could be asked at all; wrong answers are counted in the row.
    pub async fn row(&mut self, gateway: &Server, asked: Asked<'_>) -> Result<()> {
        if !self.wanted(asked.name) {
            return Ok(());
        }
        eprintln!("{} ({} connections)", asked.name, asked.connections);
        let requests = asked.requests.iter().map(|(path, body)| request(asked.method, path, asked.key, body));
        let plan = Plan {
            address: gateway.address,
            requests: Arc::new(requests.collect()),
            good: asked.good,
            connections: asked.connections,
        };
        let first = plan.requests.first().context("a row without a request")?;
        let length = Connection::open(gateway.address).await?.call(first).await?.body.len();
        load::closed(&plan, self.size.warm).await?;
        machine::forget_peak(gateway.pid);

        let before = gateway.cpu()?;
        let closed = load::closed(&plan, self.size.closed).await?;
        let cpu = gateway.cpu()? - before;
        let floor_us = self.floor_us(&asked, length).await?;
        let peak = closed.per_second();
        let rate = asked.rate.filter(|rate| *rate <= peak).unwrap_or(peak * SHARE_OF_PEAK);
        let open = load::open(&plan, rate.max(1.0), self.size.open).await?;
        self.report.rows.push(Row {
            name: asked.name.to_owned(),
            connections: asked.connections,
            peak,
            cpu_us: per_request_us(cpu, closed.done()),
            floor_us,
            rate,
            reached: open.per_second(),
            p50_ms: open.quantile_ms(0.5),
            p99_ms: open.quantile_ms(0.99),
            max_ms: open.quantile_ms(1.0),
            errors: closed.errors + open.errors,
            first_error: closed.first_error.or(open.first_error),
            peak_rss: gateway.memory()?.peak,
            goals: asked.goals.to_vec(),
        });
        Ok(())
    }

    /// CPU time of the floor for the same requests, answered with as many bytes.
    async fn floor_us(&self, asked: &Asked<'_>, length: usize) -> Result<f64> {
        let path = format!("/{length}");
        let requests = asked.requests.iter().map(|(_, body)| request(asked.method, &path, asked.key, body));
        let plan = Plan {
            address: self.floor.address,
            requests: Arc::new(requests.collect()),
            good: |reply| reply.status == 200,
            connections: asked.connections,
        };
        load::closed(&plan, self.size.warm / 2).await?;
        let before = self.floor.cpu()?;
        let sample = load::closed(&plan, self.size.floor).await?;
        ensure!(sample.errors == 0, "the floor failed: {:?}", sample.first_error);
        Ok(per_request_us(self.floor.cpu()? - before, sample.done()))
    }

    pub fn figure(&mut self, name: &str, value: f64, unit: &'static str, goal: Option<f64>, note: String) {
        self.report.figures.push(Figure { name: name.to_owned(), value, unit, goal, note });
    }
}

fn per_request_us(cpu: Duration, requests: usize) -> f64 {
    cpu.as_secs_f64() * 1e6 / requests.max(1) as f64
}

/// A JSON-RPC request.
pub fn rpc(method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
}

/// A call of a tool.
pub fn call(tool: &str, arguments: &Value) -> String {
    rpc("tools/call", &json!({"name": tool, "arguments": arguments}))
}

/// Whether a JSON-RPC answer is a success.
pub fn good(reply: Reply<'_>) -> bool {
    let has = |text: &[u8]| reply.body.windows(text.len()).any(|part| part == text);
    reply.status == 200 && !has(b"\"isError\"") && !has(b"\"error\":{")
}

/// Asks once and gives what the tool said.
///
/// # Errors
/// The call failed.
pub async fn ask(gateway: &Server, key: &str, tool: &str, arguments: &Value) -> Result<Value> {
    let mut connection = Connection::open(gateway.address).await?;
    let reply = connection.call(&request("POST", "/mcp", Some(key), &call(tool, arguments))).await?;
    let text = String::from_utf8_lossy(reply.body).into_owned();
    ensure!(good(reply), "{tool}: {} {text}", reply.status);
    let answer: Value = serde_json::from_str(&text)?;
    Ok(answer["result"]["structuredContent"].clone())
}
