//! Which files are merged: a pure function of the table's files.

use std::collections::{BTreeMap, HashMap};

use chrono::NaiveDate;

use super::CompactSettings;
use crate::delta::Table;
use crate::delta::lineage::epoch_of;
use crate::delta::live::{LiveFile, LiveTable};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Files of one partition that are to become one.
#[derive(Debug, Clone)]
pub struct Merge {
    /// In the order of their epochs.
    pub(super) files: Vec<LiveFile>,
}

impl Merge {
    /// The partition, as it stands in paths: `date=2025-01-15/hour=9`.
    #[must_use]
    pub fn partition(&self) -> String {
        let path = self.files.first().map_or("", |file| file.add.path.as_str());
        path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned()
    }

    /// How many files.
    #[must_use]
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }
}

/// What the rows of files that were read before take in memory, by the files' paths; at least, where there was no room for
/// them.
pub(super) type Decoded = HashMap<String, usize>;

/// In the order of partitions.
pub(super) fn merges(table: Table, live: &LiveTable, settings: &CompactSettings, decoded: &Decoded) -> Vec<Merge> {
    let mut partitions: BTreeMap<_, Vec<&LiveFile>> = BTreeMap::new();
    for file in live.files().filter(|file| is_small(file, settings)) {
        partitions.entry(&file.add.partition_values).or_default().push(file);
    }
    partitions.retain(|_, files| files.first().is_some_and(|file| is_due(table, file, settings)));
    let merges = partitions.into_values().filter(|files| files.len() >= settings.min_files.max(2));
    merges.flat_map(|files| within(files, settings, decoded)).collect()
}

pub(super) fn is_small(file: &LiveFile, settings: &CompactSettings) -> bool {
    file.size_bytes < settings.target_bytes / 2
}

/// Groups of neighbours, none larger than the target, nor in memory, as far as that is known, than the room for it.
fn within(mut files: Vec<&LiveFile>, settings: &CompactSettings, decoded: &Decoded) -> Vec<Merge> {
    files.sort_by_cached_key(|file| (first_epoch(file), file.add.path.clone()));
    let mut merges: Vec<Merge> = Vec::new();
    let (mut bytes, mut in_memory) = (0, 0);
    for file in files {
        let of_file = decoded.get(&file.add.path).copied().unwrap_or_default();
        let fits = bytes + file.size_bytes <= settings.target_bytes && in_memory + of_file <= settings.room_bytes();
        if merges.is_empty() || !fits {
            merges.push(Merge { files: Vec::new() });
            (bytes, in_memory) = (0, 0);
        }
        bytes += file.size_bytes;
        in_memory += of_file;
        if let Some(merge) = merges.last_mut() {
            merge.files.push(file.clone());
        }
    }
    merges.retain(|merge| merge.files.len() > 1);
    merges
}

/// Files that nobody knows the epoch of come last.
fn first_epoch(file: &LiveFile) -> u64 {
    let of_sources = || {
        let lineage = file.lineage()?;
        lineage.sources.iter().filter_map(|source| epoch_of(&source.path)).min()
    };
    file.epoch().or_else(of_sources).unwrap_or(u64::MAX)
}

/// Whether a file's partition is to be compacted. One whose values are not understood is not.
fn is_due(table: Table, file: &LiveFile, settings: &CompactSettings) -> bool {
    let end_ms = partition_of(table, file).map(|(_, end_ms)| end_ms);
    end_ms.is_some_and(|end_ms| end_ms <= settings.settled_until_ms) && is_asked_for(table, file, settings)
}

/// Whether a file is of one of the days that are asked for.
pub(super) fn is_asked_for(table: Table, file: &LiveFile, settings: &CompactSettings) -> bool {
    let Some((first, last)) = settings.dates else { return true };
    partition_of(table, file).is_some_and(|(date, _)| first <= date && date <= last)
}

/// The day of a file's partition, and when the partition's time ends.
fn partition_of(table: Table, file: &LiveFile) -> Option<(NaiveDate, i64)> {
    let date = NaiveDate::parse_from_str(file.partition("date")?, "%Y-%m-%d").ok()?;
    let start_ms = date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis();
    match table {
        Table::Raw => {
            let hour: i64 = file.partition("hour")?.parse().ok().filter(|hour| (0..24).contains(hour))?;
            Some((date, start_ms + (hour + 1) * HOUR_MS))
        }
        Table::Agg | Table::Late => Some((date, start_ms + DAY_MS)),
    }
}
