//! TLS: both versions of HTTP by ALPN, and files that cannot be used.

use super::*;

/// Only good for localhost, and only in tests.
const CERT: &str = include_str!("testdata/localhost-cert.pem");
const KEY_PEM: &str = include_str!("testdata/localhost-key.pem");

fn files(dir: &tempfile::TempDir, cert: &str) -> Tls {
    let path = |name: &str| dir.path().join(name).display().to_string();
    let tls = Tls { cert_file: path("cert.pem"), key_file: path("key.pem") };
    std::fs::write(&tls.cert_file, cert).unwrap();
    std::fs::write(&tls.key_file, KEY_PEM).unwrap();
    tls
}

/// A rig with a certificate, which has to live as long, and which clients must trust.
pub async fn rig(change: impl FnOnce(&mut RequestLimits)) -> (Rig, tempfile::TempDir, reqwest::Certificate) {
    rustls::crypto::ring::default_provider().install_default().ok();
    let dir = tempfile::tempdir().unwrap();
    let mut setup = Setup::caps(change);
    setup.edge.tls = Some(files(&dir, CERT));
    (setup.start().await, dir, reqwest::Certificate::from_pem(CERT.as_bytes()).unwrap())
}

#[tokio::test]
async fn both_versions_of_http_are_spoken_over_tls() {
    let (rig, _dir, root) = rig(|_| {}).await;
    let mut clients = Vec::new();
    for (version, http1) in [(http::Version::HTTP_2, false), (http::Version::HTTP_11, true)] {
        let builder = reqwest::Client::builder().tls_certs_only([root.clone()]).no_proxy();
        let client = if http1 { builder.http1_only() } else { builder }.build().unwrap();
        for _ in 0..2 {
            let url = format!("https://localhost:{}/mcp", rig.address.port());
            let call = soon(client.post(url).bearer_auth(KEY).body("{}").send()).await.unwrap();
            assert_eq!((call.status().as_u16(), call.version()), (200, version));
            assert_eq!(call.text().await.unwrap(), "POST Jobs default/ci 2 bytes");
        }
        clients.push(client); // its connection stays open, idle
    }
    rig.stop.send_replace(true);
    assert!(soon(rig.served).await.unwrap().unwrap(), "idle connections do not hold up the stop");
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_an_error_and_no_crash() {
    let dir = tempfile::tempdir().unwrap();
    let settings = super::super::Settings {
        listen: plugin_api::value::OneOrMany::One("127.0.0.1:0".into()),
        tls: Some(files(&dir, "no certificate")),
        ..Default::default()
    };
    let error = bind(settings).await.map(|_| ()).expect_err("told before anything listens").to_string();
    assert!(error.contains("cert.pem"), "{error}");
}
