//! Images in a bucket: kept, served and handed out, and what is paid for while the bucket is away.

use crate::support::{Config, Gateway, Home, config, eventually, vendor};
use serde_json::{Value, json};
use testkit::{Behaviour, BucketServer, BucketTrouble, FakeUpstream};

fn stored_in(config: Config, server: &BucketServer) -> Config {
    config.set("storage.kind", "s3").set("storage.options", server.options())
}

async fn waits(gateway: &Gateway) {
    eventually("the image waits", async || {
        gateway.log().contains("an image waits to be stored").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_paid_image_waits_for_its_bucket_past_the_deadline_and_across_restarts() {
    let (upstream, cdn) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let address = format!("{}/pictures/1.png", cdn.url());
    upstream.default(Behaviour::json(200, json!({"data": [{"url": address}]}).to_string()));
    cdn.default(vendor::raw_picture());
    let mut server = BucketServer::start().await;
    let config = config()
        .openai(&upstream)
        .set("providers.openai.result_hosts", json!([cdn.address().to_string()]))
        .set("jobs.deadline", "2s");
    let gateway = Gateway::start(stored_in(config, &server)).await;
    server.stop().await;
    let job = gateway.client().generate("a fox").await;
    waits(&gateway).await;
    // The vendor's own link is dead from here on.
    drop(cdn);
    let gateway = gateway.kill_and_restart().await;
    waits(&gateway).await;
    let state = gateway.client().status(&job).await;
    assert_eq!(state["status"], "processing", "{state}");
    tokio::time::sleep(std::time::Duration::from_secs(2)).await; // the deadline
    assert_eq!(gateway.client().status(&job).await["status"], "processing", "also past its deadline");
    assert!(gateway.log().contains("cannot be reached"), "the log names the reason");
    server.start_again().await;
    let done = gateway.client().wait(&job).await.ok();
    let bytes = gateway.client().get(&gateway.at(&done.str("image_url"))).await.bytes().await.unwrap();
    assert_eq!(bytes, vendor::png());
    assert_eq!(upstream.submissions(), 1, "it is not bought again");
    eventually("the spool is empty", async || gateway.home().in_spool().is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_paid_edit_needs_its_references_no_more() {
    let upstream = FakeUpstream::start().await;
    upstream.default(vendor::openai_picture());
    let server = BucketServer::start().await;
    let gateway = Gateway::start(stored_in(config().openai(&upstream), &server)).await;
    let first = gateway.client().tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.ok();
    let id = first.json["images"][0]["id"].as_str().unwrap();
    server.trouble(Some(BucketTrouble::Writes(503, "SlowDown")));
    let ask = json!({"prompt": "blue", "references": [format!("image://{id}")]});
    let job = gateway.client().tool("edit_image", ask).await.ok().str("job_id");
    waits(&gateway).await;
    server.trouble(Some(BucketTrouble::Answer(503, "SlowDown")));
    let gateway = gateway.kill_and_restart().await;
    waits(&gateway).await;
    assert!(!gateway.log().contains("a reference image waits"), "{}", gateway.log());
    server.trouble(None);
    gateway.client().wait(&job).await.ok();
    assert_eq!(upstream.submissions(), 2);
}

#[tokio::test]
async fn what_is_wrong_with_the_bucket_is_in_the_log_and_in_doctor() {
    let upstream = FakeUpstream::start().await;
    upstream.default(vendor::openai_picture());
    let server = BucketServer::start().await;
    let gateway = Gateway::start(stored_in(config().openai(&upstream), &server)).await;
    let doctor = async || {
        let ran = gateway.home().command(&["doctor"]).output().await.unwrap();
        String::from_utf8(ran.stdout).unwrap()
    };
    let said = doctor().await;
    assert!(said.contains("an object was written, read and deleted"), "{said}");
    for (status, code, word) in [
        (403, "RequestTimeTooSkewed", "NTP"),
        (404, "NoSuchBucket", "`storage.options.bucket`"),
        (403, "InvalidAccessKeyId", "`storage.options.access_key_id`"),
    ] {
        server.trouble(Some(BucketTrouble::Answer(status, code)));
        let said = doctor().await;
        assert!(said.contains(word) && !said.contains("test-secret-key"), "{code}: {said}");
    }
    let job = gateway.client().generate("a fox").await;
    waits(&gateway).await;
    assert!(gateway.log().contains("storage.options.access_key_id"), "{}", gateway.log());
    server.trouble(None);
    gateway.client().wait(&job).await.ok();
    assert_eq!(upstream.submissions(), 1);
}

#[tokio::test]
async fn credentials_come_from_files_or_from_amazons_variables() {
    let server = BucketServer::start().await;
    let options = server.options();
    let [id, secret] = ["access_key_id", "secret_access_key"].map(|name| options[name].as_str().unwrap());
    let bare = json!({"bucket": options["bucket"], "endpoint": options["endpoint"]});
    let home = Home::new(stored_in(config(), &server).set("storage.options", bare));
    let doctor = async |env: &[(&str, &str)]| {
        let ran = home.command(&["doctor"]).envs(env.iter().copied()).output().await.unwrap();
        String::from_utf8(ran.stdout).unwrap()
    };
    let said = doctor(&[("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", secret)]).await;
    assert!(said.contains("an object was written, read and deleted"), "{said}");

    let mut by_files = json!({"bucket": options["bucket"], "endpoint": options["endpoint"]});
    for (name, value) in [("access_key_id", id), ("secret_access_key", secret)] {
        std::fs::write(home.folder().join(name), format!("{value}\n")).unwrap();
        by_files[format!("{name}_file")] = name.into();
    }
    home.configure(&stored_in(config(), &server).set("storage.options", by_files));
    let said = doctor(&[]).await;
    assert!(said.contains("an object was written, read and deleted"), "{said}");
}

#[tokio::test]
async fn over_tls_a_bucket_hands_out_its_own_links() {
    let upstream = FakeUpstream::start().await;
    upstream.default(vendor::openai_picture());
    let server = BucketServer::start_tls().await;
    let ca = BucketServer::ca_file();
    let config = stored_in(config().openai(&upstream), &server)
        .set("storage.options.ca_file", ca.display().to_string())
        .set("storage.delivery", "presigned");
    let gateway = Gateway::start(config).await;
    let made = gateway.client().tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.ok();
    let link = made.str("image_url");
    assert!(link.starts_with(&server.url()) && link.contains("X-Amz-Signature="), "{link}");
    let authority = reqwest::Certificate::from_pem(&std::fs::read(ca).unwrap()).unwrap();
    let http = reqwest::Client::builder().tls_certs_only([authority]).no_proxy().build().unwrap();
    let bytes = http.get(&link).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(bytes, vendor::png());
    let list: Value = gateway.client().tool("list_generations", json!({})).await.ok().json;
    assert!(list.to_string().contains("X-Amz-Signature="), "{list}");
}

#[tokio::test]
async fn a_folder_moves_into_a_bucket_and_verify_tells_what_is_missing_on_the_way() {
    let upstream = FakeUpstream::start().await;
    upstream.default(vendor::openai_picture());
    let gateway = Gateway::start(config().openai(&upstream)).await;
    let made = gateway.client().tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.ok();
    let (home, _) = gateway.stop().await;
    let verify = async |args: &[&str]| {
        let ran = home.command(&[&["images", "verify"], args].concat()).output().await.unwrap();
        (ran.status.code(), String::from_utf8(ran.stdout).unwrap())
    };
    let (code, said) = verify(&[]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("1 images are as they should be; 0 missing"), "{said}");

    let server = BucketServer::start().await;
    home.configure(&stored_in(config().openai(&upstream), &server));
    let (code, said) = verify(&[]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("1 missing") && said.contains(made.json["images"][0]["id"].as_str().unwrap()),
        "{said}"
    );
    let folder = home.data_dir().join("images").display().to_string();
    let (code, said) = verify(&["--repair", "--from", &folder]).await;
    assert!(code == Some(0) && said.contains("restored from") && said.contains("1 mended"), "{said}");
    assert_eq!(verify(&[]).await.0, Some(0));

    let gateway = Gateway::start_at(home.clone()).await;
    let link = gateway.at(&made.str("image_url"));
    assert_eq!(gateway.client().get(&link).await.bytes().await.unwrap(), vendor::png(), "old links work on");
    let key = server.keys().remove(0);
    std::fs::write(server.objects().join(&key), "damaged").unwrap();
    let (code, said) = verify(&[]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("damaged") && said.contains("7 bytes instead of") && said.contains(&key), "{said}");
}
