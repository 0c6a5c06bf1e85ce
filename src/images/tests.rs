use super::*;
use crate::telemetry::{Clock, ManualClock};
use http::{HeaderMap, Response, StatusCode, header};
use parking_lot::Mutex;
use std::{collections::HashMap, path::PathBuf, time::Duration};

const FOX: &[u8] = include_bytes!("testdata/fox_1024.png");
const ALPHA: &[u8] = include_bytes!("testdata/fox_1024_alpha.png");
const JPEG: &[u8] = include_bytes!("testdata/fox_64.jpg");
const GIF: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x00\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";
const NOW_US: i64 = 1_795_219_200_000_000;
const KEYS: LinkKeys = LinkKeys { current: [7; 32], previous: Vec::new() };

#[derive(Default)]
struct Rows {
    rows: Mutex<HashMap<Uuid, Image>>,
    away: Mutex<bool>,
}

#[async_trait]
impl ImageRows for Rows {
    async fn image(&self, id: Uuid) -> Result<Option<Image>, StoreError> {
        if *self.away.lock() {
            return Err(StoreError("gone fishing".into()));
        }
        Ok(self.rows.lock().get(&id).cloned())
    }
}

struct House {
    images: Images,
    rows: Arc<Rows>,
    clock: Arc<ManualClock>,
    dir: tempfile::TempDir,
}

impl House {
    fn new() -> House {
        House::with(Settings::default(), LinkBase::http("https://pics.example/"))
    }
    fn with(settings: Settings, base: LinkBase) -> House {
        let dir = tempfile::tempdir().unwrap();
        let rows = Arc::new(Rows::default());
        let clock = ManualClock::at(NOW_US);
        let images = Images::open(settings, dir.path(), &KEYS, base, rows.clone(), clock.clone()).unwrap();
        House { images, rows, clock, dir }
    }
    /// Another process over the same folder, with other settings or keys.
    fn reopened(&self, settings: Settings, keys: &LinkKeys) -> Images {
        let base = LinkBase::http("https://pics.example");
        Images::open(settings, self.dir.path(), keys, base, self.rows.clone(), self.clock.clone()).unwrap()
    }
    fn root(&self) -> PathBuf {
        self.dir.path().join("images").canonicalize().unwrap()
    }
    fn file(&self, image: &Image) -> PathBuf {
        self.root().join(&image.object_key)
    }
    async fn kept(&self, bytes: &[u8]) -> Image {
        let job_id = Uuid::new_v4();
        let what = Keep { job_id, position: 0, team: "acme", created_us: self.clock.now_us() };
        let kept = self.images.keep(what, &blob(bytes)).await.unwrap();
        let image = row(job_id, &kept, self.clock.now_us());
        self.rows.rows.lock().insert(image.id, image.clone());
        image
    }
    async fn get(&self, url: &str) -> Response<ImageBody> {
        self.get_with(url, &[]).await
    }
    async fn get_with(&self, url: &str, pairs: &[(&'static str, &str)]) -> Response<ImageBody> {
        serve(&self.images, url, pairs).await
    }
}

async fn serve(images: &Images, url: &str, pairs: &[(&'static str, &str)]) -> Response<ImageBody> {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let name = path.split_once("/images/").unwrap().1;
    let mut headers = HeaderMap::new();
    for (key, value) in pairs {
        headers.insert(*key, value.parse().unwrap());
    }
    images.serve(name, query, &headers).await
}

fn blob(bytes: &[u8]) -> Blob {
    Blob::from(Bytes::copy_from_slice(bytes))
}

fn row(job_id: Uuid, kept: &Kept, created_us: i64) -> Image {
    Image {
        id: Uuid::new_v4(),
        job_id,
        position: 0,
        team: "acme".into(),
        object_key: kept.object_key.clone(),
        mime: kept.mime.to_string(),
        width: kept.width as i32,
        height: kept.height as i32,
        bytes: kept.bytes as i64,
        sha256: kept.sha256.clone(),
        revised_prompt: None,
        seed: None,
        created_us,
        expires_us: None,
    }
}

/// A picture too lively to compress: about three bytes a pixel.
fn noise(edge: u32) -> Vec<u8> {
    let mut state = 1_u32;
    let pixels = image::RgbImage::from_fn(edge, edge, |_, _| {
        image::Rgb(std::array::from_fn(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        }))
    });
    let mut png = std::io::Cursor::new(Vec::new());
    pixels.write_to(&mut png, image::ImageFormat::Png).unwrap();
    png.into_inner()
}

fn text<'a>(answer: &'a Response<ImageBody>, name: header::HeaderName) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

async fn body(answer: Response<ImageBody>) -> Vec<u8> {
    match answer.into_body() {
        ImageBody::Empty => Vec::new(),
        ImageBody::Bytes(bytes) => bytes.to_vec(),
        ImageBody::Stream(mut pieces) => {
            let mut all = Vec::new();
            while let Some(piece) = pieces.recv().await {
                all.extend(piece.unwrap());
            }
            all
        }
    }
}

fn leftovers(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    entries.map(|path| if path.is_dir() { leftovers(&path) } else { 1 }).sum()
}

#[tokio::test]
async fn the_vendors_bytes_are_kept_as_they_came() {
    let house = House::new();
    for bytes in [FOX.to_vec(), JPEG.to_vec(), GIF.to_vec(), noise(512)] {
        let image = house.kept(&bytes).await;
        assert_eq!(house.images.full(&image).await.unwrap(), bytes);
        assert_eq!(std::fs::read(house.file(&image)).unwrap(), bytes);
        assert!(image.object_key.starts_with("acme/2026/11/21/"), "{}", image.object_key);
    }
    assert_eq!(std::fs::read_dir(house.root().join(".temp")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_large_blob_in_a_file_is_streamed_into_storage() {
    let house = House::new();
    let bytes = noise(600);
    assert!(bytes.len() > 1 << 20, "the way in pieces is tested");
    let path = house.dir.path().join("spooled");
    std::fs::write(&path, &bytes).unwrap();
    let blob = Blob::temporary_file(path, bytes.len() as u64);
    let what = Keep { job_id: Uuid::new_v4(), position: 3, team: "acme", created_us: NOW_US };
    let kept = house.images.keep(what, &blob).await.unwrap();
    assert_eq!(house.images.read_object(&kept.object_key).await.unwrap(), bytes);
    assert_eq!((kept.width, kept.bytes), (600, bytes.len() as u64));
}

#[tokio::test]
async fn a_repeat_changes_nothing() {
    let house = House::new();
    let what = Keep { job_id: Uuid::new_v4(), position: 0, team: "acme", created_us: NOW_US };
    let first = house.images.keep(what, &blob(FOX)).await.unwrap();
    let file = house.root().join(&first.object_key);
    let written = std::fs::metadata(&file).unwrap().modified().unwrap();
    let again = house.images.keep(what, &blob(FOX)).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(std::fs::metadata(&file).unwrap().modified().unwrap(), written, "the file was not touched");
}

#[tokio::test]
async fn an_object_that_a_power_cut_emptied_is_written_again() {
    let house = House::new();
    let what = Keep { job_id: Uuid::new_v4(), position: 0, team: "acme", created_us: NOW_US };
    let kept = house.images.keep(what, &blob(FOX)).await.unwrap();
    std::fs::write(house.root().join(&kept.object_key), b"").unwrap();
    house.images.keep(what, &blob(FOX)).await.unwrap();
    assert_eq!(house.images.read_object(&kept.object_key).await.unwrap(), FOX);
}

#[tokio::test]
async fn a_damaged_image_leaves_nothing_in_storage() {
    let house = House::new();
    let what = Keep { job_id: Uuid::new_v4(), position: 0, team: "acme", created_us: NOW_US };
    for bytes in [&include_bytes!("testdata/cut.png")[..], b"", b"x", include_bytes!("testdata/svg.svg")] {
        let error = house.images.keep(what, &blob(bytes)).await.unwrap_err();
        assert!(matches!(error, ImageError::Unacceptable(_)), "{error}");
    }
    assert_eq!(leftovers(&house.root()), 0);
}

#[test]
fn ten_thousand_equal_images_of_one_second_have_ten_thousand_keys() {
    let key = |_| {
        let what = Keep { job_id: Uuid::new_v4(), position: 0, team: "acme", created_us: NOW_US };
        name::object_key(&what, Mime::Gif, "00112233445566778899")
    };
    let keys: std::collections::HashSet<String> = (0..10_000).map(key).collect();
    assert_eq!(keys.len(), 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_images_of_different_jobs_at_one_moment_are_different_files() {
    let house = Arc::new(House::new());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let house = house.clone();
        tasks.spawn(async move {
            for _ in 0..125 {
                let what = Keep { job_id: Uuid::new_v4(), position: 0, team: "acme", created_us: NOW_US };
                house.images.keep(what, &blob(GIF)).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(leftovers(&house.root()), 1_000);
}

#[tokio::test]
async fn what_dead_writers_left_is_swept_and_what_may_be_alive_is_not() {
    let house = House::new();
    let folder = house.root().join(".temp");
    for name in ["old", "young"] {
        std::fs::write(folder.join(name), b"half").unwrap();
    }
    storage::age(&folder.join("old"));
    house.reopened(Settings::default(), &KEYS);
    assert!(!folder.join("old").exists());
    assert!(folder.join("young").exists(), "another process may be writing it");
}

#[tokio::test]
async fn health_names_what_is_wrong_with_the_folder() {
    let house = House::new();
    house.images.health().await.unwrap();
    assert_eq!(leftovers(&house.root()), 0, "the probe is gone");
    std::fs::remove_dir_all(house.root()).unwrap();
    std::fs::write(house.dir.path().join("images"), b"a file in the way").unwrap();
    let error = house.images.health().await.unwrap_err();
    assert!(matches!(&error, ImageError::Storage(why) if why.contains("os error")), "{error}");
}

#[tokio::test]
async fn an_image_goes_with_its_copies_and_its_neighbours_stay() {
    let house = House::new();
    let image = house.kept(FOX).await;
    house.images.preview(&image, 256, u64::MAX).await.unwrap().unwrap();
    let what = Keep { job_id: image.job_id, position: 1, team: "acme", created_us: NOW_US };
    let neighbour = house.images.keep(what, &blob(FOX)).await.unwrap();

    house.images.remove(&image.object_key).await.unwrap();
    house.images.remove(&image.object_key).await.unwrap();
    assert!(matches!(house.images.full(&image).await, Err(ImageError::Missing)));
    assert_eq!(leftovers(&house.root()), 1);

    house.images.remove(&neighbour.object_key).await.unwrap();
    let job_folder = house.file(&image).parent().unwrap().to_owned();
    assert!(!job_folder.exists(), "the last one takes the folder with it");
}

#[tokio::test]
async fn a_reference_lies_under_its_upload() {
    let house = House::new();
    let id = Uuid::new_v4();
    let kept = house.images.keep_reference("acme", id, Bytes::from_static(JPEG)).await.unwrap();
    assert_eq!(kept.object_key, format!("uploads/acme/{id}.jpg"));
    assert_eq!(house.images.read_object(&kept.object_key).await.unwrap(), JPEG);
    house.images.remove(&kept.object_key).await.unwrap();
    assert!(matches!(house.images.read_object(&kept.object_key).await, Err(ImageError::Missing)));
}

#[tokio::test]
async fn a_preview_is_small_made_once_and_kept() {
    let house = House::new();
    let image = house.kept(ALPHA).await;
    let (mime, bytes) = house.images.preview(&image, 256, u64::MAX).await.unwrap().unwrap();
    let small = image::load_from_memory(&bytes).unwrap();
    assert_eq!((mime, small.width(), small.height()), (Mime::Webp, 256, 256));
    assert!(small.color().has_alpha());

    let copy = house.root().join(format!("{}.256.webp", image.object_key));
    std::fs::write(&copy, b"the kept one").unwrap();
    let (_, again) = house.images.preview(&image, 256, u64::MAX).await.unwrap().unwrap();
    assert_eq!(again, "the kept one", "it is not made again");
}

#[tokio::test]
async fn a_preview_stays_below_its_limit_and_never_grows() {
    let house = House::new();
    let image = house.kept(&noise(512)).await;
    let (_, best) = house.images.preview(&image, 512, u64::MAX).await.unwrap().unwrap();
    let (_, limited) = house.images.preview(&image, 512, 20_000).await.unwrap().unwrap();
    assert!(best.len() > 20_000 && limited.len() <= 20_000, "{} and {}", best.len(), limited.len());
    assert_eq!(house.images.preview(&image, 512, 20_000).await.unwrap().unwrap().1, limited);
    assert!(house.images.preview(&image, 512, 10).await.unwrap().is_none());

    let image = house.kept(JPEG).await;
    let (_, bytes) = house.images.preview(&image, 512, u64::MAX).await.unwrap().unwrap();
    assert_eq!(image::load_from_memory(&bytes).unwrap().width(), 64);
}

#[tokio::test]
async fn what_cannot_be_previewed_has_none() {
    let house = House::new();
    let gif = house.kept(GIF).await;
    assert!(house.images.preview(&gif, 512, u64::MAX).await.unwrap().is_none());
    assert!(house.images.thumbnail_link(&gif).is_none());
    // Whole by its structure, nonsense by its pixels.
    let mut nonsense = FOX.to_vec();
    let data = nonsense.windows(4).position(|w| w == b"IDAT").unwrap() + 4;
    nonsense[data..data + 40].fill(0xAA);
    let image = house.kept(&nonsense).await;
    assert!(house.images.preview(&image, 512, u64::MAX).await.unwrap().is_none());
}

#[tokio::test]
async fn a_jpeg_thumbnail_puts_transparency_on_white() {
    let thumbnail = Thumbnail { format: ThumbnailFormat::Jpeg, edge: 128 };
    let house =
        House::with(Settings { thumbnail, ..Settings::default() }, LinkBase::http("https://pics.example"));
    let clear = image::RgbaImage::new(300, 200);
    let mut png = std::io::Cursor::new(Vec::new());
    clear.write_to(&mut png, image::ImageFormat::Png).unwrap();
    let image = house.kept(&png.into_inner()).await;
    let (mime, bytes) = house.images.thumbnail(&image).await.unwrap().unwrap();
    let small = image::load_from_memory(&bytes).unwrap().into_rgb8();
    assert_eq!((mime, small.dimensions()), (Mime::Jpeg, (128, 85)));
    assert!(small.pixels().all(|p| p.0.iter().all(|c| *c > 250)));
}

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
    let house = House::new();
    let image = house.kept(FOX).await;
    let link = house.images.thumbnail_link(&image).unwrap();
    let answer = house.get(&link.url).await;
    assert_eq!((answer.status(), text(&answer, header::CONTENT_TYPE)), (StatusCode::OK, "image/webp"));
    assert_eq!(image::load_from_memory(&body(answer).await).unwrap().width(), 512);
    let full = link.url.replace("-thumb.webp", ".png");
    assert_eq!(house.get(&full).await.status(), StatusCode::NOT_FOUND, "it does not open the original");
}

#[tokio::test]
async fn ranges_and_conditions_are_honoured_also_on_streams() {
    let house = House::new();
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
    assert!(House::new().images.local_path(&image).is_none(), "a remote caller has no use for it");
}

#[tokio::test]
async fn settings_that_do_not_fit_are_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let open = |settings: Settings| {
        let base = LinkBase::http("http://127.0.0.1:8000");
        let clock = ManualClock::at(NOW_US);
        Images::open(settings, dir.path(), &KEYS, base, Arc::new(Rows::default()), clock).err().unwrap()
    };
    for (settings, word) in [
        (Settings { delivery: Delivery::Presigned, ..Settings::default() }, "presigned"),
        (Settings { delivery: Delivery::BaseUrl, ..Settings::default() }, "storage.base_url"),
        (Settings { kind: "s4".into(), ..Settings::default() }, "s4"),
    ] {
        let error = open(settings).to_string();
        assert!(error.contains(word), "{word}: {error}");
    }
}
