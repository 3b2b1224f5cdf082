//! Which files have rows of the day.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate};
use weir_checkpoints::{Manifest, Store};
use weir_dataflow::{SinkError, Window};

use super::DayRange;
use crate::delta::lineage::epoch_of;
use crate::delta::live::{LiveFile, LiveTable};
use crate::delta::read::plain_path;
use crate::delta::{Table, refused};

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;

/// A file, and the table that it is of.
#[derive(Debug, Clone)]
pub(super) struct FileOf {
    pub(super) table: Table,
    pub(super) live: LiveFile,
}

impl FileOf {
    /// Whether it has windows, or clicks of one of these hours.
    pub(super) fn has_rows_of_windows(&self, hours_ms: &BTreeSet<i64>) -> Result<bool, SinkError> {
        match self.table {
            Table::Agg => Ok(true),
            Table::Late => Ok(false),
            Table::Raw => Ok(span(Table::Raw, &self.live)?.is_some_and(|(start_ms, _)| hours_ms.contains(&start_ms))),
        }
    }
}

/// In the order of tables and names.
pub(super) fn find(store: &dyn Store, range: DayRange, manifest: &Manifest) -> Result<Vec<FileOf>, SinkError> {
    let mut files = Vec::new();
    let around = (range.start_ms - range.margin_ms, range.end_ms + range.margin_ms);
    for (table, (from_ms, until_ms)) in
        [(Table::Raw, around), (Table::Late, around), (Table::Agg, (range.start_ms, range.end_ms))]
    {
        for live in LiveTable::read(store, table.name(), Some(manifest))?.files() {
            // The table may be ahead of the manifest. A compacted file has no epoch of its own: what is later in it is left
            // out row by row, and nothing else is in it that the manifest holds back, for days with such rows are not
            // complete.
            if live.epoch().is_some_and(|epoch| epoch > manifest.epoch.0) {
                continue;
            }
            let Some((first_ms, length_ms)) = span(table, live)? else { continue };
            if first_ms < until_ms && first_ms + length_ms > from_ms {
                files.push(FileOf { table, live: live.clone() });
            }
        }
    }
    Ok(files)
}

/// The files, a line each.
pub(super) fn as_they_are(files: &[FileOf]) -> String {
    files.iter().map(|file| line(&file.live.name, file.live.size_bytes, file.live.sha256())).collect()
}

/// The same with the sources of compacted files in their place, as if nothing had been compacted: those of later epochs are
/// left out.
pub(super) fn as_written(files: &[FileOf], epoch: u64) -> String {
    let mut text = String::new();
    for of_table in files.chunk_by(|a, b| a.table == b.table) {
        let mut lines = BTreeMap::new();
        for FileOf { table, live } in of_table {
            let Some(lineage) = live.lineage() else {
                lines.insert(live.add.path.clone(), line(&live.name, live.size_bytes, live.sha256()));
                continue;
            };
            let sources = lineage.sources.into_iter();
            for source in sources.filter(|source| epoch_of(&source.path).is_none_or(|of_file| of_file <= epoch)) {
                let path = plain_path(&source.path).unwrap_or_else(|_| source.path.clone());
                let name = format!("{}/{path}", table.name());
                lines.insert(source.path, line(&name, source.size, source.sha256.as_deref()));
            }
        }
        lines.into_values().for_each(|line| text.push_str(&line));
    }
    text
}

fn line(name: &str, size_bytes: u64, sha256: Option<&str>) -> String {
    format!("{name} {size_bytes} {}\n", sha256.unwrap_or("-"))
}

/// A worker's files: the largest first, each to the worker that has the least.
pub(super) fn dealt(files: &[FileOf], worker: usize, workers: usize) -> Vec<FileOf> {
    let mut by_size: Vec<&FileOf> = files.iter().collect();
    by_size.sort_by_key(|file| (std::cmp::Reverse(file.live.size_bytes), &file.live.name));
    let mut bytes = vec![0_u64; workers.max(1)];
    let mut mine = Vec::new();
    for file in by_size {
        let Some((least, sum)) = bytes.iter_mut().enumerate().min_by_key(|(_, sum)| **sum) else { break };
        *sum += file.live.size_bytes.max(1);
        if least == worker {
            mine.push(file.clone());
        }
    }
    mine
}

/// When a file's partition starts, and how long it is; none of windows that are not counted from.
fn span(table: Table, live: &LiveFile) -> Result<Option<(i64, i64)>, SinkError> {
    let (value, name) = (|column: &str| live.partition(column), &live.name);
    let unfit = || refused(table.name(), format!("its log has a file `{name}` without a partition that is understood"));
    if table == Table::Agg && value("window") != Some(Window::OneMinute.as_str()) {
        return Ok(None);
    }
    let date = value("date").and_then(|date| NaiveDate::parse_from_str(date, "%Y-%m-%d").ok()).ok_or_else(unfit)?;
    let start_ms =
        date.and_hms_opt(0, 0, 0).map(|start| start.and_utc()).map(|start: DateTime<_>| start.timestamp_millis());
    let start_ms = start_ms.ok_or_else(unfit)?;
    if table != Table::Raw {
        return Ok(Some((start_ms, DAY_MS)));
    }
    let hour: i64 = value("hour").and_then(|hour| hour.parse().ok()).ok_or_else(unfit)?;
    Ok(Some((start_ms + hour * HOUR_MS, HOUR_MS)))
}
