//! Which published keys are used (S15 and RFC 7517).

use super::*;
use crate::auth::jwt::jwks::KeySet;
use jsonwebtoken::Algorithm;

const ALGORITHMS: [Algorithm; 4] = [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA];

fn read(keys: &[Value]) -> KeySet {
    KeySet::read(json!({"keys": keys}).to_string().as_bytes(), &ALGORITHMS).unwrap()
}

/// A key with other values here and there; `null` leaves one out.
fn changed(key: &SigningKey, changes: Value) -> Value {
    let mut jwk = key.jwk();
    let map = jwk.as_object_mut().unwrap();
    map.extend(changes.as_object().unwrap().clone());
    map.retain(|_, value| !value.is_null());
    jwk
}

#[test]
fn keys_that_nobody_should_trust_are_left_out() {
    let (es, rs, ed) =
        (SigningKey::new("k", "ES256"), SigningKey::new("k", "RS256"), SigningKey::new("k", "EdDSA"));
    let small = |first: u8, middle: u8, last: u8| {
        let mut point = [middle; 32];
        (point[0], point[31]) = (first, last);
        json!({"x": BASE64.encode(point)})
    };
    let mut order_8 =
        hex::decode("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa").unwrap();
    let signed_8 = json!({"x": BASE64.encode(&order_8)});
    order_8[31] &= 0x7f;
    let refused: [(&str, Value, &str); 26] = [
        ("RFC 7518 3.3", changed(&rs, json!({"n": BASE64.encode([0xc5; 128])})), "less than 2048 bits"),
        ("RFC 7518 3.3", changed(&rs, json!({"n": BASE64.encode([0xc5; 255])})), "less than 2048 bits"),
        ("RFC 7518 3.3", changed(&rs, json!({"n": BASE64.encode([0xc5; 1025])})), "more than 8192"),
        ("RFC 7518 6.3.1", changed(&rs, json!({"e": BASE64.encode([1])})), "exponent"),
        ("RFC 7518 6.3.1", changed(&rs, json!({"e": BASE64.encode([4])})), "exponent"),
        ("RFC 7518 6.3.1", changed(&rs, json!({"e": BASE64.encode([1; 5])})), "exponent"),
        ("RFC 7518 6.3.1", changed(&rs, json!({"n": null})), "incomplete"),
        ("RFC 7518 6.3.1", changed(&rs, json!({"n": "+/=="})), "incomplete"),
        ("RFC 7518 6.3.2", changed(&rs, json!({"d": "AQAB"})), "private key"),
        (
            "RFC 7518 6.4",
            json!({"kty": "oct", "k": "c2VjcmV0", "kid": "k", "alg": "HS256"}),
            "a type that is not",
        ),
        (
            "RFC 7518 6.4",
            json!({"kty": "oct", "k": "c2VjcmV0", "kid": "k", "alg": "ES256"}),
            "a type that is not",
        ),
        ("RFC 7518 6.2.1", changed(&es, json!({"crv": "P-521"})), "a type that is not"),
        ("RFC 7518 6.2.1", changed(&es, json!({"crv": "secp256k1"})), "a type that is not"),
        ("RFC 7518 6.2.1.2", changed(&es, json!({"x": BASE64.encode([1; 31])})), "wrong length"),
        ("RFC 7518 6.2.1.3", changed(&es, json!({"y": null})), "incomplete"),
        ("RFC 8725 3.1", changed(&es, json!({"alg": "RS256"})), "not of the type"),
        ("RFC 8725 3.1", changed(&rs, json!({"alg": "ES256"})), "not of the type"),
        ("RFC 8725 3.2", changed(&rs, json!({"alg": "HS256"})), "none of `algorithms`"),
        ("RFC 8725 3.2", changed(&es, json!({"alg": "none"})), "none of `algorithms`"),
        ("RFC 7517 4.2", changed(&es, json!({"use": "enc"})), "not for signatures"),
        ("RFC 7517 4.3", changed(&es, json!({"key_ops": ["encrypt"]})), "not for verifying"),
        ("RFC 7517 4", json!({"kid": "k"}), "no JWK"),
        ("RFC 8032 5.1.7", changed(&ed, small(0, 0, 0)), "keep secret"),
        ("RFC 8032 5.1.7", changed(&ed, small(1, 0, 0x80)), "keep secret"),
        ("RFC 8032 5.1.7", changed(&ed, small(0xec, 0xff, 0x7f)), "keep secret"),
        ("RFC 8032 5.1.7", changed(&ed, signed_8), "keep secret"),
    ];
    for (rfc, jwk, why) in refused {
        let set = read(std::slice::from_ref(&jwk));
        assert!(set.keys.is_empty(), "{rfc}: {jwk}");
        assert!(set.skipped[0].contains(why) && set.skipped.len() == 1, "{rfc}: {:?}", set.skipped);
    }
    let set = read(&[json!({"kty": "new"}), es.jwk()]);
    assert_eq!((set.keys.len(), set.skipped.len()), (1, 1), "RFC 7517 5: others stay");
}

#[test]
fn a_key_has_one_algorithm_and_one_name() {
    let (es, other, rs) =
        (SigningKey::new("k", "ES256"), SigningKey::new("k", "ES256"), SigningKey::new("k", "RS256"));
    let set = read(&[changed(&rs, json!({"alg": null})), es.jwk(), other.jwk()]);
    let algorithms: Vec<_> = set.keys.iter().map(|key| key.algorithm).collect();
    assert_eq!(algorithms, [Algorithm::RS256, Algorithm::ES256], "RFC 8725 3.1: the first that fits");
    assert!(set.skipped[0].contains("twice"), "{:?}", set.skipped);
    assert!(set.find(Some("k"), Algorithm::PS256).is_none());
    assert!(set.find(Some("k"), Algorithm::ES256).is_some_and(|key| key.algorithm == Algorithm::ES256));
    assert!(set.find(None, Algorithm::ES256).is_some(), "the only one of its algorithm");

    let nameless = read(&[changed(&es, json!({"kid": null})), changed(&other, json!({"kid": null}))]);
    assert_eq!(nameless.keys.len(), 2);
    assert!(nameless.find(None, Algorithm::ES256).is_none(), "two would mean two verifications");
    for text in ["", "[]", "{}", "{\"keys\": {}}", "<html>"] {
        assert!(KeySet::read(text.as_bytes(), &ALGORITHMS).is_err(), "{text}");
    }
    let curve_named = read(&[changed(&SigningKey::new("k", "EdDSA"), json!({"alg": "Ed25519"}))]);
    assert_eq!(curve_named.keys.len(), 1, "RFC 9864");
}
