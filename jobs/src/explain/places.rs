//! Where clicks stand: partitions of the log with their offsets, and data files.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use weir_connectors::delta::{ClickCopy, TracedFile};

use super::report::{FileRows, OffsetRange};

/// The number of a file, for rows that are held back for one.
pub(super) const HELD: u32 = u32::MAX;

/// Partitions and files, as records are counted into them.
#[derive(Default)]
pub(super) struct Places {
    /// The last topic that was seen: a job has one.
    topic: Option<String>,
    partitions: BTreeMap<u32, OffsetRange>,
    numbers: HashMap<Arc<str>, u32>,
    files: Vec<(Arc<TracedFile>, u64)>,
    held: u64,
    last: Option<(Arc<TracedFile>, u32)>,
}

impl Places {
    /// The number that the copy's file has from now on.
    pub(super) fn number(&mut self, copy: &ClickCopy<'_>) -> u32 {
        let Some(file) = copy.file else { return HELD };
        // Rows come file by file, mostly.
        if let Some((_, number)) = self.last.as_ref().filter(|(last, _)| Arc::ptr_eq(last, file)) {
            return *number;
        }
        let number = self.number_of(file);
        self.last = Some((Arc::clone(file), number));
        number
    }

    fn number_of(&mut self, file: &Arc<TracedFile>) -> u32 {
        if let Some(number) = self.numbers.get(&file.path) {
            return *number;
        }
        let number = self.files.len() as u32;
        self.numbers.insert(Arc::clone(&file.path), number);
        self.files.push((Arc::clone(file), 0));
        number
    }

    /// Counts a record of the window.
    pub(super) fn count(&mut self, copy: &ClickCopy<'_>, file: u32) {
        match self.files.get_mut(file as usize) {
            Some((_, rows)) => *rows += 1,
            None => self.held += 1,
        }
        if let Some(topic) = copy.topic.filter(|topic| self.topic.as_deref() != Some(*topic)) {
            self.topic = Some(topic.to_owned());
        }
        let (partition, offset) = (copy.partition.0, copy.offset.0);
        let new = OffsetRange { topic: None, partition, first_offset: offset, last_offset: offset, records: 0 };
        let range = self.partitions.entry(partition).or_insert(new);
        range.first_offset = range.first_offset.min(offset);
        range.last_offset = range.last_offset.max(offset);
        range.records += 1;
    }

    /// The path of a file.
    pub(super) fn path(&self, file: u32) -> Option<String> {
        self.files.get(file as usize).map(|(file, _)| file.path.to_string())
    }

    /// Records that are held back.
    pub(super) fn held(&self) -> u64 {
        self.held
    }

    pub(super) fn partitions(&self) -> Vec<OffsetRange> {
        let ranges = self.partitions.values().cloned();
        ranges.map(|range| OffsetRange { topic: self.topic.clone(), ..range }).collect()
    }

    /// The files that have records of the window.
    pub(super) fn files(&self) -> Vec<FileRows> {
        let used = self.files.iter().filter(|(_, rows)| *rows > 0);
        let mut files: Vec<FileRows> = used
            .map(|(file, rows)| FileRows {
                path: file.path.to_string(),
                rows: *rows,
                epoch: file.epoch,
                compacted_from: file.compacted_from,
                offsets: file.offsets.clone(),
                pending: file.is_pending,
            })
            .collect();
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        files
    }
}
