//! Moments as people and assistants write them.

use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    tz::TimeZone,
};
use plugin_api::value::Span;

/// What [`moment_us`] takes, for messages.
pub const MOMENTS: &str =
    "2026-11-21, 2026-11-21T12:00:00Z, milliseconds since 1970, or how long ago, such as 90m, 24h or 7d";

/// Microseconds since 1970 UTC. A day is its begin, or with `end` what follows its last moment; a time without a zone
/// is UTC; a length of time counts back from now. `None`: it is none of [`MOMENTS`].
pub fn moment_us(text: &str, now_us: i64, end: bool) -> Option<i64> {
    let text = text.trim();
    if text.len() > 8 && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse::<i64>().ok()?.checked_mul(1_000);
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time.as_microsecond());
    }
    if let Ok(span) = text.parse::<Span>() {
        return now_us.checked_sub(span.as_us());
    }
    let utc = |time: DateTime| Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_microsecond());
    match text.parse::<Date>() {
        // A time is no day, though it begins with one.
        Ok(day) if !text.contains(['T', 't', ' ', ':']) => {
            utc(if end { day.tomorrow().ok()? } else { day }.at(0, 0, 0, 0))
        }
        _ => utc(text.parse().ok()?),
    }
}

/// `2026-11-21 03:17:24 UTC`.
pub fn utc(us: i64) -> String {
    match Timestamp::from_microsecond(us) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => "?".into(),
    }
}

/// `2026-11-21T03:17:24Z`, for programs.
pub fn rfc3339(us: i64) -> String {
    match Timestamp::from_microsecond(us) {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => "?".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_come_as_days_times_milliseconds_and_lengths() {
        const DAY: i64 = 86_400_000_000;
        let noon = 1_795_262_400_000_000; // 2026-11-21T12:00:00Z
        for (text, us) in [
            ("2026-11-21T12:00:00Z", noon),
            ("2026-11-21T14:00:00+02:00", noon),
            ("2026-11-21T12:00", noon),
            ("2026-11-21 12:00:00", noon),
            ("1795262400000", noon),
            (" 24h ", noon - DAY),
            ("7d", noon - 7 * DAY),
        ] {
            assert_eq!(moment_us(text, noon, false), Some(us), "{text}");
            assert_eq!(moment_us(text, noon, true), Some(us), "{text}");
        }
        assert_eq!(moment_us("2026-11-21", noon, false), Some(noon - DAY / 2));
        assert_eq!(moment_us("2026-11-21", noon, true), Some(noon + DAY / 2), "the whole day");
        for text in ["", "yesterday", "2026-13-01", "7 days", "12", "9999999999999999999"] {
            assert_eq!(moment_us(text, noon, false), None, "{text}");
        }
    }
}
