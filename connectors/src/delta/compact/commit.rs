//! Showing a compacted file in the place of its sources.

use serde_json::json;
use weir_checkpoints::FaultPoint;
use weir_dataflow::SinkError;

use super::{Compacted, Compactor};
use crate::delta::actions::{Action, Add, Remove};
use crate::delta::commit::{checkpoint_if_due, commit_info};
use crate::delta::lineage::Lineage;
use crate::delta::live::{LiveFile, LiveTable};

/// What became of a compacted file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompactOutcome {
    /// It is in the table, and its sources are no more.
    Committed,
    /// A source had been taken out by somebody else: the table has its rows from there. This file is removed again, unless
    /// a write was tried that might have shown it for a moment.
    Dropped,
}

impl Compactor {
    /// Adds a version to the log. Repeating is safe: each try looks at the log as it stands, and where the file is in the
    /// table, by a write whose answer was lost, nothing is left to do. After an error it may or may not be there; nothing
    /// is lost in either case, and the compactor is to be opened anew.
    pub fn commit(&mut self, compacted: &Compacted) -> Result<CompactOutcome, SinkError> {
        let (table, target_bytes) = (compacted.table.name(), self.settings.target_bytes);
        let (store, live, clock) = (&self.store, &mut self.live, &self.clock);
        let (mut outcome, mut tried) = (CompactOutcome::Committed, false);
        self.log.append(|_| {
            live.follow(store.as_ref(), table)?;
            if is_shown(live, &compacted.add.path) {
                return Ok(None);
            }
            if !compacted.sources.iter().all(|source| is_as_it_was(live, &source.add)) {
                outcome = CompactOutcome::Dropped;
                return Ok(None);
            }
            tried = true;
            Ok(Some(actions(compacted, clock(), target_bytes)))
        })?;
        match outcome {
            CompactOutcome::Dropped if !tried => self.discard(compacted),
            CompactOutcome::Dropped => {}
            CompactOutcome::Committed => {
                self.decoded.insert(compacted.add.path.clone(), compacted.decoded_bytes);
                checkpoint_if_due(&mut self.log);
            }
        }
        Ok(outcome)
    }

    /// Removes a file that no version has ever named.
    fn discard(&self, compacted: &Compacted) {
        let name = format!("{}/{}", compacted.table.name(), compacted.add.path);
        FaultPoint::GarbageDeleting.pass();
        if let Err(error) = self.store.delete(&name) {
            tracing::debug!(name, "a file that nobody sees stays: {error}");
        }
    }
}

/// Whether a file is in the table, or has been, and a compacted file has its rows by now.
fn is_shown(live: &LiveTable, path: &str) -> bool {
    let has_its_rows = |lineage: Lineage| lineage.through.iter().any(|through| through == path);
    live.file(path).is_some() || live.files().filter_map(LiveFile::lineage).any(has_its_rows)
}

/// Whether a source is in the table, and what was read.
pub(super) fn is_as_it_was(live: &LiveTable, source: &Add) -> bool {
    let now = live.file(&source.path).map(|file| &file.add);
    now.is_some_and(|now| now.size == source.size && now.tags == source.tags)
}

fn actions(compacted: &Compacted, now_ms: i64, target_bytes: u64) -> Vec<Action> {
    let parameters = json!({ "predicate": "[]", "targetSize": target_bytes.to_string() });
    let mut actions = vec![commit_info("OPTIMIZE", parameters, now_ms, false)];
    actions.extend(compacted.sources.iter().map(|source| remove_of(&source.add, now_ms).into()));
    actions.push(Add { modification_time: now_ms, ..compacted.add.clone() }.into());
    actions
}

fn remove_of(source: &Add, now_ms: i64) -> Remove {
    Remove {
        path: source.path.clone(),
        deletion_timestamp: Some(now_ms),
        data_change: false,
        extended_file_metadata: Some(true),
        partition_values: Some(source.partition_values.clone()),
        size: Some(source.size),
    }
}
