//! Whether a job could go on from its newest checkpoint: each partition is opened where the job stands, and nothing is read.

use anyhow::Result;
use weir_checkpoints::{Journal, Names, Offset, PartitionId, Position};
use weir_dataflow::SourceFactory;

use super::{open_store, wiring};
use crate::config::JobConfig;

/// How many partitions are named that cannot be read on.
const NAMED: usize = 5;

/// What was found, or what is wrong. None where the job has no checkpoint yet, or has ended.
pub(super) fn check(config: &JobConfig) -> Result<Option<Result<String, String>>> {
    let store = open_store(config.checkpoint.url.as_str())?;
    // It is opened to be read, never begun.
    let journal = Journal::open(store, Names::new(&config.name), "check".to_owned())?;
    let Some(newest) = journal.newest().filter(|newest| !newest.ended && !newest.partitions.is_empty()) else {
        return Ok(None);
    };
    let source = wiring::source(config)?;
    let partitions = source.partitions()?;
    let lost: Vec<String> =
        newest.partitions.keys().filter(|id| !partitions.contains(id)).map(PartitionId::to_string).collect();
    if !lost.is_empty() {
        let lost = lost.join(", ");
        return Ok(Some(Err(format!("partitions that the job has read are no longer there: {lost}"))));
    }
    let unread = Position { next_offset: Offset(0), cursor: None };
    let position = |id: &PartitionId| newest.partitions.get(id).map_or(unread.clone(), |cut| cut.position.clone());
    let assigned: Vec<_> = partitions.iter().map(|id| (*id, Some(position(id)))).collect();
    if let Some(problems) = problems(source.as_ref(), &assigned) {
        return Ok(Some(Err(problems)));
    }
    let mut found = format!("can go on from epoch {}", newest.epoch);
    let new = partitions.len() - newest.partitions.len();
    if new > 0 {
        found += &format!("; {new} partitions are new since then and will be read from offset 0 on");
    }
    Ok(Some(Ok(found)))
}

/// What is wrong, partition by partition.
fn problems(source: &dyn SourceFactory, assigned: &[(PartitionId, Option<Position>)]) -> Option<String> {
    let first = source.open(assigned).err()?;
    let mut problems: Vec<String> = Vec::new();
    for one in assigned {
        if let Err(problem) = source.open(std::slice::from_ref(one)) {
            problems.push(problem.to_string());
        }
        if problems.len() == NAMED {
            problems.push("perhaps more".to_owned());
            break;
        }
    }
    Some(if problems.is_empty() { first.to_string() } else { problems.join("; ") })
}
