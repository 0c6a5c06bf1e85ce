//! The lines of the table: by case of S1 to S16, each with the section that decides.

use super::{
    vectors::{
        Table,
        Wants::{Good, Invalid, Malformed, Missing},
    },
    *,
};

pub fn all(t: &mut Table, scene: &Scene) {
    for part in [bearers, algorithms, headers, times, audiences, kinds, signatures, texts, bearers_of_tokens]
    {
        part(t, scene);
    }
}

fn encoded(text: impl AsRef<[u8]>) -> String {
    BASE64.encode(text)
}

/// The first two parts under another signature.
fn signed(token: &str, signature: &[u8]) -> String {
    format!("{}.{}", message(token), BASE64.encode(signature))
}

fn message(token: &str) -> &str {
    token.rsplit_once('.').unwrap().0
}

fn signature(token: &str) -> Vec<u8> {
    BASE64.decode(token.rsplit_once('.').unwrap().1).unwrap()
}

/// HMAC over a token that says it is one, under what everybody knows.
fn hmac(scene: &Scene, alg: &str, kid: &str, secret: &[u8]) -> String {
    let header = json!({"alg": alg, "kid": kid, "typ": "at+jwt"});
    let message = format!("{}.{}", encoded(header.to_string()), encoded(scene.claims().to_string()));
    let algorithm = match alg {
        "HS256" => ::ring::hmac::HMAC_SHA256,
        "HS384" => ::ring::hmac::HMAC_SHA384,
        _ => ::ring::hmac::HMAC_SHA512,
    };
    let tag = ::ring::hmac::sign(&::ring::hmac::Key::new(algorithm, secret), message.as_bytes());
    format!("{message}.{}", encoded(tag))
}

/// `a - b`, big-endian.
fn minus(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut borrow = 0i16;
    let mut out: Vec<u8> = a
        .iter()
        .zip(b)
        .rev()
        .map(|(a, b)| {
            let n = i16::from(*a) - i16::from(*b) - borrow;
            borrow = i16::from(n < 0);
            n.rem_euclid(256) as u8
        })
        .collect();
    out.reverse();
    out
}

/// `a + b`, little-endian.
fn plus(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut carry = 0u16;
    a.iter()
        .zip(b)
        .map(|(a, b)| {
            let n = u16::from(*a) + u16::from(*b) + carry;
            carry = n >> 8;
            n as u8
        })
        .collect()
}

fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let number = |n: &[u8]| {
        let mut n: Vec<u8> = n.iter().copied().skip_while(|b| *b == 0).collect();
        if n.first().is_some_and(|b| b & 0x80 != 0) {
            n.insert(0, 0);
        }
        [vec![2, n.len() as u8], n].concat()
    };
    let both = [number(r), number(s)].concat();
    [vec![0x30, both.len() as u8], both].concat()
}

fn bearers(t: &mut Table, scene: &Scene) {
    let good = scene.es.token(&scene.with("jti", "bearers"));
    let with = |prefix: &str| format!("{prefix}{good}");
    t.headers("S1", "RFC 6750 3", &[], Missing);
    t.headers("S1", "RFC 6750 2.1", &[""], Invalid);
    t.headers("S2", "RFC 6750 3.1", &["Bearer garbage"], Invalid);
    t.headers("S2", "RFC 6750 3.1", &["Bearer not.a.token"], Invalid);
    t.headers("S2", "RFC 6750 3.1", &["Bearer e.e.e"], Invalid);
    t.bearer("S2", "RFC 6750 3.1", scene.es.token(&scene.with("exp", NOW - 3600)), Invalid);
    t.verified("S2", "RFC 6750 3.1", scene.stranger.token(&scene.claims()));
    for query in ["access_token=", "a=1&access_token=", "ACCESS_TOKEN=", "access%5Ftoken="] {
        t.query("RFC 6750 2.3", &[], format!("{query}{good}"));
        t.query("RFC 9700 4.3.2", &[&with("Bearer ")], format!("{query}{good}"));
    }
    t.headers("S5", "RFC 9110 5.3", &[&with("Bearer "), &with("Bearer ")], Malformed);
    t.headers("S5", "RFC 9110 5.3", &[&with("Bearer "), "Basic dGVzdDp0ZXN0"], Malformed);
    t.headers("S5", "RFC 9110 11.1", &[&with("bearer ")], Good);
    t.costing(1);
    for scheme in ["BEARER ", "bEaReR ", "Bearer   "] {
        t.headers("S5", "RFC 9110 11.1", &[&with(scheme)], Good);
        t.costing(0); // known by now
    }
    for bad in [with("Bearer\t"), with("Bearer "), with("Bearer  ") + ",", with("Bearer \"") + "\""] {
        let bad = if bad == with("Bearer ") { bad + " " } else { bad };
        t.headers("S5", "RFC 6750 2.1", &[&bad], Invalid);
    }
    for bad in [with("Basic "), with("Token "), with("DPoP "), with(""), with("Bearer"), "Bearer".into()] {
        t.headers("S5", "RFC 9110 11.4", &[&bad], Invalid);
    }
    t.headers("S5", "RFC 6750 2.1", &[&format!("Bearer {good} {good}")], Invalid);
}

fn algorithms(t: &mut Table, scene: &Scene) {
    let claims = scene.claims().to_string();
    let unsigned = |alg: &str| {
        format!("{}.{}.", encoded(json!({"alg": alg, "kid": "es"}).to_string()), encoded(&claims))
    };
    for alg in ["none", "nOnE", "None", "NONE", "", " none"] {
        t.bearer("S7", "RFC 8725 3.2", unsigned(alg), Invalid);
        t.bearer("S7", "RFC 8725 2.1", unsigned(alg) + &encoded([1; 64]), Invalid);
    }
    let good = scene.es.token(&scene.with("jti", "parts"));
    let [h, c, s]: [&str; 3] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    for bad in [
        format!("{h}.{c}."),
        format!("{h}.{c}"),
        h.into(),
        format!(".{c}.{s}"),
        format!("{h}..{s}"),
        format!("{h}.{c}.{s}.{s}"),
        format!(".{h}.{c}.{s}"),
        format!("{h}.{c}.{s}."),
        format!("{h}.{c}.{s}="),
        format!("{h}=.{c}.{s}"),
        format!("{h}.{c}.{s}+/"),
        format!("{h}.{c}.{}%41", &s[..s.len() - 3]),
    ] {
        t.bearer("S7", "RFC 7515 5.2", bad, Invalid);
    }
    // 64 bytes leave four bits in the last character: they must be zero.
    let last = s.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let other = alphabet.chars().nth(alphabet.find(last).unwrap() + 1).unwrap();
    t.bearer("S7", "RFC 4648 3.5", format!("{h}.{c}.{}{other}", &s[..s.len() - 1]), Invalid);
    for header in [json!({"kid": "es"}), json!({"alg": null}), json!({"alg": 256}), json!({"alg": ["ES256"]})]
    {
        t.bearer("S7", "RFC 7515 4.1.1", scene.es.token_of(&header.to_string(), &claims), Invalid);
    }

    let jwk = |key: &SigningKey| key.jwk().to_string();
    let n = BASE64.decode(scene.rs.jwk()["n"].as_str().unwrap()).unwrap();
    let x = BASE64.decode(scene.es.jwk()["x"].as_str().unwrap()).unwrap();
    for alg in ["HS256", "HS384", "HS512"] {
        for (kid, secret) in [
            ("es", jwk(&scene.es).into_bytes()),
            ("rs", jwk(&scene.rs).into_bytes()),
            ("rs", n.clone()),
            ("es", x.clone()),
            ("es", Vec::new()),
        ] {
            t.bearer("S8", "RFC 8725 2.1", hmac(scene, alg, kid, &secret), Invalid);
        }
    }
    let says = |key: &SigningKey, alg: &str, kid: &str| {
        key.token_of(&json!({"alg": alg, "kid": kid, "typ": "at+jwt"}).to_string(), &claims)
    };
    for (alg, kid) in [("ES256", "rs"), ("RS256", "es"), ("EdDSA", "es"), ("ES256", "ed"), ("RS256", "ed")] {
        t.bearer("S8", "RFC 8725 3.1", says(&scene.rs, alg, kid), Invalid);
    }
    for alg in ["PS256", "RS384", "RS512", "ES384", "ES512", "ES256K", "es256", "ES256 ", "Ed25519", "A128KW"]
    {
        t.bearer("S8", "RFC 8725 3.1", says(&scene.es, alg, "es"), Invalid);
    }
    t.verified("S8", "RFC 8725 3.1", says(&scene.es, "RS256", "rs"));
    t.verified("S8", "RFC 8725 3.1", says(&scene.rs, "ES256", "es"));
    t.bearer("S8", "RFC 7518 3.3", scene.rs.token(&scene.claims()), Good);
    t.bearer("S8", "RFC 8037 3.1", scene.ed.token(&scene.claims()), Good);
}

fn headers(t: &mut Table, scene: &Scene) {
    let canary = scene.canary.url();
    let kid = |kid: Value| scene.headed(json!({"kid": kid}));
    for bad in [
        "../../../dev/null",
        "' OR 1=1--",
        "/etc/passwd",
        "a\0b",
        "unknown",
        "",
        "ES",
        "es ",
        "es-strict",
        &canary,
        "file:///dev/zero",
        "$(reboot)",
        "%2e%2e%2f",
        "\u{202e}se",
    ] {
        t.bearer("S9", "RFC 8725 3.10", kid(bad.into()), Invalid);
    }
    t.bearer("S9", "RFC 7515 4.1.4", kid("k".repeat(257).into()), Invalid);
    t.bearer("S9", "RFC 7515 4.1.4", kid("k".repeat(1 << 20).into()), Invalid);
    for bad in [json!(1), json!(null), json!(["es"]), json!({"es": 1})] {
        t.bearer("S9", "RFC 7515 4.1.4", kid(bad), Invalid);
    }
    let nameless = scene.es.token_of(r#"{"alg":"ES256"}"#, &scene.claims().to_string());
    t.bearer("S9", "RFC 7515 4.1.4", nameless, Good);

    for name in ["jku", "x5u"] {
        let header = json!({"alg": "ES256", "kid": "es", name: format!("{canary}/jwks.json")});
        let claims = scene.claims().to_string();
        t.verified("S10", "RFC 8725 3.10", scene.stranger.token_of(&header.to_string(), &claims));
        let header = json!({"alg": "ES256", "kid": "mine", name: format!("{canary}/jwks.json")});
        t.bearer("S10", "RFC 8725 3.10", scene.stranger.token_of(&header.to_string(), &claims), Invalid);
    }
    for (rfc, name, value) in
        [("RFC 7515 4.1.3", "jwk", scene.stranger.jwk()), ("RFC 7515 4.1.6", "x5c", json!(["MIIB"]))]
    {
        let header = json!({"alg": "ES256", "kid": "es", name: value}).to_string();
        t.verified("S10", rfc, scene.stranger.token_of(&header, &scene.claims().to_string()));
    }
    t.bearer("S10", "RFC 7515 4.1.2", scene.headed(json!({"jku": canary})), Good);

    for (rfc, more) in [
        ("RFC 7515 4.1.11", json!({"crit": ["urn:unknown"], "urn:unknown": 1})),
        ("RFC 7515 4.1.11", json!({"crit": ["exp"]})),
        ("RFC 7515 4.1.11", json!({"crit": []})),
        ("RFC 7515 4.1.11", json!({"crit": "exp"})),
        ("RFC 7797 6", json!({"crit": ["b64"], "b64": false})),
        ("RFC 7797 3", json!({"b64": false})),
        ("RFC 7516 4.1.3", json!({"zip": "DEF"})),
        ("RFC 7516 4.1.2", json!({"enc": "A256GCM"})),
        ("RFC 7518 4.8.1.2", json!({"alg": "PBES2-HS256+A128KW", "p2c": 1_000_000_000_u64, "p2s": "AA"})),
        ("RFC 7518 4.8.1.2", json!({"p2c": 1_000_000_000_u64})),
        ("RFC 7515 4.1.9", json!({"typ": 1})),
        ("RFC 7515 4.1.9", json!({"typ": {"at+jwt": 1}})),
    ] {
        t.bearer("S11", rfc, scene.headed(more), Invalid);
    }
    let part = encoded(r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#);
    t.bearer("S11", "RFC 7516 3.1", format!("{part}.{part}.{part}.{part}.{part}"), Invalid);
    let deep = format!(r#"{{"alg":"ES256","kid":"es","a":{}{}}}"#, "[".repeat(2000), "]".repeat(2000));
    t.bearer("S11", "RFC 8259 9", scene.es.token_of(&deep, &scene.claims().to_string()), Invalid);
}

fn times(t: &mut Table, scene: &Scene) {
    // The leeway is 30 s where nothing is configured.
    for (exp, wants) in
        [(NOW - 1, Good), (NOW - 29, Good), (NOW - 30, Invalid), (NOW - 31, Invalid), (0, Invalid)]
    {
        t.bearer("S12", "RFC 7519 4.1.4", scene.es.token(&scene.with("exp", exp)), wants);
    }
    t.bearer("S12", "RFC 7519 2", scene.es.token(&scene.with("exp", NOW as f64 + 10.5)), Good);
    t.bearer("S12", "RFC 9068 2.2", scene.es.token(&scene.without("exp")), Invalid);
    let bad = [
        json!(format!("{}", NOW + 300)),
        json!(1e308),
        json!(-1),
        json!(-1e308),
        json!(null),
        json!([NOW + 300]),
        json!({"at": NOW}),
        json!(true),
        json!(253_402_300_800_u64),
        json!(u64::MAX),
        json!(""),
    ];
    for (name, rfc) in [("exp", "RFC 7519 4.1.4"), ("nbf", "RFC 7519 4.1.5"), ("iat", "RFC 7519 4.1.6")] {
        for value in &bad {
            t.bearer("S12", rfc, scene.es.token(&scene.with(name, value.clone())), Invalid);
        }
    }
    let text = |exp: &str| {
        let claims = scene.without("exp").to_string();
        let claims = format!("{},\"exp\":{exp}}}", claims.trim_end_matches('}'));
        scene.es.token_of(r#"{"alg":"ES256","kid":"es"}"#, &claims)
    };
    for bad in ["1e400", "NaN", "Infinity", "0x7fffffff", "+1900000000", "01900000000"] {
        t.bearer("S12", "RFC 8259 6", text(bad), Invalid);
    }
    for (name, rfc) in [("nbf", "RFC 7519 4.1.5"), ("iat", "RFC 7519 4.1.6")] {
        for (from, wants) in
            [(NOW - 300, Good), (NOW + 30, Good), (NOW + 31, Invalid), (NOW + 86_400, Invalid)]
        {
            t.bearer("S12", rfc, scene.es.token(&scene.with(name, from)), wants);
        }
    }
}

fn audiences(t: &mut Table, scene: &Scene) {
    let aud = |value: Value| scene.es.token(&scene.with("aud", value));
    for (value, wants) in [
        (json!("https://gateway.test/sse"), Good),
        (json!([AUDIENCE]), Good),
        (json!(["https://other.test", AUDIENCE]), Good),
        (json!("https://other.test/mcp"), Invalid),
        (json!("https://gateway.test/mcp/"), Invalid),
        (json!("https://gateway.test"), Invalid),
        (json!("HTTPS://GATEWAY.TEST/mcp"), Invalid),
        (json!("https://gateway.test/mcp https://other.test"), Invalid),
        (json!("https://gateway.test.evil/mcp"), Invalid),
        (json!(["https://other.test"]), Invalid),
        (json!([]), Invalid),
        (json!([AUDIENCE, 1]), Invalid),
        (json!([[AUDIENCE]]), Invalid),
        (json!({"0": AUDIENCE}), Invalid),
        (json!(""), Invalid),
        (json!("*"), Invalid),
        (json!(null), Invalid),
        (json!(1), Invalid),
    ] {
        t.bearer("S13", "RFC 7519 4.1.3", aud(value), wants);
    }
    t.bearer("S13", "RFC 8725 3.9", scene.es.token(&scene.without("aud")), Invalid);
    let url = scene.issuer.url();
    for bad in [
        json!(format!("{url}/")),
        json!(url.to_uppercase()),
        json!(url.replace("http", "https")),
        json!(url.replace('1', "\u{0661}")),
        json!(format!("{url} ")),
        json!(""),
        json!(null),
        json!(1),
        json!([url]),
        json!("https://login.example.com"),
    ] {
        t.bearer("S13", "RFC 8725 3.8", scene.es.token(&scene.with("iss", bad)), Invalid);
    }
    t.bearer("S13", "RFC 9068 4", scene.es.token(&scene.without("iss")), Invalid);
    // The right key, of another issuer.
    let strict = scene.with("iss", scene.strict.url());
    t.bearer("S13", "RFC 8725 3.8", scene.es.token(&strict), Invalid);
    t.bearer("S13", "RFC 8725 3.8", scene.strict_es.token(&scene.claims()), Invalid);
    t.bearer("S13", "RFC 8725 3.8", scene.strict_es.token(&strict), Good);
}

fn kinds(t: &mut Table, scene: &Scene) {
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "JWT", "jwt"] {
        t.bearer("S14", "RFC 9068 4", scene.headed(json!({"typ": typ})), Good);
    }
    let bare = scene.es.token_of(r#"{"alg":"ES256","kid":"es"}"#, &scene.with("jti", "bare").to_string());
    t.bearer("S14", "RFC 7519 5.1", bare, Good);
    for typ in [
        "id+jwt",
        "logout+jwt",
        "dpop+jwt",
        "secevent+jwt",
        "token-introspection+jwt",
        "JOSE",
        "",
        "at",
        "text/at+jwt",
        "oauth-authz-req+jwt",
    ] {
        t.bearer("S14", "RFC 8725 3.11", scene.headed(json!({"typ": typ})), Invalid);
    }
    let strict = |typ: Option<&str>| {
        let mut header = json!({"alg": "ES256", "kid": "es-strict"});
        if let Some(typ) = typ {
            header["typ"] = typ.into();
        }
        let claims = scene.with("iss", scene.strict.url());
        scene.strict_es.token_of(&header.to_string(), &claims.to_string())
    };
    t.bearer("S14", "RFC 9068 2.1", strict(Some("at+jwt")), Good);
    t.bearer("S14", "RFC 9068 2.1", strict(Some("JWT")), Invalid);
    t.bearer("S14", "RFC 9068 2.1", strict(None), Invalid);
    for (name, value) in [
        ("at_hash", "x"),
        ("c_hash", "x"),
        ("s_hash", "x"),
        ("typ", "ID"),
        ("typ", "Refresh"),
        ("typ", "Offline"),
    ] {
        t.bearer("S14", "RFC 8725 3.12", scene.es.token(&scene.with(name, value)), Invalid);
    }
    t.bearer("S14", "RFC 8725 3.12", scene.es.token(&scene.with("typ", "Bearer")), Good);
}

fn signatures(t: &mut Table, scene: &Scene) {
    let es = scene.es.token(&scene.with("jti", "signatures"));
    let whole = signature(&es);
    let (r, s) = whole.split_at(32);
    let order = hex::decode("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551").unwrap();
    let zero = [0; 32];
    let flipped = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    for bad in [
        [zero, zero].concat(),
        [&zero, s].concat(),
        [r, &zero].concat(),
        [r, &order].concat(),
        [&order[..], s].concat(),
        [s, r].concat(),
        der(r, s),
        whole[..63].to_vec(),
        [&whole[..], &[0]].concat(),
        [&[0; 32], &whole[..]].concat(),
        vec![0],
        flipped(&whole, 0),
        flipped(&whole, 63),
    ] {
        t.verified("S15", "RFC 7518 3.4", signed(&es, &bad));
    }
    // Both halves of the curve are good there; half of all signatures are high.
    t.bearer("S15", "RFC 7518 3.4", signed(&es, &[r, &minus(&order, s)].concat()), Good);
    let ed = scene.ed.token(&scene.with("jti", "signatures"));
    let whole = signature(&ed);
    let order = hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
    for bad in [
        vec![0; 64],
        [&[1], &[0; 63][..]].concat(),
        [&whole[..32], &plus(&whole[32..], &order)].concat(),
        whole[..63].to_vec(),
        flipped(&whole, 1),
    ] {
        t.verified("S15", "RFC 8032 5.1.7", signed(&ed, &bad));
    }
    let rs = scene.rs.token(&scene.with("jti", "signatures"));
    let whole = signature(&rs);
    for bad in [
        vec![0; 256],
        vec![0xff; 256],
        whole[1..].to_vec(),
        [&[0], &whole[..]].concat(),
        flipped(&whole, 255),
    ] {
        t.verified("S15", "RFC 8017 8.2.2", signed(&rs, &bad));
    }
    // Other content under a good signature.
    let [h, c, s]: [&str; 3] = es.split('.').collect::<Vec<_>>().try_into().unwrap();
    let other = encoded(scene.with("team", "default").to_string());
    t.verified("S15", "RFC 7515 5.2", format!("{h}.{other}.{s}"));
    let other = encoded(r#"{"alg":"ES256","kid":"es"}"#);
    t.verified("S15", "RFC 7515 5.2", format!("{other}.{c}.{s}"));
}

fn texts(t: &mut Table, scene: &Scene) {
    let claims = scene.claims().to_string();
    let more = |more: &str| format!("{},{more}}}", claims.strip_suffix('}').unwrap());
    const HEADER: &str = r#"{"alg":"ES256","kid":"es"}"#;
    for twice in [
        r#""sub":"bob""#,
        r#""exp":1"#,
        r#""team":"default""#,
        r#""\u0073ub":"bob""#,
        r#""x":1,"x":1"#,
        r#""x":{"y":1,"y":2}"#,
        r#""x":[{"y":{"z":1,"z":2}}]"#,
    ] {
        t.bearer("S16", "RFC 7519 4", scene.es.token_of(HEADER, &more(twice)), Invalid);
    }
    for header in [
        r#"{"alg":"none","alg":"ES256","kid":"es"}"#,
        r#"{"alg":"ES256","kid":"other","kid":"es"}"#,
        r#"{"alg":"ES256","kid":"es","\u0061lg":"ES256"}"#,
    ] {
        t.bearer("S16", "RFC 7515 4", scene.es.token_of(header, &claims), Invalid);
    }
    for (header, claims) in [
        (HEADER, format!("{claims}{claims}")),
        (HEADER, format!("{claims} x")),
        (HEADER, format!("[{claims}]")),
        (HEADER, format!("\u{feff}{claims}")),
        (HEADER, "\"claims\"".into()),
        (HEADER, "{}".into()),
        (HEADER, "null".into()),
        (HEADER, claims.replace('"', "'")),
        (HEADER, claims.replace('}', ",}")),
        ("[]", claims.clone()),
        ("\"ES256\"", claims.clone()),
        ("{}", claims.clone()),
        ("{\"alg\":\"ES256\",\"kid\":\"es\"", claims.clone()),
    ] {
        t.bearer("S16", "RFC 8259 2", scene.es.token_of(header, &claims), Invalid);
    }
    let message = format!("{}.{}", encoded(HEADER), encoded(b"{\"sub\":\"\xff\"}"));
    t.bearer(
        "S16",
        "RFC 7519 7.2",
        format!("{message}.{}", encoded(scene.es.sign(message.as_bytes()))),
        Invalid,
    );
    t.bearer(
        "S16",
        "RFC 8259 2",
        scene.es.token_of("{ \"alg\" : \"ES256\" , \"kid\":\"es\" }\n", &claims),
        Good,
    );
}

/// Found out under a good signature only.
fn bearers_of_tokens(t: &mut Table, scene: &Scene) {
    let good = |t: &mut Table, rfc, claims: Value| t.bearer("S28", rfc, scene.es.token(&claims), Good);
    let bad = |t: &mut Table, rfc, claims: Value| t.verified("S28", rfc, scene.es.token(&claims));
    bad(t, "RFC 9068 2.2", scene.without("sub"));
    for sub in [json!(""), json!(7), json!(null), json!(["a", "b"]), json!("a\nb"), json!("x".repeat(256))] {
        bad(t, "RFC 7519 4.1.2", scene.with("sub", sub));
    }
    for sub in ["auth0|5f7c8ec7c33c6c004bbafe82", "Zo\u{eb}", "ci"] {
        good(t, "RFC 7519 4.1.2", scene.with("sub", sub));
    }
    bad(t, "RFC 9068 2.2.3.1", scene.without("team"));
    for team in
        [json!("nobody"), json!(""), json!(7), json!(null), json!(["design", "default"]), json!("Design")]
    {
        bad(t, "RFC 9068 2.2.3.1", scene.with("team", team));
    }
    good(t, "RFC 9068 2.2.3.1", scene.with("team", json!(["design"])));
    good(t, "RFC 9068 2.2.3", scene.without("scope"));
}
