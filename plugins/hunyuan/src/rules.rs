//! What a model refuses although each field by itself would do: nothing of it may reach the vendor, which would
//! ignore it or charge for something else.

use plugin_api::{Capabilities, ImageRequest, Input, Refusal, Size};
use serde_json::Value;

type Off = Vec<Refusal>;

/// The vendor takes 0 for "any".
fn seed(r: &ImageRequest) -> Off {
    let zero = r.seed == Some(0);
    zero.then(|| Refusal::new("seed", "0 means a random one at this vendor", Some("1 to 4294967295")))
        .into_iter()
        .collect()
}

/// SubmitTextToImageJob, and its successor at TokenHub.
pub fn job_30(_: &Capabilities, r: &ImageRequest) -> Off {
    let inputs = Inputs { bytes: 6_000_000, base64: true, sides: Some((50, 5_000)), kinds: &[] };
    [seed(r), seed_or_rewrite(r), inputs.check(r)].concat()
}

pub fn hub_lite(_: &Capabilities, r: &ImageRequest) -> Off {
    [seed(r), form_of_answer(r, "rsp_img_type")].concat()
}

pub fn hub_v3(_: &Capabilities, r: &ImageRequest) -> Off {
    let inputs =
        Inputs { bytes: 10_000_000, base64: false, sides: None, kinds: &["image/png", "image/jpeg"] };
    [seed(r), seed_or_rewrite(r), inputs.check(r), footnote(r)].concat()
}

pub fn hub_v35(_: &Capabilities, r: &ImageRequest) -> Off {
    let inputs = Inputs { bytes: 20_000_000, base64: false, sides: None, kinds: &[] };
    let pixels = |key| option(r, key, "a number of pixels", |v| v.as_u64().is_some_and(|n| n > 0));
    [
        seed(r),
        inputs.check(r),
        footnote(r),
        option(r, "session", "a text", is_word),
        option(r, "use_search_tool", "true, false", Value::is_boolean),
        pixels("generate_max_pixels"),
        pixels("resize_max_pixels"),
    ]
    .concat()
}

/// SubmitHunyuanImageJob. With a reference the vendor always rewrites the prompt, and so ignores the seed.
pub fn image(_: &Capabilities, r: &ImageRequest) -> Off {
    const WITH_REFERENCE: [(u32, u32); 4] = [(768, 768), (768, 1_024), (1_024, 768), (1_024, 1_024)];
    let kinds = &["image/png", "image/jpeg"];
    let inputs = Inputs { bytes: 8_000_000, base64: true, sides: Some((1, 4_999)), kinds };
    let mut off = [
        seed(r),
        seed_or_rewrite(r),
        inputs.check(r),
        option(r, "Clarity", "x2, x4", |v| matches!(v.as_str(), Some("x2" | "x4"))),
    ]
    .concat();
    if !r.references.is_empty() {
        if r.seed.is_some() {
            off.push(Refusal::new("seed", "this model ignores it with a reference image", None));
        }
        if r.prompt_rewrite == Some(false) {
            let reason = "this model always rewrites the prompt with a reference image";
            off.push(Refusal::new("prompt_rewrite", reason, Some("true, or leave it out")));
        }
        if let Size::Exact { width, height } = r.size
            && !WITH_REFERENCE.contains(&(width, height))
        {
            let accepted = "768x768, 768x1024, 1024x768, 1024x1024";
            off.push(Refusal::new(
                "size",
                "this model makes fewer sizes with a reference image",
                Some(accepted),
            ));
        }
    }
    off
}

pub fn chat(_: &Capabilities, r: &ImageRequest) -> Off {
    [option(r, "ChatId", "the id of an earlier turn", is_word)].concat()
}

pub fn lite(_: &Capabilities, r: &ImageRequest) -> Off {
    form_of_answer(r, "RspImgType")
}

/// TextToImageRapid. With a reference the vendor keeps its size and takes no style.
pub fn rapid(_: &Capabilities, r: &ImageRequest) -> Off {
    let inputs = Inputs { bytes: 6_000_000, base64: true, sides: Some((129, 2_047)), kinds: &[] };
    let mut off = [seed(r), inputs.check(r), form_of_answer(r, "RspImgType")].concat();
    if !r.references.is_empty() {
        if r.style.is_some() {
            off.push(Refusal::new("style", "this model takes none with a reference image", None));
        }
        if r.size != Size::Auto {
            let reason = "this model keeps the size of the reference image";
            off.push(Refusal::new("size", reason, Some("auto")));
        }
    }
    off
}

fn seed_or_rewrite(r: &ImageRequest) -> Off {
    let both = r.seed.is_some() && r.prompt_rewrite == Some(true);
    let reason = "this model ignores the seed while it rewrites the prompt";
    both.then(|| Refusal::new("prompt_rewrite", reason, Some("false, or no seed"))).into_iter().collect()
}

fn option(r: &ImageRequest, key: &str, accepted: &str, fits: impl Fn(&Value) -> bool) -> Off {
    let wrong = r.vendor.get(key).is_some_and(|value| !fits(value));
    let reason = format!("the option `{key}` has a value that the vendor does not take");
    wrong.then(|| Refusal::new("vendor", reason, Some(accepted))).into_iter().collect()
}

fn is_word(value: &Value) -> bool {
    value.as_str().is_some_and(|text| (1..=256).contains(&text.len()))
}

fn form_of_answer(r: &ImageRequest, key: &str) -> Off {
    option(r, key, "base64, url", |v| matches!(v.as_str(), Some("base64" | "url")))
}

fn footnote(r: &ImageRequest) -> Off {
    let fits = |v: &Value| v.as_str().is_some_and(|text| (1..=16).contains(&text.chars().count()));
    option(r, "footnote", "a text of 1 to 16 characters", fits)
}

/// Bounds of reference images.
struct Inputs {
    bytes: usize,
    /// The bound is about the text that is sent, not about the file.
    base64: bool,
    sides: Option<(u32, u32)>,
    /// Media types; empty: any.
    kinds: &'static [&'static str],
}

impl Inputs {
    fn check(&self, r: &ImageRequest) -> Off {
        let wrong = |(n, input): (usize, &Input)| {
            let reason = format!("image {} is {}", n + 1, self.wrong(input)?);
            Some(Refusal::new("references", reason, self.accepted().as_str()))
        };
        r.references.iter().enumerate().filter_map(wrong).collect()
    }

    fn wrong(&self, input: &Input) -> Option<String> {
        let length = if self.base64 { input.bytes.len().div_ceil(3) * 4 } else { input.bytes.len() };
        if length > self.bytes {
            return Some(format!("{length} bytes long{}", if self.base64 { " in base64" } else { "" }));
        }
        if !self.kinds.is_empty() && !self.kinds.contains(&input.mime.as_str()) {
            return Some(format!("of the type {}", input.mime));
        }
        let within = |(low, high): (u32, u32)| {
            [input.width, input.height].into_iter().all(|side| (low..=high).contains(&side))
        };
        (!self.sides.is_none_or(within)).then(|| format!("{}x{}", input.width, input.height))
    }

    fn accepted(&self) -> String {
        let unit = if self.base64 { " in base64" } else { "" };
        let mut words = format!("at most {} MB{unit}", self.bytes / 1_000_000);
        if let Some((low, high)) = self.sides {
            words += &format!(", sides {low} to {high}");
        }
        if !self.kinds.is_empty() {
            words += &format!(", {}", self.kinds.join(" or "));
        }
        words
    }
}
