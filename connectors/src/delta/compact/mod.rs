//! Compaction: small files of a partition become a few large ones, with the same rows, beside the job that goes on writing.
//!
//! ```text
//!   log ─▶ live files ─▶ plan: small files of settled partitions ─▶ merges of at most the target's size
//!                                                                      │ each
//!     rows ◀─ whole file, SHA-256 as the log says ◀── sources ◀────────┤
//!      └─▶ the sink's own writer ─▶ one file, under a name that is never used again, invisible
//!                                      │
//!     commit: a version of the log, put if absent: remove, remove, …, add; no change of data
//!             somebody was faster? follow the log: sources still there ─▶ once more; one is gone ─▶ the merge is dropped
//! ```
//!
//! Invariants
//! - A version takes sources out and puts in the file with just their rows, or it is not there. So a reader of any version
//!   sees each row once, whoever commits meanwhile, and wherever a compactor is killed.
//! - What a source holds is believed only if its hash is that of the log: damage is not copied into a file with a new hash.
//! - A compacted file names its sources ([`Lineage`]), and the compacted files between.
//! - No `txn` is written: the job's own versions are found as before, and a repeated commit of the job adds nothing.
//! - Memory is bounded by the target: the rows of a merge take six times as much at most, and as much again as four times
//!   is for their order, a source, the file that comes of them, and what is being encoded.
//! - Absent on purpose: other orders of rows, and files across partitions.

mod commit;
mod gather;
mod plan;
mod replaced;
mod rows;
mod write;

use std::sync::Arc;

use chrono::NaiveDate;
use weir_checkpoints::Store;
use weir_dataflow::SinkError;

pub use self::commit::CompactOutcome;
pub use self::plan::Merge;
pub use self::replaced::Deleted;
pub use self::write::{Compacted, Written};

use plan::Decoded;

use super::commit::{column_names, missing_columns};
use super::lineage::Lineage;
use super::live::LiveTable;
use super::log::Log;
use super::table::Column;
use super::{Clock, Table, refused, wall_clock_ms};

/// What is compacted.
#[derive(Debug, Clone)]
pub struct CompactSettings {
    /// About how large files become. One of at least half of this is left as it is: two of them would be too large for one.
    pub target_bytes: u64,
    /// Partitions with fewer small files are left as they are.
    pub min_files: usize,
    /// Only partitions whose time ends by then, unix time in milliseconds.
    pub settled_until_ms: i64,
    /// Only partitions of these UTC days, both included.
    pub dates: Option<(NaiveDate, NaiveDate)>,
}

/// Rows in memory take this many times the target at most. Clicks are five times as large as in a file.
const ROOM_OF_TARGET: u64 = 6;

impl CompactSettings {
    /// What the rows of a merge may take in memory.
    fn room_bytes(&self) -> usize {
        usize::try_from(self.target_bytes.saturating_mul(ROOM_OF_TARGET)).unwrap_or(usize::MAX)
    }
}

/// Compacts one table. Its steps are separate, so that others' versions may come between any of them.
pub struct Compactor {
    table: Table,
    store: Arc<dyn Store>,
    settings: CompactSettings,
    clock: Clock,
    log: Log,
    live: LiveTable,
    /// So that files which do not fit together are not read again and again to find that out.
    decoded: Decoded,
}

/// A table in figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableSize {
    /// Its data files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Compactor {
    /// Reads the table's log; none where there is no such table.
    pub fn open(table: Table, store: Arc<dyn Store>, settings: CompactSettings) -> Result<Option<Self>, SinkError> {
        // Nobody's commits are looked for.
        let log = Log::open(Arc::clone(&store), table.name(), "")?;
        if log.version.is_none() {
            return Ok(None);
        }
        let live = LiveTable::read(store.as_ref(), table.name(), None)?;
        let clock: Clock = Arc::new(wall_clock_ms);
        Ok(Some(Self { table, store, settings, clock, log, live, decoded: Decoded::new() }))
    }

    /// Takes partitions as settled that end by then.
    pub fn settle_until(&mut self, settled_until_ms: i64) {
        self.settings.settled_until_ms = settled_until_ms;
    }

    /// The table as of what was last read of its log.
    #[must_use]
    pub fn size(&self) -> TableSize {
        self.live.files().fold(TableSize::default(), |size, file| TableSize {
            files: size.files + 1,
            bytes: size.bytes + file.size_bytes,
        })
    }

    /// How many files were read that stay small, because no two of their size fit into the memory of a merge.
    #[must_use]
    pub fn too_large_in_memory(&self) -> u64 {
        let is_large = |decoded: &usize| *decoded > self.settings.room_bytes() / 2;
        let files = self.live.files().filter(|file| plan::is_small(file, &self.settings));
        files.filter(|file| self.decoded.get(&file.add.path).is_some_and(is_large)).count() as u64
    }

    /// Reads what is new in the log. After an error the compactor is to be opened anew.
    pub fn follow(&mut self) -> Result<(), SinkError> {
        // Columns may have come, too.
        self.log.follow()?;
        self.live.follow(self.store.as_ref(), self.table.name())
    }

    /// What there is to be done, as the log stands now. Fails where the table as a whole cannot be compacted. After an
    /// error the compactor is to be opened anew.
    pub fn plan(&mut self) -> Result<Vec<Merge>, SinkError> {
        self.follow()?;
        let live = &self.live;
        self.decoded.retain(|path, _| live.file(path).is_some());
        let merges = plan::merges(self.table, live, &self.settings, &self.decoded);
        if !merges.is_empty() {
            self.columns()?;
        }
        Ok(merges)
    }

    /// The columns of a file. Fails where the table has some that would be lost, or lacks some.
    fn columns(&self) -> Result<Vec<Column>, SinkError> {
        let table = self.table.name();
        let names = match &self.log.metadata {
            Some(metadata) => column_names(metadata).map_err(|error| refused(table, error.to_string()))?,
            None => Vec::new(),
        };
        let columns = self.table.columns(names.iter().any(|name| name == "extra"));
        if let Some(foreign) = names.iter().find(|name| !columns.iter().any(|column| column.name == name.as_str())) {
            return Err(refused(table, format!("another writer has given it column {foreign}, which would be lost")));
        }
        match missing_columns(&self.log, &columns)?.first() {
            Some(missing) => Err(refused(
                table,
                format!("it lacks column {}; run the job with this version of weir first", missing.name),
            )),
            None => Ok(columns),
        }
    }
}
