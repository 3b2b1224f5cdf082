//! Days of a time zone.

use anyhow::{Result, bail};
use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeZone};
use chrono_tz::Tz;

/// A day somewhere: 24 hours, or one more or less where clocks are set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalDay {
    /// The day.
    pub date: NaiveDate,
    /// Where.
    pub timezone: Tz,
    /// Its first millisecond.
    pub start_ms: i64,
    /// The first millisecond after it.
    pub end_ms: i64,
}

const MINUTE_MS: i64 = 60_000;

impl LocalDay {
    /// The day `date` in `timezone`.
    pub fn of(date: NaiveDate, timezone: Tz) -> Result<Self> {
        let next = date.checked_add_days(Days::new(1));
        let (Some(start_ms), Some(end_ms)) = (start_of(date, timezone), next.and_then(|next| start_of(next, timezone)))
        else {
            bail!("{date} is too far away");
        };
        if start_ms >= end_ms {
            bail!("there is no {date} in {timezone}: the calendar was changed there");
        }
        if start_ms % MINUTE_MS != 0 || end_ms % MINUTE_MS != 0 {
            bail!(
                "{date} does not start and end on a whole minute in {timezone}; windows are counted by minutes of UTC"
            );
        }
        Ok(Self { date, timezone, start_ms, end_ms })
    }

    /// The day as it is written in tables and names.
    #[must_use]
    pub fn text(&self) -> String {
        self.date.format("%Y-%m-%d").to_string()
    }

    /// The minutes of it.
    #[must_use]
    pub fn minutes(&self) -> i64 {
        (self.end_ms - self.start_ms) / MINUTE_MS
    }
}

/// Today's date in a time zone.
#[must_use]
pub fn date_at(unix_ms: i64, timezone: Tz) -> Option<NaiveDate> {
    DateTime::from_timestamp_millis(unix_ms).map(|time| time.with_timezone(&timezone).date_naive())
}

/// The first instant of a day. Where clocks skip midnight the day starts when they have been set; where they strike it
/// twice, with the first.
fn start_of(date: NaiveDate, timezone: Tz) -> Option<i64> {
    let midnight = date.and_time(NaiveTime::MIN);
    if let Some(start) = timezone.from_local_datetime(&midnight).earliest() {
        return Some(start.timestamp_millis());
    }
    // No clock is ever set by more than a day.
    let minutes = (1..=24 * 60).map(|minutes| midnight + chrono::TimeDelta::minutes(minutes));
    minutes
        .filter_map(|time| timezone.from_local_datetime(&time).earliest())
        .next()
        .map(|start| start.timestamp_millis())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn days_are_as_long_as_clocks_say() {
        let check = |date: &str, zone: &str, expect: Option<(&str, i64)>| {
            let day = LocalDay::of(date.parse().unwrap(), zone.parse().unwrap()).ok();
            let found = day.map(|day| {
                (DateTime::from_timestamp_millis(day.start_ms).unwrap().format("%FT%H:%M").to_string(), day.minutes())
            });
            let expect = expect.map(|(start, minutes)| (start.to_owned(), minutes));
            assert_eq!(found, expect, "{date} in {zone}");
        };
        check("2025-01-15", "UTC", Some(("2025-01-15T00:00", 24 * 60)));
        check("2025-03-30", "Europe/Berlin", Some(("2025-03-29T23:00", 23 * 60)));
        check("2025-10-26", "Europe/Berlin", Some(("2025-10-25T22:00", 25 * 60)));
        check("2025-01-15", "Asia/Kolkata", Some(("2025-01-14T18:30", 24 * 60)));
        // Half an hour there.
        check("2025-04-06", "Australia/Lord_Howe", Some(("2025-04-05T13:00", 24 * 60 + 30)));
        // Clocks were set at midnight, so the day began at one.
        check("2018-11-04", "America/Sao_Paulo", Some(("2018-11-04T03:00", 23 * 60)));
        check("2011-12-30", "Pacific/Apia", None);
    }
}
