//! The placeholder: draws a card with the prompt and the model's name instead of asking a vendor. It costs nothing
//! and needs no network, so a gateway without a key works, and a delay and a failure rate let its behaviour under
//! load be tried out.
//!
//! The bytes depend on prompt, size, format, style, background, the number of references and the seed, on nothing
//! else. Without a seed one is made from the prompt and the attempt, so that equal prompts of a batch look different.

mod canvas;
mod card;
mod text;

use bytes::Bytes;
use card::{Card, Dice, Palette};
use plugin_api::{
    Answer, Artifact, Background, Basis, Blob, Built, Capabilities, Class, Context, Cost, ErrorClass,
    ImageRequest, OutputFormat, Picture, Plugin, Price, PriceTable, Provider, ProviderError, Size, SizeRule,
    Source, Spend, Submission, Unit, Usage, build_config,
    value::{Money, Span},
};
use std::{sync::Arc, time::Duration};

pub const PLUGIN: Plugin = Plugin { kind: "placeholder", schema: |g| g.subschema_for::<Config>(), build };

const MODEL: &str = "card";
const SIDES: std::ops::RangeInclusive<u32> = 64..=2048;

/// Settings of a placeholder instance.
#[derive(Debug, Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Placeholder")]
pub struct Config {
    /// How long every call takes on top of drawing.
    pub delay: Span,
    /// The share of calls that fail, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub failure_rate: f32,
}

impl Default for Config {
    fn default() -> Config {
        Config { delay: Span::secs(0), failure_rate: 0.0 }
    }
}

fn build(settings: serde_json::Value) -> Result<Built, String> {
    let config: Config = build_config(settings)?;
    if !(0.0..=1.0).contains(&config.failure_rate) {
        return Err(format!("failure_rate: {} is not between 0 and 1", config.failure_rate));
    }
    Ok(Built::On(Arc::new(Placeholder::new(config))))
}

/// See the crate's documentation.
pub struct Placeholder {
    config: Config,
    capabilities: Capabilities,
}

impl Placeholder {
    pub fn new(config: Config) -> Placeholder {
        let expected = (*config.delay).max(Duration::from_millis(30));
        Placeholder { config, capabilities: capabilities(expected) }
    }
}

fn capabilities(expected: Duration) -> Capabilities {
    let (low, high) = (*SIDES.start(), *SIDES.end());
    Capabilities {
        class: Class::K,
        sizes: SizeRule::Free {
            multiple: 1,
            min_side: low,
            max_side: high,
            min_pixels: 0,
            max_pixels: u64::from(high) * u64::from(high),
            max_ratio: f64::from(high / low),
            default: (1024, 1024),
            auto: false,
            tiers: Vec::new(),
        },
        references: 0..=4,
        transparent: true,
        formats: vec![OutputFormat::Png, OutputFormat::Jpeg, OutputFormat::Webp],
        format_selectable: true,
        seed: true,
        styles: vec![
            ("mono", "shades of grey"),
            ("warm", "reds, oranges and yellows"),
            ("cool", "greens, blues and violets"),
        ],
        expected,
        price: Some(PriceTable {
            currency: "USD",
            date: "2026-11-21",
            source: "drawn by the gateway itself",
            rows: vec![Price { quality: None, unit: Unit::Image(0) }],
        }),
        ..Capabilities::default()
    }
}

#[async_trait::async_trait]
impl Provider for Placeholder {
    fn models(&self) -> Vec<String> {
        vec![MODEL.into()]
    }

    fn capabilities(&self, model: &str) -> Option<&Capabilities> {
        (model == MODEL).then_some(&self.capabilities)
    }

    async fn submit(&self, cx: &Context, request: &ImageRequest) -> Result<Submission, ProviderError> {
        self.draw(fold(cx.attempt.as_bytes()), request).await.map(Submission::Done)
    }

    fn read(&self, _: &ImageRequest, _: &Answer) -> Result<Submission, ProviderError> {
        let what = "the placeholder sends no requests, so there is no answer to read";
        Err(ProviderError::new(ErrorClass::BadResponse, what).with_spend(Spend::None))
    }

    async fn check(&self, _: &Context) -> Result<(), ProviderError> {
        Ok(())
    }
}

impl Placeholder {
    async fn draw(&self, attempt: u64, request: &ImageRequest) -> Result<Artifact, ProviderError> {
        let seed = request.seed.unwrap_or_else(|| {
            (Dice::new(fold(request.prompt.as_bytes()) ^ attempt.rotate_left(17)).next() >> 32) as u32
        });
        let card = plan(request, seed)?;
        if !self.config.delay.is_zero() {
            tokio::time::sleep(*self.config.delay).await;
        }
        if self.fails(attempt) {
            let what = "the placeholder was told to fail this call (failure_rate)";
            return Err(ProviderError::new(ErrorClass::Unavailable, what).with_spend(Spend::None));
        }
        let bad = |why: String| {
            ProviderError::new(ErrorClass::BadResponse, format!("the card could not be drawn: {why}"))
                .with_spend(Spend::None)
        };
        let drawn =
            tokio::task::spawn_blocking(move || card.render()).await.map_err(|e| bad(e.to_string()))?;
        let bytes = drawn.map_err(|e| bad(e.to_string()))?;
        let mut picture = Picture::new(Source::Blob(Blob::from(Bytes::from(bytes))));
        picture.seed = Some(seed);
        Ok(Artifact {
            pictures: vec![picture],
            usage: Usage { images: Some(1), ..Usage::default() },
            cost: Some(Cost { money: Money::micros(0, "USD"), basis: Basis::Computed }),
            model: Some(MODEL.into()),
            ..Artifact::default()
        })
    }

    /// Decided by the attempt alone, so that an attempt is told the same whenever it is asked.
    fn fails(&self, attempt: u64) -> bool {
        Dice::new(attempt).roll(0.0, 1.0) < self.config.failure_rate
    }
}

fn plan(request: &ImageRequest, seed: u32) -> Result<Card, ProviderError> {
    let wrong = |what: &str| ProviderError::new(ErrorClass::InvalidRequest, what);
    if request.model != MODEL {
        return Err(ProviderError::new(ErrorClass::NotFound, format!("the only model is `{MODEL}`")));
    }
    let (width, height) = match request.size {
        Size::Auto => (1024, 1024),
        Size::Exact { width, height } if SIDES.contains(&width) && SIDES.contains(&height) => (width, height),
        _ => return Err(wrong("size: width and height must be 64 to 2048")),
    };
    let palette = match request.style.as_deref() {
        None => Palette::Any,
        Some("mono") => Palette::Mono,
        Some("warm") => Palette::Warm,
        Some("cool") => Palette::Cool,
        Some(_) => return Err(wrong("style: mono, warm or cool")),
    };
    let format = request.output_format.unwrap_or(OutputFormat::Png);
    let transparent = request.background == Some(Background::Transparent);
    if transparent && format == OutputFormat::Jpeg {
        return Err(wrong("output_format: jpeg has no transparency"));
    }
    let mut footer = format!("{width} x {height}, seed {seed}");
    match request.references.len() {
        0 => {}
        1 => footer += ", 1 reference",
        n => footer += &format!(", {n} references"),
    }
    Ok(Card {
        width,
        height,
        seed,
        palette,
        transparent,
        format,
        title: format!("placeholder / {MODEL}"),
        prompt: request.prompt.clone(),
        footer,
    })
}

/// FNV-1a: stable for ever, unlike the standard library's hasher.
fn fold(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3))
}

#[cfg(test)]
mod tests;
