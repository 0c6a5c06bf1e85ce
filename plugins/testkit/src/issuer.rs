//! An issuer of tokens: keys that sign, and a server that publishes them.

use crate::{Behaviour, FakeUpstream};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD as BASE64},
};
use ring::{
    rand::SystemRandom,
    rsa::PublicKeyComponents,
    signature::{self as by, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair},
};
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

/// Made for these tests, and good for nothing else.
const RSA: &str = include_str!("issuer_rsa2048.txt");

/// A private key with its name and its one algorithm.
pub struct SigningKey {
    pub kid: String,
    pub alg: &'static str,
    private: Private,
}

enum Private {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

impl SigningKey {
    /// A new key of `ES256`, `ES384` or `EdDSA`; of `RS*` and `PS*` always the same one.
    ///
    /// # Panics
    /// There is no such algorithm.
    pub fn new(kid: &str, alg: &'static str) -> SigningKey {
        let random = SystemRandom::new();
        let private = match alg {
            "ES256" | "ES384" => {
                let curve = match alg {
                    "ES256" => &by::ECDSA_P256_SHA256_FIXED_SIGNING,
                    _ => &by::ECDSA_P384_SHA384_FIXED_SIGNING,
                };
                let key = EcdsaKeyPair::generate_pkcs8(curve, &random).unwrap();
                Private::Ec(EcdsaKeyPair::from_pkcs8(curve, key.as_ref(), &random).unwrap())
            }
            "EdDSA" => {
                let key = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
                Private::Ed(Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap())
            }
            _ => {
                let text: String = RSA.split_whitespace().collect();
                let der = BASE64_STANDARD.decode(text).unwrap();
                Private::Rsa(Box::new(RsaKeyPair::from_der(&der).unwrap()))
            }
        };
        SigningKey { kid: kid.into(), alg, private }
    }

    /// Its public half as a JWK.
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.private {
            Private::Ec(key) => {
                let point = &key.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let crv = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "crv": crv, "x": BASE64.encode(x), "y": BASE64.encode(y)})
            }
            Private::Ed(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": BASE64.encode(key.public_key().as_ref())})
            }
            Private::Rsa(key) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(key.public());
                json!({"kty": "RSA", "n": BASE64.encode(public.n), "e": BASE64.encode(public.e)})
            }
        };
        jwk["kid"] = self.kid.clone().into();
        jwk["alg"] = self.alg.into();
        jwk["use"] = "sig".into();
        jwk
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.private {
            Private::Ec(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Private::Ed(key) => key.sign(message).as_ref().to_vec(),
            Private::Rsa(key) => {
                let padding: &dyn by::RsaEncoding = match self.alg {
                    "RS256" => &by::RSA_PKCS1_SHA256,
                    "RS384" => &by::RSA_PKCS1_SHA384,
                    "RS512" => &by::RSA_PKCS1_SHA512,
                    "PS256" => &by::RSA_PSS_SHA256,
                    "PS384" => &by::RSA_PSS_SHA384,
                    "PS512" => &by::RSA_PSS_SHA512,
                    other => panic!("no such algorithm: {other}"),
                };
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(padding, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }

    /// A signed token of these texts, as they are.
    pub fn token_of(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
        let signature = BASE64.encode(self.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }

    /// A signed token with these claims and the usual header.
    pub fn token(&self, claims: &Value) -> String {
        let header = json!({"alg": self.alg, "kid": self.kid, "typ": "at+jwt"});
        self.token_of(&header.to_string(), &claims.to_string())
    }
}

/// A server with a JWK set, `http://127.0.0.1:<port>/jwks.json`.
pub struct Issuer {
    upstream: FakeUpstream,
    /// `None`: it answers 503.
    published: Arc<Mutex<Option<String>>>,
}

impl Issuer {
    /// Publishes these keys.
    pub async fn start(keys: &[&SigningKey]) -> Issuer {
        let upstream = FakeUpstream::start().await;
        let published = Arc::new(Mutex::new(None));
        let issuer = Issuer { upstream, published: published.clone() };
        issuer.publish(keys);
        issuer.upstream.handle(move |request| match &*published.lock().unwrap() {
            Some(set) if request.path == "/jwks.json" => Behaviour::json(200, set.clone()),
            Some(_) => Behaviour::json(404, "{}"),
            None => Behaviour::html(503),
        });
        issuer
    }

    /// Other keys from now on.
    pub fn publish(&self, keys: &[&SigningKey]) {
        self.publish_text(Some(Issuer::jwks(keys)));
    }
    /// Its keys cannot be had.
    pub fn go_down(&self) {
        self.publish_text(None);
    }
    fn publish_text(&self, text: Option<String>) {
        *self.published.lock().unwrap() = text;
    }

    /// A JWK set, as a file would hold it.
    pub fn jwks(keys: &[&SigningKey]) -> String {
        json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
    }

    /// What `iss` says.
    pub fn url(&self) -> String {
        self.upstream.url()
    }
    /// Its entry of `auth.issuers`, for the audience `https://gateway.test/mcp`.
    pub fn settings(&self) -> Value {
        json!({
            "issuer": self.url(),
            "audience": "https://gateway.test/mcp",
            "jwks_url": format!("{}/jwks.json", self.url()),
            "algorithms": ["ES256", "RS256", "EdDSA"],
        })
    }
    /// Claims for a subject of a team, good for an hour.
    pub fn claims(&self, team: &str, subject: &str) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        json!({
            "iss": self.url(), "aud": "https://gateway.test/mcp", "sub": subject, "team": team,
            "scope": "images:read images:write", "iat": now, "exp": now + 3600,
        })
    }

    /// How often its keys were fetched.
    pub fn fetches(&self) -> usize {
        self.upstream.requests().len()
    }
    /// Waits until they were fetched so often.
    pub async fn wait_for_fetches(&self, count: usize) {
        self.upstream.wait_for_requests(count).await;
    }
    /// The server itself, for what it was asked.
    pub fn server(&self) -> &FakeUpstream {
        &self.upstream
    }
}
