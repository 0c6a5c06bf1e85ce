//! DashScope from the caller to a fake vendor and back: a blocking model, a model with a task, and what can go wrong.

use crate::support::{Client, Config, Gateway, config, eventually, vendor};
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use testkit::{Behaviour, FakeUpstream, Recorded};

const TASK: &str = "7b2f7a5e-0000-4000-8000-1d2c3b4a5f60";

/// A DashScope that is as strict as the vendor about the header of tasks, and keeps its task running until told.
struct DashScope {
    upstream: Arc<FakeUpstream>,
    finished: Arc<AtomicBool>,
}

impl DashScope {
    async fn start() -> DashScope {
        let upstream = Arc::new(FakeUpstream::start().await);
        let finished = Arc::new(AtomicBool::new(false));
        let (ready, base) = (finished.clone(), upstream.url());
        upstream.handle(move |request: &Recorded| {
            let is_task = request.header("x-dashscope-async") == Some("enable");
            let url = format!("{base}/results/1.png?Expires=1&Signature=0");
            let path = request.path.split('?').next().unwrap_or_default();
            match (request.method.as_str(), path) {
                ("POST", "/api/v1/services/aigc/multimodal-generation/generation") if !is_task => {
                    let content = json!([{"image": url}]);
                    let message = json!({"role": "assistant", "content": content});
                    let output = json!({"choices": [{"finish_reason": "stop", "message": message}]});
                    answer(200, json!({"output": output, "usage": {"image_count": 1}}))
                }
                ("POST", "/api/v1/services/aigc/text2image/image-synthesis") if is_task => {
                    answer(200, json!({"output": {"task_id": TASK, "task_status": "PENDING"}}))
                }
                ("POST", _) => error(403, "AccessDenied", "does not support this kind of calls: synchronous"),
                ("GET", "/results/1.png") => vendor::raw_picture(),
                ("GET", path) if path.ends_with(TASK) && !ready.load(Ordering::SeqCst) => task(json!({"task_status": "RUNNING"})),
                ("GET", path) if path.ends_with(TASK) => {
                    task(json!({"task_status": "SUCCEEDED", "results": [{"url": url, "actual_prompt": "a red fox"}]}))
                }
                _ => task(json!({"task_status": "UNKNOWN"})),
            }
        });
        DashScope { upstream, finished }
    }

    fn finish(&self) {
        self.finished.store(true, Ordering::SeqCst);
    }
    async fn was_polled(&self) {
        eventually("the task was asked for", async || {
            self.upstream.requests().iter().any(|r| r.method == "GET" && r.path.ends_with(TASK)).then_some(())
        })
        .await;
    }
    fn bodies(&self) -> Vec<Value> {
        self.upstream.requests().iter().filter(|r| r.method == "POST").map(Recorded::json).collect()
    }
}

fn answer(status: u16, mut body: Value) -> Behaviour {
    body["request_id"] = "11111111-2222-3333-4444-555555555555".into();
    Behaviour::json(status, body.to_string())
}
fn error(status: u16, code: &str, message: &str) -> Behaviour {
    answer(status, json!({"code": code, "message": message}))
}
fn task(output: Value) -> Behaviour {
    answer(200, json!({"output": output}))
}

/// An instance at a fake; its pictures may come from there.
fn instance(config: Config, id: &str, fake: &DashScope) -> Config {
    let hosts = [fake.upstream.address().to_string()];
    let entry = json!({"kind": "qwen", "api_key": "sk-dash", "base_url": format!("{}/api/v1", fake.upstream.url()),
                       "result_hosts": hosts});
    config.set(&format!("providers.{id}"), entry)
}

async fn scene() -> (DashScope, Gateway, Client) {
    let fake = DashScope::start().await;
    let config = instance(config(), "qwen", &fake)
        .model("wan", &["qwen/wan2.2-t2i-flash"])
        .model("edit", &["qwen/qwen-image-3.0"])
        .model("qwen", &["qwen/qwen-image-2.0"]);
    let gateway = Gateway::start(config).await;
    let client = gateway.client();
    (fake, gateway, client)
}

async fn buy(client: &Client, model: &str) -> crate::support::ToolResult {
    client.tool("generate_image_and_wait", json!({"prompt": "a fox", "model": model})).await
}

#[tokio::test]
async fn a_blocking_model_and_a_model_with_a_task_both_bring_the_picture() {
    let (fake, _gateway, client) = scene().await;
    fake.finish();
    for (model, micros) in [("qwen", 28_001), ("wan", 19_601)] {
        let ask = json!({"prompt": "a fox", "model": model, "size": "1024x1024", "negative_prompt": "blur", "seed": 7});
        let made = client.tool("generate_image_and_wait", ask).await.ok();
        assert_eq!(client.get(&made.str("image_url")).await.bytes().await.unwrap(), vendor::png());
        let cost = json!({"amount_micros": micros, "currency": "USD"});
        assert_eq!(made.json["cost"], cost, "the price of China at the configured rate, rounded up");
        assert!(
            !made.json.to_string().contains("/results/1.png"),
            "the vendor's own link is never handed on"
        );
    }
    let sent = fake.bodies();
    let content = json!([{"text": "a fox"}]);
    assert_eq!(
        sent[0],
        json!({"model": "qwen-image-2.0", "input": {"messages": [{"role": "user", "content": content}]},
               "parameters": {"size": "1024*1024", "n": 1, "seed": 7, "negative_prompt": "blur", "watermark": false}})
    );
    assert_eq!(
        sent[1],
        json!({"model": "wan2.2-t2i-flash", "input": {"prompt": "a fox", "negative_prompt": "blur"},
               "parameters": {"size": "1024*1024", "n": 1, "seed": 7, "watermark": false}})
    );
    let requests = fake.upstream.requests();
    let asked = |r: &&Recorded| !r.path.starts_with("/results/");
    assert!(requests.iter().filter(asked).all(|r| r.header("authorization") == Some("Bearer sk-dash")));
    let fetched = requests.iter().filter(|r| r.path.starts_with("/results/"));
    assert!(
        fetched.clone().count() == 2 && fetched.clone().all(|r| r.header("authorization").is_none()),
        "no key there"
    );
}

#[tokio::test]
async fn an_earlier_image_is_edited_by_its_id() {
    let (fake, _gateway, client) = scene().await;
    let first = buy(&client, "qwen").await.ok().json;
    let image = first["images"][0]["id"].as_str().unwrap();
    let ask = json!({"prompt": "put a hat on it", "model": "edit", "references": [image]});
    client.tool("generate_image_and_wait", ask).await.ok();
    let sent = fake.bodies();
    let content = sent[1]["input"]["messages"][0]["content"].as_array().unwrap();
    assert!(
        content[0]["image"].as_str().unwrap().starts_with("data:image/png;base64,iVBOR"),
        "the image first"
    );
    assert_eq!((content.len(), &content[1]), (2, &json!({"text": "put a hat on it"})));
    let four = json!({"prompt": "a hat", "model": "edit", "references": [image, image, image, image]});
    let refused = client.tool("generate_image", four).await;
    assert!(refused.is_error && refused.str("error").contains("0 to 3"), "{}", refused.json);
}

#[tokio::test]
async fn a_kill_while_the_task_runs_resumes_it_and_buys_nothing_anew() {
    let (fake, gateway, client) = scene().await;
    let job = client.generate_with(json!({"prompt": "a fox", "model": "wan"})).await;
    fake.was_polled().await;
    let home = gateway.kill().await;
    fake.finish();
    let gateway = Gateway::start_at(home).await;
    let done = gateway.client().wait(&job).await.ok();
    assert_eq!(gateway.client().get(&done.str("image_url")).await.bytes().await.unwrap(), vendor::png());
    assert_eq!(fake.upstream.submissions(), 1, "the ticket is resumed");
    let attempts = gateway.client().status(&job).await["attempts"].as_array().unwrap().len();
    assert_eq!(attempts, 1);
}

#[tokio::test]
async fn a_poll_that_is_refused_for_a_while_does_not_buy_again() {
    let (fake, _gateway, client) = scene().await;
    let job = client.generate_with(json!({"prompt": "a fox", "model": "wan"})).await;
    fake.was_polled().await;
    fake.upstream.push(error(429, "Throttling.RateQuota", "slow down")).push(Behaviour::html(502));
    fake.finish();
    client.wait(&job).await.ok();
    assert_eq!(fake.upstream.submissions(), 1);
}

/// Two instances of one model, the first at a fake of its own.
async fn two(vendor_model: &str) -> (DashScope, DashScope, Gateway) {
    let (first, second) = (DashScope::start().await, DashScope::start().await);
    second.finish();
    let config = instance(instance(config(), "one", &first), "two", &second);
    let targets = [format!("one/{vendor_model}"), format!("two/{vendor_model}")];
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    let gateway = Gateway::start(config.model("picture", &targets)).await;
    (first, second, gateway)
}

#[tokio::test]
async fn a_filter_is_no_reason_to_ask_another_account() {
    let (first, second, gateway) = two("qwen-image-2.0").await;
    first.upstream.push(error(400, "DataInspectionFailed", "Input data may contain inappropriate content."));
    buy(&gateway.client(), "picture").await.failed("content_blocked");
    assert_eq!((first.upstream.submissions(), second.upstream.submissions()), (1, 0));

    let (first, second, gateway) = two("wan2.2-t2i-flash").await;
    let blocked =
        json!({"task_status": "FAILED", "code": "DataInspectionFailed", "message": "Output data may ..."});
    first.upstream.on(TASK, task(blocked));
    buy(&gateway.client(), "picture").await.failed("content_blocked");
    assert_eq!((first.upstream.submissions(), second.upstream.submissions()), (1, 0), "also inside a task");
}

#[tokio::test]
async fn a_task_that_failed_at_the_vendor_is_made_elsewhere_because_it_cost_nothing() {
    let (first, second, gateway) = two("wan2.2-t2i-flash").await;
    let failed = json!({"task_status": "FAILED", "code": "InternalError.Algo", "message": "internal error"});
    first.upstream.on(TASK, task(failed));
    buy(&gateway.client(), "picture").await.ok();
    assert_eq!((first.upstream.submissions(), second.upstream.submissions()), (1, 1));
}

#[tokio::test]
async fn a_lost_answer_is_never_bought_again_by_either_kind_of_call() {
    for vendor_model in ["qwen-image-2.0", "wan2.2-t2i-flash"] {
        let (first, second, gateway) = two(vendor_model).await;
        first.upstream.push(Behaviour::Close);
        let client = gateway.client();
        let job = client.generate_with(json!({"prompt": "a fox", "model": "picture"})).await;
        client.wait(&job).await.failed("outcome_unknown");
        let gateway = gateway.kill_and_restart().await;
        assert_eq!(gateway.client().status(&job).await["code"], "outcome_unknown", "and stays that way");
        let bought = (first.upstream.submissions(), second.upstream.submissions());
        assert_eq!(bought, (1, 0), "{vendor_model}: it may have been paid for");
        assert!(!gateway.log().contains("sk-dash"));
    }
}

#[tokio::test]
async fn what_the_account_may_not_do_another_account_does() {
    for refusal in [
        error(401, "InvalidApiKey", "Invalid API-key provided: sk-dash."),
        error(400, "Arrearage", "Access denied, account not in good standing."),
        error(403, "AllocationQuota.FreeTierOnly", "The free tier has been used up."),
        error(404, "Model.NotExist", "Model not exist."),
        error(429, "Throttling.AllocationQuota", "Allocated quota exceeded."),
    ] {
        let (first, second, gateway) = two("qwen-image-2.0").await;
        first.upstream.push(refusal);
        let made = buy(&gateway.client(), "picture").await.ok();
        assert_eq!((first.upstream.submissions(), second.upstream.submissions()), (1, 1));
        assert!(!made.json.to_string().contains("sk-dash") && !gateway.log().contains("sk-dash"));
    }
}
