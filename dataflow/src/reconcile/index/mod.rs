//! The index of a day: what a recount has read, narrow enough to be gone through again in no time when some traffic is taken
//! out of a closed day.
//!
//! ```text
//!   recount ─▶ read ──▶ segments: a row for each click of the archive, in columns     │ one object each
//!          ├─▶ walk ──▶ several: clicks with more than one copy, and where the first is │
//!          └─▶ settle ─▶ trees: the parts of the tree over each ad's clicks              │ one object, which names the segments
//! ```
//!
//! Nothing in it is needed to close a day, and nothing is lost with it: a restatement that does not find it, or finds it
//! damaged, recounts the archive.
//!
//! A row of a segment takes 56 bytes where the address is an IPv4 one, and its run of rows of one ad 12. Segments are in
//! the order of the data files, so the clicks of an ad follow one another, and those of a minute within them.

mod day;
mod filter;
mod segment;
mod write;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_checkpoints::{Store, StoreError};

pub use self::day::DayIndex;
pub(super) use self::day::{AdTree, Several, TreePart};
pub(super) use self::filter::{KeyMap, KeySet};
pub(super) use self::segment::{Column, ELSEWHERE, Segment, Values};
pub(super) use self::write::IndexWriter;

/// Clicks in a part of a tree, about: so many are hashed again for one that comes or goes.
pub(super) const PART_CLICKS: usize = 32;

/// An ad with fewer clicks is hashed as a whole.
pub(super) const TREE_CLICKS: u64 = 8 * PART_CLICKS as u64;

/// Where a recount leaves the index.
#[derive(Clone)]
pub struct IndexTo {
    /// The store.
    pub store: Arc<dyn Store>,
    /// What the names of its objects begin with.
    pub prefix: String,
}

/// A segment, as the index names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct SegmentInfo {
    pub(super) name: String,
    pub(super) bytes: u64,
    /// Where the description of its columns begins, which goes on to the end.
    pub(super) footer: u64,
    /// XXH3 of that.
    pub(super) footer_hash: u128,
}

/// Why an index is of no use.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is not what was written.
    #[error("`{name}` of the day's index {reason}")]
    Damaged {
        /// The object.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What it says does not add up.
    #[error("the day's index contradicts itself: {0}")]
    Contradiction(String),
}

/// Takes `N` bytes off the front.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

/// A number of things that take at least `least` bytes each, so that no damaged number makes room for more than there can be.
fn take_count(bytes: &mut &[u8], least: usize) -> Option<usize> {
    let count = u32::from_le_bytes(take(bytes)?) as usize;
    (count.checked_mul(least)? <= bytes.len()).then_some(count)
}

/// A text behind its length.
fn take_text(bytes: &mut &[u8]) -> Option<String> {
    let length = u32::from_le_bytes(take(bytes)?) as usize;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).ok()
}
