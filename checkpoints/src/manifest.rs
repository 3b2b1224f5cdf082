//! The manifest: one JSON object that says everything a job needs to go on from an epoch.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Attempt, Epoch, GroupSet, Offset, Origin, PartitionId, Sequence, WorkerIndex, content_hash};

/// The version of the stored format: of manifests, parts and key groups together. A job refuses to resume from any other.
pub const FORMAT_VERSION: u32 = 1;

/// The settings that the stored state depends on, by their names in the job file.
pub type Settings = BTreeMap<String, String>;

/// The commit point of one checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT_VERSION`] of the writer.
    pub format: u32,
    /// The job's name.
    pub job: String,
    /// Its place in the chain.
    pub sequence: Sequence,
    /// The hash of the manifest before it, SHA-256 in hex; none for the first.
    pub previous: Option<String>,
    /// The checkpoint of another job that this one was forked from; none for a job that began with nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The attempt that wrote it.
    pub attempt: Attempt,
    /// A random token of the process that wrote it: two processes that start the same attempt at the same instant
    /// must not take each other's manifest for their own.
    pub owner: String,
    /// How many workers wrote it.
    pub workers: u32,
    /// The last epoch that it covers.
    pub epoch: Epoch,
    /// Unix time of writing in milliseconds, by the writer's clock; information only.
    pub written_ms: i64,
    /// Settings that the state depends on.
    pub settings: Settings,
    /// The watermark at the end of the epoch, in milliseconds of event time; none before the first click.
    pub watermark_ms: Option<i64>,
    /// Windows that end at or before this event time are closed for good. It never goes back, whatever lateness
    /// a later attempt is given.
    pub closed_until_ms: Option<i64>,
    /// Whether the source had ended: nothing is left to read.
    pub ended: bool,
    /// Where each partition stands.
    pub partitions: BTreeMap<PartitionId, PartitionCut>,
    /// The state, oldest part first.
    pub state: Vec<StatePart>,
    /// What the sinks make visible once this manifest exists.
    pub outputs: Vec<OutputPart>,
}

impl Manifest {
    /// The first one of a job, which has read nothing.
    #[must_use]
    pub fn first(job: &str) -> Self {
        Self {
            format: FORMAT_VERSION,
            job: job.to_owned(),
            sequence: Sequence(0),
            previous: None,
            origin: None,
            attempt: Attempt(1),
            owner: String::new(),
            workers: 1,
            epoch: Epoch(0),
            written_ms: 0,
            settings: Settings::new(),
            watermark_ms: None,
            closed_until_ms: None,
            ended: false,
            partitions: BTreeMap::new(),
            state: Vec::new(),
            outputs: Vec::new(),
        }
    }

    /// Reads a stored manifest; `name` is for the error.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let unreadable =
            |error: serde_json::Error| ManifestError::Unreadable { name: name.to_owned(), reason: error.to_string() };
        let Format { format } = serde_json::from_slice(bytes).map_err(unreadable)?;
        if format != FORMAT_VERSION {
            return Err(ManifestError::Format { name: name.to_owned(), found: format });
        }
        serde_json::from_slice(bytes).map_err(unreadable)
    }

    /// The bytes that are stored, and hashed.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ManifestError> {
        let unwritable = |error: serde_json::Error| ManifestError::Unwritable { reason: error.to_string() };
        let mut bytes = serde_json::to_vec_pretty(self).map_err(unwritable)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The SHA-256 of a manifest's stored bytes, in hex.
    #[must_use]
    pub fn hash(bytes: &[u8]) -> String {
        content_hash(bytes)
    }

    /// The sum of the totals of all partitions.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.partitions.values().fold(Totals::default(), |sum, cut| sum.plus(&cut.totals))
    }
}

/// Where a partition stands at the end of an epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionCut {
    /// Where reading goes on.
    pub position: Position,
    /// The largest event time seen, in milliseconds, future clicks left out; none before the first click.
    pub max_event_time_ms: Option<i64>,
    /// What became of the records read so far.
    pub totals: Totals,
}

/// Where reading a partition goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The offset of the next record.
    pub next_offset: Offset,
    /// What the source needs beside the offset to find its place, in its own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// What became of a partition's records since the job's first attempt.
///
/// Conservation: `read = rejected + future + late + duplicate + counted`, decided in this order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Records read.
    pub read: u64,
    /// Records that are no valid click; they are in the dead letters.
    pub rejected: u64,
    /// Clicks further ahead of their log timestamp than the job allows; they are in the late table.
    pub future: u64,
    /// Clicks whose window was closed; they are in the late table.
    pub late: u64,
    /// Clicks whose id was seen within the dedup horizon.
    pub duplicate: u64,
    /// Clicks that are in a window's count.
    pub counted: u64,
}

impl Totals {
    /// The sum of both.
    #[must_use]
    pub const fn plus(&self, other: &Self) -> Self {
        Self {
            read: self.read.saturating_add(other.read),
            rejected: self.rejected.saturating_add(other.rejected),
            future: self.future.saturating_add(other.future),
            late: self.late.saturating_add(other.late),
            duplicate: self.duplicate.saturating_add(other.duplicate),
            counted: self.counted.saturating_add(other.counted),
        }
    }

    /// Whether every record read is accounted for exactly once. Numbers of a damaged manifest that only add up when they
    /// wrap around do not.
    #[must_use]
    pub const fn conserved(&self) -> bool {
        let told_apart = self.rejected as u128
            + self.future as u128
            + self.late as u128
            + self.duplicate as u128
            + self.counted as u128;
        self.read as u128 == told_apart
    }
}

/// An object of state: opaque bytes by key group, of one kind, written by one worker at one checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatePart {
    /// Its object name.
    pub name: String,
    /// What is in it; the writer's word.
    pub kind: String,
    /// The epoch at whose end it was written.
    pub epoch: Epoch,
    /// The attempt that wrote it.
    pub attempt: Attempt,
    /// The worker that wrote it.
    pub worker: WorkerIndex,
    /// Its size.
    pub size_bytes: u64,
    /// The key groups of it that still count.
    pub groups: GroupSet,
    /// Event time from which on nothing in it matters any more: once the watermark has passed it, the part is dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<i64>,
}

/// An object, or a change, that a sink makes visible once the manifest that lists it exists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputPart {
    /// The sink that wrote it and will commit it.
    pub sink: String,
    /// Its object name, as the sink understands it.
    pub name: String,
    /// The rows in it.
    pub rows: u64,
    /// Its size.
    pub size_bytes: u64,
    /// Whatever else the sink needs to commit it.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub details: serde_json::Value,
}

/// Why a manifest cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Another version of the format.
    #[error(
        "manifest `{name}` has format {found}, this build reads format {FORMAT_VERSION}; use a build that reads it, or start a new job under another name"
    )]
    Format {
        /// Its name.
        name: String,
        /// Its format.
        found: u32,
    },
    /// It is no manifest.
    #[error("manifest `{name}` cannot be read: {reason}")]
    Unreadable {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It has no JSON form.
    #[error("a manifest cannot be written: {reason}")]
    Unwritable {
        /// Why.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_that_wrap_around_are_not_conserved() {
        let half = Totals { read: 1 << 63, late: 1 << 63, ..Totals::default() };
        assert!(half.conserved());
        assert!(!Totals { read: 0, late: 1 << 63, counted: 1 << 63, ..Totals::default() }.conserved());
        assert_eq!(half.plus(&half), Totals { read: u64::MAX, late: u64::MAX, ..Totals::default() });
    }
}
