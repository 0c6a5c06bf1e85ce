//! Tokens of an issuer: who they open for, and what happens when the issuer changes its keys or goes away.

use crate::support::{Client, Config, Gateway, Home, config, eventually};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use testkit::{FakeUpstream, Issuer, SigningKey};

/// A gateway that takes tokens of this issuer beside keys, with the teams `design` and `ads`.
fn scene(issuer: &Issuer) -> Config {
    trusting(vec![issuer.settings()])
}

fn trusting(issuers: Vec<Value>) -> Config {
    config()
        .placeholder(json!({}))
        .set("auth.mode", "any")
        .set("auth.issuers", issuers)
        .set("teams", json!({"design": {}, "ads": {}}))
        // Stories ask until something happens.
        .set("limits.per_address", json!({"unauthenticated": "100000/min"}))
}

async fn ask(client: &Client) -> Response {
    client.post(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).await
}

async fn status(client: &Client) -> StatusCode {
    ask(client).await.status()
}

async fn until(client: &Client, wanted: StatusCode) {
    eventually(&format!("it is answered with {wanted}"), async || {
        (status(client).await == wanted).then_some(())
    })
    .await;
}

/// Alice of `design`.
fn alice(gateway: &Gateway, issuer: &Issuer, key: &SigningKey) -> Client {
    gateway.client_with(&key.token(&issuer.claims("design", "alice")))
}

#[tokio::test]
async fn a_token_works_for_its_team_and_two_teams_see_nothing_of_each_other() {
    let key = SigningKey::new("k", "ES256");
    let issuer = Issuer::start(&[&key]).await;
    let gateway = Gateway::start(scene(&issuer)).await;
    let alice = alice(&gateway, &issuer, &key);
    let colleague = gateway.client_with(&key.token(&issuer.claims("design", "dora")));
    // The same subject, in another team.
    let other = gateway.client_with(&key.token(&issuer.claims("ads", "alice")));

    let job = alice.generate("a red fox").await;
    let done = alice.wait(&job).await.ok();
    assert_eq!(colleague.status(&job).await["status"], "completed", "jobs belong to the team");
    let theirs = other.tool("get_job_status", json!({"job_id": job})).await;
    let nobodys = other.tool("get_job_status", json!({"job_id": uuid::Uuid::new_v4().to_string()})).await;
    assert_eq!(theirs.json["code"], nobodys.json["code"]);
    assert!(theirs.is_error);
    assert_eq!(other.tool("list_jobs", json!({})).await.ok().json["total_count"], 0);
    assert_eq!(other.tool("list_generations", json!({})).await.ok().json["total_count"], 0);
    let cancelled = other.tool("cancel_job", json!({"job_id": job})).await;
    assert_eq!(cancelled.json["code"], nobodys.json["code"]);
    assert!(done.json.to_string().contains("/images/"));

    let listed = gateway.home().run(&["jobs", "show", &job]).await;
    assert!(listed.contains(&format!("alice@{}", issuer.url())), "it says who it was: {listed}");
    assert!(!gateway.log().contains(alice.key()), "S20: tokens are not logged");
}

#[tokio::test]
async fn a_subject_is_one_principal_however_many_tokens_it_has() {
    let key = SigningKey::new("k", "ES256");
    let issuer = Issuer::start(&[&key]).await;
    let rate = json!({"requests": "3/min", "burst": 3});
    let gateway = Gateway::start(scene(&issuer).set("limits.per_key", rate)).await;
    let token = |subject: &str, n: u32| {
        let mut claims = issuer.claims("design", subject);
        claims["jti"] = n.into();
        gateway.client_with(&key.token(&claims))
    };
    for n in 0..3 {
        assert_eq!(status(&token("alice", n)).await, StatusCode::OK, "request {n} is within the burst");
    }
    assert_eq!(status(&token("alice", 4)).await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(status(&token("dora", 0)).await, StatusCode::OK, "another subject has its own rate");
    assert_eq!(status(&gateway.client()).await, StatusCode::OK, "and so have keys");
}

#[tokio::test]
async fn clients_are_told_where_tokens_come_from() {
    let key = SigningKey::new("k", "ES256");
    let issuer = Issuer::start(&[&key]).await;
    let mut settings = issuer.settings();
    settings["scope_map"] = json!({"image.write": "images:write"});
    let gateway = Gateway::start(trusting(vec![settings])).await;
    let (url, client) = (gateway.url(), gateway.client_with("igw_wrong"));
    let challenge = |answer: &Response| answer.headers()["www-authenticate"].to_str().unwrap().to_owned();
    let place = format!("resource_metadata=\"{url}/.well-known/oauth-protected-resource/mcp\"");
    let scope = "scope=\"images:read image.write\"";

    let plain = reqwest::Client::new().post(format!("{url}/mcp")).body("{}").send().await.unwrap();
    assert_eq!(plain.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(challenge(&plain), format!("Bearer {place}, {scope}"), "S1: no error without a credential");

    let stranger = SigningKey::new("k", "ES256");
    let mut expired = issuer.claims("design", "alice");
    expired["exp"] = 1_700_000_000.into();
    let mut bodies = Vec::new();
    for wrong in [
        "garbage".to_owned(),
        "igw_wrong".into(),
        key.token(&expired),
        stranger.token(&issuer.claims("design", "alice")),
        key.token(&issuer.claims("nobody", "alice")),
    ] {
        let answer = ask(&gateway.client_with(&wrong)).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{wrong}");
        let said = challenge(&answer);
        assert!(said.starts_with("Bearer error=\"invalid_token\", error_description="), "{said}");
        assert!(said.contains(&place) && said.contains(scope), "{said}");
        bodies.push(answer.text().await.unwrap());
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "S2: byte for byte the same: {bodies:?}");
    assert!(gateway.log().contains("`teams` has no such entry"), "the operator hears why");

    let mut reader = issuer.claims("design", "alice");
    reader["scope"] = "images:read".into();
    let reader = gateway.client_with(&key.token(&reader));
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "generate_image", "arguments": {"prompt": "a fox"}}});
    let refused = reader.post(&call).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let wanted = format!("Bearer error=\"insufficient_scope\", scope=\"image.write\", {place}");
    assert_eq!(challenge(&refused), wanted, "S3");

    for (end, path) in
        [("", "/mcp"), ("/mcp", "/mcp"), ("/sse", "/sse"), ("/mcp/v1/messages", "/mcp/v1/messages")]
    {
        let answer = client.get(&format!("{url}/.well-known/oauth-protected-resource{end}")).await;
        assert_eq!(answer.status(), StatusCode::OK, "S6: {end}");
        let wanted = json!({
            "resource": format!("{url}{path}"),
            "authorization_servers": [issuer.url()],
            "scopes_supported": ["images:read", "image.write"],
            "bearer_methods_supported": ["header"],
            "resource_name": "image-gateway",
        });
        assert_eq!(answer.json::<Value>().await.unwrap(), wanted);
    }
    let nowhere = client.get(&format!("{url}/.well-known/oauth-protected-resource/images")).await;
    assert_eq!(nowhere.status(), StatusCode::NOT_FOUND);

    let token = key.token(&issuer.claims("design", "alice"));
    let in_url =
        client.http().post(format!("{url}/mcp?access_token={token}")).body("{}").send().await.unwrap();
    assert_eq!(in_url.status(), StatusCode::BAD_REQUEST, "S4");
    assert!(!gateway.log().contains(&token), "S4: nor is it logged");
}

#[tokio::test]
async fn the_scopes_of_a_token_are_those_of_a_key() {
    let key = SigningKey::new("k", "ES256");
    let issuer = Issuer::start(&[&key]).await;
    let all = ["images:read", "images:write", "usage:read", "admin"];
    let keys: Vec<Value> = (0..16_usize)
        .map(|set| {
            let scopes: Vec<&str> = (0..4).filter(|n| set >> n & 1 == 1).map(|n| all[n]).collect();
            json!({"id": format!("k{set}"), "key": format!("igw_{set}"), "scopes": scopes, "team": "design"})
        })
        .collect();
    let gateway = Gateway::start(scene(&issuer).set("auth.keys", keys.clone())).await;
    for entry in keys {
        let scopes: Vec<&str> =
            entry["scopes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let mut claims = issuer.claims("design", entry["id"].as_str().unwrap());
        claims["scope"] = scopes.join(" ").into();
        for client in
            [gateway.client_with(&key.token(&claims)), gateway.client_with(entry["key"].as_str().unwrap())]
        {
            if scopes.is_empty() {
                let answer = ask(&client).await;
                assert_eq!(answer.status(), StatusCode::FORBIDDEN, "it could do nothing at all");
                let said = answer.headers()["www-authenticate"].to_str().unwrap().to_owned();
                assert!(
                    said.contains("insufficient_scope") && said.contains("\"images:read images:write\""),
                    "{said}"
                );
                continue;
            }
            let tools = client.rpc("tools/list", json!({})).await["result"]["tools"].clone();
            let tools: Vec<&str> =
                tools.as_array().unwrap().iter().filter_map(|t| t["name"].as_str()).collect();
            for (tool, scope) in [
                ("list_models", "images:read"),
                ("list_jobs", "images:read"),
                ("cancel_job", "images:write"),
                ("delete_image", "images:write"),
                ("get_quota", "usage:read"),
                ("get_usage", "usage:read"),
                ("reload_config", "admin"),
            ] {
                let may = scopes.contains(&scope) || scopes.contains(&"admin");
                assert_eq!(tools.contains(&tool), may, "{scopes:?}: {tool} is offered");
                let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                    "params": {"name": tool, "arguments": {}}});
                let answer = client.post(&call).await;
                let wanted = if may { StatusCode::OK } else { StatusCode::FORBIDDEN };
                assert_eq!(answer.status(), wanted, "{scopes:?}: {tool}");
            }
        }
    }
}

#[tokio::test]
async fn new_keys_are_taken_at_once_and_old_ones_die() {
    let (old, new) = (SigningKey::new("2026", "ES256"), SigningKey::new("2027", "EdDSA"));
    let issuer = Issuer::start(&[&old]).await;
    let mut settings = issuer.settings();
    settings["jwks_refresh"] = "1s".into();
    let gateway = Gateway::start(trusting(vec![settings])).await;
    let before = alice(&gateway, &issuer, &old);
    assert_eq!(status(&before).await, StatusCode::OK);
    issuer.publish(&[&old, &new]);
    let after = alice(&gateway, &issuer, &new);
    assert_eq!(status(&after).await, StatusCode::OK, "S17: the first token of a new key waits for it");
    assert_eq!(status(&before).await, StatusCode::OK, "both are good");
    issuer.publish(&[&new]);
    until(&before, StatusCode::UNAUTHORIZED).await;
    assert_eq!(status(&after).await, StatusCode::OK);
}

#[tokio::test]
async fn unknown_keys_are_refused_and_ask_the_issuer_once() {
    let key = SigningKey::new("k", "ES256");
    let issuer = Issuer::start(&[&key]).await;
    let gateway = Gateway::start(scene(&issuer)).await;
    let good = alice(&gateway, &issuer, &key);
    assert_eq!(status(&good).await, StatusCode::OK);
    for n in 0..50 {
        let unknown = SigningKey::new(&format!("../../{n}"), "EdDSA");
        assert_eq!(status(&alice(&gateway, &issuer, &unknown)).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(issuer.fetches(), 2, "S18: at the start, and once more");
    assert_eq!(status(&good).await, StatusCode::OK);
}

#[tokio::test]
async fn an_issuer_that_is_away_costs_nobody_who_is_known() {
    let key = SigningKey::new("k", "RS256");
    let issuer = Issuer::start(&[&key]).await;
    let mut settings = issuer.settings();
    settings["jwks_refresh"] = "1s".into();
    let gateway = Gateway::start(trusting(vec![settings])).await;
    assert_eq!(status(&alice(&gateway, &issuer, &key)).await, StatusCode::OK);
    issuer.go_down();
    issuer.wait_for_fetches(issuer.fetches() + 2).await;
    let newcomer = gateway.client_with(&key.token(&issuer.claims("ads", "newcomer")));
    assert_eq!(status(&newcomer).await, StatusCode::OK, "the keys of before the outage go on");

    // A gateway that starts meanwhile knows no keys: that is no wrong token.
    let gateway = gateway.kill_and_restart().await;
    let answer = ask(&alice(&gateway, &issuer, &key)).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
    assert_eq!(status(&gateway.client()).await, StatusCode::OK, "keys need no issuer");
    issuer.publish(&[&key]);
    until(&alice(&gateway, &issuer, &key), StatusCode::OK).await;
}

#[tokio::test]
async fn issuers_come_and_go_by_a_reload() {
    let (here, there) = (SigningKey::new("k", "ES256"), SigningKey::new("k", "ES256"));
    let (first, second) = (Issuer::start(&[&here]).await, Issuer::start(&[&there]).await);
    let gateway = Gateway::start(scene(&first)).await;
    let (one, two) = (alice(&gateway, &first, &here), alice(&gateway, &second, &there));
    assert_eq!((status(&one).await, status(&two).await), (StatusCode::OK, StatusCode::UNAUTHORIZED));

    gateway.home().configure(&trusting(vec![first.settings(), second.settings()]));
    let log = gateway.hang_up().await;
    assert!(log.contains("auth.issuers"), "{log}");
    assert_eq!((status(&one).await, status(&two).await), (StatusCode::OK, StatusCode::OK));

    let mut wrong = second.settings();
    wrong["algorithms"] = json!(["HS256"]);
    gateway.home().configure(&trusting(vec![wrong]));
    let log = gateway.hang_up().await;
    assert!(log.contains("not reloaded") && log.contains("auth.issuers[0].algorithms[0]"), "{log}");
    assert_eq!((status(&one).await, status(&two).await), (StatusCode::OK, StatusCode::OK), "nothing changed");

    gateway.home().configure(&trusting(vec![second.settings()]));
    gateway.hang_up().await;
    assert_eq!(status(&one).await, StatusCode::UNAUTHORIZED, "at once, although it was known");
    assert_eq!(status(&two).await, StatusCode::OK);
    gateway.home().configure(&trusting(vec![second.settings()]).set("teams", json!({"ads": {}})));
    gateway.hang_up().await;
    assert_eq!(status(&two).await, StatusCode::UNAUTHORIZED, "its team is gone");
}

#[tokio::test]
async fn a_gateway_of_tokens_alone_makes_and_takes_no_key() {
    let key = SigningKey::new("k", "EdDSA");
    let issuer = Issuer::start(&[&key]).await;
    let file = json!([{"id": "ci", "key": "igw_ci_0123456789abcdef", "team": "design"}]);
    let gateway = Gateway::start(scene(&issuer).set("auth.mode", "jwt").set("auth.keys", file)).await;
    assert!(!gateway.home().data_dir().join("first-key").exists());
    assert_eq!(status(&alice(&gateway, &issuer, &key)).await, StatusCode::OK);
    assert_eq!(status(&gateway.client_with("igw_ci_0123456789abcdef")).await, StatusCode::UNAUTHORIZED);
    let made = gateway.home().new_key("design").await;
    assert_eq!(status(&gateway.client_with(&made)).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_token_never_leaves_the_gateway_and_its_claims_choose_the_route() {
    let key = SigningKey::new("k", "ES256");
    let issuer = Issuer::start(&[&key]).await;
    let vendor = FakeUpstream::start().await;
    vendor.default(crate::support::vendor::openai_picture());
    let routes = json!([{"when": {"claims": {"groups": "artists"}}, "to": ["openai/gpt-image-2.5-flare"]}]);
    let gateway =
        Gateway::start(scene(&issuer).openai_at("openai", &vendor.url()).set("routes", routes)).await;
    let mut claims = issuer.claims("design", "alice");
    claims["groups"] = json!(["berlin", "artists"]);
    let (token, plain) = (key.token(&claims), alice(&gateway, &issuer, &key));
    let artist = gateway.client_with(&token);
    plain.wait(&plain.generate("a fox").await).await.ok();
    assert_eq!(vendor.submissions(), 0, "without the claim the default model draws");
    artist.wait(&artist.generate("a fox").await).await.ok();
    assert_eq!(vendor.submissions(), 1, "the claim leads to the vendor");
    for request in vendor.requests() {
        let said = format!("{request:?}");
        let signature = token.rsplit('.').next().unwrap();
        assert!(!said.contains(signature), "S20");
        assert_eq!(request.header("authorization"), Some("Bearer sk-test"));
    }
}

#[tokio::test]
async fn check_and_doctor_try_the_issuers() {
    let key = SigningKey::new("k", "ES256");
    let issuer = Issuer::start(&[&key]).await;
    let home = Home::new(scene(&issuer));
    let told = home.run(&["check"]).await;
    assert!(told.contains(&format!("issuer {}", issuer.url())), "{told}");
    assert_eq!(issuer.fetches(), 0, "`check` asks nobody");
    let told = home.run(&["doctor"]).await;
    assert!(told.contains("1 key for ES256, RS256, EdDSA"), "{told}");
    issuer.go_down();
    let output = home.command(&["doctor"]).output().await.unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && told.contains("503") && told.contains("jwks_url"), "{told}");

    std::fs::write(home.folder().join("keys.json"), Issuer::jwks(&[&key])).unwrap();
    let mut file = issuer.settings();
    file.as_object_mut().unwrap().remove("jwks_url");
    file["jwks_file"] = "keys.json".into();
    home.configure(&trusting(vec![file]));
    home.run(&["check"]).await;
    let gateway = Gateway::start_at(home.clone()).await;
    assert_eq!(status(&alice(&gateway, &issuer, &key)).await, StatusCode::OK, "beside the configuration");
    std::fs::write(home.folder().join("keys.json"), "{}").unwrap();
    let output = home.command(&["check"]).output().await.unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("auth.issuers[0].jwks_file: the file `keys.json`: it is no JWK set"), "{told}");
}
