use super::{BadValue, number_and_unit, text_value};
use std::{fmt, ops::Deref, str::FromStr, time::Duration};

/// A length of time as the configuration spells it: `250ms`, `30s`, `10m`, `24h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

impl Span {
    pub const fn secs(n: u64) -> Span {
        Span(Duration::from_secs(n))
    }
    pub const fn millis(n: u64) -> Span {
        Span(Duration::from_millis(n))
    }
    /// Microseconds, the unit of the database.
    pub fn as_us(&self) -> i64 {
        i64::try_from(self.0.as_micros()).unwrap_or(i64::MAX)
    }
}

impl Deref for Span {
    type Target = Duration;
    fn deref(&self) -> &Duration {
        &self.0
    }
}

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl FromStr for Span {
    type Err = BadValue;
    fn from_str(text: &str) -> Result<Span, BadValue> {
        let bad =
            || BadValue(format!("`{text}` is not a duration: write it like 250ms, 30s, 10m, 24h or 7d"));
        let (number, unit) = number_and_unit(text);
        let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?;
        let number: u64 = number.parse().map_err(|_| bad())?;
        number.checked_mul(*millis).map(Span::millis).ok_or_else(bad)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis() as u64;
        let (unit, size) = UNITS
            .into_iter()
            .find(|(_, size)| millis >= *size && millis.is_multiple_of(*size))
            .unwrap_or(("s", 1_000));
        write!(f, "{}{unit}", millis / size)
    }
}

text_value!(Span, "^[0-9]+ ?(ms|s|m|h|d)$", "a duration: 250ms, 30s, 10m, 24h, 7d");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_shown_the_same_way() {
        for text in ["250ms", "30s", "10m", "24h", "7d", "0s", "90s"] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.to_string().parse::<Span>().unwrap(), span, "{text}");
        }
        assert_eq!("7d".parse::<Span>().unwrap(), Span::secs(7 * 86_400));
        assert_eq!("90s".parse::<Span>().unwrap().to_string(), "90s");
    }

    #[test]
    fn a_bare_number_is_refused_with_the_accepted_forms() {
        for text in ["30", "", "s", "1.5h", "-1s", "1 week", "99999999999999999999s"] {
            let error = text.parse::<Span>().unwrap_err().to_string();
            assert!(error.contains("30s"), "{text}: {error}");
        }
    }
}
