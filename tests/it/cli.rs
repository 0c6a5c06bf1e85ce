//! The commands beside `serve`.

use crate::support::{Client, Config, Gateway, Home, config, vendor};
use serde_json::{Value, json};
use std::process::Stdio;
use testkit::FakeUpstream;

#[tokio::test]
async fn a_wrong_configuration_is_told_whole_and_by_line() {
    let wrong = json!({"serverr": {}, "jobs": {"lease": "soon"}, "models": {"m": {"targets": ["nobody/x"]}}});
    let mut wrong_config = config();
    for (name, value) in wrong.as_object().unwrap() {
        wrong_config = wrong_config.set(name, value.clone());
    }
    let home = Home::new(wrong_config);
    for command in [&["check"][..], &["serve", "--listen", "127.0.0.1:0"]] {
        let output = home.command(command).stdin(Stdio::null()).output().await.unwrap();
        assert!(!output.status.success(), "{command:?}");
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        for word in ["serverr", "server", "soon", "nobody"] {
            assert!(said.contains(word), "all at once, {word} among them: {said}");
        }
    }
}

#[tokio::test]
async fn check_says_what_is_on_and_off_and_why() {
    let home = Home::new(Config::default());
    let said = home.run(&["check"]).await;
    for word in ["placeholder", "openai", "OPENAI_API_KEY", "CLOUDFLARE_API_TOKEN"] {
        assert!(said.contains(word), "{word} in:\n{said}");
    }
}

#[tokio::test]
async fn doctor_looks_at_every_part_and_shows_no_secret() {
    let upstream = FakeUpstream::start().await;
    upstream.on("/v1/models", testkit::Reply::json(200, r#"{"data":[]}"#));
    let gateway = Gateway::start(config().openai(&upstream)).await;
    let said = gateway.home().run(&["doctor"]).await;
    for word in ["database", "storage", "openai"] {
        assert!(said.to_lowercase().contains(word), "{word} in:\n{said}");
    }
    assert!(!said.contains("sk-test"), "{said}");
    assert_eq!(upstream.submissions(), 0, "the check of credentials buys nothing");
}

#[tokio::test]
async fn doctor_makes_a_cheap_image_with_each_provider_once_it_is_told_to() {
    let (good, bad) = (FakeUpstream::start().await, FakeUpstream::start().await);
    for upstream in [&good, &bad] {
        upstream.on("/v1/models", testkit::Reply::json(200, r#"{"data":[]}"#));
    }
    good.default(vendor::openai_picture());
    bad.default(vendor::openai_error(400, "content_policy_violation", "no circles here"));
    let config = config().openai_at("good", &good.url()).openai_at("bad", &bad.url());
    let home = Home::new(config.set("models", json!({})).set("routing.default_model", json!([])));
    // Nobody answers the question.
    let asked = home.command(&["doctor", "--generate"]).stdin(Stdio::null()).output().await.unwrap();
    let said = String::from_utf8_lossy(&asked.stdout).into_owned();
    assert!(said.contains("2 images for at most") && said.contains("Nothing was made"), "{said}");
    assert!(!asked.status.success() && good.submissions() + bad.submissions() == 0, "{said}");

    let done = home.command(&["doctor", "--generate", "--yes"]).stdin(Stdio::null()).output().await.unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(!done.status.success(), "one of them failed: {said}");
    let line = |word: &str| said.lines().find(|line| line.contains(word)).unwrap_or_else(|| panic!("{said}"));
    assert!(line("image by good").contains("1024x1024") && line("image by good").starts_with("ok"), "{said}");
    assert!(line("image by bad").starts_with("FAIL") && said.contains("jobs show"), "{said}");
    assert_eq!(good.submissions(), 1);
    let path = line("image by good").rsplit(": ").next().unwrap();
    assert_eq!(std::fs::read(path).unwrap(), vendor::png(), "the image is where it says");
    assert!(home.run(&["jobs", "list"]).await.contains("completed"), "it is a job as any other");
}

#[tokio::test]
async fn jobs_are_seen_and_cancelled_from_the_shell_while_the_server_runs() {
    let upstream = FakeUpstream::start().await;
    upstream.default(vendor::openai_picture()).hold();
    let gateway = Gateway::start(config().openai(&upstream).set("providers.openai.concurrency", 1)).await;
    let client = gateway.client();
    let running = client.generate("a fox").await;
    upstream.wait_for_requests(1).await;
    let waiting = client.generate("a wolf").await;
    let home = gateway.home();
    let list = home.run(&["jobs", "list"]).await;
    assert!(list.contains(&running) && list.contains(&waiting), "{list}");
    assert!(home.run(&["jobs", "show", &running]).await.contains("gpt-image"));
    home.run(&["jobs", "cancel", &waiting]).await;
    assert_eq!(client.status(&waiting).await["status"], "cancelled");
    upstream.release();
    client.wait(&running).await.ok();
    assert_eq!(upstream.submissions(), 1);
}

#[tokio::test]
async fn the_schema_of_the_configuration_is_json_and_names_its_sections() {
    let home = Home::new(Config::default());
    let said = home.run(&["schema", "config"]).await;
    let schema: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    for section in ["server", "mcp", "auth", "limits", "providers", "models", "jobs", "storage"] {
        assert!(schema["properties"][section].is_object(), "{section}");
    }
}

#[tokio::test]
async fn fields_may_be_set_on_the_command_line() {
    let home = Home::new(Config::default());
    let output = home.run(&["check", "--set", "jobs.workers=3"]).await;
    assert!(!output.is_empty());
    let wrong = home.command(&["check", "--set", "jobs.workerz=3"]).output().await.unwrap();
    assert!(!wrong.status.success());
    assert!(
        String::from_utf8_lossy(&wrong.stderr).contains("workers")
            || String::from_utf8_lossy(&wrong.stdout).contains("workers"),
        "the nearest valid name"
    );
}

#[tokio::test]
async fn a_file_of_variables_feeds_the_configuration_and_the_environment_wins() {
    let upstream = FakeUpstream::start().await;
    upstream.default(vendor::openai_picture());
    let home = Home::new(Config::default());
    let folder = home.data_dir().parent().unwrap().to_owned();
    std::fs::write(
        folder.join(".env"),
        format!("OPENAI_API_KEY=sk-of-the-file\nOPENAI_BASE_URL={}/v1\n", upstream.url()),
    )
    .unwrap();
    // Without any file but this one: the built-in entries serve OpenAI.
    let gateway = Gateway::start_at(home).await;
    let made = gateway.client().tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.ok();
    assert_eq!(made.str("model"), "gpt-image", "the first default model that is on");
    assert_eq!(upstream.requests()[0].header("authorization"), Some("Bearer sk-of-the-file"));
    assert!(!gateway.log().contains("sk-of-the-file") && !gateway.said().contains("sk-of-the-file"));

    let mut check = gateway.home().command(&["doctor"]);
    check.env("OPENAI_API_KEY", "sk-of-the-environment").output().await.unwrap();
    let asked = upstream.requests();
    let keys: Vec<_> =
        asked.iter().filter(|r| r.method == "GET").filter_map(|r| r.header("authorization")).collect();
    assert!(!keys.is_empty() && keys.iter().all(|key| *key == "Bearer sk-of-the-environment"), "{keys:?}");
}

#[tokio::test]
async fn without_keys_the_gateway_serves_only_this_machine() {
    let open = config().set("auth.mode", "none");
    let gateway = Gateway::start(open.clone()).await;
    let client = gateway.client_with("");
    let http =
        client.http().post(format!("{}/mcp", gateway.url())).header("content-type", "application/json");
    let answer = http
        .body(json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string())
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success());
    let home = Home::new(open);
    let public = home.command(&["serve", "--listen", "0.0.0.0:0"]).stdin(Stdio::null()).output();
    let public = tokio::time::timeout(std::time::Duration::from_secs(10), public)
        .await
        .expect("it refuses to start")
        .unwrap();
    assert!(!public.status.success());
}

#[tokio::test]
async fn connect_prints_what_a_client_needs_and_writes_it_beside_what_is_there() {
    let gateway = Gateway::fresh().await;
    let home = gateway.home();
    let key = std::fs::read_to_string(home.data_dir().join("first-key")).unwrap();
    let said = home.run(&["connect", "curl"]).await;
    assert!(said.contains(key.trim()) && said.contains("http://127.0.0.1:8000/mcp"), "{said}");
    for client in ["Claude Code", "Cursor", "Windsurf", "VS Code", "Gemini CLI", "LibreChat"] {
        assert!(home.run(&["connect"]).await.contains(client), "{client}");
    }
    let file = home.data_dir().join("mcp.json");
    std::fs::write(&file, r#"{"mcpServers": {"other": {"url": "http://o"}}}"#).unwrap();
    let path = file.to_str().unwrap();
    let write = ["connect", "cursor", "--url", gateway.url(), "--key", key.trim(), "--write", "--file", path];
    assert!(home.run(&write).await.contains("added"));
    let written: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(written["mcpServers"]["other"]["url"], "http://o");
    let entry = &written["mcpServers"]["image-gateway"];
    let client = Client::new(
        entry["url"].as_str().unwrap().trim_end_matches("/mcp"),
        entry["headers"]["Authorization"].as_str().unwrap().trim_start_matches("Bearer "),
    );
    client.tool("list_models", json!({})).await.ok();
    assert!(home.run(&write).await.contains("replaced"));
    let unknown = home.command(&["connect", "emacs"]).output().await.unwrap();
    let said = String::from_utf8_lossy(&unknown.stderr);
    assert!(!unknown.status.success() && said.contains("emacs") && said.contains("cursor"), "{said}");
}
