//! A fresh machine: nothing configured, one call, a picture, a restart.

use crate::support::Gateway;
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;

#[tokio::test]
async fn a_fresh_gateway_draws_a_picture_and_still_has_it_after_a_restart() {
    let gateway = Gateway::fresh().await;
    let client = gateway.client();

    let job = client.generate("a red fox in the snow").await;
    let done = client.wait(&job).await.ok();
    assert_eq!(
        (done.str("status").as_str(), done.str("prompt").as_str()),
        ("completed", "a red fox in the snow")
    );

    let link = done.str("image_url");
    assert!(link.starts_with(gateway.url()), "links name the bound port: {link}");
    let picture = client.get(&link).await;
    assert_eq!(picture.status(), StatusCode::OK, "the link opens without a key");
    let header = |name: &str| picture.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
    assert_eq!(header("content-type").as_deref(), Some("image/png"));
    assert_eq!(header("x-content-type-options").as_deref(), Some("nosniff"));
    assert!(header("etag").is_some(), "a browser can ask whether it changed");
    let bytes = picture.bytes().await.unwrap();
    let size = imagesize::blob_size(&bytes).expect("it is an image");
    assert_eq!((size.width, size.height), (1024, 1024));
    assert!(bytes.starts_with(b"\x89PNG"));

    let lists = async |client: &crate::support::Client| {
        let generations = client.tool("list_generations", json!({})).await.ok().json;
        (generations, client.tool("list_jobs", json!({})).await.ok().json)
    };
    let (generations, jobs) = lists(&client).await;
    assert_eq!(generations["generations"][0]["job_id"], job.as_str());
    assert_eq!((&jobs["jobs"][0]["id"], &jobs["jobs"][0]["status"]), (&json!(job), &json!("completed")));

    let key = gateway.key();
    let (home, stopped) = gateway.stop().await;
    assert!(stopped.status.success(), "SIGTERM ends it cleanly: {stopped:?}");
    let gateway = Gateway::start_at(home).await;
    assert_eq!(gateway.key(), key, "the first key stays");
    assert!(!gateway.said().contains(&key), "only the start that made it prints the key to a file or a pipe");
    let client = gateway.client();
    let (generations_again, jobs_again) = lists(&client).await;
    let without_links = |list: &Value, of: &str| {
        let mut rows = list[of].as_array().unwrap().clone();
        rows.iter_mut().for_each(|row| row["image_url"] = Value::Null);
        rows
    };
    assert_eq!(without_links(&generations_again, "generations"), without_links(&generations, "generations"));
    assert_eq!(without_links(&jobs_again, "jobs"), without_links(&jobs, "jobs"));
    let fresh_link = generations_again["generations"][0]["image_url"].as_str().unwrap();
    for link in [fresh_link.to_owned(), gateway.at(&link)] {
        let again = client.get(&link).await.bytes().await.unwrap();
        assert_eq!(again, bytes, "the same picture, also by the link of before the restart");
    }
}

#[tokio::test]
async fn the_first_start_prints_what_to_paste_and_keeps_its_key_to_itself() {
    let gateway = Gateway::fresh().await;
    let (said, key) = (gateway.said(), gateway.key());
    assert!(key.starts_with("igw_") && said.contains(&key), "the start that makes the key shows it");
    for client in ["claude mcp add", "curl", "Cursor", "Windsurf", "VS Code", "Inspector", "Claude Desktop"] {
        assert!(said.contains(client), "a snippet for {client} in:\n{said}");
    }
    assert!(said.contains(&format!("{}/mcp", gateway.url())), "snippets name the real address");
    for file in ["first-key", "secret"] {
        let mode = std::fs::metadata(gateway.home().data_dir().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file} is for its owner only");
    }
    assert!(!gateway.log().contains(&key), "no key in the log");
}

#[tokio::test]
async fn a_pictures_link_serves_ranges_and_refuses_what_was_changed() {
    let gateway = Gateway::fresh().await;
    let client = gateway.client();
    let link = client.wait(&client.generate("a fox").await).await.ok().str("image_url");
    let whole = client.get(&link).await;
    let etag = whole.headers()["etag"].clone();
    let whole = whole.bytes().await.unwrap();

    let part = client.http().get(&link).header("range", "bytes=10-109").send().await.unwrap();
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.headers()["content-range"], format!("bytes 10-109/{}", whole.len()).as_str());
    assert_eq!(part.bytes().await.unwrap(), whole.slice(10..110));

    let same = client.http().get(&link).header("if-none-match", etag).send().await.unwrap();
    assert_eq!(same.status(), StatusCode::NOT_MODIFIED);
    let head = client.http().head(&link).send().await.unwrap();
    assert_eq!(
        (head.status(), head.headers()["content-length"].to_str().unwrap()),
        (StatusCode::OK, whole.len().to_string().as_str())
    );

    let (bare, _) = link.split_once('?').expect("the link is signed");
    let mut forged = link.clone();
    let last = forged.pop().unwrap();
    forged.push(if last == 'A' { 'B' } else { 'A' });
    for bad in [bare.to_owned(), forged] {
        let refused = client.get(&bad).await;
        assert!(refused.status().is_client_error(), "{bad} is {}", refused.status());
    }
}

#[tokio::test]
async fn the_same_seed_draws_the_same_picture_and_arguments_are_honoured() {
    let gateway = Gateway::fresh().await;
    let client = gateway.client();
    let ask = json!({"prompt": "a fox", "seed": 7, "size": "512x256", "output_format": "webp"});
    let (first, second) = tokio::join!(
        client.tool("generate_image_and_wait", ask.clone()),
        client.tool("generate_image_and_wait", ask),
    );
    let (first, second) = (first.ok().json, second.ok().json);
    let image = &first["images"][0];
    assert_eq!(
        (&image["width"], &image["height"], &image["mime_type"]),
        (&json!(512), &json!(256), &json!("image/webp"))
    );
    assert_eq!(image["sha256"], second["images"][0]["sha256"], "deterministic by seed");
    assert_ne!(image["id"], second["images"][0]["id"], "and yet two images");
}
