//! Pictures that a vendor gives by their address: fetched at once, and only from where they may come.

use crate::support::{Config, Gateway, config, vendor};
use serde_json::{Value, json};
use testkit::{Behaviour, FakeUpstream, Reply};

fn link_to(address: &str) -> Behaviour {
    Behaviour::json(200, json!({"data": [{"url": format!("{address}/pictures/1.png")}]}).to_string())
}

fn with_hosts(upstream: &FakeUpstream, hosts: &[String]) -> Config {
    config().openai(upstream).set("providers.openai.result_hosts", json!(hosts))
}

async fn buy(gateway: &Gateway) -> crate::support::ToolResult {
    gateway.client().tool("generate_image_and_wait", json!({"prompt": "a fox"})).await
}

#[tokio::test]
async fn a_picture_is_fetched_from_a_listed_host_and_kept() {
    let (upstream, cdn) = (FakeUpstream::start().await, FakeUpstream::start().await);
    upstream.default(link_to(&cdn.url()));
    cdn.default(vendor::raw_picture());
    let gateway = Gateway::start(with_hosts(&upstream, &[cdn.address().to_string()])).await;
    let made = buy(&gateway).await.ok();
    drop(cdn);
    let bytes = gateway.client().get(&made.str("image_url")).await.bytes().await.unwrap();
    assert_eq!(bytes, vendor::png(), "also when the vendor's own link is dead");
    assert!(!made.json.to_string().contains("/pictures/1.png"), "and is never handed on");
}

#[tokio::test]
async fn nothing_is_fetched_from_anywhere_else() {
    let (upstream, elsewhere) = (FakeUpstream::start().await, FakeUpstream::start().await);
    elsewhere.default(vendor::raw_picture());
    let gateway = Gateway::start(with_hosts(&upstream, &[])).await;
    let port = elsewhere.address().port();
    for address in [
        elsewhere.url(),
        format!("http://localhost:{port}"),
        format!("http://[::ffff:127.0.0.1]:{port}"),
        format!("http://0x7f000001:{port}"),
        "http://169.254.169.254".into(),
        "file:///etc".into(),
    ] {
        upstream.push(link_to(&address));
        buy(&gateway).await.failed("provider_error");
    }
    assert!(elsewhere.requests().is_empty(), "{:?}", elsewhere.requests());
}

#[tokio::test]
async fn a_redirect_leads_nowhere_it_may_not_go() {
    let (upstream, cdn, inside) =
        (FakeUpstream::start().await, FakeUpstream::start().await, FakeUpstream::start().await);
    upstream.default(link_to(&cdn.url()));
    cdn.default(Reply::new(302, "text/plain", "").header("location", format!("{}/secret", inside.url())));
    inside.default(vendor::raw_picture());
    let gateway = Gateway::start(with_hosts(&upstream, &[cdn.address().to_string()])).await;
    buy(&gateway).await.failed("provider_error");
    assert!(inside.requests().is_empty());
}

#[tokio::test]
async fn what_is_too_large_or_no_picture_is_not_kept() {
    let (upstream, cdn) = (FakeUpstream::start().await, FakeUpstream::start().await);
    upstream.default(link_to(&cdn.url()));
    let gateway =
        Gateway::start(with_hosts(&upstream, &[cdn.address().to_string()]).set("storage.max_image", "1MiB"))
            .await;
    let mut large = vendor::png().to_vec();
    large.resize(4 << 20, 0);
    for behaviour in [
        Behaviour::from(Reply::new(200, "image/png", large)),
        Behaviour::Endless(Reply::new(200, "image/png", vendor::png())),
        Reply::new(200, "image/png", "<html>no picture</html>").into(),
        Reply::new(200, "image/png", "").into(),
        Reply::new(404, "text/plain", "gone").into(),
    ] {
        cdn.default(behaviour);
        let failed = buy(&gateway).await;
        assert!(failed.is_error, "{}", failed.json);
    }
    let gallery: Value = gateway.client().tool("list_generations", json!({})).await.ok().json;
    assert_eq!(gallery["total_count"], 0);
    let left = gateway.home().in_spool();
    assert!(left.is_empty(), "nothing is left lying about: {left:?}");
}
