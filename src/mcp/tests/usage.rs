//! What is left and what was used, as the tools tell it.

use super::*;
use crate::{
    jobs::{Left, Limit},
    store::{By, Filter, Used},
};
use plugin_api::value::WindowUnit;

fn limit(of: &'static str, what: &'static str, most: i64, used: i64, reserved: i64) -> Limit {
    let left = Some(Left { used, reserved, left: (most - used - reserved).max(0) });
    let window = (!what.ends_with("jobs")).then_some((WindowUnit::Day, fake::NOW_US + 90_500_000));
    let currency = (what == "spend").then(|| "USD".to_owned());
    Limit { of, what, window, currency, most, left }
}

fn used(group: &str, currency: &str, images: u64, spent: i64) -> Used {
    let (group, currency) = (group.to_owned(), Some(currency.to_owned()));
    Used { group, currency, jobs: images + 1, images, unknown: 1, spent, held: 5, ..Used::default() }
}

#[tokio::test]
async fn the_quota_tells_what_is_left_and_when_there_is_more() {
    let scene = scene();
    let empty = scene.object("get_quota", json!({})).await;
    assert_eq!((&empty["limits"], &empty["success"]), (&json!([]), &json!(true)));
    assert_eq!(empty["message"], "No limit applies to your team or key.");

    let gateway = Limit { left: None, ..limit("gateway", "images", 900, 0, 0) };
    *scene.fake.limits.lock() =
        vec![limit("team", "spend", 100, 60, 30), limit("key", "concurrent_jobs", 4, 1, 0), gateway];
    let quota = scene.object("get_quota", json!({"of": "team"})).await;
    assert_eq!(quota["message"], "Nothing is used up.");
    assert_eq!(quota["adjustments"][0]["field"], "of", "{quota}");
    assert_eq!(
        quota["limits"],
        json!([
            {"of": "team", "limit": "spend", "per": "day", "currency": "USD", "most": 100, "used": 60, "reserved": 30,
             "left": 10, "resets_at": "2027-01-15T08:01:30Z", "resets_in_seconds": 91},
            {"of": "key", "limit": "concurrent_jobs", "most": 4, "used": 1, "left": 3},
            {"of": "gateway", "limit": "images", "per": "day", "most": 900, "resets_at": "2027-01-15T08:01:30Z",
             "resets_in_seconds": 91},
        ])
    );

    *scene.fake.limits.lock() = vec![limit("key", "images", 3, 3, 0), limit("team", "queued_jobs", 2, 2, 0)];
    assert_eq!(
        scene.object("get_quota", json!({})).await["message"],
        "Used up: images per day of your key, until 2027-01-15T08:01:30Z; queued_jobs of your team, until a job ends."
    );
}

#[tokio::test]
async fn usage_is_of_the_own_team_summed_over_currencies_and_largest_first() {
    let scene = scene();
    *scene.fake.used.lock() = vec![
        used("card", "CNY", 1, 7),
        used("card", "USD", 2, 20),
        used("flux", "USD", 9, 90),
        Used { currency: None, held: 0, ..used("free", "", 4, 0) },
    ];
    let usage = scene.object("get_usage", json!({"since": "24h", "until": "2027-01-15"})).await;
    assert_eq!((&usage["by"], &usage["images"], &usage["unknown"]), (&json!("model"), &json!(16), &json!(4)));
    assert_eq!(
        usage["spend"],
        json!([{"amount_micros": 7, "currency": "CNY"}, {"amount_micros": 110, "currency": "USD"}])
    );
    let groups = usage["groups"].as_array().unwrap();
    let names: Vec<&str> = groups.iter().map(|group| group["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["flux", "free", "card"]);
    assert_eq!((&groups[2]["jobs"], groups[2]["spend"].as_array().unwrap().len()), (&json!(5), 2));
    assert_eq!((&groups[1]["spend"], &groups[1]["held"]), (&json!([]), &json!([])));

    for (by, asked) in [("key", By::Key), ("provider", By::Provider), ("Day", By::Day)] {
        scene.object("get_usage", json!({"by": by})).await;
        let (filter, by) = scene.fake.counted.lock().last().unwrap().clone();
        assert_eq!((filter, by), (Filter::of_team("team"), asked));
    }
    let since = scene.fake.counted.lock()[0].0.since_us;
    assert_eq!(since, Some(fake::NOW_US - 86_400_000_000));

    // A history of many days: the newest are shown, all are summed.
    *scene.fake.used.lock() = (0..150).map(|n| used(&format!("day {}", 999 - n), "USD", n, 1)).collect();
    let days = scene.object("get_usage", json!({"by": "day"})).await;
    let groups = days["groups"].as_array().unwrap();
    assert_eq!(
        (groups.len(), &days["group_count"], &groups[0]["name"]),
        (100, &json!(150), &json!("day 999"))
    );
    assert_eq!(days["spend"][0]["amount_micros"], 150);
}

#[tokio::test]
async fn usage_is_never_asked_of_another_team_and_bad_times_are_refused() {
    let scene = scene();
    for (arguments, field) in [
        (json!({"by": "team"}), "by"),
        (json!({"since": "yesterday"}), "since"),
        (json!({"since": "1d", "until": "2d"}), "until"),
    ] {
        let refused = scene.object("get_usage", arguments).await;
        assert_eq!((&refused["code"], &refused["field"]), (&json!("invalid_request"), &json!(field)));
    }
    assert!(scene.fake.counted.lock().is_empty());
    let told = scene.object("get_usage", json!({"team": "other"})).await;
    assert_eq!(told["adjustments"][0]["used"], "ignored", "{told}");
    assert_eq!(scene.fake.counted.lock()[0].0.team.as_deref(), Some("team"));
}

#[tokio::test]
async fn both_need_the_scope_for_usage_and_change_nothing() {
    let scene = |scope| Scene { principal: principal(&[scope]), ..scene() };
    let tools = shapes::list(&scene(Scope::UsageRead)).await["tools"].clone();
    let names: Vec<&str> = tools.as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["get_quota", "get_usage"]);
    assert!(tools.as_array().unwrap().iter().all(|tool| tool["annotations"]["readOnlyHint"] == true));
    for name in names {
        let refused = scene(Scope::ImagesWrite).whole(Peer::Legacy.call(name, json!({}))).await;
        assert_eq!(refused.status(), 403, "{name}");
    }
}
