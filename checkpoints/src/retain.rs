//! What may be deleted: a pure decision over listings and the manifests that are kept.

use std::collections::HashSet;

use crate::{Manifest, Names, ObjectInfo, Sweep};

/// Objects that nothing needs any more.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Garbage {
    /// State parts.
    pub state: Vec<String>,
    /// Manifests.
    pub manifests: Vec<String>,
}

/// Decides what to delete.
///
/// - A state part goes when none of `kept` (the newest manifests: the restore points) and none of `pinned` (what is kept
///   under a name) lists it and a finished attempt wrote it, or the current one wrote it for an epoch that `kept` has passed.
///   What the current attempt is writing just now stays.
/// - A manifest goes when it is no restore point, comes before `needed` (what a sink has yet to show), and was written before
///   `manifests_since_ms`. They are kept for days, not
///   minutes: they prove which offsets were covered, and a number that was deleted could be taken again by an attempt
///   that slept for that long.
#[must_use]
pub fn garbage(
    names: &Names,
    sweep: &Sweep<'_>,
    pinned: &[Manifest],
    state: &[ObjectInfo],
    manifests: &[ObjectInfo],
) -> Garbage {
    let Sweep { kept, attempt: current, manifests_since_ms, needed, .. } = *sweep;
    let Some(newest) = kept.iter().max_by_key(|manifest| manifest.sequence) else {
        return Garbage::default();
    };
    let oldest_kept = kept.iter().map(|manifest| manifest.sequence).min().unwrap_or_default();
    let oldest_kept = needed.map_or(oldest_kept, |needed| needed.min(oldest_kept));
    let listed: HashSet<&str> =
        kept.iter().chain(pinned).flat_map(|manifest| &manifest.state).map(|part| part.name.as_str()).collect();
    let finished = |object: &ObjectInfo| match names.attempt_of_part(&object.name) {
        Some(attempt) if attempt < current => true,
        Some(attempt) if attempt == current => {
            names.epoch_of_part(&object.name).is_some_and(|epoch| epoch <= newest.epoch)
        }
        _ => false,
    };
    Garbage {
        state: state
            .iter()
            .filter(|object| !listed.contains(object.name.as_str()) && finished(object))
            .map(|object| object.name.clone())
            .collect(),
        manifests: manifests
            .iter()
            .filter(|object| names.sequence_of(&object.name).is_some_and(|sequence| sequence < oldest_kept))
            .filter(|object| object.modified_ms < manifests_since_ms)
            .map(|object| object.name.clone())
            .collect(),
    }
}
