//! A real S3 server (s3s over a folder) on a real socket, which can be broken, stopped and started again.

use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::{
    Body,
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

const ID: &str = "test-access-key";
const SECRET: &str = "test-secret-key";
const BUCKET: &str = "pics";

/// What the server does instead of its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketTrouble {
    /// Every request is answered with this status and S3 error code.
    Answer(u16, &'static str),
    /// Every write is answered so; everything else works.
    Writes(u16, &'static str),
    /// The connection breaks off before an answer.
    Reset,
    /// No answer comes.
    Stall,
    /// A write is answered as if it were done, and is not.
    Forget,
    /// A write is done and answered as if the server had failed.
    Deny,
    /// Writes on a condition are answered as by a server that knows none.
    NoConditions,
}

/// An S3 server with one bucket, `pics`.
pub struct BucketServer {
    folder: tempfile::TempDir,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    serving: Option<tokio::task::JoinHandle<()>>,
}

struct Shared {
    service: S3Service,
    trouble: Mutex<Option<BucketTrouble>>,
    seen: Mutex<Vec<String>>,
}

impl BucketServer {
    pub async fn start() -> BucketServer {
        BucketServer::with(None).await
    }

    /// Over TLS, as `localhost`, with a certificate that only [`BucketServer::ca_file`] vouches for.
    pub async fn start_tls() -> BucketServer {
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
        rustls::crypto::ring::default_provider().install_default().ok();
        let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src/edge/tests/testdata");
        let chain = CertificateDer::pem_file_iter(files.join("localhost-cert.pem")).unwrap();
        let chain = chain.map(|cert| cert.unwrap()).collect();
        let key = PrivateKeyDer::from_pem_file(files.join("localhost-key.pem")).unwrap();
        let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
        BucketServer::with(Some(TlsAcceptor::from(Arc::new(config.unwrap())))).await
    }

    async fn with(tls: Option<TlsAcceptor>) -> BucketServer {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(ID, SECRET));
        let shared = Shared { service: builder.build(), trouble: Mutex::default(), seen: Mutex::default() };
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = BucketServer { folder, address, tls, shared: Arc::new(shared), serving: None };
        server.start_again().await;
        server
    }

    /// Serves at the same address what it had before.
    pub async fn start_again(&mut self) {
        self.stop().await;
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address).unwrap();
        let listener = socket.listen(1024).unwrap();
        self.address = listener.local_addr().unwrap();
        self.serving = Some(tokio::spawn(serve(listener, self.tls.clone(), self.shared.clone())));
    }

    /// Closes the socket and every connection; the objects stay.
    pub async fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            serving.await.ok();
        }
    }

    pub fn trouble(&self, trouble: Option<BucketTrouble>) {
        *self.shared.trouble.lock().unwrap() = trouble;
    }

    pub fn url(&self) -> String {
        match self.tls {
            Some(_) => format!("https://localhost:{}", self.address.port()),
            None => format!("http://{}", self.address),
        }
    }

    /// The PEM file with the authority of its certificate.
    pub fn ca_file() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src/edge/tests/testdata/localhost-cert.pem")
    }

    /// What `storage.options` of the gateway must be.
    pub fn options(&self) -> Value {
        json!({"bucket": BUCKET, "endpoint": self.url(), "access_key_id": ID, "secret_access_key": SECRET})
    }

    /// The folder of the bucket's objects, one file each, named by its key.
    pub fn objects(&self) -> PathBuf {
        self.folder.path().join(BUCKET)
    }

    /// The keys of all objects, sorted.
    pub fn keys(&self) -> Vec<String> {
        fn below(folder: &Path, keys: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { below(&path, keys) } else { keys.push(path) }
            }
        }
        let (root, mut files) = (self.objects(), Vec::new());
        below(&root, &mut files);
        let name = |path: &PathBuf| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let mut keys: Vec<String> = files.iter().map(name).collect();
        keys.sort();
        keys
    }

    /// Methods and paths of the requests so far, such as `PUT /pics/a.png?partNumber=1`.
    pub fn seen(&self) -> Vec<String> {
        self.shared.seen.lock().unwrap().clone()
    }
}

impl Drop for BucketServer {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    // Dropped with this future, and with it every connection.
    let mut connections = JoinSet::new();
    loop {
        let Ok((socket, _)) = listener.accept().await else { return };
        socket.set_nodelay(true).ok();
        let (tls, shared) = (tls.clone(), shared.clone());
        connections.spawn(async move {
            match tls {
                Some(tls) => {
                    if let Ok(stream) = tls.accept(socket).await {
                        talk(stream, shared).await;
                    }
                }
                None => talk(socket, shared).await,
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, shared: Arc<Shared>) {
    let answer = service_fn(move |request| answer(request, shared.clone()));
    let http = Builder::new(TokioExecutor::new());
    http.serve_connection(TokioIo::new(stream), answer).await.ok();
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Body>, std::io::Error> {
    let what = format!("{} {}", request.method(), request.uri().path_and_query().unwrap());
    let writes = matches!(request.method().as_str(), "PUT" | "POST") && !what.contains("?delete");
    shared.seen.lock().unwrap().push(what);
    let conditional = request.headers().contains_key("if-none-match");
    let trouble = *shared.trouble.lock().unwrap();
    let broken = || Err(std::io::ErrorKind::ConnectionReset.into());
    match trouble {
        Some(BucketTrouble::Answer(status, code)) => return Ok(refusal(status, code)),
        Some(BucketTrouble::Writes(status, code)) if writes => return Ok(refusal(status, code)),
        Some(BucketTrouble::NoConditions) if writes && conditional => {
            return Ok(refusal(501, "NotImplemented"));
        }
        Some(BucketTrouble::Forget) if writes => {
            let mut done = Response::new(Body::empty());
            done.headers_mut().insert("etag", "\"00\"".parse().unwrap());
            return Ok(done);
        }
        Some(BucketTrouble::Reset) => return broken(),
        Some(BucketTrouble::Stall) => std::future::pending().await,
        _ => {}
    }
    if !request.uri().path().trim_start_matches('/').starts_with(BUCKET) {
        return Ok(refusal(404, "NoSuchBucket")); // s3s-fs would make a folder
    }
    let done = shared.service.call(request.map(Body::from)).await;
    let succeeded = done.as_ref().is_ok_and(|answer| answer.status().is_success());
    if trouble == Some(BucketTrouble::Deny) && writes && succeeded {
        return Ok(refusal(500, "InternalError"));
    }
    done.or_else(|_| broken())
}

fn refusal(status: u16, code: &str) -> Response<Body> {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>told to</Message>\
         <Resource>/</Resource><RequestId>1</RequestId></Error>"
    );
    let mut answer = Response::new(Body::from(text));
    *answer.status_mut() = status.try_into().unwrap();
    answer
}
