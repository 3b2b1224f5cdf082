//! What callers and the partitions' threads share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::books::Books;
use super::lane::{InFlight, Lane, Waiting, locked};
use crate::log::{Group, LogError, Settle, Settled};

pub(super) struct Shared {
    pub(super) books: Books,
    pub(super) lanes: Vec<Lane>,
    /// Whose turn it is.
    turn: AtomicUsize,
    /// How many threads have not ended.
    running: Mutex<usize>,
    ended: Condvar,
}

impl Shared {
    pub(super) fn new(books: Books, partitions: u32) -> Self {
        let lanes: Vec<Lane> = (0..partitions).map(|_| Lane::default()).collect();
        Self { books, lanes, turn: AtomicUsize::new(0), running: Mutex::new(0), ended: Condvar::new() }
    }

    /// Takes a group from outside.
    pub(super) fn append(&self, group: Group, settle: Settle) {
        if group.is_empty() {
            return settle(Settled::default());
        }
        match self.books.admit(&group) {
            Ok(()) => self.route(Waiting { group, settle }),
            Err(full) => settle(Settled::all_failed(group.len(), full)),
        }
    }

    /// Gives a group to the next lane that takes it.
    pub(super) fn route(&self, mut waiting: Waiting) {
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % self.lanes.len().max(1);
        let (before, from) = self.lanes.split_at_checked(first).unwrap_or_default();
        for lane in from.iter().chain(before) {
            match lane.push(waiting) {
                Ok(()) => return,
                Err(back) => waiting = back,
            }
        }
        let error = self.trouble(Duration::MAX).unwrap_or_else(|| self.books.unavailable("it is starting again"));
        self.fail_waiting(vec![waiting], &error);
    }

    /// Why no lane takes groups, if none does.
    pub(super) fn trouble(&self, patience: Duration) -> Option<LogError> {
        let mut troubles = self.lanes.iter().map(|lane| lane.trouble(patience));
        let first = troubles.next().flatten()?;
        troubles.all(|trouble| trouble.is_some()).then(|| self.books.unavailable(first))
    }

    /// Tells that groups which were not written are not in the log.
    pub(super) fn fail_waiting(&self, groups: Vec<Waiting>, error: &LogError) {
        for Waiting { group, settle } in groups {
            self.books.release(group.len() as u64, group.bytes() as u64);
            settle(Settled::all_failed(group.len(), error.clone()));
        }
    }

    /// Tells that nobody knows whether groups are in the log.
    pub(super) fn fail_in_flight(&self, groups: Vec<InFlight>, error: &LogError) {
        for group in groups {
            self.books.release(group.records as u64, group.bytes);
            (group.settle)(Settled::all_failed(group.records, error.clone()));
        }
    }

    /// A thread begins.
    pub(super) fn enter(&self) {
        *locked(&self.running) += 1;
    }

    /// A thread has ended.
    pub(super) fn leave(&self) {
        *locked(&self.running) -= 1;
        self.ended.notify_all();
    }

    /// Waits for all threads to end. Whether they did.
    pub(super) fn wait_for_the_end(&self, timeout: Duration) -> bool {
        let started = Instant::now();
        let mut running = locked(&self.running);
        while *running > 0 {
            let left = timeout.saturating_sub(started.elapsed());
            if left.is_zero() {
                return false;
            }
            running = self.ended.wait_timeout(running, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}
