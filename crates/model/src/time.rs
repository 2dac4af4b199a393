//! Wall-clock instants as the API prints them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Microseconds since the Unix epoch, UTC. Prints as RFC 3339 with exactly six fractional digits and `Z` (wire-api.md §1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Seconds from `earlier` to `self`; negative when `earlier` is later.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "durations of human scale fit f64 exactly enough")]
    pub fn seconds_since(self, earlier: Self) -> f64 {
        (self.0.saturating_sub(earlier.0)) as f64 / 1e6
    }

    /// `self` plus `seconds`.
    #[must_use]
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1_000_000)))
    }

    /// An instant as RFC 3339 writes it, in any zone (`2027-01-01T00:00:00Z`), or the first of a day in UTC (`2027-01-01`). Digits beyond
    /// microseconds are dropped; what is neither is `None`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(time) = text.parse::<jiff::Timestamp>() {
            return Some(Self(time.as_microsecond()));
        }
        // Without this a time of day that lacks its zone would count as midnight.
        let is_date = text.len() == "2027-01-01".len();
        let date = text.parse::<jiff::civil::Date>().ok().filter(|_| is_date)?;
        Some(Self::of(date))
    }

    /// The first instant of the month that `self` lies in, UTC.
    #[must_use]
    pub fn month_start(self) -> Self {
        let time = jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        Self::of(jiff::tz::Offset::UTC.to_datetime(time).date().first_of_month())
    }

    fn of(date: jiff::civil::Date) -> Self {
        let time = jiff::tz::Offset::UTC.to_timestamp(date.to_datetime(jiff::civil::Time::midnight()));
        // Every date but the very first and last of the calendar has its instant.
        Self(time.map_or(0, |time| time.as_microsecond()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        write!(f, "{time:.6}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_and_days_are_read_and_nothing_else() {
        let written = |text: &str| Timestamp::parse(text).map(|time| time.to_string());
        for (text, expected) in [
            ("2027-01-01T00:00:00Z", "2027-01-01T00:00:00.000000Z"),
            ("2027-01-01T01:30:00.1234567+01:30", "2027-01-01T00:00:00.123456Z"),
            ("2027-01-01", "2027-01-01T00:00:00.000000Z"),
        ] {
            assert_eq!(written(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "now", "2027-13-01", "2027-01-01T00:00:00", "1700000000", "2027-01", "2027-01-01 "] {
            assert_eq!(written(text), None, "{text}");
        }
    }

    #[test]
    fn months_begin_at_their_first_instant() {
        let start = |text: &str| Timestamp::parse(text).expect("an instant").month_start().to_string();
        assert_eq!(start("2026-07-28T12:29:08.356342Z"), "2026-07-01T00:00:00.000000Z");
        assert_eq!(start("2028-02-29"), "2028-02-01T00:00:00.000000Z");
        assert_eq!(start("2026-12-01T00:00:00Z"), "2026-12-01T00:00:00.000000Z");
    }

    #[test]
    fn six_digits_and_z() {
        assert_eq!(Timestamp(1_785_241_748_356_342).to_string(), "2026-07-28T12:29:08.356342Z");
        assert_eq!(Timestamp(1_785_241_748_000_000).to_string(), "2026-07-28T12:29:08.000000Z");
    }
}
