//! One look at all tables, and the merges that come of it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use chrono::{NaiveDate, Utc};
use serde::Serialize;
use weir_checkpoints::{Follower, Manifest, Store};
use weir_connectors::delta::{CompactOutcome, CompactSettings, Compactor, Merge, Table};
use weir_dataflow::SinkError;

use super::progress::Progress;

/// What is asked for.
pub(super) struct Wanted {
    pub(super) tables: Vec<Table>,
    pub(super) dates: Option<(NaiveDate, NaiveDate)>,
    pub(super) target_bytes: u64,
    pub(super) min_files: usize,
    /// How long windows must have been closed; none if it does not matter whether they are.
    pub(super) older_than_ms: Option<u64>,
    pub(super) delete_replaced_ms: Option<u64>,
    pub(super) dry: bool,
}

/// Passes over the tables; what is known of their logs is kept from one to the next.
pub(super) struct Passes {
    tables: Arc<dyn Store>,
    manifests: Follower,
    wanted: Wanted,
    stop: Arc<AtomicBool>,
    compactors: HashMap<&'static str, Compactor>,
}

/// What came of a pass.
#[derive(Debug, Serialize)]
pub(super) struct CompactReport {
    pub(super) job: String,
    /// Nothing was done, only looked at.
    pub(super) dry_run: bool,
    /// Partitions were compacted whose time ends by then, unix time in milliseconds.
    pub(super) settled_until_ms: i64,
    pub(super) tables: Vec<TableReport>,
    pub(super) seconds: f64,
}

/// What came of a table. Files that the job has added meanwhile are in it, too.
#[derive(Debug, Default, Serialize)]
pub(super) struct TableReport {
    pub(super) table: &'static str,
    pub(super) files_before: u64,
    pub(super) files_after: u64,
    pub(super) bytes_before: u64,
    pub(super) bytes_after: u64,
    /// Files that were merged, or would be.
    pub(super) merged_files: u64,
    pub(super) merged_bytes: u64,
    /// Files that they became.
    pub(super) new_files: u64,
    pub(super) new_bytes: u64,
    /// The rows in them.
    pub(super) rows: u64,
    /// Merges that were given up because somebody else had taken a file out meanwhile.
    pub(super) dropped: u64,
    /// Files that stay small, because the rows of two of them take more memory than a merge may.
    pub(super) too_large_in_memory: u64,
    /// Replaced files that were deleted, or would be.
    pub(super) deleted_files: u64,
    pub(super) deleted_bytes: u64,
    /// What could not be done.
    pub(super) failed: Vec<String>,
}

impl CompactReport {
    pub(super) fn failures(&self) -> usize {
        self.tables.iter().map(|table| table.failed.len()).sum()
    }
}

impl Passes {
    pub(super) fn new(tables: Arc<dyn Store>, manifests: Follower, wanted: Wanted, stop: Arc<AtomicBool>) -> Self {
        Self { tables, manifests, wanted, stop, compactors: HashMap::new() }
    }

    /// Looks at all tables once, and does what there is to be done.
    pub(super) fn pass(&mut self) -> Result<CompactReport> {
        let started = Instant::now();
        let newest = self.manifests.newest().context("cannot read the job's checkpoints")?.cloned();
        let newest = newest.context(
            "the job has no checkpoint: it has not run yet, or checkpoint.url is not the one that it ran with",
        )?;
        let settled_until_ms = self.settled_until_ms(&newest);
        let mut report = CompactReport {
            job: newest.job.clone(),
            dry_run: self.wanted.dry,
            settled_until_ms,
            tables: Vec::new(),
            seconds: 0.0,
        };
        for table in self.wanted.tables.clone() {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            report.tables.extend(self.table(table, settled_until_ms, &newest));
        }
        report.seconds = started.elapsed().as_secs_f64();
        Ok(report)
    }

    /// Partitions that end by then get hardly any rows any more: their windows have been closed for so long that rows which
    /// waited for a file have got one.
    fn settled_until_ms(&self, newest: &Manifest) -> i64 {
        let Some(older_than_ms) = self.wanted.older_than_ms.filter(|_| !newest.ended) else { return i64::MAX };
        let older_than_ms = i64::try_from(older_than_ms).unwrap_or(i64::MAX);
        newest.closed_until_ms.map_or(i64::MIN, |closed_ms| closed_ms.saturating_sub(older_than_ms))
    }

    /// None where there is no such table.
    fn table(&mut self, table: Table, settled_until_ms: i64, newest: &Manifest) -> Option<TableReport> {
        let mut report = TableReport { table: table.name(), ..TableReport::default() };
        let done = self.opened(table, settled_until_ms).and_then(|opened| {
            let Some(mut compactor) = opened else { return Ok(false) };
            self.compact(&mut compactor, &mut report)?;
            self.delete(&mut compactor, newest, &mut report)?;
            self.compactors.insert(table.name(), compactor);
            Ok(true)
        });
        match done {
            Ok(true) => Some(report),
            Ok(false) => None,
            Err(error) => {
                report.fails(&error);
                Some(report)
            }
        }
    }

    /// A compactor that has read the log, from the pass before if it came to a good end.
    fn opened(&mut self, table: Table, settled_until_ms: i64) -> Result<Option<Compactor>, SinkError> {
        if let Some(mut known) = self.compactors.remove(table.name()) {
            known.settle_until(settled_until_ms);
            return Ok(Some(known));
        }
        let Wanted { target_bytes, min_files, dates, .. } = self.wanted;
        let settings = CompactSettings { target_bytes, min_files, settled_until_ms, dates };
        Compactor::open(table, Arc::clone(&self.tables), settings)
    }

    fn compact(&self, compactor: &mut Compactor, report: &mut TableReport) -> Result<(), SinkError> {
        let mut merges: VecDeque<Merge> = compactor.plan()?.into();
        let before = compactor.size();
        (report.files_before, report.bytes_before) = (before.files, before.bytes);
        if self.wanted.dry {
            report.merged_files = merges.iter().map(|merge| merge.files() as u64).sum();
            report.merged_bytes = merges.iter().map(Merge::bytes).sum();
            report.new_files = merges.len() as u64;
            report.files_after = before.files - report.merged_files + report.new_files;
            report.bytes_after = before.bytes;
            return Ok(());
        }
        let mut progress = Progress::start(report.table, merges.iter().map(Merge::bytes).sum());
        while let Some(merge) = merges.pop_front() {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            progress.at(&merge.partition(), report.rows);
            let bytes = merge.bytes();
            let written = match compactor.write(merge) {
                Ok(written) => written,
                // What is wrong with one file does not concern the next merge.
                Err(error @ SinkError::Refused { .. }) => {
                    report.fails(&error);
                    progress.done(bytes);
                    continue;
                }
                Err(error) => return Err(error),
            };
            written.wrong.iter().for_each(|error| report.fails(error));
            let left = written.rest.as_ref().map_or(0, Merge::bytes);
            merges.extend(written.rest);
            if let Some(compacted) = written.compacted {
                match compactor.commit(&compacted)? {
                    CompactOutcome::Committed => {
                        report.merged_files += compacted.files();
                        report.merged_bytes += compacted.bytes_before();
                        report.new_files += 1;
                        report.new_bytes += compacted.bytes();
                        report.rows += compacted.rows();
                    }
                    CompactOutcome::Dropped => report.dropped += 1,
                }
            }
            progress.done(bytes - left);
        }
        compactor.follow()?;
        let after = compactor.size();
        (report.files_after, report.bytes_after) = (after.files, after.bytes);
        report.too_large_in_memory = compactor.too_large_in_memory();
        Ok(())
    }

    fn delete(&self, compactor: &mut Compactor, newest: &Manifest, report: &mut TableReport) -> Result<(), SinkError> {
        let Some(age_ms) = self.wanted.delete_replaced_ms else { return Ok(()) };
        let before_ms = Utc::now().timestamp_millis().saturating_sub(i64::try_from(age_ms).unwrap_or(i64::MAX));
        let deleted = compactor.delete_replaced(before_ms, Some(newest), self.wanted.dry)?;
        (report.deleted_files, report.deleted_bytes) = (deleted.files, deleted.bytes);
        Ok(())
    }
}

impl TableReport {
    fn fails(&mut self, error: &SinkError) {
        tracing::error!(table = self.table, "{error}");
        self.failed.push(error.to_string());
    }
}
