use super::{BadValue, number_and_unit, text_value};
use std::{fmt, str::FromStr};

/// An amount of one currency in integer micro-units (1,000,000 = 1 of the currency): `0.04 USD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    pub amount_micros: i64,
    currency: [u8; 3],
}

impl Money {
    /// # Panics
    /// When `currency` is not three upper-case ASCII letters: it is meant for constants.
    pub const fn micros(amount_micros: i64, currency: &str) -> Money {
        let c = currency.as_bytes();
        assert!(
            c.len() == 3
                && c[0].is_ascii_uppercase()
                && c[1].is_ascii_uppercase()
                && c[2].is_ascii_uppercase()
        );
        Money { amount_micros, currency: [c[0], c[1], c[2]] }
    }
    /// The ISO 4217 code, three upper-case letters.
    pub fn currency(&self) -> &str {
        std::str::from_utf8(&self.currency).unwrap_or("???")
    }
    pub fn times(self, n: i64) -> Money {
        Money { amount_micros: self.amount_micros.saturating_mul(n), ..self }
    }
}

impl FromStr for Money {
    type Err = BadValue;
    fn from_str(text: &str) -> Result<Money, BadValue> {
        let bad =
            || BadValue(format!("`{text}` is not an amount of money: write it like 0.04 USD or 20 EUR"));
        let (number, currency) = number_and_unit(text);
        let &[a, b, c] = currency.as_bytes() else { return Err(bad()) };
        if !currency.bytes().all(|b| b.is_ascii_uppercase()) {
            return Err(bad());
        }
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.len() > 6 || (number.contains('.') && fraction.is_empty()) {
            return Err(bad());
        }
        let whole: i64 = whole.parse().map_err(|_| bad())?;
        let fraction: i64 = format!("{fraction:0<6}").parse().map_err(|_| bad())?;
        let amount_micros =
            whole.checked_mul(1_000_000).and_then(|m| m.checked_add(fraction)).ok_or_else(bad)?;
        Ok(Money { amount_micros, currency: [a, b, c] })
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, micros) =
            (if self.amount_micros < 0 { "-" } else { "" }, self.amount_micros.unsigned_abs());
        let fraction = format!("{:06}", micros % 1_000_000);
        let kept = fraction.trim_end_matches('0');
        let kept = if kept.is_empty() { "" } else { &fraction[..kept.len().max(2)] };
        let point = if kept.is_empty() { "" } else { "." };
        write!(f, "{sign}{}{point}{kept} {}", micros / 1_000_000, self.currency())
    }
}

text_value!(Money, "^[0-9]+(\\.[0-9]{1,6})? ?[A-Z]{3}$", "money: 0.04 USD");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_keeps_six_decimals_exactly() {
        for (text, micros) in
            [("0.04 USD", 40_000), ("20 EUR", 20_000_000), ("0.000634 USD", 634), ("1.5CNY", 1_500_000)]
        {
            let money: Money = text.parse().unwrap();
            assert_eq!(money.amount_micros, micros, "{text}");
            assert_eq!(money.to_string().parse::<Money>().unwrap(), money);
        }
        assert_eq!(Money::micros(40_000, "USD").to_string(), "0.04 USD");
        assert_eq!(Money::micros(20_000_000, "USD").to_string(), "20 USD");
        assert_eq!(Money::micros(500_000, "USD").to_string(), "0.50 USD");
    }

    #[test]
    fn an_amount_without_currency_or_too_fine_is_refused() {
        for text in
            ["0.04", "USD", "0.04 usd", "$1", "0.0000001 USD", "1. USD", "-1 USD", "99999999999999999 USD"]
        {
            assert!(text.parse::<Money>().unwrap_err().to_string().contains("0.04 USD"), "{text}");
        }
    }
}
