//! What went wrong with the predecessors (their measured bugs), shown to be absent.

use super::*;
use crate::support::config;
use std::collections::HashSet;

const BLOCKING: &str = "/mcp/v1/messages";

/// There, ids of one second were the same: 8 parallel calls returned one id, and its link somebody else's picture.
#[tokio::test]
async fn eight_parallel_calls_give_eight_images_and_each_its_own() {
    let scene = Scene::py().await;
    let calls = (0..8).map(|n| {
        let arguments = json!({"prompt": format!("picture {n}"), "file_prefix": "same"});
        scene.tool(BLOCKING, "generate_image", arguments)
    });
    let mut answers = Vec::new();
    let mut running: Vec<_> = calls.map(Box::pin).collect();
    // All are sent before the first is answered.
    scene.upstream.hold();
    let release = async {
        scene.upstream.wait_for_requests(8).await;
        scene.upstream.release();
    };
    let all = async {
        std::future::poll_fn(|cx| {
            running.retain_mut(|call| match call.as_mut().poll(cx) {
                std::task::Poll::Ready(answer) => {
                    answers.push(answer);
                    false
                }
                std::task::Poll::Pending => true,
            });
            if running.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    };
    tokio::join!(all, release);
    let mut seen: [HashSet<String>; 3] = Default::default();
    for answer in &answers {
        let image = &said(answer)["images"][0];
        for (set, key) in seen.iter_mut().zip(["id", "file_name", "url"]) {
            assert!(set.insert(image[key].as_str().unwrap().to_owned()), "{key} twice: {image}");
        }
        let inline = answer["content"][1]["data"].as_str().unwrap();
        let bytes = STANDARD.decode(inline).unwrap();
        assert_eq!(
            scene.bytes(image["url"].as_str().unwrap()).await,
            bytes,
            "the link has this very picture"
        );
        let data = scene.tool(BLOCKING, "get_image_data", json!({"image_id": image["id"]})).await;
        assert_eq!(said(&data)["images"][0]["base64_data"], inline, "and so has get_image_data");
    }
    let drawn: HashSet<Vec<u8>> =
        answers.iter().map(|a| STANDARD.decode(a["content"][1]["data"].as_str().unwrap()).unwrap()).collect();
    assert_eq!(drawn, (0..8).map(|n| picture(&format!("picture {n}"))).collect(), "every picture once");
}

/// There, null members of the lists broke the TypeScript library, on all three list calls.
#[tokio::test]
async fn lists_have_no_null_members() {
    let gateway = Gateway::start(config().key("old", TOKEN)).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    for path in ["/mcp", "/sse", BLOCKING] {
        for method in ["tools/list", "resources/list", "resources/templates/list", "prompts/list"] {
            let body = json!({"jsonrpc": "2.0", "id": 1, "method": method}).to_string();
            let call = http.post(format!("{}{path}", gateway.url())).bearer_auth(TOKEN);
            let answer = call.header("content-type", "application/json").body(body).send().await.unwrap();
            let answer: Value = answer.json().await.unwrap();
            assert!(answer["result"].is_object() && !has_null(&answer), "{path} {method}: {answer}");
        }
    }
}

/// There, notifications were answered (with `id: null`), `ping` was unknown, and the version was never negotiated.
#[tokio::test]
async fn the_protocol_is_kept_on_every_path() {
    let scene = Scene::cf().await;
    for path in ["/mcp", "/sse", BLOCKING] {
        let note = scene.post(path, r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
        assert_eq!(note.status(), 202, "{path}");
        assert!(note.bytes().await.unwrap().is_empty(), "{path}: a notification has no answer");
        assert_eq!(scene.rpc(path, "ping", json!({})).await["result"], json!({}), "{path}");
        let unknown = scene.rpc(path, "no/such/method", json!({})).await;
        assert_eq!(unknown["error"]["code"], -32601, "{path}");
        for (asked, agreed) in
            [("2025-06-18", "2025-06-18"), ("2024-11-05", "2024-11-05"), ("1999-01-01", "2025-11-25")]
        {
            let hello = scene.rpc(path, "initialize", json!({"protocolVersion": asked})).await;
            assert_eq!(hello["result"]["protocolVersion"], agreed, "{path}");
        }
    }
    let get = scene.ask(Method::GET, "/mcp", &[]).await;
    assert_eq!(get.status(), 405, "a client of Streamable HTTP expects this");
    assert!(get.headers()["allow"].to_str().unwrap().contains("POST"));
}

/// There, everybody saw everything, and names of files were times.
#[tokio::test]
async fn an_image_is_its_teams_own_and_its_name_is_not_guessed() {
    let keys = json!([
        {"id": "a", "team": "alpha", "key": "key-of-alpha-0123456789abcdef0123456789"},
        {"id": "b", "team": "beta", "key": "key-of-beta-0123456789abcdef01234567890"},
    ]);
    let teams = json!({"alpha": {}, "beta": {}});
    let gateway = Gateway::start(config().set("teams", teams).set("auth.keys", keys)).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let tool = async |key: &str, name: &str, arguments: Value| {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}});
        let call = http.post(format!("{}{BLOCKING}", gateway.url())).bearer_auth(key).body(call.to_string());
        call.header("content-type", "application/json").send().await.unwrap().json::<Value>().await.unwrap()["result"].clone()
    };
    let alpha = "key-of-alpha-0123456789abcdef0123456789";
    let made = said(&tool(alpha, "generate_image", json!({"prompt": "a fox"})).await);
    let id = &made["images"][0]["id"];
    let foreign =
        tool("key-of-beta-0123456789abcdef01234567890", "get_image_data", json!({"image_id": id})).await;
    assert_eq!(said(&foreign)["error"]["code"], "image_not_found", "as one that does not exist");
    let own = said(&tool(alpha, "get_image_data", json!({"image_id": id})).await);
    assert_eq!(own["ok"], true);
    let text = made.to_string();
    assert!(
        !text.contains(&gateway.home().data_dir().display().to_string()),
        "no path of the server: {text}"
    );
    let reload = tool(alpha, "reload_config", json!({})).await;
    assert_eq!(reload, Value::Null, "not open to every key");
}

/// There, a job could fail and complete after that, with the error still in it; a vendor's hiccup was a failed job.
#[tokio::test]
async fn a_job_that_is_tried_again_is_not_failed_meanwhile_and_keeps_no_error() {
    let scene = Scene::cf().await;
    let hiccup =
        json!({"success": false, "errors": [{"code": 3040, "message": "Capacity temporarily exceeded"}]});
    scene.upstream.push(Behaviour::json(429, hiccup.to_string()));
    let made = scene.tool("/mcp", "generate_image_and_wait", json!({"prompt": "a flaky fox"})).await;
    let done = said(&made);
    assert_eq!((&done["success"], &done["status"]), (&json!(true), &json!("completed")), "{done}");
    let status = said(&scene.tool("/mcp", "get_job_status", json!({"job_id": done["job_id"]})).await);
    assert_eq!((&status["status"], &status["error"]), (&json!("completed"), &Value::Null));
    assert_eq!(scene.upstream.submissions(), 2, "tried again once");
}
