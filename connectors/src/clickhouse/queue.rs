//! The backlog: checkpoints whose rows are staged and not known to be in ClickHouse, between the committer and the thread.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use weir_checkpoints::Sequence;

use super::metrics::ClickHouseMetrics;

/// How often a wait looks at what nobody notifies it of.
const LOOK: Duration = Duration::from_millis(100);
/// How often a long wait is reported.
const REPORT: Duration = Duration::from_secs(30);

/// A checkpoint with rows to insert.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) sequence: Sequence,
    pub(super) epoch: u64,
    /// Windows that ended at or before this were closed by earlier checkpoints.
    pub(super) before_ms: Option<i64>,
    /// Windows that end at or before this are closed.
    pub(super) closed_until_ms: Option<i64>,
    pub(super) objects: Vec<Object>,
    /// It was staged by an earlier attempt, whose thread may still be at work on it.
    pub(super) inherited: bool,
}

/// A staged object.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) name: String,
    pub(super) rows: u64,
    pub(super) size_bytes: u64,
}

impl Pending {
    pub(super) fn bytes(&self) -> u64 {
        self.objects.iter().map(|object| object.size_bytes).sum()
    }

    pub(super) fn rows(&self) -> u64 {
        self.objects.iter().map(|object| object.rows).sum()
    }
}

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) bytes: u64,
    pub(super) checkpoints: usize,
}

pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    limits: Limits,
    metrics: Arc<ClickHouseMetrics>,
    stop: Arc<AtomicBool>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Pending>,
    bytes: u64,
    /// Nothing is added any more; what waits may be worked on until then.
    closed: Option<Instant>,
    failure: Option<String>,
}

impl Queue {
    pub(super) fn new(limits: Limits, metrics: Arc<ClickHouseMetrics>, stop: Arc<AtomicBool>) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), limits, metrics, stop }
    }

    /// Adds a checkpoint, whether or not there is room.
    pub(super) fn push(&self, pending: Pending) {
        let mut state = self.lock();
        state.bytes += pending.bytes();
        state.waiting.push_back(pending);
        self.show(&state);
        self.changed.notify_all();
    }

    /// Waits until there is room, the job is to stop, or nothing goes on any more.
    pub(super) fn wait_for_room(&self) -> Result<(), String> {
        let Limits { bytes, checkpoints } = self.limits;
        self.wait_while("its backlog is full, so the job waits for it", |state| {
            state.bytes >= bytes || state.waiting.len() >= checkpoints
        })
    }

    /// Waits until everything is in ClickHouse, the job is to stop, or nothing goes on any more.
    pub(super) fn wait_until_empty(&self) -> Result<(), String> {
        self.wait_while("the job has ended but for what is not in it yet", |state| !state.waiting.is_empty())
    }

    fn wait_while(&self, what: &str, mut blocked: impl FnMut(&State) -> bool) -> Result<(), String> {
        let mut reported = Instant::now();
        let mut state = self.lock();
        while state.failure.is_none() && blocked(&state) && !self.stop.load(Ordering::Relaxed) {
            if reported.elapsed() >= REPORT {
                tracing::warn!(checkpoints = state.waiting.len(), bytes = state.bytes, "ClickHouse: {what}");
                reported = Instant::now();
            }
            state = self.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.failure.clone().map_or(Ok(()), Err)
    }

    /// The oldest checkpoint that waits.
    pub(super) fn oldest(&self) -> Option<Sequence> {
        self.lock().waiting.front().map(|pending| pending.sequence)
    }

    /// Waits for work: the oldest checkpoints, so many that their objects have `bytes` at most, but one at least. `None`
    /// once the queue is closed and empty, or out of time. They stay in the queue until [`Queue::done`].
    pub(super) fn next(&self, bytes: u64) -> Option<Vec<Pending>> {
        let mut state = self.lock();
        loop {
            if state.closed.is_some_and(|until| Instant::now() >= until) {
                return None;
            }
            if !state.waiting.is_empty() {
                break;
            }
            if state.closed.is_some() {
                return None;
            }
            state = self.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut sum = 0;
        let fits = |pending: &&Pending| {
            sum += pending.bytes();
            sum <= bytes
        };
        let mut batch: Vec<Pending> = state.waiting.iter().take_while(fits).cloned().collect();
        if batch.is_empty() {
            batch.extend(state.waiting.front().cloned());
        }
        Some(batch)
    }

    /// The oldest so many checkpoints are in ClickHouse.
    pub(super) fn done(&self, checkpoints: usize) {
        let mut state = self.lock();
        for pending in state.waiting.drain(..checkpoints).collect::<Vec<_>>() {
            state.bytes -= pending.bytes();
        }
        self.show(&state);
        self.changed.notify_all();
    }

    /// Nothing can go on: the job is told at its next commit.
    pub(super) fn fail(&self, reason: String) {
        self.lock().failure.get_or_insert(reason);
        self.changed.notify_all();
    }

    /// Nothing is added any more, and after `grace` nothing is begun.
    pub(super) fn close(&self, grace: Duration) {
        self.lock().closed = Some(Instant::now() + grace);
        self.changed.notify_all();
    }

    /// Waits for a time, unless the queue is closed meanwhile. Whether work may go on.
    pub(super) fn pause(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            if let Some(end) = state.closed {
                // Repetitions go on until the end, without the long pauses.
                let rest = LOOK.min(end.saturating_duration_since(now));
                drop(state);
                std::thread::sleep(rest.min(until.saturating_duration_since(now)));
                return Instant::now() < end;
            }
            if now >= until {
                return true;
            }
            let rest = until - now;
            state = self.changed.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn show(&self, state: &State) {
        let rows = state.waiting.iter().map(Pending::rows).sum();
        self.metrics.backlog_rows.store(rows, Ordering::Relaxed);
        self.metrics.backlog_bytes.store(state.bytes, Ordering::Relaxed);
        self.metrics.backlog_checkpoints.store(state.waiting.len() as u64, Ordering::Relaxed);
    }

    /// Nothing is ever half done under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
