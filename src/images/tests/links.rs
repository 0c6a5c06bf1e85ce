use super::*;
use http::StatusCode;
use std::time::Duration;

#[tokio::test]
async fn a_link_shows_the_image_with_every_guard_header() {
    let house = House::new();
    let image = house.kept(FOX).await;
    let link = house.images.link(&image);
    assert!(
        link.url.starts_with(&format!("https://pics.example/images/{}.png?exp=", image.id)),
        "{}",
        link.url
    );
    assert_eq!(link.expires_us, Some(NOW_US + 7 * 86_400_000_000));

    let answer = house.get(&link.url).await;
    assert_eq!(answer.status(), StatusCode::OK);
    for (name, value) in [
        (header::CONTENT_TYPE, "image/png".to_owned()),
        (header::CONTENT_LENGTH, FOX.len().to_string()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".into()),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox".into()),
        (header::CONTENT_DISPOSITION, format!("inline; filename=\"{}.png\"", image.id)),
        (header::CACHE_CONTROL, "private, max-age=86400, immutable".into()),
        (header::ETAG, format!("\"{}\"", image.sha256)),
        (header::ACCEPT_RANGES, "bytes".into()),
        (header::LAST_MODIFIED, "Sat, 21 Nov 2026 00:00:00 GMT".into()),
    ] {
        assert_eq!(text(&answer, name.clone()), value, "{name}");
    }
    assert_eq!(body(answer).await, FOX);

    let named = link.url.replace("/images/", "/images/hero_1-flux-schnell-");
    assert_eq!(house.get(&named).await.status(), StatusCode::OK, "a readable name before the id is allowed");
}

#[tokio::test]
async fn a_thumbnail_has_its_own_link() {
    for house in houses().await {
        let image = house.kept(FOX).await;
        let link = house.images.thumbnail_link(&image).unwrap();
        let answer = house.get(&link.url).await;
        assert_eq!((answer.status(), text(&answer, header::CONTENT_TYPE)), (StatusCode::OK, "image/webp"));
        assert_eq!(image::load_from_memory(&body(answer).await).unwrap().width(), 512);
        let full = link.url.replace("-thumb.webp", ".png");
        assert_eq!(house.get(&full).await.status(), StatusCode::NOT_FOUND, "it does not open the original");
    }
}

#[tokio::test]
async fn ranges_and_conditions_are_honoured_also_on_streams() {
    for house in houses().await {
        let bytes = noise(600);
        let image = house.kept(&bytes).await;
        let url = house.images.link(&image).url;
        let len = bytes.len();

        let answer = house.get(&url).await;
        assert!(matches!(answer.body(), ImageBody::Stream(_)), "a megabyte is not held in memory");
        assert_eq!(body(answer).await, bytes);

        for (range, from, to) in
            [("bytes=10-19", 10, 20), ("bytes=-7", len - 7, len), ("bytes=300000-", 300_000, len)]
        {
            let answer = house.get_with(&url, &[("range", range)]).await;
            assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT, "{range}");
            assert_eq!(text(&answer, header::CONTENT_RANGE), format!("bytes {from}-{}/{len}", to - 1));
            assert_eq!(text(&answer, header::CONTENT_LENGTH), (to - from).to_string());
            assert_eq!(body(answer).await, bytes[from..to], "{range}");
        }
        let answer = house.get_with(&url, &[("range", "bytes=99999999-")]).await;
        assert_eq!(answer.status(), StatusCode::RANGE_NOT_SATISFIABLE);
        assert_eq!(text(&answer, header::CONTENT_RANGE), format!("bytes */{len}"));

        let tag = format!("\"{}\"", image.sha256);
        let answer = house.get_with(&url, &[("if-none-match", &tag), ("range", "bytes=0-1")]).await;
        assert_eq!((answer.status(), text(&answer, header::ETAG)), (StatusCode::NOT_MODIFIED, tag.as_str()));
        assert!(body(answer).await.is_empty());
    }
}

/// Status, headers and body: all that a caller can learn.
async fn seen(answer: Response<ImageBody>) -> (StatusCode, HeaderMap, Vec<u8>) {
    (answer.status(), answer.headers().clone(), body(answer).await)
}

#[tokio::test]
async fn whoever_may_not_see_an_image_gets_one_and_the_same_answer() {
    let house = House::new();
    let image = house.kept(FOX).await;
    let other = house.kept(JPEG).await;
    let url = house.images.link(&image).url;
    let (path, query) = url.split_once('?').unwrap();
    let (exp, sig) = query.split_once('&').unwrap();
    let until: i64 = exp.strip_prefix("exp=").unwrap().parse().unwrap();
    let unknown = house.get(&format!("https://pics.example/images/{}.png", Uuid::new_v4())).await;
    let unknown = seen(unknown).await;
    assert_eq!(unknown.0, StatusCode::NOT_FOUND);

    for bad in [
        path.to_owned(),
        format!("{path}?{exp}"),
        format!("{path}?{sig}"),
        format!("{path}?exp={}&{sig}", until + 1),
        format!("{path}?exp=+{until}&{sig}"),
        format!("{path}?exp=0{until}&{sig}"),
        format!("{path}?{exp}&{sig}A"),
        format!("{path}?{exp}&sig="),
        format!("{path}?{exp}&{sig}&team=b"),
        format!("{path}?{exp}&{exp}&{sig}"),
        format!("{path}?{exp}&{sig}&"),
        url.replace(".png", ".jpg"),
        url.replace(".png", ".PNG"),
        url.replace(".png", "-thumb.webp"),
        url.replace(&image.id.to_string(), &other.id.to_string()),
        url.replace("/images/", "/images/%2e%2e%2f"),
        url.replace("/images/", "/images/../images/"),
        url.replace(".png", "%00.png"),
    ] {
        assert_eq!(seen(house.get(&bad).await).await, unknown, "{bad}");
    }
    assert_eq!(house.get(&url).await.status(), StatusCode::OK, "the link itself is good");
}

#[tokio::test]
async fn a_link_ends_and_one_that_outlives_the_limit_never_began() {
    let house = House::new();
    let image = house.kept(FOX).await;
    let url = house.images.link(&image).url;
    house.clock.advance(Duration::from_secs(7 * 86_400 - 1));
    let answer = house.get(&url).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(text(&answer, header::CACHE_CONTROL), "private, max-age=1, immutable");
    house.clock.advance(Duration::from_secs(1));
    assert_eq!(house.get(&url).await.status(), StatusCode::NOT_FOUND);

    let generous =
        Settings { signed_url_ttl: plugin_api::value::Span::secs(10 * 366 * 86_400), ..Settings::default() };
    let long = house.reopened(generous, &KEYS).link(&image).url;
    assert_eq!(house.get(&long).await.status(), StatusCode::NOT_FOUND, "ten years are more than seven days");
}

#[tokio::test]
async fn links_of_the_previous_key_work_and_of_a_strange_one_do_not() {
    let house = House::new();
    let image = house.kept(FOX).await;
    let url = house.images.link(&image).url;
    let turned = LinkKeys { current: [8; 32], previous: vec![KEYS.current] };
    let strange = LinkKeys { current: [9; 32], previous: Vec::new() };
    let status = async |keys| serve(&house.reopened(Settings::default(), keys), &url, &[]).await.status();
    assert_eq!(status(&turned).await, StatusCode::OK);
    assert_eq!(status(&strange).await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_expired_or_lost_image_is_not_there_and_a_store_that_is_away_says_so() {
    let house = House::new();
    let mut image = house.kept(FOX).await;
    image.expires_us = Some(NOW_US + 60_000_000);
    house.rows.rows.lock().insert(image.id, image.clone());
    let link = house.images.link(&image);
    assert_eq!(link.expires_us, image.expires_us, "a link does not outlive its image");

    *house.rows.away.lock() = true;
    let answer = house.get(&link.url).await;
    assert_eq!((answer.status(), text(&answer, header::RETRY_AFTER)), (StatusCode::SERVICE_UNAVAILABLE, "5"));
    *house.rows.away.lock() = false;
    assert_eq!(house.get(&link.url).await.status(), StatusCode::OK);

    std::fs::write(house.file(&image), &FOX[..100]).unwrap();
    assert_eq!(house.get(&link.url).await.status(), StatusCode::NOT_FOUND, "no half image is shown");
    std::fs::remove_file(house.file(&image)).unwrap();
    assert_eq!(house.get(&link.url).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn public_delivery_needs_no_signature_and_still_the_whole_name() {
    let house = House::with(
        Settings { delivery: Delivery::Public, ..Settings::default() },
        LinkBase::http("http://127.0.0.1:8000"),
    );
    let image = house.kept(FOX).await;
    let link = house.images.link(&image);
    assert_eq!(
        link,
        Link { url: format!("http://127.0.0.1:8000/images/{}.png", image.id), expires_us: None }
    );
    assert_eq!(house.get(&link.url).await.status(), StatusCode::OK);
    assert_eq!(house.get(&link.url.replace(".png", ".webp")).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_base_url_leads_to_the_object() {
    let settings = Settings {
        delivery: Delivery::BaseUrl,
        base_url: Some("https://cdn.example/pics/".into()),
        ..Settings::default()
    };
    let house = House::with(settings, LinkBase::http("https://pics.example"));
    let image = house.kept(FOX).await;
    assert_eq!(house.images.link(&image).url, format!("https://cdn.example/pics/{}", image.object_key));
    assert_eq!(house.images.origins(), ["https://pics.example", "https://cdn.example"]);
}

#[tokio::test]
async fn without_a_server_a_link_names_the_file() {
    let house = House::with(Settings::default(), LinkBase::File);
    let image = house.kept(FOX).await;
    let path = house.images.local_path(&image).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), FOX);
    let url = url::Url::parse(&house.images.link(&image).url).unwrap();
    assert_eq!(url.to_file_path().unwrap(), PathBuf::from(path));
    assert!(house.images.thumbnail_link(&image).is_none());
    assert!(house.images.origins().is_empty());
    assert_eq!(House::new().images.origins(), ["https://pics.example"]);
    assert!(House::new().images.local_path(&image).is_none(), "a remote caller has no use for it");
}
