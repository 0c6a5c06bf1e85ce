//! `get_image_data` with the base64 in its object.

use super::{Answer, Cx, Envelope, Failed, image_name, named, problem::Problem};
use crate::{
    images::ImageError,
    jobs::image_id,
    mcp::{
        errors::{Fault, ToolError},
        tools::{arguments::Arguments, pictures},
    },
};
use serde::Serialize;

/// An image with its bytes. Every key is always there.
#[derive(Serialize)]
struct Data {
    id: String,
    provider: String,
    mime_type: String,
    file_name: String,
    /// The file's name where the caller is not on this machine: its schema has text here.
    local_path: String,
    url: Option<String>,
    size_bytes: i64,
    base64_data: String,
}

pub async fn get_image_data(cx: Cx<'_>, mut args: Arguments) -> Result<Answer, Failed> {
    let asked = match args.text("image_id", 200) {
        Ok(Some(asked)) => asked,
        Ok(None) => return Err(invalid(args.missing("image_id", "the id of an image"))),
        Err(refused) => return Err(invalid(refused)),
    };
    let found = match image_id(&asked) {
        Some(id) => cx.inner.backend.image(cx.call.team(), id).await.map_err(Fault::from)?,
        None => None,
    };
    let Some((image, view)) = found else { return Err(Problem::image_not_found(&asked).into()) };
    let most = cx.inner.settings.load().full_max.0;
    if !u64::try_from(image.bytes).is_ok_and(|bytes| bytes <= most) {
        let message = format!(
            "The image has {} bytes and at most {most} go into an answer; its url has it.",
            image.bytes
        );
        return Err(Problem::new("payload_too_large", message)
            .with("image_id", asked)
            .with("size_bytes", image.bytes)
            .with("max_bytes", most)
            .into());
    }
    let file_name = pictures::file_name(&image, &view);
    let bytes = match cx.inner.backend.full(&image).await {
        Ok(bytes) => bytes,
        Err(ImageError::Store(error)) => return Err(Fault::from(error).into()),
        Err(ImageError::Missing) => {
            let message = "The image is no longer in storage; its job is unchanged.";
            let problem = Problem::new("file_not_found", message);
            return Err(problem.with("image_id", asked).with("local_path", file_name).into());
        }
        Err(error) => {
            tracing::error!(image.id = %image.id, %error, "an image could not be read");
            let message = "The image is stored but cannot be read right now; ask for it again in a moment.";
            return Err(Problem::new("read_failed", message).with("image_id", asked).into());
        }
    };
    let data = Data {
        id: image_name(&image, &view),
        provider: pictures::provider(&view).to_owned(),
        mime_type: image.mime.clone(),
        local_path: cx.local_path(&image).unwrap_or_else(|| file_name.clone()),
        url: Some(named(&cx.inner.backend.link(&image).url, image.id, &file_name)),
        file_name,
        size_bytes: image.bytes,
        base64_data: pictures::base64(bytes).await,
    };
    let envelope =
        Envelope { ok: true, images: vec![data], adjustments: args.unknown(), ..Envelope::default() };
    Answer::of(&envelope).map_err(|error| match error {
        ToolError::Fault(fault) => fault.into(),
        ToolError::Refused(refused) => invalid(refused),
    })
}

fn invalid(refused: crate::jobs::Refused) -> Failed {
    // The predecessor had nothing more to say here.
    Problem::new("invalid_arguments", refused.message).into()
}
