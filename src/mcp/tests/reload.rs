//! `reload_config`, and what a reload changes for the tools.

use super::{shapes::list, *};
use crate::mcp::{Changes, DefaultModel, Names, NotReloaded, Reloaded, Wrong, tool_cards};

fn model(model: &str, fallback: Option<&str>) -> DefaultModel {
    DefaultModel { model: model.into(), fallback_model: fallback.map(Into::into) }
}

#[tokio::test]
async fn a_reload_answers_in_the_form_of_the_second_predecessor() {
    let scene = scene();
    let reloaded = Reloaded {
        changed_fields: vec!["providers.openai".into()],
        providers: vec!["openai".into()],
        default_provider: Some("openai".into()),
        provider_models: [("openai".to_owned(), model("gpt-image-2", Some("gpt-image-1")))].into(),
        changes: Changes {
            providers: Names { changed: vec!["openai".into()], ..Names::default() },
            ..Changes::default()
        },
        ..Reloaded::default()
    };
    *scene.fake.reload.lock() = Ok(reloaded);
    let reloaded = scene.object("reload_config", json!({})).await;
    assert_eq!(
        (&reloaded["version"], &reloaded["ok"], &reloaded["error"]),
        (&json!("1.0"), &json!(true), &Value::Null)
    );
    let result = &reloaded["result"];
    assert_eq!(result["changed_fields"], json!(["providers.openai"]));
    let models = json!({"openai": {"model": "gpt-image-2", "fallback_model": "gpt-image-1"}});
    assert_eq!(result["provider_models"], models);
    assert_eq!(result["restart_required_fields"], json!([]));
    assert_eq!(result["changes"]["providers"], json!({"added": [], "removed": [], "changed": ["openai"]}));

    let wrong = Wrong {
        file: "config.yaml".into(),
        line: Some(3),
        column: Some(5),
        field: "jobs.leese".into(),
        message: "unknown field".into(),
        text: "config.yaml:3:5: jobs.leese: unknown field".into(),
    };
    *scene.fake.reload.lock() = Err(NotReloaded::Invalid(vec![wrong; 7]));
    let result = scene.tool(Peer::Modern, "reload_config", json!({})).await;
    assert_eq!(result["isError"], true);
    let error = object(&result)["error"].clone();
    assert_eq!(error["code"], "invalid_config");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("config.yaml:3:5: jobs.leese") && message.ends_with("and 2 more"), "{message}");
    let first = json!({"file": "config.yaml", "line": 3, "column": 5, "field": "jobs.leese", "message": "unknown field"});
    assert_eq!(error["details"]["errors"][0], first);

    let call = async |arguments| scene.object("reload_config", arguments).await;
    let error = call(json!({"dotenv_override": "perhaps"})).await["error"].clone();
    assert_eq!(
        (&error["code"], &error["details"]["dotenv_override"]),
        (&json!("invalid_arguments"), &json!("perhaps"))
    );

    let fixed = vec!["server.listen".to_owned()];
    *scene.fake.reload.lock() =
        Err(NotReloaded::RestartRequired { changed_fields: Vec::new(), restart_required_fields: fixed });
    let error = scene.object("reload_config", json!({})).await["error"].clone();
    assert_eq!(error["code"], "restart_required");
    assert!(error["message"].as_str().unwrap().contains("server.listen"), "{error}");
    assert_eq!(error["details"], json!({"restart_required_fields": ["server.listen"]}));
}

#[tokio::test]
async fn only_an_operator_sees_and_reaches_the_reload() {
    let mut scene = scene();
    let all = list(&scene).await["tools"].as_array().unwrap().clone();
    let reload = all.iter().find(|tool| tool["name"] == "reload_config").unwrap();
    let hints = json!({"readOnlyHint": false, "destructiveHint": true, "idempotentHint": true, "openWorldHint": false});
    assert_eq!(reload["annotations"], hints);
    scene.principal = principal(&[Scope::ImagesRead, Scope::ImagesWrite, Scope::UsageRead]);
    assert_eq!(list(&scene).await["tools"].as_array().unwrap().len(), all.len() - 1);
    let response = scene.whole(Peer::Legacy.call("reload_config", json!({}))).await;
    assert_eq!(response.status(), 403);
    assert!(!tool_cards().any(|(name, _)| name == "reload_config"), "nor is it on the home page");
}

#[tokio::test]
async fn new_settings_count_from_the_next_call_on() {
    let scene = scene();
    assert!(list(&scene).await["tools"].as_array().unwrap().len() > 3);
    scene.mcp.reload(Settings { tools: vec!["list_*".into()], ..Settings::default() });
    assert_eq!(list(&scene).await["tools"].as_array().unwrap().len(), 3);
}
