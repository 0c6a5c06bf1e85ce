//! A server that is a program: started at the first call, again when it ended, and never outliving its instance.

use crate::{
    Bounds,
    lines::{self, Waiting},
    message::{self, Reply},
    remote::agreed,
};
use plugin_api::{Answer, Context, ErrorClass, ProviderError, Spend, value::Secret};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    process::{Child as Process, Command},
    sync::{Mutex, mpsc, oneshot},
    time::{timeout, timeout_at},
};

/// Longest time from the start to the answer to `initialize`: some programs are downloaded first.
const START: Duration = Duration::from_secs(60);
/// How long a program may take to end by itself once its input is closed.
const GRACE: Duration = Duration::from_secs(2);
/// Messages on their way to the program.
const QUEUE: usize = 16;

pub struct Child {
    command: String,
    args: Vec<String>,
    env: BTreeMap<String, Secret>,
    secrets: Vec<Secret>,
    running: Mutex<Option<Arc<Running>>>,
}

/// One life of the program. It ends with the value.
struct Running {
    to_program: mpsc::Sender<Vec<u8>>,
    waiting: Arc<Waiting>,
    next: AtomicU64,
    /// Closed with the value: the signal to end the program.
    _alive: oneshot::Sender<()>,
}

/// Takes a question back when nobody waits for its answer any more.
struct Asked<'a> {
    running: &'a Running,
    id: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if self.running.waiting.forget(self.id) {
            let params = json!({"requestId": self.id, "reason": "the gateway waits no longer"});
            let cancelled = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params});
            self.running.to_program.try_send(line(&cancelled)).ok();
        }
    }
}

fn line(message: &Value) -> Vec<u8> {
    let mut line = message.to_string().into_bytes();
    line.push(b'\n');
    line
}

fn unavailable(what: String) -> ProviderError {
    ProviderError::new(ErrorClass::Unavailable, what).with_spend(Spend::None)
}

impl Child {
    pub fn new(
        command: String,
        args: Vec<String>,
        env: BTreeMap<String, Secret>,
        secrets: Vec<Secret>,
    ) -> Child {
        Child { command, args, env, secrets, running: Mutex::new(None) }
    }

    /// Calls a method of the program, which is started where it does not run. A paid answer is kept on disk before it
    /// is read, like that of an HTTP call.
    ///
    /// # Errors
    /// `unavailable`, spend none: the program cannot be started. `outcome_unknown` (of a paid call): it ended, or the
    /// time did, before its answer.
    pub async fn call(
        &self,
        cx: &Context,
        method: &str,
        params: &Value,
        bounds: Bounds,
    ) -> Result<Answer, ProviderError> {
        let running = self.running(cx).await?;
        running.ask(cx, method, params, bounds).await
    }

    async fn running(&self, cx: &Context) -> Result<Arc<Running>, ProviderError> {
        let mut running = self.running.lock().await;
        if let Some(running) = running.as_ref().filter(|running| !running.waiting.is_over()) {
            return Ok(running.clone());
        }
        *running = None; // ends what is left of it
        let new = Arc::new(self.start()?);
        new.greet(&cx.within(START)).await?;
        *running = Some(new.clone());
        Ok(new)
    }

    fn start(&self) -> Result<Running, ProviderError> {
        let mut command = Command::new(&self.command);
        command.args(&self.args).env_clear();
        for name in ["PATH", "HOME"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value.expose())));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own: a signal from the terminal is the gateway's business, and its end takes the program's
        // own children along.
        #[cfg(unix)]
        command.process_group(0);
        let mut process = command
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| unavailable(format!("the server's program cannot be started: {}", e.kind())))?;
        let piped = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = piped else {
            return Err(unavailable("the server's program has no standard streams".into()));
        };
        let name = Path::new(&self.command).file_name().unwrap_or_default().to_string_lossy().into_owned();
        tracing::info!(program = %name, "started an MCP server");
        let waiting = Arc::new(Waiting::default());
        let (to_program, messages) = mpsc::channel(QUEUE);
        let (alive, ended) = oneshot::channel();
        tokio::spawn(lines::write(stdin, messages));
        tokio::spawn(lines::read(stdout, waiting.clone(), to_program.downgrade()));
        let last_words = tokio::spawn(lines::log(stderr, name.clone(), self.secrets.clone()));
        tokio::spawn(keep(Group::new(process), waiting.clone(), ended, name, last_words));
        Ok(Running { to_program, waiting, next: AtomicU64::new(1), _alive: alive })
    }
}

/// The program and everything that it started.
struct Group {
    process: Process,
    #[cfg(unix)]
    id: Option<rustix::process::Pid>,
}

impl Group {
    fn new(process: Process) -> Group {
        #[cfg(unix)]
        let id = process.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
        Group {
            process,
            #[cfg(unix)]
            id,
        }
    }
}

impl Drop for Group {
    /// Also when the gateway ends in the middle: the program is killed by tokio, its children here.
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(id) = self.id {
            rustix::process::kill_process_group(id, rustix::process::Signal::KILL).ok();
        }
    }
}

/// Waits for the program's end, or brings it about.
async fn keep(
    mut group: Group,
    waiting: Arc<Waiting>,
    ended: oneshot::Receiver<()>,
    name: String,
    last_words: tokio::task::JoinHandle<Vec<String>>,
) {
    tokio::select! {
        status = group.process.wait() => {
            waiting.end();
            drop(group); // what it started ends too, so that its last words are complete
            let said = timeout(GRACE, last_words).await.ok().and_then(Result::ok).unwrap_or_default();
            let status = status.map_or_else(|e| e.to_string(), |status| status.to_string());
            tracing::warn!(program = %name, %status, said = %said.join(" | "), "an MCP server ended by itself");
        }
        _ = ended => {
            waiting.end();
            let by_itself = timeout(GRACE, group.process.wait()).await.is_ok();
            tracing::info!(program = %name, by_itself, "ended an MCP server");
        }
    }
}

impl Running {
    async fn greet(&self, cx: &Context) -> Result<(), ProviderError> {
        let free = Bounds { paid: false, cap: u64::MAX };
        let answer = self.ask(cx, "initialize", &message::introduction(), free).await?;
        let version = agreed(&Reply::of(&answer))?;
        tracing::debug!(%version, "agreed with an MCP server");
        let ready = line(&message::notification("notifications/initialized"));
        let sent = timeout_at(cx.deadline, self.to_program.send(ready)).await;
        sent.ok().and_then(Result::ok).ok_or_else(|| unavailable("the server's program ended".into()))
    }

    async fn ask(
        &self,
        cx: &Context,
        method: &str,
        params: &Value,
        bounds: Bounds,
    ) -> Result<Answer, ProviderError> {
        let lost = |what: &str| match bounds.paid {
            true => ProviderError::new(ErrorClass::OutcomeUnknown, what),
            false => unavailable(what.into()),
        };
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let answer = self.waiting.expect(id, cx.http.clone());
        let asked = Asked { running: self, id };
        let call = line(&message::call(id, method, params));
        match timeout_at(cx.deadline, self.to_program.send(call)).await {
            Ok(Ok(())) => {}
            // Nothing of it was written.
            Ok(Err(_)) => return Err(unavailable("the server's program ended".into())),
            Err(_) => return Err(unavailable("the server's program takes no further calls".into())),
        }
        let file = match timeout_at(cx.deadline, answer).await {
            Ok(Ok(file)) => file,
            Ok(Err(_)) => return Err(lost("the server's program ended before its answer")),
            Err(_) => return Err(lost("the server's program did not answer in time")),
        };
        drop(asked);
        if file.len() > bounds.cap {
            return Err(ProviderError::new(ErrorClass::BadResponse, "the answer is larger than its cap"));
        }
        cx.http.keep(file, bounds.paid).await
    }
}
