//! What of the log the job still needs: everything from where its newest checkpoint goes on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use weir_checkpoints::{Follower, Offset, PartitionId, Store};

/// Reads a job's newest manifest, again and again.
pub struct Needed {
    chain: Mutex<Follower>,
}

impl Needed {
    /// The checkpoints of this job.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, job: &str) -> Self {
        Self { chain: Mutex::new(Follower::new(store, job)) }
    }

    /// The next offset of each partition; none of them before the job's first checkpoint.
    pub fn offsets(&self) -> Result<BTreeMap<PartitionId, Offset>> {
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(newest) = chain.newest()? else { return Ok(BTreeMap::new()) };
        let offsets = newest.partitions.iter().map(|(partition, cut)| (*partition, cut.position.next_offset));
        Ok(offsets.collect())
    }
}
