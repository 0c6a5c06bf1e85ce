use super::*;
use crate::outbound::{HostList, resolver::tests::scripted};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::{io::AsyncReadExt as _, net::TcpListener};

/// A server of this machine: answers the nth connection with the nth text (the last one again and again), then
/// closes, or keeps silent where the text ends in `...`.
struct Server {
    at: String,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn answering(texts: &[&str]) -> Server {
        let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap().to_string();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let number = counted.fetch_add(1, Ordering::SeqCst);
                let text = &texts[number.min(texts.len() - 1)];
                let mut request = vec![0; 4096];
                let read = stream.read(&mut request).await.unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..read]).to_lowercase();
                for name in ["authorization:", "cookie:", "referer:", "accept-encoding:"] {
                    assert!(!request.contains(name), "{request}");
                }
                stream.write_all(text.trim_end_matches("...").as_bytes()).await.ok();
                if text.ends_with("...") {
                    open.push(stream);
                }
            }
        });
        Server { at, connections }
    }
    fn url(&self) -> String {
        format!("http://{}/x.png?sig=secret", self.at)
    }
    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
    fn results(&self) -> Guard {
        Guard::results(HostList::new(&[], &[&self.at]).unwrap())
    }
    fn references(&self) -> Guard {
        Guard::references(HostList::new(&[], &[&self.at]).unwrap())
    }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}
fn redirect(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}
const BUSY: &str = "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

struct Desk {
    dir: tempfile::TempDir,
    clients: Clients,
}

impl Desk {
    fn new() -> Desk {
        Desk { dir: tempfile::tempdir().unwrap(), clients: Clients::new().unwrap() }
    }
    async fn fetch(&self, url: &str, guard: &Guard) -> Result<Blob, FetchError> {
        let deadline = Instant::now() + Duration::from_secs(20);
        self.clients.fetch(url, guard, 1_000, deadline, &self.dir.path().join("a")).await
    }
    async fn refusal(&self, url: &str, guard: &Guard) -> String {
        match self.fetch(url, guard).await {
            Err(error @ FetchError::Refused(_)) => error.to_string(),
            other => panic!("not refused: {other:?}"),
        }
    }
    fn files(&self) -> usize {
        std::fs::read_dir(self.dir.path()).unwrap().count()
    }
}

#[tokio::test]
async fn a_result_is_fetched_into_a_file_that_goes_with_its_last_user() {
    let (desk, server) = (Desk::new(), Server::answering(&[&ok("the picture")]).await);
    let blob = desk.fetch(&server.url(), &server.results()).await.unwrap();
    assert_eq!((blob.len(), desk.files()), (11, 1));
    assert_eq!(blob.read().unwrap(), "the picture");
    drop(blob);
    assert_eq!(desk.files(), 0);
}

#[tokio::test]
async fn a_host_that_is_not_listed_sees_no_connection() {
    let (desk, canary) = (Desk::new(), Server::answering(&[&ok("secret")]).await);
    let nobody = Guard::results(HostList::default());
    let anybody = Guard::references(HostList::default());
    for guard in [&nobody, &anybody] {
        let why = desk.refusal(&canary.url(), guard).await;
        assert!(why.contains("127.0.0.1") && !why.contains("secret"), "{why}");
        let port = canary.at.rsplit_once(':').unwrap().1;
        for host in ["localhost", "localhost.", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"] {
            desk.refusal(&format!("http://{host}:{port}/x"), guard).await;
            desk.refusal(&format!("https://{host}:{port}/x"), guard).await;
        }
    }
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn a_redirect_inside_is_refused_and_the_place_sees_no_connection() {
    let (desk, canary) = (Desk::new(), Server::answering(&[&ok("secret")]).await);
    let port = canary.at.rsplit_once(':').unwrap().1.to_owned();
    for host in ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]", "ok@127.0.0.1"] {
        let server = Server::answering(&[&redirect(&format!("http://{host}:{port}/x"))]).await;
        desk.refusal(&server.url(), &server.references()).await;
        assert_eq!(server.connections(), 1, "the listed host itself was asked");
    }
    for elsewhere in ["file:///etc/passwd", "gopher://127.0.0.1/x", "//169.254.169.254/x", "http://[/"] {
        let server = Server::answering(&[&redirect(elsewhere)]).await;
        desk.refusal(&server.url(), &server.references()).await;
    }
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn a_reference_follows_three_redirects_and_a_result_none() {
    let desk = Desk::new();
    let on = redirect("/next");
    let server = Server::answering(&[&on, &on, &on, &ok("there")]).await;
    assert_eq!(desk.fetch(&server.url(), &server.references()).await.unwrap().read().unwrap(), "there");

    let server = Server::answering(&[&on]).await;
    desk.refusal(&server.url(), &server.references()).await;
    assert_eq!(server.connections(), 4);

    let server = Server::answering(&[&on]).await;
    let why = desk.refusal(&server.url(), &server.results()).await;
    assert!(why.contains("127.0.0.1"), "{why}");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_result_is_tried_three_times_while_the_host_is_busy() {
    let desk = Desk::new();
    let server = Server::answering(&[BUSY, "", &ok("late but here")]).await;
    assert!(desk.fetch(&server.url(), &server.results()).await.is_ok(), "a 503, then a closed connection");

    let server = Server::answering(&[BUSY]).await;
    let error = desk.fetch(&server.url(), &server.results()).await.unwrap_err();
    assert!(matches!(error, FetchError::Status { status: 503, .. }), "{error}");
    assert_eq!(server.connections(), 3);

    let server = Server::answering(&["HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n"]).await;
    let error = desk.fetch(&server.url(), &server.results()).await.unwrap_err();
    assert!(matches!(error, FetchError::Status { status: 403, .. }), "{error}");
    assert_eq!(server.connections(), 1, "an answer of the vendor's own is not asked for again");
}

#[tokio::test]
async fn a_file_over_the_cap_is_given_up_announced_or_not() {
    let desk = Desk::new();
    let long = "x".repeat(1_001);
    let chunked = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n{long}\r\n0\r\n\r\n");
    for answer in [ok(&long), chunked] {
        let server = Server::answering(&[&answer]).await;
        let error = desk.fetch(&server.url(), &server.results()).await.unwrap_err();
        assert!(matches!(error, FetchError::TooLarge { cap: 1_000, .. }), "{error}");
        assert_eq!((server.connections(), desk.files()), (1, 0));
    }
}

#[tokio::test]
async fn a_body_that_stops_is_given_up_at_the_deadline() {
    let desk = Desk::new();
    let server = Server::answering(&["HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf of it..."]).await;
    let deadline = Instant::now() + Duration::from_millis(300);
    let into = desk.dir.path().join("a");
    let error =
        desk.clients.fetch(&server.url(), &server.results(), 1_000, deadline, &into).await.unwrap_err();
    assert!(matches!(error, FetchError::Late { .. }), "{error}");
    assert_eq!(desk.files(), 0);
}

#[tokio::test]
async fn a_cut_body_is_no_file() {
    let desk = Desk::new();
    let server = Server::answering(&["HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"]).await;
    let error = desk.fetch(&server.url(), &server.results()).await.unwrap_err();
    assert!(matches!(error, FetchError::Unreachable { .. }), "{error}");
    assert_eq!((server.connections(), desk.files()), (3, 0));
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused_when_it_is_resolved() {
    let mut desk = Desk::new();
    desk.clients = Clients::with_lookup(scripted(&[&["127.0.0.1", "10.0.0.1"]])).unwrap();
    let guard = Guard::results(HostList::new(&["*.example.com"], &[]).unwrap());
    let why = desk.refusal("https://img.example.com/x?sig=secret", &guard).await;
    assert!(why.contains("img.example.com") && why.contains("127.0.0.1") && !why.contains("secret"), "{why}");
}
