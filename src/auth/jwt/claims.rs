//! What a token's claims must say (RFC 7519, 4.1), and who they make of its bearer.

use super::Refused;
use crate::auth::{Claim, Issuer, Principal, Scope};
use ring::digest;
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

type Claims = Map<String, Value>;

/// The end of the year 9999: later moments are mistakes.
const LAST_SECOND: f64 = 253_402_300_799.0;
/// OpenID Connect Core, 2: a subject has at most 255 characters.
const LONGEST_SUBJECT: usize = 255;
/// What the database keeps of a principal's name.
const LONGEST_NAME: usize = 191;
/// Between clocks, where `leeway` is left out.
const LEEWAY: Duration = Duration::from_secs(30);
/// Media types of an access token, where `types` is left out.
const TYPES: [&str; 2] = ["at+jwt", "JWT"];
/// Of ID tokens alone (OpenID Connect Core, 3.1.3.6 and 3.3.2.11).
const ID_TOKENS: [&str; 3] = ["at_hash", "c_hash", "s_hash"];
/// About the token, not about who bears it.
const OF_THE_TOKEN: [&str; 6] = ["iss", "aud", "exp", "nbf", "iat", "jti"];

/// Whether the claims hold now; gives the moment at which they end, leeway included, in µs.
pub fn hold(claims: &Claims, typ: Option<&str>, issuer: &Issuer, now_us: i64) -> Result<i64, Refused> {
    let leeway = issuer.leeway.map_or(LEEWAY, |leeway| *leeway).as_micros() as i64;
    let exp = moment(claims, "exp")?.ok_or(Refused::Bad("it has no `exp`"))?;
    let until_us = exp.saturating_add(leeway);
    if now_us >= until_us {
        return Err(Refused::Bad("it has expired"));
    }
    for name in ["nbf", "iat"] {
        if moment(claims, name)?.is_some_and(|from| now_us < from.saturating_sub(leeway)) {
            return Err(Refused::Bad("it is not good yet"));
        }
    }
    let ours = |value: &Value| issuer.audience.as_slice().iter().any(|ours| value == ours.as_str());
    let audience = match claims.get("aud") {
        Some(Value::Array(all)) => all.iter().all(Value::is_string) && all.iter().any(ours),
        Some(one) => ours(one),
        None => false,
    };
    if !audience {
        return Err(Refused::Bad("its `aud` does not name this gateway"));
    }
    // RFC 7515 4.1.9: `application/` may be left out. A token that says nothing is a JWT (RFC 7519, 5.1).
    let typ = typ.unwrap_or("JWT").to_ascii_lowercase();
    let typ = typ.strip_prefix("application/").unwrap_or(&typ);
    let good = match issuer.types.as_slice() {
        [] => TYPES.iter().any(|name| name.eq_ignore_ascii_case(typ)),
        all => all.iter().any(|name| name.eq_ignore_ascii_case(typ)),
    };
    if !good {
        return Err(Refused::Bad("its `typ` is not that of an access token"));
    }
    // Some issuers say it in a claim.
    let other = claims.get("typ").is_some_and(|typ| typ != "Bearer" && typ != "DPoP");
    if other || ID_TOKENS.iter().any(|name| claims.contains_key(*name)) {
        return Err(Refused::Bad("it is an ID token or a refresh token, not an access token"));
    }
    Ok(until_us)
}

/// A NumericDate, in µs.
fn moment(claims: &Claims, name: &str) -> Result<Option<i64>, Refused> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|s| (0.0..=LAST_SECOND).contains(s));
    let seconds = seconds.ok_or(Refused::Bad("a time in it is no number of seconds since 1970"))?;
    Ok(Some((seconds * 1e6) as i64))
}

/// Who bears it.
pub fn principal(claims: &Claims, issuer: &Issuer, teams: &BTreeSet<String>) -> Result<Principal, Refused> {
    let mapping = &issuer.claims;
    let subject = text(claims, mapping.subject.as_ref(), "sub").ok_or(Refused::Bad("it names no subject"))?;
    if subject.is_empty() || subject.len() > LONGEST_SUBJECT || subject.chars().any(char::is_control) {
        return Err(Refused::Bad("its subject is empty, too long, or has control characters"));
    }
    let team = text(claims, mapping.team.as_ref(), "team").ok_or(Refused::Bad("it names no team"))?;
    if !teams.contains(&team) {
        return Err(Refused::NoTeam(team.chars().take(64).filter(|c| !c.is_control()).collect()));
    }
    let words = match &mapping.scopes {
        None => words(claims.get("scope").or_else(|| claims.get("scp"))),
        Some(Claim::Name(name)) => words(find(claims, name)),
        Some(Claim::Fixed { value }) => value.split_whitespace().map(str::to_owned).collect(),
    };
    let known = |word: &String| issuer.scope_map.get(word).copied().or_else(|| word.parse().ok());
    let scopes: BTreeSet<Scope> = words.iter().filter_map(known).collect();
    let scopes: Vec<Scope> = scopes.into_iter().collect();
    let principal = Principal::new(&team, &name(&subject, &issuer.issuer), &scopes);
    Ok(Principal { claims: Arc::new(said(claims)), ..principal })
}

/// What a principal is called in jobs, limits and logs: two issuers may give the same subject, and no key may have a
/// name of this form.
fn name(subject: &str, issuer: &str) -> String {
    let name = format!("{subject}@{issuer}");
    if name.len() <= LONGEST_NAME {
        return name;
    }
    let digest = digest::digest(&digest::SHA256, name.as_bytes());
    let issuer: String = issuer.chars().take(100).collect();
    format!("{}@{issuer}", hex::encode(&digest.as_ref()[..16]))
}

/// Of one claim, or fixed. A list with one entry counts as that entry.
fn text(claims: &Claims, claim: Option<&Claim>, default: &str) -> Option<String> {
    let value = match claim {
        Some(Claim::Fixed { value }) => return Some(value.clone()),
        Some(Claim::Name(name)) => find(claims, name)?,
        None => claims.get(default)?,
    };
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(all) if all.len() == 1 => all[0].as_str().map(str::to_owned),
        _ => None,
    }
}

/// A claim by its name, which may have dots in it; else by a path into objects, such as `realm_access.roles`.
fn find<'a>(claims: &'a Claims, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| {
        let (first, rest) = name.split_once('.')?;
        find(claims.get(first)?.as_object()?, rest)
    })
}

/// A text with spaces (RFC 8693, 4.2) or a list of texts.
fn words(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => text.split(' ').map(str::to_owned).collect(),
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// The claims that routes can ask for.
fn said(claims: &Claims) -> BTreeMap<String, Vec<String>> {
    let values = |value: &Value| match value {
        Value::String(text) => vec![text.clone()],
        Value::Bool(flag) => vec![flag.to_string()],
        Value::Number(number) => vec![number.to_string()],
        other => words(Some(other)),
    };
    let about = claims.iter().filter(|(name, _)| !OF_THE_TOKEN.contains(&name.as_str()));
    about.map(|(name, value)| (name.clone(), values(value))).filter(|(_, all)| !all.is_empty()).collect()
}
