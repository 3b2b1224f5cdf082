//! From the workers' reports to the next manifest: a pure function, and the place where the invariants are checked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Epoch, GroupRange, Manifest, Offset, OutputPart, PartitionCut, PartitionId, Position, StatePart, Totals,
    WorkerIndex,
};

/// What one worker did between the last checkpoint and the end of `epoch`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkerReport {
    /// The worker.
    pub worker: WorkerIndex,
    /// The epoch that the checkpoint seals.
    pub epoch: Epoch,
    /// What it read, by partition.
    pub read: BTreeMap<PartitionId, ReadReport>,
    /// What became of the clicks whose ids it remembers, by the partition they came from, wherever that is read.
    pub settled: BTreeMap<PartitionId, Settled>,
    /// Clicks that it added to windows.
    pub applied: u64,
    /// The key groups of state kinds that it wrote anew: whatever older parts hold of them no longer counts.
    pub replaced: Vec<Replaced>,
    /// State parts that it wrote.
    pub state: Vec<StatePart>,
    /// Output parts that it wrote.
    pub outputs: Vec<OutputPart>,
}

/// What a worker read of one partition.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReadReport {
    /// Where it began: must be where the last manifest ends.
    pub from: Offset,
    /// Where reading goes on.
    pub position: Position,
    /// The largest event time so far.
    pub max_event_time_ms: Option<i64>,
    /// Records read.
    pub read: u64,
    /// Of these, no valid click.
    pub rejected: u64,
    /// Of these, too far in the future.
    pub future: u64,
    /// Of these, too late.
    pub late: u64,
}

/// What dedup decided about the clicks of one partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// Clicks whose id was known.
    pub duplicate: u64,
    /// Clicks that count.
    pub counted: u64,
}

/// Key groups of one kind of state that were written anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// The kind.
    pub kind: String,
    /// The groups.
    pub groups: GroupRange,
}

/// What all workers know about the end of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochEnd {
    /// The epoch.
    pub epoch: Epoch,
    /// Its watermark.
    pub watermark_ms: Option<i64>,
    /// Windows that end at or before this are closed.
    pub closed_until_ms: Option<i64>,
    /// Whether the source has ended.
    pub ended: bool,
}

/// The manifest that follows `last`, without its place in the chain, which [`Journal::publish`](crate::Journal::publish)
/// gives it.
///
/// Checks that nothing was lost or counted twice: offsets join up, every record is accounted for, and every counted click
/// is in a window.
pub fn assemble(
    last: &Manifest,
    end: EpochEnd,
    reports: &[WorkerReport],
    written_ms: i64,
) -> Result<Manifest, AssembleError> {
    check_monotone(last, &end)?;
    check_applied(end.epoch, reports)?;
    Ok(Manifest {
        epoch: end.epoch,
        written_ms,
        watermark_ms: end.watermark_ms,
        closed_until_ms: end.closed_until_ms,
        ended: end.ended,
        partitions: partitions(last, end.epoch, reports)?,
        state: state(last, &end, reports),
        outputs: reports.iter().flat_map(|report| report.outputs.iter().cloned()).collect(),
        ..last.clone()
    })
}

fn check_monotone(last: &Manifest, end: &EpochEnd) -> Result<(), AssembleError> {
    if end.epoch <= last.epoch {
        return Err(AssembleError::EpochWentBack { last: last.epoch, next: end.epoch });
    }
    if end.watermark_ms < last.watermark_ms || end.closed_until_ms < last.closed_until_ms {
        return Err(AssembleError::WatermarkWentBack {
            epoch: end.epoch,
            last: last.watermark_ms,
            next: end.watermark_ms,
        });
    }
    Ok(())
}

fn check_applied(epoch: Epoch, reports: &[WorkerReport]) -> Result<(), AssembleError> {
    let counted = reports.iter().flat_map(|report| report.settled.values()).map(|settled| settled.counted).sum();
    let applied = reports.iter().map(|report| report.applied).sum();
    if counted == applied { Ok(()) } else { Err(AssembleError::NotApplied { epoch, counted, applied }) }
}

fn partitions(
    last: &Manifest,
    epoch: Epoch,
    reports: &[WorkerReport],
) -> Result<BTreeMap<PartitionId, PartitionCut>, AssembleError> {
    let mut settled: BTreeMap<PartitionId, Settled> = BTreeMap::new();
    for (partition, part) in reports.iter().flat_map(|report| &report.settled) {
        let sum = settled.entry(*partition).or_default();
        sum.duplicate += part.duplicate;
        sum.counted += part.counted;
    }
    let mut cuts = last.partitions.clone();
    for (partition, read) in reports.iter().flat_map(|report| &report.read) {
        let known = cuts.get(partition);
        // A partition that came up since begins at offset 0. Only the first manifest with partitions begins anywhere.
        let came_up = (!last.partitions.is_empty()).then_some(Offset(0));
        let ended = known.map(|cut| cut.position.next_offset).or(came_up);
        if let Some(ended) = ended.filter(|ended| *ended != read.from) {
            return Err(AssembleError::OffsetsDoNotJoin { epoch, partition: *partition, ended, began: read.from });
        }
        let Settled { duplicate, counted } = settled.remove(partition).unwrap_or_default();
        let delta = Totals {
            read: read.read,
            rejected: read.rejected,
            future: read.future,
            late: read.late,
            duplicate,
            counted,
        };
        if !delta.conserved() {
            return Err(AssembleError::NotConserved { epoch, partition: *partition, totals: delta });
        }
        let totals = known.map(|cut| cut.totals).unwrap_or_default().plus(&delta);
        let cut = PartitionCut { position: read.position.clone(), max_event_time_ms: read.max_event_time_ms, totals };
        cuts.insert(*partition, cut);
    }
    match settled.first_key_value() {
        Some((partition, _)) => Err(AssembleError::UnreadPartition { epoch, partition: *partition }),
        None => Ok(cuts),
    }
}

fn state(last: &Manifest, end: &EpochEnd, reports: &[WorkerReport]) -> Vec<StatePart> {
    let mut parts = last.state.clone();
    for replaced in reports.iter().flat_map(|report| &report.replaced) {
        for part in parts.iter_mut().filter(|part| part.kind == replaced.kind) {
            part.groups.subtract(replaced.groups);
        }
    }
    parts.extend(reports.iter().flat_map(|report| report.state.iter().cloned()));
    parts.retain(|part| !part.groups.is_empty() && !expired(part, end.watermark_ms));
    parts
}

fn expired(part: &StatePart, watermark_ms: Option<i64>) -> bool {
    part.expires_ms.zip(watermark_ms).is_some_and(|(expires, watermark)| watermark > expires)
}

/// An invariant that does not hold. The job stops before it publishes anything that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The epoch is not after the last one.
    #[error("epoch {next} does not follow epoch {last}")]
    EpochWentBack {
        /// Of the last manifest.
        last: Epoch,
        /// Of the one to be.
        next: Epoch,
    },
    /// The watermark would go back.
    #[error("epoch {epoch}: the watermark went back from {last:?} to {next:?} ms")]
    WatermarkWentBack {
        /// The epoch.
        epoch: Epoch,
        /// Of the last manifest.
        last: Option<i64>,
        /// Of the one to be.
        next: Option<i64>,
    },
    /// Records are missing or were read twice.
    #[error(
        "epoch {epoch}, partition {partition}: the last manifest ends at offset {ended}, this one begins at {began}"
    )]
    OffsetsDoNotJoin {
        /// The epoch.
        epoch: Epoch,
        /// The partition.
        partition: PartitionId,
        /// Where the last manifest ends.
        ended: Offset,
        /// Where reading began.
        began: Offset,
    },
    /// A record is unaccounted for, or accounted for twice.
    #[error(
        "epoch {epoch}, partition {partition}: read is not rejected + future + late + duplicate + counted: {totals:?}"
    )]
    NotConserved {
        /// The epoch.
        epoch: Epoch,
        /// The partition.
        partition: PartitionId,
        /// The numbers.
        totals: Totals,
    },
    /// Dedup let through another number of clicks than reached the windows.
    #[error("epoch {epoch}: {counted} clicks count, but {applied} reached a window")]
    NotApplied {
        /// The epoch.
        epoch: Epoch,
        /// Clicks that dedup let through.
        counted: u64,
        /// Clicks that windows took.
        applied: u64,
    },
    /// Dedup saw clicks of a partition that nobody says was read.
    #[error("epoch {epoch}: clicks of partition {partition} were counted, but no worker read it")]
    UnreadPartition {
        /// The epoch.
        epoch: Epoch,
        /// The partition.
        partition: PartitionId,
    },
}
