//! What a model can do: the placeholders of the paid call say what is sent, the model's entry within which bounds.

use plugin_api::{
    Capabilities, Class, OutputFormat, Price, PriceTable, Quality, Size, SizeRule, Unit,
    value::{Money, Span},
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

/// Names of placeholders.
pub type Used = BTreeSet<String>;

/// The paid call, as far as the models depend on it.
pub struct Paid<'a> {
    /// The placeholders in it.
    pub used: &'a Used,
    /// The field of the settings that holds them.
    pub field: &'a str,
    pub class: Class,
}

/// A model of the vendor. What it takes follows from the placeholders of the call; here stands within which bounds.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DeclaredModel")]
pub struct Model {
    /// The vendor's name of it: `{model}`.
    pub name: String,
    /// The sizes it makes, the default first. Default: 1024x1024.
    #[serde(default)]
    pub sizes: Vec<String>,
    /// Any size with such sides instead.
    pub sides: Option<Sides>,
    /// Images one call can make. Default 1.
    #[serde(default = "one")]
    pub max_n: u32,
    /// Least and most reference images. Default `[0, 1]`, or `[0, 4]` where the call sends a list of them.
    pub references: Option<[u32; 2]>,
    /// Least and most. Default `[1, 150]`.
    pub steps: Option<[u32; 2]>,
    /// Least and most. Default `[0, 30]`.
    pub guidance: Option<[f32; 2]>,
    #[serde(default)]
    pub qualities: Vec<Quality>,
    /// Style ids, each with its meaning.
    #[serde(default)]
    pub styles: BTreeMap<String, String>,
    /// What the images are, the model's own choice first. Default: png; all three where the call sends `{output_format}`.
    #[serde(default)]
    pub formats: Vec<plugin_api::OutputFormat>,
    /// Longest prompt in characters. Default 32000.
    pub prompt_max: Option<u32>,
    /// One image. Left out: unknown, see `routing.unpriced`. `0 USD` is a price.
    pub price: Option<Money>,
    /// When the price was read, such as 2026-11-21.
    pub price_date: Option<String>,
    /// How long one call usually takes. Default 15s.
    pub expected: Option<Span>,
}

/// Bounds of both sides, in pixels.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DeclaredSides")]
pub struct Sides {
    pub least: u32,
    pub most: u32,
    /// Sides are multiples of it. Default 8.
    #[serde(default = "eight")]
    pub multiple: u32,
}

fn one() -> u32 {
    1
}
fn eight() -> u32 {
    8
}

impl Model {
    /// A model of which nothing is said.
    pub fn named(name: &str) -> Model {
        Model {
            name: name.into(),
            sizes: Vec::new(),
            sides: None,
            max_n: 1,
            references: None,
            steps: None,
            guidance: None,
            qualities: Vec::new(),
            styles: BTreeMap::new(),
            formats: Vec::new(),
            prompt_max: None,
            price: None,
            price_date: None,
            expected: None,
        }
    }
}

const SIZES: [&str; 4] = ["size", "width", "height", "aspect_ratio"];

/// The models of an instance, its default first.
pub struct Models(Vec<(String, Capabilities)>);

impl Models {
    /// Those of the settings in their order, but for the default.
    ///
    /// # Errors
    /// `models[1].price: sentence`, or the default is none of them.
    pub fn new(models: &[Model], default: Option<&str>, paid: &Paid<'_>) -> Result<Models, String> {
        let mut all = all(models, paid)?;
        if let Some(default) = default.filter(|name| !name.is_empty()) {
            let at = all.iter().position(|(name, _)| name == default);
            let at = at.ok_or_else(|| format!("default_model: `models` has none of the name `{default}`"))?;
            all[..=at].rotate_right(1);
        }
        Ok(Models(all))
    }

    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }

    pub fn get(&self, model: &str) -> Option<&Capabilities> {
        self.0.iter().find(|(name, _)| name == model).map(|(_, capabilities)| capabilities)
    }
}

fn all(models: &[Model], paid: &Paid<'_>) -> Result<Vec<(String, Capabilities)>, String> {
    if models.is_empty() {
        return Err("models: at least one is needed".into());
    }
    let mut all: Vec<(String, Capabilities)> = Vec::new();
    for (n, model) in models.iter().enumerate() {
        let own = |e: String| format!("models[{n}].{e}");
        if model.name.trim().is_empty() {
            return Err(own("name: it is empty".into()));
        }
        if all.iter().any(|(name, _)| *name == model.name) {
            return Err(own(format!("name: there are two of the name `{}`", model.name)));
        }
        all.push((model.name.clone(), capabilities(model, paid).map_err(own)?));
    }
    Ok(all)
}

fn capabilities(model: &Model, paid: &Paid<'_>) -> Result<Capabilities, String> {
    let sends = |name: &str| paid.used.contains(name);
    let usual = Capabilities::default();
    let selectable = sends("output_format");
    let formats = match (model.formats.is_empty(), selectable) {
        (false, _) => model.formats.clone(),
        (true, true) => OutputFormat::ALL.to_vec(),
        (true, false) => usual.formats.clone(),
    };
    let options: Vec<&'static str> =
        paid.used.iter().filter_map(|name| name.strip_prefix("vendor.")).map(kept).collect();
    Ok(Capabilities {
        class: paid.class,
        sizes: sizes(model, paid)?,
        max_n: max_n(model, paid)?,
        references: references(model, paid)?,
        mask: sends("mask") || sends("mask_base64"),
        transparent: sends("background"),
        formats,
        format_selectable: selectable,
        compression: sends("output_compression"),
        prompt_max: model.prompt_max.map_or(usual.prompt_max, |n| n as usize),
        negative_prompt: sends("negative_prompt"),
        qualities: only_if(paid, &model.qualities, "qualities", "quality")?,
        seed: sends("seed"),
        steps: bounds("steps", model.steps, [1, 150], sends("steps"), paid)?.map(|[a, b]| a..=b),
        guidance: bounds("guidance", model.guidance, [0.0, 30.0], sends("guidance"), paid)?
            .map(|[a, b]| a..=b),
        styles: only_if(
            paid,
            &model.styles.iter().map(|(id, about)| (kept(id), kept(about))).collect::<Vec<_>>(),
            "styles",
            "style",
        )?,
        moderation: sends("moderation"),
        watermark: sends("watermark"),
        prompt_rewrite: sends("prompt_rewrite"),
        user: sends("user"),
        vendor_options: kept_list(options),
        expected: model.expected.map_or(usual.expected, |span| *span),
        price: model.price.map(|price| PriceTable {
            currency: kept(price.currency()),
            date: kept(model.price_date.as_deref().unwrap_or("undated")),
            source: "the provider's entry",
            rows: vec![Price { quality: None, unit: Unit::Image(price.amount_micros) }],
        }),
        ..usual
    })
}

impl Paid<'_> {
    fn unsent(&self, field: &str, placeholder: &str) -> String {
        format!("{field}: `{}` sends no {placeholder}, so nobody can choose it", self.field)
    }
}

fn only_if<T: Clone>(paid: &Paid<'_>, list: &[T], field: &str, placeholder: &str) -> Result<Vec<T>, String> {
    match paid.used.contains(placeholder) || list.is_empty() {
        true => Ok(list.to_vec()),
        false => Err(paid.unsent(field, &format!("{{{placeholder}}}"))),
    }
}

fn bounds<T: PartialOrd + Copy>(
    field: &str,
    own: Option<[T; 2]>,
    usual: [T; 2],
    sent: bool,
    paid: &Paid<'_>,
) -> Result<Option<[T; 2]>, String> {
    match own {
        Some(_) if !sent => Err(paid.unsent(field, &format!("{{{field}}}"))),
        Some([least, most]) if least > most => Err(format!("{field}: the least comes first, then the most")),
        own => Ok(sent.then(|| own.unwrap_or(usual))),
    }
}

fn max_n(model: &Model, paid: &Paid<'_>) -> Result<u32, String> {
    match model.max_n {
        1 => Ok(1),
        n @ 2..=100 if paid.used.contains("n") => Ok(n),
        2..=100 => Err(paid.unsent("max_n", "{n}")),
        n => Err(format!("max_n: {n} is not within 1 to 100")),
    }
}

fn references(model: &Model, paid: &Paid<'_>) -> Result<std::ops::RangeInclusive<u32>, String> {
    let sends = |names: [&str; 2]| names.iter().any(|name| paid.used.contains(*name));
    let several = sends(["references", "references_base64"]);
    let sent = several || sends(["reference", "reference_base64"]);
    let usual = [0, if several { 4 } else { 1 }];
    match bounds("references", model.references, usual, sent, paid)? {
        Some([_, most]) if most > 1 && !several => Err(format!(
            "references: `{}` sends only one, {{reference}}; several are {{references}}",
            paid.field
        )),
        Some([least, most]) => Ok(least..=most),
        None => Ok(0..=0),
    }
}

fn sizes(model: &Model, paid: &Paid<'_>) -> Result<SizeRule, String> {
    let sent = SIZES.iter().any(|name| paid.used.contains(*name));
    let listed: Vec<(u32, u32)> = model
        .sizes
        .iter()
        .map(|text| match text.parse() {
            Ok(Size::Exact { width, height }) => Ok((width, height)),
            _ => Err(format!("sizes: `{text}` is not written like 1024x1024")),
        })
        .collect::<Result<_, _>>()?;
    if !sent && (listed.len() > 1 || model.sides.is_some()) {
        let field = if model.sides.is_some() { "sides" } else { "sizes" };
        return Err(paid.unsent(field, "{size}, {width} and {height}, or {aspect_ratio}"));
    }
    let default = listed.first().copied().unwrap_or((1024, 1024));
    let Some(Sides { least, most, multiple }) = model.sides else {
        return Ok(match listed.len() {
            0 | 1 => SizeRule::Fixed(default.0, default.1),
            _ => SizeRule::List { sizes: listed, auto: false },
        });
    };
    let good = |side: u32| (least..=most).contains(&side) && side.is_multiple_of(multiple);
    if multiple == 0 || least == 0 || least > most || most > 16_384 {
        return Err(
            "sides: `least` is at least 1, `most` not below it and at most 16384, `multiple` at least 1"
                .into(),
        );
    }
    if !(good(default.0) && good(default.1)) {
        return Err(format!("sizes: the default {}x{} is not within `sides`", default.0, default.1));
    }
    let (low, high) = (u64::from(least), u64::from(most));
    Ok(SizeRule::Free {
        multiple,
        min_side: least,
        max_side: most,
        min_pixels: low * low,
        max_pixels: high * high,
        max_ratio: f64::from(most) / f64::from(least),
        default,
        auto: false,
        tiers: Vec::new(),
    })
}

/// The same text for the life of the process: capabilities hold such texts, and a reload brings the same ones again.
fn kept(text: &str) -> &'static str {
    static ALL: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut all = ALL.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(known) = all.get(text) {
        return known;
    }
    let new: &'static str = Box::leak(text.to_owned().into_boxed_str());
    all.insert(new);
    new
}

fn kept_list(list: Vec<&'static str>) -> &'static [&'static str] {
    static ALL: Mutex<BTreeSet<&'static [&'static str]>> = Mutex::new(BTreeSet::new());
    let mut all = ALL.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(known) = all.get(list.as_slice()) {
        return known;
    }
    let new: &'static [&'static str] = Box::leak(list.into_boxed_slice());
    all.insert(new);
    new
}
