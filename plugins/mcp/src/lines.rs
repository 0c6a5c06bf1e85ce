//! The standard streams of a program: messages as lines, each answer given to the call that waits for it.
//!
//! A long line goes to the spool while it is read, its base64 decoded, so that images do not stand in memory.

use plugin_api::{Http, SpoolFile, value::Secret};
use serde_json::{Value, json};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader},
    process::{ChildStderr, ChildStdin, ChildStdout},
    sync::{mpsc, oneshot},
};

/// Longer lines go to the spool.
const SHORT: usize = 64 << 10;
/// Longest line: ten large pictures in base64.
const LONGEST: u64 = 320 << 20;
/// Longest line of a log, in characters.
const LOGGED: usize = 500;
/// Lines of the log that are told when the program ends.
const LAST_WORDS: usize = 3;

/// The calls that wait for their answers.
#[derive(Default)]
pub struct Waiting(Mutex<Calls>);

#[derive(Default)]
struct Calls {
    open: HashMap<u64, (Http, oneshot::Sender<SpoolFile>)>,
    /// The program ended: there will be no answer any more.
    over: bool,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The answer to a call, in a file of its attempt's or of a neighbour's. Closed at once where it is over.
    pub fn expect(&self, id: u64, http: Http) -> oneshot::Receiver<SpoolFile> {
        let (tell, answer) = oneshot::channel();
        let mut calls = self.lock();
        if !calls.over {
            calls.open.insert(id, (http, tell));
        }
        answer
    }

    /// Whether it still waited.
    pub fn forget(&self, id: u64) -> bool {
        self.lock().open.remove(&id).is_some()
    }

    pub fn end(&self) {
        let mut calls = self.lock();
        calls.over = true;
        calls.open.clear();
    }

    pub fn is_over(&self) -> bool {
        self.lock().over
    }

    /// A file in the spool, where anybody waits.
    fn spool_file(&self) -> Option<SpoolFile> {
        self.lock().open.values().next().map(|(http, _)| http.spool_file())
    }
}

pub async fn write(mut stdin: ChildStdin, mut messages: mpsc::Receiver<Vec<u8>>) {
    while let Some(message) = messages.recv().await {
        if stdin.write_all(&message).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
    }
}

/// A line as it is read.
enum Line {
    Short(Vec<u8>),
    Long(Box<SpoolFile>),
    /// Nobody waits for it.
    Dropped,
}

impl Line {
    /// # Errors
    /// It is longer than any answer.
    fn push(&mut self, bytes: &[u8], waiting: &Waiting) -> std::io::Result<()> {
        if let Line::Short(line) = self {
            line.extend_from_slice(bytes);
            if line.len() <= SHORT {
                return Ok(());
            }
            let line = std::mem::take(line);
            let Some(mut file) = waiting.spool_file() else {
                *self = Line::Dropped;
                return Ok(());
            };
            file.push(&line)?;
            *self = Line::Long(Box::new(file));
            return Ok(());
        }
        match self {
            Line::Long(file) if file.len() + bytes.len() as u64 > LONGEST => {
                Err(std::io::ErrorKind::FileTooLarge.into())
            }
            Line::Long(file) => file.push(bytes),
            Line::Short(_) | Line::Dropped => Ok(()),
        }
    }
}

/// Reads until the program's output ends, or a line is longer than any answer.
pub async fn read(stdout: ChildStdout, waiting: std::sync::Arc<Waiting>, back: mpsc::WeakSender<Vec<u8>>) {
    let mut lines = BufReader::with_capacity(SHORT, stdout);
    let mut line = Line::Short(Vec::new());
    loop {
        let (used, ended) = match lines.fill_buf().await {
            Ok([]) | Err(_) => break,
            Ok(bytes) => {
                let end = bytes.iter().position(|b| *b == b'\n');
                if let Err(error) = line.push(&bytes[..end.unwrap_or(bytes.len())], &waiting) {
                    tracing::warn!(%error, "an MCP server's line cannot be taken");
                    break;
                }
                (end.map_or(bytes.len(), |at| at + 1), end.is_some())
            }
        };
        lines.consume(used);
        if ended {
            let whole = std::mem::replace(&mut line, Line::Short(Vec::new()));
            if let Some(answer) = take(whole, &waiting)
                && let Some(back) = back.upgrade()
            {
                back.try_send(answer).ok();
            }
        }
    }
    waiting.end();
}

/// Gives an answer to whoever waits for it; what the program itself asks is answered by the returned line.
fn take(line: Line, waiting: &Waiting) -> Option<Vec<u8>> {
    let text = match &line {
        Line::Short(text) => text,
        Line::Long(file) => file.text(),
        Line::Dropped => return None,
    };
    let Ok(message) = serde_json::from_slice::<Value>(text) else {
        if !text.trim_ascii().is_empty() {
            tracing::debug!(bytes = text.len(), "an MCP server wrote a line that is no message");
        }
        return None;
    };
    match (message["method"].as_str(), message.get("id")) {
        (Some("ping"), Some(id)) => Some(json!({"jsonrpc": "2.0", "id": id, "result": {}})),
        (Some(_), Some(id)) => {
            let error = json!({"code": -32601, "message": "this client offers nothing of the kind"});
            Some(json!({"jsonrpc": "2.0", "id": id, "error": error}))
        }
        (Some(_), None) => None, // a notification
        (None, _) => {
            answered(message["id"].as_u64()?, line, waiting);
            None
        }
    }
    .map(|message| {
        let mut line = message.to_string().into_bytes();
        line.push(b'\n');
        line
    })
}

fn answered(id: u64, line: Line, waiting: &Waiting) {
    let Some((http, tell)) = waiting.lock().open.remove(&id) else { return };
    let file = match line {
        Line::Long(file) => *file,
        Line::Short(text) => {
            let mut file = http.spool_file();
            if file.push(&text).is_err() {
                return; // it counts as lost
            }
            file
        }
        Line::Dropped => return,
    };
    tell.send(file).ok();
}

/// Writes what the program says on its standard error to the log, and returns its last lines.
pub async fn log(stderr: ChildStderr, program: String, secrets: Vec<Secret>) -> Vec<String> {
    let mut last = VecDeque::new();
    let mut lines = BufReader::new(stderr);
    while let Some(line) = short_line(&mut lines).await {
        let line = secrets.iter().fold(line, |line, secret| secret.redact(&line));
        if line.is_empty() {
            continue;
        }
        tracing::debug!(%program, %line, "an MCP server says");
        last.push_back(line);
        if last.len() > LAST_WORDS {
            last.pop_front();
        }
    }
    last.into()
}

/// The next line, cut to its first characters.
async fn short_line(lines: &mut BufReader<impl AsyncRead + Unpin>) -> Option<String> {
    let mut kept = Vec::new();
    loop {
        let bytes = lines.fill_buf().await.ok()?;
        if bytes.is_empty() {
            return (!kept.is_empty()).then(|| shown(&kept));
        }
        let end = bytes.iter().position(|b| *b == b'\n');
        let piece = &bytes[..end.unwrap_or(bytes.len())];
        kept.extend_from_slice(&piece[..piece.len().min(LOGGED * 4 - kept.len().min(LOGGED * 4))]);
        let used = end.map_or(bytes.len(), |at| at + 1);
        lines.consume(used);
        if end.is_some() {
            return Some(shown(&kept));
        }
    }
}

fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().filter(|c| !c.is_control()).take(LOGGED).collect()
}
