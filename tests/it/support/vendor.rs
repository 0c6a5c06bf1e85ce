//! What vendors answer.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use std::{io::Cursor, sync::LazyLock};
use testkit::{Behaviour, Reply};

/// A picture of 1024x1024 and about 260 kB, as a vendor sends it: large enough to be taken out of the answer's text
/// while it streams.
pub fn png() -> &'static [u8] {
    static PNG: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut state = 1_u32;
        let picture = image::GrayImage::from_fn(1024, 1024, |_, y| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            image::Luma([if y < 256 { (state >> 24) as u8 } else { 128 }])
        });
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    });
    &PNG
}

/// OpenAI's answer to a generation or an edit: the picture in base64, and its usage (0.0421 USD).
pub fn openai_picture() -> Behaviour {
    let usage = json!({"input_tokens": 20, "output_tokens": 1400, "total_tokens": 1420});
    let body =
        json!({"created": 1_795_000_000, "data": [{"b64_json": STANDARD.encode(png())}], "usage": usage});
    Behaviour::json(200, body.to_string())
}

/// OpenAI's error form.
pub fn openai_error(status: u16, code: &str, message: &str) -> Reply {
    let body = json!({"error": {"message": message, "type": "invalid_request_error", "code": code}});
    Reply::json(status, body.to_string())
}

/// Workers AI, base64 in its envelope.
pub fn workers_picture() -> Behaviour {
    let body =
        json!({"result": {"image": STANDARD.encode(png())}, "success": true, "errors": [], "messages": []});
    Behaviour::json(200, body.to_string())
}

/// The picture itself.
pub fn raw_picture() -> Behaviour {
    Reply::new(200, "image/png", png()).into()
}
