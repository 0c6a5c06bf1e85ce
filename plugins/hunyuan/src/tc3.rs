//! TC3-HMAC-SHA256, the signature of Tencent Cloud's API 3.0
//! (<https://cloud.tencent.com/document/api/1729/101843>). Only content type and host are signed besides the body.

use ring::{digest, hmac};

/// The content type that is sent, because it is signed.
pub const CONTENT_TYPE: &str = "application/json";
const SIGNED: &str = "content-type;host";

/// Everything a signature depends on.
#[derive(Debug)]
pub struct Call<'a> {
    /// The vendor's name of the service, whatever host is called.
    pub service: &'a str,
    /// The host really sent, with its port where that is not the scheme's own.
    pub host: &'a str,
    pub path: &'a str,
    pub content_type: &'a str,
    /// The bytes really sent.
    pub body: &'a [u8],
    /// Unix seconds; the vendor refuses more than five minutes off.
    pub timestamp: u64,
}

impl Call<'_> {
    /// The value of `Authorization`.
    pub fn authorization(&self, secret_id: &str, secret_key: &str) -> String {
        let date = utc_date(self.timestamp);
        let scope = format!("{date}/{}/tc3_request", self.service);
        let signature =
            hex::encode(mac(&self.signing_key(secret_key, &date), self.to_sign(&scope).as_bytes()));
        format!(
            "TC3-HMAC-SHA256 Credential={secret_id}/{scope}, SignedHeaders={SIGNED}, Signature={signature}"
        )
    }

    /// Method, path, query, headers and the body's hash, a line each; the headers end with an empty one.
    fn canonical(&self) -> String {
        let (kind, host) = (self.content_type.to_ascii_lowercase(), self.host.to_ascii_lowercase());
        let body = sha256(self.body);
        format!("POST\n{}\n\ncontent-type:{kind}\nhost:{host}\n\n{SIGNED}\n{body}", self.path)
    }

    fn to_sign(&self, scope: &str) -> String {
        let hashed = sha256(self.canonical().as_bytes());
        format!("TC3-HMAC-SHA256\n{}\n{scope}\n{hashed}", self.timestamp)
    }

    fn signing_key(&self, secret_key: &str, date: &str) -> hmac::Tag {
        let by_date = mac_with(format!("TC3{secret_key}").as_bytes(), date.as_bytes());
        let by_service = mac(&by_date, self.service.as_bytes());
        mac(&by_service, b"tc3_request")
    }
}

fn mac_with(key: &[u8], text: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text)
}
fn mac(key: &hmac::Tag, text: &[u8]) -> hmac::Tag {
    mac_with(key.as_ref(), text)
}
fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

/// `YYYY-MM-DD` in UTC of Unix seconds.
fn utc_date(timestamp: u64) -> String {
    // Civil date from days, with the year beginning in March.
    let days = timestamp / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    const VECTORS: &str = include_str!("../fixtures/tc3_vectors.json");

    #[test]
    fn every_vector_is_signed_as_the_vendors_own_client_signs_it() {
        let all: Value = serde_json::from_str(VECTORS).unwrap();
        let vectors = all["vectors"].as_array().unwrap();
        assert_eq!(vectors.len(), 12);
        for vector in vectors {
            let text = |key: &str| vector[key].as_str().unwrap_or_else(|| panic!("{key} in {vector}"));
            // One vector leaves the body out of the signature: this word stands for it.
            let unsigned = vector["headers_sent"].get("X-TC-Content-SHA256").and_then(Value::as_str);
            let call = Call {
                service: text("service"),
                host: text("host"),
                path: text("path"),
                content_type: text("content_type"),
                body: unsigned.unwrap_or(text("payload_utf8")).as_bytes(),
                timestamp: vector["timestamp"].as_u64().unwrap(),
            };
            let (name, key) = (text("name"), text("secret_key"));
            assert_eq!(sha256(call.body), text("payload_sha256"), "{name}");
            assert_eq!(call.canonical(), text("canonical_request"), "{name}");
            assert_eq!(sha256(call.canonical().as_bytes()), text("canonical_request_sha256"), "{name}");
            assert_eq!(call.to_sign(text("credential_scope")), text("string_to_sign"), "{name}");
            let date = utc_date(call.timestamp);
            let by_date = mac_with(format!("TC3{key}").as_bytes(), date.as_bytes());
            assert_eq!(hex::encode(by_date), text("k_date_hex"), "{name}");
            assert_eq!(hex::encode(mac(&by_date, call.service.as_bytes())), text("k_service_hex"), "{name}");
            assert_eq!(hex::encode(call.signing_key(key, &date)), text("k_signing_hex"), "{name}");
            let signed = call.authorization(text("secret_id"), key);
            assert_eq!(signed, text("authorization"), "{name}");
            assert!(signed.ends_with(text("signature")), "{name}");
        }
    }

    #[test]
    fn the_date_is_that_of_utc() {
        for (timestamp, date) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_790_035_199, "2026-09-21"),
            (1_790_035_200, "2026-09-22"),
            (4_107_542_399, "2100-02-28"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(utc_date(timestamp), date);
        }
    }

    proptest! {
        #[test]
        fn each_day_has_one_date_and_the_next_a_later_one(day in 0_u64..100_000) {
            let (first, last) = (utc_date(day * 86_400), utc_date(day * 86_400 + 86_399));
            prop_assert_eq!(&first, &last);
            prop_assert!(first < utc_date((day + 1) * 86_400));
        }

        #[test]
        fn a_changed_body_host_or_time_has_another_signature(body in ".{0,40}", at in 0_usize..40, timestamp in 1_700_000_000_u64..2_000_000_000) {
            let sign = |body: &str, host: &str, timestamp| {
                let body = body.as_bytes();
                Call { service: "aiart", host, path: "/", content_type: CONTENT_TYPE, body, timestamp }
                    .authorization("id", "key")
            };
            let mut other = body.clone();
            let at = body.char_indices().map(|(at, _)| at).nth(at).unwrap_or(body.len());
            other.insert(at, 'x');
            let signed = sign(&body, "h", timestamp);
            prop_assert_ne!(&signed, &sign(&other, "h", timestamp));
            prop_assert_ne!(&signed, &sign(&body, "h:1", timestamp));
            prop_assert_ne!(&signed, &sign(&body, "h", timestamp + 1));
        }
    }
}
