//! The recount of a day from its archive, on differential dataflow: what each ad should be billed, and why that differs
//! from what the stream has counted.
//!
//! ```text
//!   archive ─▶ read ─┬─ copies, by click ─▶ arrange ─▶ walk ─┬─ cells that change: repeated, late, invalid ─┐
//!   late rows ─▶     │   (click, place in the log)           ├─ where they stood in the log ──────────────┐ │
//!   windows ──▶      │                                       └─ leaves of the proof, by ad ─────────────┐ │ │
//!                    ├─ cells: copies − streamed, by ad and minute ─────────▶ compare ◀───────────────┼─┼─┘
//!                    └─ names and users, by ad ───────────────────────────────────────────┐   │       │ │
//!                                                                                         ▼   ▼       ▼ ▼
//!                                                                             settle, by ad: one [`AdDay`] each
//! ```
//!
//! Nothing here is shared with the streaming graph but what a click is: its identity and its time. Counts come from
//! differences that add up: every row of the archive adds one to its ad and to the cell of its ad and minute, every row
//! that is not the first of its click takes one away, and what the stream has counted stands beside that. The clicks are
//! counted once more, one by one, as leaves of the proof; the two must agree.
//!
//! - **The first copy in the log is the click**, by epoch, partition and offset. What comes later never changes which one
//!   it is, so a day that is recounted after more clicks came in only grows.
//! - A click is invalid if any of its copies is excluded.
//! - The result depends on the rows alone: not on workers, passes, or the order of files.
//! - Memory is bounded by passes over ranges of click keys: each pass reads the archive again, and keeps its share. The
//!   time that is tracked is the round: a sixty-fourth of the keys for each worker, sorted, walked and gone before the next.

mod epochs;
mod index;
mod input;
mod merkle;
mod outcome;
mod read;
mod restate;
mod run;
mod settle;
mod sort;
mod tally;
mod together;
mod users;
mod walk;
mod windows;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use timely::dataflow::operators::{Concatenate, Probe};

pub use self::epochs::{Mistake, WrongEpoch, wrong_epochs};
pub use self::index::{DayIndex, IndexError, IndexTo};
pub use self::input::{Archive, ArchiveError, ArchiveFactory, ArchiveRow, ArchivedClick, StreamedWindow};
pub use self::merkle::{AdProof, Branch, ProofError};
pub use self::outcome::{AdDay, Correction, DayCount, OffsetRange, Reason, WindowDifference};
pub use self::restate::{AdBefore, InvalidTraffic, Restated, RestatedAd, Restatement};
use self::run::run_graph;
pub use self::together::{Archives, Opened, Part, recount_together};
pub use self::windows::{BilledWindow, BilledWindows};
use crate::{ClusterError, Layout};
use read::Reading;
use settle::settle;

/// Ranges of click keys that passes and workers share: the most passes and workers that are of use.
pub const SHARDS: u32 = 64;

/// What is recounted.
pub struct Recount {
    /// The first millisecond of the day, on a whole minute.
    pub start_ms: i64,
    /// The first millisecond after it.
    pub end_ms: i64,
    /// How far around the day copies of a click are looked for.
    pub margin_ms: i64,
    /// How often the archive is read, each time for a share of the clicks; from 1 to [`SHARDS`], rounded up to a power of
    /// two.
    pub passes: u32,
    /// Whether users are counted one by one, and not by sketch.
    pub exact_users: bool,
    /// The ad whose clicks are to be listed, for proofs.
    pub leaves_of: Option<String>,
    /// Where an index is left for later restatements, if one is wanted. The archive has to know addresses and regions then.
    pub index: Option<IndexTo>,
    /// The archive.
    pub archive: Arc<dyn ArchiveFactory>,
    /// How far it is.
    pub progress: Arc<RecountProgress>,
}

/// How shards are dealt over passes and rounds. All are powers of two, so that each holds whole ones of the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rounds {
    /// Shards of a pass.
    pass: u32,
    /// Shards of a round: one for each worker, as far as they go.
    round: u32,
}

impl Rounds {
    fn new(passes: u32, workers: usize) -> Self {
        let pass = SHARDS / passes.clamp(1, SHARDS).next_power_of_two();
        let workers = u32::try_from(workers).unwrap_or(SHARDS).clamp(1, SHARDS).next_power_of_two();
        Self { pass, round: workers.min(pass) }
    }

    /// The round in which a shard is walked: the time of its updates.
    pub(crate) const fn of(self, shard: u32) -> u32 {
        shard / self.round
    }

    /// The pass in which the shards of a round are read.
    pub(crate) const fn pass_of(self, round: u32) -> u32 {
        round * self.round / self.pass
    }

    /// The rounds there are.
    pub(crate) const fn count(self) -> u32 {
        SHARDS / self.round
    }
}

/// How far a recount is.
#[derive(Debug, Default)]
pub struct RecountProgress {
    rows: AtomicU64,
}

impl RecountProgress {
    /// The rows read by now, over all passes.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }
}

/// Why a day could not be recounted.
#[derive(Debug, thiserror::Error)]
pub enum RecountError {
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A worker failed, perhaps in another process.
    #[error("a worker failed: {0}")]
    Elsewhere(String),
    /// What is stored contradicts itself.
    #[error("the archive contradicts itself: {0}")]
    Contradiction(String),
    /// The processes cannot work together, or Timely could not start or stop its workers.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// Recounts a day. The process of worker 0 gets the result, the others `None`.
pub fn recount(recount: Recount, layout: Layout) -> Result<Option<DayCount>, RecountError> {
    let outcome = Arc::new(outcome::Outcome::default());
    let (recount, counting) = (Arc::new(recount), Arc::clone(&outcome));
    run_graph(layout, &outcome, move |worker| {
        worker.dataflow_named::<u32, _, _>("recount", |scope| build(scope, &recount, &counting));
    })?;
    outcome.finish()
}

fn build(scope: timely::dataflow::Scope<'_, u32>, recount: &Arc<Recount>, outcome: &Arc<outcome::Outcome>) {
    let walked_rounds = timely::dataflow::operators::probe::Handle::new();
    let reading = Reading::new(scope, recount, outcome, walked_rounds.clone());
    let walked = walk::walk(walk::arrange(reading.copies), recount, outcome);
    let cells = tally::compare(scope.concatenate([reading.cells, walked.cells]));
    let users = users::count(reading.users);
    let walked_parts = walked.parts.probe_with(&walked_rounds);
    settle(scope.concatenate([reading.parts, walked_parts, cells, users]), recount, outcome);
}
