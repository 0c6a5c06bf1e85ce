//! Which names the gateway answers to, and which web pages may speak to it.

use super::answer::{Answer, Refusal, no_content};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use std::net::IpAddr;
use url::Url;

const ALLOWED_HEADERS: &str = "authorization, content-type, accept, mcp-protocol-version, mcp-session-id, \
    mcp-method, mcp-name, last-event-id, idempotency-key, x-request-id";
const EXPOSED_HEADERS: &str =
    "mcp-session-id, www-authenticate, retry-after, ratelimit, ratelimit-policy, x-request-id";
const PARAMETER_PREFIX: &str = "mcp-param-";

/// The names and origins that are let in.
#[derive(Debug)]
pub struct Doors {
    /// Lower case, without port.
    hosts: Vec<String>,
    any_host: bool,
    origins: Vec<String>,
    any_origin: bool,
}

/// Where a request says it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visitor {
    /// No browser.
    NoOrigin,
    Welcome(HeaderValue),
    Foreign,
}

impl Doors {
    /// Host names are checked on loopback always (a page that rebinds its name to 127.0.0.1 is the danger), elsewhere
    /// when there is a list to check against.
    pub fn new(settings: &super::Settings, public_url: &str, loopback: bool) -> Doors {
        let mut hosts: Vec<String> = settings
            .allowed_hosts
            .iter()
            .filter_map(|h| host_name(&h.to_ascii_lowercase()).map(str::to_owned))
            .collect();
        let mut origins: Vec<String> = settings.allowed_origins.iter().map(|o| normal(o)).collect();
        if let Ok(url) = Url::parse(public_url) {
            hosts.extend(url.host_str().map(str::to_ascii_lowercase));
            origins.push(url.origin().ascii_serialization());
        }
        let listed = settings.public_url.is_some() || !settings.allowed_hosts.is_empty();
        Doors {
            any_host: settings.allowed_hosts.iter().any(|h| h == "*") || (!loopback && !listed),
            any_origin: settings.allowed_origins.iter().any(|o| o == "*"),
            hosts,
            origins,
        }
    }

    /// # Errors
    /// 403 for a name that is not ours.
    pub fn host(&self, host: Option<&str>) -> Result<(), Refusal> {
        let Some(host) = host else { return Ok(()) };
        if self.any_host || self.is_ours(host) {
            return Ok(());
        }
        let sentence =
            "This gateway does not answer to the name in the Host header; see server.allowed_hosts.";
        Err(Refusal::new(StatusCode::FORBIDDEN, sentence))
    }

    fn is_ours(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        host_name(&host).is_some_and(|name| is_loopback(name) || self.hosts.iter().any(|ours| ours == name))
    }

    pub fn visitor(&self, headers: &HeaderMap, host: Option<&str>) -> Visitor {
        let mut all = headers.get_all(header::ORIGIN).iter();
        let Some(value) = all.next() else { return Visitor::NoOrigin };
        let text = value.to_str().unwrap_or_default();
        if all.next().is_none() && self.may_speak(text, host) {
            Visitor::Welcome(value.clone())
        } else {
            Visitor::Foreign
        }
    }

    fn may_speak(&self, origin: &str, host: Option<&str>) -> bool {
        let Ok(url) = Url::parse(origin) else { return false };
        if !url.origin().is_tuple() || !matches!(url.path(), "" | "/") || url.query().is_some() {
            return false;
        }
        let name = url.host_str().unwrap_or_default().to_ascii_lowercase();
        let origin = url.origin().ascii_serialization();
        let same = || {
            let authority = origin.split_once("://").map(|(_, rest)| rest);
            host.is_some_and(|host| self.is_ours(host) && authority == Some(&host.to_ascii_lowercase()))
        };
        self.any_origin || is_loopback(&name) || self.origins.contains(&origin) || same()
    }
}

/// A configured origin in the form that browsers send.
fn normal(origin: &str) -> String {
    Url::parse(origin).map_or_else(|_| origin.into(), |url| url.origin().ascii_serialization())
}

/// The name of `name:port` or `[v6]:port`; none if that is no such thing.
fn host_name(host: &str) -> Option<&str> {
    let (name, port) = match host.rfind(']') {
        Some(end) if host.starts_with('[') => (&host[..=end], host[end + 1..].strip_prefix(':')),
        Some(_) => return None,
        None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
    };
    let port_fits = port.is_none_or(|p| p.bytes().all(|b| b.is_ascii_digit()));
    (!name.is_empty() && port_fits).then_some(name)
}

fn is_loopback(name: &str) -> bool {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The answer to OPTIONS. A page from elsewhere learns nothing.
pub fn preflight(visitor: &Visitor, headers: &HeaderMap, methods: &'static str) -> Result<Answer, Refusal> {
    let mut answer = no_content();
    let out = answer.headers_mut();
    out.insert(header::ALLOW, HeaderValue::from_static(methods));
    match visitor {
        Visitor::Foreign => return Err(foreign()),
        Visitor::NoOrigin => return Ok(answer),
        Visitor::Welcome(_) => {}
    }
    let asked = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).and_then(|v| v.to_str().ok());
    let parameters = asked.unwrap_or_default().split(',').map(|name| name.trim().to_ascii_lowercase());
    let mut allowed = ALLOWED_HEADERS.to_owned();
    for name in parameters.filter(|name| name.starts_with(PARAMETER_PREFIX)).take(32) {
        if HeaderName::from_bytes(name.as_bytes()).is_ok() {
            allowed.push_str(", ");
            allowed.push_str(&name);
        }
    }
    if let Ok(allowed) = HeaderValue::from_str(&allowed) {
        out.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    }
    out.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
    out.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    Ok(answer)
}

pub fn foreign() -> Refusal {
    let sentence = "Pages of this origin may not call the gateway; see server.allowed_origins.";
    Refusal::new(StatusCode::FORBIDDEN, sentence)
}

/// Lets the page read the answer, if it may.
pub fn admit(answer: &mut Answer, visitor: &Visitor) {
    let headers = answer.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Visitor::Welcome(origin) = visitor {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED_HEADERS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::Settings;

    fn doors(hosts: &[&str], origins: &[&str], loopback: bool) -> Doors {
        let settings = Settings {
            allowed_hosts: hosts.iter().map(ToString::to_string).collect(),
            allowed_origins: origins.iter().map(ToString::to_string).collect(),
            ..Settings::default()
        };
        Doors::new(&settings, "https://Images.example.com/base", loopback)
    }

    fn welcome(doors: &Doors, origin: &str, host: &str) -> bool {
        let headers = HeaderMap::from_iter([(header::ORIGIN, origin.parse().unwrap())]);
        matches!(doors.visitor(&headers, Some(host)), Visitor::Welcome(_))
    }

    #[test]
    fn on_loopback_only_our_names_are_answered() {
        let doors = doors(&["box.lan"], &[], true);
        for host in [
            "localhost",
            "LOCALHOST:8000",
            "127.0.0.1:8000",
            "[::1]:8000",
            "127.9.9.9",
            "box.lan:1",
            "images.example.com",
        ] {
            assert!(doors.host(Some(host)).is_ok(), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            ":80",
            "localhost:8000:1",
            "[::1",
            "10.0.0.1",
        ] {
            assert!(doors.host(Some(host)).is_err(), "{host}");
        }
    }

    #[test]
    fn elsewhere_names_are_checked_when_there_is_a_list() {
        assert!(doors(&[], &[], false).host(Some("any.example")).is_ok());
        assert!(doors(&["box.lan"], &[], false).host(Some("any.example")).is_err());
        assert!(doors(&["*"], &[], true).host(Some("any.example")).is_ok());
    }

    #[test]
    fn pages_of_ours_loopback_and_the_list_may_speak() {
        let doors = doors(&["box.lan"], &["https://app.example:8443"], true);
        for origin in [
            "https://images.example.com",
            "http://localhost:6274",
            "http://127.0.0.1",
            "http://[::1]:3000",
            "https://app.example:8443",
        ] {
            assert!(welcome(&doors, origin, "127.0.0.1:8000"), "{origin}");
        }
        assert!(welcome(&doors, "http://box.lan:8000", "box.lan:8000"), "the page it served itself");
        for origin in [
            "null",
            "https://evil.example",
            "http://images.example.com",
            "https://app.example",
            "http://app.example:8443",
            "https://app.example:8443.evil.example",
            "http://box.lan:9000",
            "file://",
            "http://localhost.evil.example",
            "https://x/path",
        ] {
            assert!(!welcome(&doors, origin, "box.lan:8000"), "{origin}");
        }
    }

    #[test]
    fn a_rebound_name_is_not_the_same_origin() {
        let open = doors(&[], &[], false);
        assert!(!welcome(&open, "http://evil.example:8000", "evil.example:8000"));
        let any = doors(&[], &["*"], false);
        assert!(welcome(&any, "https://anywhere.example", "x"));
        assert!(!welcome(&any, "null", "x"), "a page without an origin is nobody's");
    }

    #[test]
    fn a_preflight_names_what_may_be_sent() {
        let asked = "Mcp-Param-City, x-other, mcp-param-a b";
        let headers =
            HeaderMap::from_iter([(header::ACCESS_CONTROL_REQUEST_HEADERS, asked.parse().unwrap())]);
        let visitor = Visitor::Welcome(HeaderValue::from_static("http://localhost"));
        let answer = preflight(&visitor, &headers, "POST").unwrap();
        let allowed = answer.headers()[header::ACCESS_CONTROL_ALLOW_HEADERS].to_str().unwrap();
        for name in ["authorization", "mcp-session-id", "last-event-id", "mcp-param-city"] {
            assert!(allowed.contains(name), "{name}");
        }
        assert!(!allowed.contains("x-other") && !allowed.contains("a b"), "{allowed}");
        assert!(preflight(&Visitor::Foreign, &headers, "POST").is_err());
    }
}
