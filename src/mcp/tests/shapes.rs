//! What the tools answer, key by key, and that every shape fits its schema.

use super::*;
use crate::{
    jobs::{Code, Refused},
    mcp::{ClientRule, ResultSettings, Return},
    store::{Image, State},
};
use plugin_api::value::ByteSize;
use std::collections::HashMap;

/// Keys in the order they are written.
pub(super) fn keys(result: &Value) -> Vec<String> {
    let text = result["content"][0]["text"].as_str().unwrap();
    let object: indexmap::IndexMap<String, Value> = serde_json::from_str(text).unwrap();
    object.into_keys().collect()
}

pub(super) async fn list(scene: &Scene) -> Value {
    body(&scene.whole(Peer::Legacy.request("tools/list", json!({}))).await)["result"].clone()
}

#[tokio::test]
async fn the_list_is_small_starts_harmless_and_has_real_enums() {
    let plain = [Scope::ImagesRead, Scope::ImagesWrite, Scope::UsageRead];
    let scene = Scene { principal: principal(&plain), ..scene() };
    let list = list(&scene).await;
    let tools = list["tools"].as_array().unwrap();
    assert_eq!(tools[0]["annotations"]["readOnlyHint"], true, "clients try out the first tool");
    assert!(tools[0]["inputSchema"].get("required").is_none());
    let size = list.to_string().len();
    assert!(size < 16_000, "tools/list has {size} bytes");
    let shown: usize = tools
        .iter()
        .map(|tool| {
            ["name", "description", "inputSchema"]
                .iter()
                .map(|key| tool[key].to_string().len())
                .sum::<usize>()
        })
        .sum();
    assert!(shown < 9_000, "{shown} bytes reach the model");
    let generate = tools.iter().find(|tool| tool["name"] == "generate_image").unwrap();
    let model = &generate["inputSchema"]["properties"]["model"];
    assert!(model["enum"].as_array().unwrap().contains(&json!("sdxl-base")));
    assert!(!model["enum"].as_array().unwrap().contains(&json!("off-model")), "only what is on");
    assert_eq!(model["default"], "flux-schnell");
    for tool in tools {
        let schema = &tool["inputSchema"];
        assert_eq!(schema["type"], "object");
        assert!(["oneOf", "anyOf", "allOf"].iter().all(|key| schema.get(key).is_none()), "flat");
        assert!(tool["title"].is_string() && tool["outputSchema"]["type"] == "object");
    }
}

#[tokio::test]
async fn the_predecessors_keys_come_first_and_in_order() {
    let scene = scene();
    let done = scene.fake.job(State::Completed);
    let running = scene.fake.job(State::Running);
    let prompt = json!({"prompt": "Hello"});
    for (tool, arguments, first) in [
        (
            "generate_image",
            prompt.clone(),
            &["success", "job_id", "status", "message", "prompt", "model", "estimated_time_seconds"][..],
        ),
        (
            "generate_image",
            json!({"prompt": "a", "count": 2}),
            &[
                "success",
                "job_ids",
                "count",
                "status",
                "message",
                "prompt",
                "model",
                "estimated_time_seconds",
            ],
        ),
        (
            "get_job_status",
            json!({"job_id": running}),
            &[
                "success",
                "job_id",
                "status",
                "image_url",
                "error",
                "prompt",
                "model",
                "created_at",
                "updated_at",
            ],
        ),
        (
            "wait_for_completion",
            json!({"job_id": done}),
            &["success", "status", "image_url", "prompt", "model"],
        ),
        ("wait_for_completion", json!({"job_ids": [done]}), &["success", "count", "results"]),
        (
            "list_generations",
            json!({}),
            &["success", "total_count", "returned_count", "has_more", "limit", "offset", "generations"],
        ),
        (
            "list_jobs",
            json!({}),
            &["success", "filter", "total_count", "returned_count", "has_more", "limit", "offset", "jobs"],
        ),
    ] {
        let result = scene.tool(Peer::Bare, tool, arguments).await;
        assert_eq!(keys(&result)[..first.len()], *first, "{tool}");
    }
    let many = scene.object("wait_for_completion", json!({"job_ids": [done]})).await;
    let row = many["results"][0].as_object().unwrap();
    assert!(["job_id", "image_url", "prompt", "model"].iter().all(|key| row.contains_key(*key)));
}

#[tokio::test(start_paused = true)]
async fn every_shape_fits_its_output_schema() {
    let scene = scene();
    let [done, failed, running, cancelled] =
        [State::Completed, State::Failed, State::Running, State::Cancelled]
            .map(|state| scene.fake.job(state));
    let image = scene.fake.views.lock()[0].images[0].id;
    let schemas: HashMap<String, Value> = list(&scene).await["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| (tool["name"].as_str().unwrap().to_owned(), tool["outputSchema"].clone()))
        .collect();
    let nobody = uuid::Uuid::new_v4();
    let removed = scene.fake.job(State::Completed);
    {
        let mut views = scene.fake.views.lock();
        let view = views.iter_mut().find(|view| view.job.id == removed).unwrap();
        let image = Image { deleted_us: Some(fake::NOW_US), ..view.images.remove(0) };
        view.deleted.push(image);
    }
    let gone = scene.fake.views.lock().iter().find_map(|view| Some(view.deleted.first()?.id));
    for (tool, arguments) in [
        ("list_models", json!({"explain": true})),
        ("list_models", json!({"provider": "nobody"})),
        ("estimate_price", json!({})),
        ("estimate_price", json!({"count": 11, "unknown": 1})),
        ("generate_image", json!({"prompt": "a"})),
        ("generate_image", json!({"prompt": "a", "count": 20})),
        ("generate_image", json!({})),
        ("generate_image_and_wait", json!({"prompt": "a", "max_wait_seconds": 0})),
        ("generate_image_and_wait", json!({"prompt": "a", "count": 2, "max_wait_seconds": 0})),
        ("get_job_status", json!({"job_id": done})),
        ("get_job_status", json!({"job_id": failed})),
        ("get_job_status", json!({"job_id": running})),
        ("get_job_status", json!({"job_id": nobody})),
        ("wait_for_completion", json!({"job_id": done})),
        ("wait_for_completion", json!({"job_id": failed})),
        ("wait_for_completion", json!({"job_id": cancelled})),
        ("wait_for_completion", json!({"job_id": running, "max_wait_seconds": 1})),
        ("wait_for_completion", json!({"job_id": nobody})),
        ("wait_for_completion", json!({"job_ids": [done, done]})),
        ("wait_for_completion", json!({"job_ids": [done, failed]})),
        ("wait_for_completion", json!({"job_ids": [done, failed, running], "max_wait_seconds": 1})),
        ("wait_for_completion", json!({})),
        ("list_generations", json!({})),
        ("list_jobs", json!({"status": "cancelled", "limit": "5"})),
        ("list_jobs", json!({"status": "gone"})),
        ("get_image_data", json!({"image_id": image})),
        ("get_image_data", json!({"image_id": "img_x"})),
        ("get_job_status", json!({"job_id": removed})),
        ("wait_for_completion", json!({"job_id": removed})),
        ("list_generations", json!({"deleted": true, "limit": 1})),
        ("get_image_data", json!({"image_id": gone})),
        ("delete_image", json!({"image_id": gone})),
        ("delete_image", json!({"image_id": "x"})),
        ("cancel_job", json!({"job_id": running})),
        ("cancel_job", json!({"job_id": "x"})),
        ("get_quota", json!({})),
        ("get_usage", json!({"by": "day"})),
        ("get_usage", json!({"by": "hour"})),
        ("reload_config", json!({"dotenv_override": true})),
        ("reload_config", json!({"dotenv_override": "no"})),
    ] {
        let object = scene.object(tool, arguments.clone()).await;
        assert_eq!(validate::breaks(&schemas[tool], &object), None, "{tool} {arguments}: {object}");
        assert!(object["success"].is_boolean());
    }
}

#[tokio::test]
async fn a_finished_image_is_described_in_full() {
    let scene = scene();
    let done = scene.fake.job(State::Completed);
    scene.fake.views.lock()[0].job.file_prefix = Some("hero".into());
    let object = scene.object("wait_for_completion", json!({"job_id": done})).await;
    let image = &object["images"][0];
    let id = image["id"].as_str().unwrap();
    assert_eq!(object["image_url"], image["url"]);
    assert_eq!(image["uri"], format!("image://{id}"));
    assert_eq!(image["file_name"], format!("hero_backup-ai_{id}.png"), "named by who made it");
    assert_eq!(image["expires_at"], fake::NOW_US / 1_000 + 1, "milliseconds");
    let curl = image["curl"].as_str().unwrap();
    assert!(curl.starts_with("curl -fsSLo hero_backup-ai_") && curl.ends_with("s=x'"), "{curl}");
    assert_eq!(object["cost"], json!({"amount_micros": 634, "currency": "USD"}));
    assert_eq!(object["adjustments"][0]["used"], "1024x1024");
    assert!(image.get("local_path").is_none());
    let status = scene.object("get_job_status", json!({"job_id": done})).await;
    assert!(status["error"].is_null() && status["code"].is_null(), "a stale error does not survive success");
}

#[tokio::test]
async fn failures_say_what_and_why() {
    let scene = scene();
    let failed = scene.fake.job(State::Failed);
    let done = scene.fake.job(State::Completed);
    let wait = async |arguments| scene.tool(Peer::Legacy, "wait_for_completion", arguments).await;
    let one = wait(json!({"job_id": failed})).await;
    assert_eq!(one["isError"], true);
    assert_eq!(
        object(&one),
        json!({"success": false, "status": "failed", "error": "The vendor refused the prompt.",
        "code": "content_blocked", "job_id": failed})
    );
    let many = object(&wait(json!({"job_ids": [failed, done]})).await);
    assert_eq!(many["error"], "1 job(s) failed");
    assert_eq!(many["failed"][0]["job_id"], json!(failed));
    assert_eq!(many["completed"][0]["job_id"], json!(done));
    let unknown = object(&wait(json!({"job_ids": [done, uuid::Uuid::new_v4()]})).await);
    assert_eq!(unknown["error"], "One or more jobs not found");
    let status = scene.tool(Peer::Legacy, "get_job_status", json!({"job_id": "nope"})).await;
    assert_eq!(
        (&object(&status)["error"], &object(&status)["job_id"]),
        (&json!("Job not found"), &json!("nope"))
    );
    assert_eq!(status["isError"], true);
}

#[tokio::test]
async fn a_refusal_is_a_result_with_its_code_and_field() {
    let scene = scene();
    let refused = Refused {
        retry_after_ms: Some(7_000),
        ..Refused::new(Code::QuotaExceeded, "The day's images are used up.")
    };
    *scene.fake.refuse.lock() = Some(refused.field("count"));
    let result = scene.tool(Peer::Modern, "generate_image", json!({"prompt": "a"})).await;
    assert_eq!(result["isError"], true);
    assert_eq!(
        object(&result),
        json!({"success": false, "error": "The day's images are used up.", "code": "quota_exceeded",
        "field": "count", "retry_after_ms": 7_000})
    );
}

#[tokio::test]
async fn bad_arguments_are_named_with_what_would_do() {
    let scene = scene();
    for (arguments, field, part) in [
        (json!({}), "prompt", "required"),
        (json!({"promt": "a cat"}), "prompt", "`promt` was given"),
        (json!({"prompt": 7}), "prompt", "7"),
        (json!({"prompt": "a", "count": 21}), "count", "1 to 20"),
        (json!({"prompt": "a", "size": "huge"}), "size", "1536x1024"),
        (json!({"prompt": "a", "quality": "best"}), "quality", "low, medium"),
        (json!({"prompt": "a", "return": "all"}), "return", "link, preview, full"),
        (json!({"prompt": "a", "idempotency_key": "two words"}), "idempotency_key", "visible ASCII"),
        (json!({"prompt": "a", "vendor": "x"}), "vendor", "object"),
    ] {
        for tool in ["generate_image", "generate_image_and_wait"] {
            let object = scene.object(tool, arguments.clone()).await;
            assert_eq!(
                (&object["success"], &object["code"]),
                (&json!(false), &json!("invalid_request")),
                "{arguments}"
            );
            assert_eq!(object["field"], field, "{arguments}");
            assert!(object["error"].as_str().unwrap().contains(part), "{object}");
        }
    }
    assert!(scene.fake.made().is_empty(), "nothing was made");
}

#[tokio::test]
async fn an_unknown_argument_is_ignored_and_told() {
    let scene = scene();
    let object =
        scene.object("generate_image", json!({"prompt": "a", "negative_promt": "blur", "size": null})).await;
    assert_eq!(object["success"], true);
    assert_eq!(object["adjustments"][0]["field"], "negative_promt");
    assert!(object["adjustments"][0]["reason"].as_str().unwrap().contains("`negative_prompt`"));
}

#[tokio::test]
async fn the_first_idempotency_key_of_argument_meta_and_header_counts() {
    let scene = scene();
    let call = |argument: Value, meta: Value| {
        let params = json!({"name": "generate_image", "arguments": {"prompt": "a", "idempotency_key": argument},
            "_meta": {"image-gateway/idempotency-key": meta}});
        let mut request = Peer::Legacy.request("tools/call", params);
        request.headers_mut().insert("idempotency-key", "header".parse().unwrap());
        request
    };
    for (argument, meta, expected) in [
        (json!("argument"), json!("meta"), "argument"),
        (Value::Null, json!("meta"), "meta"),
        (json!(""), Value::Null, "header"),
    ] {
        scene.whole(call(argument, meta)).await;
        let read = scene.fake.generations.lock().pop().unwrap();
        assert_eq!(read.idempotency_key.as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn a_repeat_answers_from_the_jobs_that_are_there() {
    let scene = scene();
    *scene.fake.repeated.lock() = true;
    let object = scene.object("generate_image", json!({"prompt": "a"})).await;
    assert!(object["message"].as_str().unwrap().contains("nothing new was started"));
}

fn kinds(result: &Value) -> Vec<String> {
    result["content"].as_array().unwrap().iter().map(|b| b["type"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn each_peer_gets_the_blocks_it_understands() {
    let scene = scene();
    let done = scene.fake.job(State::Completed);
    for (peer, expected) in [
        (Peer::Bare, &["text"][..]),
        (Peer::Old, &["text", "image"]),
        (Peer::Legacy, &["text", "image", "resource_link"]),
        (Peer::Modern, &["text", "image", "resource_link"]),
    ] {
        let result = scene.tool(peer, "wait_for_completion", json!({"job_id": done})).await;
        assert_eq!(kinds(&result), expected, "{peer:?}");
    }
    let result = scene.tool(Peer::Legacy, "wait_for_completion", json!({"job_id": done})).await;
    assert_eq!(result["content"][1], json!({"type": "image", "data": "c21hbGw=", "mimeType": "image/webp"}));
    let link = &result["content"][2];
    assert_eq!(link["uri"], object(&result)["image_url"]);
    assert_eq!((&link["mimeType"], &link["size"]), (&json!("image/png"), &json!(fake::IMAGE_BYTES)));
}

#[tokio::test]
async fn an_image_comes_as_asked_and_within_its_cap() {
    let scene = scene();
    let done = scene.fake.job(State::Completed);
    let image = scene.fake.views.lock()[0].images[0].id;
    let wait = async |how: &str| {
        scene.tool(Peer::Legacy, "wait_for_completion", json!({"job_id": done, "return": how})).await
    };
    assert_eq!(kinds(&wait("link").await), ["text", "resource_link"]);
    let full = wait("full").await;
    assert_eq!(full["content"][1]["mimeType"], "image/webp", "above inline_max it becomes a preview");
    let told = object(&full)["adjustments"].to_string();
    assert!(told.contains("300000 bytes") && told.contains("\"preview\""), "{told}");
    for id in [image.to_string(), format!("image://{image}"), format!("img_openai_{image}")] {
        let data = scene.tool(Peer::Legacy, "get_image_data", json!({"image_id": id})).await;
        assert_eq!(data["content"][1]["data"].as_str().unwrap().len(), 400_000, "whole by default");
        assert_eq!(object(&data)["image"]["id"], json!(image));
    }
    *scene.fake.previews.lock() = false;
    let none = wait("preview").await;
    assert_eq!(kinds(&none), ["text", "resource_link"]);
    assert!(object(&none)["adjustments"].to_string().contains("no small copy"));
}

#[tokio::test]
async fn copies_stop_when_an_answer_is_full() {
    let result = ResultSettings { default: Return::Full, inline_max: ByteSize::mib(1), preview_edge: 64 };
    let scene = Scene::with(
        Settings { result, full_max: ByteSize::kib(600), ..Settings::default() },
        ServerInfo::default(),
    );
    let jobs: Vec<_> = (0..4).map(|_| scene.fake.job(State::Completed)).collect();
    let result = scene.tool(Peer::Old, "wait_for_completion", json!({"job_ids": jobs})).await;
    assert_eq!(kinds(&result), ["text", "image", "image"], "two of 300,000 bytes fit");
    let told = object(&result)["adjustments"].to_string();
    assert!(told.contains("the answer is full"), "{told}");
}

#[tokio::test]
async fn a_clients_own_entry_decides_for_it() {
    let rule = ClientRule {
        matches: "quiet*".into(),
        result: Some(Return::Link),
        inline_max: None,
        wait_ceiling: None,
    };
    let scene = Scene::with(Settings { clients: vec![rule], ..Settings::default() }, ServerInfo::default());
    let done = scene.fake.job(State::Completed);
    let call = |client: &str| {
        let meta = json!({"io.modelcontextprotocol/clientInfo": {"name": client, "version": "1"}});
        Peer::Modern.request(
            "tools/call",
            json!({"name": "wait_for_completion", "arguments": {"job_id": done}, "_meta": meta}),
        )
    };
    let result = |response: &Response<Bytes>| body(response)["result"].clone();
    assert_eq!(kinds(&result(&scene.whole(call("Quiet-Client")).await)), ["text", "resource_link"]);
    assert_eq!(kinds(&result(&scene.whole(call("other")).await)), ["text", "image", "resource_link"]);
}

#[tokio::test]
async fn a_terminal_gets_links_unless_an_entry_says_otherwise() {
    let rule = ClientRule {
        matches: "claude-code*".into(),
        result: Some(Return::Preview),
        inline_max: None,
        wait_ceiling: None,
    };
    for (clients, expected) in
        [(vec![], &["text", "resource_link"][..]), (vec![rule], &["text", "image", "resource_link"])]
    {
        let settings = Settings { clients, ..Settings::default() };
        let scene = Scene::with(settings, ServerInfo::default());
        let done = scene.fake.job(State::Completed);
        // As mcp-remote passes a name on.
        let meta =
            json!({"io.modelcontextprotocol/clientInfo": {"name": "claude-code (via mcp-remote 0.15.1)"}});
        let params = json!({"name": "wait_for_completion", "arguments": {"job_id": done}, "_meta": meta});
        let response = scene.whole(Peer::Modern.request("tools/call", params)).await;
        assert_eq!(kinds(&body(&response)["result"]), expected);
    }
}

#[tokio::test]
async fn tools_that_are_not_offered_do_not_exist() {
    let settings = Settings { tools: vec!["list_*".into()], ..Settings::default() };
    let scene = Scene::with(settings, ServerInfo::default());
    assert_eq!(list(&scene).await["tools"].as_array().unwrap().len(), 3);
    let response = scene.whole(Peer::Legacy.call("generate_image", json!({"prompt": "a"}))).await;
    assert_eq!(body(&response)["error"]["code"], -32602);
}

#[tokio::test]
async fn a_team_is_offered_its_own_tools_in_every_era_and_on_both_paths() {
    let settings = Settings { tools: vec!["*_image*".into(), "list_*".into()], ..Settings::default() };
    let scene = Scene::with(settings, ServerInfo::default());
    *scene.fake.tools.lock() = vec!["list_jobs".into(), "get_*".into(), "generate_image".into()];
    for (profile, peer) in
        [Profile::Job, Profile::Blocking].into_iter().flat_map(|p| Peer::ALL.map(|peer| (p, peer)))
    {
        let ask = async |request| match scene.reply_of(profile, request).await {
            Reply::Whole(response) => body(&response),
            _ => panic!("a stream was not expected"),
        };
        let list = ask(peer.request("tools/list", json!({}))).await;
        let listed: Vec<&str> = list["result"]["tools"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tool| tool["name"].as_str().unwrap())
            .collect();
        assert_eq!(listed, ["generate_image", "list_jobs", "get_image_data"], "{profile:?} {peer:?}");
        for name in ["list_generations", "get_quota", "edit_image"] {
            let told = |answer: Value| answer.to_string().replace(name, "NAME");
            let theirs = told(ask(peer.call(name, json!({}))).await);
            assert!(theirs.contains("NAME"), "{theirs}");
            let nobodys = ask(peer.call("paint", json!({}))).await.to_string().replace("paint", "NAME");
            assert_eq!(theirs, nobodys, "{profile:?} {peer:?} {name}: as one that does not exist");
        }
        assert!(ask(peer.call("list_jobs", json!({}))).await["error"].is_null(), "{profile:?} {peer:?}");
    }
    assert!(scene.fake.made().is_empty());
}
