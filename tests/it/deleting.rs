//! Deleting images: nobody is given them afterwards, and everybody who asks hears what became of them.

use crate::support::{Client, Gateway, ToolResult, config, eventually};
use serde_json::{Value, json};
use std::path::Path;

async fn scene() -> (Gateway, Client) {
    let gateway = Gateway::start(config().placeholder(json!({}))).await;
    let client = gateway.client();
    (gateway, client)
}

/// A finished job, and its image object.
async fn made(client: &Client) -> (String, Value) {
    let job = client.generate("a red fox").await;
    let done = client.wait(&job).await.ok();
    (job, done.json["images"][0].clone())
}

fn files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

fn says_so(answer: &ToolResult, at: &Value) {
    assert!(answer.str("error").contains("was deleted on 20"), "{}", answer.json);
    assert_eq!(&answer.json["deleted_at"], at, "{}", answer.json);
}

#[tokio::test]
async fn whoever_asks_for_a_deleted_image_hears_that_it_was_deleted_and_when() {
    let (gateway, client) = scene().await;
    let (job, image) = made(&client).await;
    let (id, url) = (image["id"].as_str().unwrap(), image["url"].as_str().unwrap());
    // Its preview is made and stored, too.
    client.tool("get_image_data", json!({"image_id": id, "return": "preview"})).await.ok();
    let images = gateway.home().data_dir().join("images");
    assert!(client.get(url).await.status().is_success() && files(&images) >= 2);

    let deleted = client.tool("delete_image", json!({"image_id": format!("image://{id}")})).await.ok();
    let at = &deleted.json["deleted_at"];
    assert_eq!((&deleted.json["image_id"], &deleted.json["job_id"]), (&json!(id), &json!(job)));
    assert_eq!(files(&images), 0, "the image and its preview are gone");

    let link = client.get(url).await;
    assert_eq!(link.status(), 410);
    assert!(link.text().await.unwrap().contains("was deleted on 20"));
    let (bare, _) = url.split_once('?').unwrap();
    assert_eq!(client.get(bare).await.status(), 404, "without a good link nothing is told");

    says_so(&client.tool("get_image_data", json!({"image_id": id})).await.failed("not_found"), at);
    let status = client.status(&job).await;
    assert_eq!(status["deleted"], json!([{"id": id, "deleted_at": at}]), "{status}");
    assert!(status["image_url"].is_null() && status["images"] == json!([]), "{status}");
    assert!(status["message"].as_str().unwrap().contains("was deleted on 20"), "{status}");
    let waited = client.wait(&job).await.ok();
    assert_eq!(waited.json["deleted"][0]["deleted_at"], *at, "{}", waited.json);
    let jobs = client.tool("list_jobs", json!({})).await.ok().json;
    assert_eq!(jobs["jobs"][0]["deleted"][0]["id"], id, "{jobs}");
    let list = client.tool("list_generations", json!({})).await.ok().json;
    assert_eq!(list["generations"], json!([]), "the gallery shows what there is");
    let list = client.tool("list_generations", json!({"deleted": true})).await.ok().json;
    assert_eq!(
        (&list["generations"][0]["deleted_at"], &list["generations"][0]["image_url"]),
        (at, &json!(""))
    );
    for uri in [format!("image://{id}"), format!("job://{job}")] {
        let read = client.rpc("resources/read", json!({"uri": uri})).await.to_string();
        assert!(read.contains("was deleted on 20") || read.contains("Resource deleted on 20"), "{read}");
    }
    let edit = client.tool("edit_image", json!({"prompt": "blue", "references": [id]})).await;
    let edit = edit.failed("invalid_request");
    assert!(edit.str("error").contains("was deleted on 20"), "{}", edit.json);

    let again = client.tool("delete_image", json!({"image_id": id})).await.ok();
    assert_eq!(again.json["deleted_at"], *at, "it was deleted once");
    let gateway = gateway.kill_and_restart().await;
    let client = gateway.client();
    says_so(&client.tool("get_image_data", json!({"image_id": id})).await.failed("not_found"), at);
}

#[tokio::test]
async fn the_operator_deletes_from_the_shell_while_the_server_runs() {
    let (gateway, client) = scene().await;
    let (_, image) = made(&client).await;
    let (_, kept) = made(&client).await;
    let id = image["id"].as_str().unwrap();
    let home = gateway.home();
    let said = home.run(&["images", "delete", id]).await;
    assert!(said.contains("of team default is deleted") && said.contains("free"), "{said}");
    assert_eq!(client.get(image["url"].as_str().unwrap()).await.status(), 410);
    assert!(client.get(kept["url"].as_str().unwrap()).await.status().is_success());
    assert!(home.run(&["images", "delete", id]).await.contains("was deleted before"));
    let job = image["job_id"].as_str().unwrap();
    assert!(home.run(&["jobs", "show", job]).await.contains("deleted 20"));
    let nobodys =
        home.command(&["images", "delete", "5b1f1a3e-8c1d-4c5e-9a51-0c8f5a2d7e11"]).output().await.unwrap();
    assert!(!nobodys.status.success() && String::from_utf8_lossy(&nobodys.stderr).contains("jobs show"));
}

#[tokio::test]
async fn a_key_that_only_reads_deletes_nothing() {
    let (gateway, client) = scene().await;
    let (_, image) = made(&client).await;
    let said = gateway.home().run(&["keys", "create", "--scopes", "images:read"]).await;
    let reader = gateway.client_with(said.trim());
    eventually("the reader's key works", async || {
        let answer = reader.post(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})).await;
        answer.status().is_success().then_some(())
    })
    .await;
    let call = json!({"name": "delete_image", "arguments": {"image_id": image["id"]}});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call});
    assert_eq!(reader.post(&body).await.status(), 403);
    assert!(client.get(image["url"].as_str().unwrap()).await.status().is_success());
}
