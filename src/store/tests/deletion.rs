//! Deleting images: marked, swept, and forgotten in the end.

use super::*;

const KEEP: i64 = 3_600_000_000;

async fn stored(scene: &Scene, object_key: Option<&str>) -> Image {
    let claimed = started(scene, job("t")).await;
    let mut made = image(&claimed, 1_000_000_000_000);
    if let Some(key) = object_key {
        made.object_key = key.into();
    }
    let mut finish = completed(&claimed);
    if let End::Completed { images, .. } = &mut finish.end {
        images.push(made.clone());
    }
    scene.store.finish(finish).await.unwrap();
    made
}

fn now(scene: &Scene) -> i64 {
    use crate::telemetry::Clock as _;
    scene.clock.now_us()
}

#[tokio::test]
async fn a_mark_is_for_its_team_only_and_keeps_its_first_time() {
    everywhere(async |scene| {
        let made = stored(&scene, None).await;
        assert!(scene.store.delete_image(Some("other"), made.id).await.unwrap().is_none());
        assert!(scene.store.delete_image(Some("t"), Uuid::new_v4()).await.unwrap().is_none());
        assert_eq!(scene.store.image("t", made.id).await.unwrap().unwrap().deleted_us, None);

        let at = now(&scene);
        let first = scene.store.delete_image(Some("t"), made.id).await.unwrap().unwrap();
        scene.clock.advance(Duration::from_secs(5));
        let again = scene.store.delete_image(None, made.id).await.unwrap().unwrap();
        assert_eq!((first.anew, again.anew), (true, false));
        assert_eq!((first.image.deleted_us, again.image.deleted_us), (Some(at), Some(at)));

        let rows = scene.store.any_job(made.job_id).await.unwrap().unwrap();
        assert!(rows.images.is_empty() && rows.deleted[0].id == made.id);
        let mine = Filter::of_team("t");
        assert!(scene.store.list_images(&mine, Window::first(9)).await.unwrap().rows.is_empty());
        let all = Filter { deleted: true, ..mine };
        assert_eq!(scene.store.list_images(&all, Window::first(9)).await.unwrap().rows.len(), 1);
    })
    .await
}

#[tokio::test]
async fn a_mark_outlives_its_object_and_then_goes_with_its_job() {
    everywhere(async |scene| {
        let made = stored(&scene, None).await;
        scene.store.delete_image(Some("t"), made.id).await.unwrap();
        let sweep = async || {
            scene.clock.advance(Duration::from_secs(60));
            let images = scene.store.expired(now(&scene)).await.unwrap().images;
            scene.store.objects_gone(&images, KEEP).await.unwrap();
            images.len()
        };
        assert_eq!((sweep().await, sweep().await), (1, 0), "looked after once");
        assert!(scene.store.image("t", made.id).await.unwrap().unwrap().deleted_us.is_some());
        let retain = Retain { jobs_us: 0 };
        assert_eq!(scene.store.forget_rows(retain).await.unwrap(), 0, "the job stays as long as the mark");
        scene.clock.advance(Duration::from_secs(3_600));
        assert_eq!(sweep().await, 1, "and once more, for what was written late");
        assert!(scene.store.image("t", made.id).await.unwrap().is_none());
        assert_eq!(scene.store.forget_rows(retain).await.unwrap(), 1);
    })
    .await
}

#[tokio::test]
async fn an_object_of_two_images_is_kept_for_the_second() {
    everywhere(async |scene| {
        let (one, two) = (stored(&scene, Some("t/same.png")).await, stored(&scene, Some("t/same.png")).await);
        let alone = stored(&scene, None).await;
        let shares = async |image: &Image| scene.store.shares_object(image, now(&scene)).await.unwrap();
        assert!(shares(&one).await && shares(&two).await && !shares(&alone).await);
        scene.store.delete_image(None, one.id).await.unwrap();
        assert!(shares(&one).await, "the other one needs it");
        assert!(!shares(&two).await, "nobody else does");
        scene.store.delete_image(None, two.id).await.unwrap();
        assert!(!shares(&one).await, "now the object may go");
    })
    .await
}
