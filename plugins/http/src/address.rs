//! Addresses of calls: built from templates, and never at a host that the settings do not name.

use plugin_api::{ErrorClass, ProviderError, join_url};
use plugin_declared::{
    address::{parse, percent},
    template::{Piece, Template, plain},
};
use serde_json::Value;
use url::{Origin, Url};

/// Where calls may go, with their credentials.
pub struct Addresses {
    base: String,
    /// Those of `base_url` and of whole addresses in the settings.
    origins: Vec<Origin>,
    /// Further hosts, by https only.
    hosts: Vec<String>,
}

impl Addresses {
    /// # Errors
    /// The base is no address, or a host is none; a sentence that names the field.
    pub fn new(base: &str, hosts: &[String]) -> Result<Addresses, String> {
        let origin = parse(base).map_err(|e| format!("base_url: {e}"))?.origin();
        for (n, host) in hosts.iter().enumerate() {
            let name = host.strip_prefix("*.").unwrap_or(host);
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
            if !name.contains('.') || !name.chars().all(plain) || name.split('.').any(str::is_empty) {
                return Err(format!(
                    "api_hosts[{n}]: `{host}` is not a host such as api.example.com or *.example.com"
                ));
            }
        }
        Ok(Addresses { base: base.to_owned(), origins: vec![origin], hosts: hosts.to_vec() })
    }

    /// Takes in the host of a template that is a whole address: the operator wrote it.
    ///
    /// # Errors
    /// What is wrong with the template.
    pub fn accept(&mut self, text: &str) -> Result<(), String> {
        let template = Template::parse(text);
        match template.0.first() {
            Some(Piece::Text(start)) if start.contains("://") => {
                let after = start.split_once("://").map_or("", |(_, rest)| rest);
                if template.0.len() > 1 && !after.contains('/') {
                    return Err("a placeholder cannot stand in the host of an address".into());
                }
                let origin = parse(start)?.origin();
                self.origins.push(origin);
                Ok(())
            }
            Some(Piece::Text(start)) if start.starts_with('/') => Ok(()),
            Some(Piece::Name { name, .. }) if name == "ticket" => Ok(()),
            _ => Err(format!("`{text}` begins with neither `/`, `https://` nor {{ticket}}")),
        }
    }

    /// The address that a template comes to. Values are percent-encoded; a part of the query whose value is absent is
    /// left out. Only `{ticket}` at the beginning may be a whole address.
    ///
    /// # Errors
    /// A value that an address cannot carry; a ticket that leads to a host that the settings do not name.
    pub fn fill(
        &self,
        template: &str,
        value: &dyn Fn(&str) -> Option<Value>,
    ) -> Result<String, ProviderError> {
        let bad = |what: String| ProviderError::new(ErrorClass::InvalidRequest, what);
        let (path, query) = template.split_once('?').map_or((template, None), |(p, q)| (p, Some(q)));
        let path = self.path(path, value).ok_or_else(|| bad("a value of the address is missing".into()))?;
        let query: Vec<String> = query
            .into_iter()
            .flat_map(|query| query.split('&'))
            .filter_map(|pair| encoded(&Template::parse(pair), value))
            .collect();
        let mark = if path.contains('?') { '&' } else { '?' };
        let whole = match query.is_empty() {
            true => path,
            false => format!("{path}{mark}{}", query.join("&")),
        };
        let is_whole = !whole.starts_with('/') && whole.contains("://");
        let whole = if is_whole { whole } else { join_url(&self.base, &whole) };
        let shown = whole.split(['?', '#']).next().unwrap_or_default();
        if shown.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err(bad("a value of `.` or `..` cannot be part of an address".into()));
        }
        let refused = |what: String| ProviderError::new(ErrorClass::BadResponse, what);
        let url = parse(&whole).map_err(|_| refused("the vendor's ticket is not an address".into()))?;
        if self.allows(&url) {
            return Ok(url.into());
        }
        let host = url.host_str().unwrap_or_default();
        Err(refused(format!(
            "the vendor's ticket leads to {host}, which gets no credentials; the operator can list it in api_hosts"
        )))
    }

    fn path(&self, path: &str, value: &dyn Fn(&str) -> Option<Value>) -> Option<String> {
        let mut template = Template::parse(path);
        let mut start = String::new();
        if let Some(Piece::Name { name, .. }) = template.0.first()
            && name == "ticket"
            && let ticket = plain(&value(name)?)
            && ticket.contains("://")
        {
            start = ticket;
            template.0.remove(0);
        }
        Some(start + &encoded(&template, value)?)
    }

    fn allows(&self, url: &Url) -> bool {
        let listed = |host: &str| {
            self.hosts.iter().any(|entry| match entry.strip_prefix('*') {
                Some(tail) => host.len() > tail.len() && host.ends_with(&tail.to_ascii_lowercase()),
                None => host.eq_ignore_ascii_case(entry),
            })
        };
        self.origins.contains(&url.origin())
            || (url.scheme() == "https" && url.port().is_none() && url.host_str().is_some_and(listed))
    }
}

fn encoded(template: &Template, value: &dyn Fn(&str) -> Option<Value>) -> Option<String> {
    let piece = |piece: &Piece| match piece {
        Piece::Text(text) => Some(text.clone()),
        // A model's name is the operator's own word, and often has a slash in it.
        Piece::Name { name, .. } => piece.value(value).map(|value| percent(&plain(&value), name == "model")),
    };
    template.0.iter().map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fill(addresses: &Addresses, template: &str, name: &str, text: &str) -> Result<String, ProviderError> {
        addresses.fill(template, &|asked| (asked == name).then(|| text.into()))
    }

    #[test]
    fn values_are_encoded_and_absent_parts_of_the_query_left_out() {
        let at = Addresses::new("https://api.example.com/v1", &[]).unwrap();
        let prompt = fill(&at, "/p/{prompt}?q={prompt}&seed={seed}&fixed=1", "prompt", "a/b?c&d #é").unwrap();
        let encoded = "a%2Fb%3Fc%26d%20%23%C3%A9";
        assert_eq!(prompt, format!("https://api.example.com/v1/p/{encoded}?q={encoded}&fixed=1"));
        let model = fill(&at, "/{model}", "model", "fal-ai/flux/schnell").unwrap();
        assert_eq!(model, "https://api.example.com/v1/fal-ai/flux/schnell");
        for dots in [".", ".."] {
            assert_eq!(
                fill(&at, "/p/{prompt}/x", "prompt", dots).unwrap_err().class,
                ErrorClass::InvalidRequest
            );
        }
        let inner = fill(&at, "/proxy/https://x/{prompt}", "prompt", "a").unwrap();
        assert_eq!(inner, "https://api.example.com/v1/proxy/https://x/a");
        assert_eq!(fill(&at, "/p/{seed}", "prompt", "x").unwrap_err().class, ErrorClass::InvalidRequest);
    }

    #[test]
    fn a_ticket_leads_only_where_the_settings_say() {
        let at = Addresses::new("https://api.example.com/v1", &["*.example.org".into()]).unwrap();
        let go = |ticket: &str| fill(&at, "{ticket}/status?x=1", "ticket", ticket);
        assert_eq!(go("https://api.example.com/r/1").unwrap(), "https://api.example.com/r/1/status?x=1");
        assert_eq!(go("https://eu.example.org/r?id=1").unwrap(), "https://eu.example.org/r?id=1/status&x=1");
        for elsewhere in [
            "https://evil.example/r",
            "http://api.example.com/r",
            "http://eu.example.org/r",
            "https://eu.example.org:8443/r",
            "https://example.org/r",
            "https://notexample.org/r",
            "https://api.example.com@evil.example/r",
            "https://user:pw@api.example.com/r",
            "file:///etc/passwd",
            "gopher://x",
        ] {
            let error = go(elsewhere).unwrap_err();
            assert_eq!(error.class, ErrorClass::BadResponse, "{elsewhere}");
        }
        // Sent as it was judged: what comes after the backslash is a path.
        let odd = go("https://api.example.com\\@evil.example/r").unwrap();
        assert_eq!(odd, "https://api.example.com/@evil.example/r/status?x=1");
        assert!(go("https://evil.example/r").unwrap_err().message.contains("evil.example"));
        let id = fill(&at, "/r/{ticket}", "ticket", "https://evil.example").unwrap();
        assert_eq!(
            id, "https://api.example.com/v1/r/https%3A%2F%2Fevil.example",
            "inside a path it is one part"
        );
    }

    #[test]
    fn mistakes_in_the_settings_are_told() {
        for base in ["api.example.com", "ftp://x", "https://", "https://a:b@c.example"] {
            assert!(Addresses::new(base, &[]).err().unwrap().starts_with("base_url: "), "{base}");
        }
        for host in ["*", "*.com ", "localhost", "a b.c", "https://x.y"] {
            let told = Addresses::new("https://x.example", &[host.into()]).err().unwrap();
            assert!(told.starts_with("api_hosts[0]: "), "{told}");
        }
        let mut at = Addresses::new("https://x.example", &[]).unwrap();
        for text in ["v1/x", "{model}/x", "https://{model}.example/x", "https://a{model}", ""] {
            assert!(at.accept(text).is_err(), "{text}");
        }
        at.accept("https://other.example/{model}").unwrap();
        assert!(fill(&at, "https://other.example/{model}", "model", "m").is_ok());
    }

    proptest! {
        #[test]
        fn no_value_changes_the_host_or_the_shape_of_an_address(text in ".{1,40}") {
            let at = Addresses::new("https://api.example.com", &[]).unwrap();
            if let Ok(address) = fill(&at, "/a/{prompt}/b?c={prompt}", "prompt", &text) {
                let url = Url::parse(&address).unwrap();
                prop_assert_eq!(url.host_str(), Some("api.example.com"));
                prop_assert_eq!(url.path_segments().unwrap().count(), 3);
                prop_assert_eq!(url.query_pairs().count(), 1);
                prop_assert_eq!(url.fragment(), None);
                prop_assert_eq!(url.query_pairs().next().unwrap().1, text);
            }
        }
    }
}
