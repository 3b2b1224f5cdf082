//! Finds the rows behind one number: those of one ad within some time, in any table, each with the file it stands in.
//!
//! ```text
//!   ad, time ─▶ the log's live files ─▶ partition: date, hour ─▶ ranges of ad and time in the log
//!                                                                  │
//!               rows ◀─ other columns ◀─ rows of that ad ◀─────────┤ footer: ranges of the row group
//!               and file      at those rows     and time           │         page index, of ad and time
//!                                                                  └─        bloom filter on the ad
//! ```
//!
//! Data files are sorted by ad, then time, so of a file that has the ad mostly one page of each column is read.
//!
//! Invariants
//! - What is left out is only what cannot match. A file that does not say what is in it is read.
//! - Columns are found by their names: a table of any writer can be read, one that does not exist has no rows.
//! - Nothing of a file is trusted before it was checked, see [`super::pages`]: damage is an error with the file's name.
//! - Only ranges of a file are read, and no more than [`scan`]'s piece of rows is in memory a thread.
//! - With a manifest its files are read as well, in case the table does not have them yet: they are committed after it.

mod clicks;
mod column;
mod error;
mod footer;
mod ledger;
mod scan;
mod wanted;
mod windows;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use weir_checkpoints::Store;

pub use self::clicks::{ClickBatch, ClickCopy, ClicksOf, ClicksTable};
pub use self::error::TraceError;
pub use self::ledger::{LedgerOf, LedgerRow};
pub use self::scan::TracedFile;
pub use self::windows::{TracedWindow, WindowsOf};

use self::scan::{Found, Scan};
use super::helpers::Helpers;
use crate::delta::live::LiveTable;

/// Files of a remote store that are read at once: each only waits.
const REMOTE_READS: usize = 32;

/// Finds rows in the tables under one root. Nothing is kept between questions.
pub struct AdTrace {
    store: Arc<dyn Store>,
    helpers: Helpers,
}

impl AdTrace {
    /// For the tables at this URL, which `store` is.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, url: &str) -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let helpers = if url.starts_with("file:") { cores - 1 } else { REMOTE_READS };
        Self { store, helpers: Helpers::new(helpers) }
    }

    /// How many rows a table has by its log; none where the log does not say.
    pub fn rows(&self, table: &str, manifest: Option<&weir_checkpoints::Manifest>) -> Result<Option<u64>, TraceError> {
        Ok(LiveTable::read(self.store.as_ref(), table, manifest)?.rows())
    }

    fn scan(
        &self,
        table: &LiveTable,
        scan: &Scan<'_>,
        take: impl FnMut(Found) -> Result<(), TraceError>,
    ) -> Result<(), TraceError> {
        self.scan_as(table, scan, Ok, take)
    }

    /// The same, with something made of what was found where it was read, on several threads.
    fn scan_as<T: Send>(
        &self,
        table: &LiveTable,
        scan: &Scan<'_>,
        make: impl Fn(Found) -> Result<T, TraceError> + Sync,
        take: impl FnMut(T) -> Result<(), TraceError>,
    ) -> Result<(), TraceError> {
        let files: Vec<_> = table.files().filter(|file| scan.wanted.may_be_in(file)).collect();
        self.helpers.run(&files, |file, emit| scan.file(&self.store, file, &mut |found| emit(make(found)?)), take)
    }
}
