mod buckets;
mod keeping;
mod links;

use super::*;
use crate::telemetry::{Clock, ManualClock};
use http::{HeaderMap, Response, header};
use parking_lot::Mutex;
use std::{collections::HashMap, path::PathBuf};
use testkit::{BucketServer, BucketTrouble};

const FOX: &[u8] = include_bytes!("../testdata/fox_1024.png");
const ALPHA: &[u8] = include_bytes!("../testdata/fox_1024_alpha.png");
const JPEG: &[u8] = include_bytes!("../testdata/fox_64.jpg");
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
    /// Where storage is a bucket of this test's own.
    server: Option<BucketServer>,
}

/// Storage in the bucket of a server.
fn in_bucket(server: &BucketServer) -> Settings {
    let options = serde_json::from_value(server.options()).unwrap();
    Settings { kind: "s3".into(), options, ..Settings::default() }
}

/// Storage in the bucket of `TEST_S3_URL` (`http://id:secret@host:port/bucket`), below a prefix of its own.
fn in_outer_bucket(url: &str) -> Settings {
    let url = url::Url::parse(url).unwrap();
    let options = Options {
        root: Some(format!("test-{}", Uuid::new_v4())),
        bucket: Some(url.path().trim_matches('/').into()),
        endpoint: Some(url.origin().ascii_serialization()),
        access_key_id: plugin_api::value::Secret::new(url.username()),
        secret_access_key: plugin_api::value::Secret::new(url.password().unwrap_or_default()),
        ..Options::default()
    };
    Settings { kind: "s3".into(), options, ..Settings::default() }
}

/// One over a folder, one over a bucket, and one over the bucket of `TEST_S3_URL`, if there is one.
async fn houses() -> Vec<House> {
    let base = || LinkBase::http("https://pics.example/");
    let mut houses = vec![House::new(), House::over(BucketServer::start().await)];
    match std::env::var("TEST_S3_URL") {
        Ok(url) => houses.push(House::with(in_outer_bucket(&url), base())),
        Err(_) => eprintln!("skipped: another S3 server than the built-in one needs TEST_S3_URL"),
    }
    houses
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
        House { images, rows, clock, dir, server: None }
    }
    fn over(server: BucketServer) -> House {
        let house = House::with(in_bucket(&server), LinkBase::http("https://pics.example/"));
        House { server: Some(server), ..house }
    }
    fn server(&self) -> &BucketServer {
        self.server.as_ref().unwrap()
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
        deleted_us: None,
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

fn text(answer: &Response<ImageBody>, name: header::HeaderName) -> &str {
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
