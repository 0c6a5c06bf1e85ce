//! The vendor models: which call each is, what it can do and what it costs.

use crate::{rules, styles};
use plugin_api::{Capabilities, Class, OutputFormat, Price, PriceTable, SizeRule, Unit};
use std::time::Duration;

/// When the prices and limits were collected; all of them are to be checked against the vendor's pages.
const DATE: &str = "2026-11-21";
/// Longest prompt of the models of the third generation.
const LONG_PROMPT: usize = 8_192;

/// One vendor model.
#[derive(Debug)]
pub struct Model {
    pub id: &'static str,
    pub api: Api,
    pub capabilities: Capabilities,
}

/// The call that a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// TokenHub: `/v1/api/image/submit` and `/query`.
    HubJob,
    /// TokenHub: `/v1/api/image/lite`.
    HubLite,
    /// TokenHub: `/v1/wand/hunyuan-image/v3-generation`.
    HubV3,
    /// TokenHub: `/v1/wand/hunyuan-image/v35-generation`.
    HubV35,
    /// TC3: SubmitHunyuanImageJob.
    Image,
    /// TC3: SubmitHunyuanImageChatJob.
    Chat,
    /// TC3: SubmitTextToImageJob of `aiart`, HunyuanImage 3.0.
    Image30,
    /// TC3: TextToImageLite of `hunyuan`.
    Lite,
    /// TC3: TextToImageRapid of `aiart`.
    Rapid,
}

impl Api {
    pub fn is_tc3(self) -> bool {
        !matches!(self, Api::HubJob | Api::HubLite | Api::HubV3 | Api::HubV35)
    }
}

fn price(source: &'static str, unit: Unit) -> Option<PriceTable> {
    let rows = vec![Price { quality: None, unit }];
    Some(PriceTable { currency: "CNY", date: DATE, source, rows })
}

fn about(micros: i64) -> Option<PriceTable> {
    price("about, from the vendor's price page; unverified", Unit::Image(micros))
}

/// No list names the model: the dearest image that the vendor is known to sell.
fn ceiling() -> Option<PriceTable> {
    price("ceiling, the vendor's price is not known", Unit::Image(500_000))
}

/// Sides of 512 to 2048 and at most the area of 1024x1024.
fn about_a_megapixel() -> SizeRule {
    SizeRule::Free {
        multiple: 1,
        min_side: 512,
        max_side: 2_048,
        min_pixels: 512 * 512,
        max_pixels: 1_048_576,
        max_ratio: 4.0,
        default: (1_024, 1_024),
        auto: false,
        tiers: Vec::new(),
    }
}

/// Five ratios at the usual lengths of the long side (the vendor knows more lengths).
fn five_ratios() -> SizeRule {
    let mut sizes = Vec::new();
    for long in [1_024, 512, 768, 1_280, 1_920, 2_048] {
        for (a, b) in [(1, 1), (3, 4), (9, 16)] {
            let short = long * a / b;
            if long * a % b == 0 {
                sizes.push((short, long));
                sizes.extend((short != long).then_some((long, short)));
            }
        }
    }
    SizeRule::List { sizes, auto: true }
}

/// What all have in common: a mark that is sent as `false` unless asked for, PNG or JPEG as the vendor likes.
fn usual() -> Capabilities {
    Capabilities {
        formats: vec![OutputFormat::Png, OutputFormat::Jpeg],
        styles: styles::NAMED.to_vec(),
        styles_in_words: true,
        watermark: true,
        seed: true,
        price: ceiling(),
        ..Capabilities::default()
    }
}

/// HunyuanImage 3.0, wherever it is called.
fn image_30() -> Capabilities {
    Capabilities {
        sizes: about_a_megapixel(),
        references: 0..=3,
        prompt_max: LONG_PROMPT,
        prompt_rewrite: true,
        rules: rules::job_30,
        ..usual()
    }
}

/// All models, those of TokenHub first; the default of each generation leads.
pub fn all() -> Vec<Model> {
    let model = |id, api, seconds, capabilities| Model {
        id,
        api,
        capabilities: Capabilities { expected: Duration::from_secs(seconds), ..capabilities },
    };
    vec![
        model("hy-image-v3.0", Api::HubJob, 30, Capabilities { class: Class::J, ..image_30() }),
        model("hy-image-lite", Api::HubLite, 10, hub_lite()),
        model("hy-image-v3", Api::HubV3, 15, hub_v3()),
        model("hy-image-v3.5-preview", Api::HubV35, 15, hub_v35()),
        model(
            "hunyuan-image-3.0",
            Api::Image30,
            40,
            Capabilities { class: Class::J, price: about(200_000), ..image_30() },
        ),
        model("hunyuan-image", Api::Image, 40, image()),
        model("hunyuan-image-chat", Api::Chat, 40, chat()),
        model("hunyuan-lite", Api::Lite, 8, lite()),
        model("hunyuan-rapid", Api::Rapid, 8, rapid()),
    ]
}

fn hub_lite() -> Capabilities {
    Capabilities {
        sizes: five_ratios(),
        prompt_max: 1_024,
        negative_prompt: true,
        vendor_options: &["rsp_img_type"],
        rules: rules::hub_lite,
        ..usual()
    }
}

fn hub_v3() -> Capabilities {
    Capabilities {
        watermark: false, // no field for the vendor's mark; `footnote` is a text of one's own
        vendor_options: &["footnote"],
        rules: rules::hub_v3,
        ..image_30()
    }
}

fn hub_v35() -> Capabilities {
    Capabilities {
        sizes: SizeRule::Free {
            multiple: 1,
            min_side: 256,
            max_side: 8_192,
            min_pixels: 256 * 256,
            max_pixels: 16_777_216,
            max_ratio: 32.0,
            default: (1_536, 1_536),
            auto: true, // about 1.5K, in the model's own ratio
            tiers: Vec::new(),
        },
        references: 0..=20,
        prompt_max: LONG_PROMPT,
        vendor_options: &[
            "footnote",
            "session",
            "use_search_tool",
            "generate_max_pixels",
            "resize_max_pixels",
        ],
        price: price(
            "clients: 10 CNY per million tokens",
            Unit::BySize(&[(V35_2K, V35_UP_TO_2K), (u64::MAX, V35_ABOVE)]),
        ),
        rules: rules::hub_v35,
        ..usual()
    }
}

const V35_2K: u64 = 2_048 * 2_048;
const V35_UP_TO_2K: i64 = 150_000;
const V35_ABOVE: i64 = 200_000;

/// Micro-CNY of one image of `hy-image-v3.5-preview`: by its tokens where the vendor counts them, else by its size.
pub fn v35_price(tokens: Option<u64>, (width, height): (u64, u64)) -> Option<i64> {
    match tokens {
        Some(tokens) => i64::try_from(tokens.saturating_mul(10)).ok(),
        None if width.saturating_mul(height) > V35_2K => Some(V35_ABOVE),
        None => Some(V35_UP_TO_2K),
    }
}

/// The sizes of the second generation.
const SQUARES: [(u32, u32); 2] = [(1_024, 1_024), (768, 768)];
const UPRIGHT_AND_FLAT: [(u32, u32); 6] =
    [(768, 1_024), (1_024, 768), (720, 1_280), (1_280, 720), (768, 1_280), (1_280, 768)];

fn image() -> Capabilities {
    Capabilities {
        class: Class::J,
        sizes: SizeRule::List { sizes: [&SQUARES[..], &UPRIGHT_AND_FLAT].concat(), auto: false },
        max_n: 4,
        references: 0..=1,
        prompt_max: 1_024,
        negative_prompt: true,
        prompt_rewrite: true,
        vendor_options: &["Clarity"],
        styles_in_words: false,
        price: about(500_000),
        rules: rules::image,
        ..usual()
    }
}

fn chat() -> Capabilities {
    Capabilities {
        class: Class::J,
        sizes: SizeRule::Fixed(1_024, 1_024),
        prompt_max: 1_024,
        seed: false,
        vendor_options: &["ChatId"],
        rules: rules::chat,
        ..usual()
    }
}

fn lite() -> Capabilities {
    let [large, small] = SQUARES;
    let wide = [(1_080, 1_920), (1_920, 1_080)];
    Capabilities {
        sizes: SizeRule::List { sizes: [&[small, large][..], &UPRIGHT_AND_FLAT, &wide].concat(), auto: true },
        prompt_max: 256,
        negative_prompt: true,
        seed: false,
        styles: styles::LITE.to_vec(),
        styles_in_words: false,
        vendor_options: &["RspImgType"],
        price: about(99_000),
        rules: rules::lite,
        ..usual()
    }
}

fn rapid() -> Capabilities {
    Capabilities {
        sizes: five_ratios(),
        references: 0..=1,
        prompt_max: 256,
        styles: styles::RAPID.to_vec(),
        styles_in_words: false,
        vendor_options: &["RspImgType"],
        rules: rules::rapid,
        ..usual()
    }
}
