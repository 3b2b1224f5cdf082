//! Answers questions about windows from the table `clicks_agg`, wherever it is stored, and from `clicks_agg_corrected`, which
//! looks the same.
//!
//! ```text
//!   query ─▶ the table's files at one version ─▶ partition ─▶ file's ranges in the log ─▶ footer, from the cache:
//!                 ▲ followed, at most once                                                  row group's ranges
//!                 │ an interval, for all queries                                            bloom filter on ad_id
//!             _delta_log                                                                    page index
//!                                                                                              │ rows that may match
//!   rows ◀─ exact selection ◀─ decode ad_id ◀─ few ranges of bytes, read at once ◀─────────────┘
//! ```
//!
//! Invariants
//! - A query sees the files of one version of the log, whatever is committed meanwhile.
//! - What is left out is only what cannot match; each step counts what it left out, see [`ReadFigures`].
//! - Nothing of a file is trusted before it was checked: offsets, lengths and row numbers of a damaged footer become
//!   an error that names the file, never a panic. Parquet has no checksum over data by default: a flipped bit that still
//!   decodes is not noticed.
//! - Memory is bounded: footers by [`DeltaReaderLimits::cache_bytes`], a query's data and answer by
//!   [`DeltaReaderLimits::query_bytes`], a scan by a few thousand rows a thread.
//! - Several rows for one window are all handed out: a table that is right has one.
//! - Absent on purpose: deletion vectors, column mapping and whatever else raises the table's reader protocol; such a
//!   table is refused.

mod ads;
mod batch;
mod budget;
mod codec;
mod columns;
mod data_file;
mod deltas;
mod error;
mod figures;
mod file_index;
mod follow;
mod helpers;
mod levels;
mod limits;
mod page_header;
mod pages;
mod prune;
mod query;
mod ranges;
mod scan;
mod time_unit;
mod trace;

use std::collections::HashMap;
use std::sync::Arc;

use weir_checkpoints::{Manifest, Store};
use weir_dataflow::{TopAd, TopQuery, WindowQuery, WindowRow, WindowStats};

pub(super) use self::data_file::plain_path;
pub use self::error::ReadError;
pub use self::figures::ReadFigures;
pub use self::follow::TableVersion;
pub(super) use self::follow::{AHEAD, read_versions};
pub use self::limits::DeltaReaderLimits;
pub use self::trace::{
    AdTrace, ClickBatch, ClickCopy, ClicksOf, ClicksTable, LedgerOf, LedgerRow, TraceError, TracedFile, TracedWindow,
    WindowsOf,
};

use self::batch::{Batch, Interner};
use self::budget::Budget;
use self::follow::{Follower, Snapshot};
use self::query::Wanted;
use self::scan::Scanner;
use super::Table;
use super::billing::BillingTable;

/// A reader of a table of windows. Its calls block, and may come from many threads at once.
pub struct DeltaReader {
    follower: Follower,
    scanner: Scanner,
    limits: DeltaReaderLimits,
}

impl DeltaReader {
    /// A reader of `clicks_agg` under the store's root. Nothing is read before the first question; a table that is not
    /// there yet has no rows.
    #[must_use]
    pub fn open(store: Arc<dyn Store>, limits: DeltaReaderLimits) -> Self {
        Self::of(Table::Agg.name(), store, limits)
    }

    /// A reader of `clicks_agg_corrected`: the windows of closed days that are billed otherwise than they were counted.
    #[must_use]
    pub fn corrected(store: Arc<dyn Store>, limits: DeltaReaderLimits) -> Self {
        Self::of(BillingTable::Windows.name(), store, limits)
    }

    fn of(table: &'static str, store: Arc<dyn Store>, limits: DeltaReaderLimits) -> Self {
        let follower = Follower::new(store.clone(), table, limits.refresh_interval);
        Self { follower, scanner: Scanner::new(store, &limits), limits }
    }

    /// The version that a question asked now is answered from.
    pub fn version(&self) -> Result<TableVersion, ReadError> {
        Ok(self.follower.snapshot()?.version().clone())
    }

    /// What was read and what was left out so far, all questions together.
    #[must_use]
    pub fn figures(&self) -> ReadFigures {
        self.scanner.figures()
    }

    /// The table's rows that are asked for, in the order of ad, start and region.
    pub fn windows(&self, query: &WindowQuery) -> Result<Vec<WindowStats>, ReadError> {
        let wanted = Wanted::windows(query);
        let mut rows = self.twice(|snapshot| {
            let budget = Budget::limited(self.limits.query_bytes);
            let mut interner = Interner::new(&query.ads);
            let mut rows = Vec::new();
            self.scanner.scan(snapshot, &wanted, &budget, |batch| {
                budget.take((batch.rows() * size_of::<WindowStats>() + batch.sketch_bytes()) as u64)?;
                batch.for_each(query.window, |row| rows.push(interner.stats(&row)));
                Ok(())
            })?;
            Ok(rows)
        })?;
        rows.sort_unstable_by(|a, b| {
            (&a.ad_id, a.start_ms, &a.region, a.epoch).cmp(&(&b.ad_id, b.start_ms, &b.region, b.epoch))
        });
        Ok(rows)
    }

    /// Whether certainly none of the rows is there that are asked for, without reading anything: by the files of a version
    /// that is as new as any other answer's.
    #[must_use]
    pub fn has_none(&self, query: &WindowQuery) -> bool {
        let wanted = Wanted::windows(query);
        let none = |snapshot: Arc<Snapshot>| !snapshot.files(&wanted).any(|file| file.may_have(&wanted));
        self.follower.fresh().is_some_and(none)
    }

    /// The ads with the most clicks in one window.
    pub fn top(&self, query: &TopQuery) -> Result<Vec<TopAd>, ReadError> {
        let wanted = Wanted::top(query);
        let clicks = self.twice(|snapshot| {
            let budget = Budget::limited(self.limits.query_bytes);
            let mut clicks: HashMap<String, u64> = HashMap::new();
            self.scanner.scan(snapshot, &wanted, &budget, |batch| {
                batch.for_each(query.window, |row| match clicks.get_mut(row.ad_id) {
                    Some(known) => *known = known.saturating_add(row.click_count),
                    None => drop(clicks.insert(row.ad_id.to_owned(), row.click_count)),
                });
                Ok(())
            })?;
            Ok(clicks)
        })?;
        let ads = clicks.into_iter().map(|(ad_id, click_count)| TopAd { ad_id: ad_id.into(), click_count });
        let mut ads: Vec<TopAd> = ads.collect();
        TopAd::rank(&mut ads, query.limit);
        Ok(ads)
    }

    /// Hands every row that is asked for to `take`, in any order, and returns the version that they are of. However many
    /// there are, only few are in memory at a time, so no limit on bytes applies. With a manifest its files are read as well,
    /// in case the table does not have them yet: they are committed after it.
    ///
    /// Where another writer removes files from the store meanwhile, rows may have been handed out already: then it fails
    /// with [`ReadError::Changed`], and the caller starts again with nothing.
    pub fn for_each(
        &self,
        query: &WindowQuery,
        manifest: Option<&Manifest>,
        mut take: impl FnMut(WindowRow<'_>),
    ) -> Result<TableVersion, ReadError> {
        let wanted = Wanted::windows(query);
        let mut handed_out = false;
        self.twice(|snapshot| {
            if handed_out {
                return Err(ReadError::Changed);
            }
            let with_more = manifest.map(|manifest| snapshot.with_files_of(manifest)).transpose()?;
            let snapshot = with_more.as_ref().unwrap_or(snapshot);
            self.scanner.scan(snapshot, &wanted, &Budget::unlimited(), |batch: Batch| {
                handed_out |= batch.rows() > 0;
                batch.for_each(query.window, &mut take);
                Ok(())
            })?;
            Ok(snapshot.version().clone())
        })
    }

    /// Answers from the newest version; where a file of it is gone, once more from what the log says by then. Other
    /// writers remove files that their newer versions no longer have.
    fn twice<T>(&self, mut answer: impl FnMut(&Snapshot) -> Result<T, ReadError>) -> Result<T, ReadError> {
        match answer(self.follower.snapshot()?.as_ref()) {
            Err(ReadError::Missing { .. }) => answer(self.follower.reread()?.as_ref()),
            answered => answered,
        }
    }
}
