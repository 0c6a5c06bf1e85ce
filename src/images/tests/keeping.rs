use super::*;

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
async fn an_image_that_is_shorter_on_disk_than_it_came_is_tried_again_and_not_refused() {
    let house = House::new();
    let path = house.dir.path().join("spooled");
    std::fs::write(&path, &FOX[..FOX.len() / 2]).unwrap();
    let blob = Blob::temporary_file(path, FOX.len() as u64);
    let what = Keep { job_id: Uuid::new_v4(), position: 0, team: "acme", created_us: NOW_US };
    let error = house.images.keep(what, &blob).await.unwrap_err();
    assert!(matches!(&error, ImageError::Unread(why) if why.contains("cannot be read again")), "{error}");
    assert_eq!(leftovers(&house.root()), 0);
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
    for bytes in
        [&include_bytes!("../testdata/cut.png")[..], b"", b"x", include_bytes!("../testdata/svg.svg")]
    {
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
    for _ in 0..16 {
        let house = house.clone();
        tasks.spawn(async move {
            for _ in 0..32 {
                let what = Keep { job_id: Uuid::new_v4(), position: 0, team: "acme", created_us: NOW_US };
                house.images.keep(what, &blob(GIF)).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(leftovers(&house.root()), 512);
}

#[tokio::test]
async fn what_dead_writers_left_is_swept_and_what_may_be_alive_is_not() {
    let house = House::new();
    let folder = house.root().join(".temp");
    for name in ["old", "young"] {
        std::fs::write(folder.join(name), b"half").unwrap();
    }
    local::age(&folder.join("old"));
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
    assert_eq!(leftovers(&house.root()), 0);
    let day = house.file(&image).parent().unwrap().to_owned();
    assert_eq!(std::fs::read_dir(day).unwrap().count(), 0, "not even the folder of its copies");
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

    let copy = house.root().join(format!("{}.copies/256.webp", image.object_key));
    std::fs::write(&copy, b"the kept one").unwrap();
    let (_, again) = house.images.preview(&image, 256, u64::MAX).await.unwrap().unwrap();
    assert_eq!(again, "the kept one", "it is not made again");
}

#[tokio::test]
async fn a_preview_stays_below_its_limit_and_never_grows() {
    let house = House::new();
    let image = house.kept(&noise(256)).await;
    let (_, best) = house.images.preview(&image, 256, u64::MAX).await.unwrap().unwrap();
    let (_, limited) = house.images.preview(&image, 256, 8_000).await.unwrap().unwrap();
    assert!(best.len() > 8_000 && limited.len() <= 8_000, "{} and {}", best.len(), limited.len());
    assert_eq!(house.images.preview(&image, 256, 8_000).await.unwrap().unwrap().1, limited);
    assert!(house.images.preview(&image, 256, 10).await.unwrap().is_none());

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
async fn colours_at_a_transparent_edge_stay_what_they_were() {
    let house = House::new();
    // Red beside transparent green: a careless mean of the two would be brown.
    let pixels = image::RgbaImage::from_fn(600, 600, |x, _| {
        if (x / 3) % 2 == 0 { image::Rgba([255, 0, 0, 255]) } else { image::Rgba([0, 255, 0, 0]) }
    });
    let mut png = std::io::Cursor::new(Vec::new());
    pixels.write_to(&mut png, image::ImageFormat::Png).unwrap();
    let image = house.kept(&png.into_inner()).await;
    let (_, bytes) = house.images.preview(&image, 60, u64::MAX).await.unwrap().unwrap();
    let small = image::load_from_memory(&bytes).unwrap().into_rgba8();
    let middle = small.get_pixel(30, 30).0;
    assert!(middle[0] > 200 && middle[1] < 60 && (90..170).contains(&middle[3]), "{middle:?}");
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
async fn settings_that_do_not_fit_are_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let open = |settings: Settings| {
        let base = LinkBase::http("http://127.0.0.1:8000");
        let clock = ManualClock::at(NOW_US);
        Images::open(settings, dir.path(), &KEYS, base, Arc::new(Rows::default()), clock).err().unwrap()
    };
    let with_option = |name: &str, value: serde_json::Value| {
        let mut settings = Settings::default();
        settings.options.unknown.insert(name.into(), value);
        settings
    };
    for (settings, word) in [
        (Settings { delivery: Delivery::Presigned, ..Settings::default() }, "presigned"),
        (Settings { delivery: Delivery::BaseUrl, ..Settings::default() }, "storage.base_url"),
        (Settings { kind: "s4".into(), ..Settings::default() }, "s4"),
        (with_option("rot", "pics".into()), "storage.options.rot"),
        (Settings { kind: "r2".into(), ..Settings::default() }, "storage.options"),
    ] {
        let error = open(settings).to_string();
        assert!(error.contains(word), "{word}: {error}");
    }
}

#[tokio::test]
async fn storage_that_is_no_folder_does_the_same() {
    let settings = Settings { kind: "memory".into(), options: Options::default(), ..Settings::default() };
    let house = House::with(settings, LinkBase::http("https://pics.example"));
    house.images.health().await.unwrap();
    for bytes in [FOX.to_vec(), noise(600)] {
        let image = house.kept(&bytes).await;
        assert_eq!(house.images.full(&image).await.unwrap(), bytes);
        assert!(house.images.thumbnail(&image).await.unwrap().is_some());
        assert_eq!(body(house.get(&house.images.link(&image).url).await).await, bytes);
        house.images.remove(&image.object_key).await.unwrap();
        assert!(matches!(house.images.full(&image).await, Err(ImageError::Missing)));
    }
    assert!(!house.dir.path().join("images").exists());
}
