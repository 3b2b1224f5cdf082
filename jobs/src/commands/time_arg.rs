//! Times on the command line.

use chrono::{DateTime, NaiveDate};

/// The last second that has a date: beyond it a number is no time in seconds.
const MAX_SECONDS: i64 = 253_402_300_799;

/// An instant, a day or unix seconds, as unix time in milliseconds.
pub(crate) fn parse_time(text: &str) -> Result<i64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0..=MAX_SECONDS).contains(seconds)).map(|seconds| seconds * 1000);
    let instant = || DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis());
    let day = || text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0).map(|time| time.and_utc().timestamp_millis());
    seconds.or_else(instant).or_else(day).ok_or_else(|| {
        "write a day such as 2025-01-15, an instant such as 2025-01-15T12:00:00Z, or unix time in seconds".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_instants_and_seconds_are_times() {
        assert_eq!(parse_time("2025-01-15"), Ok(1_736_899_200_000));
        assert_eq!(parse_time("2025-01-15T14:40:00Z"), Ok(1_736_952_000_000));
        assert_eq!(parse_time("1736952000"), Ok(1_736_952_000_000));
        for wrong in ["yesterday", "-1", "1736952000000000", ""] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
