//! The one size type: `auto`, `WxH`, a ratio `W:H`, or a tier `1K`..`4K`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// A named area: 1K = 1024x1024 pixels, each further step a square of that side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    K1,
    K2,
    K3,
    K4,
}

impl Tier {
    const ALL: [(Tier, &'static str, u64); 4] =
        [(Tier::K1, "1K", 1024), (Tier::K2, "2K", 2048), (Tier::K3, "3K", 3072), (Tier::K4, "4K", 4096)];

    /// Pixels of the tier's square.
    pub fn area(self) -> u64 {
        Tier::ALL.iter().find(|t| t.0 == self).map_or(1, |t| t.2 * t.2)
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Tier::ALL.iter().find(|t| t.0 == *self).map_or("1K", |t| t.1))
    }
}

/// The size asked for. Pixels are width x height.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Size {
    /// The vendor's or the model's choice.
    #[default]
    Auto,
    Exact {
        width: u32,
        height: u32,
    },
    Ratio {
        width: u32,
        height: u32,
    },
    Tier(Tier),
}

impl Size {
    pub const fn exact(width: u32, height: u32) -> Size {
        Size::Exact { width, height }
    }
}

/// What was written is none of the accepted forms.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no size: use auto, WxH such as 1536x1024, a ratio such as 3:2, or 1K, 2K, 3K, 4K")]
pub struct BadSize(String);

/// `W:H` with both sides at least this long means pixels, else a ratio.
const LEAST_SIDE: u32 = 64;

impl FromStr for Size {
    type Err = BadSize;
    fn from_str(text: &str) -> Result<Size, BadSize> {
        let bad = || BadSize(text.chars().take(40).collect());
        let clean = text.trim();
        if clean.eq_ignore_ascii_case("auto") {
            return Ok(Size::Auto);
        }
        if let Some((tier, _, _)) = Tier::ALL.iter().find(|t| t.1.eq_ignore_ascii_case(clean)) {
            return Ok(Size::Tier(*tier));
        }
        let side = |text: &str| text.trim().parse::<u32>().ok().filter(|n| (1..=65_535).contains(n));
        let pair = |mark: &[char]| {
            let (width, height) = clean.split_once(mark)?;
            Some((side(width)?, side(height)?))
        };
        if let Some((width, height)) = pair(&['x', 'X', '*', '×']) {
            return Ok(Size::Exact { width, height });
        }
        match pair(&[':']) {
            Some((width, height)) if width.min(height) >= LEAST_SIDE => Ok(Size::Exact { width, height }),
            Some((width, height)) => Ok(Size::Ratio { width, height }),
            None => Err(bad()),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Size::Auto => f.write_str("auto"),
            Size::Exact { width, height } => write!(f, "{width}x{height}"),
            Size::Ratio { width, height } => write!(f, "{width}:{height}"),
            Size::Tier(tier) => tier.fmt(f),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Size, D::Error> {
        <std::borrow::Cow<'de, str>>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_shown_the_same_way() {
        for text in ["auto", "1536x1024", "3:2", "1K", "4K"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        assert_eq!("1024:768".parse::<Size>().unwrap(), Size::exact(1024, 768), "long sides are pixels");
        assert_eq!("16:9".parse::<Size>().unwrap(), Size::Ratio { width: 16, height: 9 });
        assert_eq!("1024*768".parse::<Size>().unwrap(), Size::exact(1024, 768));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "big", "0x0", "1024x", "x", "-1x5", "5K", "1x2x3", "99999x1"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
