//! F18, F19: answers that are no images, too large, or lie about their length. Every one ends in a typed error or in
//! the one image that was asked for.

use super::memory;
use crate::{
    Plan, database,
    proxy::Toxics,
    stage::{Stage, Truth},
    table::Row,
    vendor::png,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use std::time::Instant;
use testkit::{Behaviour, FakeUpstream, Reply};

/// Largest answer that is read, in bytes.
const CAP: u64 = 64 << 20;

pub async fn rows(plan: &Plan) -> Vec<Row> {
    let mut rows = Vec::new();
    if plan.wants("F18") {
        rows.push(garbage(plan).await);
    }
    if plan.wants("F19") {
        rows.push(huge(plan).await);
    }
    rows
}

/// The vendor accepts and answers so.
fn always(stage: &Stage, behaviour: Behaviour) {
    stage.scene.vendor.twist(move |_, serve| {
        serve();
        behaviour.clone()
    });
}

/// A tiny picture of another size than any that was asked for.
fn one_pixel() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::GrayImage::new(1, 1).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Bodies of the vendor whose answer is the picture itself, and what comes of them.
fn pictures() -> Vec<(&'static str, Reply, Truth)> {
    let whole = png("some picture");
    let as_png = |bytes: Vec<u8>| Reply::new(200, "image/png", bytes);
    let other = Truth { own_picture: false, ..Truth::completed() };
    let jpeg_inside =
        [&whole[..33], &b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00"[..], &[7; 4_000]].concat();
    let jpeg_behind =
        [&whole[..8], &b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00"[..], &[7; 4_000]].concat();
    vec![
        ("HTML", Reply::html(200), Truth::useless()),
        ("HTML as image/png", as_png(Reply::html(200).body.to_vec()), Truth::useless()),
        ("SVG as image/png", as_png(b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec()), Truth::useless()),
        ("0 bytes", as_png(Vec::new()), Truth::useless()),
        ("PNG header, JPEG body", as_png(jpeg_behind), Truth::useless()),
        ("PNG header and IHDR, JPEG body", as_png(jpeg_inside), Truth::useless()),
        ("cut PNG", as_png(whole[..whole.len() / 2].to_vec()), Truth::useless()),
        ("binary junk", as_png(b"\x00\x01\x02\x03".repeat(999)), Truth::useless()),
        ("PNG as text/html", Reply::new(200, "text/html", whole), other),
        ("1x1 pixel", as_png(one_pixel()), other),
    ]
}

/// Bodies of a vendor that answers in JSON.
fn texts() -> Vec<(&'static str, String, Truth)> {
    let picture = STANDARD.encode(png("some picture"));
    let with = |b64: &str| json!({"created": 1, "data": [{"b64_json": b64}]}).to_string();
    let whole = with(&picture);
    let usage = |usage: &str| whole.replacen('{', &format!("{{\"usage\":{usage},"), 1);
    let (good, bad) =
        (Truth { own_picture: false, ..Truth::completed() }.bought(0), Truth::useless().bought(0));
    let five = json!({"data": vec![json!({"b64_json": picture}); 5]}).to_string();
    vec![
        ("truncated JSON", whole[..whole.len() - 9].to_owned(), bad),
        ("truncated base64", with(&picture[..picture.len() / 2 - 1]), bad),
        ("invalid base64", with(&format!("{}*{}", &picture[..2_000], &picture[2_001..])), bad),
        ("base64 of a page", with(&STANDARD.encode(Reply::html(200).body.repeat(20))), bad),
        ("no image", json!({"data": []}).to_string(), bad),
        ("a number", "17".into(), bad),
        ("nested 10^5 deep", "[".repeat(100_000), bad),
        ("duplicated key, the last one empty", whole.replacen(']', "],\"data\":[]", 1), bad),
        ("NaN cost", usage("{\"input_tokens\":NaN,\"output_tokens\":NaN}"), bad),
        ("negative cost", usage("{\"input_tokens\":-5,\"output_tokens\":-5}"), good),
        ("cost of 1e308", usage("{\"input_tokens\":1e308,\"output_tokens\":\"many\"}"), good),
        ("5 images for 1", five, good),
    ]
}

async fn garbage(plan: &Plan) -> Row {
    let json = FakeUpstream::start().await;
    let mut stage = Stage::new("F18", plan.seed + 770, |config, _| {
        config.openai(&json).set("models.gpt-image.price", json!([{"image": "0.04 USD"}]))
    })
    .await;
    let (pictures, texts) = (pictures(), texts());
    let mut row = Row::new(
        "F18",
        &format!(
            "{} kinds of answers that are no image, or not quite: pages, cut, mixed, empty, junk, strange numbers",
            pictures.len() + texts.len()
        ),
    );
    let each = plan.trials() as usize;
    for (name, reply, truth) in pictures {
        always(&stage, reply.into());
        row.cases(name, each, stage.case(&["s"], each, |_| truth).await);
    }
    for (name, body, truth) in texts {
        let before = json.submissions();
        json.default(Behaviour::json(200, body));
        row.cases(name, each, stage.case(&["gpt-image"], each, |_| truth).await);
        let asked = json.submissions() - before;
        row.expect(asked == each, || format!("{name}: {asked} submissions for {each} jobs"));
    }
    let found = database::read(stage.scene.home.data_dir()).await;
    let stored = found.images.len();
    for image in &found.images {
        let path = stage.scene.home.data_dir().join("images").join(&image.object_key);
        let decoded = std::fs::read(&path).is_ok_and(|bytes| image::load_from_memory(&bytes).is_ok());
        row.expect(decoded, || format!("stored, and no image: {}", path.display()));
    }
    row.wrong.extend(stage.end().await);
    row.seen_cases(&format!(
        "typed errors, charged as paid, never asked again; panics 0; stored {stored} images, non-images 0"
    ));
    row
}

async fn huge(plan: &Plan) -> Row {
    let mut row = Row::new(
        "F19",
        "2 GiB promised; chunks without end of bytes, text and base64; gzip; lengths too short, too long, twice, negative",
    );
    let mut stage = Stage::new("F19", plan.seed + 780, |c, _| c).await;
    let whole = png("some picture");
    let as_png = |bytes: Vec<u8>| Reply::new(200, "image/png", bytes);
    let text =
        |head: &str, tail: &str| Reply::json(200, format!("{head}{}", tail.repeat((64 << 10) / tail.len())));
    let mut cases: Vec<(&str, Behaviour)> = vec![
        ("2 GiB promised", Behaviour::CutShort(as_png(whole.clone()), 2 << 30)),
        ("gzip", as_png(b"\x1f\x8b\x08\x00".repeat(99)).header("content-encoding", "gzip").into()),
        ("length too long", Behaviour::CutShort(as_png(whole.clone()), 1_000)),
        ("endless text", Behaviour::Endless(text("{\"data\":[{\"text\":\"", "no base64, "))),
    ];
    if !plan.short {
        let endless = [&whole[..], &[0; 64 << 10]].concat();
        cases.push(("endless bytes", Behaviour::Endless(as_png(endless))));
        cases.push(("endless base64", Behaviour::Endless(text("{\"data\":[{\"b64_json\":\"", "QUJD"))));
    }
    let (mut most, mut slowest) = (0, 0);
    let pid = stage.gateway.pid();
    for (name, behaviour) in cases {
        always(&stage, behaviour);
        for _ in 0..plan.trials().min(3) {
            let (before, began) = (memory::now(pid), Instant::now());
            row.cases(name, 1, stage.case(&["s"], 1, |_| Truth::useless()).await);
            let rise = memory::peak(pid).saturating_sub(before);
            row.wants(rise <= 2 * CAP, || format!("{name}: memory rose by {} MiB", rise >> 20));
            most = most.max(rise);
            slowest = slowest.max(began.elapsed().as_millis());
        }
    }
    always(&stage, as_png(whole.clone()).into());
    let lies = [
        ("length too short", "content-length: 100", Truth::useless()),
        ("two lengths", "content-length: 100\r\ncontent-length: 200", Truth::unknown()),
        ("negative length", "content-length: -100", Truth::unknown()),
    ];
    for (name, header, truth) in lies {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n{header}\r\n\r\n");
        let answer = [head.as_bytes(), &whole].concat();
        stage.proxy.set(Toxics { instead: Some((answer, usize::MAX)), ..Toxics::default() }).await;
        row.cases(name, 1, stage.case(&["s"], 1, |_| truth.bought(0)).await);
    }
    row.wrong.extend(stage.end().await);
    row.seen = format!(
        "given up at {} MiB; memory rose by {} MiB at most; slowest {slowest} ms",
        CAP >> 20,
        most >> 20
    );
    row
}
