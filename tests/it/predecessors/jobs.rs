//! mcp-image-generator, the Cloudflare Worker: the commands of its README and home page, its shapes, its bare POST.

use super::*;

const PATH: &str = "/mcp";

#[tokio::test]
async fn the_check_of_its_readme_starts_a_job_and_waits_for_it() {
    let scene = Scene::cf().await;
    let list = scene.post(PATH, r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).await;
    assert_eq!(list.headers()["content-type"], "application/json");
    let list: Value = list.json().await.unwrap();
    let names: Vec<&str> =
        list["result"]["tools"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    for name in [
        "generate_image",
        "get_job_status",
        "list_generations",
        "list_jobs",
        "wait_for_completion",
        "generate_image_and_wait",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
    let easiest = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"generate_image_and_wait","arguments":{"prompt":"a golden sunset over the ocean","model":"flux-schnell"}}}"#;
    let easiest: Value = scene.post(PATH, easiest).await.json().await.unwrap();
    let sunset = said(&easiest["result"]);
    assert_eq!(keys(&easiest["result"])[..5], ["success", "status", "image_url", "prompt", "model"]);
    let url = sunset["image_url"].as_str().unwrap();
    assert_eq!(scene.bytes(url).await, picture("a golden sunset over the ocean"));
    assert!(
        !url.contains('?') && !url.contains("sunset"),
        "without an end, and the prompt is not in it: {url}"
    );

    let start = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"generate_image","arguments":{"prompt":"a mountain landscape"}}}"#;
    let started: Value = scene.post(PATH, start).await.json().await.unwrap();
    let job = said(&started["result"]);
    assert!(started["result"].get("isError").is_none(), "absent on success");
    assert_eq!((&job["status"], &job["model"]), (&json!("pending"), &json!("flux-schnell")), "its default");
    let id = job["job_id"].as_str().unwrap();
    let wait = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tools/call\",\"params\":{{\"name\":\"wait_for_completion\",\"arguments\":{{\"job_id\":\"{id}\"}}}}}}"
    );
    let done: Value = scene.post(PATH, wait).await.json().await.unwrap();
    assert_eq!(said(&done["result"])["status"], "completed");
    assert_eq!(done["result"]["content"].as_array().unwrap().len(), 1, "text only");
}

#[tokio::test]
async fn the_calls_of_its_home_page_work_on_both_of_its_paths() {
    let scene = Scene::cf().await;
    for path in [PATH, "/sse"] {
        let five =
            json!({"name": "generate_image_and_wait", "arguments": {"prompt": "cyberpunk city", "count": 5}});
        let five = scene.rpc(path, "tools/call", five).await["result"].clone();
        assert_eq!(keys(&five)[..3], ["success", "count", "results"]);
        let rows = said(&five)["results"].as_array().unwrap().clone();
        assert_eq!(rows.len(), 5);
        for row in &rows {
            for key in ["job_id", "image_url", "prompt", "model"] {
                assert!(row[key].is_string(), "{row}");
            }
        }
    }
    let many = scene
        .tool(PATH, "generate_image", json!({"prompt": "sunset", "model": "sdxl-lightning", "count": 3}))
        .await;
    assert_eq!(
        keys(&many)[..8],
        ["success", "job_ids", "count", "status", "message", "prompt", "model", "estimated_time_seconds"]
    );
    let ids = said(&many)["job_ids"].clone();
    let all = scene.tool(PATH, "wait_for_completion", json!({"job_ids": ids})).await;
    assert_eq!((&said(&all)["success"], &said(&all)["count"]), (&json!(true), &json!(3)));
    let both = json!({"job_id": ids[0], "job_ids": [ids[1], ids[2]]});
    let one = said(&scene.tool(PATH, "wait_for_completion", both).await);
    assert_eq!(
        (&one["status"], &one["model"]),
        (&json!("completed"), &json!("sdxl-lightning")),
        "job_id wins"
    );

    let status = scene.tool(PATH, "get_job_status", json!({"job_id": ids[0]})).await;
    let order =
        ["success", "job_id", "status", "image_url", "error", "prompt", "model", "created_at", "updated_at"];
    assert_eq!(keys(&status)[..9], order);
    assert!(said(&status)["created_at"].as_i64().unwrap() > 1_600_000_000_000, "milliseconds");
    let jobs = scene.tool(PATH, "list_jobs", json!({"status": "completed", "limit": 2})).await;
    let page = said(&jobs);
    assert_eq!(
        (&page["total_count"], &page["returned_count"], &page["has_more"]),
        (&json!(13), &json!(2), &json!(true))
    );
    let gallery = said(&scene.tool(PATH, "list_generations", json!({"limit": 50})).await);
    assert_eq!(gallery["generations"].as_array().unwrap().len(), 13);
}

#[tokio::test]
async fn what_fails_is_said_where_its_clients_look() {
    let scene = Scene::cf().await;
    let unknown = "4f8f2a52-7a5e-4b49-9c1d-1d8f0f2f8f00";
    let status = scene.tool(PATH, "get_job_status", json!({"job_id": unknown})).await;
    assert_eq!(status["isError"], true);
    assert_eq!(
        (&said(&status)["error"], &said(&status)["job_id"]),
        (&json!("Job not found"), &json!(unknown))
    );
    let wait = said(&scene.tool(PATH, "wait_for_completion", json!({"job_ids": [unknown]})).await);
    assert_eq!(wait["error"], "One or more jobs not found");
    for arguments in
        [json!({}), json!({"prompt": "a fox", "count": 21}), json!({"prompt": "a fox", "model": "dall-e"})]
    {
        let bad = scene.tool(PATH, "generate_image", arguments.clone()).await;
        assert_eq!((&bad["isError"], &said(&bad)["success"]), (&json!(true), &json!(false)), "{arguments}");
    }
    let extra =
        scene.tool(PATH, "generate_image", json!({"prompt": "a fox", "steps": 4, "mood": "dark"})).await;
    assert_eq!(said(&extra)["success"], true, "what it dropped in silence is no error, and told");

    for (body, status, code) in [
        ("no json", 400, -32700),
        (r#"{"id":1,"method":"tools/list"}"#, 400, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#, 200, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"resources/subscribe"}"#, 200, -32601),
    ] {
        let answer = scene.post(PATH, body).await;
        assert_eq!(answer.status(), status, "{body}");
        assert_eq!(answer.json::<Value>().await.unwrap()["error"]["code"], code, "{body}");
    }
}

#[tokio::test]
async fn a_plain_post_is_answered_in_json_whatever_it_says_it_takes() {
    let scene = Scene::cf().await;
    for accept in ["*/*", "application/json", "text/html", "image/png"] {
        let call =
            scene.http.post(scene.at(PATH)).bearer_auth(TOKEN).header("content-type", "application/json");
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        let answer = call.header("accept", accept).body(body).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/json", "{accept}");
        assert!(answer.json::<Value>().await.unwrap()["result"]["tools"].is_array());
    }
    let page = scene.http.post(scene.at(PATH)).bearer_auth(TOKEN).header("content-type", "application/json");
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let answer = page.header("origin", "https://chat.example.com").body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200, "pages of every origin may call, as they could");
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://chat.example.com");
    let exposed = answer.headers()["access-control-expose-headers"].to_str().unwrap();
    assert!(exposed.contains("mcp-session-id"), "{exposed}");
}

#[tokio::test]
async fn a_browser_may_send_and_read_what_the_protocol_needs() {
    let scene = Scene::cf().await;
    for path in [PATH, "/sse", "/mcp/v1/messages"] {
        let call =
            scene.http.request(Method::OPTIONS, scene.at(path)).header("origin", "https://chat.example.com");
        let call = call.header("access-control-request-method", "DELETE");
        let answer = call.header("access-control-request-headers", "mcp-session-id").send().await.unwrap();
        assert_eq!(answer.status(), 204, "before any key");
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_ascii_lowercase();
        let allowed = header("access-control-allow-headers");
        for name in
            ["authorization", "content-type", "mcp-session-id", "mcp-protocol-version", "last-event-id"]
        {
            assert!(allowed.contains(name), "{name} in {allowed}");
        }
        let methods = header("access-control-allow-methods");
        assert!(["get", "post", "delete"].iter().all(|method| methods.contains(method)), "{methods}");
    }
}

#[tokio::test]
async fn only_the_old_token_opens_and_the_scheme_may_be_in_any_case() {
    let scene = Scene::cf().await;
    let with = |authorization: Option<String>| {
        let call = scene.http.post(scene.at(PATH)).header("content-type", "application/json");
        let call = call.body(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
        match authorization {
            Some(value) => call.header("authorization", value).send(),
            None => call.send(),
        }
    };
    for scheme in ["Bearer", "bearer", "BEARER"] {
        assert_eq!(with(Some(format!("{scheme} {TOKEN}"))).await.unwrap().status(), 200, "{scheme}");
    }
    for wrong in [None, Some("Bearer wrong".to_owned()), Some(format!("Bearer {TOKEN}x"))] {
        let answer = with(wrong).await.unwrap();
        assert_eq!(answer.status(), 401);
        assert!(answer.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
    }
}
