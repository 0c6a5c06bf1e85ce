//! Issuers of tokens: everything about them that can be proven without asking them.

use super::{super::problem::nearest, Checks, network};
use crate::{
    auth::{self, Claim, Issuer, Mode, Scope},
    config::{Config, files},
};
use plugin_api::value::Span;
use std::path::{Path, PathBuf};
use url::Url;

/// What a token may be signed with: a shared secret (`HS256`) would let every reader sign.
const ALGORITHMS: [&str; 9] =
    ["ES256", "ES384", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"];

impl Checks<'_> {
    pub fn issuers(&mut self, config: &Config) {
        let issuers = &config.auth.issuers;
        if config.auth.mode == Mode::Jwt && issuers.is_empty() {
            self.wrong("auth.mode", "`jwt` takes tokens alone, and `auth.issuers` names no issuer".into());
        }
        for (n, issuer) in issuers.iter().enumerate() {
            let path = format!("auth.issuers[{n}]");
            self.issuer(issuer, &path);
            let first = issuers.iter().position(|other| other.issuer == issuer.issuer);
            if let Some(first) = first.filter(|first| *first < n) {
                let message = format!("`{}` is also that of auth.issuers[{first}]", issuer.issuer);
                self.wrong(&format!("{path}.issuer"), message);
            }
        }
    }

    fn issuer(&mut self, issuer: &Issuer, path: &str) {
        let at = |field: &str| format!("{path}.{field}");
        if issuer.leeway.is_some_and(|leeway| leeway > Span::secs(60)) {
            self.wrong(&at("leeway"), "at most 60s".into());
        }
        for (field, span) in
            [("jwks_refresh", issuer.jwks_refresh), ("jwks_max_stale", issuer.jwks_max_stale)]
        {
            if span.is_some_and(|span| span < Span::secs(1)) {
                self.wrong(&at(field), "at least 1s".into());
            }
        }
        for (field, missing) in [
            ("issuer", issuer.issuer.is_empty()),
            ("audience", issuer.audience.as_slice().iter().all(String::is_empty)),
            ("algorithms", issuer.algorithms.is_empty()),
        ] {
            if missing {
                self.wrong(path, format!("`{field}` is missing"));
            }
        }
        match (&issuer.jwks_url, &issuer.jwks_file) {
            (None, None) => self.wrong(path, "`jwks_url` or `jwks_file` is missing".into()),
            (Some(_), Some(_)) => self.wrong(&at("jwks_file"), "there is `jwks_url` already: use one".into()),
            _ => {}
        }
        for (field, url) in [("issuer", Some(&issuer.issuer)), ("jwks_url", issuer.jwks_url.as_ref())] {
            if let Some(message) = url.filter(|url| !url.is_empty()).and_then(|url| unsafe_url(url)) {
                self.wrong(&at(field), message);
            }
        }
        for (i, name) in issuer.algorithms.iter().enumerate() {
            if !ALGORITHMS.contains(&name.as_str()) {
                let hint = nearest(name, ALGORITHMS);
                let message = format!("`{name}` is not an algorithm with a public key{hint}");
                self.wrong(&at(&format!("algorithms[{i}]")), message);
            }
        }
        for (i, name) in issuer.types.iter().enumerate() {
            if name.is_empty() || name.contains('/') {
                let message = format!("`{name}` is no type such as at+jwt; leave out `application/`");
                self.wrong(&at(&format!("types[{i}]")), message);
            }
        }
        if let Some(Claim::Fixed { value }) = &issuer.claims.scopes {
            for word in value.split_whitespace() {
                if !issuer.scope_map.contains_key(word) && word.parse::<Scope>().is_err() {
                    let known = Scope::ALL.map(Scope::as_str);
                    let message = format!("`{word}` is no scope{}", nearest(word, known));
                    self.wrong(&at("claims.scopes.value"), message);
                }
            }
        }
    }

    /// Reads the files of keys, and makes their paths independent of the working directory. Returns warnings.
    pub fn key_files(&mut self, config: &mut Config, folder: &Path, read: &mut Vec<PathBuf>) -> Vec<String> {
        let mut warnings = Vec::new();
        for (n, issuer) in config.auth.issuers.iter_mut().enumerate() {
            let Some(name) = issuer.jwks_file.clone() else { continue };
            let full = folder.join(&name);
            let path = format!("auth.issuers[{n}].jwks_file");
            let text = files::read(&full).map_err(|why| format!("the file `{name}` cannot be read: {why}"));
            let tried = text.and_then(|text| {
                auth::try_text(issuer, text.as_bytes()).map_err(|why| format!("the file `{name}`: {why}"))
            });
            match tried {
                Ok((_, skipped)) => warnings.extend(skipped.into_iter().map(|why| format!("{path}: {why}"))),
                Err(message) => self.wrong(&path, message),
            }
            issuer.jwks_file = Some(full.display().to_string());
            read.push(full);
        }
        let unused = matches!(config.auth.mode, Mode::Keys | Mode::None);
        if unused && !config.auth.issuers.is_empty() {
            warnings.push("auth.issuers: they have no say in this `auth.mode`; use `any` or `jwt`".into());
        }
        warnings
    }
}

/// What speaks against a URL whose answers are believed.
fn unsafe_url(text: &str) -> Option<String> {
    let Ok(url) = Url::parse(text) else {
        return Some(format!("`{text}` is not a URL such as https://login.example.com/"));
    };
    if url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Some("such a URL has no user and no fragment".into());
    }
    match url.scheme() {
        "https" => None,
        "http" if network::is_loopback(&url) => None,
        _ => {
            Some(format!("`{text}` is not protected on its way: use https (http is good for loopback only)"))
        }
    }
}
