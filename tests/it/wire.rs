//! The wire as strangers use it: one endpoint for every era, the old transport, what is not to be believed.

use crate::support::{Client, Gateway, config};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const KEY: &str = "io.modelcontextprotocol";

fn modern_meta(version: &str) -> Value {
    json!({format!("{KEY}/protocolVersion"): version, format!("{KEY}/clientCapabilities"): {}})
}

/// A request to `/mcp` with these headers, as they are.
async fn send(client: &Client, method: Method, headers: &[(&str, &str)], body: &str) -> Response {
    let mut call = client.http().request(method, format!("{}/mcp", client.url())).bearer_auth(client.key());
    for (name, value) in headers {
        call = call.header(*name, *value);
    }
    call.body(body.to_owned()).send().await.unwrap()
}

async fn post(client: &Client, headers: &[(&str, &str)], body: &Value) -> (u16, Value) {
    let mut all =
        vec![("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
    all.extend_from_slice(headers);
    let answer = send(client, Method::POST, &all, &body.to_string()).await;
    (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
}

fn request(method: &str, meta: Value) -> Value {
    let mut params = json!({});
    if !meta.is_null() {
        params["_meta"] = meta;
    }
    json!({"jsonrpc": "2.0", "id": "1", "method": method, "params": params})
}

/// What it is, headers, body; status and code of the answer.
type Row = (&'static str, Vec<(&'static str, &'static str)>, Value, u16, i64);

/// Row by row of the table that says which era a message belongs to. 0: no error.
#[tokio::test]
async fn every_row_of_the_table_of_eras_is_answered_as_it_says() {
    let gateway = Gateway::fresh().await;
    let client = gateway.client();
    let newest = ("mcp-protocol-version", "2026-07-28");
    let older = ("mcp-protocol-version", "2025-06-18");
    let plain = || json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let hello = |meta| {
        let mut hello = request("initialize", meta);
        hello["params"]["protocolVersion"] = json!("2025-06-18");
        hello
    };
    let response = json!({"jsonrpc": "2.0", "id": 1, "result": {}});
    let list = ("mcp-method", "tools/list");
    let none = Value::Null;
    let rows: Vec<Row> = vec![
        ("a batch", vec![], json!([plain()]), 200, 0),
        ("a batch of 2025-03-26", vec![("mcp-protocol-version", "2025-03-26")], json!([plain()]), 200, 0),
        ("a batch of a later one", vec![older], json!([plain()]), 400, -32600),
        ("a batch, modern header", vec![newest], json!([plain()]), 400, -32600),
        (
            "a batch, modern element",
            vec![],
            json!([request("tools/list", modern_meta("2026-07-28"))]),
            400,
            -32600,
        ),
        ("an empty batch", vec![], json!([]), 400, -32600),
        ("a response without a session", vec![], response.clone(), 400, -32600),
        ("a response, modern", vec![newest], response, 400, -32600),
        ("modern in both", vec![newest, list], request("tools/list", modern_meta("2026-07-28")), 200, 0),
        (
            "an unknown version in both",
            vec![("mcp-protocol-version", "2099-01-01"), list],
            request("tools/list", modern_meta("2099-01-01")),
            400,
            -32022,
        ),
        (
            "modern in the body only",
            vec![list],
            request("tools/list", modern_meta("2026-07-28")),
            400,
            -32020,
        ),
        (
            "modern body, older header",
            vec![older, list],
            request("tools/list", modern_meta("2026-07-28")),
            400,
            -32020,
        ),
        (
            "initialize, modern in both",
            vec![newest, ("mcp-method", "initialize")],
            hello(modern_meta("2026-07-28")),
            404,
            -32601,
        ),
        ("initialize, modern header", vec![newest], hello(none.clone()), 400, -32020),
        ("initialize", vec![], hello(none.clone()), 200, 0),
        ("initialize, older header", vec![older], hello(none.clone()), 200, 0),
        ("modern header only", vec![newest, list], request("tools/list", none.clone()), 400, -32602),
        ("a modern method only", vec![], request("server/discover", none.clone()), 400, -32602),
        ("another modern method", vec![older], request("subscriptions/listen", none.clone()), 400, -32602),
        ("no version at all", vec![], request("tools/list", none.clone()), 200, 0),
        ("an older header", vec![older], request("tools/list", none.clone()), 200, 0),
        (
            "an unknown header",
            vec![("mcp-protocol-version", "2025-01-01")],
            request("tools/list", none.clone()),
            400,
            -32022,
        ),
        (
            "no version, as a header",
            vec![("mcp-protocol-version", "latest")],
            request("tools/list", none),
            400,
            -32022,
        ),
        (
            "an older version in the body",
            vec![older],
            request("tools/list", modern_meta("2025-06-18")),
            200,
            0,
        ),
    ];
    for (row, headers, body, status, code) in rows {
        let (got, answer) = post(&client, &headers, &body).await;
        let answered = answer["error"]["code"].as_i64().unwrap_or(0);
        assert_eq!((got, answered), (status, code), "{row}: {answer}");
        if code == -32022 {
            assert!(answer["error"]["data"]["supported"].as_array().unwrap().contains(&json!("2026-07-28")));
        }
    }
    for method in [Method::GET, Method::DELETE] {
        let stream = ("accept", "text/event-stream");
        for headers in [vec![newest, stream], vec![older, stream], vec![stream]] {
            let answer = send(&client, method.clone(), &headers, "").await;
            assert_eq!(answer.status(), 405, "{method} {headers:?}");
            assert_eq!(answer.headers()["allow"], "POST");
        }
    }
}

#[tokio::test]
async fn ids_come_back_unchanged_in_every_era() {
    let gateway = Gateway::fresh().await;
    let client = gateway.client();
    for id in [r#""1""#, "1", "-7", r#""""#, "9007199254740993"] {
        let older = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
        let text = client.post_text(older).await.text().await.unwrap();
        assert!(text.contains(&format!(r#""id":{id},"#)), "{id}: {text}");
        let meta = modern_meta("2026-07-28");
        let newest =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list","params":{{"_meta":{meta}}}}}"#);
        let headers = [
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/list"),
        ];
        let text = send(&client, Method::POST, &headers, &newest).await.text().await.unwrap();
        assert!(text.contains(&format!(r#""id":{id},"#)), "{id}: {}", &text[..text.len().min(200)]);
    }
    for id in ["null", "1.5", "{}", "[1]", "true"] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
        assert_eq!(client.post_text(text).await.status(), 400, "{id} is no id");
    }
}

#[tokio::test]
async fn what_says_two_things_is_believed_in_neither() {
    let gateway = Gateway::fresh().await;
    let client = gateway.client();
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_jobs","name":"cancel_job"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_jobs","arguments":{"limit":1,"limit":50}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{},"params":{"name":"list_jobs"}}"#,
    ] {
        let answer = client.post_text(body).await;
        assert_eq!(answer.status(), 400, "{body}");
        assert_eq!(answer.json::<Value>().await.unwrap()["error"]["code"], -32600, "{body}");
    }
    // Headers that mirror the body, and differ, are there twice, or are no text.
    let meta = modern_meta("2026-07-28");
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_jobs", "_meta": meta}});
    let version = ("mcp-protocol-version", "2026-07-28");
    let method = ("mcp-method", "tools/call");
    let name = ("mcp-name", "list_jobs");
    assert_eq!(
        post(&client, &[version, method, ("mcp-name", "=?base64?bGlzdF9qb2Jz?=")], &body).await.0,
        200
    );
    for (headers, why) in [
        (vec![version, method, ("mcp-name", "cancel_job")], "another name"),
        (vec![version, method, name, name], "a name twice"),
        (vec![version, version, method, name], "a version twice"),
        (vec![version, ("mcp-method", "tools/list"), name], "another method"),
        (vec![version, method, method, name], "a method twice"),
        (vec![version, method, ("mcp-name", "=?base64?bGlzdF9qb2Jz")], "no end of the base64"),
        (vec![version, method, ("mcp-name", "=?base64?bGlzd!?=")], "no base64"),
        (vec![version, method, ("mcp-name", "=?BASE64?bGlzdF9qb2Jz?=")], "another marker is a literal"),
        (vec![version, method], "no name"),
    ] {
        let (status, answer) = post(&client, &headers, &body).await;
        assert_eq!((status, &answer["error"]["code"]), (400, &json!(-32020)), "{why}: {answer}");
    }
    // A line break in a header, and lengths that smuggle a second request, never get as far as a message.
    let address = gateway.url().trim_start_matches("http://").to_owned();
    let key = client.key();
    for raw in [
        format!(
            "POST /mcp HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\nMcp-Name: a\rb\r\nContent-Length: 2\r\n\r\n{{}}"
        ),
        format!(
            "POST /mcp HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\nMcp-Name: a\nX: b\r\nContent-Length: 2\r\n\r\n{{}}"
        ),
        format!(
            "POST /mcp HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\nMcp-Name: a\r\n b\r\nContent-Length: 2\r\n\r\n{{}}"
        ),
        format!(
            "POST /mcp HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
    ] {
        let mut socket = TcpStream::connect(&address).await.unwrap();
        socket.write_all(raw.as_bytes()).await.unwrap();
        let mut said = Vec::new();
        socket.read_to_end(&mut said).await.unwrap();
        let said = String::from_utf8_lossy(&said);
        assert!(said.starts_with("HTTP/1.1 400"), "{raw:?}\n{said}");
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "one answer, and the connection closes: {said}");
    }
}

/// Reads the events of an answer as they come.
struct Events {
    answer: Response,
    text: String,
}

impl Events {
    fn new(answer: Response) -> Events {
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Events { answer, text: String::new() }
    }
    /// The next event's name and data; comments are passed over.
    async fn next(&mut self) -> (String, String) {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let event: String = self.text.drain(..end + 2).collect();
                let field =
                    |name: &str| event.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
                if let Some(data) = field("data: ") {
                    return (field("event: ").unwrap_or_default(), data);
                }
                continue;
            }
            let part = self.answer.chunk().await.unwrap().expect("the stream goes on");
            self.text.push_str(std::str::from_utf8(&part).unwrap());
        }
    }
    async fn message(&mut self) -> Value {
        let (event, data) = self.next().await;
        assert_eq!(event, "message");
        serde_json::from_str(&data).unwrap()
    }
}

async fn get(client: &Client, path: &str, session: Option<&str>) -> Response {
    let mut call = client.http().get(format!("{}{path}", client.url())).bearer_auth(client.key());
    call = call.header("accept", "text/event-stream");
    if let Some(session) = session {
        call = call.header("mcp-session-id", session);
    }
    call.send().await.unwrap()
}

#[tokio::test]
async fn the_old_transport_carries_a_call_from_the_handshake_to_the_picture() {
    let gateway = Gateway::start(config().placeholder(json!({}))).await;
    let client = gateway.client();
    let mut events = Events::new(get(&client, "/sse", None).await);
    let (event, endpoint) = events.next().await;
    assert!(event == "endpoint" && endpoint.starts_with("/messages?session_id="), "{event} {endpoint}");
    let say = async |of: &Client, message: Value| {
        let call = of.http().post(format!("{}{endpoint}", of.url())).bearer_auth(of.key());
        let call = call.header("content-type", "application/json").body(message.to_string());
        let answer = call.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2024-11-05",
        "capabilities": {}, "clientInfo": {"name": "old", "version": "1"}}});
    assert_eq!(say(&client, hello).await, (202, String::new()));
    assert_eq!(events.message().await["result"]["protocolVersion"], "2024-11-05");
    assert_eq!(say(&client, json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await.0, 202);
    let call = json!({"jsonrpc": "2.0", "id": "two", "method": "tools/call", "params": {"name": "generate_image_and_wait",
        "arguments": {"prompt": "a fox", "size": "64x64"}, "_meta": {"progressToken": 5}}});
    assert_eq!(say(&client, call).await.0, 202);
    let answer = loop {
        let told = events.message().await;
        if told["method"] == "notifications/progress" {
            assert_eq!(told["params"]["progressToken"], 5);
            continue;
        }
        break told;
    };
    assert_eq!(answer["id"], "two");
    assert_eq!(answer["result"]["structuredContent"]["status"], "completed", "{answer}");
    let kinds = answer["result"]["content"].as_array().unwrap().iter().map(|block| block["type"].clone());
    let kinds: Vec<Value> = kinds.collect();
    assert!(!kinds.contains(&json!("resource_link")), "a client of 2024 does not know these: {kinds:?}");

    // Neither another key nor no key gets anything onto this stream.
    let other = gateway.client_with(&gateway.home().new_key("other").await);
    let ping = json!({"jsonrpc": "2.0", "id": 3, "method": "ping"});
    crate::support::eventually("the new key is known", async || {
        (say(&other, ping.clone()).await.0 == 404).then_some(())
    })
    .await;
    let nobody = client.http().post(format!("{}{endpoint}", client.url()));
    let nobody =
        nobody.header("content-type", "application/json").body(ping.to_string()).send().await.unwrap();
    assert_eq!(nobody.status(), 401);
    assert_eq!(client.http().get(format!("{}/sse", client.url())).send().await.unwrap().status(), 401);
    assert_eq!(say(&client, json!({"jsonrpc": "2.0", "id": 4, "method": "ping"})).await.0, 202);
    assert_eq!(events.message().await["id"], 4, "what was refused never came");
    drop(events);
    crate::support::eventually("the stream's end is its session's", async || {
        (say(&client, ping.clone()).await.0 == 404).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_key_holds_only_so_many_streams() {
    let gateway = Gateway::start(config().set("server.limits.streams_per_principal", 2)).await;
    let client = gateway.client();
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut events = Events::new(get(&client, "/sse", None).await);
        events.next().await;
        held.push(events);
    }
    assert_eq!(get(&client, "/sse", None).await.status(), 429);
    let anything = client.http().get(format!("{}/sse", client.url())).bearer_auth(client.key());
    assert_eq!(anything.send().await.unwrap().status(), 429, "also who says it takes anything");
    held.clear();
    crate::support::eventually("there is room again", async || {
        (get(&client, "/sse", None).await.status() == 200).then_some(())
    })
    .await;
}

async fn open_session(client: &Client) -> String {
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25",
        "capabilities": {}, "clientInfo": {"name": "story", "version": "1"}}});
    let headers = [("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
    let answer = send(client, Method::POST, &headers, &hello.to_string()).await;
    answer.headers()["mcp-session-id"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_session_is_of_no_use_to_another_key() {
    let gateway = Gateway::start(
        config()
            .key("bob", "igw_bob_bob_bob_bob_bob_bob_bob_bob_bob_bob_bob")
            .key("alice", "igw_alice_alice_alice_alice_alice_alice_alice"),
    )
    .await;
    let alice = gateway.client_with("igw_alice_alice_alice_alice_alice_alice_alice");
    let bob = gateway.client_with("igw_bob_bob_bob_bob_bob_bob_bob_bob_bob_bob_bob");
    let id = open_session(&alice).await;
    let mut events = Events::new(get(&alice, "/mcp", Some(&id)).await);
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let session = ("mcp-session-id", &*id);
    assert_eq!(post(&bob, &[session], &ping).await.0, 404);
    assert_eq!(get(&bob, "/mcp", Some(&id)).await.status(), 404);
    assert_eq!(send(&bob, Method::DELETE, &[session], "").await.status(), 404);
    let alone = bob.http().post(format!("{}/mcp", bob.url())).header("mcp-session-id", &id);
    assert_eq!(alone.body(ping.to_string()).send().await.unwrap().status(), 401, "an id is no credential");
    assert_eq!(post(&alice, &[session], &ping).await.0, 200, "alice's goes on");

    // Her stream too: it hears of a reload.
    gateway.home().configure(
        &config().key("alice", "igw_alice_alice_alice_alice_alice_alice_alice").placeholder(json!({})),
    );
    gateway.hang_up().await;
    assert_eq!(events.message().await["method"], "notifications/tools/list_changed");
    assert_eq!(send(&alice, Method::DELETE, &[session], "").await.status(), 204);
    assert_eq!(post(&alice, &[session], &ping).await.0, 404);
}

/// A tool of the fixtures asks the user of the client that called it, on the stream of its call.
#[tokio::test]
async fn a_question_is_answered_by_whom_it_was_put_to() {
    let (alices, bobs) =
        ("igw_alice_alice_alice_alice_alice_alice_alice", "igw_bob_bob_bob_bob_bob_bob_bob_bob_bob_bob_bob");
    let gateway = Gateway::start(config().key("bob", bobs).key("alice", alices).fixtures()).await;
    let (alice, bob) = (gateway.client_with(alices), gateway.client_with(bobs));
    let id = open_session(&alice).await;
    let session = ("mcp-session-id", &*id);
    let headers =
        [("content-type", "application/json"), ("accept", "application/json, text/event-stream"), session];
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "test_elicitation", "arguments": {"message": "Your name?"}}});
    let mut events = Events::new(send(&alice, Method::POST, &headers, &call.to_string()).await);
    let question = events.message().await;
    assert_eq!(
        (&question["method"], &question["params"]["message"]),
        (&json!("elicitation/create"), &json!("Your name?"))
    );

    let answer = |name: &str| json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept", "content": {"username": name}}});
    assert_eq!(post(&bob, &[], &answer("bob")).await.0, 400, "it was not put to bob");
    assert_eq!(post(&bob, &[session], &answer("bob")).await.0, 404, "nor is this his session");
    let bobs_session = open_session(&bob).await;
    assert_eq!(
        post(&bob, &[("mcp-session-id", &bobs_session)], &answer("bob")).await.0,
        202,
        "taken, and nobody's"
    );
    assert_eq!(post(&alice, &[session], &answer("alice")).await.0, 202);
    let result = events.message().await;
    let text = result["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("alice") && !text.contains("bob"), "{text}");
    // A modern caller is never asked on the wire: it gets a result that wants input.
    let asked = alice.modern("tools/call", json!({"name": "test_input_required_result_elicitation"})).await.2;
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
}

/// Streamable HTTP of the older eras at three nodes, each request at another: no stickiness is needed.
#[tokio::test]
async fn a_session_is_served_by_every_node() {
    let one = Gateway::start(config().placeholder(json!({}))).await;
    let (two, three) =
        tokio::join!(Gateway::start_at(one.home().clone()), Gateway::start_at(one.home().clone()));
    let clients = [one.client(), two.client(), three.client()];
    let id = open_session(&clients[0]).await;
    let session = [("mcp-session-id", &*id), ("mcp-protocol-version", "2025-11-25")];
    let mut rounds = clients.iter().cycle();
    for client in rounds.by_ref().take(4) {
        let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(post(client, &session, &ready).await.0, 202);
        assert_eq!(post(client, &session, &request("tools/list", Value::Null)).await.0, 200);
        Events::new(get(client, "/mcp", Some(&id)).await);
    }
    // The old transport is sticky, and the other node says so.
    let mut old = Events::new(get(&clients[0], "/sse", None).await);
    let endpoint = old.next().await.1;
    let elsewhere =
        clients[1].http().post(format!("{}{endpoint}", clients[1].url())).bearer_auth(clients[1].key());
    let elsewhere = elsewhere.header("content-type", "application/json");
    let elsewhere = elsewhere.body(request("ping", Value::Null).to_string()).send().await.unwrap();
    assert_eq!(elsewhere.status(), 404);
    assert!(elsewhere.text().await.unwrap().contains("the node that holds it"));

    let call = |name: &str, arguments: Value| json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}});
    for _ in 0..3 {
        let started = post(
            rounds.next().unwrap(),
            &session,
            &call("generate_image", json!({"prompt": "a fox", "size": "64x64"})),
        )
        .await
        .1;
        let job = started["result"]["structuredContent"]["job_id"].as_str().unwrap().to_owned();
        let ended =
            post(rounds.next().unwrap(), &session, &call("wait_for_completion", json!({"job_id": job})))
                .await
                .1;
        assert_eq!(ended["result"]["structuredContent"]["status"], "completed", "{ended}");
    }
}
