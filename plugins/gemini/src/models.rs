//! What each model makes and costs, as of 2026-11-21 from the vendor's SDK and clients' price lists.

use crate::settings::ModelSettings;
use plugin_api::{Capabilities, NamedSize, OutputFormat, Price, PriceTable, SizeRule, Unit};
use std::{collections::BTreeMap, time::Duration};

pub(crate) const DEFAULT: &str = "gemini-nano-banana-2.1";
const DATE: &str = "2026-11-21";

/// Micro-USD per million tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TokenPrices {
    /// Text and images of the request.
    pub input: u64,
    /// Text of the answer, thoughts included.
    pub text: u64,
    pub image: u64,
}

/// One model of the instance.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub name: String,
    pub capabilities: Capabilities,
    pub tokens: TokenPrices,
}

/// The ratios, each with its pixels at 1K. The other tiers are these times a half, two and four.
const RATIOS: [(&str, (u32, u32)); 10] = [
    ("1:1", (1024, 1024)),
    ("2:3", (848, 1264)),
    ("3:2", (1264, 848)),
    ("3:4", (896, 1200)),
    ("4:3", (1200, 896)),
    ("4:5", (928, 1152)),
    ("5:4", (1152, 928)),
    ("9:16", (768, 1376)),
    ("16:9", (1376, 768)),
    ("21:9", (1584, 672)),
];
/// The ratios of the 2.5 generation, which has one tier.
const RATIOS_25: [(&str, (u32, u32)); 10] = [
    ("1:1", (1024, 1024)),
    ("2:3", (832, 1248)),
    ("3:2", (1248, 832)),
    ("3:4", (864, 1184)),
    ("4:3", (1184, 864)),
    ("4:5", (896, 1152)),
    ("5:4", (1152, 896)),
    ("9:16", (768, 1344)),
    ("16:9", (1344, 768)),
    ("21:9", (1536, 672)),
];
/// Sides as a share of those at 1K, in halves.
const TIERS: [(&str, u32); 4] = [("1K", 2), ("512", 1), ("2K", 4), ("4K", 8)];

fn named(ratios: &[(&'static str, (u32, u32))], tiers: &[&str]) -> SizeRule {
    let tiers = TIERS.iter().filter(|tier| tiers.contains(&tier.0));
    let size = |(tier, halves): &(&'static str, u32), (ratio, (w, h)): &(&'static str, (u32, u32))| {
        NamedSize { ratio, tier, pixels: (w * halves / 2, h * halves / 2) }
    };
    let sizes = tiers.flat_map(|tier| ratios.iter().map(move |ratio| size(tier, ratio))).collect();
    SizeRule::Named { sizes, auto: true }
}

/// Pixels of the largest ratio of a tier, with some room: `Unit::BySize` goes by area.
const UP_TO_512: u64 = 400_000;
const UP_TO_1K: u64 = 1_600_000;
const UP_TO_2K: u64 = 6_400_000;
const UP_TO_4K: u64 = 25_600_000;

/// All models that can be called, the default first.
pub(crate) fn built_in() -> Vec<Model> {
    let model =
        |name: &str, references: u32, tiers: &[&str], unit: Unit, tokens: TokenPrices, expected: u64| Model {
            name: name.into(),
            capabilities: Capabilities {
                sizes: named(&RATIOS, tiers),
                references: 0..=references,
                // What comes cannot be chosen, and is sniffed.
                formats: vec![OutputFormat::Png, OutputFormat::Jpeg],
                prompt_max: 32_000,
                expected: Duration::from_secs(expected),
                price: price(unit),
                ..Capabilities::default()
            },
            tokens,
        };
    let all = ["1K", "2K", "4K"];
    // The vendor's image tokens are 747, 1120, 1680 and 2520 an image from 512 to 4K.
    let newest = Unit::BySize(&[(UP_TO_1K, 33_600), (UP_TO_2K, 50_400), (UP_TO_4K, 75_600)]);
    let flash =
        Unit::BySize(&[(UP_TO_512, 44_820), (UP_TO_1K, 67_200), (UP_TO_2K, 100_800), (UP_TO_4K, 151_200)]);
    let pro = Unit::BySize(&[(UP_TO_2K, 134_000), (UP_TO_4K, 240_000)]);
    let dollars = |input: u64, text: u64, image: u64| TokenPrices { input, text, image };
    let mut models = vec![
        model(DEFAULT, 10, &all, newest, dollars(500_000, 3_000_000, 30_000_000), 20),
        model("gemini-3-pro-image", 14, &all, pro, dollars(2_000_000, 12_000_000, 120_000_000), 45),
        model(
            "gemini-3.1-flash-image",
            14,
            &["512", "1K", "2K", "4K"],
            flash,
            dollars(500_000, 3_000_000, 60_000_000),
            20,
        ),
        model(
            "gemini-3.1-flash-lite-image",
            3,
            &["1K"],
            Unit::Image(33_600),
            dollars(500_000, 3_000_000, 30_000_000),
            12,
        ),
        model(
            "gemini-2.5-flash-image",
            3,
            &["1K"],
            Unit::Image(39_000),
            dollars(300_000, 2_500_000, 30_000_000),
            12,
        ),
    ];
    models[0].capabilities.vendor_options = &["thinking_level"];
    let last = &mut models[4].capabilities;
    (last.sizes, last.sunset) = (named(&RATIOS_25, &["1K"]), Some("2027-03-15"));
    models
}

fn price(unit: Unit) -> Option<PriceTable> {
    let rows = vec![Price { quality: None, unit }];
    Some(PriceTable { currency: "USD", date: DATE, source: "client price lists", rows })
}

/// Names that the vendor has shut down, and what to use instead.
const GONE: [(&str, &str); 3] = [
    ("gemini-3-pro-image-preview", "gemini-3-pro-image"),
    ("gemini-3.1-flash-image-preview", "gemini-3.1-flash-image"),
    ("gemini-2.5-flash-image-preview", "gemini-2.5-flash-image"),
];

/// What stands for the names that are gone: all of Imagen first, then previews.
pub(crate) fn gone() -> Vec<(&'static str, Capabilities)> {
    let of = |new| Capabilities { replaced_by: Some(new), ..Capabilities::default() };
    let previews = GONE.iter().map(|(old, new)| (*old, of(*new)));
    [("imagen-", of(DEFAULT))].into_iter().chain(previews).collect()
}

/// The built-in models with what the settings say about them, and the models that only the settings know.
///
/// # Errors
/// A sentence that names the setting.
pub(crate) fn with(settings: &BTreeMap<String, ModelSettings>) -> Result<Vec<Model>, String> {
    let known = built_in();
    let mut models = known.clone();
    for (name, own) in settings {
        // It becomes a segment of a path.
        if name.is_empty()
            || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        {
            return Err(format!("models: `{name}` is no name of a model"));
        }
        let like = own.like.as_deref().unwrap_or(name);
        let Some(base) = known.iter().find(|model| model.name == like) else {
            let names: Vec<&str> = known.iter().map(|model| model.name.as_str()).collect();
            return Err(format!("models.{name}.like: name a built-in model: {}", names.join(", ")));
        };
        let mut model = Model { name: name.clone(), ..base.clone() };
        let capabilities = &mut model.capabilities;
        capabilities.references = 0..=own.references.unwrap_or(*capabilities.references.end());
        capabilities.prompt_max = own.prompt_max.unwrap_or(capabilities.prompt_max);
        match models.iter_mut().find(|known| known.name == *name) {
            Some(known) => *known = model,
            None => models.push(model),
        }
    }
    Ok(models)
}
