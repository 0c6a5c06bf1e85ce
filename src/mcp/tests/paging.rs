//! Lists: what they are narrowed to, and cursors.

use super::*;
use crate::store::{Filter, State};

#[tokio::test]
async fn a_list_is_narrowed_by_text_model_and_time() {
    const HOUR: i64 = 3_600_000_000;
    let scene = scene();
    let arguments =
        json!({"text": "fox", "model": "flux-schnell", "since": "2h", "until": fake::NOW_US / 1_000});
    scene.object("list_generations", arguments.clone()).await;
    scene.object("list_jobs", json!({"status": "failed", "text": "fox"})).await;
    let asked = scene.fake.listed.lock().clone();
    let wanted = Filter {
        text: Some("fox".into()),
        model: Some("flux-schnell".into()),
        since_us: Some(fake::NOW_US - 2 * HOUR),
        until_us: Some(fake::NOW_US),
        ..Filter::of_team("team")
    };
    assert_eq!(asked[0].0, wanted);
    assert_eq!(
        (asked[1].0.states.as_slice(), asked[1].0.text.as_deref()),
        (&[State::Failed][..], Some("fox"))
    );
}

#[tokio::test]
async fn a_cursor_leads_on_and_belongs_to_its_list() {
    let scene = scene();
    let ids: Vec<_> = (0..3).map(|_| scene.fake.job(State::Completed)).collect();
    let page = |arguments| scene.object("list_jobs", arguments);
    let first = page(json!({"limit": 2, "text": "cat"})).await;
    assert_eq!((&first["has_more"], &first["returned_count"]), (&json!(true), &json!(2)));
    let cursor = first["next_cursor"].as_str().expect("a cursor").to_owned();
    let second = page(json!({"limit": 2, "text": "cat", "cursor": cursor})).await;
    assert_eq!(second["jobs"][0]["id"], json!(ids[2]), "{second}");
    assert!(second.get("next_cursor").is_none() && second["has_more"] == false, "{second}");

    let stranger = Scene { principal: Arc::new(Principal::new("b", "key", &Scope::ALL)), ..self::scene() };
    let refused = [
        page(json!({"cursor": cursor})).await,
        page(json!({"text": "dog", "cursor": cursor})).await,
        page(json!({"text": "cat", "status": "failed", "cursor": cursor})).await,
        page(json!({"text": "cat", "cursor": "AAAA"})).await,
        scene.object("list_generations", json!({"text": "cat", "cursor": cursor})).await,
        stranger.object("list_jobs", json!({"text": "cat", "cursor": cursor})).await,
    ];
    for answer in &refused {
        assert_eq!(
            (&answer["code"], &answer["field"]),
            (&json!("invalid_request"), &json!("cursor")),
            "{answer}"
        );
        assert_eq!(answer, &refused[0], "a stranger's cursor is told apart from nothing");
    }
    let both = page(json!({"text": "cat", "cursor": cursor, "offset": 1})).await;
    assert_eq!(both["field"], "offset", "{both}");
}

#[tokio::test]
async fn a_moment_that_makes_no_sense_is_named_with_what_would() {
    let scene = scene();
    for (arguments, field) in [
        (json!({"since": "last week"}), "since"),
        (json!({"until": true}), "until"),
        (json!({"since": "1h", "until": "2h"}), "until"),
    ] {
        let answer = scene.object("list_generations", arguments.clone()).await;
        assert_eq!(
            (&answer["code"], &answer["field"]),
            (&json!("invalid_request"), &json!(field)),
            "{arguments}"
        );
    }
}
