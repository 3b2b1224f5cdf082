//! What the log says of a file's values, so that readers can leave files out.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use serde_json::{Map, Value, json};
use weir_checkpoints::PartitionId;

use super::table::{Column, Kind};

/// Texts are shortened to this many characters, as Delta's own writers do.
const PREFIX_CHARS: usize = 32;

/// Source partitions below this are counted in an array, others in the map: few topics have more.
const DENSE_PARTITIONS: usize = 256;

/// The rows of a file, where they come from, and the ranges of some columns.
#[derive(Debug, Default)]
pub(super) struct FileStats {
    rows: u64,
    rows_by_partition: BTreeMap<PartitionId, u64>,
    ranges: Vec<(Column, Range)>,
}

/// The smallest and the largest value of a column.
#[derive(Debug, Clone, PartialEq)]
enum Range {
    Numbers(i64, i64),
    Texts(String, String),
}

impl FileStats {
    /// The rows so far.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// The rows so far by the partition of the source that they come from; none for windows.
    pub(super) fn rows_by_partition(&self) -> &BTreeMap<PartitionId, u64> {
        &self.rows_by_partition
    }

    /// Takes rows in.
    pub(super) fn add(&mut self, columns: &[Column], batch: &RecordBatch) {
        self.rows += batch.num_rows() as u64;
        let partitions = batch.column_by_name("partition").and_then(|column| column.as_primitive_opt::<Int32Type>());
        if let Some(partitions) = partitions {
            self.count_partitions(partitions.values());
        }
        for column in columns.iter().filter(|column| column.ranged) {
            let array = batch.column_by_name(column.name);
            let Some(range) = array.and_then(|array| range_of(column.kind, array.as_ref())) else { continue };
            match self.ranges.iter_mut().find(|(known, _)| known.name == column.name) {
                Some((_, known)) => known.widen(range),
                None => self.ranges.push((*column, range)),
            }
        }
    }

    fn count_partitions(&mut self, partitions: &[i32]) {
        let mut dense = [0_u64; DENSE_PARTITIONS];
        for &partition in partitions {
            match dense.get_mut(partition as usize) {
                Some(rows) => *rows += 1,
                None => *self.rows_by_partition.entry(PartitionId(partition as u32)).or_default() += 1,
            }
        }
        for (partition, rows) in (0..).zip(dense).filter(|(_, rows)| *rows > 0) {
            *self.rows_by_partition.entry(PartitionId(partition)).or_default() += rows;
        }
    }

    /// The object that goes into the log, as text, under `stats`.
    pub(super) fn to_delta(&self) -> Value {
        let mut smallest = Map::new();
        let mut largest = Map::new();
        let mut nulls = Map::new();
        for (column, range) in &self.ranges {
            let (min, max) = range.to_delta(column.kind);
            smallest.insert(column.name.to_owned(), min);
            if let Some(max) = max {
                largest.insert(column.name.to_owned(), max);
            }
            // Columns with ranges have no nulls.
            nulls.insert(column.name.to_owned(), json!(0));
        }
        json!({ "numRecords": self.rows, "minValues": smallest, "maxValues": largest, "nullCount": nulls })
    }
}

impl Range {
    fn widen(&mut self, other: Self) {
        match (self, other) {
            (Self::Numbers(min, max), Self::Numbers(other_min, other_max)) => {
                *min = other_min.min(*min);
                *max = other_max.max(*max);
            }
            (Self::Texts(min, max), Self::Texts(other_min, other_max)) => {
                if other_min < *min {
                    *min = other_min;
                }
                if other_max > *max {
                    *max = other_max;
                }
            }
            _ => {}
        }
    }

    fn to_delta(&self, kind: Kind) -> (Value, Option<Value>) {
        match self {
            Self::Numbers(min, max) if kind == Kind::Time => (time_text(*min), Some(time_text(*max))),
            Self::Numbers(min, max) => (json!(min), Some(json!(max))),
            Self::Texts(min, max) => (json!(prefix(min)), bound_above(max).map(Value::String)),
        }
    }
}

fn range_of(kind: Kind, array: &dyn Array) -> Option<Range> {
    match kind {
        Kind::Long => number_range(array.as_primitive_opt::<Int64Type>()?.values().iter().copied()),
        Kind::Time => number_range(array.as_primitive_opt::<TimestampMicrosecondType>()?.values().iter().copied()),
        Kind::Integer => number_range(array.as_primitive_opt::<Int32Type>()?.values().iter().map(|&n| i64::from(n))),
        // Only `ad_id`, and files are sorted by it.
        Kind::Text => {
            let texts = array.as_string_opt::<i32>()?;
            let last = texts.len().checked_sub(1)?;
            Some(Range::Texts(texts.value(0).to_owned(), texts.value(last).to_owned()))
        }
        Kind::Bytes | Kind::Date => None,
    }
}

fn number_range(numbers: impl Iterator<Item = i64> + Clone) -> Option<Range> {
    Some(Range::Numbers(numbers.clone().min()?, numbers.max()?))
}

/// Our times are whole milliseconds, which is as fine as times in the log are.
fn time_text(micros: i64) -> Value {
    let time = chrono::DateTime::from_timestamp_micros(micros);
    time.map_or(Value::Null, |time| json!(time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()))
}

/// A shortened text is still no larger than what it was.
fn prefix(text: &str) -> &str {
    text.char_indices().nth(PREFIX_CHARS).map_or(text, |(end, _)| text.get(..end).unwrap_or(text))
}

/// A text that is short, and not smaller than the given one; `None` where there is none. A shortened text becomes
/// larger than everything that starts like it by raising its last character. Characters are raised below the surrogates
/// only, so that readers that compare UTF-16 find the same order.
fn bound_above(text: &str) -> Option<String> {
    let mut shortened = prefix(text).to_owned();
    if shortened.len() == text.len() {
        return Some(shortened);
    }
    while let Some(last) = shortened.pop() {
        let raised = char::from_u32(last as u32 + 1).filter(|&raised| raised < '\u{d7ff}');
        if let Some(raised) = raised {
            shortened.push(raised);
            return Some(shortened);
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn long_texts_are_shortened_to_bounds() {
        let check = |text: &str, min: &str, max: Option<&str>| {
            assert_eq!(prefix(text), min);
            assert_eq!(bound_above(text).as_deref(), max);
        };
        check("ad-1", "ad-1", Some("ad-1"));
        let exact = "x".repeat(PREFIX_CHARS);
        check(&exact, &exact, Some(&exact));
        check(&format!("{exact}a"), &exact, Some(&format!("{}y", "x".repeat(PREFIX_CHARS - 1))));
        let highest = "\u{10ffff}".repeat(PREFIX_CHARS);
        check(&format!("{highest}a"), &highest, None);
        let almost = format!("a{}", "\u{10ffff}".repeat(PREFIX_CHARS - 1));
        check(&format!("{almost}z"), &almost, Some("b"));
    }

    proptest! {
        #[test]
        fn bounds_hold(text in "\\PC{0,80}") {
            prop_assert!(prefix(&text) <= text.as_str());
            if let Some(bound) = bound_above(&text) {
                prop_assert!(bound.as_str() >= text.as_str());
                prop_assert!(bound.chars().count() <= PREFIX_CHARS);
            }
        }
    }

    #[test]
    fn rows_are_counted_by_the_partition_they_come_from() {
        let mut stats = FileStats::default();
        for partitions in [[3, 0, 3, 1000], [3, 1000, 255, 256]] {
            stats.count_partitions(&partitions);
        }
        let expect = [(0, 1), (3, 3), (255, 1), (256, 1), (1000, 2)];
        let expect = expect.map(|(partition, rows)| (PartitionId(partition), rows));
        assert_eq!(*stats.rows_by_partition(), BTreeMap::from(expect));
    }

    #[test]
    fn times_are_written_to_the_millisecond() {
        assert_eq!(time_text(1_736_952_000_123_000), json!("2025-01-15T14:40:00.123Z"));
        assert_eq!(time_text(weir_dataflow::MAX_EVENT_TIME_MS * 1000), json!("9999-12-31T23:59:59.999Z"));
    }
}
