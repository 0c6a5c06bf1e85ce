use super::*;
use crate::telemetry::ManualClock;
use http::HeaderValue;
use plugin_api::value::Secret;
use std::time::Duration;

fn secrets() -> Secrets {
    Secrets::new(&[7; 32], &[])
}

fn row(id: &str, hash: String) -> store::Key {
    store::Key {
        id: id.into(),
        team: "design".into(),
        hash,
        hint: "igw_abc".into(),
        scopes: "images:read images:write".into(),
        ..store::Key::default()
    }
}

fn keys(file: Vec<FileKey>) -> Keys {
    let settings = Settings { keys: file, ..Settings::default() };
    let keys = Keys::new(&settings, &secrets(), ManualClock::at(0)).unwrap();
    keys.replace(Vec::new());
    keys
}

fn authenticate(keys: &Keys, headers: &HeaderMap, query: Option<&str>) -> Result<Arc<Principal>, AuthError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(keys.authenticate(headers, query))
}

fn header(value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    headers
}

fn file_key(id: &str, key: &str) -> FileKey {
    FileKey { id: id.into(), key: Secret::new(key), ..FileKey::default() }
}

#[test]
fn a_new_key_is_random_and_only_its_hash_is_kept() {
    let (one, two) = (new_key().unwrap(), new_key().unwrap());
    assert!(one.starts_with("igw_") && one.len() == 47, "{one}");
    assert_ne!(one, two);
    let keys = keys(Vec::new());
    keys.replace(vec![row("key_1", hash(&secrets(), &one))]);
    let who = authenticate(&keys, &header(&format!("Bearer {one}")), None).unwrap();
    assert_eq!((&*who.team, &*who.key), ("design", "key_1"));
    assert!(who.may(Scope::ImagesWrite) && !who.may(Scope::UsageRead));
    assert_eq!(authenticate(&keys, &header(&format!("Bearer {two}")), None), Err(AuthError::Invalid));
}

#[test]
fn the_scheme_counts_in_any_case_and_nothing_else_does() {
    let keys = keys(vec![file_key("ci", "s3cret")]);
    for good in ["Bearer s3cret", "bearer s3cret", "BEARER s3cret", "Bearer   s3cret"] {
        assert!(authenticate(&keys, &header(good), None).is_ok(), "{good}");
    }
    for bad in [
        "Basic s3cret",
        "Bearer",
        "Bearer ",
        "s3cret",
        "Bearers3cret",
        "Bearer s3cret x",
        "Bearer S3cret",
        "",
        "Bearer clé",
    ] {
        assert_eq!(authenticate(&keys, &header(bad), None), Err(AuthError::Invalid), "{bad}");
    }
    assert_eq!(authenticate(&keys, &HeaderMap::new(), None), Err(AuthError::Missing));
}

#[test]
fn two_credentials_or_one_in_the_url_are_malformed() {
    let keys = keys(vec![file_key("ci", "s3cret")]);
    let mut two = header("Bearer s3cret");
    two.append(AUTHORIZATION, HeaderValue::from_static("Bearer s3cret"));
    assert!(matches!(authenticate(&keys, &two, None), Err(AuthError::Malformed(_))));
    for query in ["access_token=s3cret", "a=1&access_token=s3cret", "ACCESS_TOKEN", "access%5Ftoken=1"] {
        let error = authenticate(&keys, &header("Bearer s3cret"), Some(query)).unwrap_err();
        assert!(matches!(error, AuthError::Malformed(_)), "{query}");
        assert!(!error.to_string().contains("s3cret"));
    }
    assert!(authenticate(&keys, &header("Bearer s3cret"), Some("token=1")).is_ok());
}

#[test]
fn a_key_of_the_file_has_its_defaults_and_may_be_given_by_its_digest() {
    let digest = hex::encode(digest::digest(&digest::SHA256, b"by-digest"));
    let by_digest =
        FileKey { id: "d".into(), team: Some("ops".into()), key_sha256: Some(digest), ..FileKey::default() };
    let keys = keys(vec![file_key("ci", "s3cret"), by_digest, file_key("off", "")]);
    let who = keys.key(b"s3cret").unwrap();
    assert_eq!(&*who.team, "default");
    assert!(who.may(Scope::UsageRead) && !who.may(Scope::Admin));
    assert_eq!(&*keys.key(b"by-digest").unwrap().team, "ops");
    assert_eq!(keys.key(b""), Err(AuthError::Invalid), "a key without a value is off");

    let bad = FileKey { id: "x".into(), key_sha256: Some("abc".into()), ..FileKey::default() };
    assert!(matches!(keys.reload(&[bad]), Err(KeyError::Digest(_))));
    assert!(keys.key(b"s3cret").is_ok(), "a refused reload leaves the old keys in force");
}

#[test]
fn keys_end_when_they_expire_or_are_revoked() {
    let clock = ManualClock::at(0);
    let day = FileKey { expires: Some("1970-01-02".into()), ..file_key("day", "day") };
    let time = FileKey { expires: Some("1970-01-01T12:00:00Z".into()), ..file_key("time", "time") };
    let settings = Settings { keys: vec![day, time], ..Settings::default() };
    let keys = Keys::new(&settings, &secrets(), clock.clone()).unwrap();
    keys.replace(vec![row("key_1", hash(&secrets(), "db"))]);

    clock.advance(Duration::from_secs(13 * 3600));
    assert_eq!(keys.key(b"time"), Err(AuthError::Invalid));
    clock.advance(Duration::from_secs(34 * 3600));
    assert!(keys.key(b"day").is_ok(), "the last day is good to its end");
    clock.advance(Duration::from_secs(3600));
    assert_eq!(keys.key(b"day"), Err(AuthError::Invalid));

    assert!(keys.key(b"db").is_ok());
    keys.replace(vec![store::Key { revoked_us: Some(1), ..row("key_1", hash(&secrets(), "db")) }]);
    assert_eq!(keys.key(b"db"), Err(AuthError::Invalid));
}

#[test]
fn a_key_hashed_under_a_previous_secret_still_opens() {
    let old = Secrets::new(&[b'o'; 32], &[]);
    let new = Secrets::new(&[b'n'; 32], &[Secret::new("o".repeat(32))]);
    let keys = Keys::new(&Settings::default(), &new, ManualClock::at(0)).unwrap();
    keys.replace(vec![row("key_1", hash(&old, "bearer"))]);
    assert!(keys.key(b"bearer").is_ok());
    assert_ne!(hash(&old, "bearer"), hash(&new, "bearer"));
}

#[test]
fn a_rotated_key_opens_with_both_bearers_until_the_grace_is_over() {
    let clock = ManualClock::at(0);
    let keys = Keys::new(&Settings::default(), &secrets(), clock.clone()).unwrap();
    let rotated = |expires_us| store::Key {
        old: Some((hash(&secrets(), "old"), 10_000_000)),
        expires_us,
        ..row("key_1", hash(&secrets(), "new"))
    };
    keys.replace(vec![rotated(None)]);
    assert_eq!(keys.key(b"old").unwrap(), keys.key(b"new").unwrap(), "one principal with two bearers");
    assert_eq!(keys.take_used(), [("key_1".to_owned(), 0)]);
    assert_eq!(keys.take_used(), []);
    keys.replace(vec![rotated(Some(5_000_000))]);
    clock.advance(Duration::from_secs(5));
    assert_eq!(keys.key(b"old"), Err(AuthError::Invalid), "its own end comes first");
    keys.replace(vec![rotated(None)]);
    assert!(keys.key(b"old").is_ok());
    clock.advance(Duration::from_secs(5));
    assert_eq!(keys.key(b"old"), Err(AuthError::Invalid));
    assert!(keys.key(b"new").is_ok());
    keys.replace(vec![store::Key {
        revoked_us: Some(1),
        old: Some((hash(&secrets(), "old"), i64::MAX)),
        ..rotated(None)
    }]);
    assert_eq!(keys.key(b"old"), Err(AuthError::Invalid), "revoked with the key");
}

#[test]
fn an_unknown_key_is_not_refused_for_good_while_the_database_is_away() {
    let keys = Keys::new(&Settings::default(), &secrets(), ManualClock::at(0)).unwrap();
    assert_eq!(keys.key(b"any"), Err(AuthError::Unavailable), "not yet loaded");
    keys.replace(vec![row("key_1", hash(&secrets(), "db"))]);
    assert_eq!(keys.key(b"any"), Err(AuthError::Invalid));
    keys.database_away();
    assert_eq!(keys.key(b"any"), Err(AuthError::Unavailable));
    assert!(keys.key(b"db").is_ok(), "known keys stay good");
}

#[test]
fn without_authentication_everybody_is_the_local_user() {
    let settings = Settings { mode: Mode::None, ..Settings::default() };
    let keys = Keys::new(&settings, &secrets(), ManualClock::at(0)).unwrap();
    let who = authenticate(&keys, &HeaderMap::new(), None).unwrap();
    assert_eq!(&*who.team, "default");
    assert!(who.may(Scope::Admin));
}
