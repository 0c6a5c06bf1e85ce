//! Several nodes at once over one database: what they count together is exact, whoever comes first.

use super::*;
use std::collections::{HashMap, HashSet};

const NODES: usize = 3;

/// Nodes over one server. SQLite's processes share one writer, and are in `two_processes_share_one_database`.
async fn on_servers(story: impl AsyncFn(&Scene, Vec<Store>)) {
    for database in [Kind::Postgres, Kind::Mysql].into_iter().filter_map(TestDatabase::new) {
        println!("on {:?}", database.kind);
        let scene = scene_on(database).await;
        let mut nodes = vec![scene.store.clone()];
        for _ in 1..NODES {
            nodes.push(scene.node().await);
        }
        story(&scene, nodes).await;
    }
}

/// Every call at once, the nodes in turn.
async fn all<T: Send + 'static, F>(nodes: &[Store], n: usize, call: impl Fn(Store, usize) -> F) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
{
    let calls = (0..n).map(|i| tokio::spawn(call(nodes[i % nodes.len()].clone(), i)));
    let mut answers = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        answers.push(call.await.unwrap());
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_holds_over_all_nodes_to_the_last_image() {
    on_servers(async |_, nodes| {
        let answers = all(&nodes, 120, |store, i| async move {
            let mut one = submit(vec![job(if i % 2 == 0 { "t" } else { "u" })], 0);
            // In an order of its own each time: locks are taken in theirs.
            let line = |window: &str, cap| Reservation {
                window: window.into(),
                amount: 1,
                cap,
                ends_us: 9_000_000_000_000,
            };
            one.reservations =
                vec![line("all|images|day", 50), line("B|images|day", 1_000), line("a|images|day", 1_000)];
            if i % 3 == 0 {
                one.reservations.reverse();
            }
            store.submit(one).await.unwrap()
        })
        .await;
        let accepted = answers.iter().filter(|a| matches!(a, Submitted::Accepted { .. })).count();
        assert_eq!(accepted, 50, "a window that nobody had touched is no hole either");
        let windows = nodes[0].windows(&["all|images|day", "B|images|day", "a|images|day"]).await.unwrap();
        assert!(windows.values().all(|window| *window == (0, 50)), "{windows:?}");
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_at_many_nodes_makes_one_job_also_in_place_of_an_expired_one() {
    on_servers(async |scene, nodes| {
        // Whoever waits passes a gate; whoever starts at once meets nobody but the key itself.
        for round in 0..4 {
            let expires_us = crate::telemetry::Clock::now_us(&*scene.clock) + 1_000_000;
            let answers = all(&nodes, 60, |store, _| async move {
                let mut one = submit(vec![job("t")], usize::from(round < 2));
                let key =
                    IdempotencyKey { scope: "t/k".into(), key: "x".into(), hash: "1".into(), expires_us };
                one.idempotency = Some(key);
                store.submit(one).await.unwrap()
            })
            .await;
            let made: HashSet<Uuid> = answers
                .iter()
                .map(|answer| match answer {
                    Submitted::Accepted { jobs, .. } => jobs[0].id,
                    Submitted::Repeated(ids) => ids[0],
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(made.len(), 1, "round {round}");
            scene.clock.advance(Duration::from_secs(2));
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_differ_by_every_byte() {
    everywhere(async |scene| {
        for key in ["a", "A", "a ", "á"] {
            let mut one = submit(vec![job("t")], 0);
            let expires_us = 2_000_000_000_000;
            one.idempotency =
                Some(IdempotencyKey { scope: "t/k".into(), key: key.into(), hash: key.into(), expires_us });
            let made = scene.store.submit(one).await.unwrap();
            assert!(matches!(made, Submitted::Accepted { .. }), "{key:?} is a key of its own: {made:?}");
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queues_cap_holds_over_all_nodes() {
    on_servers(async |_, nodes| {
        let fill = async |cap: u64| {
            let answers = all(&nodes, 60, |store, _| async move {
                let mut one = submit(vec![job("t")], 0);
                one.queue.team = Some(cap);
                store.submit(one).await.unwrap()
            });
            answers.await.iter().filter(|a| matches!(a, Submitted::Accepted { .. })).count()
        };
        assert_eq!(fill(20).await, 20);
        assert_eq!(nodes[1].claim("me", LEASE, 7, &shares(&[("a", None)])).await.unwrap().len(), 7);
        assert_eq!(fill(20).await, 7, "what started made room");
        // A team that gets its cap later is counted then.
        let mut more = submit((0..9).map(|_| job("u")).collect(), 0);
        more.queue.team = None;
        nodes[2].submit(more).await.unwrap();
        let mut one = submit(vec![job("u")], 0);
        one.queue.team = Some(9);
        let full = nodes[0].submit(one).await.unwrap();
        assert!(matches!(full, Submitted::QueueFull { of_team: true, cap: 9 }), "{full:?}");
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn caps_of_instances_and_teams_hold_over_submits_and_claims_of_all_nodes() {
    on_servers(async |_, nodes| {
        let caps = Shares {
            teams: HashMap::from([("t".to_owned(), TeamShare { cap: Some(4), weight: 1 })]),
            ..shares(&[("a", Some(6)), ("b", None)])
        };
        let (caps, offered) = (&caps, Caps { instance: Some(6), team: Some(4), key: None });
        // Half of them start at once where they may, the others are claimed, all in one another's way.
        let started = all(&nodes, 60, |store, i| {
            let caps = caps.clone();
            async move {
                if i % 4 == 3 {
                    return store.claim("me", LEASE, 3, &caps).await.unwrap();
                }
                let mut one = submit(vec![job(if i % 2 == 0 { "t" } else { "u" })], 1);
                let of_team = if i % 2 == 0 { offered } else { Caps { team: None, ..offered } };
                one.offer.as_mut().unwrap().caps = of_team;
                match store.submit(one).await.unwrap() {
                    Submitted::Accepted { started, .. } => started,
                    other => panic!("{other:?}"),
                }
            }
        })
        .await;
        let mut running: Vec<Claimed> = started.into_iter().flatten().collect();
        running.extend(nodes[0].claim("me", LEASE, 60, caps).await.unwrap());
        let of = |team: &str| running.iter().filter(|one| one.job.team == team).count();
        assert_eq!(running.len(), 6, "the instance is full, and not more than full");
        assert!(of("t") <= 4, "{} of the team's 4", of("t"));
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_job_is_started_once_and_fairly_while_nodes_claim_side_by_side() {
    on_servers(async |_, nodes| {
        let jobs = ["t", "u", "v"].iter().flat_map(|team| (0..40).map(|_| job(team)));
        for job in jobs.collect::<Vec<_>>().chunks(30) {
            nodes[0].submit(submit(job.to_vec(), 0)).await.unwrap();
        }
        let caps = shares(&[("a", None), ("b", None)]);
        let claimed: Vec<Claimed> = all(&nodes, 30, |store, i| {
            let caps = caps.clone();
            async move { store.claim(&format!("node {i}"), LEASE, 4, &caps).await.unwrap() }
        })
        .await
        .into_iter()
        .flatten()
        .collect();
        let ids: HashSet<Uuid> = claimed.iter().map(|one| one.job.id).collect();
        assert_eq!(ids.len(), claimed.len(), "none twice");
        assert_eq!(claimed.len(), 120, "30 claims of 4, and none went away empty while jobs waited");
        let finishes = all(&nodes, claimed.len(), |store, i| {
            let finish = completed(&claimed[i]);
            async move { matches!(store.finish(finish).await.unwrap(), Finished::Applied(_)) }
        });
        assert!(finishes.await.into_iter().all(|applied| applied));
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn orphans_are_taken_over_once() {
    on_servers(async |scene, nodes| {
        nodes[0].submit(submit((0..40).map(|_| job("t")).collect(), 40)).await.unwrap();
        scene.clock.advance(Duration::from_secs(20));
        let rescued = all(&nodes, 9, |store, i| async move {
            store.rescue(&format!("node {i}"), LEASE, 10, &[], &here()).await.unwrap()
        });
        let mut rescued: Vec<Uuid> = rescued.await.into_iter().flatten().map(|one| one.job.id).collect();
        // Where another was at them at that moment, the next sweep finds them.
        rescued.extend(
            nodes[0].rescue("last", LEASE, 40, &[], &here()).await.unwrap().iter().map(|one| one.job.id),
        );
        assert_eq!(rescued.len(), rescued.iter().collect::<HashSet<_>>().len(), "none twice");
        assert_eq!(rescued.len(), 40, "and all of them");
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_and_a_claim_never_both_have_the_job() {
    on_servers(async |_, nodes| {
        let jobs: Vec<Job> = (0..30).map(|_| job("t")).collect();
        let ids: Vec<Uuid> = jobs.iter().map(|job| job.id).collect();
        nodes[0].submit(submit(jobs, 0)).await.unwrap();
        let caps = shares(&[("a", None)]);
        let both = all(&nodes, 60, |store, i| {
            let (caps, id) = (caps.clone(), ids[i / 2]);
            async move {
                if i % 2 == 0 {
                    let (_, cancelled) = store.cancel("t", id).await.unwrap().unwrap();
                    return if cancelled { vec![id] } else { vec![] };
                }
                let claimed = store.claim("me", LEASE, 1, &caps).await.unwrap();
                claimed.into_iter().map(|one| one.job.id).collect()
            }
        });
        let mut got: Vec<Uuid> = both.await.into_iter().flatten().collect();
        got.extend(nodes[0].claim("me", LEASE, 60, &caps).await.unwrap().iter().map(|one| one.job.id));
        assert_eq!((got.len(), got.iter().collect::<HashSet<_>>().len()), (30, 30));
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_start_together_make_one_first_key() {
    on_servers(async |_, nodes| {
        let made = all(&nodes, 9, |store, i| async move {
            let key = Key {
                id: format!("key_{i}"),
                team: "t".into(),
                hash: format!("{i}"),
                hint: "…".into(),
                scopes: String::new(),
                created_us: 0,
                expires_us: None,
                revoked_us: None,
                ..Key::default()
            };
            store.add_key(key, true).await.unwrap()
        });
        assert_eq!(made.await.into_iter().filter(|made| *made).count(), 1);
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_connections_are_made_anew() {
    on_servers(async |scene, nodes| {
        let running = started(scene, job("t")).await;
        let ended = match scene.database.kind {
            Kind::Postgres => "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
            _ => "BEGIN NOT ATOMIC FOR c IN (SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()) DO EXECUTE IMMEDIATE CONCAT('KILL ', c.id); END FOR; END",
        };
        for _ in 0..3 {
            scene.database.execute(ended);
            for node in &nodes {
                assert!(node.heartbeat("me", LEASE, vec![running.job.id]).await.unwrap().contains_key(&running.job.id));
                node.load().await.unwrap();
            }
        }
    })
    .await
}

#[tokio::test]
async fn news_of_one_node_reach_the_others() {
    let Some(database) = TestDatabase::new(Kind::Postgres) else { return };
    let scene = scene_on(database).await;
    let other = scene.node().await;
    let mut listener = other.listener().expect("PostgreSQL carries news");
    // The first call is what listens: before it, nothing is heard.
    let heard = tokio::spawn(async move {
        let mut heard = Vec::new();
        while !heard.iter().any(|news| matches!(news, News::Changed(ids) if ids.len() == 1)) {
            heard.push(listener.next().await);
        }
        heard
    });
    let waits = job("t");
    let id = waits.id;
    scene.store.submit(submit(vec![waits], 0)).await.unwrap();
    while !heard.is_finished() {
        scene.store.submit(submit(vec![job("u")], 0)).await.unwrap();
        scene.store.cancel("t", id).await.unwrap();
        scene.store.claim("me", LEASE, 1, &shares(&[("a", None)])).await.unwrap();
    }
    let heard = heard.await.unwrap();
    assert!(matches!(&heard.last(), Some(News::Changed(_))), "{heard:?}");
}

#[tokio::test]
async fn a_server_whose_commits_are_not_on_disk_is_refused() {
    let Some(database) = TestDatabase::new(Kind::Postgres) else { return };
    let name = database.url.rsplit('/').next().unwrap();
    database.execute(&format!("ALTER DATABASE {name} SET synchronous_commit = off"));
    let dir = tempfile::tempdir().unwrap();
    let opened = Store::open(&settings(&database), dir.path(), ManualClock::at(1)).await;
    let error = opened.err().expect("it is refused").to_string();
    assert!(error.contains("synchronous_commit = on") && error.contains(name), "{error}");
}

#[tokio::test]
async fn a_schema_that_a_newer_release_has_added_to_keeps_this_one_from_nothing() {
    everywhere(async |scene| {
        let Scene { store, .. } = &scene;
        let newer = "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_later', 0)";
        store
            .write(move |tx, _| {
                Box::pin(
                    async move { sea_orm::ConnectionTrait::execute_unprepared(tx, newer).await.map(drop) },
                )
            })
            .await
            .unwrap();
        let node = scene.node().await;
        assert!(matches!(node.submit(submit(vec![job("t")], 0)).await.unwrap(), Submitted::Accepted { .. }));
    })
    .await
}

/// The clock of a machine that somebody has set wrong.
struct Off(i64);

impl crate::telemetry::Clock for Off {
    fn now_us(&self) -> i64 {
        crate::telemetry::SystemClock.now_us() + self.0
    }
}

#[tokio::test]
async fn nodes_whose_clocks_differ_by_hours_agree_on_leases_and_deadlines() {
    for database in [Kind::Postgres, Kind::Mysql].into_iter().filter_map(TestDatabase::new) {
        rustls::crypto::ring::default_provider().install_default().ok();
        const HOUR: i64 = 3_600_000_000;
        let dir = tempfile::tempdir().unwrap();
        let node =
            async |off| Store::open(&settings(&database), dir.path(), Arc::new(Off(off))).await.unwrap();
        let (fast, slow) = (node(HOUR).await, node(-HOUR).await);
        assert!((fast.steady_us() - slow.steady_us()).abs() < HOUR / 60, "both go by the database's clock");
        for (one, other) in [(&fast, &slow), (&slow, &fast)] {
            let lasting = || Job { deadline_us: one.steady_us() + HOUR / 6, ..job("t") };
            one.submit(submit(vec![lasting()], 1)).await.unwrap();
            one.submit(submit(vec![lasting()], 0)).await.unwrap();
            assert!(
                other.rescue("other", LEASE, 10, &[], &here()).await.unwrap().is_empty(),
                "the lease holds"
            );
            assert!(other.sweep().await.unwrap().expired.is_empty(), "the deadline is far");
            let late = Job { deadline_us: one.steady_us() - 1, ..job("t") };
            one.submit(submit(vec![late], 0)).await.unwrap();
            assert_eq!(other.sweep().await.unwrap().expired.len(), 1, "and this one is over");
        }
    }
}

/// Stands between a node and its server, and can hold everything back without a word.
struct Proxy {
    port: u16,
    open: tokio::sync::watch::Sender<bool>,
}

impl Proxy {
    async fn before(server: std::net::SocketAddr) -> Proxy {
        use tokio::{
            io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
            net::{TcpListener, TcpStream},
            sync::watch::{Receiver, channel},
        };
        async fn carry(
            mut from: impl AsyncRead + Unpin,
            mut to: impl AsyncWrite + Unpin,
            mut open: Receiver<bool>,
        ) {
            let mut buffer = [0; 16_384];
            while let Ok(n @ 1..) = from.read(&mut buffer).await {
                if open.wait_for(|open| *open).await.is_err() || to.write_all(&buffer[..n]).await.is_err() {
                    return;
                }
            }
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (open, opened) = channel(true);
        tokio::spawn(async move {
            while let Ok((here, _)) = listener.accept().await {
                let (here_in, here_out) = here.into_split();
                let (there_in, there_out) = TcpStream::connect(server).await.unwrap().into_split();
                tokio::spawn(carry(here_in, there_out, opened.clone()));
                tokio::spawn(carry(there_in, here_out, opened.clone()));
            }
        });
        Proxy { port, open }
    }
}

#[tokio::test]
async fn a_network_that_says_nothing_holds_nobody_up_for_ever() {
    for database in [Kind::Postgres, Kind::Mysql].into_iter().filter_map(TestDatabase::new) {
        rustls::crypto::ring::default_provider().install_default().ok();
        let mut url = url::Url::parse(&database.url).unwrap();
        let usual = if database.kind == Kind::Postgres { 5432 } else { 3306 };
        let server = url.socket_addrs(|| Some(usual)).unwrap()[0];
        let proxy = Proxy::before(server).await;
        url.set_ip_host("127.0.0.1".parse().unwrap()).unwrap();
        url.set_port(Some(proxy.port)).unwrap();
        let second = plugin_api::value::Span::secs(1);
        let limits = Settings {
            url: url.into(),
            acquire_timeout: second,
            statement_timeout: second,
            ..settings(&database)
        };
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&limits, dir.path(), ManualClock::at(1_000_000_000_000)).await.unwrap();
        store.submit(submit(vec![job("t")], 0)).await.unwrap();
        proxy.open.send_replace(false);
        let began = std::time::Instant::now();
        let (read, written) = tokio::join!(store.load(), store.submit(submit(vec![job("t")], 0)));
        assert!(read.is_err() && written.is_err(), "{:?}", database.kind);
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}: {:?}", database.kind, began.elapsed());
        proxy.open.send_replace(true);
        let back = async {
            while store.submit(submit(vec![job("t")], 0)).await.is_err() || store.load().await.is_err() {}
        };
        tokio::time::timeout(Duration::from_secs(20), back).await.expect("and then it goes on");
    }
}
