//! The time line: what has happened, when, and who said so.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use stdx::UnixMs;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When it was seen here, in milliseconds since 1970, UTC.
    pub at: i64,
    /// Whose it is: a member's name, or `up`.
    pub source: String,
    /// What happened; of a sentinel, its event and payload as published.
    pub text: String,
}

impl Event {
    /// Something that happens now.
    pub fn now(source: &str, text: impl Into<String>) -> Event {
        Event { at: unix_now().0, source: source.into(), text: text.into() }
    }

    /// The event as a line of text, with the date.
    pub fn line(&self) -> String {
        format!("{} {} {}", date_and_time(self.at), self.source, self.text)
    }
}

/// The wall clock.
pub fn unix_now() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs(since.as_millis() as i64)
}

/// `2026-01-31T23:59:59.123Z`
pub fn date_and_time(unix_ms: i64) -> String {
    let (year, month, day) = civil_date(unix_ms.div_euclid(86_400_000));
    format!("{year:04}-{month:02}-{day:02}T{}Z", time_of_day(unix_ms))
}

/// `23:59:59.123`, UTC.
pub fn time_of_day(unix_ms: i64) -> String {
    let ms = unix_ms.rem_euclid(86_400_000);
    format!("{:02}:{:02}:{:02}.{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000)
}

/// Year, month and day of a count of days since 1970-01-01. The calendar repeats every 400 years
/// of 146097 days; a year is counted from March, so that the leap day is its last.
fn civil_date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date_and_time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(date_and_time(951_782_400_000 - 1), "2000-02-28T23:59:59.999Z");
        assert_eq!(date_and_time(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(date_and_time(1_795_372_276_638), "2026-11-22T18:31:16.638Z");
        assert_eq!(date_and_time(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(date_and_time(4_102_444_799_000), "2099-12-31T23:59:59.000Z");
    }

    #[test]
    fn lines() {
        let event = Event { at: 1000, source: "sentinel-1".into(), text: "+sdown master".into() };
        assert_eq!(event.line(), "1970-01-01T00:00:01.000Z sentinel-1 +sdown master");
        assert!(Event::now("up", "x").at > 1_700_000_000_000);
    }
}
