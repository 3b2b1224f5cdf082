//! What reconciliation has found: which days are closed, and which of their windows are billed otherwise than the stream has
//! counted them.
//!
//! A day is known to be closed by the version of `clicks_agg_corrected` that shows its windows, not by its record: so nothing
//! is called reconciled before its corrections are there to be read.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use chrono::{DateTime, Days, NaiveDate};
use weir_checkpoints::{DayRecord, Names, Store};
use weir_connectors::delta::{DeltaReader, ReadError, TableVersion};
use weir_dataflow::{Window, WindowQuery, WindowStats};

/// Reads closed days.
pub(super) struct Corrected {
    windows: DeltaReader,
    records: Arc<dyn Store>,
    names: Names,
    known: Mutex<Known>,
}

/// What was read lately, to be cloned cheaply.
#[derive(Clone, Default)]
struct Known {
    /// The newest revision of each closed day.
    revisions: Arc<BTreeMap<NaiveDate, u64>>,
    /// When somebody last began to look.
    looked: Option<Instant>,
    /// From when to when a closed day is, as far as anybody has asked: revisions do not change that.
    days: Arc<BTreeMap<NaiveDate, Range<i64>>>,
}

/// How long the newest revisions are taken for the newest.
const FRESH: Duration = Duration::from_secs(1);

/// Closed days, from their first millisecond to the first one after them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ClosedDays(Vec<Range<i64>>);

impl ClosedDays {
    /// Whether a window is in one of them.
    pub(super) fn have(&self, window: Window, start_ms: i64) -> bool {
        self.0.iter().any(|day| day.start <= start_ms && start_ms + window.length_ms() <= day.end)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Corrected {
    pub(super) fn new(windows: DeltaReader, records: Arc<dyn Store>, job: &str) -> Self {
        Self { windows, records, names: Names::new(job), known: Mutex::default() }
    }

    /// The closed days that windows may lie in which are asked for; none where whoever asks has to look. One question a
    /// second does, the others go on with what was known.
    pub(super) fn closed_if_known(&self, query: &WindowQuery) -> Option<ClosedDays> {
        let mut known = self.known();
        let closed = known.closed(range_of(query), |_, _| None)?;
        let looks = known.looked?.elapsed() >= FRESH;
        if looks {
            known.looked = Some(Instant::now());
        }
        (!looks).then_some(closed)
    }

    /// The same by what was last known, for when nothing can be read.
    pub(super) fn closed_as_last_known(&self, query: &WindowQuery) -> Option<ClosedDays> {
        let known = self.known();
        known.looked?;
        known.closed(range_of(query), |_, _| None)
    }

    /// Looks for the closed days that windows may lie in which are asked for.
    pub(super) fn look(&self, query: &WindowQuery) -> Result<ClosedDays> {
        let version = self.windows.version()?;
        let closed = {
            let mut known = self.known();
            known.revisions = self.revisions(&version);
            known.looked = Some(Instant::now());
            known.clone()
        };
        let mut failure = None;
        let read = |date, revision| self.day(date, revision).map_err(|error| failure = Some(error)).ok();
        let closed = closed.closed(range_of(query), read);
        closed.ok_or_else(|| failure.unwrap_or_else(|| anyhow!("a closed day cannot be read")))
    }

    /// Whether certainly none of the windows that are asked for was corrected, by what is in memory.
    pub(super) fn has_none(&self, query: &WindowQuery) -> bool {
        self.windows.has_none(query)
    }

    /// Those of the windows that are asked for which were corrected. They are newer than any epoch.
    pub(super) fn windows(&self, query: &WindowQuery) -> Result<Vec<WindowStats>, ReadError> {
        let rows = self.windows.windows(query)?;
        Ok(rows.into_iter().map(|row| WindowStats { epoch: u64::MAX, ..row }).collect())
    }

    fn revisions(&self, version: &TableVersion) -> Arc<BTreeMap<NaiveDate, u64>> {
        let of_job = version.epochs.iter().filter_map(|(app, revision)| {
            let date = app.strip_prefix(self.names.job())?.strip_prefix('/')?;
            Some((date.parse().ok()?, *revision))
        });
        Arc::new(of_job.collect())
    }

    /// Reads the record of a day, for when it starts and ends.
    fn day(&self, date: NaiveDate, revision: u64) -> Result<Range<i64>> {
        let name = self.names.day(&date.to_string(), u32::try_from(revision)?);
        let bytes = self.records.get(&name)?.with_context(|| format!("the record {name} of a closed day is gone"))?;
        let record = DayRecord::parse(&name, &bytes)?;
        let day = record.start_ms..record.end_ms;
        Arc::make_mut(&mut self.known().days).insert(date, day.clone());
        Ok(day)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// The closed days that overlap with a range. What is not known of a day is asked of `read`; without an answer there
    /// is none.
    fn closed(
        &self,
        range_ms: Range<i64>,
        mut read: impl FnMut(NaiveDate, u64) -> Option<Range<i64>>,
    ) -> Option<ClosedDays> {
        let mut closed = Vec::new();
        let (first, last) = dates_around(&range_ms);
        for (date, revision) in self.revisions.range(first..=last) {
            let day = self.days.get(date).cloned().or_else(|| read(*date, *revision))?;
            if day.start < range_ms.end && range_ms.start < day.end {
                closed.push(day);
            }
        }
        Some(ClosedDays(closed))
    }
}

/// When the windows that are asked for begin and end.
fn range_of(query: &WindowQuery) -> Range<i64> {
    query.start_ms..query.end_ms.saturating_add(query.window.length_ms())
}

/// A day of any time zone that overlaps with a range has a date between these.
fn dates_around(range_ms: &Range<i64>) -> (NaiveDate, NaiveDate) {
    let date = |time_ms: i64| {
        let time_ms = time_ms.clamp(0, weir_dataflow::MAX_EVENT_TIME_MS);
        DateTime::from_timestamp_millis(time_ms).map(|time| time.date_naive()).unwrap_or_default()
    };
    let (first, last) = (date(range_ms.start), date(range_ms.end));
    let (before, after) = (first.checked_sub_days(Days::new(1)), last.checked_add_days(Days::new(1)));
    (before.unwrap_or(first), after.unwrap_or(last))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn days_of_all_time_zones_are_looked_for() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        let noon_ms = 1_736_942_400_000;
        assert_eq!(dates_around(&(noon_ms..noon_ms + 60_000)), (day("2025-01-14"), day("2025-01-16")));
        let all = dates_around(&(i64::MIN..i64::MAX));
        assert_eq!(all, (day("1969-12-31"), NaiveDate::from_ymd_opt(10_000, 1, 1).unwrap()));
    }

    #[test]
    fn a_window_is_in_a_closed_day_only_as_a_whole() {
        let half_past_ms = 1_736_942_400_000 + 1_800_000;
        let day = half_past_ms..half_past_ms + 86_400_000;
        let closed = ClosedDays([day].into());
        assert!(closed.have(Window::OneMinute, half_past_ms) && !closed.have(Window::OneMinute, half_past_ms - 60_000));
        assert!(!closed.have(Window::OneHour, Window::OneHour.start_of(half_past_ms)));
        assert!(closed.have(Window::OneHour, Window::OneHour.start_of(half_past_ms) + 3_600_000));
    }
}
