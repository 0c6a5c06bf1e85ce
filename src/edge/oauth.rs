//! What clients are told that get their tokens at an issuer: challenges (RFC 6750, 3) and where the issuers are
//! (RFC 9728). Where only keys are taken there is neither, so that no client begins what cannot end.

use super::answer::{Answer, json};
use crate::auth::{Scope, Tokens};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

/// What nearly every call needs.
pub const USUAL: [Scope; 2] = [Scope::ImagesRead, Scope::ImagesWrite];
/// Before the path of an endpoint, or alone for the first one.
pub const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

#[derive(Serialize)]
struct Metadata<'a> {
    resource: String,
    authorization_servers: Vec<&'a str>,
    scopes_supported: Vec<String>,
    bearer_methods_supported: [&'a str; 1],
    resource_name: &'a str,
}

/// The metadata of the endpoint at `path`.
pub fn metadata(tokens: &Tokens, public_url: &str, path: &str) -> Answer {
    json(
        StatusCode::OK,
        &Metadata {
            resource: format!("{public_url}{path}"),
            authorization_servers: tokens.servers(),
            scopes_supported: tokens.asked_for(&USUAL),
            bearer_methods_supported: ["header"],
            resource_name: "image-gateway",
        },
    )
}

/// The challenge of the endpoint at `path`, for a request that had no credential or (`wrong`) one that is no good.
pub fn challenge(tokens: Option<&Tokens>, public_url: &str, path: &str, wrong: bool) -> HeaderValue {
    let known = match wrong {
        true => HeaderValue::from_static("Bearer error=\"invalid_token\""),
        false => HeaderValue::from_static("Bearer"),
    };
    let Some(tokens) = tokens else { return known };
    let error = match wrong {
        true => "error=\"invalid_token\", error_description=\"The token is not good here\", ",
        false => "",
    };
    let (metadata, scope) = (format!("{public_url}{WELL_KNOWN}{path}"), tokens.asked_for(&USUAL).join(" "));
    let text = format!("Bearer {error}resource_metadata=\"{metadata}\", scope=\"{scope}\"");
    text.try_into().unwrap_or(known)
}

/// The challenge of the endpoint at `path` for a credential without these scopes.
pub fn too_little(tokens: &Tokens, public_url: &str, path: &str, scopes: &[Scope]) -> HeaderValue {
    let scope = tokens.asked_for(scopes).join(" ");
    let text = format!(
        "Bearer error=\"insufficient_scope\", scope=\"{scope}\", resource_metadata=\"{public_url}{WELL_KNOWN}{path}\""
    );
    text.try_into().unwrap_or(HeaderValue::from_static("Bearer error=\"insufficient_scope\""))
}

/// Completes the challenge of an answer that asks for scopes: where they can be had, in the issuers' own words.
pub fn complete(answer: &mut Answer, tokens: &Tokens, public_url: &str, path: &str) {
    let asked = answer.headers().get(header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
    let Some((_, scopes)) = asked.and_then(|text| text.split_once("scope=\"")) else { return };
    let words = scopes.trim_end_matches('"').split(' ');
    let scopes: Vec<Scope> = words.filter_map(|word| word.parse().ok()).collect();
    let value = too_little(tokens, public_url, path, &scopes);
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, value);
}
