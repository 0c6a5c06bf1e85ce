//! JSON-RPC frames: read strictly, written once.

use crate::mcp::errors::Fault;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::{
    Deserializer, Serialize,
    de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value, value::RawValue};
use std::{fmt, ops::Deref, sync::Arc};

/// Objects and arrays inside each other, the message itself counted.
const DEPTH_MAX: usize = 64;

/// The id of a request, sent back unchanged: `"1"` is not `1`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum Id {
    Text(String),
    Number(Number),
}

impl Id {
    pub fn read(value: &Value) -> Option<Id> {
        match value {
            Value::String(text) => Some(Id::Text(text.clone())),
            Value::Number(number) if !number.is_f64() => Some(Id::Number(number.clone())),
            _ => None,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Request {
    pub id: Id,
    pub method: String,
    /// Absent and `null` are `{}`.
    pub params: Map<String, Value>,
}

impl Request {
    pub fn meta(&self) -> Option<&Map<String, Value>> {
        meta(&self.params)
    }
}

pub fn meta(params: &Map<String, Value>) -> Option<&Map<String, Value>> {
    params.get("_meta").and_then(Value::as_object)
}

#[derive(Debug, Clone)]
pub enum Message {
    Request(Request),
    Notification {
        method: String,
        params: Map<String, Value>,
    },
    /// A result or an error: the peer answers something that was asked of it.
    Response {
        id: Option<Id>,
        /// `result` or `error`.
        answer: Map<String, Value>,
    },
}

impl Message {
    /// Method and parameters; a response has none.
    pub fn said(&self) -> Option<(&str, &Map<String, Value>)> {
        match self {
            Message::Request(request) => Some((&request.method, &request.params)),
            Message::Notification { method, params } => Some((method, params)),
            Message::Response { .. } => None,
        }
    }
}

/// A message that is none, with its id where that could be read.
#[derive(Debug)]
pub struct Malformed {
    pub id: Option<Id>,
    pub fault: Fault,
}

/// Reads JSON text. Duplicate keys and deep nesting are refused, so that nobody can show one thing to a proxy and
/// another to us.
pub fn parse(text: &[u8]) -> Result<Value, Fault> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let read = Depth(0).deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    read.map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Fault::invalid_request(&error.to_string()),
        _ => Fault::parse(),
    })
}

/// Reads one message of a parsed body.
pub fn read(value: Value) -> Result<Message, Malformed> {
    let Value::Object(mut object) = value else {
        return Err(Malformed { id: None, fault: Fault::invalid_request("a message is a JSON object") });
    };
    let given = object.remove("id");
    let id = given.as_ref().and_then(Id::read);
    let bad = |fault| Err(Malformed { id: id.clone(), fault });
    if object.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return bad(Fault::invalid_request("missing or invalid jsonrpc field"));
    }
    if given.is_some() && id.is_none() && object.contains_key("method") {
        return bad(Fault::invalid_request("id must be a string or an integer"));
    }
    let params = match object.remove("params") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(params)) => params,
        Some(_) => return bad(Fault::invalid_request("params must be an object")),
    };
    match (object.remove("method"), id) {
        (Some(Value::String(method)), Some(id)) => Ok(Message::Request(Request { id, method, params })),
        (Some(Value::String(method)), None) => Ok(Message::Notification { method, params }),
        (Some(_), id) => Err(Malformed { id, fault: Fault::invalid_request("method must be a string") }),
        (None, id) if object.contains_key("result") || object.contains_key("error") => {
            Ok(Message::Response { id, answer: object })
        }
        (None, id) => Err(Malformed { id, fault: Fault::invalid_request("missing method") }),
    }
}

/// A frame ready to be sent, with what HTTP says beside it.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub status: StatusCode,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// One JSON value without a line break.
    pub json: Vec<u8>,
}

/// How a frame names a request whose id could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoId {
    /// `id` left out: 2025-11-25 and later.
    Omitted,
    /// `id: null`: older peers, whose schema wants the key.
    Null,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    code: i32,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Value>,
}

#[derive(Serialize)]
struct Answer<'a> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Option<&'a Id>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody<'a>>,
}

/// A result as it is written into its answer.
pub enum Written {
    New(Box<RawValue>),
    /// One for many callers.
    Kept(Arc<RawValue>),
}

impl Deref for Written {
    type Target = RawValue;
    fn deref(&self) -> &RawValue {
        match self {
            Written::New(result) => result,
            Written::Kept(result) => result,
        }
    }
}

/// The answer to a request.
pub fn answer(id: &Id, result: Result<impl Deref<Target = RawValue>, Fault>) -> Outcome {
    match result {
        Ok(result) => Outcome {
            status: StatusCode::OK,
            headers: Vec::new(),
            json: encode(
                &Answer { jsonrpc: "2.0", id: Some(Some(id)), result: Some(&result), error: None },
                result.get().len(),
            ),
        },
        Err(fault) => refusal(Some(id), &fault, NoId::Omitted),
    }
}

/// An error, with or without the id of what it answers.
pub fn refusal(id: Option<&Id>, fault: &Fault, no_id: NoId) -> Outcome {
    let id = match (id, no_id) {
        (Some(id), _) => Some(Some(id)),
        (None, NoId::Null) => Some(None),
        (None, NoId::Omitted) => None,
    };
    let error = Some(ErrorBody { code: fault.code, message: &fault.message, data: fault.data.as_deref() });
    Outcome {
        status: fault.status,
        headers: fault.headers.clone(),
        json: encode(&Answer { jsonrpc: "2.0", id, result: None, error }, fault.message.len()),
    }
}

/// A notification to the peer.
pub fn notification<P: Serialize>(method: &str, params: P) -> Vec<u8> {
    #[derive(Serialize)]
    struct Notification<'a, P> {
        jsonrpc: &'static str,
        method: &'a str,
        params: P,
    }
    encode(&Notification { jsonrpc: "2.0", method, params }, 0)
}

/// A request to the peer.
pub fn request<P: Serialize>(id: &str, method: &str, params: P) -> Vec<u8> {
    #[derive(Serialize)]
    struct Asked<'a, P> {
        jsonrpc: &'static str,
        id: &'a str,
        method: &'a str,
        params: P,
    }
    encode(&Asked { jsonrpc: "2.0", id, method, params }, 0)
}

/// JSON on one line. Our own structs always serialise; should one ever not, the peer sees an internal error.
/// `inside`: bytes of what the frame goes around, so that a long answer is not moved while it grows.
fn encode<T: Serialize>(value: &T, inside: usize) -> Vec<u8> {
    const FRAME: usize = 128;
    let mut json = Vec::with_capacity(FRAME + inside);
    match serde_json::to_writer(&mut json, value) {
        Ok(()) => json,
        Err(_) => br#"{"jsonrpc":"2.0","error":{"code":-32603,"message":"Internal error"}}"#.to_vec(),
    }
}

/// Builds a [`Value`] and refuses what [`serde_json::Value`] would swallow.
#[derive(Clone, Copy)]
struct Depth(usize);

impl Depth {
    fn down<E: serde::de::Error>(self) -> Result<Depth, E> {
        if self.0 < DEPTH_MAX {
            Ok(Depth(self.0 + 1))
        } else {
            Err(E::custom(format!("nested deeper than {DEPTH_MAX} levels")))
        }
    }
}

impl<'de> DeserializeSeed<'de> for Depth {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Depth {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.down()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.down()?;
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(inner)?;
            if object.contains_key(&key) {
                let key: String = key.chars().take(40).collect();
                return Err(A::Error::custom(format!("the key `{key}` is there twice")));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> i32 {
        match parse(text.as_bytes()) {
            Err(fault) => fault.code,
            Ok(value) => read(value).expect_err(text).fault.code,
        }
    }

    #[test]
    fn text_that_is_no_json_is_a_parse_error_and_json_that_is_no_message_an_invalid_request() {
        for text in ["", "{", "\u{feff}{}", "nope", "{} {}", "{\"a\":1e999}"] {
            assert_eq!(code(text), -32700, "{text}");
        }
        for text in [
            "1",
            "{}",
            r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
        ] {
            assert_eq!(code(text), -32600, "{text}");
        }
    }

    #[test]
    fn duplicate_keys_are_refused_wherever_they_are() {
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}"#,
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}"#,
        ] {
            assert_eq!(code(text), -32600, "{text}");
        }
    }

    #[test]
    fn nesting_ends_at_sixty_four_levels() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(parse(nested(64).as_bytes()).is_ok());
        assert_eq!(code(&nested(65)), -32600);
        assert!(parse(nested(100_000).as_bytes()).is_err(), "no stack overflow");
    }

    #[test]
    fn an_id_comes_back_as_it_came() {
        for id in ["\"1\"", "1", "-7", "18446744073709551615", "\"\""] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
            let Ok(Message::Request(request)) = read(parse(text.as_bytes()).unwrap()) else { panic!("{id}") };
            assert_eq!(serde_json::to_string(&request.id).unwrap(), id);
        }
    }

    #[test]
    fn an_unknown_id_is_null_for_old_peers_and_left_out_for_new_ones() {
        let text = |no_id| String::from_utf8(refusal(None, &Fault::parse(), no_id).json).unwrap();
        assert!(text(NoId::Null).contains("\"id\":null"));
        assert!(!text(NoId::Omitted).contains("\"id\""));
    }
}
