//! Operator `read`: polls the source, decodes, and sends every record where it belongs.
//!
//! ```text
//!   record ─▶ decode ─┬─ no click ──────────────────▶ dead letters
//!                     ├─ ahead of the log's clock ──▶ late table, reason `future`     (and the archive)
//!                     ├─ its minute is closed ──────▶ late table, reason `late`       (and the archive)
//!                     └─ else ──────────────────────▶ dedup                           (and the archive)
//!
//!   epoch E: Reading ──interval, records, a peer, all read, all ahead──▶ Closed ──agreement on E──▶ epoch E + 1: Reading
//! ```
//!
//! Partitions that came up meanwhile are part of the agreement: they are read from epoch E + 1 on, see `partitions.rs`.
//!
//! Whatever happens, the operator keeps its capabilities until the last epoch is agreed on: a dropped capability looks like
//! the end of the input.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use timely::container::{CapacityContainerBuilder, NoopBuilder};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{ProbeHandle, Scope, Stream, StreamVec};
use timely::scheduling::Activator;
use weir_checkpoints::{FaultPoint, Manifest, PartitionId};

use crate::batch::Batch;
use crate::graph::clock::Timeline;
use crate::graph::seal::{Piece, Produced, Sealer, Stage};
use crate::intake::{Clicks, Intake, Lane};
use crate::job::Outcome;
use crate::partitions::Partitions;
use crate::records::{AdName, EpochReport};
use crate::sinks::Sinks;
use crate::time::Agreement;
use crate::worker::Place;
use crate::{Cut, Job, JobError, Polled, Source};

/// How many records of one partition are read in one go. Small enough that a worker answers its peers within a few
/// milliseconds.
const POLL_RECORDS: usize = 2048;

/// How far apart in event time the partitions of a worker are read while all of them have records at hand.
const MERGE_SLACK_MS: i64 = 1000;

/// How long the operator sleeps when there is nothing to read: at first, and at most. Twice as long each time: a quiet
/// topic costs next to nothing, and a click that comes after a pause waits for less than anybody notices.
const IDLE_WAIT: Duration = Duration::from_millis(1);
const LONGEST_IDLE_WAIT: Duration = Duration::from_millis(50);

/// How many epochs may end after one whose checkpoint is being committed; then reading waits.
const MAX_EPOCHS_IN_FLIGHT: u64 = 120;

/// A worker's source. It is read here and outlives the operator: the last checkpoint may have to ask it once more when
/// there is nothing left to read.
pub(crate) type SharedSource = Rc<RefCell<Box<dyn Source>>>;

/// What the operator works on.
pub(crate) struct ReadParts {
    pub(crate) job: Arc<Job>,
    pub(crate) source: SharedSource,
    pub(crate) partitions: Partitions,
    /// Of these, what the source was opened with.
    pub(crate) assigned: Vec<PartitionId>,
    pub(crate) sinks: Sinks,
    pub(crate) place: Place,
    pub(crate) timeline: Timeline,
    pub(crate) sealer: Sealer,
    pub(crate) probe: ProbeHandle<u64>,
    pub(crate) outcome: Arc<Outcome>,
}

/// The streams: clicks for dedup, names of ads, reports on epochs.
pub(crate) type Streams<'scope> =
    (Stream<'scope, u64, Batch<Clicks>>, StreamVec<'scope, u64, AdName>, StreamVec<'scope, u64, EpochReport>);

pub(crate) fn read<'scope>(scope: Scope<'scope, u64>, parts: ReadParts, manifest: &Manifest) -> Streams<'scope> {
    let mut builder = OperatorBuilder::new("read".to_owned(), scope);
    let (clicks, clicks_stream) = builder.new_output();
    let (names, names_stream) = builder.new_output();
    let (reports, reports_stream) = builder.new_output();
    let mut clicks = OutputBuilder::<u64, NoopBuilder<Batch<Clicks>>>::from(clicks);
    let mut names = OutputBuilder::<u64, CapacityContainerBuilder<Vec<AdName>>>::from(names);
    let mut reports = OutputBuilder::<u64, CapacityContainerBuilder<Vec<EpochReport>>>::from(reports);
    let activator = scope.activator_for(Rc::clone(&builder.operator_info().address));
    let outcome = Arc::clone(&parts.outcome);
    parts.timeline.call(scope.activator_for(Rc::clone(&builder.operator_info().address)));
    let mut reader = Reader::new(parts, manifest, activator);
    builder.build(move |mut capabilities| {
        let first = reader.epoch;
        capabilities.iter_mut().for_each(|capability| capability.downgrade(&first));
        let mut held = <[Capability<u64>; 3]>::try_from(capabilities).ok();
        move |_frontiers| {
            let Some([for_clicks, for_names, for_reports]) = &mut held else { return };
            if outcome.failed() {
                return;
            }
            let report = match reader.step() {
                Ok(report) => report,
                Err(error) => return outcome.fail(error),
            };
            let batches = if report.is_some() { reader.intake.outbox.all() } else { reader.intake.outbox.full() };
            clicks.activate().session_with_builder(for_clicks).give_containers(batches.iter_mut());
            batches.clear();
            names.activate().session(for_names).give_iterator(reader.intake.names.drain(..));
            if let Some(report) = report {
                reports.activate().session(for_reports).give(report);
                let next = reader.epoch + 1;
                for capability in [for_clicks, for_names, for_reports] {
                    capability.downgrade(&next);
                }
            }
            if reader.phase == Phase::Finished {
                held = None;
            }
        }
    });
    (clicks_stream, names_stream, reports_stream)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Reading,
    /// The epoch has ended here; what all workers agree on is awaited.
    Closed,
    /// The epoch is agreed on, but too much is not yet committed to go on.
    Waiting,
    Finished,
}

struct Reader {
    job: Arc<Job>,
    source: SharedSource,
    partitions: Partitions,
    intake: Intake,
    place: Place,
    timeline: Timeline,
    sealer: Sealer,
    probe: ProbeHandle<u64>,
    activator: Activator,
    phase: Phase,
    epoch: u64,
    opened: Instant,
    /// The partition to be read next.
    turn: usize,
    watermark_ms: Option<i64>,
    /// The last checkpoint epoch that was agreed on.
    checkpoint: u64,
    checkpointed: Instant,
    /// All partitions had ended when the epoch before ended.
    ended_before: bool,
    idle_wait: Duration,
    /// When the last alarm rings that was set.
    wakes_at: Option<Instant>,
}

impl Reader {
    fn new(parts: ReadParts, manifest: &Manifest, activator: Activator) -> Self {
        let ReadParts { job, source, partitions, assigned, sinks, place, timeline, sealer, probe, .. } = parts;
        job.metrics.set_partitions(partitions.len());
        let lanes = assigned
            .into_iter()
            .map(|id| Lane::resume(id, manifest, source.borrow().position(id).next_offset))
            .collect();
        let intake = Intake::new(&job, place, sinks, lanes, manifest.closed_until_ms);
        Self {
            job,
            source,
            partitions,
            intake,
            place,
            timeline,
            sealer,
            probe,
            activator,
            phase: Phase::Reading,
            epoch: place.first_epoch,
            opened: Instant::now(),
            turn: 0,
            watermark_ms: manifest.watermark_ms,
            checkpoint: manifest.epoch.0,
            checkpointed: Instant::now(),
            ended_before: false,
            idle_wait: IDLE_WAIT,
            wakes_at: None,
        }
    }

    /// Does a bit of whatever is next, and arranges to be called again. Returns this worker's report when an epoch ends.
    fn step(&mut self) -> Result<Option<EpochReport>, JobError> {
        match self.phase {
            Phase::Finished => {}
            Phase::Reading => return self.step_reading(),
            Phase::Closed => self.step_closed()?,
            Phase::Waiting => self.step_waiting(),
        }
        Ok(None)
    }

    fn step_reading(&mut self) -> Result<Option<EpochReport>, JobError> {
        let visited = self.poll_all()?;
        if self.epoch_is_over() {
            self.phase = Phase::Closed;
            self.idle_wait = IDLE_WAIT / 4;
            self.activator.activate();
            return Ok(Some(self.report()?));
        }
        if visited > 0 {
            self.idle_wait = IDLE_WAIT;
            self.activator.activate()
        } else {
            self.sleep();
        }
        Ok(None)
    }

    /// Sleeps longer than the last time, but for no large part of an epoch.
    fn sleep(&mut self) {
        self.sleep_for(self.idle_wait);
        let longest = LONGEST_IDLE_WAIT.min(self.job.epoch.interval / 4).max(IDLE_WAIT);
        self.idle_wait = longest.min(self.idle_wait * 2);
    }

    /// Sleeps no longer than this. Another worker's report may have interrupted a sleep that is not over: that one will do,
    /// if it ends first. Otherwise each interruption would leave one more alarm behind, for ever.
    fn sleep_for(&mut self, wait: Duration) {
        let now = Instant::now();
        let until = now + wait;
        if self.wakes_at.is_none_or(|at| at <= now || at > until) {
            self.activator.activate_after(wait);
            self.wakes_at = Some(until);
        }
    }

    /// One round over the partitions. Returns the number of records visited.
    ///
    /// A partition whose clicks are later than those of another one that still flows is left out: all of them then move
    /// through event time together, fewer windows are open, and a large partition does not remain to be read alone at
    /// the end.
    fn poll_all(&mut self) -> Result<usize, JobError> {
        let mut visited = 0;
        let limit_ms = self.intake.slowest_flowing_ms().map(|slowest| slowest.saturating_add(MERGE_SLACK_MS));
        for _ in 0..self.intake.lanes.len() {
            self.turn = (self.turn + 1) % self.intake.lanes.len();
            if self.intake.readable(self.turn, limit_ms).is_none() {
                continue;
            }
            visited += self.poll(self.turn)?;
            if self.intake.records >= self.job.epoch.max_records {
                break;
            }
        }
        Ok(visited)
    }

    fn poll(&mut self, lane: usize) -> Result<usize, JobError> {
        let limit_ms = self.watermark_ms.map(|watermark| watermark.saturating_add(self.job.time.max_partition_lead_ms));
        let Some(partition) = self.intake.readable(lane, limit_ms) else { return Ok(0) };
        self.intake.turn_to(lane);
        let intake = &mut self.intake;
        let polled = self.source.borrow_mut().poll(partition, POLL_RECORDS, &mut |record| intake.take(&record))?;
        intake.check()?;
        Ok(match polled {
            Polled::Records(visited) => {
                intake.caught_up(lane, false);
                visited
            }
            Polled::Pending => {
                intake.pending(lane);
                0
            }
            Polled::CaughtUp => {
                intake.caught_up(lane, true);
                0
            }
            Polled::Ended => {
                intake.end(lane);
                0
            }
        })
    }

    fn epoch_is_over(&self) -> bool {
        let limit_ms = self.watermark_ms.map(|watermark| watermark.saturating_add(self.job.time.max_partition_lead_ms));
        let ended = self.intake.all_ended();
        self.opened.elapsed() >= self.job.epoch.interval
            || self.intake.records >= self.job.epoch.max_records
            || self.timeline.someone_ended(self.epoch)
            || self.job.stop.load(Ordering::Relaxed)
            || (ended && !self.ended_before)
            || (!ended && self.intake.all_ahead(limit_ms))
    }

    fn report(&mut self) -> Result<EpochReport, JobError> {
        self.ended_before = self.intake.all_ended();
        FaultPoint::EpochReported.pass();
        let now = self.source.borrow_mut().partitions_now()?.unwrap_or_default();
        Ok(EpochReport {
            epoch: self.epoch,
            partitions: self.intake.partition_reports(),
            checkpoint: self.wants_checkpoint(),
            stop: self.job.stop.load(Ordering::Relaxed),
            came_up: self.partitions.unknown(now),
        })
    }

    /// The clock is worker 0's; the bytes are everybody's own. One checkpoint is under way at a time, unless the job wants
    /// every epoch sealed. An attempt's first epoch has one: whoever has restarted a job sees at once that it goes on, and
    /// what it reads again is not read a third time if it fails soon.
    fn wants_checkpoint(&self) -> bool {
        let interval = self.job.checkpoint.interval;
        let is_first = self.checkpoint < self.place.first_epoch;
        let due = self.place.worker.0 == 0 && (is_first || self.checkpointed.elapsed() >= interval);
        let full = self.intake.archive_bytes >= self.job.checkpoint.max_archive_bytes;
        interval.is_zero() || ((due || full) && self.is_committed(self.checkpoint))
    }

    /// Whether all checkpoints up to this epoch are committed.
    fn is_committed(&self, epoch: u64) -> bool {
        epoch < self.place.first_epoch || !self.probe.less_equal(&epoch)
    }

    fn step_closed(&mut self) -> Result<(), JobError> {
        let Some(agreement) = self.timeline.agreement(self.epoch) else {
            self.sleep();
            return Ok(());
        };
        FaultPoint::EpochAgreed.pass();
        self.publish_figures();
        self.watermark_ms = agreement.end.watermark_ms;
        if agreement.checkpoint {
            self.checkpoint(&agreement)?;
        }
        self.phase = if agreement.last { Phase::Finished } else { Phase::Waiting };
        self.intake.end_epoch(agreement.end.closed_until_ms);
        if !agreement.last {
            // Whatever is not taken over here, the next start takes over.
            self.grow(&self.timeline.came_up(self.epoch))?;
        }
        self.step_waiting();
        Ok(())
    }

    /// Takes in the partitions that came up, and takes over this worker's share of them.
    fn grow(&mut self, came_up: &[PartitionId]) -> Result<(), JobError> {
        if came_up.is_empty() {
            return Ok(());
        }
        let mine = self.partitions.grow(came_up);
        for &partition in &mine {
            self.source.borrow_mut().add(partition)?;
            self.intake.lanes.push(Lane::new(partition, self.source.borrow().position(partition).next_offset));
            let (worker, topic) = (self.place.worker.0, self.job.source.topic());
            tracing::info!(
                topic,
                partition = partition.0,
                worker,
                epoch = self.epoch + 1,
                "a partition was added: it is read from offset 0 on"
            );
        }
        self.job.metrics.set_partitions(self.partitions.len());
        self.job.metrics.add_partitions(mine.len());
        Ok(())
    }

    fn checkpoint(&mut self, agreement: &Agreement) -> Result<(), JobError> {
        let offsets = self
            .intake
            .lanes
            .iter()
            .map(|lane| (lane.id, lane.from, self.source.borrow().position(lane.id).next_offset));
        let cut = Cut { epoch: agreement.end.epoch, last: agreement.end.ended, offsets: offsets.collect() };
        let mut read = BTreeMap::new();
        for lane in &mut self.intake.lanes {
            read.insert(lane.id, lane.cut(self.source.borrow().position(lane.id)));
        }
        let mut work = self.intake.stage(&cut, &self.sealer)?;
        let confirm = self.source.borrow_mut().confirm();
        if let Some(confirm) = confirm {
            work.push(Box::new(move || confirm().map(|()| Produced::default()).map_err(JobError::from)));
        }
        self.sealer.add(Stage::Read, agreement, Piece { read, work, ..Piece::default() });
        FaultPoint::ReadCut.pass();
        self.checkpoint = self.epoch;
        self.checkpointed = Instant::now();
        Ok(())
    }

    /// Opens the next epoch, unless what is not yet committed has grown too large.
    fn step_waiting(&mut self) {
        if self.phase == Phase::Finished {
            return;
        }
        let full =
            self.intake.archive_bytes >= self.job.checkpoint.max_archive_bytes && !self.is_committed(self.checkpoint);
        if full || !self.is_committed(self.epoch.saturating_sub(MAX_EPOCHS_IN_FLIGHT)) {
            self.sleep_for(IDLE_WAIT);
            return;
        }
        self.epoch += 1;
        self.opened = Instant::now();
        self.phase = Phase::Reading;
        self.activator.activate();
    }

    fn publish_figures(&mut self) {
        let metrics = &self.job.metrics;
        metrics.add_read(&self.intake.take_figures());
        for lane in &self.intake.lanes {
            metrics.set_lag(lane.id, self.source.borrow().lag(lane.id));
        }
    }
}
