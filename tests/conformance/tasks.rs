//! Fixtures of the tasks extension. The product's tasks are its jobs, which never fail at will nor ask for anything, so
//! these are kept here: what is done by when is computed from the clock, and nothing runs.

use super::{
    asking::{self, answered},
    fixtures::text,
};
use image_gateway::mcp::{Caller, Fault};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::{
    collections::HashMap,
    sync::LazyLock,
    time::{Duration, Instant},
};
use tokio::time::sleep;
use uuid::Uuid;

pub const TOOLS: [&str; 7] = [
    "greet",
    "slow_compute",
    "failing_job",
    "protocol_error_job",
    "confirm_delete",
    "multi_input",
    "test_tool_with_task",
];
const EXTENSION: &str = "io.modelcontextprotocol/tasks";
const POLL_MS: u32 = 100;
const KEPT_MS: u32 = 600_000;

static TASKS: LazyLock<Mutex<HashMap<String, Task>>> = LazyLock::new(Mutex::default);

struct Task {
    created: String,
    due: Instant,
    /// What it waits for.
    asks: Map<String, Value>,
    cancelled: bool,
    /// `result` or `error`, once it is due.
    end: (&'static str, Value),
}

impl Task {
    fn status(&self) -> &'static str {
        match self {
            Task { cancelled: true, .. } => "cancelled",
            Task { asks, .. } if !asks.is_empty() => "input_required",
            Task { due, .. } if *due > Instant::now() => "working",
            Task { end: ("error", _), .. } => "failed",
            _ => "completed",
        }
    }

    fn shown(&self, id: &str) -> Value {
        let mut shown = json!({"taskId": id, "status": self.status(), "createdAt": self.created,
            "lastUpdatedAt": self.created, "ttlMs": KEPT_MS, "pollIntervalMs": POLL_MS});
        match self.status() {
            "input_required" => shown["inputRequests"] = json!(self.asks),
            "completed" | "failed" => shown[self.end.0] = self.end.1.clone(),
            _ => {}
        }
        shown
    }
}

fn declared(caller: &Caller<'_>) -> Result<(), Fault> {
    let declared = caller.meta("io.modelcontextprotocol/clientCapabilities");
    match declared.and_then(|declared| declared.get("extensions")?.get(EXTENSION)) {
        Some(_) => Ok(()),
        None => Err(Fault::missing_capability(json!({"extensions": {EXTENSION: {}}}))),
    }
}

/// Whether a method is about a task of these.
pub fn owns(method: &str, params: &Map<String, Value>) -> bool {
    let id = params.get("taskId").and_then(Value::as_str);
    matches!(method, "tasks/get" | "tasks/update" | "tasks/cancel")
        && id.is_some_and(|id| TASKS.lock().contains_key(id))
}

/// # Errors
/// The extension was not declared.
pub fn answer(caller: &Caller<'_>, method: &str, params: &Map<String, Value>) -> Result<Value, Fault> {
    declared(caller)?;
    let id = params.get("taskId").and_then(Value::as_str).unwrap_or_default();
    let mut tasks = TASKS.lock();
    let task = tasks.get_mut(id).ok_or_else(|| Fault::invalid_params("there is no such task"))?;
    match (method, task.status()) {
        ("tasks/get", _) => return Ok(task.shown(id)),
        ("tasks/cancel", "working" | "input_required") => task.cancelled = true,
        ("tasks/update", "input_required") => task.asks.retain(|key, _| answered(params, key).is_none()),
        _ => {}
    }
    Ok(json!({}))
}

fn start(seconds: f64, asks: Value, end: (&'static str, Value)) -> Value {
    let due = Instant::now() + Duration::from_secs_f64(seconds.clamp(0.0, 3_600.0));
    let created = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let asks = asks.as_object().cloned().unwrap_or_default();
    let (id, task) = (Uuid::new_v4().to_string(), Task { created, due, asks, cancelled: false, end });
    // As it is told at first: what it asks for, and how it ends, is for those who look.
    let shown = json!({"resultType": "task", "taskId": id, "status": "working", "createdAt": task.created,
        "lastUpdatedAt": task.created, "ttlMs": KEPT_MS, "pollIntervalMs": POLL_MS});
    TASKS.lock().insert(id, task);
    shown
}

/// # Errors
/// A tool that is only a task was called by a client that knows none.
pub async fn call(caller: &Caller<'_>, tool: &str, params: &Map<String, Value>) -> Result<Value, Fault> {
    let given = |name: &str| params.get("arguments").and_then(|arguments| arguments.get(name));
    let word = |name: &str| given(name).and_then(Value::as_str).unwrap_or("nobody").to_owned();
    if tool == "greet" {
        return Ok(text(format!("Hello, {}!", word("name"))));
    }
    let seconds = given("seconds").and_then(Value::as_f64).unwrap_or(0.0);
    match declared(caller) {
        Err(_) if tool == "slow_compute" => {
            sleep(Duration::from_secs_f64(seconds.clamp(0.0, 60.0))).await;
            return Ok(text("Computed."));
        }
        refused => refused?,
    }
    let ask = |what: &str| asking::form(what, json!({"confirm": {"type": "boolean"}}));
    Ok(match tool {
        "failing_job" => {
            let mut failed = text("It failed, as it always does.");
            failed["isError"] = json!(true);
            start(1.0, json!({}), ("result", failed))
        }
        "protocol_error_job" => {
            start(1.0, json!({}), ("error", json!({"code": -32603, "message": "Internal error"})))
        }
        "confirm_delete" => {
            let deleted = text(format!("Deleted {}.", word("filename")));
            start(0.0, json!({"confirm": ask("Delete it?")}), ("result", deleted))
        }
        "multi_input" => {
            let both = json!({"first": ask("Is it so?"), "second": ask("And this?")});
            start(0.0, both, ("result", text("Both were answered.")))
        }
        "test_tool_with_task" => match asking::user_name(params) {
            Some(name) => start(0.2, json!({}), ("result", text(format!("Hello, {name}!")))),
            None => asking::required(json!({"user_name": asking::name()}), None),
        },
        _ => start(seconds, json!({}), ("result", text("Computed."))),
    })
}
