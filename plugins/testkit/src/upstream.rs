//! A scriptable HTTP/1.1 server on a real socket, that records what it is asked.

use crate::{Behaviour, Recorded, Reply, wire};
use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

type Handler = Box<dyn Fn(&Recorded) -> Behaviour + Send + Sync>;
type Prelude = Box<dyn Fn(&Recorded) -> Option<Reply> + Send + Sync>;

/// The server. It stops, and drops its connections, with the value.
///
/// A request is served by the first of: the queue of [`push`](Self::push), a path of [`on`](Self::on), the closure
/// of [`handle`](Self::handle), the [`default`](Self::default).
pub struct FakeUpstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    script: Mutex<Script>,
    requests: Mutex<Vec<Recorded>>,
    /// Changes with every recorded request.
    seen: watch::Sender<usize>,
    gate: watch::Sender<Gate>,
    /// Requests recorded and not yet answered, and the most there ever were at once.
    open: Mutex<(usize, usize)>,
}

#[derive(Default)]
struct Script {
    prelude: Option<Prelude>,
    queue: VecDeque<Behaviour>,
    paths: Vec<(String, Behaviour)>,
    handler: Option<Handler>,
    default: Option<Behaviour>,
}

#[derive(Default)]
struct Gate {
    held: bool,
    /// Held answers that may pass.
    permits: usize,
    /// Held answers may pass from now on.
    released: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl FakeUpstream {
    /// Listens on a free port of 127.0.0.1. Until told otherwise it answers 404 with an empty JSON object.
    pub async fn start() -> FakeUpstream {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared {
            script: Mutex::default(),
            requests: Mutex::default(),
            seen: watch::Sender::new(0),
            gate: watch::Sender::default(),
            open: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        FakeUpstream { address, shared, accepting }
    }

    /// `http://127.0.0.1:<port>`, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
    /// `127.0.0.1:<port>`
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// One behaviour for one request, in the order of the calls.
    pub fn push(&self, behaviour: impl Into<Behaviour>) -> &Self {
        lock(&self.shared.script).queue.push_back(behaviour.into());
        self
    }
    /// For every request whose path (without its query) ends like this.
    pub fn on(&self, path_end: &str, behaviour: impl Into<Behaviour>) -> &Self {
        lock(&self.shared.script).paths.insert(0, (path_end.into(), behaviour.into()));
        self
    }
    /// Calls that go before the ones a test is about, such as a handshake: what this answers comes before everything
    /// else, at once, and is not recorded.
    pub fn prelude(&self, answers: impl Fn(&Recorded) -> Option<Reply> + Send + Sync + 'static) -> &Self {
        lock(&self.shared.script).prelude = Some(Box::new(answers));
        self
    }
    /// Decides by the request.
    pub fn handle(&self, handler: impl Fn(&Recorded) -> Behaviour + Send + Sync + 'static) -> &Self {
        lock(&self.shared.script).handler = Some(Box::new(handler));
        self
    }
    /// For every request that nothing else is said about.
    pub fn default(&self, behaviour: impl Into<Behaviour>) -> &Self {
        lock(&self.shared.script).default = Some(behaviour.into());
        self
    }

    /// From now on requests are taken and recorded, and their answers wait for [`release`](Self::release).
    pub fn hold(&self) -> &Self {
        self.shared.gate.send_modify(|g| *g = Gate { held: true, ..Gate::default() });
        self
    }
    /// All held answers may go, also those of [`Behaviour::Hold`] still to come.
    pub fn release(&self) -> &Self {
        self.shared.gate.send_modify(|g| *g = Gate { released: true, ..Gate::default() });
        self
    }
    /// One held answer may go.
    pub fn release_one(&self) -> &Self {
        self.shared.gate.send_modify(|g| g.permits += 1);
        self
    }

    /// Everything that was asked, in the order of arrival.
    pub fn requests(&self) -> Vec<Recorded> {
        lock(&self.shared.requests).clone()
    }
    /// How often something was posted.
    pub fn submissions(&self) -> usize {
        lock(&self.shared.requests).iter().filter(|r| r.method == "POST").count()
    }
    /// Waits until this many requests were recorded since the start.
    ///
    /// # Panics
    /// After 20 seconds.
    pub async fn wait_for_requests(&self, count: usize) {
        let mut seen = self.shared.seen.subscribe();
        let enough = seen.wait_for(|n| *n >= count);
        match tokio::time::timeout(Duration::from_secs(20), enough).await {
            Ok(Ok(_)) => {}
            _ => panic!("waited for {count} requests, {} came", self.requests().len()),
        }
    }
    /// Waits until so often something was posted since the start.
    ///
    /// # Panics
    /// After 20 seconds.
    pub async fn wait_for_submissions(&self, count: usize) {
        let mut seen = self.shared.seen.subscribe();
        let enough = seen.wait_for(|_| self.submissions() >= count);
        let waited = tokio::time::timeout(Duration::from_secs(20), enough).await.map(drop);
        assert!(waited.is_ok(), "waited for {count} submissions, {} came", self.submissions());
    }
    /// Requests recorded and not yet answered, at this moment.
    pub fn in_flight(&self) -> usize {
        lock(&self.shared.open).0
    }
    /// The most requests that ever were unanswered at once.
    pub fn most_in_flight(&self) -> usize {
        lock(&self.shared.open).1
    }
}

impl Drop for FakeUpstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A URL where nobody listens: connections are refused.
pub async fn dead_url() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    format!("http://{}", listener.local_addr().expect("a bound listener has an address"))
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new(); // dropped with this task: the connections end with the server
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let shared = shared.clone();
                    connections.spawn(async move { serve(stream, &shared).await.ok() });
                }
                Err(_) => return,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Counts a request as unanswered for as long as it lives.
struct Open<'a>(&'a Shared);

impl<'a> Open<'a> {
    fn new(shared: &'a Shared) -> Open<'a> {
        let mut open = lock(&shared.open);
        open.0 += 1;
        open.1 = open.1.max(open.0);
        Open(shared)
    }
}
impl Drop for Open<'_> {
    fn drop(&mut self) {
        lock(&self.0.open).0 -= 1;
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    loop {
        if buffer.is_empty() {
            if stream.peek(&mut [0]).await? == 0 {
                return Ok(());
            }
            if shared.next_is_early_reset() {
                return stream.set_zero_linger();
            }
        }
        let (request, used) = loop {
            match wire::parse(&buffer).map_err(io::Error::other)? {
                Some(done) => break done,
                None => {
                    if stream.read_buf(&mut buffer).await? == 0 {
                        return Ok(());
                    }
                }
            }
        };
        buffer.drain(..used);
        let last = request.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
        let prelude = lock(&shared.script).prelude.as_ref().and_then(|answers| answers(&request));
        if let Some(reply) = prelude {
            answer(&mut stream, &reply).await?;
            continue;
        }
        let behaviour = shared.choose(&request);
        let open = Open::new(shared);
        lock(&shared.requests).push(request);
        shared.seen.send_modify(|n| *n += 1);
        let keep = act(&mut stream, shared, behaviour).await?;
        drop(open);
        if last || !keep {
            return Ok(());
        }
    }
}

impl Shared {
    fn next_is_early_reset(&self) -> bool {
        let mut script = lock(&self.script);
        match script.queue.front() {
            Some(Behaviour::ResetBeforeReading) => script.queue.pop_front().is_some(),
            Some(_) => false,
            None => script.default == Some(Behaviour::ResetBeforeReading),
        }
    }

    fn choose(&self, request: &Recorded) -> Behaviour {
        let mut script = lock(&self.script);
        if let Some(next) = script.queue.pop_front() {
            return next;
        }
        let path = request.path.split('?').next().unwrap_or_default();
        if let Some((_, behaviour)) = script.paths.iter().find(|(end, _)| path.ends_with(end.as_str())) {
            return behaviour.clone();
        }
        if let Some(handler) = &script.handler {
            return handler(request);
        }
        script.default.clone().unwrap_or_else(|| Behaviour::json(404, "{}"))
    }

    /// Waits at the gate. `always`: also when the upstream as a whole is not held.
    async fn pass(&self, always: bool) {
        let mut gate = self.gate.subscribe();
        loop {
            let mut passes = false;
            self.gate.send_if_modified(|g| {
                passes = g.released || (!g.held && !always);
                if !passes && g.permits > 0 {
                    g.permits -= 1;
                    passes = true;
                }
                false
            });
            if passes || gate.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Does what the script says; whether the connection can go on afterwards.
async fn act(stream: &mut TcpStream, shared: &Shared, behaviour: Behaviour) -> io::Result<bool> {
    let mut always = false;
    let mut next = behaviour;
    let behaviour = loop {
        next = match next {
            Behaviour::Delay(by, then) => {
                tokio::time::sleep(by).await;
                *then
            }
            Behaviour::Hold(then) => {
                always = true;
                *then
            }
            other => break other,
        };
    };
    shared.pass(always).await;
    match behaviour {
        Behaviour::Answer(reply) => {
            answer(stream, &reply).await?;
            Ok(true)
        }
        Behaviour::Delay(..) | Behaviour::Hold(_) => Ok(false), // unwrapped above
        Behaviour::Silence => {
            // Until the client gives up.
            while stream.read(&mut [0; 1024]).await? > 0 {}
            Ok(false)
        }
        Behaviour::ResetBeforeReading | Behaviour::ResetAfterReading => {
            stream.set_zero_linger()?;
            Ok(false)
        }
        Behaviour::ResetInAnswer(reply, bytes) => {
            stream.write_all(&head(&reply, Some(reply.body.len()))).await?;
            stream.write_all(&reply.body[..bytes.min(reply.body.len())]).await?;
            // A reset throws away what the client has not read yet: give it the time to read.
            tokio::time::sleep(Duration::from_millis(50)).await;
            stream.set_zero_linger()?;
            Ok(false)
        }
        Behaviour::Close => Ok(false),
        Behaviour::CutShort(reply, missing) => {
            let mut bytes = head(&reply, Some(reply.body.len() + missing));
            bytes.extend_from_slice(&reply.body);
            stream.write_all(&bytes).await?;
            stream.shutdown().await?;
            Ok(false)
        }
        Behaviour::Drip { reply, bytes, every } => {
            stream.write_all(&head(&reply, Some(reply.body.len()))).await?;
            for piece in reply.body.chunks(bytes.max(1)) {
                stream.write_all(piece).await?;
                tokio::time::sleep(every).await;
            }
            Ok(true)
        }
        Behaviour::Endless(reply) => {
            stream.write_all(&head(&reply, None)).await?;
            let tail = reply.body.slice(reply.body.len().saturating_sub(64 << 10)..);
            let more = tail.repeat((64 << 10) / tail.len().max(1));
            let mut piece = &reply.body[..];
            while !piece.is_empty() {
                stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
                stream.write_all(piece).await?;
                stream.write_all(b"\r\n").await?;
                piece = &more;
            }
            Ok(false)
        }
    }
}

async fn answer(stream: &mut TcpStream, reply: &Reply) -> io::Result<()> {
    let mut bytes = head(reply, Some(reply.body.len()));
    bytes.extend_from_slice(&reply.body);
    stream.write_all(&bytes).await
}

/// The head of an answer; without a length the body follows in chunks.
fn head(reply: &Reply, length: Option<usize>) -> Vec<u8> {
    let reason = http::StatusCode::from_u16(reply.status).ok().and_then(|s| s.canonical_reason());
    let mut head = format!("HTTP/1.1 {} {}\r\n", reply.status, reason.unwrap_or("Status"));
    for (name, value) in &reply.headers {
        if !name.eq_ignore_ascii_case("content-length") {
            head += &format!("{name}: {value}\r\n");
        }
    }
    match (length, reply.status) {
        (_, 204 | 304) => {}
        (Some(length), _) => head += &format!("content-length: {length}\r\n"),
        (None, _) => head += "transfer-encoding: chunked\r\n",
    }
    head += "\r\n";
    head.into_bytes()
}
