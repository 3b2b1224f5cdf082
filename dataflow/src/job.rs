//! A job: what to read, how to count, where to put it; and how it is run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use timely::worker::Worker;
use weir_checkpoints::{
    AssembleError, Journal, JournalError, Manifest, Names, PartError, PublishError, Settings, Store, StoreError,
};

use crate::cluster::{self, ClusterError, ClusterSettings, Entry, Pulse};
use crate::metrics::JobMetrics;
use crate::time::TimeSettings;
use crate::windows::HotWindows;
use crate::{SinkError, SinkFactory, SourceError, SourceFactory, worker};

/// How long a process of a cluster waits for the threads that it has started, once something is wrong. One of them may
/// wait for a store that does not answer, and the other processes for the end of this one.
const LEAVE: Duration = Duration::from_secs(2);

/// How often it looks whether they have ended.
const LOOK: Duration = Duration::from_millis(10);

/// Everything that a job needs to run.
pub struct Job {
    /// Its name; names its checkpoints.
    pub name: String,
    /// The region of clicks whose records name none. A job with another one must not resume: see [`Job::settings`].
    pub region: Option<String>,
    /// How it treats time.
    pub time: TimeSettings,
    /// How long a click id is remembered, in milliseconds of watermark.
    pub dedup_horizon_ms: i64,
    /// When an epoch ends.
    pub epoch: EpochSettings,
    /// When a checkpoint is taken, and how long it is kept.
    pub checkpoint: CheckpointSettings,
    /// Whether fields that Weir does not know are handed to the archive.
    pub extra_fields: bool,
    /// The settings that stored state depends on; a job with others does not resume.
    pub settings: Settings,
    /// What is read.
    pub source: Arc<dyn SourceFactory>,
    /// What is written.
    pub sinks: Vec<Arc<dyn SinkFactory>>,
    /// Where the checkpoints are.
    pub store: Arc<dyn Store>,
    /// Its windows, to be asked for while it runs.
    pub hot: Arc<HotWindows>,
    /// Its figures, kept up to date while it runs.
    pub metrics: Arc<JobMetrics>,
    /// Set from outside to end it: it finishes the epoch, takes a checkpoint and returns.
    pub stop: Arc<AtomicBool>,
}

/// When an epoch ends: at the first of these.
#[derive(Debug, Clone, Copy)]
pub struct EpochSettings {
    /// After this time.
    pub interval: Duration,
    /// After this many records of one worker.
    pub max_records: u64,
}

/// When a checkpoint is taken, and how long it is kept.
#[derive(Debug, Clone, Copy)]
pub struct CheckpointSettings {
    /// At the first end of an epoch after this time; zero seals every epoch.
    pub interval: Duration,
    /// Or after this many bytes for the archive on one worker; bounds the memory of what is not yet written.
    pub max_archive_bytes: u64,
    /// How many manifests keep their state: the restore points.
    pub retain: usize,
    /// How long manifests are kept.
    pub retain_manifests: Duration,
}

/// How the workers are laid out.
#[derive(Debug, Clone)]
pub enum Layout {
    /// This many threads of this process.
    Threads(usize),
    /// Several processes that reach each other over TCP.
    Cluster(ClusterSettings),
}

/// How a job ended.
#[derive(Debug)]
pub struct Finished {
    /// Its last manifest; known to the process of worker 0 alone.
    pub manifest: Option<Manifest>,
}

/// Runs a job until its source ends, it is told to stop, or it fails.
///
/// In a cluster the process must end soon after an error: threads that belong to peers who no longer answer are left
/// behind, and its connections are open until then.
pub fn run(job: Job, layout: Layout) -> Result<Finished, JobError> {
    let job = Arc::new(job);
    let outcome = Arc::new(Outcome::default());
    job.hot.expect_workers(layout.threads());
    let (attempt, patience) = match &layout {
        Layout::Threads(_) => (None, None),
        Layout::Cluster(_) => (newest_attempt(&job)?, Some(LEAVE)),
    };
    let entry = Entry { attempt, stop: &job.stop };
    cluster::execute(layout, entry, Arc::new(JobRun { job: Arc::clone(&job), outcome: Arc::clone(&outcome) }))?;
    outcome.join(patience);
    match outcome.take_failure() {
        Some(failure) => Err(failure),
        None => Ok(Finished { manifest: lock(&outcome.manifest).take() }),
    }
}

/// The attempt that a process of a cluster knows of when it is started. Once another one has begun, it is too late for it.
fn newest_attempt(job: &Job) -> Result<Option<u64>, JobError> {
    let journal = Journal::open(Arc::clone(&job.store), Names::new(&job.name), String::new())?;
    Ok(journal.newest().map(|newest| newest.attempt.0))
}

/// A job, as it is run on the workers of this process.
struct JobRun {
    job: Arc<Job>,
    outcome: Arc<Outcome>,
}

impl cluster::Run for JobRun {
    fn work(&self, worker: &mut Worker, pulse: &Pulse) -> bool {
        worker::work(worker, pulse, &self.job, &self.outcome);
        !self.outcome.failed()
    }

    fn fail(&self, error: ClusterError) {
        self.outcome.fail(error.into());
    }

    fn failure(&self) -> Option<String> {
        lock(&self.outcome.failure).as_ref().map(ToString::to_string)
    }
}

impl Layout {
    /// Which process of how many this is.
    #[must_use]
    pub fn process(&self) -> (usize, usize) {
        match self {
            Self::Threads(_) => (0, 1),
            Self::Cluster(settings) => (settings.process, settings.hosts.len()),
        }
    }

    /// The workers of this process.
    fn threads(&self) -> usize {
        match self {
            Self::Threads(threads) => *threads,
            Self::Cluster(settings) => settings.threads,
        }
    }
}

/// What the workers of a process leave behind.
#[derive(Default)]
pub(crate) struct Outcome {
    failed: AtomicBool,
    failure: Mutex<Option<JobError>>,
    manifest: Mutex<Option<Manifest>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Outcome {
    /// Notes a failure, which stops the workers. Only the first one counts: those that follow are its consequences.
    pub(crate) fn fail(&self, error: JobError) {
        lock(&self.failure).get_or_insert(error);
        self.failed.store(true, Ordering::Release);
    }

    pub(crate) fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Notes the newest manifest.
    pub(crate) fn set_manifest(&self, manifest: Manifest) {
        *lock(&self.manifest) = Some(manifest);
    }

    /// A thread that must have ended before the job has: it holds clients of outside systems, which are torn down with it.
    pub(crate) fn join_at_end(&self, thread: JoinHandle<()>) {
        lock(&self.threads).push(thread);
    }

    /// Waits for these threads; where something is wrong no longer than `patience`, if that is given.
    fn join(&self, patience: Option<Duration>) {
        let until = patience.map(|patience| Instant::now() + patience);
        let given_up = || self.failed() && until.is_some_and(|until| Instant::now() >= until);
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            while !thread.is_finished() && !given_up() {
                std::thread::sleep(LOOK);
            }
            if thread.is_finished() && thread.join().is_err() {
                self.fail(JobError::CommitPanicked);
            }
        }
    }

    fn take_failure(&self) -> Option<JobError> {
        lock(&self.failure).take()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a job ended before its time. Nothing after its last manifest was committed.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The source failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A sink failed.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// State could not be written or read.
    #[error(transparent)]
    State(#[from] PartError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The chain of manifests could not be read or begun.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A manifest could not be added, for one because another attempt took over.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// An invariant does not hold: the counts would be wrong.
    #[error("the checkpoint would break an invariant, so it was not written: {0}")]
    Invariant(#[from] AssembleError),
    /// A message between workers could not be read or written.
    #[error("a report between workers is damaged: {0}")]
    Report(#[from] serde_json::Error),
    /// The processes of the cluster cannot work together, or no longer can.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The thread that commits has panicked.
    #[error("the thread that commits panicked")]
    CommitPanicked,
}
