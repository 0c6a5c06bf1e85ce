//! What the fault harness found: clocks that are set, locks that last, transactions that SQLite ends by itself.

use super::*;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::SeqCst};

/// A machine whose clock is set while it runs, and which can be started again.
#[derive(Default)]
struct Machine {
    start: AtomicBool,
    wall: AtomicI64,
    up: AtomicI64,
}

impl crate::telemetry::Clock for Machine {
    fn now_us(&self) -> i64 {
        self.wall.load(SeqCst)
    }
    fn machine(&self) -> Option<crate::telemetry::Machine> {
        let start = if self.start.load(SeqCst) { "second" } else { "first" };
        Some(crate::telemetry::Machine { start, up_us: self.up.load(SeqCst) })
    }
}

#[tokio::test]
async fn setting_the_clock_moves_no_lease_and_no_deadline_and_a_restart_ends_all_leases() {
    const HOUR: i64 = 3_600_000_000;
    let dir = tempfile::tempdir().unwrap();
    let machine = Arc::new(Machine::default());
    machine.wall.store(1_000_000_000_000, SeqCst);
    let open = async || Store::open(&Settings::default(), dir.path(), machine.clone()).await.unwrap();
    let store = open().await;
    let running = submit(vec![Job { deadline_us: store.steady_us() + HOUR / 6, ..job("t") }], 1);
    store.submit(running).await.unwrap();
    let waiting = Job { deadline_us: store.steady_us() + HOUR / 6, ..job("t") };
    store.submit(submit(vec![waiting], 0)).await.unwrap();
    for jump in [HOUR, -2 * HOUR] {
        machine.wall.fetch_add(jump, SeqCst);
        // A process that starts after the jump counts as those before it.
        for store in [&store, &open().await] {
            assert!(store.rescue("other", LEASE, 10, &[], &here()).await.unwrap().is_empty(), "{jump}");
            assert!(store.sweep().await.unwrap().expired.is_empty(), "{jump}");
        }
    }
    machine.up.fetch_add(LEASE + 1, SeqCst);
    assert_eq!(
        store.rescue("other", LEASE, 10, &[], &here()).await.unwrap().len(),
        1,
        "time itself ends a lease"
    );

    machine.start.store(true, SeqCst);
    machine.up.store(0, SeqCst);
    let store = open().await;
    machine.up.fetch_add(1, SeqCst);
    assert_eq!(
        store.rescue("third", LEASE, 10, &[], &here()).await.unwrap().len(),
        1,
        "its holder died with the machine"
    );
}

#[tokio::test]
async fn a_locked_database_holds_everybody_up_for_one_timeout_and_not_for_one_each() {
    let scene = scene().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(scene.dir.path().join("gateway.db"));
    let connect = <sqlx::SqliteConnection as sqlx::Connection>::connect_with(&options);
    let mut other = connect.await.unwrap();
    sqlx::raw_sql("BEGIN EXCLUSIVE").execute(&mut other).await.unwrap();
    let began = std::time::Instant::now();
    // More than a transaction takes.
    let sweeps = (0..400).map(|_| {
        let store = scene.store.clone();
        tokio::spawn(async move { store.sweep().await.is_err() })
    });
    let sweeps: Vec<_> = sweeps.collect();
    scene.store.submit(submit(vec![job("t")], 0)).await.expect_err("nobody can write");
    for sweep in sweeps {
        assert!(sweep.await.unwrap());
    }
    // The busy timeout is 5 s; a second one would make it ten.
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    scene.store.submit(submit(vec![job("t")], 0)).await.unwrap();
}

#[tokio::test]
async fn after_the_database_rolled_back_by_itself_what_is_accepted_is_on_disk() {
    let scene = scene().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(scene.dir.path().join("gateway.db"));
    let connect = <sqlx::SqliteConnection as sqlx::Connection>::connect_with(&options);
    let mut other = connect.await.unwrap();
    // As a full disk does it, and as a broken rule does it.
    for how in ["ROLLBACK", "ABORT"] {
        let trigger = format!(
            "CREATE TRIGGER t{how} BEFORE INSERT ON jobs WHEN NEW.team = '{how}' BEGIN SELECT RAISE({how}, 'no'); END"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(trigger)).execute(&mut other).await.unwrap();
    }
    for how in ["ROLLBACK", "ABORT"] {
        scene.store.submit(submit(vec![job(how)], 0)).await.expect_err(how);
    }
    let accepted = job("t");
    scene.store.submit(submit(vec![accepted.clone()], 0)).await.unwrap();
    let (found,): (i64,) = sqlx::query_as("SELECT count(*) FROM jobs WHERE id = ?")
        .bind(accepted.id)
        .fetch_one(&mut other)
        .await
        .unwrap();
    assert_eq!(found, 1, "nobody else sees it: it was never committed");
}

#[tokio::test]
async fn a_key_revoked_after_the_clock_was_set_back_is_noticed() {
    let scene = scene().await;
    let key =
        Key { id: "key_1".into(), team: "t".into(), hash: "h".into(), hint: "…".into(), ..Key::default() };
    scene.store.add_key(key, false).await.unwrap();
    let before = scene.store.keys_version().await.unwrap();
    scene.clock.set_back(Duration::from_secs(3_600));
    assert!(scene.store.revoke_key("key_1").await.unwrap());
    assert_ne!(scene.store.keys_version().await.unwrap(), before, "other processes look for this");
}

#[tokio::test]
async fn a_rotated_key_keeps_its_old_bearer_for_a_while_and_all_the_rest() {
    let scene = scene().await;
    let store = &scene.store;
    let key = Key { id: "key_1".into(), team: "t".into(), hash: "one".into(), ..Key::default() };
    store.add_key(key, false).await.unwrap();
    let before = store.keys_version().await.unwrap();
    scene.clock.set_back(Duration::from_secs(3_600));
    assert!(store.rotate_key("key_1", "two".into(), "igw_2".into(), 5_000_000).await.unwrap());
    assert_ne!(store.keys_version().await.unwrap(), before, "other processes look for this");
    let now = crate::telemetry::Clock::now_us(&*scene.clock);
    let row = store.keys().await.unwrap().remove(0);
    assert_eq!((row.hash.as_str(), row.hint.as_str(), row.team.as_str()), ("two", "igw_2", "t"));
    assert_eq!(row.old, Some(("one".into(), now + 5_000_000)));
    assert!(store.rotate_key("key_1", "three".into(), "igw_3".into(), 0).await.unwrap());
    let row = store.keys().await.unwrap().remove(0);
    assert_eq!(row.old, Some(("two".into(), now)), "the one before that has ended");

    let version = store.keys_version().await.unwrap();
    for (at, seen) in [(100, 100), (300, 300), (200, 300)] {
        store.note_keys_used(vec![("key_1".into(), at), ("gone".into(), at)]).await.unwrap();
        assert_eq!(
            store.keys().await.unwrap()[0].used_us,
            Some(seen),
            "another process may have seen it later"
        );
    }
    assert_eq!(store.keys_version().await.unwrap(), version, "nobody reads the keys anew for that");
    assert!(store.revoke_key("key_1").await.unwrap());
    assert!(
        !store.rotate_key("key_1", "four".into(), "igw_4".into(), 0).await.unwrap(),
        "it is gone for good"
    );
    assert!(!store.rotate_key("key_2", "four".into(), "igw_4".into(), 0).await.unwrap());
}

#[tokio::test]
async fn an_orphan_waits_for_a_process_that_has_its_provider_until_its_deadline() {
    everywhere(async |scene| {
        let one = started(&scene, job("t")).await;
        scene.clock.advance(Duration::from_secs(60));
        let elsewhere = BTreeSet::from(["c".to_owned()]);
        assert!(scene.store.rescue("other", LEASE, 10, &[], &elsewhere).await.unwrap().is_empty());
        scene.clock.advance(Duration::from_secs(900));
        let taken = scene.store.rescue("other", LEASE, 10, &[], &elsewhere).await.unwrap();
        assert_eq!(taken.iter().map(|taken| taken.job.id).collect::<Vec<_>>(), [one.job.id]);
    })
    .await
}
