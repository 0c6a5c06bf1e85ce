//! The image models of Workers AI: which fields each takes, and what it can do.

use plugin_api::{
    Capabilities, Class, ImageRequest, OutputFormat, Price, PriceTable, Refusal, SizeRule, Unit,
};
use std::{ops::RangeInclusive, time::Duration};

/// One vendor model.
#[derive(Debug)]
pub struct Model {
    pub id: &'static str,
    /// Its short name, where it has one.
    pub alias: Option<&'static str>,
    pub dialect: Dialect,
    pub capabilities: Capabilities,
}

/// Which fields a model takes, and in what form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// JSON with a prompt and steps; any other member is refused.
    Schnell,
    /// JSON with the fields of Stable Diffusion.
    Diffusion,
    /// JSON, steps as `num_steps`.
    Leonardo,
    /// A form, even for a bare prompt. `steps`: what is sent where the caller says nothing; `None`: the model has a
    /// fixed number and takes no field.
    Flux2 { steps: Option<u32> },
}

/// The longest side of an input image that FLUX.2 takes.
pub const FLUX2_INPUT_SIDE: u32 = 512;
/// The vendor's own default; sent always, because the price is per step.
const FLUX2_DEV_STEPS: u32 = 25;
/// The schema names no bounds for these models; beyond this no picture comes out.
const GUIDANCE: RangeInclusive<f32> = 0.0..=30.0;

/// All models, the default first.
pub fn all() -> Vec<Model> {
    vec![
        schnell(),
        diffusion("@cf/bytedance/stable-diffusion-xl-lightning", Some("sdxl-lightning"), |c| {
            c.formats = vec![OutputFormat::Jpeg, OutputFormat::Png]; // labelled PNG, mostly JPEG
            c.expected = Duration::from_secs(10);
        }),
        diffusion("@cf/stabilityai/stable-diffusion-xl-base-1.0", Some("sdxl-base"), |c| {
            c.expected = Duration::from_secs(30);
        }),
        diffusion("@cf/lykon/dreamshaper-8-lcm", None, |c| {
            c.sizes = sides(256..=2048, (512, 512), false);
            c.expected = Duration::from_secs(8);
        }),
        diffusion("@cf/runwayml/stable-diffusion-v1-5-img2img", None, |c| {
            edits(c);
        }),
        diffusion("@cf/runwayml/stable-diffusion-v1-5-inpainting", None, |c| {
            edits(c);
            c.mask = true;
        }),
        phoenix(),
        lucid(),
        flux2("@cf/black-forest-labs/flux-2-dev", Some(FLUX2_DEV_STEPS)),
        flux2("@cf/black-forest-labs/flux-2-klein-4b", None),
        flux2("@cf/black-forest-labs/flux-2-klein-9b", None),
    ]
}

/// Sides in steps of 8: the models work on tiles of that size, though the schema only has bounds.
fn sides(range: RangeInclusive<u32>, default: (u32, u32), auto: bool) -> SizeRule {
    let (min_side, max_side) = range.into_inner();
    SizeRule::Free {
        multiple: 8,
        min_side,
        max_side,
        min_pixels: 0,
        max_pixels: u64::from(max_side) * u64::from(max_side),
        max_ratio: f64::from(max_side) / f64::from(min_side),
        default,
        auto,
        tiers: Vec::new(),
    }
}

fn price(source: &'static str, unit: Unit) -> Option<PriceTable> {
    let rows = vec![Price { quality: None, unit }];
    Some(PriceTable { currency: "USD", date: "2026-11-21", source, rows })
}

fn schnell() -> Model {
    Model {
        id: "@cf/black-forest-labs/flux-1-schnell",
        alias: Some("flux-schnell"),
        dialect: Dialect::Schnell,
        capabilities: Capabilities {
            class: Class::S,
            sizes: SizeRule::Fixed(1024, 1024),
            formats: vec![OutputFormat::Jpeg],
            prompt_max: 2048,
            steps: Some(1..=8),
            expected: Duration::from_secs(5),
            price: price("vendor docs", Unit::TilesAndSteps { tile: 53, step: 106, default_steps: 4 }),
            ..Capabilities::default()
        },
    }
}

fn diffusion(id: &'static str, alias: Option<&'static str>, adapt: fn(&mut Capabilities)) -> Model {
    let mut capabilities = Capabilities {
        class: Class::S,
        sizes: sides(256..=2048, (1024, 1024), false),
        negative_prompt: true,
        seed: true,
        steps: Some(1..=20),
        guidance: Some(GUIDANCE),
        // Beta: free of charge, which is a price too.
        price: price("vendor schema", Unit::TilesAndSteps { tile: 0, step: 0, default_steps: 20 }),
        ..Capabilities::default()
    };
    adapt(&mut capabilities);
    Model { id, alias, dialect: Dialect::Diffusion, capabilities }
}

/// The two models that work on an image, and keep its size unless told otherwise.
fn edits(capabilities: &mut Capabilities) {
    capabilities.sizes = sides(256..=2048, (512, 512), true);
    capabilities.references = 1..=1;
    capabilities.vendor_options = &["strength"];
    capabilities.rules = refusals;
    capabilities.expected = Duration::from_secs(10);
}

/// What these two refuse beyond their record.
fn refusals(capabilities: &Capabilities, request: &ImageRequest) -> Vec<Refusal> {
    let strength = request.vendor.get("strength").filter(|value| {
        let share = value.as_f64();
        !share.is_some_and(|share| (0.0..=1.0).contains(&share))
    });
    let wrong = |value| Refusal::new("vendor", format!("`strength` is {value}"), "a number from 0 to 1");
    let mut all: Vec<Refusal> = strength.map(wrong).into_iter().collect();
    if capabilities.mask && request.mask.is_none() {
        let accepted = "a PNG whose clear area is to be repainted";
        all.push(Refusal::new("mask", "this model needs one", accepted));
    }
    all
}

fn phoenix() -> Model {
    Model {
        id: "@cf/leonardo/phoenix-1.0",
        alias: None,
        dialect: Dialect::Leonardo,
        capabilities: Capabilities {
            class: Class::S,
            sizes: sides(64..=2048, (1024, 1024), false),
            formats: vec![OutputFormat::Jpeg],
            negative_prompt: true,
            seed: true,
            steps: Some(1..=50),
            guidance: Some(2.0..=10.0),
            expected: Duration::from_secs(12),
            price: price("vendor schema", Unit::TilesAndSteps { tile: 5_800, step: 110, default_steps: 25 }),
            ..Capabilities::default()
        },
    }
}

fn lucid() -> Model {
    Model {
        id: "@cf/leonardo/lucid-origin",
        alias: None,
        dialect: Dialect::Leonardo,
        capabilities: Capabilities {
            class: Class::S,
            sizes: sides(64..=2500, (1120, 1120), false),
            formats: vec![OutputFormat::Jpeg],
            seed: true,
            steps: Some(1..=40),
            guidance: Some(0.0..=10.0),
            expected: Duration::from_secs(12),
            // The vendor names no default for the steps: its highest is the safe guess.
            price: price("vendor schema", Unit::TilesAndSteps { tile: 7_000, step: 132, default_steps: 40 }),
            ..Capabilities::default()
        },
    }
}

fn flux2(id: &'static str, steps: Option<u32>) -> Model {
    let (expected, price) = match steps {
        Some(default_steps) => (
            Duration::from_secs(40),
            price("vendor schema", Unit::TilesTimesSteps { input: 413, output: 825, default_steps }),
        ),
        None => (Duration::from_secs(6), price("ceiling, unverified", Unit::Image(15_000))),
    };
    Model {
        id,
        alias: None,
        dialect: Dialect::Flux2 { steps },
        capabilities: Capabilities {
            class: Class::S,
            sizes: sides(256..=1920, (1024, 768), false),
            references: 0..=4,
            formats: vec![OutputFormat::Jpeg],
            seed: true,
            steps: steps.map(|_| 1..=50),
            guidance: Some(GUIDANCE),
            expected,
            price,
            ..Capabilities::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{Size, value::Money};

    fn estimate(id: &str, change: impl FnOnce(&mut ImageRequest)) -> i64 {
        let models = all();
        let model = models.iter().find(|m| m.id.ends_with(id)).expect("the model exists");
        let mut request = ImageRequest::new(model.id, "a red fox");
        change(&mut request);
        let price = model.capabilities.price.as_ref().expect("every model has a price");
        let (expected, most) =
            price.estimate(&request, model.capabilities.sizes.default_size()).expect("a row fits");
        assert_eq!(expected, most);
        assert_eq!(most, Money::micros(most.amount_micros, "USD"));
        most.amount_micros
    }

    #[test]
    fn prices_count_tiles_and_steps() {
        assert_eq!(estimate("flux-1-schnell", |_| {}), 4 * 53 + 4 * 106);
        assert_eq!(estimate("flux-1-schnell", |r| r.steps = Some(8)), 4 * 53 + 8 * 106);
        assert_eq!(estimate("phoenix-1.0", |_| {}), 4 * 5_800 + 25 * 110);
        assert_eq!(estimate("lucid-origin", |r| r.steps = Some(10)), 9 * 7_000 + 10 * 132);
        assert_eq!(estimate("flux-2-klein-9b", |_| {}), 15_000);
        assert_eq!(estimate("flux-2-dev", |_| {}), 4 * 25 * 825, "1024x768 is 2x2 tiles");
        let edit = |r: &mut ImageRequest| {
            r.size = Size::exact(512, 512);
            r.steps = Some(10);
            r.references = vec![Default::default(); 2];
        };
        assert_eq!(estimate("flux-2-dev", edit), 10 * (825 + 2 * 413));
    }

    #[test]
    fn beta_models_state_that_they_are_free() {
        for id in ["xl-lightning", "xl-base-1.0", "dreamshaper-8-lcm", "v1-5-img2img", "v1-5-inpainting"] {
            assert_eq!(estimate(id, |_| {}), 0, "{id}");
        }
    }
}
