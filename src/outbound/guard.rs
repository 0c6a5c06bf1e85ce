//! May this URL be fetched? Decided by the URL alone, before any name is resolved; what names resolve to is
//! checked by the resolver, at the moment of connecting.

use super::{FetchError, HostList, address, hosts::Standing};
use std::net::IpAddr;
use url::{Host, Url};

/// The rules of one kind of download.
#[derive(Debug, Clone)]
pub struct Guard {
    hosts: HostList,
    /// Public hosts that are not in the list, too.
    others: bool,
    pub(super) redirects: u32,
    pub(super) tries: u32,
}

/// Which client goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    PublicOnly,
    AnyAddress,
}

impl Guard {
    /// A vendor's result: only listed hosts, no redirect, three tries.
    pub fn results(hosts: HostList) -> Guard {
        Guard { hosts, others: false, redirects: 0, tries: 3 }
    }

    /// A caller's reference: any public host besides the listed ones, three redirects, each checked, one try.
    pub fn references(hosts: HostList) -> Guard {
        Guard { hosts, others: true, redirects: 3, tries: 1 }
    }

    /// Refuses what may not be fetched, with a sentence that names the host.
    pub(super) fn check(&self, url: &Url) -> Result<Way, FetchError> {
        let refuse = |why: String| Err(FetchError::Refused(why));
        if !matches!(url.scheme(), "https" | "http") {
            return refuse(format!("a `{}:` address is not fetched: only https is", url.scheme()));
        }
        let Some(host) = url.host() else { return refuse("the address has no host".into()) };
        if !url.username().is_empty() || url.password().is_some() {
            return refuse(format!("the address of {host} carries a user name or password"));
        }
        let standing = self.hosts.standing(url);
        let port = url.port_or_known_default().unwrap_or(0);
        if let Standing::Named { any_address: true } = standing {
            return Ok(Way::AnyAddress);
        }
        if is_inside(&host) {
            return refuse(format!(
                "{host} is not on the public Internet; the operator can allow it by listing {}",
                entry(&host, port)
            ));
        }
        if standing == Standing::Unknown && !self.others {
            let entry = if port == 443 { host.to_string() } else { entry(&host, port) };
            return refuse(format!(
                "{host} is not among the hosts whose results are fetched; the operator can list {entry}"
            ));
        }
        let named = matches!(standing, Standing::Named { .. });
        if url.scheme() == "http" && !named {
            return refuse(format!("{host} is only fetched by https"));
        }
        if port != 443 && !(named && port == 80) {
            let entry = entry(&host, port);
            return refuse(format!("port {port} of {host} is not fetched; the operator can list {entry}"));
        }
        Ok(Way::PublicOnly)
    }
}

fn entry(host: &Host<&str>, port: u16) -> String {
    format!("`{host}:{port}`")
}

/// By its spelling alone: an address that is not public, or a name that no public server has.
fn is_inside(host: &Host<&str>) -> bool {
    match host {
        Host::Ipv4(address) => !address::is_public(IpAddr::V4(*address)),
        Host::Ipv6(address) => !address::is_public(IpAddr::V6(*address)),
        Host::Domain(name) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            !name.contains('.') || name.ends_with(".localhost")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(guard: &Guard, url: &str) -> Result<Way, String> {
        guard.check(&Url::parse(url).unwrap()).map_err(|error| error.to_string())
    }
    fn references(listed: &[&str]) -> Guard {
        Guard::references(HostList::new(&[], listed).unwrap())
    }
    fn results(known: &[&str], listed: &[&str]) -> Guard {
        Guard::results(HostList::new(known, listed).unwrap())
    }

    /// Ways to write an address inside, and other addresses that are never fetched.
    const INSIDE: [&str; 34] = [
        "https://127.0.0.1/x",
        "https://127.1/x",
        "https://[::1]/x",
        "https://0.0.0.0/x",
        "https://0/x",
        "https://169.254.169.254/latest/meta-data",
        "https://10.1.2.3/x",
        "https://172.20.0.1/x",
        "https://192.168.0.1/x",
        "https://100.64.0.1/x",
        "https://[fc00::1]/x",
        "https://[fe80::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://[::ffff:7f00:1]/x",
        "https://[64:ff9b::7f00:1]/x",
        "https://[2002:7f00:1::]/x",
        "https://[2001:0:7f00:1::]/x",
        "https://0x7f.1/x",
        "https://0x7f000001/x",
        "https://2130706433/x",
        "https://017700000001/x",
        "https://①②⑦.⓪.⓪.①/x",
        "https://127。0。0。1/x",
        "https://%31%32%37.0.0.1/x",
        "https://localhost/x",
        "https://localhost./x",
        "https://LOCALHOST/x",
        "https://a.localhost/x",
        "https://metadata/x",
        "https://255.255.255.255/x",
        "https://224.0.0.1/x",
        "https://192.0.2.1/x",
        "https://[ff02::1]/x",
        "https://127.0.0.1./x",
    ];
    const REFUSED: [&str; 12] = [
        "http://ok@127.0.0.1/x",
        "https://ok@img.example.com/x",
        "https://ok:pass@img.example.com/x",
        "https://:pass@img.example.com/x",
        "http://img.example.com/x",
        "https://img.example.com:22/x",
        "https://img.example.com:6379/x",
        "https://img.example.com:8443/x",
        "file:///etc/passwd",
        "gopher://img.example.com/x",
        "data:image/png;base64,AAAA",
        "ftp://img.example.com/x",
    ];

    #[test]
    fn nothing_inside_is_fetched_however_it_is_spelled() {
        for guard in [references(&[]), references(&["*.example.com"]), results(&["*.example.com"], &[])] {
            for url in INSIDE.iter().chain(&REFUSED) {
                assert!(check(&guard, url).is_err(), "{url}");
            }
        }
        assert_eq!(check(&references(&[]), "https://img.example.com/x"), Ok(Way::PublicOnly));
        assert_eq!(check(&references(&[]), "https://1.1.1.1/x"), Ok(Way::PublicOnly));
    }

    #[test]
    fn a_result_comes_only_from_a_listed_host_and_a_refusal_names_it() {
        let guard = results(&["*.vendor.example.com"], &["img.example.org"]);
        assert_eq!(check(&guard, "https://a.vendor.example.com/x?sig=secret"), Ok(Way::PublicOnly));
        assert_eq!(check(&guard, "https://img.example.org/x"), Ok(Way::PublicOnly));
        let why = check(&guard, "https://other.example.com/x?sig=secret").unwrap_err();
        assert!(why.contains("other.example.com") && !why.contains("secret"), "{why}");
    }

    #[test]
    fn http_and_loopback_are_fetched_only_where_the_operator_names_the_host() {
        let named = results(&[], &["127.0.0.1:9000", "img.example.com", "minio"]);
        assert_eq!(check(&named, "http://127.0.0.1:9000/x"), Ok(Way::AnyAddress));
        assert_eq!(check(&named, "http://minio/x"), Ok(Way::AnyAddress));
        assert_eq!(check(&named, "http://img.example.com/x"), Ok(Way::PublicOnly));
        for url in ["http://127.0.0.1:9001/x", "http://127.0.0.1/x", "https://127.0.0.2:9000/x"] {
            let why = check(&named, url).unwrap_err();
            assert!(why.contains("127.0.0."), "{why}");
        }
        // What a plugin says of its vendor is not the operator's word.
        assert!(check(&results(&["img.example.com"], &[]), "http://img.example.com/x").is_err());
        assert!(check(&results(&["127.0.0.1"], &[]), "https://127.0.0.1/x").is_err());
    }
}
