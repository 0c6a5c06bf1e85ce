//! The second predecessor's profile: shapes, codes, sessions, waits.

use super::{fake::IMAGE_BYTES, shapes::keys, *};
use crate::{
    jobs::{Code, Refused},
    mcp::{ClientRule, Return, Sessions},
    store::State,
};
use ::http::{Method, StatusCode, header};
use plugin_api::{
    Parameters, Size,
    value::{ByteSize, Span},
};
use std::time::Duration;

impl Scene {
    async fn blocking(&self, request: Request<Bytes>) -> Response<Bytes> {
        match self.reply_of(Profile::Blocking, request).await {
            Reply::Whole(response) => response,
            _ => panic!("a stream was not expected"),
        }
    }
    /// The result of a tool at this profile's path.
    async fn blocking_tool(&self, peer: Peer, name: &str, arguments: Value) -> Value {
        let response = self.blocking(peer.call(name, arguments)).await;
        assert_eq!(response.status(), 200);
        body(&response)["result"].clone()
    }
    /// A generation whose job ends in a state as soon as somebody waits for it.
    async fn generated(&self, peer: Peer, arguments: Value, end: State) -> Value {
        let ending = async {
            self.fake.waiting.notified().await;
            for id in self.fake.made() {
                self.fake.end(id, end);
            }
        };
        tokio::join!(self.blocking_tool(peer, "generate_image", arguments), ending).0
    }
    async fn problem(&self, arguments: Value) -> Value {
        let result = self.blocking_tool(Peer::Bare, "generate_image", arguments).await;
        assert_eq!((&result["isError"], &result["structuredContent"]["ok"]), (&json!(true), &json!(false)));
        object(&result)["error"].clone()
    }
}

#[tokio::test]
async fn an_image_is_waited_for_and_comes_along_in_the_predecessors_shape() {
    for peer in Peer::ALL {
        let scene = scene();
        let made =
            scene.generated(peer, json!({"prompt": "a", "file_prefix": "my pre-fix"}), State::Completed);
        let result = made.await;
        assert_eq!(keys(&result)[..4], ["version", "ok", "images", "error"], "{peer:?}");
        assert_eq!(result["isError"], false, "always present");
        let object = object(&result);
        assert_eq!(
            (&object["version"], &object["ok"], &object["error"]),
            (&json!("1.0"), &json!(true), &Value::Null)
        );
        let image = scene.fake.views.lock()[0].images[0].clone();
        let name = format!("img_workers-ai_{}", image.id);
        assert_eq!(
            object["images"],
            json!([{"id": name, "provider": "workers-ai", "mime_type": "image/png",
                "file_name": format!("{name}.png"), "local_path": null,
                "url": format!("http://127.0.0.1:8000/images/{name}.png?e=1&s=x"),
                "size_bytes": IMAGE_BYTES, "revised_prompt": null, "save_error": null}])
        );
        let blocks = result["content"].as_array().unwrap();
        assert_eq!(blocks.len(), 2, "text and image, nothing else");
        assert_eq!((&blocks[1]["type"], &blocks[1]["mimeType"]), (&json!("image"), &json!("image/png")));
        assert_eq!(blocks[1]["data"].as_str().unwrap().len(), 400_000, "whole");
        let asked = scene.fake.generations.lock().pop().unwrap();
        assert_eq!(asked.parameters, Some(Parameters::Nearest), "what a model cannot do is mapped");
        assert_eq!(asked.file_prefix.as_deref(), Some("my_pre_fix"));
    }
}

#[tokio::test]
async fn every_colon_form_names_a_provider_a_style_and_a_size() {
    let wide = Size::exact(1024, 768);
    for (arguments, provider, style, size) in [
        (
            json!({"style": "hunyuan:youhua", "resolution": "hunyuan:1024:768"}),
            Some("hunyuan"),
            Some("youhua"),
            wide,
        ),
        (
            json!({"provider": "hunyuan-eu", "style": "hunyuan-eu:riman"}),
            Some("hunyuan-eu"),
            Some("riman"),
            Size::Auto,
        ),
        (json!({"resolution": "1024:768"}), None, None, wide),
        (
            json!({"provider": "openai", "style": "openai:anime"}),
            Some("openai"),
            Some("anime style"),
            Size::Auto,
        ),
        (
            json!({"style": "oil_painting", "resolution": "auto"}),
            None,
            Some("oil painting style"),
            Size::Auto,
        ),
        (json!({"style": "natural"}), None, None, Size::Auto),
        (
            json!({"provider": "", "style": "", "resolution": "", "negative_prompt": ""}),
            None,
            None,
            Size::Auto,
        ),
    ] {
        let scene = scene();
        let mut call = arguments.clone();
        call["prompt"] = json!("a");
        scene.generated(Peer::Bare, call, State::Completed).await;
        let asked = scene.fake.generations.lock().pop().unwrap();
        assert_eq!(asked.provider.as_deref(), provider, "{arguments}");
        assert_eq!(asked.request.style.as_deref(), style, "{arguments}");
        assert_eq!(asked.request.size, size, "{arguments}");
    }
}

#[tokio::test]
async fn what_cannot_be_asked_has_the_predecessors_code_and_details() {
    let scene = scene();
    for (arguments, code, detail, value) in [
        (json!({"style": "cubism"}), "invalid_style", "provider", json!("openai")),
        (json!({"style": "hunyuan:anime"}), "invalid_style", "available_styles", json!(["riman", "youhua"])),
        (
            json!({"provider": "openai", "style": "hunyuan:riman"}),
            "invalid_style",
            "style",
            json!("hunyuan:riman"),
        ),
        (json!({"resolution": "huge"}), "invalid_resolution", "resolution", json!("huge")),
        (
            json!({"resolution": "huge"}),
            "invalid_resolution",
            "available_resolutions",
            json!(["1024x1024", "1536x1024"]),
        ),
        (
            json!({"provider": "openai", "resolution": "hunyuan:1024:768"}),
            "invalid_resolution",
            "provider",
            json!("openai"),
        ),
        (json!({"background": "red"}), "provider_error", "provider", json!("openai")),
        (json!({"prompt": ""}), "invalid_arguments", "argument", json!("prompt")),
        (json!({"prompt": 7}), "invalid_arguments", "argument", json!("prompt")),
        (json!({"count": 21}), "invalid_arguments", "argument", json!("count")),
    ] {
        let mut call = json!({"prompt": "a"});
        call.as_object_mut().unwrap().extend(arguments.as_object().unwrap().clone());
        let error = scene.problem(call).await;
        assert_eq!(
            (&error["code"], &error["details"][detail]),
            (&json!(code), &value),
            "{arguments}: {error}"
        );
        assert_eq!(
            error["message"].as_str().unwrap().starts_with("Image generation error: "),
            code == "provider_error"
        );
    }
    assert!(scene.fake.made().is_empty(), "nothing was made");
}

#[tokio::test]
async fn refusals_have_its_codes_and_ours_where_it_had_none() {
    let scene = scene();
    for (code, field, arguments, expected, detail) in [
        (
            Code::InvalidRequest,
            Some("provider"),
            json!({"provider": "midjourney"}),
            "provider_unavailable",
            json!("midjourney"),
        ),
        (
            Code::ProviderUnavailable,
            Some("provider"),
            json!({"provider": "doubao"}),
            "provider_unavailable",
            json!("doubao"),
        ),
        (Code::UnsupportedParameter, Some("size"), json!({}), "invalid_resolution", json!("openai")),
        (
            Code::UnsupportedParameter,
            Some("background"),
            json!({"provider": "hunyuan"}),
            "invalid_parameters",
            json!("hunyuan"),
        ),
        (Code::QuotaExceeded, None, json!({}), "quota_exceeded", Value::Null),
        (Code::ShuttingDown, None, json!({}), "shutting_down", Value::Null),
    ] {
        let refused = Refused { field: field.map(Into::into), ..Refused::new(code, "No.") };
        *scene.fake.refuse.lock() = Some(refused);
        let mut call = json!({"prompt": "a"});
        call.as_object_mut().unwrap().extend(arguments.as_object().unwrap().clone());
        let error = scene.problem(call).await;
        assert_eq!((&error["code"], &error["details"]["provider"]), (&json!(expected), &detail), "{error}");
        match expected {
            "provider_unavailable" => {
                assert_eq!(error["details"]["available_providers"], json!(["openai", "hunyuan-eu"]))
            }
            "invalid_parameters" => assert_eq!(
                error["details"]["openai_parameters"],
                json!(["background", "moderation", "output_compression", "output_format"])
            ),
            _ => {}
        }
    }
    let refused = Refused { retry_after_ms: Some(7_000), ..Refused::new(Code::QuotaExceeded, "Used up.") };
    *scene.fake.refuse.lock() = Some(refused);
    assert_eq!(scene.problem(json!({"prompt": "a"})).await["details"]["retry_after_ms"], 7_000);
}

#[tokio::test]
async fn a_failed_job_is_an_error_of_the_provider_with_our_code_beside() {
    let scene = scene();
    let result = scene.generated(Peer::Bare, json!({"prompt": "a"}), State::Failed).await;
    assert_eq!(result["isError"], true);
    let said = object(&result);
    assert_eq!((&said["ok"], &said["images"]), (&json!(false), &json!([])));
    let error = &said["error"];
    assert_eq!(error["code"], "provider_error");
    assert_eq!(error["message"], "Image generation error: The vendor refused the prompt.");
    assert_eq!(error["details"]["code"], "content_blocked");
    assert_eq!(error["details"]["job_id"], json!(scene.fake.made()[0]), "where to look");
}

#[tokio::test]
async fn several_images_come_together_and_none_is_lost_beside_a_failure() {
    let scene = scene();
    let result = scene.generated(Peer::Bare, json!({"prompt": "a", "count": 3}), State::Completed).await;
    let said = object(&result);
    assert_eq!(said["images"].as_array().unwrap().len(), 3);
    assert_eq!(result["content"].as_array().unwrap().len(), 4, "each with its block");

    let one_fails = async {
        scene.fake.waiting.notified().await;
        let made = scene.fake.made();
        scene.fake.end(made[3], State::Failed);
        scene.fake.end(made[4], State::Completed);
    };
    let call = scene.blocking_tool(Peer::Bare, "generate_image", json!({"prompt": "a", "count": 2}));
    let result = tokio::join!(call, one_fails).0;
    let said = object(&result);
    assert_eq!((&said["ok"], &said["error"]["code"]), (&json!(false), &json!("provider_error")));
    assert_eq!(said["images"].as_array().unwrap().len(), 1, "what is paid for is handed over");
}

#[tokio::test(start_paused = true)]
async fn it_waits_as_long_as_it_takes_unless_the_client_is_known_to_give_up() {
    let rule = ClientRule {
        matches: "hasty*".into(),
        result: Some(Return::Link),
        inline_max: None,
        wait_ceiling: Some(Span::secs(20)),
    };
    let settings = Settings { clients: vec![rule], ..Settings::default() };
    let scene = Scene::with(settings, ServerInfo::default());
    let begun = tokio::time::Instant::now();
    scene.generated(Peer::Bare, json!({"prompt": "a"}), State::Completed).await;
    let until = scene.fake.until.lock().unwrap();
    assert!(until - begun >= Duration::from_secs(3_600), "not cut short: {:?}", until - begun);

    let hello =
        json!({"protocolVersion": "2025-06-18", "clientInfo": {"name": "Hasty-Client", "version": "1"}});
    let opened = scene.blocking(Peer::Bare.request("initialize", hello)).await;
    let mut call = Peer::Bare.call("generate_image", json!({"prompt": "a"}));
    call.headers_mut().insert("mcp-session-id", opened.headers()["mcp-session-id"].clone());
    let result = body(&scene.blocking(call).await)["result"].clone();
    let said = object(&result);
    let job = scene.fake.made()[1];
    assert_eq!(
        (&result["isError"], &said["ok"], &said["error"]),
        (&json!(false), &json!(true), &Value::Null)
    );
    assert_eq!(said["images"], json!([]));
    assert_eq!(said["job"], json!({"job_id": job, "status": "pending", "retry_after_ms": 2_000}));
    let message = said["message"].as_str().unwrap();
    assert!(message.contains(&format!("wait_for_completion with job_id {job}")), "{message}");

    let many = json!({"prompt": "a", "count": 2, "max_wait_seconds": 0});
    let said = object(&scene.blocking_tool(Peer::Bare, "generate_image", many).await);
    assert_eq!((&said["ok"], said["jobs"].as_array().unwrap().len()), (&json!(true), 2));
}

#[tokio::test]
async fn an_images_bytes_are_text_in_the_object_under_either_form_of_its_id() {
    let scene = scene();
    scene.fake.job(State::Completed);
    let id = scene.fake.views.lock()[0].images[0].id;
    let name = format!("img_backup-ai_{id}");
    for asked in [name.clone(), id.to_string()] {
        let result = scene.blocking_tool(Peer::Bare, "get_image_data", json!({"image_id": asked})).await;
        assert_eq!((result["content"].as_array().unwrap().len(), &result["isError"]), (1, &json!(false)));
        let said = object(&result);
        let image = &said["images"][0];
        assert_eq!(image["base64_data"].as_str().unwrap().len(), 400_000);
        let order: indexmap::IndexMap<String, Value> = serde_json::from_str(&image.to_string()).unwrap();
        assert_eq!(order.len(), 8, "{:?}", order.keys());
        for (key, value) in
            [("id", &name), ("file_name", &format!("{name}.png")), ("local_path", &format!("{name}.png"))]
        {
            assert_eq!(image[key], json!(value), "{key}");
        }
    }
    for (arguments, code) in [
        (json!({"image_id": "img_x"}), "image_not_found"),
        (json!({"image_id": uuid::Uuid::new_v4()}), "image_not_found"),
        (json!({"image_id": ""}), "invalid_arguments"),
        (json!({"image_id": 7}), "invalid_arguments"),
        (json!({}), "invalid_arguments"),
    ] {
        let result = scene.blocking_tool(Peer::Bare, "get_image_data", arguments.clone()).await;
        assert_eq!(
            (&result["isError"], &object(&result)["error"]["code"]),
            (&json!(true), &json!(code)),
            "{arguments}"
        );
    }
    let error =
        object(&scene.blocking_tool(Peer::Bare, "get_image_data", json!({"image_id": "img_x"})).await);
    assert_eq!(
        error["error"],
        json!({"code": "image_not_found", "message": "Image id 'img_x' not found or expired", "details": {"image_id": "img_x"}})
    );
    let small =
        Scene::with(Settings { full_max: ByteSize::kib(100), ..Settings::default() }, ServerInfo::default());
    small.fake.job(State::Completed);
    let id = small.fake.views.lock()[0].images[0].id;
    let error = object(&small.blocking_tool(Peer::Bare, "get_image_data", json!({"image_id": id})).await);
    assert_eq!(
        (&error["error"]["code"], &error["error"]["details"]),
        (
            &json!("payload_too_large"),
            &json!({"image_id": id, "size_bytes": IMAGE_BYTES, "max_bytes": 102_400})
        )
    );
}

#[tokio::test]
async fn a_tool_that_is_not_there_is_told_where_its_clients_look() {
    let scene = scene();
    let result = scene.blocking_tool(Peer::Old, "remove_background", json!({})).await;
    let error = object(&result)["error"].clone();
    assert_eq!(
        (&error["code"], &error["details"]["tool_name"]),
        (&json!("unknown_tool"), &json!("remove_background"))
    );
    let other = scene.whole(Peer::Bare.call("remove_background", json!({}))).await;
    assert_eq!(body(&other)["error"]["code"], -32602, "the other path has the protocol's own error");
}

#[tokio::test]
async fn the_list_describes_what_is_served_here_and_every_answer_fits_it() {
    let scene = scene();
    let listed = body(&scene.blocking(Peer::Legacy.request("tools/list", json!({}))).await);
    assert!(!listed.to_string().contains("null,") && !listed.to_string().contains(":null"), "{listed}");
    let tools = listed["result"]["tools"].as_array().unwrap();
    let tool = |name: &str| tools.iter().find(|tool| tool["name"] == name).unwrap();
    for tool in tools {
        assert!(tool["description"].is_string() && tool["inputSchema"]["properties"].is_object(), "{tool}");
    }
    assert!(tool("generate_image")["description"].as_str().unwrap().contains("wait for it"));
    let schema = &tool("generate_image")["outputSchema"];
    scene.fake.job(State::Completed);
    let image = scene.fake.views.lock()[0].images[0].id;
    for (name, arguments) in [
        ("generate_image", json!({"prompt": "a", "max_wait_seconds": 0})),
        ("generate_image", json!({"prompt": "a", "count": 2, "max_wait_seconds": 0})),
        ("generate_image", json!({})),
        ("edit_image", json!({"prompt": "a"})),
        ("get_image_data", json!({"image_id": image})),
        ("get_image_data", json!({})),
    ] {
        assert_eq!(&tool(name)["outputSchema"], schema, "{name}");
        let said = object(&scene.blocking_tool(Peer::Legacy, name, arguments.clone()).await);
        assert_eq!(validate::breaks(schema, &said), None, "{name} {arguments}: {said}");
    }
    let other = body(&scene.whole(Peer::Legacy.request("tools/list", json!({}))).await);
    assert_ne!(other["result"]["tools"], listed["result"]["tools"], "the other path has its own");
}

#[tokio::test]
async fn styles_and_prompt_speak_of_what_this_profile_takes() {
    let scene = scene();
    let ask =
        async |method: &str, params: Value| body(&scene.blocking(Peer::Old.request(method, params)).await);
    let read = async |uri: &str| {
        let answer = ask("resources/read", json!({"uri": uri})).await;
        serde_json::from_str::<Value>(answer["result"]["contents"][0]["text"].as_str().unwrap()).unwrap()
    };
    let styles = read("styles://list").await;
    assert_eq!(styles["openai"]["oil_painting"], "oil painting style");
    assert_eq!(styles["hunyuan-eu"]["riman"], "Japanese anime style");
    assert_eq!(
        read("styles://provider/").await.as_object().unwrap().len(),
        12,
        "without a name the default one's"
    );
    assert_eq!(read("resolutions://provider/hunyuan").await["1024x1024"], "1:1 square");
    let prompt =
        ask("prompts/get", json!({"name": "image_generation_prompt", "arguments": {"description": "a cat"}}))
            .await;
    assert_eq!(prompt["result"]["description"], "Image generation prompt for: a cat");
    let text = prompt["result"]["messages"][0]["content"]["text"].as_str().unwrap();
    assert!(text.contains("tool generate_image with") && text.contains("watercolor"), "{text}");
}

fn with_session(method: Method, id: Option<&str>) -> Request<Bytes> {
    let mut builder = Request::builder().method(method).uri("/mcp/v1/messages");
    if let Some(id) = id {
        builder = builder.header("mcp-session-id", id);
    }
    builder.body(Bytes::new()).unwrap()
}

async fn opened(scene: &Scene) -> String {
    let hello = json!({"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "probe", "version": "0"}});
    let response = scene.blocking(Peer::Bare.request("initialize", hello)).await;
    let result = &body(&response)["result"];
    assert_eq!(result["protocolVersion"], "2024-11-05");
    for capability in ["tools", "resources", "prompts"] {
        assert!(result["capabilities"][capability].is_object(), "{result}");
    }
    assert!(result["instructions"].as_str().unwrap().contains("Call generate_image"));
    response.headers()["mcp-session-id"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_session_is_opened_listened_to_and_ended() {
    let mut scene = scene();
    let id = opened(&scene).await;
    let ping = |id: &str| {
        let mut request = Peer::Bare.request("ping", json!({}));
        request.headers_mut().insert("mcp-session-id", id.parse().unwrap());
        request
    };
    assert_eq!(body(&scene.blocking(ping(&id)).await)["result"], json!({}));
    let none = scene.blocking(Peer::Bare.request("ping", json!({}))).await;
    assert!(
        none.status() == 200 && !none.headers().contains_key("mcp-session-id"),
        "none is needed, and none is made"
    );
    let Reply::Listen(head, mut stream) =
        scene.reply_of(Profile::Blocking, with_session(Method::GET, Some(&id))).await
    else {
        panic!("GET opens a stream");
    };
    assert_eq!(head.headers()[header::CONTENT_TYPE], "text/event-stream");
    assert!(stream.next().await.unwrap().starts_with(b"id: 0\nevent: connected\n"));

    let others = std::mem::replace(&mut scene.principal, principal(&Scope::ALL[..1]));
    scene.principal = Arc::new(Principal::new("team", "other", &Scope::ALL));
    assert_eq!(scene.blocking(ping(&id)).await.status(), 404, "somebody else's is none");
    assert_eq!(scene.blocking(with_session(Method::DELETE, Some(&id))).await.status(), 404);
    scene.principal = others;

    let gone = scene.blocking(with_session(Method::DELETE, Some(&id))).await;
    assert_eq!((gone.status(), gone.body().len()), (StatusCode::NO_CONTENT, 0));
    assert_eq!(stream.next().await, None, "its stream ends with it");
    let lost = scene.blocking(ping(&id)).await;
    assert_eq!((lost.status().as_u16(), &body(&lost)["id"]), (404, &json!(7)), "the client opens another");
    for (method, id, status, sentence) in [
        (Method::GET, None, 400, "Mcp-Session-Id header is required for SSE stream"),
        (Method::GET, Some("x"), 404, "Session 'x' not found or expired"),
        (Method::DELETE, None, 400, "Mcp-Session-Id header is required"),
        (Method::DELETE, Some("x"), 404, "Session 'x' not found"),
    ] {
        let response = scene.blocking(with_session(method.clone(), id)).await;
        assert_eq!(
            (response.status().as_u16(), body(&response)),
            (status, json!({"error": sentence})),
            "{method}"
        );
    }
    assert_eq!(scene.blocking(with_session(Method::PUT, None)).await.status(), 405);
    let mut modern = with_session(Method::GET, Some("x"));
    modern.headers_mut().insert("mcp-protocol-version", "2026-07-28".parse().unwrap());
    assert_eq!(scene.blocking(modern).await.status(), 405, "that era has no sessions");
}

#[tokio::test]
async fn sessions_can_be_switched_off_and_the_other_path_has_none() {
    let scene =
        Scene::with(Settings { sessions: Sessions::Off, ..Settings::default() }, ServerInfo::default());
    let response = scene.blocking(Peer::Bare.request("initialize", json!({}))).await;
    assert!(response.status() == 200 && !response.headers().contains_key("mcp-session-id"));
    assert_eq!(scene.blocking(with_session(Method::GET, Some("x"))).await.status(), 405);
    let response = super::scene().whole(Peer::Bare.request("initialize", json!({}))).await;
    assert!(!response.headers().contains_key("mcp-session-id"));
}

#[tokio::test]
async fn neither_accept_nor_content_type_is_looked_at() {
    let scene = scene();
    let ping = |kind: &str, accept: &str| {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        Request::post("/").header("content-type", kind).header("accept", accept).body(body.into()).unwrap()
    };
    for (kind, accept) in [("application/x-www-form-urlencoded", "*/*"), ("text/plain", "text/html")] {
        let response = scene.blocking(ping(kind, accept)).await;
        assert_eq!(
            (response.status().as_u16(), &body(&response)["result"]),
            (200, &json!({})),
            "{kind} {accept}"
        );
    }
}
