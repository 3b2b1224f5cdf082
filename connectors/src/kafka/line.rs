//! One producer with the groups that it has under way, and the thread that hears of them.
//!
//! ```text
//!   send ──▶ insert ──▶ librdkafka ──▶ brokers
//!                                        │ reports
//!   settle ◀── the last record ◀── serve ◀┘            one thread, asleep while there is nothing to hear
//! ```
//!
//! A line ends in one of two ways, and no group outlives it:
//! - **closed**: no group is taken any more; those under way are settled, or abandoned when time is up.
//! - **broken**: the producer cannot go on (its sequence numbers no longer fit the broker's). What it holds is given up
//!   and settled as failed; then another line takes its place. An idempotent producer must not send such records again
//!   by itself, as they might then be written twice; whoever holds the clicks may.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::producer::Producer;
use rdkafka::types::RDKafkaErrorCode as Code;

use super::delivery::{Event, Failure, Outlet, Report};
use super::health::Health;
use super::in_flight::{Done, InFlight};
use crate::log::{Group, LogError, Settle, Settled};

/// How long the thread sleeps where nothing happens. It is woken for everything that matters.
const SLEEP: Duration = Duration::from_secs(1);
/// How long a broken producer is given to report what it gave up.
const BROKEN_WAIT: Duration = Duration::from_secs(2);
/// The least time between two producers: one that breaks at once is not to be replaced at once.
const SHORTEST_LIFE: Duration = Duration::from_secs(1);

/// What a log holds, over all of its lines.
#[derive(Default)]
pub(super) struct Held {
    pub(super) records: AtomicU64,
    pub(super) bytes: AtomicU64,
}

impl Held {
    /// Makes room for a group, unless that would be more than the capacity.
    pub(super) fn add(&self, records: u64, bytes: u64, capacity_bytes: u64) -> bool {
        let more = |held: u64| held.checked_add(bytes).filter(|sum| *sum <= capacity_bytes);
        let fits = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        if fits {
            self.records.fetch_add(records, Ordering::Relaxed);
        }
        fits
    }

    fn remove(&self, records: u64, bytes: u64) {
        self.records.fetch_sub(records, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A producer and its groups.
pub(super) struct Line {
    outlet: Outlet,
    groups: Mutex<InFlight>,
    /// Rung when the last group of a closed line is settled.
    settled: Condvar,
    /// The thread has nothing more to wait for.
    over: AtomicBool,
    held: Arc<Held>,
    place: Arc<str>,
    started: Instant,
}

/// Why [`Line::serve`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was closed.
    Closed,
    /// Its producer is of no more use.
    Broken,
}

impl Line {
    pub(super) fn new(outlet: Outlet, held: Arc<Held>, place: Arc<str>) -> Self {
        Self {
            outlet,
            groups: Mutex::default(),
            settled: Condvar::new(),
            over: AtomicBool::new(false),
            held,
            place,
            started: Instant::now(),
        }
    }

    pub(super) fn outlet(&self) -> &Outlet {
        &self.outlet
    }

    /// Hands over a group of at least one record that room was made for.
    pub(super) fn send(&self, group: &Group, settle: Settle) {
        let (records, bytes) = (group.len() as u64, group.bytes() as u64);
        let inserted = self.groups().insert(records as u32, bytes, settle);
        let slot = match inserted {
            Ok(slot) => slot,
            Err(settle) => {
                let settled = Settled::all_failed(group.len(), self.unavailable("it is being closed".to_owned()));
                return self.finish(Done { settle, settled, records, bytes });
            }
        };
        let mut refused = Vec::new();
        self.outlet.send(group, slot, &mut |report| refused.push(report));
        if !refused.is_empty() {
            self.take_in(refused.into_iter());
        }
    }

    /// Settles groups until the line ends.
    pub(super) fn serve(&self) -> Ended {
        let mut broken_at: Option<Instant> = None;
        while !self.over.load(Ordering::Acquire) {
            if let Some(at) = broken_at {
                let reported = self.groups().is_empty() || at.elapsed() > BROKEN_WAIT;
                if reported && self.started.elapsed() > SHORTEST_LIFE {
                    return Ended::Broken;
                }
            }
            let wait = if broken_at.is_some() { SLEEP / 50 } else { SLEEP };
            match self.outlet.next(wait) {
                None => {}
                Some(Event::Reports(reports)) => self.take_in(reports),
                Some(Event::Error(failure, reason)) if self.hear(failure, &reason) && broken_at.is_none() => {
                    broken_at = Some(Instant::now());
                    self.outlet.purge();
                }
                Some(Event::Error(..)) => {}
            }
        }
        Ended::Closed
    }

    /// Takes no more groups, and waits until those that it has are settled; gives up what is left then. Says how many
    /// records that were.
    pub(super) fn close(&self, timeout: Duration) -> u64 {
        let mut groups = self.groups();
        groups.close();
        let waited = self.settled.wait_timeout_while(groups, timeout, |groups| !groups.is_empty());
        drop(waited);
        let left = self.abandon("it was closed before the brokers acknowledged the record");
        self.over.store(true, Ordering::Release);
        self.outlet.purge();
        self.outlet.wake();
        left
    }

    /// Settles whatever is left as failed, and takes nothing more. Says how many records that were.
    pub(super) fn abandon(&self, reason: &str) -> u64 {
        let error = self.unavailable(reason.to_owned());
        let left = self.groups().abandon(&error);
        let mut records = 0;
        for done in left {
            records += done.records;
            self.finish(done);
        }
        self.settled.notify_all();
        records
    }

    /// Counts reports, under one lock, and settles the groups that are done.
    fn take_in(&self, mut reports: impl Iterator<Item = Report>) {
        let mut all_done = Vec::new();
        let mut groups = self.groups();
        for report in &mut reports {
            let failed = report.failure.map(|_| report.index);
            let done = groups.report(report.slot, failed, || self.explain(report.failure));
            all_done.extend(done);
        }
        let empty = groups.is_empty();
        drop(groups);
        for done in all_done {
            self.finish(done);
        }
        if empty {
            self.settled.notify_all();
        }
    }

    fn finish(&self, done: Done) {
        self.held.remove(done.records, done.bytes);
        (done.settle)(done.settled);
    }

    /// Whether the error means that the producer is of no more use.
    fn hear(&self, failure: Failure, reason: &str) -> bool {
        let code = match failure {
            Failure::Known(code) => code,
            Failure::Unknown(_) => Code::Unknown,
        };
        self.health().error(KafkaError::Global(code), reason);
        // The event itself has the code of what broke the producer, not that it is broken.
        let Some((_, reason)) = self.outlet.producer().client().fatal_error() else {
            return false;
        };
        tracing::error!(log = &*self.place, "the producer cannot go on and is replaced: {reason}");
        true
    }

    fn explain(&self, failure: Option<Failure>) -> LogError {
        let place = self.place.to_string();
        let reason = failure.map(|failure| failure.to_string()).unwrap_or_default();
        let Some(Failure::Known(code)) = failure else {
            return LogError::Unavailable { place, reason };
        };
        match code {
            Code::QueueFull => LogError::Full { place },
            Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidRecord | Code::InvalidTimestamp => {
                LogError::Refused { place, reason }
            }
            _ => match self.health().last_error() {
                Some(last) => LogError::Unavailable { place, reason: format!("{reason}; last heard: {last}") },
                None => LogError::Unavailable { place, reason },
            },
        }
    }

    fn unavailable(&self, reason: String) -> LogError {
        LogError::Unavailable { place: self.place.to_string(), reason }
    }

    fn health(&self) -> &Health {
        self.outlet.producer().context()
    }

    /// Nothing panics while it holds the lock.
    fn groups(&self) -> MutexGuard<'_, InFlight> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
