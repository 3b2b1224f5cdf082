//! Runs the graph of a recount on all workers of this process, to its end or until the cluster fails.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use timely::worker::Worker;

use super::RecountError;
use super::outcome::Outcome;
use crate::Layout;
use crate::cluster::{self, ClusterError, Entry, Pulse};

/// The longest a worker sleeps before it looks whether the cluster still stands.
pub(super) const PARK: Duration = Duration::from_millis(50);

/// Nothing ends the wait for the other processes but its time.
static WAIT: AtomicBool = AtomicBool::new(false);

/// Builds a graph on each worker with `build`, and steps it until it is done.
pub(super) fn run_graph(
    layout: Layout,
    outcome: &Arc<Outcome>,
    build: impl Fn(&mut Worker) + Send + Sync + 'static,
) -> Result<(), RecountError> {
    let entry = Entry { attempt: None, stop: &WAIT };
    cluster::execute(layout, entry, Arc::new(Recounting { build, outcome: Arc::clone(outcome) }))?;
    Ok(())
}

struct Recounting<B> {
    build: B,
    outcome: Arc<Outcome>,
}

impl<B: Fn(&mut Worker) + Send + Sync + 'static> cluster::Run for Recounting<B> {
    /// A step sorts and walks all that a round has, however long that takes: there is no pulse.
    fn work(&self, worker: &mut Worker, _pulse: &Pulse) -> bool {
        (self.build)(worker);
        while worker.has_dataflows() && !self.outcome.is_alone() {
            worker.step_or_park(Some(PARK));
        }
        for dataflow in worker.installed_dataflows() {
            worker.drop_dataflow(dataflow);
        }
        // What else is wrong goes through the graph to the first process, and the graph to its end.
        !self.outcome.is_alone()
    }

    fn fail(&self, error: ClusterError) {
        self.outcome.leave_alone(error);
    }

    fn failure(&self) -> Option<String> {
        self.outcome.failure()
    }
}
