//! What a request may ask of a model beyond its record: the vendor's own options, and arguments that need or exclude
//! each other.

use plugin_api::{Background, Capabilities, ImageRequest, Quality, Refusal};
use serde::Deserialize;
use serde_json::Value;

/// References and made images of one call together.
const MOST: u32 = 15;
/// One base and at most so many layers over it.
const MOST_LAYERS: u32 = 17;
/// Media types that the vendor reads, of those that the gateway keeps.
const MIMES: [&str; 4] = ["image/jpeg", "image/png", "image/webp", "image/gif"];

/// The vendor's options of a request, by the vendor's own names.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Options {
    pub sequential_image_generation: Option<Sequence>,
    pub sequential_image_generation_options: Option<SequenceOptions>,
    pub stream: Option<bool>,
    pub optimize_prompt_options: Option<PromptOptions>,
    pub tools: Option<Vec<Tool>>,
    pub layer_decomposition: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sequence {
    Auto,
    Disabled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SequenceOptions {
    pub max_images: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PromptOptions {
    pub mode: Option<Mode>,
    pub thinking: Option<Thinking>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    Standard,
    Fast,
}

impl Mode {
    /// The mode that a quality means, at models that have both.
    pub(crate) fn of(quality: Option<Quality>) -> Option<Mode> {
        match quality? {
            Quality::Low => Some(Mode::Fast),
            Quality::High => Some(Mode::Standard),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Thinking {
    Auto,
    Enabled,
    Disabled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tool {
    #[serde(rename = "type")]
    pub _kind: ToolKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToolKind {
    WebSearch,
}

impl Options {
    /// # Errors
    /// What is wrong, with the option's name.
    pub(crate) fn of(request: &ImageRequest) -> Result<Options, Refusal> {
        for (name, value) in &request.vendor {
            let one = serde_json::Map::from_iter([(name.clone(), value.clone())]);
            if let Err(error) = serde_json::from_value::<Options>(Value::Object(one)) {
                return Err(Refusal::new("vendor", format!("`{name}`: {error}"), accepted(name)));
            }
        }
        let all = serde_json::from_value(Value::Object(request.vendor.clone()));
        all.map_err(|error| Refusal::new("vendor", error.to_string(), "the vendor's own options"))
    }

    pub(crate) fn is_group(&self) -> bool {
        self.sequential_image_generation == Some(Sequence::Auto)
    }
    fn layers(&self) -> bool {
        self.layer_decomposition == Some(true)
    }
}

fn accepted(option: &str) -> &'static str {
    match option {
        "sequential_image_generation" => "auto, disabled",
        "sequential_image_generation_options" => "{\"max_images\": 1 to 15}",
        "optimize_prompt_options" => {
            "{\"mode\": \"standard\" or \"fast\", \"thinking\": \"auto\", \"enabled\" or \"disabled\"}"
        }
        "tools" => "[{\"type\": \"web_search\"}]",
        _ => "true, false",
    }
}

/// Images that one call makes at most. The vendor decides how many a group or a decomposition really has.
pub(crate) fn images(request: &ImageRequest) -> u32 {
    let Ok(options) = Options::of(request) else { return request.n.max(1) };
    let references = u32::try_from(request.references.len()).unwrap_or(u32::MAX);
    if options.layers() {
        MOST_LAYERS
    } else if options.is_group() {
        let asked = options.sequential_image_generation_options.map(|o| o.max_images);
        asked.unwrap_or(MOST.saturating_sub(references)).clamp(1, MOST)
    } else {
        request.n.max(1)
    }
}

/// Everything about a fitted request that the vendor would refuse, or bill for nothing.
pub(crate) fn refusals(caps: &Capabilities, request: &ImageRequest) -> Vec<Refusal> {
    let mut all = Vec::new();
    match Options::of(request) {
        Ok(options) => of_options(&options, caps, request, &mut all),
        Err(refusal) => all.push(refusal),
    }
    let references = request.references.len();
    if request.background == Some(Background::Transparent) && references != 1 {
        let reason =
            "a transparent image is made from exactly one reference image, one with an alpha channel";
        all.push(Refusal::new("background", reason, "opaque, auto; or one reference"));
    }
    for (n, input) in request.references.iter().enumerate() {
        let (long, short) = (input.width.max(input.height), input.width.min(input.height));
        let name = format!("references[{n}]");
        if !MIMES.contains(&input.mime.as_str()) && !input.mime.is_empty() {
            all.push(Refusal::new("references", format!("{name} is {}", input.mime), "jpeg, png, webp, gif"));
        } else if long > short.saturating_mul(16) {
            let reason = format!("{name} is {}x{}", input.width, input.height);
            all.push(Refusal::new("references", reason, "a ratio of 1:16 to 16:1"));
        }
    }
    all
}

fn of_options(options: &Options, caps: &Capabilities, request: &ImageRequest, all: &mut Vec<Refusal>) {
    let references = u32::try_from(request.references.len()).unwrap_or(u32::MAX);
    let mut no = |reason: String, accepted: &str| all.push(Refusal::new("vendor", reason, accepted));
    match (options.is_group(), options.sequential_image_generation_options) {
        (false, Some(_)) => no(
            "`sequential_image_generation_options` belongs to a group".into(),
            "with \"sequential_image_generation\": \"auto\"",
        ),
        (true, Some(SequenceOptions { max_images })) if !(1..=MOST).contains(&max_images) => {
            no(format!("`max_images` is {max_images}"), "1 to 15");
        }
        (true, Some(SequenceOptions { max_images })) if max_images + references > MOST => {
            let reason =
                format!("{references} references and {max_images} images are more than {MOST} together");
            no(reason, "references and max_images up to 15 in all");
        }
        _ => {}
    }
    if options.stream == Some(true) && !options.is_group() {
        no("`stream` belongs to a group".into(), "with \"sequential_image_generation\": \"auto\"");
    }
    if options.layers() && references != 1 {
        no(format!("`layer_decomposition` with {references} references"), "exactly one reference image");
    }
    let mode = options.optimize_prompt_options.and_then(|o| o.mode);
    let asked = Mode::of(request.quality);
    if mode == Some(Mode::Fast) && !caps.qualities.contains(&Quality::Low) {
        no("`optimize_prompt_options`: this model has no mode `fast`".into(), "standard");
    } else if mode.is_some() && asked.is_some() && mode != asked {
        no("`optimize_prompt_options.mode` contradicts `quality`".into(), "one of the two");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models;
    use plugin_api::{Input, Parameters};
    use proptest::prelude::*;
    use serde_json::json;

    fn caps(name: &str) -> Capabilities {
        let models = models::all(false);
        let (_, at) = models::resolve(&models, name).expect("a model of the table");
        models[at].capabilities.clone()
    }

    fn asking(vendor: Value, references: usize) -> ImageRequest {
        let input = Input { mime: "image/png".into(), width: 64, height: 64, ..Input::default() };
        ImageRequest {
            vendor: vendor.as_object().cloned().unwrap_or_default(),
            references: vec![input; references],
            ..ImageRequest::new("m", "a fox")
        }
    }

    /// The refusals of a model, in words.
    fn refused(model: &str, request: &ImageRequest) -> String {
        match caps(model).fit(request, Parameters::Strict) {
            Ok(_) => String::new(),
            Err(all) => all.iter().map(|r| format!("{}: {}; ", r.field, r.reason)).collect(),
        }
    }

    const V45: &str = "doubao-seedream-4.5";
    const PRO: &str = "doubao-seedream-5.0-pro";

    #[test]
    fn a_group_is_counted_by_what_it_may_become() {
        let group = |n: u32| json!({"sequential_image_generation": "auto", "sequential_image_generation_options": {"max_images": n}});
        assert_eq!(images(&asking(group(3), 0)), 3);
        assert_eq!(images(&asking(json!({"sequential_image_generation": "auto"}), 4)), 11, "15 in all");
        assert_eq!(images(&asking(json!({"sequential_image_generation": "disabled"}), 0)), 1);
        assert_eq!(images(&asking(json!({"layer_decomposition": true}), 1)), 17);
        assert_eq!(images(&asking(json!({"sequential_image_generation": 7}), 0)), 1, "refused elsewhere");
        assert_eq!(refused(V45, &asking(group(12), 3)), "");
        assert!(refused(V45, &asking(group(12), 4)).contains("together"));
        for n in [0, 16] {
            assert!(refused(V45, &asking(group(n), 0)).contains("max_images"), "{n}");
        }
        assert!(refused(PRO, &asking(group(3), 0)).contains("no option"), "5.0 pro makes no groups");
    }

    #[test]
    fn options_that_mean_nothing_are_refused_before_a_job_exists() {
        for (model, options, word) in [
            (V45, json!({"sequential_image_generation": "always"}), "unknown variant"),
            (V45, json!({"sequential_image_generation_options": {"max_images": 3}}), "belongs to a group"),
            (V45, json!({"stream": true}), "belongs to a group"),
            (V45, json!({"stream": "yes"}), "`stream`"),
            (V45, json!({"layer_decomposition": true}), "no option"),
            (V45, json!({"optimize_prompt_options": {"mode": "fast"}}), "no mode `fast`"),
            (V45, json!({"optimize_prompt_options": {"speed": 1}}), "unknown field"),
            (PRO, json!({"layer_decomposition": true}), "0 references"),
            ("doubao-seedream-5.0-lite", json!({"tools": [{"type": "shell"}]}), "unknown variant"),
        ] {
            let told = refused(model, &asking(options.clone(), 0));
            assert!(told.contains(word), "{options}: {told}");
        }
        for (model, options, references) in [
            (PRO, json!({"layer_decomposition": true}), 1),
            (PRO, json!({"optimize_prompt_options": {"mode": "fast", "thinking": "auto"}}), 0),
            ("doubao-seedream-5.0-lite", json!({"tools": [{"type": "web_search"}]}), 0),
            (V45, json!({"sequential_image_generation": "auto", "stream": false}), 2),
        ] {
            assert_eq!(refused(model, &asking(options.clone(), references)), "", "{options}");
        }
    }

    #[test]
    fn quality_and_the_vendors_mode_must_agree() {
        let mut request = asking(json!({"optimize_prompt_options": {"mode": "fast"}}), 0);
        request.quality = Some(Quality::High);
        assert!(refused(PRO, &request).contains("contradicts"));
        request.quality = Some(Quality::Low);
        assert_eq!(refused(PRO, &request), "");
        request.quality = Some(Quality::Max);
        assert!(refused(PRO, &request).starts_with("quality"));
    }

    #[test]
    fn inputs_that_the_vendor_does_not_read_are_named() {
        let mut request = asking(json!({}), 2);
        request.references[1].mime = "image/avif".into();
        assert!(refused(V45, &request).contains("references[1] is image/avif"));
        request.references[1] = Input { width: 1700, height: 100, ..request.references[0].clone() };
        assert!(refused(V45, &request).contains("1700x100"));
        request.background = Some(Background::Transparent);
        assert!(refused(PRO, &request).contains("exactly one reference"));
        request.references.truncate(1);
        assert_eq!(refused(PRO, &request), "");
        assert!(refused(V45, &request).starts_with("background"));
        assert!(refused(PRO, &asking(json!({}), 11)).contains("references: 11"));
    }

    proptest! {
        #[test]
        fn any_option_is_judged_without_a_panic(name in "[a-z_]{0,36}", text in ".{0,20}", number: i64, references in 0_usize..20) {
            for value in [json!(text), json!(number), json!({"max_images": number}), json!([{"type": text}])] {
                for name in [name.as_str(), "sequential_image_generation", "sequential_image_generation_options", "tools"] {
                    let request = asking(json!({name: value, "sequential_image_generation": "auto"}), references);
                    let most = images(&request);
                    prop_assert!((1..=17).contains(&most));
                    refusals(&caps(V45), &request);
                }
            }
        }
    }
}
