//! Builds the paid call. Messages and bare prompts keep the same values in different places.

use crate::models::{self, Model, Surface};
use base64::Engine as _;
use plugin_api::{ErrorClass, ImageRequest, Input, ProviderError, Request, Size, join_url};
use serde::Serialize;
use serde_json::{Map, Value};

const NEGATIVE_MAX: usize = 500;
const SEED_MAX: u32 = 2_147_483_647;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: BodyInput<'a>,
    parameters: Parameters<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum BodyInput<'a> {
    Messages {
        /// One, the user's.
        messages: [Message<'a>; 1],
    },
    Prompt {
        prompt: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        negative_prompt: Option<&'a str>,
    },
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Vec<Content<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Content<'a> {
    /// A `data:` URL.
    Image(String),
    Text(&'a str),
}

#[derive(Serialize)]
struct Parameters<'a> {
    /// `W*H`; left out, the vendor chooses.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<String>,
    n: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    negative_prompt: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_extend: Option<bool>,
    watermark: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    style: Option<&'static str>,
    #[serde(flatten)]
    vendor: &'a Map<String, Value>,
}

/// The call of a request, without the credentials.
///
/// # Errors
/// A value that the vendor would refuse.
pub(crate) fn build(base_url: &str, model: &Model, request: &ImageRequest) -> Result<Request, ProviderError> {
    let path = match model.surface {
        Surface::Messages => "services/aigc/multimodal-generation/generation",
        Surface::MessagesTask => "services/aigc/image-generation/generation",
        Surface::PromptTask => "services/aigc/text2image/image-synthesis",
    };
    let call = Request::post(join_url(base_url, path)).json(&body(model, request)?).paid();
    Ok(match model.surface {
        Surface::Messages => call,
        Surface::MessagesTask | Surface::PromptTask => call.header("x-dashscope-async", "enable"),
    })
}

fn body<'a>(model: &Model, request: &'a ImageRequest) -> Result<Body<'a>, ProviderError> {
    check(request)?;
    let negative = request.negative_prompt.as_deref().filter(|text| !text.is_empty());
    let size = match request.size {
        Size::Exact { width, height } => Some(format!("{width}*{height}")),
        _ => None,
    };
    let (input, negative_prompt) = match model.surface {
        Surface::PromptTask => {
            (BodyInput::Prompt { prompt: &request.prompt, negative_prompt: negative }, None)
        }
        Surface::Messages | Surface::MessagesTask => {
            let mut content: Vec<Content<'_>> =
                request.references.iter().map(data_url).map(Content::Image).collect();
            content.push(Content::Text(&request.prompt));
            (BodyInput::Messages { messages: [Message { role: "user", content }] }, negative)
        }
    };
    let parameters = Parameters {
        size,
        n: request.n.max(1),
        negative_prompt,
        seed: request.seed,
        prompt_extend: request.prompt_rewrite,
        watermark: request.watermark.unwrap_or(false),
        style: request.style.as_deref().and_then(models::style),
        vendor: &request.vendor,
    };
    Ok(Body { model: &request.model, input, parameters })
}

fn data_url(input: &Input) -> String {
    let data = base64::engine::general_purpose::STANDARD.encode(&input.bytes);
    format!("data:{};base64,{data}", input.mime)
}

/// What the capabilities cannot say.
fn check(request: &ImageRequest) -> Result<(), ProviderError> {
    let refuse = |what: String| Err(ProviderError::new(ErrorClass::InvalidRequest, what));
    let negative = request.negative_prompt.as_deref().map_or(0, |text| text.chars().count());
    if negative > NEGATIVE_MAX {
        return refuse(format!("negative_prompt: {negative} characters; accepted: at most {NEGATIVE_MAX}"));
    }
    if let Some(seed) = request.seed.filter(|seed| *seed > SEED_MAX) {
        return refuse(format!("seed: {seed}; accepted: 0 to {SEED_MAX}"));
    }
    for (key, value) in &request.vendor {
        let accepted = match key.as_str() {
            "prompt_extend_mode" if value == "agent" && !request.references.is_empty() => {
                "direct, and agent only without reference images"
            }
            "prompt_extend_mode" if value != "direct" && value != "agent" => "direct, agent",
            "thinking_mode" | "enable_sequential" if !value.is_boolean() => "true, false",
            "bbox_list" | "color_palette" if !value.is_array() => "a list",
            _ => continue,
        };
        return refuse(format!("the vendor option `{key}` cannot be sent like this; accepted: {accepted}"));
    }
    Ok(())
}
