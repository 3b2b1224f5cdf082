//! A recount over several processes: the first one says what is to be done, in words that all understand.
//!
//! ```text
//!   process 0: Recount, plan ─▶ spec, broadcast to all workers ─┬─▶ its own archive ───────┐
//!                                                               └─▶ plan ─▶ open ─▶ archive ─┴─▶ one graph over all
//! ```

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use timely::dataflow::InputHandle;
use timely::dataflow::operators::vec::Broadcast;
use timely::dataflow::operators::{Input, Inspect};
use timely::worker::Worker;

use super::outcome::Outcome;
use super::run::{PARK, run_graph};
use super::{Archive, ArchiveError, ArchiveFactory, DayCount, IndexTo, Recount, RecountError, RecountProgress, build};
use crate::Layout;

/// Opens the archive that a plan describes, and says where its index goes, if there is to be one.
pub type Archives = Arc<dyn Fn(&str) -> Result<Opened, ArchiveError> + Send + Sync>;

/// What a process takes part with.
pub struct Opened {
    /// The archive.
    pub archive: Arc<dyn ArchiveFactory>,
    /// Where its part of the index goes.
    pub index: Option<IndexTo>,
}

/// What a process has to do with a recount.
pub enum Part {
    /// The first process says what is to be recounted, and tells the others by a plan how they open the archive; or that
    /// there is nothing to be done.
    Leads(Option<(Recount, String)>),
    /// Any other process does as it is told.
    Follows {
        /// Opens what the plan says.
        archives: Archives,
        /// How far it is.
        progress: Arc<RecountProgress>,
    },
}

/// Recounts a day together with the other processes of the layout. The first one gets the result, the others `None`.
pub fn recount_together(part: Part, layout: Layout) -> Result<Option<DayCount>, RecountError> {
    let outcome = Arc::new(Outcome::default());
    let (spec, part) = match part {
        Part::Leads(None) => (None, Mine::Nothing),
        Part::Leads(Some((recount, plan))) => (Some(Spec::of(&recount, plan)), Mine::Leads(Arc::new(recount))),
        Part::Follows { archives, progress } => (None, Mine::Follows(archives, progress, OnceLock::new())),
    };
    let counting = Arc::clone(&outcome);
    run_graph(layout, &outcome, move |worker| {
        let Some(spec) = heard(worker, spec.as_ref(), &counting) else { return };
        let recount = part.recount(spec);
        worker.dataflow_named::<u32, _, _>("recount", |scope| build(scope, &recount, &counting));
    })?;
    outcome.finish()
}

/// A recount without its archive.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Spec {
    start_ms: i64,
    end_ms: i64,
    margin_ms: i64,
    passes: u32,
    exact_users: bool,
    leaves_of: Option<String>,
    plan: String,
}

impl Spec {
    fn of(recount: &Recount, plan: String) -> Self {
        let Recount { start_ms, end_ms, margin_ms, passes, exact_users, .. } = *recount;
        Self { start_ms, end_ms, margin_ms, passes, exact_users, leaves_of: recount.leaves_of.clone(), plan }
    }
}

/// A part, as the workers of this process share it.
enum Mine {
    Nothing,
    Leads(Arc<Recount>),
    Follows(Archives, Arc<RecountProgress>, OnceLock<Arc<Recount>>),
}

impl Mine {
    fn recount(&self, spec: Spec) -> Arc<Recount> {
        match self {
            Self::Leads(recount) => Arc::clone(recount),
            Self::Follows(archives, progress, opened) => {
                let open = || {
                    let archive = archives(&spec.plan);
                    Arc::new(follow(spec, archive, progress))
                };
                Arc::clone(opened.get_or_init(open))
            }
            Self::Nothing => {
                Arc::new(follow(spec, Err(ArchiveError::Unfit("two processes lead".to_owned())), &Arc::default()))
            }
        }
    }
}

fn follow(spec: Spec, opened: Result<Opened, ArchiveError>, progress: &Arc<RecountProgress>) -> Recount {
    let Spec { start_ms, end_ms, margin_ms, passes, exact_users, leaves_of, .. } = spec;
    let unopened = |error: ArchiveError| Opened { archive: Arc::new(Unopened(error.to_string())), index: None };
    let Opened { archive, index } = opened.unwrap_or_else(unopened);
    let progress = Arc::clone(progress);
    Recount { start_ms, end_ms, margin_ms, passes, exact_users, leaves_of, index, archive, progress }
}

/// What the first worker says, `spec` if this is it. `None` where there is nothing to be done, or nobody says anything any
/// more.
fn heard(worker: &mut Worker, spec: Option<&Spec>, outcome: &Outcome) -> Option<Spec> {
    let heard: Rc<RefCell<Option<Option<Spec>>>> = Rc::default();
    let mut input = InputHandle::new();
    worker.dataflow::<u64, _, _>(|scope| {
        let heard = Rc::clone(&heard);
        scope
            .input_from(&mut input)
            .broadcast()
            .inspect(move |spec: &Option<Spec>| *heard.borrow_mut() = Some(spec.clone()));
    });
    if worker.index() == 0 {
        input.send(spec.cloned());
    }
    input.close();
    while heard.borrow().is_none() && !outcome.is_alone() {
        worker.step_or_park(Some(PARK));
    }
    heard.take().flatten()
}

/// An archive that could not be opened: every worker that asks for its share learns why.
struct Unopened(String);

impl ArchiveFactory for Unopened {
    fn open(&self, _worker: usize, _workers: usize) -> Result<Box<dyn Archive>, ArchiveError> {
        Err(ArchiveError::Unfit(self.0.clone()))
    }
}
