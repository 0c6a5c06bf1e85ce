//! An issuer's published keys (RFC 7517), each with the one algorithm it is used for.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use ring::digest;
use serde::Deserialize;
use serde_json::Value;
use std::ops::RangeInclusive;

/// What ring verifies with (RFC 7518, 3.3: no smaller ones).
const RSA_BITS: RangeInclusive<usize> = 2048..=8192;
/// More keys than that no issuer has.
const MOST: usize = 100;

/// A public key that tokens are verified with.
pub struct Key {
    pub kid: Option<String>,
    pub algorithm: Algorithm,
    pub key: DecodingKey,
    /// Of the algorithm and the key: another key under the same `kid` has another.
    pub print: [u8; 32],
}

/// The keys of one document.
#[derive(Default)]
pub struct KeySet {
    pub keys: Vec<Key>,
    /// Why others are left out, a sentence each.
    pub skipped: Vec<String>,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    d: Option<String>,
}

impl KeySet {
    /// Reads a JWK set. A key that says no `alg` is used with the first of `algorithms` that fits it, and with no other
    /// (RFC 8725, 3.1).
    ///
    /// # Errors
    /// It is no JWK set.
    pub fn read(text: &[u8], algorithms: &[Algorithm]) -> Result<KeySet, String> {
        let document: Document =
            serde_json::from_slice(text).map_err(|_| "it is no JWK set: `{\"keys\": [...]}`".to_owned())?;
        let mut set = KeySet::default();
        for (n, value) in document.keys.into_iter().take(MOST).enumerate() {
            let named = value["kid"].as_str().map_or(format!("key {n}"), |kid| {
                format!("key `{}`", kid.chars().take(64).collect::<String>())
            });
            match usable(value, algorithms) {
                Ok(key) if set.find(key.kid.as_deref(), key.algorithm).is_some() && key.kid.is_some() => {
                    set.skipped.push(format!("{named} stands there twice for one algorithm"));
                }
                Ok(key) => set.keys.push(key),
                Err(why) => set.skipped.push(format!("{named} {why}")),
            }
        }
        Ok(set)
    }

    /// The one key for a token: by its `kid`, or without one the only key of its algorithm.
    pub fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        let mut fit = self
            .keys
            .iter()
            .filter(|key| key.algorithm == algorithm && (kid.is_none() || key.kid.as_deref() == kid));
        let first = fit.next();
        first.filter(|_| kid.is_some() || fit.next().is_none())
    }

    pub fn has_kid(&self, kid: Option<&str>) -> bool {
        kid.is_some() && self.keys.iter().any(|key| key.kid.as_deref() == kid)
    }

    pub fn has(&self, print: &[u8; 32]) -> bool {
        self.keys.iter().any(|key| key.print == *print)
    }
}

fn usable(value: Value, algorithms: &[Algorithm]) -> Result<Key, &'static str> {
    let jwk: Jwk = serde_json::from_value(value).map_err(|_| "is no JWK")?;
    if jwk.d.is_some() {
        return Err("is a private key: whoever reads it can sign; have it replaced");
    }
    if jwk.r#use.as_deref().is_some_and(|word| word != "sig") {
        return Err("is not for signatures");
    }
    if jwk.key_ops.as_ref().is_some_and(|all| !all.iter().any(|word| word == "verify")) {
        return Err("is not for verifying");
    }
    let family = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => AlgorithmFamily::Rsa,
        ("EC", Some("P-256" | "P-384")) => AlgorithmFamily::Ec,
        ("OKP", Some("Ed25519")) => AlgorithmFamily::Ed,
        _ => return Err("is of a type that is not used here (there are RSA, P-256, P-384 and Ed25519)"),
    };
    let fits = |algorithm: &Algorithm| {
        algorithm.family() == family
            && match algorithm {
                Algorithm::ES256 => jwk.crv.as_deref() == Some("P-256"),
                Algorithm::ES384 => jwk.crv.as_deref() == Some("P-384"),
                _ => true,
            }
    };
    let algorithm = match jwk.alg.as_deref() {
        // RFC 9864 names the curve.
        Some("Ed25519") => Some(Algorithm::EdDSA),
        Some(name) => name.parse().ok(),
        None => algorithms.iter().copied().find(&fits),
    };
    let algorithm = algorithm.filter(|a| algorithms.contains(a)).ok_or("is for none of `algorithms`")?;
    if !fits(&algorithm) {
        return Err("is not of the type that its `alg` needs");
    }
    let bytes = |field: &Option<String>| {
        field.as_deref().and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text).ok()).ok_or("is incomplete")
    };
    let (key, parts) = match family {
        AlgorithmFamily::Rsa => {
            let (n, e) = (trimmed(bytes(&jwk.n)?), trimmed(bytes(&jwk.e)?));
            let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
            if !RSA_BITS.contains(&bits) {
                return Err("is an RSA key of less than 2048 bits, or of more than 8192");
            }
            if e.len() > 4 || e.last().is_none_or(|last| last % 2 == 0) || e == [1] {
                return Err("has an RSA exponent that no key should have");
            }
            (DecodingKey::from_rsa_raw_components(&n, &e), [n, e].concat())
        }
        AlgorithmFamily::Ec => {
            let length = if algorithm == Algorithm::ES256 { 32 } else { 48 };
            let (x, y) = (bytes(&jwk.x)?, bytes(&jwk.y)?);
            if x.len() != length || y.len() != length {
                return Err("has coordinates of the wrong length");
            }
            let point = [&[4], x.as_slice(), &y].concat();
            (DecodingKey::from_ec_der(&point), point)
        }
        AlgorithmFamily::Ed => {
            let x = bytes(&jwk.x)?;
            if x.len() != 32 || of_small_order(&x) {
                return Err("is no Ed25519 key that anybody could keep secret");
            }
            (DecodingKey::from_ed_der(&x), x)
        }
        AlgorithmFamily::Hmac => return Err("is a shared secret"),
    };
    let mut print = digest::Context::new(&digest::SHA256);
    print.update(format!("{algorithm:?}.").as_bytes());
    print.update(&parts);
    let print = print.finish().as_ref().try_into().unwrap_or_default();
    Ok(Key { kid: jwk.kid, algorithm, key, print })
}

fn trimmed(mut number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.split_off(zeros)
}

/// Points under which one signature is good for every message: those of order 1, 2, 4 and 8, also in the forms that
/// are not canonical. The first bit of the last byte is a sign and does not matter. As libsodium has it.
fn of_small_order(point: &[u8]) -> bool {
    const Y: [[u8; 32]; 7] = [
        bytes(0x00, 0x00, 0x00),
        bytes(0x01, 0x00, 0x00),
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
            0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
            0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
        bytes(0xec, 0xff, 0x7f),
        bytes(0xed, 0xff, 0x7f),
        bytes(0xee, 0xff, 0x7f),
    ];
    const fn bytes(first: u8, middle: u8, last: u8) -> [u8; 32] {
        let mut all = [middle; 32];
        all[0] = first;
        all[31] = last;
        all
    }
    Y.iter().any(|y| y[..31] == point[..31] && y[31] == point[31] & 0x7f)
}
