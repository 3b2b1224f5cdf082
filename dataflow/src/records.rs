//! The records that the graph exchanges.

use serde::{Deserialize, Serialize};
use weir_checkpoints::PartitionId;

use crate::AdKey;

/// A click on its way to dedup: its identity, what will be counted, and the place it came from. 56 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, columnar::Columnar)]
pub(crate) struct KeyedClick {
    pub(crate) key_high: u64,
    pub(crate) key_low: u64,
    pub(crate) ad_high: u64,
    pub(crate) ad_low: u64,
    pub(crate) offset: u64,
    pub(crate) partition: u32,
    pub(crate) minute: u32,
    pub(crate) coupon: u32,
}

/// A click that counts, on its way to its window. 24 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, columnar::Columnar)]
pub(crate) struct PaneClick {
    pub(crate) ad_high: u64,
    pub(crate) ad_low: u64,
    pub(crate) minute: u32,
    pub(crate) coupon: u32,
}

impl PaneClick {
    pub(crate) const fn ad(&self) -> AdKey {
        AdKey(join(self.ad_high, self.ad_low))
    }
}

/// The two halves of a 128-bit key.
pub(crate) const fn split(key: u128) -> (u64, u64) {
    ((key >> 64) as u64, key as u64)
}

/// The 128-bit key of two halves.
pub(crate) const fn join(high: u64, low: u64) -> u128 {
    ((high as u128) << 64) | low as u128
}

/// What an ad's key stands for, sent to the worker that counts the ad, once a worker and checkpoint interval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AdName {
    pub(crate) ad: u128,
    pub(crate) name: String,
    /// None at home.
    pub(crate) region: Option<String>,
}

/// What a worker says about its partitions at the end of an epoch; every worker hears it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EpochReport {
    pub(crate) epoch: u64,
    pub(crate) partitions: Vec<PartitionReport>,
    /// The worker finds that it is time for a checkpoint.
    pub(crate) checkpoint: bool,
    /// The worker was asked to stop.
    pub(crate) stop: bool,
    /// Partitions that its source has seen come up.
    pub(crate) came_up: Vec<PartitionId>,
}

/// One partition at the end of an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartitionReport {
    pub(crate) partition: PartitionId,
    pub(crate) max_event_time_ms: Option<i64>,
    pub(crate) activity: Activity,
}

/// Whether a partition holds the watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Activity {
    /// It does.
    Active,
    /// It does not: it is read to the log's end and nothing came for the idle timeout.
    Idle,
    /// It does not, for good: it is bounded and read to its end.
    Ended,
}
