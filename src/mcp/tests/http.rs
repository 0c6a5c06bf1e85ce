//! The transport: who is answered what, with which status.

use super::*;
use crate::jobs::Offered;
use ::http::StatusCode;
use proptest::prelude::*;
use std::sync::atomic::Ordering;

async fn refusal(request: Request<Bytes>) -> (u16, i64) {
    let response = scene().whole(request).await;
    (response.status().as_u16(), body(&response)["error"]["code"].as_i64().unwrap_or_default())
}

#[tokio::test]
async fn a_plain_curl_line_gets_plain_json() {
    let scene = scene();
    let text = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"generate_image","arguments":{"prompt":"Hello"}}}"#;
    let response = scene.whole(raw(text)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "application/json");
    let answer = body(&response);
    assert_eq!(answer["id"], 1);
    assert!(answer["result"].get("isError").is_none(), "the key is absent on success");
    assert_eq!(object(&answer["result"])["status"], "pending");
}

#[tokio::test]
async fn what_is_no_json_post_is_refused_by_http() {
    let get = Request::get("/mcp").body(Bytes::new()).unwrap();
    let response = scene().whole(get).await;
    assert_eq!((response.status().as_u16(), &response.headers()["allow"]), (405, &"POST".parse().unwrap()));
    let modern =
        Request::delete("/mcp").header("mcp-protocol-version", "2026-07-28").body(Bytes::new()).unwrap();
    assert_eq!(refusal(modern).await.0, 405);
    assert_eq!(refusal(Request::post("/mcp").body("{}".into()).unwrap()).await.0, 415);
    let library = || post().header("mcp-protocol-version", "2025-11-25").header("accept", "text/html");
    assert_eq!(refusal(library().body("{}".into()).unwrap()).await.0, 406);
    assert_eq!(
        refusal(post().header("accept", "text/html").body("{}".into()).unwrap()).await,
        (400, -32600),
        "a plain program is answered in JSON whatever it says it takes"
    );
}

#[tokio::test]
async fn broken_bodies_get_their_codes() {
    let deep = "[".repeat(100);
    for (text, expected) in [
        ("{", (400, -32700)),
        ("\u{feff}{}", (400, -32700)),
        (deep.as_str(), (400, -32600)),
        (r#"{"id":1,"method":"ping"}"#, (400, -32600)),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"ping"}"#, (400, -32600)),
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, (400, -32600)),
        ("[]", (400, -32600)),
    ] {
        assert_eq!(refusal(raw(text.to_owned())).await, expected, "{text}");
    }
}

#[tokio::test]
async fn an_unknown_id_follows_the_rule_of_the_peers_version() {
    let id = async |version: Option<&str>| {
        let builder = version.map_or_else(post, |v| post().header("mcp-protocol-version", v));
        let response = scene().whole(builder.body("{".into()).unwrap()).await;
        body(&response).get("id").cloned()
    };
    assert_eq!(id(None).await, Some(Value::Null));
    assert_eq!(id(Some("2025-06-18")).await, Some(Value::Null));
    assert_eq!(id(Some("2025-11-25")).await, None);
    assert_eq!(id(Some("2026-07-28")).await, None);
}

#[tokio::test]
async fn the_handshake_agrees_on_a_version_and_claims_only_what_is_there() {
    let scene = scene();
    let response =
        scene.whole(Peer::Bare.request("initialize", json!({"protocolVersion": "2025-06-18"}))).await;
    let result = &body(&response)["result"];
    assert_eq!(result["protocolVersion"], "2025-06-18");
    assert_eq!(
        result["capabilities"],
        json!({"tools": {"listChanged": false}, "resources": {"listChanged": false}, "prompts": {"listChanged": false}, "completions": {}})
    );
    assert_eq!(result["serverInfo"]["name"], "image-gateway");
    assert!(result.get("resultType").is_none() && result.get("_meta").is_none());
    assert!(response.headers().get("mcp-session-id").is_none());
    let initialized = raw(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    let response = scene.whole(initialized).await;
    assert_eq!((response.status().as_u16(), response.body().len()), (202, 0));
}

#[tokio::test]
async fn discover_and_modern_results_carry_what_the_era_wants() {
    let scene = scene();
    let result =
        body(&scene.whole(Peer::Modern.request("server/discover", json!({}))).await)["result"].clone();
    assert_eq!(result["resultType"], "complete");
    assert_eq!(result["supportedVersions"].as_array().unwrap().len(), 5);
    assert_eq!((&result["cacheScope"], &result["ttlMs"]), (&json!("public"), &json!(3_600_000)));
    assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "image-gateway");
    let list = body(&scene.whole(Peer::Modern.request("tools/list", json!({}))).await)["result"].clone();
    assert_eq!(list["cacheScope"], "private", "it depends on the key");
    let call = scene.tool(Peer::Modern, "list_models", json!({})).await;
    assert_eq!(call["resultType"], "complete");
    assert!(call.get("ttlMs").is_none());
    let legacy = scene.tool(Peer::Legacy, "list_models", json!({})).await;
    assert!(legacy.get("resultType").is_none() && legacy.get("_meta").is_none());
}

#[tokio::test]
async fn methods_that_an_era_does_not_have_are_not_found() {
    for method in ["initialize", "ping", "logging/setLevel", "tasks/list", "resources/subscribe", "nonsense"]
    {
        assert_eq!(refusal(Peer::Modern.request(method, json!({}))).await, (404, -32601), "{method}");
    }
    assert_eq!(refusal(Peer::Bare.request("resources/subscribe", json!({}))).await, (200, -32601));
    assert_eq!(
        refusal(Peer::Legacy.request("resources/subscribe", json!({}))).await,
        (200, -32602),
        "no session"
    );
    assert_eq!(refusal(Peer::Bare.request("server/discover", json!({}))).await, (400, -32602));
    let pong = scene().whole(Peer::Legacy.request("ping", json!({}))).await;
    assert_eq!(body(&pong)["result"], json!({}));
}

#[tokio::test]
async fn malformed_calls_are_invalid_params_in_every_era() {
    for peer in Peer::ALL {
        for params in [
            json!({}),
            json!({"name": 7}),
            json!({"name": "no_such_tool"}),
            json!({"name": "list_jobs", "arguments": []}),
        ] {
            assert_eq!(
                refusal(peer.request("tools/call", params.clone())).await,
                (200, -32602),
                "{peer:?} {params}"
            );
        }
        assert_eq!(refusal(peer.request("tools/list", json!({"cursor": "x"}))).await, (200, -32602));
        let first_page = scene().whole(peer.request("tools/list", json!({"cursor": ""}))).await;
        assert!(body(&first_page)["result"]["tools"].is_array(), "an empty cursor is the first page");
    }
}

#[tokio::test]
async fn a_key_without_the_scope_neither_sees_nor_calls_a_tool() {
    let mut scene = scene();
    scene.principal = principal(&[Scope::ImagesRead]);
    let listed = body(&scene.whole(Peer::Legacy.request("tools/list", json!({}))).await);
    let names: Vec<_> =
        listed["result"]["tools"].as_array().unwrap().iter().map(|t| t["name"].clone()).collect();
    assert!(names.contains(&json!("list_jobs")) && !names.contains(&json!("generate_image")), "{names:?}");
    let response = scene.whole(Peer::Legacy.call("generate_image", json!({"prompt": "a cat"}))).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let challenge = response.headers()["www-authenticate"].to_str().unwrap();
    assert_eq!(challenge, r#"Bearer error="insufficient_scope", scope="images:write""#);
}

#[tokio::test]
async fn a_database_that_is_away_answers_503() {
    let scene = scene();
    *scene.fake.away.lock() = true;
    for (tool, arguments) in [("generate_image", json!({"prompt": "a"})), ("list_jobs", json!({}))] {
        let response = scene.whole(Peer::Legacy.call(tool, arguments)).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["retry-after"], "2");
        assert_eq!(body(&response)["error"]["code"], 503);
        assert!(!response.body().windows(9).any(|w| w == b"disk full"), "the cause stays in the log");
    }
}

#[tokio::test]
async fn a_batch_answers_in_order_and_only_where_there_are_batches() {
    let batch = json!([
        {"jsonrpc": "2.0", "id": 1, "method": "ping"},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": "2", "method": "tools/call", "params": {"name": "list_models"}},
        {"jsonrpc": "2.0", "id": 3, "method": "nonsense"},
        7,
    ]);
    let response = scene().whole(raw(batch.to_string())).await;
    let answers = body(&response);
    let ids: Vec<_> = answers.as_array().unwrap().iter().map(|a| a["id"].clone()).collect();
    assert_eq!(ids, [json!(1), json!("2"), json!(3), Value::Null]);
    let silent = json!([{"jsonrpc": "2.0", "method": "notifications/initialized"}]);
    assert_eq!(scene().whole(raw(silent.to_string())).await.status(), StatusCode::ACCEPTED);
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let many = Value::Array(vec![ping.clone(); 21]);
    assert_eq!(refusal(raw(many.to_string())).await, (400, -32600));
    let initialize = json!([{"jsonrpc": "2.0", "id": 1, "method": "initialize"}]);
    assert_eq!(refusal(raw(initialize.to_string())).await, (400, -32600));
    let newer =
        post().header("mcp-protocol-version", "2025-06-18").body(json!([ping]).to_string().into()).unwrap();
    assert_eq!(refusal(newer).await, (400, -32600));
}

#[tokio::test]
async fn one_idempotency_key_cannot_stand_for_two_calls() {
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_jobs"}});
    let request = |n| {
        let body = Value::Array(vec![call.clone(); n]).to_string();
        post().header("idempotency-key", "k1").body(body.into()).unwrap()
    };
    assert_eq!(refusal(request(2)).await, (400, -32600));
    assert_eq!(scene().whole(request(1)).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_peer_that_takes_only_streams_gets_one() {
    let request = post()
        .header("accept", "text/event-stream")
        .body(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#.into());
    let response = scene().whole(request.unwrap()).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert!(response.body().starts_with(b"event: message\ndata: {"));
}

#[tokio::test]
async fn a_session_id_is_ignored_in_every_era() {
    let mut request = Peer::Modern.request("tools/list", json!({}));
    request.headers_mut().insert("mcp-session-id", "anything".parse().unwrap());
    let response = scene().whole(request).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.headers().get("mcp-session-id").is_none());
}

/// JSON of any shape, with keys that mean something to us.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop_oneof![
            any::<String>(),
            Just("2.0".to_owned()),
            Just("tools/call".to_owned()),
            Just("initialize".to_owned()),
            Just("generate_image".to_owned()),
            Just("2026-07-28".to_owned()),
        ]
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        let key = prop_oneof![
            Just("jsonrpc".to_owned()),
            Just("id".to_owned()),
            Just("method".to_owned()),
            Just("params".to_owned()),
            Just("name".to_owned()),
            Just("arguments".to_owned()),
            Just("_meta".to_owned()),
            Just("prompt".to_owned()),
            Just("io.modelcontextprotocol/protocolVersion".to_owned()),
            any::<String>(),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A call whose arguments are anything at all.
fn any_call() -> impl Strategy<Value = Value> {
    let tool = prop::sample::select(vec![
        "generate_image",
        "wait_for_completion",
        "list_jobs",
        "get_image_data",
        "estimate_price",
    ]);
    let name = prop::sample::select(vec![
        "prompt",
        "count",
        "size",
        "style",
        "job_id",
        "job_ids",
        "limit",
        "seed",
        "references",
        "return",
        "vendor",
    ]);
    let arguments = prop::collection::btree_map(name, any_json(), 0..8);
    (tool, arguments).prop_map(|(tool, arguments)| {
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
    })
}

fn answered(text: String) -> Response<Bytes> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { scene().whole(raw(text)).await })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_json_at_all_gets_an_answer(value in any_json()) {
        let status = answered(value.to_string()).status().as_u16();
        prop_assert!([200, 202, 400, 404].contains(&status), "{status}");
    }

    #[test]
    fn any_bytes_at_all_get_an_answer(text in any::<String>()) {
        prop_assert!([200, 202, 400, 404].contains(&answered(text).status().as_u16()));
    }

    #[test]
    fn any_arguments_end_in_a_result(call in any_call()) {
        let response = answered(call.to_string());
        prop_assert_eq!(response.status().as_u16(), 200);
        let answer = body(&response);
        prop_assert!(answer["result"]["content"][0]["text"].is_string(), "{}", answer);
    }
}

#[tokio::test]
async fn a_list_is_written_anew_only_when_something_in_it_is_another() {
    let mut scene = scene();
    let offer =
        |models: &[&str]| Offered::new(Arc::new(()), models.iter().map(|m| (*m).to_owned()).collect());
    let all = offer(&["*"]);
    *scene.fake.offered.lock() = Some(all.clone());
    let asked = |scene: &Scene| scene.fake.models_asked.load(Ordering::Relaxed);
    let first = body(&scene.whole(Peer::Old.request("tools/list", json!({}))).await);
    assert_eq!(body(&scene.whole(Peer::Old.request("tools/list", json!({}))).await), first);
    assert_eq!(asked(&scene), 1, "the second is the first again");

    let modern = body(&scene.whole(Peer::Modern.request("tools/list", json!({}))).await);
    assert_eq!((asked(&scene), &modern["result"]["tools"]), (2, &first["result"]["tools"]));
    assert_eq!(modern["result"]["cacheScope"], "private", "each era has its own");
    scene.principal = principal(&[Scope::ImagesRead]);
    let fewer = body(&scene.whole(Peer::Old.request("tools/list", json!({}))).await);
    assert!(asked(&scene) == 3 && fewer != first, "so has each set of scopes");
    scene.principal = principal(&Scope::ALL);

    *scene.fake.offered.lock() = Some(offer(&["flux-*"]));
    scene.whole(Peer::Old.request("tools/list", json!({}))).await;
    assert_eq!(asked(&scene), 4, "other models, or another registry, make another list");
    *scene.fake.offered.lock() = Some(all);
    scene.whole(Peer::Old.request("tools/list", json!({}))).await;
    assert_eq!(asked(&scene), 5, "nothing of before a reload is kept");
    let tasks = body(&scene.whole(Peer::Legacy.request("tools/list", json!({}))).await);
    assert!(asked(&scene) == 6 && tasks != first, "nor is one without tasks given to a version with them");
}
