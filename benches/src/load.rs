//! The load: a closed loop for the peak, an open one for latencies. In the open loop requests are due at fixed times,
//! and a request's time runs from when it was due, so that a server that stalls is charged for those that had to wait.

use crate::http::{Connection, Reply};
use anyhow::{Result, anyhow};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, time::timeout};

/// An answer that takes longer counts as lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who is asked what.
#[derive(Clone)]
pub struct Plan {
    pub address: SocketAddr,
    /// Sent in turn.
    pub requests: Arc<Vec<Vec<u8>>>,
    /// Whether an answer is the right one.
    pub good: fn(Reply<'_>) -> bool,
    pub connections: usize,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Sample {
    /// Of good answers, in microseconds, sorted.
    latencies: Vec<u32>,
    pub errors: u64,
    pub first_error: Option<String>,
    pub took: Duration,
}

impl Sample {
    pub fn done(&self) -> usize {
        self.latencies.len()
    }
    pub fn per_second(&self) -> f64 {
        self.done() as f64 / self.took.as_secs_f64()
    }
    /// In milliseconds; `share` 1 is the longest.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let at = (self.latencies.len() as f64 * share).ceil() as usize;
        self.latencies.get(at.saturating_sub(1).min(last)).map_or(0.0, |us| f64::from(*us) / 1000.0)
    }

    fn add(&mut self, other: Sample) {
        self.latencies.extend(other.latencies);
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }
}

/// Every connection asks again as soon as it was answered.
///
/// # Errors
/// Nobody listens.
pub async fn closed(plan: &Plan, time: Duration) -> Result<Sample> {
    let until = Instant::now() + time;
    let next = Arc::new(AtomicU64::new(0));
    run(plan, move || {
        let next = next.clone();
        async move {
            let now = Instant::now();
            (now < until).then(|| (next.fetch_add(1, Ordering::Relaxed), now))
        }
    })
    .await
}

/// `rate` requests a second, each at its time if a connection is free then, else as soon as one is.
///
/// # Errors
/// Nobody listens.
pub async fn open(plan: &Plan, rate: f64, time: Duration) -> Result<Sample> {
    let due = Arc::new(Semaphore::new(0));
    let next = Arc::new(AtomicU64::new(0));
    let total = (rate * time.as_secs_f64()) as u64;
    let begun = Instant::now() + Duration::from_millis(20);
    let at = move |n: u64| begun + Duration::from_secs_f64(n as f64 / rate);
    let clock = due.clone();
    // A thread's sleep is precise to some 0.1 ms, a timer of the runtime only to 1 ms.
    let pacer = std::thread::spawn(move || {
        let mut released = 0;
        while released < total {
            std::thread::sleep(at(released).saturating_duration_since(Instant::now()));
            let by_now = (Instant::now().saturating_duration_since(begun).as_secs_f64() * rate) as u64 + 1;
            let by_now = by_now.clamp(released + 1, total);
            clock.add_permits((by_now - released) as usize);
            released = by_now;
        }
        clock.add_permits(Semaphore::MAX_PERMITS / 2); // whoever still waits learns that it is over
    });
    let sample = run(plan, move || {
        let (due, next) = (due.clone(), next.clone());
        async move {
            due.acquire().await.ok()?.forget();
            let n = next.fetch_add(1, Ordering::Relaxed);
            (n < total).then(|| (n, at(n)))
        }
    })
    .await?;
    pacer.join().ok();
    Ok(sample)
}

/// `turn` gives the number of a connection's next request and when it was due; `None` ends the connection.
async fn run<F, T>(plan: &Plan, turn: F) -> Result<Sample>
where
    F: Fn() -> T + Clone + Send + Sync + 'static,
    T: Future<Output = Option<(u64, Instant)>> + Send,
{
    let mut connections = Vec::with_capacity(plan.connections);
    for _ in 0..plan.connections {
        connections.push(Connection::open(plan.address).await?);
    }
    let begun = Instant::now();
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|connection| {
            let (plan, turn) = (plan.clone(), turn.clone());
            tokio::spawn(async move { one(plan, connection, turn).await })
        })
        .collect();
    let mut all = Sample::default();
    for task in tasks {
        all.add(task.await?);
    }
    all.took = begun.elapsed();
    all.latencies.sort_unstable();
    Ok(all)
}

async fn one<T>(plan: Plan, mut connection: Connection, turn: impl Fn() -> T) -> Sample
where
    T: Future<Output = Option<(u64, Instant)>>,
{
    let mut sample = Sample::default();
    while let Some((number, due)) = turn().await {
        let request = &plan.requests[number as usize % plan.requests.len()];
        let answer = timeout(PATIENCE, connection.call(request)).await;
        let wrong = match answer.unwrap_or_else(|_| Err(anyhow!("no answer in {PATIENCE:?}"))) {
            Ok(reply) if (plan.good)(reply) => {
                sample.latencies.push(u32::try_from(due.elapsed().as_micros()).unwrap_or(u32::MAX));
                continue;
            }
            Ok(reply) => format!("{} {}", reply.status, String::from_utf8_lossy(reply.body)),
            Err(error) => {
                if let Ok(again) = Connection::open(plan.address).await {
                    connection = again;
                }
                error.to_string()
            }
        };
        sample.errors += 1;
        sample.first_error.get_or_insert(wrong.chars().take(300).collect());
    }
    sample
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(latencies: Vec<u32>) -> Sample {
        Sample { latencies, took: Duration::from_secs(2), ..Sample::default() }
    }

    #[test]
    fn quantiles_are_of_the_whole_sample() {
        let hundred = sample((1..=100).map(|n| n * 1000).collect());
        assert_eq!(hundred.quantile_ms(0.5), 50.0);
        assert_eq!(hundred.quantile_ms(0.99), 99.0);
        assert_eq!(hundred.quantile_ms(1.0), 100.0);
        assert_eq!(hundred.per_second(), 50.0);
        assert_eq!(sample(vec![7000]).quantile_ms(0.5), 7.0);
        assert_eq!(sample(Vec::new()).quantile_ms(0.99), 0.0);
    }
}
