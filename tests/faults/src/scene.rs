//! What every row begins with: a vendor, a gateway's home with short leases and lifted limits, calls.

use crate::{
    ROLE, checker,
    checker::Findings,
    ledger::Call,
    support::{Client, Config, Gateway, Home, config},
    vendor::{Pace, Vendor},
};
use futures_util::future::join_all;
use serde_json::json;
use std::{
    fs::File,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

/// The command line of a gateway under attack.
pub const SERVE: [&str; 3] = ["serve", "--listen", "127.0.0.1:0"];
pub const CLASSES: [&str; 3] = ["k", "j", "s"];
/// The gateways' leases; their sweep is a third of it.
pub const LEASE: Duration = Duration::from_secs(2);
/// Longest time in which everything must have come to its end.
pub const LIMIT: Duration = Duration::from_secs(60);

pub const QUICK: Pace = Pace { from: Duration::from_millis(20), to: Duration::from_millis(400) };

/// A gateway of this program, with the vendor's models `k`, `j` and `s`, counted quotas and no other limits.
pub fn gateway(vendor: &Vendor) -> Config {
    let price = json!([{"image": "0.04 USD"}]);
    let limits = json!({"requests": "1000000/s", "burst": 1_000_000, "concurrent_jobs": 10_000});
    let team = json!({"images": "1000000/month", "spend": "100000 USD/month", "concurrent_jobs": 10_000});
    under_attack(config())
        .vendor(&vendor.upstream)
        .set("models.k.price", price.clone())
        .set("models.j.price", price.clone())
        .set("models.s.price", price)
        .set("limits.per_key", limits)
        .set("limits.per_team", team)
        .set("jobs.workers", 400)
}

/// The same program in the gateway's role.
pub fn under_attack(config: Config) -> Config {
    config.program(std::env::current_exe().expect("this program's path"), ROLE, "gateway")
}

/// Everything one gateway lives through.
pub struct Scene {
    pub vendor: Vendor,
    pub home: Arc<Home>,
    pub random: fastrand::Rng,
    pub calls: Vec<Call>,
    name: String,
}

impl Scene {
    pub async fn new(name: &str, seed: u64, pace: Pace, more: impl FnOnce(Config) -> Config) -> Scene {
        let vendor = Vendor::start(seed, pace).await;
        let home = Home::new(more(gateway(&vendor)));
        let random = fastrand::Rng::with_seed(seed);
        Scene { vendor, home, random, calls: Vec::new(), name: name.into() }
    }

    pub async fn start(&self) -> Gateway {
        Gateway::start_at(self.home.clone()).await
    }

    /// With `FAILPOINT` set to this: see `plugin_api::failpoint`.
    pub async fn start_armed(&self, failpoint: &str) -> Gateway {
        Gateway::start_with(self.home.clone(), &SERVE, &[("FAILPOINT", failpoint)]).await
    }

    /// All four ledgers joined, once the sweeps have had their time.
    pub async fn checked(&self) -> Findings {
        let mut findings = Findings::default();
        for class in CLASSES {
            findings.add(self.checked_class(class).await);
        }
        findings.add(self.checked_whole().await);
        findings
    }
    pub async fn checked_class(&self, class: &str) -> Findings {
        checker::check(self.home.data_dir(), &self.calls, &self.vendor.accepted(), class).await
    }
    pub async fn checked_whole(&self) -> Findings {
        self.tidy().await;
        checker::whole(self.home.data_dir(), &self.calls, &self.vendor.accepted()).await
    }

    /// What a crash left half-written is deleted an hour later, at a start or by retention. Here the hour passes at
    /// once: the files are made older.
    async fn tidy(&self) {
        let data = self.home.data_dir();
        let left =
            || [checker::files(&data.join("spool")), checker::files(&data.join("images/.temp"))].concat();
        if left().is_empty() {
            return;
        }
        let then = SystemTime::now() - Duration::from_secs(2 * 3_600);
        for file in left() {
            File::options().write(true).open(file).unwrap().set_modified(then).unwrap();
        }
        let gateway = self.start().await;
        let end = Instant::now() + Duration::from_secs(5);
        while !left().is_empty() && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        gateway.stop().await;
    }

    /// New calls, not yet made.
    pub fn calls(&self, each: usize, models: &[&'static str]) -> Vec<Call> {
        let at = self.calls.len();
        let call = |n: usize| Call::new(models[n % models.len()], &format!("{} {}", self.name, at + n));
        (0..each * models.len()).map(call).collect()
    }

    /// A time up to `most`.
    pub fn moment(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.random.u64(0..=most.as_micros() as u64))
    }
}

/// Makes all calls at once and hears what there is to hear until the gateway is gone.
pub async fn make_all(client: &Client, calls: &mut [Call]) {
    join_all(calls.iter_mut().map(|call| call.make(client))).await;
}
