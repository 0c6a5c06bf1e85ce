//! Keeping up with an issuer: rotation, unknown keys, outages (S17, S18).

use super::*;
use std::time::Instant;

/// One issuer with one key, and the tokens it is trusted for.
struct Rig {
    server: Server,
    old: SigningKey,
    new: SigningKey,
    clock: Arc<ManualClock>,
    tokens: Tokens,
}

impl Rig {
    async fn start(more: Value) -> Rig {
        let (old, new) = (SigningKey::new("old", "ES256"), SigningKey::new("new", "ES256"));
        let server = Server::start(&[&old]).await;
        let clock = ManualClock::at(NOW * 1_000_000);
        let tokens = Tokens::new(&[Rig::settings(&server, &more)], teams(), &http(), clock.clone(), None);
        Rig { server, old, new, clock, tokens }
    }

    fn settings(server: &Server, more: &Value) -> Issuer {
        let mut value = server.settings();
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        settings(value)
    }

    fn token(&self, key: &SigningKey) -> String {
        let claims = json!({"iss": self.server.url(), "aud": AUDIENCE, "sub": "a", "team": "design", "exp": NOW + 300});
        key.token(&claims)
    }

    async fn try_key(&self, key: &SigningKey) -> Result<(), AuthError> {
        self.tokens.verify(self.token(key).as_bytes()).await.map(drop)
    }

    /// Asks until it is so.
    async fn until(&self, key: &SigningKey, wanted: Result<(), AuthError>) {
        let begun = Instant::now();
        while self.try_key(key).await != wanted {
            assert!(begun.elapsed() < Duration::from_secs(20), "it never was {wanted:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn a_new_key_is_found_at_its_first_token() {
    let rig = Rig::start(json!({})).await;
    assert_eq!(rig.try_key(&rig.old).await, Ok(()), "the first fetch is waited for");
    assert_eq!(rig.server.fetches(), 1);
    rig.server.publish(&[&rig.old, &rig.new]);
    assert_eq!(rig.try_key(&rig.new).await, Ok(()), "S17: at once");
    assert_eq!(rig.server.fetches(), 2);
}

#[tokio::test]
async fn unknown_keys_cause_one_fetch_however_many_come() {
    let rig = Rig::start(json!({})).await;
    rig.try_key(&rig.old).await.unwrap();
    let names: Vec<SigningKey> = (0..200).map(|n| SigningKey::new(&format!("k{n}"), "EdDSA")).collect();
    let mut all = Vec::new();
    for key in &names {
        all.push(rig.try_key(key));
    }
    let mut refused = 0;
    for one in all {
        refused += u32::from(one.await == Err(AuthError::Invalid));
    }
    assert_eq!(refused, 200);
    assert_eq!(rig.server.fetches(), 2, "S18: the first one, and one more");
    assert_eq!(rig.tokens.verifications.load(Ordering::Relaxed), 1, "without a signature");
    assert_eq!(rig.try_key(&rig.old).await, Ok(()));
}

#[tokio::test]
async fn many_wait_for_one_fetch_and_those_beyond_are_turned_away() {
    let rig = Arc::new(Rig::start(json!({})).await);
    rig.try_key(&rig.old).await.unwrap();
    rig.server.publish(&[&rig.new]);
    rig.server.server().hold();
    let (ended, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let asking: Vec<_> = (0..100)
        .map(|_| {
            let (rig, ended) = (rig.clone(), ended.clone());
            tokio::spawn(async move {
                let got = rig.try_key(&rig.new).await;
                ended.send(got).unwrap();
            })
        })
        .collect();
    for _ in 0..36 {
        assert_eq!(ends.recv().await.unwrap(), Err(AuthError::Invalid), "only 64 may wait");
    }
    rig.server.server().release();
    for _ in 0..64 {
        assert_eq!(ends.recv().await.unwrap(), Ok(()));
    }
    for one in asking {
        one.await.unwrap();
    }
    assert_eq!(rig.server.fetches(), 2);
}

#[tokio::test]
async fn a_key_that_was_taken_away_dies_with_the_tokens_that_are_known() {
    let rig = Rig::start(json!({"jwks_refresh": "1s"})).await;
    rig.try_key(&rig.old).await.unwrap();
    rig.server.publish(&[&rig.new]);
    rig.until(&rig.old, Err(AuthError::Invalid)).await;
    assert_eq!(rig.try_key(&rig.new).await, Ok(()));
    // Another key under the same name is another key.
    let same_name = SigningKey::new("new", "ES256");
    rig.server.publish(&[&same_name]);
    rig.until(&rig.new, Err(AuthError::Invalid)).await;
    assert_eq!(rig.try_key(&same_name).await, Ok(()));
}

#[tokio::test]
async fn known_keys_outlive_their_issuer_for_a_while() {
    let rig = Rig::start(json!({"jwks_refresh": "1s", "jwks_max_stale": "3s"})).await;
    rig.try_key(&rig.old).await.unwrap();
    rig.server.go_down();
    let seen = rig.server.fetches();
    rig.server.wait_for_fetches(seen + 2).await;
    assert_eq!(rig.try_key(&rig.old).await, Ok(()), "kept keys go on");
    let other = rig.token(&rig.old) + "";
    assert!(rig.tokens.verify(other.as_bytes()).await.is_ok());
    rig.until(&rig.old, Err(AuthError::Unavailable)).await;
    rig.server.publish(&[&rig.old]);
    rig.until(&rig.old, Ok(())).await;
}

#[tokio::test]
async fn an_issuer_that_never_answered_is_no_wrong_token() {
    let server = Server::start(&[]).await;
    server.go_down();
    let key = SigningKey::new("old", "ES256");
    let clock = ManualClock::at(NOW * 1_000_000);
    let tokens = Tokens::new(&[settings(server.settings())], teams(), &http(), clock, None);
    let claims =
        json!({"iss": server.url(), "aud": AUDIENCE, "sub": "a", "team": "design", "exp": NOW + 300});
    assert_eq!(tokens.verify(key.token(&claims).as_bytes()).await, Err(AuthError::Unavailable));
    assert_eq!(tokens.verify(b"e.e.e").await, Err(AuthError::Invalid), "garbage is garbage");
    let expired = json!({"iss": server.url(), "aud": AUDIENCE, "exp": NOW - 300});
    assert_eq!(tokens.verify(key.token(&expired).as_bytes()).await, Err(AuthError::Invalid));
}

#[tokio::test]
async fn answers_that_are_no_keys_change_nothing() {
    let rig = Rig::start(json!({"jwks_refresh": "1s"})).await;
    rig.try_key(&rig.old).await.unwrap();
    let server = rig.server.server();
    let bodies: [testkit::Behaviour; 5] = [
        testkit::Behaviour::html(200),
        testkit::Behaviour::json(200, "{}"),
        testkit::Reply::new(302, "text/plain", "").header("location", "/jwks.json").into(),
        testkit::Behaviour::json(200, format!("{{\"keys\": [], \"x\": \"{}\"}}", "x".repeat(300 << 10))),
        testkit::Behaviour::Close,
    ];
    let before = server.requests().len();
    let count = bodies.len();
    for body in bodies {
        server.push(body);
    }
    rig.server.wait_for_fetches(before + count).await;
    assert_eq!(rig.try_key(&rig.old).await, Ok(()));
    assert!(rig.tokens.issuers[0].1.source.keys().is_some());
    assert_eq!(server.requests().iter().filter(|r| r.header("authorization").is_some()).count(), 0);
}

#[tokio::test]
async fn a_reload_keeps_keys_and_takes_away_what_is_gone() {
    let rig = Rig::start(json!({})).await;
    rig.try_key(&rig.old).await.unwrap();
    let token = rig.token(&rig.old);
    let renew = |issuers: &[Issuer], teams: Vec<String>| {
        Tokens::new(issuers, teams, &http(), rig.clock.clone(), Some(&rig.tokens))
    };
    let same = Rig::settings(&rig.server, &json!({"scope_map": {"x": "admin"}}));
    rig.server.go_down();
    let kept = renew(std::slice::from_ref(&same), teams());
    assert!(kept.verify(token.as_bytes()).await.is_ok(), "its keys are those from before");
    let narrowed = renew(&[same], vec!["default".into()]);
    assert_eq!(narrowed.verify(token.as_bytes()).await, Err(AuthError::Invalid), "its team is gone");
    let none = renew(&[], teams());
    assert_eq!(none.verify(token.as_bytes()).await, Err(AuthError::Invalid));
    let elsewhere = Rig::settings(&rig.server, &json!({"audience": "https://elsewhere.test"}));
    let other = renew(&[elsewhere], teams());
    assert_eq!(other.verify(token.as_bytes()).await, Err(AuthError::Invalid));
}

#[tokio::test]
async fn keys_of_a_file_are_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    let (old, new) = (SigningKey::new("old", "EdDSA"), SigningKey::new("new", "EdDSA"));
    std::fs::write(&file, Server::jwks(&[&old])).unwrap();
    let issuer = settings(json!({
        "issuer": "https://login.test", "audience": AUDIENCE, "algorithms": ["EdDSA"], "jwks_file": file,
    }));
    let tokens = Tokens::new(&[issuer], teams(), &http(), ManualClock::at(NOW * 1_000_000), None);
    let claims =
        json!({"iss": "https://login.test", "aud": AUDIENCE, "sub": "a", "team": "design", "exp": NOW + 300});
    assert!(tokens.verify(old.token(&claims).as_bytes()).await.is_ok());
    std::fs::write(&file, Server::jwks(&[&new])).unwrap();
    assert!(tokens.verify(new.token(&claims).as_bytes()).await.is_ok());
    assert_eq!(tokens.verify(old.token(&claims).as_bytes()).await, Err(AuthError::Invalid));
}
