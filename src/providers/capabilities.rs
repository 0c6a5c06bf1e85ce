//! What an entry of `models` says its targets can do, over what is built in.

use super::{settings::Model, upstream::Upstream};
use indexmap::IndexMap;
use plugin_api::{Capabilities, OutputFormat, Quality, Size, SizeRule, value::OneOrMany};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, ops::RangeInclusive, sync::Arc};

/// Overrides of what is built in: for a vendor's newer rules, or to offer less. What is left out stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Overrides {
    /// `WxH`, the default first.
    pub sizes: Option<Vec<String>>,
    /// Images of one vendor call.
    pub max_n: Option<u32>,
    /// Most reference images, or `[least, most]`.
    pub references: Option<OneOrMany<u32>>,
    pub mask: Option<bool>,
    pub transparent: Option<bool>,
    /// The model's own choice first.
    pub formats: Option<Vec<OutputFormat>>,
    /// Whether the caller can choose among `formats`.
    pub format_selectable: Option<bool>,
    pub compression: Option<bool>,
    /// Longest prompt in characters.
    pub prompt_max: Option<u32>,
    /// The vendor has a field for it; else it becomes part of the prompt.
    pub negative_prompt: Option<bool>,
    pub qualities: Option<Vec<Quality>>,
    pub seed: Option<bool>,
    /// Most steps, or `[least, most]`.
    pub steps: Option<OneOrMany<u32>>,
    /// Most guidance, or `[least, most]`.
    pub guidance: Option<OneOrMany<f32>>,
    /// Those of the built-in styles that are offered.
    pub styles: Option<Vec<String>>,
    pub moderation: Option<bool>,
    pub watermark: Option<bool>,
    pub prompt_rewrite: Option<bool>,
    pub user: Option<bool>,
}

/// A field of the overrides, such as `sizes[0]`, and what is wrong with it.
pub type Wrong = (String, String);

impl Overrides {
    pub fn is_empty(&self) -> bool {
        *self == Overrides::default()
    }

    /// What a target can do then.
    ///
    /// # Errors
    /// A value that means nothing, or a style that the target does not have.
    pub fn over(&self, base: &Capabilities) -> Result<Capabilities, Wrong> {
        let mut caps = base.clone();
        if let Some(sizes) = &self.sizes {
            caps.sizes = SizeRule::List { sizes: self::sizes(sizes)?, auto: false };
            // Ratios that the vendor recommends elsewhere would lead out of the list.
            caps.ratios.clear();
        }
        if let Some(references) = &self.references {
            let least = *base.references.start();
            caps.references = range("references", references, least)?;
        }
        if let Some(steps) = &self.steps {
            caps.steps = Some(range("steps", steps, base.steps.as_ref().map_or(1, |s| *s.start()))?);
        }
        if let Some(guidance) = &self.guidance {
            let least = base.guidance.as_ref().map_or(0.0, |g| *g.start());
            caps.guidance = Some(range("guidance", guidance, least)?);
        }
        if let Some(formats) = &self.formats {
            caps.formats = some("formats", formats)?.to_vec();
        }
        if let Some(styles) = &self.styles {
            let known: Vec<&str> = base.styles.iter().map(|(id, _)| *id).collect();
            if let Some(n) = styles.iter().position(|style| !known.contains(&style.as_str())) {
                let has = if known.is_empty() { "none".into() } else { known.join(", ") };
                let message = format!("there is no style `{}` to offer; the model has {has}", styles[n]);
                return Err((format!("styles[{n}]"), message));
            }
            caps.styles.retain(|(id, _)| styles.iter().any(|style| style == id));
        }
        caps.qualities = self.qualities.clone().unwrap_or(caps.qualities);
        caps.max_n = self.max_n.unwrap_or(caps.max_n);
        caps.prompt_max = self.prompt_max.map_or(caps.prompt_max, |n| n as usize);
        for (own, field) in [
            (self.mask, &mut caps.mask),
            (self.transparent, &mut caps.transparent),
            (self.format_selectable, &mut caps.format_selectable),
            (self.compression, &mut caps.compression),
            (self.negative_prompt, &mut caps.negative_prompt),
            (self.seed, &mut caps.seed),
            (self.moderation, &mut caps.moderation),
            (self.watermark, &mut caps.watermark),
            (self.prompt_rewrite, &mut caps.prompt_rewrite),
            (self.user, &mut caps.user),
        ] {
            *field = own.unwrap_or(*field);
        }
        Ok(caps)
    }
}

fn some<'a, T>(field: &str, list: &'a [T]) -> Result<&'a [T], Wrong> {
    if list.is_empty() {
        Err((field.into(), "an empty list leaves nothing to make".into()))
    } else {
        Ok(list)
    }
}

fn sizes(texts: &[String]) -> Result<Vec<(u32, u32)>, Wrong> {
    let size = |(n, text): (usize, &String)| match text.parse::<Size>() {
        Ok(Size::Exact { width, height }) => Ok((width, height)),
        _ => Err((format!("sizes[{n}]"), format!("`{text}` is not a size in pixels, such as 1024x1024"))),
    };
    some("sizes", texts)?.iter().enumerate().map(size).collect()
}

fn range<T: PartialOrd + Copy>(
    field: &str,
    given: &OneOrMany<T>,
    least: T,
) -> Result<RangeInclusive<T>, Wrong> {
    match *given.as_slice() {
        [most] if least <= most => Ok(least..=most),
        [most] => Ok(most..=most),
        [least, most] if least <= most => Ok(least..=most),
        _ => Err((field.into(), "expected the most there may be, or `[least, most]`".into())),
    }
}

/// What every model with overrides can do, by model and target; targets that are off have none.
///
/// # Errors
/// In sentences with their fields.
pub fn overridden(
    models: &IndexMap<String, Model>,
    instances: &IndexMap<String, Arc<Upstream>>,
) -> Result<HashMap<String, HashMap<String, Capabilities>>, Vec<String>> {
    let (mut all, mut errors) = (HashMap::new(), Vec::new());
    for (name, model) in models.iter().filter(|(_, model)| !model.capabilities.is_empty()) {
        let mut own = HashMap::new();
        for target in &model.targets {
            let Some((instance, vendor_model)) = target.to().split_once('/') else { continue };
            let base = instances.get(instance).and_then(|i| i.capabilities(vendor_model));
            match base.map(|base| model.capabilities.over(base)) {
                None => {}
                Some(Ok(caps)) => drop(own.insert(target.to().to_owned(), caps)),
                Some(Err((field, why))) => errors.push(format!("models.{name}.capabilities.{field}: {why}")),
            }
        }
        all.insert(name.clone(), own);
    }
    if errors.is_empty() { Ok(all) } else { Err(errors) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overrides(json: serde_json::Value) -> Overrides {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn what_is_given_counts_and_what_is_left_out_stays() {
        let base = Capabilities { references: 1..=4, seed: true, ..Capabilities::default() };
        let given = serde_json::json!({
            "sizes": ["512x512", "1024x768"], "references": 10, "steps": [5, 50], "transparent": true,
            "qualities": ["low", "high"], "prompt_max": 800
        });
        let caps = overrides(given).over(&base).unwrap();
        assert_eq!(caps.sizes, SizeRule::List { sizes: vec![(512, 512), (1024, 768)], auto: false });
        assert_eq!((caps.references, caps.steps), (1..=10, Some(5..=50)), "one number is the most");
        assert!(caps.transparent && caps.seed && !caps.mask);
        assert_eq!((caps.qualities, caps.prompt_max), (vec![Quality::Low, Quality::High], 800));
        let fewer = overrides(serde_json::json!({"references": 0})).over(&base).unwrap();
        assert_eq!(fewer.references, 0..=0, "none at all");
    }

    #[test]
    fn what_means_nothing_is_named_by_its_field() {
        let base = Capabilities { styles: vec![("anime", "Anime")], ..Capabilities::default() };
        for (json, field) in [
            (serde_json::json!({"sizes": ["1024x1024", "16:9"]}), "sizes[1]"),
            (serde_json::json!({"sizes": []}), "sizes"),
            (serde_json::json!({"references": [4, 1]}), "references"),
            (serde_json::json!({"formats": []}), "formats"),
            (serde_json::json!({"styles": ["anime", "noir"]}), "styles[1]"),
        ] {
            assert_eq!(overrides(json).over(&base).unwrap_err().0, field);
        }
    }
}
