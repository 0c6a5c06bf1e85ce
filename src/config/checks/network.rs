//! Addresses, URLs and paths.

use super::Checks;
use crate::{auth::Mode, config::Config};
use plugin_api::value::OneOrMany;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};
use url::Url;

impl Checks<'_> {
    /// The first address that is open to other machines.
    pub fn listeners(&mut self, config: &Config) -> Option<SocketAddr> {
        let (server, mut open) = (&config.server, None);
        let single = matches!(server.listen, OneOrMany::One(_));
        let protected = server.tls.is_some() || server.insecure;
        for (n, text) in server.listen.as_slice().iter().enumerate() {
            let path = if single { "server.listen".to_owned() } else { format!("server.listen[{n}]") };
            match text.parse::<SocketAddr>() {
                Err(_) => self.wrong(&path, not_an_address(text)),
                Ok(address) if !address.ip().is_loopback() => {
                    open = open.or(Some(address));
                    if !protected {
                        let message = format!(
                            "{address} is open to other machines: it needs `tls`, or `insecure: true` behind a proxy that has it"
                        );
                        self.wrong(&path, message);
                    }
                }
                Ok(_) => {}
            }
        }
        if server.listen.as_slice().is_empty() {
            self.wrong("server.listen", "at least one address is needed".into());
        }
        if let Some(text) = &server.admin_listen
            && text.parse::<SocketAddr>().is_err()
        {
            self.wrong("server.admin_listen", not_an_address(text));
        }
        if let (Mode::None, Some(address)) = (config.auth.mode, open) {
            let message = format!("`none` asks nobody, and {address} is open to other machines: use `keys`");
            self.wrong("auth.mode", message);
        }
        open
    }

    pub fn urls(&mut self, config: &mut Config) {
        for (path, field) in [
            ("server.public_url", &mut config.server.public_url),
            ("storage.base_url", &mut config.storage.base_url),
        ] {
            match field.as_deref().map(base) {
                Some(Ok(url)) => *field = Some(url),
                Some(Err(message)) => self.wrong(path, message),
                None => {}
            }
        }
    }

    pub fn browsers_and_proxies(&mut self, config: &Config) {
        for (n, origin) in config.server.allowed_origins.iter().enumerate() {
            if origin != "*" && !is_origin(origin) {
                let message = format!("`{origin}` is not an origin such as https://app.example.com, nor `*`");
                self.wrong(&format!("server.allowed_origins[{n}]"), message);
            }
        }
        for (n, proxy) in config.server.trusted_proxies.iter().enumerate() {
            if !is_network(proxy) {
                let message = format!("`{proxy}` is neither an address nor a network such as 10.0.0.0/8");
                self.wrong(&format!("server.trusted_proxies[{n}]"), message);
            }
        }
    }

    pub fn paths(&mut self, config: &Config) {
        let paths = &config.mcp.paths;
        let mut seen = BTreeMap::new();
        for (field, path) in [
            ("mcp.paths.jobs", paths.jobs.as_deref()),
            ("mcp.paths.sse", paths.sse.as_deref()),
            ("mcp.paths.messages", paths.messages.as_deref()),
            ("mcp.paths.blocking", paths.blocking.as_deref()),
            ("console.path", Some(config.console.path.as_str())),
        ] {
            let Some(path) = path else { continue };
            let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.~".contains(c);
            if !path.starts_with('/') || path.len() < 2 || !path.chars().all(plain) {
                self.wrong(field, format!("`{path}` is not a path such as /mcp"));
            } else if let Some(other) = seen.insert(path, field) {
                self.wrong(field, format!("`{path}` is also {other}"));
            }
        }
    }
}

fn is_origin(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        let origin = url.origin();
        // An ending slash or a path would never equal what a browser sends.
        origin.is_tuple() && !text.ends_with('/') && matches!(url.path(), "" | "/") && url.query().is_none()
    })
}

fn is_network(text: &str) -> bool {
    let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let most = if address.is_ipv4() { 32 } else { 128 };
    bits.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= most))
}

fn not_an_address(text: &str) -> String {
    format!("`{text}` is not an address with a port, such as 127.0.0.1:8000 or [::1]:8000")
}

/// An absolute http(s) URL without its trailing slash.
fn base(text: &str) -> Result<String, String> {
    let bad = || "not a URL such as https://images.example.com".to_owned();
    let url = Url::parse(text).map_err(|_| bad())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(bad());
    }
    if url.query().is_some()
        || url.fragment().is_some()
        || !url.username().is_empty()
        || url.password().is_some()
    {
        return Err("a base URL has no user, query or fragment".into());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback() || ip.is_unspecified(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback() || ip.is_unspecified(),
        None => false,
    }
}
