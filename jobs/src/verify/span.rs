//! The part of time that is looked at.

use std::collections::BTreeMap;

use chrono::NaiveDate;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Event times `from_ms..until_ms`, in unix milliseconds; without a limit where there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub from_ms: Option<i64>,
    /// The first that is left out.
    pub until_ms: Option<i64>,
}

impl Span {
    /// Whether an instant is in it.
    pub(super) fn contains(&self, time_ms: i64) -> bool {
        self.overlaps(time_ms, time_ms.saturating_add(1))
    }

    /// Whether a file of these partition values may have rows in it. What does not say its date, may.
    pub(super) fn may_contain(&self, partition: &BTreeMap<String, Option<String>>) -> bool {
        let value = |name: &str| partition.get(name).and_then(Option::as_deref);
        let date = value("date").and_then(|date| NaiveDate::parse_from_str(date, "%Y-%m-%d").ok());
        let Some(day_ms) = date.and_then(|date| Some(date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis())) else {
            return true;
        };
        match value("hour").and_then(|hour| hour.parse::<i64>().ok()) {
            Some(hour) => self.overlaps(day_ms + hour * HOUR_MS, day_ms + (hour + 1) * HOUR_MS),
            None => self.overlaps(day_ms, day_ms + DAY_MS),
        }
    }

    fn overlaps(&self, start_ms: i64, end_ms: i64) -> bool {
        self.from_ms.is_none_or(|from_ms| end_ms > from_ms) && self.until_ms.is_none_or(|until_ms| start_ms < until_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_looked_at_by_their_day_and_hour() {
        // From 12:30 until 15:00 on the 15th of January 2025.
        let span = Span { from_ms: Some(1_736_944_200_000), until_ms: Some(1_736_953_200_000) };
        let check = |date: &str, hour: Option<&str>, expect: bool| {
            let values = [("date", Some(date)), ("hour", hour)];
            let values = values.map(|(name, value)| (name.to_owned(), value.map(str::to_owned)));
            assert_eq!(span.may_contain(&values.into()), expect, "{date} {hour:?}");
        };
        check("2025-01-15", None, true);
        check("2025-01-14", None, false);
        check("2025-01-16", None, false);
        for (hour, expect) in [("11", false), ("12", true), ("14", true), ("15", false)] {
            check("2025-01-15", Some(hour), expect);
        }
        assert!(span.may_contain(&BTreeMap::new()));
        assert!(span.contains(1_736_944_200_000) && !span.contains(1_736_953_200_000));
        assert!(Span::default().contains(i64::MAX));
    }
}
