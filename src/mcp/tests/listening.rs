//! Clients that hear when lists change.

use super::{stdio::process, *};
use crate::mcp::EventStream;

async fn listen(scene: &Scene, wanted: Value) -> EventStream {
    let params = json!({"notifications": wanted});
    match scene.reply(Peer::Modern.request("subscriptions/listen", params)).await {
        Reply::Stream(head, stream) => {
            assert_eq!(head.headers()["content-type"], "text/event-stream");
            stream
        }
        Reply::Whole(response) => panic!("a stream was expected: {}", body(&response)),
        Reply::Listen(..) => panic!("the stream of a session was not asked for"),
    }
}

/// The next message of a stream, comments left out.
async fn message(stream: &mut EventStream) -> Option<Value> {
    loop {
        let frame = stream.next().await?;
        let frame = String::from_utf8(frame.to_vec()).unwrap();
        if let Some(at) = frame.find("data: ") {
            return serde_json::from_str(frame[at + 6..].trim()).ok();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_modern_client_hears_of_changes_on_its_own_stream() {
    let scene = scene();
    let response = scene.whole(Peer::Modern.request("server/discover", json!({}))).await;
    assert_eq!(body(&response)["result"]["capabilities"]["tools"]["listChanged"], true);
    let mut stream = listen(&scene, json!({"toolsListChanged": true, "resourcesListChanged": true})).await;
    let acknowledged = message(&mut stream).await.unwrap();
    assert_eq!(
        acknowledged["params"]["notifications"],
        json!({"toolsListChanged": true, "resourcesListChanged": true})
    );
    scene.mcp.lists_changed();
    for method in ["notifications/tools/list_changed", "notifications/resources/list_changed"] {
        let told = message(&mut stream).await.unwrap();
        assert_eq!(
            (&told["method"], &told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"]),
            (&json!(method), &json!(7))
        );
    }
    scene.mcp.stop_listening();
    assert_eq!(message(&mut stream).await.unwrap()["result"]["resultType"], "complete");
    assert!(message(&mut stream).await.is_none());
}

#[tokio::test]
async fn what_is_no_subscription_is_refused() {
    let scene = scene();
    for params in [json!({}), json!({"notifications": true})] {
        let response = scene.whole(Peer::Modern.request("subscriptions/listen", params)).await;
        assert_eq!(body(&response)["error"]["code"], -32602);
    }
    let mut plain = Peer::Modern.request("subscriptions/listen", json!({"notifications": {}}));
    plain.headers_mut().insert("accept", "application/json".parse().unwrap());
    assert_eq!(scene.whole(plain).await.status(), 406, "there is no whole answer to it");
}

#[tokio::test(start_paused = true)]
async fn a_process_hears_of_changes_after_its_handshake() {
    let mut process = process();
    process.scene.mcp.lists_changed();
    process.send(0, "initialize", json!({"protocolVersion": "2025-11-25"})).await;
    let agreed = process.read().await;
    assert_eq!(agreed["result"]["capabilities"]["tools"]["listChanged"], true, "{agreed}");
    process.write(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
    process.send(1, "ping", json!({})).await;
    assert_eq!(process.read().await["id"], 1, "nothing was told before");
    process.scene.mcp.lists_changed();
    for list in ["tools", "prompts", "resources"] {
        assert_eq!(process.read().await["method"], format!("notifications/{list}/list_changed"));
    }
    process.send(2, "ping", json!({})).await;
    assert_eq!(process.read().await["id"], 2, "and each once");
}

#[tokio::test(start_paused = true)]
async fn a_modern_process_subscribes_and_cancels() {
    let mut process = process();
    let wanted = json!({"notifications": {"toolsListChanged": true}});
    process.send(5, "subscriptions/listen", stdio::modern(wanted)).await;
    assert_eq!(process.read().await["method"], "notifications/subscriptions/acknowledged");
    process.scene.mcp.lists_changed();
    assert_eq!(process.read().await["method"], "notifications/tools/list_changed");
    process.write(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5}}"#).await;
    process.send(6, "server/discover", stdio::modern(json!({}))).await;
    assert_eq!(process.read().await["id"], 6);
    process.scene.mcp.lists_changed();
    process.send(7, "server/discover", stdio::modern(json!({}))).await;
    assert_eq!(process.read().await["id"], 7, "nobody listens any more");
}
