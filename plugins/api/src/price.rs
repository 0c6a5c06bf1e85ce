//! What a model costs: a table with its source and date, and the estimate made from it.

use crate::{ImageRequest, Quality, Size, value::Money};

/// What one image is charged by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unit {
    /// A flat amount.
    Image(i64),
    /// The amount at 1024x1024, in proportion to the area.
    Area(i64),
    /// By the size: most pixels and the amount, from the smallest up; a larger image costs as the last.
    BySize(&'static [(u64, i64)]),
    /// A flat amount that depends on the shorter side: `small` up to so many pixels, `large` above.
    ShortSide { upto: u32, small: i64, large: i64 },
    /// An amount per tile of 512x512 and one per step.
    TilesAndSteps { tile: i64, step: i64, default_steps: u32 },
    /// Per step: an amount for each tile of 512x512 that is made, and one for each reference image.
    TilesTimesSteps { input: i64, output: i64, default_steps: u32 },
}

/// One row of a price table: the unit, for the qualities it counts for (empty: any).
#[derive(Debug, Clone, PartialEq)]
pub struct Price {
    pub quality: Option<Quality>,
    pub unit: Unit,
}

/// What a model costs, in micro-units of one currency, with where and when it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct PriceTable {
    pub currency: &'static str,
    /// `YYYY-MM-DD`.
    pub date: &'static str,
    pub source: &'static str,
    pub rows: Vec<Price>,
}

impl PriceTable {
    /// What `n` images of this request are expected to cost, and at most. `None`: no row fits.
    pub fn estimate(&self, request: &ImageRequest, default_size: (u32, u32)) -> Option<(Money, Money)> {
        let quality = request.quality.filter(|q| *q != Quality::Auto);
        let fits = |row: &&Price| row.quality.is_none() || quality.is_none() || row.quality == quality;
        let (w, h) = match request.size {
            Size::Exact { width, height } => (u64::from(width), u64::from(height)),
            Size::Tier(tier) => (tier.area().isqrt(), tier.area().isqrt()),
            _ => (default_size.0.into(), default_size.1.into()),
        };
        let amount = |row: &Price| match row.unit {
            Unit::Image(micros) => micros,
            Unit::Area(micros) => (micros as f64 * (w * h) as f64 / 1_048_576.0).ceil() as i64,
            Unit::BySize(steps) => {
                let step = steps.iter().find(|(most, _)| w * h <= *most).or(steps.last());
                step.map_or(0, |(_, micros)| *micros)
            }
            Unit::ShortSide { upto, small, large } => {
                if w.min(h) <= u64::from(upto) {
                    small
                } else {
                    large
                }
            }
            Unit::TilesAndSteps { tile, step, default_steps } => {
                let tiles = (w.div_ceil(512) * h.div_ceil(512)) as i64;
                tiles * tile + i64::from(request.steps.unwrap_or(default_steps)) * step
            }
            Unit::TilesTimesSteps { input, output, default_steps } => {
                let tiles = (w.div_ceil(512) * h.div_ceil(512)) as i64;
                let each = tiles * output + request.references.len() as i64 * input;
                i64::from(request.steps.unwrap_or(default_steps)) * each
            }
        };
        let amounts: Vec<i64> = self.rows.iter().filter(fits).map(amount).collect();
        let highest = *amounts.iter().max()?;
        // Without a quality the vendor chooses: the middle of the table is the fair guess.
        let mut sorted = amounts;
        sorted.sort_unstable();
        let expected = sorted[sorted.len() / 2];
        let n = i64::from(request.n.max(1));
        let money = |micros| Money::micros(micros, self.currency).times(n);
        Some((money(expected), money(highest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_may_change_at_an_area() {
        let unit = Unit::BySize(&[(2048 * 2048, 150), (u64::MAX, 200)]);
        let rows = vec![Price { quality: None, unit }];
        let table = PriceTable { currency: "CNY", date: "2026-11-21", source: "a list", rows };
        let of = |size| {
            let request = ImageRequest { size, ..ImageRequest::new("m", "a fox") };
            table.estimate(&request, (1024, 1024)).map(|(money, _)| money.amount_micros)
        };
        assert_eq!(of(Size::Auto), Some(150));
        assert_eq!(of(Size::exact(2048, 2048)), Some(150));
        assert_eq!(of(Size::exact(2049, 2048)), Some(200));
        assert_eq!(of(Size::Tier(crate::Tier::K4)), Some(200));
    }

    #[test]
    fn the_shorter_side_decides_between_two_prices() {
        let unit = Unit::ShortSide { upto: 1024, small: 45_000, large: 90_000 };
        let table = PriceTable {
            currency: "USD",
            date: "2026-11-21",
            source: "a test",
            rows: vec![Price { quality: None, unit }],
        };
        let price = |size: &str| {
            let request = ImageRequest { size: size.parse().unwrap(), ..ImageRequest::new("m", "a fox") };
            table.estimate(&request, (2048, 2048)).unwrap().1.amount_micros
        };
        for (size, micros) in [("1536x1024", 45_000), ("1025x1536", 90_000), ("1K", 45_000), ("auto", 90_000)]
        {
            assert_eq!(price(size), micros, "{size}");
        }
    }
}
