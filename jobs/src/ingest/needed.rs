//! What of the log the job still needs: everything from where its newest checkpoint goes on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use weir_checkpoints::{Manifest, Names, Offset, PartitionId, Sequence, Store, StoreError};

/// Reads a job's newest manifest, again and again.
pub struct Needed {
    store: Arc<dyn Store>,
    names: Names,
    /// The newest manifest that was seen, and where it goes on.
    newest: Mutex<Option<(Sequence, BTreeMap<PartitionId, Offset>)>>,
}

impl Needed {
    /// The checkpoints of this job.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, job: &str) -> Self {
        Self { store, names: Names::new(job), newest: Mutex::default() }
    }

    /// The next offset of each partition; none of them before the job's first checkpoint. Manifests are numbered without
    /// gaps, so after the first listing a look at the next number is enough.
    pub fn offsets(&self) -> Result<BTreeMap<PartitionId, Offset>> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.is_none() {
            *newest = self.newest_listed()?;
        }
        while let Some((sequence, _)) = &*newest
            && let Some(next) = self.read(sequence.next())?
        {
            *newest = Some(next);
        }
        Ok(newest.as_ref().map(|(_, offsets)| offsets.clone()).unwrap_or_default())
    }

    fn newest_listed(&self) -> Result<Option<(Sequence, BTreeMap<PartitionId, Offset>)>> {
        let listed = self.store.list(&self.names.manifests())?;
        let newest = listed.iter().filter_map(|object| self.names.sequence_of(&object.name)).max();
        newest.map_or(Ok(None), |sequence| self.read(sequence))
    }

    fn read(&self, sequence: Sequence) -> Result<Option<(Sequence, BTreeMap<PartitionId, Offset>)>> {
        let name = self.names.manifest(sequence);
        let bytes = match self.store.get(&name) {
            Ok(Some(bytes)) => bytes,
            Ok(None) | Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let manifest = Manifest::parse(&name, &bytes)?;
        let offsets = manifest.partitions.iter().map(|(partition, cut)| (*partition, cut.position.next_offset));
        Ok(Some((sequence, offsets.collect())))
    }
}
