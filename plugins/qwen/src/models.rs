//! What each model takes and costs, as of 2026-11-21 from the vendor's SDK, its documentation and clients' price lists.
//! The vendor moves its limits: the settings may override them.

use crate::settings::ModelSettings;
use plugin_api::{Capabilities, Class, Price, PriceTable, SizeRule, Unit};
use std::{collections::BTreeMap, time::Duration};

pub(crate) const DEFAULT: &str = "qwen-image-3.0";
const DATE: &str = "2026-11-21";

/// Which call a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Surface {
    /// `multimodal-generation`, messages, one blocking call.
    Messages,
    /// `image-generation`, messages, a task to poll.
    MessagesTask,
    /// `text2image`, a bare prompt, a task to poll. Without the header of a task the vendor refuses the call.
    PromptTask,
}

/// One model of the instance.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub name: String,
    pub surface: Surface,
    pub capabilities: Capabilities,
}

/// Prices differ between China and abroad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Region {
    China,
    Abroad,
}

impl Region {
    pub(crate) fn of(base_url: &str) -> Region {
        let host =
            base_url.split("://").nth(1).unwrap_or_default().split(['/', ':']).next().unwrap_or_default();
        match host {
            "dashscope-intl.aliyuncs.com" | "dashscope-us.aliyuncs.com" => Region::Abroad,
            // `{workspace}.{region}.maas.aliyuncs.com`
            host if host.ends_with(".maas.aliyuncs.com") && !host.contains(".cn-") => Region::Abroad,
            _ => Region::China,
        }
    }
}

const CLIENTS: &str = "client price lists";
/// No list names the model in this region: what the dearest of its siblings costs.
const CEILING: &str = "ceiling, unverified";

/// Micro-units, currency and source of one image, in China and abroad.
type Prices = [(i64, &'static str, &'static str); 2];

const fn usd(micros: i64) -> Prices {
    [(micros, "USD", CLIENTS), (micros, "USD", CLIENTS)]
}
const fn cny(micros: i64) -> Prices {
    [(micros, "CNY", CLIENTS), (micros, "CNY", CLIENTS)]
}
const fn both(china: i64, abroad: i64) -> Prices {
    [(china, "CNY", CLIENTS), (abroad, "USD", CLIENTS)]
}
const fn ceiling() -> Prices {
    [(75_000, "USD", CEILING), (75_000, "USD", CEILING)]
}

/// All models that are built in, the default first.
pub(crate) fn built_in(region: Region) -> Vec<Model> {
    use Surface::{Messages, MessagesTask, PromptTask};
    let qwen3 = || Capabilities {
        sizes: area(262_144, 6_553_600, 8.0, (1024, 1024)),
        max_n: 6,
        references: 0..=3,
        vendor_options: &["prompt_extend_mode"],
        ..common(800)
    };
    let qwen2 = |references, max_n| Capabilities {
        sizes: area(262_144, 4_194_304, 8.0, (1024, 1024)),
        max_n,
        references: 0..=references,
        ..common(800)
    };
    let wan = |references| Capabilities {
        sizes: area(1_638_400, 2_073_600, 4.0, (1280, 1280)),
        max_n: 4,
        references: 0..=references,
        ..common(2_100)
    };
    let wan27 = || Capabilities {
        vendor_options: &["thinking_mode", "enable_sequential", "bbox_list", "color_palette"],
        ..wan(4)
    };
    let older = |prompt_max| Capabilities { sizes: sides(), max_n: 4, ..common(prompt_max) };
    let edit = |max_n| Capabilities {
        sizes: SizeRule::List { sizes: Vec::new(), auto: true },
        max_n,
        references: 1..=3,
        ..common(800)
    };
    let table = [
        (DEFAULT, Messages, qwen3(), usd(30_000)),
        ("qwen-image-3.0-pro", Messages, qwen3(), ceiling()),
        ("qwen-image-2.1-pro", Messages, qwen2(10, 1), ceiling()),
        ("qwen-image-2.0", Messages, qwen2(3, 6), both(200_000, 35_000)),
        ("qwen-image-2.0-pro", Messages, qwen2(3, 6), both(500_000, 75_000)),
        ("qwen-image-max", Messages, five_sizes(), ceiling()),
        ("qwen-image-plus", PromptTask, five_sizes(), ceiling()),
        ("qwen-image", PromptTask, five_sizes(), ceiling()),
        ("qwen-image-edit-max", Messages, edit(6), ceiling()),
        ("qwen-image-edit-plus", Messages, edit(6), ceiling()),
        ("qwen-image-edit", Messages, edit(1), ceiling()),
        ("wan2.7-image-pro", MessagesTask, wan27(), ceiling()),
        ("wan2.7-image", MessagesTask, wan27(), ceiling()),
        ("wan2.6-image", MessagesTask, wan(4), ceiling()),
        ("wan2.6-t2i", MessagesTask, wan(0), cny(200_000)),
        ("wan2.5-t2i-preview", PromptTask, older(2_000), ceiling()),
        ("wan2.2-t2i-plus", PromptTask, older(800), ceiling()),
        ("wan2.2-t2i-flash", PromptTask, older(800), cny(140_000)),
        ("wanx2.1-t2i-plus", PromptTask, older(800), ceiling()),
        ("wanx2.1-t2i-turbo", PromptTask, older(800), ceiling()),
        ("wanx2.0-t2i-turbo", PromptTask, older(800), cny(40_000)),
        ("wanx-v1", PromptTask, first_wanx(), ceiling()),
    ];
    let model = |(name, surface, capabilities, prices): (&str, Surface, Capabilities, Prices)| {
        let (micros, currency, source) = prices[usize::from(region == Region::Abroad)];
        let rows = vec![Price { quality: None, unit: Unit::Image(micros) }];
        let class = if surface == Messages { Class::S } else { Class::J };
        let price = Some(PriceTable { currency, date: DATE, source, rows });
        let capabilities = Capabilities { class, price, ..capabilities };
        Model { name: name.into(), surface, capabilities }
    };
    table.into_iter().map(model).collect()
}

/// What every model has. No vendor field exists for quality, transparency, format, mask, moderation or the end user.
fn common(prompt_max: usize) -> Capabilities {
    Capabilities {
        prompt_max,
        negative_prompt: true,
        seed: true,
        watermark: true,
        prompt_rewrite: true,
        expected: Duration::from_secs(20),
        ..Capabilities::default()
    }
}

/// Bounded by its area and its ratio.
fn area(min_pixels: u64, max_pixels: u64, max_ratio: f64, default: (u32, u32)) -> SizeRule {
    SizeRule::Free {
        multiple: 1,
        min_side: 128,
        max_side: 8192,
        min_pixels,
        max_pixels,
        max_ratio,
        default,
        auto: true,
        tiers: Vec::new(),
    }
}

/// Bounded by its sides.
fn sides() -> SizeRule {
    SizeRule::Free {
        multiple: 1,
        min_side: 512,
        max_side: 1440,
        min_pixels: 0,
        max_pixels: 1440 * 1440,
        max_ratio: 1440.0 / 512.0,
        default: (1024, 1024),
        auto: true,
        tiers: Vec::new(),
    }
}

fn five_sizes() -> Capabilities {
    let sizes = vec![(1328, 1328), (1664, 928), (1472, 1104), (1104, 1472), (928, 1664)];
    Capabilities { sizes: SizeRule::List { sizes, auto: true }, ..common(800) }
}

/// The only model with styles; see [`style`].
fn first_wanx() -> Capabilities {
    let sizes = vec![(1024, 1024), (720, 1280), (1280, 720), (768, 1152)];
    Capabilities {
        sizes: SizeRule::List { sizes, auto: true },
        max_n: 4,
        styles: STYLES.iter().map(|(id, about, _)| (*id, *about)).collect(),
        ..common(500)
    }
}

/// Our id, what it means, and the vendor's spelling.
const STYLES: [(&str, &str, &str); 10] = [
    ("auto", "the model chooses", "<auto>"),
    ("photography", "photograph", "<photography>"),
    ("portrait", "portrait photograph", "<portrait>"),
    ("3d-cartoon", "3D cartoon", "<3d cartoon>"),
    ("anime", "anime", "<anime>"),
    ("oil-painting", "oil painting", "<oil painting>"),
    ("watercolor", "watercolour", "<watercolor>"),
    ("sketch", "pencil sketch", "<sketch>"),
    ("chinese-painting", "Chinese painting", "<chinese painting>"),
    ("flat-illustration", "flat illustration", "<flat illustration>"),
];

/// The vendor's spelling of a style.
pub(crate) fn style(id: &str) -> Option<&'static str> {
    STYLES.iter().find(|style| style.0 == id).map(|style| style.2)
}

/// `model-2026-03-03` without its date.
pub(crate) fn without_date(name: &str) -> Option<&str> {
    let (head, date) = name.split_at_checked(name.len().checked_sub("-2026-03-03".len())?)?;
    let digit = |(at, b): (usize, u8)| if matches!(at, 0 | 5 | 8) { b == b'-' } else { b.is_ascii_digit() };
    date.bytes().enumerate().all(digit).then_some(head)
}

/// The built-in models with what the settings say about them, and the models that only the settings know.
///
/// # Errors
/// A sentence that names the setting.
pub(crate) fn with(settings: &BTreeMap<String, ModelSettings>, region: Region) -> Result<Vec<Model>, String> {
    let known = built_in(region);
    let mut models = known.clone();
    for (name, own) in settings {
        let like = own.like.as_deref().unwrap_or(name);
        let Some(base) = known.iter().find(|model| model.name == like) else {
            let names: Vec<&str> = known.iter().map(|model| model.name.as_str()).collect();
            return Err(format!("models.{name}.like: name a built-in model: {}", names.join(", ")));
        };
        let mut model = Model { name: name.clone(), ..base.clone() };
        apply(own, &mut model.capabilities).map_err(|what| format!("models.{name}.{what}"))?;
        match models.iter_mut().find(|known| known.name == *name) {
            Some(known) => *known = model,
            None => models.push(model),
        }
    }
    Ok(models)
}

fn apply(own: &ModelSettings, to: &mut Capabilities) -> Result<(), String> {
    if let Some(most) = own.max_n {
        if !(1..=100).contains(&most) {
            return Err(format!("max_n: {most} is not within 1 to 100"));
        }
        to.max_n = most;
    }
    if let Some(most) = own.references {
        let least = *to.references.start();
        if most < least {
            return Err(format!("references: the model needs at least {least}"));
        }
        to.references = least..=most;
    }
    to.prompt_max = own.prompt_max.unwrap_or(to.prompt_max);
    if own.min_pixels.is_none() && own.max_pixels.is_none() && own.max_ratio.is_none() {
        return Ok(());
    }
    let SizeRule::Free { min_pixels, max_pixels, max_ratio, min_side, max_side, default, .. } = &mut to.sizes
    else {
        return Err("min_pixels, max_pixels, max_ratio: the model's sizes are a list".into());
    };
    *min_pixels = own.min_pixels.unwrap_or(*min_pixels);
    *max_pixels = own.max_pixels.unwrap_or(*max_pixels);
    *max_ratio = own.max_ratio.unwrap_or(*max_ratio);
    if !(1.0..=64.0).contains(max_ratio) {
        return Err(format!("max_ratio: {max_ratio} is not within 1 to 64"));
    }
    if *min_pixels > *max_pixels || *max_pixels > 1 << 28 {
        return Err(format!(
            "min_pixels, max_pixels: {min_pixels} to {max_pixels} is no range up to 268435456"
        ));
    }
    // The sides follow from the area, and the default has to be within it.
    let side = |pixels: u64, ratio: f64| (pixels as f64 * ratio).sqrt() as u32;
    *max_side = (*max_side).max(side(*max_pixels, *max_ratio));
    *min_side = (*min_side).min(side(*min_pixels, 1.0 / *max_ratio)).max(1);
    let (w, h) = *default;
    let pixels = u64::from(w) * u64::from(h);
    if !(*min_pixels..=*max_pixels).contains(&pixels) {
        let fit = side(pixels.clamp(*min_pixels, *max_pixels), 1.0);
        // Rounded down it may be too small by a row.
        let grown = u64::from(fit) * u64::from(fit) < *min_pixels;
        *default = (fit + u32::from(grown), fit + u32::from(grown));
    }
    Ok(())
}
