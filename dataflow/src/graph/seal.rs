//! Operator `seal`: a worker's part of a checkpoint, made durable in the background.
//!
//! ```text
//!   read ───┐ piece
//!   dedup ──┼───────▶ Sealer ──(all three)──▶ thread: write state and output parts ──▶ report to worker 0
//!   window ─┘                                 (the epochs that follow are worked on meanwhile)
//! ```
//!
//! The operator holds its capability for the epoch until the report is sent, so the frontier at worker 0 passes the
//! epoch only when all reports are in.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use weir_checkpoints::{
    Attempt, Epoch, EpochEnd, FaultPoint, GroupRange, GroupSet, Names, OutputPart, PartWriter, PartitionId, ReadReport,
    Replaced, Settled, StatePart, Store, WorkerIndex, WorkerReport,
};

use crate::JobError;
use crate::job::Outcome;
use crate::time::Agreement;
use crate::worker::Place;

/// How often a pending checkpoint is looked at.
pub(crate) const POLL: Duration = Duration::from_millis(1);

/// Work for the background.
pub(crate) type Work = Box<dyn FnOnce() -> Result<Produced, JobError> + Send>;

/// What some work produced.
#[derive(Default)]
pub(crate) struct Produced {
    pub(crate) state: Vec<StatePart>,
    pub(crate) replaced: Vec<Replaced>,
    pub(crate) outputs: Vec<OutputPart>,
}

/// One operator's share of a checkpoint.
#[derive(Default)]
pub(crate) struct Piece {
    pub(crate) read: BTreeMap<PartitionId, ReadReport>,
    pub(crate) settled: BTreeMap<PartitionId, Settled>,
    pub(crate) applied: u64,
    pub(crate) replaced: Vec<Replaced>,
    pub(crate) work: Vec<Work>,
}

/// Which operator a piece is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Read,
    Dedup,
    Window,
}

/// A worker's report with what was agreed on the epoch, on its way to worker 0.
#[derive(Serialize, Deserialize)]
pub(crate) struct Sealed {
    pub(crate) end: EpochEnd,
    pub(crate) report: WorkerReport,
}

/// Collects a worker's pieces; shared by its operators.
#[derive(Clone)]
pub(crate) struct Sealer {
    writer: StateWriter,
    state: Rc<RefCell<State>>,
}

struct State {
    open: BTreeMap<Epoch, Vec<(Stage, Piece)>>,
    done: (Sender<Outcomes>, Receiver<Outcomes>),
}

type Outcomes = Result<Sealed, JobError>;

/// Writes state parts of one worker; goes where the background work goes.
#[derive(Clone)]
pub(crate) struct StateWriter {
    store: Arc<dyn Store>,
    names: Names,
    attempt: Attempt,
    worker: WorkerIndex,
    pub(crate) groups: GroupRange,
}

impl StateWriter {
    /// Writes a part under its name.
    pub(crate) fn write(
        &self,
        epoch: Epoch,
        kind: &str,
        part: PartWriter,
        expires_ms: Option<i64>,
    ) -> Result<StatePart, JobError> {
        let name = self.names.part(epoch, self.attempt, self.worker, kind);
        let bytes = part.finish()?;
        let size_bytes = bytes.len() as u64;
        FaultPoint::StateWriting.pass();
        self.store.put(&name, bytes)?;
        FaultPoint::StateWritten.pass();
        Ok(StatePart {
            name,
            kind: kind.to_owned(),
            epoch,
            attempt: self.attempt,
            worker: self.worker,
            size_bytes,
            groups: GroupSet::of(self.groups),
            expires_ms,
        })
    }
}

impl Sealer {
    pub(crate) fn new(store: Arc<dyn Store>, names: Names, place: Place) -> Self {
        let writer = StateWriter { store, names, attempt: place.attempt, worker: place.worker, groups: place.groups };
        Self { writer, state: Rc::new(RefCell::new(State { open: BTreeMap::new(), done: channel() })) }
    }

    /// What writes this worker's state parts.
    pub(crate) fn writer(&self) -> StateWriter {
        self.writer.clone()
    }

    /// The work of writing a state part.
    pub(crate) fn part(&self, epoch: Epoch, kind: &'static str, part: PartWriter, expires_ms: Option<i64>) -> Work {
        let writer = self.writer();
        Box::new(move || {
            let part = writer.write(epoch, kind, part, expires_ms)?;
            Ok(Produced { state: vec![part], ..Produced::default() })
        })
    }

    /// Takes a piece; the third one of an epoch sets the background to work.
    pub(crate) fn add(&self, stage: Stage, agreement: &Agreement, piece: Piece) {
        let epoch = agreement.end.epoch;
        let state = &mut *self.state.borrow_mut();
        let pieces = state.open.entry(epoch).or_default();
        assert!(pieces.iter().all(|(other, _)| *other != stage), "two pieces of {stage:?} for epoch {epoch}");
        pieces.push((stage, piece));
        if pieces.len() < 3 {
            return;
        }
        let pieces = state.open.remove(&epoch).unwrap_or_default();
        let (end, worker, done) = (agreement.end, self.writer.worker, state.done.0.clone());
        std::thread::spawn(move || {
            FaultPoint::SealBegun.pass();
            let sealed = seal(end, worker, pieces.into_iter().map(|(_, piece)| piece));
            // Nobody listens any more when the job has failed meanwhile; then the parts are garbage.
            let _unheard = done.send(sealed);
        });
    }

    fn poll(&self) -> Option<Outcomes> {
        self.state.borrow().done.1.try_recv().ok()
    }
}

fn seal(end: EpochEnd, worker: WorkerIndex, pieces: impl Iterator<Item = Piece>) -> Outcomes {
    let mut report = WorkerReport {
        worker,
        epoch: end.epoch,
        read: BTreeMap::new(),
        settled: BTreeMap::new(),
        applied: 0,
        replaced: Vec::new(),
        state: Vec::new(),
        outputs: Vec::new(),
    };
    for piece in pieces {
        report.read.extend(piece.read);
        report.settled.extend(piece.settled);
        report.applied += piece.applied;
        report.replaced.extend(piece.replaced);
        for work in piece.work {
            let produced = work()?;
            report.state.extend(produced.state);
            report.replaced.extend(produced.replaced);
            report.outputs.extend(produced.outputs);
        }
    }
    FaultPoint::Sealed.pass();
    Ok(Sealed { end, report })
}

/// Waits for the background and sends its reports, as JSON.
pub(crate) fn seal_checkpoints<'scope>(
    checkpoints: StreamVec<'scope, u64, u64>,
    sealer: Sealer,
    place: Place,
    outcome: Arc<Outcome>,
) -> StreamVec<'scope, u64, String> {
    let scope = checkpoints.scope();
    checkpoints.unary(Pipeline, "seal", move |_capability, info| {
        let activator = scope.activator_for(info.address);
        let mut pending = BTreeMap::new();
        move |input, output| {
            input.for_each(|capability, epochs| {
                if let Some(capability) = capability.retain_least(0) {
                    pending.extend(epochs.drain(..).map(|epoch| (epoch, capability.clone())));
                }
            });
            while let Some(sealed) = sealer.poll() {
                let sealed = sealed.and_then(|sealed| Ok((sealed.end.epoch, serde_json::to_string(&sealed)?)));
                match sealed {
                    Err(error) => outcome.fail(error),
                    Ok((epoch, report)) => match pending.remove(&epoch.0) {
                        Some(capability) => output.session(&capability).give(report),
                        None => unreachable!("worker {} sealed epoch {epoch}, which is no checkpoint", place.worker),
                    },
                }
            }
            if !pending.is_empty() {
                activator.activate_after(POLL);
            }
        }
    })
}
