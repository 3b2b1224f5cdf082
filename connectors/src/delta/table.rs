//! What the three tables look like: one list of columns each, from which the Parquet schema, the Delta schema and the
//! writer's settings all follow.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde_json::{Value, json};
use weir_dataflow::{RowKind, Window};

/// A table of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// `clicks_agg`: windows that closed.
    Agg,
    /// `clicks_late`: clicks that were not counted because of their time.
    Late,
    /// `clicks_raw`: every valid click.
    Raw,
}

/// A column, as readers see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) nullable: bool,
    pub(super) layout: Layout,
    /// Whether its smallest and largest value help a reader to skip files and pages.
    pub(super) ranged: bool,
    /// Whether readers look for single values of it.
    pub(super) looked_up: bool,
}

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Bytes,
    Long,
    Integer,
    /// Microseconds, UTC.
    Time,
    Date,
}

/// How a column lies in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Few different values.
    Dictionary,
    /// Nearly all values differ.
    Plain,
    /// Numbers that are near their neighbours.
    Deltas,
    /// Not in the file: its value is the same for all rows and stands in the log.
    PartitionedBy,
}

impl Table {
    /// Its name: the sink's, and its folder's.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agg => "clicks_agg",
            Self::Late => "clicks_late",
            Self::Raw => "clicks_raw",
        }
    }

    /// The rows that go into it.
    #[must_use]
    pub const fn row_kind(self) -> RowKind {
        match self {
            Self::Agg => RowKind::Window,
            Self::Late => RowKind::Late,
            Self::Raw => RowKind::Archive,
        }
    }

    /// Rows of a page: the least that a reader decompresses. Windows are asked for ad by ad, a few rows of each file;
    /// clicks are scanned.
    pub(super) const fn page_rows(self) -> usize {
        match self {
            Self::Agg => 1_024,
            Self::Late | Self::Raw => 20_000,
        }
    }

    /// Its columns, with `extra` where the job keeps unknown fields.
    pub(super) fn columns(self, extra: bool) -> Vec<Column> {
        let mut columns = match self {
            Self::Agg => window_columns(),
            Self::Late | Self::Raw => click_columns(self == Self::Late, extra),
        };
        let partition_columns: &[(&str, Kind)] = match self {
            Self::Agg => &[("window", Kind::Text), ("date", Kind::Date)],
            Self::Late => &[("date", Kind::Date)],
            Self::Raw => &[("date", Kind::Date), ("hour", Kind::Integer)],
        };
        columns.extend(partition_columns.iter().map(|&(name, kind)| column(name, kind, Layout::PartitionedBy)));
        columns
    }

    /// What the partition of a number is called, in the order of the partition columns. See [`partition_of_window`],
    /// [`day_of`] and [`hour_of`].
    pub(super) fn partition_values(self, partition: u32) -> Vec<(&'static str, String)> {
        match self {
            Self::Agg => {
                let index = (partition >> WINDOW_SHIFT) as usize;
                let window = Window::ALL.get(index).map_or("unknown", |window| window.as_str());
                let day = partition & ((1 << WINDOW_SHIFT) - 1);
                vec![("window", window.to_owned()), ("date", date_text(day))]
            }
            Self::Late => vec![("date", date_text(partition))],
            Self::Raw => vec![("date", date_text(partition / 24)), ("hour", (partition % 24).to_string())],
        }
    }
}

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;

/// The days until the year 9999 fit below it.
const WINDOW_SHIFT: u32 = 24;

/// The day of an event time, counted from 1970. Event times lie between 1970 and 9999: decoding refuses any other.
#[inline]
pub(super) const fn day_of(time_ms: i64) -> u32 {
    time_ms.div_euclid(DAY_MS) as u32
}

/// The hour of an event time, counted from 1970.
#[inline]
pub(super) const fn hour_of(time_ms: i64) -> u32 {
    time_ms.div_euclid(HOUR_MS) as u32
}

/// The partition of a window's row: its length and its day.
#[inline]
pub(super) const fn partition_of_window(window: Window, start_ms: i64) -> u32 {
    let index: u32 = match window {
        Window::OneMinute => 0,
        Window::FiveMinutes => 1,
        Window::OneHour => 2,
    };
    (index << WINDOW_SHIFT) | day_of(start_ms)
}

pub(super) fn date_text(day: u32) -> String {
    let date = chrono::NaiveDate::from_num_days_from_ce_opt(day as i32 + DAYS_BEFORE_1970);
    date.map_or_else(|| format!("day-{day}"), |date| date.format("%Y-%m-%d").to_string())
}

/// Days from the start of the common era, which `chrono` counts from, to the 1st of January 1970.
pub(super) const DAYS_BEFORE_1970: i32 = 719_163;

pub(super) const fn column(name: &'static str, kind: Kind, layout: Layout) -> Column {
    Column { name, kind, nullable: false, layout, ranged: false, looked_up: false }
}

impl Column {
    pub(super) const fn nullable(self) -> Self {
        Self { nullable: true, ..self }
    }

    pub(super) const fn ranged(self) -> Self {
        Self { ranged: true, ..self }
    }

    pub(super) const fn looked_up(self) -> Self {
        Self { looked_up: true, ..self }
    }
}

pub(super) fn window_columns() -> Vec<Column> {
    vec![
        // In a file of few minutes most ads have few rows, and whoever looks for one would have to read all names of a
        // dictionary. Sorted as they are, names compress well.
        column("ad_id", Kind::Text, Layout::Plain).ranged().looked_up(),
        column("window_start", Kind::Time, Layout::Deltas).ranged(),
        column("window_end", Kind::Time, Layout::Deltas).ranged(),
        column("click_count", Kind::Long, Layout::Dictionary).ranged(),
        column("unique_users", Kind::Long, Layout::Dictionary).ranged(),
        column("user_sketch", Kind::Bytes, Layout::Plain),
        column("region", Kind::Text, Layout::Dictionary).nullable(),
        column("epoch", Kind::Long, Layout::Dictionary).ranged(),
    ]
}

fn click_columns(reason: bool, extra: bool) -> Vec<Column> {
    let mut columns = vec![
        column("ad_id", Kind::Text, Layout::Dictionary).ranged().looked_up(),
        column("user_id", Kind::Text, Layout::Plain),
        column("timestamp", Kind::Long, Layout::Deltas),
        column("click_id", Kind::Text, Layout::Plain).nullable().looked_up(),
        column("ip_address", Kind::Text, Layout::Plain).nullable(),
        column("user_agent", Kind::Text, Layout::Dictionary).nullable(),
        column("event_time", Kind::Time, Layout::Deltas).ranged(),
    ];
    if reason {
        columns.push(column("reason", Kind::Text, Layout::Dictionary));
    }
    columns.extend([
        column("topic", Kind::Text, Layout::Dictionary),
        column("partition", Kind::Integer, Layout::Dictionary).ranged(),
        column("offset", Kind::Long, Layout::Deltas).ranged(),
        column("epoch", Kind::Long, Layout::Dictionary).ranged(),
        column("region", Kind::Text, Layout::Dictionary).nullable(),
    ]);
    if extra {
        columns.push(column("extra", Kind::Text, Layout::Plain).nullable());
    }
    columns
}

/// The schema of the data files: every column that is not a partition's.
pub(super) fn file_schema(columns: &[Column]) -> SchemaRef {
    let stored = columns.iter().filter(|column| column.layout != Layout::PartitionedBy);
    let fields = stored.map(|column| Field::new(column.name, column.kind.arrow(), column.nullable));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The schema in the words of Delta.
pub(super) fn delta_schema(columns: &[Column]) -> Value {
    json!({ "type": "struct", "fields": columns.iter().map(Column::delta_field).collect::<Vec<_>>() })
}

/// The names of the partition columns.
pub(super) fn partition_columns(columns: &[Column]) -> Vec<String> {
    let partitioned = columns.iter().filter(|column| column.layout == Layout::PartitionedBy);
    partitioned.map(|column| column.name.to_owned()).collect()
}

impl Column {
    /// One field of a Delta schema.
    pub(super) fn delta_field(&self) -> Value {
        json!({ "name": self.name, "type": self.kind.delta(), "nullable": self.nullable, "metadata": {} })
    }
}

impl Kind {
    fn arrow(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Bytes => DataType::Binary,
            Self::Long => DataType::Int64,
            Self::Integer => DataType::Int32,
            Self::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Date => DataType::Date32,
        }
    }

    /// Its name in a Delta schema.
    pub(super) const fn delta(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Bytes => "binary",
            Self::Long => "long",
            Self::Integer => "integer",
            Self::Time => "timestamp",
            Self::Date => "date",
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_named_by_the_utc_day_up_to_the_last_one() {
        let check = |table: Table, partition: u32, expect: &[(&str, &str)]| {
            let values = table.partition_values(partition);
            let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
            assert_eq!(values, expect);
        };
        check(Table::Late, day_of(0), &[("date", "1970-01-01")]);
        check(Table::Late, day_of(1_736_985_599_999), &[("date", "2025-01-15")]);
        check(Table::Raw, hour_of(1_736_985_599_999), &[("date", "2025-01-15"), ("hour", "23")]);
        check(Table::Raw, hour_of(weir_dataflow::MAX_EVENT_TIME_MS), &[("date", "9999-12-31"), ("hour", "23")]);
        let last = partition_of_window(Window::OneHour, weir_dataflow::MAX_EVENT_TIME_MS);
        check(Table::Agg, last, &[("window", "1h"), ("date", "9999-12-31")]);
        let first = partition_of_window(Window::OneMinute, 0);
        check(Table::Agg, first, &[("window", "1m"), ("date", "1970-01-01")]);
    }
}
