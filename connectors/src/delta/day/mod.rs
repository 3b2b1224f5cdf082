//! A day's rows out of the tables, for its recount: the archive and the late clicks around it, and what the stream counted.
//!
//! ```text
//!   logs of clicks_raw, clicks_late, clicks_agg ─▶ files of the day ─▶ dealt to workers by size ─▶ whole file
//!                                                                                                  │ size, SHA-256
//!                                    rows ◀── columns that matter ◀── Parquet ◀────────────────────┘
//! ```
//!
//! Nothing of a file is looked at before it was compared with what the log says of it. A file that is missing, shorter or
//! different is an error that names it.

mod columns;
mod files;
mod share;

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_checkpoints::{Manifest, Store, content_hash};
use weir_dataflow::reconcile::{Archive, ArchiveError, ArchiveFactory};
use weir_dataflow::{Click, SinkError};

use self::files::{FileOf, find};
use self::share::Share;
use super::Table;

/// Says which clicks are to be taken out.
pub type Excluded = Arc<dyn Fn(&Click<'_>) -> bool + Send + Sync>;

/// Which rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayRange {
    /// The first millisecond of the day.
    pub start_ms: i64,
    /// The first millisecond after it.
    pub end_ms: i64,
    /// How far around it copies are looked for.
    pub margin_ms: i64,
}

/// A day's files, as the tables list them at one moment.
#[derive(Clone)]
pub struct DayArchive {
    store: Arc<dyn Store>,
    /// The last epoch that counts: rows of later ones are not there yet.
    epoch: u64,
    files: Arc<Vec<FileOf>>,
    excluded: Option<Excluded>,
    /// What its rows are read for.
    purpose: Purpose,
}

/// What rows are read for, which decides on their columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To tell clicks apart.
    Count,
    /// The same, and to make an index: with addresses and regions.
    Index,
    /// To count windows by region.
    Windows,
}

impl DayArchive {
    /// Finds the files that hold all rows up to a manifest, but for those that it holds back. Later ones are not looked at.
    pub fn open(store: Arc<dyn Store>, range: DayRange, manifest: &Manifest) -> Result<Self, SinkError> {
        let files = Arc::new(find(store.as_ref(), range, manifest)?);
        Ok(Self { store, epoch: manifest.epoch.0, files, excluded: None, purpose: Purpose::Count })
    }

    /// The same, with some clicks marked as to be taken out.
    #[must_use]
    pub fn excluding(self, excluded: Excluded) -> Self {
        Self { excluded: Some(excluded), ..self }
    }

    /// The same, with all that an index of the day needs.
    #[must_use]
    pub fn for_index(self) -> Self {
        Self { purpose: Purpose::Index, ..self }
    }

    /// The clicks of some hours, and all windows, with their regions. Clicks have no ids, and late ones are not told from
    /// others.
    pub fn by_window(&self, hours_ms: &BTreeSet<i64>) -> Result<Self, SinkError> {
        let mut files = Vec::new();
        for file in self.files.iter() {
            if file.has_rows_of_windows(hours_ms)? {
                files.push(file.clone());
            }
        }
        Ok(Self { files: Arc::new(files), excluded: None, purpose: Purpose::Windows, ..self.clone() })
    }

    /// Stands for the rows of all files: SHA-256 over the names, sizes and hashes of the files that a job wrote. Compaction
    /// does not change it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        content_hash(files::as_written(&self.files, self.epoch).as_bytes())
    }

    /// Stands for the files that are read: the same, of compacted files themselves.
    #[must_use]
    pub fn listing(&self) -> String {
        content_hash(files::as_they_are(&self.files).as_bytes())
    }

    /// Rows of the archive that are to be read.
    #[must_use]
    pub fn rows(&self) -> u64 {
        let archived = self.files.iter().filter(|file| file.table == Table::Raw);
        archived.filter_map(|file| file.live.rows()).sum()
    }
}

impl ArchiveFactory for DayArchive {
    fn open(&self, worker: usize, workers: usize) -> Result<Box<dyn Archive>, ArchiveError> {
        let mine = files::dealt(&self.files, worker, workers);
        Ok(Box::new(Share::new(Arc::clone(&self.store), self.epoch, mine, self.excluded.clone(), self.purpose)))
    }
}
