//! What each model can do and costs. Facts and prices as of 2026-11-21 from the vendor's SDK types and client price
//! lists; check them against <https://platform.openai.com/docs/pricing>.

use crate::{
    rules,
    settings::{Edits, Settings},
};
use plugin_api::{Capabilities, OutputFormat, Price, PriceTable, Quality, SizeRule, Unit};
use std::time::Duration;

pub(crate) const DEFAULT: &str = "gpt-image-2.5-flare";
const DATE: &str = "2026-11-21";

/// Micro-USD per million tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TokenPrices {
    pub text_in: u64,
    pub image_in: u64,
    pub image_out: u64,
    pub text_out: u64,
    /// Taken over from a sibling: no list names the model.
    pub assumed: bool,
}

const TOKENS_2: TokenPrices = TokenPrices {
    text_in: 5_000_000,
    image_in: 8_000_000,
    image_out: 30_000_000,
    text_out: 30_000_000,
    assumed: false,
};
const TOKENS_15: TokenPrices = TokenPrices { image_out: 32_000_000, text_out: 10_000_000, ..TOKENS_2 };
const TOKENS_MINI: TokenPrices = TokenPrices {
    text_in: 2_000_000,
    image_in: 2_500_000,
    image_out: 8_000_000,
    text_out: 8_000_000,
    assumed: false,
};

/// One model of the instance.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub name: String,
    pub capabilities: Capabilities,
    pub tokens: Option<TokenPrices>,
}

#[derive(Clone, Copy, PartialEq)]
enum Family {
    V26,
    V25,
    V2,
    V15,
    Mini,
    Gone,
}

const TABLE: [(&str, Family); 14] = [
    (DEFAULT, Family::V25),
    ("gpt-image-2.5-sunburst", Family::V25),
    ("gpt-image-2.5-flare-2026-09-08", Family::V25),
    ("gpt-image-2.5-sunburst-2026-09-08", Family::V25),
    ("gpt-image-2.6-sunburst", Family::V26),
    ("gpt-image-2.6-flare", Family::V26),
    ("gpt-image-2", Family::V2),
    ("gpt-image-2-2026-04-21", Family::V2),
    ("gpt-image-1.5", Family::V15),
    ("chatgpt-image-latest", Family::V15),
    ("gpt-image-1-mini", Family::Mini),
    ("gpt-image-1", Family::Gone),
    ("dall-e-3", Family::Gone),
    ("dall-e-2", Family::Gone),
];

/// OpenAI's models, the default first, those that are gone last.
pub(crate) fn openai() -> Vec<Model> {
    TABLE.iter().map(|(name, family)| model(name, *family)).collect()
}

/// A `gpt-image-*` that this table does not know yet: as the newest family.
pub(crate) fn newest() -> Model {
    model("", Family::V26)
}

fn model(name: &str, family: Family) -> Model {
    use Quality::{High, Low, Max, Medium, Xhigh};
    let three = vec![Low, Medium, High];
    let five = vec![Low, Medium, High, Xhigh, Max];
    let usual = Capabilities {
        sizes: flexible(),
        max_n: 10,
        references: 0..=16,
        mask: true,
        transparent: true,
        formats: vec![OutputFormat::Png, OutputFormat::Jpeg, OutputFormat::Webp],
        format_selectable: true,
        compression: true,
        prompt_max: 32_000,
        qualities: five,
        moderation: true,
        user: true,
        vendor_options: &["complexity", "stream", "partial_images"],
        rules: rules::refusals,
        expected: Duration::from_secs(20),
        ..Capabilities::default()
    };
    let per_2_5 = [5_880, 13_170, 52_680, 93_660, 210_720];
    let (capabilities, tokens) = match family {
        Family::V25 => (Capabilities { price: price(&per_2_5), ..usual }, Some(TOKENS_2)),
        Family::V26 => {
            let tokens = TokenPrices { assumed: true, ..TOKENS_2 };
            (Capabilities { price: price(&per_2_5), mask: false, ..usual }, Some(tokens))
        }
        // Transparency is a gated preview there: not offered.
        Family::V2 => (
            Capabilities {
                qualities: three,
                transparent: false,
                vendor_options: &["stream", "partial_images"],
                price: price(&[6_000, 53_000, 211_000]),
                ..usual
            },
            Some(TOKENS_2),
        ),
        Family::V15 => (fixed(usual, three, &[9_000, 34_000, 133_000]), Some(TOKENS_15)),
        Family::Mini => (fixed(usual, three, &[5_000, 11_000, 33_000]), Some(TOKENS_MINI)),
        Family::Gone => (Capabilities { replaced_by: Some(DEFAULT), ..usual }, None),
    };
    Model { name: name.into(), capabilities, tokens }
}

/// The families of 2025: three sizes, and an end in sight.
fn fixed(usual: Capabilities, qualities: Vec<Quality>, micros: &[i64]) -> Capabilities {
    Capabilities {
        sizes: SizeRule::List { sizes: vec![(1024, 1024), (1536, 1024), (1024, 1536)], auto: true },
        qualities,
        vendor_options: &["input_fidelity", "stream", "partial_images"],
        price: price(micros),
        sunset: Some("2026-12-01"),
        ..usual
    }
}

fn flexible() -> SizeRule {
    SizeRule::Free {
        multiple: 16,
        min_side: 480, // shorter sides cannot reach the least area within 3:1
        max_side: 3840,
        min_pixels: 655_360,
        max_pixels: 8_294_400,
        max_ratio: 3.0,
        default: (1024, 1024),
        auto: true,
        tiers: Vec::new(),
    }
}

/// Estimates at 1024x1024, from the lowest quality up; tokens grow with the area.
fn price(micros: &[i64]) -> Option<PriceTable> {
    use Quality::{High, Low, Max, Medium, Xhigh};
    let rows = [Low, Medium, High, Xhigh, Max].into_iter().zip(micros);
    Some(PriceTable {
        currency: "USD",
        date: DATE,
        source: "client and reseller price lists, derived from tokens",
        rows: rows.map(|(quality, m)| Price { quality: Some(quality), unit: Unit::Area(*m) }).collect(),
    })
}

/// A model of another server: nothing can be asked about it, so what the settings say.
///
/// # Errors
/// A size in the settings is none.
pub(crate) fn generic(settings: &Settings) -> Result<Model, String> {
    let sizes = settings.listed_sizes()?;
    let free = SizeRule::Free {
        multiple: 1,
        min_side: 64,
        max_side: 8192,
        min_pixels: 0,
        max_pixels: 8192 * 8192,
        max_ratio: 128.0,
        default: (1024, 1024),
        auto: true,
        tiers: Vec::new(),
    };
    let edits = !matches!(settings.edits, None | Some(Edits::None));
    let extra = &settings.extra_fields;
    let capabilities = Capabilities {
        sizes: if sizes.is_empty() { free } else { SizeRule::List { sizes, auto: false } },
        max_n: settings.max_n,
        references: if edits { 0..=16 } else { 0..=0 },
        mask: settings.edits == Some(Edits::Multipart),
        formats: vec![OutputFormat::Png, OutputFormat::Jpeg, OutputFormat::Webp],
        negative_prompt: extra.negative_prompt.is_some(),
        qualities: settings.qualities.clone(),
        seed: extra.seed.is_some(),
        steps: extra.steps.is_some().then_some(1..=150),
        guidance: extra.guidance.is_some().then_some(0.0..=30.0),
        watermark: extra.watermark.is_some(),
        ..Capabilities::default()
    };
    Ok(Model { name: String::new(), capabilities, tokens: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{Background, ImageRequest, Input, Parameters, Size};
    use proptest::prelude::*;

    fn named(name: &str) -> Model {
        openai().into_iter().find(|model| model.name == name).expect("a model of the table")
    }

    /// The fields that a model refuses of a request.
    fn refused(name: &str, change: impl FnOnce(&mut ImageRequest)) -> Vec<String> {
        let mut request = ImageRequest::new(name, "a fox");
        change(&mut request);
        let fit = named(name).capabilities.fit(&request, Parameters::Strict);
        fit.map_or_else(|all| all.into_iter().map(|r| r.field).collect(), |_| Vec::new())
    }

    #[test]
    fn every_family_takes_what_the_vendor_says() {
        let wide = |r: &mut ImageRequest| r.size = Size::exact(1536, 864);
        assert_eq!(refused("gpt-image-2", wide), [""; 0]);
        assert_eq!(refused("gpt-image-1.5", wide), ["size"], "three sizes only");
        let utmost = |r: &mut ImageRequest| r.quality = Some(Quality::Max);
        assert_eq!(refused("gpt-image-2.5-sunburst", utmost), [""; 0]);
        assert_eq!(refused("gpt-image-2", utmost), ["quality"]);
        let clear = |r: &mut ImageRequest| r.background = Some(Background::Transparent);
        assert_eq!(refused("chatgpt-image-latest", clear), [""; 0]);
        assert_eq!(refused("gpt-image-2", clear), ["background"], "a gated preview is not offered");
        let many = |r: &mut ImageRequest| (r.references, r.n) = (vec![Input::default(); 17], 11);
        assert_eq!(refused(DEFAULT, many), ["references", "n"]);
        let option = |r: &mut ImageRequest| {
            r.references = vec![Input::default()];
            r.vendor.insert("input_fidelity".into(), "low".into());
        };
        assert_eq!(refused("gpt-image-1-mini", option), [""; 0]);
        assert_eq!(refused("gpt-image-2", option), ["vendor"], "2 and later refuse it");
        assert_eq!(named("gpt-image-1.5").capabilities.sunset, Some("2026-12-01"));
        assert_eq!(named("gpt-image-1").capabilities.replaced_by, Some(DEFAULT));
    }

    #[test]
    fn an_estimate_follows_quality_area_and_count() {
        let estimate = |quality, size, n| {
            let request = ImageRequest { quality, size, n, ..ImageRequest::new(DEFAULT, "a fox") };
            let caps = named(DEFAULT).capabilities;
            let (expected, most) = caps
                .price
                .as_ref()
                .and_then(|p| p.estimate(&request, caps.sizes.default_size()))
                .expect("priced");
            (expected.amount_micros, most.amount_micros)
        };
        assert_eq!(estimate(Some(Quality::Low), Size::exact(1024, 1024), 1), (5_880, 5_880));
        assert_eq!(estimate(Some(Quality::Max), Size::exact(2048, 2048), 2), (1_685_760, 1_685_760));
        assert_eq!(estimate(None, Size::Auto, 1), (52_680, 210_720), "the vendor may choose the dearest");
        for model in openai().iter().filter(|m| m.capabilities.replaced_by.is_none()) {
            assert!(model.capabilities.price.is_some() && model.tokens.is_some(), "{} is priced", model.name);
        }
    }

    proptest! {
        #[test]
        fn the_nearest_size_is_one_the_vendor_takes(width in 1_u32..9_000, height in 1_u32..9_000) {
            let request = ImageRequest { size: Size::exact(width, height), ..ImageRequest::new(DEFAULT, "a fox") };
            let fit = named(DEFAULT).capabilities.fit(&request, Parameters::Nearest).expect("there is always one");
            let Size::Exact { width: w, height: h } = fit.request.size else { panic!("{}", fit.request.size) };
            prop_assert!(w % 16 == 0 && h % 16 == 0 && w.max(h) <= 3840 && w.max(h) <= 3 * w.min(h), "{w}x{h}");
            prop_assert!((655_360..=8_294_400).contains(&(w * h)), "{w}x{h}");
        }
    }
}
