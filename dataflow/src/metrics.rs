//! A running job's figures: set by its workers once an epoch or checkpoint, read by whoever serves them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use weir_checkpoints::{Epoch, Manifest, PartitionId, Totals, WorkerIndex};

/// The watermark's value while there is none.
const NO_WATERMARK: i64 = i64::MIN;

/// The figures of one process. Totals of records are those of this process since it started; the committed ones are the
/// job's since its first attempt.
#[derive(Debug)]
pub struct JobMetrics {
    read: AtomicU64,
    rejected: AtomicU64,
    future: AtomicU64,
    late: AtomicU64,
    epoch: AtomicU64,
    watermark_ms: AtomicI64,
    sealed_epoch: AtomicU64,
    windows_closed: AtomicU64,
    checkpoints: AtomicU64,
    checkpoint_duration_ms: AtomicU64,
    checkpoint_bytes: AtomicU64,
    attempt: AtomicU64,
    ready: AtomicBool,
    partitions: AtomicU64,
    partitions_added: AtomicU64,
    committed: Mutex<Committed>,
    lag: Mutex<BTreeMap<PartitionId, u64>>,
    state: Mutex<BTreeMap<(&'static str, WorkerIndex), StateFigures>>,
    more: Mutex<Vec<MoreFigures>>,
}

/// Figures of a part of the job that this crate knows nothing of.
struct MoreFigures(Box<dyn Fn() -> Vec<Figure> + Send + Sync>);

impl std::fmt::Debug for MoreFigures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MoreFigures")
    }
}

/// One figure, as it stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    /// Its name, without the prefix that all have, and without `_total`.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// Whether it only grows.
    pub kind: FigureKind,
    /// Its value.
    pub value: f64,
}

/// The kinds of figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FigureKind {
    /// It only grows, from the start of the process on.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// What the newest manifest says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Committed {
    /// The last committed epoch.
    pub epoch: Epoch,
    /// What became of all records of the job.
    pub totals: Totals,
    /// The size of all state parts that a restart would read.
    pub state_bytes: u64,
    /// When it was written, unix time in milliseconds.
    pub written_ms: i64,
}

/// The size of one kind of state on one worker.
#[derive(Debug, Clone, Copy, Default)]
pub struct StateFigures {
    /// Ids, ads.
    pub entries: u64,
    /// Bytes, as near as the state knows.
    pub bytes: u64,
}

impl Default for JobMetrics {
    fn default() -> Self {
        Self {
            read: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            future: AtomicU64::new(0),
            late: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            watermark_ms: AtomicI64::new(NO_WATERMARK),
            sealed_epoch: AtomicU64::new(0),
            windows_closed: AtomicU64::new(0),
            checkpoints: AtomicU64::new(0),
            checkpoint_duration_ms: AtomicU64::new(0),
            checkpoint_bytes: AtomicU64::new(0),
            attempt: AtomicU64::new(0),
            ready: AtomicBool::new(false),
            partitions: AtomicU64::new(0),
            partitions_added: AtomicU64::new(0),
            committed: Mutex::default(),
            lag: Mutex::default(),
            state: Mutex::default(),
            more: Mutex::default(),
        }
    }
}

impl JobMetrics {
    /// Adds figures that are asked for whenever all are.
    pub fn add_figures(&self, figures: impl Fn() -> Vec<Figure> + Send + Sync + 'static) {
        lock(&self.more).push(MoreFigures(Box::new(figures)));
    }

    /// The figures that were added, as they stand.
    pub fn more_figures(&self) -> Vec<Figure> {
        lock(&self.more).iter().flat_map(|more| (more.0)()).collect()
    }

    /// Records read, by this process.
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Of these, no valid click.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Of these, too far in the future.
    pub fn future(&self) -> u64 {
        self.future.load(Ordering::Relaxed)
    }

    /// Of these, too late.
    pub fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// The last epoch that all workers have ended.
    pub fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Relaxed))
    }

    /// The watermark, in milliseconds of event time.
    pub fn watermark_ms(&self) -> Option<i64> {
        Some(self.watermark_ms.load(Ordering::Relaxed)).filter(|watermark| *watermark != NO_WATERMARK)
    }

    /// Epochs that are ended but not yet committed.
    pub fn epochs_in_flight(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed).saturating_sub(self.sealed_epoch.load(Ordering::Relaxed))
    }

    /// Windows closed by this process.
    pub fn windows_closed(&self) -> u64 {
        self.windows_closed.load(Ordering::Relaxed)
    }

    /// Checkpoints committed by this process.
    pub fn checkpoints(&self) -> u64 {
        self.checkpoints.load(Ordering::Relaxed)
    }

    /// How long the last commit took: manifest and sinks.
    pub fn checkpoint_duration(&self) -> Duration {
        Duration::from_millis(self.checkpoint_duration_ms.load(Ordering::Relaxed))
    }

    /// The size of the state parts that the last checkpoint added.
    pub fn checkpoint_bytes(&self) -> u64 {
        self.checkpoint_bytes.load(Ordering::Relaxed)
    }

    /// The number of the attempt; 0 before it has begun.
    pub fn attempt(&self) -> u64 {
        self.attempt.load(Ordering::Relaxed)
    }

    /// Whether the state is restored and the source is being read.
    pub fn ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// How many partitions the job reads, in all its processes.
    pub fn partitions(&self) -> u64 {
        self.partitions.load(Ordering::Relaxed)
    }

    /// Partitions that came up while the job ran, and that this process took over.
    pub fn partitions_added(&self) -> u64 {
        self.partitions_added.load(Ordering::Relaxed)
    }

    /// What the newest manifest says; only the process of worker 0 knows.
    pub fn committed(&self) -> Committed {
        *lock(&self.committed)
    }

    /// How far each partition read by this process is behind its log's end, in the unit of its offsets.
    pub fn source_lag(&self) -> BTreeMap<PartitionId, u64> {
        lock(&self.lag).clone()
    }

    /// The size of each kind of state, summed over this process's workers.
    pub fn state(&self) -> BTreeMap<&'static str, StateFigures> {
        let mut sums: BTreeMap<&'static str, StateFigures> = BTreeMap::new();
        for ((kind, _), figures) in lock(&self.state).iter() {
            let sum = sums.entry(kind).or_default();
            sum.entries += figures.entries;
            sum.bytes += figures.bytes;
        }
        sums
    }

    pub(crate) fn add_read(&self, totals: &Totals) {
        self.read.fetch_add(totals.read, Ordering::Relaxed);
        self.rejected.fetch_add(totals.rejected, Ordering::Relaxed);
        self.future.fetch_add(totals.future, Ordering::Relaxed);
        self.late.fetch_add(totals.late, Ordering::Relaxed);
    }

    pub(crate) fn set_epoch(&self, epoch: Epoch, watermark_ms: Option<i64>) {
        self.epoch.fetch_max(epoch.0, Ordering::Relaxed);
        self.watermark_ms.fetch_max(watermark_ms.unwrap_or(NO_WATERMARK), Ordering::Relaxed);
    }

    pub(crate) fn add_windows_closed(&self, windows: u64) {
        self.windows_closed.fetch_add(windows, Ordering::Relaxed);
    }

    pub(crate) fn set_lag(&self, partition: PartitionId, lag: Option<u64>) {
        match lag {
            Some(lag) => lock(&self.lag).insert(partition, lag),
            None => lock(&self.lag).remove(&partition),
        };
    }

    pub(crate) fn set_state(&self, worker: WorkerIndex, kind: &'static str, figures: StateFigures) {
        lock(&self.state).insert((kind, worker), figures);
    }

    pub(crate) fn begin(&self, manifest: &Manifest) {
        self.attempt.store(manifest.attempt.0, Ordering::Relaxed);
        self.set_epoch(manifest.epoch, manifest.watermark_ms);
        self.set_committed(manifest);
    }

    pub(crate) fn set_partitions(&self, partitions: usize) {
        self.partitions.store(partitions as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_partitions(&self, added: usize) {
        self.partitions_added.fetch_add(added as u64, Ordering::Relaxed);
    }

    pub(crate) fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    pub(crate) fn add_checkpoint(&self, manifest: &Manifest, duration: Duration) {
        let added = manifest.state.iter().filter(|part| part.epoch == manifest.epoch).map(|part| part.size_bytes).sum();
        self.checkpoint_bytes.store(added, Ordering::Relaxed);
        self.checkpoint_duration_ms.store(duration.as_millis() as u64, Ordering::Relaxed);
        self.checkpoints.fetch_add(1, Ordering::Relaxed);
        self.set_committed(manifest);
    }

    fn set_committed(&self, manifest: &Manifest) {
        self.sealed_epoch.fetch_max(manifest.epoch.0, Ordering::Relaxed);
        let state_bytes = manifest.state.iter().map(|part| part.size_bytes).sum();
        *lock(&self.committed) = Committed {
            epoch: manifest.epoch,
            totals: manifest.totals(),
            state_bytes,
            written_ms: manifest.written_ms,
        };
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
