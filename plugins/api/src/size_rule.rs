//! Which sizes a model makes, and which of them comes nearest to what was asked.

use crate::Tier;

/// Which sizes a model makes.
#[derive(Debug, Clone, PartialEq)]
pub enum SizeRule {
    /// Always this one; the vendor has no size field.
    Fixed(u32, u32),
    /// One of a list, the default first. `auto`: the vendor can also choose by itself; with an empty list it always
    /// does.
    List { sizes: Vec<(u32, u32)>, auto: bool },
    /// The vendor is told a ratio and a tier by their names and never pixels: one of these, the default first.
    /// `auto`: the vendor can also choose by itself.
    Named { sizes: Vec<NamedSize>, auto: bool },
    /// Any size within bounds. Sides and pixels are inclusive; `max_ratio` is longer by shorter side.
    Free {
        multiple: u32,
        min_side: u32,
        max_side: u32,
        min_pixels: u64,
        max_pixels: u64,
        max_ratio: f64,
        default: (u32, u32),
        /// The vendor can choose by itself.
        auto: bool,
        /// Tiers the vendor itself knows by name.
        tiers: Vec<Tier>,
    },
}

/// The usual shapes, width by height.
pub const RATIOS: [(u32, u32); 9] =
    [(1, 1), (3, 2), (2, 3), (4, 3), (3, 4), (16, 9), (9, 16), (2, 1), (1, 2)];
/// A ratio and a tier as a vendor spells them, and the pixels that come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedSize {
    pub ratio: &'static str,
    pub tier: &'static str,
    pub pixels: (u32, u32),
}

impl SizeRule {
    /// The rule in words, for a caller who must choose.
    pub fn describe(&self) -> String {
        match self {
            SizeRule::Fixed(w, h) => format!("{w}x{h} only"),
            SizeRule::List { sizes, auto } => {
                let mut words: Vec<String> = sizes.iter().map(|(w, h)| format!("{w}x{h}")).collect();
                if *auto {
                    words.push("auto".into());
                }
                words.join(", ")
            }
            SizeRule::Named { sizes, auto } => {
                let distinct = |name: fn(&NamedSize) -> &'static str| {
                    let mut names: Vec<&str> = Vec::new();
                    for size in sizes {
                        if !names.contains(&name(size)) {
                            names.push(name(size));
                        }
                    }
                    names.join(", ")
                };
                let auto = if *auto { ", or auto" } else { "" };
                format!("{} at {}{auto}", distinct(|s| s.ratio), distinct(|s| s.tier))
            }
            SizeRule::Free { multiple, min_side, max_side, min_pixels, max_pixels, max_ratio, .. } => {
                let mut words = format!("sides {min_side} to {max_side}");
                if *multiple > 1 {
                    words += &format!(" in steps of {multiple}");
                }
                if *min_pixels > 0 || *max_pixels < u64::from(*max_side) * u64::from(*max_side) {
                    words += &format!(", {min_pixels} to {max_pixels} pixels in all");
                }
                if *max_ratio < f64::from(*max_side) {
                    words += &format!(", at most {max_ratio}:1");
                }
                words
            }
        }
    }

    pub fn default_size(&self) -> (u32, u32) {
        match self {
            SizeRule::Fixed(w, h) => (*w, *h),
            SizeRule::List { sizes, .. } => sizes.first().copied().unwrap_or((1024, 1024)),
            SizeRule::Named { sizes, .. } => sizes.first().map_or((1024, 1024), |size| size.pixels),
            SizeRule::Free { default, .. } => *default,
        }
    }

    /// Sizes to choose from, the default first: all of a list, else one of each usual shape.
    pub fn examples(&self) -> Vec<(u32, u32)> {
        let (w, h) = self.default_size();
        let area = f64::from(w) * f64::from(h);
        let mut sizes = match self {
            SizeRule::Fixed(..) => Vec::new(),
            SizeRule::List { sizes, .. } => sizes.clone(),
            SizeRule::Named { sizes, .. } => sizes.iter().map(|named| named.pixels).collect(),
            SizeRule::Free { .. } => {
                RATIOS.iter().map(|(w, h)| self.nearest(f64::from(*w) / f64::from(*h), area)).collect()
            }
        };
        sizes.insert(0, (w, h));
        let mut seen = std::collections::HashSet::new();
        sizes.retain(|size| seen.insert(*size));
        sizes
    }

    pub(crate) fn allows(&self, w: u32, h: u32) -> bool {
        match self {
            SizeRule::Fixed(fw, fh) => (w, h) == (*fw, *fh),
            SizeRule::List { sizes, .. } => sizes.contains(&(w, h)),
            SizeRule::Named { sizes, .. } => sizes.iter().any(|size| size.pixels == (w, h)),
            SizeRule::Free { multiple, min_side, max_side, min_pixels, max_pixels, max_ratio, .. } => {
                let area = u64::from(w) * u64::from(h);
                let ratio = f64::from(w.max(h)) / f64::from(w.min(h).max(1));
                w.is_multiple_of(*multiple)
                    && h.is_multiple_of(*multiple)
                    && (*min_side..=*max_side).contains(&w)
                    && (*min_side..=*max_side).contains(&h)
                    && (*min_pixels..=*max_pixels).contains(&area)
                    && ratio <= max_ratio + 1e-9
            }
        }
    }

    /// Nobody but the vendor chooses.
    pub fn is_auto_only(&self) -> bool {
        matches!(self, SizeRule::List { sizes, auto: true } if sizes.is_empty())
    }

    /// The legal size that comes nearest to a ratio at an area. Of named ones the smallest that covers the area.
    pub(crate) fn nearest(&self, ratio: f64, area: f64) -> (u32, u32) {
        match self {
            SizeRule::Fixed(w, h) => (*w, *h),
            SizeRule::List { sizes, .. } => {
                let off = |&(w, h): &(u32, u32)| {
                    let (w, h) = (f64::from(w), f64::from(h));
                    (((w / h).ln() - ratio.ln()).abs() * 1e6).round() + ((w * h).ln() - area.ln()).abs()
                };
                sizes.iter().copied().min_by(|a, b| off(a).total_cmp(&off(b))).unwrap_or((1024, 1024))
            }
            SizeRule::Named { sizes, .. } => {
                let off = |&(w, h): &(u32, u32)| (f64::from(w) / f64::from(h)).ln() - ratio.ln();
                let least = sizes.iter().map(|s| off(&s.pixels).abs()).fold(f64::INFINITY, f64::min);
                // Tiers of one ratio differ in it by a rounded pixel, and a named area is not met to the pixel.
                let alike = sizes.iter().map(|s| s.pixels).filter(|p| off(p).abs() < least + 0.01);
                let area_of = |p: &(u32, u32)| u64::from(p.0) * u64::from(p.1);
                let covers = |p: &(u32, u32)| area_of(p) as f64 >= area * 0.97;
                let smallest = alike.clone().filter(covers).min_by_key(area_of);
                smallest.or_else(|| alike.max_by_key(area_of)).unwrap_or((1024, 1024))
            }
            SizeRule::Free { multiple, min_side, max_side, min_pixels, max_pixels, max_ratio, .. } => {
                let ratio = ratio.clamp(1.0 / max_ratio, *max_ratio);
                let step = f64::from(*multiple);
                let clamp = |side: f64| side.clamp(f64::from(*min_side), f64::from(*max_side));
                let area = area.clamp(*min_pixels as f64, *max_pixels as f64);
                // The widths at which both sides are within their bounds: a side that is cut alone loses the ratio.
                let (low, high) = (f64::from(*min_side), f64::from(*max_side));
                let ideal = (area * ratio).sqrt().max(low.max(low * ratio)).min(high.min(high * ratio));
                // Rounding may cross a bound by one step: grow or shrink until it holds.
                let mut scale = 1.0_f64;
                let mut best = (0, 0);
                for _ in 0..64 {
                    let width = ideal * scale;
                    let (w, h) =
                        ((clamp(width) / step).round() * step, (clamp(width / ratio) / step).round() * step);
                    best = (w as u32, h as u32);
                    if self.allows(best.0, best.1) {
                        break;
                    }
                    let small = (w * h) < *min_pixels as f64;
                    scale *= if small { 1.01 } else { 0.99 };
                }
                best
            }
        }
    }
}
