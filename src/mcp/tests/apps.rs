//! The page for hosts that render one, and who is told of it.

use super::*;
use crate::{jobs::Offered, mcp::apps};

fn capabilities(mime: &str) -> Value {
    json!({"extensions": {"io.modelcontextprotocol/ui": {"mimeTypes": [mime]}}})
}

/// A request of the newest era whose client has capabilities.
fn of_client(capabilities: &Value, method: &str, params: Value) -> Request<Bytes> {
    let (head, body) = Peer::Modern.request(method, params).into_parts();
    let mut message: Value = serde_json::from_slice(&body).unwrap();
    message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = capabilities.clone();
    Request::from_parts(head, message.to_string().into())
}

/// The tools of a list that name the page.
fn shown(list: &Value) -> Vec<&str> {
    let tools = list["result"]["tools"].as_array().unwrap_or_else(|| panic!("{list}"));
    let named = tools.iter().filter(|tool| tool["_meta"]["ui"]["resourceUri"] == apps::URI);
    named.map(|tool| tool["name"].as_str().unwrap()).collect()
}

fn lists_page(list: &Value) -> bool {
    list["result"]["resources"]
        .as_array()
        .unwrap()
        .iter()
        .any(|resource| resource["uri"] == apps::URI && resource["mimeType"] == "text/html;profile=mcp-app")
}

const WITH_IMAGES: [&str; 4] =
    ["generate_image_and_wait", "wait_for_completion", "list_generations", "get_image_data"];

#[tokio::test]
async fn only_clients_that_render_the_page_are_told_of_it() {
    let scene = scene();
    // Lists are kept as they were written: one client's must not become another's.
    *scene.fake.offered.lock() = Some(Offered::new(Arc::new(()), vec!["*".into()]));
    let ours = capabilities(apps::MIME);
    for (capabilities, renders) in
        [(ours.clone(), true), (json!({}), false), (capabilities("text/html"), false), (ours, true)]
    {
        let ask = async |method| body(&scene.whole(of_client(&capabilities, method, json!({}))).await);
        let (tools, resources) = (ask("tools/list").await, ask("resources/list").await);
        let expected = if renders { &WITH_IMAGES[..] } else { &[] };
        assert_eq!((shown(&tools), lists_page(&resources)), (expected.to_vec(), renders), "{capabilities}");
        assert_eq!(tools["result"]["tools"].to_string().contains("_meta"), renders, "{capabilities}");
    }
    for peer in [Peer::Bare, Peer::Old, Peer::Legacy] {
        let tools = body(&scene.whole(peer.request("tools/list", json!({}))).await);
        assert!(!tools.to_string().contains("_meta"), "{peer:?}");
    }
}

#[tokio::test]
async fn a_session_and_a_process_remember_what_the_handshake_declared() {
    let scene = scene();
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": capabilities(apps::MIME),
        "clientInfo": {"name": "host", "version": "1"}});
    let opened = scene.whole(Peer::Legacy.request("initialize", hello.clone())).await;
    let id = opened.headers()["mcp-session-id"].clone();
    let ask = async |method| {
        let mut request = Peer::Legacy.request(method, json!({}));
        request.headers_mut().insert("mcp-session-id", id.clone());
        body(&scene.whole(request).await)
    };
    assert_eq!(shown(&ask("tools/list").await), WITH_IMAGES);
    assert!(lists_page(&ask("resources/list").await));

    let mut process = stdio::process();
    process.send(1, "initialize", hello).await;
    process.read().await;
    process.send(2, "tools/list", json!({})).await;
    assert_eq!(shown(&process.read().await), WITH_IMAGES);
}

#[tokio::test]
async fn on_the_blocking_path_what_generates_shows_images_too() {
    let scene = scene();
    let request = of_client(&capabilities(apps::MIME), "tools/list", json!({}));
    let Reply::Whole(response) = scene.reply_of(Profile::Blocking, request).await else { panic!("a stream") };
    let list = body(&response);
    let shown = shown(&list);
    assert!(shown.contains(&"generate_image") && shown.contains(&"edit_image"), "{shown:?}");
}

#[tokio::test]
async fn the_page_is_read_with_what_it_may_load() {
    let scene = scene();
    for peer in [Peer::Legacy, Peer::Modern] {
        let answer = body(&scene.whole(peer.request("resources/read", json!({"uri": apps::URI}))).await);
        let page = &answer["result"]["contents"][0];
        assert_eq!(
            (&page["uri"], &page["mimeType"]),
            (&json!(apps::URI), &json!("text/html;profile=mcp-app"))
        );
        let ui = json!({"csp": {"resourceDomains": ["https://images.example.com"]}, "prefersBorder": false});
        assert_eq!(page["_meta"], json!({ "ui": ui }));
        let text = page["text"].as_str().unwrap();
        assert!(text.starts_with("<!doctype html>"));
        for outside in ["<link", "@import", "<script src", "url(", "innerHTML", "eval("] {
            assert!(!text.contains(outside), "self-contained, and nobody's words become markup: {outside}");
        }
    }
    let other = Peer::Legacy.request("resources/read", json!({"uri": "ui://image-gateway/other"}));
    assert!(body(&scene.whole(other).await)["error"].is_object());
}
