//! What the newest manifest says of the tables, for when no job can be asked.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use weir_checkpoints::{Follower, Manifest, Sequence, Store};
use weir_dataflow::{END_OF_TIME_MS, carried_kind};

/// The sink whose rows are in the table that is read.
const SINK: &str = "clicks_agg";

/// How long what was read is taken for the newest.
const FRESH: Duration = Duration::from_millis(500);

/// How many manifests are looked at for one that fits, at most.
const MAX_STEPS: usize = 2_000;

/// Reads a job's manifests.
pub(super) struct Manifests {
    known: Mutex<Known>,
}

struct Known {
    chain: Follower,
    /// The newest manifest's number, and what it says.
    newest: Option<(Sequence, StoredTruth)>,
    since: Option<Instant>,
}

/// What is true of what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StoredTruth {
    pub(super) watermark_ms: Option<i64>,
    /// Windows that end here or earlier are closed and committed.
    pub(super) closed_until_ms: i64,
    /// Windows that end here or earlier are in the table; later ones may be held back for it.
    pub(super) in_table_until_ms: i64,
}

impl Manifests {
    pub(super) fn new(store: Arc<dyn Store>, job: &str) -> Self {
        Self { known: Mutex::new(Known { chain: Follower::new(store, job), newest: None, since: None }) }
    }

    /// What the newest manifest says that the table has all files of; none before the first. `in_table` is the last epoch
    /// of the job that the table has: files are shown only after the manifest that lists them.
    pub(super) fn newest(&self, in_table: Option<u64>) -> Result<Option<StoredTruth>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.since.is_none_or(|since| since.elapsed() >= FRESH) {
            known.look(in_table)?;
        }
        Ok(known.newest.map(|(_, truth)| truth))
    }
}

impl Known {
    fn look(&mut self, in_table: Option<u64>) -> Result<()> {
        let mut newest = self.chain.newest()?.cloned();
        if let Some(unseen) = newest.as_ref().filter(|newest| has_files(newest) && in_table < Some(newest.epoch.0)) {
            let before = unseen.sequence.0.checked_sub(1).map(Sequence);
            newest = before.map(|sequence| self.chain.read(sequence)).transpose()?.flatten();
        }
        if let Some(newest) = newest.filter(|newest| self.newest.is_none_or(|(known, _)| known != newest.sequence)) {
            self.newest = Some((newest.sequence, self.truth_of(&newest)?));
        }
        self.since = Some(Instant::now());
        Ok(())
    }

    fn truth_of(&self, newest: &Manifest) -> Result<StoredTruth> {
        Ok(StoredTruth {
            watermark_ms: shown_watermark_ms(newest),
            closed_until_ms: newest.closed_until_ms.unwrap_or(i64::MIN),
            in_table_until_ms: self.in_table_until_ms(newest)?,
        })
    }

    /// Rows that are held back are in state parts, each with those since the checkpoint before it. What had closed by the
    /// checkpoint before the first of them is in the table.
    fn in_table_until_ms(&self, newest: &Manifest) -> Result<i64> {
        let kind = carried_kind(SINK);
        let held = newest.state.iter().filter(|part| part.kind == kind).map(|part| part.epoch).min();
        let Some(held) = held else { return Ok(newest.closed_until_ms.unwrap_or(i64::MIN)) };
        let earlier = (0..newest.sequence.0).rev().take(MAX_STEPS).map(Sequence);
        for sequence in earlier {
            match self.chain.read(sequence)? {
                Some(manifest) if manifest.epoch < held => return Ok(manifest.closed_until_ms.unwrap_or(i64::MIN)),
                Some(_) => {}
                None => break,
            }
        }
        Ok(i64::MIN)
    }
}

fn has_files(manifest: &Manifest) -> bool {
    manifest.outputs.iter().any(|output| output.sink == SINK)
}

/// The end of time is no time to show: then it is that of the newest click.
fn shown_watermark_ms(manifest: &Manifest) -> Option<i64> {
    match manifest.watermark_ms {
        Some(END_OF_TIME_MS) => manifest.partitions.values().filter_map(|cut| cut.max_event_time_ms).max(),
        other => other,
    }
}
