//! JSON-RPC messages, alone or in a stream of events.

use plugin_api::Answer;
use serde_json::{Value, json};
use std::time::Duration;

/// The versions of MCP that are spoken here, the preferred one first.
pub const VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

pub fn call(id: u64, method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

pub fn notification(method: &str) -> Value {
    json!({"jsonrpc": "2.0", "method": method})
}

/// What `initialize` is called with.
pub fn introduction() -> Value {
    let name = json!({"name": "image-gateway", "version": env!("CARGO_PKG_VERSION")});
    json!({"protocolVersion": VERSIONS[0], "capabilities": {}, "clientInfo": name})
}

/// What came back of a call.
#[derive(Debug, PartialEq)]
pub enum Reply {
    Result(Value),
    /// A JSON-RPC error.
    Error(Value),
    /// The stream ended before the answer, and can be taken up after this event, not sooner than after the pause.
    Later {
        event: String,
        pause: Option<Duration>,
    },
    /// The stream ended before the answer.
    Nothing,
    /// It is no message.
    Unreadable,
}

impl Reply {
    /// Of a complete HTTP answer with success, or of a line.
    pub fn of(answer: &Answer) -> Reply {
        if answer.binary {
            return Reply::Unreadable;
        }
        if !is_stream(answer) {
            return match answer.json() {
                Ok(message) if !answer.cut_short => response(&message).unwrap_or(Reply::Unreadable),
                _ => Reply::Unreadable,
            };
        }
        let stream = Stream::parse(&answer.text);
        match stream.reply {
            Some(reply) => reply,
            None => match stream.event {
                Some(event) => Reply::Later { event, pause: stream.pause },
                None => Reply::Nothing,
            },
        }
    }
}

fn is_stream(answer: &Answer) -> bool {
    answer.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"))
}

/// A response; not a request or a notification of the server's.
fn response(message: &Value) -> Option<Reply> {
    if message.get("method").is_some() {
        return None;
    }
    match (message.get("result"), message.get("error")) {
        (Some(result), _) => Some(Reply::Result(result.clone())),
        (None, Some(error)) => Some(Reply::Error(error.clone())),
        (None, None) => None,
    }
}

/// Whether a stream holds its answer already: servers may keep it open.
pub fn is_whole(text: &[u8]) -> bool {
    (text.ends_with(b"\n\n") || text.ends_with(b"\r\n\r\n")) && Stream::parse(text).reply.is_some()
}

#[derive(Default)]
struct Stream {
    reply: Option<Reply>,
    /// The id of the last event that had one.
    event: Option<String>,
    pause: Option<Duration>,
}

impl Stream {
    /// Events as the HTML standard has them: an event ends with an empty line.
    fn parse(text: &[u8]) -> Stream {
        let text = String::from_utf8_lossy(text);
        let mut stream = Stream::default();
        let mut data = String::new();
        let mut id = None;
        for line in text.lines() {
            if line.is_empty() {
                stream.take(&data);
                data.clear();
                stream.event = id.take().or(stream.event.take());
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "data" if data.is_empty() => data.push_str(value),
                "data" => {
                    data.push('\n');
                    data.push_str(value);
                }
                "id" if !value.is_empty() => id = Some(value.to_owned()),
                "retry" => stream.pause = value.parse().ok().map(Duration::from_millis).or(stream.pause),
                _ => {}
            }
        }
        stream
    }

    fn take(&mut self, data: &str) {
        let Ok(message) = serde_json::from_str::<Value>(data) else { return };
        self.reply = self.reply.take().or_else(|| response(&message));
    }
}

/// The result of a tool.
#[derive(Debug)]
pub struct Told {
    pub content: Vec<Value>,
    /// Structured content; else the first text that is JSON; else the first text.
    pub value: Value,
    /// All texts.
    pub text: String,
    pub is_error: bool,
}

impl Told {
    /// `None`: it is no tool's result.
    pub fn of(mut result: Value) -> Option<Told> {
        if !result.is_object() {
            return None;
        }
        let is_error = result["isError"] == true;
        let structured = result["structuredContent"].take();
        let content = match result["content"].take() {
            Value::Array(content) => content,
            Value::Null if !structured.is_null() || is_error => Vec::new(),
            _ => return None,
        };
        let texts: Vec<&str> =
            content.iter().filter(|c| c["type"] == "text").filter_map(|c| c["text"].as_str()).collect();
        let parsed = texts.iter().find_map(|text| {
            serde_json::from_str::<Value>(text).ok().filter(|v| v.is_object() || v.is_array())
        });
        let value = match structured {
            Value::Null => {
                parsed.or_else(|| texts.first().map(|text| text.trim().into())).unwrap_or_default()
            }
            structured => structured,
        };
        Some(Told { text: texts.join("\n"), value, is_error, content })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn stream(text: &str) -> Reply {
        Reply::of(&testkit::answer(
            200,
            &[("content-type", "text/event-stream; charset=utf-8")],
            text.to_owned(),
        ))
    }

    #[test]
    fn a_stream_is_read_event_by_event_in_every_spelling() {
        let done = r#"{"jsonrpc":"2.0","id":1,"result":{"a":1}}"#;
        let result = Reply::Result(json!({"a": 1}));
        for text in [
            format!("data: {done}\n\n"),
            format!("event: message\r\nid: 4\r\ndata:{done}\r\n\r\n"),
            ": hello\n\ndata: {\"jsonrpc\":\"2.0\",\ndata: \"id\":1,\"result\":{\"a\":1}}\n\n".to_owned(),
            format!("data: {{\"method\":\"ping\",\"id\":1}}\n\ndata: nonsense\n\ndata: {done}\n\n: more\n\n"),
        ] {
            assert_eq!(stream(&text), result, "{text}");
            assert!(is_whole(text.as_bytes()), "{text}");
        }
        let half = format!("id: 4\nretry: 250\ndata:\n\nid: 5\ndata: {done}");
        let pause = Some(Duration::from_millis(250));
        assert_eq!(stream(&half), Reply::Later { event: "4".into(), pause }, "the cut event does not count");
        assert!(!is_whole(half.as_bytes()));
        assert_eq!(stream("data: {\"method\":\"ping\",\"id\":1}\n\n"), Reply::Nothing);
        assert!(!is_whole(b"{\"id\":1,\"result\":{}}\n\n"), "it is no stream");
    }

    #[test]
    fn a_message_is_a_response_or_unreadable() {
        let one = |text: &str| Reply::of(&testkit::answer(200, &[], text.to_owned()));
        assert_eq!(one(r#"{"id":1,"result":{}}"#), Reply::Result(json!({})));
        assert_eq!(one(r#"{"id":1,"error":{"code":-1}}"#), Reply::Error(json!({"code": -1})));
        for text in ["", "[]", "{}", r#"{"method":"ping","id":1,"result":{}}"#, "\u{0}\u{1}"] {
            assert_eq!(one(text), Reply::Unreadable, "{text}");
        }
    }

    #[test]
    fn the_value_of_a_result_is_structured_else_json_else_text() {
        let text = |text: &str| json!({"type": "text", "text": text});
        let value = |result: Value| Told::of(result).unwrap().value;
        assert_eq!(
            value(json!({"content": [text("{\"b\":2}")], "structuredContent": {"a": 1}})),
            json!({"a": 1})
        );
        assert_eq!(value(json!({"content": [text("Done!"), text("{\"b\":2}")]})), json!({"b": 2}));
        assert_eq!(value(json!({"content": [text(" https://h/1.png\n")]})), json!("https://h/1.png"));
        assert_eq!(value(json!({"content": [text("17")]})), json!("17"), "a number is a text");
        assert_eq!(value(json!({"content": []})), Value::Null);
        for none in [json!("text"), json!({}), json!({"content": "text"}), json!(null)] {
            assert!(Told::of(none.clone()).is_none(), "{none}");
        }
    }
}
