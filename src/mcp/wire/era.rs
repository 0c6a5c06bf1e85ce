//! Which era a message belongs to: body first, header second (the classifier of the TypeScript SDK).

use super::{
    frame,
    headers::{Header, Headers},
};
use crate::mcp::errors::Fault;
use serde_json::{Map, Value};

/// Prefix of the protocol's own keys in `_meta`.
macro_rules! key {
    ($name:literal) => {
        concat!("io.modelcontextprotocol/", $name)
    };
}
pub(crate) use key;

/// A published revision, in order of age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    V2024_11_05,
    V2025_03_26,
    V2025_06_18,
    V2025_11_25,
    V2026_07_28,
}

impl Version {
    /// Newest first, as we advertise them.
    pub const ALL: [Version; 5] = [
        Version::V2026_07_28,
        Version::V2025_11_25,
        Version::V2025_06_18,
        Version::V2025_03_26,
        Version::V2024_11_05,
    ];
    pub const NEWEST_LEGACY: Version = Version::V2025_11_25;
    /// What a request without a version header speaks.
    pub const ASSUMED: Version = Version::V2025_03_26;

    pub const fn as_str(self) -> &'static str {
        match self {
            Version::V2024_11_05 => "2024-11-05",
            Version::V2025_03_26 => "2025-03-26",
            Version::V2025_06_18 => "2025-06-18",
            Version::V2025_11_25 => "2025-11-25",
            Version::V2026_07_28 => "2026-07-28",
        }
    }
    pub fn parse(text: &str) -> Option<Version> {
        Version::ALL.into_iter().find(|v| v.as_str() == text)
    }
    fn parse_legacy(text: &str) -> Option<Version> {
        Version::parse(text).filter(|v| !v.is_modern())
    }
    /// Stateless: everything about the peer is in the request.
    pub fn is_modern(self) -> bool {
        self >= Version::V2026_07_28
    }
    /// What `initialize` answers to a version that was asked for.
    pub fn negotiate(asked: Option<&str>) -> Version {
        asked.and_then(Version::parse_legacy).unwrap_or(Version::NEWEST_LEGACY)
    }
}

/// Era of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// Each request proves itself: [`check_modern`](super::headers::check_modern) comes next.
    Modern,
    Legacy(Version),
}

/// What the body says about its version.
enum Claim {
    None,
    Legacy,
    /// A version that is not one of the four, or something that is no version at all.
    Modern,
}

fn claim(params: &Map<String, Value>) -> Claim {
    match frame::meta(params).and_then(|meta| meta.get(key!("protocolVersion"))) {
        None => Claim::None,
        Some(Value::String(version)) if Version::parse_legacy(version).is_some() => Claim::Legacy,
        Some(_) => Claim::Modern,
    }
}

/// Whether a header names 2026-07-28 or something that will come after it.
fn names_modern(header: &Header) -> bool {
    let dated = |text: &str| {
        text.len() == 10
            && text
                .bytes()
                .enumerate()
                .all(|(i, b)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() })
    };
    header.one().is_some_and(|text| dated(text) && text >= Version::V2026_07_28.as_str())
}

/// The version of a legacy message by its header.
fn legacy_version(header: &Header) -> Result<Version, Fault> {
    match header {
        Header::Absent => Ok(Version::ASSUMED),
        Header::One(text) => Version::parse_legacy(text).ok_or_else(|| Fault::unsupported_version(text)),
        Header::Malformed => Err(Fault::unsupported_version("")),
    }
}

/// The era of a POSTed message, given its method and parameters (`None` for a response).
///
/// # Errors
/// The message contradicts itself, or its version is unknown.
pub fn classify(headers: &Headers, said: Option<(&str, &Map<String, Value>)>) -> Result<Era, Fault> {
    let modern_header = names_modern(&headers.version);
    let (method, params) = match said {
        Some(said) => said,
        None if modern_header => return Ok(Era::Modern),
        None => return legacy_version(&headers.version).map(Era::Legacy),
    };
    match claim(params) {
        Claim::Modern => Ok(Era::Modern),
        Claim::None | Claim::Legacy if method == "initialize" && modern_header => {
            Err(Fault::header_mismatch("MCP-Protocol-Version names a version that has no initialize"))
        }
        // The header of a handshake says nothing: the version is just being agreed on.
        Claim::None | Claim::Legacy if method == "initialize" => {
            Ok(Era::Legacy(legacy_version(&headers.version).unwrap_or(Version::ASSUMED)))
        }
        Claim::None if modern_header || matches!(method, "server/discover" | "subscriptions/listen") => {
            Ok(Era::Modern)
        }
        Claim::Legacy if modern_header => {
            Err(Fault::header_mismatch("MCP-Protocol-Version and the version in _meta differ"))
        }
        Claim::None | Claim::Legacy => legacy_version(&headers.version).map(Era::Legacy),
    }
}

/// The version of a batch, which only 2025-03-26 has.
///
/// # Errors
/// The peer speaks a version without batches.
pub fn classify_batch(headers: &Headers, items: &[Value]) -> Result<Version, Fault> {
    let modern_item = items.iter().any(|item| {
        item.get("params")
            .and_then(|params| params.get("_meta"))
            .is_some_and(|meta| meta.get(key!("protocolVersion")).is_some())
    });
    if modern_item || names_modern(&headers.version) {
        return Err(Fault::invalid_request("this version has no batches"));
    }
    match legacy_version(&headers.version)? {
        Version::V2025_03_26 => Ok(Version::V2025_03_26),
        _ => Err(Fault::invalid_request("only 2025-03-26 has batches")),
    }
}

/// The era of a message on stdio, where there are no headers. `agreed` is what `initialize` settled for this
/// process; from then on everything is legacy.
pub fn classify_stdio(agreed: Option<Version>, method: &str, params: &Map<String, Value>) -> Era {
    let modern = matches!(claim(params), Claim::Modern)
        || matches!(method, "server/discover" | "subscriptions/listen");
    match agreed {
        Some(version) => Era::Legacy(version),
        None if modern => Era::Modern,
        None => Era::Legacy(Version::NEWEST_LEGACY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const MODERN: &str = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

    fn era(header: Option<&str>, method: &str, meta: &str) -> Result<Era, i32> {
        let params: Value = serde_json::from_str(&format!("{{\"_meta\":{meta}}}")).unwrap();
        let message =
            frame::read(json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})).unwrap();
        classify(&Headers::with_version(header), message.said()).map_err(|fault| fault.code)
    }

    #[test]
    fn every_row_of_the_table_gets_its_era() {
        use Version::*;
        let future = r#"{"io.modelcontextprotocol/protocolVersion":"2099-01-01"}"#;
        let mistyped = r#"{"io.modelcontextprotocol/protocolVersion":7}"#;
        let legacy = r#"{"io.modelcontextprotocol/protocolVersion":"2025-06-18"}"#;
        for (header, method, meta, expected) in [
            // The body claims a modern version, whatever the header says.
            (Some("2026-07-28"), "tools/list", MODERN, Ok(Era::Modern)),
            (None, "tools/list", MODERN, Ok(Era::Modern)),
            (Some("2025-06-18"), "tools/list", MODERN, Ok(Era::Modern)),
            (None, "tools/list", future, Ok(Era::Modern)),
            (None, "tools/list", mistyped, Ok(Era::Modern)),
            // initialize.
            (Some("2026-07-28"), "initialize", MODERN, Ok(Era::Modern)),
            (Some("2026-07-28"), "initialize", "{}", Err(-32020)),
            (None, "initialize", "{}", Ok(Era::Legacy(V2025_03_26))),
            (Some("2025-11-25"), "initialize", "{}", Ok(Era::Legacy(V2025_11_25))),
            (Some("nonsense"), "initialize", "{}", Ok(Era::Legacy(V2025_03_26))),
            // Only the header, or only the method, is modern.
            (Some("2026-07-28"), "tools/list", "{}", Ok(Era::Modern)),
            (Some("2099-01-01"), "tools/list", "{}", Ok(Era::Modern)),
            (None, "server/discover", "{}", Ok(Era::Modern)),
            (Some("2025-06-18"), "subscriptions/listen", "{}", Ok(Era::Modern)),
            // Legacy by header, by its absence, or refused.
            (Some("2025-11-25"), "tools/list", "{}", Ok(Era::Legacy(V2025_11_25))),
            (Some("2025-06-18"), "tools/list", "{}", Ok(Era::Legacy(V2025_06_18))),
            (Some("2025-03-26"), "tools/list", "{}", Ok(Era::Legacy(V2025_03_26))),
            (Some("2024-11-05"), "tools/list", "{}", Ok(Era::Legacy(V2024_11_05))),
            (None, "tools/list", "{}", Ok(Era::Legacy(V2025_03_26))),
            (Some("2025-01-01"), "tools/list", "{}", Err(-32022)),
            (Some("latest"), "tools/list", "{}", Err(-32022)),
            // A legacy version in _meta is one key too many and no more.
            (Some("2025-06-18"), "tools/list", legacy, Ok(Era::Legacy(V2025_06_18))),
            (None, "tools/list", legacy, Ok(Era::Legacy(V2025_03_26))),
        ] {
            assert_eq!(era(header, method, meta), expected, "{header:?} {method} {meta}");
        }
    }

    #[test]
    fn responses_belong_to_the_era_of_their_header() {
        let response = || frame::read(json!({"jsonrpc": "2.0", "id": 1, "result": {}})).unwrap();
        let era = |header| classify(&Headers::with_version(header), response().said()).unwrap();
        assert_eq!(era(None), Era::Legacy(Version::ASSUMED));
        assert_eq!(era(Some("2026-07-28")), Era::Modern);
    }

    #[test]
    fn batches_are_for_one_version_only() {
        let plain = [json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})];
        let modern = [json!({"jsonrpc": "2.0", "id": 1, "method": "ping",
            "params": {"_meta": serde_json::from_str::<Value>(MODERN).unwrap()}})];
        let batch = |header, items: &[Value]| {
            classify_batch(&Headers::with_version(header), items).map_err(|fault| fault.code)
        };
        assert_eq!(batch(None, &plain), Ok(Version::V2025_03_26));
        assert_eq!(batch(Some("2025-03-26"), &plain), Ok(Version::V2025_03_26));
        assert_eq!(batch(Some("2025-06-18"), &plain), Err(-32600));
        assert_eq!(batch(Some("2025-11-25"), &plain), Err(-32600));
        assert_eq!(batch(Some("2026-07-28"), &plain), Err(-32600));
        assert_eq!(batch(None, &modern), Err(-32600));
    }

    #[test]
    fn the_handshake_answers_the_version_asked_for_or_the_newest_legacy_one() {
        for (asked, agreed) in [
            (Some("2024-11-05"), "2024-11-05"),
            (Some("2025-06-18"), "2025-06-18"),
            (Some("2026-07-28"), "2025-11-25"),
            (Some("1999-01-01"), "2025-11-25"),
            (None, "2025-11-25"),
        ] {
            assert_eq!(Version::negotiate(asked).as_str(), agreed, "{asked:?}");
        }
    }
}
