//! What is noted of each data file: in the manifest that lists it, and from there in the log of its table.
//!
//! ```text
//!   manifest  outputs[].details   partition │ stats │ sha256       │ rows_by_partition
//!   log       add                 partition │ stats │ tags: weir.sha256, weir.rows
//! ```
//!
//! The hash is of the file's bytes as they were written, so whoever reads them later can tell that they are the same. The
//! rows of each source partition, added up over all files, are what the manifests say was read of it: `weir verify`
//! needs no file for that. The smallest and the largest epoch of the rows are among the statistics of click files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_checkpoints::PartitionId;

/// The SHA-256 of the file, in hex.
pub(super) const HASH_TAG: &str = "weir.sha256";

/// Its rows by source partition, as JSON.
const ROWS_TAG: &str = "weir.rows";

/// [`OutputPart::details`](weir_checkpoints::OutputPart::details) of a table's file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Details {
    /// The values of the partition columns.
    pub(super) partition: BTreeMap<String, Option<String>>,
    /// What the log says of its values.
    pub(super) stats: Value,
    /// The SHA-256 of the file, in hex; manifests of older versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sha256: Option<String>,
    /// How many rows came from each partition of the source; none for windows, which come from all of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) rows_by_partition: BTreeMap<PartitionId, u64>,
}

impl Details {
    /// What of it the log has no field for.
    pub(super) fn tags(&self) -> Result<Option<BTreeMap<String, Option<String>>>, serde_json::Error> {
        let mut tags = BTreeMap::new();
        if let Some(hash) = &self.sha256 {
            tags.insert(HASH_TAG.to_owned(), Some(hash.clone()));
        }
        if !self.rows_by_partition.is_empty() {
            tags.insert(ROWS_TAG.to_owned(), Some(serde_json::to_string(&self.rows_by_partition)?));
        }
        Ok(Some(tags).filter(|tags| !tags.is_empty()))
    }
}
