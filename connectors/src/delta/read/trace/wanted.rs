//! What is looked for, in the form that files are compared with.

use std::ops::Range;

use chrono::DateTime;
use serde_json::Value;

use crate::delta::live::{LiveFile, Stats};
use crate::delta::read::data_file::day_of_date;
use crate::delta::table::{day_of, hour_of};

const HOURS_A_DAY: u32 = 24;

/// Rows of one ad within some time.
pub(super) struct Wanted<'a> {
    pub(super) ad_id: &'a str,
    /// Unix time in milliseconds.
    pub(super) time_ms: Range<i64>,
    /// The column that has the rows' time; without one only the partition tells the day.
    pub(super) time_column: Option<&'static str>,
    /// A partition column that must have this value.
    pub(super) partition: Option<(&'static str, &'a str)>,
}

impl Wanted<'_> {
    /// Whether a file may have such rows, by what the log says of it.
    pub(super) fn may_be_in(&self, file: &LiveFile) -> bool {
        if !self.is_of_partition(file) {
            return false;
        }
        let stats = file.stats();
        self.ad_is_within(&stats) && self.time_is_within(&stats)
    }

    /// Whether the ad may lie between these bounds, both included. They may be shortened.
    pub(super) fn has_ad_within(&self, min: &[u8], max: Option<&[u8]>) -> bool {
        let ad = self.ad_id.as_bytes();
        ad >= min && max.is_none_or(|max| ad <= max)
    }

    pub(super) fn has_time_within(&self, min_ms: i64, max_ms: i64) -> bool {
        max_ms >= self.time_ms.start && min_ms < self.time_ms.end
    }

    /// Partitions that are not understood leave nothing out.
    fn is_of_partition(&self, file: &LiveFile) -> bool {
        let fits = self.partition.is_none_or(|(column, wanted)| file.partition(column).is_none_or(|is| is == wanted));
        let Some(day) = file.partition("date").and_then(day_of_date) else { return fits };
        let hour = file.partition("hour").and_then(|hour| hour.parse::<u32>().ok());
        fits && match hour {
            Some(hour) => self.spans(hour_of, day.saturating_mul(HOURS_A_DAY).saturating_add(hour)),
            None => self.spans(day_of, day),
        }
    }

    fn spans(&self, number_of: impl Fn(i64) -> u32, number: u32) -> bool {
        let first_ms = self.time_ms.start.max(0);
        let last_ms = (self.time_ms.end - 1).min(weir_dataflow::MAX_EVENT_TIME_MS);
        first_ms <= last_ms && (number_of(first_ms)..=number_of(last_ms)).contains(&number)
    }

    fn ad_is_within(&self, stats: &Stats) -> bool {
        let Some(min) = stats.min_values.get("ad_id").and_then(Value::as_str) else { return true };
        let max = stats.max_values.get("ad_id").and_then(Value::as_str);
        self.has_ad_within(min.as_bytes(), max.map(str::as_bytes))
    }

    fn time_is_within(&self, stats: &Stats) -> bool {
        let Some(column) = self.time_column else { return true };
        let bounds = time_ms(stats.min_values.get(column)).zip(time_ms(stats.max_values.get(column)));
        bounds.is_none_or(|(min, max)| self.has_time_within(min, max))
    }
}

fn time_ms(value: Option<&Value>) -> Option<i64> {
    Some(DateTime::parse_from_rfc3339(value?.as_str()?).ok()?.timestamp_millis())
}
