//! Words that a database has no place for.

use super::*;

#[tokio::test]
async fn what_the_database_refuses_of_one_caller_is_no_matter_to_the_others() {
    everywhere(async |scene| {
        // Longer than its column: the servers refuse it, SQLite does not look.
        let calls = (0..24).map(|n| {
            let name = if n % 8 == 3 { "m".repeat(300) } else { "m".into() };
            let store = scene.store.clone();
            async move { (n, store.submit(submit(vec![Job { model: name, ..job("t") }], 0)).await) }
        });
        for (n, outcome) in futures_util::future::join_all(calls).await {
            let accepted = matches!(outcome, Ok(Submitted::Accepted { .. }));
            assert!(accepted || n % 8 == 3, "{n}: {outcome:?}");
        }
    })
    .await
}

#[tokio::test]
async fn a_vendors_words_never_keep_a_job_from_ending() {
    everywhere(async |scene| {
        let claimed = started(&scene, job("t")).await;
        let mut finish = completed(&claimed);
        let Some(end) = &mut finish.attempt else { panic!("it ends an attempt") };
        (end.vendor_request_id, end.vendor_code) = (Some("x".repeat(300)), Some("a\0b".into()));
        let End::Completed { images, adjustments, .. } = &mut finish.end else { panic!("it completes") };
        *adjustments = serde_json::json!([{"reason": "a\0b"}]);
        images.push(Image { revised_prompt: Some("a\0fox".into()), ..image(&claimed, 1) });
        assert!(matches!(scene.store.finish(finish).await.unwrap(), Finished::Applied(_)));
        let rows = scene.store.any_job(claimed.job.id).await.unwrap().unwrap();
        assert_eq!(rows.job.state, State::Completed);
        assert_eq!(rows.images[0].revised_prompt.as_deref(), Some("afox"));
        assert_eq!(rows.attempts[0].vendor_request_id.as_ref().map(String::len), Some(191));
        let claimed = started(&scene, job("t")).await;
        let failed = Finish {
            end: End::Failed { code: "provider_error", error: "a\0b".into(), cost: None, hold: false },
            ..completed(&claimed)
        };
        scene.store.finish(failed).await.unwrap();
    })
    .await
}
