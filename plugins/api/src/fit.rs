//! The fitting of a request to a model: the same steps for every plugin.

use crate::{Adjustment, Background, Capabilities, ImageRequest, OutputFormat, Quality, Size, SizeRule};

/// What happens to a request that a model cannot serve exactly (`routing.parameters`).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Parameters {
    /// It is refused, naming the field and what is accepted.
    #[default]
    Strict,
    /// It is mapped to the nearest thing the model can do, each change reported.
    Nearest,
}

/// Why a model cannot serve a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[error("{field}: {reason}")]
pub struct Refusal {
    /// The argument, by its name in a request.
    pub field: String,
    pub reason: String,
    /// The values that would be accepted, in words.
    pub accepted: Option<String>,
}

/// A request as the model can serve it, with what was changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    pub request: ImageRequest,
    pub adjustments: Vec<Adjustment>,
}

impl Refusal {
    pub fn new<'a>(field: &str, reason: impl Into<String>, accepted: impl Into<Option<&'a str>>) -> Refusal {
        let accepted: Option<&str> = accepted.into();
        Refusal { field: field.into(), reason: reason.into(), accepted: accepted.map(str::to_owned) }
    }
}

impl Capabilities {
    /// Fits a request to this model.
    ///
    /// # Errors
    /// Every field that cannot be served, not only the first.
    pub fn fit(&self, request: &ImageRequest, mode: Parameters) -> Result<Fit, Vec<Refusal>> {
        let mut fitting =
            Fitting { request: request.clone(), adjustments: Vec::new(), refusals: Vec::new(), mode };
        self.fit_prompt(&mut fitting);
        self.fit_size(&mut fitting);
        self.fit_look(&mut fitting);
        self.fit_output(&mut fitting);
        self.fit_inputs(&mut fitting);
        fitting.refusals.extend((self.rules)(self, &fitting.request));
        if fitting.refusals.is_empty() {
            Ok(Fit { request: fitting.request, adjustments: fitting.adjustments })
        } else {
            Err(fitting.refusals)
        }
    }

    fn fit_prompt(&self, f: &mut Fitting) {
        if let Some(style) = f.request.style.clone() {
            match self.styles.iter().find(|(id, _)| *id == style) {
                Some((_, words)) if self.styles_in_words => {
                    if !words.is_empty() {
                        f.request.prompt = format!("{}, {words}", f.request.prompt);
                    }
                    f.request.style = None;
                    let used = if words.is_empty() { "nothing is added" } else { words };
                    f.adjust(
                        "style",
                        style,
                        format!("in the prompt: {used}"),
                        "the model has no field for it",
                    );
                }
                Some(_) => {}
                None if self.styles.is_empty() => {
                    f.request.prompt = format!("{}, {style}", f.request.prompt);
                    f.request.style = None;
                    f.adjust("style", style, "part of the prompt", "the model has no styles of its own");
                }
                None => {
                    let ids: Vec<&str> = self.styles.iter().map(|(id, _)| *id).collect();
                    f.cannot("style", &style, "no such style", Some(ids.join(", ")), |r| r.style = None);
                }
            }
        }
        if !self.negative_prompt
            && let Some(text) = f.request.negative_prompt.take()
        {
            f.request.prompt = format!("{}. Avoid: {text}", f.request.prompt);
            f.adjust("negative_prompt", text, "part of the prompt", "the model has no field for it");
        }
        let length = f.request.prompt.chars().count();
        if length > self.prompt_max {
            let reason = format!("{length} characters; this model takes at most {}", self.prompt_max);
            f.refuse("prompt", reason, Some(format!("1 to {} characters", self.prompt_max)));
        }
        let unknown = |key: &String| !self.vendor_options.contains(&key.as_str());
        if let Some(key) = f.request.vendor.keys().find(|k| unknown(k)).cloned() {
            let known = (!self.vendor_options.is_empty()).then(|| self.vendor_options.join(", "));
            f.refuse("vendor", format!("this model has no option `{key}`"), known);
        }
    }

    fn fit_size(&self, f: &mut Fitting) {
        let rule = &self.sizes;
        let default_area = {
            let (w, h) = rule.default_size();
            f64::from(w) * f64::from(h)
        };
        let asked = f.request.size;
        if rule.is_auto_only() && asked != Size::Auto {
            let reason = "the vendor chooses the size of this model by itself";
            return f
                .cannot("size", &asked.to_string(), reason, Some("auto".into()), |r| r.size = Size::Auto);
        }
        let used = match asked {
            Size::Auto => match rule {
                SizeRule::List { auto: true, .. }
                | SizeRule::Named { auto: true, .. }
                | SizeRule::Free { auto: true, .. } => Size::Auto,
                _ => {
                    let (w, h) = rule.default_size();
                    Size::exact(w, h)
                }
            },
            Size::Exact { width, height } if rule.allows(width, height) => asked,
            Size::Exact { width, height } => {
                let (w, h) =
                    rule.nearest(f64::from(width) / f64::from(height), f64::from(width) * f64::from(height));
                if f.mode == Parameters::Strict {
                    let accepted = match rule {
                        SizeRule::Free { .. } | SizeRule::Named { .. } => {
                            format!("{}; the nearest is {w}x{h}", rule.describe())
                        }
                        _ => rule.describe(),
                    };
                    return f.refuse("size", format!("this model cannot make {asked}"), Some(accepted));
                }
                let used = Size::exact(w, h);
                f.adjust("size", asked.to_string(), used.to_string(), "nearest size of the model");
                used
            }
            Size::Ratio { width, height } => {
                let ratio = f64::from(width) / f64::from(height);
                let recommended = |(w, h): &&(u32, u32)| {
                    (f64::from(*w) / f64::from(*h) / ratio - 1.0).abs() < 0.01 && rule.allows(*w, *h)
                };
                let (w, h) = match self.ratios.iter().find(recommended) {
                    Some(size) => *size,
                    None => rule.nearest(ratio, default_area),
                };
                let got = f64::from(w) / f64::from(h);
                if (got / ratio - 1.0).abs() > 0.05 {
                    if f.mode == Parameters::Strict {
                        let reason = format!("this model cannot make {asked}");
                        return f.refuse("size", reason, Some(rule.describe()));
                    }
                    f.adjust("size", asked.to_string(), format!("{w}x{h}"), "nearest ratio of the model");
                }
                Size::exact(w, h)
            }
            Size::Tier(tier) => match rule {
                SizeRule::Free { tiers, .. } if tiers.contains(&tier) => asked,
                _ => {
                    let (w, h) = rule.nearest(1.0, tier.area() as f64);
                    let share = f64::from(w) * f64::from(h) / tier.area() as f64;
                    let near = if matches!(rule, SizeRule::Named { .. }) { 0.95..=1.05 } else { 0.5..=2.0 };
                    if !near.contains(&share) {
                        if f.mode == Parameters::Strict {
                            let reason = format!("this model cannot make {asked}");
                            return f.refuse("size", reason, Some(rule.describe()));
                        }
                        f.adjust("size", asked.to_string(), format!("{w}x{h}"), "nearest area of the model");
                    }
                    Size::exact(w, h)
                }
            },
        };
        f.request.size = used;
    }

    fn fit_look(&self, f: &mut Fitting) {
        if let Some(quality) =
            f.request.quality.filter(|q| *q != Quality::Auto && !self.qualities.contains(q))
        {
            let known: Vec<&str> = self.qualities.iter().map(|q| q.as_str()).collect();
            let accepted = if known.is_empty() { "leave it out".to_owned() } else { known.join(", ") };
            let nearest = self.qualities.iter().copied().filter(|q| *q < quality).max();
            f.cannot("quality", quality.as_str(), "not a quality of this model", Some(accepted), |r| {
                r.quality = nearest
            });
        }
        if let Some(seed) = f.request.seed.filter(|_| !self.seed) {
            f.cannot("seed", &seed.to_string(), "this model has no seed", None, |r| r.seed = None);
        }
        if let Some(steps) = f.request.steps {
            match &self.steps {
                Some(range) if range.contains(&steps) => {}
                Some(range) => {
                    let (low, high) = (*range.start(), *range.end());
                    let accepted = Some(format!("{low} to {high}"));
                    f.cannot("steps", &steps.to_string(), "out of this model's range", accepted, |r| {
                        r.steps = Some(steps.clamp(low, high));
                    });
                }
                None => {
                    f.cannot("steps", &steps.to_string(), "this model has no steps", None, |r| r.steps = None)
                }
            }
        }
        if let Some(guidance) = f.request.guidance {
            match &self.guidance {
                Some(range) if range.contains(&guidance) => {}
                Some(range) => {
                    let (low, high) = (*range.start(), *range.end());
                    let accepted = Some(format!("{low} to {high}"));
                    f.cannot("guidance", &guidance.to_string(), "out of this model's range", accepted, |r| {
                        r.guidance = Some(guidance.clamp(low, high));
                    });
                }
                None => {
                    f.cannot("guidance", &guidance.to_string(), "this model has no guidance", None, |r| {
                        r.guidance = None;
                    })
                }
            }
        }
        if f.request.watermark == Some(true) && !self.watermark {
            f.cannot("watermark", "true", "this model cannot draw one", Some("false".into()), |r| {
                r.watermark = Some(false)
            });
        }
        if let Some(word) = f.request.moderation.filter(|_| !self.moderation) {
            f.cannot("moderation", word.as_str(), "this model has no filter level", None, |r| {
                r.moderation = None
            });
        }
        if let Some(on) = f.request.prompt_rewrite.filter(|_| !self.prompt_rewrite) {
            if on {
                f.cannot("prompt_rewrite", "true", "this model rewrites no prompts", None, |r| {
                    r.prompt_rewrite = None
                });
            } else {
                f.request.prompt_rewrite = None;
            }
        }
        if !self.user {
            f.request.user = None;
        }
    }

    fn fit_output(&self, f: &mut Fitting) {
        if f.request.background == Some(Background::Transparent) {
            if !self.transparent {
                f.cannot(
                    "background",
                    "transparent",
                    "this model makes no transparent images",
                    Some("opaque, auto".into()),
                    |r| {
                        r.background = None;
                    },
                );
            } else if f.request.output_format == Some(OutputFormat::Jpeg) {
                f.refuse("output_format", "jpeg has no transparency".into(), Some("png, webp".into()));
            }
        } else if !self.transparent {
            f.request.background = None; // opaque and auto are what it does anyway
        }
        if let Some(format) = f.request.output_format {
            let known: Vec<&str> = self.formats.iter().map(|k| k.as_str()).collect();
            if !self.formats.contains(&format)
                || (!self.format_selectable && self.formats.first() != Some(&format))
            {
                // Not a refusal even when strict: the bytes are sniffed, and the caller sees what came.
                f.request.output_format = None;
                f.adjust(
                    "output_format",
                    format.as_str(),
                    known.first().copied().unwrap_or("png"),
                    "the model's own format",
                );
            } else if !self.format_selectable {
                f.request.output_format = None;
            }
        }
        if let Some(level) = f.request.output_compression {
            let lossy = matches!(f.request.output_format, Some(OutputFormat::Jpeg | OutputFormat::Webp));
            if !self.compression {
                f.cannot(
                    "output_compression",
                    &level.to_string(),
                    "this model has no compression level",
                    None,
                    |r| {
                        r.output_compression = None;
                    },
                );
            } else if !lossy {
                let accepted = Some("with output_format jpeg or webp".into());
                f.cannot("output_compression", &level.to_string(), "png is lossless", accepted, |r| {
                    r.output_compression = None
                });
            }
        }
    }

    fn fit_inputs(&self, f: &mut Fitting) {
        let count = f.request.references.len() as u32;
        if !self.references.contains(&count) {
            let (low, high) = (*self.references.start(), *self.references.end());
            let reason = match (count, high) {
                (_, 0) => "this model takes no reference images".to_owned(),
                (0, _) => "this model edits: it needs a reference image".to_owned(),
                _ => format!("{count} reference images"),
            };
            f.refuse("references", reason, Some(format!("{low} to {high}")));
        }
        match &f.request.mask {
            Some(_) if !self.mask => f.refuse("mask", "this model takes no mask".into(), None),
            Some(_) if count == 0 => {
                f.refuse(
                    "mask",
                    "a mask needs the reference image it belongs to".into(),
                    Some("references: [image]".into()),
                );
            }
            _ => {}
        }
        if f.request.n > self.max_n {
            f.refuse(
                "n",
                format!("{} images in one call", f.request.n),
                Some(format!("1 to {}", self.max_n)),
            );
        }
    }
}

struct Fitting {
    request: ImageRequest,
    adjustments: Vec<Adjustment>,
    refusals: Vec<Refusal>,
    mode: Parameters,
}

impl Fitting {
    fn adjust(&mut self, field: &str, asked: impl Into<String>, used: impl Into<String>, reason: &str) {
        self.adjustments.push(Adjustment::new(field, asked, used, reason));
    }
    fn refuse(&mut self, field: &str, reason: String, accepted: Option<String>) {
        self.refusals.push(Refusal { field: field.into(), reason, accepted });
    }
    /// Refused when strict; else dropped or mapped by `map`, and reported.
    fn cannot(
        &mut self,
        field: &str,
        asked: &str,
        reason: &str,
        accepted: Option<String>,
        map: impl FnOnce(&mut ImageRequest),
    ) {
        if self.mode == Parameters::Strict {
            return self.refuse(field, format!("`{asked}`: {reason}"), accepted);
        }
        map(&mut self.request);
        let now = serde_json::to_value(&self.request).unwrap_or_default();
        let used = match now.get(field) {
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => "left out".into(),
        };
        self.adjust(field, asked, used, reason);
    }
}
