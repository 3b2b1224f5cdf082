//! Deletes what nothing needs any more.

use std::sync::Arc;

use crate::{Attempt, FaultPoint, Manifest, Names, SavepointError, Savepoints, Sequence, Store, StoreError, garbage};

/// What a sweep is to keep.
#[derive(Debug, Clone, Copy)]
pub struct Sweep<'a> {
    /// The restore points: the newest manifests, the newest of all among them.
    pub kept: &'a [Manifest],
    /// The attempt that sweeps.
    pub attempt: Attempt,
    /// Unix time in milliseconds.
    pub now_ms: i64,
    /// Manifests from this time on are kept.
    pub manifests_since_ms: i64,
    /// What a sink has yet to show.
    pub needed: Option<Sequence>,
}

impl Sweep<'_> {
    /// Deletes everything else. Only who may publish the next manifest does that, and not while publishing: see
    /// [`Savepoints`].
    pub fn run(&self, store: &Arc<dyn Store>, names: &Names) -> Result<(), StoreError> {
        let pinned = match Savepoints::new(Arc::clone(store), names.clone()).pinned(self.now_ms) {
            Ok(pinned) => pinned,
            Err(SavepointError::Store(error)) => return Err(error),
            Err(error) => {
                tracing::warn!("nothing is deleted, for it is not known what a savepoint needs: {error}");
                return Ok(());
            }
        };
        let (state, manifests) = (store.list(&names.state())?, store.list(&names.manifests())?);
        let unneeded = garbage(names, self, &pinned, &state, &manifests);
        for name in unneeded.state.iter().chain(&unneeded.manifests) {
            FaultPoint::GarbageDeleting.pass();
            store.delete(name)?;
        }
        FaultPoint::GarbageDeleted.pass();
        Ok(())
    }
}
