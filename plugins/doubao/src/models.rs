//! The models of Ark: names, sizes, abilities and prices. One table, as the vendor and its clients gave it on [`DATE`].

use crate::rules;
use plugin_api::{Capabilities, OutputFormat, Price, PriceTable, Quality, SizeRule, Tier, Unit};
use std::time::Duration;

/// When the table was put together.
pub(crate) const DATE: &str = "2026-11-21";
pub(crate) const DEFAULT: &str = "doubao-seedream-5-0-flash-260915";

/// A model by the id that is sent, and what it can do.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub id: String,
    pub capabilities: Capabilities,
}

/// Models that share their rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Pro5,
    Flash5,
    Lite5,
    V45,
    V40,
    T2i3,
    Edit3,
}

/// Every id with its family, the default first, newer snapshots before older ones.
const IDS: [(&str, Family); 9] = [
    (DEFAULT, Family::Flash5),
    ("doubao-seedream-5-0-pro-260628", Family::Pro5),
    ("doubao-seedream-5-0-lite-260128", Family::Lite5),
    ("doubao-seedream-5-0-260128", Family::Lite5),
    ("doubao-seedream-4-5-251128", Family::V45),
    ("doubao-seedream-4-0-20260415", Family::V40),
    ("doubao-seedream-4-0-250828", Family::V40),
    ("doubao-seedream-3-0-t2i-250415", Family::T2i3),
    ("doubao-seededit-3-0-i2i-250628", Family::Edit3),
];

/// The models of the vendor. `abroad`: the international host, which has its own price list.
pub(crate) fn all(abroad: bool) -> Vec<Model> {
    let model = |(id, family): &(&str, Family)| Model {
        id: (*id).into(),
        capabilities: capabilities(*family, abroad),
    };
    IDS.iter().map(model).collect()
}

/// The id that is sent for a name, and the place of its model: a listed id itself; a name without its date, dots
/// for dashes (`doubao-seedream-4.5`), is the newest of that name; a snapshot with a date that is not listed is sent
/// as it is, under the rules of its name.
pub(crate) fn resolve(models: &[Model], name: &str) -> Option<(String, usize)> {
    if let Some(at) = models.iter().position(|model| model.id == name) {
        return Some((name.to_owned(), at));
    }
    let plain = name.trim().to_ascii_lowercase().replace('.', "-");
    if let Some(at) = models.iter().position(|model| model.id == plain || undated(&model.id) == plain) {
        return Some((models[at].id.clone(), at));
    }
    let dated = undated(name);
    let at = models.iter().position(|model| dated != name && undated(&model.id) == dated)?;
    Some((name.to_owned(), at))
}

/// An id without the date at its end.
fn undated(id: &str) -> &str {
    match id.rsplit_once('-') {
        Some((name, date)) if date.len() >= 6 && date.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => id,
    }
}

/// Looks that users of this vendor know by name, with the words that are put into the prompt: Ark has no field.
pub(crate) const STYLES: [(&str, &str); 12] = [
    ("general", ""),
    ("anime", "anime style"),
    ("realistic", "realistic photographic style"),
    ("oil_painting", "oil painting"),
    ("watercolor", "watercolor painting"),
    ("sketch", "pencil sketch"),
    ("cartoon", "cartoon illustration"),
    ("chinese_painting", "traditional Chinese painting"),
    ("pixel_art", "pixel art"),
    ("cyberpunk", "cyberpunk style"),
    ("fantasy", "fantasy art"),
    ("sci_fi", "sci-fi concept art"),
];

fn capabilities(family: Family, abroad: bool) -> Capabilities {
    use Family::*;
    let usual = Capabilities {
        ratios: AT_2K.to_vec(),
        images: rules::images,
        rules: rules::refusals,
        references: 0..=14,
        formats: vec![OutputFormat::Jpeg],
        styles: STYLES.to_vec(),
        styles_in_words: true,
        watermark: true,
        prompt_rewrite: true,
        expected: Duration::from_secs(20),
        price: Some(price(family, abroad)),
        ..Capabilities::default()
    };
    let five = Capabilities {
        formats: vec![OutputFormat::Jpeg, OutputFormat::Png],
        format_selectable: true,
        ..usual.clone()
    };
    match family {
        Pro5 | Flash5 => Capabilities {
            sizes: free(921_600, 4_624_220, &[Tier::K1, Tier::K2]),
            references: 0..=10,
            transparent: true,
            qualities: if family == Pro5 { FAST_OR_NOT.to_vec() } else { Vec::new() },
            vendor_options: &["layer_decomposition", "optimize_prompt_options"],
            ..five
        },
        Lite5 => Capabilities {
            sizes: free(3_686_400, 16_777_216, &[Tier::K2, Tier::K3, Tier::K4]),
            vendor_options: &[
                "sequential_image_generation",
                "sequential_image_generation_options",
                "stream",
                "optimize_prompt_options",
                "tools",
            ],
            ..five
        },
        V45 | V40 => Capabilities {
            sizes: match family {
                V45 => free(3_686_400, 16_777_216, &[Tier::K2, Tier::K4]),
                _ => free(921_600, 16_777_216, &[Tier::K1, Tier::K2, Tier::K4]),
            },
            qualities: if family == V40 { FAST_OR_NOT.to_vec() } else { Vec::new() },
            vendor_options: &[
                "sequential_image_generation",
                "sequential_image_generation_options",
                "stream",
                "optimize_prompt_options",
            ],
            ..usual
        },
        T2i3 | Edit3 => Capabilities {
            sizes: SizeRule::Free {
                multiple: 1,
                min_side: 512,
                max_side: 2048,
                min_pixels: 512 * 512,
                max_pixels: 2048 * 2048,
                max_ratio: 4.0,
                default: (1024, 1024),
                auto: true,
                tiers: Vec::new(),
            },
            ratios: AT_1K.to_vec(),
            references: if family == Edit3 { 1..=1 } else { 0..=0 },
            prompt_rewrite: false,
            seed: true,
            guidance: Some(1.0..=10.0),
            ..usual
        },
    }
}

/// The vendor's two prompt modes: `fast` is quicker and plainer, `standard` better and slower.
const FAST_OR_NOT: [Quality; 2] = [Quality::Low, Quality::High];

/// Width and height are free within an area, 1:16 to 16:1.
fn free(min_pixels: u64, max_pixels: u64, tiers: &[Tier]) -> SizeRule {
    // The shortest and the longest side that 16:1 leaves.
    let side = |pixels: u64| u32::try_from(pixels.isqrt()).unwrap_or(u32::MAX);
    SizeRule::Free {
        multiple: 1,
        min_side: side(min_pixels / 16),
        max_side: side(max_pixels * 16),
        min_pixels,
        max_pixels,
        max_ratio: 16.0,
        default: (2048, 2048),
        auto: true,
        tiers: tiers.to_vec(),
    }
}

/// The vendor's sizes of the tier 2K, which is the default.
const AT_2K: [(u32, u32); 9] = [
    (2048, 2048),
    (2304, 1728),
    (1728, 2304),
    (2496, 1664),
    (1664, 2496),
    (2848, 1600),
    (1600, 2848),
    (3136, 1344),
    (1344, 3136),
];
/// The same of the tier 1K.
const AT_1K: [(u32, u32); 9] = [
    (1024, 1024),
    (1152, 864),
    (864, 1152),
    (1248, 832),
    (832, 1248),
    (1280, 720),
    (720, 1280),
    (1568, 672),
    (672, 1568),
];

/// Per image that was made, in micro-units. China's list is in CNY where it is known at all.
fn price(family: Family, abroad: bool) -> PriceTable {
    use Family::*;
    let (clients, unverified) = ("client and reseller price lists", "client price lists, unverified");
    let flat = Unit::Image;
    let (currency, unit, source) = match (family, abroad) {
        (Pro5, _) => {
            let unit = Unit::ShortSide { upto: 1024, small: 45_000, large: 90_000 };
            ("USD", unit, "reseller price list (international)")
        }
        (Flash5, _) => ("USD", flat(18_000), "reseller price list (international)"),
        (Lite5, true) => ("USD", flat(35_000), clients),
        (Lite5, false) => ("CNY", flat(220_000), unverified),
        (V45, true) => ("USD", flat(40_000), clients),
        (V45, false) => ("CNY", flat(250_000), unverified),
        (V40, true) => ("USD", flat(30_000), clients),
        (V40, false) => ("CNY", flat(200_000), unverified),
        (T2i3 | Edit3, true) => ("USD", flat(40_000), "a ceiling; the price is not known"),
        (T2i3 | Edit3, false) => ("CNY", flat(300_000), "a ceiling; the price is not known"),
    };
    PriceTable { currency, date: DATE, source, rows: vec![Price { quality: None, unit }] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{ImageRequest, Parameters, Size};
    use proptest::prelude::*;

    fn named(name: &str) -> Model {
        let models = all(false);
        let (_, at) = resolve(&models, name).expect("a model of the table");
        models[at].clone()
    }

    fn sized(name: &str, size: &str, mode: Parameters) -> Result<String, String> {
        let request = ImageRequest { size: size.parse().unwrap(), ..ImageRequest::new(name, "a fox") };
        let fit = named(name).capabilities.fit(&request, mode);
        fit.map(|fit| fit.request.size.to_string())
            .map_err(|no| no.into_iter().map(|r| format!("{}: {}", r.field, r.accepted.unwrap())).collect())
    }

    #[test]
    fn names_of_older_configurations_mean_the_current_ids() {
        let models = all(false);
        let sent = |name: &str| resolve(&models, name).map(|(id, _)| id);
        for (name, id) in [
            ("doubao-seedream-4.5", "doubao-seedream-4-5-251128"),
            ("doubao-seedream-4-5", "doubao-seedream-4-5-251128"),
            ("Doubao-Seedream-4.0", "doubao-seedream-4-0-20260415"),
            ("doubao-seedream-4-0-250828", "doubao-seedream-4-0-250828"),
            ("doubao-seedream-5.0-lite", "doubao-seedream-5-0-lite-260128"),
            ("doubao-seedream-5.0", "doubao-seedream-5-0-260128"),
            ("doubao-seedream-5.0-pro", "doubao-seedream-5-0-pro-260628"),
            ("doubao-seedream-4-5-270101", "doubao-seedream-4-5-270101"),
        ] {
            assert_eq!(sent(name).as_deref(), Some(id), "{name}");
        }
        for name in ["", "doubao", "doubao-seedream", "doubao-seedream-6-0-270101", "ep-20260101000000-abcde"]
        {
            assert_eq!(sent(name), None, "{name}");
        }
    }

    #[test]
    fn sizes_follow_the_rule_of_their_model() {
        let strict = |name, size| sized(name, size, Parameters::Strict);
        let (pro, lite, v45, v40) = (
            "doubao-seedream-5.0-pro",
            "doubao-seedream-5.0-lite",
            "doubao-seedream-4.5",
            "doubao-seedream-4.0",
        );
        for (name, size) in [(pro, "1536x1024"), (pro, "1K"), (pro, "2K"), (lite, "3K"), (v40, "1024x1024")] {
            assert_eq!(strict(name, size).as_deref(), Ok(size), "{name}");
        }
        for (name, size) in
            [(pro, "4K"), (v45, "1K"), (pro, "512x512"), (v45, "8208x512"), (lite, "4097x4097")]
        {
            assert!(strict(name, size).is_err(), "{name} {size}");
        }
        let told = strict(v45, "1024x1024").unwrap_err();
        assert!(told.contains("3686400") && told.contains("nearest is 1920x1920"), "{told}");
        assert_eq!(sized(v45, "1024x1024", Parameters::Nearest).as_deref(), Ok("1920x1920"));
        assert_eq!(strict(v45, "3K").as_deref(), Ok("3072x3072"), "no tier of its own: its square");
        for (ratio, size) in
            [("16:9", "2848x1600"), ("9:21", "1344x3136"), ("1:1", "2048x2048"), ("4:3", "2304x1728")]
        {
            assert_eq!(strict(pro, ratio).as_deref(), Ok(size), "the vendor's own size of {ratio}");
        }
        assert_eq!(strict("doubao-seedream-3-0-t2i", "16:9").as_deref(), Ok("1280x720"));
        assert_eq!(strict(pro, "auto").as_deref(), Ok("auto"));
    }

    #[test]
    fn every_model_has_a_price_and_its_recommended_sizes_are_legal() {
        for abroad in [false, true] {
            for Model { id, capabilities } in all(abroad) {
                let price = capabilities.price.as_ref().expect("a price");
                let request = ImageRequest::new(&id, "a fox");
                let (expected, most) = price.estimate(&request, capabilities.sizes.default_size()).unwrap();
                assert!(expected.amount_micros > 0 && expected == most, "{id}");
                assert!(!abroad || expected.currency() == "USD", "{id}: the international list is in USD");
                for (w, h) in &capabilities.ratios {
                    let request = ImageRequest {
                        size: Size::exact(*w, *h),
                        references: vec![Default::default(); *capabilities.references.start() as usize],
                        ..ImageRequest::new(&id, "a fox")
                    };
                    let fit = capabilities.fit(&request, Parameters::Strict);
                    assert!(fit.is_ok(), "{id}: {w}x{h}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn the_nearest_size_is_one_the_vendor_takes(width in 1_u32..20_000, height in 1_u32..20_000, n in 0_usize..7) {
            let model = &all(false)[n];
            let request = ImageRequest { size: Size::exact(width, height), ..ImageRequest::new(&model.id, "a fox") };
            let fit = model.capabilities.fit(&request, Parameters::Nearest).expect("there is always one");
            let Size::Exact { width: w, height: h } = fit.request.size else { panic!("{}", fit.request.size) };
            let least = if model.id.contains("4-5") || model.id.contains("5-0-lite") || model.id.contains("5-0-26") {
                3_686_400
            } else {
                921_600
            };
            let most = if n < 2 { 4_624_220 } else { 16_777_216 };
            prop_assert!((least..=most).contains(&(u64::from(w) * u64::from(h))), "{}: {w}x{h}", model.id);
            prop_assert!(w.max(h) <= 16 * w.min(h), "{w}x{h}");
        }

        #[test]
        fn any_name_is_resolved_without_a_panic(name in ".{0,40}") {
            resolve(&all(false), &name);
        }
    }
}
