//! A token taken apart, nothing of it believed yet. Stricter than RFC 7515 asks: one form, no names twice, no
//! extensions.

use super::Refused;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// Longer names of keys are not looked up.
const LONGEST_KID: usize = 256;
/// Extensions that change what a token says (RFC 7515 4.1.11, RFC 7797, RFC 7516). Nobody is asked to understand them.
const FOREIGN: [&str; 5] = ["crit", "b64", "zip", "enc", "p2c"];

/// The header and the claims, and what the signature is over. `jku`, `x5u`, `jwk` and `x5c` are not read: keys come
/// from the configuration alone.
pub struct Jws<'a> {
    pub alg: String,
    pub kid: Option<String>,
    pub typ: Option<String>,
    pub claims: Map<String, Value>,
    pub message: &'a [u8],
    pub signature: &'a str,
}

impl<'a> Jws<'a> {
    pub fn read(token: &'a [u8]) -> Result<Jws<'a>, Refused> {
        let bad = |_| Refused::Bad("it is not three parts of base64url, the first two JSON objects");
        let token = std::str::from_utf8(token).map_err(|_| Refused::Bad("it is not ASCII"))?;
        let (message, signature) = token.rsplit_once('.').ok_or_else(|| bad(()))?;
        let (header, claims) = message.split_once('.').ok_or_else(|| bad(()))?;
        if header.is_empty() || claims.is_empty() || signature.is_empty() || claims.contains('.') {
            return Err(bad(()));
        }
        if BASE64_URL_SAFE_NO_PAD.decode(signature).is_err() {
            return Err(bad(()));
        }
        let mut header = object(header).ok_or_else(|| bad(()))?;
        if FOREIGN.iter().any(|name| header.contains_key(*name)) {
            return Err(Refused::Bad("its header has an extension"));
        }
        let mut text = |name: &str| match header.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Refused::Bad("its header has a value of the wrong type")),
        };
        let (alg, kid, typ) = (text("alg")?, text("kid")?, text("typ")?);
        let alg = alg.ok_or(Refused::Bad("its header has no `alg`"))?;
        if kid.as_ref().is_some_and(|kid| kid.len() > LONGEST_KID) {
            return Err(Refused::Bad("its `kid` is too long"));
        }
        let claims = object(claims).ok_or_else(|| bad(()))?;
        Ok(Jws { alg, kid, typ, claims, message: message.as_bytes(), signature })
    }
}

fn object(part: &str) -> Option<Map<String, Value>> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).ok()?;
    let mut json = serde_json::Deserializer::from_slice(&bytes);
    let value = Strict.deserialize(&mut json).ok()?;
    json.end().ok()?;
    match value {
        Value::Object(map) => Some(map),
        _ => None,
    }
}

/// JSON in which no object has a name twice (RFC 8259 4; RFC 7515 4; RFC 7519 4): readers disagree about which counts.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E: Error>(self, flag: bool) -> Result<Value, E> {
        Ok(flag.into())
    }
    fn visit_i64<E: Error>(self, n: i64) -> Result<Value, E> {
        Ok(n.into())
    }
    fn visit_u64<E: Error>(self, n: u64) -> Result<Value, E> {
        Ok(n.into())
    }
    fn visit_f64<E: Error>(self, n: f64) -> Result<Value, E> {
        Ok(n.into())
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }
    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = seq.next_element_seed(Strict)? {
            all.push(item);
        }
        Ok(all.into())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(Strict)?;
            if all.insert(name, value).is_some() {
                return Err(A::Error::custom("a name stands twice"));
            }
        }
        Ok(all.into())
    }
}
