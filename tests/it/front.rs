//! What the front answers besides MCP, and what it refuses.

use crate::support::{Gateway, config};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

#[tokio::test]
async fn the_home_page_and_the_health_routes_need_no_key() {
    let gateway = Gateway::fresh().await;
    let client = gateway.client();
    let at = |path: &str| format!("{}{path}", gateway.url());

    let health: Value = client.get(&at("/health")).await.json().await.unwrap();
    assert_eq!(health["status"], "healthy", "{health}");
    for field in ["service", "version", "architecture", "timestamp"] {
        assert!(health[field].is_string(), "a predecessor's field {field}: {health}");
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(client.get(&at(path)).await.status(), StatusCode::OK, "{path}");
    }

    let home = client.get(&at("/")).await;
    assert!(home.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    let home = home.text().await.unwrap();
    let url = format!("{}/mcp", gateway.url());
    for word in [
        url.as_str(),
        "generate_image",
        "list_models",
        "Cursor",
        "Claude Desktop",
        "Inspector",
        "claude mcp add",
    ] {
        assert!(home.contains(word), "the home page has {word}");
    }
    assert!(!home.contains(&gateway.key()), "the home page is public: no key on it");

    let nowhere = client.get(&at("/nowhere")).await;
    assert_eq!(nowhere.status(), StatusCode::NOT_FOUND);
    assert!(nowhere.headers().contains_key("x-request-id"), "every answer can be named to the operator");
}

#[tokio::test]
async fn a_foreign_page_is_kept_out_and_a_preflight_is_answered() {
    let gateway =
        Gateway::start(config().set("server.allowed_origins", json!(["https://app.example.com"]))).await;
    let client = gateway.client();
    let url = format!("{}/mcp", gateway.url());
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
    let post = |name: &'static str, value: &str| {
        let call =
            client.http().post(&url).bearer_auth(client.key()).header("content-type", "application/json");
        call.header(name, value.to_owned()).body(list.clone()).send()
    };
    assert_eq!(post("origin", "https://evil.example.com").await.unwrap().status(), StatusCode::FORBIDDEN);
    let foreign_host = post("host", "evil.example.com").await.unwrap().status();
    assert!(foreign_host.is_client_error(), "a name that somebody pointed at 127.0.0.1: {foreign_host}");
    let friend = post("origin", "https://app.example.com").await.unwrap();
    assert_eq!(friend.status(), StatusCode::OK);
    assert_eq!(friend.headers()["access-control-allow-origin"], "https://app.example.com");

    let preflight = client
        .http()
        .request(Method::OPTIONS, &url)
        .header("origin", "https://app.example.com")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization, content-type, mcp-session-id")
        .send()
        .await
        .unwrap();
    assert!(preflight.status().is_success(), "before any key: {}", preflight.status());
    let allowed = preflight.headers()["access-control-allow-headers"].to_str().unwrap().to_ascii_lowercase();
    for name in ["authorization", "mcp-session-id", "mcp-protocol-version", "last-event-id"] {
        assert!(allowed.contains(name), "{name} in {allowed}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_read_whole() {
    let gateway = Gateway::start(config().set("server.limits.body", "64KiB")).await;
    let client = gateway.client();
    let small = client
        .post_text(format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"{}}}", " ".repeat(60_000)))
        .await;
    assert_eq!(small.status(), StatusCode::OK);
    let large = client.post_text(" ".repeat(100_000)).await;
    assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let health = client.get(&format!("{}/livez", gateway.url())).await;
    assert_eq!(health.status(), StatusCode::OK, "and the gateway goes on");
}

#[tokio::test]
async fn the_endpoint_takes_posts_of_json_only() {
    let gateway = Gateway::fresh().await;
    let client = gateway.client();
    let url = format!("{}/mcp", gateway.url());
    let typed =
        client.http().post(&url).bearer_auth(client.key()).header("content-type", "text/plain").body("{}");
    assert_eq!(typed.send().await.unwrap().status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    for method in [Method::GET, Method::DELETE] {
        let call = client.http().request(method.clone(), &url).bearer_auth(client.key());
        let answer = call.header("mcp-protocol-version", "2026-07-28").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} in the newest era");
        assert!(answer.headers()["allow"].to_str().unwrap().contains("POST"));
    }
}

#[tokio::test]
async fn http_2_without_tls_is_served_on_the_same_port() {
    let gateway = Gateway::fresh().await;
    let http = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
    let call = http.post(format!("{}/mcp", gateway.url())).bearer_auth(gateway.key());
    let answer = call.header("content-type", "application/json").body(body).send().await.unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, reqwest::Version::HTTP_2));
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["result"]["tools"].as_array().unwrap().len(), 16);
}

#[tokio::test]
async fn a_refusal_keeps_the_connection() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let gateway = Gateway::fresh().await;
    let address = gateway.url().trim_start_matches("http://").to_owned();
    let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    let post = |key: &str, body: &str| {
        format!(
            "POST /mcp HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let key = gateway.key();
    for (key, body, status) in [
        ("wrong", r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, "401"),
        (key.as_str(), "no json", "400"),
        (&key, r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, "202"),
        (&key, r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, "200"),
    ] {
        stream.write_all(post(key, body).as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        loop {
            let read = stream.read_buf(&mut answer).await.unwrap();
            assert!(read > 0, "{status}: the connection was closed");
            let text = String::from_utf8_lossy(&answer).to_lowercase();
            let Some((head, rest)) = text.split_once("\r\n\r\n") else { continue };
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if rest.len() >= length.unwrap_or(0) {
                assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
                break;
            }
        }
    }
}
