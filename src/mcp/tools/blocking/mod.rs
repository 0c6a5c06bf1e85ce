//! The tools that the second predecessor had, as its clients know them: `generate_image` waits and brings the image
//! along, `get_image_data` has the base64 in its object, and both say what failed in its codes. Jobs, images and
//! arguments are those of all tools; only what is said about them differs.

mod data;
mod generate;
mod problem;
mod words;

pub use words::known as known_words;

use super::{Answer, Cx, Tool, arguments::Arguments};
use crate::{
    jobs::{JobView, ProviderView},
    mcp::{
        call::{Call, Profile},
        errors::{Fault, ToolError},
    },
    store::Image,
};
use plugin_api::Adjustment;
use problem::Problem;
use serde::Serialize;
use uuid::Uuid;

/// Of the shape of answers, not of the gateway.
const VERSION: &str = "1.0";

pub const INSTRUCTIONS: &str = "Generates images. Call generate_image: it waits until the image is there and returns it. \
    An answer that says \"still running\" is no failure: call wait_for_completion with its job id and never generate \
    again for it. Show the user the image, or its url.";

/// Whether a tool answers in this form.
pub fn answers(call: &Call, tool: Tool) -> bool {
    call.profile == Profile::Blocking
        && matches!(tool, Tool::GenerateImage | Tool::EditImage | Tool::GetImageData)
}

/// What the tool does, for the model that calls it.
pub fn description(tool: Tool) -> &'static str {
    match tool {
        Tool::GenerateImage => {
            "Generate an image from a prompt, wait for it and return it, with its id and url. If the answer says it is \
             still running, call wait_for_completion with its job id; never generate again for it."
        }
        Tool::EditImage => {
            "Make an image from other images: pass image ids, upload:// handles or https URLs as references and say in \
             the prompt what to change. Waits and returns it, as generate_image does."
        }
        Tool::GetImageData => "The bytes of a stored image as base64 text, by its image_id.",
        other => other.description(),
    }
}

/// # Errors
/// Only what is no business of the tool: its own failures are answers.
pub async fn call(cx: Cx<'_>, args: Arguments) -> Result<Answer, ToolError> {
    let answered = match cx.tool {
        Tool::GetImageData => data::get_image_data(cx, args).await,
        _ => generate::generate_image(cx, args).await,
    };
    match answered {
        Ok(answer) => Ok(answer),
        Err(Failed::Fault(fault)) => Err(fault.into()),
        Err(Failed::Problem(problem)) => failure(*problem),
    }
}

/// A tool that is not there, or not offered.
///
/// # Errors
/// A fault of the gateway.
pub fn unknown_tool(name: &str) -> Result<Answer, ToolError> {
    failure(Problem::unknown_tool(name))
}

fn failure(problem: Problem) -> Result<Answer, ToolError> {
    Answer::failure(&Envelope::<Row> { error: Some(problem), ..Envelope::default() })
}

/// How a tool of this profile ends without an image.
enum Failed {
    Problem(Box<Problem>),
    Fault(Fault),
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Failed::Problem(Box::new(problem))
    }
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Failed::Fault(fault)
    }
}

/// Every answer. The first four keys are always there.
#[derive(Serialize)]
struct Envelope<T> {
    version: &'static str,
    ok: bool,
    images: Vec<T>,
    error: Option<Problem>,
    /// What still runs: one job, or several.
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<Running>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    jobs: Vec<Running>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    adjustments: Vec<Adjustment>,
}

impl<T> Default for Envelope<T> {
    fn default() -> Self {
        Envelope {
            version: VERSION,
            ok: false,
            images: Vec::new(),
            error: None,
            job: None,
            jobs: Vec::new(),
            message: None,
            adjustments: Vec::new(),
        }
    }
}

#[derive(Serialize)]
struct Running {
    job_id: Uuid,
    status: &'static str,
    retry_after_ms: u64,
}

/// An image of `generate_image`. Every key is always there.
#[derive(Serialize)]
struct Row {
    id: String,
    provider: String,
    mime_type: String,
    file_name: Option<String>,
    /// Only for callers on this machine.
    local_path: Option<String>,
    url: Option<String>,
    size_bytes: i64,
    revised_prompt: Option<String>,
    /// An image that is not stored is no image here, so there is never one.
    save_error: Option<String>,
}

fn row(cx: Cx<'_>, image: &Image, view: &JobView) -> Row {
    let file_name = super::pictures::file_name(image, view);
    Row {
        id: image_name(image, view),
        provider: super::pictures::provider(view).to_owned(),
        mime_type: image.mime.clone(),
        local_path: cx.local_path(image),
        url: Some(named(&cx.inner.backend.link(image).url, image.id, &file_name)),
        file_name: Some(file_name),
        size_bytes: image.bytes,
        revised_prompt: image.revised_prompt.clone(),
        save_error: None,
    }
}

/// `img_<provider>_<image id>`: `get_image_data` takes it back.
fn image_name(image: &Image, view: &JobView) -> String {
    format!("img_{}_{}", super::pictures::provider(view), image.id)
}

/// A link of ours with the file's name in it: any name that ends in the image's own is served. What no name of a link
/// may have in it becomes `_`.
fn named(url: &str, id: Uuid, file_name: &str) -> String {
    let prefix = file_name.split(&id.to_string()).next().unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
    let prefix: String = prefix.chars().map(plain).collect();
    url.replacen(&format!("/images/{id}."), &format!("/images/{prefix}{id}."), 1)
}

/// The provider that a call names, else the one that it gets.
fn chosen<'a>(providers: &'a [ProviderView], name: Option<&str>) -> Option<&'a ProviderView> {
    match name {
        Some(name) => {
            let by_id = providers.iter().find(|provider| provider.id == name);
            by_id.or_else(|| providers.iter().find(|provider| provider.kind == name))
        }
        None => providers.first(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_carries_the_name_of_the_file() {
        let id = Uuid::nil();
        for (url, file_name, expected) in [
            (
                format!("http://h/images/{id}.png?exp=1&sig=x"),
                format!("my_pre_fix_openai_{id}.png"),
                format!("http://h/images/my_pre_fix_openai_{id}.png?exp=1&sig=x"),
            ),
            (
                format!("http://h/images/{id}.png"),
                format!("猫_openai_{id}.png"),
                format!("http://h/images/__openai_{id}.png"),
            ),
            ("https://cdn/a/0-ab.png".into(), format!("a_{id}.png"), "https://cdn/a/0-ab.png".into()),
        ] {
            assert_eq!(named(&url, id, &file_name), expected);
        }
    }
}
