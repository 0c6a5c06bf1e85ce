//! What a team has used and may still have: told to it, and to the operator, and to nobody else.

use crate::support::{Gateway, config, eventually, vendor};
use serde_json::{Value, json};
use testkit::{Behaviour, FakeUpstream};

/// The limit of an answer of `get_quota`.
fn limit<'a>(quota: &'a Value, of: &str, what: &str) -> &'a Value {
    let limits = quota["limits"].as_array().unwrap();
    limits.iter().find(|row| row["of"] == of && row["limit"] == what).unwrap_or_else(|| panic!("{quota}"))
}

#[tokio::test]
async fn a_team_sees_what_it_used_and_another_sees_nothing_of_it() {
    let upstream = FakeUpstream::start().await;
    upstream.default(vendor::openai_picture());
    let config = config()
        .openai(&upstream)
        .set("models.gpt-image.price", json!([{"image": "0.05 USD"}]))
        .set("limits.per_team", json!({"images": "5/day", "spend": "1 USD/month", "concurrent_jobs": 8}))
        .set("limits.overall", json!({"images": "100/day"}));
    let gateway = Gateway::start(config).await;
    let (owner, home) = (gateway.client(), gateway.home());
    let stranger = gateway.client_with(&home.new_key("b").await);
    eventually("the stranger's key works", async || {
        let answer = stranger.post(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})).await;
        answer.status().is_success().then_some(())
    })
    .await;

    let made =
        owner.tool("generate_image_and_wait", json!({"prompt": "a secret fox", "count": 2})).await.ok();
    upstream.push(Behaviour::from(vendor::openai_error(400, "moderation_blocked", "refused by the filter")));
    owner.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.failed("content_blocked");
    upstream.push(Behaviour::Close);
    owner.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.failed("outcome_unknown");
    let spent: i64 = {
        let job = |row: &Value| row["job_id"].as_str().unwrap().to_owned();
        let jobs: Vec<String> = made.json["results"].as_array().unwrap().iter().map(job).collect();
        let mut sum = 0;
        for job in jobs {
            sum += owner.status(&job).await["cost"]["amount_micros"].as_i64().unwrap();
        }
        sum
    };
    assert!(spent > 0);

    let quota = owner.tool("get_quota", json!({})).await.ok().json;
    let images = limit(&quota, "team", "images");
    assert_eq!(
        [&images["most"], &images["used"], &images["reserved"], &images["left"]],
        [&json!(5), &json!(2), &json!(1), &json!(2)],
        "the failure gave its place back, the unknown one holds it"
    );
    let wait = images["resets_in_seconds"].as_i64().unwrap();
    assert!((0..=86_400).contains(&wait) && images["resets_at"].as_str().unwrap().ends_with("T00:00:00Z"));
    let spend = limit(&quota, "team", "spend");
    assert_eq!((&spend["used"], &spend["reserved"]), (&json!(spent), &json!(50_000)), "{spend}");
    assert_eq!((&spend["per"], &spend["left"]), (&json!("month"), &json!(1_000_000 - 50_000 - spent)));
    let slots = limit(&quota, "team", "concurrent_jobs");
    assert_eq!((&slots["most"], &slots["left"]), (&json!(8), &json!(8)));
    let all = limit(&quota, "gateway", "images");
    assert_eq!((&all["most"], all.get("used"), all.get("left")), (&json!(100), None, None));

    for by in ["key", "model", "provider", "day"] {
        let usage = owner.tool("get_usage", json!({"by": by, "since": "2d"})).await.ok().json;
        let counts = ["jobs", "images", "failed", "unknown"].map(|name| usage[name].as_u64().unwrap());
        assert_eq!(counts, [4, 2, 1, 1], "{by}: {usage}");
        assert_eq!(usage["spend"], json!([{"amount_micros": spent, "currency": "USD"}]));
        let held: i64 =
            usage["held"].as_array().unwrap().iter().map(|m| m["amount_micros"].as_i64().unwrap()).sum();
        assert_eq!((held, usage["groups"].as_array().unwrap().is_empty()), (50_000, false), "{by}");
    }
    let of_model = owner.tool("get_usage", json!({})).await.ok().json;
    assert_eq!(of_model["groups"][0]["name"], "gpt-image");

    let theirs = stranger.tool("get_quota", json!({})).await.ok().json;
    let images = limit(&theirs, "team", "images");
    assert_eq!((&images["used"], &images["reserved"], &images["left"]), (&json!(0), &json!(0), &json!(5)));
    for arguments in [json!({}), json!({"team": "default"}), json!({"by": "key", "team": "*"})] {
        let theirs = stranger.tool("get_usage", arguments).await.ok().json;
        assert_eq!((&theirs["jobs"], &theirs["groups"]), (&json!(0), &json!([])), "{theirs}");
        assert_eq!((&theirs["spend"], &theirs["held"]), (&json!([]), &json!([])));
    }

    // The operator sees all teams, and what a time or a team narrows.
    stranger.tool("generate_image_and_wait", json!({"prompt": "a wolf"})).await.ok();
    let rows: Value = serde_json::from_str(&home.run(&["usage", "--json"]).await).unwrap();
    let images = |row: &Value| row["images"].as_u64().unwrap();
    let teams: Vec<&str> =
        rows["rows"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert!(teams.contains(&"b") && teams.len() >= 2, "{rows}");
    assert_eq!(rows["rows"].as_array().unwrap().iter().map(images).sum::<u64>(), 3);
    let csv = home.run(&["usage", "--team", "b", "--by", "model", "--csv"]).await;
    let lines: Vec<&str> = csv.split_terminator("\r\n").collect();
    assert_eq!(lines[0], "model,currency,jobs,images,failed,unknown,spend_micros,held_micros");
    assert!(lines.len() == 2 && lines[1].starts_with("gpt-image,USD,1,1,0,0,"), "{csv}");
    assert!(home.run(&["usage", "--by", "day"]).await.contains("USD"));
    assert!(home.run(&["usage", "--until", "2001-01-01"]).await.contains("No jobs are remembered"));
}
