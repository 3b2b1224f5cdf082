//! Whether the checkpoint that a fork comes from is the one that it says.

use anyhow::Result;
use weir_checkpoints::{Manifest, Names, Store};

use super::report::{CheckResult, Rule};

/// Looks for it beside the fork's own checkpoints. Where it is kept elsewhere, or not any more, nothing is said.
pub(super) fn forked(store: &dyn Store, newest: &Manifest) -> Result<CheckResult> {
    let mut rule = Rule::new("the checkpoint that the job was forked from is what it was");
    let Some(origin) = &newest.origin else { return Ok(rule.done()) };
    // The origin's checkpoints may be in another store, and this one may have another job of its name.
    if origin.job == newest.job {
        return Ok(rule.done());
    }
    let names = Names::new(&origin.job);
    let savepoint = origin.savepoint.as_ref().map(|name| names.savepoint(name));
    for object in savepoint.into_iter().chain([names.manifest(origin.sequence)]) {
        let Some(bytes) = store.get(&object)? else { continue };
        // A savepoint may have been removed, and its name used for another checkpoint.
        let is_it = Manifest::parse(&object, &bytes)
            .is_ok_and(|manifest| (manifest.sequence, manifest.epoch) == (origin.sequence, origin.epoch));
        if is_it {
            let found = Manifest::hash(&bytes);
            rule.check(found == origin.hash, || format!("{object} has SHA-256 {found}, the fork says {}", origin.hash));
        }
    }
    Ok(rule.done())
}
