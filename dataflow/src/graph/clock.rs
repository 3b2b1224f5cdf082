//! Operator `clock`: from the workers' reports on an epoch to the agreement on it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Broadcast;
use timely::scheduling::Activator;
use weir_checkpoints::{Epoch, PartitionId};

use crate::batch::NoOutput;
use crate::metrics::JobMetrics;
use crate::records::EpochReport;
use crate::time::{Agreement, EventClock};

/// What a worker knows of the epochs; shared by the operators of one worker.
#[derive(Clone)]
pub(crate) struct Timeline(Rc<RefCell<State>>);

struct State {
    clock: EventClock,
    workers: usize,
    reports: BTreeMap<u64, Vec<EpochReport>>,
    agreed: BTreeMap<u64, Agreement>,
    /// The partitions that came up, by the epoch whose reports named them.
    came_up: BTreeMap<u64, Vec<PartitionId>>,
    next: u64,
    /// The operator that waits for what others have ended, and for agreements.
    reader: Option<Activator>,
}

impl Timeline {
    /// The timeline of epochs from `first` on.
    pub(crate) fn new(clock: EventClock, workers: usize, first: u64) -> Self {
        Self(Rc::new(RefCell::new(State {
            clock,
            workers,
            reports: BTreeMap::new(),
            agreed: BTreeMap::new(),
            came_up: BTreeMap::new(),
            next: first,
            reader: None,
        })))
    }

    /// What was agreed on an epoch, once it is.
    pub(crate) fn agreement(&self, epoch: u64) -> Option<Agreement> {
        self.0.borrow().agreed.get(&epoch).copied()
    }

    /// The partitions that some worker has seen come up by the end of an epoch; known once that is agreed on.
    pub(crate) fn came_up(&self, epoch: u64) -> Vec<PartitionId> {
        self.0.borrow().came_up.get(&epoch).cloned().unwrap_or_default()
    }

    /// Whether some worker has ended this epoch.
    pub(crate) fn someone_ended(&self, epoch: u64) -> bool {
        self.0.borrow().reports.last_key_value().is_some_and(|(last, _)| *last >= epoch)
    }

    /// Forgets epochs before this one.
    pub(crate) fn forget_before(&self, epoch: u64) {
        let mut state = self.0.borrow_mut();
        state.agreed = state.agreed.split_off(&epoch);
        state.came_up = state.came_up.split_off(&epoch);
    }

    /// Has this operator called whenever a worker has ended an epoch.
    pub(crate) fn call(&self, reader: Activator) {
        self.0.borrow_mut().reader = Some(reader);
    }

    fn add(&self, report: EpochReport) {
        let mut state = self.0.borrow_mut();
        state.reports.entry(report.epoch).or_default().push(report);
        if let Some(reader) = &state.reader {
            reader.activate();
        }
    }

    /// Agrees on every epoch of which all workers have reported, in order. Returns the newest agreement.
    fn agree(&self) -> Option<Agreement> {
        let state = &mut *self.0.borrow_mut();
        let mut newest = None;
        while let Some(complete) =
            state.reports.first_entry().filter(|entry| *entry.key() == state.next && entry.get().len() == state.workers)
        {
            let epoch = *complete.key();
            let reports = complete.remove();
            let agreement = state.clock.end_epoch(Epoch(epoch), &reports);
            state.agreed.insert(epoch, agreement);
            let came_up: BTreeSet<PartitionId> = reports.iter().flat_map(|report| &report.came_up).copied().collect();
            if !came_up.is_empty() {
                state.came_up.insert(epoch, came_up.into_iter().collect());
            }
            state.next = epoch + 1;
            newest = Some(agreement);
        }
        newest
    }
}

/// Sends every worker's reports to every worker. The output carries no data: its frontier says how far the timeline is.
pub(crate) fn clock<'scope>(
    reports: StreamVec<'scope, u64, EpochReport>,
    timeline: Timeline,
    metrics: Arc<JobMetrics>,
) -> StreamVec<'scope, u64, ()> {
    reports.broadcast().unary::<NoOutput, _, _, _>(Pipeline, "clock", move |_capability, _info| {
        move |input, _output| {
            input.for_each(|_capability, reports| reports.drain(..).for_each(|report| timeline.add(report)));
            if let Some(agreement) = timeline.agree() {
                metrics.set_epoch(agreement.end.epoch, agreement.end.watermark_ms);
            }
        }
    })
}
