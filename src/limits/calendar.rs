//! The calendar of quota windows: where each begins and ends, in the team's time zone.

use jiff::{Timestamp, ToSpan, tz::TimeZone};
use plugin_api::value::WindowUnit;

/// The zone of an IANA name, `Europe/Berlin`. The database of zones is a part of the program.
pub fn zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

/// Every name there is.
pub fn zones() -> Vec<String> {
    jiff::tz::db().available().map(|name| name.to_string()).collect()
}

/// The start of the window that `now_us` lies in, as a date and hour of that zone, and its end. Hours are those of UTC
/// everywhere: where clocks are set back, an hour would come twice under one name.
pub(super) fn bounds(unit: WindowUnit, zone: &TimeZone, now_us: i64) -> (String, i64) {
    const HOUR: i64 = 3_600_000_000;
    let now = Timestamp::from_microsecond(now_us).unwrap_or(Timestamp::UNIX_EPOCH);
    let today = now.to_zoned(zone.clone()).date();
    let monday = i64::from(today.weekday().to_monday_zero_offset());
    let (first, span) = match unit {
        WindowUnit::Hour => {
            return (now.strftime("%Y-%m-%dT%H").to_string(), (now_us.div_euclid(HOUR) + 1) * HOUR);
        }
        WindowUnit::Day => (today, 1.day()),
        WindowUnit::Week => (today.saturating_sub(monday.days()), 1.week()),
        WindowUnit::Month => (today.first_of_month(), 1.month()),
    };
    // A window ends where the next one's first day begins; where clocks go ahead at midnight, that is at one.
    let next = first.saturating_add(span).to_zoned(zone.clone()).and_then(|next| next.start_of_day());
    let end = next.map_or(now_us + HOUR, |next| next.timestamp().as_microsecond());
    (first.strftime("%Y-%m-%dT00").to_string(), end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(unit: WindowUnit, name: &str, now: &str) -> (String, String) {
        let now = now.parse::<Timestamp>().unwrap().as_microsecond();
        let (start, end) = bounds(unit, &zone(name).unwrap(), now);
        (start, Timestamp::from_microsecond(end).unwrap().to_string())
    }

    #[test]
    fn days_weeks_and_months_begin_at_the_midnight_of_the_zone() {
        use WindowUnit::{Day, Hour, Month, Week};
        let cases = [
            (Day, "UTC", "2026-11-21T13:45:00Z", "2026-11-21T00", "2026-11-22T00:00:00Z"),
            (Day, "Asia/Shanghai", "2026-11-21T16:00:00Z", "2026-11-22T00", "2026-11-22T16:00:00Z"),
            (Day, "America/Los_Angeles", "2026-11-21T07:59:59Z", "2026-11-20T00", "2026-11-21T08:00:00Z"),
            (Week, "Europe/Berlin", "2026-11-22T23:30:00Z", "2026-11-23T00", "2026-11-29T23:00:00Z"),
            (Month, "Europe/Berlin", "2026-11-30T22:59:59Z", "2026-11-01T00", "2026-11-30T23:00:00Z"),
            (Month, "Europe/Berlin", "2026-11-30T23:00:00Z", "2026-12-01T00", "2026-12-31T23:00:00Z"),
            // The clocks go back on the 25th of October: the day has 25 hours.
            (Day, "Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-25T00", "2026-10-25T23:00:00Z"),
            // And ahead on the 29th of March: 23.
            (Day, "Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-29T00", "2026-03-29T22:00:00Z"),
            // Ahead at midnight: the day begins at one o'clock, and has its name all the same.
            (Day, "Africa/Cairo", "2026-04-24T10:00:00Z", "2026-04-24T00", "2026-04-24T21:00:00Z"),
            (Hour, "Asia/Kolkata", "2026-11-21T13:45:00Z", "2026-11-21T13", "2026-11-21T14:00:00Z"),
        ];
        for (unit, zone, now, start, end) in cases {
            assert_eq!(at(unit, zone, now), (start.into(), end.into()), "{unit} in {zone} at {now}");
        }
    }

    #[test]
    fn windows_follow_one_another_without_a_gap() {
        for name in ["UTC", "Europe/Berlin", "Africa/Cairo", "Australia/Lord_Howe", "Pacific/Apia"] {
            let zone = zone(name).unwrap();
            for unit in [WindowUnit::Hour, WindowUnit::Day, WindowUnit::Week, WindowUnit::Month] {
                let mut now = "2011-12-01T00:00:00Z".parse::<Timestamp>().unwrap().as_microsecond();
                let mut seen = std::collections::HashSet::new();
                for _ in 0..400 {
                    let (start, end) = bounds(unit, &zone, now);
                    assert!(end > now && seen.insert(start.clone()), "{name}, {unit}: {start} again");
                    assert_eq!(bounds(unit, &zone, end - 1), (start, end), "{name}, {unit}: its last moment");
                    now = end;
                }
            }
        }
        assert!(zone("Europe/Berlim").is_none());
    }
}
