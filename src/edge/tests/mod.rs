//! The front in this process, on a free port, with doubles behind it; clients are raw sockets and reqwest.

mod doors;
mod park;
mod requests;
mod stop;
mod tls;
mod wire;

use super::*;
use crate::{
    auth::{self, FileKey, Keys, Secrets},
    limits::{self, Rates},
    mcp::Paths,
    telemetry::ManualClock,
};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use parking_lot::Mutex;
use plugin_api::value::{ByteSize, Secret, Span};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
};
use wire::{Reply, Wire};

const KEY: &str = "test-key";
/// For anything that must happen; only a failing test waits this long.
const SOON: Duration = Duration::from_secs(10);

/// Waits for what must happen soon.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("it did not happen in time")
}

/// Does what the header `x-do` says; answers with what it saw.
#[derive(Default)]
struct FakeMcp {
    calls: Mutex<Vec<http::Request<Bytes>>>,
    started: Notify,
    go_on: Notify,
    dropped: Arc<Notify>,
    stream: Mutex<Option<mpsc::Sender<Bytes>>>,
}

struct TellsWhenDropped(Arc<Notify>);

impl Drop for TellsWhenDropped {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[async_trait]
impl McpHandler for FakeMcp {
    async fn call(&self, request: http::Request<Bytes>, who: Arc<auth::Principal>, door: Endpoint) -> Answer {
        let _alive = TellsWhenDropped(self.dropped.clone());
        let what = request.headers().get("x-do").map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
        let text =
            format!("{} {door:?} {}/{} {} bytes", request.method(), who.team, who.key, request.body().len());
        self.calls.lock().push(request);
        self.started.notify_one();
        match what.as_str() {
            "wait" => self.go_on.notified().await,
            "stream" => {
                let (sender, receiver) = mpsc::channel(4);
                *self.stream.lock() = Some(sender);
                let mut answer = Answer::new(Body::Stream(Box::new(receiver)));
                answer.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
                return answer;
            }
            _ => {}
        }
        answer::whole(http::StatusCode::OK, "text/plain", text)
    }
}

struct FakeImages;

#[async_trait]
impl ImageHandler for FakeImages {
    async fn serve(&self, name: &str, query: &str, _: &HeaderMap) -> Answer {
        answer::whole(http::StatusCode::OK, "image/png", format!("{name}|{query}"))
    }
}

/// Knows one link, `good`.
struct FakeUploads;

#[async_trait]
impl UploadHandler for FakeUploads {
    fn admit(&self, token: &str) -> Result<(), Refusal> {
        if token == "good" { Ok(()) } else { Err(Refusal::not_found()) }
    }
    async fn put(&self, token: &str, bytes: Bytes) -> Result<Answer, Refusal> {
        match token {
            "good" => {
                Ok(answer::whole(http::StatusCode::CREATED, "application/json", format!("{}", bytes.len())))
            }
            _ => Err(Refusal::not_found()),
        }
    }
}

#[derive(Default)]
struct FakeStandings(Mutex<Standing>);

#[async_trait]
impl Standings for FakeStandings {
    async fn standing(&self) -> Standing {
        *self.0.lock()
    }
}

struct Rig {
    address: SocketAddr,
    mcp: Arc<FakeMcp>,
    standings: Arc<FakeStandings>,
    keys: Arc<Keys>,
    stop: watch::Sender<bool>,
    served: JoinHandle<Result<bool, BindError>>,
}

#[derive(Default)]
struct Setup {
    edge: Settings,
    limits: limits::Settings,
}

impl Setup {
    fn with(change: impl FnOnce(&mut Settings)) -> Setup {
        let mut setup = Setup::default();
        change(&mut setup.edge);
        setup
    }

    fn caps(change: impl FnOnce(&mut RequestLimits)) -> Setup {
        Setup::with(|edge| change(&mut edge.limits))
    }

    async fn start(mut self) -> Rig {
        self.edge.listen = plugin_api::value::OneOrMany::One("127.0.0.1:0".into());
        let key = FileKey { id: "ci".into(), key: Secret::new(KEY), ..FileKey::default() };
        let auth = auth::Settings { keys: vec![key], ..auth::Settings::default() };
        let clock = ManualClock::at(1_700_000_000_123_000);
        let keys = Arc::new(Keys::new(&auth, &Secrets::new(&[1; 32], &[]), clock.clone()).unwrap());
        keys.replace(Vec::new());
        let mcp = Arc::new(FakeMcp::default());
        let standings = Arc::new(FakeStandings::default());
        *standings.0.lock() = Standing { database: true, queue: true, storage: true };
        let faces = Faces {
            mcp: mcp.clone(),
            images: Arc::new(FakeImages),
            uploads: Arc::new(FakeUploads),
            standings: standings.clone(),
            keys: keys.clone(),
            rates: Arc::new(ArcSwap::from_pointee(Rates::new(&self.limits, [], []))),
            paths: Paths::default(),
            tools: vec![ToolCard { name: "generate_image".into(), description: "Draws <it>.".into() }],
            exe: "image-gateway".into(),
            clock,
        };
        let bound = bind(self.edge).await.unwrap();
        let address = bound.addresses()[0];
        let (stop, stopped) = watch::channel(false);
        let served = tokio::spawn(bound.serve(faces, stopped));
        Rig { address, mcp, standings, keys, stop, served }
    }
}

async fn start() -> Rig {
    Setup::default().start().await
}

impl Rig {
    async fn wire(&self) -> Wire {
        Wire::connect(self.address).await
    }

    /// One request on a connection of its own.
    async fn ask(&self, request: &str) -> Reply {
        let mut wire = self.wire().await;
        wire.send(request).await;
        wire.reply().await
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// A POST with the key, further header lines and a body.
fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

fn http2_client() -> reqwest::Client {
    rustls::crypto::ring::default_provider().install_default().ok();
    reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap()
}
