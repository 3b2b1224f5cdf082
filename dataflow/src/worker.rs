//! What one Timely worker does: learn where to resume, load its state, build the graph, step until it is done.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use timely::dataflow::operators::vec::Broadcast;
use timely::dataflow::operators::{Input, Inspect, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};
use timely::worker::Worker;
use weir_checkpoints::{Attempt, FaultPoint, GroupRange, Manifest, Names, PartitionId, WorkerIndex, groups_of_worker};

use crate::cluster::Pulse;
use crate::dedup::SeenClicks;
use crate::graph::clock::{Timeline, clock};
use crate::graph::commit::{Commits, commit_checkpoints};
use crate::graph::dedup::dedup;
use crate::graph::read::{ReadParts, SharedSource, read};
use crate::graph::seal::{Sealer, seal_checkpoints};
use crate::graph::window::{WindowParts, window};
use crate::job::Outcome;
use crate::partitions::Partitions;
use crate::sinks::Sinks;
use crate::time::EventClock;
use crate::windows::WindowState;
use crate::{Job, JobError, RowKind, WorkerContext};

/// The longest a worker sleeps when there is nothing to do. What it has to do wakes it; only the failure of another worker
/// does not.
const PARK: Duration = Duration::from_millis(50);

/// Where a worker stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) worker: WorkerIndex,
    pub(crate) workers: u32,
    pub(crate) attempt: Attempt,
    /// The key groups that it owns, of clicks as of ads.
    pub(crate) groups: GroupRange,
    /// The first epoch of this attempt.
    pub(crate) first_epoch: u64,
    /// Windows that end at or before this were closed when the attempt began.
    pub(crate) closed_until_ms: Option<i64>,
}

/// Runs one worker to its end. Failures go to `outcome` and stop the other workers of the process.
pub(crate) fn work(worker: &mut Worker, pulse: &Pulse, job: &Arc<Job>, outcome: &Arc<Outcome>) {
    if let Err(error) = try_work(worker, pulse, job, outcome) {
        outcome.fail(error);
    }
    // Without this, Timely would go on stepping what cannot end.
    for dataflow in worker.installed_dataflows() {
        worker.drop_dataflow(dataflow);
    }
}

fn try_work(worker: &mut Worker, pulse: &Pulse, job: &Arc<Job>, outcome: &Arc<Outcome>) -> Result<(), JobError> {
    let Some((Beginning { manifest, partitions }, commits)) = begin(worker, job, outcome)? else { return Ok(()) };
    if manifest.ended {
        outcome.set_manifest(manifest);
        return Ok(());
    }
    let place = place(worker, &manifest);
    let partitions = Partitions::new(partitions, place.worker, place.workers);
    let (probe, source) = build(worker, job, outcome, &manifest, partitions, commits)?;
    job.metrics.set_ready();
    while !probe.done() && !outcome.failed() {
        worker.step_or_park(Some(PARK));
        pulse.beat();
        // The probe stands behind the commits.
        job.hot.commit_before(probe.with_frontier(|frontier| frontier.first().copied().unwrap_or(u64::MAX)));
    }
    drop(source);
    Ok(())
}

/// What worker 0 tells all workers before they build the graph. Two workers that asked the log themselves might be told of
/// other partitions while it grows.
#[derive(Serialize, Deserialize)]
struct Beginning {
    manifest: Manifest,
    partitions: Vec<PartitionId>,
}

/// Worker 0 begins the attempt and tells all workers where to resume. `None` where another worker has failed.
fn begin(worker: &mut Worker, job: &Job, outcome: &Outcome) -> Result<Option<(Beginning, Option<Commits>)>, JobError> {
    let heard: Rc<RefCell<Option<String>>> = Rc::default();
    let mut input = InputHandle::new();
    worker.dataflow::<u64, _, _>(|scope| {
        let heard = Rc::clone(&heard);
        scope.input_from(&mut input).broadcast().inspect(move |text: &String| *heard.borrow_mut() = Some(text.clone()));
    });
    let mut commits = None;
    if worker.index() == 0 {
        let begun = Commits::begin(job, worker.peers() as u32)?;
        let manifest = begun.newest().clone();
        let partitions = if manifest.ended { Vec::new() } else { job.source.partitions()? };
        input.send(serde_json::to_string(&Beginning { manifest, partitions })?);
        FaultPoint::StartTold.pass();
        commits = Some(begun);
    }
    input.close();
    while heard.borrow().is_none() {
        if outcome.failed() {
            return Ok(None);
        }
        worker.step_or_park(Some(PARK));
    }
    let text = heard.borrow_mut().take().unwrap_or_default();
    Ok(Some((serde_json::from_str(&text)?, commits)))
}

fn build(
    worker: &mut Worker,
    job: &Arc<Job>,
    outcome: &Arc<Outcome>,
    manifest: &Manifest,
    partitions: Partitions,
    commits: Option<Commits>,
) -> Result<(ProbeHandle<u64>, SharedSource), JobError> {
    let place = place(worker, manifest);
    let context = WorkerContext { worker: place.worker, workers: place.workers, attempt: place.attempt };
    let timeline = Timeline::new(EventClock::resume(job.time, manifest), worker.peers(), place.first_epoch);
    let sealer = Sealer::new(Arc::clone(&job.store), Names::new(&job.name), place);

    let mut seen = SeenClicks::new(place.groups, job.dedup_horizon_ms);
    let mut windows = WindowState::new(Arc::clone(&job.hot), place);
    restore(job, manifest, &mut seen, &mut windows)?;
    let sinks_of = |kinds: &[RowKind]| -> Result<Sinks, JobError> {
        let mut sinks = Sinks::open(job.sinks.iter().map(Arc::as_ref), kinds, context)?;
        sinks.restore(job.store.as_ref(), manifest, place.groups)?;
        FaultPoint::SinksRestored.pass();
        Ok(sinks)
    };
    let click_sinks = sinks_of(&[RowKind::Archive, RowKind::Late, RowKind::DeadLetter])?;
    let window_sinks = sinks_of(&[RowKind::Window, RowKind::Provisional])?;
    let assigned = partitions.assigned(job.source.topic(), manifest)?;
    let source = Rc::new(RefCell::new(job.source.open(&assigned)?));
    FaultPoint::SourceOpened.pass();

    let probe = ProbeHandle::new();
    let metrics = &job.metrics;
    worker.dataflow_named("weir", |scope| {
        let parts = ReadParts {
            job: Arc::clone(job),
            source: Rc::clone(&source),
            partitions,
            assigned: assigned.into_iter().map(|(id, _)| id).collect(),
            sinks: click_sinks,
            place,
            timeline: timeline.clone(),
            sealer: sealer.clone(),
            probe: probe.clone(),
            outcome: Arc::clone(outcome),
        };
        let (clicks, names, reports) = read(scope, parts, manifest);
        let ticks = clock(reports, timeline.clone(), Arc::clone(metrics));
        let counted = dedup(clicks, ticks, seen, place, timeline.clone(), sealer.clone(), Arc::clone(metrics));
        let parts = WindowParts {
            windows,
            home: job.region.clone(),
            sinks: window_sinks,
            place,
            timeline,
            sealer: sealer.clone(),
            metrics: Arc::clone(metrics),
            outcome: Arc::clone(outcome),
        };
        let checkpoints = window(counted, names, parts);
        let reports = seal_checkpoints(checkpoints, sealer, place, Arc::clone(outcome));
        commit_checkpoints(reports, commits, Arc::clone(outcome)).probe_with(&probe);
    });
    Ok((probe, source))
}

fn place(worker: &Worker, manifest: &Manifest) -> Place {
    let (index, workers) = (WorkerIndex(worker.index() as u32), worker.peers() as u32);
    Place {
        worker: index,
        workers,
        attempt: manifest.attempt,
        groups: groups_of_worker(index, workers),
        first_epoch: manifest.epoch.next().0,
        closed_until_ms: manifest.closed_until_ms,
    }
}

fn restore(job: &Job, manifest: &Manifest, seen: &mut SeenClicks, windows: &mut WindowState) -> Result<(), JobError> {
    for part in &manifest.state {
        match part.kind.as_str() {
            crate::dedup::STATE_KIND => {
                seen.restore(job.store.as_ref(), part)?;
                FaultPoint::DedupRestored.pass();
            }
            crate::windows::STATE_KIND => {
                windows.restore(job.store.as_ref(), part, manifest.closed_until_ms)?;
                FaultPoint::WindowsRestored.pass();
            }
            // Rows carried over are their sinks' business.
            _ => {}
        }
    }
    Ok(())
}
