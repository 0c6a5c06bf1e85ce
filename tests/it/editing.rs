//! Changing images: references by id, by URL, by upload link; what is no reference is refused before money is spent.

use crate::support::{Client, Gateway, config, eventually, vendor};
use serde_json::json;
use testkit::FakeUpstream;

async fn start() -> (FakeUpstream, Gateway, Client) {
    let upstream = FakeUpstream::start().await;
    upstream.default(vendor::openai_picture());
    let gateway = Gateway::start(config().openai(&upstream)).await;
    let client = gateway.client();
    (upstream, gateway, client)
}

/// The one request for an edit that reached the vendor.
fn edit(upstream: &FakeUpstream) -> testkit::Recorded {
    let all = upstream.requests();
    let mut edits = all.into_iter().filter(|r| r.path.ends_with("/images/edits"));
    edits.next().expect("an edit was asked for")
}

#[tokio::test]
async fn an_image_made_before_is_changed_by_its_id() {
    let (upstream, _gateway, client) = start().await;
    let made = client.generate("a red fox").await;
    let first = client.wait(&made).await.ok().json["images"][0]["id"].as_str().unwrap().to_owned();
    let edited = client
        .tool("edit_image", json!({"prompt": "make it blue", "references": [format!("image://{first}")]}))
        .await
        .ok();
    client.wait(&edited.str("job_id")).await.ok();
    let parts = edit(&upstream).parts();
    let sent = parts.iter().find(|p| p.file_name.is_some()).expect("the image went along");
    assert_eq!(sent.bytes, vendor::png(), "the very bytes that were stored");
}

#[tokio::test]
async fn an_upload_link_takes_one_image_once() {
    let (upstream, gateway, client) = start().await;
    let slot = client.tool("create_upload", json!({"mime_type": "image/png", "size_bytes": 1000})).await.ok();
    let put = |url: String, body: &'static [u8]| client.http().put(gateway.at(&url)).body(body).send();
    let url = slot.str("put_url");
    let handle = slot.str("handle");

    let early = client.tool("edit_image", json!({"prompt": "blue", "references": [handle]})).await;
    early.failed("invalid_request");
    let refused = put(url.clone(), b"this is no image").await.unwrap();
    assert_eq!(refused.status(), 422);
    assert!(refused.text().await.unwrap().contains("no image"), "and the link still works");
    let taken = put(url.clone(), vendor::png()).await.unwrap();
    assert_eq!(taken.status(), 201);
    let about: serde_json::Value = taken.json().await.unwrap();
    assert_eq!((&about["width"], &about["mime_type"]), (&json!(1024), &json!("image/png")), "{about}");
    assert_eq!(about["upload_id"], slot.json["upload_id"]);
    assert_eq!(put(url.clone(), vendor::png()).await.unwrap().status(), 409, "once");

    let edited = client.tool("edit_image", json!({"prompt": "blue", "references": [handle]})).await.ok();
    client.wait(&edited.str("job_id")).await.ok();
    assert!(edit(&upstream).parts().iter().any(|p| p.bytes == vendor::png()));

    let other = gateway.client_with(&gateway.home().new_key("other").await);
    eventually("the other team's key works", async || {
        let ping = other.post(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})).await;
        ping.status().is_success().then_some(())
    })
    .await;
    let stolen = other.tool("edit_image", json!({"prompt": "blue", "references": [handle]})).await;
    stolen.failed("invalid_request");

    let mut forged = url.clone();
    forged.pop();
    for bad in [forged, url.replace("/uploads/", "/uploads/x")] {
        let refused = put(bad.clone(), vendor::png()).await.unwrap();
        assert_eq!(refused.status(), 404, "{bad}");
        assert!(
            refused.text().await.unwrap().contains("Call create_upload for a new one"),
            "it has a remedy"
        );
    }
    let read = client.http().get(gateway.at(&url)).send().await.unwrap();
    assert_eq!(read.status(), 405, "a link to put, not to get");
}

#[tokio::test]
async fn what_is_no_reference_is_refused_before_anything_is_bought() {
    let (upstream, _gateway, client) = start().await;
    for (references, says) in [
        (json!([]), "`references` is required"),
        (json!(["a fox"]), "names no image"),
        (json!([uuid::Uuid::new_v4().to_string()]), "there is no image"),
        (json!(["http://127.0.0.1:9/x.png"]), "`http://127.0.0.1:9/x.png` names no image"),
        (json!(["https://127.0.0.1:9/x.png"]), "references[0]"),
        (json!(vec!["data:image/png;base64,AAAA"; 40]), "0 to 32 entries"),
    ] {
        let answer = client.tool("edit_image", json!({"prompt": "blue", "references": references})).await;
        let error = answer.failed("invalid_request").str("error");
        assert!(error.contains(says), "{references}: {error}");
    }
    let made = client.generate("a red fox").await;
    let id = client.wait(&made).await.ok().json["images"][0]["id"].clone();
    let many = client.tool("edit_image", json!({"prompt": "blue", "references": vec![id; 17]})).await;
    let error = many.failed("unsupported_parameter").str("error");
    assert!(error.contains("16"), "the model's own limit is named: {error}");
    assert_eq!(upstream.submissions(), 1, "only the first one");
}
