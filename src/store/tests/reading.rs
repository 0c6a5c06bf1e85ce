//! Jobs read by their ids, by many callers at once.

use super::*;

/// A completed job of `team` with two images, written out of order.
async fn made(scene: &Scene, team: &str) -> Claimed {
    let claimed = started(scene, job(team)).await;
    let images = [1, 0].map(|position| Image { position, ..image(&claimed, 1_000_000_000_000) });
    let mut finish = completed(&claimed);
    let End::Completed { images: of_job, .. } = &mut finish.end else { panic!() };
    of_job.extend(images);
    assert!(matches!(scene.store.finish(finish).await.unwrap(), Finished::Applied(_)));
    claimed
}

#[tokio::test]
async fn each_of_many_callers_gets_the_jobs_it_asked_for_and_none_of_another_team() {
    everywhere(async |scene| {
        let mut jobs = Vec::new();
        for n in 0..7 {
            let team = if n % 2 == 0 { "t" } else { "u" };
            jobs.push((team, made(&scene, team).await.job.id));
        }
        let calls = (0..300_usize).map(|n| {
            let store = scene.store.clone();
            let wanted: Vec<(&str, Uuid)> = (0..n % 5).map(|k| jobs[(n + k) % jobs.len()]).collect();
            tokio::spawn(async move {
                let mut ids: Vec<Uuid> = wanted.iter().map(|(_, id)| *id).collect();
                ids.push(Uuid::new_v4());
                ids.extend(ids.first().copied());
                let rows = store.jobs_by_id("t", &ids).await.unwrap();
                let mut found: Vec<Uuid> = rows.iter().map(|rows| rows.job.id).collect();
                let mut own: Vec<Uuid> =
                    wanted.iter().filter(|(team, _)| *team == "t").map(|(_, id)| *id).collect();
                found.sort_unstable();
                own.sort_unstable();
                assert_eq!(found, own);
                for rows in rows {
                    let positions: Vec<i32> = rows.images.iter().map(|image| image.position).collect();
                    assert_eq!(positions, [0, 1]);
                    assert!(rows.images.iter().all(|image| image.job_id == rows.job.id));
                    assert_eq!(rows.attempts.len(), 1, "each attempt comes with each image, and counts once");
                    assert_eq!(rows.attempts[0].job_id, rows.job.id);
                }
            })
        });
        for call in calls.collect::<Vec<_>>() {
            call.await.unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn what_was_committed_before_a_question_is_in_its_answer() {
    everywhere(async |scene| {
        // Others keep asking, so that there is always a statement under way.
        let others = (0..4).map(|_| {
            let store = scene.store.clone();
            tokio::spawn(async move {
                loop {
                    store.jobs_by_id("t", &[Uuid::new_v4()]).await.unwrap();
                }
            })
        });
        let others: Vec<_> = others.collect();
        for _ in 0..20 {
            let claimed = made(&scene, "t").await;
            let rows = scene.store.jobs_by_id("t", &[claimed.job.id]).await.unwrap();
            assert_eq!((rows[0].job.state, rows[0].images.len()), (State::Completed, 2));
        }
        others.iter().for_each(|other| other.abort());
    })
    .await
}

#[tokio::test]
async fn a_caller_that_left_keeps_nobody_from_an_answer() {
    let scene = scene().await;
    let claimed = made(&scene, "t").await;
    for _ in 0..50 {
        let gone = scene.store.clone();
        let asks = tokio::spawn(async move { gone.jobs_by_id("t", &[Uuid::new_v4()]).await });
        tokio::task::yield_now().await;
        asks.abort();
        let rows = scene.store.jobs_by_id("t", &[claimed.job.id]).await.unwrap();
        assert_eq!(rows.len(), 1);
    }
}
