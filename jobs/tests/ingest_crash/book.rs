//! What clients were told, and how it compares with the log.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::posts::Sent;

/// Filled by all clients.
pub struct Book {
    accepted: Mutex<Accepted>,
    pub answers: AtomicU64,
    /// Answers with 503.
    pub refused: AtomicU64,
    pub timed_out: AtomicU64,
    pub closed: AtomicU64,
    pub torn: AtomicU64,
    pub not_connected: AtomicU64,
}

struct Accepted {
    clicks: BTreeMap<String, Sent>,
    last_at: Instant,
    longest_gap: Duration,
}

/// How the log compares with the book.
pub struct Compared {
    accepted: usize,
    /// Records that are clicks.
    pub records: u64,
    /// Clicks that are in the log so often.
    copies: BTreeMap<u64, u64>,
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} clicks accepted, all in the log", self.accepted)?;
        let mut repeated = self.copies.iter().filter(|(times, _)| **times > 1);
        repeated.try_for_each(|(times, clicks)| write!(f, ", {clicks} of them {times} times"))
    }
}

impl Book {
    pub fn new() -> Self {
        let accepted = Accepted { clicks: BTreeMap::new(), last_at: Instant::now(), longest_gap: Duration::ZERO };
        Self {
            accepted: Mutex::new(accepted),
            answers: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            timed_out: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            torn: AtomicU64::new(0),
            not_connected: AtomicU64::new(0),
        }
    }

    /// Writes down clicks that are in the log, as the server says.
    pub fn note(&self, clicks: impl IntoIterator<Item = (String, Sent)>) {
        let mut accepted = self.accepted.lock().unwrap();
        for (id, sent) in clicks {
            let before = accepted.clicks.insert(id, sent.clone());
            assert!(before.is_none_or(|before| before == sent), "two clicks have one id");
        }
        accepted.longest_gap = accepted.longest_gap.max(accepted.last_at.elapsed());
        accepted.last_at = Instant::now();
    }

    pub fn accepted(&self) -> usize {
        self.accepted.lock().unwrap().clicks.len()
    }

    pub fn clicks(&self) -> BTreeMap<String, Sent> {
        self.accepted.lock().unwrap().clicks.clone()
    }

    /// The longest time without an accepted click since this was asked last.
    pub fn longest_gap(&self) -> Duration {
        let mut accepted = self.accepted.lock().unwrap();
        let longest = accepted.longest_gap.max(accepted.last_at.elapsed());
        (accepted.longest_gap, accepted.last_at) = (Duration::ZERO, Instant::now());
        longest
    }

    /// Expects that the log holds the clicks of the book, with their fields, and no others.
    #[track_caller]
    pub fn compare(&self, name: &str, log: &BTreeMap<String, Vec<Sent>>) -> Compared {
        let accepted = self.clicks();
        let lost: Vec<_> = accepted.keys().filter(|id| !log.contains_key(*id)).take(10).collect();
        let lost_in_all = accepted.keys().filter(|id| !log.contains_key(*id)).count();
        assert!(lost.is_empty(), "{name}: {lost_in_all} of {} accepted clicks are lost: {lost:?} …", accepted.len());
        let more: Vec<_> = log.keys().filter(|id| !accepted.contains_key(*id)).take(10).collect();
        assert!(more.is_empty(), "{name}: the log has clicks that nobody was told about: {more:?} …");
        let mut copies = BTreeMap::new();
        for (id, found) in log {
            let sent = &accepted[id];
            assert!(found.iter().all(|found| found == sent), "{name}: {id} was {sent:?}, and is {found:?}");
            *copies.entry(found.len() as u64).or_default() += 1;
        }
        let records = log.values().map(|found| found.len() as u64).sum();
        Compared { accepted: accepted.len(), records, copies }
    }

    pub fn facts(&self) -> String {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        format!(
            "{} answers, {} of them 503; no answer: {} closed, {} timed out, {} torn, {} not connected",
            get(&self.answers),
            get(&self.refused),
            get(&self.closed),
            get(&self.timed_out),
            get(&self.torn),
            get(&self.not_connected)
        )
    }
}
