//! What the fake upstream does with a request.

use bytes::Bytes;
use std::time::Duration;

/// One HTTP answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Reply {
    pub fn new(status: u16, content_type: &str, body: impl Into<Bytes>) -> Reply {
        Reply { status, headers: vec![("content-type".into(), content_type.into())], body: body.into() }
    }
    pub fn json(status: u16, body: impl Into<Bytes>) -> Reply {
        Reply::new(status, "application/json", body)
    }
    /// The error page of a proxy in front of the vendor.
    pub fn html(status: u16) -> Reply {
        let page = format!(
            "<!DOCTYPE html>\n<html><head><title>{status}</title></head><body>{status}</body></html>"
        );
        Reply::new(status, "text/html", page)
    }
    pub fn header(mut self, name: &str, value: impl ToString) -> Reply {
        self.headers.push((name.into(), value.to_string()));
        self
    }
}

/// What happens to one request. Everything but [`ResetBeforeReading`](Behaviour::ResetBeforeReading) reads and
/// records it first.
#[derive(Debug, Clone, PartialEq)]
pub enum Behaviour {
    Answer(Reply),
    /// Waits, then does the other.
    Delay(Duration, Box<Behaviour>),
    /// Waits for [`FakeUpstream::release`](crate::FakeUpstream::release), then does the other, also when the
    /// upstream as a whole is not held.
    Hold(Box<Behaviour>),
    /// Never answers, and keeps the connection open.
    Silence,
    /// RST as soon as the first byte of the request is there.
    ResetBeforeReading,
    /// RST after the whole request.
    ResetAfterReading,
    /// RST after the head and so many bytes of the body.
    ResetInAnswer(Reply, usize),
    /// FIN after the whole request, without an answer.
    Close,
    /// The answer promises so many bytes more than it has, then FIN.
    CutShort(Reply, usize),
    /// So many bytes of the body at a time, with a pause after each.
    Drip {
        reply: Reply,
        bytes: usize,
        every: Duration,
    },
    /// The reply's body, then its last bytes again and again as chunks until the client gives up.
    Endless(Reply),
}

impl From<Reply> for Behaviour {
    fn from(reply: Reply) -> Behaviour {
        Behaviour::Answer(reply)
    }
}

impl Behaviour {
    pub fn json(status: u16, body: impl Into<Bytes>) -> Behaviour {
        Reply::json(status, body).into()
    }
    pub fn html(status: u16) -> Behaviour {
        Reply::html(status).into()
    }
    /// 429, with the seconds of `Retry-After` where given.
    pub fn rate_limited(retry_after: Option<u64>) -> Behaviour {
        let reply = Reply::json(429, r#"{"error":{"message":"slow down"}}"#);
        match retry_after {
            Some(seconds) => reply.header("retry-after", seconds).into(),
            None => reply.into(),
        }
    }
    pub fn delayed(self, by: Duration) -> Behaviour {
        Behaviour::Delay(by, Box::new(self))
    }
    pub fn held(self) -> Behaviour {
        Behaviour::Hold(Box::new(self))
    }
}
