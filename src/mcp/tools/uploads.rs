//! `create_upload`: a way in for images from outside, because a model cannot write out their bytes.

use super::{
    Answer, Cx,
    arguments::{Arguments, bad},
    pictures::quoted,
    results::ms,
};
use crate::mcp::errors::ToolError;
use plugin_api::{Adjustment, Mime};
use serde::Serialize;
use uuid::Uuid;

#[derive(Serialize)]
struct Upload {
    success: bool,
    upload_id: Uuid,
    /// What `references` and `mask` take once the bytes are there.
    handle: String,
    put_url: String,
    expires_at: i64,
    max_bytes: u64,
    /// The whole command, but for the file's name.
    curl: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    adjustments: Vec<Adjustment>,
}

pub fn create_upload(cx: Cx<'_>, mut args: Arguments) -> Result<Answer, ToolError> {
    let max_bytes = cx.inner.backend.upload_max();
    let mime = args.text("mime_type", 100)?;
    if let Some(mime) = mime.filter(|mime| Mime::parse(mime).is_none()) {
        let message = format!(
            "`mime_type`: {mime} is no kind of image that is taken. Accepted: image/png, image/jpeg, image/webp."
        );
        return Err(bad("mime_type", message).into());
    }
    if let Some(size) = args.integer("size_bytes", 1..=i64::MAX)?
        && u64::try_from(size).is_ok_and(|size| size > max_bytes)
    {
        let message = format!(
            "`size_bytes`: {size} is more than the {max_bytes} bytes that are taken; send a smaller image."
        );
        return Err(bad("size_bytes", message).into());
    }
    let Some(slot) = cx.inner.backend.upload_slot(&cx.call.owner()) else {
        let message =
            "There is no server here to upload to; give the image as a data: URI or an https: URL instead.";
        return Err(bad("mime_type", message.into()).into());
    };
    Answer::of(&Upload {
        success: true,
        upload_id: slot.id,
        handle: format!("upload://{}", slot.id),
        curl: format!("curl -fsS -T FILE {}", quoted(&slot.url)),
        put_url: slot.url,
        expires_at: ms(slot.expires_us),
        max_bytes,
        adjustments: args.unknown(),
    })
}
