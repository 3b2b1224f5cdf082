//! The answers as they are sent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_checkpoints::Totals;

/// One window of one ad.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Point {
    /// The window's start, unix time in seconds.
    pub(super) timestamp: i64,
    /// Clicks counted in it, exact.
    pub(super) click_count: u64,
    /// Distinct users: exact up to 384, beyond that an estimate with a standard error of 1.6 %.
    pub(super) unique_users: u64,
    /// Whether the window is closed and committed. Until then the figures may still change.
    #[serde(rename = "final")]
    pub(super) is_final: bool,
    /// Whether its day is closed: these are the figures that are billed.
    pub(super) reconciled: bool,
}

/// The windows of one ad, in the order of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Series {
    /// The ad.
    pub(super) ad_id: String,
    /// The windows' length: 1m, 5m or 1h.
    pub(super) window: &'static str,
    /// Its windows. Those without a click are left out unless `fill=zero`.
    pub(super) data: Vec<Point>,
}

/// What an answer is true for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Truth {
    /// The watermark that the figures are true for, unix time in seconds: clicks up to this time are expected to be in.
    pub(super) watermark: Option<i64>,
    /// Whether something may be missing, because a job or a table could not be asked.
    pub(super) partial: bool,
}

/// The answer for one ad.
#[derive(Debug, Serialize, ToSchema)]
#[allow(dead_code, reason = "it only describes what is answered")]
pub(super) struct AdStats {
    #[serde(flatten)]
    pub(super) series: Series,
    #[serde(flatten)]
    pub(super) truth: Truth,
}

/// The answer for several ads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct AllSeries {
    /// In the order in which the ads were given.
    pub(super) series: Vec<Series>,
}

/// The answer for several ads.
#[derive(Debug, Serialize, ToSchema)]
#[allow(dead_code, reason = "it only describes what is answered")]
pub(super) struct AdsStats {
    #[serde(flatten)]
    pub(super) all: AllSeries,
    #[serde(flatten)]
    pub(super) truth: Truth,
}

/// For one ad, or, where `ad_id` was given several times, for several.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "it only describes what is answered")]
pub(super) enum Stats {
    One(AdStats),
    Several(AdsStats),
}

/// One ad of a top list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct TopEntry {
    /// The ad.
    pub(super) ad_id: String,
    /// Clicks counted in the window.
    pub(super) click_count: u64,
    /// Distinct users, an estimate beyond 384.
    pub(super) unique_users: u64,
}

/// The ads with the most clicks in a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct TopList {
    /// The window's length.
    pub(super) window: &'static str,
    /// The window's start, unix time in seconds; none where there is no window yet.
    pub(super) timestamp: Option<i64>,
    /// Whether the window is closed and committed.
    #[serde(rename = "final")]
    pub(super) is_final: bool,
    /// Whether its day is closed: these are the figures that are billed.
    pub(super) reconciled: bool,
    /// The ads with the most clicks first; among equals the smaller id first.
    pub(super) data: Vec<TopEntry>,
}

/// The ads with the most clicks in a window.
#[derive(Debug, Serialize, ToSchema)]
#[allow(dead_code, reason = "it only describes what is answered")]
pub(super) struct Top {
    #[serde(flatten)]
    pub(super) list: TopList,
    #[serde(flatten)]
    pub(super) truth: Truth,
}

/// Distinct users of an ad over a range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct UniqueUsers {
    /// The ad.
    pub(super) ad_id: String,
    /// Minutes that start here or later are in, unix time in seconds.
    pub(super) start: i64,
    /// Minutes that start here or later are not.
    pub(super) end: i64,
    /// Distinct users of all of them together, an estimate beyond 384.
    pub(super) unique_users: u64,
}

/// Distinct users of an ad over a range.
#[derive(Debug, Serialize, ToSchema)]
#[allow(dead_code, reason = "it only describes what is answered")]
pub(super) struct Uniques {
    #[serde(flatten)]
    pub(super) users: UniqueUsers,
    #[serde(flatten)]
    pub(super) truth: Truth,
}

/// How everything is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Status {
    /// The version of Weir that answers.
    pub(super) version: &'static str,
    /// Unix time in seconds where it runs.
    pub(super) now: i64,
    /// The jobs whose windows are served.
    pub(super) jobs: Vec<JobStatus>,
    /// What was taken over HTTP, where that is done in the same process.
    pub(super) ingest: Option<IngestStatus>,
    /// Where answers come from.
    pub(super) tiers: Vec<TierStatus>,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobStatus {
    /// Its name.
    pub(crate) name: String,
    /// Its own region.
    pub(crate) region: Option<String>,
    /// Whether its state is restored and it reads.
    pub(crate) ready: bool,
    /// Its watermark, unix time in seconds.
    pub(crate) watermark: Option<i64>,
    /// The last epoch that it has counted.
    pub(crate) epoch: u64,
    /// How far it is behind the log's end, by partition.
    pub(crate) lag: BTreeMap<String, u64>,
    /// What lag is counted in.
    pub(crate) lag_unit: String,
    /// Its newest checkpoint.
    pub(crate) checkpoint: CheckpointStatus,
    /// What became of all records that it has read.
    #[schema(value_type = Object)]
    pub(crate) totals: Totals,
}

/// A checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckpointStatus {
    /// The last epoch in it.
    pub(crate) epoch: u64,
    /// The number of the attempt: how often the job was started.
    pub(crate) attempt: u64,
    /// When it was committed, unix time in seconds; none before the first.
    pub(crate) committed_at: Option<i64>,
    /// How long the commit took.
    pub(crate) duration_ms: u64,
    /// The state that it added.
    pub(crate) bytes: u64,
    /// The state that a restart would read.
    pub(crate) state_bytes: u64,
    /// Checkpoints since the process started.
    pub(crate) count: u64,
}

/// What ingest took since the process started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct IngestStatus {
    /// Clicks that went into the log.
    pub(crate) accepted: u64,
    /// Clicks that were there already.
    pub(crate) duplicate: u64,
    /// Items that are no clicks.
    pub(crate) rejected: u64,
    /// Why clicks are refused at the moment, if they are.
    pub(crate) shedding: Option<&'static str>,
}

/// A tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct TierStatus {
    /// hot: the job's memory; warm: ClickHouse; cold: the Delta tables.
    pub(super) tier: &'static str,
    /// ok, away (it should be there and does not answer) or absent (it is not configured).
    pub(super) state: &'static str,
    /// From where on it has all windows, unix time in seconds; none: from the beginning.
    pub(super) from: Option<i64>,
}
