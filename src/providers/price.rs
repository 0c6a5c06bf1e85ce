//! What one call costs, in the currency of `routing.currency`.

use super::settings::{Model, Routing, When, Words};
use plugin_api::{Background, Capabilities, ImageRequest, Quality, value::Money};

/// Expected and highest price of one call, and where they come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Priced {
    pub expected: Money,
    pub highest: Money,
    pub source: String,
}

/// The model's own rule where one matches, else the plugin's table. `None`: nobody knows.
pub fn price(
    model: Option<&Model>,
    caps: &Capabilities,
    request: &ImageRequest,
    routing: &Routing,
) -> Option<Priced> {
    let images = i64::from((caps.images)(request).max(1));
    let own = model.and_then(|m| m.price.iter().find(|rule| when_fits(&rule.when, request)));
    if let Some(rule) = own {
        let money = convert(rule.image.times(images), routing)?;
        return Some(Priced { expected: money, highest: money, source: "configuration".into() });
    }
    let table = caps.price.as_ref()?;
    let one = ImageRequest { n: 1, ..request.clone() };
    let (expected, highest) = table.estimate(&one, caps.sizes.default_size())?;
    let (expected, highest) = (expected.times(images), highest.times(images));
    let source = format!("{} ({})", table.source, table.date);
    Some(Priced { expected: convert(expected, routing)?, highest: convert(highest, routing)?, source })
}

/// The part of a condition that is about the request itself.
pub fn when_fits(when: &When, request: &ImageRequest) -> bool {
    let quality = request.quality.unwrap_or(Quality::Auto).as_str();
    let background = request.background.unwrap_or(Background::Auto).as_str();
    any(&when.quality, quality)
        && any(&when.background, background)
        && any(&when.size, &request.size.to_string())
        && any(&when.style, request.style.as_deref().unwrap_or(""))
        && when.references.is_none_or(|want| want != request.references.is_empty())
}

/// Whether a word is among those a condition names; no condition is no obstacle.
pub fn any(words: &Option<Words>, word: &str) -> bool {
    words.as_ref().is_none_or(|words| words.as_slice().iter().any(|pattern| super::glob::fits(pattern, word)))
}

/// At the dated rates of the configuration; `None`: there is none for this currency.
pub fn convert(money: Money, routing: &Routing) -> Option<Money> {
    if money.currency() == routing.currency {
        return Some(money);
    }
    let rate = routing.exchange_rates.get(money.currency())?;
    let currency = routing.currency.as_str();
    let well_formed = currency.len() == 3 && currency.bytes().all(|b| b.is_ascii_uppercase());
    // Up, so that no reservation is too small.
    well_formed.then(|| Money::micros((money.amount_micros as f64 * rate).ceil() as i64, currency))
}
