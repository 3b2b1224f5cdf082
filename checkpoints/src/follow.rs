//! Reading a job's chain of manifests from outside, while the job goes on adding to it.

use std::sync::Arc;

use crate::{JournalError, Manifest, Names, Sequence, Store, StoreError};

/// Follows the chain of a job.
pub struct Follower {
    store: Arc<dyn Store>,
    names: Names,
    newest: Option<Manifest>,
}

impl Follower {
    /// Reads nothing yet.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, job: &str) -> Self {
        Self { store, names: Names::new(job), newest: None }
    }

    /// The newest manifest; none before the job's first attempt. Manifests are numbered without gaps, so after the first
    /// listing a look at the next number is enough.
    pub fn newest(&mut self) -> Result<Option<&Manifest>, JournalError> {
        if self.newest.is_none() {
            let listed = self.store.list(&self.names.manifests())?;
            let newest = listed.iter().filter_map(|object| self.names.sequence_of(&object.name)).max();
            self.newest = newest.map(|sequence| self.read(sequence)).transpose()?.flatten();
        }
        while let Some(newest) = &self.newest
            && let Some(next) = self.read(newest.sequence.next())?
        {
            self.newest = Some(next);
        }
        Ok(self.newest.as_ref())
    }

    /// The manifest of one number; none where it is not there, or not any more.
    pub fn read(&self, sequence: Sequence) -> Result<Option<Manifest>, JournalError> {
        let name = self.names.manifest(sequence);
        match self.store.get(&name) {
            Ok(Some(bytes)) => Ok(Some(Manifest::parse(&name, &bytes)?)),
            Ok(None) | Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
