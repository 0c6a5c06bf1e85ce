use super::{BadValue, Money, text_value};
use std::{fmt, num::NonZeroU32, str::FromStr, time::Duration};

/// How many requests in a stretch of time, evened out (a token bucket): `20/s`, `60/min`, `1000/h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub count: NonZeroU32,
    pub per: Duration,
}

const PER: [(&str, u64); 3] = [("s", 1), ("min", 60), ("h", 3_600)];

impl FromStr for Rate {
    type Err = BadValue;
    fn from_str(text: &str) -> Result<Rate, BadValue> {
        let bad = || BadValue(format!("`{text}` is not a rate: write it like 20/s, 60/min or 1000/h"));
        let (count, unit) = text.split_once('/').ok_or_else(bad)?;
        let (_, secs) = PER.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(bad)?;
        Ok(Rate { count: count.trim().parse().map_err(|_| bad())?, per: Duration::from_secs(*secs) })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = PER.iter().find(|(_, secs)| self.per.as_secs() == *secs).map_or("s", |(name, _)| name);
        write!(f, "{}/{unit}", self.count)
    }
}

text_value!(Rate, "^[0-9]+/(s|min|h)$", "a rate: 20/s, 60/min, 1000/h");

/// The calendar stretch a quota counts over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WindowUnit {
    Hour,
    Day,
    Week,
    Month,
}

const WINDOWS: [(&str, WindowUnit); 4] = [
    ("hour", WindowUnit::Hour),
    ("day", WindowUnit::Day),
    ("week", WindowUnit::Week),
    ("month", WindowUnit::Month),
];

impl fmt::Display for WindowUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(WINDOWS.iter().find(|(_, unit)| unit == self).map_or("day", |(name, _)| name))
    }
}

/// So many in a calendar window: `500/day`, `5000/month`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountWindow {
    pub count: i64,
    pub unit: WindowUnit,
}

/// So much money in a calendar window: `20 USD/day`, `200 USD/month`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpendWindow {
    pub money: Money,
    pub unit: WindowUnit,
}

fn amount_and_window(text: &str) -> Option<(&str, WindowUnit)> {
    let (amount, unit) = text.rsplit_once('/')?;
    let (_, unit) = WINDOWS.iter().find(|(name, _)| *name == unit.trim())?;
    Some((amount.trim(), *unit))
}

impl FromStr for CountWindow {
    type Err = BadValue;
    fn from_str(text: &str) -> Result<CountWindow, BadValue> {
        let bad =
            || BadValue(format!("`{text}` is not a window: write it like 500/day (hour, day, week, month)"));
        let (count, unit) = amount_and_window(text).ok_or_else(bad)?;
        let count: u32 = count.parse().map_err(|_| bad())?;
        Ok(CountWindow { count: count.into(), unit })
    }
}

impl FromStr for SpendWindow {
    type Err = BadValue;
    fn from_str(text: &str) -> Result<SpendWindow, BadValue> {
        let bad = || {
            BadValue(format!("`{text}` is not a budget: write it like 20 USD/day (hour, day, week, month)"))
        };
        let (money, unit) = amount_and_window(text).ok_or_else(bad)?;
        Ok(SpendWindow { money: money.parse().map_err(|_| bad())?, unit })
    }
}

impl fmt::Display for CountWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.unit)
    }
}
impl fmt::Display for SpendWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.money, self.unit)
    }
}

text_value!(CountWindow, "^[0-9]+/(hour|day|week|month)$", "a quota window: 500/day");
text_value!(SpendWindow, "^[0-9.]+ ?[A-Z]{3}/(hour|day|week|month)$", "a budget window: 20 USD/day");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_windows_are_read_and_shown_the_same_way() {
        for text in ["20/s", "60/min", "1000/h"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for text in ["500/day", "5000/month", "10/hour"] {
            assert_eq!(text.parse::<CountWindow>().unwrap().to_string(), text);
        }
        for text in ["20 USD/day", "0.50 EUR/week"] {
            assert_eq!(text.parse::<SpendWindow>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn wrong_forms_are_refused() {
        for text in ["60", "0/min", "60/day", "a/s", "-1/s"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        for text in ["500", "500/min", "20 USD/day"] {
            assert!(text.parse::<CountWindow>().is_err(), "{text}");
        }
        for text in ["20/day", "20 USD", "USD/day"] {
            assert!(text.parse::<SpendWindow>().is_err(), "{text}");
        }
    }
}
