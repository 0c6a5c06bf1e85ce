//! The HTTP headers that mirror a message, and their check against the body.

use super::{
    era::{Version, key},
    frame::Request,
};
use crate::mcp::{apps, errors::Fault};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, header};
use serde_json::Value;

/// Prefix of the headers that mirror arguments.
const PARAMETER_PREFIX: &str = "mcp-param-";

pub const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// A header that may stand there once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Header {
    #[default]
    Absent,
    One(String),
    /// There twice, or with characters that no header may have.
    Malformed,
}

impl Header {
    fn read(headers: &HeaderMap, name: &str) -> Header {
        let mut all = headers.get_all(name).iter();
        match (all.next(), all.next()) {
            (None, _) => Header::Absent,
            (Some(one), None) => {
                one.to_str().map_or(Header::Malformed, |text| Header::One(text.trim().to_owned()))
            }
            _ => Header::Malformed,
        }
    }
    pub fn one(&self) -> Option<&str> {
        match self {
            Header::One(text) => Some(text),
            _ => None,
        }
    }
}

/// What the headers of a POST say about its message.
#[derive(Debug, Clone, Default)]
pub struct Headers {
    pub version: Header,
    pub method: Header,
    pub name: Header,
    pub idempotency_key: Header,
    pub session: Header,
    pub mirrored: Mirrored,
    pub accept: Accept,
    /// An MCP library made the request: it has a header of the protocol, or asks for streams by name.
    pub from_library: bool,
}

impl Headers {
    pub fn read(headers: &HeaderMap) -> Headers {
        let mut accept = Accept::read(headers);
        let protocol = headers.keys().any(|name| name.as_str().starts_with("mcp-"));
        let from_library = protocol || accept.names_stream;
        // Plain programs of the predecessors' days got JSON whatever they asked for.
        accept.json |= !from_library;
        Headers {
            version: Header::read(headers, "mcp-protocol-version"),
            method: Header::read(headers, "mcp-method"),
            name: Header::read(headers, "mcp-name"),
            idempotency_key: Header::read(headers, "idempotency-key"),
            session: Header::read(headers, SESSION.as_str()),
            mirrored: Mirrored::read(headers),
            from_library,
            accept,
        }
    }

    #[cfg(test)]
    pub fn with_version(version: Option<&str>) -> Headers {
        let version = version.map_or(Header::Absent, |v| Header::One(v.into()));
        Headers { version, ..Headers::default() }
    }
}

/// The `Mcp-Param-*` headers of a request, by what follows the prefix, in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mirrored(Vec<(String, Header)>);

impl Mirrored {
    fn read(headers: &HeaderMap) -> Mirrored {
        let names = headers.keys().map(HeaderName::as_str);
        let ours = names.filter_map(|name| Some((name.strip_prefix(PARAMETER_PREFIX)?, name)));
        Mirrored(ours.map(|(short, name)| (short.to_owned(), Header::read(headers, name))).collect())
    }
    fn get(&self, name: &str) -> &Header {
        let name = name.to_ascii_lowercase();
        self.0.iter().find(|(own, _)| *own == name).map_or(&Header::Absent, |(_, header)| header)
    }
}

/// What the peer takes as an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accept {
    pub json: bool,
    pub stream: bool,
    /// `text/event-stream` is there by name, not only by a wildcard.
    pub names_stream: bool,
}

impl Accept {
    /// No header, or an empty one, takes anything. The most specific range that fits a type decides (RFC 9110).
    fn read(headers: &HeaderMap) -> Accept {
        let mut ranges = Vec::new();
        for value in headers.get_all(header::ACCEPT) {
            let text = String::from_utf8_lossy(value.as_bytes());
            ranges.extend(text.split(',').filter_map(range));
        }
        if ranges.is_empty() {
            return Accept { json: true, stream: true, names_stream: false };
        }
        let takes = |kind: &str, sub: &str| {
            let exact = format!("{kind}/{sub}");
            let family = format!("{kind}/*");
            [exact.as_str(), family.as_str(), "*/*"]
                .iter()
                .find_map(|name| ranges.iter().find(|(range, _)| range == name))
                .is_some_and(|(_, wanted)| *wanted)
        };
        Accept {
            json: takes("application", "json"),
            stream: takes("text", "event-stream"),
            names_stream: ranges.iter().any(|(range, wanted)| range == "text/event-stream" && *wanted),
        }
    }
}

/// A media range and whether it is wanted (`q` above 0).
fn range(text: &str) -> Option<(String, bool)> {
    let mut parts = text.split(';');
    let name = parts.next()?.trim().to_ascii_lowercase();
    let refused = parts.filter_map(|part| part.split_once('=')).any(|(key, q)| {
        key.trim().eq_ignore_ascii_case("q") && q.trim().parse::<f32>().is_ok_and(|q| q <= 0.0)
    });
    (!name.is_empty()).then_some((name, !refused))
}

/// Whether the body is declared as JSON.
pub fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// Who sent a modern request, by its own word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModernPeer {
    pub client: Option<String>,
    /// It renders the pages of MCP Apps.
    pub apps: bool,
}

/// Checks a request of the stateless era: `_meta`, then the headers against the body (`None` on stdio, which has
/// no headers), then the version.
///
/// # Errors
/// With the code and HTTP status that the specification gives each case.
pub fn check_modern(headers: Option<&Headers>, request: &Request) -> Result<ModernPeer, Fault> {
    let meta = request.meta();
    let version = meta.and_then(|m| m.get(key!("protocolVersion"))).and_then(Value::as_str);
    let capabilities = meta.and_then(|m| m.get(key!("clientCapabilities"))).filter(|c| c.is_object());
    let (Some(meta), Some(version), Some(_)) = (meta, version, capabilities) else {
        return Err(Fault::invalid_params(
            "_meta must carry io.modelcontextprotocol/protocolVersion (a string) and \
             io.modelcontextprotocol/clientCapabilities (an object)",
        )
        .bad_request());
    };
    if let Some(headers) = headers {
        same("MCP-Protocol-Version", &headers.version, version)?;
    }
    if Version::parse(version).is_none_or(|v| !v.is_modern()) {
        return Err(Fault::unsupported_version(version));
    }
    if let Some(headers) = headers {
        same("Mcp-Method", &headers.method, &request.method)?;
        check_name(headers, request)?;
    }
    let client = meta.get(key!("clientInfo")).and_then(|info| info.get("name")).and_then(Value::as_str);
    Ok(ModernPeer { client: client.map(str::to_owned), apps: apps::renders(capabilities) })
}

fn same(name: &str, header: &Header, body: &str) -> Result<(), Fault> {
    match header {
        Header::One(text) if text == body => Ok(()),
        Header::One(_) => Err(Fault::header_mismatch(&format!("{name} differs from the body"))),
        Header::Absent => Err(Fault::header_mismatch(&format!("{name} is missing"))),
        Header::Malformed => Err(Fault::header_mismatch(&format!("{name} is malformed or there twice"))),
    }
}

/// `Mcp-Name` mirrors the parameter that says what a call is about.
fn check_name(headers: &Headers, request: &Request) -> Result<(), Fault> {
    let parameter = match request.method.as_str() {
        "tools/call" | "prompts/get" => "name",
        "resources/read" => "uri",
        "tasks/get" | "tasks/update" | "tasks/cancel" => "taskId",
        _ => return Ok(()),
    };
    let body = request.params.get(parameter).and_then(Value::as_str);
    match (&headers.name, body) {
        // The handler answers what is missing in the body.
        (Header::Absent, None) => Ok(()),
        (Header::One(text), body) => same("Mcp-Name", &Header::One(decode(text)?), body.unwrap_or_default()),
        (header, body) => same("Mcp-Name", header, body.unwrap_or_default()),
    }
}

/// Checks the headers that mirror arguments: those whose schema has `x-mcp-header`, reachable by `properties` only.
///
/// # Errors
/// -32020: an argument is there and its header is not, or says something else.
pub fn check_params(mirrored: &Mirrored, schema: &Value, arguments: Option<&Value>) -> Result<(), Fault> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Ok(()) };
    for (name, property) in properties {
        let argument = arguments.and_then(|arguments| arguments.get(name)).filter(|value| !value.is_null());
        let Some(short) = property.get("x-mcp-header").and_then(Value::as_str) else {
            check_params(mirrored, property, argument)?;
            continue;
        };
        let shown = format!("Mcp-Param-{short}");
        match (mirrored.get(short), argument) {
            (Header::Absent, None) => {}
            (Header::One(text), Some(argument)) if mirrors(&decode(text)?, argument) => {}
            (Header::One(_), _) => {
                return Err(Fault::header_mismatch(&format!("{shown} differs from the body")));
            }
            (header, _) => same(&shown, header, "")?,
        }
    }
    Ok(())
}

fn mirrors(text: &str, argument: &Value) -> bool {
    match argument {
        Value::String(argument) => text == argument,
        Value::Bool(argument) => text == if *argument { "true" } else { "false" },
        Value::Number(argument) => text.parse::<f64>().is_ok_and(|n| Some(n) == argument.as_f64()),
        _ => false,
    }
}

/// Header values beyond ASCII travel as `=?base64?...?=`.
fn decode(text: &str) -> Result<String, Fault> {
    let Some(encoded) = text.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Ok(text.to_owned());
    };
    let bad = || Fault::header_mismatch("a header is not valid base64 of UTF-8 text");
    STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::wire::frame::{Message, read};
    use serde_json::json;

    fn accept(values: &[&str]) -> (bool, bool) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::ACCEPT, value.parse().unwrap());
        }
        let accept = Accept::read(&headers);
        (accept.json, accept.stream)
    }

    #[test]
    fn the_peer_gets_only_what_it_accepts() {
        for (values, expected) in [
            (&[][..], (true, true)),
            (&["*/*"], (true, true)),
            (&["application/json, text/event-stream"], (true, true)),
            (&["application/json", "text/event-stream"], (true, true)),
            (&["Application/JSON; charset=utf-8"], (true, false)),
            (&["application/*"], (true, false)),
            (&["text/event-stream;q=0.5"], (false, true)),
            (&["*/*, text/event-stream;q=0"], (true, false)),
            (&["application/json;q=0, */*"], (false, true)),
            (&["text/html"], (false, false)),
        ] {
            assert_eq!(accept(values), expected, "{values:?}");
        }
    }

    #[test]
    fn a_body_is_json_whatever_its_parameters_and_case() {
        for (value, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=UTF-8", true),
            ("text/plain", false),
            ("application/jsonp", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
            assert_eq!(is_json(&headers), expected, "{value}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }

    /// The code a modern `tools/call` of `generate_image` ends with, 0 for none.
    fn code(headers: &[(&str, &str)], meta: Value, name: &str) -> i32 {
        let mut map = HeaderMap::new();
        for (key, value) in headers {
            let key: http::HeaderName = key.parse().unwrap();
            map.append(key, value.parse().unwrap());
        }
        let value = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "_meta": meta}});
        let Ok(Message::Request(request)) = read(value) else { panic!() };
        check_modern(Some(&Headers::read(&map)), &request).err().map_or(0, |fault| {
            assert_eq!(fault.status, 400, "each of these is a bad request");
            fault.code
        })
    }

    fn meta(version: &str) -> Value {
        json!({"io.modelcontextprotocol/protocolVersion": version, "io.modelcontextprotocol/clientCapabilities": {}})
    }

    #[test]
    fn headers_and_body_must_say_the_same() {
        let version = ("MCP-Protocol-Version", "2026-07-28");
        let method = ("mcp-method", "tools/call");
        let name = ("Mcp-Name", "générer");
        let encoded = ("Mcp-Name", "=?base64?Z8OpbsOpcmVy?=");
        let good = meta("2026-07-28");
        assert_eq!(code(&[version, method, encoded], good.clone(), "générer"), 0);
        assert_eq!(
            code(&[version, method, ("Mcp-Name", " a ")], good.clone(), "a"),
            0,
            "space around is trimmed"
        );
        for (headers, why) in [
            (&[method, encoded][..], "no version"),
            (&[version, encoded], "no method"),
            (&[version, method], "no name"),
            (&[version, version, method, encoded], "version twice"),
            (&[version, ("mcp-method", "Tools/Call"), encoded], "values keep their case"),
            (&[version, method, ("Mcp-Name", "other")], "another name"),
            (&[version, method, ("Mcp-Name", "=?base64?!!!?=")], "bad base64"),
            (&[version, method, ("Mcp-Name", "=?base64?/w==?=")], "no UTF-8"),
            (&[version, method, name], "raw bytes beyond ASCII"),
            (&[("MCP-Protocol-Version", "2025-11-25"), method, encoded], "another version"),
        ] {
            assert_eq!(code(headers, good.clone(), "générer"), -32020, "{why}");
        }
    }

    #[test]
    fn meta_comes_before_headers_and_headers_before_the_version() {
        let headers =
            [("MCP-Protocol-Version", "2099-01-01"), ("Mcp-Method", "tools/call"), ("Mcp-Name", "a")];
        for bad in [
            json!({}),
            json!({"io.modelcontextprotocol/protocolVersion": 7}),
            json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"}),
            json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": []}),
        ] {
            assert_eq!(code(&[], bad.clone(), "a"), -32602, "{bad}");
        }
        assert_eq!(code(&headers, meta("2099-01-01"), "a"), -32022, "not served");
        assert_eq!(code(&headers, meta("2026-07-28"), "a"), -32020, "different");
    }

    #[test]
    fn a_plain_curl_is_told_from_a_library() {
        let from = |pairs: &[(&str, &str)]| {
            let mut map = HeaderMap::new();
            for (key, value) in pairs {
                let key: http::HeaderName = key.parse().unwrap();
                map.append(key, value.parse().unwrap());
            }
            Headers::read(&map).from_library
        };
        assert!(!from(&[("accept", "*/*"), ("content-type", "application/json")]));
        assert!(from(&[("mcp-session-id", "x")]));
        assert!(from(&[("accept", "application/json, text/event-stream")]), "2025-03-26 has no other mark");
    }
}
