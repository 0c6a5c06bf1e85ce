//! Tokens as an issuer signs them, and as nobody should.

mod keys;
mod lines;
mod source;
mod vectors;

use super::*;
use crate::{
    auth::{Keys, Mode, Secrets, Settings},
    outbound::Clients,
    telemetry::ManualClock,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use serde_json::{Value, json};
use std::time::Duration;
use testkit::{FakeUpstream, Issuer as Server, SigningKey};

/// Seconds.
const NOW: i64 = 1_800_000_000;
const AUDIENCE: &str = "https://gateway.test/mcp";

fn settings(value: Value) -> Issuer {
    serde_json::from_value(value).unwrap()
}

fn teams() -> Vec<String> {
    vec!["default".into(), "design".into()]
}

fn http() -> reqwest::Client {
    Clients::new().unwrap().vendor().clone()
}

/// Two issuers, the keys of the first, and whoever has keys of their own.
struct Scene {
    keys: Keys,
    clock: Arc<ManualClock>,
    /// Trusted. `strict` takes `at+jwt` only, has words of its own for scopes, and says the team itself.
    issuer: Server,
    strict: Server,
    es: SigningKey,
    rs: SigningKey,
    ed: SigningKey,
    strict_es: SigningKey,
    stranger: SigningKey,
    /// Nobody may be asked here.
    canary: FakeUpstream,
}

impl Scene {
    async fn start() -> Scene {
        let new = SigningKey::new;
        let (es, rs, ed) = (new("es", "ES256"), new("rs", "RS256"), new("ed", "EdDSA"));
        let (strict_es, stranger) = (new("es-strict", "ES256"), new("es", "ES256"));
        let issuer = Server::start(&[&es, &rs, &ed]).await;
        let strict = Server::start(&[&strict_es]).await;
        let mut one = issuer.settings();
        one["audience"] = json!([AUDIENCE, "https://gateway.test/sse"]);
        let mut two = strict.settings();
        two["types"] = json!(["at+jwt"]);
        two["claims"] = json!({"team": {"value": "design"}, "scopes": "realm_access.roles"});
        two["scope_map"] = json!({"painter": "images:write"});
        let clock = ManualClock::at(NOW * 1_000_000);
        let auth =
            Settings { mode: Mode::Any, issuers: vec![settings(one), settings(two)], ..Settings::default() };
        let keys = Keys::new(&auth, &Secrets::new(&[1; 32], &[]), clock.clone()).unwrap();
        keys.replace(Vec::new());
        keys.trust(|before| Tokens::new(&auth.issuers, teams(), &http(), clock.clone(), before));
        let canary = FakeUpstream::start().await;
        let scene = Scene { keys, clock, issuer, strict, es, rs, ed, strict_es, stranger, canary };
        for (key, server) in [(&scene.es, &scene.issuer), (&scene.strict_es, &scene.strict)] {
            let mut claims = scene.claims();
            claims["iss"] = server.url().into();
            scene.bearer(&key.token(&claims)).await.expect("the first keys are waited for");
        }
        scene
    }

    /// What a good token says.
    fn claims(&self) -> Value {
        json!({
            "iss": self.issuer.url(), "aud": AUDIENCE, "sub": "alice", "team": "design",
            "scope": "images:read images:write openid", "iat": NOW, "exp": NOW + 300, "jti": "1",
            "groups": ["artists", "berlin"], "level": 3,
        })
    }

    fn with(&self, name: &str, value: impl Into<Value>) -> Value {
        let mut claims = self.claims();
        claims[name] = value.into();
        claims
    }

    fn without(&self, name: &str) -> Value {
        let mut claims = self.claims();
        claims.as_object_mut().unwrap().remove(name);
        claims
    }

    /// Signed by `es`, with a header that says `alg` and `kid` and what is given.
    fn headed(&self, more: Value) -> String {
        let mut header = json!({"alg": "ES256", "kid": "es", "typ": "at+jwt"});
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.es.token_of(&header.to_string(), &self.claims().to_string())
    }

    async fn send(&self, headers: &[&str], query: Option<&str>) -> Result<Arc<Principal>, AuthError> {
        let mut map = http::HeaderMap::new();
        for value in headers {
            map.append("authorization", http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        self.keys.authenticate(&map, query).await
    }

    async fn bearer(&self, token: &str) -> Result<Arc<Principal>, AuthError> {
        self.send(&[&format!("Bearer {token}")], None).await
    }

    fn verifications(&self) -> u64 {
        self.keys.tokens().unwrap().verifications.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn a_token_says_who_comes_and_costs_one_verification() {
    let scene = Scene::start().await;
    let before = scene.verifications();
    let token = scene.es.token(&scene.claims());
    let who = scene.bearer(&token).await.unwrap();
    assert_eq!(&*who.team, "design");
    assert_eq!(*who.key, format!("alice@{}", scene.issuer.url()), "two issuers may have one alice each");
    assert_eq!(who.scopes, [Scope::ImagesRead, Scope::ImagesWrite], "words of others are passed over");
    assert_eq!(who.claims["groups"], ["artists", "berlin"]);
    assert_eq!(who.claims["level"], ["3"]);
    assert!(!who.claims.contains_key("exp") && !who.claims.contains_key("jti"));
    for _ in 0..20 {
        assert!(Arc::ptr_eq(&scene.bearer(&token).await.unwrap(), &who), "it is known by now");
    }
    assert_eq!(scene.verifications(), before + 1);

    scene.clock.advance(Duration::from_secs(329));
    assert!(scene.bearer(&token).await.is_ok(), "the leeway is not over");
    scene.clock.advance(Duration::from_secs(1));
    assert_eq!(scene.bearer(&token).await, Err(AuthError::Invalid), "known tokens end, too");
    assert_eq!(scene.verifications(), before + 1, "and their end needs no signature");
}

#[tokio::test]
async fn claims_are_mapped_as_the_issuer_is_configured() {
    let scene = Scene::start().await;
    let mut claims = scene.claims();
    claims["iss"] = scene.strict.url().into();
    claims["realm_access"] = json!({"roles": ["painter", "usage:read", "offline_access"]});
    let who = scene.bearer(&scene.strict_es.token(&claims)).await.unwrap();
    assert_eq!(&*who.team, "design", "fixed, whatever the token says");
    assert_eq!(who.scopes, [Scope::ImagesWrite, Scope::UsageRead]);

    let mut long = scene.claims();
    long["sub"] = "x".repeat(255).into();
    let who = scene.bearer(&scene.es.token(&long)).await.unwrap();
    assert!(who.key.len() <= 191 && who.key.ends_with(&format!("@{}", scene.issuer.url())), "{}", who.key);
    long["sub"] = format!("{}y", "x".repeat(254)).into();
    let other = scene.bearer(&scene.es.token(&long)).await.unwrap();
    assert_ne!(who.key, other.key, "a shortened name is still one of its own");
}

#[tokio::test]
async fn the_map_of_known_tokens_is_bounded() {
    let scene = Scene::start().await;
    let tokens = scene.keys.tokens().unwrap();
    *tokens.known.lock() = LruCache::new(NonZeroUsize::new(3).unwrap());
    for n in 0..10 {
        scene.bearer(&scene.ed.token(&scene.with("jti", n.to_string()))).await.unwrap();
    }
    assert_eq!(tokens.known.lock().len(), 3);
}

#[tokio::test]
async fn keys_and_tokens_go_beside_each_other_as_the_mode_says() {
    let scene = Scene::start().await;
    let file = crate::auth::FileKey {
        id: "ci".into(),
        key: plugin_api::value::Secret::new("igw_x.y.z"),
        ..Default::default()
    };
    scene.keys.reload(std::slice::from_ref(&file)).unwrap();
    assert_eq!(&*scene.bearer("igw_x.y.z").await.unwrap().key, "ci", "a key may have dots");
    let token = scene.es.token(&scene.claims());
    for (mode, takes_keys, takes_tokens) in
        [(Mode::Keys, true, false), (Mode::Any, true, true), (Mode::Jwt, false, true)]
    {
        let issuers = vec![settings(scene.issuer.settings())];
        let auth = Settings { mode, issuers, keys: vec![file.clone()], ..Settings::default() };
        let keys = Keys::new(&auth, &Secrets::new(&[1; 32], &[]), scene.clock.clone()).unwrap();
        keys.replace(Vec::new());
        keys.trust(|before| Tokens::new(&auth.issuers, teams(), &http(), scene.clock.clone(), before));
        let send = async |bearer: &str| {
            let mut headers = http::HeaderMap::new();
            headers.insert("authorization", format!("Bearer {bearer}").parse().unwrap());
            keys.authenticate(&headers, None).await.is_ok()
        };
        assert_eq!(send("igw_x.y.z").await, takes_keys, "{mode:?}");
        assert_eq!(send(&token).await, takes_tokens, "{mode:?}");
        assert_eq!(keys.tokens().is_some(), takes_tokens, "{mode:?}");
    }
}

#[test]
fn clients_are_told_the_issuers_own_words_for_scopes() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let issuer = |name: &str, map: Value| {
        settings(json!({"issuer": name, "jwks_file": "none", "algorithms": ["ES256"], "scope_map": map}))
    };
    let plain = issuer("https://a", json!({}));
    let words = issuer("https://b", json!({"paint": "images:write", "look": "images:read"}));
    let told = |issuers: &[Issuer]| {
        let tokens = Tokens::new(issuers, teams(), &http(), ManualClock::at(0), None);
        tokens.asked_for(&[Scope::ImagesRead, Scope::ImagesWrite]).join(" ")
    };
    assert_eq!(told(std::slice::from_ref(&plain)), "images:read images:write");
    assert_eq!(told(std::slice::from_ref(&words)), "look paint");
    assert_eq!(told(&[plain, words]), "images:read look images:write paint");
}
