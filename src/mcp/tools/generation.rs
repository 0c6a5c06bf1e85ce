//! The arguments of a generation: the union of what both predecessors and we accept.

use super::arguments::{Arguments, bad};
use crate::{
    jobs::{Generation, Refused, image_id},
    mcp::call::Call,
};
use plugin_api::{Background, ImageRequest, Moderation, OutputFormat, Quality, Size};
use serde_json::{Map, Value};

/// Unicode scalar values.
pub const PROMPT_MAX: usize = 32_000;
pub const COUNT_MAX: i64 = 20;
const REFERENCES_MAX: usize = 32;
/// Handles are short but for `data:` URIs, whose bytes the body's cap bounds.
const HANDLE_MAX: usize = 64 << 20;
const NAME_MAX: usize = 200;
const PREFIX_MAX: usize = 64;
const IDEMPOTENCY_KEY_MAX: usize = 255;
/// Where a client may put its idempotency key in `_meta`.
const IDEMPOTENCY_META: &str = "image-gateway/idempotency-key";

/// Reads a generation for `tool`. `prompt_needed` is off where nothing is drawn.
///
/// # Errors
/// The first argument that cannot be used.
pub fn read(args: &mut Arguments, tool: &str, prompt_needed: bool) -> Result<Generation, Refused> {
    // All names are asked for before anything is refused, so that a misspelt one is recognised.
    let prompt = args.text("prompt", PROMPT_MAX);
    let model = args.text("model", NAME_MAX)?;
    let named = args.text("provider", NAME_MAX)?;
    let (style_provider, style) = match args.text("style", NAME_MAX)? {
        Some(text) => split_style(&text),
        None => (None, None),
    };
    let size = read_size(args)?;
    let request = ImageRequest {
        negative_prompt: args.text("negative_prompt", PROMPT_MAX)?,
        size: size.size,
        quality: args.word("quality", Quality::ALL)?,
        style,
        seed: args.integer("seed", 0..=i64::from(u32::MAX))?.and_then(|n| u32::try_from(n).ok()),
        steps: args.integer("steps", 1..=500)?.and_then(|n| u32::try_from(n).ok()),
        guidance: args.number("guidance", 0.0..=100.0)?.map(|n| n as f32),
        background: args.word("background", Background::ALL)?,
        output_format: args.word("output_format", OutputFormat::ALL)?,
        output_compression: args.integer("output_compression", 0..=100)?.and_then(|n| u8::try_from(n).ok()),
        watermark: args.flag("watermark")?,
        moderation: args.word("moderation", Moderation::ALL)?,
        prompt_rewrite: args.flag("prompt_rewrite")?,
        user: args.text("user", 1_000)?,
        vendor: args.object("vendor")?.unwrap_or_default(),
        ..ImageRequest::default()
    };
    let count = args.integer("count", 1..=COUNT_MAX)?.and_then(|n| u32::try_from(n).ok()).unwrap_or(1);
    let references = args.texts("references", 0..=REFERENCES_MAX, HANDLE_MAX)?.unwrap_or_default();
    let mask = args.text("mask", HANDLE_MAX)?;
    let references = references.into_iter().map(handle).collect::<Result<_, _>>()?;
    let mask = mask.map(handle).transpose()?;
    let file_prefix = args.text("file_prefix", 10_000)?.map(|prefix| safe_prefix(&prefix));
    let prompt = prompt?.filter(|text| !text.trim().is_empty());
    if prompt.is_none() && prompt_needed {
        return Err(args.missing("prompt", "the description of the image, 1 to 32000 characters"));
    }
    Ok(Generation {
        tool: tool.to_owned(),
        model,
        provider: one_provider(named, style_provider, size.provider)?,
        count,
        request: ImageRequest { prompt: prompt.unwrap_or_default(), ..request },
        references,
        mask,
        file_prefix,
        ..Generation::default()
    })
}

/// The idempotency key of a call: argument, `_meta`, header; the first one counts.
///
/// # Errors
/// It is no such key.
pub fn idempotency_key(
    args: &mut Arguments,
    meta: Option<&Map<String, Value>>,
    call: &Call,
) -> Result<Option<String>, Refused> {
    const NAME: &str = "idempotency_key";
    let argument = args.text(NAME, usize::MAX)?;
    let in_meta = || match meta.and_then(|meta| meta.get(IDEMPOTENCY_META)) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(bad(NAME, format!("`{IDEMPOTENCY_META}` in _meta must be a string."))),
    };
    let key = match argument {
        Some(key) => Some(key),
        None => in_meta()?.or_else(|| call.idempotency_key.clone()),
    };
    match key {
        Some(key) if key.is_empty() => Ok(None),
        Some(key) if key.len() > IDEMPOTENCY_KEY_MAX || !key.bytes().all(|b| b.is_ascii_graphic()) => {
            Err(bad(
                NAME,
                format!(
                    "`{NAME}` must be 1 to {IDEMPOTENCY_KEY_MAX} visible ASCII characters without spaces."
                ),
            ))
        }
        key => Ok(key),
    }
}

#[derive(Default)]
struct SizeAsked {
    size: Size,
    provider: Option<String>,
}

/// `size`, or `resolution` as it was called before; both only when they agree.
fn read_size(args: &mut Arguments) -> Result<SizeAsked, Refused> {
    let size = args.text("size", NAME_MAX)?;
    let resolution = args.text("resolution", NAME_MAX)?;
    let read = |name: &str, text: Option<String>| text.map(|text| split_size(name, &text)).transpose();
    match (read("size", size)?, read("resolution", resolution)?) {
        (Some(a), Some(b)) if a.size != b.size => Err(bad(
            "size",
            format!("`size` ({}) and `resolution` ({}) differ: give only `size`.", a.size, b.size),
        )),
        (Some(a), Some(b)) => {
            Ok(SizeAsked { provider: one_provider(None, a.provider, b.provider)?, size: a.size })
        }
        (one, other) => Ok(one.or(other).unwrap_or_default()),
    }
}

/// `openai:1024x1024`, `hunyuan:1024:768` and `1024:768` alike: what reads as a size has no provider in it.
fn split_size(name: &str, text: &str) -> Result<SizeAsked, Refused> {
    let bad_size = |error: String| bad(name, format!("`{name}`: {error}."));
    match (text.parse::<Size>(), text.split_once(':')) {
        (Ok(size), _) => Ok(SizeAsked { size, provider: None }),
        (Err(whole), Some((provider, rest))) if !provider.trim().is_empty() => match rest.parse::<Size>() {
            Ok(size) => Ok(SizeAsked { size, provider: Some(provider.trim().to_owned()) }),
            Err(_) => Err(bad_size(whole.to_string())),
        },
        (Err(error), _) => Err(bad_size(error.to_string())),
    }
}

/// `hunyuan:riman` is the style `riman` of the provider `hunyuan`.
fn split_style(text: &str) -> (Option<String>, Option<String>) {
    let some = |text: &str| Some(text.trim().to_owned()).filter(|t| !t.is_empty());
    match text.split_once(':') {
        Some((provider, style)) => (some(provider), some(style)),
        None => (None, some(text)),
    }
}

/// The provider by argument and by prefixes, which must not contradict each other.
fn one_provider(
    named: Option<String>,
    of_style: Option<String>,
    of_size: Option<String>,
) -> Result<Option<String>, Refused> {
    let given = [("provider", named), ("style", of_style), ("resolution", of_size)];
    let mut given = given.into_iter().filter_map(|(name, value)| value.map(|value| (name, value)));
    let Some((first_name, first)) = given.next() else { return Ok(None) };
    for (name, value) in given {
        if value != first {
            let message =
                format!("`{first_name}` says provider {first}, `{name}` says {value}: name one provider.");
            return Err(bad("provider", message));
        }
    }
    Ok(Some(first))
}

/// A name of an image in one of its forms; what it stands for is looked up later.
fn handle(text: String) -> Result<String, Refused> {
    let schemes = ["upload://", "https:", "data:"];
    if let Some(id) = image_id(&text) {
        return Ok(id.to_string());
    }
    if schemes.iter().any(|scheme| text.starts_with(scheme)) {
        return Ok(text);
    }
    let short: String = text.chars().take(60).collect();
    Err(bad(
        "references",
        format!(
            "`{short}` names no image: give an image id, image://…, upload://…, an https: URL or a data: URI."
        ),
    ))
}

/// Letters, digits and `_`; all else becomes `_`.
fn safe_prefix(prefix: &str) -> String {
    let safe = |c: char| if c.is_alphanumeric() { c } else { '_' };
    prefix.chars().take(PREFIX_MAX).map(safe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn generation(mut value: Value) -> Result<Generation, Refused> {
        value["prompt"] = json!("a cat");
        read(&mut Arguments::new(value.as_object().unwrap()), "generate_image", true)
    }
    fn refused(value: Value) -> (String, String) {
        let refused = generation(value).unwrap_err();
        (refused.field.unwrap(), refused.message)
    }

    #[test]
    fn every_colon_form_of_the_old_readmes_is_understood() {
        let wide = Size::exact(1024, 768);
        for (arguments, provider, style, size) in [
            (
                json!({"style": "hunyuan:saibopengke", "resolution": "hunyuan:1024:768"}),
                Some("hunyuan"),
                Some("saibopengke"),
                wide,
            ),
            (
                json!({"provider": "openai", "style": "openai:anime"}),
                Some("openai"),
                Some("anime"),
                Size::Auto,
            ),
            (json!({"resolution": "1024:768"}), None, None, wide),
            (json!({"resolution": "openai:1024x768"}), Some("openai"), None, wide),
            (json!({"size": "16:9", "style": ""}), None, None, Size::Ratio { width: 16, height: 9 }),
            (json!({"size": "1024x768", "resolution": "1024:768"}), None, None, wide),
        ] {
            let read = generation(arguments.clone()).unwrap();
            assert_eq!(read.provider.as_deref(), provider, "{arguments}");
            assert_eq!(read.request.style.as_deref(), style, "{arguments}");
            assert_eq!(read.request.size, size, "{arguments}");
        }
    }

    #[test]
    fn contradictions_are_refused_by_name() {
        assert_eq!(refused(json!({"size": "1K", "resolution": "2K"})).0, "size");
        assert_eq!(refused(json!({"provider": "openai", "style": "doubao:anime"})).0, "provider");
        assert_eq!(refused(json!({"style": "a:x", "resolution": "b:1K"})).0, "provider");
        let (field, message) = refused(json!({"size": "huge"}));
        assert!(field == "size" && message.contains("huge") && message.contains("1536x1024"), "{message}");
    }

    #[test]
    fn a_prompt_is_needed_and_bounded() {
        let prompt = |text: &str| {
            let value = json!({"prompt": text});
            read(&mut Arguments::new(value.as_object().unwrap()), "generate_image", true)
                .map(|g| g.request.prompt)
        };
        assert_eq!(prompt("猫").unwrap(), "猫");
        assert!(prompt(&"猫".repeat(32_000)).is_ok(), "characters count, not bytes");
        for text in ["", "   ", &"x".repeat(32_001)] {
            assert_eq!(prompt(text).unwrap_err().field.as_deref(), Some("prompt"));
        }
    }

    #[test]
    fn a_file_prefix_is_made_safe() {
        let prefix = |text: &str| generation(json!({"file_prefix": text})).unwrap().file_prefix.unwrap();
        assert_eq!(prefix("my pre-fix"), "my_pre_fix");
        assert_eq!(prefix("../../etc/passwd"), "______etc_passwd");
        assert_eq!(prefix("猫1"), "猫1");
        assert_eq!(prefix(&"x".repeat(300)).len(), 64);
    }

    #[test]
    fn references_are_handles_and_nothing_else() {
        let id = uuid::Uuid::new_v4();
        let good = json!({"references": [id, format!("image://{id}"), format!("img_openai_{id}"), "upload://x", "https://a/b.png", "data:image/png;base64,AA"]});
        let read = generation(good).unwrap().references;
        assert_eq!((read.len(), &read[..3]), (6, &vec![id.to_string(); 3][..]), "one spelling of an id");
        for bad in ["http://a/b.png", "file:///etc/passwd", "/etc/passwd", "cat", "image://cat"] {
            assert_eq!(refused(json!({"references": [bad]})).0, "references", "{bad}");
        }
    }
}
