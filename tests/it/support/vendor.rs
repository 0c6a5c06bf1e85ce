//! What vendors answer.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use testkit::{Behaviour, Reply};

/// A picture of 1024x1024, as a vendor sends it.
pub const PNG: &[u8] = include_bytes!("../../../plugins/openai/fixtures/images/fox_1024.png");

/// OpenAI's answer to a generation or an edit: the picture in base64, and its usage (0.0421 USD).
pub fn openai_picture() -> Behaviour {
    let usage = json!({"input_tokens": 20, "output_tokens": 1400, "total_tokens": 1420});
    let body =
        json!({"created": 1_795_000_000, "data": [{"b64_json": STANDARD.encode(PNG)}], "usage": usage});
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
        json!({"result": {"image": STANDARD.encode(PNG)}, "success": true, "errors": [], "messages": []});
    Behaviour::json(200, body.to_string())
}

/// The picture itself.
pub fn raw_picture() -> Behaviour {
    Reply::new(200, "image/png", PNG).into()
}
