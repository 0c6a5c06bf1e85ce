//! Usage: counted by group and currency, of one team or all, alike on every database.

use super::*;

/// 2026-11-21T00:00:00Z.
const DAY: i64 = 1_795_219_200_000_000;
const LENGTH: i64 = 86_400_000_000;

async fn begun(scene: &Scene, team: &str, key: &str, model: &str, created_us: i64) -> Claimed {
    let reserved = Some(plugin_api::value::Money::micros(100, "USD"));
    let one = Job { key_id: key.into(), model: model.into(), created_us, reserved, ..job(team) };
    started(scene, one).await
}

async fn made(scene: &Scene, claimed: Claimed, images: i32, cost: Option<i64>, currency: &str) -> Vec<Uuid> {
    let rows: Vec<Image> =
        (0..images).map(|position| Image { position, ..image(&claimed, claimed.job.created_us) }).collect();
    let ids = rows.iter().map(|image| image.id).collect();
    let end = End::Completed {
        images: rows,
        cost,
        currency: Some(currency.into()),
        adjustments: serde_json::json!([]),
    };
    scene.store.finish(Finish { end, ..completed(&claimed) }).await.unwrap();
    ids
}

async fn failed(scene: &Scene, claimed: Claimed, code: &'static str) -> Uuid {
    let hold = code == "outcome_unknown";
    let end = End::Failed { code, error: "no".into(), cost: (!hold).then_some(0), hold };
    scene.store.finish(Finish { end, ..completed(&claimed) }).await.unwrap();
    claimed.job.id
}

fn used(group: &str, currency: &str, counts: [u64; 4], money: [i64; 2]) -> Used {
    let ([jobs, images, failed, unknown], [spent, held]) = (counts, money);
    Used { group: group.into(), currency: Some(currency.into()), jobs, images, failed, unknown, spent, held }
}

#[tokio::test]
async fn usage_is_counted_by_group_and_currency() {
    everywhere(async |scene| {
        let [a, b] = ["alice", "Alice"];
        let first = begun(&scene, "t", a, "flux", DAY).await;
        let images = made(&scene, first, 3, Some(120), "USD").await;
        let second = begun(&scene, "t", b, "flux", DAY + LENGTH - 1).await;
        made(&scene, second, 1, Some(7), "CNY").await;
        let third = begun(&scene, "t", a, "card", DAY + LENGTH).await;
        failed(&scene, third, "content_blocked").await;
        let fourth = begun(&scene, "t", a, "card", DAY + LENGTH).await;
        let lost = failed(&scene, fourth, "outcome_unknown").await;
        // One still runs, one has no known price, one is another team's.
        begun(&scene, "t", b, "card", DAY + LENGTH).await;
        let free = begun(&scene, "t", b, "card", DAY + LENGTH).await;
        made(&scene, free, 1, None, "USD").await;
        let theirs = begun(&scene, "other", a, "flux", DAY).await;
        made(&scene, theirs, 1, Some(1_000_000_000_000), "USD").await;

        let ask = async |filter: &Filter, by| scene.store.usage(filter, by).await.unwrap();
        let mine = Filter::of_team("t");
        assert_eq!(
            ask(&mine, By::Day).await,
            [
                used("2026-11-22", "USD", [4, 1, 1, 1], [0, 200]),
                used("2026-11-21", "CNY", [1, 1, 0, 0], [7, 0]),
                used("2026-11-21", "USD", [1, 3, 0, 0], [120, 0]),
            ]
        );
        assert_eq!(
            ask(&mine, By::Key).await,
            [
                used("Alice", "CNY", [1, 1, 0, 0], [7, 0]),
                used("Alice", "USD", [2, 1, 0, 0], [0, 100]),
                used("alice", "USD", [3, 3, 1, 1], [120, 100]),
            ]
        );
        assert_eq!(
            ask(&Filter { until_us: Some(DAY + LENGTH), ..mine.clone() }, By::Model).await,
            [used("flux", "CNY", [1, 1, 0, 0], [7, 0]), used("flux", "USD", [1, 3, 0, 0], [120, 0])]
        );
        assert_eq!(
            ask(&Filter { since_us: Some(DAY + LENGTH), ..mine.clone() }, By::Provider).await,
            [used("a", "USD", [4, 1, 1, 1], [0, 200])]
        );
        let teams = ask(&Filter::default(), By::Team).await;
        let names: Vec<&str> = teams.iter().map(|row| row.group.as_str()).collect();
        assert_eq!(names, ["other", "t", "t"]);
        assert_eq!(teams[0].spent, 1_000_000_000_000, "a million is no overflow");
        assert!(ask(&Filter::of_team("nobody"), By::Day).await.is_empty());

        // What is known afterwards is no more unknown; an image that is forgotten was made all the same.
        scene.store.reconcile(lost, 40).await.unwrap();
        scene.store.forget_objects(images[..1].to_vec(), vec![]).await.unwrap();
        let alice = &ask(&mine, By::Key).await[2];
        assert_eq!((alice.failed, alice.unknown, alice.spent, alice.held), (2, 0, 160, 0));
        scene.store.forget_objects(images, vec![]).await.unwrap();
        assert_eq!(ask(&mine, By::Key).await[2].images, 1);
    })
    .await
}

#[tokio::test]
async fn what_is_under_way_is_counted_by_key() {
    everywhere(async |scene| {
        let of_key = |team: &str, key: &str| Job { key_id: key.into(), ..job(team) };
        let (a, b) = (|| of_key("t", "a"), || of_key("t", "b"));
        scene.store.submit(submit(vec![a(), a(), b(), a(), of_key("other", "a")], 2)).await.unwrap();
        let ended = started(&scene, Job { instance: "b".into(), target: 1, ..a() }).await;
        scene.store.finish(completed(&ended)).await.unwrap();
        let mut rows = scene.store.under_way("t").await.unwrap();
        rows.sort();
        assert_eq!(rows, [("a".into(), 1, 2), ("b".into(), 1, 0)]);
        assert!(scene.store.under_way("nobody").await.unwrap().is_empty());
    })
    .await
}
