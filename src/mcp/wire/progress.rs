//! A call that is running, told as it goes: progress while it runs, signs of life by time, then its answer.
//!
//! Reading drives the call: nothing is spawned and nothing queues up. A reader that is slow makes it stand still,
//! and only the newest progress is kept; a reader that leaves drops it, and the call with it.

use super::frame::{self, Outcome};
use crate::jobs::Moment;
use serde::Serialize;
use serde_json::Value;
use std::{pin::Pin, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

/// Progress of one call comes at most this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// A call that is running.
pub type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// What a running call comes up with.
#[derive(Debug)]
pub enum Told {
    /// A notification of progress, as JSON.
    Progress(Vec<u8>),
    /// Something else that the call has to say to its caller, as JSON. Not to be dropped.
    Message(Vec<u8>),
    /// Nothing happened for a while; there may be a notification to repeat.
    Alive(Option<Vec<u8>>),
    /// The last of all.
    Answer(Outcome),
}

/// A running call whose caller wants to hear of progress.
pub struct Narrated {
    /// `None` once it has been answered.
    call: Option<Running>,
    moments: watch::Receiver<Option<Moment>>,
    open: bool,
    /// What the call says besides.
    line: Option<mpsc::Receiver<Vec<u8>>>,
    progress: Progress,
    heartbeat: Duration,
    next_beat: Instant,
}

impl Narrated {
    /// `token`: the caller's progress token; without one it hears no progress.
    pub fn new(
        call: Running,
        moments: watch::Receiver<Option<Moment>>,
        token: Option<Value>,
        heartbeat: Duration,
    ) -> Narrated {
        let now = Instant::now();
        Narrated {
            call: Some(call),
            moments,
            open: true,
            line: None,
            progress: Progress { token, last: 0, told: String::new(), waiting: None, not_before: now },
            heartbeat,
            next_beat: now + heartbeat,
        }
    }

    /// A call that may say more than progress, by this line.
    pub fn with_line(self, line: mpsc::Receiver<Vec<u8>>) -> Narrated {
        Narrated { line: Some(line), ..self }
    }

    /// What comes next; `None` after the answer. May be dropped and called again.
    pub async fn next(&mut self) -> Option<Told> {
        loop {
            let call = self.call.as_mut()?;
            tokio::select! {
                biased;
                // Before the answer: what was said first comes first.
                said = next_said(&mut self.line) => match said {
                    Some(json) => {
                        self.next_beat = Instant::now() + self.heartbeat;
                        return Some(Told::Message(json));
                    }
                    None => self.line = None,
                },
                outcome = call => {
                    if let Some(json) = self.line.as_mut().and_then(|line| line.try_recv().ok()) {
                        // It said something and ended in the same moment.
                        self.call = Some(Box::pin(std::future::ready(outcome)));
                        return Some(Told::Message(json));
                    }
                    self.call = None;
                    return Some(Told::Answer(outcome));
                }
                changed = self.moments.changed(), if self.open => match changed {
                    Ok(()) => self.progress.waiting.clone_from(&self.moments.borrow_and_update()),
                    Err(_) => self.open = false,
                },
                () = sleep_until(self.progress.not_before), if self.progress.waiting.is_some() => {
                    if let Some(told) = self.progress.tell() {
                        self.next_beat = Instant::now() + self.heartbeat;
                        return Some(Told::Progress(told));
                    }
                }
                () = sleep_until(self.next_beat) => {
                    self.next_beat = Instant::now() + self.heartbeat;
                    return Some(Told::Alive(self.progress.repeat()));
                }
            }
        }
    }
}

async fn next_said(line: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match line {
        Some(line) => line.recv().await,
        None => std::future::pending().await,
    }
}

/// Turns moments into notifications whose numbers strictly rise.
struct Progress {
    token: Option<Value>,
    /// Hundredths of a percent told last; 0 before the first.
    last: u32,
    told: String,
    /// The newest moment that has not been told.
    waiting: Option<Moment>,
    not_before: Instant,
}

/// Percent of the whole, so that one total fits every call; counted in hundredths, so that no number has more than two
/// decimals.
const TOTAL: u32 = 100 * HUNDREDTHS;
const HUNDREDTHS: u32 = 100;

impl Progress {
    fn tell(&mut self) -> Option<Vec<u8>> {
        let moment = self.waiting.take()?;
        self.notify(moment.share, moment.message)
    }

    /// The last message again, a little further on: a sign of life that clients' timers look for.
    fn repeat(&mut self) -> Option<Vec<u8>> {
        if Instant::now() < self.not_before {
            return None;
        }
        let (share, message) =
            self.waiting.take().map_or_else(|| (0.0, self.told.clone()), |m| (m.share, m.message));
        self.notify(share, message)
    }

    fn notify(&mut self, share: f64, message: String) -> Option<Vec<u8>> {
        let token = self.token.as_ref()?;
        // A hundredth of what is left, so that signs of life hardly ever use it up.
        let least = self.last + ((TOTAL - self.last) / 100).max(1);
        // A cast of a float ends at the bounds of the number, and is 0 for what is none.
        let reached = (share * f64::from(TOTAL)).round() as u32;
        // The whole is told when it is reached, and nothing after it: the answer is next.
        if least > TOTAL || least == TOTAL && reached < TOTAL {
            return None;
        }
        self.last = reached.clamp(least, TOTAL);
        self.told = message;
        self.not_before = Instant::now() + PROGRESS_EVERY;
        Some(notification(token, self.last, &self.told))
    }
}

fn notification(token: &Value, hundredths: u32, message: &str) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Params<'a> {
        progress_token: &'a Value,
        progress: f64,
        total: f64,
        #[serde(skip_serializing_if = "str::is_empty")]
        message: &'a str,
    }
    let percent = |n: u32| f64::from(n) / f64::from(HUNDREDTHS);
    frame::notification(
        "notifications/progress",
        Params { progress_token: token, progress: percent(hundredths), total: percent(TOTAL), message },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use serde_json::json;
    use tokio::sync::oneshot;

    fn moment(share: f64, message: &str) -> Moment {
        Moment { finished: 0, total: 1, message: message.into(), share }
    }
    struct Scene {
        told: Narrated,
        moments: watch::Sender<Option<Moment>>,
        finish: oneshot::Sender<()>,
    }
    fn scene() -> Scene {
        let (moments, receiver) = watch::channel(None);
        let (finish, finished) = oneshot::channel();
        let call = Box::pin(async move {
            let _ = finished.await;
            Outcome { status: StatusCode::OK, headers: Vec::new(), json: b"{}".to_vec() }
        });
        Scene {
            told: Narrated::new(call, receiver, Some(json!("t")), Duration::from_secs(15)),
            moments,
            finish,
        }
    }
    impl Scene {
        /// The parameters of the next notification.
        async fn progress(&mut self) -> Value {
            match self.told.next().await {
                Some(Told::Progress(json)) => {
                    serde_json::from_slice::<Value>(&json).unwrap()["params"].clone()
                }
                other => panic!("{other:?}"),
            }
        }
    }
    fn percent(params: &Value) -> f64 {
        let told = &params["progress"];
        let decimals = told.to_string().split_once('.').map_or(0, |(_, decimals)| decimals.len());
        assert!(decimals <= 2, "{told}");
        told.as_f64().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn progress_rises_strictly_and_comes_once_a_second_at_most() {
        let mut scene = scene();
        let start = Instant::now();
        scene.moments.send_replace(Some(moment(0.3, "drawing")));
        let first = scene.progress().await;
        assert_eq!(first["progressToken"], "t");
        scene.moments.send_replace(Some(moment(0.1, "back")));
        let second = scene.progress().await;
        assert!(start.elapsed() >= PROGRESS_EVERY, "held back to one a second");
        assert!(percent(&second) > percent(&first), "a share that falls is told as a rise");
        scene.moments.send_replace(Some(moment(1.0, "stored")));
        assert_eq!(percent(&scene.progress().await), 100.0);
        scene.moments.send_replace(Some(moment(1.0, "again")));
        scene.finish.send(()).unwrap();
        assert!(
            matches!(scene.told.next().await, Some(Told::Answer(_))),
            "nothing between the end and the answer"
        );
        assert!(scene.told.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_is_told_in_hundredths_of_a_percent() {
        let mut scene = scene();
        for (share, expected) in [
            (0.215_920_000_000_000_02, 21.59),
            (1.0 / 3.0, 33.33),
            (0.333_34, 33.99), // not a hundredth more: a hundredth of what is left
            (f64::NAN, 34.65),
            (f64::INFINITY, 100.0),
        ] {
            scene.moments.send_replace(Some(moment(share, "drawing")));
            assert_eq!(percent(&scene.progress().await), expected, "{share}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_call_shows_signs_of_life_by_time() {
        let mut scene = scene();
        let start = Instant::now();
        let mut last = 0.0;
        for beat in 1..=1_000_u32 {
            let Some(Told::Alive(json)) = scene.told.next().await else { panic!("beat {beat}") };
            assert_eq!(start.elapsed(), Duration::from_secs(15) * beat);
            if let Some(json) = json {
                let params = serde_json::from_slice::<Value>(&json).unwrap()["params"].clone();
                assert!(percent(&params) > last && percent(&params) < 100.0, "beat {beat}");
                last = percent(&params);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn progress_that_nobody_read_gives_way_to_the_newest() {
        let mut scene = scene();
        for n in 1..=9 {
            scene.moments.send_replace(Some(moment(f64::from(n) / 10.0, &format!("step {n}"))));
        }
        assert_eq!(scene.progress().await["message"], "step 9");
    }
}
