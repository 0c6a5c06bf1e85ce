//! Paused providers: remembered, and waited out elsewhere.

use super::*;
use std::collections::BTreeSet;

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn a_pause_keeps_its_first_time_and_ends_once() {
    everywhere(async |scene| {
        assert!(scene.store.pause("a").await.unwrap());
        let since = scene.store.pauses().await.unwrap();
        scene.clock.advance(Duration::from_secs(9));
        assert!(!scene.store.pause("a").await.unwrap());
        assert_eq!(scene.store.pauses().await.unwrap(), since);
        assert!(scene.store.resume("a").await.unwrap() && !scene.store.resume("a").await.unwrap());
        assert!(scene.store.pauses().await.unwrap().is_empty());
    })
    .await
}

#[tokio::test]
async fn what_a_server_leaves_alone_is_written_down_for_others() {
    everywhere(async |scene| {
        for until in [Some(5), Some(7)] {
            scene.store.note_breaker("a", until).await.unwrap();
            assert_eq!(scene.store.breakers().await.unwrap().get("a").copied(), until);
        }
        scene.store.note_breaker("a", None).await.unwrap();
        assert!(scene.store.breakers().await.unwrap().is_empty());
    })
    .await
}

#[tokio::test]
async fn jobs_that_wait_go_to_their_next_open_target_and_no_other_is_touched() {
    everywhere(async |scene| {
        let running = started(&scene, job("t")).await;
        let only_a = Job { plan: Plan { targets: job("t").plan.targets[..1].to_vec() }, ..job("t") };
        let (waiting, stays) = (job("t"), only_a.id);
        let moves = waiting.id;
        scene.store.submit(submit(vec![waiting, only_a], 0)).await.unwrap();
        let aside = async |open: &[&str]| scene.store.step_aside(&set(&["a"]), &set(open)).await.unwrap();
        assert_eq!(aside(&["c"]).await, 0, "no target is open");
        assert_eq!(aside(&["b", "c"]).await, 1);
        assert_eq!(aside(&["b", "c"]).await, 0, "once");
        let at = async |id| {
            let rows = scene.store.any_job(id).await.unwrap().unwrap();
            (rows.job.target, rows.job.instance)
        };
        assert_eq!(at(moves).await, (1, "b".into()));
        assert_eq!(at(stays).await, (0, "a".into()));
        assert_eq!(at(running.job.id).await, (0, "a".into()));
        let claimed =
            scene.store.claim("me", LEASE, 10, &shares(&[("a", Some(0)), ("b", None)])).await.unwrap();
        assert_eq!(
            claimed.iter().map(|c| c.job.id).collect::<Vec<_>>(),
            [moves],
            "it starts in its new lane"
        );
    })
    .await
}
