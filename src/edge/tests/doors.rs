//! Who is let in: keys, rates, names, origins.

use super::*;

fn call(headers: &str) -> String {
    format!("POST /mcp HTTP/1.1\r\n{headers}Content-Length: 2\r\n\r\n{{}}")
}

#[tokio::test]
async fn a_missing_key_and_a_wrong_one_differ_only_in_the_challenge() {
    let rig = start().await;
    let missing = rig.ask(&call("Host: localhost\r\n")).await;
    assert_eq!((missing.status, missing.header("www-authenticate")), (401, Some("Bearer")));
    let mut bodies = vec![missing.body];
    for bad in ["Bearer wrong", "Bearer", "Basic dGVzdA==", "Bearer caf\u{e9}", "Bearer a b"] {
        let reply = rig.ask(&call(&format!("Host: localhost\r\nAuthorization: {bad}\r\n"))).await;
        let challenge = Some("Bearer error=\"invalid_token\"");
        assert_eq!((reply.status, reply.header("www-authenticate")), (401, challenge), "{bad}");
        bodies.push(reply.body);
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
    assert!(bodies[0].contains("keys create"), "it says what to do");
    let good = rig.ask(&call(&format!("Host: localhost\r\nAuthorization: BEARER {KEY}\r\n"))).await;
    assert_eq!(good.status, 200);
}

#[tokio::test]
async fn two_keys_or_one_in_the_url_are_a_bad_request() {
    let rig = start().await;
    let twice = format!("Host: localhost\r\nAuthorization: Bearer {KEY}\r\nAuthorization: Bearer {KEY}\r\n");
    let reply = rig.ask(&call(&twice)).await;
    assert_eq!(
        (reply.status, reply.header("www-authenticate")),
        (400, Some("Bearer error=\"invalid_request\""))
    );
    let in_url = post(&format!("/mcp?access_token={KEY}"), "", "{}");
    let reply = rig.ask(&in_url).await;
    assert_eq!(reply.status, 400);
    assert!(!reply.body.contains(KEY));
    assert!(rig.mcp.calls.lock().is_empty());
}

#[tokio::test]
async fn a_database_that_is_away_is_no_wrong_key() {
    let rig = start().await;
    rig.keys.database_away();
    let reply = rig.ask(&call("Host: localhost\r\nAuthorization: Bearer igw_unknown\r\n")).await;
    assert_eq!(reply.status, 503);
    assert!(reply.header("retry-after").is_some());
    assert_eq!(rig.ask(&post("/mcp", "", "{}")).await.status, 200, "keys of the file need no database");
}

#[tokio::test]
async fn the_rate_is_told_on_success_and_enforced_at_its_edge() {
    let mut setup = Setup::default();
    setup.limits.per_key.requests = "1/h".parse().ok();
    setup.limits.per_key.burst = Some(2);
    let rig = setup.start().await;
    for left in [1, 0] {
        let reply = rig.ask(&post("/mcp", "", "{}")).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("ratelimit-policy"), Some("\"burst\";q=2;w=7200"));
        let state = reply.header("ratelimit").unwrap();
        assert!(state.starts_with(&format!("\"burst\";r={left};t=")), "{state}");
    }
    let reply = rig.ask(&post("/mcp", "", "{}")).await;
    assert_eq!(reply.status, 429);
    let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((3590..=4320).contains(&wait), "{wait}");
    assert!(reply.header("ratelimit").unwrap().starts_with("\"burst\";r=0;t="));
    let error = &reply.json()["error"];
    assert_eq!((&error["code"], &error["data"]["policy"]), (&429.into(), &"burst".into()));
    assert_eq!(error["data"]["retryAfterMs"], wait * 1000);
    assert_eq!(error["message"], format!("Rate limited, retry in {wait} s"));
    assert!(reply.json()["id"].is_null() && reply.json().get("id").is_some());

    let newer = rig.ask(&post("/mcp", "MCP-Protocol-Version: 2025-11-25\r\n", "{}")).await.json();
    assert_eq!(newer.get("id"), None, "newer revisions have no null id");
}

#[tokio::test]
async fn guessing_keys_is_slowed_down_by_address() {
    let mut setup = Setup::default();
    setup.limits.per_address.unauthenticated = "2/h".parse().unwrap();
    let rig = setup.start().await;
    let wrong = call("Host: localhost\r\nAuthorization: Bearer wrong\r\n");
    for status in [401, 401, 429, 429] {
        assert_eq!(rig.ask(&wrong).await.status, status);
    }
    assert_eq!(rig.ask(&post("/mcp", "", "{}")).await.status, 200, "a good key is not punished");
}

#[tokio::test]
async fn foreign_pages_and_names_run_nothing() {
    let rig = start().await;
    let auth = format!("Authorization: Bearer {KEY}\r\n");
    for headers in [
        "Host: localhost\r\nOrigin: https://evil.example\r\n",
        "Host: localhost\r\nOrigin: null\r\n",
        "Host: localhost\r\nOrigin: http://localhost\r\nOrigin: http://localhost\r\n",
        "Host: evil.example\r\n",
        "Host: evil.example\r\nOrigin: http://evil.example\r\n",
    ] {
        for method in ["POST", "GET", "DELETE"] {
            let reply = rig.ask(&call(&format!("{headers}{auth}")).replacen("POST", method, 1)).await;
            assert_eq!(reply.status, 403, "{method} {headers}");
            assert_eq!(reply.header("access-control-allow-origin"), None);
        }
    }
    assert!(rig.mcp.calls.lock().is_empty());
    let own = format!("Host: localhost\r\nOrigin: http://localhost:6274\r\n{auth}");
    let reply = rig.ask(&call(&own)).await;
    assert_eq!(
        (reply.status, reply.header("access-control-allow-origin")),
        (200, Some("http://localhost:6274"))
    );
    assert!(reply.header("access-control-expose-headers").unwrap().contains("mcp-session-id"));
    assert_eq!(reply.header("access-control-allow-credentials"), None);
}

#[tokio::test]
async fn probes_are_answered_under_any_name() {
    let rig = start().await;
    for (path, status) in [("/livez", 200), ("/readyz", 200), ("/health", 403), ("/", 403)] {
        let reply = rig.ask(&format!("GET {path} HTTP/1.1\r\nHost: 10.1.2.3:8000\r\n\r\n")).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.body);
    }
}

#[tokio::test]
async fn a_preflight_is_answered_without_a_key_for_allowed_pages_only() {
    let rig = Setup::with(|edge| edge.allowed_origins = vec!["https://app.example".into()]).start().await;
    let ask = |origin: &str| {
        format!(
            "OPTIONS /mcp HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: POST\r\n\
             Access-Control-Request-Headers: authorization, mcp-param-city\r\n\r\n"
        )
    };
    let reply = rig.ask(&ask("https://app.example")).await;
    assert_eq!((reply.status, reply.header("content-length")), (204, None));
    assert_eq!(reply.header("access-control-allow-origin"), Some("https://app.example"));
    assert!(reply.header("access-control-allow-methods").unwrap().contains("DELETE"));
    let headers = reply.header("access-control-allow-headers").unwrap();
    for name in ["authorization", "mcp-protocol-version", "last-event-id", "mcp-param-city"] {
        assert!(headers.contains(name), "{name}");
    }
    let foreign = rig.ask(&ask("https://evil.example")).await;
    assert_eq!(foreign.status, 403);
    for name in ["origin", "methods", "headers"] {
        assert_eq!(foreign.header(&format!("access-control-allow-{name}")), None);
    }
}

#[tokio::test]
async fn public_addresses_need_tls_or_a_clear_word() {
    let settings = |insecure| Settings {
        listen: plugin_api::value::OneOrMany::One("0.0.0.0:0".into()),
        insecure,
        ..Settings::default()
    };
    assert!(matches!(bind(settings(false)).await, Err(BindError::Insecure(_))));
    let bound = bind(settings(true)).await.unwrap();
    let port = bound.addresses()[0].port();
    assert_eq!(bound.public_url(), format!("http://127.0.0.1:{port}"));
}
