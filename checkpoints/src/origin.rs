//! Where a forked job comes from.
//!
//! ```text
//!   clicks:    … ─▶ 41 ─▶ 42 ─▶ 43 ─▶ …
//!                         │ origin: the hash of 42, and what is in the tables of `clicks` by then
//!                         ▼
//!   fork:                 0 ─▶ 1 ─▶ …       offsets, epochs, watermark and totals go on from 42
//! ```
//!
//! A fork takes over everything that its origin had not yet put into a table: open windows, and rows that waited for a
//! file. So the origin's tables as of the cut and the fork's tables are all rows, each once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Epoch, Manifest, PartitionId, Sequence};

/// The checkpoint that a job was forked from. Every manifest of the fork has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The job that it is a checkpoint of.
    pub job: String,
    /// The name that it is kept under; none where it was named by its number.
    pub savepoint: Option<String>,
    /// Its number in that job's chain.
    pub sequence: Sequence,
    /// The SHA-256 of its manifest's bytes, in hex.
    pub hash: String,
    /// The last epoch that it covers: the fork goes on with the next one.
    pub epoch: Epoch,
    /// The largest event time that was read by then, future clicks left out.
    pub max_event_time_ms: Option<i64>,
    /// Windows that end at or before this were closed by then.
    pub closed_until_ms: Option<i64>,
    /// What the totals count and the origin's tables have, not the fork's: by table, and by partition or length of window.
    pub elsewhere: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Origin {
    /// The origin of a job that goes on from `cut`, whose bytes have this hash. Nothing is elsewhere yet.
    #[must_use]
    pub fn of(cut: &Manifest, hash: &str, savepoint: Option<&str>) -> Self {
        Self {
            job: cut.job.clone(),
            savepoint: savepoint.map(str::to_owned),
            sequence: cut.sequence,
            hash: hash.to_owned(),
            epoch: cut.epoch,
            max_event_time_ms: cut.partitions.values().filter_map(|partition| partition.max_event_time_ms).max(),
            closed_until_ms: cut.closed_until_ms,
            elsewhere: BTreeMap::new(),
        }
    }

    /// Notes what the origin's tables have.
    pub fn add_elsewhere(&mut self, table: &str, part: impl ToString, amount: u64) {
        self.elsewhere.entry(table.to_owned()).or_default().insert(part.to_string(), amount);
    }
}

impl Manifest {
    /// The rows of a table and partition that the totals count and the tables of the jobs before have; 0 of a job that was
    /// not forked.
    #[must_use]
    pub fn rows_elsewhere(&self, table: &str, partition: PartitionId) -> u64 {
        self.elsewhere(table, &partition.to_string())
    }

    /// The same for a part of a table that is not a partition.
    #[must_use]
    pub fn elsewhere(&self, table: &str, part: &str) -> u64 {
        let table = self.origin.as_ref().and_then(|origin| origin.elsewhere.get(table));
        table.and_then(|parts| parts.get(part)).copied().unwrap_or_default()
    }
}
