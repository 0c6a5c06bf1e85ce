//! Tencent Hunyuan from the caller to fake vendors and back: jobs that are polled, results that are fetched, one job
//! at a time, and the signed API.

use crate::support::{Config, Gateway, Home, config, eventually, vendor};
use ring::{digest, hmac};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard};
use testkit::{Behaviour, FakeUpstream, Recorded};

pub const SECRET_ID: &str = "AKIDEXAMPLEEXAMPLEEXAMPLE0000000000";
pub const SECRET_KEY: &str = "example-secret-key-0123456789abcdef";

/// An account at Tencent: its jobs, and what it would have refused.
#[derive(Default)]
struct Account {
    /// Queries so far of each job; `None`: it has ended.
    jobs: Vec<Option<u32>>,
    /// How often a job is asked about before it is done; `None`: it never is.
    queries: Option<u32>,
    most_open: usize,
    /// Requests that break the vendor's rules.
    wrong: Vec<String>,
}

impl Account {
    fn submit(&mut self) -> String {
        self.jobs.push(Some(0));
        self.most_open = self.most_open.max(self.jobs.iter().flatten().count());
        format!("job-{}", self.jobs.len())
    }

    /// Whether a job is done now; `None`: nobody has it.
    fn query(&mut self, id: &str) -> Option<bool> {
        let number: usize = id.strip_prefix("job-")?.parse().ok()?;
        let job = self.jobs.get_mut(number.checked_sub(1)?)?;
        let Some(asked) = job else { return Some(true) };
        *asked += 1;
        let done = self.queries.is_some_and(|most| *asked > most);
        if done {
            *job = None;
        }
        Some(done)
    }
}

/// The vendor's two APIs and its object storage, each on a port of its own.
struct Tencent {
    hub: FakeUpstream,
    tc3: FakeUpstream,
    storage: FakeUpstream,
    account: Arc<Mutex<Account>>,
}

fn lock(account: &Mutex<Account>) -> MutexGuard<'_, Account> {
    account.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Tencent {
    /// Jobs are done at the third query.
    async fn start() -> Tencent {
        let (hub, tc3, storage) =
            (FakeUpstream::start().await, FakeUpstream::start().await, FakeUpstream::start().await);
        storage.default(vendor::raw_picture());
        let account = Arc::new(Mutex::new(Account { queries: Some(2), ..Account::default() }));
        let (of_hub, of_tc3) = (account.clone(), account.clone());
        let (at_hub, at_tc3) = (storage.url(), storage.url());
        hub.handle(move |request| tokenhub(&mut lock(&of_hub), request, &at_hub));
        tc3.handle(move |request| signed(&mut lock(&of_tc3), request, &at_tc3));
        Tencent { hub, tc3, storage, account }
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        lock(&self.account)
    }

    fn instance(&self, credentials: Value) -> Config {
        let mut entry = json!({
            "kind": "hunyuan", "base_url": self.hub.url(), "tc3_base_url": self.tc3.url(),
            "poll_first": "50ms", "poll_every": "50ms", "concurrency": 1,
            "result_hosts": [self.storage.address().to_string()],
        });
        entry.as_object_mut().unwrap().extend(credentials.as_object().cloned().unwrap());
        config()
            .set("providers.hunyuan", entry)
            .model("hunyuan", &["hunyuan/hy-image-v3.0", "hunyuan/hunyuan-image-3.0"])
    }
    fn by_key(&self) -> Config {
        self.instance(json!({"api_key": "th-test"}))
    }
    fn by_signature(&self) -> Config {
        self.instance(json!({"secret_id": SECRET_ID, "secret_key": SECRET_KEY}))
    }

    fn submits(&self) -> usize {
        let all = self.hub.requests();
        all.iter().filter(|r| r.path.ends_with("/submit")).count()
    }
    fn queries(&self) -> usize {
        let all = self.hub.requests();
        all.iter().filter(|r| r.path.ends_with("/query")).count()
    }
}

fn tokenhub(account: &mut Account, request: &Recorded, storage: &str) -> Behaviour {
    let body = request.json();
    if request.header("authorization") != Some("Bearer th-test") {
        account.wrong.push("no key".into());
    }
    if body["model"] != "hy-image-v3.0" {
        account.wrong.push(format!("model {}", body["model"]));
    }
    let answer = |body: Value| Behaviour::json(200, body.to_string());
    if request.path == "/v1/api/image/submit" {
        let known = ["model", "prompt", "images", "resolution", "seed", "revise", "logo_add"];
        let unknown = body.as_object().unwrap().keys().find(|key| !known.contains(&key.as_str()));
        account.wrong.extend(unknown.cloned());
        return answer(json!({"id": account.submit(), "object": "image.generation.job", "status": "queued"}));
    }
    match account.query(body["id"].as_str().unwrap_or_default()) {
        Some(true) => {
            let data = json!([{"url": format!("{storage}/1.png?sign=secret"), "revised_prompt": "a red fox, at dawn"}]);
            answer(
                json!({"status": "completed", "model": "hy-image-v3.0", "data": data, "usage": {"credits": 0.5}}),
            )
        }
        Some(false) => answer(json!({"status": "in_progress"})),
        None => {
            let error = json!({"code": "400002", "message": "invalid parameter 'id': job not found"});
            Behaviour::json(400, json!({"error": error}).to_string())
        }
    }
}

fn signed(account: &mut Account, request: &Recorded, storage: &str) -> Behaviour {
    let answer = |response: Value| Behaviour::json(200, json!({"Response": response}).to_string());
    let refused = |code: &str| answer(json!({"Error": {"Code": code, "Message": "no"}, "RequestId": "r"}));
    if let Err(why) = verify(request) {
        account.wrong.push(why);
        return refused("AuthFailure.SignatureFailure");
    }
    let body = request.json();
    match request.header("x-tc-action").unwrap_or_default() {
        "SubmitTextToImageJob" => answer(json!({"JobId": account.submit(), "RequestId": "r"})),
        "QueryTextToImageJob" => match account.query(body["JobId"].as_str().unwrap_or_default()) {
            Some(true) => answer(json!({
                "JobStatusCode": "5", "ResultImage": [format!("{storage}/2.png")], "ResultDetails": ["Success"],
                "RevisedPrompt": ["a red fox"], "RequestId": "r",
            })),
            Some(false) => answer(json!({"JobStatusCode": "2", "ResultImage": [], "RequestId": "r"})),
            None => refused("FailedOperation.JobNotExist"),
        },
        _ => refused("ActionOffline"),
    }
}

/// The signature as Tencent's documentation describes it, computed here from what came over the wire.
pub fn verify(request: &Recorded) -> Result<(), String> {
    let header = |name: &str| request.header(name).ok_or_else(|| format!("no header {name}"));
    let (kind, host, timestamp) = (header("content-type")?, header("host")?, header("x-tc-timestamp")?);
    let hash = |bytes: &[u8]| hex::encode(digest::digest(&digest::SHA256, bytes));
    let sign = |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
    let authorization = header("authorization")?;
    let scope = authorization.split(['/', ',']).skip(1).take(3).collect::<Vec<_>>();
    let [date, service, "tc3_request"] = scope[..] else { return Err(format!("scope {scope:?}")) };
    let version = if service == "aiart" { "2022-12-29" } else { "2023-09-01" };
    if header("x-tc-version")? != version || header("x-tc-region")? != "ap-guangzhou" {
        return Err(format!("version or region of {service}"));
    }
    let seconds: i64 = timestamp.parse().map_err(|_| "no timestamp".to_owned())?;
    let now = jiff::Timestamp::now();
    let at = jiff::Timestamp::from_second(seconds).map_err(|e| e.to_string())?;
    if (now.as_second() - seconds).abs() > 300 || date != at.strftime("%Y-%m-%d").to_string() {
        return Err(format!("the time {timestamp} or the date {date}"));
    }
    let canonical = format!(
        "{}\n{}\n\ncontent-type:{kind}\nhost:{host}\n\ncontent-type;host\n{}",
        request.method,
        request.path,
        hash(&request.body)
    );
    let scope = format!("{date}/{service}/tc3_request");
    let text = format!("TC3-HMAC-SHA256\n{timestamp}\n{scope}\n{}", hash(canonical.as_bytes()));
    let key = sign(format!("TC3{SECRET_KEY}").as_bytes(), date);
    let key = sign(sign(key.as_ref(), service).as_ref(), "tc3_request");
    let wanted = format!(
        "TC3-HMAC-SHA256 Credential={SECRET_ID}/{scope}, SignedHeaders=content-type;host, Signature={}",
        hex::encode(sign(key.as_ref(), &text))
    );
    if authorization == wanted { Ok(()) } else { Err("the signature".into()) }
}

#[tokio::test]
async fn a_job_is_submitted_once_polled_and_its_result_fetched() {
    let tencent = Tencent::start().await;
    let gateway = Gateway::start(tencent.by_key()).await;
    let client = gateway.client();
    let ask = json!({"prompt": "a red fox", "size": "768:1024", "style": "shuimo", "seed": 7});
    let made = client.tool("generate_image_and_wait", ask).await.ok();
    assert_eq!(client.get(&made.str("image_url")).await.bytes().await.unwrap(), vendor::png());
    assert_eq!((tencent.submits(), tencent.queries()), (1, 3), "asked until it was there");
    let sent = tencent.hub.requests()[0].json();
    assert_eq!(
        sent,
        json!({"model": "hy-image-v3.0", "prompt": "a red fox, Chinese ink wash painting style",
               "resolution": "768:1024", "seed": 7, "revise": 0, "logo_add": 0})
    );
    let told = made.json.to_string();
    assert!(told.contains("Chinese ink wash painting style"), "the style in words is reported: {told}");
    assert!(!told.contains("sign=secret") && !gateway.log().contains("sign=secret"), "the address is not");
    let download = &tencent.storage.requests()[0];
    assert!(download.header("authorization").is_none(), "no credential goes to the storage");
    assert_eq!(tencent.account().wrong, [""; 0]);
}

#[tokio::test]
async fn a_kill_while_the_job_runs_resumes_it_by_its_ticket() {
    let tencent = Tencent::start().await;
    tencent.account().queries = None;
    let gateway = Gateway::start(tencent.by_key()).await;
    let job = gateway.client().generate("a red fox").await;
    eventually("the job is asked about", async || (tencent.queries() > 0).then_some(())).await;
    let gateway = gateway.kill_and_restart().await;
    tencent.account().queries = Some(0);
    let done = gateway.client().wait(&job).await.ok();
    assert_eq!(done.str("status"), "completed");
    assert_eq!(gateway.client().get(&done.str("image_url")).await.bytes().await.unwrap(), vendor::png());
    assert_eq!(tencent.submits(), 1, "the vendor is not paid twice");
    let status = gateway.client().status(&job).await;
    assert_eq!(status["attempts"].as_array().unwrap().len(), 1, "one attempt, resumed");
}

#[tokio::test]
async fn three_processes_never_have_two_jobs_at_the_vendor() {
    let tencent = Tencent::start().await;
    let home = Home::new(tencent.by_key());
    let first = Gateway::start_at(home.clone()).await;
    let (second, third) = (Gateway::start_at(home.clone()).await, Gateway::start_at(home).await);
    let mut jobs = Vec::new();
    for gateway in [&first, &second, &third] {
        let ask = json!({"prompt": "a red fox", "count": 2});
        let asked = gateway.client_with(&first.key()).tool("generate_image", ask).await.ok();
        jobs.extend(asked.json["job_ids"].as_array().unwrap().clone());
    }
    let done = json!({"job_ids": jobs, "max_wait_seconds": 40});
    let done = first.client().tool("wait_for_completion", done).await.ok();
    let results = done.json["results"].as_array().unwrap();
    assert!(results.len() == 6 && results.iter().all(|r| r["image_url"].is_string()), "{}", done.json);
    let account = tencent.account();
    assert_eq!((account.jobs.len(), account.most_open), (6, 1), "six jobs, one after the other");
    assert_eq!(account.wrong, [""; 0]);
}

#[tokio::test]
async fn a_query_that_is_turned_away_is_no_reason_to_buy_again() {
    let tencent = Tencent::start().await;
    tencent.account().queries = None;
    let gateway = Gateway::start(tencent.by_key()).await;
    let client = gateway.client();
    let job = client.generate("a red fox").await;
    eventually("the job is asked about", async || (tencent.queries() > 0).then_some(())).await;
    let limited = json!({"error": {"code": "429001", "message": "rate limit exceeded on dimension: rpm"}});
    tencent.hub.push(Behaviour::json(429, limited.to_string())).push(Behaviour::html(502));
    tencent.account().queries = Some(0);
    assert_eq!(client.wait(&job).await.ok().str("status"), "completed");
    assert_eq!(tencent.submits(), 1);
}

#[tokio::test]
async fn a_job_that_the_review_stopped_is_told_and_not_bought_again() {
    let tencent = Tencent::start().await;
    let failed = json!({"id": "job-1", "status": "failed", "error": {"code": "FailedOperation.ModerationFailed", "message": "filtered"}});
    tencent.hub.on("/query", Behaviour::json(200, failed.to_string()));
    let gateway = Gateway::start(tencent.by_key()).await;
    let client = gateway.client();
    client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.failed("content_blocked");
    assert_eq!(tencent.submits(), 1);
}

#[tokio::test]
async fn the_signed_api_accepts_every_signature() {
    let tencent = Tencent::start().await;
    let gateway = Gateway::start(tencent.by_signature()).await;
    let client = gateway.client();
    let ask = json!({"prompt": "雪地里的赤狐 \"quoted\"\n\u{1F98A}", "size": "512x1024"});
    let made = client.tool("generate_image_and_wait", ask).await.ok();
    assert_eq!(client.get(&made.str("image_url")).await.bytes().await.unwrap(), vendor::png());
    assert_eq!(tencent.account().wrong, [""; 0], "submit and queries are signed");
    let sent = tencent.tc3.requests();
    assert_eq!(
        sent[0].header("x-tc-action"),
        Some("SubmitTextToImageJob"),
        "without a key the next target is taken"
    );
    assert_eq!(sent[0].json()["Resolution"], "512:1024");
    assert!(tencent.hub.requests().is_empty());
    assert!(!gateway.log().contains(SECRET_KEY));
}

#[tokio::test]
async fn a_retired_call_is_told_to_the_operator_with_the_remedy() {
    let tencent = Tencent::start().await;
    let offline = json!({"Response": {"Error": {"Code": "ActionOffline", "Message": "This API has been taken offline."}}});
    tencent.tc3.push(Behaviour::json(200, offline.to_string()));
    let gateway = Gateway::start(tencent.by_signature()).await;
    let client = gateway.client();
    client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.failed("provider_unavailable");
    assert_eq!(tencent.tc3.submissions(), 1);
    assert!(gateway.log().contains("TOKENHUB_API_KEY"), "{}", gateway.log());
}

#[tokio::test]
async fn what_hunyuan_cannot_do_is_refused_before_anything_is_bought() {
    let tencent = Tencent::start().await;
    let gateway = Gateway::start(tencent.by_key()).await;
    let client = gateway.client();
    for (ask, field) in [
        (json!({"prompt": "a fox", "size": "100x100"}), "size"),
        (json!({"prompt": "a fox", "quality": "high"}), "quality"),
        (json!({"prompt": "a fox", "seed": 7, "prompt_rewrite": true}), "prompt_rewrite"),
        (json!({"prompt": "a fox", "style": "impossible"}), "style"),
    ] {
        let refused = client.tool("generate_image", ask.clone()).await;
        assert!(refused.is_error && refused.str("error").contains(field), "{ask}: {}", refused.json);
    }
    assert!(tencent.hub.requests().is_empty());
}
