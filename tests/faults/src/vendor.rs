//! The vendor: a model of each class, pictures that differ by prompt, and a ledger of its own of everything it
//! accepted, which no fault of the gateway can touch.

use crate::ledger::digest;
use serde_json::json;
use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{Cursor, Write as _},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use testkit::{Behaviour, FakeUpstream, Recorded, Reply};

/// A submission the vendor accepted.
#[derive(Debug, Clone)]
pub struct Accepted {
    pub model: String,
    pub prompt: String,
    /// The idempotency key that came with it.
    pub key: String,
    /// Not for a key of class K that was billed before.
    pub billed: bool,
}

/// How long the vendor takes.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub from: Duration,
    pub to: Duration,
}

struct Book {
    accepted: Vec<Accepted>,
    keys: HashSet<String>,
    /// Prompt, and when it is done.
    tickets: HashMap<String, (String, Instant)>,
    pace: Pace,
    random: fastrand::Rng,
    paper: File,
}

pub struct Vendor {
    pub upstream: FakeUpstream,
    book: Arc<Mutex<Book>>,
    _folder: tempfile::TempDir,
}

impl Vendor {
    pub async fn start(seed: u64, pace: Pace) -> Vendor {
        let folder = tempfile::tempdir().unwrap();
        let paper =
            File::options().create(true).append(true).open(folder.path().join("ledger.jsonl")).unwrap();
        let book = Arc::new(Mutex::new(Book {
            accepted: Vec::new(),
            keys: HashSet::new(),
            tickets: HashMap::new(),
            pace,
            random: fastrand::Rng::with_seed(seed),
            paper,
        }));
        let upstream = FakeUpstream::start().await;
        let inside = book.clone();
        upstream.handle(move |request| inside.lock().unwrap().serve(request));
        Vendor { upstream, book, _folder: folder }
    }

    /// From now on `twist` decides what a request meets; `serve` accepts it and says what it would be answered.
    pub fn twist(
        &self,
        twist: impl Fn(&Recorded, &mut dyn FnMut() -> Behaviour) -> Behaviour + Send + Sync + 'static,
    ) {
        let inside = self.book.clone();
        self.upstream.handle(move |request| twist(request, &mut || inside.lock().unwrap().serve(request)));
    }

    /// Everything it accepted so far.
    pub fn accepted(&self) -> Vec<Accepted> {
        self.book.lock().unwrap().accepted.clone()
    }
}

impl Book {
    fn takes(&mut self) -> Duration {
        let (from, to) = (self.pace.from.as_micros() as u64, self.pace.to.as_micros() as u64);
        Duration::from_micros(self.random.u64(from..=to))
    }

    fn serve(&mut self, request: &Recorded) -> Behaviour {
        if request.method == "GET" {
            let ticket = request.path.strip_prefix("/tickets/").unwrap_or_default();
            return match self.tickets.get(ticket) {
                Some((prompt, done)) if *done <= Instant::now() => picture(prompt).into(),
                Some(_) => Behaviour::json(202, "{}"),
                None => Behaviour::json(404, "{}"),
            };
        }
        let model = request.path.trim_start_matches('/').to_owned();
        let key = request.header("idempotency-key").unwrap_or_default().to_owned();
        let prompt = request.json()["prompt"].as_str().unwrap_or_default().to_owned();
        let known = !self.keys.insert(key.clone());
        let billed = !(known && model == "k");
        let entry = Accepted { model: model.clone(), prompt: prompt.clone(), key, billed };
        writeln!(self.paper, "{}", json!([entry.model, entry.prompt, entry.key, entry.billed])).unwrap();
        self.accepted.push(entry);
        let takes = self.takes();
        if model == "j" {
            let ticket = format!("t{}", self.tickets.len());
            self.tickets.insert(ticket.clone(), (prompt, Instant::now() + takes));
            return Behaviour::json(202, json!({"ticket": ticket}).to_string()).delayed(takes / 8);
        }
        Behaviour::from(picture(&prompt)).delayed(takes)
    }
}

fn picture(prompt: &str) -> Reply {
    Reply::new(200, "image/png", png(prompt))
}

/// The one picture that belongs to a prompt.
pub fn png(prompt: &str) -> Vec<u8> {
    let seed = digest(prompt.as_bytes());
    let mut random = fastrand::Rng::with_seed(u64::from_str_radix(&seed[..16], 16).unwrap());
    let picture = image::GrayImage::from_fn(64, 64, |_, _| image::Luma([random.u8(..)]));
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}
