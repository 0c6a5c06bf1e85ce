//! image-gen-mcp-server: its own HTTP check, its README's calls, its sessions and errors.

use super::*;
use crate::support::config;
use std::time::Duration;

const PATH: &str = "/mcp/v1/messages";

impl Scene {
    async fn generate(&self, arguments: Value) -> Value {
        self.tool(PATH, "generate_image", arguments).await
    }
}

/// All three vendors, Tencent by its signed API.
async fn all_three() -> Scene {
    let upstream = vendors().await;
    let (url, base) = (upstream.url(), format!("{}/v1", upstream.url()));
    let variables = [
        ("MCP_AUTH_TOKEN", TOKEN),
        ("TENCENT_SECRET_ID", "AKIDEXAMPLE"),
        ("TENCENT_SECRET_KEY", "example-secret-key"),
        ("OPENAI_API_KEY", "sk-test"),
        ("OPENAI_BASE_URL", &base),
        ("DOUBAO_API_KEY", "ark-test"),
        ("DOUBAO_ENDPOINT", &url),
    ];
    let address = upstream.address();
    let settings = [
        format!("providers.hunyuan.tc3_base_url={url}"),
        format!("providers.hunyuan.result_hosts=[\"{address}\"]"),
        "providers.hunyuan.poll_first=20ms".into(),
        "providers.hunyuan.poll_every=20ms".into(),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    Scene::start_at(Home::new(Config::default()), upstream, PY, &variables, &settings).await
}

#[tokio::test]
async fn its_own_protocol_check_passes_without_any_vendors_key() {
    let scene = Scene::start(PY, &[("MCP_AUTH_TOKEN", TOKEN)], &[]).await;
    let health = scene.http.get(scene.at("/health")).send().await.unwrap();
    assert_eq!(health.status(), 200);
    assert_eq!(health.json::<Value>().await.unwrap()["status"], "healthy");

    let hello = json!({"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "test-client", "version": "1.0.0"}});
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello});
    let opened = scene.post(PATH, hello).await;
    let session = opened.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let result = opened.json::<Value>().await.unwrap()["result"].clone();
    assert_eq!(result["protocolVersion"], "2024-11-05");
    assert!(result["serverInfo"]["name"].is_string() && result["serverInfo"]["version"].is_string());
    assert!(result["capabilities"].is_object());

    let tools = scene.rpc(PATH, "tools/list", json!({})).await["result"].clone();
    let names: Vec<&str> =
        tools["tools"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    for name in ["generate_image", "get_image_data", "reload_config"] {
        assert!(names.contains(&name), "{names:?}");
    }
    for tool in tools["tools"].as_array().unwrap() {
        assert!(tool["description"].is_string() && tool["inputSchema"]["properties"].is_object(), "{tool}");
    }
    let resources = scene.rpc(PATH, "resources/list", json!({})).await["result"].clone();
    for resource in resources["resources"].as_array().unwrap() {
        for key in ["name", "uri", "mimeType"] {
            assert!(resource[key].is_string(), "{resource}");
        }
    }
    for uri in ["providers://list", "styles://list", "resolutions://list"] {
        let read = scene.rpc(PATH, "resources/read", json!({"uri": uri})).await;
        let text = read["result"]["contents"][0]["text"].as_str().unwrap_or_else(|| panic!("{uri}: {read}"));
        serde_json::from_str::<Value>(text).expect("JSON");
    }
    let prompts = scene.rpc(PATH, "prompts/list", json!({})).await["result"].clone();
    let prompt = &prompts["prompts"][0];
    assert_eq!(prompt["name"], "image_generation_prompt");
    for argument in prompt["arguments"].as_array().unwrap() {
        assert!(argument["required"].is_boolean(), "{argument}");
    }
    for list in [&tools, &resources, &prompts] {
        assert!(!has_null(list), "no null members: {list}");
    }
    let failed = scene.generate(json!({"prompt": "a cat"})).await;
    let object = said(&failed);
    assert_eq!((&object["ok"], &failed["isError"]), (&json!(false), &json!(true)));
    assert_eq!(object["error"]["code"], "provider_missing", "{object}");
    assert_eq!(object["error"]["details"]["available_providers"], json!([]));

    let gone = scene.ask(Method::DELETE, PATH, &[("mcp-session-id", &session)]).await;
    assert_eq!(gone.status(), 204);
}

#[tokio::test]
async fn each_vendor_draws_for_its_functional_check() {
    let scene = all_three().await;
    for provider in ["openai", "hunyuan", "doubao"] {
        let prompt = format!("一只可爱的猫 {provider}");
        let call = json!({"prompt": prompt, "provider": provider, "file_prefix": format!("test_{provider}")});
        let result = scene.generate(call).await;
        let object = said(&result);
        assert_eq!((&object["ok"], &result["isError"]), (&json!(true), &json!(false)), "{object}");
        assert_eq!(object, result["structuredContent"]);
        let image = &object["images"][0];
        assert_eq!(image["provider"], provider);
        let name = image["file_name"].as_str().unwrap();
        assert!(
            name.starts_with(&format!("test_{provider}_{provider}_")) && name.ends_with(".png"),
            "{name}"
        );
        let inline = STANDARD.decode(result["content"][1]["data"].as_str().unwrap()).unwrap();
        assert_eq!(inline, picture(&prompt), "{provider}: the very picture of this prompt");
        assert_eq!(
            scene.bytes(image["url"].as_str().unwrap()).await,
            inline,
            "and behind its link, without a key"
        );
    }
    let providers = scene.rpc(PATH, "resources/read", json!({"uri": "providers://list"})).await;
    let text = providers["result"]["contents"][0]["text"].as_str().unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(text).unwrap(),
        json!(["hunyuan", "openai", "doubao"]),
        "its order"
    );
}

#[tokio::test]
async fn every_call_of_its_readme_works() {
    let scene = all_three().await;
    for (call, sent) in [
        (json!({"prompt": "A cute cat in a garden"}), "A cute cat in a garden"),
        (json!({"prompt": "A cute cat", "provider": "openai"}), "A cute cat"),
        (json!({"prompt": "一只可爱的小猫", "provider": "hunyuan"}), "一只可爱的小猫"),
        (json!({"prompt": "Cute kitten", "provider": "doubao"}), "Cute kitten"),
        (
            json!({"prompt": "Cyberpunk city skyline", "style": "hunyuan:saibopengke", "resolution": "hunyuan:1024:768"}),
            "Cyberpunk city skyline, cyberpunk style",
        ),
        (
            json!({"prompt": "Fantasy magical forest", "provider": "doubao", "style": "fantasy", "resolution": "1024x768", "negative_prompt": "low quality, blurry"}),
            "Fantasy magical forest",
        ),
        (
            json!({"prompt": "Artistic portrait of a musician", "provider": "openai", "style": "artistic", "resolution": "1536x1024"}),
            "Artistic portrait of a musician, artistic style",
        ),
    ] {
        let before = scene.upstream.submissions();
        let result = scene.generate(call.clone()).await;
        assert_eq!(said(&result)["ok"], true, "{call}: {result}");
        let request =
            scene.upstream.requests().into_iter().filter(|r| r.method == "POST").nth(before).unwrap();
        let body = request.json();
        let prompt = body.get("prompt").or(body.get("Prompt")).unwrap().as_str().unwrap().to_owned();
        assert!(prompt.starts_with(sent), "{call}: {prompt}");
        assert!(!prompt.contains("风格") && !prompt.ends_with(", style"), "English, and all of it: {prompt}");
    }
    let forest = scene
        .upstream
        .requests()
        .into_iter()
        .find(|r| r.json()["prompt"].to_string().contains("forest"))
        .unwrap();
    let prompt = forest.json()["prompt"].as_str().unwrap().to_owned();
    assert!(prompt.contains("fantasy art") && prompt.contains("Avoid: low quality, blurry"), "{prompt}");
    assert_eq!(forest.json()["size"], "2217x1663", "the nearest that the model makes");
}

#[tokio::test]
async fn the_colon_forms_go_with_and_without_a_provider() {
    let scene = all_three().await;
    for (arguments, provider) in [
        (json!({"style": "openai:anime"}), "openai"),
        (json!({"provider": "openai", "style": "openai:anime", "resolution": "openai:1024x1024"}), "openai"),
        (json!({"resolution": "doubao:2048x2048"}), "doubao"),
        (json!({"resolution": "1024:768"}), "hunyuan"),
        (json!({"provider": "hunyuan", "resolution": "768:1024"}), "hunyuan"),
        (json!({"style": "shuimo", "resolution": "1280:720"}), "hunyuan"),
    ] {
        let mut call = json!({"prompt": "a fox"});
        call.as_object_mut().unwrap().extend(arguments.as_object().unwrap().clone());
        let object = said(&scene.generate(call).await);
        assert_eq!(object["images"][0]["provider"], provider, "{arguments}: {object}");
    }
}

#[tokio::test]
async fn results_have_its_keys_and_types() {
    let scene = Scene::py().await;
    let arguments = json!({"prompt": "a cat", "file_prefix": "my pre-fix", "negative_prompt": "blur", "style": "openai:anime"});
    let made = scene.generate(arguments).await;
    assert_eq!(keys(&made)[..4], ["version", "ok", "images", "error"]);
    let image = &said(&made)["images"][0];
    let members: Vec<&str> = image.as_object().unwrap().keys().map(String::as_str).collect();
    let mut wanted = [
        "id",
        "provider",
        "mime_type",
        "file_name",
        "local_path",
        "url",
        "size_bytes",
        "revised_prompt",
        "save_error",
    ];
    wanted.sort_unstable();
    assert_eq!(members, wanted, "exactly these");
    let id = image["id"].as_str().unwrap();
    assert!(id.starts_with("img_openai_"), "{id}");
    assert!(image["file_name"].as_str().unwrap().starts_with("my_pre_fix_openai_"));
    assert_eq!((&image["local_path"], &image["save_error"]), (&Value::Null, &Value::Null));
    let url = image["url"].as_str().unwrap();
    assert!(url.starts_with(&scene.at("/images/my_pre_fix_openai_")) && !url.contains('?'), "public: {url}");

    let data = scene.tool(PATH, "get_image_data", json!({"image_id": id})).await;
    assert_eq!((data["content"].as_array().unwrap().len(), &data["isError"]), (1, &json!(false)));
    let object = said(&data);
    assert_eq!(object, data["structuredContent"], "so the base64 is there twice, as it was");
    let stored = &object["images"][0];
    for key in ["id", "provider", "mime_type", "file_name", "url", "size_bytes"] {
        assert_eq!(stored[key], image[key], "{key}");
    }
    assert!(stored["local_path"].is_string() && !stored["local_path"].as_str().unwrap().contains('/'));
    assert_eq!(stored["base64_data"], made["content"][1]["data"]);

    let lost = scene.tool(PATH, "get_image_data", json!({"image_id": "img_x"})).await;
    assert_eq!(
        said(&lost),
        json!({"version": "1.0", "ok": false, "images": [], "error": {"code": "image_not_found",
            "message": "Image id 'img_x' not found or expired", "details": {"image_id": "img_x"}}})
    );
    let reloaded = scene.tool(PATH, "reload_config", json!({})).await;
    assert_eq!(keys(&reloaded)[..4], ["version", "ok", "result", "error"]);
    let result = &said(&reloaded)["result"];
    assert_eq!((&result["changed_fields"], &result["providers"]), (&json!([]), &json!(["openai"])));
    assert_eq!(result["default_provider"], "openai");
    assert_eq!(result["provider_models"], json!({"openai": {"model": "gpt-image-2.5-flare"}}));
    assert_eq!(result["restart_required_fields"], json!([]));
}

#[tokio::test]
async fn errors_have_its_codes() {
    let scene = all_three().await;
    for (arguments, code, detail) in [
        (json!({"provider": "midjourney"}), "provider_unavailable", "available_providers"),
        (json!({"provider": "openai", "style": "cubism"}), "invalid_style", "available_styles"),
        (json!({"provider": "doubao", "style": "riman"}), "invalid_style", "available_styles"),
        (json!({"resolution": "huge"}), "invalid_resolution", "available_resolutions"),
        (json!({"provider": "openai", "background": "red"}), "provider_error", "provider"),
        (
            json!({"provider": "openai", "background": "transparent", "output_format": "jpeg"}),
            "invalid_parameters",
            "openai_parameters",
        ),
        (json!({"prompt": ""}), "invalid_arguments", "argument"),
    ] {
        let mut call = json!({"prompt": "a fox"});
        call.as_object_mut().unwrap().extend(arguments.as_object().unwrap().clone());
        let result = scene.generate(call).await;
        let object = said(&result);
        assert_eq!(
            (&result["isError"], &object["ok"]),
            (&json!(true), &json!(false)),
            "{arguments}: {object}"
        );
        assert_eq!(object["error"]["code"], code, "{arguments}: {object}");
        assert!(object["error"]["details"].get(detail).is_some(), "{object}");
    }
    assert_eq!(scene.upstream.submissions(), 0, "nothing was bought");
    let unknown = scene.tool(PATH, "upscale", json!({})).await;
    assert_eq!(said(&unknown)["error"]["code"], "unknown_tool");

    let refusal = json!({"error": {"message": "Your request was rejected by the safety system. sk-test", "code": "moderation_blocked"}});
    scene.upstream.push(Behaviour::json(400, refusal.to_string()));
    let error =
        said(&scene.generate(json!({"prompt": "a fox", "provider": "openai"})).await)["error"].clone();
    assert_eq!(
        (&error["code"], &error["details"]["code"]),
        (&json!("provider_error"), &json!("content_blocked"))
    );
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("Image generation error: ") && !message.contains("sk-test"), "{message}");
    assert_eq!(error["details"]["provider"], "openai");
}

#[tokio::test]
async fn it_blocks_until_the_image_is_there() {
    let scene = Scene::start(
        PY,
        &[("MCP_AUTH_TOKEN", TOKEN)],
        &[
            "mcp.wait_ceiling=1s",
            "providers.placeholder={kind: placeholder, delay: 3s}",
            "models.placeholder.targets=[placeholder/card]",
            "routing.default_model=[placeholder]",
        ],
    )
    .await;
    let begun = std::time::Instant::now();
    let result = scene.generate(json!({"prompt": "a slow fox"})).await;
    assert!(begun.elapsed() >= Duration::from_secs(3), "the ceiling of other waits is not its own");
    assert_eq!((&said(&result)["ok"], &result["content"][1]["type"]), (&json!(true), &json!("image")));

    let early = said(&scene.generate(json!({"prompt": "a slow fox", "max_wait_seconds": 0})).await);
    assert_eq!((&early["ok"], &early["images"], &early["error"]), (&json!(true), &json!([]), &Value::Null));
    let job = early["job"]["job_id"].as_str().unwrap();
    let message = early["message"].as_str().unwrap();
    assert!(
        message.contains("wait_for_completion") && message.contains(job),
        "the job and what to call: {message}"
    );
    let done = scene.tool(PATH, "wait_for_completion", json!({"job_id": job})).await;
    assert_eq!(
        (&said(&done)["status"], &done["isError"]),
        (&json!("completed"), &json!(false)),
        "no ceiling here"
    );
}

#[tokio::test]
async fn a_session_is_opened_streamed_and_ended() {
    let scene = Scene::py().await;
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18"}});
    let opened = scene.post(PATH, hello).await;
    let id = opened.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let with = [("mcp-session-id", id.as_str())];
    let mut stream = scene.ask(Method::GET, PATH, &with).await;
    assert_eq!(stream.status(), 200);
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    assert_eq!(stream.headers()["x-accel-buffering"], "no");
    let first = stream.chunk().await.unwrap().unwrap();
    assert_eq!(first, "id: 0\nevent: connected\ndata: {\"status\": \"connected\"}\n\n");

    assert_eq!(scene.ask(Method::DELETE, PATH, &with).await.status(), 204);
    let rest =
        tokio::time::timeout(Duration::from_secs(20), stream.chunk()).await.expect("the stream ends with it");
    assert!(rest.unwrap().is_none());
    for (method, headers, status, error) in [
        (Method::GET, &[][..], 400, "Mcp-Session-Id header is required for SSE stream".to_owned()),
        (Method::DELETE, &[], 400, "Mcp-Session-Id header is required".into()),
        (Method::GET, &with, 404, format!("Session '{}' not found or expired", &id[..100])),
        (Method::DELETE, &with, 404, format!("Session '{}' not found", &id[..100])),
    ] {
        let answer = scene.ask(method.clone(), PATH, headers).await;
        assert_eq!(answer.status(), status, "{method}");
        assert_eq!(answer.json::<Value>().await.unwrap(), json!({"error": error}), "{method}");
    }
}

#[tokio::test]
async fn a_session_outlives_the_process_and_only_its_own_key_has_it() {
    let other = "another-token-of-somebody-else-0123456789";
    let gateway = Gateway::start(config().key("old", TOKEN).key("other", other)).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}).to_string();
    let post = |url: String, token: &str, session: Option<&str>, body: String| {
        let mut call = http.post(url + PATH).bearer_auth(token).header("content-type", "application/json");
        if let Some(session) = session {
            call = call.header("mcp-session-id", session);
        }
        call.body(body).send()
    };
    let opened = post(gateway.url().into(), TOKEN, None, hello).await.unwrap();
    let id = opened.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let ping = json!({"jsonrpc": "2.0", "id": 2, "method": "ping"}).to_string();
    let stolen = post(gateway.url().into(), other, Some(&id), ping.clone()).await.unwrap();
    assert_eq!(stolen.status(), 404);
    let gateway = gateway.kill_and_restart().await;
    let kept = post(gateway.url().into(), TOKEN, Some(&id), ping).await.unwrap();
    assert_eq!(kept.status(), 200);
}

#[tokio::test]
async fn who_may_not_come_in_is_told_in_its_words() {
    let scene = Scene::py().await;
    let call = || scene.http.post(scene.at(PATH)).header("content-type", "application/json").body("{}");
    for authorization in [None, Some("Bearer wrong"), Some("Basic eDp5")] {
        let mut call = call();
        if let Some(value) = authorization {
            call = call.header("authorization", value);
        }
        let answer = call.send().await.unwrap();
        assert_eq!(answer.status(), 401);
        assert!(answer.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
        let error = answer.json::<Value>().await.unwrap();
        assert_eq!((&error["error"]["code"], &error["id"]), (&json!(-32001), &Value::Null));
    }
    let scheme = call().header("authorization", format!("bearer {TOKEN}")).send().await.unwrap();
    assert_eq!(scheme.status(), 400, "let in, and {{}} is no message");
    let gateway = Gateway::start(config().key("old", TOKEN)).await;
    let foreign = scene.http.post(format!("{}{PATH}", gateway.url())).bearer_auth(TOKEN);
    let foreign =
        foreign.header("origin", "https://a.team.example.evil.com").body("{}").send().await.unwrap();
    assert_eq!(foreign.status(), 403);
    assert_eq!(foreign.json::<Value>().await.unwrap()["error"]["code"], -32002);
}

#[tokio::test]
async fn over_stdio_it_waits_too_and_names_the_file() {
    use rmcp::{ServiceExt, model::CallToolRequestParams, transport::TokioChildProcess};
    let upstream = vendors().await;
    let home = Home::new(Config::default());
    let path = page(PY).display().to_string();
    let mut command = home.command(&["stdio", "--blocking", "--config", &path]);
    command.env("OPENAI_API_KEY", "sk-test").env("OPENAI_BASE_URL", format!("{}/v1", upstream.url()));
    let (child, _) = TokioChildProcess::builder(command).stderr(std::process::Stdio::null()).spawn().unwrap();
    let host = ().serve(child).await.unwrap();
    let arguments = json!({"prompt": "a fox"}).as_object().cloned().unwrap();
    let result =
        host.call_tool(CallToolRequestParams::new("generate_image").with_arguments(arguments)).await.unwrap();
    let object = result.structured_content.clone().unwrap();
    let path = object["images"][0]["local_path"].as_str().expect("the caller is on this machine");
    assert_eq!(std::fs::read(path).unwrap(), picture("a fox"));
    host.cancel().await.unwrap();
}

#[tokio::test]
async fn a_changed_env_file_is_taken_by_reload_config_and_a_removed_key_is_off() {
    let upstream = vendors().await;
    let home = Home::new(Config::default());
    let env = home.folder().join(".env");
    let url = upstream.url();
    let doubao = format!("MCP_AUTH_TOKEN={TOKEN}\nDOUBAO_API_KEY=ark-test\nDOUBAO_ENDPOINT={url}\n");
    let openai = format!("OPENAI_API_KEY=sk-test\nOPENAI_BASE_URL={url}/v1\n");
    std::fs::write(&env, &doubao).unwrap();
    let scene = Scene::start_at(home, upstream, PY, &[], &[]).await;
    assert_eq!(said(&scene.generate(json!({"prompt": "a fox"})).await)["ok"], true, "read at the start");

    std::fs::write(&env, doubao.replace("DOUBAO_API_KEY=ark-test\n", &openai)).unwrap();
    let reload = async || said(&scene.tool(PATH, "reload_config", json!({"dotenv_override": true})).await);
    let result = reload().await["result"].clone();
    assert_eq!(result["providers"], json!(["openai"]));
    assert_eq!(result["provider_models"], json!({"openai": {"model": "gpt-image-2.5-flare"}}));
    let error =
        said(&scene.generate(json!({"prompt": "a fox", "provider": "doubao"})).await)["error"].clone();
    assert_eq!(error["code"], "provider_unavailable", "a key that was taken out of the file is off at once");
    assert_eq!(error["details"]["available_providers"], json!(["openai"]));

    std::fs::write(&env, format!("{doubao}MCP_IMAGE_SAVE_DIR=elsewhere\n")).unwrap();
    let answer = reload().await;
    assert_eq!((&answer["ok"], &answer["error"]["code"]), (&json!(false), &json!("restart_required")));
    assert_eq!(answer["error"]["details"]["restart_required_fields"], json!(["storage.options"]), "{answer}");
    std::fs::write(&env, &doubao).unwrap();
    let models = json!({"doubao": {"model": "doubao-seedream-4.5", "fallback_model": "doubao-seedream-4.0"}});
    assert_eq!(reload().await["result"]["provider_models"], models);
}
