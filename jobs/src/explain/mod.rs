//! Where a number comes from: from the count that a table shows down to the offsets of the clicks behind it.
//!
//! ```text
//!   newest manifest ──▶ closed until, rows held back ──┐
//!   clicks_agg ───────▶ the count that is shown ───────┤
//!   clicks_late ──────▶ clicks that do not count ──────┼─▶ gather ─▶ judge ─▶ Explanation ─▶ describe, or JSON
//!   clicks_raw ───────▶ every copy, its place, epoch ──┤
//!   corrections, billing_daily ────────────────────────┘
//! ```
//!
//! - Whether two records are the same click is asked of [`weir_dataflow::Click::key`], as the job does.
//! - Of the copies of a click the first in the order of epoch, partition and offset counts, whatever its time or region.
//! - All records of the ad are in memory, without their texts, on as many threads as there are cores; the texts of those
//!   that are told of one by one are read afterwards.
//! - The archive is read as of the newest manifest: what is held back for it is read where it is held.
//! - Where the table and the archive differ, more is read, to find out why; [`judge`] is a pure function of what was found.

mod compete;
mod copies;
mod describe;
mod gather;
mod judge;
mod late;
mod places;
mod records;
mod report;
mod span;

use anyhow::Result;
use weir_checkpoints::Store;
use weir_connectors::delta::TraceError;

pub(crate) use self::describe::describe;
pub use self::judge::{Code, Verdict};
pub use self::report::Explanation;
pub use self::span::{Span, SpanKind};

/// Which number.
#[derive(Debug, Clone)]
pub struct Question {
    /// The ad.
    pub ad_id: String,
    /// The window.
    pub span: Span,
    /// Keeps one region; else all are added up.
    pub region: Option<String>,
    /// Whether the clicks themselves are listed.
    pub clicks: bool,
    /// How many clicks, and how many duplicates, are listed at most.
    pub limit: usize,
}

/// Where the job keeps what it knows.
pub struct Sources<'a> {
    /// The job's name.
    pub job: &'a str,
    /// Where its checkpoints are.
    pub checkpoints: std::sync::Arc<dyn Store>,
    /// Where its tables are.
    pub tables: std::sync::Arc<dyn Store>,
    /// The tables' location.
    pub tables_url: &'a str,
    /// Whether there is an archive.
    pub archive: bool,
    /// How the job treats time.
    pub time: Time,
}

/// What of the job's settings decides whether a second copy counts, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Time {
    /// How long a click's id is remembered.
    pub horizon_ms: i64,
    /// How long a window stays open.
    pub lateness_ms: i64,
    /// By how much the times of two copies can differ while the first is still remembered, unless the job catches up.
    pub reach_ms: i64,
}

/// Reads what there is about a number. Where another writer removes a file meanwhile, it is all read once more.
pub fn explain(sources: &Sources<'_>, question: &Question) -> Result<Explanation> {
    match gather::gather(sources, question) {
        Err(error) if matches!(error.downcast_ref(), Some(TraceError::Missing { .. })) => {
            gather::gather(sources, question)
        }
        explained => explained,
    }
}
