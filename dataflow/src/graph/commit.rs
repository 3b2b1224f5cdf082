//! Operator `commit`, on worker 0: from the workers' reports to the manifest, and from the manifest to what the world sees.
//!
//! ```text
//!   reports ─▶ thread: assemble (checks the invariants) ─▶ publish manifest ─▶ commit sinks ─▶ delete garbage
//! ```
//!
//! The operator holds its capability until the commit is done: the probe behind it says what is committed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;
use weir_checkpoints::{
    EpochEnd, FaultPoint, Journal, JournalError, Manifest, Names, Store, StoreError, Sweep, WorkerReport, assemble,
    owner_token,
};

use crate::batch::NoOutput;
use crate::graph::seal::{POLL, Sealed};
use crate::job::Outcome;
use crate::metrics::JobMetrics;
use crate::{Committer, Job, JobError};

/// After how many commits the store is searched for garbage.
const SWEEP_EVERY: u64 = 16;

/// Takes the reports of all workers; the output carries no data, its frontier says what is committed.
pub(crate) fn commit_checkpoints<'scope>(
    reports: StreamVec<'scope, u64, String>,
    commits: Option<Commits>,
    outcome: Arc<Outcome>,
) -> StreamVec<'scope, u64, ()> {
    let scope = reports.scope();
    let workers = scope.peers();
    let thread = commits.map(|commits| CommitThread::start(commits, &outcome));
    reports.unary_frontier::<NoOutput, _, _, _>(
        Exchange::new(|_report: &String| 0),
        "commit",
        move |_capability, info| {
            let activator = scope.activator_for(info.address);
            let mut waiting = BTreeMap::new();
            let mut committing = BTreeMap::new();
            move |(input, frontier), _output| {
                input.for_each(|capability, reports| {
                    if let Some(capability) = capability.retain_least(0) {
                        let (_, texts) = waiting.entry(*capability.time()).or_insert_with(|| (capability, Vec::new()));
                        texts.append(reports);
                    }
                });
                let Some(thread) = &thread else { return };
                while let Some(complete) = waiting.first_entry().filter(|entry| !frontier.less_equal(entry.key())) {
                    let (epoch, (capability, texts)) = complete.remove_entry();
                    assert!(texts.len() == workers, "epoch {epoch}: {} of {workers} workers reported", texts.len());
                    thread.commit(texts);
                    committing.insert(epoch, capability);
                }
                for epoch in thread.committed() {
                    committing.remove(&epoch);
                }
                if !committing.is_empty() {
                    activator.activate_after(POLL);
                }
            }
        },
    )
}

/// The thread that commits, one checkpoint after the other.
struct CommitThread {
    reports: Sender<Vec<String>>,
    done: Receiver<u64>,
}

impl CommitThread {
    fn start(mut commits: Commits, outcome: &Arc<Outcome>) -> Self {
        let (reports, received) = channel();
        let (sender, done) = channel();
        let failing = Arc::clone(outcome);
        outcome.join_at_end(std::thread::spawn(move || {
            for texts in received {
                match commits.commit(texts) {
                    Ok(epoch) => {
                        failing.set_manifest(commits.newest().clone());
                        // Nobody listens any more when the job has failed meanwhile.
                        let _unheard = sender.send(epoch);
                    }
                    Err(error) => {
                        failing.fail(error);
                        return;
                    }
                }
            }
        }));
        Self { reports, done }
    }

    fn commit(&self, texts: Vec<String>) {
        // A thread that has ended has noted its failure, which ends the job.
        let _failed = self.reports.send(texts);
    }

    fn committed(&self) -> impl Iterator<Item = u64> {
        self.done.try_iter()
    }
}

/// The right to commit, and all that it takes.
pub(crate) struct Commits {
    journal: Journal,
    store: Arc<dyn Store>,
    names: Names,
    committers: Vec<Box<dyn Committer>>,
    metrics: Arc<JobMetrics>,
    newest: Manifest,
    kept: VecDeque<Manifest>,
    retain: usize,
    retain_manifests: Duration,
    since_sweep: u64,
}

impl Commits {
    /// Begins an attempt, and repeats the commits of the newest manifest: the attempt that wrote it may have died in between.
    pub(crate) fn begin(job: &Job, workers: u32) -> Result<Self, JobError> {
        let names = Names::new(&job.name);
        let mut journal = Journal::open(Arc::clone(&job.store), names.clone(), owner_token())?;
        let newest = journal.begin(&job.settings, workers, now_ms())?.clone();
        FaultPoint::AttemptBegun.pass();
        let committers = job.sinks.iter().map(|sink| sink.committer()).collect::<Result<_, _>>()?;
        let mut commits = Self {
            journal,
            store: Arc::clone(&job.store),
            names,
            committers,
            metrics: Arc::clone(&job.metrics),
            kept: VecDeque::new(),
            newest,
            retain: job.checkpoint.retain.max(1),
            retain_manifests: job.checkpoint.retain_manifests,
            since_sweep: 0,
        };
        commits.metrics.begin(&commits.newest);
        commits.commit_sinks()?;
        FaultPoint::CommitsRepeated.pass();
        commits.load_kept()?;
        commits.sweep()?;
        Ok(commits)
    }

    pub(crate) fn newest(&self) -> &Manifest {
        &self.newest
    }

    /// Commits one checkpoint; returns its epoch.
    fn commit(&mut self, texts: Vec<String>) -> Result<u64, JobError> {
        let began = Instant::now();
        FaultPoint::ReportsComplete.pass();
        let (end, reports) = read(texts)?;
        let manifest = assemble(&self.newest, end, &reports, now_ms())?;
        FaultPoint::ManifestAssembled.pass();
        self.journal.publish(manifest)?;
        self.newest = self.journal.newest().unwrap_or(&self.newest).clone();
        self.commit_sinks()?;
        FaultPoint::Committed.pass();
        self.metrics.add_checkpoint(&self.newest, began.elapsed());
        if self.newest.ended {
            // There is nothing to go on with: no older checkpoint will be wanted.
            self.kept.clear();
        }
        self.keep(self.newest.clone());
        self.since_sweep += 1;
        if self.newest.ended || self.since_sweep >= SWEEP_EVERY {
            self.sweep()?;
        }
        Ok(end.epoch.0)
    }

    fn commit_sinks(&mut self) -> Result<(), JobError> {
        for committer in &mut self.committers {
            committer.commit(&self.newest)?;
        }
        Ok(())
    }

    fn keep(&mut self, manifest: Manifest) {
        self.kept.push_back(manifest);
        while self.kept.len() > self.retain {
            self.kept.pop_front();
        }
    }

    /// Reads the manifests that are restore points.
    fn load_kept(&mut self) -> Result<(), JobError> {
        let listed = self.store.list(&self.names.manifests())?;
        let newest_first = listed.iter().rev().filter(|object| self.names.sequence_of(&object.name).is_some());
        for object in newest_first.take(self.retain) {
            let bytes =
                self.store.get(&object.name)?.ok_or_else(|| StoreError::NotFound { name: object.name.clone() })?;
            self.kept.push_front(Manifest::parse(&object.name, &bytes).map_err(JournalError::from)?);
        }
        Ok(())
    }

    fn sweep(&mut self) -> Result<(), JobError> {
        self.since_sweep = 0;
        let now_ms = now_ms();
        let retain_ms = i64::try_from(self.retain_manifests.as_millis()).unwrap_or(i64::MAX);
        let sweep = Sweep {
            needed: self.committers.iter().filter_map(|committer| committer.oldest_needed()).min(),
            kept: self.kept.make_contiguous(),
            attempt: self.newest.attempt,
            now_ms,
            manifests_since_ms: now_ms.saturating_sub(retain_ms),
        };
        Ok(sweep.run(&self.store, &self.names)?)
    }
}

fn read(texts: Vec<String>) -> Result<(EpochEnd, Vec<WorkerReport>), JobError> {
    let sealed: Vec<Sealed> = texts.iter().map(|text| serde_json::from_str(text)).collect::<Result<_, _>>()?;
    let end = sealed.first().map(|sealed| sealed.end);
    let Some(end) = end else { unreachable!("a checkpoint without workers") };
    assert!(sealed.iter().all(|sealed| sealed.end == end), "workers disagree on epoch {}", end.epoch);
    let mut reports: Vec<WorkerReport> = sealed.into_iter().map(|sealed| sealed.report).collect();
    // The order of arrival must not show in the manifest.
    reports.sort_unstable_by_key(|report| report.worker);
    Ok((end, reports))
}

/// Unix time in milliseconds.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
