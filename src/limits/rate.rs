//! Request rates in memory: a token bucket per key and per team, and one per address for requests without a good key.
//! Takes ids, not principals; what a refusal looks like is `edge`'s.

use super::Settings;
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::DashMapStateStore,
};
use plugin_api::value::{Limits, Rate};
use std::{
    collections::HashMap,
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// Buckets kept per limiter (some 200 bytes each) before all share one.
const MOST_BUCKETS: usize = 500_000;
/// Full buckets are dropped each time this many requests have come.
const SWEEP_EVERY: u32 = 4096;

/// May this request go on, and what to tell the caller about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateDecision {
    pub allowed: bool,
    /// Requests that may come at once.
    pub limit: u32,
    /// How many more may come now.
    pub remaining: u32,
    /// Seconds until `limit` is back in full, or, when refused, until one more may come.
    pub reset_s: u64,
    /// Seconds to wait, with some jitter so that a herd does not come back as one; 0 when allowed.
    pub retry_after_s: u64,
    /// Seconds in which an empty bucket fills.
    pub window_s: u64,
    pub policy: &'static str,
}

impl RateDecision {
    /// The value of `RateLimit-Policy`.
    pub fn policy_header(&self) -> String {
        format!("\"{}\";q={};w={}", self.policy, self.limit, self.window_s)
    }
    /// The value of `RateLimit`.
    pub fn state_header(&self) -> String {
        format!("\"{}\";r={};t={}", self.policy, self.remaining, self.reset_s)
    }
}

struct Bucket<C: Clock> {
    limiter: RateLimiter<Arc<str>, DashMapStateStore<Arc<str>>, C, StateInformationMiddleware>,
    clock: C,
    policy: &'static str,
    seen: AtomicU32,
    most: usize,
}

impl<C: Clock + Clone> Bucket<C> {
    fn new(rate: Rate, burst: Option<u32>, policy: &'static str, clock: C) -> Bucket<C> {
        let burst = burst.and_then(NonZeroU32::new).unwrap_or(rate.count);
        let each = (rate.per / rate.count.get()).max(Duration::from_nanos(1));
        let quota = Quota::with_period(each).unwrap_or(Quota::per_second(rate.count)).allow_burst(burst);
        let limiter = RateLimiter::<_, _, C, StateInformationMiddleware>::new(
            quota,
            DashMapStateStore::default(),
            clock.clone(),
        );
        Bucket { limiter, clock, policy, seen: AtomicU32::new(0), most: MOST_BUCKETS }
    }

    fn of(limits: &Limits, policy: &'static str, clock: &C) -> Option<Bucket<C>> {
        Some(Bucket::new(limits.requests?, limits.burst, policy, clock.clone()))
    }

    fn check(&self, id: &str, jitter: f64) -> RateDecision {
        let id = self.place(id);
        let (quota, remaining, wait) = match self.limiter.check_key(&id) {
            Ok(state) => (state.quota(), state.remaining_burst_capacity(), None),
            Err(refusal) => (refusal.quota(), 0, Some(refusal.wait_time_from(self.clock.now()))),
        };
        let limit = quota.burst_size().get();
        let missing = quota.replenish_interval() * (limit - remaining.min(limit));
        RateDecision {
            allowed: wait.is_none(),
            limit,
            remaining,
            reset_s: ceil_s(wait.unwrap_or(missing)),
            retry_after_s: wait.map_or(0, |wait| ceil_s(wait.mul_f64(1.0 + 0.2 * jitter)).max(1)),
            window_s: ceil_s(quota.burst_size_replenished_in()).max(1),
            policy: self.policy,
        }
    }

    /// The bucket's id; when there are too many, newcomers share one.
    fn place(&self, id: &str) -> Arc<str> {
        if self.seen.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.limiter.retain_recent();
        }
        let full = self.limiter.len() >= self.most;
        if full { "*".into() } else { id.into() }
    }
}

fn ceil_s(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// All request rates of this node.
pub struct Rates<C: Clock = DefaultClock> {
    per_key: Option<Bucket<C>>,
    per_team: Option<Bucket<C>>,
    own_key: HashMap<String, Bucket<C>>,
    own_team: HashMap<String, Bucket<C>>,
    addresses: Bucket<C>,
    jitter: fn() -> f64,
}

impl Rates<DefaultClock> {
    /// `keys` and `teams` are those with limits of their own.
    pub fn new<'a>(
        settings: &Settings,
        keys: impl IntoIterator<Item = (&'a str, &'a Limits)>,
        teams: impl IntoIterator<Item = (&'a str, &'a Limits)>,
    ) -> Rates {
        Rates::with_clock(settings, keys, teams, DefaultClock::default(), random)
    }
}

impl<C: Clock + Clone> Rates<C> {
    fn with_clock<'a>(
        settings: &Settings,
        keys: impl IntoIterator<Item = (&'a str, &'a Limits)>,
        teams: impl IntoIterator<Item = (&'a str, &'a Limits)>,
        clock: C,
        jitter: fn() -> f64,
    ) -> Rates<C> {
        // A burst of its own needs no rate of its own; a rate of its own does not take the default's burst.
        let own = |(id, limits): (&str, &Limits), policy, default: &Limits| {
            limits
                .requests
                .or(limits.burst.and(default.requests))
                .map(|rate| (id.to_owned(), Bucket::new(rate, limits.burst, policy, clock.clone())))
        };
        let address = settings.per_address.unauthenticated;
        Rates {
            per_key: Bucket::of(&settings.per_key, "burst", &clock),
            per_team: Bucket::of(&settings.per_team, "team", &clock),
            own_key: keys.into_iter().filter_map(|k| own(k, "burst", &settings.per_key)).collect(),
            own_team: teams.into_iter().filter_map(|t| own(t, "team", &settings.per_team)).collect(),
            addresses: Bucket::new(address, None, "address", clock.clone()),
            jitter,
        }
    }

    /// A request of this key and team. `None`: no rate applies.
    pub fn request(&self, key: &str, team: &str) -> Option<RateDecision> {
        let jitter = (self.jitter)();
        let by_key = self.own_key.get(key).or(self.per_key.as_ref()).map(|bucket| bucket.check(key, jitter));
        if by_key.as_ref().is_some_and(|decision| !decision.allowed) {
            return by_key; // what the key is refused must not cost the team
        }
        let by_team = self.own_team.get(team).or(self.per_team.as_ref()).map(|b| b.check(team, jitter));
        match (by_key, by_team) {
            (Some(key), Some(team)) if team.allowed && key.remaining <= team.remaining => Some(key),
            (key, team) => team.or(key),
        }
    }

    /// A request from `address` without a good key.
    pub fn unauthenticated(&self, address: IpAddr) -> RateDecision {
        self.addresses.check(&network(address), (self.jitter)())
    }
}

/// One host owns at least a /64 of IPv6.
fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => std::net::Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).to_string(),
    }
}

/// 0 up to 1.
fn random() -> f64 {
    fastrand::f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;

    fn limits(rate: &str, burst: Option<u32>) -> Limits {
        Limits { requests: rate.parse().ok(), burst, ..Limits::default() }
    }

    fn rates(
        settings: Settings,
        keys: &[(&str, &Limits)],
        jitter: fn() -> f64,
    ) -> (Rates<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let rates = Rates::with_clock(&settings, keys.iter().copied(), [], clock.clone(), jitter);
        (rates, clock)
    }

    fn per_key(rate: &str, burst: u32) -> Settings {
        Settings { per_key: limits(rate, Some(burst)), ..Settings::default() }
    }

    #[test]
    fn a_burst_is_let_through_and_the_next_request_is_told_when_to_come() {
        let (rates, clock) = rates(per_key("60/min", 3), &[], || 0.0);
        for left in [2, 1, 0] {
            let ok = rates.request("a", "t").unwrap();
            assert!(ok.allowed);
            assert_eq!((ok.limit, ok.remaining, ok.retry_after_s), (3, left, 0));
        }
        let no = rates.request("a", "t").unwrap();
        assert!(!no.allowed);
        assert_eq!((no.remaining, no.retry_after_s, no.reset_s), (0, 1, 1));
        assert_eq!(no.policy_header(), "\"burst\";q=3;w=3");
        assert_eq!(no.state_header(), "\"burst\";r=0;t=1");
        assert!(rates.request("b", "t").unwrap().allowed, "another key has its own");

        clock.advance(Duration::from_millis(999));
        assert!(!rates.request("a", "t").unwrap().allowed, "a refusal is no step nearer");
        clock.advance(Duration::from_millis(1));
        assert!(rates.request("a", "t").unwrap().allowed, "it came when it was told");
    }

    #[test]
    fn waiting_is_rounded_up_and_spread() {
        let (rates, _) = rates(per_key("6/min", 1), &[], || 0.999);
        rates.request("a", "t").unwrap();
        let no = rates.request("a", "t").unwrap();
        assert_eq!((no.reset_s, no.retry_after_s), (10, 12), "a fifth more at most, never less");
    }

    #[test]
    fn a_key_may_have_a_rate_of_its_own() {
        let own = limits("1/min", None);
        let burst = Limits { burst: Some(7), ..Limits::default() };
        let (rates, _) = rates(per_key("60/min", 50), &[("slow", &own), ("even", &burst)], || 0.0);
        assert_eq!(rates.request("even", "t").unwrap().policy_header(), "\"burst\";q=7;w=7");
        assert_eq!(rates.request("slow", "t").unwrap().limit, 1);
        assert!(!rates.request("slow", "t").unwrap().allowed);
        assert_eq!(rates.request("other", "t").unwrap().limit, 50);
    }

    #[test]
    fn a_team_is_limited_over_all_its_keys() {
        let settings = Settings { per_team: limits("60/min", Some(2)), ..per_key("60/min", 50) };
        let (rates, _) = rates(settings, &[], || 0.0);
        assert_eq!(rates.request("a", "t").unwrap().policy, "team", "the tighter of the two is told");
        assert!(rates.request("b", "t").unwrap().allowed);
        assert!(!rates.request("c", "t").unwrap().allowed);
        assert!(rates.request("c", "u").unwrap().allowed);
    }

    #[test]
    fn addresses_share_a_network_and_memory_is_bounded() {
        let (mut rates, _) = rates(Settings::default(), &[], || 0.0);
        rates.addresses.most = 10;
        for n in 0..1000u32 {
            rates.unauthenticated(IpAddr::V4(n.into()));
        }
        assert!(rates.addresses.limiter.len() <= 11, "{}", rates.addresses.limiter.len());
        assert_eq!(network("2001:db8::1".parse().unwrap()), network("2001:db8::ffff:1".parse().unwrap()));
        assert_ne!(network("2001:db8::1".parse().unwrap()), network("2001:db8:0:1::1".parse().unwrap()));
        assert_eq!(network("::ffff:10.0.0.1".parse().unwrap()), "10.0.0.1");
    }

    #[test]
    fn without_a_limit_there_is_nothing_to_tell() {
        let none = Settings { per_key: Limits::default(), ..Settings::default() };
        let (rates, _) = rates(none, &[], || 0.0);
        assert_eq!(rates.request("a", "t"), None);
    }
}
