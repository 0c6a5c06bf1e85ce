//! What a model can do. Fitting a request to it is [`fit`](crate::fit)'s.

use crate::{Class, ImageRequest, OutputFormat, PriceTable, Quality, Refusal, SizeRule};
use std::{ops::RangeInclusive, time::Duration};

/// One record per vendor model. [`Default`] is a model that takes a prompt and nothing else.
#[derive(Debug, Clone)]
pub struct Capabilities {
    pub class: Class,
    pub sizes: SizeRule,
    /// Sizes that the vendor recommends for ratios; a ratio without one is computed at the default area.
    pub ratios: Vec<(u32, u32)>,
    /// Images one call can make.
    pub max_n: u32,
    /// Images that one call of this request makes at most: what its price and its quota are counted by. A vendor
    /// option may ask for several. Default: `n`.
    pub images: fn(&ImageRequest) -> u32,
    /// Reference images one call must and may carry.
    pub references: RangeInclusive<u32>,
    pub mask: bool,
    pub transparent: bool,
    /// What the images can be, the model's own choice first.
    pub formats: Vec<OutputFormat>,
    /// Whether the caller can choose among `formats`.
    pub format_selectable: bool,
    pub compression: bool,
    /// Longest prompt in Unicode scalar values.
    pub prompt_max: usize,
    /// The vendor has a field for it; else it is appended to the prompt and reported.
    pub negative_prompt: bool,
    pub qualities: Vec<Quality>,
    pub seed: bool,
    pub steps: Option<RangeInclusive<u32>>,
    pub guidance: Option<RangeInclusive<f32>>,
    /// Style ids with a short English description.
    pub styles: Vec<(&'static str, &'static str)>,
    /// The vendor has no field for a style: the description of one of `styles` is added to the prompt, and reported.
    pub styles_in_words: bool,
    pub moderation: bool,
    pub watermark: bool,
    pub prompt_rewrite: bool,
    pub user: bool,
    /// Keys of the request's `vendor` map that the plugin checks and sends.
    pub vendor_options: &'static [&'static str],
    /// What this record cannot say: arguments that need or exclude each other, bounds of reference images, values of
    /// vendor options. Sees the fitted request, before the call is planned and again before it is made; the bytes of
    /// references are there only the second time. Default: nothing.
    pub rules: fn(&Capabilities, &ImageRequest) -> Vec<Refusal>,
    /// How long one call usually takes.
    pub expected: Duration,
    pub price: Option<PriceTable>,
    /// The day (`YYYY-MM-DD`) the vendor announced to end the model.
    pub sunset: Option<&'static str>,
    /// The model is gone; use this one.
    pub replaced_by: Option<&'static str>,
}

impl Default for Capabilities {
    fn default() -> Self {
        Capabilities {
            class: Class::S,
            sizes: SizeRule::Fixed(1024, 1024),
            ratios: Vec::new(),
            max_n: 1,
            images: |request| request.n.max(1),
            references: 0..=0,
            mask: false,
            transparent: false,
            formats: vec![OutputFormat::Png],
            format_selectable: false,
            compression: false,
            prompt_max: 32_000,
            negative_prompt: false,
            qualities: Vec::new(),
            seed: false,
            steps: None,
            guidance: None,
            styles: Vec::new(),
            styles_in_words: false,
            moderation: false,
            watermark: false,
            prompt_rewrite: false,
            user: false,
            vendor_options: &[],
            rules: |_, _| Vec::new(),
            expected: Duration::from_secs(15),
            price: None,
            sunset: None,
            replaced_by: None,
        }
    }
}
