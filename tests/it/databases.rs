//! Two gateways on two machines' worth of data directories, and one PostgreSQL or MariaDB between them.

use crate::{
    crash::{none_lost_none_bought_twice, start_job},
    database::{Kind, TestDatabase},
    support::{Client, Config, Gateway, Home, config, eventually, vendor, vendor::Vendor},
};
use serde_json::json;
use std::{collections::HashSet, sync::Arc, time::Duration};
use tempfile::TempDir;

const BEARER: &str = "igw_0123456789abcdefghijklmnopqrstuvwxyz";

struct Cluster {
    vendor: Vendor,
    homes: [Arc<Home>; 2],
    database: TestDatabase,
    _images: TempDir,
}

impl Cluster {
    /// `None`: there is no such server here.
    async fn on(kind: Kind, more: impl Fn(Config) -> Config) -> Option<Cluster> {
        let database = TestDatabase::new(kind)?;
        let (vendor, images) = (Vendor::start().await, tempfile::tempdir().unwrap());
        let home = || {
            let config = config()
                .vendor(&vendor.upstream)
                .key("story", BEARER)
                .set("database.url", database.url.clone())
                .set("server.secret", "a secret that both gateways know, of 32 bytes or more")
                .set("storage.options.root", images.path().to_str().unwrap());
            Home::new(more(config))
        };
        let homes = [home(), home()];
        Some(Cluster { vendor, homes, database, _images: images })
    }

    async fn node(&self, n: usize) -> Gateway {
        Gateway::start_at(self.homes[n].clone()).await
    }
}

fn client(gateway: &Gateway) -> Client {
    gateway.client_with(BEARER)
}

async fn one_of_two_is_killed(kind: Kind) {
    let Some(cluster) = Cluster::on(kind, |config| config.set("jobs.workers", 3)).await else { return };
    let vendor = &cluster.vendor;
    let (one, two) = tokio::join!(cluster.node(0), cluster.node(1));
    let (at_one, at_two) = (client(&one), client(&two));
    let k = start_job(&at_one, "k", "a fox of class K").await;
    let j = start_job(&at_one, "j", "a fox of class J").await;
    let s = start_job(&at_one, "s", "a fox of class S").await;
    eventually("all are out at the vendor, and one has a ticket", async || {
        let out =
            ["K", "J", "S"].iter().all(|class| vendor.bought(&format!("a fox of class {class}")).len() == 1);
        (out && vendor.was_asked_for_a_ticket()).then_some(())
    })
    .await;
    let mut waiting = Vec::new();
    for n in 0..8 {
        waiting.push(start_job(&at_one, "k", &format!("a fox that waits {n}")).await);
    }
    assert_eq!(at_two.status(&j).await["status"], "processing", "each knows the jobs of the other");
    let waiter = tokio::spawn({
        let (at_two, j) = (at_two.clone(), j.clone());
        async move { at_two.wait(&j).await }
    });

    one.kill().await;
    vendor.finish_all();

    assert_eq!(waiter.await.unwrap().ok().str("status"), "completed", "J: the other goes on with its ticket");
    assert_eq!(vendor.bought("a fox of class J").len(), 1);
    assert_eq!(at_two.wait(&k).await.ok().str("status"), "completed");
    let keys: HashSet<String> = vendor.bought("a fox of class K").into_iter().collect();
    assert_eq!(keys.len(), 1, "K: asked again under the same key, so billed once");
    at_two.wait(&s).await.failed("outcome_unknown");
    assert_eq!(vendor.bought("a fox of class S").len(), 1, "S: never bought again by itself");
    for (n, job) in waiting.iter().enumerate() {
        assert_eq!(at_two.wait(job).await.ok().str("status"), "completed", "what waited runs at the other");
        let keys: HashSet<String> = vendor.bought(&format!("a fox that waits {n}")).into_iter().collect();
        assert_eq!(keys.len(), 1, "bought once");
    }
    let all = at_two.tool("list_jobs", json!({"limit": 50})).await.ok().json;
    assert_eq!(all["total_count"], 11, "none is lost: {all}");

    // The dead one comes back, and hands out what the other made.
    let one = cluster.node(0).await;
    let link = client(&one).wait(&j).await.ok().str("image_url");
    for node in [&one, &two] {
        let bytes = at_two.get(&node.at(&link)).await.bytes().await.unwrap();
        assert_eq!(bytes, vendor::png(), "a link of one opens at the other");
    }
    assert!(!one.log().contains(&cluster.database.url), "the URL may hold a password");
}

#[tokio::test]
async fn of_two_gateways_on_postgres_one_is_killed_and_nothing_is_lost_or_bought_twice() {
    one_of_two_is_killed(Kind::Postgres).await;
}

#[tokio::test]
async fn of_two_gateways_on_mariadb_one_is_killed_and_nothing_is_lost_or_bought_twice() {
    one_of_two_is_killed(Kind::Mysql).await;
}

/// Both take calls, and one after the other is killed at other moments of the jobs' lives.
async fn they_are_killed_in_turn(kind: Kind) {
    let Some(cluster) = Cluster::on(kind, |config| config.set("limits.per_team.images", "1000/day")).await
    else {
        return;
    };
    let vendor = &cluster.vendor;
    vendor.finish_all();
    let mut nodes = [cluster.node(0).await, cluster.node(1).await];
    let mut jobs = Vec::new();
    for round in 0..4_usize {
        for model in ["k", "j", "s"] {
            for (n, node) in nodes.iter().enumerate() {
                let prompt = format!("{model} {round} {n}");
                jobs.push((model, start_job(&client(node), model, &prompt).await, prompt));
            }
        }
        // Not at random: a failure can be told again.
        tokio::time::sleep(Duration::from_millis(round as u64 * 23)).await;
        let [one, two] = nodes;
        let killed = round % 2;
        let (dies, lives) = if killed == 0 { (one, two) } else { (two, one) };
        dies.kill().await;
        let back = cluster.node(killed).await;
        nodes = if killed == 0 { [back, lives] } else { [lives, back] };
    }
    none_lost_none_bought_twice(&client(&nodes[0]), vendor, &jobs).await;
}

#[tokio::test]
async fn gateways_on_postgres_are_killed_in_turn_and_lose_nothing() {
    they_are_killed_in_turn(Kind::Postgres).await;
}

#[tokio::test]
async fn gateways_on_mariadb_are_killed_in_turn_and_lose_nothing() {
    they_are_killed_in_turn(Kind::Mysql).await;
}

#[tokio::test]
async fn a_quota_is_one_for_both_gateways() {
    for kind in [Kind::Postgres, Kind::Mysql] {
        let limit = |config: Config| config.set("limits.per_team.images", "5/day").set("jobs.workers", 20);
        let Some(cluster) = Cluster::on(kind, limit).await else { continue };
        cluster.vendor.finish_all();
        let nodes = [cluster.node(0).await, cluster.node(1).await];
        let calls = (0..20).map(|n| {
            let client = client(&nodes[n % 2]);
            tokio::spawn(async move {
                client.tool("generate_image_and_wait", json!({"prompt": "a fox", "model": "k"})).await
            })
        });
        let mut made = 0;
        for call in calls.collect::<Vec<_>>() {
            let result = call.await.unwrap();
            if result.is_error {
                result.failed("quota_exceeded");
            } else {
                made += 1;
            }
        }
        assert_eq!((made, cluster.vendor.bought("a fox").len()), (5, 5), "{kind:?}");
    }
}

#[tokio::test]
async fn commands_name_the_server_and_never_its_password() {
    for kind in [Kind::Postgres, Kind::Mysql] {
        let Some(cluster) = Cluster::on(kind, |config| config).await else { continue };
        let home = &cluster.homes[0];
        let said = home.run(&["migrate"]).await + &home.run(&["check"]).await + &home.run(&["doctor"]).await;
        let name = cluster.database.url.rsplit('/').next().unwrap();
        assert!(said.matches(name).count() >= 3, "{said}");
        assert!(!said.contains("root@"), "{said}");
    }
}

/// A node that stands still is taken for dead, and what it brings home later is not thrown away.
async fn one_stands_still(kind: Kind) {
    let Some(cluster) = Cluster::on(kind, |config| config).await else { return };
    let vendor = &cluster.vendor;
    let (one, two) = tokio::join!(cluster.node(0), cluster.node(1));
    let job = start_job(&client(&one), "s", "a fox").await;
    vendor.upstream.wait_for_requests(1).await;
    one.pause();
    let at_two = client(&two);
    at_two.wait(&job).await.failed("outcome_unknown");
    // What it holds locked, if anything, holds nobody else up for long.
    let other = start_job(&at_two, "k", "a wolf").await;
    vendor.finish_all();
    at_two.wait(&other).await.ok();
    one.go_on();
    let status = at_two.until_status(&job, "completed").await;
    assert_eq!((&status["error"], vendor.bought("a fox").len()), (&json!(null), 1));
}

#[tokio::test]
async fn the_paid_image_of_a_gateway_on_postgres_that_stood_still_comes_home() {
    one_stands_still(Kind::Postgres).await;
}

#[tokio::test]
async fn the_paid_image_of_a_gateway_on_mariadb_that_stood_still_comes_home() {
    one_stands_still(Kind::Mysql).await;
}
