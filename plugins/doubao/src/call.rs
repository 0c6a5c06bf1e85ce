//! The body of the one call there is: text to image, editing and groups share it.

use crate::{
    rules::{Mode, Options},
    settings::ResponseFormat,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use plugin_api::{
    Adjustment, Background, ErrorClass, ImageRequest, Input, OutputFormat, ProviderError, Size, Tier,
};
use serde::Serialize;
use serde_json::Value;

/// Largest reference in bytes, as the vendor says.
const LARGEST_INPUT: usize = 10_000_000;
/// Longer prompts are taken, and their details get lost.
const HONOURED_PROMPT: usize = 2_000;
/// Images of a group above this area come by URL: in base64 fifteen of them are over a gigabyte.
const INLINE_PIXELS: u64 = 4_624_220;
const LEAST_CAP: u64 = 64 << 20;

/// What is not set is not sent: models refuse, or silently ignore, fields that they do not know.
#[derive(Debug, Serialize)]
pub(crate) struct Body<'a> {
    model: &'a str,
    prompt: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<Images>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<String>,
    response_format: ResponseFormat,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_format: Option<OutputFormat>,
    /// Always sent: the vendor's default is a visible mark.
    watermark: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    background: Option<Background>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    guidance_scale: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    optimize_prompt: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    optimize_prompt_options: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequential_image_generation: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequential_image_generation_options: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layer_decomposition: Option<Value>,
}

/// `data:` URLs; the vendor refuses bare base64. One is sent alone, as the oldest models take no list.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Images {
    One(String),
    Several(Vec<String>),
}

/// The body for the model of this id. Encodes the references: work for a blocking thread where there are any.
///
/// # Errors
/// `invalid_request`: a reference that is too large, an option that is none.
pub(crate) fn body<'a>(
    id: &'a str,
    form: ResponseFormat,
    request: &ImageRequest,
) -> Result<Body<'a>, ProviderError> {
    let bad = |what: String| ProviderError::new(ErrorClass::InvalidRequest, what);
    let options = Options::of(request).map_err(|refusal| bad(refusal.to_string()))?;
    if let Some(n) = request.references.iter().position(|input| input.bytes.len() > LARGEST_INPUT) {
        return Err(bad(format!("references[{n}] is larger than 10 MB, the most that the vendor takes")));
    }
    let vendor = |name: &str| request.vendor.get(name).cloned();
    let transparent = request.background == Some(Background::Transparent);
    let (group, asked) = (options.is_group(), options.stream);
    Ok(Body {
        model: id,
        prompt: request.prompt.clone(),
        image: images(&request.references),
        size: size(request.size),
        response_format: if by_url(form, group, request.size) { ResponseFormat::Url } else { form },
        // Only PNG has transparency among the formats of the vendor.
        output_format: if transparent { Some(OutputFormat::Png) } else { request.output_format },
        watermark: request.watermark.unwrap_or(false),
        // `opaque` is what it does by itself, but for a reference that has an alpha channel.
        background: request.background.filter(|b| {
            *b == Background::Transparent || (*b == Background::Opaque && request.references.len() == 1)
        }),
        seed: request.seed.map(seed),
        guidance_scale: request.guidance,
        optimize_prompt: request.prompt_rewrite,
        optimize_prompt_options: prompt_options(request, &options),
        // A stream that breaks leaves the images that came before; a plain answer that breaks leaves none.
        stream: (group && asked != Some(false)).then_some(true),
        sequential_image_generation: vendor("sequential_image_generation"),
        sequential_image_generation_options: vendor("sequential_image_generation_options"),
        tools: vendor("tools"),
        layer_decomposition: vendor("layer_decomposition"),
    })
}

fn by_url(form: ResponseFormat, group: bool, size: Size) -> bool {
    form == ResponseFormat::Url || (group && pixels(size) > INLINE_PIXELS)
}

/// The vendor's upper bound is that of a signed number.
fn seed(seed: u32) -> u32 {
    seed & 0x7fff_ffff
}

fn pixels(size: Size) -> u64 {
    match size {
        Size::Exact { width, height } => u64::from(width) * u64::from(height),
        Size::Tier(tier) => tier.area(),
        _ => Tier::K2.area(),
    }
}

/// The size in the vendor's notation; `auto` is left to the model.
fn size(size: Size) -> Option<String> {
    match size {
        Size::Auto | Size::Ratio { .. } => None,
        size => Some(size.to_string()),
    }
}

fn images(references: &[Input]) -> Option<Images> {
    let url = |input: &Input| format!("data:{};base64,{}", input.mime, BASE64_STANDARD.encode(&input.bytes));
    match references {
        [] => None,
        [one] => Some(Images::One(url(one))),
        several => Some(Images::Several(several.iter().map(url).collect())),
    }
}

/// The mode that the quality means joins the options that were given.
fn prompt_options(request: &ImageRequest, options: &Options) -> Option<Value> {
    let given = request.vendor.get("optimize_prompt_options").cloned();
    let named = options.optimize_prompt_options.and_then(|o| o.mode).is_some();
    let word = match Mode::of(request.quality).filter(|_| !named) {
        None => return given,
        Some(Mode::Standard) => "standard",
        Some(Mode::Fast) => "fast",
    };
    let mut joined = given.unwrap_or_else(|| Value::Object(Default::default()));
    joined["mode"] = word.into();
    Some(joined)
}

/// Largest answer in bytes: every image in base64, at four bytes a pixel.
pub(crate) fn cap(form: ResponseFormat, request: &ImageRequest) -> u64 {
    let group = Options::of(request).is_ok_and(|options| options.is_group());
    if by_url(form, group, request.size) {
        return LEAST_CAP;
    }
    let images = u64::from(crate::rules::images(request));
    (images * pixels(request.size) * 4 / 3 * 4 + (1 << 20)).max(LEAST_CAP)
}

/// What became of arguments that the vendor has no field for: told by the request alone, so that it can be told
/// after a crash too.
pub(crate) fn adjustments(request: &ImageRequest) -> Vec<Adjustment> {
    let mut all = Vec::new();
    if let Some(asked) = request.seed.filter(|asked| *asked != seed(*asked)) {
        let reason = "the vendor's seeds end at 2147483647";
        all.push(Adjustment::new("seed", asked.to_string(), seed(asked).to_string(), reason));
    }
    let length = request.prompt.chars().count();
    if length > HONOURED_PROMPT {
        let reason = "sent whole, but this vendor loses details of prompts over about 300 Chinese characters or 600 English words";
        let asked = format!("{length} characters");
        all.push(Adjustment::new("prompt", &asked, &asked, reason));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::STYLES;
    use plugin_api::{Capabilities, Parameters, Quality};
    use serde_json::json;

    fn sent(request: &ImageRequest) -> Value {
        serde_json::to_value(body("m", ResponseFormat::B64Json, request).unwrap()).unwrap()
    }

    fn asking(change: impl FnOnce(&mut ImageRequest)) -> ImageRequest {
        let mut request = ImageRequest::new("m", "a red fox");
        change(&mut request);
        request
    }

    #[test]
    fn nothing_that_was_not_asked_is_sent_and_the_watermark_always_is() {
        let plain =
            json!({"model": "m", "prompt": "a red fox", "response_format": "b64_json", "watermark": false});
        assert_eq!(sent(&asking(|_| {})), plain);
        assert_eq!(sent(&asking(|r| r.watermark = Some(true)))["watermark"], true);
        let all = asking(|r| {
            (r.user, r.n) = (Some("u".into()), 1);
            r.moderation = Some(plugin_api::Moderation::Low);
        });
        assert_eq!(sent(&all), plain, "the vendor has no such fields");
    }

    #[test]
    fn every_argument_has_its_field() {
        let one = asking(|r| {
            r.size = Size::exact(2848, 1600);
            r.seed = Some(4_000_000_007);
            r.guidance = Some(2.5);
            r.prompt_rewrite = Some(false);
            r.quality = Some(Quality::Low);
            r.background = Some(Background::Transparent);
            r.references = vec![Input { mime: "image/png".into(), bytes: "abc".into(), ..Input::default() }];
            r.vendor.insert("tools".into(), json!([{"type": "web_search"}]));
            r.vendor.insert("optimize_prompt_options".into(), json!({"thinking": "auto"}));
            r.vendor.insert("layer_decomposition".into(), json!(true));
        });
        let mut body = sent(&one);
        assert_eq!(body["guidance_scale"].take(), 2.5);
        assert_eq!(
            body,
            json!({
                "model": "m", "prompt": "a red fox", "size": "2848x1600", "seed": 1_852_516_359, "guidance_scale": null,
                "optimize_prompt": false, "optimize_prompt_options": {"thinking": "auto", "mode": "fast"},
                "background": "transparent", "output_format": "png", "image": "data:image/png;base64,YWJj",
                "tools": [{"type": "web_search"}], "layer_decomposition": true,
                "response_format": "b64_json", "watermark": false,
            })
        );
        let told = adjustments(&one);
        assert_eq!((told[0].field.as_str(), told[0].used.as_str()), ("seed", "1852516359"));
        let opaque = |n: usize| {
            let input = Input { mime: "image/png".into(), ..Input::default() };
            sent(&asking(|r| (r.background, r.references) = (Some(Background::Opaque), vec![input; n])))
        };
        assert_eq!((&opaque(1)["background"], &opaque(0)["background"]), (&json!("opaque"), &Value::Null));
    }

    #[test]
    fn a_style_is_the_whole_of_its_english_words() {
        for (style, prompt) in [
            ("anime", "a red fox, anime style"),
            ("oil_painting", "a red fox, oil painting"),
            ("chinese_painting", "a red fox, traditional Chinese painting"),
            ("sci_fi", "a red fox, sci-fi concept art"),
            ("general", "a red fox"),
        ] {
            let caps =
                Capabilities { styles: STYLES.to_vec(), styles_in_words: true, ..Capabilities::default() };
            let asked = asking(|r| (r.style, r.size) = (Some(style.into()), Size::Auto));
            let fit = caps.fit(&asked, Parameters::Strict).unwrap();
            assert_eq!(sent(&fit.request)["prompt"], prompt);
            assert_eq!(fit.adjustments[0].asked, style);
        }
        let long = asking(|r| r.prompt = "狐".repeat(2_001));
        assert_eq!(sent(&long)["prompt"], long.prompt, "never cut");
        assert_eq!(adjustments(&long)[0].field, "prompt", "and said");
    }

    #[test]
    fn a_group_streams_unless_told_otherwise_and_large_ones_come_by_url() {
        let group = |size: &str, stream: Option<bool>| {
            asking(|r| {
                r.size = size.parse().unwrap();
                r.vendor.insert("sequential_image_generation".into(), "auto".into());
                r.vendor.extend(stream.map(|on| ("stream".to_owned(), Value::from(on))));
            })
        };
        let two = sent(&group("2K", None));
        assert_eq!((&two["stream"], &two["response_format"]), (&json!(true), &json!("b64_json")));
        assert_eq!(sent(&group("2K", Some(false)))["stream"], Value::Null);
        assert_eq!(sent(&group("4K", None))["response_format"], "url");
        let single = asking(|r| r.size = Size::Tier(Tier::K4));
        assert_eq!(sent(&single)["response_format"], "b64_json", "one of 4K is no trouble");
        let cap = |request: &ImageRequest| cap(ResponseFormat::B64Json, request) >> 20;
        assert_eq!((cap(&asking(|_| {})), cap(&group("4K", None))), (64, 64));
        assert!((300..400).contains(&cap(&group("2K", None))) && (80..100).contains(&cap(&single)));
    }

    #[test]
    fn a_reference_over_the_vendors_limit_is_not_sent() {
        let large = Input { bytes: vec![0; LARGEST_INPUT + 1].into(), ..Input::default() };
        let request = asking(|r| r.references = vec![Input::default(), large]);
        let error = body("m", ResponseFormat::B64Json, &request).unwrap_err();
        assert!(error.message.starts_with("references[1]"), "{error}");
        assert_eq!(error.spend, plugin_api::Spend::None);
    }
}
