//! What the stories are told with: a gateway, callers, vendors' answers.

mod client;
mod config;
mod gateway;
pub mod vendor;

pub use client::{Client, ToolResult};
pub use config::{Config, config};
pub use gateway::{Gateway, Home};

use std::time::{Duration, Instant};

/// Asks again and again until there is an answer: for what gives no signal.
///
/// # Panics
/// After 20 seconds, saying what did not happen.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        if let Some(answer) = ask().await {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it did not happen: {what}");
}
