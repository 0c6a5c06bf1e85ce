//! What one team has, another cannot see: not even that it exists.

use crate::support::{Client, Gateway, config, eventually};
use serde_json::{Value, json};

const NOBODYS: &str = "5b1f1a3e-8c1d-4c5e-9a51-0c8f5a2d7e11";

/// The arguments of a call about an id.
type Arguments<'a> = &'a dyn Fn(&str) -> Value;

async fn stranger(gateway: &Gateway) -> Client {
    let stranger = gateway.client_with(&gateway.home().new_key("b").await);
    eventually("the stranger's key works", async || {
        let answer = stranger.post(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})).await;
        answer.status().is_success().then_some(())
    })
    .await;
    stranger
}

#[tokio::test]
async fn another_teams_job_answers_as_one_that_does_not_exist() {
    let gateway = Gateway::start(config().placeholder(json!({}))).await;
    let (owner, stranger) = (gateway.client(), stranger(&gateway).await);
    let job = owner.generate("a secret fox").await;
    let done = owner.wait(&job).await.ok();
    let image = done.json["images"][0]["id"].as_str().unwrap().to_owned();

    let calls: [(&str, &str, Arguments); 7] = [
        ("get_job_status", &job, &|id| json!({"job_id": id})),
        ("wait_for_completion", &job, &|id| json!({"job_id": id})),
        ("wait_for_completion", &job, &|id| json!({"job_ids": [id]})),
        ("cancel_job", &job, &|id| json!({"job_id": id})),
        ("get_image_data", &image, &|id| json!({"image_id": id})),
        ("delete_image", &image, &|id| json!({"image_id": id})),
        ("generate_image", &image, &|id| json!({"prompt": "a hat", "references": [id]})),
    ];
    for (tool, id, arguments) in calls {
        let ask = async |id: &str| {
            let params = json!({"name": tool, "arguments": arguments(id)});
            let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
            let answer = stranger.post(&body).await;
            (answer.status(), answer.text().await.unwrap().replace(id, "ID"))
        };
        let (theirs, nobodys) = (ask(id).await, ask(NOBODYS).await);
        assert_eq!(theirs, nobodys, "{tool}: byte for byte the same");
        assert!(
            theirs.1.contains("\\\"success\\\":false") || theirs.1.contains("\\\"success\\\": false"),
            "{tool}: {}",
            theirs.1
        );
        assert!(!theirs.1.contains("secret fox"));
    }
    for list in ["list_jobs", "list_generations"] {
        let list = stranger.tool(list, json!({})).await.ok().json;
        assert_eq!((&list["total_count"], &list["returned_count"]), (&json!(0), &json!(0)), "{list}");
    }
    let status = owner.status(&job).await;
    assert_eq!(status["status"], "completed", "and nothing happened to it");
    assert_eq!(status["images"][0]["id"], image, "nor to its image");
}

#[tokio::test]
async fn teams_have_idempotency_keys_of_their_own() {
    let gateway = Gateway::start(config().placeholder(json!({}))).await;
    let (owner, stranger) = (gateway.client(), stranger(&gateway).await);
    let mine = owner.generate_with(json!({"prompt": "a fox", "idempotency_key": "order-1"})).await;
    let theirs = stranger.generate_with(json!({"prompt": "a wolf", "idempotency_key": "order-1"})).await;
    assert_ne!(mine, theirs, "neither refused nor shared");
}

#[tokio::test]
async fn a_team_sees_and_calls_only_the_tools_it_is_offered() {
    let gateway = Gateway::start(
        config()
            .placeholder(json!({}))
            .set("mcp.tools", json!(["list_*", "get_*", "generate_*", "wait_*"]))
            .set("teams.b", json!({"tools": ["*_jobs", "get_job_status"]})),
    )
    .await;
    let (owner, stranger) = (gateway.client(), stranger(&gateway).await);
    let listed = async |client: &Client| {
        let list = client.rpc("tools/list", json!({})).await;
        let names = list["result"]["tools"].as_array().unwrap().iter();
        names.map(|tool| tool["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&stranger).await, ["get_job_status", "list_jobs"]);
    assert!(listed(&owner).await.contains(&"generate_image".to_owned()), "other teams are as before");
    let list = stranger.modern("tools/list", json!({})).await.2;
    assert_eq!(list["result"]["tools"].as_array().unwrap().len(), 2, "in the newest version too");

    let call = json!({"name": "generate_image", "arguments": {"prompt": "a fox"}});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call});
    let refused: Value = stranger.post(&body).await.json().await.unwrap();
    assert_eq!(refused["error"]["message"], "Invalid params: unknown tool: generate_image");
    stranger.tool("list_jobs", json!({})).await.ok();
    assert_eq!(owner.tool("list_jobs", json!({})).await.ok().json["total_count"], 0, "nothing was made");

    // A reload gives it back.
    gateway.home().configure(&config().placeholder(json!({})).set("teams.b", json!({})));
    gateway.hang_up().await;
    assert!(listed(&stranger).await.contains(&"generate_image".to_owned()));
}
