//! The commands beside `serve`.

use crate::support::{Config, Gateway, Home, config, vendor};
use serde_json::json;
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
