//! Listings: narrowed, paged, and read along an index.

use super::*;

const BORN: i64 = 1_000_000_000_000;

async fn with_image(scene: &Scene, n: i64, model: &str, prompt: &str) -> Uuid {
    let one = Job { created_us: BORN + n, model: model.into(), prompt: Some(prompt.into()), ..job("t") };
    let claimed = started(scene, one).await;
    let made = image(&claimed, BORN + n);
    let id = made.id;
    let mut finish = completed(&claimed);
    if let End::Completed { images, .. } = &mut finish.end {
        images.push(made);
    }
    scene.store.finish(finish).await.unwrap();
    id
}

async fn found(scene: &Scene, filter: &Filter) -> Vec<Uuid> {
    let all = scene.store.list_images(filter, Window::first(100)).await.unwrap();
    assert_eq!(all.total as usize, all.rows.len());
    all.rows.iter().map(|(image, _)| image.id).collect()
}

#[tokio::test]
async fn listings_page_in_request_order_and_know_their_end() {
    everywhere(async |scene| {
        let jobs: Vec<Job> = (0..25).map(|n| Job { created_us: BORN + n, ..job("t") }).collect();
        let ids: Vec<Uuid> = jobs.iter().rev().map(|j| j.id).collect();
        scene.store.submit(submit(jobs, 0)).await.unwrap();
        let mine = Filter::of_team("t");
        let first = scene.store.list_jobs(&mine, Window::first(10)).await.unwrap();
        let last = scene.store.list_jobs(&mine, Window { offset: 20, ..Window::first(10) }).await.unwrap();
        assert_eq!((first.total, last.total, last.rows.len()), (25, 25, 5));
        assert!(first.next.is_some() && last.next.is_none());
        let seen: Vec<Uuid> = first.rows.iter().map(|r| r.job.id).collect();
        assert_eq!(seen, ids[..10], "newest first");
        let others = scene.store.list_jobs(&Filter::of_team("other"), Window::first(10)).await.unwrap();
        assert!(others.rows.is_empty() && others.total == 0);
        assert_eq!(scene.store.list_jobs(&Filter::default(), Window::first(1)).await.unwrap().total, 25);
        let queue = scene.store.queue_position(&first.rows[0].job).await.unwrap();
        assert_eq!(queue, 24);
    })
    .await
}

#[tokio::test]
async fn a_page_goes_on_where_the_last_one_ended_whatever_comes_meanwhile() {
    everywhere(async |scene| {
        // Of one instant: their ids keep them apart.
        let jobs: Vec<Job> = (0..7).map(|n| Job { created_us: BORN + n / 4, ..job("t") }).collect();
        let mut ids: Vec<(i64, Uuid)> = jobs.iter().map(|j| (j.created_us, j.id)).collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        scene.store.submit(submit(jobs, 0)).await.unwrap();
        let (mut seen, mut window) = (Vec::new(), Window::first(3));
        loop {
            let page = scene.store.list_jobs(&Filter::of_team("t"), window).await.unwrap();
            seen.extend(page.rows.iter().map(|rows| (rows.job.created_us, rows.job.id)));
            let newer = Job { created_us: BORN + 1_000, ..job("t") };
            scene.store.submit(submit(vec![newer], 0)).await.unwrap();
            match page.next {
                Some(next) => window.after = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, ids, "each once, in order");
    })
    .await
}

#[tokio::test]
async fn images_are_found_by_text_model_and_time() {
    everywhere(async |scene| {
        let fox = with_image(&scene, 1, "flux", "A red FOX, 100% wild").await;
        let wolf = with_image(&scene, 2, "flux", "a wolf").await;
        let card = with_image(&scene, 3, "card", "a fox_trot").await;
        let mine = || Filter::of_team("t");
        let text = |text: &str| Filter { text: Some(text.into()), ..mine() };
        let table = [
            (mine(), vec![card, wolf, fox]),
            (text("fox"), vec![card, fox]),
            (text("100% W"), vec![fox]),
            (text("_"), vec![card]),
            (text("!"), vec![]),
            (text("a%wild"), vec![]),
            (Filter { model: Some("flux".into()), ..mine() }, vec![wolf, fox]),
            (Filter { model: Some("flux".into()), ..text("fox") }, vec![fox]),
            (Filter { since_us: Some(BORN + 2), ..mine() }, vec![card, wolf]),
            (Filter { until_us: Some(BORN + 2), ..mine() }, vec![fox]),
            (Filter { since_us: Some(BORN + 2), until_us: Some(BORN + 3), ..text("wolf") }, vec![wolf]),
            (Filter { text: Some("fox".into()), ..Filter::of_team("other") }, vec![]),
        ];
        for (filter, ids) in table {
            assert_eq!(found(&scene, &filter).await, ids, "{filter:?}");
            let jobs = scene.store.list_jobs(&filter, Window::first(9)).await.unwrap();
            assert_eq!(jobs.rows.len(), ids.len(), "jobs are narrowed alike: {filter:?}");
        }
    })
    .await
}

#[tokio::test]
async fn a_teams_listing_walks_its_index_and_sorts_no_history() {
    let scene = scene().await;
    let after = Some(Place { created_us: BORN, id: Uuid::nil() });
    let narrow = Filter {
        text: Some("fox".into()),
        model: Some("flux".into()),
        since_us: Some(1),
        until_us: Some(BORN),
        ..Filter::of_team("t")
    };
    for (filter, window) in [
        (Filter::of_team("t"), Window::first(10)),
        (Filter::of_team("t"), Window { after, ..Window::first(10) }),
        (narrow, Window { after, ..Window::first(10) }),
    ] {
        let [jobs, images] = scene.store.plans(&filter, window).await;
        assert!(jobs.contains("USING INDEX jobs_team (team=?"), "{jobs}");
        assert!(images.contains("USING INDEX images_team (team=?"), "{images}");
        for plan in [jobs, images] {
            // Rows of one microsecond are put in order of their ids; nothing else is sorted or scanned.
            let sorts = plan.lines().filter(|line| line.contains("TEMP B-TREE"));
            assert!(
                sorts.clone().all(|line| line.contains("LAST TERM") || line.contains("RIGHT PART")),
                "{plan}"
            );
            assert!(!plan.contains("SCAN"), "{plan}");
            assert!(window.after.is_none() || plan.contains("created<?"), "{plan}");
        }
    }
}
