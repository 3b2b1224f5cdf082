//! What waits for one partition: callers put groups in, the partition's thread takes all of them at once.
//!
//! ```text
//!   push ─▶ groups ──take──▶ batch (records, the thread's own)
//!                      └───▶ in flight (who waits) ──▶ settled by the thread, or by a close that waited long enough
//! ```
//!
//! Whoever takes the groups in flight out of the lane settles them, so each is settled once.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::log::{Group, Settle};

/// A group, and who is to be told of it.
pub(super) struct Waiting {
    pub(super) group: Group,
    pub(super) settle: Settle,
}

/// Who is to be told of a group that the thread has in hand.
pub(super) struct InFlight {
    pub(super) settle: Settle,
    pub(super) records: usize,
    pub(super) bytes: u64,
}

#[derive(Default)]
pub(super) struct Lane {
    queue: Mutex<Queue>,
    wake: Condvar,
    in_flight: Mutex<Vec<InFlight>>,
}

#[derive(Default)]
struct Queue {
    groups: Vec<Waiting>,
    /// The thread waits for the next group, and must be woken.
    asleep: bool,
    /// Since when the thread has been writing.
    busy_since: Option<Instant>,
    /// Why the partition cannot be written.
    down: Option<String>,
    closing: bool,
}

impl Lane {
    /// Adds a group, or gives it back: the partition takes none now.
    pub(super) fn push(&self, waiting: Waiting) -> Result<(), Waiting> {
        let mut queue = locked(&self.queue);
        if queue.closing || queue.down.is_some() {
            return Err(waiting);
        }
        queue.groups.push(waiting);
        let asleep = std::mem::take(&mut queue.asleep);
        drop(queue);
        if asleep {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Waits for groups and takes all there are, into two empty lists. False when no more will come.
    pub(super) fn take(&self, taken: &mut Vec<Waiting>, batch: &mut Vec<Group>) -> bool {
        let mut queue = locked(&self.queue);
        queue.busy_since = None;
        while queue.groups.is_empty() {
            if queue.closing {
                return false;
            }
            queue.asleep = true;
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.asleep = false;
        queue.busy_since = Some(Instant::now());
        std::mem::swap(&mut queue.groups, taken);
        drop(queue);
        let mut in_flight = locked(&self.in_flight);
        for Waiting { group, settle } in taken.drain(..) {
            in_flight.push(InFlight { settle, records: group.len(), bytes: group.bytes() as u64 });
            batch.push(group);
        }
        true
    }

    /// How many groups wait for the thread.
    pub(super) fn waiting(&self) -> usize {
        locked(&self.queue).groups.len()
    }

    /// The groups in flight, for one to settle.
    pub(super) fn take_in_flight(&self) -> Vec<InFlight> {
        std::mem::take(&mut *locked(&self.in_flight))
    }

    /// Takes no more groups, and gives back those that wait.
    pub(super) fn go_down(&self, reason: String) -> Vec<Waiting> {
        let mut queue = locked(&self.queue);
        queue.down = Some(reason);
        queue.busy_since = None;
        std::mem::take(&mut queue.groups)
    }

    /// Takes groups again.
    pub(super) fn come_up(&self) {
        locked(&self.queue).down = None;
    }

    /// Waits, but not when the lane is closed. Whether it is.
    pub(super) fn pause(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut queue = locked(&self.queue);
        while !queue.closing {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            queue = self.wake.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Takes no more groups; the thread ends when it has written those that wait.
    pub(super) fn close(&self) {
        locked(&self.queue).closing = true;
        self.wake.notify_all();
    }

    /// The groups that no thread has in hand.
    pub(super) fn take_waiting(&self) -> Vec<Waiting> {
        std::mem::take(&mut locked(&self.queue).groups)
    }

    /// Why it takes no groups, or none within `patience`.
    pub(super) fn trouble(&self, patience: Duration) -> Option<String> {
        let queue = locked(&self.queue);
        if let Some(reason) = &queue.down {
            return Some(reason.clone());
        }
        if queue.closing {
            return Some("it is closed".to_owned());
        }
        let silent = queue.busy_since.map(|since| since.elapsed()).filter(|time| *time > patience)?;
        Some(format!("the disk has not answered for {:.1} s", silent.as_secs_f64()))
    }
}

/// Nothing that runs under these locks can leave half a change behind.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
