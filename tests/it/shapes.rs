//! The results of the tools, key by key: the first predecessor's keys in its order and with its types come first,
//! so that its clients work unchanged. Ours may follow.

use crate::support::{Client, Gateway, ToolResult, config};
use serde_json::{Value, json};

const UNKNOWN: &str = "00000000-0000-4000-8000-000000000000";

/// `name:type` words; `?` allows null.
#[track_caller]
fn begins_with(result: &ToolResult, keys: &str) {
    let wanted: Vec<&str> = keys.split_whitespace().map(|word| word.split_once(':').unwrap().0).collect();
    assert_eq!(result.keys[..wanted.len().min(result.keys.len())], wanted[..], "{}", result.json);
    has(&result.json, keys);
    assert_eq!(result.result["structuredContent"], result.json, "the same object as in the text");
}

#[track_caller]
fn has(object: &Value, keys: &str) {
    for word in keys.split_whitespace() {
        let (name, kind) = word.split_once(':').unwrap();
        let value = object.get(name).unwrap_or_else(|| panic!("no `{name}` in {object}"));
        let (kind, nullable) = kind.strip_suffix('?').map_or((kind, false), |kind| (kind, true));
        let fits = match kind {
            "bool" => value.is_boolean(),
            "text" => value.is_string(),
            "int" => value.is_i64() || value.is_u64(),
            "list" => value.is_array(),
            "uuid" => value.as_str().is_some_and(|text| uuid::Uuid::try_parse(text).is_ok()),
            "time" => value.as_i64().is_some_and(|ms| (1_700_000_000_000..4_000_000_000_000).contains(&ms)),
            "null" => value.is_null(),
            other => panic!("no type {other}"),
        };
        assert!(fits || (nullable && value.is_null()), "`{name}` is no {kind}: {object}");
    }
}

#[track_caller]
fn no_error_key(result: &ToolResult) {
    assert!(result.result.get("isError").is_none(), "absent on success: {}", result.result);
    assert_eq!(result.content[0]["type"], "text", "the text block is first");
}

async fn finished(client: &Client, count: u32) -> Vec<String> {
    let made = client.tool("generate_image_and_wait", json!({"prompt": "a fox", "count": count})).await.ok();
    match count {
        1 => vec![made.str("job_id")],
        _ => made.json["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["job_id"].as_str().unwrap().into())
            .collect(),
    }
}

#[tokio::test]
async fn starting_one_job_and_starting_several() {
    let gateway = Gateway::fresh().await;
    let client = gateway.client();
    let one = client.tool("generate_image", json!({"prompt": "Hello, World! -- a cat?"})).await.ok();
    begins_with(
        &one,
        "success:bool job_id:uuid status:text message:text prompt:text model:text estimated_time_seconds:int",
    );
    assert_eq!((one.str("status"), one.str("prompt")), ("pending".into(), "Hello, World! -- a cat?".into()));
    no_error_key(&one);

    let three = client.tool("generate_image", json!({"prompt": "a fox", "count": 3})).await.ok();
    begins_with(
        &three,
        "success:bool job_ids:list count:int status:text message:text prompt:text model:text estimated_time_seconds:int",
    );
    has(&three.json, "batch_id:uuid");
    let ids = three.json["job_ids"].as_array().unwrap();
    assert_eq!((ids.len(), &three.json["count"]), (3, &json!(3)));
}

#[tokio::test]
async fn a_jobs_status() {
    let gateway = Gateway::fresh().await;
    let client = gateway.client();
    let job = finished(&client, 1).await.remove(0);
    let status = client.tool("get_job_status", json!({"job_id": job})).await.ok();
    begins_with(
        &status,
        "success:bool job_id:uuid status:text image_url:text error:null prompt:text model:text created_at:time updated_at:time",
    );
    has(&status.json, "images:list attempts:list");
    has(&status.json["attempts"][0], "provider:text model:text outcome:text started_at:time ended_at:time");
    has(
        &status.json["images"][0],
        "id:uuid job_id:uuid uri:text url:text mime_type:text width:int height:int size_bytes:int sha256:text file_name:text expires_at:time? curl:text",
    );
    no_error_key(&status);
}

#[tokio::test]
async fn a_wait_for_one_job_and_for_several() {
    let gateway = Gateway::fresh().await;
    let client = gateway.client();
    let jobs = finished(&client, 3).await;
    let one = client.wait(&jobs[0]).await.ok();
    begins_with(&one, "success:bool status:text image_url:text prompt:text model:text");
    assert_eq!(one.str("status"), "completed");

    let asked = json!([jobs[2], jobs[0], jobs[1], jobs[2]]);
    let several = client.tool("wait_for_completion", json!({"job_ids": asked})).await.ok();
    begins_with(&several, "success:bool count:int results:list");
    let results = several.json["results"].as_array().unwrap();
    results.iter().for_each(|row| has(row, "job_id:uuid image_url:text prompt:text model:text"));
    let order: Vec<&str> = results.iter().map(|row| row["job_id"].as_str().unwrap()).collect();
    assert_eq!(order, [&jobs[2], &jobs[0], &jobs[1]], "in the order asked, an id listed twice once");

    let one_of_a_list = client.tool("wait_for_completion", json!({"job_ids": [jobs[0]]})).await.ok();
    begins_with(&one_of_a_list, "success:bool count:int results:list");
    let both =
        client.tool("wait_for_completion", json!({"job_id": jobs[1], "job_ids": [jobs[0]]})).await.ok();
    begins_with(&both, "success:bool status:text image_url:text");
    assert_eq!(both.str("job_id"), jobs[1], "job_id wins");
    no_error_key(&both);
    assert!(
        both.content.iter().all(|block| block["type"] != "image"),
        "a caller as plain as curl gets text and links"
    );
}

#[tokio::test]
async fn one_call_that_makes_and_waits() {
    let gateway = Gateway::fresh().await;
    let client = gateway.client();
    let one = client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.ok();
    begins_with(&one, "success:bool status:text image_url:text prompt:text model:text");
    let two = client.tool("generate_image_and_wait", json!({"prompt": "a fox", "count": 2})).await.ok();
    begins_with(&two, "success:bool count:int results:list");
    assert_eq!(two.json["count"], 2);
    let hashes: Vec<&Value> =
        two.json["results"].as_array().unwrap().iter().map(|r| &r["images"][0]["sha256"]).collect();
    assert_ne!(hashes[0], hashes[1], "two images of one call differ");
    no_error_key(&two);
}

#[tokio::test]
async fn the_gallery_and_the_jobs_page_in_a_stable_order() {
    let gateway = Gateway::fresh().await;
    let client = gateway.client();
    let mut jobs = finished(&client, 5).await;
    let page = async |tool: &str, limit: u32, offset: u32| {
        client.tool(tool, json!({"limit": limit, "offset": offset})).await.ok()
    };

    let first = page("list_generations", 2, 0).await;
    begins_with(
        &first,
        "success:bool total_count:int returned_count:int has_more:bool limit:int offset:int generations:list",
    );
    assert_eq!(
        (&first.json["total_count"], &first.json["returned_count"], &first.json["has_more"]),
        (&json!(5), &json!(2), &json!(true))
    );
    has(
        &first.json["generations"][0],
        "id:uuid job_id:uuid image_url:text prompt:text model:text created_at:time",
    );

    let list = page("list_jobs", 2, 4).await;
    begins_with(
        &list,
        "success:bool filter:text total_count:int returned_count:int has_more:bool limit:int offset:int jobs:list",
    );
    assert_eq!((list.str("filter").as_str(), &list.json["has_more"]), ("all", &json!(false)));
    has(
        &list.json["jobs"][0],
        "id:uuid status:text prompt:text model:text image_url:text error:null created_at:time updated_at:time",
    );

    let mut seen = Vec::new();
    for offset in [0, 2, 4] {
        let rows = page("list_jobs", 2, offset).await.json["jobs"].clone();
        seen.extend(rows.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()));
    }
    jobs.reverse();
    assert_eq!(seen, jobs, "newest first, and a batch in the order asked");
    let failed = client.tool("list_jobs", json!({"status": "failed"})).await.ok();
    assert_eq!((failed.str("filter").as_str(), &failed.json["total_count"]), ("failed", &json!(0)));
}

#[tokio::test]
async fn an_image_comes_inside_the_answer_when_asked_for() {
    let gateway = Gateway::fresh().await;
    let client = gateway.client();
    let status = client.status(&finished(&client, 1).await[0]).await;
    let image = &status["images"][0];
    let whole = client.tool("get_image_data", json!({"image_id": image["id"]})).await.ok();
    begins_with(&whole, "success:bool");
    assert_eq!(whole.json["image"]["sha256"], image["sha256"]);
    let block = whole.content.iter().find(|block| block["type"] == "image").expect("an image block");
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(block["data"].as_str().unwrap()).unwrap();
    assert_eq!(
        (bytes.len() as u64, &block["mimeType"]),
        (image["size_bytes"].as_u64().unwrap(), &json!("image/png"))
    );
    let link = client.tool("get_image_data", json!({"image_id": image["uri"], "return": "link"})).await.ok();
    assert!(link.content.iter().all(|block| block["type"] != "image"), "by its uri too, and only the link");
}

#[tokio::test]
async fn what_does_not_exist_is_said_in_the_predecessors_words() {
    let gateway = Gateway::fresh().await;
    let client = gateway.client();
    let known = finished(&client, 1).await.remove(0);
    for id in [UNKNOWN, "not-an-id"] {
        let status = client.tool("get_job_status", json!({"job_id": id})).await.failed("not_found");
        assert_eq!((status.str("error").as_str(), status.str("job_id").as_str()), ("Job not found", id));
        assert_eq!(status.keys[..2], ["success", "error"]);
        client.tool("cancel_job", json!({"job_id": id})).await.failed("not_found");
        client.tool("get_image_data", json!({"image_id": id})).await.failed("not_found");
        for arguments in [json!({"job_id": id}), json!({"job_ids": [known, id]})] {
            let wait = client.tool("wait_for_completion", arguments).await.failed("not_found");
            assert_eq!(wait.str("error"), "One or more jobs not found");
        }
    }
}

#[tokio::test]
async fn failed_jobs_are_told_one_by_one() {
    let settings = json!({"failure_rate": 1.0});
    let gateway = Gateway::start(config().placeholder(settings).set("routing.retries.attempts", 1)).await;
    let client = gateway.client();
    let job = client.generate("a fox").await;
    let wait = client.wait(&job).await.failed("provider_unavailable");
    assert_eq!(wait.keys[..3], ["success", "status", "error"]);
    assert_eq!((wait.str("status").as_str(), wait.str("job_id")), ("failed", job.clone()));
    let status = client.status(&job).await;
    assert_eq!((&status["status"], &status["image_url"]), (&json!("failed"), &Value::Null));
    assert_eq!(status["error"], wait.json["error"], "the same sentence everywhere");

    let both = client.tool("generate_image_and_wait", json!({"prompt": "a fox", "count": 2})).await;
    assert!(both.is_error && both.str("error") == "2 job(s) failed", "{}", both.json);
    assert_eq!(both.keys[..4], ["success", "error", "failed", "completed"]);
    has(&both.json["failed"][0], "job_id:uuid error:text");
    assert_eq!(both.json["completed"], json!([]));
    assert!(
        !both.json.to_string().to_lowercase().contains("generate again"),
        "no error invites to pay again"
    );
}

#[tokio::test]
async fn our_own_tools() {
    let gateway = Gateway::fresh().await;
    let client = gateway.client();
    let job = finished(&client, 1).await.remove(0);
    let models = client.tool("list_models", json!({"explain": true})).await.ok();
    begins_with(&models, "success:bool models:list");
    for model in models.json["models"].as_array().unwrap() {
        has(model, "name:text description:text on:bool default:bool providers:list sizes:text max_count:int");
        has(model, "references:int formats:list transparent:bool styles:list targets:list");
        assert!(model.get("price").is_some(), "{model}");
        model["targets"]
            .as_array()
            .unwrap()
            .iter()
            .for_each(|target| has(target, "to:text on:bool reason:text?"));
    }
    let price = client.tool("estimate_price", json!({"count": 2})).await.ok();
    begins_with(&price, "success:bool model:text target:text count:int");
    has(&price.json, "basis:text outcome:text reasons:list");
    has(&price.json["price"], "amount_micros:int currency:text");
    has(&price.json["highest"], "amount_micros:int currency:text");
    let cancelled = client.tool("cancel_job", json!({"job_id": job})).await.ok();
    begins_with(&cancelled, "success:bool job_id:uuid status:text cancelled:bool cost:text message:text");
    assert_eq!(
        (&cancelled.json["cancelled"], cancelled.str("cost").as_str()),
        (&json!(false), "none"),
        "it was free"
    );
}
