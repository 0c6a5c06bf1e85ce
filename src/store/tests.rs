//! The store against a real database file: what is accepted, who runs it, and that only the lease's holder writes.

#[path = "../../tests/it/support/database.rs"]
mod database;
mod deletion;
mod listing;
mod nodes;
mod pauses;
mod raises;
mod reading;
mod refused;
mod trouble;
mod twice;
mod usage;

use super::*;
use crate::telemetry::ManualClock;
use database::{Kind, TestDatabase};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use uuid::Uuid;

const LEASE: i64 = 15_000_000;

struct Scene {
    store: Store,
    clock: Arc<ManualClock>,
    dir: tempfile::TempDir,
    // Behind the store: it goes last.
    database: TestDatabase,
}

/// A scene on SQLite.
async fn scene() -> Scene {
    scene_on(TestDatabase::new(Kind::Sqlite).unwrap()).await
}

async fn scene_on(database: TestDatabase) -> Scene {
    rustls::crypto::ring::default_provider().install_default().ok();
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(1_000_000_000_000);
    let store = Store::open(&settings(&database), dir.path(), clock.clone()).await.unwrap();
    Scene { store, clock, dir, database }
}

fn settings(database: &TestDatabase) -> Settings {
    Settings { url: database.url.clone(), max_connections: 4, ..Settings::default() }
}

impl Scene {
    /// One more node over the same database.
    async fn node(&self) -> Store {
        Store::open(&settings(&self.database), self.dir.path(), self.clock.clone()).await.unwrap()
    }
}

/// Plays a story on every database that can be had.
async fn everywhere(story: impl AsyncFn(Scene)) {
    for database in TestDatabase::each() {
        println!("on {:?}", database.kind);
        story(scene_on(database).await).await;
    }
}

fn job(team: &str) -> Job {
    let (created_us, deadline_us) = (1_000_000_000_000, 1_000_600_000_000);
    Job { created_us, updated_us: created_us, deadline_us, ..Job::sample(team, &["a", "b"]) }
}

fn submit(jobs: Vec<Job>, slots: usize) -> Submit {
    let offer = Offer { owner: "me".into(), lease_us: LEASE, slots, caps: Caps::default() };
    Submit {
        jobs,
        idempotency: None,
        reservations: vec![],
        queue: QueueCaps { team: Some(1000), overall: 10_000 },
        offer: (slots > 0).then_some(offer),
    }
}

fn shares(caps: &[(&str, Option<u32>)]) -> Shares {
    Shares { instances: caps.iter().map(|(i, c)| ((*i).to_owned(), *c)).collect(), ..Shares::default() }
}

/// The instances of sample jobs.
fn here() -> BTreeSet<String> {
    ["a", "b"].map(String::from).into()
}

async fn started(scene: &Scene, job: Job) -> Claimed {
    match scene.store.submit(submit(vec![job], 1)).await.unwrap() {
        Submitted::Accepted { mut started, .. } => started.pop().expect("a free slot starts it at once"),
        other => panic!("{other:?}"),
    }
}

fn completed(claimed: &Claimed) -> Finish {
    Finish {
        job_id: claimed.job.id,
        epoch: claimed.job.lease_epoch,
        end: End::Completed {
            images: vec![],
            cost: Some(5),
            currency: Some("USD".into()),
            adjustments: serde_json::json!([]),
        },
        attempt: Some(ended(claimed, "completed", "certain")),
    }
}

fn ended(claimed: &Claimed, outcome: &str, spend: &'static str) -> AttemptEnd {
    AttemptEnd {
        id: claimed.attempt.id,
        outcome: outcome.into(),
        vendor_status: None,
        vendor_code: None,
        vendor_request_id: None,
        spend,
        unheard: false,
    }
}

fn image(claimed: &Claimed, created_us: i64) -> Image {
    let id = Uuid::new_v4();
    Image {
        id,
        job_id: claimed.job.id,
        position: 0,
        team: claimed.job.team.clone(),
        object_key: format!("{}/{id}.png", claimed.job.team),
        mime: "image/png".into(),
        width: 1,
        height: 1,
        bytes: 1,
        sha256: "00".into(),
        revised_prompt: None,
        seed: None,
        created_us,
        expires_us: None,
        deleted_us: None,
    }
}

#[tokio::test]
async fn a_job_starts_at_once_where_a_slot_is_free_and_waits_where_none_is() {
    everywhere(async |scene| {
        let outcome = scene.store.submit(submit((0..5).map(|_| job("t")).collect(), 3)).await.unwrap();
        let Submitted::Accepted { jobs, started, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!((jobs.len(), started.len()), (5, 3));
        let rest = scene.store.claim("me", LEASE, 10, &shares(&[("a", None)])).await.unwrap();
        assert_eq!(rest.len(), 2, "the others are claimed when there is room");
        assert_eq!(rest[0].job.lease_epoch, 1);
    })
    .await
}

#[tokio::test]
async fn a_newcomer_does_not_overtake_those_who_wait() {
    everywhere(async |scene| {
        scene.store.submit(submit(vec![job("t")], 0)).await.unwrap();
        let outcome = scene.store.submit(submit(vec![job("t")], 1)).await.unwrap();
        assert!(matches!(outcome, Submitted::Accepted { started, .. } if started.is_empty()));
    })
    .await
}

#[tokio::test]
async fn the_cap_of_an_instance_holds_over_submit_and_claim() {
    everywhere(async |scene| {
        let mut one = submit((0..3).map(|_| job("t")).collect(), 3);
        one.offer.as_mut().unwrap().caps.instance = Some(1);
        let Submitted::Accepted { started, .. } = scene.store.submit(one).await.unwrap() else { panic!() };
        assert_eq!(started.len(), 1);
        let caps = shares(&[("a", Some(1))]);
        assert!(scene.store.claim("me", LEASE, 10, &caps).await.unwrap().is_empty(), "the slot is taken");
        scene.store.finish(completed(&started[0])).await.unwrap();
        assert_eq!(
            scene.store.claim("me", LEASE, 10, &caps).await.unwrap().len(),
            1,
            "and given on at the end"
        );
    })
    .await
}

#[tokio::test]
async fn a_team_with_one_job_does_not_wait_behind_anothers_hundred() {
    everywhere(async |scene| {
        scene.store.submit(submit((0..100).map(|_| job("big")).collect(), 0)).await.unwrap();
        let caps = shares(&[("a", None)]);
        scene.store.claim("me", LEASE, 10, &caps).await.unwrap();
        scene.store.submit(submit(vec![job("small")], 0)).await.unwrap();
        let next = scene.store.claim("me", LEASE, 2, &caps).await.unwrap();
        assert!(next.iter().any(|c| c.job.team == "small"), "at most one job of the big team goes first");
    })
    .await
}

#[tokio::test]
async fn the_same_key_gets_the_same_jobs_and_other_arguments_are_refused() {
    everywhere(async |scene| {
        let with = |hash: &str| {
            let mut one = submit(vec![job("t")], 0);
            let expires_us = 2_000_000_000_000;
            one.idempotency =
                Some(IdempotencyKey { scope: "t/k".into(), key: "x".into(), hash: hash.into(), expires_us });
            one
        };
        let Submitted::Accepted { jobs, .. } = scene.store.submit(with("1")).await.unwrap() else { panic!() };
        let again = scene.store.submit(with("1")).await.unwrap();
        assert!(matches!(&again, Submitted::Repeated(ids) if ids == &[jobs[0].id]), "{again:?}");
        assert!(matches!(scene.store.submit(with("2")).await.unwrap(), Submitted::KeyReused));
        scene.clock.advance(Duration::from_secs(2_000_000));
        assert!(
            matches!(scene.store.submit(with("2")).await.unwrap(), Submitted::Accepted { .. }),
            "an expired key is free"
        );
    })
    .await
}

#[tokio::test]
async fn many_callers_at_once_with_one_key_make_one_job() {
    everywhere(async |scene| {
        let calls = (0..50).map(|_| {
            let store = scene.store.clone();
            tokio::spawn(async move {
                let mut one = submit(vec![job("t")], 0);
                let expires_us = 2_000_000_000_000;
                one.idempotency = Some(IdempotencyKey {
                    scope: "t/k".into(),
                    key: "x".into(),
                    hash: "h".into(),
                    expires_us,
                });
                store.submit(one).await.unwrap()
            })
        });
        let mut accepted = 0;
        for call in calls.collect::<Vec<_>>() {
            accepted += i32::from(matches!(call.await.unwrap(), Submitted::Accepted { .. }));
        }
        assert_eq!(accepted, 1);
    })
    .await
}

#[tokio::test]
async fn the_queue_takes_exactly_its_cap() {
    everywhere(async |scene| {
        let with_cap = |n: usize| {
            let mut one = submit((0..n).map(|_| job("t")).collect(), 0);
            one.queue.team = Some(5);
            one
        };
        assert!(matches!(scene.store.submit(with_cap(4)).await.unwrap(), Submitted::Accepted { .. }));
        let full = scene.store.submit(with_cap(2)).await.unwrap();
        assert!(matches!(full, Submitted::QueueFull { of_team: true, cap: 5 }), "{full:?}");
        assert!(matches!(scene.store.submit(with_cap(1)).await.unwrap(), Submitted::Accepted { .. }));
        assert!(matches!(scene.store.submit(with_cap(1)).await.unwrap(), Submitted::QueueFull { .. }));
        scene.store.claim("me", LEASE, 1, &shares(&[("a", None)])).await.unwrap();
        assert!(
            matches!(scene.store.submit(with_cap(1)).await.unwrap(), Submitted::Accepted { .. }),
            "a started job makes room"
        );
    })
    .await
}

#[tokio::test]
async fn whether_anybody_waits_is_seen_without_a_claim() {
    everywhere(async |scene| {
        let waits = async || scene.store.any_queued().await.unwrap();
        started(&scene, job("t")).await;
        assert!(!waits().await, "a job that started at once waits in no queue");
        scene.store.submit(submit(vec![job("t")], 0)).await.unwrap();
        assert!(waits().await);
        assert_eq!(scene.store.claim("me", LEASE, 5, &shares(&[("a", None)])).await.unwrap().len(), 1);
        assert!(!waits().await);
    })
    .await
}

#[tokio::test]
async fn a_quota_is_reserved_settled_and_released_exactly() {
    everywhere(async |scene| {
        let line =
            || Reservation { window: "t|images|day".into(), amount: 1, cap: 3, ends_us: 9_000_000_000_000 };
        let with = |n: usize, slots: usize| {
            let mut one = submit((0..n).map(|_| job("t")).collect(), slots);
            one.reservations = vec![line()];
            one
        };
        let Submitted::Accepted { started, .. } = scene.store.submit(with(2, 2)).await.unwrap() else {
            panic!()
        };
        let over = scene.store.submit(with(2, 0)).await.unwrap();
        assert!(matches!(over, Submitted::QuotaExceeded { reserved: 2, used: 0, .. }), "{over:?}");
        let failed = End::Failed { code: "provider_error", error: "x".into(), cost: None, hold: false };
        let finish = Finish { end: failed, ..completed(&started[0]) };
        scene.store.finish(finish).await.unwrap();
        assert!(
            matches!(scene.store.submit(with(2, 0)).await.unwrap(), Submitted::Accepted { .. }),
            "a failure gives it back"
        );
        let again = scene.store.submit(with(1, 0)).await.unwrap();
        assert!(matches!(again, Submitted::QuotaExceeded { reserved: 3, .. }), "{again:?}");
    })
    .await
}

#[tokio::test]
async fn a_stale_worker_changes_nothing() {
    everywhere(async |scene| {
        let first = started(&scene, job("t")).await;
        scene.clock.advance(Duration::from_secs(20));
        let taken = scene.store.rescue("other", LEASE, 10, &[], &here()).await.unwrap();
        assert_eq!(taken.len(), 1);
        assert!(taken[0].rescued && taken[0].job.lease_epoch == 2 && taken[0].attempt.id == first.attempt.id);
        assert!(matches!(scene.store.finish(completed(&first)).await.unwrap(), Finished::Stale));
        assert!(
            scene.store.heartbeat("me", LEASE, vec![first.job.id]).await.unwrap().is_empty(),
            "the old holder learns that it lost the job"
        );
        assert!(matches!(scene.store.finish(completed(&taken[0])).await.unwrap(), Finished::Applied(_)));
        assert!(
            matches!(scene.store.finish(completed(&taken[0])).await.unwrap(), Finished::Stale),
            "an ended job stays as it is"
        );
    })
    .await
}

#[tokio::test]
async fn a_live_lease_is_not_rescued_and_a_heartbeat_keeps_it() {
    everywhere(async |scene| {
        let one = started(&scene, job("t")).await;
        for _ in 0..5 {
            scene.clock.advance(Duration::from_secs(10));
            assert!(
                scene.store.heartbeat("me", LEASE, vec![one.job.id]).await.unwrap().contains_key(&one.job.id)
            );
            assert!(scene.store.rescue("other", LEASE, 10, &[], &here()).await.unwrap().is_empty());
        }
    })
    .await
}

#[tokio::test]
async fn a_late_paid_image_heals_an_unknown_outcome_and_nothing_else_does() {
    everywhere(async |scene| {
        let one = started(&scene, job("t")).await;
        let unknown = End::Failed { code: "outcome_unknown", error: "lost".into(), cost: None, hold: true };
        scene.store.finish(Finish { end: unknown, ..completed(&one) }).await.unwrap();
        let failed = End::Failed { code: "provider_error", error: "x".into(), cost: None, hold: false };
        assert!(matches!(
            scene.store.finish(Finish { end: failed, ..completed(&one) }).await.unwrap(),
            Finished::Stale
        ));
        let Finished::Applied(job) = scene.store.finish(completed(&one)).await.unwrap() else {
            panic!("adopted")
        };
        assert_eq!((job.state, job.error), (State::Completed, None));
    })
    .await
}

#[tokio::test]
async fn a_ticket_that_comes_while_its_job_is_given_up_is_resumed() {
    everywhere(async |scene| {
        let one = started(&scene, job("t")).await;
        scene.clock.advance(Duration::from_micros(LEASE as u64 + 1));
        let taken = scene.store.rescue("other", LEASE, 10, &[], &here()).await.unwrap().pop().unwrap();
        assert_eq!(taken.attempt.ticket, None);
        // The worker that had stopped comes back between the other's look and its end.
        let ticket = serde_json::json!("v-1");
        let kept = scene.store.ticket(one.job.id, one.job.lease_epoch, one.attempt.id, ticket.clone()).await;
        assert_eq!(kept.unwrap(), TicketKept::Lost);
        let end = End::Failed { code: "outcome_unknown", error: "lost".into(), cost: None, hold: true };
        let unheard = AttemptEnd { unheard: true, ..ended(&taken, "outcome_unknown", "possible") };
        let unknown = Finish { end, attempt: Some(unheard), ..completed(&taken) };
        assert!(matches!(scene.store.finish(unknown).await.unwrap(), Finished::Stale));
        let again = scene
            .store
            .rescue("other", LEASE, 10, &[], &here())
            .await
            .unwrap()
            .pop()
            .expect("it is resumed at once");
        assert_eq!((again.attempt.id, again.attempt.ticket.clone()), (one.attempt.id, Some(ticket)));
        assert!(matches!(scene.store.finish(completed(&again)).await.unwrap(), Finished::Applied(_)));
    })
    .await
}

#[tokio::test]
async fn a_failed_try_moves_to_the_next_target_and_numbers_its_attempts() {
    everywhere(async |scene| {
        let one = started(&scene, job("t")).await;
        let next = NextTry {
            job_id: one.job.id,
            epoch: 1,
            ended: Some(ended(&one, "unavailable", "none")),
            target: 1,
            run_at_us: 0,
            start: true,
        };
        let caps = shares(&[("a", None), ("b", None)]);
        let tried = scene.store.next_try("me", LEASE, next.clone(), &caps).await.unwrap();
        let NextTried::Started(second) = tried else { panic!("there is room at b: {tried:?}") };
        let again = scene.store.next_try("me", LEASE, next, &caps).await.unwrap();
        assert!(matches!(again, NextTried::Stale), "the epoch has moved on: {again:?}");
        assert_eq!(
            (second.attempt.number, second.attempt.instance.as_str(), second.job.lease_epoch),
            (2, "b", 2)
        );
        let rows = scene.store.jobs_by_id("t", &[one.job.id]).await.unwrap();
        assert_eq!(rows[0].attempts.len(), 2, "every try stays on record");
        assert_eq!(rows[0].attempts[0].outcome.as_deref(), Some("unavailable"));
    })
    .await
}

#[tokio::test]
async fn a_delayed_job_comes_back_when_its_time_has_come_and_a_late_one_ends() {
    everywhere(async |scene| {
        let one = started(&scene, job("t")).await;
        let now = 1_000_000_000_000;
        let next = NextTry {
            job_id: one.job.id,
            epoch: 1,
            ended: None,
            target: 0,
            run_at_us: now + 5_000_000,
            start: true,
        };
        let caps = shares(&[("a", None)]);
        let tried = scene.store.next_try("me", LEASE, next, &caps).await.unwrap();
        assert!(matches!(tried, NextTried::Waits), "{tried:?}");
        assert_eq!(scene.store.sweep().await.unwrap().woken, 0);
        scene.clock.advance(Duration::from_secs(6));
        assert_eq!(scene.store.sweep().await.unwrap().woken, 1);
        let again = scene.store.claim("me", LEASE, 1, &caps).await.unwrap();
        assert_eq!(again[0].attempt.number, 1, "a snooze spends no attempt");
        scene.store.submit(submit(vec![job("t")], 0)).await.unwrap();
        scene.clock.advance(Duration::from_secs(700));
        let swept = scene.store.sweep().await.unwrap();
        assert_eq!(swept.expired.len(), 1, "the running one is its worker's business");
        let rows = scene.store.jobs_by_id("t", &swept.expired).await.unwrap();
        assert_eq!(rows[0].job.error_code.as_deref(), Some("timeout"));
    })
    .await
}

#[tokio::test]
async fn a_waiting_job_is_cancelled_and_a_running_one_is_not() {
    everywhere(async |scene| {
        let running = started(&scene, job("t")).await;
        let waiting = job("t");
        let id = waiting.id;
        scene.store.submit(submit(vec![waiting], 0)).await.unwrap();
        assert!(scene.store.cancel("other", id).await.unwrap().is_none(), "another team's job is not there");
        let (job, done) = scene.store.cancel("t", id).await.unwrap().unwrap();
        assert!(done && job.state == State::Cancelled);
        let (job, done) = scene.store.cancel("t", running.job.id).await.unwrap().unwrap();
        assert!(!done && job.state == State::Running && job.cancel_requested);
        assert!(scene.store.claim("me", LEASE, 5, &shares(&[("a", None)])).await.unwrap().is_empty());
    })
    .await
}

#[tokio::test]
async fn the_database_allows_one_open_attempt_of_a_job() {
    use super::{entity::attempt, rows::attempt_row};
    use sea_orm::EntityTrait;
    everywhere(async |scene| {
        let one = started(&scene, job("t")).await;
        let twin = Attempt::open(one.job.id, 2, 1, one.job.target().unwrap(), 0);
        let result = scene
            .store
            .write(move |tx, _| {
                Box::pin(async move {
                    attempt::Entity::insert(attempt_row(&twin)).exec_without_returning(tx).await.map(|_| ())
                })
            })
            .await;
        assert!(result.is_err(), "the database, not the worker, decides who may submit");
    })
    .await
}

#[tokio::test]
async fn the_schema_and_the_entities_agree() {
    use super::entity::*;
    use sea_orm::EntityTrait;
    everywhere(async |scene| {
        let db = &scene.store.read;
        // A column that one side lacks or types otherwise fails the statement.
        job::Entity::find().all(db).await.unwrap();
        attempt::Entity::find().all(db).await.unwrap();
        image::Entity::find().all(db).await.unwrap();
        upload::Entity::find().all(db).await.unwrap();
        idempotency::Entity::find().all(db).await.unwrap();
        quota_window::Entity::find().all(db).await.unwrap();
        ledger::Entity::find().all(db).await.unwrap();
        lane::Entity::find().all(db).await.unwrap();
        lane_team::Entity::find().all(db).await.unwrap();
        key::Entity::find().all(db).await.unwrap();
        breaker::Entity::find().all(db).await.unwrap();
        gate::Entity::find().all(db).await.unwrap();
        pause::Entity::find().all(db).await.unwrap();
        raise::Entity::find().all(db).await.unwrap();
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn many_processes_open_a_fresh_database_at_once() {
    for database in TestDatabase::each() {
        rustls::crypto::ring::default_provider().install_default().ok();
        let dir = tempfile::tempdir().unwrap();
        let opening = (0..6).map(|_| {
            let (path, settings) = (dir.path().to_owned(), settings(&database));
            tokio::spawn(async move { Store::open(&settings, &path, ManualClock::at(1)).await.map(|_| ()) })
        });
        for one in opening.collect::<Vec<_>>() {
            one.await.unwrap().expect("whoever comes second finds the tables made");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_one_database() {
    everywhere(async |scene| {
        let (a, b) = (scene.store.clone(), scene.node().await);
        let calls = (0..40).map(|n| {
            let store = if n % 2 == 0 { a.clone() } else { b.clone() };
            tokio::spawn(async move { store.submit(submit(vec![job("t")], 0)).await })
        });
        for call in calls.collect::<Vec<_>>() {
            assert!(matches!(call.await.unwrap().unwrap(), Submitted::Accepted { .. }));
        }
        let caps = shares(&[("a", None)]);
        let (x, y) = tokio::join!(a.claim("a", LEASE, 30, &caps), b.claim("b", LEASE, 30, &caps));
        let (x, y) = (x.unwrap(), y.unwrap());
        assert_eq!(x.len() + y.len(), 40);
        assert!(x.iter().all(|c| y.iter().all(|d| d.job.id != c.job.id)), "no job goes to both");
    })
    .await
}

#[tokio::test]
async fn only_the_teams_own_jobs_are_open_and_only_until_they_end() {
    everywhere(async |scene| {
        let Scene { store, .. } = &scene;
        let mine = job("team");
        let id = mine.id;
        store.submit(submit(vec![mine], 0)).await.unwrap();
        assert!(store.any_open("team", &[Uuid::new_v4(), id]).await.unwrap());
        assert!(!store.any_open("other", &[id]).await.unwrap(), "nobody waits for a job that is not theirs");
        store.cancel("team", id).await.unwrap();
        assert!(!store.any_open("team", &[id]).await.unwrap());
    })
    .await
}
