//! Both eras of MCP side by side, with the client of the Rust SDK and by hand.

use crate::support::{Config, Gateway, config};
use reqwest::StatusCode;
use rmcp::{
    ClientHandler, ClientLifecycleMode, ClientServiceExt, RoleClient,
    model::{
        CallToolRequestParams, ClientRequest, ProgressNotificationParam, ProtocolVersion, Request,
        ServerResult,
    },
    service::{NotificationContext, PeerRequestOptions, RunningService},
    transport::{StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig},
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// A host that keeps what it hears on the way.
#[derive(Clone)]
struct Host {
    progress: mpsc::UnboundedSender<ProgressNotificationParam>,
}

impl ClientHandler for Host {
    async fn on_progress(&self, params: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.progress.send(params).ok();
    }
}

struct Session {
    client: RunningService<RoleClient, Host>,
    progress: mpsc::UnboundedReceiver<ProgressNotificationParam>,
}

fn legacy() -> ClientLifecycleMode {
    ClientLifecycleMode::Initialize
}
fn modern() -> ClientLifecycleMode {
    ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] }
}

async fn connect(gateway: &Gateway, era: ClientLifecycleMode) -> Session {
    let config = StreamableHttpClientTransportConfig::with_uri(format!("{}/mcp", gateway.url()))
        .auth_header(gateway.key());
    let transport = StreamableHttpClientTransport::from_config(config);
    let (sender, progress) = mpsc::unbounded_channel();
    let client =
        Host { progress: sender }.serve_with_lifecycle(transport, era).await.expect("they agree on an era");
    Session { client, progress }
}

fn call(name: &'static str, arguments: Value) -> CallToolRequestParams {
    CallToolRequestParams::new(name).with_arguments(arguments.as_object().cloned().unwrap())
}

async fn a_host_lists_calls_and_hears_of_progress(era: ClientLifecycleMode) {
    let slow: Config = config().placeholder(json!({"delay": "600ms"}));
    let gateway = Gateway::start(slow).await;
    let Session { client, mut progress } = connect(&gateway, era).await;
    let tools = client.list_all_tools().await.unwrap();
    assert_eq!(tools.len(), 16);

    let generate = call("generate_image_and_wait", json!({"prompt": "a fox", "size": "256x256"}));
    let request = ClientRequest::CallToolRequest(Request::new(generate));
    let handle = client.send_cancellable_request(request, PeerRequestOptions::no_options()).await.unwrap();
    let token = handle.progress_token.clone();
    let ServerResult::CallToolResult(result) = handle.await_response().await.unwrap() else {
        panic!("it is the result of a tool");
    };
    assert_ne!(result.is_error, Some(true), "{result:?}");
    let object = result.structured_content.clone().unwrap();
    assert_eq!((&object["success"], &object["status"]), (&json!(true), &json!("completed")));
    let content = serde_json::to_value(&result.content).unwrap();
    let kinds: Vec<&str> =
        content.as_array().unwrap().iter().map(|block| block["type"].as_str().unwrap()).collect();
    assert_eq!(kinds[0], "text", "the text block is first");
    assert!(
        kinds.contains(&"image") && kinds.contains(&"resource_link"),
        "a host is shown the picture: {kinds:?}"
    );
    let heard = progress.recv().await.expect("progress was told on the way");
    assert_eq!(heard.progress_token, token, "under the token of the call");

    let unknown = client.call_tool(call("get_job_status", json!({"job_id": "nope"}))).await.unwrap();
    assert_eq!(unknown.is_error, Some(true), "a failure of a tool is a result");
    let none = client.call_tool(call("no_such_tool", json!({}))).await;
    assert!(none.is_err_and(
        |error| error.to_string().contains("-32602") || error.to_string().contains("unknown tool")
    ));
    client.cancel().await.unwrap();
}

#[tokio::test]
async fn a_host_of_the_initialize_era_works() {
    a_host_lists_calls_and_hears_of_progress(legacy()).await;
}

#[tokio::test]
async fn a_host_of_2026_works() {
    a_host_lists_calls_and_hears_of_progress(modern()).await;
}

#[tokio::test]
async fn a_host_that_tries_both_ends_up_in_the_newer_one() {
    let gateway = Gateway::fresh().await;
    let auto = ClientLifecycleMode::Auto {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        legacy_version: None,
    };
    let session = connect(&gateway, auto).await;
    let peer = session.client.peer_info().unwrap();
    assert_eq!(peer.protocol_version, ProtocolVersion::V_2026_07_28);
    session.client.cancel().await.unwrap();
}

#[tokio::test]
async fn every_older_version_is_negotiated_and_an_unknown_one_gets_the_newest_of_them() {
    let gateway = Gateway::fresh().await;
    let client = gateway.client();
    let table = [
        ("2025-11-25", "2025-11-25"),
        ("2025-06-18", "2025-06-18"),
        ("2025-03-26", "2025-03-26"),
        ("2024-11-05", "2024-11-05"),
        ("2026-07-28", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
    ];
    for (asked, got) in table {
        let params = json!({"protocolVersion": asked, "capabilities": {}, "clientInfo": {"name": "story", "version": "1"}});
        let answer = client.rpc("initialize", params).await;
        let result = &answer["result"];
        assert_eq!(result["protocolVersion"], got, "asked for {asked}: {answer}");
        assert!(
            result["serverInfo"]["name"].is_string() && result["capabilities"]["tools"].is_object(),
            "{answer}"
        );
        assert!(result.get("resultType").is_none(), "nothing of the newer era: {answer}");
    }
}

#[tokio::test]
async fn the_newest_era_is_served_without_a_handshake_and_checks_its_headers() {
    let gateway = Gateway::fresh().await;
    let client = gateway.client();
    let (status, _, discovered) = client.modern("server/discover", json!({})).await;
    assert_eq!(status, StatusCode::OK);
    let versions = discovered["result"]["supportedVersions"].as_array().unwrap();
    assert!(versions.contains(&json!("2026-07-28")), "{discovered}");

    let (_, _, list) = client.modern("tools/list", json!({})).await;
    let list = &list["result"];
    assert_eq!((&list["resultType"], list["ttlMs"].is_u64()), (&json!("complete"), true), "{list}");
    let (_, _, called) = client.modern("tools/call", json!({"name": "list_jobs", "arguments": {}})).await;
    assert_eq!(called["result"]["structuredContent"]["success"], true, "{called}");

    let (status, _, gone) = client.modern("ping", json!({})).await;
    assert_eq!((status, &gone["error"]["code"]), (StatusCode::NOT_FOUND, &json!(-32601)), "ping was removed");

    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_jobs", "_meta": meta}});
    let send = async |version: &str, method: &str, name: &str| {
        let call = client.http().post(format!("{}/mcp", gateway.url())).bearer_auth(client.key());
        let call = call
            .header("content-type", "application/json")
            .header("mcp-protocol-version", version.to_owned());
        let call = call.header("mcp-method", method.to_owned()).header("mcp-name", name.to_owned());
        let answer = call.body(body.to_string()).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap()["error"]["code"].as_i64())
    };
    assert_eq!(send("2026-07-28", "tools/call", "list_jobs").await, (200, None));
    for (version, method, name) in [
        ("2025-11-25", "tools/call", "list_jobs"),
        ("2026-07-28", "tools/list", "list_jobs"),
        ("2026-07-28", "tools/call", "cancel_job"),
    ] {
        assert_eq!(send(version, method, name).await, (400, Some(-32020)), "{version} {method} {name}");
    }
}

/// A call that waits, with a stream for its answer; the caller may hang up.
async fn hang_up_on_a_wait(gateway: &Gateway, modern: bool, upstream: &testkit::FakeUpstream) -> Value {
    let client = gateway.client();
    client.generate("runs").await;
    upstream.wait_for_requests(1).await;
    let mut params = json!({"name": "generate_image_and_wait", "arguments": {"prompt": "waits"}});
    params["_meta"] = json!({"progressToken": "p"});
    let mut call = client.http().post(format!("{}/mcp", gateway.url())).bearer_auth(client.key());
    call = call
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream");
    if modern {
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
        call = call.header("mcp-protocol-version", "2026-07-28").header("mcp-method", "tools/call");
        call = call.header("mcp-name", "generate_image_and_wait");
    } else {
        call = call.header("mcp-protocol-version", "2025-11-25");
    }
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let stream = call.body(body.to_string()).send().await.unwrap();
    assert!(stream.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    let waiting = crate::support::eventually("the second job waits", async || {
        let jobs = client.tool("list_jobs", json!({"status": "pending"})).await.ok().json;
        jobs["jobs"].get(0).cloned()
    })
    .await;
    drop(stream);
    waiting
}

async fn one_at_a_time() -> (testkit::FakeUpstream, Gateway) {
    let upstream = testkit::FakeUpstream::start().await;
    upstream.default(crate::support::vendor::openai_picture()).hold();
    let gateway = Gateway::start(config().openai(&upstream).set("providers.openai.concurrency", 1)).await;
    (upstream, gateway)
}

#[tokio::test]
async fn hanging_up_cancels_what_was_not_sent_in_the_newest_era() {
    let (upstream, gateway) = one_at_a_time().await;
    let waiting = hang_up_on_a_wait(&gateway, true, &upstream).await;
    gateway.client().until_status(waiting["id"].as_str().unwrap(), "cancelled").await;
    upstream.release();
}

#[tokio::test]
async fn hanging_up_means_nothing_in_the_older_eras() {
    let (upstream, gateway) = one_at_a_time().await;
    let waiting = hang_up_on_a_wait(&gateway, false, &upstream).await;
    upstream.release();
    let client = gateway.client();
    client.wait(waiting["id"].as_str().unwrap()).await.ok();
    assert_eq!(upstream.submissions(), 2);
}
