//! Jobs as tasks, in both forms.

use super::{stdio::process, *};
use crate::{
    jobs::{Code, Refused},
    mcp::EventStream,
    store::State,
};
use plugin_api::Adjustment;
use uuid::Uuid;

const EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// A request of a client that knows the extension.
fn declared(method: &str, mut params: Value) -> Request<Bytes> {
    params["_meta"][CAPABILITIES] = json!({"extensions": {EXTENSION: {}}});
    Peer::Modern.request(method, params)
}

fn call(name: &str, arguments: Value) -> Request<Bytes> {
    declared("tools/call", json!({"name": name, "arguments": arguments}))
}

/// A call of a client of 2025-11-25 that wants a task.
fn asked(name: &str, arguments: Value) -> Request<Bytes> {
    let params = json!({"name": name, "arguments": arguments, "task": {"ttl": 60_000}});
    Peer::Legacy.request("tools/call", params)
}

fn about(task: impl ToString) -> Value {
    json!({"taskId": task.to_string()})
}

impl Scene {
    async fn answer(&self, request: Request<Bytes>) -> Value {
        body(&self.whole(request).await)
    }
    async fn result(&self, request: Request<Bytes>) -> Value {
        let answer = self.answer(request).await;
        assert!(answer["error"].is_null(), "{answer}");
        answer["result"].clone()
    }
    async fn code(&self, request: Request<Bytes>) -> i64 {
        self.answer(request).await["error"]["code"].as_i64().unwrap_or(0)
    }
    async fn get(&self, task: impl ToString) -> Value {
        self.result(declared("tasks/get", about(task))).await
    }
    async fn core(&self, method: &str, task: impl ToString) -> Value {
        self.result(Peer::Legacy.request(method, about(task))).await
    }
    fn only_job(&self) -> Uuid {
        let made = self.fake.made();
        assert_eq!(made.len(), 1, "one job: {made:?}");
        made[0]
    }
}

#[tokio::test]
async fn a_client_with_the_extension_gets_a_task_and_later_what_a_wait_answers() {
    for tool in ["generate_image", "generate_image_and_wait", "edit_image"] {
        let scene = scene();
        let arguments = json!({"prompt": "a fox", "return": "Full", "references": [Uuid::nil()]});
        let task = scene.result(call(tool, arguments)).await;
        let job = scene.only_job();
        assert_eq!((&task["resultType"], &task["status"]), (&json!("task"), &json!("working")), "{task}");
        assert_eq!(task["taskId"], json!(job), "the job's own id");
        assert_eq!((&task["ttlMs"], &task["pollIntervalMs"]), (&json!(2_592_000_000_u64), &json!(2_000)));
        assert_eq!(task["createdAt"], "2027-01-15T07:59:57Z");
        for absent in ["task", "result", "error", "inputRequests", "requestState", "ttl", "content"] {
            assert!(task.get(absent).is_none(), "{absent}: {task}");
        }
        let working = scene.get(job).await;
        assert_eq!(
            (&working["resultType"], &working["status"], &working["statusMessage"]),
            (&json!("complete"), &json!("working"), &json!("waiting for a free slot, next in line"))
        );
        scene.fake.end(job, State::Completed);
        let done = scene.get(job).await;
        let waited =
            scene.tool(Peer::Modern, "wait_for_completion", json!({"job_id": job, "return": "full"})).await;
        assert!(done["status"] == "completed" && done.get("statusMessage").is_none(), "{done}");
        assert_eq!(done["result"], waited, "with the whole image, as the call asked");
    }
}

#[tokio::test]
async fn what_a_call_was_told_about_its_arguments_is_in_the_result_of_its_task() {
    let scene = scene();
    scene.result(call("generate_image", json!({"prompt": "a fox", "sede": 7}))).await;
    scene.fake.end(scene.only_job(), State::Completed);
    let done = scene.get(scene.only_job()).await;
    let fields = |result: &Value| -> Vec<Value> {
        let all = result["structuredContent"]["adjustments"].as_array().unwrap();
        all.iter().map(|adjustment| adjustment["field"].clone()).collect()
    };
    assert_eq!(fields(&done["result"]), ["sede", "size"]);
}

#[tokio::test]
async fn what_little_is_left_of_a_quota_is_told_when_the_task_begins() {
    let scene = scene();
    *scene.fake.notices.lock() = vec![Adjustment::new("limits.images", "5", "4", "Your quota is used.")];
    let new = scene.result(call("generate_image", json!({"prompt": "a"}))).await;
    let old = scene.result(asked("generate_image", json!({"prompt": "a"}))).await["task"].clone();
    for task in [new, old] {
        let message = task["statusMessage"].as_str().unwrap();
        assert!(
            message.starts_with("waiting for") && message.ends_with(". Your quota is used."),
            "{message}"
        );
    }
}

#[tokio::test]
async fn several_images_and_refusals_are_answered_at_once() {
    let scene = scene();
    let many = scene.result(call("generate_image", json!({"prompt": "a", "count": 2}))).await;
    assert_eq!((&many["resultType"], &many["structuredContent"]["count"]), (&json!("complete"), &json!(2)));
    *scene.fake.refuse.lock() = Some(Refused::new(Code::QuotaExceeded, "Spent."));
    let refused = scene.result(call("generate_image", json!({"prompt": "a"}))).await;
    assert_eq!((&refused["resultType"], &refused["isError"]), (&json!("complete"), &json!(true)));
    let plain = scene.result(call("list_models", json!({}))).await;
    assert_eq!(plain["resultType"], "complete", "nothing to wait for");
}

/// Job, task of 2026-07-28, task of 2025-11-25.
#[tokio::test]
async fn every_state_of_a_job_is_one_of_a_task() {
    let scene = scene();
    let rows = [
        (State::Queued, "working", "working"),
        (State::Delayed, "working", "working"),
        (State::Running, "working", "working"),
        (State::Completed, "completed", "completed"),
        (State::Failed, "completed", "failed"),
        (State::Cancelled, "cancelled", "cancelled"),
    ];
    for (state, extension, core) in rows {
        let job = scene.fake.job(state);
        let (new, old) = (scene.get(job).await, scene.core("tasks/get", job).await);
        assert_eq!((&new["status"], &old["status"]), (&json!(extension), &json!(core)), "{state:?}");
        assert_eq!(new.get("result").is_some(), extension == "completed", "{state:?}: {new}");
        assert!(new.get("error").is_none() && new.get("ttl").is_none(), "{state:?}: {new}");
        assert_eq!(old["ttl"], 2_592_000_000_u64);
        for absent in ["result", "error", "ttlMs", "pollIntervalMs", "resultType", "_meta"] {
            assert!(old.get(absent).is_none(), "{state:?}, {absent}: {old}");
        }
        if state.is_final() {
            let mut result = scene.core("tasks/result", job).await;
            let meta = result.as_object_mut().unwrap().remove("_meta").unwrap();
            assert_eq!(meta, json!({"io.modelcontextprotocol/related-task": {"taskId": job}}));
            let waited = scene.tool(Peer::Legacy, "wait_for_completion", json!({"job_id": job})).await;
            assert_eq!(result, waited, "{state:?}: exactly the call's result");
            assert_eq!(result["isError"] == true, state != State::Completed, "{state:?}");
        }
    }
    let failed = scene.fake.job(State::Failed);
    assert_eq!(scene.get(failed).await["result"]["isError"], true, "a tool that failed has completed");
}

#[tokio::test]
async fn a_fault_of_the_gateway_is_an_error_and_no_result() {
    let scene = scene();
    let job = scene.fake.job(State::Failed);
    scene.fake.views.lock()[0].job.error_code = None;
    let task = scene.get(job).await;
    assert_eq!((&task["status"], &task["error"]["code"]), (&json!("failed"), &json!(-32603)), "{task}");
    assert!(task.get("result").is_none());
    assert_eq!(scene.core("tasks/get", job).await["status"], "failed");
    assert_eq!(scene.code(Peer::Legacy.request("tasks/result", about(job))).await, -32603);
}

#[tokio::test]
async fn who_did_not_declare_the_extension_has_no_tasks() {
    let scene = scene();
    let job = scene.fake.job(State::Running);
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        let params = json!({"taskId": job, "inputResponses": {}});
        let refused = scene.whole(Peer::Modern.request(method, params)).await;
        let error = body(&refused)["error"].clone();
        assert_eq!((refused.status().as_u16(), &error["code"]), (400, &json!(-32021)), "{method}");
        assert_eq!(error["data"], json!({"requiredCapabilities": {"extensions": {EXTENSION: {}}}}));
    }
    let wanted = json!({"notifications": {"taskIds": [job]}});
    assert_eq!(scene.code(Peer::Modern.request("subscriptions/listen", wanted)).await, -32021);
    let params = json!({"name": "generate_image", "arguments": {"prompt": "a"}, "task": {"ttl": 1}});
    let plain = scene.result(Peer::Modern.request("tools/call", params)).await;
    assert_eq!(plain["resultType"], "complete", "and the older way of asking is ignored: {plain}");
    for (method, peer) in [
        ("tasks/result", Peer::Modern),
        ("tasks/list", Peer::Modern),
        ("tasks/update", Peer::Legacy),
        ("tasks/get", Peer::Old),
        ("tasks/list", Peer::Bare),
    ] {
        let refused = scene.whole(peer.request(method, about(job))).await;
        assert_eq!(body(&refused)["error"]["code"], -32601, "{method} of {peer:?}");
    }
    let old = Peer::Old.request("tools/call", json!({"name": "list_models", "task": {}}));
    assert!(scene.result(old).await["content"].is_array(), "an older client's word means nothing");
}

#[tokio::test]
async fn capabilities_say_which_form_there_is() {
    let scene = scene();
    let told = scene.result(Peer::Modern.request("server/discover", json!({}))).await;
    assert_eq!(told["capabilities"]["extensions"], json!({EXTENSION: {}}));
    assert!(told["capabilities"].get("tasks").is_none());
    for (version, has) in [("2025-11-25", true), ("2025-06-18", false), ("2024-11-05", false)] {
        let hello = json!({"protocolVersion": version, "capabilities": {"extensions": {EXTENSION: {}}}});
        let told = scene.result(Peer::Old.request("initialize", hello)).await["capabilities"].clone();
        let expected = json!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}});
        assert_eq!(told.get("tasks"), has.then_some(&expected), "{version}");
        assert!(told.get("extensions").is_none(), "{version}");
    }
    let tools = ["generate_image", "generate_image_and_wait", "edit_image"];
    for peer in Peer::ALL {
        let list = scene.result(peer.request("tools/list", json!({}))).await;
        for tool in list["tools"].as_array().unwrap() {
            let expected = (peer == Peer::Legacy && tools.contains(&tool["name"].as_str().unwrap()))
                .then(|| json!({"taskSupport": "optional"}));
            assert_eq!(tool.get("execution"), expected.as_ref(), "{peer:?}: {}", tool["name"]);
        }
    }
    // The other profile waits and has none.
    let hello = Peer::Old.request("initialize", json!({"protocolVersion": "2025-11-25"}));
    let Reply::Whole(told) = scene.reply_of(Profile::Blocking, hello).await else { panic!() };
    assert!(body(&told)["result"]["capabilities"].get("tasks").is_none());
    let Reply::Whole(told) = scene.reply_of(Profile::Blocking, declared("tasks/get", about("x"))).await
    else {
        panic!()
    };
    assert_eq!(body(&told)["error"]["code"], -32601);
}

#[tokio::test]
async fn somebody_elses_task_answers_as_one_that_never_was() {
    let owner = scene();
    let job = owner.fake.job(State::Running);
    let stranger = Scene {
        mcp: owner.mcp.clone(),
        fake: Arc::clone(&owner.fake),
        principal: Arc::new(Principal::new("other", "key", &Scope::ALL)),
    };
    for (method, peer) in [
        ("tasks/get", Peer::Modern),
        ("tasks/update", Peer::Modern),
        ("tasks/cancel", Peer::Modern),
        ("tasks/get", Peer::Legacy),
        ("tasks/result", Peer::Legacy),
        ("tasks/cancel", Peer::Legacy),
    ] {
        let ask = |id: String| {
            let params = json!({"taskId": id, "inputResponses": {}});
            if peer == Peer::Modern { declared(method, params) } else { peer.request(method, params) }
        };
        let missing = stranger.whole(ask(Uuid::new_v4().to_string())).await;
        assert_eq!(body(&missing)["error"]["code"], -32602, "{method}");
        for id in [job.to_string(), "no id at all".into(), String::new()] {
            let other = stranger.whole(ask(id.clone())).await;
            assert_eq!((other.status(), other.body()), (missing.status(), missing.body()), "{method} {id}");
        }
    }
    assert!(owner.fake.cancelled.lock().is_empty());
    for bad in [json!({}), json!({"taskId": 7})] {
        assert_eq!(owner.code(declared("tasks/get", bad)).await, -32602);
    }
    assert_eq!(owner.code(declared("tasks/update", about(job))).await, -32602, "no inputResponses");
}

#[tokio::test]
async fn the_header_names_the_task() {
    let scene = scene();
    let job = scene.fake.job(State::Running);
    for name in [None, Some("another")] {
        let mut request = declared("tasks/get", about(job));
        match name {
            None => request.headers_mut().remove("mcp-name"),
            Some(name) => request.headers_mut().insert("mcp-name", name.parse().unwrap()),
        };
        let refused = scene.whole(request).await;
        assert_eq!((refused.status().as_u16(), &body(&refused)["error"]["code"]), (400, &json!(-32020)));
    }
}

#[tokio::test]
async fn what_a_key_may_do_holds_for_tasks() {
    let writer = Scene { principal: principal(&[Scope::ImagesWrite]), ..scene() };
    let plain = writer.result(call("generate_image", json!({"prompt": "a"}))).await;
    assert_eq!(plain["resultType"], "complete", "it could not read its task");
    assert_eq!(writer.code(asked("generate_image", json!({"prompt": "a"}))).await, 403);
    let reader = Scene { principal: principal(&[Scope::ImagesRead]), ..scene() };
    let job = reader.fake.job(State::Queued);
    assert_eq!(reader.get(job).await["status"], "working");
    assert_eq!(reader.code(declared("tasks/cancel", about(job))).await, 403);
    assert!(reader.fake.cancelled.lock().is_empty());
}

#[tokio::test]
async fn a_task_is_cancelled_in_either_form() {
    let scene = scene();
    let (waiting, drawing) = (scene.fake.job(State::Queued), scene.fake.job(State::Running));
    for (job, after) in [(waiting, "cancelled"), (drawing, "working")] {
        for _ in 0..2 {
            let mut done = scene.result(declared("tasks/cancel", about(job))).await;
            done.as_object_mut().unwrap().remove("_meta");
            assert_eq!(done, json!({"resultType": "complete"}), "once more is no error");
        }
        assert_eq!(scene.get(job).await["status"], after);
    }
    // What the vendor has is not stopped, but an older task that was cancelled stays so.
    let (waiting, drawing) = (scene.fake.job(State::Queued), scene.fake.job(State::Running));
    for job in [waiting, drawing] {
        let task = scene.core("tasks/cancel", job).await;
        assert_eq!((&task["taskId"], &task["status"]), (&json!(job), &json!("cancelled")));
        assert_eq!(scene.core("tasks/get", job).await["status"], "cancelled");
        assert_eq!(scene.code(Peer::Legacy.request("tasks/cancel", about(job))).await, -32602, "final");
    }
    scene.fake.end(drawing, State::Completed);
    assert_eq!(scene.core("tasks/get", drawing).await["status"], "cancelled", "and later, too");
    let kept = scene.core("tasks/result", drawing).await;
    assert_eq!(kept["structuredContent"]["status"], "completed", "the paid image is not lost");
    let done =
        scene.result(declared("tasks/update", json!({"taskId": drawing, "inputResponses": {"a": {}}})));
    assert_eq!(done.await["resultType"], "complete", "nothing was asked, so nothing is answered");
}

#[tokio::test]
async fn an_older_client_asks_for_a_task_and_waits_for_its_result() {
    let scene = scene();
    let made = scene.result(asked("generate_image", json!({"prompt": "a fox", "return": "link"}))).await;
    let job = scene.only_job();
    let task = &made["task"];
    assert_eq!(made.as_object().unwrap().len(), 1, "nested: {made}");
    assert_eq!((&task["taskId"], &task["status"]), (&json!(job), &json!("working")));
    assert_eq!((&task["ttl"], &task["pollInterval"]), (&json!(2_592_000_000_u64), &json!(2_000)));
    let (result, ()) = tokio::join!(scene.core("tasks/result", job), async {
        scene.fake.waiting.notified().await;
        scene.fake.end(job, State::Completed);
    });
    assert_eq!(result["structuredContent"]["status"], "completed");
    let kinds: Vec<&Value> =
        result["content"].as_array().unwrap().iter().map(|block| &block["type"]).collect();
    assert_eq!(kinds, ["text", "resource_link"], "handed over as the call asked");
    let plain = scene.tool(Peer::Legacy, "generate_image", json!({"prompt": "a"})).await;
    assert!(plain["content"].is_array(), "without the word it is a plain call");
}

#[tokio::test]
async fn a_call_that_cannot_be_a_task_is_an_error_where_one_was_asked_for() {
    let scene = scene();
    assert_eq!(scene.code(asked("list_models", json!({}))).await, -32601);
    assert_eq!(scene.code(asked("generate_image", json!({"prompt": "a", "count": 2}))).await, -32602);
    let answer = scene.answer(asked("generate_image", json!({"prompt": ""}))).await;
    assert_eq!(
        (&answer["error"]["code"], &answer["error"]["data"]["field"]),
        (&json!(-32602), &json!("prompt"))
    );
    let params = json!({"name": "generate_image", "arguments": {"prompt": "a"}, "task": true});
    assert_eq!(scene.code(Peer::Legacy.request("tools/call", params)).await, -32602);
    *scene.fake.refuse.lock() = Some(Refused::new(Code::QuotaExceeded, "Spent."));
    let answer = scene.answer(asked("generate_image", json!({"prompt": "a"}))).await;
    assert_eq!(answer["error"]["data"]["code"], "quota_exceeded", "{answer}");
    assert!(scene.fake.made().is_empty());
}

#[tokio::test]
async fn older_clients_page_through_their_tasks() {
    let scene = scene();
    let jobs: Vec<Uuid> = (0..60).map(|_| scene.fake.job(State::Completed)).collect();
    let first = scene.result(Peer::Legacy.request("tasks/list", json!({}))).await;
    let cursor = first["nextCursor"].clone();
    let second = scene.result(Peer::Legacy.request("tasks/list", json!({"cursor": cursor}))).await;
    assert!(second.get("nextCursor").is_none());
    let ids = [first, second].map(|page| page["tasks"].as_array().unwrap().clone()).concat();
    let ids: Vec<Value> = ids.iter().map(|task| task["taskId"].clone()).collect();
    assert_eq!(json!(ids), json!(jobs));
    let filter = scene.fake.listed.lock()[0].0.clone();
    assert_eq!(filter.team.as_deref(), Some("team"), "only the caller's own");
    for bad in [json!("x"), json!(7)] {
        assert_eq!(scene.code(Peer::Legacy.request("tasks/list", json!({"cursor": bad}))).await, -32602);
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_wait_for_a_result_shows_signs_of_life() {
    let scene = scene();
    let job = scene.fake.job(State::Running);
    let Reply::Stream(_, mut stream) = scene.reply(Peer::Legacy.request("tasks/result", about(job))).await
    else {
        panic!("it is held open")
    };
    assert!(stream.next().await.unwrap().starts_with(b":"));
    scene.fake.end(job, State::Completed);
    let answer = message(&mut stream).await;
    assert_eq!(answer["result"]["structuredContent"]["job_id"], json!(job));
}

/// The next message of a stream.
async fn message(stream: &mut EventStream) -> Value {
    loop {
        let frame = stream.next().await.expect("the stream goes on");
        let frame = String::from_utf8(frame.to_vec()).unwrap();
        if let Some(at) = frame.find("data: ") {
            return serde_json::from_str(frame[at + 6..].trim()).unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_listens_is_told_what_becomes_of_its_tasks() {
    let scene = scene();
    let (job, over) = (scene.fake.job(State::Running), scene.fake.job(State::Failed));
    let foreign = scene.fake.job(State::Running);
    scene.fake.views.lock()[2].job.team = "other".into();
    let resource = format!("job://{job}");
    let wanted = json!({"taskIds": [job, over, foreign, "x", job], "resourceSubscriptions": [resource]});
    let request = declared("subscriptions/listen", json!({"notifications": wanted}));
    let Reply::Stream(_, mut stream) = scene.reply(request).await else { panic!("a stream is expected") };
    let acknowledged = message(&mut stream).await;
    let honoured = json!({"taskIds": [job, over], "resourceSubscriptions": [resource]});
    assert_eq!(acknowledged["params"]["notifications"], honoured);
    let told = message(&mut stream).await;
    assert_eq!((&told["method"], &told["params"]["taskId"]), (&json!("notifications/tasks"), &json!(over)));
    assert_eq!(told["params"]["result"]["isError"], true, "it had ended before: {told}");
    scene.fake.end(job, State::Completed);
    let mut methods = Vec::new();
    for _ in 0..2 {
        let told = message(&mut stream).await;
        assert_eq!(told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 7);
        if told["method"] == "notifications/tasks" {
            let mut params = told["params"].clone();
            let mut got = scene.get(job).await;
            for task in [&mut params, &mut got] {
                task.as_object_mut().unwrap().retain(|key, _| key != "_meta" && key != "resultType");
            }
            assert_eq!(params, got, "the whole task");
        }
        methods.push(told["method"].as_str().unwrap().to_owned());
    }
    methods.sort();
    assert_eq!(methods, ["notifications/resources/updated", "notifications/tasks"]);
}

#[tokio::test]
async fn a_client_listens_to_so_many_things_at_most() {
    let scene = scene();
    let jobs: Vec<Uuid> = (0..40).map(|_| scene.fake.job(State::Running)).collect();
    let uris: Vec<String> = jobs.iter().take(2).map(|id| format!("job://{id}")).collect();
    let wanted = json!({"taskIds": jobs, "resourceSubscriptions": uris});
    let request = declared("subscriptions/listen", json!({"notifications": wanted}));
    let Reply::Stream(_, mut stream) = scene.reply(request).await else { panic!("a stream is expected") };
    let honoured = message(&mut stream).await["params"]["notifications"].clone();
    assert_eq!(honoured["taskIds"], json!(jobs[..30]), "what is told is what is done");
    assert_eq!(honoured["resourceSubscriptions"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_task_is_no_resource() {
    let scene = scene();
    let job = scene.fake.job(State::Running);
    let wanted = json!({"resourceSubscriptions": [format!("task:{job}")]});
    let request = Peer::Modern.request("subscriptions/listen", json!({"notifications": wanted}));
    let Reply::Stream(_, mut stream) = scene.reply(request).await else { panic!("a stream is expected") };
    assert_eq!(message(&mut stream).await["params"]["notifications"], json!({}));
}

#[tokio::test(start_paused = true)]
async fn a_process_has_tasks_in_both_forms() {
    let mut new = process();
    let mut params = stdio::modern(json!({"name": "generate_image", "arguments": {"prompt": "a"}}));
    params["_meta"][CAPABILITIES] = json!({"extensions": {EXTENSION: {}}});
    new.send(1, "tools/call", params).await;
    assert_eq!(new.read().await["result"]["resultType"], "task");

    let mut old = process();
    old.send(0, "initialize", json!({"protocolVersion": "2025-11-25"})).await;
    assert!(old.read().await["result"]["capabilities"]["tasks"].is_object());
    let params = json!({"name": "generate_image", "arguments": {"prompt": "a"}, "task": {}});
    old.send(1, "tools/call", params).await;
    let task = old.read().await["result"]["task"]["taskId"].clone();
    old.send(2, "tasks/result", json!({"taskId": task})).await;
    old.scene.fake.waiting.notified().await;
    old.scene.fake.end(old.scene.only_job(), State::Completed);
    assert_eq!(old.read().await["result"]["structuredContent"]["job_id"], task);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_process_ends_its_waits_for_tasks() {
    let mut process = process();
    process.send(0, "initialize", json!({"protocolVersion": "2025-11-25"})).await;
    process.read().await;
    let job = process.scene.fake.job(State::Running);
    process.send(1, "tasks/result", about(job)).await;
    process.scene.fake.waiting.notified().await;
    process.end().await;
    assert_eq!(process.read().await["error"]["code"], 503, "no result was made up");
}
