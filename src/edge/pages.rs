//! The pages for people and load balancers: home, health, probes.

use super::{
    answer::{Answer, json, whole},
    faces::{Faces, Standing},
    home,
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use std::time::Duration;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

const FRESH: Duration = Duration::from_secs(1);
/// Each part has a deadline of its own; this one only keeps the page from hanging, and then nothing counts as up.
const PATIENCE: Duration = Duration::from_secs(3);
const TEXT: &str = "text/plain; charset=utf-8";

pub struct Pages {
    pub public_url: String,
    /// Whoever finds it stale asks anew, the others wait for that answer.
    last: Mutex<Option<(Instant, Standing)>>,
}

/// The fields of both predecessors.
#[derive(Serialize)]
struct Health {
    status: &'static str,
    version: &'static str,
    architecture: &'static str,
    timestamp: String,
    service: &'static str,
}

impl Pages {
    pub fn new(public_url: String) -> Pages {
        Pages { public_url, last: Mutex::default() }
    }

    pub fn health(&self, faces: &Faces) -> Answer {
        let now = jiff::Timestamp::from_millisecond(faces.clock.now_ms()).unwrap_or_default();
        json(
            StatusCode::OK,
            &Health {
                status: "healthy",
                version: env!("CARGO_PKG_VERSION"),
                architecture: "durable-jobs",
                timestamp: format!("{now:.3}"),
                service: "image-gateway",
            },
        )
    }

    pub fn live(&self) -> Answer {
        whole(StatusCode::OK, TEXT, "live\n")
    }

    pub async fn ready(&self, faces: &Faces, stopping: bool) -> Answer {
        if stopping {
            return whole(StatusCode::SERVICE_UNAVAILABLE, TEXT, "stopping\n");
        }
        match self.standing(faces).await.database {
            true => whole(StatusCode::OK, TEXT, "ready\n"),
            false => whole(StatusCode::SERVICE_UNAVAILABLE, TEXT, "not ready\n"),
        }
    }

    pub async fn home(&self, faces: &Faces) -> Answer {
        let standing = self.standing(faces).await;
        let page = home::page(&self.public_url, &faces.exe, &faces.tools, standing);
        let mut answer = whole(StatusCode::OK, "text/html; charset=utf-8", page);
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(home::POLICY));
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        answer
    }

    async fn standing(&self, faces: &Faces) -> Standing {
        let mut last = self.last.lock().await;
        if let Some((at, standing)) = *last
            && at.elapsed() < FRESH
        {
            return standing;
        }
        let standing = timeout(PATIENCE, faces.standings.standing()).await.unwrap_or_default();
        *last = Some((Instant::now(), standing));
        standing
    }
}
