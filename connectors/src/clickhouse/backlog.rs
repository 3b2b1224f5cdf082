//! What a restart finds: staged objects that are still there, and the manifests that list them.
//!
//! ```text
//!   <job>/clickhouse/00000000000000000871-3-0-1.rows        epoch of the first row, attempt, worker, number
//! ```
//!
//! An object that is there and listed is not known to be in ClickHouse, and is inserted (again). One that no manifest lists,
//! of an attempt that is over, never happened, and is deleted. The epoch in the names says how far back to look.

use std::collections::HashSet;

use weir_checkpoints::{Attempt, Epoch, Manifest, Names, OutputPart, Store, WorkerIndex};
use weir_dataflow::SinkError;

use super::queue::{Object, Pending};
use super::{NAME, failed};

/// The name of a staged object.
pub(super) fn object_name(job: &str, since: Epoch, attempt: Attempt, worker: WorkerIndex, number: u64) -> String {
    format!("{}{:020}-{attempt}-{worker}-{number}.rows", folder(job), since.0)
}

/// The attempt that staged an object.
pub(super) fn attempt_of(name: &str) -> Option<Attempt> {
    part_of(name, 1).map(Attempt)
}

fn epoch_of(name: &str) -> Option<Epoch> {
    part_of(name, 0).map(Epoch)
}

fn part_of(name: &str, at: usize) -> Option<u64> {
    name.rsplit('/').next()?.split('-').nth(at)?.parse().ok()
}

fn folder(job: &str) -> String {
    format!("{job}/{NAME}/")
}

/// The checkpoints that wait, oldest first; what belongs to none is deleted.
pub(super) fn load(store: &dyn Store, job: &str) -> Result<Vec<Pending>, SinkError> {
    let listed = store.list(&folder(job)).map_err(|error| failed("list staged rows", error))?;
    let mut staged: HashSet<String> = listed.into_iter().map(|object| object.name).collect();
    let Some(first) = staged.iter().filter_map(|name| epoch_of(name)).min() else { return Ok(Vec::new()) };
    let manifests = manifests_since(store, job, first)?;
    let Some(newest) = manifests.last() else { return Ok(Vec::new()) };
    let mut waiting = Vec::new();
    for (at, manifest) in manifests.iter().enumerate() {
        let objects: Vec<Object> =
            outputs(manifest).filter(|output| staged.remove(&output.name)).map(object_of).collect();
        if objects.is_empty() {
            continue;
        }
        let before = at.checked_sub(1).and_then(|at| manifests.get(at));
        waiting.push(pending(manifest, before.and_then(|before| before.closed_until_ms), objects, true));
    }
    for name in staged.iter().filter(|name| attempt_of(name) < Some(newest.attempt)) {
        store.delete(name).map_err(|error| failed("delete rows that no manifest lists", error))?;
    }
    Ok(waiting)
}

/// The manifest of these objects, as work for the queue.
pub(super) fn pending(manifest: &Manifest, before_ms: Option<i64>, objects: Vec<Object>, inherited: bool) -> Pending {
    Pending {
        sequence: manifest.sequence,
        epoch: manifest.epoch.0,
        before_ms,
        closed_until_ms: manifest.closed_until_ms,
        objects,
        inherited,
    }
}

/// What a manifest lists of this sink.
pub(super) fn outputs(manifest: &Manifest) -> impl Iterator<Item = &OutputPart> {
    manifest.outputs.iter().filter(|output| output.sink == NAME)
}

pub(super) fn object_of(output: &OutputPart) -> Object {
    Object { name: output.name.clone(), rows: output.rows, size_bytes: output.size_bytes }
}

/// The manifests from an epoch on, and the one before them, oldest first.
fn manifests_since(store: &dyn Store, job: &str, first: Epoch) -> Result<Vec<Manifest>, SinkError> {
    let names = Names::new(job);
    let cannot = |error: &dyn std::fmt::Display| failed("read the manifests", error.to_string());
    let listed = store.list(&names.manifests()).map_err(|error| cannot(&error))?;
    let mut manifests = Vec::new();
    for object in listed.iter().rev().filter(|object| names.sequence_of(&object.name).is_some()) {
        let bytes = store.get(&object.name).map_err(|error| cannot(&error))?;
        // Only those that nothing needs are deleted, oldest first.
        let Some(bytes) = bytes else { break };
        let manifest = Manifest::parse(&object.name, &bytes).map_err(|error| cannot(&error))?;
        let older = manifest.epoch < first;
        manifests.push(manifest);
        if older {
            break;
        }
    }
    manifests.reverse();
    Ok(manifests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let name = object_name("a-1", Epoch(871), Attempt(3), WorkerIndex(0), 1);
        assert_eq!(name, "a-1/clickhouse/00000000000000000871-3-0-1.rows");
        assert_eq!((epoch_of(&name), attempt_of(&name)), (Some(Epoch(871)), Some(Attempt(3))));
    }
}
