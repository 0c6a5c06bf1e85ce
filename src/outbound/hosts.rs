//! Lists of hosts: `img.example.com`, `*.example.com`, `img-*.example.com`, `10.0.0.5`, `minio.lan:9000`.

use std::net::IpAddr;
use url::{Host, Url};

/// An entry that is no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no host: write it like img.example.com, *.example.com or 10.0.0.5:9000")]
pub struct BadHost(String);

/// Hosts that downloads may go to. Compared label by label from the right, never by a part of a label's text, except
/// where the entry has a `*` there; a leading `*` stands for one label or more.
#[derive(Debug, Clone, Default)]
pub struct HostList {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    name: Name,
    port: Option<u16>,
    /// Written by the operator, not by a plugin.
    listed: bool,
}

#[derive(Debug, Clone)]
enum Name {
    Address(IpAddr),
    /// From the right, in lower case.
    Labels(Vec<String>),
}

/// What a list says about a URL's host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Not in the list.
    Unknown,
    /// https to public addresses.
    Allowed,
    /// Named by the operator without a wildcard: http too, and any address where the entry could mean no public
    /// one, or says the port as well.
    Named { any_address: bool },
}

impl HostList {
    /// `known`: what a plugin says of its vendor; `listed`: the operator's own list, which may name http, loopback
    /// and ports.
    ///
    /// # Errors
    /// The first entry that is no host.
    pub fn new<S: AsRef<str>>(known: &[S], listed: &[S]) -> Result<HostList, BadHost> {
        let known = known.iter().map(|text| Entry::parse(text.as_ref(), false));
        let listed = listed.iter().map(|text| Entry::parse(text.as_ref(), true));
        Ok(HostList { entries: known.chain(listed).collect::<Result<_, _>>()? })
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The best that any entry says; an entry with another port says nothing.
    pub(super) fn standing(&self, url: &Url) -> Standing {
        let Some(host) = url.host() else { return Standing::Unknown };
        let (mut allowed, mut named, mut any_address) = (false, false, false);
        for entry in self.entries.iter().filter(|entry| entry.covers(&host, url.port_or_known_default())) {
            allowed = true;
            if entry.listed && !entry.has_wildcard() {
                named = true;
                any_address |= entry.port.is_some() || entry.is_never_public();
            }
        }
        match (named, allowed) {
            (true, _) => Standing::Named { any_address },
            (false, true) => Standing::Allowed,
            (false, false) => Standing::Unknown,
        }
    }
}

impl Entry {
    fn parse(text: &str, listed: bool) -> Result<Entry, BadHost> {
        let bad = || BadHost(text.to_owned());
        let bare = text.trim();
        let address = bare.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        let (host, port) = match (address, bare.rsplit_once(':')) {
            (Some(_), _) | (None, None) => (bare, None),
            (None, Some((host, port))) => (host, Some(port.parse().map_err(|_| bad())?)),
        };
        let unbracketed = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = unbracketed.parse::<IpAddr>() {
            return Ok(Entry { name: Name::Address(address), port, listed });
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'*');
        let labels: Vec<String> = labels(host).map(str::to_ascii_lowercase).collect();
        let good = labels.iter().all(|label| !label.is_empty() && label.bytes().all(plain));
        // `*` and `*.com` would let nearly everybody in.
        let wide = labels.iter().take(2).any(|label| label == "*");
        if labels.is_empty() || !good || wide {
            return Err(bad());
        }
        Ok(Entry { name: Name::Labels(labels), port, listed })
    }

    fn has_wildcard(&self) -> bool {
        matches!(&self.name, Name::Labels(labels) if labels.iter().any(|label| label.contains('*')))
    }

    /// An address, or a name that only this machine or network knows.
    fn is_never_public(&self) -> bool {
        match &self.name {
            Name::Address(_) => true,
            Name::Labels(labels) => labels.len() == 1 || labels.first().is_some_and(|l| l == "localhost"),
        }
    }

    fn covers(&self, host: &Host<&str>, port: Option<u16>) -> bool {
        let port_fits = match self.port {
            Some(own) => port == Some(own),
            None => matches!(port, Some(80 | 443)),
        };
        port_fits
            && match (&self.name, host) {
                (Name::Address(IpAddr::V4(own)), Host::Ipv4(host)) => own == host,
                (Name::Address(IpAddr::V6(own)), Host::Ipv6(host)) => own == host,
                (Name::Labels(own), Host::Domain(host)) => same_labels(own, host),
                _ => false,
            }
    }
}

/// From the right, without the root's trailing dot.
fn labels(host: &str) -> impl Iterator<Item = &str> {
    host.strip_suffix('.').unwrap_or(host).rsplit('.')
}

fn same_labels(own: &[String], host: &str) -> bool {
    let host: Vec<&str> = labels(host).collect();
    let open = own.last().is_some_and(|label| label == "*");
    let lengths_fit = if open { host.len() >= own.len() } else { host.len() == own.len() };
    lengths_fit && own.iter().zip(&host).all(|(pattern, label)| fits(pattern, label))
}

/// One label; `*` stands for any of its letters, none included.
fn fits(pattern: &str, label: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern.eq_ignore_ascii_case(label) };
    let label = label.to_ascii_lowercase();
    let Some(rest) = label.strip_prefix(head) else { return false };
    if tail.contains('*') {
        return rest.char_indices().any(|(at, _)| fits(tail, &rest[at..])) || fits(tail, "");
    }
    rest.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(entry: &str, url: &str) -> Standing {
        HostList::new(&[], &[entry]).unwrap().standing(&Url::parse(url).unwrap())
    }

    #[test]
    fn hosts_are_compared_by_whole_labels_from_the_right() {
        for (entry, url) in [
            ("img.example.com", "https://img.example.com/x"),
            ("IMG.Example.com", "https://img.EXAMPLE.com/x"),
            ("img.example.com", "https://img.example.com./x"),
            ("*.example.com", "https://a.example.com/x"),
            ("*.example.com", "https://a.b.example.com/x"),
            ("img-*.tos.example.com", "https://img-7.tos.example.com/x"),
            ("dash-result-*.oss-*.example.com", "https://dash-result-wlcb.oss-cn-1.example.com/x"),
            ("a*b*c.example.com", "https://aXbYc.example.com/x"),
            ("10.0.0.5", "https://10.0.0.5/x"),
            ("[::1]", "https://[::1]/x"),
            ("::1", "https://[::1]/x"),
            ("[::1]:9000", "http://[::1]:9000/x"),
            ("minio:9000", "http://minio:9000/x"),
        ] {
            assert_ne!(listed(entry, url), Standing::Unknown, "{entry} {url}");
        }
        for (entry, url) in [
            ("example.com", "https://badexample.com/x"),
            ("example.com", "https://example.com.evil.net/x"),
            ("example.com", "https://a.example.com/x"),
            ("*.example.com", "https://example.com/x"),
            ("*.example.com", "https://badexample.com/x"),
            ("*.example.com", "https://a.example.com.evil.net/x"),
            ("img-*.example.com", "https://img-a.b.example.com/x"),
            ("img-*.example.com", "https://b.img-a.example.com/x"),
            ("a*b*c.example.com", "https://acb.example.com/x"),
            ("10.0.0.5", "https://10.0.0.50/x"),
            ("10.0.0.5", "https://10.0.0.5.example.com/x"),
            ("img.example.com", "https://img.example.com:8443/x"),
            ("img.example.com:8443", "https://img.example.com/x"),
        ] {
            assert_eq!(listed(entry, url), Standing::Unknown, "{entry} {url}");
        }
    }

    #[test]
    fn only_the_operators_exact_word_opens_more_than_https_to_public_addresses() {
        let any = Standing::Named { any_address: true };
        for (entry, url, standing) in [
            ("*.example.com", "https://a.example.com", Standing::Allowed),
            ("img.example.com", "https://img.example.com", Standing::Named { any_address: false }),
            ("img.example.com:443", "https://img.example.com", any),
            ("127.0.0.1:9000", "http://127.0.0.1:9000", any),
            ("localhost", "http://localhost", any),
            ("minio", "http://minio", any),
        ] {
            assert_eq!(listed(entry, url), standing, "{entry}");
        }
        let known = HostList::new(&["img.example.com"], &[]).unwrap();
        assert_eq!(known.standing(&Url::parse("https://img.example.com").unwrap()), Standing::Allowed);
    }

    #[test]
    fn an_entry_that_is_no_host_is_named() {
        for text in ["", "*", "*.com", "a..b", "https://a.example", "a.example/x", "a.example:port", "a b"] {
            let error = HostList::new(&[], &[text]).unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }
}
