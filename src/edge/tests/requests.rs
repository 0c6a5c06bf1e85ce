//! Caps, deadlines, framing, keep-alive, answers.

use super::*;

#[tokio::test]
async fn a_call_reaches_the_handler_and_its_answer_the_client() {
    let rig = start().await;
    let reply = rig
        .ask(&post("/mcp", "X-Request-Id: abc-1\r\nX-Forwarded-For: 6.6.6.6\r\nCookie: a=b\r\n", "{}"))
        .await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "POST Jobs default/ci 2 bytes"));
    assert_eq!(reply.header("x-request-id"), Some("abc-1"));
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(reply.header("server"), None, "the software is nobody's business");
    let calls = rig.mcp.calls.lock();
    for hidden in ["authorization", "cookie", "x-forwarded-for"] {
        assert!(!calls[0].headers().contains_key(hidden), "{hidden} stays at the edge");
    }
    assert_eq!(calls[0].headers()["x-request-id"], "abc-1");
}

#[tokio::test]
async fn an_unsafe_request_id_is_replaced() {
    let rig = start().await;
    let reply = rig.ask("GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: a\"b{}\r\n\r\n").await;
    let id = reply.header("x-request-id").unwrap();
    assert!(uuid::Uuid::parse_str(id).is_ok(), "{id}");
}

#[tokio::test]
async fn sse_is_another_door_and_other_methods_are_for_mcp_to_refuse() {
    let rig = start().await;
    assert_eq!(rig.ask(&post("/sse", "", "")).await.body, "POST Sse default/ci 0 bytes");
    let get = format!("GET /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: bearer {KEY}\r\n\r\n");
    assert_eq!(rig.ask(&get).await.body, "GET Jobs default/ci 0 bytes");
}

#[tokio::test]
async fn heads_over_the_caps_are_refused_and_just_under_are_not() {
    let rig = start().await;
    let with = |headers: &str| format!("GET /livez HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    let long = |n: usize| with(&format!("X-Long: {}\r\n", "a".repeat(n)));
    let many = |n: usize| with(&(0..n).map(|i| format!("X-{i}: 1\r\n")).collect::<String>());
    let uri = |n: usize| format!("GET /livez?{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(n));
    for (request, status) in [
        (long(15 << 10), 200),
        (long(17 << 10), 431),
        (many(99), 200),
        (many(100), 431),
        (many(300), 431),
        (uri(8 << 10).replacen("aaaaaaa", "", 1), 200),
        (uri(9 << 10), 414),
    ] {
        let reply = rig.ask(&request).await;
        assert_eq!(reply.status, status, "{} bytes: {}", request.len(), reply.body);
        assert_eq!(reply.header("connection"), Some(if status == 200 { "keep-alive" } else { "close" }));
    }
}

#[tokio::test]
async fn bodies_over_the_cap_are_refused_however_they_are_framed() {
    let rig = Setup::caps(|caps| caps.body = plugin_api::value::ByteSize(1000)).start().await;
    assert_eq!(rig.ask(&post("/mcp", "", &"a".repeat(1000))).await.status, 200);

    let mut wire = rig.wire().await;
    wire.send(post("/mcp", "", &"a".repeat(1001))).await;
    let reply = wire.reply().await;
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (413, &413.into()));
    wire.send(get("/livez")).await;
    assert_eq!(wire.reply().await.status, 200, "a body a little too large does not cost the connection");

    let chunked = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let mut wire = rig.wire().await;
    wire.send(&chunked).await;
    wire.send(format!("258\r\n{0}\r\n258\r\n{0}\r\n0\r\n\r\n", "a".repeat(600))).await;
    assert_eq!(wire.reply().await.status, 413);
    wire.send(get("/livez")).await;
    assert_eq!(wire.reply().await.status, 200);

    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\nExpect: 100-continue\r\nContent-Length: 999999999\r\n\r\n"
    );
    let reply = rig.ask(&head).await;
    assert_eq!((reply.status, reply.header("connection")), (413, Some("close")), "told before it sends them");
    assert_eq!(rig.mcp.calls.lock().len(), 1, "nothing over the cap came through");
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on() {
    let rig = start().await;
    let mut wire = rig.wire().await;
    let whole = post("/mcp", "Expect: 100-continue\r\n", "{}");
    let (head, body) = whole.split_at(whole.len() - 2);
    wire.send(head).await;
    assert_eq!(wire.head().await.status, 100);
    wire.send(body).await;
    assert_eq!(wire.reply().await.status, 200);
}

#[tokio::test]
async fn a_slow_head_is_cut_in_total_and_silence_later() {
    let rig = Setup::caps(|caps| caps.header_timeout = Span::millis(300)).start().await;
    let mut wire = rig.wire().await;
    wire.send("GET /livez HTTP/1.1\r\nX: ").await;
    let mut silent = rig.wire().await;
    assert_eq!(wire.reply().await.status, 408);
    wire.closed().await;
    silent.send(get("/livez")).await;
    assert_eq!(
        silent.reply().await.status,
        200,
        "a connection that has sent nothing waits by the longer deadline"
    );

    let rig = Setup::caps(|caps| caps.idle_timeout = Span::millis(200)).start().await;
    let mut wire = rig.wire().await;
    wire.send(get("/livez")).await;
    assert_eq!(wire.reply().await.status, 200);
    wire.closed().await;
    rig.wire().await.closed().await;
}

#[tokio::test]
async fn a_preface_that_never_ends_is_cut() {
    let rig = Setup::caps(|caps| caps.header_timeout = Span::millis(200)).start().await;
    let mut wire = rig.wire().await;
    wire.send("PRI * HT").await;
    wire.closed().await;
}

#[tokio::test]
async fn a_slow_body_is_cut_even_if_it_drips() {
    let rig = Setup::caps(|caps| caps.body_idle_timeout = Span::millis(300)).start().await;
    let whole = post("/mcp", "", &"a".repeat(500));
    let mut wire = rig.wire().await;
    wire.send(&whole[..whole.len() - 400]).await;
    let reply = wire.reply().await;
    assert_eq!((reply.status, reply.header("connection")), (408, Some("close")));

    let (mut reader, mut writer) = tokio::net::TcpStream::connect(rig.address).await.unwrap().into_split();
    let drip = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        for byte in whole.as_bytes().chunks(1) {
            if byte[0] == b'a' {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            if writer.write_all(byte).await.is_err() {
                return;
            }
        }
    });
    let mut answer = [0; 12];
    soon(tokio::io::AsyncReadExt::read_exact(&mut reader, &mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408", "no pause was long, but all of it was");
    drip.abort();
}

#[tokio::test]
async fn large_bodies_share_a_room_and_the_rest_hear_when_to_come_back() {
    let rig = Setup::caps(|caps| {
        caps.bodies = ByteSize::kib(500);
        caps.body_idle_timeout = Span::millis(300);
    });
    let rig = rig.start().await;
    let large = "a".repeat(300 << 10);
    let mut first = rig.wire().await;
    first.send(post("/mcp", "X-Do: wait\r\n", &large)).await;
    soon(rig.mcp.started.notified()).await;
    let mut second = rig.wire().await;
    second.send(post("/mcp", "", &large)).await;
    let reply = second.reply().await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("5")));
    let chunked = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    let head = post("/mcp", "Transfer-Encoding: chunked\r\n", "").replace("Content-Length: 0\r\n", "");
    let mut third = rig.wire().await;
    third.send(head + &chunked).await;
    assert_eq!(third.reply().await.status, 503, "also where the length is not told");
    assert_eq!(rig.ask(&post("/mcp", "", "{}")).await.status, 200, "small ones need no room");
    rig.mcp.go_on.notify_one();
    assert_eq!(first.reply().await.status, 200);
    assert_eq!(rig.ask(&post("/mcp", "", &large)).await.status, 200, "the room is free again");
}

#[tokio::test]
async fn a_connection_lives_through_refusals() {
    let rig = start().await;
    let mut wire = rig.wire().await;
    for (request, status) in [
        (get("/nothing"), 404),
        (post("/mcp", "", "{}").replace(KEY, "wrong"), 401),
        (get("/mcp"), 401),
        (post("/health", "", "{}"), 405),
        (post("/mcp", "Content-Encoding: gzip\r\n", "{}"), 415),
        (get("/livez"), 200),
    ] {
        wire.send(&request).await;
        let reply = wire.reply().await;
        assert_eq!(reply.status, status, "{request}");
        assert_eq!(reply.header("connection"), Some("keep-alive"));
    }
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_order() {
    let rig = start().await;
    let mut wire = rig.wire().await;
    wire.send([post("/mcp", "", "1"), post("/mcp", "", "22"), get("/livez")].concat()).await;
    assert!(wire.reply().await.body.ends_with("1 bytes"));
    assert!(wire.reply().await.body.ends_with("2 bytes"));
    assert_eq!(wire.reply().await.body, "live\n");

    wire.send(post("/mcp", "x-do: wait\r\n", "1")).await;
    for _ in 0..3 {
        soon(rig.mcp.started.notified()).await;
        if rig.mcp.calls.lock().len() == 3 {
            break;
        }
    }
    wire.send(get("/livez")).await;
    rig.mcp.go_on.notify_one();
    assert_eq!(wire.reply().await.status, 200, "the next request does not disturb the one that runs");
    assert_eq!(wire.reply().await.body, "live\n");
}

#[tokio::test]
async fn close_means_close() {
    let rig = start().await;
    let mut wire = rig.wire().await;
    wire.send("GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert_eq!(wire.reply().await.header("connection"), Some("close"));
    wire.closed().await;
    let mut wire = rig.wire().await;
    wire.send("GET /livez HTTP/1.0\r\n\r\n").await;
    assert_eq!(wire.reply().await.status, 200);
    wire.closed().await;
}

#[tokio::test]
async fn ambiguous_requests_are_refused_and_cost_the_connection() {
    let rig = start().await;
    let auth = format!("Host: localhost\r\nAuthorization: Bearer {KEY}\r\n");
    for bad in [
        format!(
            "POST /mcp HTTP/1.1\r\n{auth}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
        format!("POST /mcp HTTP/1.1\r\n{auth}Content-Length: 2\r\nContent-Length: 2\r\n\r\n{{}}"),
        format!("POST /mcp HTTP/1.1\r\n{auth}Content-Length: +2\r\n\r\n{{}}"),
        format!("POST /mcp HTTP/1.1\r\n{auth}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        format!("POST /mcp HTTP/1.1\r\n{auth}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
        format!("POST /mcp HTTP/1.0\r\n{auth}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("POST /mcp HTTP/1.1\r\n{auth}X: 1\r\n folded\r\nContent-Length: 2\r\n\r\n{{}}"),
        format!("POST /mcp HTTP/1.1\r\n{auth}Host: localhost\r\nContent-Length: 2\r\n\r\n{{}}"),
        format!("POST /mcp HTTP/1.1\n{auth}Content-Length: 2\r\n\r\n{{}}"),
        "GET /livez HTTP/1.1\r\n\r\n".into(),
        "GET http://other.example/livez HTTP/1.1\r\nHost: localhost\r\n\r\n".into(),
        "nonsense\r\n\r\n".into(),
    ] {
        let mut wire = rig.wire().await;
        wire.send(&bad).await;
        let reply = wire.reply().await;
        assert_eq!((reply.status, reply.header("connection")), (400, Some("close")), "{bad:?}");
        assert_eq!(reply.header("server"), None);
        wire.closed().await;
    }
    assert!(rig.mcp.calls.lock().is_empty(), "none of them was a call");
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_spoken_on_the_same_port() {
    let rig = start().await;
    let client = http2_client();
    let call = client.post(rig.url("/mcp")).bearer_auth(KEY).body("{}").send().await.unwrap();
    assert_eq!((call.status().as_u16(), call.version()), (200, http::Version::HTTP_2));
    assert_eq!(call.text().await.unwrap(), "POST Jobs default/ci 2 bytes");
    let head = client.head(rig.url("/health")).send().await.unwrap();
    assert_eq!(head.status().as_u16(), 200);
    let large =
        client.post(rig.url("/mcp")).bearer_auth(KEY).body("a".repeat(21 << 20)).send().await.unwrap();
    assert_eq!(large.status().as_u16(), 413);
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let rig = start().await;
    for path in ["/", "/health", "/images/x.png?sig=1"] {
        let full = rig.ask(&get(path)).await;
        let mut wire = rig.wire().await;
        wire.headless = true;
        wire.send(get(path).replace("GET", "HEAD")).await;
        let head = wire.reply().await;
        assert_eq!((full.status, head.status), (200, 200), "{path}");
        assert_eq!(head.header("content-length"), Some(full.body.len().to_string().as_str()), "{path}");
        wire.headless = false;
        wire.send(get("/livez")).await;
        assert_eq!(wire.reply().await.body, "live\n", "no body came between");
    }
}

#[tokio::test]
async fn what_nobody_should_ask_is_refused() {
    let rig = start().await;
    for (request, status) in [
        ("TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        ("CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n", 405),
        ("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("GET /admin HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("GET /.well-known/oauth-protected-resource HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("GET /.well-known/oauth-protected-resource/mcp HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    ] {
        let reply = rig.ask(request).await;
        assert_eq!(reply.status, status, "{request}");
        assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{request}");
        assert_eq!(reply.header("allow").is_some(), status == 405, "{request}");
    }
}

#[tokio::test]
async fn health_has_the_fields_of_both_predecessors() {
    let rig = start().await;
    let health = rig.ask(&get("/health?verbose")).await.json();
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["timestamp"], "2023-11-14T22:13:20.123Z");
    for field in ["version", "architecture", "service"] {
        assert!(health[field].is_string(), "{field}");
    }
    assert_eq!(health.as_object().unwrap().len(), 5, "and nothing else");
}

#[tokio::test]
async fn readiness_follows_the_database() {
    let rig = start().await;
    rig.standings.0.lock().database = false;
    assert_eq!(rig.ask(&get("/readyz")).await.status, 503);
    assert_eq!(rig.ask(&get("/livez")).await.status, 200);
}

#[tokio::test]
async fn the_home_page_shows_the_bound_address_and_no_key() {
    let rig = start().await;
    let page = rig.ask(&get("/")).await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").unwrap().contains("default-src 'none'"));
    assert!(page.body.contains(&format!("http://{}/mcp", rig.address)), "the port that was really bound");
    assert!(page.body.contains("Draws &lt;it&gt;."));
    assert!(!page.body.contains(KEY));
}

#[tokio::test]
async fn images_need_no_key_and_get_their_name_as_it_was_sent() {
    let rig = start().await;
    let reply = rig.ask(&get("/images/..%2f../x.png?exp=1&sig=2")).await;
    assert_eq!(reply.body, "..%2f../x.png|exp=1&sig=2");
    assert_eq!(rig.ask(&post("/images/x.png", "", "")).await.status, 405);
}

#[tokio::test]
async fn connections_over_the_cap_are_dropped() {
    let rig = Setup::caps(|caps| caps.connections = 1).start().await;
    let mut first = rig.wire().await;
    first.send(get("/livez")).await;
    assert_eq!(first.reply().await.status, 200);
    rig.wire().await.closed().await;
    first.send(get("/livez")).await;
    assert_eq!(first.reply().await.status, 200, "the one that was there is served on");
}

#[tokio::test]
async fn an_upload_link_takes_a_put_without_a_key_and_guessing_is_slowed_down() {
    let rig = start().await;
    let put = |token: &str| {
        format!("PUT /uploads/{token} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc")
    };
    let reply = rig.ask(&put("good")).await;
    assert_eq!((reply.status, reply.body.as_str()), (201, "3"));
    let get = rig.ask("GET /uploads/good HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!((get.status, get.header("allow")), (405, Some("PUT, OPTIONS")));
    let mut statuses = Vec::new();
    for _ in 0..60 {
        statuses.push(rig.ask(&put("guess")).await.status);
    }
    assert_eq!(statuses[0], 404);
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(rig.ask(&put("good")).await.status, 201, "a good link is not a guess");
    // What a guess would send is not waited for.
    let rig = start().await;
    let mut wire = rig.wire().await;
    wire.send("PUT /uploads/guess HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nab").await;
    assert_eq!(wire.reply().await.status, 404);
}
