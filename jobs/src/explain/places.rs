//! Where clicks stand: partitions of the log with their offsets, and data files.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::records::Batch;
use super::report::{FileRows, OffsetRange};

/// The path of the file that a batch is of; none where it is held back for one.
pub(super) fn path(batch: &Batch<'_>) -> Option<String> {
    batch.file.as_ref().map(|file| file.path.to_string())
}

/// How many of a batch's records are of the window.
pub(super) fn told_of(batch: &Batch<'_>) -> u64 {
    batch.records.iter().filter(|record| record.is_told_of()).count() as u64
}

/// The partitions that have records of the window.
pub(super) fn partitions(batches: &[Batch<'_>]) -> Vec<OffsetRange> {
    let topic = batches.iter().find_map(|batch| batch.topic.clone());
    let mut partitions: BTreeMap<u32, OffsetRange> = BTreeMap::new();
    for record in batches.iter().flat_map(|batch| &batch.records).filter(|record| record.is_told_of()) {
        let (partition, offset) = record.position();
        let range = partitions.entry(partition).or_insert_with(|| OffsetRange {
            topic: topic.clone(),
            partition,
            first_offset: offset,
            last_offset: offset,
            records: 0,
        });
        range.first_offset = range.first_offset.min(offset);
        range.last_offset = range.last_offset.max(offset);
        range.records += 1;
    }
    partitions.into_values().collect()
}

/// The files that have records of the window.
pub(super) fn files(batches: &[Batch<'_>]) -> Vec<FileRows> {
    let mut files: BTreeMap<&Arc<str>, FileRows> = BTreeMap::new();
    for batch in batches {
        let Some(file) = &batch.file else { continue };
        let rows = files.entry(&file.path).or_insert_with(|| FileRows {
            path: file.path.to_string(),
            rows: 0,
            epoch: file.epoch,
            compacted_from: file.compacted_from,
            offsets: file.offsets.clone(),
            pending: file.is_pending,
        });
        rows.rows += told_of(batch);
    }
    files.into_values().filter(|file| file.rows > 0).collect()
}
