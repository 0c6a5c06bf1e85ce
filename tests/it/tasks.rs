//! Jobs as tasks: asked for, looked at, listened to, cancelled, restarted under, and gone in the end.

use crate::support::{Client, Gateway, Home, ToolResult, config, eventually, vendor, vendor::Vendor};
use reqwest::Response;
use serde_json::{Value, json};
use testkit::FakeUpstream;

const EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// Clients of the two revisions that have tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Extension,
    Core,
}
const FORMS: [Form; 2] = [Form::Extension, Form::Core];

impl Form {
    async fn send(self, client: &Client, method: &str, params: Value) -> Response {
        if self == Form::Extension {
            return client.modern_as(json!({"extensions": {EXTENSION: {}}}), method, params).await;
        }
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
        let call = client.http().post(format!("{}/mcp", client.url())).bearer_auth(client.key());
        let call =
            call.header("mcp-protocol-version", "2025-11-25").header("content-type", "application/json");
        let call = call.header("accept", "application/json, text/event-stream");
        call.body(body.to_string()).send().await.expect("the gateway answers")
    }

    async fn ask(self, client: &Client, method: &str, params: Value) -> Value {
        self.send(client, method, params).await.json().await.expect("the answer is JSON")
    }

    /// Starts a task; its id.
    async fn start(self, client: &Client, arguments: Value) -> String {
        let params = json!({"name": "generate_image", "arguments": arguments, "task": {}});
        let answer = self.ask(client, "tools/call", params).await;
        let task = if self == Form::Core { &answer["result"]["task"] } else { &answer["result"] };
        assert_eq!(task["status"], "working", "{self:?}: {answer}");
        task["taskId"].as_str().unwrap().to_owned()
    }

    async fn get(self, client: &Client, task: &str) -> Value {
        self.ask(client, "tasks/get", json!({"taskId": task})).await["result"].clone()
    }

    async fn until(self, client: &Client, task: &str, status: &str) -> Value {
        eventually(&format!("the task is {status}"), async || {
            let task = self.get(client, task).await;
            (task["status"] == status).then_some(task)
        })
        .await
    }
}

/// The image that a result has.
fn image(result: &Value) -> Value {
    let result = ToolResult::read(&json!({"result": result})).ok();
    result.json["images"][0]["sha256"].clone()
}

#[tokio::test]
async fn a_task_goes_from_the_call_to_the_picture_in_both_forms() {
    let upstream = FakeUpstream::start().await;
    upstream.default(vendor::openai_picture()).hold();
    let gateway = Gateway::start(config().openai(&upstream)).await;
    let client = gateway.client();
    let new = Form::Extension.start(&client, json!({"prompt": "a fox", "return": "full"})).await;
    let old = Form::Core.start(&client, json!({"prompt": "a wolf", "return": "full"})).await;
    upstream.wait_for_requests(2).await;
    let working = Form::Extension.get(&client, &new).await;
    assert_eq!(
        (&working["status"], &working["statusMessage"]),
        (&json!("working"), &json!("openai is drawing"))
    );
    let waiter = tokio::spawn({
        let (client, old) = (client.clone(), old.clone());
        async move { Form::Core.ask(&client, "tasks/result", json!({"taskId": old})).await }
    });
    upstream.release();
    let done = Form::Extension.until(&client, &new, "completed").await;
    let waited = waiter.await.unwrap()["result"].clone();
    assert_eq!(waited["_meta"]["io.modelcontextprotocol/related-task"]["taskId"], json!(old));
    assert_eq!(Form::Core.get(&client, &old).await["status"], "completed");
    for (task, result) in [(&new, &done["result"]), (&old, &waited)] {
        let plain = client.tool("wait_for_completion", json!({"job_id": task, "return": "full"})).await;
        assert_eq!(result["content"][1]["type"], "image", "the whole image, as the call asked: {task}");
        assert_eq!(result["content"][1], plain.content[1], "what a wait for the job brings");
        assert!(image(result).is_string() && image(result) == plain.json["images"][0]["sha256"]);
        assert_eq!(client.status(task).await["status"], "completed", "and it is a job as any other");
    }
    let listed = Form::Core.ask(&client, "tasks/list", json!({})).await["result"]["tasks"].clone();
    let ids: Vec<&str> =
        listed.as_array().unwrap().iter().filter_map(|task| task["taskId"].as_str()).collect();
    assert_eq!(ids, [&*old, &*new], "the newest first");
    assert_eq!(upstream.submissions(), 2);
}

#[tokio::test]
async fn a_client_that_declares_nothing_waits_as_ever() {
    let gateway = Gateway::start(config().placeholder(json!({}))).await;
    let client = gateway.client();
    let params = json!({"name": "generate_image_and_wait", "arguments": {"prompt": "a fox"}, "task": {}});
    let (_, _, answer) = client.modern("tools/call", params).await;
    assert!(image(&answer["result"]).is_string(), "{answer}");
    let job = client.generate("a wolf").await;
    let (status, _, answer) = client.modern("tasks/get", json!({"taskId": job})).await;
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (400, &json!(-32021)));
    let (status, _, answer) = client.modern("tasks/list", json!({})).await;
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (404, &json!(-32601)));
}

#[tokio::test]
async fn a_task_that_was_not_sent_yet_is_cancelled() {
    for form in FORMS {
        let upstream = FakeUpstream::start().await;
        upstream.default(vendor::openai_picture()).hold();
        let config = config().openai(&upstream).set("providers.openai.concurrency", 1);
        let gateway = Gateway::start(config).await;
        let client = gateway.client();
        let running = form.start(&client, json!({"prompt": "a fox"})).await;
        upstream.wait_for_requests(1).await;
        let waiting = form.start(&client, json!({"prompt": "a wolf"})).await;
        let cancelled = form.ask(&client, "tasks/cancel", json!({"taskId": waiting})).await;
        let told = (form == Form::Core).then_some(&cancelled["result"]["status"]);
        assert!(cancelled["result"].is_object() && told.is_none_or(|told| *told == "cancelled"));
        assert_eq!(form.get(&client, &waiting).await["status"], "cancelled");
        assert_eq!(client.status(&waiting).await["status"], "cancelled", "the job is");
        upstream.release();
        form.until(&client, &running, "completed").await;
        assert_eq!(upstream.submissions(), 1, "{form:?}: the cancelled one was never sent");
        let again = form.ask(&client, "tasks/cancel", json!({"taskId": running})).await;
        let code = if form == Form::Core { json!(-32602) } else { Value::Null };
        assert_eq!(again["error"]["code"], code, "{form:?}: it had ended");
    }
}

#[tokio::test]
async fn another_teams_task_answers_as_one_that_never_was() {
    let gateway = Gateway::start(config().placeholder(json!({}))).await;
    let owner = gateway.client();
    let job = owner.generate("a secret fox").await;
    owner.wait(&job).await.ok();
    let stranger = gateway.client_with(&gateway.home().new_key("b").await);
    eventually("the stranger's key works", async || {
        let answer = stranger.post(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})).await;
        answer.status().is_success().then_some(())
    })
    .await;
    for form in FORMS {
        let only = if form == Form::Core { "tasks/result" } else { "tasks/update" };
        for method in ["tasks/get", "tasks/cancel", only] {
            let ask = async |id: &str| {
                let params = json!({"taskId": id, "inputResponses": {}});
                let answer = form.send(&stranger, method, params).await;
                (answer.status(), answer.text().await.unwrap())
            };
            let foreign = ask(&job).await;
            assert!(foreign.1.contains("-32602"), "{method}: {foreign:?}");
            assert_eq!(foreign, ask("5b1f1a3e-8c1d-4c5e-9a51-0c8f5a2d7e11").await, "{method}");
        }
    }
    let listed = Form::Core.ask(&stranger, "tasks/list", json!({})).await;
    assert_eq!(listed["result"]["tasks"], json!([]));
    let listening = json!({"notifications": {"taskIds": [job]}});
    let mut stream = Form::Extension.send(&stranger, "subscriptions/listen", listening).await;
    assert_eq!(told(&mut stream).await["params"]["notifications"], json!({}), "nothing to hear");
}

/// The next message of a stream.
async fn told(stream: &mut Response) -> Value {
    let mut text = String::new();
    loop {
        let chunk = stream.chunk().await.expect("the stream goes on").expect("there is more");
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        let data = text.lines().find_map(|line| line.strip_prefix("data: "));
        if let Some(Ok(message)) = data.map(serde_json::from_str) {
            return message;
        }
    }
}

#[tokio::test]
async fn a_client_that_listens_is_told_of_the_end() {
    let upstream = FakeUpstream::start().await;
    upstream.default(vendor::openai_picture()).hold();
    let gateway = Gateway::start(config().openai(&upstream)).await;
    let client = gateway.client();
    let task = Form::Extension.start(&client, json!({"prompt": "a fox"})).await;
    upstream.wait_for_requests(1).await;
    let wanted = json!({"notifications": {"taskIds": [task]}});
    let mut stream = Form::Extension.send(&client, "subscriptions/listen", wanted).await;
    assert_eq!(told(&mut stream).await["params"]["notifications"], json!({"taskIds": [task]}));
    upstream.release();
    let last = loop {
        let message = told(&mut stream).await;
        assert_eq!(
            (&message["method"], &message["params"]["taskId"]),
            (&json!("notifications/tasks"), &json!(task))
        );
        if message["params"]["status"] != "working" {
            break message["params"].clone();
        }
    };
    assert_eq!(last["status"], "completed", "{last}");
    let got = Form::Extension.get(&client, &task).await;
    assert_eq!(image(&last["result"]), image(&got["result"]), "with its result");
}

#[tokio::test]
async fn a_task_outlives_a_restart() {
    let vendor = Vendor::start().await;
    let gateway = Gateway::start(config().vendor(&vendor.upstream)).await;
    let client = gateway.client();
    let mut tasks = Vec::new();
    for form in FORMS {
        let arguments = json!({"prompt": format!("{form:?}"), "model": "j", "return": "full"});
        tasks.push((form, form.start(&client, arguments).await));
    }
    eventually("there is a ticket", async || vendor.was_asked_for_a_ticket().then_some(())).await;
    let gateway = gateway.kill_and_restart().await;
    let client = gateway.client();
    for (form, task) in &tasks {
        assert_eq!(form.get(&client, task).await["status"], "working", "{form:?}");
    }
    vendor.finish_all();
    for (form, task) in &tasks {
        let result = match form {
            Form::Extension => form.until(&client, task, "completed").await["result"].clone(),
            Form::Core => {
                let answer = form.send(&client, "tasks/result", json!({"taskId": task})).await;
                answer.json::<Value>().await.unwrap()["result"].clone()
            }
        };
        assert_eq!(result["content"][1]["type"], "image", "{form:?}: it knows what the call wanted");
        assert_eq!(vendor.bought(&format!("{form:?}")).len(), 1, "and the vendor is not paid twice");
    }
}

#[tokio::test]
async fn a_refused_task_ends_in_its_forms_way_and_is_forgotten_in_time() {
    let upstream = FakeUpstream::start().await;
    let refusal = vendor::openai_error(400, "moderation_blocked", "Your request was rejected.");
    upstream.default(refusal);
    let home = Home::new(config().openai(&upstream));
    let gateway = Gateway::start_at(home.clone()).await;
    let client = gateway.client();
    let mut tasks = Vec::new();
    for form in FORMS {
        let task = form.start(&client, json!({"prompt": format!("{form:?}")})).await;
        let status = if form == Form::Core { "failed" } else { "completed" };
        let ended = form.until(&client, &task, status).await;
        assert!(ended["statusMessage"].is_string(), "{ended}");
        let result = match form {
            Form::Extension => ended["result"].clone(),
            Form::Core => form.ask(&client, "tasks/result", json!({"taskId": task})).await["result"].clone(),
        };
        assert_eq!(
            (&result["isError"], &result["structuredContent"]["success"]),
            (&json!(true), &json!(false))
        );
        tasks.push((form, task));
    }
    let (home, _) = gateway.stop().await;
    home.configure(&config().openai(&upstream).set("jobs.retention", "1ms"));
    let gateway = Gateway::start_at(home).await;
    for (form, task) in &tasks {
        eventually("its time is over", async || {
            let answer = form.ask(&gateway.client(), "tasks/get", json!({"taskId": task})).await;
            (answer["error"]["code"] == -32602).then_some(())
        })
        .await;
    }
}
