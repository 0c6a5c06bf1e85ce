//! A response as a stream of server-sent events.

use super::{
    frame::Outcome,
    listening::{Heard, Subscription},
    progress::{Narrated, Told},
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

/// The body of a streaming response: comments and progress while the call runs, then its answer; or what a listening
/// client hears.
///
/// Reading drives the call, dropping ends it: see [`progress`](super::progress).
pub struct EventStream(Source);

enum Source {
    Call {
        call: Narrated,
        /// Made before the stream was handed out.
        first: Option<Bytes>,
    },
    Subscription(Subscription),
}

/// A comment that says that the stream is alive.
pub const BEAT: &[u8] = b": still here\n\n";

/// The first thing a call came up with.
pub enum First {
    Answer(Outcome),
    /// It takes longer; there is something to stream.
    Stream(EventStream),
}

impl EventStream {
    /// Runs a call until it has ended or has something to tell: one that ends at once needs no stream.
    pub async fn first(mut call: Narrated) -> Option<First> {
        Some(match call.next().await? {
            Told::Answer(outcome) => First::Answer(outcome),
            told => First::Stream(EventStream(Source::Call { call, first: Some(event(told)) })),
        })
    }

    pub fn listening(listening: Subscription) -> EventStream {
        EventStream(Source::Subscription(listening))
    }

    /// The next complete frames; `None` after the answer. May be dropped and called again.
    pub async fn next(&mut self) -> Option<Bytes> {
        match &mut self.0 {
            Source::Call { call, first } => match first.take() {
                Some(first) => Some(first),
                None => call.next().await.map(event),
            },
            Source::Subscription(listening) => Some(match listening.next().await? {
                Heard::Message(json) => data(&json),
                Heard::Alive => Bytes::from_static(BEAT),
            }),
        }
    }
}

fn event(told: Told) -> Bytes {
    match told {
        Told::Progress(json) | Told::Message(json) => data(&json),
        Told::Answer(outcome) => data(&outcome.json),
        Told::Alive(json) => {
            let mut beat = BEAT.to_vec();
            beat.extend(json.iter().flat_map(|json| data(json)));
            beat.into()
        }
    }
}

/// A stream's head.
pub fn head() -> http::Response<()> {
    let mut response = http::Response::new(());
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// One JSON value as an event. JSON has no raw line breaks, so one `data:` line carries it.
pub fn data(json: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(json.len() + 32);
    frame.extend_from_slice(b"event: message\ndata: ");
    frame.extend_from_slice(json);
    frame.extend_from_slice(b"\n\n");
    frame.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_is_whole() {
        let outcome = Outcome { status: StatusCode::OK, headers: Vec::new(), json: b"{}".to_vec() };
        for (told, expected) in [
            (Told::Progress(b"{}".to_vec()), "event: message\ndata: {}\n\n"),
            (Told::Answer(outcome), "event: message\ndata: {}\n\n"),
            (Told::Alive(None), ": still here\n\n"),
            (Told::Alive(Some(b"1".to_vec())), ": still here\n\nevent: message\ndata: 1\n\n"),
        ] {
            assert_eq!(event(told), expected.as_bytes());
        }
    }
}
