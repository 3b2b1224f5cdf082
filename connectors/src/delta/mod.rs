//! Delta tables: closed windows, late clicks and the archive, in an append-only log that any Delta reader understands.
//!
//! ```text
//!   clicks_raw/
//!     date=2025-01-15/hour=9/part-<epoch>-<attempt>-<worker>-<n>.zstd.parquet     data, invisible by itself
//!     _delta_log/00000000000000000000.json                                        protocol 1/2, schema
//!                00000000000000000001.json                                        commitInfo, txn, add, add, …
//!                00000000000000000100.checkpoint.parquet, _last_checkpoint        where readers may start
//!
//!   worker: write ─▶ chunks ─▶ stage ─┬─ few rows: packed, carried over with the checkpoint
//!                                     └─ enough:   sorted, written, listed in the manifest
//!   worker 0: commit ─▶ the next version of the log, put if absent
//!   anyone:   read   ◀─ windows of `clicks_agg`, see `DeltaReader`
//!             compact ─▶ a version that puts a large file in the place of small ones, see `Compactor`
//! ```
//!
//! Invariants
//! - A file is in the log only if a manifest lists it, or if it was made of such files and names them; and every file of a
//!   committed manifest is in the log once, itself or in one that was made of it: each version that this job adds carries a
//!   `txn` of the job's name and the manifest's epoch, and an epoch that the log already has is not added again.
//! - File names hold epoch, attempt and worker, all numbers: they need no escaping, and are never used twice.
//! - Other writers may add versions of their own; a change of schema or protocol that does not fit
//!   is refused.
//! - Absent on purpose: deletes, updates, schema evolution beyond adding our own columns, deletion vectors, column
//!   mapping, clean-up of the log.

mod actions;
mod billing;
mod checkpoint;
mod checkpoint_rows;
mod chunk;
mod clicks;
mod commit;
mod compact;
mod day;
mod details;
mod files;
mod held;
mod held_back;
mod lineage;
mod live;
mod log;
mod read;
mod restoring;
mod shown;
mod sink;
mod stats;
mod table;
mod texts;
mod windows;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use weir_checkpoints::Store;
use weir_dataflow::{Committer, RowKind, Sink, SinkError, SinkFactory, WorkerContext};

pub use self::billing::{
    BilledAd, BillingTable, CorrectedAd, DayFiles, billed, check_day, commit_day, corrected, corrected_windows,
};
pub use self::compact::{CompactOutcome, CompactSettings, Compacted, Compactor, Deleted, Merge, TableSize, Written};
pub use self::day::{DayArchive, DayRange, Excluded};
pub use self::held_back::{held_back, held_back_clicks};
pub use self::read::{
    AdTrace, ClickBatch, ClickCopy, ClicksOf, ClicksTable, DeltaReader, DeltaReaderLimits, LedgerOf, LedgerRow,
    ReadError, ReadFigures, TableVersion, TraceError, TracedFile, TracedWindow, WindowsOf,
};
pub use self::restoring::Restoring;
pub use self::shown::not_shown;
pub use self::table::Table;
pub use self::texts::{Texts, texts_of_file, texts_of_table};

/// Unix time in milliseconds, from wherever.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What is the same for all tables of a job.
#[derive(Clone)]
pub struct DeltaConfig {
    /// The job's name: it identifies the job's commits in the log.
    pub job: String,
    /// The topic that the clicks come from.
    pub topic: String,
    /// Whether clicks' unknown fields are kept, in a column `extra`.
    pub extra: bool,
    /// A file is written once it would have this size, roughly.
    pub target_file_bytes: u64,
    /// A file is written once its oldest row is this old by the wall clock, whatever its size.
    pub roll_interval_ms: i64,
    /// The wall clock.
    pub clock: Clock,
}

impl DeltaConfig {
    /// The usual settings: files of 128 MiB, or what comes in five minutes.
    #[must_use]
    pub fn new(job: &str, topic: &str) -> Self {
        Self {
            job: job.to_owned(),
            topic: topic.to_owned(),
            extra: false,
            target_file_bytes: 128 << 20,
            roll_interval_ms: 300_000,
            clock: Arc::new(wall_clock_ms),
        }
    }
}

fn wall_clock_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as i64)
}

/// One of the tables, as a sink.
pub struct DeltaSink {
    table: Table,
    config: DeltaConfig,
    store: Arc<dyn Store>,
    restoring: Option<Restoring>,
    /// The last epoch that the table had of this job when it was first opened; read once for all workers.
    committed: Mutex<Option<Option<u64>>>,
}

impl DeltaSink {
    /// A table under the store's root.
    #[must_use]
    pub fn new(table: Table, config: DeltaConfig, store: Arc<dyn Store>) -> Self {
        Self { table, config, store, restoring: None, committed: Mutex::new(None) }
    }

    /// `clicks_agg`: windows that closed.
    #[must_use]
    pub fn clicks_agg(config: DeltaConfig, store: Arc<dyn Store>) -> Self {
        Self::new(Table::Agg, config, store)
    }

    /// `clicks_late`: clicks that were not counted because of their time.
    #[must_use]
    pub fn clicks_late(config: DeltaConfig, store: Arc<dyn Store>) -> Self {
        Self::new(Table::Late, config, store)
    }

    /// `clicks_raw`: every valid click.
    #[must_use]
    pub fn clicks_raw(config: DeltaConfig, store: Arc<dyn Store>) -> Self {
        Self::new(Table::Raw, config, store)
    }

    /// Shows each window that was held back for `clicks_agg` when the job stopped to `show`, when the job starts again.
    #[must_use]
    pub fn restoring(self, show: Restoring) -> Self {
        Self { restoring: Some(show), ..self }
    }

    fn committed_epoch(&self) -> Result<Option<u64>, SinkError> {
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = *committed {
            return Ok(known);
        }
        let found = log::Log::open(self.store.clone(), self.table.name(), &self.config.job)?.committed;
        *committed = Some(found);
        Ok(found)
    }
}

impl SinkFactory for DeltaSink {
    fn name(&self) -> &str {
        self.table.name()
    }

    fn accepts(&self, kind: RowKind) -> bool {
        kind == self.table.row_kind()
    }

    fn open(&self, worker: WorkerContext) -> Result<Box<dyn Sink>, SinkError> {
        let committed = self.committed_epoch()?;
        Ok(match self.table {
            Table::Agg => {
                let sink = sink::TableSink::<windows::WindowChunk>::new(self.table, &self.config, &self.store, worker);
                let sink = sink.beyond(committed);
                match &self.restoring {
                    Some(show) => Box::new(restoring::RestoringSink { sink, show: Arc::clone(show) }),
                    None => Box::new(sink),
                }
            }
            Table::Late | Table::Raw => {
                let sink = sink::TableSink::<clicks::ClickChunk>::new(self.table, &self.config, &self.store, worker);
                Box::new(sink.beyond(committed))
            }
        })
    }

    fn committer(&self) -> Result<Box<dyn Committer>, SinkError> {
        Ok(Box::new(commit::TableCommitter::open(self.table, &self.config, self.store.clone())?))
    }
}

fn failed(table: &str, action: &'static str, reason: impl ToString) -> SinkError {
    SinkError::Failed { sink: table.to_owned(), action, reason: reason.to_string() }
}

fn refused(table: &str, reason: String) -> SinkError {
    SinkError::Refused { sink: table.to_owned(), reason }
}

fn not_ours(table: &str) -> SinkError {
    refused(table, "it was given a row of another kind than it accepts".to_owned())
}
