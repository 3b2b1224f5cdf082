//! What a recount comes to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::RecountError;
use super::index::DayIndex;
use super::merkle::{AdProof, Node, Tree, ad_key, ad_leaf, click_key, from_hex, hex, way};
use crate::ClusterError;

/// A day, recounted.
#[derive(Debug, Default)]
pub struct DayCount {
    /// Its ads, by name.
    pub ads: Vec<AdDay>,
    /// Rows of the archive that were read, copies around the day among them; once, whatever the passes.
    pub rows: u64,
    /// The root of the tree over all ads, in hex; none for a day without clicks.
    pub root: Option<String>,
    /// What of it was put into the index, or why that could not be written; none where no index was asked for.
    pub index: Option<Result<DayIndex, String>>,
    /// The clicks of the ad that was asked for, as leaves.
    pub(super) leaves: Vec<Node>,
}

impl DayCount {
    /// A day of these ads, in the order of their names.
    #[must_use]
    pub fn of(ads: Vec<AdDay>, rows: u64) -> Self {
        Self { root: root_of_ads(&ads), ads, rows, ..Self::default() }
    }

    /// Shows that a click is among those of an ad; none if it is not. The ad must be the one whose clicks were listed.
    #[must_use]
    pub fn prove(&self, ad_id: &str, click_id: &str) -> Option<AdProof> {
        let at = self.ads.binary_search_by(|ad| ad.ad_id.as_str().cmp(ad_id)).ok()?;
        Some(AdProof {
            click_id: click_id.to_owned(),
            ad_id: ad_id.to_owned(),
            clicks: self.ads.get(at)?.clicks.unsigned_abs(),
            in_ad: way(&self.leaves, click_key(click_id))?,
            in_day: way(&nodes(&self.ads), ad_key(ad_id))?,
        })
    }
}

/// The root of the tree over ads.
pub(super) fn root_of_ads(ads: &[AdDay]) -> Option<String> {
    let mut tree = Tree::default();
    nodes(ads).into_iter().for_each(|node| tree.push(node));
    tree.root().map(|root| hex(&root.hash))
}

fn nodes(ads: &[AdDay]) -> Vec<Node> {
    let node = |ad: &AdDay| {
        let root = from_hex(ad.root.as_deref()?).ok()?;
        let key = ad_key(&ad.ad_id);
        Some(Node { key, hash: ad_leaf(key, ad.clicks.unsigned_abs(), &root) })
    };
    let mut nodes: Vec<Node> = ads.iter().filter_map(node).collect();
    nodes.sort_unstable();
    nodes
}

/// An ad's day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdDay {
    /// The ad.
    pub ad_id: String,
    /// What the stream has counted.
    pub streamed: i64,
    /// What it is to be billed for: the distinct clicks, invalid ones left out.
    pub clicks: i64,
    /// The users of these clicks: an estimate, unless they were asked for one by one.
    pub unique_users: u64,
    /// Why the two counts differ, in the order of [`Reason`]; the sum of all deltas is the difference.
    pub corrections: Vec<Correction>,
    /// The minutes in which the stream's count cannot be explained.
    pub differences: Vec<WindowDifference>,
    /// The minutes in which what is billed is not what the stream has counted, counted from the day's start.
    pub restated_minutes: Vec<u32>,
    /// The rows of its minutes that are not billed, by partition and offset: repeated copies, and clicks that are taken out.
    pub not_billed: Vec<(u32, u64)>,
    /// The root of the tree over its clicks, in hex; none without clicks.
    pub root: Option<String>,
}

/// A part of the difference between what was streamed and what is billed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Correction {
    /// Why.
    pub reason: Reason,
    /// By how many clicks.
    pub delta: i64,
    /// Where the clicks stand that it is about, by partition; empty where that is unknown.
    pub offsets: BTreeMap<u32, OffsetRange>,
}

/// The first and the last offset of some clicks in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetRange {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// How many clicks there are.
    pub clicks: u64,
}

/// Why a day's figure is not what the stream has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The click came after its window was closed.
    Late,
    /// Its time was too far ahead of the log's clock.
    Future,
    /// The stream has counted it in another window or once more, for it had forgotten the first copy.
    Duplicate,
    /// The stream has not counted what it should have.
    Uncounted,
    /// The stream has counted what is not there.
    Overcounted,
    /// It was taken out.
    InvalidTraffic,
}

/// A minute of an ad in which the stream has counted wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WindowDifference {
    /// The minute, counted from the day's start.
    pub minute: u32,
    /// What the stream should have counted.
    pub expected: i64,
    /// What it has counted.
    pub streamed: i64,
}

impl Reason {
    /// All of them, in the order in which corrections are applied.
    pub const ALL: [Self; 6] =
        [Self::Late, Self::Future, Self::Duplicate, Self::Uncounted, Self::Overcounted, Self::InvalidTraffic];

    /// The value of the `reason` column.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Future => "future",
            Self::Duplicate => "duplicate",
            Self::Uncounted => "uncounted",
            Self::Overcounted => "overcounted",
            Self::InvalidTraffic => "invalid_traffic",
        }
    }
}

impl OffsetRange {
    /// Takes a click in.
    pub(super) fn add(&mut self, offset: u64) {
        self.first = self.first.min(offset);
        self.last = self.last.max(offset);
        self.clicks += 1;
    }
}

/// What the workers of a process leave behind.
#[derive(Default)]
pub(super) struct Outcome {
    failed: AtomicBool,
    /// The other processes can no longer be reckoned with.
    alone: AtomicBool,
    failure: Mutex<Option<RecountError>>,
    day: Mutex<Option<DayCount>>,
}

impl Outcome {
    /// Notes a failure. Only the first one counts.
    pub(super) fn fail(&self, error: impl Into<RecountError>) {
        lock(&self.failure).get_or_insert(error.into());
        self.failed.store(true, Ordering::Release);
    }

    /// Notes a failure that may be of another process. What contradicts itself here may do so because of it.
    pub(super) fn fail_elsewhere(&self, reason: String) {
        let mut failure = lock(&self.failure);
        if failure.as_ref().is_none_or(|known| matches!(known, RecountError::Contradiction(_))) {
            *failure = Some(RecountError::Elsewhere(reason));
        }
        self.failed.store(true, Ordering::Release);
    }

    /// Notes that the cluster has failed.
    pub(super) fn leave_alone(&self, error: ClusterError) {
        self.fail(error);
        self.alone.store(true, Ordering::Release);
    }

    pub(super) fn is_alone(&self) -> bool {
        self.alone.load(Ordering::Acquire)
    }

    pub(super) fn failure(&self) -> Option<String> {
        lock(&self.failure).as_ref().map(ToString::to_string)
    }

    pub(super) fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    pub(super) fn set(&self, day: DayCount) {
        *lock(&self.day) = Some(day);
    }

    pub(super) fn finish(&self) -> Result<Option<DayCount>, RecountError> {
        match lock(&self.failure).take() {
            Some(failure) => Err(failure),
            None => Ok(lock(&self.day).take()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
