//! What a folder and a bucket have in common, and what is a bucket's own.

use super::*;
use http::StatusCode;
use plugin_api::value::{Secret, Span};

fn keep(position: u32) -> Keep<'static> {
    Keep { job_id: Uuid::from_u128(7), position, team: "acme", created_us: NOW_US }
}

async fn fails(house: &House) -> String {
    match house.images.keep(keep(99), &blob(FOX)).await.unwrap_err() {
        ImageError::Storage(why) => why,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn every_storage_keeps_serves_and_removes() {
    for house in houses().await {
        house.images.health().await.unwrap();
        // Whole, in pieces, and in parts of a bucket's upload.
        let large = noise(1_400);
        assert!(large.len() > 5 << 20);
        for bytes in [FOX.to_vec(), JPEG.to_vec(), GIF.to_vec(), noise(600), large] {
            let image = house.kept(&bytes).await;
            assert_eq!(house.images.full(&image).await.unwrap(), bytes);
            assert_eq!(house.images.object_bytes(&image.object_key).await.unwrap(), bytes.len() as u64);
            assert_eq!(body(house.get(&house.images.link(&image).url).await).await, bytes);
        }
        let image = house.kept(ALPHA).await;
        let neighbour = house.kept(FOX).await;
        let (_, made) = house.images.preview(&image, 256, u64::MAX).await.unwrap().unwrap();
        let copy = format!("{}.copies/256.webp", image.object_key);
        assert_eq!(house.images.read_object(&copy).await.unwrap(), made, "it is kept");
        for _ in 0..2 {
            house.images.remove(&image.object_key).await.unwrap();
            assert!(matches!(house.images.full(&image).await, Err(ImageError::Missing)));
            assert!(matches!(house.images.read_object(&copy).await, Err(ImageError::Missing)));
        }
        assert_eq!(house.images.full(&neighbour).await.unwrap(), FOX);
        let id = Uuid::new_v4();
        let kept = house.images.keep_reference("acme", id, Bytes::from_static(JPEG)).await.unwrap();
        assert_eq!(house.images.read_object(&kept.object_key).await.unwrap(), JPEG);
    }
}

#[tokio::test]
async fn a_repeat_finds_its_object_and_a_damaged_one_is_replaced_everywhere() {
    for house in houses().await {
        for bytes in [FOX.to_vec(), noise(1_400)] {
            let first = house.images.keep(keep(0), &blob(&bytes)).await.unwrap();
            assert_eq!(house.images.keep(keep(0), &blob(&bytes)).await.unwrap(), first);
            // What a crash of the storage itself may leave.
            house.images.storage.put(&first.object_key, Bytes::from_static(b"half")).await.unwrap();
            assert_eq!(house.images.keep(keep(0), &blob(&bytes)).await.unwrap(), first);
            assert_eq!(house.images.read_object(&first.object_key).await.unwrap(), bytes);
        }
    }
}

#[tokio::test]
async fn a_bucket_is_not_written_where_the_object_is_already() {
    let house = House::over(BucketServer::start().await);
    let kept = house.images.keep(keep(0), &blob(FOX)).await.unwrap();
    assert_eq!(house.server().keys(), std::slice::from_ref(&kept.object_key));
    // Of the same length: only a write would undo it.
    let file = house.server().objects().join(&kept.object_key);
    std::fs::write(&file, vec![b'x'; FOX.len()]).unwrap();
    house.images.keep(keep(0), &blob(FOX)).await.unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), vec![b'x'; FOX.len()]);
}

#[tokio::test]
async fn a_service_without_conditions_is_asked_first() {
    let house = House::over(BucketServer::start().await);
    house.server().trouble(Some(BucketTrouble::NoConditions));
    for _ in 0..2 {
        let kept = house.images.keep(keep(0), &blob(FOX)).await.unwrap();
        assert_eq!(house.images.read_object(&kept.object_key).await.unwrap(), FOX);
    }
    let puts = house.server().seen().iter().filter(|request| request.starts_with("PUT")).count();
    assert_eq!(puts, 2, "one that was turned away, one that was done: {:?}", house.server().seen());
}

#[tokio::test]
async fn a_large_image_goes_to_a_bucket_in_parts() {
    let house = House::over(BucketServer::start().await);
    let bytes = noise(2_000);
    let path = house.dir.path().join("spooled");
    std::fs::write(&path, &bytes).unwrap();
    let blob = Blob::temporary_file(path, bytes.len() as u64);
    let kept = house.images.keep(keep(0), &blob).await.unwrap();
    assert_eq!(house.images.read_object(&kept.object_key).await.unwrap(), bytes);
    let seen = house.server().seen();
    let parts = seen.iter().filter(|request| request.contains("partNumber=")).count();
    assert_eq!(parts, bytes.len().div_ceil(5 << 20), "{seen:?}");

    // One that breaks off leaves nothing behind.
    let path = house.dir.path().join("cut");
    std::fs::write(&path, &bytes).unwrap();
    let cut = Blob::temporary_file(path.clone(), bytes.len() as u64);
    let draft = house.images.verify(&cut).await.unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
    let error = house.images.store("acme/cut.png".into(), draft, &cut).await.unwrap_err();
    assert!(matches!(error, ImageError::Unread(_)), "{error}");
    assert_eq!(house.server().keys(), [kept.object_key]);
    assert!(
        house.server().seen().iter().any(|request| request.starts_with("DELETE")),
        "the upload is given up"
    );
}

#[tokio::test]
async fn an_error_of_the_service_names_the_remedy() {
    let house = House::over(BucketServer::start().await);
    for (status, code, word) in [
        (404, "NoSuchBucket", "`storage.options.bucket`"),
        (403, "InvalidAccessKeyId", "`storage.options.access_key_id`"),
        (403, "SignatureDoesNotMatch", "`storage.options.secret_access_key`"),
        (403, "RequestTimeTooSkewed", "NTP"),
        (403, "AccessDenied", "may not write to the bucket `pics`"),
        (400, "ExpiredToken", "`storage.options.session_token`"),
        (400, "AuthorizationHeaderMalformed", "`storage.options.region`"),
        (507, "StorageFull", "answers StorageFull: told to"),
    ] {
        house.server().trouble(Some(BucketTrouble::Answer(status, code)));
        let why = fails(&house).await;
        assert!(why.contains(word), "{code}: {why}");
        assert!(!why.contains("test-secret-key"), "{why}");
    }
    assert!(house.server().keys().is_empty());
}

#[tokio::test]
async fn what_is_wrong_with_bucket_and_credentials_is_told_apart() {
    let server = BucketServer::start().await;
    let with = |change: fn(&mut Options)| {
        let mut settings = in_bucket(&server);
        change(&mut settings.options);
        House::with(settings, LinkBase::http("https://pics.example/"))
    };
    let why = fails(&with(|options| options.bucket = Some("gone".into()))).await;
    assert!(why.contains("there is no bucket `gone`"), "{why}");
    let why = fails(&with(|options| options.secret_access_key = Secret::new("wrong"))).await;
    assert!(why.contains("secret_access_key"), "{why}");
    let why = fails(&with(|options| options.access_key_id = Secret::new("nobody"))).await;
    assert!(why.contains("credentials") || why.contains("access key"), "{why}");
    let why = fails(&with(|options| options.endpoint = Some("http://127.0.0.1:1".into()))).await;
    assert!(why.contains("http://127.0.0.1:1 cannot be reached"), "{why}");
}

#[tokio::test]
async fn a_write_that_was_only_said_to_be_done_is_no_stored_image() {
    let house = House::over(BucketServer::start().await);
    house.server().trouble(Some(BucketTrouble::Forget));
    let why = fails(&house).await;
    assert!(why.contains("storage took an object of 465 bytes, and then had none"), "{why}");
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_not_done_twice() {
    let house = House::over(BucketServer::start().await);
    house.server().trouble(Some(BucketTrouble::Deny));
    let kept = house.images.keep(keep(99), &blob(FOX)).await;
    let kept = kept.expect("the repeat finds the object");
    house.server().trouble(None);
    assert_eq!(house.images.read_object(&kept.object_key).await.unwrap(), FOX);
}

#[tokio::test]
async fn a_bucket_that_comes_back_gets_what_waited() {
    let mut house = House::over(BucketServer::start().await);
    house.server.as_mut().unwrap().stop().await;
    let why = fails(&house).await;
    assert!(why.contains("cannot be reached"), "{why}");
    let answer = house.get(&house.images.link(&row(Uuid::new_v4(), &kept(FOX), NOW_US)).url).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND, "nobody has heard of it");
    house.server.as_mut().unwrap().start_again().await;
    let image = house.kept(FOX).await;
    house.server().trouble(Some(BucketTrouble::Reset));
    let answer = house.get(&house.images.link(&image).url).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(text(&answer, header::RETRY_AFTER), "5");
    house.server().trouble(None);
    assert_eq!(body(house.get(&house.images.link(&image).url).await).await, FOX);
}

#[tokio::test]
async fn a_bucket_that_says_nothing_holds_nobody_up() {
    let house = House::over(BucketServer::start().await);
    let image = house.kept(FOX).await;
    house.server().trouble(Some(BucketTrouble::Stall));
    tokio::time::pause();
    let asked = tokio::time::Instant::now();
    let answer = house.get(&house.images.link(&image).url).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(asked.elapsed() < std::time::Duration::from_secs(9), "{:?}", asked.elapsed());
}

fn kept(bytes: &[u8]) -> Kept {
    Kept {
        object_key: "acme/none.png".into(),
        mime: Mime::Png,
        width: 1,
        height: 1,
        bytes: bytes.len() as u64,
        sha256: "00".into(),
    }
}

#[tokio::test]
async fn tls_takes_the_authority_that_is_named_and_no_other() {
    let server = BucketServer::start_tls().await;
    let mut settings = in_bucket(&server);
    let stranger = House::with(settings.clone(), LinkBase::http("https://pics.example/"));
    let why = fails(&stranger).await;
    assert!(why.contains("cannot be reached") && why.contains("ertificate"), "{why}");
    settings.options.ca_file = Some(BucketServer::ca_file().display().to_string());
    let house = House::with(settings, LinkBase::http("https://pics.example/"));
    house.images.health().await.unwrap();
    for bytes in [FOX.to_vec(), noise(1_400)] {
        let image = house.kept(&bytes).await;
        assert_eq!(house.images.full(&image).await.unwrap(), bytes);
    }
}

#[tokio::test]
async fn a_bucket_signs_links_that_end() {
    for base in [LinkBase::http("https://pics.example/"), LinkBase::File] {
        let server = BucketServer::start().await;
        let delivery = Delivery::Presigned;
        let settings = Settings { delivery, signed_url_ttl: Span::secs(60), ..in_bucket(&server) };
        let house = House { server: Some(server), ..House::with(settings, base) };
        let image = house.kept(FOX).await;
        let link = house.images.link(&image);
        assert!(house.images.origins().contains(&house.server().url()), "{:?}", house.images.origins());
        assert_eq!(link.expires_us, Some(NOW_US + 60_000_000));
        assert!(
            link.url.starts_with(&house.server().url()) && link.url.contains("X-Amz-Expires=60"),
            "{link:?}"
        );
        let answer = reqwest::get(&link.url).await.unwrap();
        assert_eq!(answer.headers()["content-type"], "image/png");
        assert_eq!(answer.bytes().await.unwrap(), FOX);
        let changed = link.url.replace("X-Amz-Expires=60", "X-Amz-Expires=61");
        assert_eq!(reqwest::get(changed).await.unwrap().status(), 403);
        let bare = link.url.split('?').next().unwrap();
        assert_eq!(reqwest::get(bare).await.unwrap().status(), 403);
        if let Some(thumb) = house.images.thumbnail_link(&image) {
            assert!(thumb.url.starts_with("https://pics.example/images/"), "{thumb:?}");
            assert_eq!(house.get(&thumb.url).await.status(), StatusCode::OK);
        }
    }
}

#[tokio::test]
async fn a_prefix_is_before_every_key() {
    let server = BucketServer::start().await;
    let mut settings = in_bucket(&server);
    settings.options.root = Some("a/b".into());
    let house = House { server: Some(server), ..House::with(settings, LinkBase::File) };
    let image = house.kept(FOX).await;
    assert!(image.object_key.starts_with("acme/"));
    assert_eq!(house.server().keys(), [format!("a/b/{}", image.object_key)]);
}
