//! JSON-RPC over plain HTTP, and arguments that cannot be served.

use crate::support::{Client, Gateway, ToolResult, config};
use reqwest::StatusCode;
use serde_json::{Value, json};

async fn answer(client: &Client, body: &str) -> (StatusCode, Value) {
    let answer = client.post_text(body.to_owned()).await;
    let status = answer.status();
    let text = answer.text().await.unwrap();
    (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("JSON") })
}

#[tokio::test]
async fn json_rpc_has_its_usual_answers() {
    let gateway = Gateway::fresh().await;
    let client = gateway.client();
    let table = [
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, 200, None),
        (r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, 202, None),
        (r#"{"jsonrpc":"2.0","id":1,"method":"no/such"}"#, 200, Some(-32601)),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"no_such_tool"}}"#,
            200,
            Some(-32602),
        ),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#, 200, Some(-32602)),
        (r#"{"jsonrpc":"2.0","id":1,"method":"#, 400, Some(-32700)),
        (r#"not json"#, 400, Some(-32700)),
        (r#"{"id":1,"method":"ping"}"#, 400, Some(-32600)),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, 400, Some(-32600)),
        (r#"[]"#, 400, Some(-32600)),
        (r#"17"#, 400, Some(-32600)),
    ];
    for (body, status, code) in table {
        let (got, answer) = answer(&client, body).await;
        assert_eq!(got.as_u16(), status, "{body}: {answer}");
        assert_eq!(answer.pointer("/error/code").and_then(Value::as_i64), code, "{body}: {answer}");
    }
    let (_, pong) = answer(&client, table[0].0).await;
    assert_eq!(pong, json!({"jsonrpc": "2.0", "id": 1, "result": {}}));
    let (_, words) = answer(&client, r#"{"jsonrpc":"2.0","id":"1","method":"ping"}"#).await;
    assert_eq!(words["id"], "1", "a string stays a string");
}

#[tokio::test]
async fn the_list_of_tools_tells_an_assistant_all_it_needs() {
    let gateway = Gateway::fresh().await;
    let client = gateway.client();
    let answer = client.rpc("tools/list", json!({})).await;
    let tools = answer["result"]["tools"].as_array().unwrap();
    let mut names: Vec<&str> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    let all = [
        "cancel_job",
        "create_upload",
        "delete_image",
        "edit_image",
        "estimate_price",
        "generate_image",
        "generate_image_and_wait",
        "get_image_data",
        "get_job_status",
        "get_quota",
        "get_usage",
        "list_generations",
        "list_jobs",
        "list_models",
        "reload_config",
        "wait_for_completion",
    ];
    assert_eq!(names, all);
    for tool in tools {
        let name = &tool["name"];
        assert!(tool["description"].as_str().is_some_and(|text| text.len() > 20), "{name}");
        assert_eq!(tool["inputSchema"]["type"], "object", "{name}");
        assert!(tool["inputSchema"]["properties"].is_object(), "{name}");
        assert_eq!(tool["outputSchema"]["type"], "object", "{name}");
    }
    let generate = tools.iter().find(|tool| tool["name"] == "generate_image").unwrap();
    let schema = &generate["inputSchema"];
    assert_eq!(schema["required"], json!(["prompt"]));
    let models = schema["properties"]["model"]["enum"].as_array().unwrap();
    assert!(models.contains(&json!("placeholder")), "what is on is offered: {models:?}");
    assert!(!models.contains(&json!("gpt-image")), "what is off is not: {models:?}");
    assert_eq!(
        (&schema["properties"]["count"]["minimum"], &schema["properties"]["count"]["maximum"]),
        (&json!(1), &json!(20))
    );
}

/// Every argument that is refused is named in a sentence, and nothing is started.
#[tokio::test]
async fn a_bad_argument_is_named_in_a_sentence() {
    let gateway = Gateway::fresh().await;
    let client = gateway.client();
    let table = [
        ("generate_image", json!({}), "prompt"),
        ("generate_image", json!({"prompt": ""}), "prompt"),
        ("generate_image", json!({"prompt": 17}), "prompt"),
        ("generate_image", json!({"prompt": "a fox", "count": 0}), "count"),
        ("generate_image", json!({"prompt": "a fox", "count": 21}), "count"),
        ("generate_image", json!({"prompt": "a fox", "count": "x"}), "count"),
        ("generate_image", json!({"prompt": "a fox", "count": 1.5}), "count"),
        ("generate_image", json!({"prompt": "a fox", "model": "no-such-model"}), "model"),
        ("generate_image", json!({"prompt": "a fox", "provider": "nobody"}), "provider"),
        ("generate_image", json!({"prompt": "a fox", "size": "huge"}), "size"),
        ("generate_image", json!({"prompt": "a fox", "size": "9999x9999"}), "size"),
        ("generate_image", json!({"prompt": "a fox", "idempotency_key": "ü"}), "idempotency_key"),
        ("generate_image_and_wait", json!({"prompt": "a fox", "count": 21}), "count"),
        ("generate_image_and_wait", json!({"prompt": "a fox", "return": "everything"}), "return"),
        ("get_job_status", json!({}), "job_id"),
        ("wait_for_completion", json!({}), "job_id"),
        ("wait_for_completion", json!({"job_ids": []}), "job_ids"),
        ("list_generations", json!({"limit": 0}), "limit"),
        ("list_generations", json!({"limit": 51}), "limit"),
        ("list_jobs", json!({"status": "sleeping"}), "status"),
        ("list_jobs", json!({"offset": -1}), "offset"),
        ("get_image_data", json!({}), "image_id"),
        ("cancel_job", json!({}), "job_id"),
    ];
    for (tool, arguments, field) in table {
        let result = client.tool(tool, arguments.clone()).await;
        assert!(result.is_error, "{tool} {arguments}: {}", result.json);
        let code = result.str("code");
        assert!(
            matches!(code.as_str(), "invalid_request" | "unsupported_parameter"),
            "{tool} {arguments}: {code}"
        );
        assert_eq!(result.json["field"], field, "{tool} {arguments}: {}", result.json);
        assert!(result.str("error").contains(field), "the sentence names it: {}", result.json);
    }
    let jobs = client.tool("list_jobs", json!({})).await.ok().json;
    assert_eq!(jobs["total_count"], 0, "nothing was started");
}

#[tokio::test]
async fn a_prompt_of_a_megabyte_is_refused_with_a_sentence() {
    let gateway = Gateway::fresh().await;
    let client = gateway.client();
    for tool in ["generate_image", "generate_image_and_wait", "estimate_price"] {
        let result =
            client.tool(tool, json!({"prompt": "fox ".repeat(250_000)})).await.failed("invalid_request");
        assert_eq!(result.json["field"], "prompt");
        assert!(result.str("error").contains("32"), "it says how long a prompt may be: {}", result.json);
        assert!(result.json.to_string().len() < 2_000, "and does not send it back");
    }
}

#[tokio::test]
async fn unknown_arguments_are_ignored_and_named() {
    let gateway = Gateway::fresh().await;
    let client = gateway.client();
    let result = client
        .tool("generate_image", json!({"prompt": "a fox", "modell": "x", "negative_prompt": null}))
        .await
        .ok();
    let adjustments = result.json["adjustments"].as_array().expect("the stranger is named").clone();
    assert_eq!(adjustments.len(), 1, "null is as if it were not there: {adjustments:?}");
    assert!(
        adjustments[0]["field"] == "modell" && adjustments[0].to_string().contains("model"),
        "{adjustments:?}"
    );
}

#[tokio::test]
async fn a_model_without_credentials_says_what_is_on() {
    let gateway = Gateway::fresh().await;
    let client = gateway.client();
    let off: ToolResult =
        client.tool("generate_image", json!({"prompt": "a fox", "model": "gpt-image"})).await;
    assert!(off.is_error && off.str("error").contains("gpt-image"), "{}", off.json);
    let models = client.tool("list_models", json!({"explain": true})).await.ok().json;
    let model = |name: &str| {
        models["models"].as_array().unwrap().iter().find(|m| m["name"] == name).cloned().unwrap()
    };
    let placeholder = model("placeholder");
    assert_eq!((&placeholder["on"], &placeholder["default"]), (&json!(true), &json!(true)));
    let gpt = model("gpt-image");
    assert_eq!(gpt["on"], false);
    assert!(gpt["targets"][0]["reason"].as_str().is_some_and(|why| why.contains("OPENAI_API_KEY")), "{gpt}");
}

#[tokio::test]
async fn a_price_is_told_without_buying() {
    let upstream = testkit::FakeUpstream::start().await;
    let gateway = Gateway::start(config().openai(&upstream)).await;
    let client = gateway.client();
    let price = client.tool("estimate_price", json!({"count": 3, "quality": "low"})).await.ok().json;
    assert_eq!(
        (&price["outcome"], &price["count"], &price["target"]),
        (&json!("accepted"), &json!(3), &json!("openai/gpt-image-2.5-flare"))
    );
    assert!(price["price"]["amount_micros"].as_i64().is_some_and(|micros| micros > 0), "{price}");
    assert!(
        price["highest"]["amount_micros"].as_i64() >= price["price"]["amount_micros"].as_i64(),
        "{price}"
    );
    let refused = client.tool("estimate_price", json!({"size": "1x1"})).await.ok().json;
    assert_eq!(refused["outcome"], "refused", "{refused}");
    assert!(upstream.requests().is_empty(), "the vendor hears nothing of it");
}
