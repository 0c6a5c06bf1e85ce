//! Jobs that were sent again although the first call may have been charged (`on_ambiguous: retry_once`).

use super::*;

/// A job whose first attempt may have been charged: its second one, or `None` where it waits for it.
async fn sent_again(scene: &Scene, start: bool) -> (Job, Option<Claimed>) {
    let reserved = Some(plugin_api::value::Money::micros(40_000, "USD"));
    let one = started(scene, Job { reserved, ..job("t") }).await;
    let next = NextTry {
        job_id: one.job.id,
        epoch: 1,
        ended: Some(ended(&one, "outcome_unknown", "possible")),
        target: 0,
        run_at_us: if start { 0 } else { scene.store.steady_us() + 900_000_000 },
        start,
    };
    match scene.store.next_try("me", LEASE, next, &shares(&[("a", None)])).await.unwrap() {
        NextTried::Started(second) => (one.job, Some(*second)),
        NextTried::Waits => (one.job, None),
        NextTried::Stale => panic!("nobody else has it"),
    }
}

async fn is_unknown_and_held(scene: &Scene, id: Uuid) {
    let job = scene.store.any_job(id).await.unwrap().unwrap().job;
    assert_eq!((job.state, job.error_code.as_deref()), (State::Failed, Some("outcome_unknown")), "{job:?}");
    assert!(job.reserved.is_some(), "what may be gone stays held");
    assert!(scene.store.unreconciled(10).await.unwrap().iter().any(|job| job.id == id), "it can be settled");
}

#[tokio::test]
async fn a_failure_after_a_call_that_may_be_charged_holds_what_is_reserved() {
    everywhere(async |scene| {
        for end in [
            End::Failed { code: "provider_unavailable", error: "gone".into(), cost: None, hold: false },
            End::Cancelled,
        ] {
            let (job, second) = sent_again(&scene, true).await;
            let second = second.expect("it starts at once");
            let finish =
                Finish { end, attempt: Some(ended(&second, "unavailable", "none")), ..completed(&second) };
            assert!(matches!(scene.store.finish(finish).await.unwrap(), Finished::Applied(_)));
            is_unknown_and_held(&scene, job.id).await;
        }
        let (job, second) = sent_again(&scene, true).await;
        scene.store.finish(completed(&second.unwrap())).await.unwrap();
        assert_eq!(scene.store.any_job(job.id).await.unwrap().unwrap().job.state, State::Completed);
    })
    .await
}

#[tokio::test]
async fn neither_a_cancellation_nor_the_deadline_forgets_a_call_that_may_be_charged() {
    everywhere(async |scene| {
        let (job, none) = sent_again(&scene, false).await;
        assert!(none.is_none());
        let (_, cancelled) = scene.store.cancel("t", job.id).await.unwrap().unwrap();
        assert!(!cancelled, "that it cost nothing cannot be said");
        is_unknown_and_held(&scene, job.id).await;
        let (job, _) = sent_again(&scene, false).await;
        scene.clock.advance(Duration::from_secs(1_000));
        assert!(scene.store.sweep().await.unwrap().expired.contains(&job.id));
        is_unknown_and_held(&scene, job.id).await;
    })
    .await
}
