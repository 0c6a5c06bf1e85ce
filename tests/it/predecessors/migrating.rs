//! The files of `docs/migrating`, and what both predecessors served besides MCP.

use super::*;

#[tokio::test]
async fn both_configurations_pass_the_check_as_they_are() {
    let home = Home::new(Config::default());
    for file in [PY, CF] {
        let said = home.run(&["check", "--config", page(file).to_str().unwrap()]).await;
        assert!(said.contains("The configuration is good."), "{file}: {said}");
        assert!(!said.contains("Not served yet"), "{file}: {said}");
        assert!(!said.contains("placeholder"), "{file}: it is off: {said}");
    }
}

#[tokio::test]
async fn health_has_the_fields_of_both_and_the_home_page_is_there() {
    let scene = Scene::cf().await;
    let health = scene.http.get(scene.at("/health")).send().await.unwrap().json::<Value>().await.unwrap();
    assert_eq!(health["status"], "healthy");
    for field in ["service", "version", "architecture", "timestamp"] {
        assert!(health[field].is_string(), "{field}: {health}");
    }
    let head = scene.http.head(scene.at("/health")).send().await.unwrap();
    assert_eq!(head.status(), 200);
    let home = scene.http.get(scene.at("/")).send().await.unwrap();
    assert!(home.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    assert!(home.text().await.unwrap().contains("generate_image_and_wait"));
    assert_eq!(scene.http.get(scene.at("/nowhere")).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn images_are_public_whole_in_parts_and_asked_for_again() {
    let scene = Scene::py().await;
    let made = scene
        .tool("/mcp/v1/messages", "generate_image", json!({"prompt": "a cat", "file_prefix": "猫"}))
        .await;
    let image = said(&made)["images"][0].clone();
    assert!(image["file_name"].as_str().unwrap().starts_with("猫_openai_"), "{image}");
    let url = image["url"].as_str().unwrap();
    let whole = scene.http.get(url).send().await.unwrap();
    assert_eq!(
        (whole.status().as_u16(), &whole.headers()["content-type"]),
        (200, &"image/png".parse().unwrap())
    );
    assert_eq!(whole.headers()["accept-ranges"], "bytes");
    let etag = whole.headers()["etag"].clone();
    assert!(whole.headers().contains_key("last-modified"));
    assert_eq!(whole.bytes().await.unwrap(), picture("a cat"));
    let part = scene.http.get(url).header("range", "bytes=0-7").send().await.unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.bytes().await.unwrap()[..], picture("a cat")[..8]);
    let again = scene.http.get(url).header("if-none-match", etag).send().await.unwrap();
    assert_eq!(again.status(), 304);
    let head = scene.http.head(url).send().await.unwrap();
    let length = head.headers()["content-length"].to_str().unwrap().parse::<u64>().ok();
    assert_eq!((head.status().as_u16(), length), (200, image["size_bytes"].as_u64()));
    for path in ["/images/", "/images/..%2f..%2fsecret", "/imagesXYZ"] {
        assert_eq!(scene.http.get(scene.at(path)).send().await.unwrap().status(), 404, "{path}");
    }
}

/// The switch: without it links are signed, and the bare name is nothing.
#[tokio::test]
async fn links_end_where_they_are_not_made_public() {
    let upstream = vendors().await;
    let base = format!("{}/v1", upstream.url());
    let variables =
        [("MCP_AUTH_TOKEN", TOKEN), ("OPENAI_API_KEY", "sk-test"), ("OPENAI_BASE_URL", base.as_str())];
    let home = Home::new(Config::default());
    let scene = Scene::start_at(home, upstream, PY, &variables, &["storage.delivery=signed"]).await;
    let made = scene.tool("/mcp/v1/messages", "generate_image", json!({"prompt": "a cat"})).await;
    let url = said(&made)["images"][0]["url"].as_str().unwrap().to_owned();
    assert_eq!(scene.bytes(&url).await, picture("a cat"));
    let bare = url.split('?').next().unwrap();
    assert!(bare != url, "{url}");
    assert_eq!(scene.http.get(bare).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn its_variables_are_the_gateways_settings() {
    let home = Home::new(Config::default());
    let upstream = vendors().await;
    let (url, base) = (upstream.url(), format!("{}/v1", upstream.url()));
    let pictures = home.folder().join("pictures").display().to_string();
    let variables = [
        ("MCP_AUTH_TOKEN", TOKEN),
        ("OPENAI_API_KEY", "sk-test"),
        ("OPENAI_BASE_URL", &base),
        ("OPENAI_MODEL", "gpt-image-1.5"),
        ("DOUBAO_API_KEY", "ark-test"),
        ("DOUBAO_ENDPOINT", &url),
        ("DOUBAO_MODEL", "doubao-seedream-4.0"),
        ("MCP_DEFAULT_PROVIDER", "doubao"),
        ("MCP_PUBLIC_BASE_URL", "https://mcp.example.com/images-of-ours/"),
        ("MCP_IMAGE_SAVE_DIR", &pictures),
        ("MCP_GET_IMAGE_DATA_MAX_BYTES", "100"),
        ("MCP_LOG_LEVEL", "INFO"),
    ];
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, *value)).collect();
    let scene = Scene::start_at(home, upstream, PY, &variables, &[]).await;
    let made = said(&scene.tool("/mcp/v1/messages", "generate_image", json!({"prompt": "a cat"})).await);
    let image = &made["images"][0];
    assert_eq!(image["provider"], "doubao", "the default: {made}");
    assert!(
        image["url"].as_str().unwrap().starts_with("https://mcp.example.com/images-of-ours/images/"),
        "{image}"
    );
    let asked = scene.upstream.requests()[0].json();
    assert_eq!(asked["model"], "doubao-seedream-4-0-20260415", "the current id of that name");
    assert!(std::fs::read_dir(&pictures).unwrap().next().is_some(), "kept where it was told");
    let data = scene.tool("/mcp/v1/messages", "get_image_data", json!({"image_id": image["id"]})).await;
    let error = said(&data)["error"].clone();
    assert_eq!((&error["code"], &error["details"]["max_bytes"]), (&json!("payload_too_large"), &json!(100)));
    let other = json!({"prompt": "a cat", "provider": "openai"});
    assert_eq!(said(&scene.tool("/mcp/v1/messages", "generate_image", other).await)["ok"], true);
    assert_eq!(scene.upstream.requests()[1].json()["model"], "gpt-image-1.5");
    let read = scene.rpc("/mcp/v1/messages", "resources/read", json!({"uri": "providers://list"})).await;
    let text = read["result"]["contents"][0]["text"].as_str().unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(text).unwrap(),
        json!(["doubao", "openai"]),
        "the default first"
    );
}

#[tokio::test]
async fn without_a_token_it_can_be_open_as_it_was_on_loopback() {
    let scene = Scene::start(PY, &[("MCP_AUTH_MODE", "none")], &[]).await;
    let call = scene.http.post(scene.at("/mcp/v1/messages")).header("content-type", "application/json");
    let answer = call.body(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}
